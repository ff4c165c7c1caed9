"""Reading, and everybody who tries to read what is not theirs: end to end, on a chain in this process.

Two hospitals, patients, physicians, researchers. Each attacker gets one error, and no key goes out.
"""

from __future__ import annotations

from dataclasses import replace

import pytest

from hmchain.errors import StorageError, UsageError
from hmchain.identity import MemberIdentity
from hmchain.permits import SENDER, Purpose, Role
from hmchain.record import Kind
from hmchain.registry import Registry
from trainers.records import releasing, sharing
from trainers.records.archive import Archive

from .case import Case, refused, released_nothing
from .ward import Ward, answer_all, record, sign

# ---------------------------------------------------------------- the way it goes


def test_a_reader_reads_what_it_was_granted_and_asked_for(ward: Ward) -> None:
    case = Case(ward)
    ward.about(case.name, "picture", type="imaging")
    assert case.answer(ward.ask(case.physician, case.grant)) == ["a", "b", "picture"]
    assert ward.read(case.physician, case.grant, "type:imaging") == ["picture"]
    assert ward.read(case.physician, case.grant, "kind:research") == []


def test_a_reader_gets_the_record_itself(ward: Ward) -> None:
    case = Case(ward)
    item = record(["x", "y"], ward.archive().context().pseudonym(case.name), attachment=b"\0\n", detail={"a": 0.5})
    ward.take(item)
    which = ward.ask(case.physician, case.grant)
    answer_all(ward.releasing())
    assert list(ward.reader(case.physician).records(ward.envelope(which), 1))[-1] == item


