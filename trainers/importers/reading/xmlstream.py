"""XML of any size as a stream of its elements, whoever wrote it: none larger, deeper or fuller than is allowed.

A document type is refused, and with it every entity, so that there is neither expansion nor anything from outside.
Text between elements is passed over: the formats that are read here say everything in attributes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from xml.parsers.expat import ErrorString

from trainers.importers.base import MAX_DEPTH, MAX_ITEM_BYTES

BLOCK = 1 << 18  # bytes to read at a time: a smaller one costs time, as expat starts a long attribute anew with each
MAX_ATTRIBUTES = 1_000  # of an element
MAX_ELEMENTS = 100_000  # below one that is given; a marathon's pauses and laps are some hundred


@dataclass(frozen=True)
class Element:
    """An element without its text. name: with its namespace in braces, where it has one."""

    name: str
    attributes: Mapping[str, str]
    children: list[Element] = field(default_factory=list)

    def below(self) -> Iterator[Element]:
        """Every element below it, in the order of the document."""
        pending = self.children[::-1]
        while pending:
            element = pending.pop()
            yield element
            pending += element.children[::-1]


def elements(blocks: Iterable[bytes], level: Callable[[str], int], encoding: str | None = None) -> Iterator[Element]:
    """The elements of one level, one at a time, in constant memory. Raises ValueError whose text is a reason.

    level: from the root's name, 1 for the root itself, 2 for its children. encoding: in place of the declared one.
    """
    from defusedxml.common import DefusedXmlException
    from defusedxml.ElementTree import ParseError, XMLParser

    tree = _Tree(level)
    parser = XMLParser(target=tree, encoding=encoding, forbid_dtd=True)
    try:
        for block in blocks:
            parser.feed(block)
            yield from tree.finished(len(block))
        parser.close()
    except DefusedXmlException as fault:
        raise ValueError("it has a document type, or entities, which are not read") from fault
    except (ParseError, ValueError) as fault:
        yield from tree.finished(0)  # those before it
        raise ValueError(_reason(fault)) from fault


def _reason(fault: SyntaxError | ValueError) -> str:
    """Ours, or expat's own words: never what the file says."""
    if isinstance(fault, ValueError):
        return str(fault)
    return f"no XML: {ErrorString(getattr(fault, 'code', 0)) or 'a fault of syntax'}"


class _Tree:
    """What the parser calls: keeps the element that is open and those that are complete, and nothing else."""

    def __init__(self, level: Callable[[str], int]) -> None:
        self._level_of = level
        self._level = 0
        self._depth = 0
        self._count = 0  # of elements below the one that is open
        self._open: list[Element] = []
        self._complete: list[Element] = []
        self._silent_bytes = 0  # since something was complete

    def start(self, name: str, attributes: dict[str, str]) -> None:
        self._depth += 1
        if self._depth > MAX_DEPTH:
            raise ValueError(f"nested deeper than {MAX_DEPTH}")
        if len(attributes) > MAX_ATTRIBUTES:
            raise ValueError(f"an element of more than {MAX_ATTRIBUTES:,} attributes")
        self._level = self._level or self._level_of(name)
        if self._depth < self._level:
            return
        element = Element(name, attributes)
        if self._open:
            self._count += 1
            if self._count > MAX_ELEMENTS:
                raise ValueError(f"an element with more than {MAX_ELEMENTS:,} below it")
            self._open[-1].children.append(element)
        self._open.append(element)

    def end(self, name: str) -> None:
        self._depth -= 1
        if not self._open:
            return
        element = self._open.pop()
        if not self._open:
            self._complete.append(element)
            self._count = 0

    def close(self) -> None:
        """ElementTree's protocol: there is no tree to give."""

    def finished(self, read: int) -> Iterator[Element]:
        """Those that became complete with the last `read` bytes. Raises ValueError for one that never does."""
        self._silent_bytes = 0 if self._complete else self._silent_bytes + read
        if self._silent_bytes > MAX_ITEM_BYTES:
            raise ValueError(f"an element of more than {MAX_ITEM_BYTES >> 20} MiB")
        yield from self._complete
        self._complete.clear()
