"""What the clock does: every deadline missed, and the ways out of a round that nobody finishes."""

from __future__ import annotations

from typing import Any

import ape
import pytest

from .federation import (
    BAD,
    BLOB,
    FIRST_MODEL,
    MODEL,
    OTHER_MODEL,
    PHASE_SECONDS,
    Federation,
    Motion,
    Phase,
    Withdrawal,
    quorum,
)

HALF = PHASE_SECONDS // 2


def names(receipt: Any) -> list[str]:
    """The receipt's events by name."""
    return [event.event_name for event in receipt.events]


def withdrawn(job: Federation, receipt: Any) -> list[int]:
    """Members that the receipt left out of the draws for their silence."""
    logs = receipt.decode_logs(job.hm.MemberWithdrawn)
    assert all(log.reason == Withdrawal.SILENT for log in logs)
    return [log.member for log in logs]


# ---------------------------------------------------------------------- one deadline at a time


def test_request_without_any_update_fails(job: Any) -> None:
    clients = job.clients
    job.let_deadline_pass()
    assert job.phase == Phase.FAILED
    receipt = job.advance()
    assert names(receipt) == ["RoundFailed", "MemberWithdrawn", "MemberWithdrawn", "RoundOpened"]
    assert receipt.decode_logs(job.hm.RoundFailed) == [job.hm.RoundFailed(job=1, round=1, phase=Phase.REQUEST)]
    assert withdrawn(job, receipt) == clients


def test_request_with_one_update_goes_on_without_the_silent_client(job: Any) -> None:
    silent = job.clients[1]
    job.submit(0)
    job.let_deadline_pass()
    assert job.phase == Phase.PRE_PREPARE
    receipt = job.play_scores()
    assert receipt.decode_logs(job.hm.UpdatesJudged)[0].accepted == 0b01
    assert job.hm.standing(1, silent) == (128, True)  # not scored, not changed; left out at the end
    assert withdrawn(job, job.play_reply()) == [silent]
    assert job.hm.standing(1, silent) == (128, False)


@pytest.mark.parametrize("committed", [0, 2])
def test_pre_prepare_without_a_quorum_fails(job: Any, committed: int) -> None:
    masters, words = job.masters, job.words()
    job.play_until(Phase.PRE_PREPARE)
    for position in range(committed):
        job.commit(position, words)
    job.let_deadline_pass()
    assert job.phase == Phase.FAILED
    receipt = job.advance()
    assert receipt.decode_logs(job.hm.RoundFailed) == [job.hm.RoundFailed(job=1, round=1, phase=Phase.PRE_PREPARE)]
    assert withdrawn(job, receipt) == masters[committed:]


def test_pre_prepare_with_a_quorum_goes_on_without_the_silent_master(job: Any) -> None:
    masters, words = job.masters, job.words()
    job.play_until(Phase.PRE_PREPARE)
    for position in (0, 2, 3):
        job.commit(position, words)
    deadline = job.round.deadline
    job.let_deadline_pass()
    assert (job.phase, job.round.deadline) == (Phase.PREPARE, deadline + PHASE_SECONDS)
    for position in (0, 2, 3):
        job.reveal(position, words)
    assert job.phase == Phase.COMMIT
    assert withdrawn(job, [job.propose(), *map(job.attest, (0, 1, 2))][-1]) == [masters[1]]


def test_prepare_without_a_quorum_fails(job: Any) -> None:
    masters, words = job.masters, job.words()
    job.play_until(Phase.PREPARE)
    job.reveal(0, words)
    job.reveal(1, words)
    clients = job.clients
    job.let_deadline_pass()
    assert job.phase == Phase.FAILED
    receipt = job.advance()
    assert receipt.decode_logs(job.hm.RoundFailed) == [job.hm.RoundFailed(job=1, round=1, phase=Phase.PREPARE)]
    assert names(receipt)[0] == "RoundFailed"  # the median of fewer reveals decides nothing
    assert [job.hm.standing(1, client).reputation for client in clients] == [128, 128]
    assert withdrawn(job, receipt) == masters[2:]


def test_prepare_with_a_quorum_is_judged_by_the_first_proposal(job: Any) -> None:
    words = job.words()
    job.play_until(Phase.PREPARE)
    for position in (0, 1, 2):
        job.reveal(position, words)
    job.let_deadline_pass()
    assert job.phase == Phase.COMMIT
    assert names(job.propose()) == ["UpdatesJudged", "ModelProposed"]


