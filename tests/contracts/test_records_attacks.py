"""What people try with other people's signatures, old ones, and rights that they have no longer."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import ape
import pytest
from eth_account import Account
from eth_account.messages import encode_typed_data
from eth_tester.exceptions import TransactionFailed
from eth_utils import keccak

from hmchain.permits import (
    NO_SCOPE,
    NOBODY,
    SENDER,
    Consent,
    Grant,
    Permit,
    Purpose,
    Role,
    Signature,
    label_of,
)

from .clinic import (
    DAY,
    ENVELOPE,
    FOREVER,
    FUNCTIONS,
    HOLDER,
    HOLDER_LABEL,
    INSTITUTION,
    INSTITUTION_LABEL,
    OTHER_PATIENT,
    OTHER_SCOPE,
    PATIENT,
    PHARMACIST,
    PHYSICIAN,
    RESEARCHER,
    SCOPE,
    Clinic,
    use_of,
)

RESEARCH, TREATMENT = Purpose.CLINICAL_RESEARCH, Purpose.TREATMENT
CURVE_ORDER = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141
ELSEWHERE = "0x" + "77" * 20
FOREIGN: list[dict[str, Any]] = [{"chain_id": 1}, {"contract": ELSEWHERE}]
DOMAINS = pytest.mark.parametrize("domain", FOREIGN, ids=["chain", "contract"])


def signable(clinic: Clinic, permit: Permit) -> Any:
    """What is signed, as eth_account has it."""
    return encode_typed_data(full_message=permit.typed(clinic.chain_id, str(clinic.records.address)))


def recovered(clinic: Clinic, permit: Permit, signature: Signature) -> str:
    """Whose signature this would be, were it one of this very permit."""
    r, vs = (int.from_bytes(part) for part in signature)
    return str(Account.recover_message(signable(clinic, permit), vrs=(27 + (vs >> 255), r, vs % 2**255)))


def forged(clinic: Clinic, permit: Permit, expected: str, signature: Signature) -> None:
    """The contract takes it for the signature of someone else."""
    signer = recovered(clinic, permit, signature)
    assert signer != expected
    with ape.reverts(clinic.records.WrongSigner, signer=signer, expected=expected):
        clinic.trial(permit, signature=signature)


@pytest.fixture
def granted(clinic: Clinic) -> Any:
    """The patient's own grant to the physician."""
    grant = clinic.own_grant()
    clinic.send(grant, PATIENT)
    return grant


@pytest.fixture
def shared(clinic: Clinic) -> Any:
    """The holder's grant to an institution, which two of its staff may use."""
    grant = clinic.hospital_grant(reader=INSTITUTION_LABEL, consent_of=NOBODY, consent_scope=NO_SCOPE)
    clinic.send(grant)
    for staff in (PHYSICIAN, RESEARCHER):
        account = clinic.account(INSTITUTION)
        clinic.records.setDelegation(staff.address, RESEARCH, clinic.now + DAY, sender=account)
    return grant


# ---------------------------------------------------------------------- signatures of others, or of none


def test_nobody_consents_or_grants_for_another(clinic: Clinic) -> None:
    for permit in (clinic.consent(RESEARCH), clinic.own_grant()):
        forged(clinic, permit, PATIENT.address, clinic.sign(permit, OTHER_PATIENT))


def test_nor_without_a_signature(clinic: Clinic, outsider: Any) -> None:
    for permit in (clinic.consent(RESEARCH), clinic.own_grant()):
        with ape.reverts(clinic.records.WrongSigner, signer=outsider, expected=PATIENT.address):
            clinic.trial(permit, sender=outsider)


def test_whoever_relays_without_a_signature_asks_for_himself(clinic: Clinic, granted: Any, outsider: Any) -> None:
    for permit in (use_of(granted), clinic.emergency()):
        with ape.reverts(clinic.records.NotVouched, person=outsider):
            clinic.trial(permit, sender=outsider)


def test_a_grant_to_another_is_none(clinic: Clinic, granted: Any) -> None:
    access = use_of(granted)
    with ape.reverts(clinic.records.UnknownGrant, key=access.key(PHARMACIST.address)):
        clinic.trial(access, PHARMACIST)


NONSENSE = [
    (b"\0" * 32, b"\1" * 32),  # r is zero
    (b"\1" * 32, b"\0" * 32),  # s is zero
    (b"\xff" * 32, b"\1" * 32),  # r is beyond the curve
    (CURVE_ORDER.to_bytes(32), b"\x81" * 32),
]


