"""Which records a logged request gets, as grants, consents and vouchers are when it is answered. No chain in here."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from hmchain import scopes
from hmchain.blobs import BlobRef, DirectoryStore
from hmchain.consortium import Consortium
from hmchain.errors import HMChainError
from hmchain.identity import MemberIdentity
from hmchain.permits import NO_SCOPE, NOBODY, Grant, Purpose, Role, label_of
from hmchain.record import Kind
from hmchain.trail import EmergencyRecord, Entry, GrantRecord, Trail, Use
from trainers.importers.base import Context
from trainers.keystore import Keys
from trainers.records.entitlement import Entitlement, Refusal, consented
from trainers.records.holdings import Wanted
from trainers.records.storing import Storing
from trainers.records.vault import Vault

from .ward import record

NOW = 1_000
PATIENT, OTHER, READER, UNKNOWN = ("0x" + digit * 40 for digit in "1234")
SALT, OTHER_SALT = b"\5" * 32, b"\6" * 32
US, THEM = 1, 2
IMAGING, EHR, RESEARCH = Purpose.IMAGING, Purpose.EHR, Purpose.CLINICAL_RESEARCH


@dataclass
class Hospital:
    """A hospital with some patients' records, and what the chain says, written by hand."""

    vault: Vault
    trail: Trail
    suspended: set[int]

    @property
    def rules(self) -> Entitlement:
        pseudonym = Context(self.vault.pseudonym_key).pseudonym
        return Entitlement(US, self.vault, pseudonym, lambda member: member not in self.suspended)

    def say(self, label: str, *purposes: Purpose, person: str = PATIENT, salt: bytes = SALT) -> None:
        """A person consents."""
        self.trail.consents[person, scopes.scope_of(salt, label)] = frozenset(purposes), 1

    def leaf(self, what: object) -> str:
        """The label of the record that says so."""
        number = int(str(what)) if isinstance(what, int) else 0
        return "record:" + list(self.vault.holdings())[number].leaf.hex()

    def own(self, label: str = "all", wanted: str = "all", request: dict[str, Any] | None = None) -> list[int]:
        """What the reader gets under the patient's own grant for this label: numbers of records."""
        terms = grant(PATIENT, label)
        return self.get(terms, {"label": label, "salt": SALT.hex(), "wanted": wanted} | (request or {}))

    def hospitals(
        self, consent_label: str = "all", label: str = "all", wanted: str = "all", request: dict[str, Any] | None = None
    ) -> list[int]:
        """Under the hospital's grant over the patient's records, whose consents it was told."""
        self.vault.learn(PATIENT, SALT)
        terms = grant(label_of(US), label, EHR, OTHER_SALT)
        terms = replace(terms, consent_of=PATIENT, consent_scope=scopes.scope_of(SALT, consent_label))
        told = {"label": label, "salt": OTHER_SALT.hex(), "wanted": wanted}
        return self.get(terms, told | (request or {}))

    def get(self, terms: Grant, request: dict[str, Any], now: int = NOW, **use: Any) -> list[int]:
        """The records that a use of this grant gets."""
        self.trail.grants[1] = GrantRecord(1, terms)
        usual = {"number": 1, "use": 1, "reader": READER, "holder": US, "purpose": terms.purpose, "request": b""}
        asked = Use(**(usual | use), block=1, transaction="", voucher=THEM, role=Role.PHYSICIAN)
        return [holding.id - 1 for holding in self.rules.under_grant(self.trail, asked, now, request)]

    def was_erased(self, number: int) -> None:
        """By the chain; the vault is a backup from before."""
        holding = list(self.vault.holdings())[number]
        self.trail.erased.setdefault(holding.batch.number, set()).add(holding.leaf)

    def emergency(
        self, identifier: Any = "7", salt: Any = None, subject: bytes = b"", why: Any = "unconscious", **case: Any
    ) -> list[int]:
        """The records that an emergency gets. why: the reason in the letter."""
        told = {"salt": salt if salt is not None else SALT.hex(), "identifier": identifier, "reason": why}
        subject = subject or scopes.commitment(SALT, identifier)
        usual = {"number": 1, "reader": READER, "holder": US, "subject": subject, "request": b""}
        usual["reason"] = scopes.commitment(SALT, "unconscious")
        asked = EmergencyRecord(**(usual | case), block=1, transaction="", voucher=THEM, role=Role.PHYSICIAN)
        found = self.rules.in_emergency(self.trail, asked, told)
        return [holding.id - 1 for holding in found]


