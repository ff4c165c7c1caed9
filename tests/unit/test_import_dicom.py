"""DICOM files: what becomes a record, what is in its attachment and what is not, and what is refused."""

from __future__ import annotations

import struct
import zlib
from datetime import timedelta, timezone
from io import BytesIO
from pathlib import Path
from typing import Any

import pydicom
import pytest
from pydicom import Dataset, dcmread
from pydicom.uid import UID, ExplicitVRLittleEndian, ImplicitVRLittleEndian

from hmchain.record import Code, Kind, Record
from trainers.importers.base import MAX_DEPTH, Context, Rejection
from trainers.importers.dicom import instances, layout
from trainers.importers.dicom.confidentiality import ACTIONS
from trainers.importers.dicom.deidentify import remap

FILES = Path(pydicom.__file__).parent / "data" / "test_files"  # where the samples are from
CONTEXT = Context(bytes(range(32)))
GOOD = ("CT_small", "ExplVR_BigEnd", "MR_small", "liver_1frame", "test-SR", "waveform_ecg")
CT_IMAGE = "1.2.840.10008.5.1.4.1.1.2"


def read(path: Path, context: Context = CONTEXT) -> Record | Rejection:
    (item,) = instances.read(path, context)
    return item


def record(name: str, context: Context = CONTEXT) -> Record:
    item = read(FILES / f"{name}.dcm", context)
    assert isinstance(item, Record)
    return item


def changed(folder: Path, name: str = "CT_small", **attributes: Any) -> Path:
    """A copy of a sample with other attributes; None takes one away."""
    dataset = dcmread(FILES / f"{name}.dcm")
    for keyword, value in attributes.items():
        if value is None:
            delattr(dataset, keyword)
        else:
            setattr(dataset, keyword, value)
    dataset.save_as(folder / "changed.dcm")
    return folder / "changed.dcm"


def reason(path: Path) -> str:
    item = read(path)
    assert isinstance(item, Rejection)
    assert item.position == "file"
    return item.reason


def raw(folder: Path, data: bytes) -> Path:
    (folder / "raw.dcm").write_bytes(data)
    return folder / "raw.dcm"


# Records


def test_a_computed_tomogram_is_an_image_with_its_modality_class_shape_and_time() -> None:
    found = record("CT_small")
    assert (found.kind, found.type, found.source) == (Kind.CLINICAL, "imaging", "dicom")
    assert found.time == "1997-04-30T16:29:36Z", "11:29:36 at -0500"
    assert found.subject == CONTEXT.pseudonym("1CT1")
    assert Code("http://dicom.nema.org/resources/ontology/DCM", "CT") in found.codes
    assert Code("urn:ietf:rfc:3986", f"urn:oid:{CT_IMAGE}") in found.codes
    shape = {"rows": 128, "columns": 128, "frames": 1, "samples": 1, "bits": 16, "photometric": "MONOCHROME2"}
    assert shape.items() <= found.value.items()
    assert found.value["pixel_spacing"] == [{"value": "0.661468", "unit": "mm"}] * 2
    assert found.value["slice_thickness"] == {"value": "5.000000", "unit": "mm"}
    assert Record.decode(found.encode()) == found


def test_a_report_and_a_waveform_have_types_of_their_own() -> None:
    assert [record(name).type for name in ("test-SR", "waveform_ecg", "liver_1frame")] == [
        "report",
        "waveform",
        "imaging",
    ]
    waves = record("waveform_ecg").value["waveforms"]
    assert [(wave["channels"], wave["samples"], wave["rate"]["value"]) for wave in waves] == [
        (12, 10_000, "1000"),
        (12, 1_200, "1000"),
    ]


def test_every_sample_is_a_record() -> None:
    items = [read(FILES / f"{name}.dcm") for name in (*GOOD, "no_meta")]
    assert [type(item) for item in items] == [Record] * 7


