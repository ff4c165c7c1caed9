"""EDF, BDF and BrainVision: what a recording's record says, what is left of its file, and what is refused."""

from __future__ import annotations

import tarfile
import zipfile
from datetime import timedelta, timezone
from fractions import Fraction
from io import BytesIO
from pathlib import Path

import numpy as np
import pyedflib
import pytest

from hmchain.record import Kind, Record
from tests.samples import RECORDS, needs_samples
from trainers.importers.base import Context, Rejection
from trainers.importers.detect import Skipped, import_files
from trainers.importers.eeg import edf_layout, formats
from trainers.importers.eeg.recording import decimal

SAMPLES = RECORDS / "eeg"
FILES = ("mne_test_edf_stim_channel.edf", "test_generator.bdf", "test_subsecond.edf")

CONTEXT = Context(bytes(range(32)))
PATIENT = "MCH-0234567 F 02-MAY-1951 Haagse_Harry"
WHO = "Startdate 02-MAR-2002 PSG-1234/2002 Dr_Bones Telemetry03"


def read(path: Path, context: Context = CONTEXT) -> Record | Rejection:
    (item,) = formats.read(path, context)
    return item


def record(path: Path, context: Context = CONTEXT) -> Record:
    item = read(path, context)
    assert isinstance(item, Record), item
    return item


def reason(path: Path) -> str:
    item = read(path)
    assert isinstance(item, Rejection)
    assert item.position == "file"
    return item.reason


# An EDF+ of two data records of a second: one signal at 4 Hz, and annotations

NOTES = (b"+0\x14\x14\0+0.5\x151\x14Spindle\x14\0", b"+1\x14\x14\0+1.5\x14Lights off\x14Door\x14\0")


def made(folder: Path, name: str = "a.edf", notes: tuple[bytes, bytes] = NOTES, **changes: str) -> Path:
    field = {
        "version": "0", "patient": PATIENT, "recording": WHO, "date": "02.03.02", "clock": "20.22.02",
        "size": "768", "reserved": "EDF+C", "records": "2", "duration": "1", "count": "2",
        "label": "EEG Fpz-Cz", "transducer": "AgAgCl", "unit": "uV", "low": "-100", "high": "100", "bottom": "-1000",
        "top": "1000", "filter": "HP:0.1Hz", "samples": "4",
    } | changes  # fmt: skip
    widths = (8, 80, 80, 8, 8, 8, 44, 8, 8, 4)
    keys = ("version", "patient", "recording", "date", "clock", "size", "reserved", "records", "duration", "count")
    head = "".join(field[key].ljust(width) for key, width in zip(keys, widths, strict=True))
    second = ("EDF Annotations", "", "", "-1", "1", "-32768", "32767", "", "30", "")
    first = (
        *(field[k] for k in ("label", "transducer", "unit", "low", "high", "bottom", "top", "filter", "samples")),
        "x",
    )
    for one, two, width in zip(first, second, edf_layout._WIDTHS, strict=True):
        head += one.ljust(width) + two.ljust(width)
    values = np.array([[0, 10, -20, 30], [40, 50, 60, -1000]], "<i2")
    body = b"".join(values[i].tobytes() + notes[i].ljust(60, b"\0") for i in range(2))
    (folder / name).write_bytes(head.encode("latin-1") + body)
    return folder / name


def test_a_recording_is_a_record_of_its_channels_duration_and_annotations(tmp_path: Path) -> None:
    found = record(made(tmp_path))
    assert (found.kind, found.type, found.source) == (Kind.RESEARCH, "eeg", "edf")
    assert found.value == {
        "channels": [
            {"label": "EEG Fpz-Cz", "unit": "uV", "rate_hz": "4", "samples": 8, "min": "-100", "max": "6"},
        ],
        "duration": {"value": "2", "unit": "s"},
        "annotations": 3,
    }
    assert found.time == "2002-03-02T20:22:02Z"
    assert found.subject == CONTEXT.pseudonym("MCH-0234567")
    assert Record.decode(found.encode()) == found


def test_the_start_is_in_the_hospitals_zone_and_has_the_fraction_of_edf_plus(tmp_path: Path) -> None:
    east = Context(CONTEXT.key, zone=timezone(timedelta(hours=1)))
    notes = (NOTES[0].replace(b"+0\x14\x14", b"+0.25\x14\x14"), NOTES[1])
    assert record(made(tmp_path, notes=notes), east).time == "2002-03-02T19:22:02.25Z"


