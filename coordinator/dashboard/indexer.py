"""Follows the contracts' events into the database, a range of blocks at a time, each completely or not at all."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy import Connection, Engine
from sqlalchemy.exc import SQLAlchemyError

from coordinator.dashboard.reader import NodeFacts, Present
from coordinator.dashboard.source import Source
from coordinator.dashboard.store import (
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
from hmchain.ethereum import Head

PAUSE_SECONDS = 1.0  # between looks at the chain
JOBS = 20  # the last ones, whose present state is asked for
DETAILS = 200  # receipts and block times looked up between two looks at the chain


class Indexer:
    """Follows one consortium. Another dashboard may follow it into the same database."""

    def __init__(self, source: Source, engine: Engine) -> None:
        self._reader = source.reader
        self._engine = engine
        self._first = source.first_block
        self._final = source.final
        self.fault: str | None = None  # why the index stands still, in one line, while it does
        self.presents: dict[int, Present] = {}  # where the last jobs stand
        self.node: NodeFacts | None = None
        self.details = 0  # how often costs and times were found out since the start

    def step(self) -> bool:
        """Takes in one range of blocks; False where there is none. Raises ChainError, StorageError."""
        with _stored():
            head = self._reader.head(self._first)
            with self._engine.begin() as connection:
                cursor = self._rewound(connection, self._checked(connection), head.number)
            return self._extend(cursor, head)

    def catch_up(self, stop: threading.Event | None = None) -> None:
        """Takes in all that the chain has, or until it is stopped. Raises ChainError, StorageError."""
        while not (stop and stop.is_set()) and self.step():
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
            # The cursor is written where it is, which keeps another dashboard from taking blocks back meanwhile.
            now = cursor_of(connection)
            if now and now.generation == cursor.generation and move(connection, now, now.next_block, now.generation):
                add_costs(connection, costs, times)
        self.details += 1
        return True

    def follow(self, stop: threading.Event) -> None:
        """Catches up repeatedly until stopped; a fault is kept for display until its cause is gone."""
        while not stop.is_set():
            more = False
            try:
                self.catch_up(stop)
                self.node = self._reader.node()
                self.presents = self._now()
                self.fault = None
                more = self.look_up()
                if self._final and not more:
                    return
            except HMChainError as fault:
                self.fault = str(fault)
            except Exception as fault:  # whatever it is, pages say so instead of growing old in silence
                self.fault = f"a defect of the indexer: {type(fault).__name__}: {fault}"
            if not more:
                stop.wait(PAUSE_SECONDS)

    def _now(self) -> dict[int, Present]:
        """Where the newest jobs stand, as of the last block in the index."""
        with _stored(), self._engine.connect() as connection:
            cursor = cursor_of(connection)
        return {now.job: now for now in self._reader.presents(cursor.next_block - 1, JOBS)} if cursor else {}

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

    def _rewound(self, connection: Connection, cursor: Cursor, head: int) -> Cursor:
        """The cursor, set back to the last mark that the chain still has, where the chain contradicts a later one.

        A node that has not got so far contradicts nothing. Raises ChainBehind.
        """
        good, contradicted = self._first - 1, False
        for mark in marks(connection):
            if mark.number > head:
                continue
            if self._reader.block(mark.number) == mark:
                good = mark.number
                break
            contradicted = True
        if good + 1 == cursor.next_block:
            return cursor
        if not contradicted:
            raise ChainBehind(f"the chain's node is at block {head}, the index at {cursor.next_block - 1}")
        if not move(connection, cursor, good + 1, cursor.generation + 1):
            raise ChainBehind("another dashboard is writing this index")
        cut(connection, good + 1)
        return Cursor(cursor.origin, good + 1, cursor.generation + 1)

    def _extend(self, cursor: Cursor, head: Head) -> bool:
        last = min(head.number, cursor.next_block + LOG_SPAN - 1)
        if last < cursor.next_block:
            return False
        before = head if last == head.number else self._reader.block(last)
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
    records = f" and {origin.records}" if origin.records else ""
    return f"contract {origin.contract}{records} on chain {origin.chain_id} from {origin.genesis[:10]}…"
