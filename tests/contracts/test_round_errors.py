"""What ITraining refuses: one test for each of its errors, with the values that the error carries."""

from __future__ import annotations

from typing import Any

import ape
import pytest

from .federation import (
    BLOB,
    COORDINATOR,
    FIRST_MODEL,
    GOOD,
    MANIFEST,
    MODEL,
    OTHER_MODEL,
    TERMS,
    Phase,
    pack_scores,
)

EMPTY_BLOBS = [(b"\0" * 32, *BLOB[1:]), (BLOB[0], b"\0" * 32, BLOB[2]), (*BLOB[:2], 0)]


@pytest.mark.parametrize(
    "change",
    [
        {"rounds": 0},
        {"fraction": 0},
        {"fraction": 10_001},
        {"masters": 0},
        {"masters": 16},
        {"termRounds": 0},
        {"standard": 10_001},
        {"requestSeconds": 0},
        {"scoreSeconds": 0},
        {"revealSeconds": 0},
        {"replySeconds": 1},
    ],
    ids=str,
)
def test_invalid_terms(consortium: Any, change: dict[str, int]) -> None:
    terms = tuple((TERMS | change).values())
    with ape.reverts(consortium.hm.InvalidTerms):
        consortium.hm.createJob.call(
            terms, consortium.coordinator, MANIFEST, FIRST_MODEL, BLOB, BLOB, sender=consortium.members[0]
        )


@pytest.mark.parametrize(
    "extreme",
    [
        {"rounds": 65_535, "fraction": 1, "masters": 15, "termRounds": 255, "standard": 10_000},
        {"rounds": 1, "fraction": 10_000, "masters": 1, "termRounds": 1, "standard": 0, "relative": True},
        {"requestSeconds": 1, "scoreSeconds": 1, "revealSeconds": 1, "replySeconds": 2},
        dict.fromkeys(("requestSeconds", "scoreSeconds", "revealSeconds", "replySeconds"), 2**24 - 1),
    ],
    ids=["most masters", "fewest", "shortest", "longest"],
)
def test_terms_at_the_limits_are_valid(consortium: Any, extreme: dict[str, Any]) -> None:
    consortium.create(**extreme)
    terms = consortium.hm.termsOf(consortium.job)
    assert {name: getattr(terms, name) for name in extreme} == extreme


@pytest.mark.parametrize("blob", EMPTY_BLOBS, ids=["no digest", "no cid", "no bytes"])
def test_invalid_blob(job: Any, blob: tuple[bytes, bytes, int]) -> None:
    hm, coordinator, creator = job.hm, job.coordinator, job.members[0]
    terms = tuple(TERMS.values())
    with ape.reverts(hm.InvalidBlob):
        hm.submitUpdate.call(1, 1, 0, 1, blob, sender=job.client(0))
    with ape.reverts(hm.InvalidBlob):
        hm.publishKey.call(1, b"\1" * 32, blob, sender=coordinator)
    with ape.reverts(hm.InvalidBlob):
        hm.createJob.call(terms, coordinator, MANIFEST, FIRST_MODEL, blob, BLOB, sender=creator)
    with ape.reverts(hm.InvalidBlob):
        hm.createJob.call(terms, coordinator, MANIFEST, FIRST_MODEL, BLOB, blob, sender=creator)
    job.play_until(Phase.COMMIT)
    with ape.reverts(hm.InvalidBlob):
        hm.proposeModel.call(1, 1, COORDINATOR, MODEL, blob, sender=coordinator)


def test_not_coordinator(job: Any, outsider: Any) -> None:
    hm, nobody = job.hm, "0x" + "0" * 40
    for caller in (outsider, job.members[0]):
        with ape.reverts(hm.NotCoordinator, caller=caller):
            hm.startJob.call(1, sender=caller)
        with ape.reverts(hm.NotCoordinator, caller=caller):
            hm.publishKey.call(1, b"\1" * 32, BLOB, sender=caller)
        with ape.reverts(hm.NotCoordinator, caller=caller):
            hm.fileReport.call(1, b"\1" * 32, sender=caller)
    with ape.reverts(hm.NotCoordinator, caller=job.coordinator):
        hm.startJob.call(2, sender=job.coordinator)  # no such job
    with ape.reverts(hm.NotCoordinator, caller=nobody):
        hm.createJob.call(tuple(TERMS.values()), nobody, MANIFEST, FIRST_MODEL, BLOB, BLOB, sender=job.members[0])
    job.play_until(Phase.COMMIT)
    with ape.reverts(hm.NotCoordinator, caller=job.master(0)):
        hm.proposeModel.call(1, 1, COORDINATOR, MODEL, BLOB, sender=job.master(0))


