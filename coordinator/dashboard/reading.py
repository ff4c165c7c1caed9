"""The history that the index holds, kept up to date as the index grows."""

from __future__ import annotations

import threading
from copy import deepcopy
from dataclasses import dataclass

from sqlalchemy import Engine

from coordinator.dashboard.store import Cursor, cursor_of, events_between, marks
from hmchain.chain import Head
from hmchain.contract import Event
from hmchain.history import History


@dataclass
class View:
    """What the pages are made of. head is the last block taken in, None while there is none."""

    history: History
    events: list[Event]
    cursor: Cursor | None = None
    head: Head | None = None


class Reading:
    """Reads the index, for the threads of the web application."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._lock = threading.Lock()
        self._view = View(History(), [])

    def view(self) -> View:
        """The history up to the index's last whole range."""
        with self._lock, self._engine.connect() as connection:
            cursor, old = cursor_of(connection), self._view
            if cursor is None or cursor == old.cursor:
                return old
            if old.cursor is None or (old.cursor.origin, old.cursor.generation) != (cursor.origin, cursor.generation):
                old = View(History(), [])
            first = old.cursor.next_block if old.cursor else 0
            events = list(events_between(connection, first, cursor.next_block))
            head = next(marks(connection), None)
            if cursor_of(connection) != cursor:
                return self._view  # the index moved meanwhile: the next look is whole again
            history = deepcopy(old.history)  # pages that are being made keep theirs, and a fault leaves it whole
            history.apply(events)
            self._view = View(history, old.events + events, cursor, head)
            return self._view

    def tick(self) -> str:
        """A text that changes when there is something new."""
        with self._engine.connect() as connection:
            cursor = cursor_of(connection)
        return f"{cursor.generation}.{cursor.next_block}" if cursor else "0.0"
