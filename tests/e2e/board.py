"""Indexes of the dashboard, compared with one another."""

from __future__ import annotations

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
