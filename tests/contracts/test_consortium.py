"""Who belongs: founding, sealing, and a member's own affairs."""

from __future__ import annotations

from typing import Any

import ape
import pytest

from .federation import MODEL, Motion, Phase, Status, organisation

NOBODY = "0x" + "0" * 40
KEY = (99).to_bytes(32, "big")


@pytest.fixture
def unsealed(project: Any, deployer: Any) -> Any:
    """A consortium without members."""
    return deployer.deploy(project.HMChain)


# ---------------------------------------------------------------------- founding


def test_founders_are_numbered_from_one(unsealed: Any, deployer: Any, accounts: Any) -> None:
    first, second = organisation(accounts[0], 7), organisation(accounts[1], 8)
    receipt = unsealed.found([first, second], sender=deployer)
    assert list(receipt.events) == [
        unsealed.MemberAdmitted(member=1, operator=first[0], encryptionKey=first[1], name=first[2]),
        unsealed.MemberAdmitted(member=2, operator=second[0], encryptionKey=second[1], name=second[2]),
    ]
    assert (unsealed.memberCount(), unsealed.activeCount()) == (2, 2)
    assert tuple(unsealed.memberOf(accounts[1])) == (2, Status.ACTIVE)
    assert tuple(unsealed.memberOf(accounts[2])) == (0, Status.NONE)
    member = unsealed.member(2)
    assert (member.operator, member.status, member.sampleCount) == (accounts[1], Status.ACTIVE, 0)
    assert (member.encryptionKey, member.datasetRoot) == (second[1], b"\0" * 32)


def test_founding_goes_on_until_the_seal(unsealed: Any, deployer: Any, accounts: Any) -> None:
    for i in (0, 1):
        unsealed.found([organisation(accounts[i], i + 1)], sender=deployer)
    assert not unsealed.isSealed()
    assert list(unsealed.seal(sender=deployer).events) == [unsealed.ConsortiumSealed(members=2)]
    assert unsealed.isSealed()


def test_not_founder(unsealed: Any, outsider: Any) -> None:
    with ape.reverts(unsealed.NotFounder, caller=outsider):
        unsealed.found.call([], sender=outsider)
    with ape.reverts(unsealed.NotFounder, caller=outsider):
        unsealed.seal.call(sender=outsider)


def test_no_members(unsealed: Any, deployer: Any) -> None:
    with ape.reverts(unsealed.NoMembers):
        unsealed.seal.call(sender=deployer)


def test_already_sealed_and_no_owner_is_left(hm: Any, deployer: Any, outsider: Any) -> None:
    newcomer = organisation(outsider, 9)
    with ape.reverts(hm.AlreadySealed):
        hm.found.call([newcomer], sender=deployer)
    with ape.reverts(hm.AlreadySealed):
        hm.seal.call(sender=deployer)
    with ape.reverts(hm.NotBallots, caller=deployer):
        hm.admit.call(newcomer, sender=deployer)
    with ape.reverts(hm.NotBallots, caller=deployer):
        hm.changeStatus.call(1, Status.REMOVED, sender=deployer)


@pytest.mark.parametrize("missing", [0, 1], ids=["operator", "key"])
def test_invalid_organisation(unsealed: Any, deployer: Any, accounts: Any, missing: int) -> None:
    parts = list(organisation(accounts[0], 1))
    parts[missing] = (NOBODY, b"\0" * 32)[missing]
    with ape.reverts(unsealed.InvalidOrganisation):
        unsealed.found.call([tuple(parts)], sender=deployer)


def test_operator_in_use(unsealed: Any, deployer: Any, accounts: Any) -> None:
    twins = [organisation(accounts[0], 1), organisation(accounts[0], 2)]
    with ape.reverts(unsealed.OperatorInUse, operator=accounts[0]):
        unsealed.found.call(twins, sender=deployer)


@pytest.mark.parametrize("number", [0, 8, 2**16 + 1, 2**255])
def test_unknown_member(hm: Any, number: int) -> None:
    with ape.reverts(hm.UnknownMember, member=number):
        hm.member(number)


# ---------------------------------------------------------------------- rotation


def test_rotation_in_two_steps(hm: Any, accounts: Any, outsider: Any) -> None:
    receipt = hm.announceRotation(outsider, KEY, sender=accounts[0])
    assert list(receipt.events) == [hm.RotationAnnounced(member=1, operator=outsider, encryptionKey=KEY)]
    assert tuple(hm.memberOf(accounts[0])) == (1, Status.ACTIVE)  # nothing has changed yet
    receipt = hm.completeRotation(1, sender=outsider)
    assert list(receipt.events) == [hm.RotationCompleted(member=1, operator=outsider, encryptionKey=KEY)]
    assert tuple(hm.memberOf(outsider)) == (1, Status.ACTIVE)
    assert tuple(hm.memberOf(accounts[0])) == (0, Status.NONE)
    member = hm.member(1)
    assert (member.operator, member.encryptionKey) == (outsider, KEY)
    assert (member.sampleCount, member.datasetRoot) == (100, (1).to_bytes(32, "big"))  # what it had, it keeps
    with ape.reverts(hm.NotActiveMember, caller=accounts[0]):
        hm.commitDataset.call(KEY, 1, sender=accounts[0])


