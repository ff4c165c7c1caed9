"""Reads the index into one consistent view, kept up to date as the index grows."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from sqlalchemy import Connection, Engine

from coordinator.dashboard.chronicle import Chronicle
from coordinator.dashboard.sheet import Sheet
from coordinator.dashboard.store import Cost, Cursor, costs_of, cursor_of, events_between, marks, times_of
from hmchain.contract import Event
from hmchain.errors import HMChainError
from hmchain.ethereum import Head
from hmchain.history import History
from hmchain.trail import Trail


@dataclass
class View:
    """What the pages are made of. head is the last block taken in, None while there is none.

    times: seconds since 1970 by block, costs: by transaction, both as far as they are known. fault: why the events past
    some point could not be made sense of, None as long as they can. sheets: tables made of all this so far.
    """

    chronicle: Chronicle = field(default_factory=Chronicle)
    trail: Trail = field(default_factory=Trail)
    events: list[Event] = field(default_factory=list)
    blocks: set[int] = field(default_factory=set)
    transactions: set[str] = field(default_factory=set)
    times: dict[int, int] = field(default_factory=dict)
    costs: dict[str, Cost] = field(default_factory=dict)
    cursor: Cursor | None = None
    head: Head | None = None
    fault: str | None = None
    sheets: dict[str, Sheet] = field(default_factory=dict)

    @property
    def history(self) -> History:
        """Members, jobs and rounds."""
        return self.chronicle.history

    def job(self) -> int:
        """The job that pages are about: the latest that has rounds, as any member may create one; 0 for none."""
        jobs = self.history.jobs
        return max((number for number, job in jobs.items() if job.rounds), default=max(jobs, default=0))

    def extend(self, events: list[Event]) -> None:
        """Adds the events that follow. Inconsistent ones, as of another contract, are kept as the fault and end it."""
        self.events += events
        self.blocks.update(event.block for event in events)
        self.transactions.update(event.transaction for event in events)
        if self.fault is not None:
            return
        try:
            self.chronicle.apply(events)
            self.trail.apply(events)
        except (HMChainError, LookupError, ValueError, TypeError, AssertionError) as fault:
            self.fault = f"the contract's events do not follow from one another ({type(fault).__name__}: {fault})"


class Reading:
    """Reads the index, for the threads of the web application."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._lock = threading.Lock()
        self._view = View()

    @contextmanager
    def view(self) -> Iterator[View]:
        """The view as of the index's last complete range. It does not change while it is held, so hold it briefly."""
        with self._lock:
            with self._engine.connect() as connection:
                self._update(connection)
            yield self._view

    def _update(self, connection: Connection) -> None:
        cursor, view = cursor_of(connection), self._view
        if cursor is None:
            return
        old = view.cursor
        if old is None or not _follows(cursor, old):
            view, old = View(), None
        if cursor != old:
            events = list(events_between(connection, old.next_block if old else 0, cursor.next_block))
            if cursor_of(connection) != cursor:
                return  # the index moved meanwhile: the next look is whole again
            view.extend(events)
            view.cursor, view.head = cursor, next(marks(connection), None)
            view.sheets.clear()
            self._view = view
        if len(view.times) < len(view.blocks):
            view.times = times_of(connection)
            view.sheets.clear()
        if len(view.costs) < len(view.transactions):
            view.costs = {cost.transaction: cost for cost in costs_of(connection)}
            view.sheets.clear()

    def tick(self) -> str:
        """A text that changes when there is something new."""
        with self._engine.connect() as connection:
            return tick_of(cursor_of(connection))


def tick_of(cursor: Cursor | None) -> str:
    """A text for a state of the index."""
    return f"{cursor.generation}.{cursor.next_block}" if cursor else "0.0"


def _follows(cursor: Cursor, old: Cursor) -> bool:
    """Whether the index has only grown since."""
    same = (old.origin, old.generation) == (cursor.origin, cursor.generation)
    return same and cursor.next_block >= old.next_block