def grant(granter: str, label: str = "all", purpose: Purpose = EHR, salt: bytes = SALT, **terms: Any) -> Grant:
    usual = {"granter": granter, "reader": READER, "scope": scopes.scope_of(salt, label), "purpose": purpose}
    return Grant(**(usual | {"expiry": NOW + 1, "nonce": 1} | terms))


@pytest.fixture
def hospital(tmp_path: Path) -> Iterator[Hospital]:
    consortium = Consortium(1337, "0x" + "00" * 20, "0x" + "11" * 32, 1)
    with closing(Vault.open(tmp_path / "records", Keys(MemberIdentity.create()), consortium)) as vault:
        seven, eight = (Context(vault.pseudonym_key).pseudonym(name) for name in ("7", "8"))
        storing = Storing(vault, DirectoryStore(tmp_path / "blobs"))
        for item in (
            record(0, seven, "observation"),
            record(1, seven, "imaging"),
            record(2, seven, "imaging"),
            record(3, eight, "imaging"),
            record(4, "", "imaging"),
        ):
            storing.take(item)
        storing.finish()
        storing.take(record(5, seven, "genome", Kind.RESEARCH))
        storing.finish()
        for batch in vault.batches():
            vault.registered(batch, batch.id)
        vault.link(seven, PATIENT)
        vault.link(eight, OTHER)
        trail = Trail()
        for person in (PATIENT, OTHER):
            trail.persons[person] = US, Role.PATIENT
        trail.persons[READER] = THEM, Role.PHYSICIAN
        yield Hospital(vault, trail, set())


# ---------------------------------------------------------------- a person's own grant


def test_a_persons_grant_covers_its_own_records_and_needs_no_consent(hospital: Hospital) -> None:
    assert hospital.own() == [0, 1, 2, 5]
    hospital.say("all")
    assert hospital.own() == [0, 1, 2, 5], "its own grant is its consent"


@pytest.mark.parametrize(
    ("label", "wanted", "found"),
    [
        ("all", "all", [0, 1, 2, 5]),
        ("all", "kind:clinical", [0, 1, 2]),
        ("kind:clinical", "all", [0, 1, 2]),
        ("kind:research", "all", [5]),
        ("kind:behaviour", "all", []),
        ("type:imaging", "all", [1, 2]),
        ("type:imaging", "type:observation", []),
        ("kind:clinical", "type:imaging", [1, 2]),
        ("kind:research", "type:imaging", []),
        ("type:genome", "kind:research", [5]),
        ("all", "type:step-count", []),
    ],
)
def test_what_is_wanted_narrows_what_is_granted_and_never_widens_it(
    label: str, wanted: str, found: list[int], hospital: Hospital
) -> None:
    assert hospital.own(label, wanted) == found


def test_a_grant_for_one_record_is_for_one_record(hospital: Hospital) -> None:
    assert hospital.own(hospital.leaf(1)) == [1]
    assert hospital.own("all", hospital.leaf(1)) == [1]
    assert hospital.own("all", hospital.leaf(3)) == [], "which is another person's"
    assert hospital.own(hospital.leaf(3)) == []


def test_one_person_may_be_several_subjects(hospital: Hospital) -> None:
    context = Context(hospital.vault.pseudonym_key)
    hospital.vault.link(context.pseudonym("another number"), PATIENT)
    assert hospital.own() == [0, 1, 2, 5]


