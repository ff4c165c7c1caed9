"""Apple Health: what an export says becomes records, whose it is does not, and no file is too large or too sly."""

from __future__ import annotations

import json
import tracemalloc
from collections import Counter
from datetime import timedelta, timezone
from pathlib import Path
from xml.sax.saxutils import quoteattr

import pytest

from hmchain.record import Code, Kind, Record
from tests.samples import RECORDS, needs_samples
from trainers.importers.base import Context, Rejection
from trainers.importers.measures.behaviours import HEALTHKIT, LOINC
from trainers.importers.reading import xmlstream
from trainers.importers.wearables import apple_health

SAMPLE = RECORDS / "wearables/apple_health_export6s3sample.xml"
CONTEXT = Context(bytes(32), "p1", timezone(timedelta(hours=2)))
HEART = {"type": "HKQuantityTypeIdentifierHeartRate", "unit": "count/min", "value": "72"}
NOON = {"startDate": "2020-03-01 12:00:00 +0100", "endDate": "2020-03-01 12:00:00 +0100"}


def element(name: str, below: str = "", **attributes: str) -> str:
    return f"<{name} {' '.join(f'{k}={quoteattr(v)}' for k, v in attributes.items())}>{below}</{name}>"


def sample(**attributes: str) -> str:
    return element("Record", **{**HEART, **NOON, **attributes})


def imported(path: Path, *elements: str, prologue: str = "<!DOCTYPE HealthData [<!ELEMENT HealthData ANY>]>") -> list:
    file = path / "export.xml"
    file.write_text(f'<?xml version="1.0" encoding="UTF-8"?>{prologue}<HealthData>{"".join(elements)}</HealthData>')
    return list(apple_health.read(file, CONTEXT))


def only(path: Path, element: str) -> Record | Rejection:
    (item,) = imported(path, element)
    return item


def reason(path: Path, element: str) -> str:
    item = only(path, element)
    assert isinstance(item, Rejection)
    assert item.position == "element 1"
    return item.reason


@needs_samples
def test_the_sample_is_read_whole() -> None:
    records = list(apple_health.read(SAMPLE, CONTEXT))
    assert all(isinstance(record, Record) for record in records)
    assert Counter(record.type for record in records) == {
        "step-count": 10,
        "distance-walking-running": 5,
        "activity-summary": 2,
        "physical-activity": 1,
    }
    first, day, workout = records[0], records[15], records[17]
    assert (first.time, first.value["end"]) == ("2014-09-13T09:27:54Z", "2014-09-13T09:27:59Z")
    assert first.value["quantity"] == {"value": "329", "unit": "1"}
    assert (day.time, day.value["exercise_time"]) == ("2016-04-14", {"value": "5340", "unit": "s"})
    assert (workout.value["activity"], workout.value["distance"]) == ("other", {"value": "0", "unit": "m"})
    assert records[10].value["quantity"] == {"value": "2.88", "unit": "m"}
    assert all(Record.decode(record.encode()).identity() == record.identity() for record in records)


@needs_samples
@pytest.mark.parametrize("cut", range(3, 7000, 211))
def test_a_truncated_export_gives_what_it_has_and_one_rejection(cut: int, tmp_path: Path) -> None:
    (tmp_path / "export.xml").write_bytes(SAMPLE.read_bytes()[:cut])
    *records, last = apple_health.read(tmp_path / "export.xml", CONTEXT)
    assert all(isinstance(record, Record) for record in records)
    assert isinstance(last, Rejection)
    assert last.position == "file"
    assert "sourceName" not in last.reason


def test_the_start_of_an_export_is_recognised() -> None:
    assert apple_health.recognises(b'<?xml version="1.0"?>\n<!DOCTYPE HealthData [', Path("export.xml"))
    assert not apple_health.recognises(b'<?xml version="1.0"?>\n<ClinicalDocument/>', Path("export_cda.xml"))


def test_a_heart_rate_has_both_codes_and_a_moment_has_no_end(tmp_path: Path) -> None:
    record = only(tmp_path, sample())
    assert isinstance(record, Record)
    assert (record.kind, record.type, record.time) == (Kind.BEHAVIOUR, "heart-rate", "2020-03-01T11:00:00Z")
    assert set(record.codes) == {Code(HEALTHKIT, HEART["type"]), Code(LOINC, "8867-4")}
    assert record.value == {"quantity": {"value": "72", "unit": "/min"}}
    assert (record.subject, record.source) == (CONTEXT.pseudonym("p1"), "apple-health")


