"""Several words in one transaction: all of them or none, each as if it came alone."""

from __future__ import annotations

from typing import Any

import ape
import pytest

from hmchain.permits import SENDER, Permit, Purpose, bits_of

from .clinic import FUNCTIONS, HOLDER, PATIENT, PHYSICIAN, SCOPE, Clinic, use_of

RESEARCH = Purpose.CLINICAL_RESEARCH


def call_of(clinic: Clinic, permit: Permit, by: Any = None) -> bytes:
    """The calldata of one word, signed, or the sender's own."""
    function = getattr(clinic.records, FUNCTIONS[type(permit)])
    return bytes(function.encode_input(permit.abi(), *(clinic.sign(permit, by) if by else SENDER)))


def test_words_of_several_persons_are_relayed_together(clinic: Clinic, outsider: Any) -> None:
    grant = clinic.own_grant()
    words = [call_of(clinic, clinic.consent(RESEARCH), PATIENT), call_of(clinic, grant, PATIENT)]
    uses = [call_of(clinic, use_of(grant, use), PHYSICIAN) for use in (1, 2, 3)]
    clinic.records.together([*words, *uses], sender=outsider)
    assert clinic.records.consentOf(PATIENT.address, SCOPE).purposes == bits_of({RESEARCH})
    assert clinic.state(grant)[2] == 3


def test_the_sender_stays_the_sender(clinic: Clinic, outsider: Any) -> None:
    own = call_of(clinic, clinic.hospital_grant(), None)
    clinic.records.together([own], sender=clinic.account(HOLDER))
    again = call_of(clinic, clinic.hospital_grant(nonce=2), None)
    with ape.reverts(clinic.records.NotActiveMember, caller=outsider):
        clinic.records.together.call([again], sender=outsider)


@pytest.mark.parametrize("nested", [False, True], ids=["flat", "nested"])
def test_one_that_is_refused_takes_all_with_it_and_says_why(clinic: Clinic, nested: bool) -> None:
    words = [call_of(clinic, clinic.consent(RESEARCH, nonce=nonce), PATIENT) for nonce in (1, 3)]
    if nested:
        words = [bytes(clinic.records.together.encode_input(words))]
    with ape.reverts(clinic.records.WrongNonce, nonce=3, expected=2):
        clinic.records.together(words, sender=clinic.account(HOLDER))
    assert tuple(clinic.records.consentOf(PATIENT.address, SCOPE)) == (0, 0)


def test_of_nothing_nothing_comes(clinic: Clinic) -> None:
    assert list(clinic.records.together([], sender=clinic.account(HOLDER)).events) == []