# ---------------------------------------------------------------- the hospital's grant, under consent


@pytest.mark.parametrize(
    ("said", "found"),
    [
        ({}, []),
        ({"all": [EHR]}, [0, 1, 2, 5]),
        ({"all": [IMAGING]}, []),
        ({"all": []}, []),
        ({"kind:clinical": [EHR]}, [0, 1, 2]),
        ({"all": [EHR], "kind:clinical": []}, [5]),
        ({"all": [], "kind:clinical": [EHR]}, [0, 1, 2]),
        ({"all": [EHR], "type:imaging": []}, [0, 5]),
        ({"all": [], "type:imaging": [EHR]}, [1, 2]),
        ({"kind:clinical": [EHR], "type:imaging": [IMAGING]}, [0]),
        ({"kind:clinical": [], "type:imaging": [EHR], "all": [EHR]}, [1, 2, 5]),
        ({"type:imaging": [EHR], "record 1": []}, [2]),
        ({"all": [], "record 1": [EHR]}, [1]),
        ({"all": [EHR], "record 1": [IMAGING], "record 0": [EHR, IMAGING]}, [0, 2, 5]),
        ({"record 3": [EHR], "record 4": [EHR]}, []),
    ],
    ids=str,
)
def test_the_most_specific_scope_that_the_person_spoke_of_decides(
    said: dict[str, list[Purpose]], found: list[int], hospital: Hospital
) -> None:
    for label, purposes in said.items():
        hospital.say(hospital.leaf(int(label[7:])) if label.startswith("record ") else label, *purposes)
    assert hospital.hospitals() == found


def test_a_grant_under_a_narrow_consent_still_asks_what_the_others_say(hospital: Hospital) -> None:
    """The consent that a grant names opens the door on chain; each record's own most specific one lets it out."""
    hospital.say("type:imaging", EHR)
    assert hospital.hospitals("type:imaging") == [1, 2]
    hospital.say("all", EHR)
    hospital.say("type:imaging")
    assert hospital.hospitals("all") == [0, 5]


def test_another_persons_consent_is_no_consent(hospital: Hospital) -> None:
    hospital.say("all", EHR, person=OTHER)
    hospital.say("all", EHR, salt=OTHER_SALT)
    assert hospital.hospitals() == []


def test_the_hospitals_own_records_are_those_about_nobody(hospital: Hospital) -> None:
    terms = grant(label_of(US), salt=OTHER_SALT)
    assert (terms.consent_of, terms.consent_scope) == (NOBODY, NO_SCOPE)
    request = {"label": "all", "salt": OTHER_SALT.hex(), "wanted": "all"}
    assert hospital.get(terms, request) == [4]
    hospital.say("all", EHR)
    assert hospital.get(terms, request) == [4]


# ---------------------------------------------------------------- what a person has nothing of


def test_a_person_who_is_not_linked_shares_nothing(hospital: Hospital) -> None:
    hospital.trail.persons[UNKNOWN] = THEM, Role.PATIENT
    request = {"label": "all", "salt": SALT.hex(), "wanted": "all"}
    assert hospital.get(grant(UNKNOWN), request) == []
    terms = replace(grant(label_of(US), salt=SALT), consent_of=UNKNOWN, consent_scope=scopes.scope_of(SALT, "all"))
    hospital.say("all", EHR, person=UNKNOWN)
    told = refusal(lambda: hospital.get(terms, request))
    assert told == "this holder does not know what the person consents to any more"


def test_erased_and_unregistered_records_are_not_given(hospital: Hospital, tmp_path: Path) -> None:
    storing = Storing(hospital.vault, DirectoryStore(tmp_path / "blobs"))
    storing.take(record("new", Context(hospital.vault.pseudonym_key).pseudonym("7")))
    storing.finish()
    hospital.vault.erase(list(hospital.vault.holdings())[1])
    assert hospital.own() == [0, 2, 5]
    assert hospital.own(hospital.leaf(1)) == []
    assert hospital.emergency() == [0, 2]
    hospital.was_erased(0)
    assert hospital.own() == [2, 5]
    assert hospital.emergency() == [2]


