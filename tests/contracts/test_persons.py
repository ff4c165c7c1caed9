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
    receipt = records.vouch(STRANGER.address, role, sender=clinic.account(3))
    assert list(receipt.events) == [records.PersonVouched(member=3, person=STRANGER.address, role=role)]
    assert tuple(records.personOf(STRANGER.address)) == (3, role)


def test_its_member_gives_a_person_another_role(clinic: Any) -> None:
    clinic.records.vouch(PATIENT.address, Role.RESEARCHER, sender=clinic.account(HOLDER))
    assert tuple(clinic.records.personOf(PATIENT.address)) == (HOLDER, Role.RESEARCHER)


def test_nobody_vouches_for_a_stranger(records: Any) -> None:
    assert records.personOf(STRANGER.address).voucher == 0


def test_already_vouched(clinic: Any) -> None:
    with ape.reverts(clinic.records.AlreadyVouched, person=PATIENT.address, voucher=HOLDER):
        clinic.records.vouch.call(PATIENT.address, Role.PATIENT, sender=clinic.account(2))


def test_already_vouched_even_by_a_suspended_member(clinic: Any, suspend: Any) -> None:
    suspend(HOLDER)
    with ape.reverts(clinic.records.AlreadyVouched, person=PATIENT.address, voucher=HOLDER):
        clinic.records.vouch.call(PATIENT.address, Role.PATIENT, sender=clinic.account(2))


@pytest.mark.parametrize("person", [NOBODY, label_of(1), label_of(LAST_LABEL)])
def test_a_label_is_no_person(clinic: Any, person: str) -> None:
    with ape.reverts(clinic.records.InvalidPerson, person=person):
        clinic.records.vouch.call(person, Role.PATIENT, sender=clinic.account(1))


def test_only_active_members_vouch(clinic: Any, outsider: Any, suspend: Any) -> None:
    suspend(3)
    for caller in (outsider, clinic.account(3)):
        with ape.reverts(clinic.records.NotActiveMember, caller=caller):
            clinic.records.vouch.call(STRANGER.address, Role.PATIENT, sender=caller)


def test_a_member_is_known_by_its_present_operator(clinic: Any, hm: Any, outsider: Any) -> None:
    old = clinic.account(HOLDER)
    hm.announceRotation(outsider, b"\1" * 32, sender=old)
    hm.completeRotation(HOLDER, sender=outsider)
    with ape.reverts(clinic.records.NotActiveMember, caller=old):
        clinic.records.vouch.call(STRANGER.address, Role.PATIENT, sender=old)
    clinic.records.vouch(
        PATIENT.address, Role.RESEARCHER, sender=outsider
    )  # whom the organisation vouched for, it keeps


# ---------------------------------------------------------------------- withdrawing


def test_the_voucher_withdraws(clinic: Any) -> None:
    records = clinic.records
    receipt = records.withdrawVouch(PATIENT.address, sender=clinic.account(HOLDER))
    assert list(receipt.events) == [records.VouchWithdrawn(member=HOLDER, person=PATIENT.address)]
    assert records.personOf(PATIENT.address).voucher == 0
    records.vouch(PATIENT.address, Role.PATIENT, sender=clinic.account(2))  # now another member may
    assert records.personOf(PATIENT.address).voucher == 2


def test_a_person_leaves_by_itself(clinic: Any, accounts: Any) -> None:
    clinic.records.vouch(accounts[15], Role.PHARMACIST, sender=clinic.account(2))
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
