"""JSON of any size, item by item, in bounded memory.

A scan over brackets and strings finds where each item of a list ends; only then json reads that item: none larger than
MAX_ITEM_BYTES, deeper than MAX_DEPTH or of more than MAX_VALUES. One that is larger or deeper, that names a key twice
or is no JSON is passed over, and the next one is read; only brackets that do not match, or an end that is missing, end
the reading. Numbers are int and Decimal, never float. Faults never quote the text.

By hand because ijson's C code, which would do the scan, runs on after an integer that Python refuses to convert, and
has ended the process so.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from decimal import Decimal, InvalidOperation
from io import BytesIO
from typing import Any, BinaryIO, NoReturn

from trainers.importers.base import MAX_DEPTH, MAX_ITEM_BYTES

BOM = b"\xef\xbb\xbf"
MAX_VALUES = 1_000_000  # names and values in one item, each of which takes some sixty bytes of memory
MAX_OPEN = 1_000_000  # brackets: nobody looks for the end of what is nested so deep
MAX_DIGITS = 400  # of a number; a double has no more than 309 before its point

_BLOCK = 1 << 20
_BLANK = re.compile(rb"[ \t\r\n]*+")
_SCALAR = re.compile(rb"[^ \t\r\n,:\[\]{}\"]*+")
_TOKEN = re.compile(
    rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"|["\[\]{}]', re.DOTALL
)  # a quotation mark alone: of a string without end
_QUOTE = ord('"')
_CLOSING = {ord("["): ord("]"), ord("{"): ord("}")}


class JsonError(ValueError):
    """What is no JSON, or no JSON that is read here; the message is one that a rejection can give."""


def document(data: bytes) -> Any:
    """The content of one JSON text. Raises JsonError."""
    text = _Text(BytesIO(data))
    content = _content(text.value())
    text.end()
    return content


def member(stream: BinaryIO, name: str) -> Any:
    """What an object has under this name, where that is no list or object; None if it has nothing. Raises JsonError."""
    text = _Text(stream)
    for key in text.names():
        nested = text.peek() in (b"[", b"{")
        value = text.value()
        if key == name:
            return None if nested else _content(value)
    return None


def elements(stream: BinaryIO, name: str) -> Iterator[Any]:
    """Each element of the list that an object has under this name; a JsonError in place of one that is not read.

    Raises JsonError where the stream is no object, or stops to be JSON; what came before is read by then.
    """
    text = _Text(stream)
    for key in text.names():
        if key != name or text.peek() != b"[":
            text.value()
            continue
        for _ in text.separated(b"[", b"]"):
            try:
                yield _content(text.value())
            except _ItemError as fault:
                yield JsonError(str(fault))


class _ItemError(JsonError):
    """A fault of one item, after whose end the reading can go on."""


class _Text:
    """A JSON text that is read from a stream, and no more of it in memory than the value that is looked at."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self._held = bytearray(stream.read(_BLOCK).removeprefix(BOM))
        self._at = 0
        self._start = 0  # of the value that is looked at, and what keeps it from being read
        self._fault: _ItemError | None = None

    def peek(self) -> bytes:
        """The next byte that is no blank; b"" at the end."""
        while True:
            self._at = _BLANK.match(self._held, self._at).end()  # type: ignore[union-attr]
            if self._at < len(self._held):
                return bytes(self._held[self._at : self._at + 1])
            del self._held[:]
            self._at = 0
            if not self._more():
                return b""

    def end(self) -> None:
        if self.peek():
            raise JsonError("more follows after the end of the JSON")

    def names(self) -> Iterator[str]:
        """The name of each member of the object that comes next; the caller takes its value before the next name."""
        if self.peek() not in (b"{", b""):
            raise JsonError("it is no JSON object")
        for _ in self.separated(b"{", b"}"):
            if self.peek() != b'"':
                raise JsonError("it is not JSON")
            name = _content(self.value())
            self._take(b":")
            yield name
        self.end()

    def separated(self, opening: bytes, closing: bytes) -> Iterator[None]:
        """Yields once before each value, or each name, between these brackets."""
        self._take(opening)
        if self.peek() == closing:
            self._at += 1
            return
        while True:
            yield
            if self.peek() == closing:
                self._at += 1
                return
            self._take(b",")

    def value(self) -> bytes | _ItemError:
        """The bytes of the next value, or why they are not kept. Raises JsonError where it has no end."""
        first = self.peek()
        if self._at > _BLOCK:  # seldom, since what is kept is copied
            del self._held[: self._at]
            self._at = 0
        if first in (b"[", b"{", b'"'):
            return self._enclosed()
        while (end := _SCALAR.match(self._held, self._at).end()) == len(self._held):  # type: ignore[union-attr]
            if end - self._at > _BLOCK or not self._more():
                break
        value = bytes(self._held[self._at : end])
        if not value:
            raise JsonError("it is not JSON" if first else "the JSON ends too early")
        self._at = end
        return value

    def _enclosed(self) -> bytes | _ItemError:
        """A list, an object or a string."""
        self._start, self._fault, expected = self._at, None, bytearray()
        while True:
            mark = self._mark()
            if mark in _CLOSING:
                expected.append(_CLOSING[mark])
                if len(expected) > MAX_DEPTH:
                    self._fault = self._fault or _ItemError(f"it is nested more than {MAX_DEPTH} deep")
                if len(expected) > MAX_OPEN:
                    raise JsonError(f"it is nested more than {MAX_OPEN:,} deep")
            elif mark != _QUOTE and (not expected or expected.pop() != mark):
                raise JsonError("it is not JSON: its brackets do not match")
            if not expected:
                break
        self._measure()
        return self._fault or bytes(self._held[self._start : self._at])

    def _mark(self) -> int:
        """The next bracket, or the quotation mark of the next string, which is passed over as a whole."""
        while True:
            token = _TOKEN.search(self._held, self._at)
            if token and token[0] != b'"':
                self._at = token.end()
                return token[0][0]
            self._at = token.start() if token else len(self._held)
            self._measure()
            if len(self._held) - self._at > MAX_ITEM_BYTES:
                raise JsonError(f"a text of more than {MAX_ITEM_BYTES >> 20} MiB")
            if self._fault:  # then nobody wants what there is of it
                del self._held[: self._at]
                self._start = self._at = 0
            if not self._more():
                raise JsonError("the JSON ends too early")

    def _measure(self) -> None:
        if self._at - self._start > MAX_ITEM_BYTES:
            self._fault = self._fault or _ItemError(f"it is larger than {MAX_ITEM_BYTES >> 20} MiB")

    def _take(self, mark: bytes) -> None:
        found = self.peek()
        if found != mark:
            raise JsonError("it is not JSON" if found else "the JSON ends too early")
        self._at += 1

    def _more(self) -> bool:
        block = self._stream.read(_BLOCK)
        self._held += block
        return bool(block)