@pytest.mark.parametrize("signature", NONSENSE, ids=["r=0", "s=0", "r too large", "r=n"])
def test_what_is_no_signature_is_nobodys(clinic: Clinic, granted: Any, signature: Signature) -> None:
    for permit in (clinic.consent(RESEARCH), clinic.own_grant(nonce=2), use_of(granted), clinic.emergency()):
        message = signable(clinic, permit)
        digest = keccak(b"\x19" + message.version + message.header + message.body)
        with ape.reverts(clinic.records.InvalidSignature, digest=digest):
            clinic.trial(permit, signature=signature)


def test_a_signature_of_the_zero_address_opens_nothing(clinic: Clinic) -> None:
    grant = clinic.own_grant(granter=NOBODY)  # which is label 0, and no member's
    for signature in (SENDER, clinic.sign(grant, PATIENT)):
        with ape.reverts(clinic.records.WrongSigner, signer=clinic.account(HOLDER), expected=NOBODY):
            clinic.trial(grant, signature=signature)


def test_a_signature_has_no_second_form(clinic: Clinic) -> None:
    consent = clinic.consent(RESEARCH)
    r, vs = clinic.sign(consent, PATIENT)
    parity, s = divmod(int.from_bytes(vs), 2**255)
    mirrored = CURVE_ORDER - s
    for other in ((1 - parity) << 255 | s, mirrored, (1 - parity) << 255 | mirrored % 2**255):
        forged(clinic, consent, PATIENT.address, (r, other.to_bytes(32)))
    clinic.send(consent, PATIENT)


@DOMAINS
def test_a_signature_for_another_chain_or_contract(clinic: Clinic, domain: dict[str, Any]) -> None:
    for permit in (clinic.consent(RESEARCH), clinic.own_grant()):
        forged(clinic, permit, PATIENT.address, clinic.sign(permit, PATIENT, **domain))


@DOMAINS
def test_a_request_for_another_chain_or_contract(clinic: Clinic, granted: Any, domain: dict[str, Any]) -> None:
    for permit in (use_of(granted), clinic.emergency()):
        signature = clinic.sign(permit, PHYSICIAN, **domain)
        with ape.reverts(clinic.records.NotVouched, person=recovered(clinic, permit, signature)):
            clinic.trial(permit, signature=signature)


def test_a_twin_contract_takes_nothing_from_this_one(clinic: Clinic, project: Any, deployer: Any, hm: Any) -> None:
    twin = Clinic(deployer.deploy(project.Records, hm), clinic.members, clinic.chain)
    twin.vouch(PATIENT, Role.PATIENT, HOLDER)
    consent = clinic.consent(RESEARCH)
    forged(twin, consent, PATIENT.address, clinic.sign(consent, PATIENT))
    twin.send(consent, PATIENT)


@pytest.mark.parametrize(
    "change",
    [
        {"granter": OTHER_PATIENT.address},
        {"scope": b"\1" * 32},
        {"purpose": RESEARCH},
        {"reader": RESEARCHER.address},
        {"expiry": 2**40 - 1},
    ],
    ids=str,
)
def test_nothing_of_a_grant_changes_under_way(clinic: Clinic, change: dict[str, Any]) -> None:
    grant = clinic.own_grant()
    changed = replace(grant, **change)
    forged(clinic, changed, changed.granter, clinic.sign(grant, PATIENT))


@pytest.mark.parametrize("change", [{"holder": 3}, {"request": b"\1" * 32}, {"use": 2}], ids=str)
def test_nothing_of_a_request_changes_under_way(clinic: Clinic, granted: Any, change: dict[str, Any]) -> None:
    access = use_of(granted)
    changed = replace(access, **change)
    signature = clinic.sign(access, PHYSICIAN)
    with ape.reverts(clinic.records.NotVouched, person=recovered(clinic, changed, signature)):
        clinic.trial(changed, signature=signature)


def test_words_with_bits_too_many_are_refused(clinic: Clinic, outsider: Any) -> None:
    clinic.vouch(outsider, Role.PHYSICIAN, HOLDER)
    party = str(outsider)
    grant = clinic.own_grant(granter=party, reader=party)
    clinic.send(grant, sender=outsider)
    consent = Consent(party, SCOPE, frozenset({RESEARCH}), 1, FOREVER)
    for permit in (consent, replace(grant, scope=OTHER_SCOPE), use_of(grant), clinic.emergency()):
        function = getattr(clinic.records, FUNCTIONS[type(permit)])
        calldata = bytearray(function.encode_input(permit.abi(), *SENDER))
        call = {"from": party, "to": str(clinic.records.address)}
        web3 = clinic.chain.provider.web3
        web3.eth.call(call | {"data": bytes(calldata)})
        for word, (_, kind) in enumerate(permit.FIELDS):
            if kind != "bytes32":
                longer = bytearray(calldata)
                longer[4 + 32 * word] = 1
                with pytest.raises(TransactionFailed):  # by the decoder, or as a grant that nobody made
                    web3.eth.call(call | {"data": bytes(longer)})


