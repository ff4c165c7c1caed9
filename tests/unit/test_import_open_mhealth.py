"""Open mHealth: a body is told by its members, with a header or without; and four sources tell one fact alike."""

from __future__ import annotations

import json
from datetime import UTC
from pathlib import Path
from typing import Any

import pytest

from hmchain.record import Record
from tests.samples import RECORDS, needs_samples
from trainers.importers.base import Context, Rejection
from trainers.importers.wearables import apple_health, fitbit, google_fit, open_mhealth

SAMPLES = RECORDS / "wearables"
CONTEXT = Context(bytes(32), "p1", UTC)
HEART, NIGHT, STEPS = (
    SAMPLES / f"omh/{name}.json"
    for name in (
        "heart-rate_2.0_shouldPass_with-descriptive-statistic",
        "sleep-episode_1.1_shouldPass_valid-sleep-episode",
        "step-count_1.0_shouldPass_step-count-only",
    )
)
RATE = {"heart_rate": {"value": 72, "unit": "beats/min"}}


def imported(path: Path, content: Any, name: str = "point.json") -> list[Any]:
    (path / name).write_text(content if isinstance(content, str) else json.dumps(content))
    return list(open_mhealth.read(path / name, CONTEXT))


def at(**frame: Any) -> dict[str, Any]:
    return RATE | {"effective_time_frame": frame}


@needs_samples
def test_the_samples_are_read_whole() -> None:
    ((heart,), (night,), (steps,)) = (list(open_mhealth.read(path, CONTEXT)) for path in (HEART, NIGHT, STEPS))
    assert (heart.type, heart.time) == ("heart-rate", "2020-02-05T05:00:00Z")
    assert heart.value == {
        "quantity": {"value": "50", "unit": "/min"},
        "statistic": "minimum",
        "end": "2020-02-06T05:00:00Z",
    }
    assert (night.type, night.value["end"]) == ("sleep-episode", "2016-02-06T06:35:00Z")
    assert night.value["quantity"] == {"value": "30600", "unit": "s"}
    assert night.value["number_of_awakenings"] == {"value": "1", "unit": "1"}
    assert (steps.type, steps.time, steps.value) == ("step-count", "", {"quantity": {"value": "6000", "unit": "1"}})
    assert {record.subject for record in (heart, night, steps)} == {CONTEXT.pseudonym("p1")}


@needs_samples
@pytest.mark.parametrize("sample", [HEART, NIGHT, STEPS], ids=lambda path: path.name[:10])
def test_a_truncated_point_is_one_rejection_wherever_it_ends(sample: Path, tmp_path: Path) -> None:
    text = sample.read_text().rstrip()
    for cut in range(0, len(text), 5):
        (item,) = imported(tmp_path, text[:cut])
        assert isinstance(item, Rejection)
        assert item.position == "file"


@pytest.mark.parametrize(
    ("head", "name", "known"),
    [
        (b'{"step_count": 6000}', "x", True),
        (b'[{"header": {"schema_id": {"namespace": "omh"', "x.json", True),
        (b'{"x": 1}', "step-count_1.0_shouldPass.json", True),
        (b'{"x": 1}', "blood-pressure-2.0.json", True),
        (b'{"x": 1}', "some-thing_1.0.json", False),
        (b'{"resourceType": "Observation", "heart_rate": 1}', "x.json", False),
        (b'<x a="step_count":/>', "step-count_1.0.json", False),
    ],
)
def test_points_are_recognised_by_content_or_by_name(head: bytes, name: str, known: bool) -> None:
    assert open_mhealth.recognises(head, Path(name)) == known


def test_a_header_names_the_person_and_nobody_else_learns_who(tmp_path: Path) -> None:
    header = {
        "id": "123",
        "user_id": "anna",
        "schema_id": {"namespace": "omh", "name": "heart-rate", "version": "2.0"},
        "acquisition_provenance": {"source_name": "Anna's watch", "modality": "sensed"},
    }
    body = RATE | {"user_notes": "Anna felt dizzy", "body_posture": "sitting"}
    (record,) = imported(tmp_path, [{"header": header, "body": body}])
    assert record.subject == CONTEXT.pseudonym("anna") != CONTEXT.pseudonym("p1")
    assert record.detail == {"modality": "sensed", "body_posture": "sitting"}
    assert b"nna" not in record.encode()


