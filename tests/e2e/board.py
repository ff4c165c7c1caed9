"""A dashboard under test: indexes compared with one another, and the real command in a process of its own."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import Engine

from coordinator.dashboard.indexer import Indexer
from coordinator.dashboard.source import Source
from coordinator.dashboard.store import BLOCKS, COSTS, EVENTS, open_database

Rows = dict[str, list[Any]]


def database(path: Path) -> Engine:
    """An index in a file."""
    return open_database(f"sqlite:///{path}")


def settled(source: Source, engine: Engine) -> Indexer:
    """An indexer that has found out all there is."""
    indexer = Indexer(source, engine)
    indexer.catch_up()
    while indexer.look_up():
        pass
    return indexer


def rows(engine: Engine) -> Rows:
    """All that an index holds, in one order, but for how it was read."""
    with engine.connect() as connection:
        return {
            table.name: [tuple(row) for row in connection.execute(table.select().order_by(*table.primary_key))]
            for table in (EVENTS, BLOCKS, COSTS)
        }


def fresh(source: Source, path: Path) -> Rows:
    """What an index holds that is read from zero."""
    engine = database(path)
    settled(source, engine)
    found = rows(engine)
    engine.dispose()
    return found


def start(*arguments: object) -> subprocess.Popen[str]:
    """The real command; it prints its URL first."""
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
