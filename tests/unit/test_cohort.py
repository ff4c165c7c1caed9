"""Cohort counts: distinct persons by consented records, and nothing about few of them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from functools import cache
from itertools import combinations, product
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hmchain.errors import UsageError
from hmchain.permits import Purpose
from hmchain.record import Code, Kind, Record
from tests.samples import needs_samples
from tests.unit.small_hospital import SmallHospital, sample, signed
from trainers.services.answers import summed
from trainers.services.cohort import Criteria, Query, count, divided, persons, read_query, rows, suppressed

LOINC, SNOMED = "http://loinc.org", "http://snomed.info/sct"
DIABETES, STATIN, GLUCOSE = f"{SNOMED}|44054006", "urn:drugs|statin", f"{LOINC}|2345-7"
BIOMEDICAL = Purpose.BIOMEDICAL


@pytest.fixture
def hospital(tmp_path: Path) -> Iterator[SmallHospital]:
    made = SmallHospital.make(tmp_path / "hospital")
    with closing(made.vault):
        yield made


def record(subject: str, *codes: str, time: str = "2020-05-01", type: str = "condition") -> Record:
    parts = (code.rpartition("|") for code in codes)
    return Record(Kind.CLINICAL, type, subject, time, tuple(Code(s, c) for s, _, c in parts), {}, "test")


# Who is counted


def test_a_person_has_each_code_of_all_and_none_of_none(hospital: SmallHospital) -> None:
    hospital.take([record("a", DIABETES), record("a", STATIN), record("b", DIABETES), record("c", STATIN)])
    a, b, c = (hospital.person(subject, BIOMEDICAL) for subject in "abc")

    def found(**criteria: tuple[str, ...]) -> set[str]:
        return persons(hospital.trail, hospital.vault, Criteria(**criteria))

    assert found() == {a, b, c}
    assert found(all=(DIABETES,)) == {a, b}
    assert found(all=(DIABETES, STATIN)) == {a}
    assert found(all=(DIABETES,), none=(STATIN,)) == {b}
    assert found(none=(DIABETES,)) == {c}
    assert found(all=(GLUCOSE,)) == set()


def test_kind_type_and_time_say_which_records_count(hospital: SmallHospital) -> None:
    hospital.take([record("a", DIABETES, time="2019"), record("b", DIABETES, time=""), record("c", GLUCOSE, type="x")])
    a, b, c = (hospital.person(subject, BIOMEDICAL) for subject in "abc")
    for criteria, expected in (
        (Criteria(since="2019"), {a, c}),
        (Criteria(since="2019-01"), {c}),
        (Criteria(until="2020"), {a}),
        (Criteria(until="2019"), set()),
        (Criteria(type="x"), {c}),
        (Criteria(kind=Kind.RESEARCH), set()),
        (Criteria(all=(DIABETES,)), {a, b}),
    ):
        assert persons(hospital.trail, hospital.vault, criteria) == expected, criteria


def test_only_records_that_are_consented_for_biomedical_research_count(hospital: SmallHospital) -> None:
    hospital.take(record(subject, DIABETES) for subject in ("yes", "no", "other", "unlinked", "later", ""))
    yes = hospital.person("yes", BIOMEDICAL)
    hospital.person("no")
    hospital.person("other", Purpose.IMAGING)
    assert persons(hospital.trail, hospital.vault, Criteria()) == {yes}
    hospital.person("yes")  # withdraws
    assert persons(hospital.trail, hospital.vault, Criteria()) == set()


def test_a_person_with_two_numbers_counts_once(hospital: SmallHospital) -> None:
    hospital.take([record("a1", DIABETES), record("a2", STATIN)])
    who = {hospital.person(number, BIOMEDICAL, who="a") for number in ("a1", "a2")}
    assert persons(hospital.trail, hospital.vault, Criteria(all=(DIABETES, STATIN))) == who
    assert len(who) == 1


def test_an_erased_record_counts_for_nothing(hospital: SmallHospital) -> None:
    hospital.take([record("a", DIABETES)])
    hospital.person("a", BIOMEDICAL)
    hospital.vault.erase(next(hospital.vault.holdings()))
    assert persons(hospital.trail, hospital.vault, Criteria()) == set()


def test_groups_divide_the_population_in_their_order(hospital: SmallHospital) -> None:
    hospital.take([record("a", DIABETES, STATIN), record("b", DIABETES, GLUCOSE), record("c", DIABETES)])
    hospital.take([record("d", STATIN), record("b", STATIN)])
    for subject in "abcd":
        hospital.person(subject, BIOMEDICAL)
    groups = [{"name": "statin", "all": [STATIN]}, {"name": "glucose", "all": [GLUCOSE]}]
    query = Query.model_validate({"population": {"all": [DIABETES]}, "groups": groups})
    assert divided(hospital.trail, hospital.vault, query) == {"statin": 2, "glucose": 0, "rest": 1}


@needs_samples
def test_real_laboratory_results_of_two_hospitals_are_counted_as_by_hand(tmp_path: Path) -> None:
    answers, expected = [], 0
    query = read_query(write(tmp_path, f'population = {{type = "observation", all = ["{LOINC}|2093-3"]}}'))
    for member, names in ((1, ("lis",)), (2, ("fhir", "hl7v2"))):
        hospital = SmallHospital.make(tmp_path / str(member))
        with closing(hospital.vault):
            records = sample(*names, context=hospital.context)
            hospital.take(records)
            several = [  # the same results of enough persons
                replace(r, subject=hospital.context.pseudonym(f"{r.subject}{i}")) for r in records for i in range(4)
            ]
            hospital.take(several)
            for subject in {r.subject for r in records + several} - {""}:
                hospital.person(subject, BIOMEDICAL)
            wanted = Code(LOINC, "2093-3")
            expected += len({r.subject for r in records + several if wanted in r.codes})
            answers.append(signed(count(hospital.trail, hospital.vault, query, 5), member, query=query))
    told = rows(query, summed(answers))
    assert expected >= 10
    assert told[0] == {"cell": "total", "at_least": expected, "at_most": expected, "hospitals": 2, "suppressed": 0}


# What is told


def test_small_counts_are_suppressed_and_the_total_that_would_tell_one() -> None:
    assert suppressed({"a": 10, "b": 5, "rest": 7}, 5) == {"total": 22, "a": 10, "b": 5, "rest": 7}
    assert suppressed({"a": 10, "b": 4, "rest": 7}, 5) == {"total": None, "a": 10, "b": None, "rest": 7}
    assert suppressed({"a": 10, "b": 0, "rest": 7}, 5) == {"total": None, "a": 10, "b": None, "rest": 7}
    assert suppressed({"a": 10, "b": 4, "rest": 2}, 5) == {"total": 16, "a": 10, "b": None, "rest": None}
    assert suppressed({"a": 10, "b": 4, "rest": 4}, 5)["total"] is None, "8 of two below 5 is 4 and 4"
    assert suppressed({"a": 10, "b": 2, "rest": 2}, 5)["total"] is None, "4 persons are too few, whoever they are"
    assert suppressed({"rest": 4}, 5) == {"total": None, "rest": None}
    assert suppressed({"a": 1, "rest": 0}, 1) == {"total": 1, "a": 1, "rest": 0}


@cache
def worlds(threshold: int, groups: int) -> dict[tuple[int | None, ...], list[tuple[int, ...]]]:
    """Every possible truth with small counts, by what it makes us tell: what a reader who knows the rule considers."""
    found = defaultdict(list)
    for truth in product(range(2 * threshold), repeat=groups):
        found[answer(truth, threshold)].append(truth)
    return found


def answer(truth: tuple[int, ...], threshold: int) -> tuple[int | None, ...]:
    return tuple(suppressed({str(i): number for i, number in enumerate(truth)}, threshold).values())


@given(st.data(), st.integers(2, 4), st.integers(1, 4))
@settings(max_examples=200, deadline=None)
def test_nothing_below_the_threshold_can_be_derived(data: st.DataObject, threshold: int, groups: int) -> None:
    """By brute force: the true counts are never all that fits, for a cell or for a sum of cells that is small."""
    truth = data.draw(st.tuples(*[st.integers(0, 2 * threshold - 1)] * groups))
    told = answer(truth, threshold)
    possible = worlds(threshold, groups)[told]
    for size in range(1, groups + 1):
        for cells in combinations(range(groups), size):
            sums = {sum(world[i] for i in cells) for world in possible}
            if sum(truth[i] for i in cells) < threshold:
                assert len(sums) > 1, (truth, told, cells)
    for number, shown in zip(truth, told[1:], strict=True):
        assert shown == (number if number >= threshold else None)


def test_a_suppressed_cell_of_several_hospitals_is_bounded_and_their_total_is_not() -> None:
    query = read_only({"groups": [{"name": "a"}]})
    answers = [signed(suppressed({"a": 9, "rest": 3}, 5)), signed(suppressed({"a": 6, "rest": 8}, 5), 2)]
    told = {row.pop("cell"): row for row in rows(query, summed(answers))}
    assert told["a"] == {"at_least": 15, "at_most": 15, "hospitals": 2, "suppressed": 0}
    assert told["rest"] == {"at_least": 8, "at_most": 12, "hospitals": 1, "suppressed": 1}
    assert told["total"] == {"at_least": 14, "at_most": None, "hospitals": 1, "suppressed": 1}


# Queries


def write(folder: Path, text: str) -> Path:
    (folder / "query.toml").write_text(text)
    return folder / "query.toml"


def read_only(content: dict[str, object]) -> dict[str, object]:
    return Query.model_validate(content).model_dump(mode="json")


def test_one_query_however_it_is_written_is_one(tmp_path: Path) -> None:
    assert read_query(write(tmp_path, "")) == read_query(write(tmp_path, 'title = ""\n[population]\nall = []'))
    assert read_query(write(tmp_path, "")) == read_only({})


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("=", "is not TOML"),
        ("a = " + "9" * 5_000, "is not TOML"),
        ("surprise = 1", "surprise: Extra inputs"),
        ('population = {all = ["44054006"]}', "population.all.0"),
        ('population = {kind = "strange"}', "population.kind"),
        ('population = {since = "yesterday"}', "population.since"),
        ('groups = [{name = "rest"}]', "groups.0.name"),
        ('groups = [{name = "a"}, {name = "a"}]', "two groups of one name"),
        ("groups = [{}]", "groups.0.name"),
    ],
)
def test_a_query_that_is_none_is_refused_by_its_key(text: str, fault: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=fault):
        read_query(write(tmp_path, text))
    with pytest.raises(UsageError):
        rows({"surprise": 1}, {})