def test_a_time_without_an_offset_is_one_of_the_hospitals_zone() -> None:
    east = Context(CONTEXT.key, zone=timezone(timedelta(hours=2)))
    assert record("waveform_ecg").time == "2013-01-25T10:59:19Z"
    assert record("waveform_ecg", east).time == "2013-01-25T08:59:19Z"


@pytest.mark.parametrize(
    ("attributes", "time"),
    [
        ({"AcquisitionDateTime": "20240102030405.5-0100"}, "2024-01-02T04:04:05.5Z"),
        ({"AcquisitionDate": "20240102", "AcquisitionTime": None}, "2024-01-02"),
        ({"AcquisitionDate": None}, "1997-04-30T16:27:49Z"),
        ({"AcquisitionDate": "20240231", "SeriesDate": None}, "2004-01-19T12:27:30Z"),
        ({"AcquisitionDate": None, "SeriesDate": None, "StudyDate": None}, ""),
    ],
)
def test_the_time_is_the_acquisitions_else_the_series_else_the_studys(
    tmp_path: Path, attributes: dict[str, Any], time: str
) -> None:
    item = read(changed(tmp_path, **attributes))
    assert isinstance(item, Record)
    assert item.time == time


def test_who_has_no_number_is_the_contexts_subject() -> None:
    item = record("test-SR", Context(CONTEXT.key, subject="p7"))
    assert item.subject == CONTEXT.pseudonym("p7")
    assert record("test-SR").subject == ""


def test_a_region_is_coded_and_free_text_in_place_of_a_body_part_is_not(tmp_path: Path) -> None:
    region = Dataset()
    region.CodeValue, region.CodingSchemeDesignator, region.CodeMeaning = "51185008", "SCT", "Chest"
    item = read(changed(tmp_path, BodyPartExamined="CHEST", AnatomicRegionSequence=[region]))
    assert isinstance(item, Record)
    assert Code("http://snomed.info/sct", "51185008") in item.codes
    assert item.value["body_part"] == "CHEST"
    with pydicom.config.disable_value_validation():
        item = read(changed(tmp_path, BodyPartExamined="Jane's leg"))
    assert isinstance(item, Record)
    assert item.value["body_part"] == ""


# Attachments


@pytest.mark.parametrize("name", GOOD)
def test_the_attachment_is_a_dicom_file_that_can_be_read_and_says_that_it_was_cleaned(name: str) -> None:
    found = record(name)
    assert found.attachment[:132] == bytes(128) + b"DICM"
    dataset = dcmread(BytesIO(found.attachment))
    assert dataset.file_meta.MediaStorageSOPInstanceUID == dataset.SOPInstanceUID == found.value["instance"]
    assert dataset.file_meta.TransferSyntaxUID == found.value["transfer_syntax"]
    assert dataset.file_meta.ImplementationVersionName == instances.IMPLEMENTATION_NAME
    assert dataset.PatientIdentityRemoved == "YES"


@pytest.mark.parametrize("name", GOOD)
def test_nothing_that_the_table_removes_is_in_the_attachment(name: str) -> None:
    dataset = dcmread(BytesIO(record(name).attachment))
    elements = list(dataset.iterall())
    assert not [element.keyword for element in elements if ACTIONS.get(element.tag) == "X"]
    assert not [element.tag for element in elements if element.tag.is_private]
    assert not [element.tag for element in elements if element.tag.group >> 8 in (0x50, 0x60)]


@pytest.mark.parametrize("name", GOOD)
def test_no_name_number_date_or_uid_of_the_original_is_in_the_record(name: str) -> None:
    original = dcmread(FILES / f"{name}.dcm")
    encoded = record(name).encode()
    header, _, attachment = encoded.partition(b"\n")
    identifying = [
        str(element.value)
        for element in original.iterall()
        if element.VR in ("PN", "DA", "DT", "UI") or element.keyword in ("PatientID", "InstitutionName", "StationName")
    ]
    identifying = [text for text in identifying if len(text) > 4 and not UID(text).type and "Anonym" not in text]
    # the table keeps the manufacturer
    identifying = [text for text in identifying if text not in original.get("Manufacturer", "")]
    assert identifying
    assert not [text for text in identifying if text.encode() in attachment or text.encode() in header]