@pytest.mark.parametrize(
    ("changes", "time"),
    [
        ({"reserved": "", "date": "02.03.84"}, "2084-03-02T20:22:02Z"),
        ({"reserved": "", "date": "02.03.85"}, "1985-03-02T20:22:02Z"),
        ({"recording": "Startdate X X X X", "date": "01.01.85"}, ""),
        ({"reserved": "", "recording": "", "date": "01.01.85", "clock": "00.00.00"}, ""),
        ({"reserved": "", "date": "31.02.20"}, ""),
        ({"clock": "25.00.00"}, ""),
        ({"clock": "midnight"}, ""),
    ],
)
def test_a_start_that_is_unknown_or_none_is_left_out(tmp_path: Path, changes: dict[str, str], time: str) -> None:
    assert record(made(tmp_path, **changes)).time == time


def test_who_has_no_number_is_the_contexts_subject(tmp_path: Path) -> None:
    about = Context(CONTEXT.key, subject="p7")
    assert record(made(tmp_path, patient="X X X X"), about).subject == about.default_subject
    assert record(made(tmp_path, reserved=""), about).subject == about.default_subject, "EDF has free text there"
    assert record(made(tmp_path), about).subject == CONTEXT.pseudonym("MCH-0234567")


def test_nothing_that_identifies_is_left_and_everything_else_is(tmp_path: Path) -> None:
    path = made(tmp_path)
    found, original = record(path), path.read_bytes()
    for word in (b"MCH", b"0234567", b"Haagse", b"Harry", b"1951", b"Bones", b"PSG", b"Telemetry", b"2002", b"02.03"):
        assert word not in found.attachment
    assert found.attachment[8:88].rstrip() == b"X X X X"
    assert found.attachment[88:168].rstrip() == b"Startdate X X X X"
    assert found.attachment[168:184] == b"01.01.8500.00.00"
    assert found.attachment[768:] == original[768:]
    assert len(found.attachment) == len(original)


def test_the_same_file_is_the_same_record_again_and_the_cleaned_one_has_the_same_content(tmp_path: Path) -> None:
    found = record(made(tmp_path))
    assert found.encode() == record(made(tmp_path)).encode()
    (tmp_path / "b.edf").write_bytes(found.attachment)
    again = record(tmp_path / "b.edf")
    assert (again.attachment, again.value, again.subject, again.time) == (found.attachment, found.value, "", "")


@pytest.mark.parametrize(
    "changes",
    [
        {"notes": (NOTES[0], b"+1\x14\x14\0+1.5\x14Harry moves\x14\0")},
        {"notes": (NOTES[0], b"+1\x14\x14\0+1.5\x14MCH 0234567\x14\0")},
        {"label": "Haagse 1"},
        {"transducer": "cap of harry"},
    ],
)
def test_a_file_that_repeats_its_patients_name_elsewhere_is_refused(tmp_path: Path, changes: dict) -> None:
    assert reason(made(tmp_path, **changes)) == "its annotations or signals repeat what identifies the patient"


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"version": "1"}, "neither EDF nor BDF"),
        ({"count": "0"}, "the number of signals"),
        ({"count": "-1"}, "the number of signals"),
        ({"count": "9999"}, "the number of signals"),
        ({"count": "3"}, "a header of another size"),
        ({"size": "512"}, "a header of another size"),
        ({"records": "-1"}, "the number of data records"),
        ({"records": "0"}, "the number of data records"),
        ({"records": "3"}, "bytes where its header says"),
        ({"records": "1"}, "bytes where its header says"),
        ({"samples": "5"}, "bytes where its header says"),
        ({"samples": "0"}, "the samples of a data record"),
        ({"duration": "0"}, "signals without a duration"),
        ({"duration": "-1"}, "signals without a duration"),
        ({"duration": "nan"}, "the duration of a data record is not a number"),
        ({"low": "x"}, "a physical minimum is not a number"),
        ({"low": "100"}, "a signal without a range"),
        ({"bottom": "1000"}, "a signal without a range"),
        ({"top": "99999999"}, "a digital range"),
        ({"notes": (b"+0\x14\x14\0hello\x14x\x14", NOTES[1])}, "annotations that are none"),
    ],
)
def test_a_header_that_cannot_be_is_refused(tmp_path: Path, changes: dict, words: str) -> None:
    assert words in reason(made(tmp_path, **changes))


def test_a_file_above_the_limit_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(formats, "MAX_FILE_BYTES", 100)
    assert reason(made(tmp_path)) == "larger than 100 bytes"


