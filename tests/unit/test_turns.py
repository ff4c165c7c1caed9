"""Whose turn it is: the same for everybody who looks at the same block, and everyone's before the deadline."""

from __future__ import annotations

import inspect
from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hmchain.manifest import Manifest
from hmchain.rounds import COORDINATOR, MAX_MASTERS, Phase, RoundState, Terms, quorum_of
from trainers import turns
from trainers.turns import INTERVAL_SECONDS, interval, may_attest, may_propose, needs_advance, rank, waits_for_blobs

TERMS = Manifest(dataset="x", channels=1, classes=("a", "b"), seed=1).terms()
NONE: frozenset[int] = frozenset()
START = 1_735_689_600

MASTERS = st.lists(st.integers(1, 500), min_size=1, max_size=MAX_MASTERS, unique=True).map(tuple)
TIMES = st.integers(-10, 2000).map(lambda seconds: START + seconds)


def at(phase: Phase, masters: tuple[int, ...] = (7, 3, 9, 5), seconds: int = TERMS.reply_seconds) -> RoundState:
    """A round whose phase began at START and lasts `seconds`."""
    return RoundState(1, 0, phase, START + seconds, (1, 2), masters, NONE, NONE, NONE, NONE, NONE, NONE)


def turn_of(state: RoundState, terms: Terms, member: int) -> int | None:
    """Seconds into the phase at which a master's turn to propose begins, if it does before the deadline."""
    return next((s for s in range(state.deadline - START + 1) if may_propose(state, terms, member, START + s)), None)


# ---------------------------------------------------------------- proposing


def test_masters_propose_after_half_the_time_one_after_the_other() -> None:
    state = at(Phase.COMMIT)
    assert [turn_of(state, TERMS, member) for member in state.masters] == [450, 454, 458, 462]


def test_after_a_proposal_without_quorum_they_need_not_wait() -> None:
    state = replace(at(Phase.COMMIT), proposed=frozenset({COORDINATOR}))
    assert [turn_of(state, TERMS, member) for member in state.masters] == [0, 4, 8, 12]


def test_nobody_proposes_twice() -> None:
    state = replace(at(Phase.COMMIT), proposed=frozenset({0, 2}))
    assert [turn_of(state, TERMS, member) for member in state.masters] == [None, 4, None, 12]


@given(masters=MASTERS, asked=st.booleans())
def test_exactly_one_masters_turn_comes_first_and_everyones_before_the_deadline(
    masters: tuple[int, ...], asked: bool
) -> None:
    state = replace(at(Phase.COMMIT, masters), proposed=frozenset({COORDINATOR}) if asked else NONE)
    begins = [turn_of(state, TERMS, member) for member in masters]
    told = [second for second in begins if second is not None]
    assert len(told) == len(masters), "everyone's turn comes in time"
    assert told == sorted(set(told)), "one after the other, the first in line alone"
    assert all(later - earlier == INTERVAL_SECONDS for earlier, later in pairwise(told))
    assert told[0] == (0 if asked else 450)


@given(masters=MASTERS, now=TIMES)
def test_a_turn_that_has_come_stays(masters: tuple[int, ...], now: int) -> None:
    state = at(Phase.COMMIT, masters)
    for member in masters:
        if may_propose(state, TERMS, member, now):
            assert may_propose(state, TERMS, member, now + 1)


@given(phase=st.sampled_from(Phase), member=st.integers(1, 500), now=TIMES)
def test_only_masters_propose_and_only_when_it_is_due(phase: Phase, member: int, now: int) -> None:
    state = at(phase)
    if may_propose(state, TERMS, member, now):
        assert phase == Phase.COMMIT
        assert member in state.masters


@given(masters=MASTERS, seconds=st.integers(2, 3600))
def test_a_short_phase_is_shared_out_among_the_masters(masters: tuple[int, ...], seconds: int) -> None:
    terms = replace(TERMS, masters=len(masters), reply_seconds=seconds)
    state = at(Phase.COMMIT, masters, seconds)
    begins = [turn_of(state, terms, member) for member in masters]
    assert 1 <= interval(terms) <= INTERVAL_SECONDS
    assert begins[0] == (seconds + 1) // 2, "the first in line has a turn however short the phase"
    if seconds >= 2 * len(masters):
        told = [second for second in begins if second is not None]
        assert len(told) == len(masters), "and everybody where there is a second for each"
        assert told == sorted(set(told))