def test_percent_are_fractions_in_healthkit(tmp_path: Path) -> None:
    record = only(tmp_path, sample(type="HKQuantityTypeIdentifierOxygenSaturation", unit="%", value="0.97"))
    assert isinstance(record, Record)
    assert record.value["quantity"] == {"value": "97", "unit": "%"}


def test_a_body_mass_index_is_no_count(tmp_path: Path) -> None:
    record = only(tmp_path, sample(type="HKQuantityTypeIdentifierBodyMassIndex", unit="count", value="22.5"))
    assert isinstance(record, Record)
    assert record.value["quantity"] == {"value": "22.5", "unit": "kg/m2"}


@pytest.mark.parametrize(
    ("unit", "value", "expected"),
    [
        ("mmol<180.1558800000541>/L", "5.4", {"value": "5.4", "unit": "mmol/L"}),
        ("st", "11", {"value": "69.85322498", "unit": "kg"}),
        ("mL/min·kg", "41.5", {"value": "41.5", "unit": "mL/kg/min"}),
        ("kcal/hr·kg", "1", {"value": "4.184", "unit": "J/g/h"}),
        ("dBASPL", "61", {"value": "61", "unit": "dB[SPL]"}),
        ("Cal", "10", {"value": "41.84", "unit": "kJ"}),
    ],
)
def test_units_of_healthkit_are_understood(unit: str, value: str, expected: dict[str, str], tmp_path: Path) -> None:
    record = only(tmp_path, sample(type="HKQuantityTypeIdentifierSomethingNew", unit=unit, value=value))
    assert isinstance(record, Record)
    assert record.type == "measurement"
    assert record.value["quantity"] == expected


@pytest.mark.parametrize(
    ("value", "state"),
    [("InBed", "in-bed"), ("Asleep", "asleep"), ("AsleepCore", "light"), ("AsleepREM", "rem"), ("Awake", "awake")],
)
def test_sleep_has_the_states_that_all_sources_share(value: str, state: str, tmp_path: Path) -> None:
    given = {"type": "HKCategoryTypeIdentifierSleepAnalysis", "value": f"HKCategoryValueSleepAnalysis{value}"}
    record = only(tmp_path, element("Record", **given, **NOON))
    assert isinstance(record, Record)
    assert (record.type, record.value["state"]) == ("sleep", state)


def test_other_categories_keep_their_word_or_none(tmp_path: Path) -> None:
    stood = {"type": "HKCategoryTypeIdentifierAppleStandHour", "value": "HKCategoryValueAppleStandHourStood"}
    mindful = {"type": "HKCategoryTypeIdentifierMindfulSession"}
    first, second = imported(tmp_path, *(element("Record", **given, **NOON) for given in (stood, mindful)))
    assert (first.type, first.value) == ("measurement", {"state": "HKCategoryValueAppleStandHourStood"})
    assert (second.type, second.value) == ("mindful-session", {})


def test_a_workout_has_its_sums_from_attributes_or_from_statistics(tmp_path: Path) -> None:
    run = {"workoutActivityType": "HKWorkoutActivityTypeHighIntensityIntervalTraining", **NOON}
    old = {"totalDistance": "5", "totalDistanceUnit": "km", "totalEnergyBurned": "100", "totalEnergyBurnedUnit": "kcal"}
    sums = (("DistanceWalkingRunning", "5", "km"), ("ActiveEnergyBurned", "100", "kcal"), ("StepCount", "9", "count"))
    new = "".join(
        element("WorkoutStatistics", type=f"HKQuantityTypeIdentifier{name}", sum=total, unit=unit)
        for name, total, unit in sums
    )
    first, second = imported(tmp_path, element("Workout", **run, **old), element("Workout", new, **run))
    assert first.value == second.value
    assert first.identity() == second.identity()
    assert first.value["activity"] == "high-intensity-interval-training"
    assert first.value["distance"] == {"value": "5000", "unit": "m"}


