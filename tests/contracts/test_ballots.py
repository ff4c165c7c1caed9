"""How membership changes: motions, votes, quorum, expiry."""

from __future__ import annotations

from typing import Any

import ape
import pytest

from .federation import Federation, Motion, Status, matter, matter_of, organisation

FORTNIGHT = 14 * 24 * 3600
NOBODY = "0x" + "0" * 40


@pytest.fixture
def candidate(outsider: Any) -> tuple[str, bytes, bytes]:
    """An organisation that would like to join."""
    return organisation(outsider, 8)


# ---------------------------------------------------------------------- motions


def test_admission_by_more_than_half(
    hm: Any, ballots: Any, accounts: Any, candidate: Any, outsider: Any, chain: Any
) -> None:
    receipt = ballots.proposeAdmission(candidate, sender=accounts[0])
    expiry = receipt.timestamp + FORTNIGHT
    opened, voted = receipt.events
    operator, *rest = opened.candidate
    assert [operator.lower(), *rest] == [candidate[0].lower(), *candidate[1:]], "with the key that will be sealed to"
    assert (opened.ballot, opened.motion, opened.member, opened.expiresAt) == (1, Motion.ADMIT, 0, expiry)
    assert voted == ballots.VoteCast(ballot=1, member=1, votes=1)
    assert ballots.quorum() == 4  # of seven
    for number in (2, 3):
        ballots.vote(1, matter_of(ballots, 1), sender=accounts[number - 1])
    assert hm.memberCount() == 7
    receipt = ballots.vote(1, matter_of(ballots, 1), sender=accounts[3])
    assert [e.event_name for e in receipt.events] == ["VoteCast", "MotionCarried", "MemberAdmitted"]
    assert tuple(hm.memberOf(outsider)) == (8, Status.ACTIVE)
    state = ballots.ballot(1)
    assert (state.motion, state.member, state.votes, state.expiresAt, state.carried) == (0, 0, 4, expiry, True)


@pytest.mark.parametrize(
    ("motion", "status", "active"),
    [(Motion.SUSPEND, Status.SUSPENDED, 6), (Motion.REMOVE, Status.REMOVED, 6)],
)
def test_suspension_and_removal(
    hm: Any, ballots: Any, accounts: Any, motion: Motion, status: Status, active: int
) -> None:
    ballots.proposeMotion(motion, 3, sender=accounts[0])
    assert ballots.quorum() == 4  # of seven: the member concerned is counted
    ballots.vote(1, matter_of(ballots, 1), sender=accounts[1])
    ballots.vote(1, matter_of(ballots, 1), sender=accounts[3])
    receipt = ballots.vote(1, matter_of(ballots, 1), sender=accounts[4])
    assert list(receipt.events)[1:] == [
        ballots.MotionCarried(ballot=1),
        hm.MemberStatusChanged(member=3, status=status),
    ]
    assert (hm.member(3).status, hm.activeCount(), hm.memberCount()) == (status, active, 7)


def test_reinstatement(hm: Any, ballots: Any, consortium: Federation, carry: Any) -> None:
    carry(consortium, Motion.SUSPEND, 3)
    assert ballots.quorum() == 4  # of six active members
    carry(consortium, Motion.REINSTATE, 3)
    assert (hm.member(3).status, hm.activeCount()) == (Status.ACTIVE, 7)


def test_two_of_three_remove_the_third(project: Any, found: Any, accounts: Any) -> None:
    three = found(accounts[:3])
    ballots = project.Ballots.at(three.ballots)
    assert ballots.quorum() == 2
    ballots.proposeMotion(Motion.REMOVE, 3, sender=accounts[0])
    assert three.hm.member(3).status == Status.ACTIVE
    ballots.vote(1, matter_of(ballots, 1), sender=accounts[1])
    assert three.hm.member(3).status == Status.REMOVED


def test_a_lone_founder_admits_the_second(project: Any, found: Any, accounts: Any, candidate: Any) -> None:
    one = found(accounts[:1])
    ballots = project.Ballots.at(one.ballots)
    ballots.proposeAdmission(candidate, sender=accounts[0])
    assert one.hm.memberCount() == 2


@pytest.mark.parametrize(("members", "needed"), [(1, 1), (2, 2), (3, 2), (4, 3), (5, 3), (6, 4)])
def test_quorum_is_more_than_half(project: Any, found: Any, accounts: Any, members: int, needed: int) -> None:
    ballots = project.Ballots.at(found(accounts[:members]).ballots)
    assert ballots.quorum() == needed


# ---------------------------------------------------------------------- errors


def test_not_sealed(project: Any, deployer: Any, accounts: Any, candidate: Any) -> None:
    hm = deployer.deploy(project.HMChain)
    hm.found([organisation(accounts[0], 1)], sender=deployer)
    ballots = project.Ballots.at(hm.ballots())
    with ape.reverts(ballots.NotSealed):
        ballots.proposeAdmission.call(candidate, sender=accounts[0])
    with ape.reverts(ballots.NotSealed):
        ballots.proposeMotion.call(Motion.REMOVE, 1, sender=accounts[0])


