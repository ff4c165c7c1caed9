"""A person's timeline: facts of several hospitals merged, conflicts and abnormal values shown, trends drawn."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterable
from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from hypothesis import given, settings
from hypothesis import strategies as st

from hmchain.errors import UsageError
from hmchain.record import Code, Kind, Record
from tests.samples import needs_samples
from tests.unit.small_hospital import sample
from trainers.importers.base import Context
from trainers.records.reading_cli import _write, prepare
from trainers.services import timeline_views as views
from trainers.services.abnormal import mark_of
from trainers.services.cli import records as commands
from trainers.services.timeline import Timeline, moment_of, records_in, timeline

LOINC = "http://loinc.org"
AT = "2026-01-12T07:15:00Z"
RIVERSIDE, LAKEVIEW = Context(b"r" * 32), Context(b"l" * 32)


def result(number: str, time: str = AT, code: str = "4548-4", **more: Any) -> Record:
    """A laboratory's result in %."""
    value = {"quantity": {"value": number, "unit": "%"}} | more.pop("value", {})
    codes = (Code(LOINC, code, "HbA1c"),)
    return Record(Kind.CLINICAL, "observation", more.pop("subject", "s"), time, codes, value, "test", more)


def steps(number: int, time: str, source: str = "watch") -> Record:
    value = {"quantity": {"value": str(number), "unit": "1"}}
    return Record(Kind.BEHAVIOUR, "step-count", "s", time, (Code(LOINC, "55423-8"),), value, source)


def write_as_get(found: Iterable[Record], folder: Path) -> None:
    """As `hmchain records get --out` does, of one holder."""
    prepare(folder)
    _write(found, folder, itertools.count(1))


def merged(*several: list[Record]) -> Timeline:
    return timeline(zip(("riverside", "lakeview"), several, strict=False))


# Facts of several places


def test_what_two_hospitals_say_is_one_fact_whatever_they_call_the_person() -> None:
    told = merged([result("7.4", subject="a" * 32)], [result("7.4", subject="b" * 32), result("6.9", "2026-07")])
    assert [(f.places, f.conflicts) for f in told.facts] == [(["riverside", "lakeview"], False), (["lakeview"], False)]
    assert told.shared() == 1


def test_references_to_pseudonyms_make_no_difference_between_hospitals_but_do_within_one() -> None:
    def visit(doctor: str) -> Record:
        return Record(Kind.CLINICAL, "encounter", "s", AT, (), {"participant": [{"reference": doctor}]}, "fhir-r4")

    first, second, third = (visit(letter * 32) for letter in "abc")
    told = merged([first, second, first], [third])
    assert sorted(len(fact.places) for fact in told.facts) == [1, 2]


def test_one_hospitals_records_of_several_pseudonyms_raise_a_doubt() -> None:
    assert "one person?" not in views.as_text(merged([result("7.4")], [result("7.4", subject="other")]))
    told = views.as_text(merged([result("7.4"), result("7", subject="other")]))
    assert "riverside has 2 pseudonyms: is it one person?" in told


def test_two_values_for_one_moment_are_a_conflict_and_both_are_shown() -> None:
    told = merged([result("7.4")], [result("7.9"), result("5.0", code="2345-7")])
    assert [f.conflicts for f in told.facts if f.record.codes[0].code == "4548-4"] == [True, True]
    assert len(views.striking(told)) == 2
    assert not views.striking(merged([result("7.4", "2026-01-12")], [result("7.9", "2026-01-12")])), "in one day"


def test_the_same_number_is_no_conflict_however_it_is_written_and_under_whichever_pseudonym() -> None:
    told = merged([result("7.4"), result("7.4", subject="other")], [result("7.40")])
    assert [fact.conflicts for fact in told.facts] == [False] * 3
    told = merged([result("7.4")], [result("7.40", value={"comparator": "<"})])
    assert [fact.conflicts for fact in told.facts] == [True] * 2


# Abnormal


@pytest.mark.parametrize("size", ["9E+999999", "1E+41", "1E-999999", "NaN", "Infinity"])
def test_a_number_of_no_size_that_is_measured_is_not_added_up(size: str) -> None:
    huge = [
        replace(steps(0, f"2020-05-01T0{hour}:00:00Z"), value={"quantity": {"value": size, "unit": "1"}})
        for hour in range(3)
    ]
    [trend] = merged([*huge, steps(7, "2020-05-01T09:00:00Z")]).trends
    assert [point.value for point in trend.points] == [Decimal(7)]


