"""HL7 v2: ADT, ORU and OML (or ORM) messages, one or many in a file, plain, in batches or framed for MLLP.

An OBX is an observation, an ADT message an encounter, an OBR of an OML an order. A segment that has a fault is rejected
alone where others do not depend on it; what makes a message unsure as a whole, as a line break inside of a field or no
patient does, rejects the message.

Source: HL7 v2.8.2; versions 2.1 to 2.9 are read alike.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path

from hmchain.errors import DataError
from hmchain.record import Record
from trainers.importers.base import Context, Rejection
from trainers.importers.hl7.fields import BOM, Faulty, Segment, messages, parsed
from trainers.importers.hl7.records import Envelope, order, result, time, visit
from trainers.importers.measures.naming import nameless, names_in

NAME = "hl7v2"
_START = re.compile(rb"[\s\x0b]*(?:MSH|FHS|BHS)[^\w\s]")
_VERSION = re.compile(r"2\.[0-9](?:\.[0-9])?")
_ORDERS = ("OML", "ORM", "OMG")
_READ = ("ADT", "ORU", *_ORDERS)
_NUMBERS = ("MR", "PI", "PT", "MRN", "")  # kinds of a patient's number, the best first
_OTHERS = ("SS", "DL", "PPN", "BC", "AN")  # of the state, of a bank, of a bill: not the hospital's for a person


def recognises(head: bytes, path: Path) -> bool:
    """Whether this starts with the header of a message, a batch or a file of them."""
    return bool(_START.match(head.removeprefix(BOM)))


def read(path: Path, context: Context) -> Iterator[Record | Rejection]:
    """A record for each result, visit and order; positions are "message 1, OBX 3", counted from 1 in each message."""
    number = 0
    try:
        with path.open("rb") as file:
            if file.read(2) in (b"\xff\xfe", b"\xfe\xff"):
                yield Rejection("file", "it is UTF-16; UTF-8 and what MSH-18 names are read")
                return
            file.seek(0)
            for number, lines in enumerate(messages(file), 1):
                yield from _message(f"message {number}", lines, context)
    except OSError as fault:
        yield Rejection("file", f"cannot be read: {fault.strerror}")
    else:
        if not number:
            yield Rejection("file", "it has no segments")


def _message(position: str, lines: list[bytes] | Faulty, context: Context) -> Iterator[Record | Rejection]:
    try:
        if isinstance(lines, Faulty):
            raise lines
        segments = parsed(lines)
        kind, of = _envelope(segments, context)
    except ValueError as fault:
        yield Rejection(position, str(fault))
        return
    if kind == "ADT":
        yield _made(position, of, visit, segments)
    yield from _orders_and_results(position, segments, of, kind in _ORDERS)


def _envelope(segments: list[Segment], context: Context) -> tuple[str, Envelope]:
    msh = segments[0]
    kind, version = msh.text(9), msh.text(12)
    if kind not in _READ:
        raise ValueError(f"only {', '.join(_READ)} messages are imported (MSH-9)")
    if not _VERSION.fullmatch(version):
        raise ValueError("it names no version of HL7 v2 (MSH-12)")
    patients = [segment for segment in segments if segment.name == "PID"]
    if len(patients) != 1:
        raise ValueError("it is about several patients (PID)" if patients else "it names no patient (PID)")
    subject = context.pseudonym(_patient(patients[0]))
    if not subject:
        raise ValueError("its patient has no number (PID-3)")
    received = time(msh, 7, context.zone)
    return kind, Envelope(context, subject, f"hl7v2-{version}", msh.text(9, 2), received, _names(segments))


def _names(segments: list[Segment]) -> set[str]:
    """What the patient was and is called, its mother, relatives and who pays for it; and the numbers it was given."""
    names = {"PID": (5, 6, 9), "MRG": (7,), "NK1": (2, 30), "GT1": (3,), "IN1": (16,)}
    numbers = {"PID": (2, 3, 4, 18, 19, 20), "MRG": (1, 2, 3, 4)}
    found = [segment.whole(field) for segment in segments for field in names.get(segment.name, ())]
    for segment in segments:
        for field in numbers.get(segment.name, ()):
            found += [segment.text(field, 1, repetition) for repetition in range(1, segment.count(field) + 1)]
    return names_in(*found)


def _patient(pid: Segment) -> str:
    """The hospital's number for the patient: the first of PID-3 of the best kind, or PID-2, as before version 2.3.1."""
    numbers = [(pid.text(3, 5, r), pid.text(3, 1, r)) for r in range(1, pid.count(3) + 1) if pid.text(3, 1, r)]
    best = [number for wanted in _NUMBERS for kind, number in numbers if kind == wanted]
    other = [number for kind, number in numbers if kind not in _OTHERS]
    return next(iter(best + other), "") or pid.text(2)


def _orders_and_results(
    position: str, segments: list[Segment], of: Envelope, ordering: bool
) -> Iterator[Record | Rejection]:
    count = {"ORC": 0, "OBR": 0, "OBX": 0}
    orc: Segment | None = None  # the last one, until its OBR comes
    obr: Segment | None = None
    for segment in (segment for segment in segments if segment.name in count):
        count[segment.name] += 1
        place = f"{position}, {segment.name} {count[segment.name]}"
        if segment.name == "ORC":
            orc, obr = segment, None
        elif segment.name == "OBX":
            yield _made(place, of, result, segment, obr)
        else:
            if ordering:
                yield _made(place, of, order, segment, orc)
            orc, obr = None, segment
    if ordering and not count["OBR"]:
        yield Rejection(position, "it says of no order what is ordered (OBR)")


def _made(place: str, of: Envelope, make: Callable[..., Record], *segments: object) -> Record | Rejection:
    """The record that is made of segments, without names."""
    try:
        record = nameless(make(*segments, of), of.names)
        record.encode()
        return record
    except (ValueError, DataError) as fault:
        return Rejection(place, str(fault))
