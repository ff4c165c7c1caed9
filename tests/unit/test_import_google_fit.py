"""Google Fit: points of the API and of Takeout are the same facts, and a phone's number stays on the phone."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from hmchain.record import Record
from tests.samples import RECORDS, needs_samples
from trainers.importers.base import Context, Rejection
from trainers.importers.wearables import google_fit

SAMPLE = RECORDS / "wearables/googlefit-merge-heart-rate.json"
CONTEXT = Context(bytes(32), "p1")
START, END = 1_436_565_497_687_316_406, 1_436_565_557_687_316_406  # nanoseconds


def point(name: str = "heart_rate.bpm", *values: Any, **more: Any) -> dict[str, Any]:
    return {
        "startTimeNanos": str(START),
        "endTimeNanos": str(END),
        "dataTypeName": f"com.google.{name}",
        "value": list(values) or [{"fpVal": 72.5}],
    } | more


def imported(path: Path, *points: Any) -> list[Any]:
    (path / "fit.json").write_text(json.dumps({"dataSourceId": "derived:com.google.x", "point": points}))
    return list(google_fit.read(path / "fit.json", CONTEXT))


@needs_samples
def test_the_sample_is_read_whole() -> None:
    first, second = google_fit.read(SAMPLE, CONTEXT)
    assert {first.type, second.type} == {"heart-rate"}
    assert (first.time, first.value) == ("2015-01-30T15:37:48.186Z", {"quantity": {"value": "54", "unit": "/min"}})
    assert second.value == {"quantity": {"value": "58", "unit": "/min"}, "end": "2015-07-10T14:34:33.915Z"}
    assert first.detail == {"application": "com.azumio.instantheartrate.full"}
    assert (first.subject, first.source) == (CONTEXT.pseudonym("p1"), "google-fit")


@needs_samples
def test_a_truncated_file_gives_what_it_has_and_one_rejection(tmp_path: Path) -> None:
    text = SAMPLE.read_text().rstrip()
    for cut in range(0, len(text), 23):
        (tmp_path / "fit.json").write_text(text[:cut])
        *records, last = google_fit.read(tmp_path / "fit.json", CONTEXT)
        assert all(isinstance(record, Record) for record in records)
        assert isinstance(last, Rejection)
        assert last.position == "file"


@pytest.mark.parametrize(
    ("head", "known"),
    [
        (b'{"dataSourceId": "derived:com.google.heart_rate.bpm:x"', True),
        (b'{"Data Source":"raw:com.google.weight:x","Data Points":[', True),
        (b'{"point":[{"dataTypeName":"com.google.weight"', True),
        (b'{"dataSourceId": "com.example"', False),
    ],
)
def test_files_are_recognised_by_their_data_source(head: bytes, known: bool) -> None:
    assert google_fit.recognises(head, Path("x.json")) == known


def test_nanoseconds_are_kept(tmp_path: Path) -> None:
    (record,) = imported(tmp_path, point("step_count.delta", {"intVal": 17}))
    assert (record.time, record.value["end"]) == ("2015-07-10T21:58:17.687316406Z", "2015-07-10T21:59:17.687316406Z")
    assert (record.type, record.value["quantity"]) == ("step-count", {"value": "17", "unit": "1"})


def test_takeout_says_the_same_in_other_words(tmp_path: Path) -> None:
    (record,) = imported(tmp_path, point())
    other = point(fitValue=[{"value": {"fpVal": 72.5}}], startTimeNanos=START, endTimeNanos=END)
    del other["value"]
    takeout = {"Data Source": "derived:com.google.heart_rate.bpm:x", "Data Points": [other]}
    (tmp_path / "takeout.json").write_text(json.dumps(takeout))
    (same,) = google_fit.read(tmp_path / "takeout.json", CONTEXT)
    assert same.identity() == record.identity()


def test_a_blood_pressure_is_two_facts(tmp_path: Path) -> None:
    items = imported(tmp_path, point("blood_pressure", {"fpVal": 120}, {"fpVal": 80.0}))
    assert [(i.type, i.value["quantity"]["value"]) for i in items] == [
        ("systolic-blood-pressure", "120"),
        ("diastolic-blood-pressure", "80"),
    ]


@pytest.mark.parametrize(
    ("name", "number", "expected"),
    [
        ("sleep.segment", 6, ("sleep", {"state": "rem"})),
        ("activity.segment", 72, ("sleep", {"state": "asleep"})),
        ("activity.segment", 8, ("physical-activity", {"activity": "running"})),
    ],
)
def test_segments_are_sleep_or_activity(name: str, number: int, expected: Any, tmp_path: Path) -> None:
    (record,) = imported(tmp_path, point(name, {"intVal": number}, endTimeNanos=str(START)))
    assert (record.type, record.value) == expected


def test_the_origin_is_reduced_to_the_application(tmp_path: Path) -> None:
    device = "derived:com.google.step_count.delta:com.google.android.gms:samsung:Anna's phone:32b1bd9e:soft"
    typed = "raw:com.google.step_count.delta:com.google.android.apps.fitness:user_input"
    strange = "raw:com.google.x:Anna's own"
    items = imported(tmp_path, *(point(originDataSourceId=origin) for origin in (device, typed, strange)))
    assert [item.detail for item in items] == [
        {"application": "com.google.android.gms"},
        {"application": "com.google.android.apps.fitness", "user_entered": True},
        {},
    ]


@pytest.mark.parametrize(
    ("wrong", "because"),
    [
        (7, "dataTypeName is missing"),
        (point("location.sample", {"fpVal": 48.2}), "a data type that this importer does not read"),
        (point(value=[]), "a point without values"),
        (point(value=["Anna"]), "a point without values"),
        (point(value=[{}]), "intVal is missing"),
        (point(value=[{"fpVal": "Anna"}]), "not a number"),
        (point("blood_pressure", {"fpVal": 120}), "a point with too few values"),
        (point("sleep.segment", {"intVal": 99}), "a kind of segment that this importer does not know"),
        (point("activity.segment", {"intVal": 3}), "a kind of segment that this importer does not know"),
        (point("sleep.segment", {"fpVal": 1.0}), "intVal is missing"),
        (point(startTimeNanos=None), "startTimeNanos is no time"),
        (point(startTimeNanos="Anna"), "startTimeNanos is no time"),
        (point(startTimeNanos="-1"), "startTimeNanos is no time"),
        (point(startTimeNanos="9" * 60), "startTimeNanos is no time"),
        (point(startTimeNanos="9" * 5000), "startTimeNanos is no time"),
        (point(endTimeNanos=str(START - 1)), "it ends before it starts"),
        (point(originDataSourceId=7), "originDataSourceId is not of the kind that it should be"),
    ],
)
def test_a_point_that_cannot_be_read_says_why_and_the_next_one_is(wrong: Any, because: str, tmp_path: Path) -> None:
    fault, record = imported(tmp_path, wrong, point())
    assert fault == Rejection("point 1", because)
    assert isinstance(record, Record)


@pytest.mark.parametrize(
    ("text", "because"),
    [
        ("[]", "no list of points"),
        ('{"dataSourceId":"x"}', "no list of points"),
        ('{"point":[' + "[" * 100_000, "ends too early"),
        ("", "no list of points"),
    ],
)
def test_a_file_that_is_none_is_one_rejection(text: str, because: str, tmp_path: Path) -> None:
    (tmp_path / "fit.json").write_text(text)
    (fault,) = google_fit.read(tmp_path / "fit.json", CONTEXT)
    assert fault.position == "file"
    assert because in fault.reason


def test_a_point_that_is_nested_too_deep_leaves_the_others(tmp_path: Path) -> None:
    deep: Any = []
    for _ in range(100):
        deep = [deep]
    fault, record = imported(tmp_path, deep, point())
    assert fault.position == "point 1"
    assert isinstance(record, Record)


@pytest.mark.parametrize("number", ["NaN", "-Infinity", "1e99999999999999999999", "9" * 5000, "1." + "1" * 5000])
def test_a_number_that_is_none_leaves_the_other_points(number: str, tmp_path: Path) -> None:
    good = json.dumps(point())
    (tmp_path / "fit.json").write_text(f'{{"point":[{good.replace("72.5", number)},{good}]}}')
    fault, record = google_fit.read(tmp_path / "fit.json", CONTEXT)
    assert isinstance(fault, Rejection)
    assert fault.position == "point 1"
    assert number not in fault.reason
    assert isinstance(record, Record)


def test_a_missing_file_is_a_rejection(tmp_path: Path) -> None:
    assert list(google_fit.read(tmp_path / "none", CONTEXT)) == [
        Rejection("file", "cannot be read: No such file or directory")
    ]
