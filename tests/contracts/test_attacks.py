"""The rules of the protocol (docs/protocol.md), each tried by somebody who would rather break it."""

from __future__ import annotations

from typing import Any

import ape
import pytest

from .federation import (
    BAD,
    BLOB,
    COORDINATOR,
    FIRST_MODEL,
    GOOD,
    MODEL,
    OTHER_MODEL,
    Federation,
    Motion,
    Phase,
    pack_scores,
    unpack_scores,
)

MAX_SAMPLES = 2**17  # the most that the exact aggregation is made for
BLOCK_GAS = 16_777_216  # EIP-7825: the most that one transaction may use


# ---------------------------------------------------------------------- rule 1: everything is bound to its place


def steal(job: Federation, /, **changes: Any) -> None:
    """Master 0 commits to what holds elsewhere; its reveal here must then be refused."""
    words = job.words()
    sealed = job.commitment(0, words, **changes)
    job.hm.commitScores(job.job, job.round.number, 0, sealed, sender=job.master(0))
    for position in range(1, job.terms["masters"]):
        job.commit(position, words)
    with ape.reverts(job.hm.CommitmentMismatch, member=job.masters[0]):
        job.reveal(0, words)


def test_a_commitment_copied_from_another_master_cannot_be_revealed(job: Any) -> None:
    job.play_until(Phase.PRE_PREPARE)
    steal(job, sender=job.master(1))


def test_a_commitment_for_another_round_cannot_be_revealed(job: Any) -> None:
    job.play_until(Phase.PRE_PREPARE)
    steal(job, round_=2)


def test_a_commitment_for_another_job_cannot_be_revealed(job: Any) -> None:
    job.play_until(Phase.PRE_PREPARE)
    steal(job, job=2)


def test_a_commitment_for_another_contract_cannot_be_revealed(job: Any) -> None:
    job.play_until(Phase.PRE_PREPARE)
    steal(job, hm=job.coordinator)


def test_a_commitment_for_another_chain_cannot_be_revealed(job: Any) -> None:
    job.play_until(Phase.PRE_PREPARE)
    steal(job, chain_id=1)


def test_a_commitment_is_not_replayed_into_the_next_round(run_job: Any) -> None:
    job = run_job(masters=1, termRounds=3)
    master = job.masters[0]
    words = job.words()
    old = job.commitment(0, words)
    salt = job.salt(0)
    job.play_round()
    assert job.masters == [master]
    job.play_until(Phase.PRE_PREPARE)
    job.hm.commitScores(1, 2, 0, old, sender=job.master(0))
    with ape.reverts(job.hm.CommitmentMismatch, member=master):
        job.hm.revealScores(1, 2, 0, pack_scores(words), salt, sender=job.master(0))


def test_a_master_cannot_reveal_for_another(job: Any) -> None:
    words = job.words()
    job.play_until(Phase.PREPARE)
    with ape.reverts(job.hm.NotDrawn, member=job.masters[0], position=1):
        job.hm.revealScores(1, 1, 1, pack_scores(words), job.salt(1), sender=job.master(0))
    with ape.reverts(job.hm.CommitmentMismatch, member=job.masters[0]):
        job.hm.revealScores(1, 1, 0, pack_scores(words), job.salt(1), sender=job.master(0))


def test_an_update_of_a_round_gone_by_is_refused(job: Any) -> None:
    client = job.client(0)
    job.play_round()
    with ape.reverts(job.hm.WrongRound, round=2):
        job.hm.submitUpdate.call(1, 1, 0, 1, BLOB, sender=client)


def test_a_copied_update_is_recorded_under_its_senders_name(job: Any) -> None:
    """The chain cannot read blobs: each names its sender inside, so masters score a copy as refused."""
    first, second = job.clients
    logs = [job.submit(position).decode_logs(job.hm.UpdateSubmitted)[0] for position in (0, 1)]
    assert [log.member for log in logs] == [first, second]
    assert logs[0].blob == logs[1].blob
    receipt = job.play_scores([GOOD, 3, GOOD])
    (judged,) = receipt.decode_logs(job.hm.UpdatesJudged)
    assert judged.accepted == 0b01
    assert unpack_scores(judged.medians, 3)[1] == 3
    assert job.hm.standing(1, second).reputation == 96


