"""Breaking the glass: at once, never unseen, and reviewed."""

from __future__ import annotations

from typing import Any

import ape
import pytest

from hmchain.permits import Role

from .clinic import (
    DAY,
    ENVELOPE,
    HOLDER,
    INSTITUTION,
    PATIENT,
    PHARMACIST,
    PHYSICIAN,
    REASON,
    REPORT,
    REQUEST,
    RESEARCHER,
    STRANGER,
    SUBJECT,
    Clinic,
)

OPEN, UPHELD, REJECTED = range(3)
REVIEW_SECONDS = 3 * DAY


def review(clinic: Clinic, number: int, by: int = HOLDER, reader: Any = PHYSICIAN, upheld: bool = True) -> Any:
    """A member reviews an emergency."""
    return clinic.records.review(number, reader.address, upheld, REPORT, sender=clinic.account(by))


def docket(clinic: Clinic, reader: Any = PHYSICIAN) -> tuple[int, ...]:
    """How many emergencies a reader opened, how many are unreviewed, the oldest and the newest of those."""
    return tuple(clinic.records.docketOf(reader.address))[:4]


def opened_at(clinic: Clinic, number: int, reader: Any = PHYSICIAN) -> int:
    """When an emergency was opened."""
    return int(clinic.records.emergencyOf(reader.address, number).openedAt)


# ---------------------------------------------------------------------- opening


@pytest.mark.parametrize("reader", [PHYSICIAN, PHARMACIST], ids=["physician", "pharmacist"])
def test_a_clinician_breaks_the_glass(clinic: Clinic, outsider: Any, reader: Any) -> None:
    records = clinic.records
    receipt = clinic.send(clinic.emergency(), reader, outsider)
    assert list(receipt.events) == [
        records.GlassBroken(
            number=1, holder=HOLDER, reader=reader.address, subject=SUBJECT, reason=REASON, request=REQUEST
        )
    ]
    assert tuple(records.emergencyOf(reader.address, 1)) == (receipt.timestamp, HOLDER, OPEN, 0, 0, INSTITUTION)
    assert tuple(records.docketOf(reader.address)) == (1, 1, 1, 1, receipt.timestamp)


def test_emergencies_are_numbered_without_gaps(clinic: Clinic) -> None:
    clinic.send(clinic.emergency(), PHYSICIAN)
    clinic.send(clinic.emergency(), PHARMACIST)
    clinic.send(clinic.emergency(2), PHYSICIAN)
    assert clinic.records.emergencyCount() == 3
    assert docket(clinic) == (2, 2, 1, 3)
    assert docket(clinic, PHARMACIST) == (1, 1, 2, 2)


@pytest.mark.parametrize("reader", [RESEARCHER, PATIENT], ids=["researcher", "patient"])
def test_not_clinical(clinic: Clinic, reader: Any) -> None:
    with ape.reverts(clinic.records.NotClinical, reader=reader.address):
        clinic.trial(clinic.emergency(), reader)


@pytest.mark.parametrize("role", [Role.RADIOLOGIST, Role.LABORATORY_TECHNICIAN])
def test_other_professions_wait_for_a_grant(clinic: Clinic, role: Role) -> None:
    clinic.vouch(PHYSICIAN, role, INSTITUTION)
    with ape.reverts(clinic.records.NotClinical, reader=PHYSICIAN.address):
        clinic.trial(clinic.emergency(), PHYSICIAN)


def test_a_reader_nobody_vouches_for(clinic: Clinic) -> None:
    with ape.reverts(clinic.records.NotVouched, person=STRANGER.address):
        clinic.trial(clinic.emergency(), STRANGER)


def test_a_reader_of_a_suspended_member(clinic: Clinic, suspend: Any) -> None:
    suspend(INSTITUTION)
    with ape.reverts(clinic.records.MemberNotActive, member=INSTITUTION):
        clinic.trial(clinic.emergency(), PHYSICIAN)


@pytest.mark.parametrize("holder", [0, 3, 8, 2**16 - 1])
def test_a_holder_that_nobody_answers_for(clinic: Clinic, suspend: Any, holder: int) -> None:
    suspend(3)
    with ape.reverts(clinic.records.MemberNotActive, member=holder):
        clinic.trial(clinic.emergency(holder=holder), PHYSICIAN)


@pytest.mark.parametrize("nonce", [0, 1, 3])
def test_wrong_emergency_nonce(clinic: Clinic, nonce: int) -> None:
    clinic.send(clinic.emergency(), PHYSICIAN)
    with ape.reverts(clinic.records.WrongEmergencyNonce, nonce=nonce, expected=2):
        clinic.trial(clinic.emergency(nonce), PHYSICIAN)