def test_records_come_in_parts_and_from_several_batches(ward: Ward, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(releasing, "PART_RECORDS", 2)
    case = Case(ward, *range(5))
    ward.about(case.name, 5, kind=Kind.RESEARCH)
    assert ward.read(case.physician, case.grant) == [0, 1, 2, 3, 4, 5]


def test_more_records_than_a_letter_can_list_are_refused(ward: Ward, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(releasing, "MAX_RECORDS", 2)
    case = Case(ward, 1, 2, 3)
    with pytest.raises(UsageError, match="refused: more than 2 records at once"):
        ward.read(case.physician, case.grant)
    assert ward.read(case.physician, case.grant, f"record:{case.records[0].leaf.hex()}") == [1]


def test_a_request_is_answered_once_and_by_whom_it_asks(ward: Ward, case: Case) -> None:
    which = ward.ask(case.physician, case.grant)
    assert not ward.releasing(2).is_due()
    assert answer_all(ward.releasing()) == 1
    assert answer_all(ward.releasing()) == 0
    assert list(ward.archive().trail().released[which]) == [1]
    assert ward.archive().vault.released(*which) == [holding.leaf for holding in case.records]


def test_nothing_is_answered_while_the_vault_lacks_a_batch_of_ours(own_ward: Ward) -> None:
    """As an old backup does. An answer is final: it would leave out for good what was registered since."""
    case = Case(own_ward)
    (newest,) = own_ward.about(case.name, "since then")
    archive, which = own_ward.archive(), own_ward.ask(case.physician, case.grant)
    give_root(archive, newest.batch.number, bytes(32))
    with pytest.raises(StorageError, match=f"lacks batches that are ours, entries {newest.batch.number}: bring back"):
        own_ward.releasing().step()
    assert which not in archive.trail().released
    given_up = replace(archive.rules, given_up=frozenset({newest.batch.number}))
    assert given_up.lost(archive.trail()) == []
    give_root(archive, newest.batch.number, newest.batch.root)
    assert case.answer(which) == ["a", "b", "since then"]


def give_root(archive: Archive, number: int | None, root: bytes) -> None:
    with archive.vault._writing() as database:
        database.execute("UPDATE batches SET root = ? WHERE number = ?", (root, number))


def test_both_hospitals_of_a_patient_are_asked_under_one_grant(ward: Ward) -> None:
    case = Case(ward)
    archive = ward.archive(2)
    archive.vault.link(archive.context().pseudonym("L-77"), case.patient.account.address)
    ward.about("L-77", "elsewhere", member=2)
    assert ward.read(case.physician, case.grant) == ["a", "b"]
    assert ward.read(case.physician, case.grant, member=2) == ["elsewhere"]


# ---------------------------------------------------------------- readers without a right


def test_without_a_grant(ward: Ward, case: Case) -> None:
    other = ward.person(Role.PHYSICIAN, 2)
    refused("UnknownGrant", lambda: case.send(case.access(), other))
    refused("UnknownGrant", lambda: case.send(case.access(scope=b"\1" * 32), case.physician))
    assert not ward.releasing().is_due()


def test_without_a_voucher(ward: Ward) -> None:
    case, nobody = Case(ward), MemberIdentity.create()
    grant = ward.grant(case.patient, nobody.account.address)
    refused("NotVouched", lambda: ward.ask(nobody, grant))


def test_under_a_grant_that_has_expired(ward: Ward) -> None:
    case = Case(ward, expiry=ward.now + 100)
    ward.chain.travel(101)
    refused("GrantOver", lambda: ward.ask(case.physician, case.grant))


def test_for_another_purpose(ward: Ward, case: Case) -> None:
    for purpose in set(Purpose) - {Purpose.TREATMENT}:
        refused("UnknownGrant", lambda purpose=purpose: case.send(case.access(purpose=purpose), case.physician))


def test_under_a_grant_that_was_revoked(ward: Ward) -> None:
    case = Case(ward)
    sharing.relay(ward.archive(), sharing.revoked(ward.archive(), case.patient, case.grant))
    refused("GrantOver", lambda: ward.ask(case.physician, case.grant))


def test_under_a_grant_that_was_revoked_before_it_reached_the_chain(ward: Ward) -> None:
    """Whoever was handed its file could relay it later."""
    case, terms = Case(ward), ("type:imaging", "0x" + "52" * 20, Purpose.EHR, ward.in_a_day())
    signed = sharing.grant(ward.archive(), case.patient, *terms)
    sharing.relay(ward.archive(), sharing.revoked(ward.archive(), case.patient, signed))
    refused("WrongNonce", lambda: list(sharing.relay_files(ward.archive(2), [signed])))


def test_with_a_signature_that_was_used_before(ward: Ward, case: Case) -> None:
    access = case.access()
    case.send(access, case.physician)
    refused("WrongUse", lambda: case.send(access, case.physician))
    refused("WrongUse", lambda: case.send(replace(access, use=access.use + 2), case.physician))


def test_with_anothers_signature_or_a_part_of_it(ward: Ward) -> None:
    case, other = Case(ward), ward.person(Role.RESEARCHER, 2)
    access = case.access()
    r, vs = sign(ward, access, other)
    transact = ward.archive(2).registry.transact
    refused("UnknownGrant", lambda: transact("logAccess", access.abi(), r, vs))
    r, vs = sign(ward, access, case.physician)
    for holder in (2, 0):  # signed for one holder, sent for another: recovers somebody whom nobody knows
        refused("NotVouched", lambda h=holder: transact("logAccess", replace(access, holder=h).abi(), r, vs))
    refused("NotVouched", lambda: transact("logAccess", access.abi(), *SENDER))


def test_revoked_between_access_and_release(ward: Ward) -> None:
    case = Case(ward)
    which = ward.ask(case.physician, case.grant)
    sharing.relay(ward.archive(), sharing.revoked(ward.archive(), case.patient, case.grant))
    released_nothing(case, which, "the holder refused: the grant has expired, or was revoked")


def test_expired_between_access_and_release(ward: Ward) -> None:
    case = Case(ward, expiry=ward.now + 1_000)
    which = ward.ask(case.physician, case.grant)
    ward.chain.travel(1_000)
    released_nothing(case, which, "the holder refused: the grant has expired, or was revoked")


def test_vouched_for_no_more_between_access_and_release(ward: Ward) -> None:
    case = Case(ward)
    which = ward.ask(case.physician, case.grant)
    ward.archive(2).registry.transact("withdrawVouch", case.physician.account.address)
    released_nothing(case, which, "the holder refused: nobody vouches for the reader any more")


def test_a_voucher_that_is_suspended_between_access_and_release(ward: Ward, monkeypatch: pytest.MonkeyPatch) -> None:
    case = Case(ward)
    which = ward.ask(case.physician, case.grant)
    monkeypatch.setattr(Registry, "is_active", lambda _, member: member != 2)
    released_nothing(case, which, "the holder refused: nobody vouches for the reader any more")


def test_erased_between_access_and_release(ward: Ward) -> None:
    case = Case(ward)
    which = ward.ask(case.physician, case.grant)
    ward.archive().erase(case.records[0])
    assert case.answer(which) == ["b"]


def test_erased_after_release_is_gone_for_who_has_the_letter_only_at_the_hospital(ward: Ward) -> None:
    """What was read stays read; a new request gets nothing of it."""
    case = Case(ward)
    assert ward.read(case.physician, case.grant) == ["a", "b"]
    for holding in case.records:
        ward.archive().erase(holding)
    assert ward.read(case.physician, case.grant) == []