def test_prepare_with_a_quorum_is_judged_by_advance(job: Any) -> None:
    words = job.words()
    job.play_until(Phase.PREPARE)
    for position in (0, 1, 2):
        job.reveal(position, words)
    job.let_deadline_pass()
    assert names(job.advance()) == ["UpdatesJudged"]
    assert (job.phase, job.round.updates) == (Phase.COMMIT, 0b11)


def test_prepare_with_a_quorum_that_refuses_everything_fails(job: Any) -> None:
    words = job.words(BAD)
    job.play_until(Phase.PRE_PREPARE)
    for position in range(4):
        job.commit(position, words)
    for position in (0, 1, 2):
        job.reveal(position, words)
    job.let_deadline_pass()
    with ape.reverts(job.hm.WrongPhase, phase=Phase.FAILED):
        job.propose()
    assert names(job.advance()) == ["UpdatesJudged", "RoundFailed", "MemberWithdrawn", "RoundOpened"]


def test_commit_without_a_proposal_fails_and_dismisses_the_masters(job: Any) -> None:
    job.play_until(Phase.COMMIT)
    job.let_deadline_pass()
    assert job.phase == Phase.FAILED
    receipt = job.advance()
    assert receipt.decode_logs(job.hm.RoundFailed) == [job.hm.RoundFailed(job=1, round=1, phase=Phase.COMMIT)]
    assert job.roster.masters >> 240 == 2  # a new term, though the last one had another round to serve


def test_a_reply_without_a_quorum_returns_to_commit(job: Any) -> None:
    job.play_until(Phase.REPLY)
    job.attest(0)
    job.attest(1)
    deadline = job.round.deadline
    job.let_deadline_pass()
    assert (job.phase, job.round.deadline) == (Phase.COMMIT, deadline + PHASE_SECONDS)
    job.let_deadline_pass()
    assert job.phase == Phase.FAILED
    job.advance()
    assert tuple(job.hm.modelOf(1))[1:] == (FIRST_MODEL, 0)
    assert job.roster.masters >> 240 == 2


# ---------------------------------------------------------------------- the coordinator's half, and proposals after it


@pytest.mark.parametrize(("seconds", "allowed"), [(HALF - 1, False), (HALF, True), (PHASE_SECONDS, True)])
def test_masters_propose_after_half_the_time(job: Any, chain: Any, seconds: int, allowed: bool) -> None:
    job.play_until(Phase.COMMIT)
    master, began = job.master(1), job.round.deadline - PHASE_SECONDS
    chain.pending_timestamp = began + seconds
    if allowed:
        job.hm.proposeModel(1, 1, 1, MODEL, BLOB, sender=master)
        assert job.phase == Phase.REPLY
    else:
        with ape.reverts(job.hm.NotYourTurn, proposer=master):
            job.hm.proposeModel(1, 1, 1, MODEL, BLOB, sender=master)


def test_the_coordinator_may_still_propose_in_the_second_half(job: Any) -> None:
    job.play_until(Phase.COMMIT)
    job.let_deadline_pass(-10)
    job.propose()
    assert job.phase == Phase.REPLY


def test_a_second_proposal_resets_the_attestations(job: Any) -> None:
    job.play_until(Phase.REPLY)
    job.attest(0)
    job.attest(1)
    job.let_deadline_pass()
    job.propose(3, OTHER_MODEL)  # at once: the coordinator has had its turn
    assert (job.round.attested, job.hm.candidateOf(1)) == (0b1000, OTHER_MODEL)
    job.attest(0, OTHER_MODEL)
    assert job.hm.modelOf(1).model == FIRST_MODEL
    job.attest(1, OTHER_MODEL)
    assert job.hm.modelOf(1).model == OTHER_MODEL


def test_every_master_may_propose_once_and_then_the_round_fails(run_job: Any) -> None:
    job = run_job(masters=3).play_until(Phase.REPLY)
    for position in range(3):
        job.let_deadline_pass()
        assert job.phase == Phase.COMMIT
        job.propose(position, bytes([position + 1]) * 32)
    job.let_deadline_pass()
    assert job.phase == Phase.FAILED
    receipt = job.advance()
    assert receipt.decode_logs(job.hm.RoundFailed) == [job.hm.RoundFailed(job=1, round=1, phase=Phase.REPLY)]
    assert job.hm.modelOf(1).model == FIRST_MODEL


def test_the_coordinator_may_propose_after_a_masters_proposal_failed(job: Any) -> None:
    job.play_until(Phase.COMMIT)
    job.let_deadline_pass(-1)
    job.propose(0, OTHER_MODEL)
    job.let_deadline_pass()
    job.play_reply()
    assert job.hm.modelOf(1).model == MODEL


# ---------------------------------------------------------------------- several deadlines at once


