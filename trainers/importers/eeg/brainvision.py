"""BrainVision: a header (.vhdr) that names a file of samples (.eeg) and one of markers (.vmrk) beside it.

The recording that a record carries is a tar of the three, named recording.*, always the same for the same recording:
header and markers are written again from what is understood of them. Comments, impedances, the dates of segments and
the words of markers of type Comment are free text, or identify, and are left out; the date of the first segment stays
known to the record (Record.time), which is sealed and opened under consent.

Source: BrainVision Core Data Format 1.0 (Brain Products).
"""

from __future__ import annotations

import re
import tarfile
from dataclasses import dataclass
from datetime import datetime, tzinfo
from fractions import Fraction
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trainers.importers.base import MAX_TEXT_BYTES, Context
from trainers.importers.eeg.recording import MAX_CHANNELS, MAX_FILE_BYTES, Channel, Recording, decimal, unit_of
from trainers.importers.measures import times
from trainers.importers.reading.bounded import Unreadable, read_whole

if TYPE_CHECKING:
    from numpy.typing import NDArray

HEADER_TITLE = re.compile(r"Brain ?Vision(?: V-Amp)? Data(?: Exchange)? Header File,? Version \d", re.IGNORECASE)
MAX_HEADER_BYTES = 1 << 20
FORMATS = {"INT_16": "<i2", "UINT_16": "<u2", "INT_32": "<i4", "IEEE_FLOAT_32": "<f4"}

_DECIMAL = re.compile(r"\d{1,9}(\.\d{0,9})?([eE][+-]?\d)?")
_MARKER = re.compile(
    r"Mk\d+=(?P<type>[^,]*),(?P<text>[^,]*),(?P<at>\d{1,12}),(?P<size>\d{1,12}),(?P<channel>-?\d{1,6})(?:,(?P<date>\d*))?"
)


@dataclass(frozen=True)
class Header:
    """interval: microseconds a sample. channels: label, reference, resolution and unit of each, as written."""

    data: str
    markers: str
    multiplexed: bool
    format: str
    interval: Fraction
    channels: list[tuple[str, str, Fraction, str]]


def read_brainvision(path: Path, context: Context) -> Recording:
    """The recording that the header at path describes. Raises Unreadable."""
    header = read_header(_text(read_whole(path, MAX_HEADER_BYTES)))
    samples = read_whole(_beside(path, header.data), MAX_FILE_BYTES)
    markers: list[re.Match[str]] = []
    if header.markers:
        markers = _markers(_text(read_whole(_beside(path, header.markers), MAX_TEXT_BYTES)))
    points = _points(header, len(samples))
    return Recording(
        source="brainvision",
        channels=_channels(header, samples, points),
        duration=points * header.interval / 10**6,
        annotations=len(markers),
        time=_start(markers, context.zone),
        subject=context.default_subject,
        data=_bundle(header, samples, markers),
    )


def parts_of(path: Path) -> list[str]:
    """The other files that the header at path names, as it names them; none that would be outside of its folder."""
    try:
        header = read_header(_text(read_whole(path, MAX_HEADER_BYTES)))
    except Unreadable:
        return []
    return [name for name in (header.data, header.markers) if not _leads_out(name)]


def named(name: str, stem: str) -> str:
    """The name of a file, as a header of this stem gives it."""
    return name.replace("$b", stem)


def _leads_out(name: str) -> bool:
    return bool(re.search(r"[/\\:\0]", name)) or name in ("", ".", "..")


def _text(data: bytes) -> str:
    """UTF-8 where it is, else Latin-1, as old recorders wrote."""
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError:
        return data.decode("latin-1")


def _beside(path: Path, name: str) -> Path:
    """The file that a header names, in its own folder and no other. Raises Unreadable."""
    name = named(name, path.stem)
    other = path.parent / name
    if _leads_out(name):
        raise Unreadable("its header names a file outside of its folder")
    try:
        if other.resolve().parent != path.parent.resolve():  # a link
            raise Unreadable("its header names a file outside of its folder")
        if not other.is_file():
            raise Unreadable("its header names a file that is not there")
    except (OSError, RuntimeError) as fault:  # a name that is too long, links that go round
        raise Unreadable("its header names a file that cannot be looked for") from fault
    return other


def read_header(text: str) -> Header:
    """The header, from its text. Raises Unreadable for what is missing, or not read here (ASCII data)."""
    if not HEADER_TITLE.match(text):
        raise Unreadable("not a BrainVision header")
    sections = _sections(text)
    common, binary = sections.get("common infos", {}), sections.get("binary infos", {})
    if common.get("dataformat", "").upper() != "BINARY" or binary.get("binaryformat", "").upper() not in FORMATS:
        raise Unreadable("samples that are not binary, or of a format that is not known")
    orientation = common.get("dataorientation", "MULTIPLEXED").upper()
    if orientation not in ("MULTIPLEXED", "VECTORIZED"):
        raise Unreadable("an orientation of data that is not known")
    interval = common.get("samplinginterval", "")
    if not _DECIMAL.fullmatch(interval) or Fraction(interval) == 0:
        raise Unreadable("no sampling interval")
    channels = _channel_lines(common.get("numberofchannels", ""), sections.get("channel infos", {}))
    return Header(
        data=common.get("datafile", ""),
        markers=common.get("markerfile", ""),
        multiplexed=orientation == "MULTIPLEXED",
        format=binary["binaryformat"].upper(),
        interval=Fraction(interval),
        channels=channels,
    )


