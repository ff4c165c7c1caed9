"""Parses JSON that somebody else wrote."""

from __future__ import annotations

import json
from typing import Any

MAX_WHOLE = 2**53 - 1  # up to it every reader of JSON keeps whole numbers exactly
MAX_BRACKETS = 10_000  # more than any text of ours has
MAX_DEPTH = 32  # of brackets in a text of any length
MAX_ODD = 32  # brackets in its strings that have no counterpart
NO_BRACKETS = bytes(set(range(256)) - set(b"[]{}"))


def parse(text: str | bytes) -> Any:
    """The content of a JSON text. Raises ValueError, and nothing else, for other text or one that is nested too deep.

    py-evm lifts Python's recursion limit for the whole process, so that deep nesting would crash json.loads: brackets
    are counted first.
    """
    opened = text.count("[") + text.count("{") if isinstance(text, str) else text.count(b"[") + text.count(b"{")
    if opened > MAX_BRACKETS:
        raise ValueError(f"{opened:,} brackets are more than any text of ours has")
    try:
        return json.loads(text)
    except RecursionError as fault:
        raise ValueError("nested too deep") from fault


def check_depth(text: bytes) -> None:
    """Raises ValueError for a JSON text, of any length, that is nested deeper than it could safely be parsed."""
    rest, depth = text.translate(None, NO_BRACKETS), 0
    while len(rest) > MAX_ODD:
        if depth == MAX_DEPTH:
            raise ValueError("nested too deep")
        rest, depth = rest.replace(b"[]", b"").replace(b"{}", b""), depth + 1  # without the innermost


def text(value: Any) -> str:
    """A value that must be a text. Raises TypeError for any other."""
    if not isinstance(value, str):
        raise TypeError("not text")
    return value


def whole(value: Any) -> int:
    """A value that must be a whole number. Raises TypeError for any other: JSON has infinity, fractions and true."""
    if type(value) is not int:
        raise TypeError("no whole number")
    return value