@pytest.mark.parametrize("name", ["CT_small", "MR_small", "ExplVR_BigEnd", "liver_1frame"])
def test_the_pixels_stay_as_they_were(name: str) -> None:
    before, after = dcmread(FILES / f"{name}.dcm"), dcmread(BytesIO(record(name).attachment))
    assert after.PixelData == before.PixelData
    assert (after.Rows, after.Columns, after.BitsAllocated) == (before.Rows, before.Columns, before.BitsAllocated)


def test_two_images_of_one_study_still_belong_together(tmp_path: Path) -> None:
    first, second = record("CT_small"), read(changed(tmp_path, SOPInstanceUID="1.2.3.4", InstanceNumber="2"))
    assert isinstance(second, Record)
    assert first.value["study"] == second.value["study"]
    assert first.value["series"] == second.value["series"]
    assert second.value["instance"] == remap("1.2.3.4", CONTEXT.key) != first.value["instance"]
    frames = [dcmread(BytesIO(item.attachment)).FrameOfReferenceUID for item in (first, second)]
    assert len(set(frames)) == 1


def test_the_same_file_is_the_same_record_again_and_another_one_under_another_key() -> None:
    for name in GOOD:
        assert record(name).encode() == record(name).encode()
    assert record("CT_small").identity() != record("CT_small", Context(bytes(32))).identity()


def test_what_was_imported_can_be_imported_again(tmp_path: Path) -> None:
    for name in GOOD:
        assert isinstance(read(raw(tmp_path, record(name).attachment)), Record)


# Encodings


def test_a_data_set_without_preamble_and_meta_information_is_read_where_it_is_one(tmp_path: Path) -> None:
    for name, syntax in (("CT_small", ExplicitVRLittleEndian), ("MR_small_implicit", ImplicitVRLittleEndian)):
        data = (FILES / f"{name}.dcm").read_bytes()
        _, start = layout.read_meta(data)
        item = read(raw(tmp_path, data[start:]))
        assert isinstance(item, Record)
        assert item.attachment == record(name).attachment
        assert item.value["transfer_syntax"] == syntax


def test_big_endian_and_little_endian_say_the_same() -> None:
    big, little = record("MR_small_bigendian"), record("MR_small")
    assert big.value | {"transfer_syntax": ""} == little.value | {"transfer_syntax": ""}
    assert (big.time, big.subject) == (little.time, little.subject)


def test_a_deflated_data_set_is_handed_on_inflated() -> None:
    assert record("image_dfl").value["transfer_syntax"] == ExplicitVRLittleEndian
    inflated = dcmread(BytesIO(record("image_dfl").attachment))
    assert inflated.PixelData == dcmread(FILES / "image_dfl.dcm").PixelData


def test_compressed_pixels_are_handed_on_as_they_are() -> None:
    before, after = dcmread(FILES / "JPEG2000.dcm"), dcmread(BytesIO(record("JPEG2000").attachment))
    assert after.PixelData == before.PixelData


# Refused


def test_bytes_in_front_of_a_data_set_make_it_none(tmp_path: Path) -> None:
    data = b" " + (FILES / "no_meta.dcm").read_bytes()  # which has one already
    assert reason(raw(tmp_path, data)) == "not DICOM: neither a preamble nor the start of a data set"


def test_burned_in_names_are_refused(tmp_path: Path) -> None:
    assert "burned" in reason(changed(tmp_path, BurnedInAnnotation="YES"))
    assert "burned" in reason(changed(tmp_path, BurnedInAnnotation=["NO", "YES"]))
    assert isinstance(read(changed(tmp_path, BurnedInAnnotation="NO")), Record)


