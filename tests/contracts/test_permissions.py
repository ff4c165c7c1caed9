"""Who may read what, what for and until when; and the log of who did."""

from __future__ import annotations

import json
from typing import Any

import ape
import pytest
from eth_account import Account
from eth_account.messages import encode_typed_data

from hmchain.permits import NO_SCOPE, NOBODY, Consent, Purpose, Role, bits_of, label_of, purposes_of

from .clinic import (
    DAY,
    ENVELOPE,
    FOREVER,
    HOLDER,
    HOLDER_LABEL,
    INSTITUTION,
    INSTITUTION_LABEL,
    OTHER_PATIENT,
    OTHER_SCOPE,
    PATIENT,
    PHYSICIAN,
    REQUEST,
    RESEARCHER,
    SCOPE,
    STRANGER,
    Clinic,
    use_of,
)

RESEARCH, TREATMENT = Purpose.CLINICAL_RESEARCH, Purpose.TREATMENT
GIVEABLE = [purpose for purpose in Purpose if purpose != Purpose.EMERGENCY]


@pytest.fixture
def granted(clinic: Clinic) -> Any:
    """The patient's own grant to the physician."""
    grant = clinic.own_grant()
    clinic.send(grant, PATIENT)
    return grant


@pytest.fixture
def consented(clinic: Clinic) -> Any:
    """The holder's grant to the researcher, and the patient's consent to it."""
    clinic.send(clinic.consent(RESEARCH), PATIENT)
    grant = clinic.hospital_grant()
    clinic.send(grant)
    return grant


@pytest.fixture
def shared(clinic: Clinic) -> Any:
    """The holder's grant to another institution, whose physician is to use it."""
    clinic.send(clinic.consent(TREATMENT), PATIENT)
    grant = clinic.hospital_grant(reader=INSTITUTION_LABEL, purpose=TREATMENT)
    clinic.send(grant)
    clinic.records.setDelegation(PHYSICIAN.address, TREATMENT, clinic.now + DAY, sender=clinic.account(INSTITUTION))
    return grant


# ---------------------------------------------------------------------- signatures


def test_what_a_wallet_is_asked_to_sign_is_json(clinic: Clinic) -> None:
    for permit in (clinic.consent(RESEARCH), clinic.own_grant(), use_of(clinic.own_grant()), clinic.emergency()):
        typed = json.loads(json.dumps(permit.typed(clinic.chain_id, str(clinic.records.address))))
        signed = PATIENT.sign_message(encode_typed_data(full_message=typed))
        r, vs = clinic.sign(permit, PATIENT)
        assert (signed.r, signed.s) == (int.from_bytes(r), int.from_bytes(vs) % 2**255)
        assert Account.recover_message(encode_typed_data(full_message=typed), signature=signed.signature) == (
            PATIENT.address
        )


def test_either_parity_of_a_signature_is_recovered(clinic: Clinic) -> None:
    parities = set()
    for nonce in range(1, 9):  # that all eight are equal happens once in 128 sets of keys, and these keys are fixed
        consent = clinic.consent(RESEARCH, nonce=nonce)
        parities.add(clinic.sign(consent, PATIENT)[1][0] >> 7)
        clinic.send(consent, PATIENT)
    assert parities == {0, 1}


def test_who_sends_it_himself_need_not_sign(clinic: Clinic, accounts: Any) -> None:
    someone = accounts[15]
    consent = Consent(str(someone), SCOPE, frozenset({RESEARCH}), 1, FOREVER)
    clinic.vouch(someone, Role.PATIENT, 3)
    clinic.send(consent, sender=someone)
    assert clinic.records.consentOf(someone, SCOPE).purposes == bits_of({RESEARCH})


# ---------------------------------------------------------------------- consent


def test_a_person_consents(clinic: Clinic, outsider: Any) -> None:
    records = clinic.records
    receipt = clinic.send(clinic.consent(RESEARCH, Purpose.GENOME), PATIENT, outsider)
    bits = bits_of({RESEARCH, Purpose.GENOME})
    assert list(receipt.events) == [
        records.ConsentChanged(person=PATIENT.address, scope=SCOPE, purposes=bits, nonce=1),
    ]
    assert tuple(records.consentOf(PATIENT.address, SCOPE)) == (bits, 1)
    assert tuple(records.consentOf(PATIENT.address, OTHER_SCOPE)) == (0, 0)
    assert tuple(records.consentOf(OTHER_PATIENT.address, SCOPE)) == (0, 0)


