"""Fitbit: local times become UTC by the hospital's zone, each value and each stage of a night is a record."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from hmchain.record import Code, Record
from tests.samples import RECORDS, needs_samples
from trainers.importers.base import Context, Rejection
from trainers.importers.measures.behaviours import HEALTHKIT, LOINC
from trainers.importers.wearables import fitbit

SAMPLES = RECORDS / "wearables"
CONTEXT = Context(bytes(32), "p1", ZoneInfo("America/New_York"))
HEART, STEPS, SLEEP = (
    SAMPLES / f"fitbit-{name}.json"
    for name in ("activities-heart-1d-1m-intraday", "activities-steps-timeseries", "sleep-date")
)
DAY = {"dateTime": "2020-03-01", "value": {}}
NIGHT = {"startTime": "2020-03-01T23:00:00.000", "endTime": "2020-03-02T06:00:00.000", "minutesAsleep": 400}


def imported(path: Path, content: Any) -> list[Any]:
    (path / "fitbit.json").write_text(content if isinstance(content, str) else json.dumps(content))
    return list(fitbit.read(path / "fitbit.json", CONTEXT))


def intraday(*points: Any, name: str = "heart", day: str = "2020-03-01", **more: Any) -> dict[str, Any]:
    return {
        f"activities-{name}": [{"dateTime": day, "value": {}}],
        f"activities-{name}-intraday": {"dataset": list(points), "datasetInterval": 1, "datasetType": "minute"} | more,
    }


def steps(*days: Any) -> dict[str, Any]:
    return {"activities-steps": list(days)}


@needs_samples
def test_the_sample_of_a_days_heart_rates_is_read_whole() -> None:
    day, *minutes = fitbit.read(HEART, CONTEXT)
    assert (day.time, day.value["statistic"]) == ("2015-08-21", "average")
    assert day.value["quantity"] == {"value": "64.2", "unit": "/min"}
    assert [m.value["quantity"]["value"] for m in minutes] == ["64", "63", "64", "65", "65"]
    assert (minutes[0].type, minutes[0].time) == ("heart-rate", "2015-08-21T04:01:00Z")
    assert set(minutes[0].codes) == {Code(LOINC, "8867-4"), Code(HEALTHKIT, "HKQuantityTypeIdentifierHeartRate")}
    assert all((m.subject, m.source) == (CONTEXT.pseudonym("p1"), "fitbit") for m in minutes)


@needs_samples
def test_the_sample_of_daily_steps_is_read_whole() -> None:
    days = list(fitbit.read(STEPS, CONTEXT))
    assert [(d.time, d.value["quantity"]["value"]) for d in days] == [
        ("2015-08-23", "175"),
        ("2015-08-24", "2937"),
        ("2015-08-25", "0"),
    ]
    assert {d.codes for d in days} == {(Code(LOINC, "41950-7"),)}


@needs_samples
def test_the_sample_of_two_nights_is_read_whole() -> None:
    records = list(fitbit.read(SLEEP, CONTEXT))
    assert Counter(record.type for record in records) == {"sleep-episode": 2, "sleep": 8}
    nap, _, night, *stages = records
    assert (nap.time, nap.value["end"]) == ("2016-12-13T14:59:00Z", "2016-12-13T16:02:30Z")
    assert (nap.value["is_main_sleep"], night.value["is_main_sleep"]) == (False, True)
    assert night.value["quantity"] == {"value": "6720", "unit": "s"}
    assert Counter(stage.value["state"] for stage in stages) == {"asleep": 4, "restless": 3}
    assert stages[-1].value["end"] == night.value["end"]


@needs_samples
@pytest.mark.parametrize("sample", [HEART, STEPS, SLEEP], ids=lambda path: path.stem)
def test_a_truncated_answer_is_one_rejection_wherever_it_ends(sample: Path, tmp_path: Path) -> None:
    text = sample.read_text()
    for cut in range(0, len(text.rstrip()), 37):
        (item,) = imported(tmp_path, text[:cut])
        assert isinstance(item, Rejection)
        assert item.position == "file"


@pytest.mark.parametrize(
    ("head", "known"),
    [
        (b'{"activities-heart": [', True),
        (b'\xef\xbb\xbf {\n "sleep" : [{', True),
        (b'{"activities-steps-intraday":{"dataset"', True),
        (b'{"resourceType":"Bundle","sleep":[', False),
        (b'{"steps": []}', False),
        (b"", False),
    ],
)
def test_answers_are_recognised_by_their_first_member(head: bytes, known: bool) -> None:
    assert fitbit.recognises(head, Path("x.json")) == known


def test_steps_of_a_minute_last_a_minute_and_a_heart_rate_does_not(tmp_path: Path) -> None:
    (walked,) = imported(tmp_path, intraday({"time": "12:00:00", "value": 7}, name="steps"))
    (heart,) = imported(tmp_path, intraday({"time": "12:00:00", "value": 70}))
    assert (walked.time, walked.value["end"]) == ("2020-03-01T17:00:00Z", "2020-03-01T17:01:00Z")
    assert "end" not in heart.value


def test_intervals_have_the_length_that_the_answer_says(tmp_path: Path) -> None:
    point = {"time": "12:00:00", "value": 7}
    (walked,) = imported(tmp_path, intraday(point, name="steps", datasetInterval=15))
    assert walked.value["end"] == "2020-03-01T17:15:00Z"


def test_a_resting_heart_rate_is_another_fact_and_a_day_may_have_none(tmp_path: Path) -> None:
    days = [{"dateTime": "2020-03-01", "value": {"restingHeartRate": 58}}, {"dateTime": "2020-03-02", "value": {}}]
    (record,) = imported(tmp_path, {"activities-heart": days})
    assert (record.type, record.time) == ("resting-heart-rate", "2020-03-01")


def test_stages_and_short_wakings_share_the_states_of_all_sources(tmp_path: Path) -> None:
    def stage(level: str) -> dict[str, Any]:
        return {"dateTime": "2020-03-01T23:00:00.000", "level": level, "seconds": 30}

    levels = {"data": [stage(level) for level in ("light", "deep", "rem", "wake")], "shortData": [stage("wake")]}
    _, *stages = imported(tmp_path, {"sleep": [NIGHT | {"levels": levels}]})
    assert [s.value["state"] for s in stages] == ["light", "deep", "rem", "awake", "awake"]
    assert stages[3].identity() == stages[4].identity()


def test_a_night_across_the_change_of_clocks_lasts_as_long_as_it_did(tmp_path: Path) -> None:
    stage = {"dateTime": "2020-03-08T01:30:00.000", "level": "light", "seconds": 3600}
    _, record = imported(tmp_path, {"sleep": [NIGHT | {"levels": {"data": [stage]}}]})
    assert (record.time, record.value["end"]) == ("2020-03-08T06:30:00Z", "2020-03-08T07:30:00Z")


OTHER_KIND = "is not of the kind that it should be"


@pytest.mark.parametrize(
    ("content", "position", "because"),
    [
        ([], "file", "a series that this importer does not read; the file's name says which"),
        ({"activities-distance": []}, "part 1", "a series that this importer does not read"),
        ({"Anna": []}, "part 1", "a series that this importer does not read"),
        ({"sleep": {}}, "part 1", "a series that this importer does not read"),
        (steps(7), "steps day 1", "dateTime is missing"),
        (steps({"dateTime": 1, "value": 1}), "steps day 1", f"dateTime {OTHER_KIND}"),
        (steps({"dateTime": "2020-03-01T12:00:00", "value": 1}), "steps day 1", "dateTime is no date"),
        (steps({"dateTime": "2020-03-01", "value": True}), "steps day 1", "value is no number"),
        (steps({"dateTime": "2020-03-01", "value": "Anna"}), "steps day 1", "not a number"),
        (steps({"dateTime": "2020-03-01"}), "steps day 1", "value is missing"),
        (intraday({"time": "25:00:00", "value": 1}), "heart intraday 1", "no time that the calendar has"),
        (intraday({"time": "Anna", "value": 1}), "heart intraday 1", "not written as a time"),
        (intraday({"time": "12:00:00"}), "heart intraday 1", "value is missing"),
        (intraday(datasetType="century"), "heart intraday", "an interval of no known length"),
        (intraday(datasetInterval=10**9), "heart intraday", "an interval of no known length"),
        (intraday(dataset=7), "heart intraday", f"dataset {OTHER_KIND}"),
        ({"activities-heart-intraday": {"dataset": []}}, "heart intraday", "times of no day, or of several"),
        (intraday() | {"activities-heart": [DAY, DAY]}, "heart intraday", "times of no day, or of several"),
        ({"sleep": [7]}, "sleep 1", "startTime is missing"),
        ({"sleep": [NIGHT | {"endTime": "2020-03-01T22:00:00"}]}, "sleep 1", "it ends before it starts"),
        ({"sleep": [NIGHT | {"isMainSleep": "Anna"}]}, "sleep 1", f"isMainSleep {OTHER_KIND}"),
    ],
)
def test_what_cannot_be_read_says_where_and_why_without_its_content(
    content: Any, position: str, because: str, tmp_path: Path
) -> None:
    assert imported(tmp_path, content) == [Rejection(position, because)]


@pytest.mark.parametrize(
    "stage",
    [
        7,
        {},
        {"dateTime": "2020-03-01T23:00:00", "level": "Anna", "seconds": 1},
        {"dateTime": "2020-03-01T23:00:00", "level": "rem", "seconds": -1},
        {"dateTime": "2020-03-01T23:00:00", "level": "rem", "seconds": 10**12},
        {"dateTime": "2020-03-01", "level": "rem", "seconds": 60},
    ],
)
def test_a_stage_that_is_none_leaves_the_others(stage: Any, tmp_path: Path) -> None:
    good = {"dateTime": "2020-03-01T23:00:00.000", "level": "rem", "seconds": 60}
    night, fault, record = imported(tmp_path, {"sleep": [NIGHT | {"levels": {"data": [stage, good]}}]})
    assert (night.type, record.type) == ("sleep-episode", "sleep")
    assert fault.position == "sleep 1 data 1"
    assert "Anna" not in fault.reason


@pytest.mark.parametrize(
    "text",
    ['{"sleep":' + "[" * 100_000, '{"activities-steps": [{"value": NaN}]}', '{"sleep": [1e', "\0"],
    ids=["deep", "NaN", "cut off", "binary"],
)
def test_json_that_is_none_is_one_rejection(text: str, tmp_path: Path) -> None:
    (item,) = imported(tmp_path, text)
    assert isinstance(item, Rejection)
    assert item.position == "file"


@pytest.mark.parametrize("digits", ["9" * 5000, "1e9999", "1e-9999", "1." + "1" * 5000, "-" + "9" * 70])
def test_numbers_of_no_size_are_rejected_one_by_one(digits: str, tmp_path: Path) -> None:
    text = '{"activities-steps": [{"dateTime": "2020-03-01", "value": %s}, {"dateTime": "2020-03-02", "value": 5}]}'
    items = imported(tmp_path, text % digits)
    assert isinstance(items[0], Rejection)
    assert digits not in items[0].reason
    assert len(items) == 1 or isinstance(items[1], Record)


def test_stages_that_are_no_list_stop_no_other_night(tmp_path: Path) -> None:
    first, fault, last = imported(tmp_path, {"sleep": [{**NIGHT, "levels": {"data": 5}}, NIGHT]})
    assert first == last
    assert fault == Rejection("sleep 1 data", "data is not of the kind that it should be")


# The export archive


def exported(folder: Path, name: str, content: Any) -> list[Any]:
    (folder / name).write_text(json.dumps(content))
    assert fitbit.recognises((folder / name).read_bytes()[:4096], folder / name)
    return list(fitbit.read(folder / name, CONTEXT))


def test_the_exports_heart_rates_and_steps_are_those_of_the_api_in_utc(tmp_path: Path) -> None:
    heart = {"dateTime": "03/01/20 17:00:00", "value": {"bpm": 70, "confidence": 2}}
    walked = {"dateTime": "03/01/20 17:00:00", "value": "7"}
    minute = {"time": "12:00:00"}
    assert exported(tmp_path, "heart_rate-2020-03-01.json", [heart]) == imported(
        tmp_path, intraday(minute | {"value": 70})
    )
    assert exported(tmp_path, "steps-2020-03-01.json", [walked]) == imported(
        tmp_path, intraday(minute | {"value": 7}, name="steps")
    )


def test_a_resting_heart_rate_of_the_export_is_one_of_a_day(tmp_path: Path) -> None:
    worn = {"dateTime": "03/01/20 00:00:00", "value": {"date": "03/01/20", "value": 58.4, "error": 6.8}}
    idle = {"dateTime": "03/02/20 00:00:00", "value": {"date": None, "value": 0.0, "error": 0.0}}
    (record,) = exported(tmp_path, "resting_heart_rate-2020-03-01.json", [worn, idle])
    assert (record.type, record.time, record.value["quantity"]["value"]) == ("resting-heart-rate", "2020-03-01", "58.4")


def test_a_night_of_the_export_is_that_of_the_api(tmp_path: Path) -> None:
    log = {"logId": 1, **NIGHT, "mainSleep": True}
    assert exported(tmp_path, "sleep-2020-03-01.json", [log]) == imported(
        tmp_path, {"sleep": [{**NIGHT, "isMainSleep": True}]}
    )


@pytest.mark.parametrize("bad", [{"dateTime": "13/01/20 17:00:00", "value": "7"}, {"value": "7"}, 7, {"dateTime": 3}])
def test_a_bad_value_of_the_export_stops_no_other(bad: Any, tmp_path: Path) -> None:
    good = {"dateTime": "03/01/20 17:00:00", "value": "7"}
    first, fault, last = exported(tmp_path, "steps-2020-03-01.json", [good, bad, good])
    assert first == last
    assert fault.position == "value 2"


@pytest.mark.parametrize("name", ["distance-2020-03-01.json", "steps.json"])
def test_a_series_of_the_export_that_is_not_known_is_said_to_be(name: str, tmp_path: Path) -> None:
    (fault,) = exported(tmp_path, name, [{"dateTime": "03/01/20 17:00:00", "value": "7"}])
    assert fault.reason.startswith("a series that this importer does not read")
