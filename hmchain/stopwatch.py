"""Measures where the time of a run goes."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager


class Stopwatch:
    """Seconds by name. In nested measurements, time counts for the innermost name only."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = defaultdict(float)
        self._stack: list[str] = []
        self._since = self._started = time.perf_counter()

    def total(self) -> float:
        """Seconds since the stopwatch was made."""
        return time.perf_counter() - self._started

    @contextmanager
    def measure(self, name: str) -> Iterator[None]:
        """Counts the time spent inside for `name`."""
        self._switch()
        self._stack.append(name)
        try:
            yield
        finally:
            self._switch()
            self._stack.pop()

    def _switch(self) -> None:
        now = time.perf_counter()
        if self._stack:
            self.seconds[self._stack[-1]] += now - self._since
        self._since = now
