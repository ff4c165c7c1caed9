"""Who is who: members vouch for persons, one member for a person at a time."""

from __future__ import annotations

from typing import Any

import ape
import pytest

from hmchain.permits import LAST_LABEL, NOBODY, Role, label_of

from .clinic import HOLDER, PATIENT, PHYSICIAN, STRANGER

# ---------------------------------------------------------------------- vouching


def test_a_contract_asks_one_consortium(records: Any, hm: Any) -> None:
    assert records.consortium() == hm.address


@pytest.mark.parametrize("role", Role)
def test_a_member_vouches_for_a_person(clinic: Any, role: Role) -> None:
    records = clinic.records
    receipt = clinic.vouch(STRANGER, role, 3)
    assert list(receipt.events) == [records.PersonVouched(member=3, person=STRANGER.address, role=role)]
    assert tuple(records.personOf(STRANGER.address)) == (3, role)


def test_its_member_gives_a_person_another_role(clinic: Any) -> None:
    clinic.vouch(PATIENT, Role.RESEARCHER, HOLDER)
    assert tuple(clinic.records.personOf(PATIENT.address)) == (HOLDER, Role.RESEARCHER)


def test_nobody_vouches_for_a_stranger(records: Any) -> None:
    assert records.personOf(STRANGER.address).voucher == 0


def test_a_person_goes_to_another_member(clinic: Any, suspend: Any) -> None:
    """No member keeps a person from it, not even one that is suspended."""
    records = clinic.records
    suspend(HOLDER)
    receipt = clinic.vouch(PATIENT, Role.PATIENT, 2)
    assert list(receipt.events) == [
        records.VouchWithdrawn(member=HOLDER, person=PATIENT.address),
        records.PersonVouched(member=2, person=PATIENT.address, role=Role.PATIENT),
    ]
    assert tuple(records.personOf(PATIENT.address)) == (2, Role.PATIENT)


def test_nobody_is_vouched_for_without_its_word(clinic: Any) -> None:
    permit = clinic.acceptance(STRANGER, Role.PATIENT, HOLDER)
    with ape.reverts(clinic.records.WrongSigner, signer=clinic.account(HOLDER), expected=STRANGER.address):
        clinic.trial(permit)
    with ape.reverts(clinic.records.WrongSigner, signer=PATIENT.address, expected=STRANGER.address):
        clinic.trial(permit, PATIENT)


def test_an_acceptance_is_for_the_member_that_it_names(clinic: Any) -> None:
    permit = clinic.acceptance(STRANGER, Role.PATIENT, HOLDER)
    with ape.reverts(clinic.records.NotVoucher, caller=clinic.account(2), voucher=HOLDER):
        clinic.trial(permit, STRANGER, clinic.account(2))


@pytest.mark.parametrize("nonce", [0, 1, 3])
def test_an_acceptance_counts_once(clinic: Any, nonce: int) -> None:
    """Also after the vouch ended: who left is not taken back by its old word."""
    clinic.records.withdrawVouch(PATIENT.address, sender=clinic.account(HOLDER))
    permit = clinic.acceptance(PATIENT, Role.PATIENT, HOLDER, nonce=nonce)
    with ape.reverts(clinic.records.WrongAcceptance, nonce=nonce, expected=2):
        clinic.trial(permit, PATIENT)
    clinic.vouch(PATIENT, Role.PATIENT, HOLDER)


def test_an_acceptance_has_its_time(clinic: Any) -> None:
    in_time = clinic.acceptance(STRANGER, Role.PATIENT, HOLDER, deadline=clinic.now + 60)
    clinic.trial(in_time, STRANGER)
    clinic.pass_time(62)
    with ape.reverts(clinic.records.WordExpired, deadline=in_time.deadline):
        clinic.trial(in_time, STRANGER)


@pytest.mark.parametrize("person", [NOBODY, label_of(1), label_of(LAST_LABEL)])
def test_a_label_is_no_person(clinic: Any, person: str) -> None:
    with ape.reverts(clinic.records.InvalidPerson, person=person):
        clinic.trial(clinic.acceptance(person, Role.PATIENT, 1))


def test_only_active_members_vouch(clinic: Any, outsider: Any, suspend: Any) -> None:
    suspend(3)
    permit = clinic.acceptance(STRANGER, Role.PATIENT, 3)
    for caller in (outsider, clinic.account(3)):
        with ape.reverts(clinic.records.NotActiveMember, caller=caller):
            clinic.trial(permit, STRANGER, caller)


def test_a_member_is_known_by_its_present_operator(clinic: Any, hm: Any, outsider: Any) -> None:
    old = clinic.account(HOLDER)
    hm.announceRotation(outsider, b"\1" * 32, sender=old)
    hm.completeRotation(HOLDER, sender=outsider)
    with ape.reverts(clinic.records.NotActiveMember, caller=old):
        clinic.trial(clinic.acceptance(STRANGER, Role.PATIENT, HOLDER), STRANGER, old)
    permit = clinic.acceptance(PATIENT, Role.RESEARCHER, HOLDER)
    clinic.send(permit, PATIENT, outsider)  # whom the organisation vouched for, it keeps


# ---------------------------------------------------------------------- withdrawing


def test_the_voucher_withdraws(clinic: Any) -> None:
    records = clinic.records
    receipt = records.withdrawVouch(PATIENT.address, sender=clinic.account(HOLDER))
    assert list(receipt.events) == [records.VouchWithdrawn(member=HOLDER, person=PATIENT.address)]
    assert records.personOf(PATIENT.address).voucher == 0
    clinic.vouch(PATIENT, Role.PATIENT, 2)
    assert records.personOf(PATIENT.address).voucher == 2


def test_a_person_leaves_by_itself(clinic: Any, accounts: Any) -> None:
    clinic.vouch(accounts[15], Role.PHARMACIST, 2)
    clinic.records.withdrawVouch(accounts[15], sender=accounts[15])
    assert clinic.records.personOf(accounts[15]).voucher == 0


def test_anyone_active_withdraws_what_a_suspended_member_vouched_for(clinic: Any, suspend: Any) -> None:
    records = clinic.records
    suspend(HOLDER)
    with ape.reverts(records.NotActiveMember, caller=clinic.account(HOLDER)):
        records.withdrawVouch.call(PATIENT.address, sender=clinic.account(HOLDER))
    receipt = records.withdrawVouch(PATIENT.address, sender=clinic.account(5))
    assert list(receipt.events) == [records.VouchWithdrawn(member=HOLDER, person=PATIENT.address)]


def test_not_voucher(clinic: Any) -> None:
    with ape.reverts(clinic.records.NotVoucher, caller=clinic.account(HOLDER), voucher=2):
        clinic.records.withdrawVouch.call(PHYSICIAN.address, sender=clinic.account(HOLDER))


def test_an_outsider_withdraws_nothing(clinic: Any, outsider: Any) -> None:
    with ape.reverts(clinic.records.NotActiveMember, caller=outsider):
        clinic.records.withdrawVouch.call(PHYSICIAN.address, sender=outsider)


def test_not_vouched(clinic: Any) -> None:
    with ape.reverts(clinic.records.NotVouched, person=STRANGER.address):
        clinic.records.withdrawVouch.call(STRANGER.address, sender=clinic.account(1))
