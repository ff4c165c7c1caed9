"""The dashboard's tables and timelines over histories that are odd but possible, made of events alone."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import astuple
from typing import Any

import pytest

from bench.emitter import Told, account, founding, history
from coordinator.dashboard.charts import Line, chart
from coordinator.dashboard.reading import View
from coordinator.dashboard.sheet import moment
from coordinator.dashboard.tables import SHEETS, training
from coordinator.dashboard.timeline import timeline
from hmchain.contract import Event
from hmchain.ethereum import Head
from hmchain.permits import NOBODY, Purpose
from hmchain.rounds import Phase, Terms

START = 1_000  # the time of block 0; a block takes ten seconds
BLOB = ("sha256", "cid", "size")
STRUCTS = {"blob": BLOB, "manifestBlob": BLOB, "modelBlob": BLOB, "terms": tuple(Terms.__dataclass_fields__)}
PERSON, SCOPE, DIGEST = account(99), b"\7" * 32, b"\1" * 32


def events_of(told: Iterable[Told]) -> list[Event]:
    """One event a block, as the chain's reader gives them."""
    return [
        Event(name, {key: plain(key, value) for key, value in args.items()}, block, 0, f"0x{block:064x}")
        for block, (name, args) in enumerate(told)
    ]


def plain(key: str, value: Any) -> Any:
    """The emitter's tuples are the ABI's structs."""
    return dict(zip(STRUCTS[key], value, strict=True)) if key in STRUCTS else value


def view_of(told: Iterable[Told]) -> View:
    """The view after these events."""
    events, view = events_of(told), View()
    view.extend(events)
    view.times = {event.block: START + 10 * event.block for event in events}
    view.head = Head(len(events), "0x", START + 10 * len(events))
    return view


def rows(view: View, name: str) -> list[dict[str, Any]]:
    return SHEETS[name](view).records()


def until(told: Iterable[Told], last: str, times: int = 1) -> list[Told]:
    """The events up to the last of some name."""
    found: list[Told] = []
    for event in told:
        found.append(event)
        times -= event[0] == last
        if times == 0:
            return found
    raise AssertionError(last)


ROUND = list(history(6, 1, clients=3, masters=3))
PLACE: Mapping[str, Any] = {"job": 1, "round": 1}


def states(view: View, present: Phase | None = None) -> list[str]:
    (job,) = view.history.jobs.values()
    return [step.state for step in timeline(view, job, job.rounds[1], present)]


@pytest.mark.parametrize(
    ("last", "times", "phase"),
    [
        ("RoundOpened", 1, Phase.REQUEST),
        ("UpdateSubmitted", 2, Phase.REQUEST),
        ("UpdateSubmitted", 3, Phase.PRE_PREPARE),
        ("ScoresCommitted", 3, Phase.PREPARE),
        ("ScoresRevealed", 3, Phase.PREPARE),
        ("UpdatesJudged", 1, Phase.COMMIT),
        ("ModelProposed", 1, Phase.REPLY),
        ("ModelAttested", 2, Phase.REPLY),
    ],
)
def test_a_running_round_is_in_the_phase_that_its_events_show(last: str, times: int, phase: Phase) -> None:
    view = view_of(until(ROUND, last, times))
    record = view.history.jobs[1].rounds[1]
    assert training.stage(record) == phase.name
    assert states(view) == ["done" if p < phase else "now" if p == phase else "ahead" for p in training.PHASES]


def test_what_the_contract_says_of_the_present_phase_counts_more() -> None:
    view = view_of(until(ROUND, "UpdateSubmitted", 2))
    assert states(view, Phase.PRE_PREPARE) == ["done", "now", "ahead", "ahead", "ahead"]