# ---------------------------------------------------------------- attesting


@given(masters=MASTERS)
def test_a_quorum_attests_at_once_and_the_others_a_little_later(masters: tuple[int, ...]) -> None:
    state = at(Phase.REPLY, masters)
    first = [member for member in masters if may_attest(state, TERMS, member, START)]
    assert first == list(masters[: quorum_of(len(masters))])
    assert all(may_attest(state, TERMS, member, START + INTERVAL_SECONDS) for member in masters)
    assert not any(may_attest(state, TERMS, member, START - 1) for member in masters)


def test_who_is_no_master_does_not_attest() -> None:
    assert not may_attest(at(Phase.REPLY), TERMS, 1, START + 10**6)


# ---------------------------------------------------------------- waiting for blobs


def test_a_master_waits_for_updates_until_a_third_of_the_phase_is_left() -> None:
    state = at(Phase.PRE_PREPARE, seconds=TERMS.score_seconds)
    waits = [s for s in range(TERMS.score_seconds + 1) if waits_for_blobs(state, TERMS, START + s)]
    assert (waits[0], waits[-1]) == (0, 2 * TERMS.score_seconds // 3 - 1)
    assert len(waits) == 2 * TERMS.score_seconds // 3


@pytest.mark.parametrize("phase", [phase for phase in Phase if phase != Phase.PRE_PREPARE])
def test_in_no_other_phase_is_there_anything_to_wait_for(phase: Phase) -> None:
    assert not waits_for_blobs(at(phase), TERMS, START)


# ---------------------------------------------------------------- advancing


@given(masters=MASTERS, members=st.lists(st.integers(501, 999), unique=True))
def test_the_coordinator_comes_first_then_the_masters_then_everybody_else(
    masters: tuple[int, ...], members: list[int]
) -> None:
    state = at(Phase.FAILED, masters)
    assert rank(state, masters[0], coordinator=True) == rank(state, 999, coordinator=True) == 0
    assert [rank(state, member, coordinator=False) for member in masters] == list(range(1, len(masters) + 1))
    others = [rank(state, member, coordinator=False) for member in members]
    assert all(len(masters) < place <= len(masters) + 8 for place in others)


def test_nobody_waits_longer_than_a_phase_to_advance() -> None:
    longest = max(rank(at(Phase.FAILED, tuple(range(1, 16))), member, coordinator=False) for member in range(1, 500))
    assert longest * INTERVAL_SECONDS < min(TERMS.reply_seconds, TERMS.reveal_seconds)


def test_a_round_that_failed_or_was_never_judged_needs_advance() -> None:
    for judged in (True, False):
        assert needs_advance(at(Phase.FAILED), judged, 0, 9, TERMS, START)
    assert needs_advance(at(Phase.COMMIT), False, 9, 9, TERMS, START)
    assert not needs_advance(at(Phase.COMMIT), True, 9, 9, TERMS, START)


def test_a_job_that_waits_for_members_needs_advance_when_enough_are_back() -> None:
    state = replace(at(Phase.WAITING), deadline=0)
    assert [n for n in range(7) if needs_advance(state, False, n, 6, TERMS, START)] == [4, 5, 6]


def test_enough_members_wait_for_the_others_until_these_are_back_or_late() -> None:
    state = at(Phase.WAITING, seconds=TERMS.request_seconds)
    assert [n for n in range(7) if needs_advance(state, False, n, 6, TERMS, state.deadline)] == [6]
    assert all(needs_advance(state, False, n, 6, TERMS, state.deadline + 1) for n in range(7))


@pytest.mark.parametrize(
    "phase", [Phase.NONE, Phase.ENROLMENT, Phase.REQUEST, Phase.PRE_PREPARE, Phase.PREPARE, Phase.REPLY, Phase.CLOSED]
)
def test_other_phases_end_by_themselves(phase: Phase) -> None:
    assert not needs_advance(at(phase), False, 99, 99, TERMS, START + 10**6)


# ---------------------------------------------------------------- clocks


def test_nobody_needs_a_clock_of_its_own() -> None:
    """All there is to know comes in as arguments: two hospitals at the same block agree."""
    source = inspect.getsource(turns)
    assert [line for line in source.splitlines() if line.startswith(("import ", "from "))] == [
        "from __future__ import annotations",
        "from hmchain.rounds import Phase, RoundState, Terms, quorum_of",
    ]
