"""The header of EDF, EDF+ and BDF: fixed fields of ASCII, each checked, and the file's size against what they say.

Source: Kemp et al. 1992 (EDF); Kemp and Olivan 2003 (EDF+); BioSemi (BDF). Raises Unreadable for all that is amiss.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise

from trainers.importers.eeg.recording import MAX_CHANNELS, unit_of
from trainers.importers.reading.bounded import Unreadable

EDF, BDF = b"0       ", b"\xffBIOSEMI"
HEADER = 256  # bytes, and as many again for each signal
_WIDTHS = (
    16,
    80,
    8,
    8,
    8,
    8,
    8,
    80,
    8,
    32,
)  # label, transducer, unit, 2 physical, 2 digital, filter, samples, reserved
_DECIMAL = re.compile(r"[+-]?(\d{1,8}(\.\d{0,8})?|\.\d{1,8})([eE][+-]?\d)?")


@dataclass(frozen=True)
class Signal:
    """A signal's header. lowest, highest: the physical values of the digital ones bottom and top. samples: a record."""

    label: str
    transducer: str
    unit: str
    lowest: Fraction
    highest: Fraction
    bottom: int
    top: int
    filtering: str
    samples: int

    @property
    def annotates(self) -> bool:
        return self.label in ("EDF Annotations", "BDF Annotations")

    def physical(self, digital: int) -> Fraction:
        return self.lowest + (digital - self.bottom) * (self.highest - self.lowest) / (self.top - self.bottom)


@dataclass(frozen=True)
class Layout:
    """A file's header. width: bytes a sample, 2 or 3. duration: seconds a data record."""

    width: int
    patient: str
    recording: str
    date: str
    clock: str
    plus: bool
    records: int
    duration: Fraction
    signals: list[Signal]


def read_layout(data: bytes) -> Layout:
    """The header, each of its fields what the format says, and the file as long as it says. Raises Unreadable."""
    if data[:8] not in (EDF, BDF) or len(data) < HEADER:
        raise Unreadable("neither EDF nor BDF, or cut off within its header")
    ends = (8, 88, 168, 176, 184, 192, 236, 244, 252, 256)
    fields = [data[start:end].decode("latin-1").strip() for start, end in pairwise(ends)]
    patient, recording, date, clock, size, reserved, records, duration, signals = fields
    count = _whole(signals, "the number of signals", 1, MAX_CHANNELS)
    if _whole(size, "the size of its header", 0, 10**8) != HEADER * (count + 1) or len(data) < HEADER * (count + 1):
        raise Unreadable("a header of another size than its signals need")
    layout = Layout(
        width=2 if data[:8] == EDF else 3,
        patient=patient,
        recording=recording,
        date=date,
        clock=clock,
        plus=reserved[:5] in ("EDF+C", "EDF+D", "BDF+C", "BDF+D"),
        records=_whole(records, "the number of data records", 1, 10**8),
        duration=_number_of(duration, "the duration of a data record"),
        signals=_signals(data[HEADER : HEADER * (count + 1)], count),
    )
    _check_size(layout, len(data))
    return layout


def _check_size(layout: Layout, size: int) -> None:
    if layout.duration < 0 or (layout.duration == 0 and not all(signal.annotates for signal in layout.signals)):
        raise Unreadable("signals without a duration")
    needed = HEADER * (len(layout.signals) + 1)
    needed += layout.records * layout.width * sum(signal.samples for signal in layout.signals)
    if size != needed:
        raise Unreadable(f"{size:,} bytes where its header says {needed:,}")


def _signals(data: bytes, count: int) -> list[Signal]:
    """Each field stands for all signals before the next field."""
    columns, offset = [], 0
    for width in _WIDTHS:
        texts = [data[offset + i * width : offset + (i + 1) * width].decode("latin-1").strip() for i in range(count)]
        columns.append(texts)
        offset += width * count
    return [_signal(*fields) for fields in zip(*columns, strict=True)]


def _signal(label: str, transducer: str, unit: str, *fields: str) -> Signal:
    lowest, highest, bottom, top, filtering, samples, _ = fields
    low, high = _number_of(lowest, "a physical minimum"), _number_of(highest, "a physical maximum")
    bounds = [_whole(text, "a digital range", -(2**23), 2**23 - 1) for text in (bottom, top)]
    if bounds[0] >= bounds[1] or low == high:
        raise Unreadable("a signal without a range")
    count = _whole(samples, "the samples of a data record", 1, 10**8)
    return Signal(label, transducer, unit_of(unit), low, high, bounds[0], bounds[1], filtering, count)


def _whole(text: str, what: str, least: int, most: int) -> int:
    if not re.fullmatch(r"[+-]?\d{1,9}", text) or not least <= int(text) <= most:
        raise Unreadable(f"{what} is not a whole number that is possible")
    return int(text)


def _number_of(text: str, what: str) -> Fraction:
    if not _DECIMAL.fullmatch(text):
        raise Unreadable(f"{what} is not a number")
    return Fraction(text)
