"""De-identification of DICOM: the table's actions, and the choices that the module names, one by one."""

from __future__ import annotations

from typing import Any

import pytest
from pydicom import DataElement, Dataset, Sequence
from pydicom.datadict import dictionary_VR
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import write_dataset
from pydicom.uid import UID

from trainers.importers.base import MAX_DEPTH
from trainers.importers.dicom.confidentiality import ACTIONS
from trainers.importers.dicom.deidentify import DUMMIES, DUMMY, action_of, deidentify, remap

KEY, OTHER = bytes(32), bytes([1]) * 32
PSEUDONYM = "0123456789abcdef0123456789abcdef"
SECRET = "Doe^Jane"

TEXT_VRS = frozenset({"AE", "LO", "LT", "PN", "SH", "ST", "UC", "UT"})


def made(**attributes: Any) -> Dataset:
    dataset = Dataset()
    for keyword, value in attributes.items():
        setattr(dataset, keyword, value)
    return dataset


def cleaned(dataset: Dataset) -> Dataset:
    deidentify(dataset, KEY, PSEUDONYM)
    return dataset


def vr_of(tag: int) -> str:
    try:
        return dictionary_VR(tag).split(" or ")[0]
    except KeyError:
        return "LO"


# The table


def test_the_table_has_every_action_as_often_as_the_standard() -> None:
    counts = {action: list(ACTIONS.values()).count(action) for action in set(ACTIONS.values())}
    assert counts == {
        "X": 412, "Z": 42, "D": 93, "U": 55, "X/Z": 11, "X/D": 23, "Z/D": 6, "X/Z/D": 8, "X/Z/U*": 2,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("tag", "action"),
    [
        (0x00100010, "Z"),  # Patient's Name
        (0x00100020, "Z/D"),  # Patient ID
        (0x00100030, "Z"),  # Patient's Birth Date
        (0x00101000, "X"),  # Other Patient IDs
        (0x00080018, "U"),  # SOP Instance UID
        (0x00080050, "Z"),  # Accession Number
        (0x00080080, "X/Z/D"),  # Institution Name
        (0x00081140, "X/Z/U*"),  # Referenced Image Sequence
        (0x0040A730, "D"),  # Content Sequence
        (0xFFFAFFFA, "X"),  # Digital Signatures Sequence
    ],
)
def test_the_table_says_of_well_known_attributes_what_the_standard_says(tag: int, action: str) -> None:
    assert ACTIONS[tag] == action


@pytest.mark.parametrize("tag", [tag for tag, action in ACTIONS.items() if action == "X"], ids="{:08X}".format)
def test_what_the_table_removes_is_gone(tag: int) -> None:
    assert action_of(tag, vr_of(tag), True) == "X"


def test_no_text_of_any_attribute_in_the_table_is_left() -> None:
    dataset = Dataset()
    tags = [tag for tag in ACTIONS if vr_of(tag) in TEXT_VRS and tag >> 16 not in (0x0000, 0x0002, 0x0004)]
    for tag in tags:
        dataset[tag] = DataElement(tag, vr_of(tag), SECRET if vr_of(tag) != "AE" else "DOEJANE")
    target = DicomBytesIO()
    target.is_little_endian, target.is_implicit_VR = True, False
    write_dataset(target, cleaned(dataset))
    assert len(tags) > 200
    assert b"Jane" not in target.getvalue()
    assert b"DOEJANE" not in target.getvalue()


# Values


def test_the_patients_number_becomes_the_pseudonym_and_the_name_empty() -> None:
    dataset = cleaned(made(PatientName=SECRET, PatientID="1234", PatientBirthDate="19700101", PatientSex="F"))
    assert dataset.PatientID == PSEUDONYM
    assert not any(dataset[keyword].value for keyword in ("PatientName", "PatientBirthDate", "PatientSex"))


def test_dummies_are_valid_for_their_representation_and_empty_values_stay_empty() -> None:
    dataset = cleaned(made(SeriesDate="20240101", SeriesTime="101112.5", StationName="CT1", ProtocolName=""))
    assert (dataset.SeriesDate, dataset.SeriesTime, dataset.StationName) == (DUMMIES["DA"], DUMMIES["TM"], DUMMY)
    assert dataset.ProtocolName == ""


def test_it_says_what_was_done() -> None:
    dataset = cleaned(made(DeidentificationMethod=f"by {SECRET}"))
    assert dataset.PatientIdentityRemoved == "YES"
    assert SECRET not in str(dataset.DeidentificationMethod)
    (code,) = dataset.DeidentificationMethodCodeSequence
    assert (code.CodeValue, code.CodingSchemeDesignator) == ("113100", "DCM")
    assert dataset.LongitudinalTemporalInformationModified == "REMOVED"


def test_what_is_clinical_stays() -> None:
    dataset = cleaned(made(Rows=2, Columns=3, PixelSpacing=["0.5", "0.5"], Modality="CT", KVP="120"))
    assert (dataset.Rows, dataset.Columns, dataset.Modality, dataset.KVP) == (2, 3, "CT", 120)


# What the table has no tag for


def test_private_attributes_are_removed_at_every_depth() -> None:
    item = made(CodeValue="1")
    item.private_block(0x0011, "ACME", create=True).add_new(1, "LO", SECRET)
    dataset = made(AnatomicRegionSequence=[item])
    dataset.private_block(0x0009, "ACME", create=True).add_new(1, "PN", SECRET)
    cleaned(dataset)
    assert not [element for element in dataset.iterall() if element.tag.is_private]
    assert dataset.AnatomicRegionSequence[0].CodeValue == "1"


