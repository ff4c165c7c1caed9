"""The contracts' events, followed from a cursor into the database: whole ranges of blocks, or nothing of them."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy import Connection, Engine
from sqlalchemy.exc import SQLAlchemyError

from coordinator.dashboard.reader import NodeFacts, Present
from coordinator.dashboard.source import Source
from coordinator.dashboard.store import (
    EVENTS,
    Cursor,
    Origin,
    add,
    add_costs,
    begin,
    cursor_of,
    cut,
    marks,
    move,
    unknown_costs,
    unknown_times,
)
from hmchain.chain import LOG_SPAN
from hmchain.errors import ChainBehind, ChainError, HMChainError, StorageError

PAUSE_SECONDS = 1.0  # between looks at the chain
DETAILS = 200  # receipts and block times looked up between two looks at the chain


class Indexer:
    """Follows one consortium. Another dashboard may follow it into the same database."""

    def __init__(self, source: Source, engine: Engine) -> None:
        self._reader = source.reader
        self._engine = engine
        self._first = source.first_block
        self._final = source.final
        self.fault: str | None = None  # why the index stands still, in one line, while it does
        self.present: Present | None = None  # where the last job stands
        self.node: NodeFacts | None = None
        self.details = 0  # how often costs and times were found out since the start

    def step(self) -> bool:
        """Takes in one range of blocks; False where there is none. Raises ChainError, StorageError."""
        with _stored():
            with self._engine.begin() as connection:
                cursor = self._rewound(connection, self._checked(connection))
            return self._extend(cursor)

    def catch_up(self) -> None:
        """Takes in all that the chain has. Raises ChainError, StorageError."""
        while self.step():
            pass

    def look_up(self, most: int = DETAILS) -> bool:
        """Finds out what some of the events cost and when they were; False where nothing is left to find out.

        Raises ChainError, StorageError.
        """
        with _stored(), self._engine.connect() as connection:
            cursor = cursor_of(connection)
            transactions, blocks = unknown_costs(connection, most), unknown_times(connection, most)
        if cursor is None or not (transactions or blocks):
            return False
        costs = [self._reader.cost(*transaction) for transaction in transactions]
        times = {number: self._reader.block(number).time for number in blocks}
        with _stored(), self._engine.begin() as connection:
            if (now := cursor_of(connection)) and now.generation == cursor.generation:
                add_costs(connection, costs, times)
        self.details += 1
        return True

    def follow(self, stop: threading.Event) -> None:
        """Catches up again and again; a fault is kept to be shown, and mends itself when its cause is gone."""
        while not stop.is_set():
            try:
                self.catch_up()
                self.node = self._reader.node()
                self.present = self._now()
                more = self.look_up()
                self.fault = None
                if self._final and not more:
                    return
            except HMChainError as fault:
                self.fault, more = str(fault), False
            except Exception as fault:  # whatever it is, pages say so instead of growing old in silence
                self.fault, more = f"a defect of the indexer: {type(fault).__name__}: {fault}", False
            if not more:
                stop.wait(PAUSE_SECONDS)

    def _now(self) -> Present | None:
        """Where the job that was created last stands, as of the last block that was taken in."""
        with _stored(), self._engine.connect() as connection:
            jobs = connection.execute(EVENTS.select().where(EVENTS.c.name == "JobCreated")).all()
            cursor = cursor_of(connection)
        return self._reader.present(len(jobs), cursor.next_block - 1) if jobs and cursor else None

    def _checked(self, connection: Connection) -> Cursor:
        """The cursor, if the node's chain is the one that was indexed. Raises ChainError where it is another."""
        origin = self._reader.origin()
        cursor = cursor_of(connection) or begin(connection, origin, self._first)
        if cursor.origin != origin:
            raise ChainError(
                f"another chain or contract: the index is of {_words(cursor.origin)}, this is {_words(origin)}; "
                "to index this one instead, start again with --rebuild"
            )
        return cursor

    def _rewound(self, connection: Connection, cursor: Cursor) -> Cursor:
        """The cursor, set back to the last mark that the chain still has."""
        head, good = self._reader.head().number, self._first - 1
        for mark in marks(connection):
            if mark.number <= head and self._reader.block(mark.number) == mark:
                good = mark.number
                break
        if good + 1 == cursor.next_block:
            return cursor
        if not move(connection, cursor, good + 1, cursor.generation + 1):
            raise ChainBehind("another dashboard is writing this index")
        cut(connection, good + 1)
        return Cursor(cursor.origin, good + 1, cursor.generation + 1)

    def _extend(self, cursor: Cursor) -> bool:
        last = min(self._reader.head().number, cursor.next_block + LOG_SPAN - 1)
        if last < cursor.next_block:
            return False
        before = self._reader.block(last)
        batch = self._reader.read(cursor.next_block, last)
        if self._reader.block(last) != before:
            raise ChainBehind(f"block {last} changed while it was read")
        with self._engine.begin() as connection:
            if move(connection, cursor, last + 1, cursor.generation):
                add(connection, batch.events, batch.times, before)
        return True


@contextmanager
def _stored() -> Iterator[None]:
    """A fault of the database, in one line."""
    try:
        yield
    except SQLAlchemyError as fault:
        raise StorageError(f"the index cannot be used: {str(fault).splitlines()[0]}") from fault


def _words(origin: Origin) -> str:
    return f"contract {origin.contract} on chain {origin.chain_id} from {origin.genesis[:10]}…"