def test_not_active_member(ballots: Any, accounts: Any, candidate: Any, outsider: Any) -> None:
    with ape.reverts(ballots.NotActiveMember, caller=outsider):
        ballots.proposeAdmission.call(candidate, sender=outsider)
    with ape.reverts(ballots.NotActiveMember, caller=outsider):
        ballots.proposeMotion.call(Motion.REMOVE, 1, sender=outsider)
    ballots.proposeAdmission(candidate, sender=accounts[0])
    with ape.reverts(ballots.NotActiveMember, caller=outsider):
        ballots.vote.call(1, matter_of(ballots, 1), sender=outsider)


@pytest.mark.parametrize("number", [0, 1, 2**255])
def test_unknown_ballot(ballots: Any, accounts: Any, number: int) -> None:
    with ape.reverts(ballots.UnknownBallot, ballot=number):
        ballots.vote.call(number, b"\0" * 32, sender=accounts[0])


@pytest.mark.parametrize("other", ["motion", "member", "operator", "encryptionKey", "name"])
def test_a_vote_counts_for_what_the_voter_was_shown_and_nothing_else(
    ballots: Any, accounts: Any, candidate: Any, outsider: Any, other: str
) -> None:
    """A node that lies about a ballot, or a chain that was set back, gets no vote for another motion."""
    operator, key, name = candidate
    ballots.proposeAdmission(candidate, sender=accounts[0])
    shown: dict[str, Any] = {
        "motion": Motion.ADMIT,
        "member": 0,
        "operator": operator,
        "encryptionKey": key,
        "name": name,
    }
    changed = {
        "motion": Motion.REMOVE,
        "member": 3,
        "operator": str(accounts[9]),
        "encryptionKey": b"\7" * 32,
        "name": b"H".ljust(32, b"\0"),
    }
    with ape.reverts(ballots.OtherMatter, ballot=1):
        ballots.vote.call(1, matter(**{**shown, other: changed[other]}), sender=accounts[1])
    ballots.vote.call(1, matter(**shown), sender=accounts[1])


@pytest.mark.parametrize(("late", "closed"), [(0, False), (1, True)])
def test_ballot_closed_by_time(
    ballots: Any, accounts: Any, candidate: Any, chain: Any, late: int, closed: bool
) -> None:
    ballots.proposeAdmission(candidate, sender=accounts[0])
    chain.mine(timestamp=ballots.ballot(1).expiresAt + late)
    if closed:
        with ape.reverts(ballots.BallotClosed, ballot=1):
            ballots.vote.call(1, matter_of(ballots, 1), sender=accounts[1])
    else:
        ballots.vote.call(1, matter_of(ballots, 1), sender=accounts[1])


def test_ballot_closed_once_carried(ballots: Any, accounts: Any, candidate: Any) -> None:
    ballots.proposeAdmission(candidate, sender=accounts[0])
    for account in accounts[1:4]:
        ballots.vote(1, matter_of(ballots, 1), sender=account)
    with ape.reverts(ballots.BallotClosed, ballot=1):
        ballots.vote.call(1, matter_of(ballots, 1), sender=accounts[4])


def test_neither_of_two_members_removes_the_other(project: Any, found: Any, accounts: Any) -> None:
    two = found(accounts[:2])
    ballots = project.Ballots.at(two.ballots)
    ballots.proposeMotion(Motion.REMOVE, 2, sender=accounts[0])
    assert not ballots.ballot(1).carried
    assert two.hm.member(2).status == Status.ACTIVE


