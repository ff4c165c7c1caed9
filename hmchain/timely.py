"""HTTP answers that end: requests has a time-out for each packet alone, and a server can send a byte at a time, or for
ever.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from functools import partial
from typing import Any

PIECE = 1 << 16  # bytes that are read at once, where so many have come
MOST = 1 << 28  # bytes of an answer; the largest blob has half of that
REFUSAL = 1 << 12  # bytes that are read of an error's text: JSON that is nested much deeper would end the process


class TooLong(OSError):
    """An answer with more than MOST bytes."""


class Timely:
    """Given as `auth`, which requests calls with each request: bounds the whole exchange by a number of seconds.

    Reading the answer raises TimeoutError after that, or one packet's time-out later, and TooLong after MOST bytes.
    """

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds

    def __call__(self, request: Any) -> Any:
        """Has the answer of a PreparedRequest read piece by piece until the deadline."""
        deadline = time.monotonic() + self._seconds

        def limit(response: Any, *_: Any, **__: Any) -> None:
            read = _pieces if response.ok else _beginning
            response.raw.stream = partial(read, response.raw, deadline)

        request.register_hook("response", limit)
        return request


def _pieces(raw: Any, deadline: float, amount: int | None, decode_content: bool) -> Iterator[bytes]:
    """In place of urllib3's `stream`, which waits until `amount` has come, or all of it."""
    read = 0
    while piece := raw.read1(min(amount or PIECE, PIECE), decode_content=decode_content):
        yield piece
        read += len(piece)
        if read > MOST or time.monotonic() > deadline:
            raw.close()  # or the server would go on
            raise TooLong("the answer does not end") if read > MOST else TimeoutError


def _beginning(raw: Any, deadline: float, amount: int | None, decode_content: bool) -> Iterator[bytes]:
    """The same of an answer that is an error, whose end nobody misses."""
    left = REFUSAL
    for piece in _pieces(raw, deadline, amount, decode_content):
        yield piece[:left]
        left -= len(piece)
        if left <= 0:
            raw.close()
            return