def test_a_later_word_replaces_the_earlier_for_its_scope_only(clinic: Clinic) -> None:
    clinic.send(clinic.consent(*GIVEABLE), PATIENT)
    clinic.send(clinic.consent(RESEARCH, scope=OTHER_SCOPE), PATIENT)
    clinic.send(clinic.consent(nonce=2), PATIENT)
    assert tuple(clinic.records.consentOf(PATIENT.address, SCOPE)) == (0, 2)
    assert tuple(clinic.records.consentOf(PATIENT.address, OTHER_SCOPE)) == (bits_of({RESEARCH}), 1)


def test_bits_and_purposes() -> None:
    assert purposes_of(bits_of(GIVEABLE)) == set(GIVEABLE)
    assert purposes_of(0) == frozenset()
    assert bits_of(GIVEABLE) == 0xFF


@pytest.mark.parametrize("bits", [1 << Purpose.EMERGENCY, 0xFFFF, 1 << 15])
def test_nobody_consents_to_an_emergency(clinic: Clinic, accounts: Any, bits: int) -> None:
    with ape.reverts(clinic.records.InvalidPurposes, purposes=bits):
        clinic.records.setConsent.call(
            (str(accounts[0]), SCOPE, bits, 1, FOREVER), NO_SCOPE, NO_SCOPE, sender=accounts[0]
        )


@pytest.mark.parametrize("nonce", [0, 1, 3, 2**40 - 1])
def test_wrong_nonce_of_a_consent(clinic: Clinic, nonce: int) -> None:
    clinic.send(clinic.consent(RESEARCH), PATIENT)
    with ape.reverts(clinic.records.WrongNonce, nonce=nonce, expected=2):
        clinic.trial(clinic.consent(RESEARCH, nonce=nonce), PATIENT)


@pytest.mark.parametrize("purposes", [{RESEARCH}, set()])
def test_who_is_not_vouched_for_cannot_consent(clinic: Clinic, purposes: set[Purpose]) -> None:
    with ape.reverts(clinic.records.NotVouched, person=STRANGER.address):
        clinic.trial(Consent(STRANGER.address, SCOPE, frozenset(purposes), 1, FOREVER), STRANGER)


def test_a_consent_has_its_time_and_taking_it_back_has_none(clinic: Clinic) -> None:
    in_time = clinic.consent(RESEARCH, deadline=clinic.now + 60)
    clinic.trial(in_time, PATIENT)
    clinic.pass_time(62)
    with ape.reverts(clinic.records.WordExpired, deadline=in_time.deadline):
        clinic.trial(in_time, PATIENT)
    clinic.send(clinic.consent(RESEARCH), PATIENT)
    clinic.send(clinic.consent(nonce=2, deadline=in_time.deadline), PATIENT)
    assert tuple(clinic.records.consentOf(PATIENT.address, SCOPE)) == (0, 2)


def test_but_take_back_what_was_given(clinic: Clinic) -> None:
    clinic.send(clinic.consent(RESEARCH), PATIENT)
    clinic.records.withdrawVouch(PATIENT.address, sender=clinic.account(HOLDER))
    with ape.reverts(clinic.records.NotVouched, person=PATIENT.address):
        clinic.trial(clinic.consent(RESEARCH, nonce=2), PATIENT)
    clinic.send(clinic.consent(nonce=2), PATIENT)
    assert tuple(clinic.records.consentOf(PATIENT.address, SCOPE)) == (0, 2)


# ---------------------------------------------------------------------- grants


def test_a_person_grants(clinic: Clinic, outsider: Any) -> None:
    grant = clinic.own_grant()
    receipt = clinic.send(grant, PATIENT, outsider)
    assert list(receipt.events) == [
        clinic.records.GrantChanged(
            number=1,
            granter=PATIENT.address,
            reader=PHYSICIAN.address,
            scope=SCOPE,
            purpose=TREATMENT,
            consentOf=NOBODY,
            consentScope=NO_SCOPE,
            expiry=grant.expiry,
            nonce=1,
        )
    ]
    assert clinic.state(grant) == (1, grant.expiry, 0, 1)


def test_an_organisation_grants(clinic: Clinic) -> None:
    grant = clinic.hospital_grant()
    receipt = clinic.send(grant)
    assert list(receipt.events) == [
        clinic.records.GrantChanged(
            number=1,
            granter=HOLDER_LABEL,
            reader=RESEARCHER.address,
            scope=SCOPE,
            purpose=RESEARCH,
            consentOf=PATIENT.address,
            consentScope=SCOPE,
            expiry=grant.expiry,
            nonce=1,
        )
    ]
    assert clinic.state(grant) == (1, grant.expiry, 0, 1)