@pytest.mark.parametrize("members", [4, 6])
def test_half_of_the_members_cannot_expel_the_others_one_by_one(
    project: Any, found: Any, accounts: Any, members: int
) -> None:
    consortium = found(accounts[:members])
    ballots = project.Ballots.at(consortium.ballots)
    ballots.proposeMotion(Motion.REMOVE, members, sender=accounts[0])
    for account in accounts[1 : members // 2]:
        ballots.vote(1, matter_of(ballots, 1), sender=account)
    assert consortium.hm.member(members).status == Status.ACTIVE
    ballots.vote(1, matter_of(ballots, 1), sender=accounts[members // 2])
    assert consortium.hm.member(members).status == Status.REMOVED


def test_ballot_closed_by_a_departure(
    hm: Any, ballots: Any, accounts: Any, candidate: Any, consortium: Federation, carry: Any
) -> None:
    """Votes of members since removed must not count among fewer."""
    ballots.proposeAdmission(candidate, sender=accounts[0])
    carry(consortium, Motion.SUSPEND, 3)
    assert hm.departures() == 1
    with ape.reverts(ballots.BallotClosed, ballot=1):
        ballots.vote.call(1, matter_of(ballots, 1), sender=accounts[1])
    ballots.proposeAdmission(candidate, sender=accounts[0])
    carry(consortium, Motion.REINSTATE, 3)
    ballots.vote.call(3, matter_of(ballots, 3), sender=accounts[1])  # nobody has left since


def test_already_voted(ballots: Any, accounts: Any, candidate: Any) -> None:
    ballots.proposeAdmission(candidate, sender=accounts[0])
    with ape.reverts(ballots.AlreadyVoted, ballot=1, member=1):
        ballots.vote.call(1, matter_of(ballots, 1), sender=accounts[0])


def test_already_voted_under_another_account(hm: Any, ballots: Any, accounts: Any, candidate: Any) -> None:
    ballots.proposeAdmission(candidate, sender=accounts[0])
    hm.announceRotation(accounts[9], b"\1" * 32, sender=accounts[0])
    hm.completeRotation(1, sender=accounts[9])
    with ape.reverts(ballots.AlreadyVoted, ballot=1, member=1):
        ballots.vote.call(1, matter_of(ballots, 1), sender=accounts[9])


def test_own_case(ballots: Any, accounts: Any) -> None:
    with ape.reverts(ballots.OwnCase, member=1):
        ballots.proposeMotion.call(Motion.SUSPEND, 1, sender=accounts[0])
    ballots.proposeMotion(Motion.SUSPEND, 3, sender=accounts[0])
    with ape.reverts(ballots.OwnCase, member=3):
        ballots.vote.call(1, matter_of(ballots, 1), sender=accounts[2])


def test_wrong_motion(ballots: Any, accounts: Any) -> None:
    with ape.reverts(ballots.WrongMotion, motion=Motion.ADMIT):
        ballots.proposeMotion.call(Motion.ADMIT, 3, sender=accounts[0])


@pytest.mark.parametrize("number", [0, 8])
def test_a_motion_about_nobody(hm: Any, ballots: Any, accounts: Any, number: int) -> None:
    with ape.reverts(hm.UnknownMember, member=number):
        ballots.proposeMotion.call(Motion.SUSPEND, number, sender=accounts[0])


def test_a_suspended_member_has_no_vote(
    ballots: Any, accounts: Any, consortium: Federation, candidate: Any, carry: Any
) -> None:
    carry(consortium, Motion.SUSPEND, 3)
    assert ballots.quorum() == 4  # of six
    ballots.proposeAdmission(candidate, sender=accounts[0])
    with ape.reverts(ballots.NotActiveMember, caller=accounts[2]):
        number = ballots.ballotCount()
        ballots.vote.call(number, matter_of(ballots, number), sender=accounts[2])


WRONG = [
    ([], Motion.REINSTATE, Status.ACTIVE),
    ([Motion.SUSPEND], Motion.SUSPEND, Status.SUSPENDED),
    ([Motion.REMOVE], Motion.SUSPEND, Status.REMOVED),
    ([Motion.REMOVE], Motion.REINSTATE, Status.REMOVED),
    ([Motion.REMOVE], Motion.REMOVE, Status.REMOVED),
]


@pytest.mark.parametrize(("history", "motion", "status"), WRONG)
def test_wrong_status(
    hm: Any, consortium: Federation, carry: Any, history: list[Motion], motion: Motion, status: Status
) -> None:
    for earlier in history:
        carry(consortium, earlier, 3)
    with ape.reverts(hm.WrongStatus, member=3, status=status):
        carry(consortium, motion, 3)
    assert hm.member(3).status == status


def test_a_suspended_member_may_be_removed(hm: Any, consortium: Federation, carry: Any) -> None:
    carry(consortium, Motion.SUSPEND, 3)
    carry(consortium, Motion.REMOVE, 3)
    assert (hm.member(3).status, hm.activeCount()) == (Status.REMOVED, 6)


@pytest.mark.parametrize("part", ["operator", "in use"])
def test_an_admission_that_cannot_be_carried_out_is_not_carried(
    hm: Any, ballots: Any, accounts: Any, part: str
) -> None:
    bad = organisation(NOBODY if part == "operator" else accounts[6], 8)
    error = (
        ape.reverts(hm.InvalidOrganisation)
        if part == "operator"
        else ape.reverts(hm.OperatorInUse, operator=accounts[6])
    )
    ballots.proposeAdmission(bad, sender=accounts[0])
    for account in accounts[1:3]:
        ballots.vote(1, matter_of(ballots, 1), sender=account)
    with error:
        ballots.vote.call(1, matter_of(ballots, 1), sender=accounts[3])
    assert not ballots.ballot(1).carried


def test_only_ballots_admit_and_change_status(hm: Any, accounts: Any, candidate: Any, outsider: Any) -> None:
    for caller in (accounts[0], outsider):
        with ape.reverts(hm.NotBallots, caller=caller):
            hm.admit.call(candidate, sender=caller)
        with ape.reverts(hm.NotBallots, caller=caller):
            hm.changeStatus.call(3, Status.REMOVED, sender=caller)


def test_ballots_obey_the_consortium_that_made_them(hm: Any, ballots: Any) -> None:
    assert ballots.consortium() == hm.address