# ---------------------------------------------------------------------- keys


def test_the_holder_releases_keys(clinic: Clinic, outsider: Any) -> None:
    records = clinic.records
    receipt = records.releaseEmergencyKeys(1, ENVELOPE, sender=clinic.account(HOLDER))
    assert list(receipt.events) == [records.EmergencyKeysReleased(number=1, holder=HOLDER, envelope=ENVELOPE)]
    with ape.reverts(records.NotActiveMember, caller=outsider):
        records.releaseEmergencyKeys.call(1, ENVELOPE, sender=outsider)


# ---------------------------------------------------------------------- review


@pytest.mark.parametrize(("upheld", "verdict"), [(True, UPHELD), (False, REJECTED)])
def test_the_holder_reviews(clinic: Clinic, upheld: bool, verdict: int) -> None:
    records = clinic.records
    clinic.send(clinic.emergency(), PHYSICIAN)
    receipt = review(clinic, 1, upheld=upheld)
    assert list(receipt.events) == [
        records.EmergencyReviewed(number=1, reviewer=HOLDER, reader=PHYSICIAN.address, upheld=upheld, report=REPORT)
    ]
    assert records.emergencyOf(PHYSICIAN.address, 1).verdict == verdict
    assert tuple(records.docketOf(PHYSICIAN.address)) == (1, 0, 0, 0, 0)


def test_anyone_active_reviews_for_a_suspended_holder(clinic: Clinic, suspend: Any) -> None:
    clinic.send(clinic.emergency(), PHYSICIAN)
    with ape.reverts(clinic.records.NotReviewer, member=5, holder=HOLDER):
        clinic.records.review.call(1, PHYSICIAN.address, True, REPORT, sender=clinic.account(5))
    suspend(HOLDER)
    with ape.reverts(clinic.records.NotActiveMember, caller=clinic.account(HOLDER)):
        clinic.records.review.call(1, PHYSICIAN.address, True, REPORT, sender=clinic.account(HOLDER))
    assert review(clinic, 1, by=5).events[0].reviewer == 5


def test_only_active_members_review(clinic: Clinic, outsider: Any) -> None:
    clinic.send(clinic.emergency(), PHYSICIAN)
    with ape.reverts(clinic.records.NotActiveMember, caller=outsider):
        clinic.records.review.call(1, PHYSICIAN.address, True, REPORT, sender=outsider)


def test_nobody_reviews_his_own_emergency(clinic: Clinic) -> None:
    operator = clinic.account(HOLDER)
    clinic.vouch(operator, Role.PHYSICIAN, HOLDER)
    clinic.send(clinic.emergency(), sender=operator)
    with ape.reverts(clinic.records.OwnEmergency, reader=operator):
        clinic.records.review.call(1, operator, True, REPORT, sender=operator)


def test_an_emergency_is_reviewed_once(clinic: Clinic) -> None:
    clinic.send(clinic.emergency(), PHYSICIAN)
    review(clinic, 1)
    with ape.reverts(clinic.records.AlreadyReviewed, number=1):
        clinic.records.review.call(1, PHYSICIAN.address, False, REPORT, sender=clinic.account(HOLDER))


@pytest.mark.parametrize(("number", "reader"), [(0, PHYSICIAN), (2, PHYSICIAN), (1, PHARMACIST)])
def test_unknown_emergency(clinic: Clinic, number: int, reader: Any) -> None:
    clinic.send(clinic.emergency(), PHYSICIAN)
    with ape.reverts(clinic.records.UnknownEmergency, number=number, reader=reader.address):
        clinic.records.review.call(number, reader.address, True, REPORT, sender=clinic.account(HOLDER))


# ---------------------------------------------------------------------- 72 hours


def test_a_reader_with_an_overdue_review_waits_for_it(clinic: Clinic) -> None:
    assert clinic.records.REVIEW_SECONDS() == REVIEW_SECONDS
    clinic.send(clinic.emergency(), PHYSICIAN)
    since = opened_at(clinic, 1)
    clinic.chain.mine(timestamp=since + REVIEW_SECONDS - 1)
    clinic.send(clinic.emergency(2), PHYSICIAN)  # in the last second
    clinic.pass_time(1)
    with ape.reverts(clinic.records.ReviewOverdue, reader=PHYSICIAN.address, number=1, since=since):
        clinic.trial(clinic.emergency(3), PHYSICIAN)
    clinic.send(clinic.emergency(), PHARMACIST)  # another reader is another matter
    review(clinic, 1)
    clinic.send(clinic.emergency(3), PHYSICIAN)


