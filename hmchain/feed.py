"""Follows a contract's events from a cursor and builds up their history."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable
from typing import Generic, Protocol, TypeVar

from hmchain.chain import ChainClient
from hmchain.contract import Event, Receipt
from hmchain.errors import ChainBehind
from hmchain.ethereum import Head

PATIENCE_SECONDS = 60.0  # that a node may stay behind before the chain counts as set back
FORK_SECONDS = 3.0  # the same where its blocks are others than were read: time for another node to know better
REMEMBERED = 256  # heads that were read, by which a chain that was set back is told from a node that is behind


class Reading(Protocol):
    """A history that is built up from events."""

    def apply(self, events: Iterable[Event]) -> None:
        """Adds the events that follow those before. Raises LookupError or ValueError for any that do not follow."""


H = TypeVar("H", bound=Reading)


class Feed(Generic[H]):
    """Follows a contract's events from a block on. Several parties in one process may share one.

    A wary feed is for a chain that is not inside this process. It may be read through several nodes in turn, one behind
    another, and a development chain may be set back: the history is then still of one chain, and without gaps.
    fresh makes an empty history.
    """

    def __init__(self, client: ChainClient, first_block: int, fresh: Callable[[], H], wary: bool = False) -> None:
        self._client = client
        self._fresh = fresh
        self._first = first_block
        self._wary = wary
        self._next = first_block
        self._reached = 0
        self._behind_since: float | None = None
        self._heads: deque[Head] = deque(maxlen=REMEMBERED)
        self.head: Head | None = None
        self.history = fresh()
        self.generation = 0  # how often the history was begun again

    def poll(self) -> H:
        """Applies new events and returns the history. Raises ChainError; ChainBehind where the node is behind us."""
        if not self._wary:
            self._apply_to(self._client.head())
            return self.history
        head = self._client.block()
        if head.number < self._reached:
            self._behind_since = self._behind_since or time.monotonic()
            patience = FORK_SECONDS if self._is_on_another_chain(head) else PATIENCE_SECONDS
            self._client.try_another_node()
            if time.monotonic() - self._behind_since < patience or head.number < self._first:
                raise ChainBehind(f"the chain's node is at block {head.number}, this process has seen {self._reached}")
            self._start_over()
        elif self.head not in (None, head) and self._client.block(self.head.number) != self.head:
            self._start_over()
        self._behind_since = None
        self._apply_to(head.number, check=head)
        if head != self.head:
            self._heads.append(head)
        self.head = head
        self.reached(head.number)
        return self.history

    def reached(self, block: int) -> None:
        """Notes that the chain has this block: a node that has not reached it is not believed."""
        self._reached = max(self._reached, block)

    def took(self, receipt: Receipt) -> None:
        """Notes a transaction of this process's own."""
        self.reached(receipt.block)

    def _is_on_another_chain(self, head: Head) -> bool:
        """Whether the node, whose head this is, has another block than was read. Raises ChainError."""
        read = next((block for block in reversed(self._heads) if block.number <= head.number), None)
        return read is not None and self._client.block(read.number) != read

    def _start_over(self) -> None:
        """Forgets all: the chain is no longer the one that was read (it was set back, or reorganised)."""
        self._heads.clear()
        self.head, self._next, self._reached, self.history = None, self._first, 0, self._fresh()
        self.generation += 1

    def _apply_to(self, last: int, check: Head | None = None) -> None:
        """Applies the events up to block `last`; none of them where that block is not `check` any more."""
        if last < self._next:
            return
        events = list(self._client.events(self._next, last))
        if check is not None and self._client.block(last) != check:
            raise ChainBehind(f"block {last} changed while it was read")
        try:
            self.history.apply(events)
        except (LookupError, ValueError) as fault:  # nodes have been seen to leave events out
            self._start_over()
            raise ChainBehind("the chain's events do not follow from one another: reading them again") from fault
        self._next = last + 1
