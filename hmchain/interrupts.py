"""Ctrl-C while modules are loaded.

Nothing is there yet that could be cleared up, and an import that is cut in two leaves torch in pieces: it crashes, says
that something else is wrong, or goes on as if nobody had pressed anything.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NoReturn

INTERRUPTED = 130  # the exit code


@contextmanager
def loading() -> Iterator[None]:
    """Ends the process at the first Ctrl-C, with one line, unless it ignores them. In the main thread."""
    before = signal.getsignal(signal.SIGINT)
    if before is not signal.default_int_handler:
        yield
        return
    signal.signal(signal.SIGINT, leave)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def leave(*_: object) -> NoReturn:
    """A handler of signals: ends the process at once, with one line, and clears up nothing."""
    os.write(2, b"hmchain: interrupted\n")
    os._exit(INTERRUPTED)