@pytest.mark.parametrize("group", [0x6000, 0x6002, 0x601E])
@pytest.mark.parametrize(("bits", "position", "refused"), [(16, 15, True), (16, 0, True), (1, 12, True), (1, 0, False)])
def test_an_overlay_in_unused_bits_of_the_pixels_is_refused(
    tmp_path: Path, group: int, bits: int, position: int, refused: bool
) -> None:
    dataset = dcmread(FILES / "CT_small.dcm")
    dataset.add_new(group << 16 | 0x0100, "US", bits)
    dataset.add_new(group << 16 | 0x0102, "US", position)
    dataset.save_as(tmp_path / "overlay.dcm")
    item = read(tmp_path / "overlay.dcm")
    assert isinstance(item, Rejection) == refused
    assert not refused or "an overlay in unused bits" in str(item)


def test_what_has_several_patients_numbers_is_not_about_nobody(tmp_path: Path) -> None:
    assert reason(changed(tmp_path, PatientID=["1CT1", "2CT2"])) == "a Patient ID that is not one number"


@pytest.mark.parametrize("keyword", ["SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID", "Modality"])
def test_what_cannot_be_told_apart_is_refused(tmp_path: Path, keyword: str) -> None:
    assert reason(changed(tmp_path, **{keyword: None})) == f"not an instance: no {keyword}"


@pytest.mark.parametrize(
    ("uid", "words"),
    [
        ("1.2.840.10008.5.1.4.1.1.104.1", "encapsulated"),
        ("1.2.840.113619.4.26", "not a SOP class"),
        ("1.2.840.10008.1.1", "not a SOP class"),
        ("1.2.840.10008.1.3.10", "not a SOP class"),  # DICOMDIR
    ],
)
def test_classes_that_hold_no_data_or_cannot_be_cleaned_are_refused(tmp_path: Path, uid: str, words: str) -> None:
    assert words in reason(changed(tmp_path, SOPClassUID=UID(uid)))


def test_nothing_of_a_file_is_printed_by_the_library_that_reads_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its warnings, which pytest makes errors of, quote values. Settings are as before the first file is read."""
    data = (FILES / "CT_small.dcm").read_bytes().replace(b"1.2.840.10008.1.2.1", b"1.2.840.10008.\x1b[2J\0", 1)
    monkeypatch.setattr(pydicom.config.settings, "reading_validation_mode", pydicom.config.WARN)
    assert reason(raw(tmp_path, data)) == "a transfer syntax that is not read here"


def test_a_file_without_a_transfer_syntax_is_refused() -> None:
    assert "transfer syntax" in reason(FILES / "meta_missing_tsyntax.dcm")


def deflated(data: bytes, level: int = 9) -> bytes:
    """A Part 10 file of the deflated syntax, with these bytes for its data set."""
    packer = zlib.compressobj(level, zlib.DEFLATED, -zlib.MAX_WBITS)
    meta = struct.pack("<HH2sH", 2, 0x10, b"UI", 22) + b"1.2.840.10008.1.2.1.99"
    return bytes(128) + b"DICM" + meta + packer.compress(data) + packer.flush()


def test_what_is_damaged_or_larger_once_inflated_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = deflated(b"\x08\0\x05\0CS\x0a\0ISO_IR 100")
    assert "no SOPClassUID" in reason(raw(tmp_path, whole))
    assert "cut off" in reason(raw(tmp_path, whole[:-4]))
    assert "more after it" in reason(raw(tmp_path, whole + b"\0\0more"))
    assert "damaged" in reason(raw(tmp_path, whole[:-20] + bytes(20) + whole))
    monkeypatch.setattr(instances, "MAX_FILE_BYTES", 100_000)
    assert reason(raw(tmp_path, deflated(bytes(1 << 20)))) == "its data set becomes larger than 100,000 bytes"


def test_pixel_data_shorter_than_their_shape_are_refused(tmp_path: Path) -> None:
    assert reason(changed(tmp_path, Rows=129)) == "pixel data of 32,768 bytes where its shape needs 33,024"


@pytest.mark.parametrize(
    ("name", "keyword", "words"),
    [
        ("CT_small", "PixelData", "without pixel data"),
        ("waveform_ecg", "WaveformSequence", "without data"),
        ("test-SR", "ContentSequence", "without content"),
        ("CT_small", "Rows", "without a shape"),
    ],
)
def test_what_lacks_that_which_it_consists_of_is_refused(tmp_path: Path, name: str, keyword: str, words: str) -> None:
    assert words in reason(changed(tmp_path, name, **{keyword: None}))


def test_a_file_above_the_limit_is_refused_unread(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(instances, "MAX_FILE_BYTES", 1_000)
    assert reason(FILES / "CT_small.dcm") == "larger than 1,000 bytes"


def test_a_file_that_is_not_there_is_a_rejection(tmp_path: Path) -> None:
    assert "cannot be read" in reason(tmp_path / "none.dcm")


# Hostile


def nested(depth: int, sequence: bytes, end: bytes) -> bytes:
    """A CT image's data set with sequences of undefined length in one another."""
    data = (FILES / "CT_small.dcm").read_bytes()
    return data + sequence * depth + end * depth