def test_a_correlation_does_not_double_what_it_groups(tmp_path: Path) -> None:
    pressures = [
        sample(type=f"HKQuantityTypeIdentifierBloodPressure{which}", unit="mmHg", value=value)
        for which, value in (("Systolic", "120"), ("Diastolic", "80"))
    ]
    group = element("Correlation", "".join(pressures), type="HKCorrelationTypeIdentifierBloodPressure", **NOON)
    records = imported(tmp_path, *pressures, group)
    assert [record.type for record in records] == [
        "systolic-blood-pressure",
        "diastolic-blood-pressure",
        "correlation",
    ]
    assert "120" not in json.dumps(dict(records[2].value))
    assert len(records[2].value["of"]) == 2


def test_who_it_is_about_and_whose_devices_these_are_is_left_behind(tmp_path: Path) -> None:
    me = element("Me", HKCharacteristicTypeIdentifierDateOfBirth="1965-07-31")
    device = "<<HKDevice: 0x1>, name:Anna's strap, manufacturer:Apple Inc., model:Watch, hardware:Watch5,4, UDI:SN-77>"
    notes = element("MetadataEntry", key="HKWasUserEntered", value="1") + element(
        "MetadataEntry", key="HKExternalUUID", value="Anna's note"
    )
    given = {**HEART, **NOON, "sourceName": "Anna's Apple Watch", "sourceVersion": "7.6", "device": device}
    (record,) = imported(tmp_path, me, element("Record", notes, **given))
    assert record.detail == {
        "product": "Apple Watch",
        "version": "7.6",
        "device": {"manufacturer": "Apple Inc.", "model": "Watch", "hardware": "Watch5,4"},
        "user_entered": "1",
    }
    assert not any(secret in record.encode() for secret in (b"Anna", b"SN-77", b"1965"))


def test_a_time_without_an_offset_is_one_of_the_hospitals_zone(tmp_path: Path) -> None:
    record = only(tmp_path, sample(startDate="2020-03-01 12:00:00", endDate="2020-03-01 12:00:01"))
    assert isinstance(record, Record)
    assert (record.time, record.value["end"]) == ("2020-03-01T10:00:00Z", "2020-03-01T10:00:01Z")


@pytest.mark.parametrize(
    ("wrong", "because"),
    [
        ({"value": "NaN"}, "not a number"),
        ({"value": "Infinity"}, "not a number"),
        ({"value": "Anna"}, "not a number"),
        ({"value": "1" * 5000}, "not a number"),
        ({"value": "1e999"}, "size|digits"),
        ({"unit": "%", "value": "x"}, "no number"),
        ({"startDate": "yesterday at Anna's"}, "not written as a time"),
        ({"startDate": "2020-02-31 12:00:00 +0100"}, "calendar"),
        ({"endDate": "2019-03-01 12:00:00 +0100"}, "ends before it starts"),
        ({"type": "Anna's secret"}, "type is no identifier of HealthKit"),
        ({"type": "HKQuantityTypeIdentifier" + "x" * 500}, "type is no identifier of HealthKit"),
        ({"type": "HKCategoryTypeIdentifierSleepAnalysis", "value": "Anna"}, "a state of sleep"),
        ({"type": "HKCategoryTypeIdentifierAppleStandHour", "value": "Anna's"}, "value is no identifier"),
    ],
)
def test_a_sample_that_is_none_says_where_and_why_without_its_content(
    wrong: dict[str, str], because: str, tmp_path: Path
) -> None:
    assert "Anna" not in (said := reason(tmp_path, sample(**wrong)))
    assert any(word in said for word in because.split("|"))


@pytest.mark.parametrize("missing", ["type", "unit", "value", "startDate", "endDate"])
def test_a_sample_needs_all_that_makes_it_one(missing: str, tmp_path: Path) -> None:
    assert reason(tmp_path, element("Record", **{k: v for k, v in (HEART | NOON).items() if k != missing}))


def test_an_unknown_element_is_rejected_and_the_rest_is_read(tmp_path: Path) -> None:
    first, second, third = imported(tmp_path, sample(), element("Audiogram"), sample())
    assert (second.position, second.reason) == ("element 2", "an element that this importer does not read")
    assert first == third


def test_the_document_type_of_ios_16_and_its_vertical_tabs_are_no_hindrance(tmp_path: Path) -> None:
    broken = "<!DOCTYPE HealthData [\n<!ATTLIST VisionPrescription\n  type CDATA #REQUIRED\n<!ELEMENT LeftEye\n]>"
    (record,) = imported(tmp_path, sample(sourceName="a\x0bb"), prologue=broken)
    assert isinstance(record, Record)