@pytest.mark.parametrize(
    ("detail", "mark"),
    [
        ({}, ""),
        ({"interpretation": ["H"]}, "H"),
        ({"interpretation": "LL"}, "LL"),
        ({"interpretation": ["N"], "referenceRange": "1-2"}, ""),
        ({"interpretation": [{"coding": [{"code": "A"}]}]}, "A"),
        ({"referenceRange": "4.0-7.0"}, "H"),
        ({"referenceRange": "7.4 - 9"}, ""),
        ({"referenceRange": "<7"}, "H"),
        ({"referenceRange": ">=8"}, "L"),
        ({"referenceRange": "negative"}, ""),
        ({"referenceRange": "7"}, ""),
        ({"referenceRange": [{"low": {"value": "8"}}]}, "L"),
        ({"referenceRange": [{"high": {"value": 7}}]}, "H"),
        ({"referenceRange": [{"high": {"value": 7}, "age": {}}]}, ""),
        ({"referenceRange": "4-7", "written": {"value": "5", "unit": "x"}}, ""),
        ({"referenceRange": [1, {"high": "x"}], "interpretation": [None, {"coding": 3}]}, ""),
    ],
    ids=str,
)
def test_a_result_is_abnormal_by_its_mark_or_its_range(detail: dict[str, Any], mark: str) -> None:
    assert mark_of(result("7.4", **detail)) == mark


def test_a_bound_is_not_compared_with_a_range() -> None:
    assert mark_of(result("7.4", value={"comparator": "<"}, referenceRange="8-9")) == ""


# Trends


def test_a_measure_of_watch_and_laboratory_is_one_trend_by_its_loinc_code() -> None:
    codes = (Code("https://developer.apple.com/documentation/healthkit", "HKBodyMass"), Code(LOINC, "29463-7"))
    kilograms = {"quantity": {"value": "71", "unit": "kg"}}
    watch = Record(Kind.BEHAVIOUR, "body-mass", "s", "2026-01-01", codes, kilograms, "apple-health")
    clinic = Record(Kind.CLINICAL, "observation", "s", AT, codes[1:], {"quantity": {"value": "70", "unit": "kg"}}, "x")
    (trend,) = merged([clinic], [watch]).trends
    assert (trend.name, trend.unit) == ("body mass", "kg")
    assert [(p.value, p.places) for p in trend.points] == [(71, ("lakeview",)), (70, ("riverside",))]


def test_steps_are_added_to_days_by_source() -> None:
    several = [steps(5, "2026-01-01T08:00:00Z"), steps(7, "2026-01-01T23:59:59Z"), steps(2, "2026-01-02T00:00:00Z")]
    phone = steps(9, "2026-01-01T08:00:00Z", "phone")
    trends = merged([*several, phone]).trends
    assert [(t.name, [(p.time, p.value) for p in t.points]) for t in trends] == [
        ("step count, a day, phone", [("2026-01-01", 9)]),
        ("step count, a day, watch", [("2026-01-01", 12), ("2026-01-02", 2)]),
    ]


def test_parts_statistics_and_units_are_trends_of_their_own_and_bounds_are_none() -> None:
    pressure = {"components": [{"of": [[LOINC, code]], "quantity": {"value": "80", "unit": "mm[Hg]"}} for code in "ab"]}
    records = [
        Record(Kind.CLINICAL, "observation", "s", AT, (Code(LOINC, "55284-4"),), pressure, "x"),
        result("50", value={"statistic": "minimum"}),
        result("50"),
        result("5", code="2345-7", value={"quantity": {"value": "5", "unit": "mmol/L"}}),
        result("5", code="9999-9", value={"comparator": "<"}),
        result("5", time=""),
    ]
    assert [(t.name, t.unit) for t in merged(records).trends] == [
        ("HbA1c", "%"),
        ("HbA1c", "mmol/L"),
        ("HbA1c, minimum", "%"),
        ("a", "mm[Hg]"),
        ("b", "mm[Hg]"),
    ]


def test_what_is_measured_of_no_code_is_no_trend() -> None:
    component = {"of": [5], "quantity": {"value": "1", "unit": "%"}}
    assert not merged([result("1", value={"quantity": None, "components": [component]})]).trends


