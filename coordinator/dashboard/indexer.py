"""The contract's events, followed from a cursor into the database: whole ranges of blocks, or nothing of them."""

from __future__ import annotations

import threading

from sqlalchemy import Connection, Engine
from sqlalchemy.exc import SQLAlchemyError

from coordinator.dashboard.store import Cursor, Origin, add, begin, cursor_of, cut, marks, move
from hmchain.chain import LOG_SPAN, ChainClient, answering
from hmchain.errors import ChainBehind, ChainError, HMChainError, StorageError

PAUSE_SECONDS = 1.0  # between looks at the chain


class Indexer:
    """Follows one contract. `fault` says in one line why the index stands still, while it does."""

    def __init__(self, client: ChainClient, engine: Engine, first_block: int = 0) -> None:
        self._client = client
        self._engine = engine
        self._first = first_block
        self.fault: str | None = None

    def step(self) -> bool:
        """Takes in one range of blocks; False where there is none. Raises ChainError, StorageError."""
        try:
            with self._engine.begin() as connection:
                cursor = self._rewound(connection, self._checked(connection))
            return self._extend(cursor)
        except SQLAlchemyError as fault:
            raise StorageError(f"the index cannot be written: {str(fault).splitlines()[0]}") from fault

    def catch_up(self) -> None:
        """Takes in all that the chain has. Raises ChainError, StorageError."""
        while self.step():
            pass

    def follow(self, stop: threading.Event) -> None:
        """Catches up again and again; a fault is kept to be shown, and mends itself when its cause is gone."""
        while not stop.wait(PAUSE_SECONDS):
            try:
                self.catch_up()
                self.fault = None
            except HMChainError as fault:
                self.fault = str(fault)

    def _checked(self, connection: Connection) -> Cursor:
        """The cursor, if the node's chain is the one that was indexed. Raises ChainError where it is another."""
        with answering():  # asked anew: another chain may have come behind the same URL
            chain_id = str(self._client.web3.eth.chain_id)
        origin = Origin(chain_id, self._client.block(0).hash, self._client.address)
        cursor = cursor_of(connection) or begin(connection, origin, self._first)
        if cursor.origin != origin:
            raise ChainError(
                f"another chain or contract: the index is of {_words(cursor.origin)}, this is {_words(origin)}; "
                "to index this one instead, start again with --rebuild"
            )
        return cursor

    def _rewound(self, connection: Connection, cursor: Cursor) -> Cursor:
        """The cursor, set back to the last mark that the chain still has."""
        head, good = self._client.head(), self._first - 1
        for mark in marks(connection):
            if mark.number <= head and self._client.block(mark.number) == mark:
                good = mark.number
                break
        if good + 1 == cursor.next_block:
            return cursor
        if not move(connection, cursor, good + 1, cursor.generation + 1):
            raise ChainBehind("another dashboard is writing this index")
        cut(connection, good + 1)
        return Cursor(cursor.origin, good + 1, cursor.generation + 1)

    def _extend(self, cursor: Cursor) -> bool:
        last = min(self._client.head(), cursor.next_block + LOG_SPAN - 1)
        if last < cursor.next_block:
            return False
        before = self._client.block(last)
        events = list(self._client.events(cursor.next_block, last))
        if self._client.block(last) != before:
            raise ChainBehind(f"block {last} changed while it was read")
        with self._engine.begin() as connection:
            if move(connection, cursor, last + 1, cursor.generation):
                add(connection, events, before)
        return True


def _words(origin: Origin) -> str:
    return f"contract {origin.contract} on chain {origin.chain_id} from {origin.genesis[:10]}…"