UNDEFINED = struct.pack("<HH2sHIHHI", 0x0040, 0xA730, b"SQ", 0, 0xFFFFFFFF, 0xFFFE, 0xE000, 0xFFFFFFFF)
ENDS = struct.pack("<HHIHHI", 0xFFFE, 0xE00D, 0, 0xFFFE, 0xE0DD, 0)


@pytest.mark.parametrize("depth", [MAX_DEPTH + 1, 100_000])
def test_sequences_nested_too_deep_are_refused_before_anything_follows_them(tmp_path: Path, depth: int) -> None:
    assert "nested deeper" in reason(raw(tmp_path, nested(depth, UNDEFINED, ENDS)))


def test_a_file_of_more_elements_than_memory_can_bear_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(layout, "MAX_ELEMENTS", 50)
    assert "more than 50 elements" in reason(FILES / "CT_small.dcm")


def secrets(name: str) -> list[str]:
    dataset = dcmread(FILES / f"{name}.dcm")
    texts = [str(dataset.get(keyword, "")) for keyword in ("PatientName", "PatientID", "StudyInstanceUID")]
    return [text for text in texts if len(text) > 3]


@pytest.mark.parametrize("name", ["CT_small", "MR_small_implicit", "ExplVR_BigEnd", "test-SR", "JPEG2000"])
def test_a_file_cut_off_anywhere_is_one_rejection(tmp_path: Path, name: str) -> None:
    data = (FILES / f"{name}.dcm").read_bytes()
    step = max(1, len(data) // 300)
    for length in [*range(0, 2_000, 7), *range(2_000, len(data) - 200, step)]:
        item = read(raw(tmp_path, data[:length]))
        assert isinstance(item, Rejection), length
        assert item.position == "file"
        assert not [text for text in secrets(name) if text in item.reason]


@pytest.mark.parametrize("name", ["CT_small", "test-SR"])
def test_a_file_with_a_byte_turned_over_is_a_record_or_one_rejection(tmp_path: Path, name: str) -> None:
    data = bytearray((FILES / f"{name}.dcm").read_bytes())
    for offset in range(128, 3_000, 5):
        data[offset] ^= 0xFF
        item = read(raw(tmp_path, bytes(data)))
        data[offset] ^= 0xFF
        said = item.encode() if isinstance(item, Record) else item.reason.encode()
        assert not [text for text in secrets(name) if text.encode() in said], offset


def test_random_bytes_under_the_name_of_dicom_are_one_rejection(tmp_path: Path) -> None:
    for data in (b"", b"\0", b"\xff" * 500, bytes(128) + b"DICM", bytes(128) + b"DICM" + b"\x02\0\x10\0UI\xff\xff"):
        assert reason(raw(tmp_path, data))


# Recognition


def test_a_dicom_file_is_recognised_by_its_magic_or_its_name() -> None:
    assert instances.recognises(bytes(128) + b"DICM", Path("IM0001"))
    assert instances.recognises(b"", Path("a.DCM"))
    assert not instances.recognises(b"DICM", Path("a.txt"))
