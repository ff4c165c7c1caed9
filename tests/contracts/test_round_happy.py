"""A round in which everybody does its part: the paper's five phases, and what the chain says of them."""

from __future__ import annotations

from typing import Any

import pytest

from .federation import (
    BAD,
    BLOB,
    COORDINATOR,
    FIRST_MODEL,
    GOOD,
    MANIFEST,
    MODEL,
    OTHER_MODEL,
    PHASE_SECONDS,
    TERMS,
    Phase,
    pack_scores,
    quorum,
    unpack_scores,
)


def test_a_job_begins_with_enrolment(consortium: Any, coordinator: Any) -> None:
    hm = consortium.hm
    receipt = consortium.create()
    assert list(receipt.events) == [
        hm.JobCreated(job=1, coordinator=coordinator, member=1, manifest=MANIFEST, model=FIRST_MODEL)
    ]
    assert consortium.phase == Phase.ENROLMENT
    terms = hm.termsOf(1)
    assert {name: getattr(terms, name) for name in TERMS} == TERMS
    assert tuple(hm.modelOf(1)) == (MANIFEST, FIRST_MODEL, 0)


def test_the_coordinator_publishes_the_key(job: Any) -> None:
    recipient = b"\x77" * 32
    receipt = job.hm.publishKey(job.job, recipient, BLOB, sender=job.coordinator)
    assert list(receipt.events) == [job.hm.JobKeyPublished(job=job.job, recipient=recipient)]


def test_the_first_round_opens_with_masters_and_clients_drawn(consortium: Any) -> None:
    consortium.create()
    consortium.enrol()
    receipt = consortium.start()
    (opened,) = receipt.decode_logs(consortium.hm.RoundOpened)
    state = consortium.round
    assert (opened.job, opened.round, opened.base) == (1, 1, FIRST_MODEL)
    assert opened.deadline == state.deadline == receipt.timestamp + PHASE_SECONDS
    assert (opened.masters >> 240, state.number, state.masters, state.phase) == (1, 1, 4, Phase.REQUEST)
    assert len(set(consortium.masters)) == 4
    assert len(set(consortium.clients)) == 2  # 40 % of seven
    assert (state.awaited, state.updates, state.uncommitted) == (0b11, 0, 0b1111)


def test_the_five_phases_and_their_events_in_order(job: Any) -> None:
    hm, (first, second), masters = job.hm, job.clients, job.masters
    words = [GOOD, GOOD + 1, GOOD - 1]
    slots = pack_scores(words)

    assert list(job.submit(1, samples=7).events) == [hm.UpdateSubmitted(job=1, round=1, member=second, samples=7)]
    assert (job.phase, job.round.awaited, job.round.updates) == (Phase.REQUEST, 0b01, 0b10)
    assert list(job.submit(0).events) == [hm.UpdateSubmitted(job=1, round=1, member=first, samples=100)]
    assert job.phase == Phase.PRE_PREPARE

    for position, member in enumerate(masters):
        sealed = job.commitment(position, words)
        assert list(job.commit(position, words).events) == [
            hm.ScoresCommitted(job=1, round=1, member=member, commitment=sealed)
        ]
    assert job.phase == Phase.PREPARE

    for position, member in enumerate(masters[:-1]):
        assert list(job.reveal(position, words).events) == [
            hm.ScoresRevealed(job=1, round=1, member=member, scores=slots)
        ]
    assert list(job.reveal(3, words).events) == [
        hm.ScoresRevealed(job=1, round=1, member=masters[3], scores=slots),
        hm.UpdatesJudged(job=1, round=1, accepted=0b11, standard=5_000, medians=slots),
    ]
    assert job.phase == Phase.COMMIT

    assert list(job.propose().events) == [
        hm.ModelProposed(job=1, round=1, proposer=job.coordinator, proposed=1 << COORDINATOR, model=MODEL)
    ]
    assert (job.phase, hm.candidateOf(1)) == (Phase.REPLY, MODEL)

    for position, member in enumerate(masters[:2]):
        assert list(job.attest(position).events) == [hm.ModelAttested(job=1, round=1, member=member, model=MODEL)]
    assert hm.modelOf(1).model == FIRST_MODEL
    receipt = job.attest(2)
    assert [e.event_name for e in receipt.events] == ["ModelAttested", "RoundFinalized", "RoundOpened"]
    assert receipt.decode_logs(hm.RoundFinalized) == [hm.RoundFinalized(job=1, round=1, model=MODEL)]
    assert receipt.decode_logs(hm.RoundOpened)[0].base == MODEL
    assert tuple(hm.modelOf(1)) == (MANIFEST, MODEL, 1)
    assert (job.round.number, job.phase) == (2, Phase.REQUEST)


