"""PostgreSQL connections that end: psycopg waits for ever for a server that was halted, or a lock that is not given."""

from __future__ import annotations

import logging
import time
from collections.abc import Generator
from typing import Any

import psycopg

CONNECT_SECONDS = 10
ANSWER_SECONDS = 30.0  # of silence while something is asked for, being another one's turn on the same rows included

logging.getLogger("psycopg").addHandler(logging.NullHandler())  # it warns, on the terminal, of what it raises anyway


class Connection(psycopg.Connection[Any]):
    """A connection that breaks once its server has been silent for ANSWER_SECONDS."""

    def wait(self, gen: Any, *arguments: Any, **options: Any) -> Any:
        """In place of psycopg's, which every question goes through. Raises psycopg.OperationalError."""
        try:
            return super().wait(_in_time(gen), *arguments, **options)
        except TimeoutError:
            self.close()
            raise psycopg.OperationalError(f"the database did not answer within {ANSWER_SECONDS:g} s") from None


def connect(_dialect: Any, _record: Any, arguments: Any, parameters: dict[str, Any]) -> Connection:
    """Connects, for SQLAlchemy's event do_connect; what the URL says of time-outs takes precedence."""
    return Connection.connect(*arguments, **{"connect_timeout": CONNECT_SECONDS, **parameters})


def _in_time(asking: Generator[Any, Any, Any]) -> Generator[Any, Any, Any]:
    """What psycopg waits for, and is told ten times a second whether it has come. Raises TimeoutError."""
    last, ready = time.monotonic(), None
    while True:
        try:
            wanted = asking.send(ready)
        except StopIteration as end:
            return end.value
        ready = yield wanted
        if ready:
            last = time.monotonic()
        elif time.monotonic() - last > ANSWER_SECONDS:
            raise TimeoutError