@pytest.mark.parametrize(
    ("reached", "failed_in"),
    [
        (Phase.REQUEST, Phase.REQUEST),
        (Phase.PRE_PREPARE, Phase.PRE_PREPARE),
        (Phase.PREPARE, Phase.PREPARE),
        (Phase.COMMIT, Phase.COMMIT),
        (Phase.REPLY, Phase.COMMIT),
    ],
)
def test_a_round_that_nobody_touches_still_ends(run_job: Any, outsider: Any, reached: Phase, failed_in: Phase) -> None:
    job = run_job(masters=3).play_until(reached)
    job.let_deadline_pass(10**8)  # three years
    assert job.phase == Phase.FAILED
    receipt = job.advance(sender=outsider)
    assert receipt.decode_logs(job.hm.RoundFailed) == [job.hm.RoundFailed(job=1, round=1, phase=failed_in)]
    assert (job.phase, job.round.number, job.hm.modelOf(1).model) == (Phase.REQUEST, 2, FIRST_MODEL)


def test_one_call_passes_several_deadlines(job: Any) -> None:
    silent, masters, words = job.clients[1], job.masters, job.words()
    job.submit(0)
    job.let_deadline_pass()
    for position in (0, 1, 2):
        job.commit(position, words)
    job.let_deadline_pass()
    for position in (0, 1):
        job.reveal(position, words)
    job.let_deadline_pass(2 * PHASE_SECONDS)
    receipt = job.advance()
    assert receipt.decode_logs(job.hm.RoundFailed) == [job.hm.RoundFailed(job=1, round=1, phase=Phase.PREPARE)]
    assert withdrawn(job, receipt) == [silent, *masters[2:]]


def test_reveals_then_silence_are_judged_and_failed_in_one_call(job: Any) -> None:
    words = job.words()
    job.play_until(Phase.PREPARE)
    for position in (0, 1, 2):
        job.reveal(position, words)
    job.let_deadline_pass(PHASE_SECONDS + 1)
    receipt = job.advance()
    assert names(receipt)[:2] == ["UpdatesJudged", "RoundFailed"]
    assert job.roster.masters >> 240 == 2  # dismissed: it had accepted updates in hand


def test_the_next_deadline_runs_from_the_last_one_and_not_from_the_call(job: Any) -> None:
    deadline = job.round.deadline
    job.submit(0)
    job.let_deadline_pass(600)
    job.advance()
    assert (job.phase, job.round.deadline) == (Phase.PRE_PREPARE, deadline + PHASE_SECONDS)


def test_a_message_in_the_second_of_the_deadline_is_in_time(job: Any, chain: Any) -> None:
    client = job.client(0)
    for seconds, in_time in ((1, False), (0, True)):
        with chain.isolate():
            chain.pending_timestamp = job.round.deadline + seconds
            if in_time:
                job.hm.submitUpdate(1, 1, 0, 1, BLOB, sender=client)
            else:
                with ape.reverts(job.hm.WrongPhase, phase=Phase.FAILED):
                    job.hm.submitUpdate(1, 1, 0, 1, BLOB, sender=client)


# ---------------------------------------------------------------------- waiting, closing


@pytest.fixture
def waiting(run_job: Any) -> Federation:
    """A job that needs five of the seven, of whom none is left in the draws."""
    job = run_job(masters=5, fraction=10_000)
    job.let_deadline_pass()
    job.advance()
    assert (job.phase, job.round.number, job.round.deadline) == (Phase.WAITING, 2, 0)
    return job


def test_a_job_waits_for_members(run_job: Any) -> None:
    job = run_job(masters=5, fraction=10_000)
    silent = job.clients
    job.let_deadline_pass()
    receipt = job.advance()
    assert names(receipt)[-1] == "JobWaiting"
    assert receipt.decode_logs(job.hm.JobWaiting) == [job.hm.JobWaiting(job=1, round=2, enrolled=0, deadline=0)]
    assert (job.phase, job.round.deadline) == (Phase.WAITING, 0)
    job.enrol(range(1, 5))
    with ape.reverts(job.hm.TooFewEnrolled, enrolled=4, needed=5):
        job.advance()
    with ape.reverts(job.hm.WrongPhase, phase=Phase.WAITING):
        job.hm.submitUpdate.call(1, 2, 0, 1, BLOB, sender=job.account(silent[0]))