def test_grants_are_numbered_without_gaps_and_keep_their_number(clinic: Clinic) -> None:
    first, second = clinic.own_grant(), clinic.hospital_grant(consent_of=NOBODY, consent_scope=NO_SCOPE)
    clinic.send(first, PATIENT)
    clinic.send(second)
    clinic.send(clinic.own_grant(expiry=0, nonce=2), PATIENT)
    clinic.send(clinic.own_grant(scope=OTHER_SCOPE), PATIENT)
    clinic.send(clinic.own_grant(expiry=first.expiry, nonce=3), PATIENT)
    assert clinic.records.grantCount() == 3
    assert clinic.state(first) == (1, first.expiry, 0, 3)
    assert clinic.state(second)[0] == 2
    assert clinic.state(clinic.own_grant(scope=OTHER_SCOPE))[0] == 3


OTHER_TERMS: list[dict[str, Any]] = [
    {"granter": label_of(3)},
    {"reader": PHYSICIAN.address},
    {"scope": OTHER_SCOPE},
    {"purpose": TREATMENT},
    {"consent_of": OTHER_PATIENT.address},
    {"consent_scope": OTHER_SCOPE},
]


@pytest.mark.parametrize("change", OTHER_TERMS, ids=[str(*change) for change in OTHER_TERMS])
def test_other_terms_are_another_grant(clinic: Clinic, change: dict[str, Any]) -> None:
    grant, other = clinic.hospital_grant(), clinic.hospital_grant(**change)
    clinic.send(grant)
    assert clinic.state(other) == (0, 0, 0, 0)
    assert grant.key() != other.key()


def test_nobody_grants_for_emergencies(clinic: Clinic) -> None:
    with ape.reverts(clinic.records.InvalidPurposes, purposes=1 << Purpose.EMERGENCY):
        clinic.trial(clinic.own_grant(purpose=Purpose.EMERGENCY), PATIENT)


@pytest.mark.parametrize(
    "terms",
    [
        {"reader": NOBODY},
        {"consent_scope": SCOPE},
        {"consent_of": PATIENT.address},
        {"consent_of": OTHER_PATIENT.address, "consent_scope": SCOPE},
    ],
)
def test_invalid_terms(clinic: Clinic, terms: dict[str, Any]) -> None:
    with ape.reverts(clinic.records.InvalidTerms):
        clinic.trial(clinic.own_grant(**terms), PATIENT)


def test_an_organisation_names_whose_consent(clinic: Clinic) -> None:
    with ape.reverts(clinic.records.InvalidTerms):
        clinic.trial(clinic.hospital_grant(consent_of=NOBODY))


@pytest.mark.parametrize("nonce", [0, 1, 3])
def test_wrong_nonce_of_a_grant(clinic: Clinic, granted: Any, nonce: int) -> None:
    with ape.reverts(clinic.records.WrongNonce, nonce=nonce, expected=2):
        clinic.trial(clinic.own_grant(nonce=nonce), PATIENT)


@pytest.mark.parametrize("lifetime", [DAY, 0])
def test_who_is_not_vouched_for_cannot_grant(clinic: Clinic, lifetime: int) -> None:
    grant = clinic.own_grant(granter=STRANGER.address, expiry=lifetime and clinic.now + lifetime)
    with ape.reverts(clinic.records.NotVouched, person=STRANGER.address):
        clinic.trial(grant, STRANGER)


def test_but_revoke_what_was_granted(clinic: Clinic, granted: Any) -> None:
    clinic.records.withdrawVouch(PATIENT.address, sender=clinic.account(HOLDER))
    with ape.reverts(clinic.records.NotVouched, person=PATIENT.address):
        clinic.trial(clinic.own_grant(nonce=2), PATIENT)
    clinic.send(clinic.own_grant(expiry=0, nonce=2), PATIENT)
    assert clinic.state(granted) == (1, 0, 0, 2)


def test_only_its_operator_grants_for_an_organisation(clinic: Clinic, outsider: Any, suspend: Any) -> None:
    with ape.reverts(clinic.records.WrongSigner, signer=clinic.account(2), expected=HOLDER_LABEL):
        clinic.trial(clinic.hospital_grant(), sender=clinic.account(2))
    suspend(HOLDER)
    for caller in (outsider, clinic.account(HOLDER)):
        with ape.reverts(clinic.records.NotActiveMember, caller=caller):
            clinic.trial(clinic.hospital_grant(), sender=caller)