@pytest.mark.parametrize("masters", [1, 3, 4])
def test_rounds_follow_one_another_until_the_job_closes(run_job: Any, masters: int) -> None:
    job = run_job(masters=masters, rounds=2)
    job.play_round()
    receipt = job.play_round(OTHER_MODEL)
    assert [e.event_name for e in receipt.events] == ["ModelAttested", "RoundFinalized", "JobClosed"]
    assert receipt.decode_logs(job.hm.JobClosed) == [job.hm.JobClosed(job=1, completed=2, model=OTHER_MODEL)]
    assert (job.phase, job.hm.modelOf(1).model) == (Phase.CLOSED, OTHER_MODEL)


@pytest.mark.parametrize("masters", [1, 3])
def test_three_hospitals_are_clients_and_masters_at_once(found: Any, accounts: Any, masters: int) -> None:
    job = found(accounts[:3])
    job.create(masters=masters, fraction=10_000, rounds=2)
    job.enrol()
    job.start()
    assert sorted(job.clients) == [1, 2, 3]
    own = job.clients.index(job.masters[0])
    job.play_request()
    job.play_scores()
    accepted = [i for i in range(3) if job.round.updates >> i & 1]
    assert accepted == ([i for i in range(3) if i != own] if masters == 1 else [0, 1, 2])
    job.play_reply()
    assert job.hm.modelOf(job.job).model == MODEL
    assert job.round.number == 2


def test_the_verdict_is_the_lower_median_of_the_masters(job: Any) -> None:
    job.play_request()
    receipt = job.play_scores([[256 + 4_999, 5, 0], [256 + 5_000, 256, 0], [256 + 9_999, 3, 0], [256 + 10_000, 4, 0]])
    (judged,) = receipt.decode_logs(job.hm.UpdatesJudged)
    assert unpack_scores(judged.medians, 3) == [256 + 5_000, 4, 0]
    assert judged.accepted == job.round.updates == 0b01  # the standard itself is good enough


@pytest.mark.parametrize(("base", "standard"), [(9_000, 8_500), (500, 0), (100, 0)])
def test_a_relative_standard_hangs_on_the_base_models_score(run_job: Any, base: int, standard: int) -> None:
    job = run_job(relative=True, standard=500)
    job.play_request()
    receipt = job.play_scores([256 + standard, 256 + max(standard - 1, 0), 256 + base])
    (judged,) = receipt.decode_logs(job.hm.UpdatesJudged)
    assert judged.standard == standard
    assert judged.accepted == (0b01 if standard else 0b11)


def test_relative_to_a_base_model_without_a_score_nothing_passes(run_job: Any) -> None:
    job = run_job(relative=True, standard=500)
    job.play_request()
    (judged,) = job.play_scores([GOOD, GOOD, 3]).decode_logs(job.hm.UpdatesJudged)
    assert judged.accepted == 0


def test_a_round_whose_updates_are_all_refused_fails_at_once(job: Any) -> None:
    job.play_request()
    receipt = job.play_scores(job.words(BAD))
    assert [e.event_name for e in receipt.events] == ["ScoresRevealed", "UpdatesJudged", "RoundFailed", "RoundOpened"]
    assert receipt.decode_logs(job.hm.RoundFailed) == [job.hm.RoundFailed(job=1, round=1, phase=Phase.COMMIT)]
    assert tuple(job.hm.modelOf(1)) == (MANIFEST, FIRST_MODEL, 0)


def test_any_quorum_of_masters_finishes_the_round(job: Any) -> None:
    job.play_until(Phase.REPLY)
    for position in (3, 1, 2):
        assert job.round.number == 1
        job.attest(position)
    assert job.round.number == 2


@pytest.mark.parametrize("masters", range(1, 8))
def test_a_round_needs_two_thirds_of_its_masters_and_one(run_job: Any, masters: int) -> None:
    job = run_job(masters=masters).play_until(Phase.REPLY)
    for position in range(quorum(masters)):
        assert job.hm.modelOf(1).completed == 0
        job.attest(position)
    assert job.hm.modelOf(1).completed == 1


def test_a_proposing_master_has_attested(job: Any) -> None:
    job.play_until(Phase.COMMIT)
    job.let_deadline_pass(-PHASE_SECONDS // 2)
    job.propose(position=2)
    assert (job.round.attested, job.round.proposed) == (0b100, 0b100)
    job.attest(0)
    job.attest(1)
    assert job.hm.modelOf(1).model == MODEL


def test_a_job_closed_takes_its_report(run_job: Any) -> None:
    job = run_job(rounds=1)
    job.play_round()
    report = b"\x88" * 32
    receipt = job.hm.fileReport(1, report, sender=job.coordinator)
    assert list(receipt.events) == [job.hm.ReportFiled(job=1, report=report)]


def test_jobs_run_side_by_side(job: Any, chain: Any) -> None:
    other = type(job)(job.hm, job.members, job.coordinator, chain)
    other.create(masters=1)
    other.enrol()
    other.start()
    other.play_round(OTHER_MODEL)
    assert (job.round.number, job.hm.modelOf(1).model) == (1, FIRST_MODEL)
    job.play_round()
    assert job.hm.modelOf(1).model == MODEL
    assert job.hm.modelOf(2).model == OTHER_MODEL