def test_a_file_that_is_not_there_is_a_rejection(tmp_path: Path) -> None:
    assert "cannot be read" in reason(tmp_path / "none.edf")


def test_a_file_cut_off_anywhere_is_one_rejection(tmp_path: Path) -> None:
    data = made(tmp_path).read_bytes()
    for length in range(len(data)):
        (tmp_path / "cut.edf").write_bytes(data[:length])
        assert not any(word in reason(tmp_path / "cut.edf") for word in ("Harry", "MCH", "Bones"))


def test_a_file_with_a_byte_turned_over_is_a_record_or_one_rejection(tmp_path: Path) -> None:
    data = bytearray(made(tmp_path).read_bytes())
    for offset in range(len(data)):
        data[offset] ^= 0xFF
        (tmp_path / "turned.edf").write_bytes(data)
        data[offset] ^= 0xFF
        item = read(tmp_path / "turned.edf")
        said = item.encode() if isinstance(item, Record) else item.reason.encode()
        assert b"Harry" not in said


# The samples, against pyedflib


@needs_samples
@pytest.mark.parametrize("name", FILES)
def test_pyedflib_reads_the_same_from_the_original_and_from_the_attachment(tmp_path: Path, name: str) -> None:
    found = record(SAMPLES / name)
    (tmp_path / name).write_bytes(found.attachment)
    for path in (SAMPLES / name, tmp_path / name):
        with pyedflib.EdfReader(str(path)) as oracle:
            channels = found.value["channels"]
            assert [channel["label"] for channel in channels] == oracle.getSignalLabels()
            assert [channel["samples"] for channel in channels] == list(oracle.getNSamples())
            assert [float(channel["rate_hz"]) for channel in channels] == pytest.approx(oracle.getSampleFrequencies())
            assert found.value["annotations"] == len(oracle.readAnnotations()[0])
            assert float(found.value["duration"]["value"]) == oracle.file_duration
            for i, channel in enumerate(channels):
                signal = oracle.readSignal(i)
                assert float(channel["min"]) == pytest.approx(signal.min(), rel=1e-9)
                assert float(channel["max"]) == pytest.approx(signal.max(), rel=1e-9)


@needs_samples
def test_the_samples_are_three_records() -> None:
    found = [record(SAMPLES / name) for name in FILES]
    assert [(item.source, len(item.value["channels"]), item.value["annotations"]) for item in found] == [
        ("edf", 25, 0),
        ("bdf", 5, 0),
        ("edf", 1, 4),
    ]
    assert [item.time for item in found] == [
        "2015-06-02T10:41:57Z",
        "2000-01-01T00:00:00Z",
        "2020-01-24T04:05:56.394531Z",
    ]
    assert not [item for item in found if b"triggers_test" in item.encode() or b"20150602104157" in item.encode()]