# ---------------------------------------------------------------------- delegation


def test_an_organisation_delegates(clinic: Clinic) -> None:
    records, expiry = clinic.records, clinic.now + DAY
    receipt = records.setDelegation(PHYSICIAN.address, TREATMENT, expiry, sender=clinic.account(INSTITUTION))
    assert list(receipt.events) == [
        records.DelegationChanged(member=INSTITUTION, staff=PHYSICIAN.address, purpose=TREATMENT, expiry=expiry)
    ]
    assert records.delegationOf(INSTITUTION, PHYSICIAN.address, TREATMENT) == expiry
    assert records.delegationOf(HOLDER, PHYSICIAN.address, TREATMENT) == 0
    assert records.delegationOf(INSTITUTION, PHYSICIAN.address, RESEARCH) == 0


def test_only_active_members_delegate(clinic: Clinic, outsider: Any, suspend: Any) -> None:
    suspend(3)
    for caller in (outsider, clinic.account(3)):
        with ape.reverts(clinic.records.NotActiveMember, caller=caller):
            clinic.records.setDelegation.call(PHYSICIAN.address, TREATMENT, clinic.now + DAY, sender=caller)


# ---------------------------------------------------------------------- access


def test_a_reader_uses_a_persons_grant(clinic: Clinic, granted: Any, outsider: Any) -> None:
    receipt = clinic.send(use_of(granted), PHYSICIAN, outsider)
    assert list(receipt.events) == [
        clinic.records.Accessed(
            number=1,
            holder=HOLDER,
            reader=PHYSICIAN.address,
            granter=PATIENT.address,
            purpose=TREATMENT,
            request=REQUEST,
            use=1,
        )
    ]
    assert clinic.state(granted) == (1, granted.expiry, 1, 1)
    assert use_of(granted).key(PHYSICIAN.address) == granted.key()


def test_uses_are_numbered_without_gaps_also_after_the_grant_changed(clinic: Clinic, granted: Any) -> None:
    clinic.send(use_of(granted), PHYSICIAN)
    clinic.send(use_of(granted, 2, holder=3), PHYSICIAN)  # a person's grant reaches whoever keeps what it covers
    clinic.send(clinic.own_grant(expiry=0, nonce=2), PATIENT)
    clinic.send(clinic.own_grant(nonce=3), PATIENT)
    for use in (1, 2, 4):
        with ape.reverts(clinic.records.WrongUse, use=use, expected=3):
            clinic.trial(use_of(granted, use), PHYSICIAN)
    clinic.send(use_of(granted, 3), PHYSICIAN)
    assert clinic.state(granted)[2:] == (3, 3)


def test_a_reader_uses_an_organisations_grant_under_consent(clinic: Clinic, consented: Any) -> None:
    (event,) = clinic.send(use_of(consented), RESEARCHER).events
    assert (event.number, event.reader, event.granter) == (1, RESEARCHER.address, HOLDER_LABEL)


def test_records_about_nobody_need_no_consent(clinic: Clinic) -> None:
    grant = clinic.hospital_grant(consent_of=NOBODY, consent_scope=NO_SCOPE)
    clinic.send(grant)
    clinic.send(use_of(grant), RESEARCHER)


def test_staff_uses_what_its_institution_was_granted(clinic: Clinic, shared: Any) -> None:
    access = use_of(shared)
    (event,) = clinic.send(access, PHYSICIAN).events
    assert (event.number, event.reader, event.granter) == (1, PHYSICIAN.address, HOLDER_LABEL)
    assert access.key(PHYSICIAN.address) == shared.key()


def test_delegation_outlives_a_rotation(clinic: Clinic, shared: Any, hm: Any, outsider: Any) -> None:
    hm.announceRotation(outsider, b"\1" * 32, sender=clinic.account(INSTITUTION))
    hm.completeRotation(INSTITUTION, sender=outsider)
    clinic.send(use_of(shared), PHYSICIAN)


def test_a_request_by_someone_not_vouched_for(clinic: Clinic, granted: Any) -> None:
    clinic.records.withdrawVouch(PHYSICIAN.address, sender=clinic.account(INSTITUTION))
    with ape.reverts(clinic.records.NotVouched, person=PHYSICIAN.address):
        clinic.trial(use_of(granted), PHYSICIAN)


