"""A table as data: typed columns and rows, and its forms as JSON and CSV."""

from __future__ import annotations

import csv
import io
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from enum import Enum
from functools import lru_cache
from typing import Any

Row = tuple[Any, ...]

LAST = 253_402_300_799  # 9999-12-31T23:59:59Z


class Kind(Enum):
    """What a column holds; the value is for people who read code."""

    TEXT = "words"
    INTEGER = "a whole number"
    NUMBER = "a number"
    HASH = "a digest, CID, account or transaction"
    TIME = "a time in RFC 3339"


@dataclass(frozen=True)
class Column:
    """A column: its name, with its unit where it has one, and what it holds."""

    name: str
    kind: Kind = Kind.TEXT


@dataclass(frozen=True)
class Sheet:
    """A table. None in a row is what the chain does not say, or what is not known yet."""

    title: str
    about: str
    columns: tuple[Column, ...]
    rows: list[Row]

    def names(self) -> list[str]:
        """The names of its columns."""
        return [column.name for column in self.columns]

    def records(self) -> list[dict[str, Any]]:
        """Its rows as JSON objects."""
        return [dict(zip(self.names(), row, strict=True)) for row in self.rows]

    def to_csv(self) -> str:
        """Its rows as CSV; a text that a spreadsheet would take for a formula is quoted with an apostrophe."""
        file = io.StringIO()
        writer = csv.writer(file)
        writer.writerow(self.names())
        writer.writerows([_inert(cell) for cell in row] for row in self.rows)
        return file.getvalue()

    def matching(self, text: str) -> Sheet:
        """The rows that hold a text, in whichever case and cell."""
        wanted = text.casefold()
        return replace(self, rows=[row for row in self.rows if any(wanted in _searched(cell) for cell in row)])

    def part(self, first: int, count: int) -> Sheet:
        """Some of its rows."""
        return replace(self, rows=self.rows[first : first + count])


def _inert(cell: Any) -> Any:
    return f"'{cell}" if isinstance(cell, str) and cell.startswith(("=", "+", "-", "@", "\t", "\r")) else cell


def _searched(cell: Any) -> str:
    return "" if cell is None else str(cell).casefold()


@lru_cache(maxsize=1 << 16)
def moment(seconds: int | None) -> str | None:
    """A time of the chain in RFC 3339; later than its calendar allows, its last second."""
    return None if seconds is None else datetime.fromtimestamp(min(seconds, LAST), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def hexed(value: bytes | None) -> str | None:
    """A digest as text."""
    return value.hex() if value is not None else None