def test_once_it_has_enough_it_waits_for_the_others_until_a_deadline(waiting: Federation, outsider: Any) -> None:
    waiting.enrol(range(1, 6))
    assert waiting.round.deadline == 0  # until somebody says so
    receipt = waiting.advance(sender=outsider)
    deadline = receipt.timestamp + PHASE_SECONDS
    assert list(receipt.events) == [waiting.hm.JobWaiting(job=1, round=2, enrolled=5, deadline=deadline)]
    assert (waiting.phase, waiting.round.deadline) == (Phase.WAITING, deadline)
    waiting.let_deadline_pass(0)
    waiting.hm.enrol.call(1, sender=waiting.account(6))
    with ape.reverts(waiting.hm.NothingToAdvance):
        waiting.hm.advance.call(1, sender=outsider)
    waiting.let_deadline_pass()
    assert names(waiting.advance(sender=outsider)) == ["RoundOpened"]
    assert (waiting.phase, waiting.round.number) == (Phase.REQUEST, 2)
    assert sorted(waiting.clients) == [1, 2, 3, 4, 5]


def test_it_waits_for_nobody_once_all_active_members_are_enrolled(waiting: Federation, carry: Any, chain: Any) -> None:
    waiting.enrol(range(1, 7))
    with chain.isolate():
        carry(waiting, Motion.SUSPEND, 7)
        assert names(waiting.advance()) == ["RoundOpened"]
    waiting.advance()
    with ape.reverts(waiting.hm.NothingToAdvance):
        waiting.hm.advance.call(1, sender=waiting.coordinator)
    waiting.enrol([7])
    assert names(waiting.advance()) == ["RoundOpened"]
    assert sorted(waiting.clients) == [1, 2, 3, 4, 5, 6, 7]


def test_who_is_suspended_counts_as_enrolled_until_somebody_strikes_him(
    waiting: Federation, carry: Any, chain: Any, outsider: Any
) -> None:
    waiting.enrol(range(1, 7))
    carry(waiting, Motion.SUSPEND, 6)
    with chain.isolate():
        assert names(waiting.advance()) == ["RoundOpened"]  # six are active, six enrolled; 7 is not among them
    waiting.hm.strike(1, 6, sender=outsider)
    waiting.advance()
    with ape.reverts(waiting.hm.NothingToAdvance):
        waiting.hm.advance.call(1, sender=waiting.coordinator)


def test_a_deadline_by_which_too_many_have_left_is_none(waiting: Federation) -> None:
    """Else the first five of later would be the masters of the term."""
    waiting.enrol(range(1, 6))
    waiting.advance()
    waiting.hm.withdraw(1, sender=waiting.account(5))
    with ape.reverts(waiting.hm.NothingToAdvance):
        waiting.advance()
    waiting.let_deadline_pass()
    receipt = waiting.advance()
    assert list(receipt.events) == [waiting.hm.JobWaiting(job=1, round=2, enrolled=4, deadline=0)]
    with ape.reverts(waiting.hm.TooFewEnrolled, enrolled=4, needed=5):
        waiting.advance()
    waiting.enrol([6])
    deadline = waiting.advance().timestamp + PHASE_SECONDS
    assert (waiting.phase, waiting.round.deadline) == (Phase.WAITING, deadline)


def test_failed_rounds_count_and_the_last_one_closes_the_job(run_job: Any, outsider: Any) -> None:
    job = run_job(rounds=2, masters=1)
    job.play_round()
    job.let_deadline_pass()
    receipt = job.advance()
    assert names(receipt) == ["RoundFailed", "MemberWithdrawn", "MemberWithdrawn", "JobClosed"]
    assert receipt.decode_logs(job.hm.JobClosed) == [job.hm.JobClosed(job=1, completed=1, model=MODEL)]
    assert job.phase == Phase.CLOSED
    with ape.reverts(job.hm.JobNotOpen, job=1):
        job.hm.enrol.call(1, sender=job.members[0])
    with ape.reverts(job.hm.WrongPhase, phase=Phase.CLOSED):
        job.propose()
    with ape.reverts(job.hm.NothingToAdvance):
        job.hm.advance.call(1, sender=outsider)


@pytest.mark.parametrize("masters", [1, 2, 3, 4, 5, 6, 7])
def test_quorum_of_commitments(run_job: Any, masters: int) -> None:
    job = run_job(masters=masters).play_until(Phase.PRE_PREPARE)
    words = job.words()
    for position in range(quorum(masters)):
        job.commit(position, words)
    if quorum(masters) < masters:
        job.let_deadline_pass()
    assert job.phase == Phase.PREPARE


@pytest.mark.parametrize("masters", [2, 3, 4, 5, 6, 7])
def test_one_commitment_short_of_the_quorum(run_job: Any, masters: int) -> None:
    job = run_job(masters=masters).play_until(Phase.PRE_PREPARE)
    words = job.words()
    for position in range(quorum(masters) - 1):
        job.commit(position, words)
    job.let_deadline_pass()
    assert job.phase == Phase.FAILED
