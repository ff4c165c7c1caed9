"""What a data officer sees of emergencies, and the last look before keys go out."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from hmchain import letters, scopes
from hmchain.blobs import BlobRef, DirectoryStore
from hmchain.errors import BlobError, ChainError, ContractError, DaemonError, Reason, UsageError
from hmchain.identity import MemberIdentity
from hmchain.permits import SENDER, Purpose, Role, label_of
from hmchain.registry import Registry
from tests.unit.ward import Ward, answer_all, labels_of
from trainers.records import reviewing, sharing
from trainers.records.access_audit import audit, render
from trainers.records.holdings import Holding
from trainers.records.releasing import MAX_TRIES, REFUSED, Releasing


@pytest.fixture(scope="module")
def ward(tmp_path_factory: pytest.TempPathFactory) -> Ward:
    return Ward.found(tmp_path_factory.mktemp("ward"))


# ---------------------------------------------------------------- emergencies


def test_a_data_officer_sees_who_waits_for_a_review_and_why(ward: Ward) -> None:
    ward.patient("E-1")
    physician = ward.person(Role.PHYSICIAN, 2)
    number = ward.reader(physician).ask_in_emergency("E-1", "unconscious,\nallergies unknown", ward.holder())
    (case,) = reviewing.cases(ward.archive())
    assert (case.number, case.reader, case.role) == (number, physician.account.address, "physician")
    assert (case.vouched_by, case.holder, case.verdict) == (2, 1, None)
    assert case.due == case.opened + 72 * 3600
    assert (case.patient, case.reason) == ("E-1", "unconscious, allergies unknown")
    assert case.line().endswith("  patient E-1  unconscious, allergies unknown")
    assert "review due by" in case.line()
    assert list(reviewing.cases(ward.archive(2))) == []
    (of_another,) = reviewing.cases(ward.archive(2), everyone=True)
    assert (of_another.patient, of_another.reason) == ("", ""), "only the holder can open it"

    reviewing.review(ward.archive(), number, True, "seen in the emergency room")
    assert list(reviewing.cases(ward.archive())) == []
    assert "upheld" in next(reviewing.cases(ward.archive(), everyone=True)).line()
    report = ward.archive().trail().emergencies[number].report
    assert report not in (None, scopes.commitment(bytes(32), "seen in the emergency room"))


def test_a_reason_other_than_the_one_that_was_committed_to_is_not_shown(ward: Ward) -> None:
    physician = ward.person(Role.PHYSICIAN, 2)
    number = ward.reader(physician).ask_in_emergency("E-2", "true", ward.holder())
    steers = ward.reader(physician).ask_in_emergency("E-2", "tr\x1bue", ward.holder())
    case = ward.archive().trail().emergencies[number]
    assert reviewing.told_of(ward.archive(), case) == ("E-2", "true")
    assert reviewing.told_of(ward.archive(), replace(case, reason=b"\1" * 32)) == ("E-2", "")
    assert reviewing.told_of(ward.archive(), replace(case, subject=b"\1" * 32)) == ("", "true")
    assert reviewing.told_of(ward.archive(), replace(case, request=b"\1" * 32)) == ("", "")
    assert reviewing.told_of(ward.archive(), ward.archive().trail().emergencies[steers]) == ("E-2", r"tr\x1bue")


def test_a_store_that_is_away_is_not_taken_for_a_letter_that_cannot_be_read(ward: Ward) -> None:
    class Away(DirectoryStore):
        def get(self, ref: BlobRef, limit: int) -> bytes:
            raise DaemonError("no daemon")

    number = ward.reader(ward.person(Role.PHYSICIAN, 2)).ask_in_emergency("E-3", "unconscious", ward.holder())
    case = ward.archive().trail().emergencies[number]
    assert reviewing.told_of(ward.archive(), case) == ("E-3", "unconscious")
    with pytest.raises(DaemonError, match="no daemon"):
        reviewing.told_of(replace(ward.archive(), store=Away(ward.folder / "blobs")), case)


def test_a_holder_keeps_the_letter_of_an_emergency_that_its_sender_deletes(ward: Ward, tmp_path: Path) -> None:
    class Swarm(DirectoryStore):
        """The holder's own blobs, and what others still have."""

        def get(self, ref: BlobRef, limit: int) -> bytes:
            try:
                return super().get(ref, limit)
            except BlobError:
                return ward.store.get(ref, limit)

    ward.patient("E-4")
    number = ward.reader(ward.person(Role.PHYSICIAN, 2)).ask_in_emergency("E-4", "unconscious", ward.holder())
    case, own = ward.archive().trail().emergencies[number], Swarm(tmp_path)
    answer_all(replace(ward.releasing(), store=own))
    (ward.folder / "blobs" / str(letters.ref_of(case.request).cid)).unlink()
    assert reviewing.told_of(replace(ward.archive(), store=own), case) == ("E-4", "unconscious")