# ---------------------------------------------------------------------- who may act


def protocol_calls(job: Federation, sender: Any, number: int = 1) -> list[Any]:
    """Every message of a round, from `sender`, at every position that somebody could claim."""
    hm, words = job.hm, [0]
    return [
        lambda: hm.enrol.call(1, sender=sender),
        lambda: hm.withdraw.call(1, sender=sender),
        lambda: hm.commitDataset.call(b"\1" * 32, 1, sender=sender),
        lambda: hm.submitUpdate.call(1, number, 0, 1, BLOB, sender=sender),
        lambda: hm.commitScores.call(1, number, 0, b"\1" * 32, sender=sender),
        lambda: hm.revealScores.call(1, number, 0, words, b"\1" * 32, sender=sender),
        lambda: hm.attestModel.call(1, number, 0, 1 << COORDINATOR, MODEL, sender=sender),
    ]


def test_an_outsider_can_do_nothing(job: Any, outsider: Any) -> None:
    for call in protocol_calls(job, outsider):
        with ape.reverts(job.hm.NotActiveMember, caller=outsider):
            call()


@pytest.mark.parametrize("motion", [Motion.SUSPEND, Motion.REMOVE])
def test_a_suspended_or_removed_member_can_do_nothing(job: Any, carry: Any, motion: Motion) -> None:
    number = job.clients[0]
    carry(job, motion, number)
    for call in protocol_calls(job, job.account(number)):
        with ape.reverts(job.hm.NotActiveMember, caller=job.account(number)):
            call()


def test_a_master_suspended_in_the_middle_of_a_round_does_not_stop_it(job: Any, carry: Any) -> None:
    masters = job.masters
    job.play_until(Phase.PREPARE)
    carry(job, Motion.SUSPEND, masters[0])
    words = job.words()
    with ape.reverts(job.hm.NotActiveMember, caller=job.account(masters[0])):
        job.reveal(0, words)
    for position in (1, 2, 3):
        job.reveal(position, words)
    job.let_deadline_pass()
    job.propose()
    with ape.reverts(job.hm.NotActiveMember, caller=job.account(masters[0])):
        job.attest(0)
    for position in (1, 2, 3):
        job.attest(position)
    assert job.hm.modelOf(1).model == MODEL
    assert not job.hm.standing(1, masters[0]).enrolled


def test_a_client_is_no_master_and_a_master_no_client(job: Any) -> None:
    client, master = job.clients[0], job.masters[0]
    assert client not in job.masters
    with ape.reverts(job.hm.NotDrawn, member=master, position=0):
        job.hm.submitUpdate.call(1, 1, 0, 1, BLOB, sender=job.account(master))
    job.play_until(Phase.PRE_PREPARE)
    for position in range(4):
        with ape.reverts(job.hm.NotDrawn, member=client, position=position):
            job.hm.commitScores.call(1, 1, position, b"\1" * 32, sender=job.account(client))


FORGED = [4, 14, 15, 16, 64, 255, 256, 2**16, 2**255, 2**256 - 16]


@pytest.mark.parametrize("position", FORGED, ids=hex)
def test_no_position_but_ones_own_opens_a_door(job: Any, position: int) -> None:
    hm, master, account = job.hm, job.masters[0], job.master(0)
    client = job.clients[0]
    with ape.reverts(hm.NotDrawn, member=client, position=position):
        hm.submitUpdate.call(1, 1, position, 1, BLOB, sender=job.account(client))
    job.play_until(Phase.PRE_PREPARE)
    with ape.reverts(hm.NotDrawn, member=master, position=position):
        hm.commitScores.call(1, 1, position, b"\1" * 32, sender=account)
    words = job.words()
    for i in range(4):
        job.commit(i, words)
    with ape.reverts(hm.NotDrawn, member=master, position=position):
        hm.revealScores.call(1, 1, position, pack_scores(words), job.salt(0), sender=account)
    for i in range(4):
        job.reveal(i, words)
    job.let_deadline_pass(-1)
    refusal = (
        ape.reverts(hm.NotCoordinator, caller=account)
        if position == COORDINATOR
        else ape.reverts(hm.NotDrawn, member=master, position=position)
    )
    with refusal:
        hm.proposeModel.call(1, 1, position, MODEL, BLOB, sender=account)
    job.propose()
    with ape.reverts(hm.NotDrawn, member=master, position=position):
        hm.attestModel.call(1, 1, position, 1 << COORDINATOR, MODEL, sender=account)