# ---------------------------------------------------------------------- signatures a second time, or late


def test_a_stolen_signature_is_relayed_once(clinic: Clinic, outsider: Any) -> None:
    consent, grant = clinic.consent(RESEARCH), clinic.own_grant()
    for permit in (consent, grant):
        clinic.send(permit, PATIENT, outsider)
        with ape.reverts(clinic.records.WrongNonce, nonce=1, expected=2):
            clinic.trial(permit, PATIENT, outsider)
    clinic.send(use_of(grant), PHYSICIAN, outsider)
    with ape.reverts(clinic.records.WrongUse, use=1, expected=2):
        clinic.trial(use_of(grant), PHYSICIAN, outsider)
    clinic.send(clinic.emergency(), PHYSICIAN, outsider)
    with ape.reverts(clinic.records.WrongEmergencyNonce, nonce=1, expected=2):
        clinic.trial(clinic.emergency(), PHYSICIAN, outsider)


def test_a_withdrawn_consent_is_not_replayed(clinic: Clinic) -> None:
    given = clinic.consent(RESEARCH)
    clinic.send(given, PATIENT)
    clinic.send(clinic.consent(nonce=2), PATIENT)
    with ape.reverts(clinic.records.WrongNonce, nonce=1, expected=3):
        clinic.trial(given, PATIENT)


def test_a_revoked_grant_is_not_replayed(clinic: Clinic, granted: Any) -> None:
    clinic.send(clinic.own_grant(expiry=0, nonce=2), PATIENT)
    with ape.reverts(clinic.records.WrongNonce, nonce=1, expected=3):
        clinic.trial(granted, PATIENT)


def test_a_signature_that_was_held_back_is_overtaken(clinic: Clinic, granted: Any) -> None:
    held_back = clinic.own_grant(expiry=clinic.now + 99 * DAY, nonce=2)
    clinic.send(clinic.own_grant(expiry=0, nonce=2), PATIENT)
    with ape.reverts(clinic.records.WrongNonce, nonce=2, expected=3):
        clinic.trial(held_back, PATIENT)


def test_a_person_can_spoil_a_signature_that_nobody_has_relayed_yet(clinic: Clinic) -> None:
    clinic.send(clinic.own_grant(expiry=0), PATIENT)
    with ape.reverts(clinic.records.WrongNonce, nonce=1, expected=2):
        clinic.trial(clinic.own_grant(), PATIENT)


def test_of_two_who_use_a_grant_at_once_one_is_logged(clinic: Clinic, shared: Any) -> None:
    clinic.send(use_of(shared), PHYSICIAN)
    with ape.reverts(clinic.records.WrongUse, use=1, expected=2):
        clinic.trial(use_of(shared), RESEARCHER)
    clinic.send(use_of(shared, 2), RESEARCHER)


# ---------------------------------------------------------------------- rights of the wrong sort


def test_a_grant_serves_its_purpose_only(clinic: Clinic, granted: Any) -> None:
    for purpose in Purpose:
        if purpose != granted.purpose:
            access = use_of(granted, purpose=purpose)
            with ape.reverts(clinic.records.UnknownGrant, key=access.key(PHYSICIAN.address)):
                clinic.trial(access, PHYSICIAN)


def test_a_member_does_not_grant_what_another_keeps(clinic: Clinic) -> None:
    clinic.send(clinic.consent(RESEARCH), PATIENT)
    grant = clinic.hospital_grant(granter=label_of(3))
    clinic.send(grant, sender=clinic.account(3))
    with ape.reverts(clinic.records.WrongHolder, holder=HOLDER, granter=label_of(3)):
        clinic.trial(use_of(grant), RESEARCHER)


def test_leaving_the_consent_out_is_another_grant(clinic: Clinic) -> None:
    grant = clinic.hospital_grant()
    clinic.send(grant)
    access = use_of(grant, consent_of=NOBODY, consent_scope=NO_SCOPE)
    with ape.reverts(clinic.records.UnknownGrant, key=access.key(RESEARCHER.address)):
        clinic.trial(access, RESEARCHER)


def test_another_persons_consent_does_not_help(clinic: Clinic) -> None:
    clinic.send(Consent(OTHER_PATIENT.address, SCOPE, frozenset({RESEARCH}), 1, FOREVER), OTHER_PATIENT)
    grant = clinic.hospital_grant()
    clinic.send(grant)
    with ape.reverts(clinic.records.NoConsent, person=PATIENT.address, scope=SCOPE, purpose=RESEARCH):
        clinic.trial(use_of(grant), RESEARCHER)
    access = use_of(grant, consent_of=OTHER_PATIENT.address)
    with ape.reverts(clinic.records.UnknownGrant, key=access.key(RESEARCHER.address)):
        clinic.trial(access, RESEARCHER)