def test_there_is_no_such_emergency(ward: Ward) -> None:
    with pytest.raises(UsageError, match="there is no emergency 99"):
        reviewing.review(ward.archive(), 99, True, "")


# ---------------------------------------------------------------- acceptances


def test_a_hospital_vouches_by_what_a_person_signed_for_it(ward: Ward, tmp_path: Path) -> None:
    person = ward.person()
    accepted = sharing.acceptance(ward.archive(2), person, Role.RESEARCHER)
    with pytest.raises(UsageError, match="member 2, and we are 1"):
        sharing.vouch(ward.archive(), accepted)
    with pytest.raises(UsageError, match="no person accepts a vouch here"):
        sharing.vouch(ward.archive(2), replace(accepted, signature=SENDER))
    with pytest.raises(UsageError, match="is for the hospital that it names"):
        list(sharing.relay_files(ward.archive(), [accepted]))
    with pytest.raises(UsageError, match="no person accepts a vouch here"):
        sharing.vouch(ward.archive(2), sharing.consent(ward.archive(), person, "all", frozenset()))
    accepted.write(tmp_path / "acceptance.json")
    assert sharing.vouch(ward.archive(2), type(accepted).read(tmp_path / "acceptance.json")) == accepted.permit
    assert ward.archive().trail().persons[person.account.address] == (2, Role.RESEARCHER)
    with pytest.raises(ContractError, match="WrongAcceptance"):
        sharing.vouch(ward.archive(2), accepted)


# ---------------------------------------------------------------- salts


def test_whoever_is_handed_one_grant_cannot_read_another(ward: Ward) -> None:
    patient = ward.patient("S-1")
    grants = [
        sharing.grant(ward.archive(), patient, label, label_of(member), purpose, ward.in_a_day())
        for label, member, purpose in (
            ("all", 2, Purpose.EHR),
            ("all", 2, Purpose.EMR),
            ("kind:clinical", 2, Purpose.EHR),
            ("all", 1, Purpose.EHR),
        )
    ]
    consent = ward.consent(patient, "all", Purpose.EHR)
    assert len({signed.salt for signed in (*grants, consent)}) == len(grants) + 1
    again = sharing.grant(ward.archive(), patient, "all", label_of(2), Purpose.EHR, ward.in_a_day() + 1)
    assert again.permit.scope == grants[0].permit.scope, "prolonged, it is the same grant"


# ---------------------------------------------------------------- the last look


class Hurried(Releasing):
    """A holder to which something happens while it writes its answer."""

    happens: Any = None

    def _part(self, holdings: list[Holding], recipient: bytes) -> list[Any]:
        part = super()._part(holdings, recipient)
        if self.happens is not None:
            self.happens, happens = None, self.happens
            happens()
        return part


def answer_to(ward: Ward, reader: MemberIdentity, which: tuple[int, int]) -> dict[str, Any]:
    return letters.receive(ward.store, ward.envelope(which), [reader.encryption])


def hurried(ward: Ward) -> Hurried:
    archive = ward.archive()
    return Hurried(archive.rules, archive.registry, archive.store, archive.keys.identities)


def test_a_grant_revoked_while_the_answer_is_written_gives_no_key(ward: Ward) -> None:
    patient, physician = ward.patient("L-1"), ward.person(Role.PHYSICIAN, 2)
    ward.about("L-1", "a", "b")
    grant = ward.grant(patient, physician.account.address)
    which = ward.ask(physician, grant)
    releasing = hurried(ward)
    releasing.happens = lambda: sharing.relay(ward.archive(), sharing.revoked(ward.archive(), patient, grant))
    answer_all(releasing)
    assert answer_to(ward, physician, which) == {"refused": "the grant has expired, or was revoked"}
    assert ward.archive().vault.released(*which) == []
    assert audit(ward.archive()).readings[-1].answer == "refused"
    assert audit(ward.archive(2)).readings[-1].answer == "answered", "what is said is sealed to the reader"
    assert json.loads(render(audit(ward.archive()), "fhir"))["entry"][-1]["resource"]["outcome"] == "8"


