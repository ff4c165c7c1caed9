"""Access to members of untrusted JSON: each is there and of the expected type, or ValueError gives the reason."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path
from typing import Any, TypeVar

from trainers.importers.base import MAX_TEXT_BYTES
from trainers.importers.reading.bounded import read_whole
from trainers.importers.reading.jsonstream import document

T = TypeVar("T")


def content_of(path: Path) -> Any:
    """What a short JSON file says. Raises ValueError, whose text is a reason that quotes nothing."""
    return document(read_whole(path, MAX_TEXT_BYTES))


def field(content: Any, name: str, kind: type[T]) -> T:
    """A member of an object that must be of this kind. Raises ValueError."""
    value = content.get(name) if isinstance(content, dict) else None
    if not isinstance(value, kind) or isinstance(value, bool) is not (kind is bool):
        raise ValueError(f"{name} is missing" if value is None else f"{name} is not of the kind that it should be")
    return value


def optional(content: Any, name: str, kind: type[T]) -> T | None:
    """field, or None where there is none. Raises ValueError for one of another kind."""
    return None if isinstance(content, dict) and content.get(name) is None else field(content, name, kind)


def number(content: Any, name: str) -> str:
    """A member that is a number, or text that may be one, in its own digits. Raises ValueError."""
    value = content.get(name) if isinstance(content, dict) else None
    if isinstance(value, bool) or not isinstance(value, str | int | Decimal):
        raise ValueError(f"{name} is missing" if value is None else f"{name} is no number")
    return str(value)
