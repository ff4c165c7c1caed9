"""Processes of our own: started whole, left alone by Ctrl-C, and ended when their parent ends, however that happens."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing import parent_process, resource_tracker
from multiprocessing.process import BaseProcess


def start(process: BaseProcess) -> None:
    """Starts it; what asks us to stop meanwhile is heard when it has started.

    Halfway, the child would miss the rest of what it is told, and print a traceback about it.
    """
    with _undisturbed():
        process.start()


def belong_to_parent() -> None:
    """What the child does first: leaves Ctrl-C, which reaches the whole group, to the parent, and ends with it."""
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
    # What is started inherits the block, and so is deaf to Ctrl-C before its first line runs. The tracker that
    # multiprocessing starts beforehand would lift it.
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