def test_what_no_record_here_can_be_under_is_known_before_the_request_is_read(hospital: Hospital) -> None:
    ours = grant(label_of(US), salt=OTHER_SALT)
    for terms in (grant(PATIENT), ours, replace(ours, consent_of=PATIENT, consent_scope=bytes(31) + b"\1")):
        assert hospital.rules.may_cover(terms)
    for terms in (grant(UNKNOWN), grant(label_of(THEM)), replace(ours, consent_of=UNKNOWN)):
        assert not hospital.rules.may_cover(terms)


def test_batches_of_ours_that_the_vault_lacks_are_missing_and_lost_unless_given_up(hospital: Hospital) -> None:
    known = next(iter(hospital.vault.batches())).root
    roots = ((US, known), (US, b"\1" * 32), (THEM, b"\2" * 32), (US, b"\3" * 32))
    hospital.trail.entries = [
        Entry(index, bytes(32), NOW, holder, Kind.CLINICAL, 1, root, BlobRef.of(root))
        for index, (holder, root) in enumerate(roots, 1)
    ]
    assert hospital.rules.missing(hospital.trail) == hospital.rules.lost(hospital.trail) == [2, 4]
    assert replace(hospital.rules, given_up=frozenset({2})).lost(hospital.trail) == [4]


# ---------------------------------------------------------------- refusals


def refusal(ask: Callable[[], object]) -> str:
    with pytest.raises(Refusal) as caught:
        ask()
    assert isinstance(caught.value, HMChainError)
    return str(caught.value)


@pytest.mark.parametrize(("expiry", "alive"), [(NOW + 1, True), (NOW, False), (NOW - 1, False), (0, False)])
def test_a_grant_works_before_its_expiry_by_the_chains_time(expiry: int, alive: bool, hospital: Hospital) -> None:
    request = {"label": "all", "salt": SALT.hex(), "wanted": "all"}
    if alive:
        assert hospital.get(grant(PATIENT, expiry=expiry), request)
    else:
        told = refusal(lambda: hospital.get(grant(PATIENT, expiry=expiry), request))
        assert told == "the grant has expired, or was revoked"


@pytest.mark.parametrize("how", ["withdrawn", "suspended"])
@pytest.mark.parametrize(("who", "told"), [(READER, "for the reader"), (PATIENT, "for whoever gave the grant")])
def test_somebody_must_vouch_for_reader_and_granter(who: str, told: str, how: str, hospital: Hospital) -> None:
    member = hospital.trail.persons[who][0]
    if how == "withdrawn":
        del hospital.trail.persons[who]
    else:
        hospital.suspended.add(member)
    assert told in refusal(hospital.own)


def test_a_hospitals_grant_stands_when_the_persons_voucher_is_gone_but_not_its_readers(hospital: Hospital) -> None:
    hospital.say("all", EHR)
    del hospital.trail.persons[PATIENT]
    assert hospital.hospitals() == [0, 1, 2, 5], "the consent can still be withdrawn without a voucher"
    del hospital.trail.persons[READER]
    assert "for the reader" in refusal(hospital.hospitals)


def test_another_organisations_grant_is_nothing_here(hospital: Hospital) -> None:
    request = {"label": "all", "salt": SALT.hex(), "wanted": "all"}
    assert "whoever gave the grant" in refusal(lambda: hospital.get(grant(label_of(THEM)), request))