def test_a_blood_pressure_is_two_facts(tmp_path: Path) -> None:
    pressures = {f"{n}_blood_pressure": {"value": v, "unit": "mmHg"} for n, v in (("systolic", 120), ("diastolic", 80))}
    records = imported(tmp_path, pressures)
    assert {(r.type, r.value["quantity"]["value"]) for r in records} == {
        ("systolic-blood-pressure", "120"),
        ("diastolic-blood-pressure", "80"),
    }


def test_an_activity_has_its_distance_and_energy(tmp_path: Path) -> None:
    body = {
        "activity_name": "Trail running",
        "distance": {"value": 5, "unit": "mi"},
        "kcal_burned": {"value": 100, "unit": "kcal"},
        "reported_activity_intensity": "vigorous",
    }
    (record,) = imported(tmp_path, body)
    assert (record.type, record.value) == (
        "physical-activity",
        {
            "activity": "trail-running",
            "distance": {"value": "8046.72", "unit": "m"},
            "energy": {"value": "418.4", "unit": "kJ"},
            "intensity": "vigorous",
        },
    )


def test_total_sleep_alone_is_an_episode_only_by_its_schema(tmp_path: Path) -> None:
    body = {"total_sleep_time": {"value": 8, "unit": "h"}}
    (duration,) = imported(tmp_path, body, "total-sleep-time_1.0.json")
    (episode,) = imported(tmp_path, body, "sleep-episode_1.0.json")
    assert (duration.type, episode.type) == ("sleep-duration", "sleep-episode")


@pytest.mark.parametrize(
    ("frame", "time", "end"),
    [
        ({"date_time": "2020-03-01T12:00:00+01:00"}, "2020-03-01T11:00:00Z", None),
        ({"date_time": "2020-03-01T12:00:00"}, "2020-03-01T12:00:00Z", None),
        (
            {"time_interval": {"start_date_time": "2020-03-01T12:00:00Z", "duration": {"value": 1.5, "unit": "min"}}},
            "2020-03-01T12:00:00Z",
            "2020-03-01T12:01:30Z",
        ),
        (
            {"time_interval": {"end_date_time": "2020-03-01T12:00:00Z", "duration": {"value": 1, "unit": "d"}}},
            "2020-02-29T12:00:00Z",
            "2020-03-01T12:00:00Z",
        ),
    ],
)
def test_every_way_to_say_when(frame: dict[str, Any], time: str, end: str | None, tmp_path: Path) -> None:
    (record,) = imported(tmp_path, at(**frame))
    assert (record.time, record.value.get("end")) == (time, end)


def test_a_part_of_a_day_is_no_clock_time(tmp_path: Path) -> None:
    (record,) = imported(tmp_path, at(time_interval={"date": "2020-03-01", "part_of_day": "morning"}))
    assert (record.time, record.value["part_of_day"]) == ("2020-03-01", "morning")


@pytest.mark.parametrize(
    ("content", "because"),
    [
        (7, "not an object"),
        ({}, "no measure that this importer reads"),
        ({"Anna": {"value": 1}}, "no measure that this importer reads"),
        ({"header": {}, "body": []}, "body is not of the kind that it should be"),
        ({"header": {"user_id": 7}, "body": RATE}, "user_id is not of the kind that it should be"),
        ({"heart_rate": 72}, "heart_rate is no quantity with a unit"),
        ({"heart_rate": {"value": 72}}, "unit is missing"),
        ({"heart_rate": {"unit": "beats/min"}}, "value is missing"),
        ({"heart_rate": {"value": "Anna", "unit": "beats/min"}}, "not a number"),
        ({"step_count": True}, "step_count is no number"),
        (RATE | {"descriptive_statistic": "what Anna said!"}, "descriptive_statistic is none of the schema's words"),
        ({"is_main_sleep": 1}, "is_main_sleep is not of the kind that it should be"),
        ({"activity_name": "Anna's long run, with Ben"}, "activity_name is none of the schema's words"),
        (at(), "time_interval is missing"),
        (at(date_time="Anna"), "not written as a time"),
        (at(date_time=7), "date_time is not of the kind that it should be"),
        (at(time_interval={}), "a time interval with neither start nor end"),
        (at(time_interval={"start_date_time": "2020-03-01T12:00:00Z"}), "duration is missing"),
        (
            at(time_interval={"start_date_time": "2020-03-01", "duration": {"value": 1, "unit": "h"}}),
            "a duration from a date without a time",
        ),
        (
            at(time_interval={"start_date_time": "2020-03-02T00:00:00Z", "end_date_time": "2020-03-01T00:00:00Z"}),
            "it ends before it starts",
        ),
    ],
)
def test_a_point_that_cannot_be_read_says_why_and_the_next_one_is(content: Any, because: str, tmp_path: Path) -> None:
    fault, record = imported(tmp_path, [content, RATE])
    assert fault == Rejection("data point 1", because)
    assert isinstance(record, Record)