def test_consent_alone_opens_nothing(clinic: Clinic) -> None:
    clinic.send(clinic.consent(RESEARCH), PATIENT)
    access = use_of(clinic.hospital_grant())
    with ape.reverts(clinic.records.UnknownGrant, key=access.key(RESEARCHER.address)):
        clinic.trial(access, RESEARCHER)


def test_a_label_is_not_signed_for(clinic: Clinic) -> None:
    grant = Grant(HOLDER_LABEL, RESEARCHER.address, SCOPE, RESEARCH, clinic.now + DAY, 1)
    with ape.reverts(clinic.records.WrongSigner, signer=clinic.account(3), expected=HOLDER_LABEL):
        clinic.trial(grant, PATIENT, clinic.account(3))


def test_who_leaves_its_institution_still_needs_a_voucher(clinic: Clinic, shared: Any) -> None:
    clinic.records.withdrawVouch(PHYSICIAN.address, sender=clinic.account(INSTITUTION))
    with ape.reverts(clinic.records.NotVouched, person=PHYSICIAN.address):
        clinic.trial(use_of(shared), PHYSICIAN)


def test_an_emergency_is_no_way_around_the_review(clinic: Clinic) -> None:
    clinic.send(clinic.emergency(), PHYSICIAN)
    since = clinic.records.docketOf(PHYSICIAN.address).since
    clinic.records.withdrawVouch(PHYSICIAN.address, sender=clinic.account(INSTITUTION))
    clinic.vouch(PHYSICIAN, Role.PHARMACIST, 3)  # another employer
    clinic.pass_time(4 * DAY)
    with ape.reverts(clinic.records.ReviewOverdue, reader=PHYSICIAN.address, number=1, since=since):
        clinic.trial(clinic.emergency(2, holder=4), PHYSICIAN)


# ---------------------------------------------------------------------- members that are no longer active


def test_staff_of_a_suspended_institution_uses_nothing(clinic: Clinic, shared: Any, suspend: Any) -> None:
    suspend(INSTITUTION)
    with ape.reverts(clinic.records.NoDelegation, member=INSTITUTION, staff=PHYSICIAN.address, purpose=RESEARCH):
        clinic.trial(use_of(shared), PHYSICIAN)


def test_nor_where_its_operator_changed_before(
    clinic: Clinic, shared: Any, suspend: Any, hm: Any, outsider: Any
) -> None:
    hm.announceRotation(outsider, b"\1" * 32, sender=clinic.account(INSTITUTION))
    hm.completeRotation(INSTITUTION, sender=outsider)
    suspend(INSTITUTION)
    with ape.reverts(clinic.records.NoDelegation, member=INSTITUTION, staff=PHYSICIAN.address, purpose=RESEARCH):
        clinic.trial(use_of(shared), PHYSICIAN)


def test_nor_where_another_member_goes_on_under_its_old_account(
    clinic: Clinic, shared: Any, suspend: Any, hm: Any, outsider: Any
) -> None:
    """The account that delegated acts for an active member again, only not for the one that delegated."""
    delegated = clinic.account(INSTITUTION)
    for member, before, after in ((INSTITUTION, delegated, outsider), (5, clinic.account(5), delegated)):
        hm.announceRotation(after, b"\1" * 32, sender=before)
        hm.completeRotation(member, sender=after)
    clinic.trial(use_of(shared), PHYSICIAN)
    suspend(INSTITUTION)
    with ape.reverts(clinic.records.NoDelegation, member=INSTITUTION, staff=PHYSICIAN.address, purpose=RESEARCH):
        clinic.trial(use_of(shared), PHYSICIAN)


def test_what_a_suspended_holder_granted_is_logged_but_not_answered(clinic: Clinic, shared: Any, suspend: Any) -> None:
    suspend(HOLDER)
    clinic.send(use_of(shared), PHYSICIAN, clinic.account(3))
    with ape.reverts(clinic.records.NotActiveMember, caller=clinic.account(HOLDER)):
        clinic.records.releaseKeys.call(1, 1, ENVELOPE, sender=clinic.account(HOLDER))


def test_persons_of_a_suspended_member_read_until_someone_withdraws_its_vouch(
    clinic: Clinic, granted: Any, suspend: Any
) -> None:
    suspend(INSTITUTION)
    clinic.send(use_of(granted), PHYSICIAN)  # the patient's will; see the note in IPersons
    clinic.records.withdrawVouch(PHYSICIAN.address, sender=clinic.account(5))
    with ape.reverts(clinic.records.NotVouched, person=PHYSICIAN.address):
        clinic.trial(use_of(granted, 2), PHYSICIAN)
