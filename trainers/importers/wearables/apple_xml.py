"""The export.xml of Apple Health as a stream of its elements, whatever its size, and whoever wrote it.

The document type is never parsed: iOS 16 exports one that is not well-formed, and nothing in it is needed. Without one
there are no entities, so neither expansion nor anything from outside: a reference to any is a fault of syntax.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO
from xml.parsers.expat import ErrorString

from trainers.importers.base import MAX_DEPTH, MAX_ITEM_BYTES

CHUNK = 1 << 16  # bytes
MAX_PROLOGUE = 1 << 18  # bytes before the first element; Apple's document type has 8,000
MAX_CHILDREN = 100_000  # of one element: a marathon's pauses and laps are some hundred

# iOS 16 writes vertical tabs into attributes; XML 1.0 allows none of these.
_FORBIDDEN = bytes(set(range(32)) - set(b"\t\n\r"))
_ROOT = b"<HealthData"


@dataclass(frozen=True)
class Element:
    """A child of HealthData with all that is below it, in one list: (name, attributes) each."""

    name: str
    attributes: Mapping[str, str]
    below: list[tuple[str, Mapping[str, str]]] = field(default_factory=list)


def elements(path: Path) -> Iterator[Element]:
    """The children of HealthData, one at a time, in constant memory. Raises ValueError whose text is a reason."""
    from defusedxml.ElementTree import ParseError, XMLParser

    tree = _Tree()
    parser = XMLParser(target=tree, encoding="utf-8", forbid_dtd=True)
    with path.open("rb") as file:
        try:
            for chunk in _after_prologue(file):
                parser.feed(chunk.translate(None, _FORBIDDEN))
                yield from tree.finished(len(chunk))
            parser.close()
        except (ParseError, ValueError) as fault:
            yield from tree.finished(0)  # those before it
            raise ValueError(_reason(fault)) from fault


def _reason(fault: SyntaxError | ValueError) -> str:
    """Ours, or expat's own words: never what the file says, nor a line, which the prologue has moved."""
    if isinstance(fault, ValueError):
        return str(fault)
    return f"no XML: {ErrorString(getattr(fault, 'code', 0)) or 'a fault of syntax'}"


def _after_prologue(file: BinaryIO) -> Iterator[bytes]:
    head = file.read(MAX_PROLOGUE)
    start = head.find(_ROOT)
    if start < 0:
        raise ValueError("no HealthData in it")
    if b"<!ENTITY" in head[:start]:
        raise ValueError("it declares entities, as no export of Apple Health does")
    yield head[start:]
    while chunk := file.read(CHUNK):
        yield chunk


class _Tree:
    """What the parser calls: keeps the child that is open and those that are complete, and nothing else."""

    def __init__(self) -> None:
        self.depth = 0
        self.open: Element | None = None
        self.complete: list[Element] = []
        self.silent_bytes = 0  # since something was complete

    def start(self, name: str, attributes: dict[str, str]) -> None:
        self.depth += 1
        if self.depth > MAX_DEPTH:
            raise ValueError(f"nested deeper than {MAX_DEPTH}")
        if self.open is None:
            self.open = Element(name, attributes) if self.depth == 2 else None
        elif len(self.open.below) >= MAX_CHILDREN:
            raise ValueError(f"an element with more than {MAX_CHILDREN:,} below it")
        else:
            self.open.below.append((name, attributes))

    def end(self, name: str) -> None:
        self.depth -= 1
        if self.depth == 1 and self.open is not None:
            self.complete.append(self.open)
            self.open = None

    def close(self) -> None:
        """ElementTree's protocol: there is no tree to give."""

    def finished(self, read: int) -> Iterator[Element]:
        """Those that became complete with the last `read` bytes. Raises ValueError for one that never does."""
        self.silent_bytes = 0 if self.complete else self.silent_bytes + read
        if self.silent_bytes > MAX_ITEM_BYTES:
            raise ValueError(f"an element of more than {MAX_ITEM_BYTES >> 20} MiB")
        yield from self.complete
        self.complete.clear()
