"""What a process that we start does first, so that it ends when its parent does, however that ends."""

from __future__ import annotations

import os
import signal
import threading
from multiprocessing import parent_process


def belong_to_parent() -> None:
    """Leaves Ctrl-C, which reaches the whole group, to the parent, and ends this process with it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent = parent_process()
    if parent is not None:
        parent.join()
    os._exit(1)
