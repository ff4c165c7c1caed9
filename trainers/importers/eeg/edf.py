"""EDF, EDF+ and BDF, read by their published layout and rid of what identifies.

pyedflib, which the tests compare this with, refuses whole files that keep the layout but not every rule of EDF+, and
reads strangers' bytes in C. The layout is a few fixed fields, and each must be rewritten here anyway.

Patient and recording fields become those of an anonymous EDF+ ("X X X X", "Startdate X X X X"), the start 01.01.85
00.00.00, what is reserved blank. The start stays known to the record (Record.time), which is sealed and opened under
consent. Annotations stay, for without them sleep and seizures are lost; a file whose annotations, labels or transducer
texts repeat a word of its patient's name or number is refused. EDF+ says which part of its field is the patient's
number, and that is the subject; EDF has free text there, which is nobody's number: the subject is the context's.

Source: as edf_layout.py.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import datetime, timedelta, tzinfo
from fractions import Fraction
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from trainers.importers.base import Context
from trainers.importers.eeg.edf_layout import HEADER, Layout, Signal, read_layout
from trainers.importers.eeg.recording import Channel, Recording
from trainers.importers.measures import times
from trainers.importers.measures.naming import mentions, names_in
from trainers.importers.reading.bounded import Unreadable

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_MONTHS = ("JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC")
_PLUS = re.compile(rb"(EDF|BDF)\+[CD]|24BIT")
_ONSET = re.compile(rb"([+-]\d{1,12}(?:\.\d{1,12})?)(?:\x15\d{1,12}(?:\.\d{1,12})?)?")


def read_edf(data: bytes, context: Context) -> Recording:
    """The recording in these bytes. Raises Unreadable."""
    layout = read_layout(data)
    samples = bytes_of(data, layout)
    tracks = tracks_of(layout)
    channels = [_channel(samples, track, signal, layout) for signal, track in tracks if not signal.annotates]
    notes = [_annotations(samples[:, track].tobytes()) for signal, track in tracks if signal.annotates]
    texts = [text for _, found in notes for text in found]
    _refuse_names(layout, texts)
    return Recording(
        source="edf" if layout.width == 2 else "bdf",
        channels=channels,
        duration=layout.records * layout.duration,
        annotations=len(texts),
        time=_start(layout, notes[0][0] if notes else Fraction(0), context.zone),
        subject=context.pseudonym(_number(layout)) or context.default_subject,
        data=_blank(data, layout),
    )


def bytes_of(data: bytes, layout: Layout) -> NDArray[Any]:
    """uint8, (records, bytes a record)."""
    import numpy as np

    start = HEADER * (len(layout.signals) + 1)
    return np.frombuffer(data, np.uint8, offset=start).reshape(layout.records, -1)


def tracks_of(layout: Layout) -> list[tuple[Signal, slice]]:
    """Each signal, and where in a data record its bytes are."""
    tracks, offset = [], 0
    for signal in layout.signals:
        size = signal.samples * layout.width
        tracks.append((signal, slice(offset, offset + size)))
        offset += size
    return tracks


def has_gaps(data: bytes, layout: Layout) -> bool:
    """Whether time passes between data records, which EDF+D allows and the onsets of its records tell."""
    if not layout.plus or data[196:197] != b"D":
        return False
    track = next((track for signal, track in tracks_of(layout) if signal.annotates), slice(0))
    starts = [_ONSET.fullmatch(row.tobytes().partition(b"\x14")[0]) for row in bytes_of(data, layout)[:, track]]
    onsets = [Fraction(start[1].decode()) for start in starts if start]
    slack = layout.duration / 100  # onsets are rounded
    late = any(abs(later - onset - layout.duration) > slack for onset, later in pairwise(onsets))
    return late or len(onsets) < layout.records


def _channel(samples: NDArray[np.uint8], track: slice, signal: Signal, layout: Layout) -> Channel:
    extremes = sorted(signal.physical(digital) for digital in _extremes(samples[:, track], layout.width))
    rate = signal.samples / layout.duration
    count = signal.samples * layout.records
    return Channel(signal.label, signal.unit, Fraction(rate), count, extremes[0], extremes[1])


def _extremes(samples: NDArray[np.uint8], width: int) -> tuple[int, int]:
    """The smallest and the largest of little-endian two's complement samples of width bytes."""
    import numpy as np

    if width == 2:
        words = np.ascontiguousarray(samples).view("<i2")
        return int(words.min()), int(words.max())
    extremes: list[int] = []
    for triples in _blocks(samples.reshape(-1, 3)):
        values = _of_triples(triples)
        extremes += [int(values.min()), int(values.max())]
    return min(extremes), max(extremes)