def test_every_unreviewed_emergency_counts(clinic: Clinic) -> None:
    clinic.send(clinic.emergency(), PHYSICIAN)
    clinic.pass_time(DAY)
    clinic.send(clinic.emergency(2), PHYSICIAN)
    review(clinic, 1)
    clinic.pass_time(5 * DAY // 2)  # the first would be overdue, the second is not
    clinic.send(clinic.emergency(3), PHYSICIAN)
    clinic.pass_time(DAY)
    with ape.reverts(clinic.records.ReviewOverdue, reader=PHYSICIAN.address, number=2, since=opened_at(clinic, 2)):
        clinic.trial(clinic.emergency(4), PHYSICIAN)


@pytest.mark.parametrize(
    ("order", "left"),
    [
        ([1, 2, 3], [(2, 3), (3, 3), (0, 0)]),
        ([3, 2, 1], [(1, 2), (1, 1), (0, 0)]),
        ([2, 1, 3], [(1, 3), (3, 3), (0, 0)]),
        ([2, 3, 1], [(1, 3), (1, 1), (0, 0)]),
    ],
)
def test_reviews_come_in_any_order(clinic: Clinic, order: list[int], left: list[tuple[int, int]]) -> None:
    for nonce in (1, 2, 3):
        clinic.send(clinic.emergency(nonce), PHYSICIAN)
    for reviewed, (number, ends) in enumerate(zip(order, left, strict=True), 1):
        review(clinic, number)
        since = opened_at(clinic, ends[0]) if ends[0] else 0
        assert tuple(clinic.records.docketOf(PHYSICIAN.address)) == (3, 3 - reviewed, *ends, since)
    clinic.send(clinic.emergency(4), PHYSICIAN)
    assert docket(clinic) == (4, 1, 4, 4)


def test_after_72_hours_others_review_but_not_the_readers_own_member(clinic: Clinic) -> None:
    """A holder that never looks does not keep a physician from the next patient."""
    clinic.send(clinic.emergency(), PHYSICIAN)
    clinic.chain.mine(timestamp=opened_at(clinic, 1) + REVIEW_SECONDS - 1)
    with ape.reverts(clinic.records.NotReviewer, member=5, holder=HOLDER):
        clinic.records.review.call(1, PHYSICIAN.address, True, REPORT, sender=clinic.account(5))
    clinic.pass_time(2)
    with ape.reverts(clinic.records.NotReviewer, member=INSTITUTION, holder=HOLDER):
        clinic.records.review.call(1, PHYSICIAN.address, True, REPORT, sender=clinic.account(INSTITUTION))
    clinic.vouch(PHYSICIAN, Role.PHYSICIAN, 3)  # another employer now, and the earlier one still does not
    with ape.reverts(clinic.records.NotReviewer, member=INSTITUTION, holder=HOLDER):
        clinic.records.review.call(1, PHYSICIAN.address, True, REPORT, sender=clinic.account(INSTITUTION))
    assert review(clinic, 1, by=5).events[0].reviewer == 5
    clinic.send(clinic.emergency(2), PHYSICIAN)


def test_the_readers_own_member_reviews_what_it_holds(clinic: Clinic) -> None:
    clinic.send(clinic.emergency(holder=INSTITUTION), PHYSICIAN)
    assert review(clinic, 1, by=INSTITUTION).events[0].reviewer == INSTITUTION


def test_too_many_unreviewed(clinic: Clinic) -> None:
    most = clinic.records.MAX_UNREVIEWED()
    for nonce in range(1, most + 1):
        clinic.send(clinic.emergency(nonce), PHYSICIAN)
    with ape.reverts(clinic.records.TooManyUnreviewed, reader=PHYSICIAN.address, unreviewed=most):
        clinic.trial(clinic.emergency(most + 1), PHYSICIAN)
    clinic.trial(clinic.emergency(), PHARMACIST)
    review(clinic, 7)
    clinic.send(clinic.emergency(most + 1), PHYSICIAN)


def test_an_emergency_has_its_time(clinic: Clinic) -> None:
    in_time = clinic.emergency(deadline=clinic.now + 60)
    clinic.trial(in_time, PHYSICIAN)
    clinic.pass_time(62)
    with ape.reverts(clinic.records.WordExpired, deadline=in_time.deadline):
        clinic.trial(in_time, PHYSICIAN)