def test_the_number_of_the_round_in_the_committee_word_is_nobodys_seat(run_job: Any) -> None:
    """The word's top sixteen bits hold the round a term began: 1, which is also a member's number."""
    job = run_job()
    assert job.roster.masters >> 240 == 1
    job.play_until(Phase.PRE_PREPARE)
    with ape.reverts(job.hm.NotDrawn, member=1, position=15):
        job.hm.commitScores.call(1, 1, 15, b"\1" * 32, sender=job.account(1))


def test_members_of_rounds_gone_by_have_no_seat_left(run_job: Any) -> None:
    """Positions beyond this round's clients still hold the numbers drawn for a larger one."""
    job = run_job(masters=1, fraction=10_000)
    first = job.clients
    assert len(first) == 7
    for number in range(3, 8):
        job.hm.withdraw(1, sender=job.account(number))
    job.play_request()
    job.play_scores()
    job.play_reply()
    assert len(job.clients) == 2
    for position in range(2, 7):
        with ape.reverts(job.hm.NotDrawn, member=first[position], position=position):
            job.hm.submitUpdate.call(1, 2, position, 1, BLOB, sender=job.account(first[position]))


def test_a_coordinator_that_is_a_member_has_two_positions_and_one_vote(consortium: Any) -> None:
    consortium.coordinator = consortium.members[0]
    consortium.create(masters=7, fraction=1)
    consortium.enrol()
    consortium.start()
    consortium.play_until(Phase.REPLY)
    assert consortium.round.attested == 0  # to propose as the coordinator is not to attest
    own = consortium.masters.index(1)
    consortium.attest(own)
    with ape.reverts(consortium.hm.AlreadyAttested, member=1):
        consortium.attest(own)


# ---------------------------------------------------------------------- rules 4 and 5: judgement


def test_nobodys_score_of_its_own_update_counts(found: Any, accounts: Any) -> None:
    job = found(accounts[:3])
    job.create(masters=3, fraction=10_000)
    job.enrol()
    job.start()
    liar = 2  # its master position
    own = job.clients.index(job.masters[liar])
    honest = [BAD if i == own else GOOD for i in range(3)] + [GOOD]
    lies = [GOOD + 500 if i == own else BAD for i in range(3)] + [GOOD]
    job.play_request()
    receipt = job.play_scores([lies if position == liar else honest for position in range(3)])
    (judged,) = receipt.decode_logs(job.hm.UpdatesJudged)
    assert unpack_scores(judged.medians, 3)[own] == BAD
    assert not judged.accepted >> own & 1


def test_one_lying_master_of_four_moves_no_median_past_an_honest_score(job: Any) -> None:
    job.play_request()
    honest = [[GOOD, BAD, GOOD], [GOOD + 2, BAD + 2, GOOD], [GOOD + 4, BAD + 4, GOOD]]
    receipt = job.play_scores([*honest, [0, 65_535, 65_535]])
    (judged,) = receipt.decode_logs(job.hm.UpdatesJudged)
    accepted, refused, _ = unpack_scores(judged.medians, 3)
    assert GOOD <= accepted <= GOOD + 4
    assert BAD <= refused <= BAD + 4
    assert judged.accepted == 0b01


@pytest.mark.parametrize("word", [10_257, 32_768, 65_535])
def test_an_absurd_score_leaves_reputations_in_range(run_job: Any, word: int) -> None:
    job = run_job(masters=1)
    clients = job.clients
    job.play_request()
    job.play_scores(job.words(word))
    for number in range(1, 8):  # 160: a quarter of the way from 128 to 255; nobody else's weight is touched
        assert tuple(job.hm.standing(1, number)) == (160 if number in clients else 128, True)


def test_an_absurd_score_of_a_member_that_left_stays_in_range_when_it_returns(run_job: Any) -> None:
    job = run_job(masters=1)
    client = job.clients[0]
    job.play_request()
    job.hm.withdraw(1, sender=job.account(client))
    job.play_scores([65_535] * 3)
    job.play_reply()
    job.hm.enrol(1, sender=job.account(client))
    assert 1 <= job.hm.standing(1, client).reputation <= 255


