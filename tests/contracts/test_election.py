"""Who is drawn: entering and leaving the draws, and what scores do to reputation."""

from __future__ import annotations

from typing import Any

import ape
import pytest

from .federation import BAD, GOOD, Federation, Motion, Phase, Status, Withdrawal

NEUTRAL = 128


def learnt(reputation: int, points: int) -> int:
    """A quarter of the way to the score, rounded; never 0, which would be absence."""
    return max(1, (3 * reputation + points * 255 // 10_000 + 2) // 4)


# ---------------------------------------------------------------------- entering and leaving


def test_a_newcomer_starts_neutral(consortium: Federation) -> None:
    hm = consortium.hm
    consortium.create()
    assert tuple(hm.standing(1, 3)) == (0, False)
    receipt = hm.enrol(1, sender=consortium.account(3))
    assert list(receipt.events) == [hm.MemberEnrolled(job=1, member=3, reputation=NEUTRAL)]
    assert tuple(hm.standing(1, 3)) == (NEUTRAL, True)
    assert hm.enrolledCount(1) == 1


def test_already_enrolled(job: Federation) -> None:
    with ape.reverts(job.hm.AlreadyEnrolled, job=1, member=3):
        job.hm.enrol.call(1, sender=job.account(3))


def test_a_member_withdraws_and_comes_back(job: Federation) -> None:
    hm, account = job.hm, job.account(3)
    receipt = hm.withdraw(1, sender=account)
    assert list(receipt.events) == [hm.MemberWithdrawn(job=1, member=3, reason=Withdrawal.OWN)]
    assert (tuple(hm.standing(1, 3)), hm.enrolledCount(1)) == ((NEUTRAL, False), 6)
    with ape.reverts(hm.NotEnrolled, job=1, member=3):
        hm.withdraw.call(1, sender=account)
    hm.enrol(1, sender=account)
    assert hm.enrolledCount(1) == 7


def test_enrolment_is_for_one_job(job: Federation) -> None:
    job.create()
    assert (job.hm.enrolledCount(1), job.hm.enrolledCount(2)) == (7, 0)


def test_outsiders_neither_enrol_nor_withdraw(job: Federation, outsider: Any) -> None:
    with ape.reverts(job.hm.NotActiveMember, caller=outsider):
        job.hm.enrol.call(1, sender=outsider)
    with ape.reverts(job.hm.NotActiveMember, caller=outsider):
        job.hm.withdraw.call(1, sender=outsider)


@pytest.mark.parametrize(("motion", "status"), [(Motion.SUSPEND, 2), (Motion.REMOVE, 3)])
def test_anyone_strikes_a_member_that_is_no_longer_active(
    job: Federation, carry: Any, outsider: Any, motion: Motion, status: Status
) -> None:
    hm = job.hm
    with ape.reverts(hm.StillActive, member=3):
        hm.strike.call(1, 3, sender=outsider)
    carry(job, motion, 3)
    assert hm.member(3).status == status
    receipt = hm.strike(1, 3, sender=outsider)
    assert list(receipt.events) == [hm.MemberWithdrawn(job=1, member=3, reason=Withdrawal.NOT_ACTIVE)]
    with ape.reverts(hm.NotEnrolled, job=1, member=3):
        hm.strike.call(1, 3, sender=outsider)


@pytest.mark.parametrize("number", [0, 8, 2_048, 2**16 - 1])
def test_nobody_strikes_who_is_not_enrolled(job: Federation, outsider: Any, number: int) -> None:
    with ape.reverts(job.hm.NotEnrolled, job=1, member=number):
        job.hm.strike.call(1, number, sender=outsider)
    assert tuple(job.hm.standing(1, number)) == (0, False)


# The draws hold 2,047 members (ElectionFull): tests/invariants, where founding as many takes no time.


@pytest.mark.parametrize("phase", [Phase.REQUEST, Phase.PRE_PREPARE, Phase.PREPARE, Phase.COMMIT, Phase.REPLY])
def test_nobody_enters_or_leaves_once_the_next_draws_seed_is_being_revealed(
    job: Federation, carry: Any, outsider: Any, phase: Phase
) -> None:
    hm, present, absent, suspended = job.hm, job.account(job.clients[0]), job.account(job.bystander()), job.clients[1]
    hm.withdraw(1, sender=absent)
    job.play_until(phase)
    carry(job, Motion.SUSPEND, suspended)
    calls = [
        lambda: hm.enrol.call(1, sender=absent),
        lambda: hm.withdraw.call(1, sender=present),
        lambda: hm.strike.call(1, suspended, sender=outsider),
    ]
    for call in calls:
        if phase < Phase.PREPARE:
            call()
        else:
            with ape.reverts(hm.DrawPending, job=1):
                call()


def test_the_clock_alone_closes_the_draws(job: Federation) -> None:
    """Who reads the first reveals in the mempool could else choose who is drawn from, in front of them."""
    hm, absent = job.hm, job.account(job.bystander())
    hm.withdraw(1, sender=absent)
    job.play_until(Phase.PRE_PREPARE)
    for position in (0, 1, 2):
        job.commit(position, job.words())
    hm.enrol.call(1, sender=absent)
    job.let_deadline_pass()
    assert job.phase == Phase.PREPARE
    with ape.reverts(hm.DrawPending, job=1):
        hm.enrol.call(1, sender=absent)
    job.let_deadline_pass()
    assert job.phase == Phase.FAILED
    with ape.reverts(hm.DrawPending, job=1):
        hm.enrol.call(1, sender=absent)
    job.advance()
    hm.enrol.call(1, sender=absent)


def test_nobody_enters_or_leaves_once_a_job_has_waited_until_its_deadline(
    run_job: Any, carry: Any, outsider: Any
) -> None:
    """The seed has been known all the time: who comes last could choose who is drawn."""
    job = run_job(fraction=10_000)
    hm, absent, present = job.hm, job.account(7), job.account(1)
    job.let_deadline_pass()
    job.advance()
    job.enrol(range(1, 6))
    carry(job, Motion.SUSPEND, 5)
    calls = [
        lambda: hm.enrol.call(1, sender=absent),
        lambda: hm.withdraw.call(1, sender=present),
        lambda: hm.strike.call(1, 5, sender=outsider),
    ]
    for call in calls:
        call()
    job.advance()
    job.let_deadline_pass(0)
    for call in calls:
        call()
    job.let_deadline_pass()
    assert job.phase == Phase.WAITING
    for call in calls:
        with ape.reverts(hm.DrawPending, job=1):
            call()
    job.advance()
    for call in calls:
        call()


# ---------------------------------------------------------------------- silence


def test_a_silent_client_is_benched_until_it_enrols_again(job: Federation) -> None:
    silent = job.clients[0]
    job.submit(1)
    job.let_deadline_pass()
    job.play_scores()
    receipt = job.play_reply()
    assert receipt.decode_logs(job.hm.MemberWithdrawn) == [
        job.hm.MemberWithdrawn(job=1, member=silent, reason=Withdrawal.SILENT)
    ]
    assert silent not in {*job.masters, *job.clients}
    assert tuple(job.hm.standing(1, silent)) == (NEUTRAL, False)
    assert job.phase == Phase.REQUEST
    receipt = job.hm.enrol(1, sender=job.account(silent))
    assert list(receipt.events) == [job.hm.MemberEnrolled(job=1, member=silent, reputation=NEUTRAL)]


def test_a_silent_master_is_replaced_at_its_position(job: Federation) -> None:
    masters, words = job.masters, job.words()
    job.play_until(Phase.PRE_PREPARE)
    for position in (0, 1, 3):
        job.commit(position, words)
    job.let_deadline_pass()
    for position in (0, 1, 3):
        job.reveal(position, words)
    job.propose()
    for position in (0, 1, 3):
        job.attest(position)
    assert job.round.number == 2
    renewed = job.masters
    assert [renewed[i] for i in (0, 1, 3)] == [masters[i] for i in (0, 1, 3)]
    assert renewed[2] not in masters
    assert job.roster.masters >> 240 == 1  # the term goes on


def test_who_withdraws_in_a_round_is_not_benched_as_well(job: Federation) -> None:
    gone, silent = job.clients
    job.hm.withdraw(1, sender=job.account(gone))
    job.let_deadline_pass()
    receipt = job.advance()
    assert [log.member for log in receipt.decode_logs(job.hm.MemberWithdrawn)] == [silent]


# ---------------------------------------------------------------------- reputation, terms


def test_reputation_moves_a_quarter_of_the_way_to_the_score(run_job: Any) -> None:
    job = run_job(fraction=5_000)  # three clients
    clients = job.clients
    bystanders = [n for n in range(1, 8) if n not in clients]
    job.play_request()
    job.play_scores([256 + 10_000, GOOD, BAD, GOOD])
    standings = [job.hm.standing(1, n).reputation for n in clients]
    assert standings == [learnt(NEUTRAL, 10_000), learnt(NEUTRAL, 9_000), learnt(NEUTRAL, 0)] == [160, 153, 96]
    assert {job.hm.standing(1, n).reputation for n in bystanders} == {NEUTRAL}  # not scored, not changed


def test_reputation_never_reaches_zero() -> None:
    """What tests/invariants checks of the contract, of the formula that this file believes in."""
    assert all(1 <= learnt(old, points) <= 255 for old in range(1, 256) for points in range(0, 10_001, 100))


def test_leaving_the_draws_does_not_dodge_a_score(job: Federation) -> None:
    client = job.clients[0]
    job.submit(0)
    job.hm.withdraw(1, sender=job.account(client))
    job.submit(1)
    job.play_scores(job.words(BAD))
    assert tuple(job.hm.standing(1, client)) == (learnt(NEUTRAL, 0), False)


def test_a_committee_serves_its_term_and_then_sits_one_out(run_job: Any) -> None:
    job = run_job(masters=3, termRounds=2, rounds=4)
    first = job.masters
    job.play_round()
    assert (job.masters, job.roster.masters >> 240) == (first, 1)
    job.play_round()
    assert not {*job.masters} & {*first}
    assert job.roster.masters >> 240 == 3


def test_a_consortium_too_small_for_two_committees_has_no_cool_down(run_job: Any) -> None:
    job = run_job(masters=7, termRounds=1)
    job.play_round()
    assert sorted(job.masters) == list(range(1, 8))


def test_clients_are_not_masters_while_there_are_enough_others(run_job: Any) -> None:
    job = run_job(masters=4, fraction=4_300)  # 4 + 3 of seven
    assert not {*job.masters} & {*job.clients}


@pytest.mark.parametrize(("fraction", "clients"), [(1, 1), (2_857, 1), (2_858, 2), (10_000, 7)])
def test_a_fraction_of_the_enrolled_members_are_clients(run_job: Any, fraction: int, clients: int) -> None:
    assert len(run_job(fraction=fraction).clients) == clients