@pytest.mark.parametrize(
    ("expiry", "purpose", "active", "works"),
    [
        (NOW + 1, EHR, True, True),
        (NOW, EHR, True, False),
        (0, EHR, True, False),
        (NOW + 1, IMAGING, True, False),
        (NOW + 1, EHR, False, False),
    ],
)
def test_staff_needs_a_delegation_also_when_the_answer_is_given(
    expiry: int, purpose: Purpose, active: bool, works: bool, hospital: Hospital
) -> None:
    hospital.trail.persons[READER] = US, Role.PHYSICIAN  # whoever vouches for it
    hospital.trail.delegations[THEM, READER, purpose] = expiry
    if not active:
        hospital.suspended.add(THEM)
    terms, request = grant(PATIENT, reader=label_of(THEM)), {"label": "all", "salt": SALT.hex(), "wanted": "all"}
    if works:
        assert hospital.get(terms, request) == [0, 1, 2, 5]
    else:
        assert "granted to its organisation any more" in refusal(lambda: hospital.get(terms, request))


@pytest.mark.parametrize(
    "request_",
    [
        {"label": "kind:clinical"},
        {"salt": OTHER_SALT.hex()},
        {"label": "kind:clinical", "salt": OTHER_SALT.hex()},
    ],
    ids=str,
)
def test_a_request_for_another_scope_than_the_grants(request_: dict[str, str], hospital: Hospital) -> None:
    assert hospital.own("type:imaging") == [1, 2]
    told = refusal(lambda: hospital.own("type:imaging", request=request_))
    assert told == "the request names another scope than the grant"


def test_a_salt_with_a_type_at_its_end_does_not_make_a_type_all(hospital: Hospital) -> None:
    """The scope of "type:fall" is the hash of salt and label: cut elsewhere, it would be that of "all"."""
    stretched = (SALT + b"type:f").hex()
    with pytest.raises(ValueError, match="no salt"):
        hospital.own("type:fall", request={"label": "all", "salt": stretched})


@pytest.mark.parametrize(
    "request_",
    [
        {"label": None},
        {"label": 7},
        {"label": ["all"]},
        {"label": {}},
        {"label": "everything"},
        {"label": ""},
        {"label": "\ud800"},
        {"wanted": None},
        {"wanted": ["all"]},
        {"salt": None},
        {"salt": "zz"},
        {"salt": ""},
        {"salt": 7},
        {"salt": SALT.hex() + "00"},
    ],
    ids=repr,
)
def test_a_request_that_is_not_written_as_one_raises_nothing_that_stops_a_node(
    request_: dict[str, Any], hospital: Hospital
) -> None:
    with pytest.raises((Refusal, ValueError, LookupError, TypeError)) as caught:
        hospital.own(request=request_)
    assert isinstance(caught.value, Refusal) or not isinstance(caught.value, HMChainError)


def test_what_is_wanted_may_be_no_label_and_is_then_nothing(hospital: Hospital) -> None:
    assert hospital.own(wanted="everything") == []


def test_a_request_without_its_fields(hospital: Hospital) -> None:
    for missing in ("label", "salt", "wanted"):
        request = {"label": "all", "salt": SALT.hex(), "wanted": "all"}
        del request[missing]
        with pytest.raises(LookupError):
            hospital.get(grant(PATIENT), request)


# ---------------------------------------------------------------- emergencies


def test_an_emergency_gets_the_clinical_records_of_one_person(hospital: Hospital) -> None:
    assert hospital.emergency("7") == hospital.emergency(" 7 ") == hospital.emergency("Patient/7") == [0, 1, 2]
    assert hospital.emergency("8") == [3]
    assert hospital.emergency("9") == []


def test_an_emergency_for_another_person_than_was_said(hospital: Hospital) -> None:
    told = refusal(lambda: hospital.emergency("8", subject=scopes.commitment(SALT, "7")))
    assert told == "the request names another person than the emergency"


def test_an_emergency_whose_reason_nobody_could_review(hospital: Hospital) -> None:
    told = "the request gives no reason, or another one than the emergency"
    assert refusal(lambda: hospital.emergency(why="another")) == told
    assert refusal(lambda: hospital.emergency(reason=b"\1" * 32)) == told
    assert refusal(lambda: hospital.emergency(why=" \n", reason=scopes.commitment(SALT, " \n"))) == told
    for nothing in (None, 7):
        with pytest.raises(TypeError):
            hospital.emergency(why=nothing)