def _sections(text: str) -> dict[str, dict[str, str]]:
    """Keys and values by section, both names in lower case; what is neither is passed over."""
    sections: dict[str, dict[str, str]] = {}
    current: dict[str, str] = {}
    for line in text.splitlines():
        line = line.strip()
        if line.startswith("[") and line.endswith("]"):
            current = sections.setdefault(line[1:-1].lower(), {})
        elif "=" in line and not line.startswith(";"):
            key, _, content = line.partition("=")
            current.setdefault(key.strip().lower(), content.strip())
    return sections


def _channel_lines(count: str, lines: dict[str, str]) -> list[tuple[str, str, Fraction, str]]:
    """Ch1=label,reference,resolution,unit: resolution is 1 and unit µV where they are missing; \\1 is a comma."""
    if not re.fullmatch(r"\d{1,5}", count) or not 1 <= int(count) <= MAX_CHANNELS:
        raise Unreadable("no number of channels that is possible")
    if sorted(lines) != sorted(f"ch{i}" for i in range(1, int(count) + 1)):
        raise Unreadable("other channels than their number says")
    channels = []
    for i in range(1, int(count) + 1):
        label, reference, resolution, unit, *_ = [*lines[f"ch{i}"].split(","), "", "", ""]
        if not label:
            raise Unreadable("a channel without a label")
        if resolution and (not _DECIMAL.fullmatch(resolution) or Fraction(resolution) == 0):
            raise Unreadable("a channel without a resolution")
        channels.append((label.replace("\\1", ","), reference, Fraction(resolution or 1), unit_of(unit) or "uV"))
    return channels


def _points(header: Header, size: int) -> int:
    """Samples a channel. Raises Unreadable where the channels do not have equally many, or none."""
    frame = int(FORMATS[header.format][2]) * len(header.channels)
    if size == 0 or size % frame:
        raise Unreadable("samples that are cut off, or of another number of channels")
    return size // frame


def _channels(header: Header, samples: bytes, points: int) -> list[Channel]:
    import numpy as np

    shape = (points, len(header.channels)) if header.multiplexed else (len(header.channels), points)
    table: NDArray[Any] = np.frombuffer(samples, FORMATS[header.format]).reshape(shape)
    along = 0 if header.multiplexed else 1
    lows, highs = table.min(axis=along), table.max(axis=along)
    if not (np.isfinite(lows).all() and np.isfinite(highs).all()):
        raise Unreadable("samples that are not finite")
    rate = 10**6 / header.interval
    return [
        Channel(label, unit, rate, points, Fraction(low.item()) * resolution, Fraction(high.item()) * resolution)
        for (label, _, resolution, unit), low, high in zip(header.channels, lows, highs, strict=True)
    ]


def _markers(text: str) -> list[re.Match[str]]:
    lines = [line.strip() for line in text.splitlines()]
    if not re.match(r"Brain ?Vision Data(?: Exchange)? Marker File", text):
        raise Unreadable("not a BrainVision marker file")
    matches = [_MARKER.fullmatch(line) for line in lines if re.match(r"Mk\d+=", line)]
    if not all(matches):
        raise Unreadable("a malformed marker")
    return [match for match in matches if match]


def _start(markers: list[re.Match[str]], zone: tzinfo) -> str:
    """A record's time for the first segment's date (YYYYMMDDhhmmss and microseconds), "" where there is none."""
    for marker in markers:
        if marker["type"] == "New Segment" and marker["date"] and len(marker["date"]) == 20:
            try:
                return times.of_datetime(datetime.strptime(marker["date"], "%Y%m%d%H%M%S%f").replace(tzinfo=zone))
            except ValueError:
                return ""
    return ""


def _bundle(header: Header, samples: bytes, markers: list[re.Match[str]]) -> bytes:
    """The three files as a tar without times, owners or names."""
    stream = BytesIO()
    with tarfile.open(fileobj=stream, mode="w", format=tarfile.USTAR_FORMAT) as bundle:
        for name, content in (
            ("recording.vhdr", _header_text(header).encode()),
            ("recording.vmrk", _marker_text(markers).encode()),
            ("recording.eeg", samples),
        ):
            member = tarfile.TarInfo(name)
            member.size = len(content)
            bundle.addfile(member, BytesIO(content))
    return stream.getvalue()


def _header_text(header: Header) -> str:
    lines = [
        "Brain Vision Data Exchange Header File Version 1.0",
        "[Common Infos]",
        "Codepage=UTF-8",
        "DataFile=recording.eeg",
        "MarkerFile=recording.vmrk",
        "DataFormat=BINARY",
        f"DataOrientation={'MULTIPLEXED' if header.multiplexed else 'VECTORIZED'}",
        f"NumberOfChannels={len(header.channels)}",
        f"SamplingInterval={decimal(header.interval)}",
        "[Binary Infos]",
        f"BinaryFormat={header.format}",
        "[Channel Infos]",
    ]
    for i, (label, reference, resolution, unit) in enumerate(header.channels, 1):
        name = label.replace(",", "\\1")
        lines.append(f"Ch{i}={name},{reference},{decimal(resolution)},{unit.replace('uV', 'µV')}")
    return "\r\n".join(lines) + "\r\n"


def _marker_text(markers: list[re.Match[str]]) -> str:
    lines = ["Brain Vision Data Exchange Marker File, Version 1.0", "[Common Infos]", "Codepage=UTF-8"]
    lines += ["DataFile=recording.eeg", "[Marker Infos]"]
    for i, marker in enumerate(markers, 1):
        text = "" if marker["type"] == "Comment" else marker["text"]
        lines.append(f"Mk{i}={marker['type']},{text},{marker['at']},{marker['size']},{marker['channel']}")
    return "\r\n".join(lines) + "\r\n"