@pytest.mark.parametrize(
    "duration",
    [
        {"value": 1, "unit": "Mo"},
        {"value": -1, "unit": "h"},
        {"value": "9" * 12, "unit": "wk"},
        {"value": "9" * 500, "unit": "h"},
        {"value": 1e300, "unit": "h"},
        {"value": "Anna", "unit": "h"},
    ],
)
def test_a_duration_has_one_length_and_an_end(duration: dict[str, Any], tmp_path: Path) -> None:
    interval = {"start_date_time": "2020-03-01T12:00:00Z", "duration": duration}
    assert imported(tmp_path, at(time_interval=interval)) == [
        Rejection("data point 1", "a duration of no known length")
    ]


@pytest.mark.parametrize("year", ["0001", "9999"])
def test_no_duration_leads_out_of_the_calendar(year: str, tmp_path: Path) -> None:
    for end, clock in (("start_date_time", f"{year}-12-31T23:00:00Z"), ("end_date_time", f"{year}-01-01T00:00:00Z")):
        for item in imported(tmp_path, at(time_interval={end: clock, "duration": {"value": 10, "unit": "h"}})):
            assert isinstance(item, Record) or item.reason == "a duration from a date without a time"


@pytest.mark.parametrize("text", ["[" * 100_000, '{"step_count": NaN}', '{"step_count": 1e', "\0", ""])
def test_json_that_is_none_is_one_rejection(text: str, tmp_path: Path) -> None:
    (item,) = imported(tmp_path, text)
    assert isinstance(item, Rejection)
    assert item.position == "file"


def test_one_fact_from_four_sources_is_one_record(tmp_path: Path) -> None:
    moment = "2020-03-01T12:00:00Z"
    nanoseconds = "1583064000000000000"
    files = {
        apple_health: '<HealthData><Record type="HKQuantityTypeIdentifierHeartRate" unit="count/min" value="72" '
        'startDate="2020-03-01 13:00:00 +0100" endDate="2020-03-01 13:00:00 +0100"/></HealthData>',
        fitbit: json.dumps(
            {
                "activities-heart": [{"dateTime": "2020-03-01", "value": {}}],
                "activities-heart-intraday": {"dataset": [{"time": "12:00:00", "value": 72}]},
            }
        ),
        google_fit: json.dumps(
            {
                "point": [
                    {
                        "startTimeNanos": nanoseconds,
                        "endTimeNanos": nanoseconds,
                        "dataTypeName": "com.google.heart_rate.bpm",
                        "value": [{"fpVal": 72.0}],
                    }
                ]
            }
        ),
        open_mhealth: json.dumps(at(date_time=moment)),
    }
    records = []
    for importer, text in files.items():
        (tmp_path / "file").write_text(text)
        records += importer.read(tmp_path / "file", CONTEXT)
    assert len(records) == 4
    assert len({record.identity() for record in records}) == 1
    assert {record.source for record in records} == {"apple-health", "fitbit", "google-fit", "open-mhealth"}


def test_one_night_from_two_sources_is_one_record(tmp_path: Path) -> None:
    log = {
        "startTime": "2020-03-01T23:00:00.000",
        "endTime": "2020-03-02T06:00:00.000",
        "minutesAsleep": 390,
        "minutesAwake": 30,
        "efficiency": 93,
        "isMainSleep": True,
    }
    (tmp_path / "night.json").write_text(json.dumps({"sleep": [log]}))
    (first,) = fitbit.read(tmp_path / "night.json", CONTEXT)
    interval = {"start_date_time": "2020-03-02T00:00:00+01:00", "duration": {"value": 7, "unit": "h"}}
    body = {
        "effective_time_frame": {"time_interval": interval},
        "total_sleep_time": {"value": 6.5, "unit": "h"},
        "wake_after_sleep_onset": {"value": 0.5, "unit": "h"},
        "sleep_maintenance_efficiency_percentage": {"value": 93.0, "unit": "%"},
        "is_main_sleep": True,
    }
    (second,) = imported(tmp_path, body)
    assert first.identity() == second.identity()