def digital(samples: NDArray[np.uint8], width: int) -> NDArray[Any]:
    """A signal's samples, (N,) int16 or int32, of its bytes in each data record: little-endian two's complement."""
    import numpy as np

    if width == 2:
        return np.ascontiguousarray(samples).view("<i2").ravel()
    return np.concatenate([_of_triples(triples) for triples in _blocks(samples.reshape(-1, 3))])


def _of_triples(triples: NDArray[np.uint8]) -> NDArray[np.int32]:
    import numpy as np

    low, middle, high = triples.astype(np.int32).T
    values: NDArray[np.int32] = low | middle << 8 | (high ^ 0x80) - 0x80 << 16
    return values


def _blocks(table: NDArray[Any]) -> Iterator[NDArray[Any]]:
    """A table's rows, as many at a time as are small beside the file."""
    for start in range(0, len(table), 1 << 20):
        yield table[start : start + (1 << 20)]


def _annotations(track: bytes) -> tuple[Fraction, list[str]]:
    """The first onset (seconds after the start), and the texts of all annotations. Raises Unreadable."""
    texts: list[str] = []
    first: Fraction | None = None
    for group in filter(None, track.split(b"\0")):
        onset, *parts = group.split(b"\x14")
        match = _ONSET.fullmatch(onset)
        if not match or not parts:
            raise Unreadable("annotations that are none")
        first = Fraction(match[1].decode()) if first is None else first
        texts += [part.decode("utf-8", "replace") for part in parts if part]
    return first or Fraction(0), texts


def _refuse_names(layout: Layout, annotations: list[str]) -> None:
    names = names_in(layout.patient)
    texts = [text for signal in layout.signals for text in (signal.label, signal.transducer, signal.filtering)]
    if mentions([*texts, *annotations], names):
        raise Unreadable("its annotations or signals repeat what identifies the patient")


def _number(layout: Layout) -> str:
    """The patient's number that EDF+ has as first of four subfields, or ""."""
    parts = layout.patient.split(" ")
    return parts[0] if layout.plus and len(parts) >= 4 and parts[0] != "X" else ""


def _start(layout: Layout, onset: Fraction, zone: tzinfo) -> str:
    """A record's time for the start, to the fraction that EDF+ has in its first annotation; "" where it is unknown."""
    full = re.match(r"Startdate (\d\d)-([A-Z]{3})-(\d{4})\b", layout.recording)
    short = re.fullmatch(r"(\d\d)\.(\d\d)\.(\d\d)", layout.date)
    clock = re.fullmatch(r"(\d\d)\.(\d\d)\.(\d\d)", layout.clock)
    if layout.recording.startswith("Startdate X") or not clock or not (full or short):
        return ""
    if layout.date == "01.01.85" and layout.clock == "00.00.00" and not full:
        return ""  # what anonymous files have
    try:
        if layout.plus and full:
            day = (int(full[3]), _MONTHS.index(full[2]) + 1, int(full[1]))
        elif short:
            day = (int(short[3]) + (1900 if int(short[3]) >= 85 else 2000), int(short[2]), int(short[1]))
        else:
            return ""
        moment = datetime(*day, int(clock[1]), int(clock[2]), int(clock[3]), tzinfo=zone)
        return times.of_datetime(moment + timedelta(microseconds=int(onset * 10**6) if 0 <= onset < 1 else 0))
    except ValueError:
        return ""


def _blank(data: bytes, layout: Layout) -> bytes:
    """The file with nothing left in its identification fields."""
    count = len(layout.signals)
    kind = _PLUS.match(data[192:236])
    head = data[:8] + b"X X X X".ljust(80) + b"Startdate X X X X".ljust(80) + b"01.01.8500.00.00" + data[184:192]
    head += (kind[0] if kind else b"").ljust(44) + data[236:HEADER]
    reserved = HEADER * (count + 1) - 32 * count
    return head + data[HEADER:reserved] + b" " * (32 * count) + data[HEADER * (count + 1) :]