@pytest.mark.parametrize("number", [0, 2])
def test_job_not_open(job: Any, number: int) -> None:
    with ape.reverts(job.hm.JobNotOpen, job=number):
        job.hm.enrol.call(number, sender=job.members[0])


def test_too_few_enrolled(consortium: Any) -> None:
    consortium.create()
    consortium.enrol([1, 2, 3])
    with ape.reverts(consortium.hm.TooFewEnrolled, enrolled=3, needed=4):
        consortium.start()


@pytest.mark.parametrize("phase", [Phase.REQUEST, Phase.PRE_PREPARE, Phase.PREPARE, Phase.COMMIT, Phase.REPLY])
def test_wrong_phase(job: Any, phase: Phase) -> None:
    hm, master, client = job.hm, job.master(0), job.client(0)
    job.play_until(phase)
    calls = {
        Phase.REQUEST: lambda: hm.submitUpdate.call(1, 1, 0, 1, BLOB, sender=client),
        Phase.PRE_PREPARE: lambda: hm.commitScores.call(1, 1, 0, b"\1" * 32, sender=master),
        Phase.PREPARE: lambda: hm.revealScores.call(1, 1, 0, [0], b"\1" * 32, sender=master),
        Phase.COMMIT: lambda: hm.proposeModel.call(1, 1, COORDINATOR, MODEL, BLOB, sender=job.coordinator),
        Phase.REPLY: lambda: hm.attestModel.call(1, 1, 0, 1 << COORDINATOR, MODEL, sender=master),
        Phase.ENROLMENT: lambda: hm.startJob.call(1, sender=job.coordinator),
        Phase.CLOSED: lambda: hm.fileReport.call(1, b"\1" * 32, sender=job.coordinator),
    }
    for wanted, call in calls.items():
        if wanted != phase:
            with ape.reverts(hm.WrongPhase, phase=phase):
                call()


def test_wrong_phase_once_a_round_has_failed(job: Any) -> None:
    client = job.client(0)
    job.let_deadline_pass()
    assert job.phase == Phase.FAILED
    with ape.reverts(job.hm.WrongPhase, phase=Phase.FAILED):
        job.hm.submitUpdate.call(1, 1, 0, 1, BLOB, sender=client)


@pytest.mark.parametrize("number", [0, 2, 2**16 + 1, 2**255])
def test_wrong_round(job: Any, number: int) -> None:
    hm, client, master = job.hm, job.client(0), job.master(0)
    with ape.reverts(hm.WrongRound, round=1):
        hm.submitUpdate.call(1, number, 0, 1, BLOB, sender=client)
    with ape.reverts(hm.WrongRound, round=1):
        hm.commitScores.call(1, number, 0, b"\1" * 32, sender=master)
    with ape.reverts(hm.WrongRound, round=1):
        hm.revealScores.call(1, number, 0, [0], b"\1" * 32, sender=master)
    with ape.reverts(hm.WrongRound, round=1):
        hm.proposeModel.call(1, number, COORDINATOR, MODEL, BLOB, sender=job.coordinator)
    with ape.reverts(hm.WrongRound, round=1):
        hm.attestModel.call(1, number, 0, 1 << COORDINATOR, MODEL, sender=master)


def test_round_zero_is_nobodys_round(consortium: Any) -> None:
    consortium.create()
    for number in (0, consortium.job, consortium.job + 1):
        with ape.reverts(consortium.hm.WrongRound, round=0):
            consortium.hm.submitUpdate.call(number, 0, 0, 1, BLOB, sender=consortium.members[0])


def test_not_drawn(job: Any) -> None:
    hm, stranger = job.hm, job.bystander()
    with ape.reverts(hm.NotDrawn, member=stranger, position=1):
        hm.submitUpdate.call(1, 1, 1, 1, BLOB, sender=job.account(stranger))
    job.play_until(Phase.PRE_PREPARE)
    with ape.reverts(hm.NotDrawn, member=stranger, position=1):
        hm.commitScores.call(1, 1, 1, b"\1" * 32, sender=job.account(stranger))


def test_already_submitted(job: Any) -> None:
    job.submit(0)
    with ape.reverts(job.hm.AlreadySubmitted, member=job.clients[0]):
        job.submit(0)