def test_an_absurd_score_of_the_base_model_is_no_more_than_the_best(run_job: Any) -> None:
    job = run_job(masters=1, relative=True, standard=100)
    job.play_request()
    (judged,) = job.play_scores([256 + 9_900, 256 + 9_899, 65_535]).decode_logs(job.hm.UpdatesJudged)
    assert (judged.standard, judged.accepted) == (9_900, 0b01)


# ---------------------------------------------------------------------- rule 8: weights


def test_a_weight_beyond_the_committed_dataset_is_refused(job: Any) -> None:
    client = job.client(0)
    with ape.reverts(job.hm.SampleCountOutOfRange, samples=101, limit=100):
        job.hm.submitUpdate.call(1, 1, 0, 101, BLOB, sender=client)
    job.hm.commitDataset(b"\1" * 32, 2**32 - 1, sender=client)
    for samples in (MAX_SAMPLES + 1, 2**32 - 1, 2**256 - 1):
        with ape.reverts(job.hm.SampleCountOutOfRange, samples=samples, limit=MAX_SAMPLES):
            job.hm.submitUpdate.call(1, 1, 0, samples, BLOB, sender=client)
    job.hm.submitUpdate(1, 1, 0, MAX_SAMPLES, BLOB, sender=client)


def test_a_member_without_a_committed_dataset_cannot_submit(job: Any) -> None:
    client = job.client(0)
    job.hm.commitDataset(b"\1" * 32, 0, sender=client)
    with ape.reverts(job.hm.SampleCountOutOfRange, samples=1, limit=0):
        job.hm.submitUpdate.call(1, 1, 0, 1, BLOB, sender=client)


# ---------------------------------------------------------------------- models


def test_an_attestation_is_of_the_blob_that_was_looked_at(job: Federation) -> None:
    """A master proposes the same model with a blob that nobody has, in front of attestations that are on their way."""
    hm, masters = job.hm, [job.master(i) for i in range(4)]
    job.play_until(Phase.REPLY)
    number, seen = job.round.number, job.round.proposed
    job.attest(1)
    job.let_deadline_pass()
    hm.proposeModel(1, number, 0, MODEL, (b"\xde" * 32, b"\xad" * 32, 7), sender=masters[0])
    for position in (1, 2, 3):
        with ape.reverts(hm.WrongProposal, proposed=seen | 1):
            hm.attestModel.call(1, number, position, seen, MODEL, sender=masters[position])
    job.let_deadline_pass()
    job.propose(2)
    for position in (1, 3):
        job.attest(position)
    assert tuple(hm.modelOf(1))[1:] == (MODEL, 1)


@pytest.mark.parametrize("motion", [Motion.SUSPEND, Motion.REMOVE])
def test_who_is_suspended_or_removed_coordinates_nothing(consortium: Federation, carry: Any, motion: Motion) -> None:
    hm, barred = consortium.hm, consortium.account(7)
    consortium.coordinator = barred
    consortium.create()
    consortium.enrol([1, 2, 3, 4, 5, 6])
    hm.publishKey.call(1, b"\1" * 32, BLOB, sender=barred)
    carry(consortium, motion, 7)
    calls = [
        lambda: hm.publishKey.call(1, b"\1" * 32, BLOB, sender=barred),
        lambda: hm.startJob.call(1, sender=barred),
        lambda: hm.fileReport.call(1, b"\1" * 32, sender=barred),
    ]
    for call in calls:
        with ape.reverts(hm.NotCoordinator, caller=barred):
            call()
    if motion == Motion.SUSPEND:
        carry(consortium, Motion.REINSTATE, 7)
        consortium.start()
        consortium.play_until(Phase.COMMIT)
        carry(consortium, motion, 7)
        with ape.reverts(hm.NotCoordinator, caller=barred):
            consortium.propose()