@pytest.mark.parametrize("change", [{"scope": OTHER_SCOPE}, {"purpose": RESEARCH}, {"granter": OTHER_PATIENT.address}])
def test_unknown_grant(clinic: Clinic, granted: Any, change: dict[str, Any]) -> None:
    access = use_of(granted, **change)
    with ape.reverts(clinic.records.UnknownGrant, key=access.key(PHYSICIAN.address)):
        clinic.trial(access, PHYSICIAN)


def test_grant_over(clinic: Clinic, granted: Any) -> None:
    clinic.chain.mine(timestamp=granted.expiry - 2)
    clinic.send(use_of(granted), PHYSICIAN)
    clinic.chain.mine(timestamp=granted.expiry)
    with ape.reverts(clinic.records.GrantOver, number=1, expiry=granted.expiry):
        clinic.trial(use_of(granted, 2), PHYSICIAN)


def test_a_revoked_grant(clinic: Clinic, granted: Any) -> None:
    clinic.send(clinic.own_grant(expiry=0, nonce=2), PATIENT)
    with ape.reverts(clinic.records.GrantOver, number=1, expiry=0):
        clinic.trial(use_of(granted), PHYSICIAN)


@pytest.mark.parametrize("left", [set(), {TREATMENT, Purpose.EHR}])
def test_no_consent_any_more(clinic: Clinic, consented: Any, left: set[Purpose]) -> None:
    clinic.send(clinic.consent(*left, nonce=2), PATIENT)
    with ape.reverts(clinic.records.NoConsent, person=PATIENT.address, scope=SCOPE, purpose=RESEARCH):
        clinic.trial(use_of(consented), RESEARCHER)
    clinic.send(clinic.consent(RESEARCH, nonce=3), PATIENT)
    clinic.send(use_of(consented), RESEARCHER)


def test_no_consent_for_this_scope(clinic: Clinic) -> None:
    clinic.send(clinic.consent(RESEARCH), PATIENT)
    grant = clinic.hospital_grant(consent_scope=OTHER_SCOPE)
    clinic.send(grant)
    with ape.reverts(clinic.records.NoConsent, person=PATIENT.address, scope=OTHER_SCOPE, purpose=RESEARCH):
        clinic.trial(use_of(grant), RESEARCHER)


def test_wrong_holder(clinic: Clinic, consented: Any) -> None:
    with ape.reverts(clinic.records.WrongHolder, holder=3, granter=HOLDER_LABEL):
        clinic.trial(use_of(consented, holder=3), RESEARCHER)


def refused(clinic: Clinic, access: Any, by: Any) -> None:
    """Nothing was delegated to the reader."""
    named = {"member": access.institution, "staff": by.address, "purpose": access.purpose}
    with ape.reverts(clinic.records.NoDelegation, **named):
        clinic.trial(access, by)


def test_no_delegation(clinic: Clinic, shared: Any) -> None:
    refused(clinic, use_of(shared), RESEARCHER)
    refused(clinic, use_of(shared, institution=3), PHYSICIAN)
    refused(clinic, use_of(shared, purpose=RESEARCH), PHYSICIAN)


def test_a_delegation_ends(clinic: Clinic, shared: Any) -> None:
    clinic.records.setDelegation(PHYSICIAN.address, TREATMENT, 0, sender=clinic.account(INSTITUTION))
    refused(clinic, use_of(shared), PHYSICIAN)


def test_a_delegation_expires(clinic: Clinic, shared: Any) -> None:
    clinic.chain.mine(
        timestamp=clinic.records.delegationOf(INSTITUTION, PHYSICIAN.address, TREATMENT),
    )
    refused(clinic, use_of(shared), PHYSICIAN)


# ---------------------------------------------------------------------- keys


def test_the_holder_releases_keys(clinic: Clinic, granted: Any) -> None:
    clinic.send(use_of(granted), PHYSICIAN)
    receipt = clinic.records.releaseKeys(1, 1, ENVELOPE, sender=clinic.account(HOLDER))
    assert list(receipt.events) == [
        clinic.records.KeysReleased(number=1, holder=HOLDER, use=1, envelope=ENVELOPE),
    ]


def test_only_active_members_release_keys(clinic: Clinic, outsider: Any, suspend: Any) -> None:
    suspend(3)
    for caller in (outsider, clinic.account(3)):
        with ape.reverts(clinic.records.NotActiveMember, caller=caller):
            clinic.records.releaseKeys.call(1, 1, ENVELOPE, sender=caller)
