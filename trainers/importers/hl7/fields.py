"""HL7 v2 messages, cut out of files and taken apart into segments, fields, repetitions and components.

The hl7 package splits them: hl7apy takes twenty times as long, and refuses a message of version 2.5.1 for a segment of
2.7. Escapes are resolved here, since hl7's own unescape logs what it cannot read, and would fill the memory for one
that asks for a billion blank lines.

Source: HL7 v2.8.2, chapter 2 (2.5 delimiters, 2.7 escapes, 2.10.3 batches, 2.14 MSH) and the MLLP transport.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, BinaryIO

from trainers.importers.base import MAX_ITEM_BYTES

MAX_SEPARATORS = 200_000  # in a message; each costs the half of a kilobyte
BOM = b"\xef\xbb\xbf"

_ENDS = re.compile(rb"[\r\n\x0b\x1c]+")  # \x0b and \x1c frame a message in MLLP
_HEADER = re.compile(r"MSH([^\w\s])([^\w\s])([^\w\s])([^\w\s])([^\w\s])((?:(?!\1)[^\w\s])?)\1")
_NAME = re.compile(r"[A-Z][A-Z0-9]{2}")
_BATCH = (b"FHS", b"BHS", b"BTS", b"FTS")
_CHARSETS = {
    **dict.fromkeys(("", "ASCII", "UNICODE", "UNICODE UTF-8", "UTF-8"), "utf-8"),
    **{f"8859/{part}": f"iso8859-{part}" for part in (*range(1, 10), 15)},
}


class Faulty(ValueError):
    """A message that cannot be read, in words that hold nothing of what is in it."""


@dataclass(frozen=True)
class Segment:
    """A segment: numbers of fields, repetitions and components are HL7's own, from 1."""

    name: str
    _fields: Any
    _separators: str  # of fields, repetitions, components, subcomponents; and the escape character

    def count(self, field: int) -> int:
        """How often a field is repeated; 0 where it is empty."""
        return len(self._fields[field]) if self.whole(field) else 0

    def whole(self, field: int) -> str:
        """All of a field as text, with separators as they are written."""
        return self._unescaped(str(self._fields[field])).strip() if field < len(self._fields) else ""

    def text(self, field: int, component: int = 1, repetition: int = 1) -> str:
        """A component, or its first subcomponent; "" where there is none. HL7's null ("") is no text either."""
        value: Any = self._fields[field] if field < len(self._fields) else []
        for number in (repetition, component, 1):
            if isinstance(value, str):
                value = [value]
            value = value[number - 1] if number <= len(value) else []
        text = self._unescaped(value).strip() if isinstance(value, str) else ""
        return "" if text == '""' else text

    def _unescaped(self, text: str) -> str:
        escape = self._separators[4]
        if escape not in text:
            return text
        meant = dict(zip("FRSTE", self._separators, strict=True)) | {".br": "\n", ".sp": "\n", "H": "", "N": ""}
        pattern = f"{re.escape(escape)}([A-Za-z.][^{re.escape(escape)}]{{0,40}}){re.escape(escape)}"
        return re.sub(pattern, lambda match: meant.get(match[1], match[0]), text)


def messages(stream: BinaryIO) -> Iterator[list[bytes] | Faulty]:
    """The segments of each message; a Faulty in place of one that is too large, and of what no MSH comes before."""
    held: list[bytes] = []
    size = 0
    for segment in _segments(stream):
        if segment.startswith((b"MSH", *_BATCH)):
            if size:
                yield _whole(held, size)
            held, size = [], 0
        if not segment.startswith(_BATCH):
            size += len(segment) + 64
            if size <= MAX_ITEM_BYTES:
                held.append(segment)
    if size:
        yield _whole(held, size)


def _whole(held: list[bytes], size: int) -> list[bytes] | Faulty:
    if size > MAX_ITEM_BYTES:
        return Faulty(f"it is larger than {MAX_ITEM_BYTES >> 20} MiB")
    return held if held[0].startswith(b"MSH") else Faulty("no MSH segment comes before it")


def _segments(stream: BinaryIO) -> Iterator[bytes]:
    """Segments, without blank ones. What is too long for any message is cut, but not so short that it becomes one."""
    rest = bytearray()
    while block := stream.read(1 << 20):
        head, *others = _ENDS.split(block)
        rest += head[: max(0, MAX_ITEM_BYTES + 1 - len(rest))]
        if others:
            yield from filter(None, map(_bare, (bytes(rest), *others[:-1])))
            rest = bytearray(others[-1])
    if last := _bare(bytes(rest)):
        yield last


def _bare(segment: bytes) -> bytes:
    """The text without blanks around it, and without the byte order mark of a file that it was the start of."""
    return segment.strip().removeprefix(BOM).strip()


def parsed(lines: list[bytes]) -> list[Segment]:
    """The segments of a message, MSH first. Raises Faulty."""
    import hl7  # type: ignore[import-untyped]

    text = _decoded(lines)
    header = _HEADER.match(text)
    if not header or len(set("".join(header.groups()))) < len("".join(header.groups())):
        raise Faulty("MSH-1 and MSH-2 do not say what separates fields, components and repetitions")
    field, component, repetition, escape, sub = header.groups()[:5]
    if sum(text.count(separator) for separator in header.groups() if separator) > MAX_SEPARATORS:
        raise Faulty(f"it has more than {MAX_SEPARATORS:,} separators")
    for number, line in enumerate(text.split("\r"), 1):
        if not _NAME.fullmatch(line[:3]) or line[3:4] not in (field, ""):
            raise Faulty(f"segment {number} is none: it was cut off, or a field before it has a line break")
    try:
        message = hl7.parse(text)
    except Exception:  # hl7 has no exception of its own for most faults: IndexError, AssertionError
        raise Faulty("it cannot be taken apart") from None
    separators = field + repetition + component + sub + escape
    return [Segment(str(segment[0]), segment, separators) for segment in message]


def _decoded(lines: list[bytes]) -> str:
    """A message's text, by the character set that its MSH-18 names; UTF-8 where that is empty."""
    header = lines[0].split(lines[0][3:4] or b"|")
    name = header[17].decode("ascii", "replace").strip() if len(header) > 17 else ""
    charset = _CHARSETS.get(re.split(r"[^\w/ -]", name)[0].strip().upper())
    if charset is None:
        raise Faulty("MSH-18 names a character set that is not read here")
    try:
        return b"\r".join(lines).decode(charset)
    except UnicodeDecodeError:
        raise Faulty(f"it is not {charset.upper()}, as MSH-18 says by name or by being empty") from None
