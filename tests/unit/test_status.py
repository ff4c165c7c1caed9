"""What a hospital sees of its consortium: who is awaited, and who the members are."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from hmchain.history import History
from hmchain.rounds import Phase, RoundState
from tests.unit.test_open_jobs import created
from trainers.cli import _age, _job_lines, _jobs_lines
from trainers.status import _state, awaited, members

NONE: frozenset[int] = frozenset()
STATE = RoundState(3, 2, Phase.REQUEST, 99, (8, 5, 2), (7, 3, 9, 4), NONE, NONE, NONE, NONE, NONE, NONE)


@pytest.mark.parametrize(
    ("phase", "facts", "expected"),
    [
        (Phase.REQUEST, {"awaited": {0, 1, 2}}, [8, 5, 2]),
        (Phase.REQUEST, {"awaited": {2}, "uncommitted": {0, 1, 2, 3}}, [2]),
        (Phase.PRE_PREPARE, {"uncommitted": {1, 3}, "awaited": {0}}, [3, 4]),
        (Phase.PREPARE, {"unrevealed": {0, 2}, "uncommitted": {1}}, [7, 9]),
        (Phase.REPLY, {"attested": {0, 1}}, [9, 4]),
        (Phase.REPLY, {"attested": {0, 1, 2, 3}}, []),
    ],
)
def test_the_members_that_owe_something_in_this_phase_are_awaited(
    phase: Phase, facts: dict[str, Any], expected: list[int]
) -> None:
    state = replace(STATE, phase=phase, **{name: frozenset(positions) for name, positions in facts.items()})
    assert awaited(state) == expected


@pytest.mark.parametrize(
    "phase", [Phase.NONE, Phase.ENROLMENT, Phase.WAITING, Phase.COMMIT, Phase.FAILED, Phase.CLOSED]
)
def test_in_other_phases_nobody_is_awaited(phase: Phase) -> None:
    everyone = frozenset({0, 1, 2})
    state = replace(STATE, phase=phase, awaited=everyone, uncommitted=everyone, unrevealed=everyone)
    assert awaited(state) == []


@pytest.mark.parametrize(
    ("age", "behind", "said"),
    [
        (12.4, 0.0, "12 s old"),
        (0.0, 0.4, "0 s old"),
        (0.0, 7198.2, "7198 s ahead of this machine's clock"),
    ],
)
def test_a_block_is_never_said_to_be_younger_than_new(age: float, behind: float, said: str) -> None:
    assert _age({"block_age_seconds": age, "clock_behind_seconds": behind}) == said


def test_a_failed_round_waits_for_nobody_in_particular() -> None:
    job = {"job": 1, "round": 2, "rounds": 9, "phase": "FAILED", "deadline": 5, "seconds_left": -356, "awaited": []}
    assert _job_lines(job | {"history": []}) == [
        "job 1    round 2 of 9, FAILED; waiting for a node to begin the next one"
    ]


def test_a_job_that_lacks_members_says_how_many_it_needs() -> None:
    job = {"job": 1, "round": 0, "rounds": 9, "phase": "ENROLMENT", "enrolled": [1, 2, 3], "needed": 4, "history": []}
    assert _job_lines(job) == ["job 1    round 0 of 9, ENROLMENT; enrolled: 1, 2, 3; it needs 4 members"]
    assert _job_lines(job | {"needed": 3}) == ["job 1    round 0 of 9, ENROLMENT; enrolled: 1, 2, 3"]


def test_a_job_that_has_enough_members_says_how_long_others_may_come() -> None:
    job = {"job": 1, "round": 2, "rounds": 9, "phase": "WAITING", "enrolled": [1, 2, 3], "needed": 3, "history": []}
    for left, shown in ((840, 840), (-5, 0)):
        assert _job_lines(job | {"deadline": 7, "seconds_left": left}) == [
            f"job 1    round 2 of 9, WAITING; enrolled: 1, 2, 3; others may enrol for {shown} s"
        ]


def test_thousands_of_jobs_that_nobody_enrols_in_take_one_line() -> None:
    idle = {"round": 0, "rounds": 9, "phase": "ENROLMENT", "enrolled": [], "needed": 1, "history": []}
    jobs = [idle | {"job": number} for number in range(1, 2_001)]
    jobs[7] |= {"enrolled": [2]}
    jobs[11] |= {"phase": "CLOSED", "round": 9}
    assert _jobs_lines(jobs) == [
        "job 8    round 0 of 9, ENROLMENT; enrolled: 2",
        "job 12    round 9 of 9, CLOSED",
        "and 1,998 jobs in which nobody is enrolled; job list has them",
    ]
    assert len(_jobs_lines(jobs[:5])) == 5
    assert _jobs_lines([]) == ["no job yet"]


def test_a_job_that_was_never_begun_takes_no_call_of_the_chain() -> None:
    (job,) = created((1, "0x1")).jobs.values()
    nothing: Any = None
    assert _state(nothing, nothing, job).phase is Phase.ENROLMENT


def test_past_members_are_listed_too() -> None:
    history = History(
        members={1: "0x1", 2: "0x2"}, names={1: "One", 2: "Two"}, active={2}, samples={2: 40}, roots={2: bytes(32)}
    )
    assert list(members(history)) == [
        {"member": 1, "name": "One", "operator": "0x1", "active": False, "samples": 0},
        {"member": 2, "name": "Two", "operator": "0x2", "active": True, "samples": 40},
    ]