@pytest.mark.parametrize("nobody", ["", " ", "Patient/", "urn:uuid:"])
def test_nobody_has_no_emergencies(nobody: str, hospital: Hospital) -> None:
    """Records about nobody have the subject "": they are no person's that lies unconscious."""
    assert refusal(lambda: hospital.emergency(nobody)) == "the request names nobody"


def test_the_reader_must_still_be_who_may_break_the_glass(hospital: Hospital) -> None:
    for role in Role:
        hospital.trail.persons[READER] = THEM, role
        if role in (Role.PHYSICIAN, Role.PHARMACIST):
            assert hospital.emergency()
        else:
            assert "no physician or pharmacist any more" in refusal(hospital.emergency)
    hospital.trail.persons[READER] = THEM, Role.PHYSICIAN
    hospital.suspended.add(THEM)
    assert "nobody vouches" in refusal(hospital.emergency)
    del hospital.trail.persons[READER]
    assert "nobody vouches" in refusal(hospital.emergency)


def test_a_review_that_says_it_was_none_ends_it(hospital: Hospital) -> None:
    assert hospital.emergency(verdict=True) == hospital.emergency(verdict=None) == [0, 1, 2]
    assert "no emergency, as its review says" in refusal(lambda: hospital.emergency(verdict=False))


@pytest.mark.parametrize(
    ("identifier", "salt"), [(7, None), (None, None), (["7"], None), ("7", "zz"), ("7", 7), ("7", ""), ("\ud800", None)]
)
def test_an_emergency_that_is_not_written_as_one(identifier: Any, salt: Any, hospital: Hospital) -> None:
    with pytest.raises((ValueError, TypeError)) as caught:
        hospital.emergency(identifier, salt, subject=scopes.commitment(SALT, "7"))
    assert not isinstance(caught.value, HMChainError)


# ---------------------------------------------------------------- what the hospital itself may use


def test_the_hospital_uses_what_is_consented_to_and_what_is_nobodys(hospital: Hospital) -> None:
    def used(**wanted: Any) -> list[int]:
        return [h.id - 1 for h in consented(hospital.trail, hospital.vault, IMAGING, Wanted(**wanted))]

    assert used() == [4]
    hospital.say("all", IMAGING)
    assert used() == [4], "nobody told it what the scopes stand for"
    hospital.vault.learn(PATIENT, SALT)
    assert used() == [0, 1, 2, 4, 5]
    assert used(type="imaging") == [1, 2, 4]
    hospital.say("type:imaging")
    assert used(type="imaging") == [4]
    hospital.say(hospital.leaf(2), IMAGING)
    assert used(type="imaging") == [2, 4]
    hospital.vault.learn(OTHER, OTHER_SALT)
    hospital.say("all", RESEARCH, person=OTHER, salt=OTHER_SALT)
    assert used(type="imaging") == [2, 4]
    hospital.say("all", IMAGING, person=OTHER, salt=OTHER_SALT)
    assert used(type="imaging") == [2, 3, 4]
    hospital.vault.erase(list(hospital.vault.holdings())[2])
    assert used(type="imaging") == [3, 4]
    hospital.was_erased(4)
    assert used(type="imaging") == [3]
    del hospital.trail.persons[OTHER]
    assert used(type="imaging") == []


def test_the_hospital_uses_no_record_that_its_person_said_nothing_of_or_that_is_not_registered(
    hospital: Hospital, tmp_path: Path
) -> None:
    storing = Storing(hospital.vault, DirectoryStore(tmp_path / "blobs"))
    storing.take(record("new", Context(hospital.vault.pseudonym_key).pseudonym("7"), "imaging"))
    storing.finish()
    hospital.vault.learn(PATIENT, SALT)
    hospital.say("type:imaging", IMAGING)
    used = consented(hospital.trail, hospital.vault, IMAGING, Wanted())
    assert [holding.id - 1 for holding in used] == [1, 2, 4]
