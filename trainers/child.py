"""Child processes that Ctrl-C does not reach, and that end whenever and however their parent ends."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing import parent_process, resource_tracker
from multiprocessing.process import BaseProcess


def start(process: BaseProcess) -> None:
    """Starts a process. A signal that asks us to stop meanwhile is handled once the process has started.

    Interrupted halfway, the child would not get all of its start data, and would print a traceback.
    """
    with _undisturbed():
        process.start()


def belong_to_parent() -> None:
    """To be called first in the child: ignores Ctrl-C, which is for the parent, and ends when the parent does."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()


@contextmanager
def _undisturbed() -> Iterator[None]:
    if threading.current_thread() is not threading.main_thread():
        yield  # signals are handled in the main thread, and cannot end this one
        return
    arrived: set[int] = set()
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    for number in handlers:
        signal.signal(number, lambda number, _: arrived.add(number))
    # The child inherits the blocked signal, so that Ctrl-C cannot reach it before its first line runs. Starting
    # multiprocessing's resource tracker unblocks it, so that has to happen before.
    resource_tracker.ensure_running()
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        for number, handler in handlers.items():
            signal.signal(number, handler)
        for each in arrived:
            signal.raise_signal(each)


def _end_with_parent() -> None:
    parent = parent_process()
    if parent is not None:
        parent.join()
    os._exit(1)
