"""The outline of a DICOM file, walked before pydicom opens it: is every element there, and how deep do they nest?

pydicom follows sequences of undefined length by recursion, which py-evm has unbounded for the whole process, takes a
file that was cut off for a whole one, and guesses at encodings. So what it is given is looked through here first,
without recursion. Source: DICOM PS3.5, chapter 7 (data elements, sequences) and A.4 (encapsulated pixel data); PS3.10,
chapter 7 (preamble, file meta information).
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, field

from trainers.importers.base import MAX_DEPTH

MAX_ELEMENTS = 500_000  # about 1 KB each once pydicom holds them
PREAMBLE = 128
MAGIC = b"DICM"

LONG_VRS = frozenset({"OB", "OD", "OF", "OL", "OV", "OW", "SQ", "SV", "UC", "UN", "UR", "UT", "UV"})
_TEXT_VRS = frozenset({"AE", "AS", "CS", "DA", "DS", "DT", "IS", "LO", "LT", "PN", "SH", "ST", "TM", "UI"})
SHORT_VRS = _TEXT_VRS | {"AT", "FD", "FL", "SL", "SS", "UL", "US"}
_UNDEFINED = 0xFFFFFFFF
_ITEM, _ITEM_END, _SEQUENCE_END = 0xFFFEE000, 0xFFFEE00D, 0xFFFEE0DD
_TRANSFER_SYNTAX = 0x00020010
_META_LIMIT = 64 << 10


class Broken(ValueError):
    """Bytes that are no DICOM; offset says where in the file."""

    def __init__(self, reason: str, offset: int) -> None:
        self.offset = offset
        super().__init__(f"{reason} (byte {offset:,})")


def read_meta(data: bytes) -> tuple[str, int]:
    """Transfer syntax UID and offset of the data set of a Part 10 file. Raises Broken."""
    offset, syntax = PREAMBLE + len(MAGIC), ""
    while data[offset : offset + 2] == b"\x02\x00":
        tag, vr, length, value = _header(data, offset, len(data), True, "<")
        if vr not in LONG_VRS | SHORT_VRS or value + length > min(len(data), _META_LIMIT):
            raise Broken("the file meta information is damaged", offset)
        if tag == _TRANSFER_SYNTAX:
            syntax = data[value : value + length].rstrip(b"\0 ").decode("ascii", "replace")
        offset = value + length
    if not syntax:
        raise Broken("no transfer syntax in the file meta information", offset)
    return syntax, offset


def looks_bare(data: bytes) -> bool:
    """Whether these bytes begin a data set without preamble and file meta information, as old systems wrote them."""
    group, element = struct.unpack_from("<HH", data.ljust(4, b"\xff"))
    return group == 0x0008 and element in (0x0000, 0x0001, 0x0005, 0x0008, 0x0012, 0x0016, 0x0018)


def bare_is_explicit(data: bytes) -> bool:
    """Whether a data set without file meta information spells out its value representations."""
    return data[4:6].decode("latin-1") in LONG_VRS | SHORT_VRS


def check(data: bytes, start: int, explicit: bool, big: bool) -> None:
    """Walk the data set from start to the end of data. Raises Broken at the first element that is not as it says."""
    if (
        len(data) - start >= 6
        and not explicit
        and data[start + 4 : start + 6].isalpha()
        and bare_is_explicit(data[start:])
    ):
        raise Broken("encoded in another way than is declared", start)
    walk = _Walk(data, ">" if big else "<", start)
    walk.enter("data set", len(data), True, explicit)
    while walk.frames:
        walk.step()


@dataclass
class _Frame:
    """What the walk is in. end: offset, exact where it is known, else that of what encloses it."""

    kind: str  # "data set", "items", "fragments"
    end: int
    exact: bool
    explicit: bool


@dataclass
class _Walk:
    data: bytes
    order: str
    offset: int
    elements: int = 0
    frames: list[_Frame] = field(default_factory=list)

    def enter(self, kind: str, end: int, exact: bool, explicit: bool) -> None:
        if len(self.frames) > 2 * MAX_DEPTH:  # a sequence is two: its items, and a data set each
            raise Broken(f"sequences are nested deeper than {MAX_DEPTH}", self.offset)
        self.frames.append(_Frame(kind, end, exact, explicit))

    def step(self) -> None:
        frame = self.frames[-1]
        if frame.exact and self.offset == frame.end:
            self.frames.pop()
            return
        self.elements += 1
        if self.elements > MAX_ELEMENTS:
            raise Broken(f"more than {MAX_ELEMENTS:,} elements", self.offset)
        if frame.kind == "data set":
            self._element(frame)
        else:
            self._item(frame)

    def _element(self, frame: _Frame) -> None:
        tag, vr, length, value = _header(self.data, self.offset, frame.end, frame.explicit, self.order)
        if tag == _ITEM_END and not frame.exact:
            self._leave(value)
        elif length == _UNDEFINED:
            self._open(tag, vr, frame, value)
        else:
            self._inside(value + length, frame)
            if _is_sequence(tag, vr):
                self.offset = value
                self.enter("items", value + length, True, frame.explicit and vr == "SQ")
            else:
                self.offset = value + length

    def _open(self, tag: int, vr: str, frame: _Frame, value: int) -> None:
        """An element that ends at a delimiter: pixel data in fragments, or a sequence (in UN: of implicit VR)."""
        if vr not in ("SQ", "UN", "", "OB", "OW"):
            raise Broken("a value of undefined length", self.offset)
        fragments = vr in ("OB", "OW") or (tag == 0x7FE00010 and vr != "SQ")
        self.offset = value
        self.enter("fragments" if fragments else "items", frame.end, False, frame.explicit and vr == "SQ")

    def _item(self, frame: _Frame) -> None:
        tag, _, length, value = _header(self.data, self.offset, frame.end, False, self.order)
        if tag == _SEQUENCE_END and not frame.exact:
            self._leave(value)
        elif tag != _ITEM or (length == _UNDEFINED and frame.kind == "fragments"):
            raise Broken("no item where a sequence needs one", self.offset)
        elif length == _UNDEFINED:
            self.offset = value
            self.enter("data set", frame.end, False, frame.explicit)
        else:
            self._inside(value + length, frame)
            self.offset = value + length if frame.kind == "fragments" else value
            if frame.kind == "items":
                self.enter("data set", value + length, True, frame.explicit)

    def _inside(self, end: int, frame: _Frame) -> None:
        if end > frame.end:
            raise Broken("cut off: an element reaches beyond what holds it", self.offset)

    def _leave(self, offset: int) -> None:
        self.frames.pop()
        self.offset = offset


def _header(data: bytes, offset: int, end: int, explicit: bool, order: str) -> tuple[int, str, int, int]:
    """Tag, VR ("" where none is spelled out), length and offset of the value. Raises Broken."""
    if offset + 8 > end:
        raise Broken("cut off within an element", offset)
    group, element = struct.unpack_from(order + "HH", data, offset)
    tag = group << 16 | element
    if not explicit or group == 0xFFFE:
        return tag, "", struct.unpack_from(order + "I", data, offset + 4)[0], offset + 8
    vr = data[offset + 4 : offset + 6].decode("latin-1")
    if vr in SHORT_VRS:
        return tag, vr, struct.unpack_from(order + "H", data, offset + 6)[0], offset + 8
    if vr not in LONG_VRS:
        raise Broken("no value representation of DICOM", offset)
    if offset + 12 > end:
        raise Broken("cut off within an element", offset)
    return tag, vr, struct.unpack_from(order + "I", data, offset + 8)[0], offset + 12


def _is_sequence(tag: int, vr: str) -> bool:
    """Whether pydicom takes a value apart as a sequence: by its VR, or by its dictionary where that says nothing."""
    if vr in ("", "UN"):
        from pydicom.datadict import dictionary_VR

        try:
            return dictionary_VR(tag) == "SQ"
        except KeyError:
            return False
    return vr == "SQ"
