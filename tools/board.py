"""The dashboard as a process, for tests, benchmarks and pictures."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager


def start(*arguments: object) -> subprocess.Popen[str]:
    """The real command on a free port; it prints its URL first."""
    command = [sys.executable, "-m", "coordinator", "dashboard", *map(str, arguments), "--port", "0"]
    environment = {**os.environ, "PYTHONUNBUFFERED": "1"}
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment)


@contextmanager
def dashboard(*arguments: object) -> Iterator[str]:
    """A running dashboard, by its URL; ended as Ctrl-C ends it, which must leave no complaint."""
    process = start(*arguments)
    assert process.stdout is not None
    url = process.stdout.readline().strip().rstrip("/")
    assert url, process.communicate()[1]
    try:
        yield url
    finally:
        process.send_signal(signal.SIGINT)
        _, complaints = process.communicate(timeout=60)
    assert "Traceback" not in complaints, complaints
