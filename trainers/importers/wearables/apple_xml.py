"""The export.xml of Apple Health as a stream of its elements, whatever its size, and whoever wrote it.

The document type is never parsed: iOS 16 exports one that is not well-formed, and nothing in it is needed. Without one
there are no entities, so neither expansion nor anything from outside: a reference to any is a fault of syntax.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from trainers.importers.reading import xmlstream
from trainers.importers.reading.xmlstream import Element

MAX_PROLOGUE = 1 << 18  # bytes before the first element; Apple's document type has 8,000

# iOS 16 writes vertical tabs into attributes; XML 1.0 allows none of these.
_FORBIDDEN = bytes(set(range(32)) - set(b"\t\n\r"))
_ROOT = b"<HealthData"


def elements(path: Path) -> Iterator[Element]:
    """The children of HealthData, one at a time, in constant memory. Raises ValueError whose text is a reason."""
    with path.open("rb") as file:
        blocks = (block.translate(None, _FORBIDDEN) for block in _after_prologue(file))
        yield from xmlstream.elements(blocks, lambda root: 2, "utf-8")


def _after_prologue(file: BinaryIO) -> Iterator[bytes]:
    head = file.read(MAX_PROLOGUE)
    start = head.find(_ROOT)
    if start < 0:
        raise ValueError("no HealthData in it")
    if b"<!ENTITY" in head[:start]:
        raise ValueError("it declares entities, as no export of Apple Health does")
    yield head[start:]
    while chunk := file.read(xmlstream.BLOCK):
        yield chunk
