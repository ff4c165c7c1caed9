"""Breaking the glass, and its review: end to end, on a chain in this process."""

from __future__ import annotations

import pytest

from hmchain.errors import UsageError
from hmchain.identity import MemberIdentity
from hmchain.permits import EmergencyAccess, Role
from hmchain.record import Kind

from .case import Case, refused
from .ward import Ward, answer_all, sign

# ---------------------------------------------------------------- emergencies


def test_a_physician_breaks_the_glass_and_is_reviewed(ward: Ward) -> None:
    case = Case(ward)
    ward.about(case.name, "a study", kind=Kind.RESEARCH)
    physician = ward.person(Role.PHYSICIAN, 2)
    number = ward.reader(physician).ask_in_emergency(case.name, "unconscious", ward.holder())
    answer_all(ward.releasing())
    envelope = ward.archive(2).trail().emergency_released[number][1]
    found = [r.value["what"][1] for r in ward.reader(physician).records(envelope, 1)]
    assert found == ["a", "b"], "clinical ones only"
    assert ward.archive().vault.released(number, 0) == [holding.leaf for holding in case.records]
    review = ward.archive().registry.transact
    refused(
        "NotReviewer",
        lambda: ward.archive(2).registry.transact("review", number, physician.account.address, True, b"\1" * 32),
    )
    review("review", number, physician.account.address, False, b"\1" * 32)
    refused("AlreadyReviewed", lambda: review("review", number, physician.account.address, True, b"\1" * 32))
    assert ward.archive().trail().emergencies[number].verdict is False


@pytest.mark.parametrize("role", sorted(set(Role) - {Role.PHYSICIAN, Role.PHARMACIST}))
def test_nobody_else_breaks_the_glass(role: Role, ward: Ward) -> None:
    person = ward.person(role, 2)
    refused("NotClinical", lambda: ward.reader(person).ask_in_emergency("7", "curious", ward.holder()))
    refused("NotVouched", lambda: ward.reader(MemberIdentity.create()).ask_in_emergency("7", "x", ward.holder()))


def test_an_unreviewed_emergency_is_the_last_for_that_reader(ward: Ward) -> None:
    reader = ward.reader(ward.person(Role.PHYSICIAN, 2))
    reader.ask_in_emergency("7", "one", ward.holder())
    reader.ask_in_emergency("7", "another", ward.holder())
    ward.chain.travel(72 * 3_600 + 1)
    refused("ReviewOverdue", lambda: reader.ask_in_emergency("7", "a third", ward.holder()))
    answer_all(ward.releasing())


def test_an_emergency_cannot_be_sent_twice_or_by_another(ward: Ward) -> None:
    physician, other = ward.person(Role.PHYSICIAN, 2), ward.person(Role.PATIENT, 2)
    emergency = EmergencyAccess(1, b"\1" * 32, b"\2" * 32, b"\3" * 32, 1, ward.in_a_day())
    transact = ward.archive(2).registry.transact
    transact("breakGlass", emergency.abi(), *sign(ward, emergency, physician))
    refused("WrongEmergencyNonce", lambda: transact("breakGlass", emergency.abi(), *sign(ward, emergency, physician)))
    refused("NotClinical", lambda: transact("breakGlass", emergency.abi(), *sign(ward, emergency, other)))


def test_an_emergency_that_was_rejected_or_is_a_lie_gets_no_key(ward: Ward) -> None:
    case = Case(ward)
    for how in ("rejected", "another person", "nobody", "role"):
        physician = ward.person(Role.PHYSICIAN, 2)
        reader = ward.reader(physician)
        number = reader.ask_in_emergency(" " if how == "nobody" else case.name, how, ward.holder())
        if how == "rejected":
            what = number, physician.account.address, False, b"\1" * 32
            ward.archive().registry.transact("review", *what)
        if how == "role":
            ward.vouch(physician, Role.RESEARCHER, 2)
        if how == "another person":
            _put_other_subject(ward, number)
        answer_all(ward.releasing())
        with pytest.raises(UsageError, match="the holder refused: "):
            list(reader.records(ward.archive(2).trail().emergency_released[number][1], 1))
        assert ward.archive().vault.released(number, 0) == []


def _put_other_subject(ward: Ward, number: int) -> None:
    """As if another person had been committed to than the letter names."""
    ward.archive().trail().emergencies[number].subject = b"\7" * 32


def test_emergencies_are_answered_first(own_ward: Ward) -> None:
    ward = own_ward
    case, physician = Case(ward), ward.person(Role.PHYSICIAN, 2)
    which = ward.ask(case.physician, case.grant)
    number = ward.reader(physician).ask_in_emergency(case.name, "unconscious", ward.holder())
    answers = ward.releasing()
    answers.step()
    assert number in ward.archive().trail().emergency_released
    assert which not in ward.archive().trail().released
    assert answer_all(answers) == 1