@needs_samples
@pytest.mark.parametrize("name", FILES)
def test_a_sample_cut_off_anywhere_is_one_rejection(tmp_path: Path, name: str) -> None:
    data = (SAMPLES / name).read_bytes()
    for length in [*range(0, 8_000, 61), *range(8_000, len(data), len(data) // 100)]:
        (tmp_path / name).write_bytes(data[:length])
        assert reason(tmp_path / name)


# BrainVision

VHDR = """Brain Vision Data Exchange Header File Version 1.0
; of Jane Doe
[Common Infos]
Codepage=UTF-8
DataFile=jane.eeg
MarkerFile=jane.vmrk
DataFormat=BINARY
DataOrientation=MULTIPLEXED
NumberOfChannels=2
SamplingInterval=2000
[Binary Infos]
BinaryFormat=INT_16
[Channel Infos]
Ch1=Fp1,,0.5,µV
Ch2=A\\1B,Ref,,
[Comment]
Jane Doe, room 7
"""
VMRK = """Brain Vision Data Exchange Marker File, Version 1.0
[Common Infos]
Codepage=UTF-8
DataFile=jane.eeg
[Marker Infos]
Mk1=New Segment,,1,1,0,20131113161403794232
Mk2=Stimulus,S  1,2,1,0
Mk3=Comment,Jane moves,3,1,0
"""
VALUES = np.array([[0, 1], [2, -3], [4, 5]], "<i2")


def brainvision(folder: Path, header: str = VHDR, markers: str = VMRK, samples: bytes = VALUES.tobytes()) -> Path:
    (folder / "jane.vhdr").write_text(header, encoding="utf-8", newline="")
    (folder / "jane.vmrk").write_text(markers, encoding="utf-8", newline="")
    (folder / "jane.eeg").write_bytes(samples)
    return folder / "jane.vhdr"


def members(data: bytes) -> dict[str, bytes]:
    with tarfile.open(fileobj=BytesIO(data)) as bundle:
        return {member.name: bundle.extractfile(member).read() for member in bundle.getmembers()}  # type: ignore[union-attr]


def test_three_files_of_brainvision_are_one_record(tmp_path: Path) -> None:
    found = record(brainvision(tmp_path), Context(CONTEXT.key, subject="p7"))
    assert (found.type, found.source, found.time) == ("eeg", "brainvision", "2013-11-13T16:14:03.794232Z")
    assert found.subject == CONTEXT.pseudonym("p7")
    assert found.value == {
        "channels": [
            {"label": "Fp1", "unit": "uV", "rate_hz": "500", "samples": 3, "min": "0", "max": "2"},
            {"label": "A,B", "unit": "uV", "rate_hz": "500", "samples": 3, "min": "-3", "max": "5"},
        ],
        "duration": {"value": "0.006", "unit": "s"},
        "annotations": 3,
    }


def test_the_attachment_is_the_three_files_without_comments_names_and_dates(tmp_path: Path) -> None:
    found = record(brainvision(tmp_path))
    files = members(found.attachment)
    assert list(files) == ["recording.vhdr", "recording.vmrk", "recording.eeg"]
    assert files["recording.eeg"] == VALUES.tobytes()
    assert b"Mk2=Stimulus,S  1,2,1,0\r\n" in files["recording.vmrk"]
    for word in (b"Jane", b"jane", b"Doe", b"room", b"2013"):
        assert word not in found.attachment
    assert found.encode() == record(brainvision(tmp_path)).encode()
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
    again = record(tmp_path / "recording.vhdr")
    assert (again.attachment, again.value) == (found.attachment, found.value)


@pytest.mark.parametrize("kind", ["INT_16", "INT_32", "IEEE_FLOAT_32"])
@pytest.mark.parametrize("orientation", ["MULTIPLEXED", "VECTORIZED"])
def test_every_format_and_orientation_is_read_alike(tmp_path: Path, kind: str, orientation: str) -> None:
    table = VALUES if orientation == "MULTIPLEXED" else VALUES.T
    samples = table.astype({"INT_16": "<i2", "INT_32": "<i4", "IEEE_FLOAT_32": "<f4"}[kind]).tobytes()
    header = VHDR.replace("INT_16", kind).replace("MULTIPLEXED", orientation)
    assert record(brainvision(tmp_path, header, samples=samples)).value == record(brainvision(tmp_path)).value


def test_a_header_may_name_files_after_itself(tmp_path: Path) -> None:
    header = VHDR.replace("jane.eeg", "$b.eeg").replace("jane.vmrk", "$b.vmrk")
    assert record(brainvision(tmp_path, header)) == record(brainvision(tmp_path))


def zipped(archive: Path, folders: dict[str, Path]) -> Path:
    """The files of folders, in folders of other names in a zip."""
    with zipfile.ZipFile(archive, "w") as file:
        for name, folder in folders.items():
            for part in folder.iterdir():
                file.write(part, f"{name}/{part.name}".lstrip("/"))
    return archive


def test_a_recording_in_a_zip_is_read_with_its_parts(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        brainvision(tmp_path / name, VHDR.replace("jane.vmrk", "$b.vmrk"))
    archive = zipped(tmp_path / "x.zip", {"night one": tmp_path / "a", "": tmp_path / "b"})
    found = dict(import_files([archive], "auto", CONTEXT))
    expected = record(brainvision(tmp_path))
    assert found.pop(archive / "night one/jane.vhdr") == found.pop(archive / "jane.vhdr") == expected
    assert {type(item) for item in found.values()} == {Skipped}


def test_headers_in_a_zip_share_no_part(tmp_path: Path) -> None:
    """A thousand of them, each with the same gigabyte, would be a bomb."""
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as file:
        for name, content in (("a.vhdr", VHDR), ("b.vhdr", VHDR), ("jane.vmrk", VMRK), ("jane.eeg", VALUES.tobytes())):
            file.writestr(name, content)
    found = {path.name: item for path, item in import_files([tmp_path / "x.zip"], "auto", CONTEXT)}
    assert isinstance(found["a.vhdr"], Record)
    assert found["b.vhdr"] == Rejection("file", "its header names a file that is not there")


def test_a_header_in_a_zip_leads_nowhere(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as file:
        file.writestr("a/x.vhdr", VHDR.replace("DataFile=jane.eeg", "DataFile=../jane.eeg"))
        file.writestr("jane.eeg", VALUES.tobytes())
    found = {path.name: item for path, item in import_files([tmp_path / "x.zip"], "auto", CONTEXT)}
    assert found["x.vhdr"] == Rejection("file", "its header names a file outside of its folder")


@pytest.mark.parametrize("name", ["../jane.eeg", "/etc/passwd", "sub/jane.eeg", "..\\jane.eeg", "C:jane.eeg", "..", ""])
def test_a_header_may_not_name_a_file_outside_of_its_folder(tmp_path: Path, name: str) -> None:
    (tmp_path / "jane.eeg").write_bytes(VALUES.tobytes())
    (tmp_path / "in").mkdir()
    path = brainvision(tmp_path / "in", VHDR.replace("DataFile=jane.eeg", f"DataFile={name}"))
    assert reason(path) == "its header names a file outside of its folder"


def test_nor_by_way_of_a_link(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    path = brainvision(tmp_path / "in")
    (tmp_path / "in" / "jane.eeg").rename(tmp_path / "secret")
    (tmp_path / "in" / "jane.eeg").symlink_to(tmp_path / "secret")
    assert reason(path) == "its header names a file outside of its folder"


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("Brain Vision", "Some other", "not a BrainVision header"),
        ("jane.eeg", "john.eeg", "a file that is not there"),
        ("jane.vmrk", "john.vmrk", "a file that is not there"),
        ("BINARY", "ASCII", "not binary"),
        ("INT_16", "INT_12", "a format that is not known"),
        ("MULTIPLEXED", "SIDEWAYS", "an orientation"),
        ("=2000", "=0", "no sampling interval"),
        ("Channels=2", "Channels=3", "other channels than their number says"),
        ("Channels=2", "Channels=0", "no number of channels"),
        ("Channels=2", "Channels=99999", "no number of channels"),
        (",0.5,", ",x,", "a channel without a resolution"),
        ("Ch1=Fp1", "Ch1=", "a channel without a label"),
    ],
)
def test_a_brainvision_header_that_cannot_be_is_refused(tmp_path: Path, old: str, new: str, words: str) -> None:
    assert words in reason(brainvision(tmp_path, VHDR.replace(old, new, 1)))


def test_samples_that_are_cut_off_or_not_finite_and_markers_that_are_none_are_refused(tmp_path: Path) -> None:
    assert "cut off" in reason(brainvision(tmp_path, samples=VALUES.tobytes()[:-2]))
    assert "cut off" in reason(brainvision(tmp_path, samples=b""))
    header = VHDR.replace("INT_16", "IEEE_FLOAT_32")
    assert "not finite" in reason(brainvision(tmp_path, header, samples=np.array([1, np.nan], "<f4").tobytes()))
    assert "a malformed marker" in reason(brainvision(tmp_path, markers=VMRK.replace(",3,1,0", ",x,1,0")))
    assert "not a BrainVision marker file" in reason(brainvision(tmp_path, markers="[Marker Infos]"))


def test_a_brainvision_header_cut_off_anywhere_raises_nothing_and_quotes_nothing(tmp_path: Path) -> None:
    for length in range(len(VHDR)):
        item = read(brainvision(tmp_path, VHDR[:length]))
        assert isinstance(item, Record | Rejection)
        if isinstance(item, Rejection):
            assert "ane" not in item.reason
        elif length < VHDR.index("[Comment]") - 1:
            assert item.value["channels"][-1]["label"].startswith("A"), "only the last channel's words can be cut"


# Numbers and recognition


@pytest.mark.parametrize(
    ("number", "text"),
    [
        (Fraction(128), "128"),
        (Fraction(1, 10), "0.1"),
        (Fraction(1000, 3), "333.333333333"),
        (Fraction(0), "0"),
        (Fraction(-5, 2), "-2.5"),
        (Fraction(10**9), "1000000000"),
    ],
)
def test_decimal_texts_have_no_exponent(number: Fraction, text: str) -> None:
    assert decimal(number) == text


def test_recordings_are_recognised_by_their_first_bytes_or_their_name() -> None:
    assert formats.recognises(b"0       X X X X", Path("a"))
    assert formats.recognises(b"\xffBIOSEMI", Path("a"))
    assert formats.recognises(VHDR.encode(), Path("a.txt"))
    assert formats.recognises(b"", Path("a.EDF"))
    assert not formats.recognises(VMRK.encode(), Path("a.vmrk"))
    assert not formats.recognises(b"", Path("a.eeg"))