@pytest.mark.parametrize("tag", [0x50000010, 0x50FE3000, 0x60000010, 0x60003000, 0x60FE4000])
def test_curves_and_overlays_are_removed(tag: int) -> None:
    dataset = Dataset()
    dataset[tag] = DataElement(tag, "OB", b"JaneDoe ")
    assert tag not in cleaned(dataset)


def test_an_attribute_that_nobody_knows_is_removed() -> None:
    dataset = Dataset()
    dataset[0x00182FFE] = DataElement(0x00182FFE, "LO", SECRET)
    assert 0x00182FFE not in cleaned(dataset)


def test_an_attribute_of_another_representation_than_its_own_is_removed() -> None:
    """Rows as text, or a sequence as bytes that nobody takes apart, would carry a name past the table."""
    dataset = Dataset()
    dataset[0x00280010] = DataElement(0x00280010, "LO", SECRET)
    dataset[0x00082218] = DataElement(0x00082218, "OB", SECRET.encode())
    cleaned(dataset)
    assert 0x00280010 not in dataset
    assert 0x00082218 not in dataset


@pytest.mark.parametrize(
    ("keyword", "value", "after"),
    [
        ("EvaluatorName", SECRET, DUMMY),
        ("ExpiryDate", "20240101", DUMMIES["DA"]),
        ("StudyUpdateDateTime", "20240101101112", DUMMIES["DT"]),
        ("TimeOfGainCalibration", "101112", DUMMIES["TM"]),
    ],
)
def test_names_and_times_that_the_table_does_not_list_become_dummies(keyword: str, value: str, after: str) -> None:
    assert cleaned(made(**{keyword: value}))[keyword].value == after


def test_addresses_of_machines_that_the_table_does_not_list_are_removed() -> None:
    assert "RetrieveURL" not in cleaned(made(RetrieveURL="https://pacs.example.org/1234"))


# Sequences


def test_sequences_are_cleaned_within() -> None:
    inner = made(PatientID="1234", ReferencedSOPInstanceUID="1.2.3")
    dataset = cleaned(made(AnatomicRegionSequence=[made(ViewCodeSequence=[inner])]))
    item = dataset.AnatomicRegionSequence[0].ViewCodeSequence[0]
    assert item.PatientID == PSEUDONYM
    assert item.ReferencedSOPInstanceUID == remap("1.2.3", KEY)


def test_references_between_images_stay_and_are_replaced_alike() -> None:
    reference = made(ReferencedSOPClassUID=UID("1.2.840.10008.5.1.4.1.1.2"), ReferencedSOPInstanceUID="1.2.3.4")
    dataset = cleaned(made(SOPInstanceUID="1.2.3.4", ReferencedImageSequence=[reference]))
    (item,) = dataset.ReferencedImageSequence
    assert item.ReferencedSOPInstanceUID == dataset.SOPInstanceUID
    assert item.ReferencedSOPClassUID == "1.2.840.10008.5.1.4.1.1.2"


def test_a_sequence_of_a_combined_action_is_emptied_or_removed() -> None:
    person = made(PersonName=SECRET)
    dataset = cleaned(made(InstitutionCodeSequence=[person], OperatorIdentificationSequence=[person]))
    assert not dataset.InstitutionCodeSequence
    assert "OperatorIdentificationSequence" not in dataset


def test_the_content_of_a_report_becomes_one_item_without_content() -> None:
    dataset = cleaned(made(ContentSequence=[made(TextValue=SECRET), made(TextValue=SECRET)]))
    assert [len(item) for item in dataset.ContentSequence] == [0]


def test_sequences_nested_too_deep_are_refused() -> None:
    dataset = made(Rows=1)
    for _ in range(MAX_DEPTH + 1):
        dataset = made(AnatomicRegionSequence=Sequence([dataset]))
    with pytest.raises(ValueError, match="nested deeper"):
        cleaned(dataset)


# UIDs


def test_a_uid_is_replaced_by_one_that_is_valid_and_the_same_again_under_one_key_only() -> None:
    replaced = remap("1.2.3.4", KEY)
    assert replaced == remap("1.2.3.4", KEY)
    assert len({replaced, remap("1.2.3.4", OTHER), remap("1.2.3.5", KEY)}) == 3
    assert replaced.startswith("2.25.")
    assert UID(replaced).is_valid


@pytest.mark.parametrize("uid", ["", "1.2.840.10008.1.2.1", "1.2.840.10008.5.1.4.1.1.2", "1.2.840.10008.1.4.1.1"])
def test_dicoms_own_uids_stay(uid: str) -> None:
    assert remap(uid, KEY) == uid


def test_uids_that_the_table_does_not_list_are_replaced_but_for_coding_schemes() -> None:
    dataset = cleaned(made(TargetFrameOfReferenceUID="1.2.3", CodingSchemeUID="2.16.840.1.113883.6.96"))
    assert dataset.TargetFrameOfReferenceUID == remap("1.2.3", KEY)
    assert dataset.CodingSchemeUID == "2.16.840.1.113883.6.96"


def test_several_uids_in_one_value_are_each_replaced() -> None:
    dataset = cleaned(made(FailedSOPInstanceUIDList=["1.2.3", "1.2.4"]))
    assert list(dataset.FailedSOPInstanceUIDList) == [remap("1.2.3", KEY), remap("1.2.4", KEY)]