def test_a_consent_withdrawn_for_one_record_meanwhile_leaves_that_one_out(ward: Ward) -> None:
    patient, physician = ward.patient("L-2"), ward.person(Role.PHYSICIAN, 2)
    first, _ = ward.about("L-2", "a", "b")
    ward.consent(patient, "all", Purpose.EHR)
    grant = ward.grant(
        None, physician.account.address, purpose=Purpose.EHR, consent_of=(patient.account.address, "all")
    )
    which = ward.ask(physician, grant)
    releasing = hurried(ward)
    releasing.happens = partial(ward.consent, patient, f"record:{first.leaf.hex()}")
    answer_all(releasing)
    assert answer_to(ward, physician, which)["count"] == 1
    found: Iterable[Any] = ward.reader(physician).records(ward.envelope(which), 1)
    assert [record.value["what"][1] for record in found] == ["b"]


def test_who_consents_and_withdraws_all_the_time_lets_an_answer_end(ward: Ward) -> None:
    """What is consented to while an answer is written waits for another request; only a withdrawal changes this one."""
    patient, physician = ward.patient("L-4"), ward.person(Role.PHYSICIAN, 2)
    first, second, _ = ward.about("L-4", "a", "b", "c")
    ward.consent(patient, "all", Purpose.EHR)
    ward.consent(patient, f"record:{second.leaf.hex()}")
    whose = patient.account.address, "all"
    which = ward.ask(
        physician, ward.grant(None, physician.account.address, purpose=Purpose.EHR, consent_of=whose), "kind:clinical"
    )
    releasing, written = hurried(ward), 0

    def toggles() -> None:
        nonlocal written
        written += 1
        purposes = [Purpose.EHR] if written % 2 == 0 else []
        ward.consent(patient, f"record:{first.leaf.hex()}", *purposes)
        ward.consent(patient, f"record:{second.leaf.hex()}", Purpose.EHR)
        releasing.happens = toggles if written < 6 else None

    releasing.happens = toggles
    answer_all(releasing)
    assert written == 2, "once more without what was withdrawn, and never again"
    found: Iterable[Any] = ward.reader(physician).records(ward.envelope(which), 1)
    assert [record.value["what"][1] for record in found] == ["c"]


def test_while_the_chain_takes_no_answer_it_is_written_once(ward: Ward, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is tried every minute, maybe for days, and a blob store forgets nothing."""
    patient, physician = ward.patient("L-5"), ward.person(Role.PHYSICIAN, 2)
    first, _ = ward.about("L-5", "a", "b")
    which = ward.ask(physician, ward.grant(patient, physician.account.address))
    releasing, blobs = ward.releasing(), ward.folder / "blobs"

    def tried() -> int:
        """How many blobs are new after a try that fails."""
        before = len(list(blobs.iterdir()))
        with monkeypatch.context() as away:
            away.setattr(Registry, "transact", lambda *_: (_ for _ in ()).throw(ChainError("no gas")))
            with pytest.raises(ChainError):
                releasing.step()
        return len(list(blobs.iterdir())) - before

    assert [tried(), tried(), tried()] == [2, 0, 0], "a part and the letter"
    ward.archive().erase(first)
    assert [tried(), tried()] == [2, 0], "anew, as one of the records is not to be read any more"
    answer_all(releasing)
    found: Iterable[Any] = ward.reader(physician).records(ward.envelope(which), 1)
    assert [record.value["what"][1] for record in found] == ["b"]


def test_a_letter_that_never_turns_up_is_given_up(ward: Ward) -> None:
    patient, physician = ward.patient("L-3"), ward.person(Role.PHYSICIAN, 2)
    grant = ward.grant(patient, physician.account.address)
    number = ward.granted(grant).number
    reader = ward.reader(physician)
    (use,) = reader.ask(ward.granted(grant), labels_of(grant).request("all"), [ward.holder()])
    missing = ward.archive().trail().grants[number].uses[-1].request
    next(path for path in (ward.folder / "blobs").iterdir() if path.name == str(letters.ref_of(missing).cid)).unlink()
    releasing = ward.releasing()
    due = next(releasing._due())
    for _ in range(MAX_TRIES):
        assert releasing._postpone(due, BlobError("gone", Reason.UNAVAILABLE))
        assert not releasing.is_due(), "put off"
    releasing._put_off[due.which] = 0.0, MAX_TRIES
    assert releasing.step()
    assert ward.envelope((number, use)) == REFUSED