@pytest.mark.parametrize(
    ("time", "moment"),
    [
        ("2016", datetime(2016, 1, 1, tzinfo=UTC)),
        ("2016-12", datetime(2016, 12, 1, tzinfo=UTC)),
        ("2016-12-14", datetime(2016, 12, 14, tzinfo=UTC)),
        ("2016-12-14T13:55:57Z", datetime(2016, 12, 14, 13, 55, 57, tzinfo=UTC)),
        ("2016-12-14T13:55:57.123456789Z", datetime(2016, 12, 14, 13, 55, 57, 123456, tzinfo=UTC)),
        ("", None),
        ("2016-13", None),
        ("yesterday", None),
    ],
)
def test_a_records_time_has_a_first_moment(time: str, moment: datetime | None) -> None:
    assert moment_of(time) == moment


@given(st.lists(st.tuples(st.sampled_from(["5", "6"]), st.sampled_from(["2026-01-01", AT])), max_size=8))
@settings(max_examples=30, deadline=None)
def test_merging_a_hospital_with_itself_adds_nothing(several: list[tuple[str, str]]) -> None:
    records = [result(number, time) for number, time in several]
    alone, twice = merged(records), merged(records, records)
    assert [f.record for f in alone.facts] == [f.record for f in twice.facts]
    assert len(alone.facts) == len(set(several)) == twice.shared()


# Real records, as files, tables and pictures


@needs_samples
def test_real_records_of_two_hospitals_are_one_timeline() -> None:
    ours = [*sample("fhir", context=RIVERSIDE), *sample("wearables", context=RIVERSIDE)]
    theirs = sample("lis", "hl7v2", context=LAKEVIEW)
    told = merged(ours, theirs)
    assert len(told.facts) < len(ours) + len(theirs)
    assert told.shared() > 20, "laboratory results that the FHIR bundle has as well"
    trends = {trend.name: trend for trend in told.trends}
    assert {"heart rate", "body mass", "systolic blood pressure", "Total Cholesterol"} <= trends.keys()
    assert trends["systolic blood pressure"].unit == "mm[Hg]"
    assert trends["Total Cholesterol"].points[-1].places == ("riverside", "lakeview")
    found = {(f.mark, f.conflicts) for f in told.facts if told.name(f.record) == "Lead BldC-mCnc"}
    assert found == {("H", True)}, "two messages on one specimen say 25 and 50 ug/dL"
    text = views.as_text(told)
    assert "Glucose [Moles/volume] in Blood" in text
    assert max(map(len, text.splitlines())) < 250


@needs_samples
@pytest.mark.parametrize(
    ("name", "start"),
    [("x.png", b"\x89PNG"), ("x.svg", b"<?xml"), ("x.html", b"<!doctype html>"), ("x.json", b'{"counts"')],
)
def test_the_command_writes_what_the_files_ending_says(name: str, start: bytes, tmp_path: Path) -> None:
    write_as_get(sample("fhir/ms_ObservationBundle.json", "wearables", context=RIVERSIDE), tmp_path / "riverside")
    write_as_get(sample("hl7v2", "dicom/CT_small.dcm", context=LAKEVIEW), tmp_path / "lakeview")
    done = run(tmp_path / "riverside", tmp_path / "lakeview", "--out", tmp_path / name)
    assert (done.exit_code, done.output) == (0, "")
    content = (tmp_path / name).read_bytes()
    assert content.startswith(start)
    assert (tmp_path / name).stat().st_mode & 0o077 == 0
    if name == "x.json":
        told = json.loads(content)
        assert {tuple(fact["places"]) for fact in told["facts"]} == {("riverside",), ("lakeview",)}
        assert all(Decimal(point["value"]).is_finite() for trend in told["trends"] for point in trend["points"])


def run(*words: object) -> Result:
    return CliRunner().invoke(commands, ["timeline", *map(str, words)])


def test_what_get_wrote_is_read_as_the_records_that_they_were(tmp_path: Path) -> None:
    several = [result("7.4"), replace(result("1"), attachment=b"\0image"), steps(1, AT)]
    write_as_get(several, tmp_path / "d")
    assert list(records_in(tmp_path / "d")) == several


def test_the_command_prints_tables_or_json_and_tells_folders_of_one_name_apart(tmp_path: Path) -> None:
    for parent in "ab":
        write_as_get([result("7.4", interpretation=["H"])], tmp_path / parent / "get")
    folders = tmp_path / "a" / "get", tmp_path / "b" / "get"
    done = run(*folders)
    assert done.exit_code == 0, done.output
    assert (
        f"1 facts: 1 of {folders[0]}, 1 of {folders[1]}; 1 known to several; 0 in conflict, 1 abnormal" in done.output
    )
    assert "Latest values" in done.output
    assert json.loads(run(*folders, "--json").output)["counts"] == {"facts": 1, "shared": 1, "striking": 1}