def test_a_phase_in_which_somebody_was_silent_ended_at_its_deadline() -> None:
    told = [event for event in ROUND if event[0] != "UpdateSubmitted" or event[1]["member"] != 4]
    opened = next(i for i, (name, _) in enumerate(told) if name == "RoundOpened")
    told[opened] = ("RoundOpened", {**told[opened][1], "deadline": START + 10 * opened + 60})
    view = view_of(told)
    (job,) = view.history.jobs.values()
    assert len(job.rounds[1].updates) == 2
    request, scores, *_ = timeline(view, job, job.rounds[1], None)
    assert (request.state, request.seconds) == ("done", 60)
    assert scores.seconds is not None


@pytest.mark.parametrize("phase", [Phase.REQUEST, Phase.PREPARE, Phase.COMMIT, Phase.REPLY])
def test_a_failed_round_promises_no_phase_that_will_not_come(phase: Phase) -> None:
    lasts = {Phase.REQUEST: "RoundOpened", Phase.PREPARE: "ScoresCommitted"}
    lasts |= {Phase.COMMIT: "UpdatesJudged", Phase.REPLY: "ModelProposed"}
    view = view_of([*until(ROUND, lasts[phase]), ("RoundFailed", {**PLACE, "phase": int(phase)})])
    expected = ["done" if p < phase else "failed" if p == phase else "never" for p in training.PHASES]
    assert states(view) == expected
    assert rows(view, "rounds")[0]["state"] == "failed"
    assert {row["state"] for row in rows(view, "updates")} <= {"silent", "submitted", "accepted"}


def test_a_master_that_never_committed_is_not_awaited_for_what_is_past() -> None:
    told = [event for event in until(ROUND, "ScoresRevealed", 2) if event[1].get("member") != 1 or event[0][0] != "S"]
    view = view_of(told)
    record = view.history.jobs[1].rounds[1]
    silent = next(m for m in record.masters if m not in record.commitments)
    table = {row[0]: row[1:] for row in training.committee(view, record).rows}
    assert table[training.name_of(view.history, silent)] == ("no", "awaited", "awaited")


def test_a_standard_that_nothing_can_reach_is_no_number() -> None:
    told = until(ROUND, "UpdatesJudged")
    name, args = told[-1]
    view = view_of([*told[:-1], (name, {**args, "accepted": 0, "standard": 2**16 - 1})])
    assert rows(view, "rounds")[0]["standard %"] is None
    reasons = {row["reason"] for row in rows(view, "updates")}
    assert all("nothing passes" in reason for reason in reasons)


def test_a_job_that_somebody_creates_does_not_take_the_pages_over() -> None:
    created = next(event for event in ROUND if event[0] == "JobCreated")
    view = view_of([*ROUND, (created[0], {**created[1], "job": 2})])
    assert view.job() == 1
    assert all(row["reputation"] for row in rows(view, "members"))


def test_members_of_one_name_are_told_apart() -> None:
    view = view_of([*founding(2, name=b"Hospital 1")])
    assert [row["name"] for row in rows(view, "members")] == ["Hospital 1 (1)", "Hospital 1 (2)"]


def test_scores_of_no_words_are_said_once_and_not_a_page_that_fails() -> None:
    told = until(ROUND, "ScoresCommitted", 3)
    view = view_of([*told, ("ScoresRevealed", {**PLACE, "member": 1, "scores": []})])
    assert "UsageError" in (view.fault or "")
    assert len(rows(view, "events")) == len(told) + 1


def granted(expiry: int, consent_of: str = NOBODY) -> Told:
    terms = {
        "granter": "0x" + "00" * 19 + "01",
        "reader": account(50),
        "scope": SCOPE,
        "purpose": int(Purpose.TREATMENT),
    }
    bound = {"consentOf": consent_of, "consentScope": SCOPE if consent_of != NOBODY else bytes(32)}
    return "GrantChanged", {"number": 1, **terms, **bound, "expiry": expiry, "nonce": 1}


def consented(purposes: int, nonce: int) -> Told:
    return "ConsentChanged", {"person": PERSON, "scope": SCOPE, "purposes": purposes, "nonce": nonce}


