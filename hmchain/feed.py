"""A contract's events, followed from a cursor, and made into history."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from typing import Generic, Protocol, TypeVar

from hmchain.chain import ChainClient, Head
from hmchain.contract import Event, Receipt
from hmchain.errors import ChainBehind

PATIENCE_SECONDS = 60.0  # with a node that is behind, before the chain is taken to have been set back


class Reading(Protocol):
    """What events are made into."""

    def apply(self, events: Iterable[Event]) -> None:
        """Takes in what follows. Raises LookupError or ValueError where it does not follow."""


H = TypeVar("H", bound=Reading)


class Feed(Generic[H]):
    """The contract's events, followed from a cursor; several parties in one process may share it.

    A wary feed serves a chain that is not this process's own: it is read by several nodes in turn, of which one may be
    behind another, and a development chain may be set back. What it applied is then always of one chain, and whole.
    """

    def __init__(self, client: ChainClient, first_block: int, fresh: Callable[[], H], wary: bool = False) -> None:
        self._client = client
        self._fresh = fresh
        self._first = first_block
        self._wary = wary
        self._next = first_block
        self._reached = 0
        self._behind_since: float | None = None
        self.head: Head | None = None
        self.history = fresh()
        self.generation = 0  # how often it was read from the beginning again

    def poll(self) -> H:
        """Applies what is new. Raises ChainError; ChainBehind where the node has yet to reach what was seen before."""
        if not self._wary:
            self._apply_to(self._client.head())
            return self.history
        head = self._client.block()
        if head.number < self._reached:
            self._behind_since = self._behind_since or time.monotonic()
            self._client.try_another_node()
            if time.monotonic() - self._behind_since < PATIENCE_SECONDS or head.number < self._first:
                raise ChainBehind(f"the chain's node is at block {head.number}, this process has seen {self._reached}")
            self._start_over()
        elif self.head not in (None, head) and self._client.block(self.head.number) != self.head:
            self._start_over()
        self._behind_since = None
        self._apply_to(head.number, check=head)
        self.head = head
        self.reached(head.number)
        return self.history

    def reached(self, block: int) -> None:
        """Tells of a block that the chain has; a node that has not yet got so far is not listened to."""
        self._reached = max(self._reached, block)

    def took(self, receipt: Receipt) -> None:
        """Tells of a transaction of this process's own."""
        self.reached(receipt.block)

    def _start_over(self) -> None:
        """The chain is not the one that was read: it was set back, or continued otherwise."""
        self.head, self._next, self._reached, self.history = None, self._first, 0, self._fresh()
        self.generation += 1

    def _apply_to(self, last: int, check: Head | None = None) -> None:
        """Applies the events up to a block; none of them where that is no longer the block it was meanwhile."""
        if last < self._next:
            return
        events = list(self._client.events(self._next, last))
        if check is not None and self._client.block(last) != check:
            raise ChainBehind(f"block {last} changed while it was read")
        try:
            self.history.apply(events)
        except (LookupError, ValueError) as fault:  # a node once left events out
            self._start_over()
            raise ChainBehind("the chain's events do not follow from one another: reading them again") from fault
        self._next = last + 1