def test_folders_without_records_or_with_others_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="holds no records"):
        list(records_in(tmp_path))
    for content in (b"", b"[]", b"{}", b'{"attachment_bytes":0}'):
        (tmp_path / "000001.json").write_bytes(content)
        with pytest.raises(UsageError, match="is no record as hmchain records get writes it"):
            list(records_in(tmp_path))
    (tmp_path / "000001.json").unlink()
    write_as_get([replace(result("1"), attachment=b"image")], tmp_path)
    (tmp_path / "000001.bin").write_bytes(b"other image")
    with pytest.raises(UsageError, match="its attachment is not the one"):
        list(records_in(tmp_path))
    (tmp_path / "000001.bin").unlink()
    with pytest.raises(UsageError, match=r"000001\.bin cannot be read"):
        list(records_in(tmp_path))


def test_another_ending_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    write_as_get([result("1")], tmp_path / "d")
    done = run(tmp_path / "d", "--out", tmp_path / "x.pdf")
    assert done.exit_code == 2
    assert not (tmp_path / "x.pdf").exists()


def test_what_others_wrote_obeys_no_terminal_and_no_browser() -> None:
    record = replace(result("1"), codes=(Code(LOINC, "4548-4", "\x1b[31m<script>$x_$ 血"),))
    told = merged([record, replace(record, time="2026-02")])
    assert "\x1b" not in views.as_text(told)
    assert "<script>" not in views.as_html(told)


@pytest.mark.parametrize(
    "value",
    [
        {"quantity": {"value": "1", "unit": "%"}, "end": [AT], "statistic": {}},
        {"components": 5},
        {"components": [5, {"of": [5], "quantity": {"value": "1", "unit": "%"}}]},
        {"codes": [{"code": "x"}, [], 5, "x"]},
        {"codes": 5},
    ],
)
def test_a_record_that_no_importer_of_ours_makes_is_still_shown(value: dict[str, Any]) -> None:
    """Another hospital may write records with a program of its own."""
    told = merged([replace(result("1"), value=value, detail={"interpretation": "H"})])
    assert "Abnormal" in views.as_text(told)
    assert json.loads(views.as_json(told))["counts"]["striking"] == 1
    assert "All facts" in views.as_html(told)


@pytest.mark.parametrize("none", ["0001-01-01T00:00:00Z", "9999-12-31"])
def test_a_date_that_stands_for_none_is_listed_but_not_drawn(none: str) -> None:
    told = merged([result("7.4", none)], [result("6.9"), result("7.0", none)])
    assert views.rendered(told, ".png").startswith(b"\x89PNG")
    assert views.rendered(merged([result("7.4", none)]), ".svg").startswith(b"<?xml")
    assert none in views.as_html(told)


def test_nothing_to_draw_is_still_a_page_and_a_picture() -> None:
    told = merged([Record(Kind.CLINICAL, "patient", "s", "", (), {}, "x")])
    assert b"<img" not in views.rendered(told, ".html")
    assert views.rendered(told, ".png").startswith(b"\x89PNG")
    assert views.as_text(merged([])).startswith("0 facts")


NAMES = st.sampled_from(
    ["value", "unit", "quantity", "codes", "components", "of", "code", "coding", "low", "end", "text"]
)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(0, 3) | st.sampled_from(["5", "1e5", "a"]),
    lambda child: st.lists(child, max_size=2) | st.dictionaries(NAMES, child, max_size=3),
    max_leaves=8,
)


@given(st.dictionaries(NAMES, JSON, max_size=4), st.dictionaries(NAMES, JSON, max_size=3), st.booleans())
def test_whatever_a_hospital_says_in_a_record_is_shown(
    value: dict[str, Any], detail: dict[str, Any], measured: bool
) -> None:
    codes, type = ((Code(LOINC, "8867-4"),), "observation") if measured else ((), "condition")
    said = Record(
        Kind.CLINICAL, type, "s", "2020-05-01T00:00:00Z", codes, value, "x", {"interpretation": detail} | detail
    )
    shown = merged([said], [replace(said, value={**value, "text": "other"})])
    assert views.as_text(shown)
    assert len(json.loads(views.as_json(shown))["facts"]) == len([views.fact_row(shown, fact) for fact in shown.facts])