@pytest.mark.parametrize(
    ("told", "state"),
    [
        ([granted(2**40 - 1)], "in force"),
        ([granted(START)], "over"),
        ([granted(2**40 - 1, PERSON)], "no consent"),
        ([consented(1 << Purpose.TREATMENT, 1), granted(2**40 - 1, PERSON)], "in force"),
        ([consented(1 << Purpose.GENOME, 1), granted(2**40 - 1, PERSON)], "no consent"),
        ([consented(1 << Purpose.TREATMENT, 1), granted(2**40 - 1, PERSON), consented(0, 2)], "no consent"),
    ],
)
def test_a_grant_is_in_force_as_long_as_the_contract_lets_it_be_used(told: list[Told], state: str) -> None:
    view = view_of([*founding(1), *told])
    (grant,) = rows(view, "grants")
    assert view.fault is None
    assert grant["state"] == state
    assert grant["granter"] == "Hospital 1 (1)"


@pytest.mark.parametrize(("later", "state"), [(0, "over"), (1, "in force")])
def test_a_grant_is_over_in_the_second_of_its_expiry(later: int, state: str) -> None:
    told = list(founding(1))
    now = START + 10 * (len(told) + 1)
    (grant,) = rows(view_of([*told, granted(now + later)]), "grants")
    assert grant["state"] == state


def test_a_delegation_of_a_suspended_member_is_of_no_use() -> None:
    delegated = {"member": 1, "staff": account(50), "purpose": int(Purpose.TREATMENT), "expiry": 2**40 - 1}
    told: list[Told] = [*founding(1), ("DelegationChanged", delegated)]
    assert rows(view_of(told), "delegations")[0]["state"] == "in force"
    told.append(("MemberStatusChanged", {"member": 1, "status": 2}))
    assert rows(view_of(told), "delegations")[0]["state"] == "member not active"


def test_a_ballot_is_closed_by_time_and_by_the_next_departure() -> None:
    nobody = {"operator": NOBODY, "encryptionKey": bytes(32), "name": bytes(32)}
    opened = {"ballot": 1, "motion": 1, "member": 2, "candidate": nobody, "expiresAt": START + 1_000}
    told: list[Told] = [*founding(3), ("MotionOpened", opened), ("VoteCast", {"ballot": 1, "member": 1, "votes": 1})]
    assert rows(view_of(told), "ballots")[0]["state"] == "open"
    left = view_of([*told, ("MemberStatusChanged", {"member": 3, "status": 2})])
    assert rows(left, "ballots")[0]["state"] == "closed"
    carried = view_of([*told, ("MotionCarried", {"ballot": 1})])
    assert rows(carried, "ballots")[0]["state"] == "carried"


def test_a_motion_to_admit_shows_the_key_that_will_be_sealed_to() -> None:
    candidate = {"operator": account(9), "encryptionKey": b"\7" * 32, "name": b"H".ljust(32, b"\0")}
    opened = {"ballot": 1, "motion": 0, "member": 0, "candidate": candidate, "expiresAt": START + 1_000}
    (row,) = rows(view_of([*founding(3), ("MotionOpened", opened)]), "ballots")
    assert row["concerns"] == f"{account(9)}, key {'07' * 32}"


def test_a_time_beyond_the_calendar_is_its_last_second() -> None:
    assert moment(2**64 - 1) == moment(2**40 - 1) == "9999-12-31T23:59:59Z"
    assert moment(None) is None


def test_every_table_of_an_empty_chain_is_empty() -> None:
    assert [name for name in SHEETS if rows(View(), name)] == []


def test_a_chart_of_one_point_and_of_very_many() -> None:
    assert chart("x", [Line("none", [])], 0, 1) is None
    one = chart("x", [Line("one", [(3, 0.5)])], 0, 1)
    many = chart("x", [Line("many", [(i, i / 5000) for i in range(5000)])], 0, 1)
    assert one is not None
    assert many is not None
    assert len(many.paths[0][1]) < 20_000
    assert astuple(many)[1].startswith("x by round: many from 0 to")