def test_already_committed(job: Any) -> None:
    words = job.words()
    job.play_until(Phase.PRE_PREPARE)
    job.commit(2, words)
    with ape.reverts(job.hm.AlreadyCommitted, member=job.masters[2]):
        job.commit(2, words)


def test_already_attested(job: Any) -> None:
    job.play_until(Phase.REPLY)
    job.attest(1)
    with ape.reverts(job.hm.AlreadyAttested, member=job.masters[1]):
        job.attest(1)


@pytest.mark.parametrize("samples", [0, 101, 2**32, 2**256 - 1])
def test_sample_count_out_of_range(job: Any, samples: int) -> None:
    with ape.reverts(job.hm.SampleCountOutOfRange, samples=samples, limit=100):
        job.hm.submitUpdate.call(1, 1, 0, samples, BLOB, sender=job.client(0))


def test_nothing_to_reveal(job: Any) -> None:
    words = job.words()
    job.play_until(Phase.PRE_PREPARE)
    for position in (0, 1, 3):
        job.commit(position, words)
    job.let_deadline_pass()
    with ape.reverts(job.hm.NothingToReveal, member=job.masters[2]):
        job.reveal(2, words)  # never committed
    job.reveal(0, words)
    with ape.reverts(job.hm.NothingToReveal, member=job.masters[0]):
        job.reveal(0, words)


@pytest.mark.parametrize("changed", ["scores", "salt"])
def test_commitment_mismatch(job: Any, changed: str) -> None:
    words = job.words()
    job.play_until(Phase.PREPARE)
    slots = pack_scores([GOOD - 1, *words[1:]] if changed == "scores" else words)
    salt = b"\1" * 32 if changed == "salt" else job.salt(0)
    with ape.reverts(job.hm.CommitmentMismatch, member=job.masters[0]):
        job.hm.revealScores.call(1, 1, 0, slots, salt, sender=job.master(0))


@pytest.mark.parametrize("slots", [0, 2, 6])
def test_wrong_score_count(job: Any, slots: int) -> None:
    job.play_until(Phase.PRE_PREPARE)
    sealed = job.commitment(0, [], slots=[1] * slots)
    job.hm.commitScores(1, 1, 0, sealed, sender=job.master(0))
    for position in (1, 2, 3):
        job.commit(position, job.words())
    with ape.reverts(job.hm.WrongScoreCount, slots=slots, expected=1):
        job.hm.revealScores.call(1, 1, 0, [1] * slots, job.salt(0), sender=job.master(0))


def test_not_your_turn(job: Any) -> None:
    job.play_until(Phase.COMMIT)
    with ape.reverts(job.hm.NotYourTurn, proposer=job.master(0)):
        job.propose(0)


def test_already_proposed(job: Any) -> None:
    job.play_until(Phase.REPLY)
    job.let_deadline_pass()
    assert job.phase == Phase.COMMIT
    with ape.reverts(job.hm.AlreadyProposed, proposer=job.coordinator):
        job.propose(model=OTHER_MODEL)
    job.propose(0)
    job.let_deadline_pass()
    with ape.reverts(job.hm.AlreadyProposed, proposer=job.master(0)):
        job.propose(0)


def test_wrong_model(job: Any) -> None:
    job.play_until(Phase.REPLY)
    for model in (OTHER_MODEL, FIRST_MODEL, b"\0" * 32):
        with ape.reverts(job.hm.WrongModel, candidate=MODEL):
            job.attest(0, model)


def test_nothing_to_advance(run_job: Any) -> None:
    job = run_job(rounds=1, masters=1)
    for number in (0, job.job + 1):  # no such job
        with ape.reverts(job.hm.NothingToAdvance):
            job.hm.advance.call(number, sender=job.coordinator)
    for phase in (Phase.REQUEST, Phase.PRE_PREPARE):
        assert job.phase == phase
        with ape.reverts(job.hm.NothingToAdvance):
            job.advance()
        if phase == Phase.REQUEST:
            job.play_request()
    words = job.words()
    job.commit(0, words)
    job.reveal(0, words)
    job.play_reply()
    with ape.reverts(job.hm.NothingToAdvance):
        job.advance()  # closed


def test_nothing_to_advance_in_the_second_of_the_deadline(job: Any) -> None:
    job.let_deadline_pass(0)
    with ape.reverts(job.hm.NothingToAdvance):
        job.hm.advance.call(1, sender=job.coordinator)
    job.let_deadline_pass(1)
    job.advance()
    assert job.round.number == 2