LAUGHS = "<!DOCTYPE HealthData [<!ENTITY a 'ha'>" + "".join(
    f"<!ENTITY {chr(98 + i)} '{f'&{chr(97 + i)};' * 10}'>" for i in range(20)
)


@pytest.mark.parametrize(
    "prologue",
    [
        f"{LAUGHS}]>",
        '<!DOCTYPE HealthData [<!ENTITY x SYSTEM "file:///etc/passwd">]>',
        '<!DOCTYPE HealthData [<!ENTITY % x SYSTEM "http://localhost/x.dtd"> %x;]>',
    ],
    ids=["billion laughs", "external entity", "parameter entity"],
)
def test_declared_entities_are_refused(prologue: str, tmp_path: Path) -> None:
    (item,) = imported(tmp_path, sample(), prologue=prologue)
    assert item == Rejection("file", "it declares entities, as no export of Apple Health does (after element 0)")


def test_an_external_document_type_is_never_fetched_and_entities_of_none_are_faults(tmp_path: Path) -> None:
    outside = '<!DOCTYPE HealthData SYSTEM "file:///etc/passwd">'
    (record,) = imported(tmp_path, sample(), prologue=outside)
    assert isinstance(record, Record)
    (fault,) = imported(tmp_path, "&x;", prologue=outside)
    assert fault == Rejection("file", "no XML: undefined entity (after element 0)")


def test_a_second_document_type_inside_is_a_fault(tmp_path: Path) -> None:
    (fault,) = imported(tmp_path, f"{LAUGHS}]>")
    assert isinstance(fault, Rejection)
    assert fault.position == "file"


def test_nesting_is_bounded(tmp_path: Path) -> None:
    first, fault = imported(tmp_path, sample(), "<Record>" * 100_000)
    assert isinstance(first, Record)
    assert fault == Rejection("file", "nested deeper than 64 (after element 1)")


@pytest.mark.parametrize(
    ("filling", "because"),
    [("<a/>", "an element with more than 1,000 below it"), (" ", "an element of more than 1 MiB")],
)
def test_one_element_is_bounded_whatever_it_is_filled_with(
    filling: str, because: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(xmlstream, "MAX_ELEMENTS", 1000)
    monkeypatch.setattr(xmlstream, "MAX_ITEM_BYTES", 1 << 20)
    first, fault = imported(tmp_path, sample(), f"<Record>{filling * (3 << 20)}</Record>")
    assert isinstance(first, Record)
    assert fault == Rejection("file", f"{because} (after element 1)")


def test_an_attribute_without_end_is_not_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(xmlstream, "MAX_ITEM_BYTES", 1 << 20)
    (fault,) = imported(tmp_path, f'<Record type="{"x" * (8 << 20)}"/>')
    assert fault.reason.startswith("an element of more than 1 MiB")


def test_a_file_without_the_root_is_refused(tmp_path: Path) -> None:
    (tmp_path / "export.xml").write_bytes(b"<x/>" * 100_000)
    assert list(apple_health.read(tmp_path / "export.xml", CONTEXT)) == [
        Rejection("file", "no HealthData in it (after element 0)")
    ]


def test_another_encoding_is_a_fault_and_no_guess(tmp_path: Path) -> None:
    (tmp_path / "export.xml").write_bytes(f"<HealthData>{sample(sourceName='é')}</HealthData>".encode("latin-1"))
    (fault,) = apple_health.read(tmp_path / "export.xml", CONTEXT)
    assert isinstance(fault, Rejection)


def test_a_missing_file_is_a_rejection(tmp_path: Path) -> None:
    (fault,) = apple_health.read(tmp_path / "export.xml", CONTEXT)
    assert fault == Rejection("file", "cannot be read: No such file or directory (after element 0)")


def test_memory_does_not_grow_with_the_file(tmp_path: Path) -> None:
    def measured(count: int) -> int:
        (tmp_path / "export.xml").write_text(f"<HealthData>{sample(sourceName='x' * 400) * count}</HealthData>")
        tracemalloc.start()
        try:
            assert sum(1 for _ in apple_health.read(tmp_path / "export.xml", CONTEXT)) == count
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    measured(10)  # what is loaded once
    assert measured(8000) < 2 * measured(1000)