def _content(value: bytes | _ItemError) -> Any:
    """What a value of no more than MAX_DEPTH says. Raises _ItemError."""
    if isinstance(value, _ItemError):
        raise value
    if value.count(b",") + value.count(b"[") + value.count(b"{") > MAX_VALUES:
        raise _ItemError(f"it has more than {MAX_VALUES:,} values")
    try:
        return json.loads(
            value.decode(),
            object_pairs_hook=_object,
            parse_float=_decimal,
            parse_int=_integer,
            parse_constant=_no_number,
        )
    except UnicodeDecodeError:
        raise _ItemError("it is not UTF-8 (perhaps Latin-1)") from None
    except json.JSONDecodeError:
        raise _ItemError("it is not JSON") from None


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    content = dict(pairs)
    if len(content) < len(pairs):
        raise _ItemError("it names a key twice")
    return content


def _decimal(text: str) -> Decimal:
    if len(text) > MAX_DIGITS:
        raise _ItemError(f"a number of more than {MAX_DIGITS} digits")
    try:
        return Decimal(text)
    except InvalidOperation:  # an exponent beyond all measure
        raise _ItemError("a number of no size that is measured") from None


def _integer(text: str) -> int:
    if len(text) > MAX_DIGITS:
        raise _ItemError(f"a number of more than {MAX_DIGITS} digits")
    return int(text)


def _no_number(name: str) -> NoReturn:
    raise _ItemError("it is not JSON: a malformed or infinite number")