def test_a_finished_round_cannot_be_changed(job: Any) -> None:
    client, masters = job.client(0), [job.master(i) for i in range(4)]
    job.play_round()
    hm = job.hm
    late = [
        lambda: hm.submitUpdate.call(1, 1, 0, 1, BLOB, sender=client),
        lambda: hm.commitScores.call(1, 1, 0, b"\1" * 32, sender=masters[0]),
        lambda: hm.revealScores.call(1, 1, 0, [0], b"\1" * 32, sender=masters[0]),
        lambda: hm.proposeModel.call(1, 1, COORDINATOR, OTHER_MODEL, BLOB, sender=job.coordinator),
        lambda: hm.attestModel.call(1, 1, 3, 1 << COORDINATOR, MODEL, sender=masters[3]),
    ]
    for call in late:
        with ape.reverts(hm.WrongRound, round=2):
            call()
    job.play_until(Phase.COMMIT)
    job.propose(model=OTHER_MODEL)
    assert hm.modelOf(1).model == MODEL  # a candidate lies beside it, not over it
    job.let_deadline_pass(10**6)
    job.advance()
    assert tuple(hm.modelOf(1))[1:] == (MODEL, 1)


def test_an_attestation_does_not_carry_over_to_another_candidate(run_job: Any) -> None:
    job = run_job(masters=3).play_until(Phase.REPLY)
    job.attest(0)
    job.attest(1)
    job.let_deadline_pass()
    job.propose(2, OTHER_MODEL)
    with ape.reverts(job.hm.WrongModel, candidate=OTHER_MODEL):
        job.attest(0, MODEL)
    assert job.hm.modelOf(1).model == FIRST_MODEL


# ---------------------------------------------------------------------- rules 3 and 6: gas and draws


def test_every_transaction_of_the_largest_round_fits_into_a_block(found: Any, accounts: Any) -> None:
    purse = accounts[0]
    members = []
    for _ in range(71):  # 56 clients and 15 masters, nobody twice: the most that a draw has to step over
        account = accounts.generate_test_account()
        purse.transfer(account, "1 ether")
        members.append(account)
    job = found(members)
    job.create(masters=15, fraction=7_888)
    job.enrol()
    gas = {"startJob": job.start().gas_used}
    assert len({*job.clients, *job.masters}) == 71
    job.play_request()
    words = [256 + 9_999 - 7 * i for i in range(57)]
    for position in range(15):
        gas["commitScores"] = job.commit(position, words).gas_used
    for position in range(15):
        gas["revealScores and judge"] = job.reveal(position, words).gas_used
    job.let_deadline_pass()
    gas["advance and dismiss"] = job.advance().gas_used
    assert len({*job.clients, *job.masters}) == 71
    job.let_deadline_pass()
    gas["advance and bench 56"] = job.advance().gas_used
    assert sum(gas.values()) < BLOCK_GAS, gas  # even if one transaction did all of it


def test_who_comes_back_first_after_an_outage_does_not_own_the_term(run_job: Any) -> None:
    """Four of seven collude; they are as many as there are masters, and know the seed."""
    job, colluders = run_job(fraction=10_000), {1, 2, 3, 4}
    job.let_deadline_pass()
    job.advance()
    job.enrol(colluders)
    job.advance()
    with ape.reverts(job.hm.NothingToAdvance):
        job.advance(sender=job.account(1))
    job.let_deadline_pass(-10)
    job.enrol({5, 6})
    job.let_deadline_pass()
    with ape.reverts(job.hm.DrawPending, job=1):
        job.hm.withdraw(1, sender=job.account(1))
    job.advance(sender=job.account(1))
    assert (job.phase, job.round.number) == (Phase.REQUEST, 2)
    assert {*job.clients} == colluders | {5, 6}
    assert not {*job.masters} <= colluders


def test_draws_repeat_nobody_and_pass_over_the_absent(run_job: Any) -> None:
    job = run_job(masters=2, fraction=5_000, rounds=7, termRounds=1)
    absent = job.bystander()
    job.hm.withdraw(1, sender=job.account(absent))
    for number in range(1, 7):
        assert job.round.number == number
        masters, clients = job.masters, job.clients
        assert len({*masters, *clients}) == len(masters) + len(clients) == 5
        assert absent not in {*masters, *clients}
        assert {*masters, *clients} <= set(range(1, 8))
        job.play_request()
        job.play_scores(job.words(BAD if number % 2 else GOOD))
        if job.phase == Phase.COMMIT:
            job.play_reply()
        assert not {*masters} & {*job.masters}  # the cool-down