def test_rotation_of_the_key_alone(hm: Any, accounts: Any) -> None:
    hm.announceRotation(accounts[0], KEY, sender=accounts[0])
    hm.completeRotation(1, sender=accounts[0])
    assert (hm.member(1).operator, hm.member(1).encryptionKey) == (accounts[0], KEY)
    assert tuple(hm.memberOf(accounts[0])) == (1, Status.ACTIVE)


def test_a_later_announcement_replaces_the_earlier(hm: Any, accounts: Any, outsider: Any) -> None:
    hm.announceRotation(outsider, KEY, sender=accounts[0])
    hm.announceRotation(accounts[9], KEY, sender=accounts[0])
    with ape.reverts(hm.NotRotationTarget, caller=outsider):
        hm.completeRotation.call(1, sender=outsider)
    hm.completeRotation(1, sender=accounts[9])
    assert hm.member(1).operator == accounts[9]


def test_a_rotation_is_completed_once(hm: Any, accounts: Any, outsider: Any) -> None:
    hm.announceRotation(outsider, KEY, sender=accounts[0])
    hm.completeRotation(1, sender=outsider)
    with ape.reverts(hm.NoRotation, member=1):
        hm.completeRotation.call(1, sender=outsider)


def test_only_active_members_announce_rotations(hm: Any, outsider: Any) -> None:
    with ape.reverts(hm.NotActiveMember, caller=outsider):
        hm.announceRotation.call(outsider, KEY, sender=outsider)


@pytest.mark.parametrize(("operator", "key"), [(NOBODY, KEY), (None, b"\0" * 32)], ids=["operator", "key"])
def test_rotation_to_nothing(hm: Any, accounts: Any, operator: str | None, key: bytes) -> None:
    with ape.reverts(hm.InvalidOrganisation):
        hm.announceRotation.call(operator or accounts[9], key, sender=accounts[0])


def test_rotation_to_another_members_account(hm: Any, accounts: Any) -> None:
    with ape.reverts(hm.OperatorInUse, operator=accounts[1]):
        hm.announceRotation.call(accounts[1], KEY, sender=accounts[0])


def test_two_rotations_to_one_account(hm: Any, accounts: Any, outsider: Any) -> None:
    hm.announceRotation(outsider, KEY, sender=accounts[0])
    hm.announceRotation(outsider, KEY, sender=accounts[1])
    hm.completeRotation(2, sender=outsider)
    with ape.reverts(hm.OperatorInUse, operator=outsider):
        hm.completeRotation.call(1, sender=outsider)


@pytest.mark.parametrize("number", [0, 1, 8, 2**16 - 1])
def test_no_rotation(hm: Any, outsider: Any, number: int) -> None:
    with ape.reverts(hm.NoRotation, member=number):
        hm.completeRotation.call(number, sender=outsider)


def test_a_suspended_member_cannot_slip_away_by_rotation(
    hm: Any, accounts: Any, outsider: Any, consortium: Any, carry: Any
) -> None:
    hm.announceRotation(outsider, KEY, sender=accounts[2])
    carry(consortium, Motion.SUSPEND, 3)
    with ape.reverts(hm.WrongStatus, member=3, status=Status.SUSPENDED):
        hm.completeRotation.call(3, sender=outsider)


def test_a_member_keeps_its_seat_through_a_rotation(job: Any, outsider: Any) -> None:
    number = job.clients[0]
    job.hm.announceRotation(outsider, KEY, sender=job.client(0))
    job.hm.completeRotation(number, sender=outsider)
    with ape.reverts(job.hm.NotActiveMember, caller=job.account(number)):
        job.submit(0)
    job.members[number - 1] = outsider
    job.submit(0)


def test_a_master_that_rotates_its_account_cannot_reveal_but_attests(job: Any, outsider: Any) -> None:
    """Its commitment is bound to the account that made it; the round goes on without its scores."""
    job.play_until(Phase.PREPARE)
    number, words = job.masters[0], job.words()
    job.hm.announceRotation(outsider, KEY, sender=job.account(number))
    job.hm.completeRotation(number, sender=outsider)
    with ape.reverts(job.hm.NotActiveMember, caller=job.account(number)):
        job.reveal(0, words)
    job.members[number - 1] = outsider
    with ape.reverts(job.hm.CommitmentMismatch, member=number):
        job.reveal(0, words)
    for position in (1, 2, 3):
        job.reveal(position, words)
    job.let_deadline_pass()
    job.propose()
    for position in (0, 1, 2):
        job.attest(position)
    assert tuple(job.hm.modelOf(1))[1:] == (MODEL, 1)
    assert not job.hm.standing(1, number).enrolled


# ---------------------------------------------------------------------- datasets


def test_dataset_commitment(hm: Any, accounts: Any) -> None:
    root = b"\x12" * 32
    receipt = hm.commitDataset(root, 4_321, sender=accounts[4])
    assert list(receipt.events) == [hm.DatasetCommitted(member=5, root=root, sampleCount=4_321)]
    assert (hm.member(5).datasetRoot, hm.member(5).sampleCount) == (root, 4_321)


def test_an_outsider_commits_no_dataset(hm: Any, outsider: Any) -> None:
    with ape.reverts(hm.NotActiveMember, caller=outsider):
        hm.commitDataset.call(b"\1" * 32, 1, sender=outsider)
