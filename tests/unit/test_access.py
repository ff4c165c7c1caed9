"""Reading, and everybody who tries to read what is not theirs: end to end, on a chain in this process.

Two hospitals, patients, physicians, researchers. Each attacker gets one error, and no key goes out.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from hmchain import letters, merkle
from hmchain.blobs import BlobRef, DirectoryStore
from hmchain.envelope import new_identity, seal, unseal
from hmchain.errors import BlobError, ChainBehind, ChainError, ContractError, DataError, UsageError, VerificationError
from hmchain.identity import MemberIdentity
from hmchain.permits import SENDER, Access, EmergencyAccess, Purpose, Role, label_of
from hmchain.record import Kind, canonical
from hmchain.trail import Trail, Use
from trainers import access_audit, releasing, sharing
from trainers.access_audit import audit, render
from trainers.archive import Archive
from trainers.holdings import Holding
from trainers.persons import Signed
from trainers.receiving import Key
from trainers.records_verify import verify
from trainers.storing import commitment_of

from .ward import OUTSIDER, Ward, answer_all, labels_of, record, sign


@pytest.fixture(scope="module")
def ward(tmp_path_factory: pytest.TempPathFactory) -> Ward:
    """One for all tests: each has persons and records of its own."""
    return Ward.found(tmp_path_factory.mktemp("ward"))


@pytest.fixture
def own_ward(tmp_path: Path) -> Ward:
    """For tests that damage it, or count."""
    return Ward.found(tmp_path)


class Case:
    """A patient with two records, whom a physician of the other hospital may read."""

    count = 0

    def __init__(self, ward: Ward, *what: object, **grant: Any) -> None:
        Case.count += 1
        self.ward, self.name = ward, f"case {Case.count}"
        self.patient = ward.patient(self.name)
        self.records = ward.about(self.name, *(what or ("a", "b")))
        self.physician = ward.person(Role.PHYSICIAN, 2)
        self.grant = ward.grant(self.patient, self.physician.account.address, **grant)

    def access(self, by: MemberIdentity | None = None, request: bytes = b"\7" * 32, **changes: Any) -> Access:
        """What a reader signs, by hand."""
        terms, record = self.grant.permit, self.ward.granted(self.grant)
        usual = {name: getattr(terms, name) for name in ("granter", "scope", "purpose", "consent_of", "consent_scope")}
        return Access(**(usual | {"holder": 1, "request": request, "use": len(record.uses) + 1} | changes))

    def send(self, access: Access, by: MemberIdentity) -> None:
        """Relays it."""
        self.ward.archive(2).registry.transact("logAccess", access.abi(), *sign(self.ward, access, by))

    def letter(self, content: dict[str, Any] | None = None, key: bytes | None = None, **changes: Any) -> bytes:
        """A request's letter to the holder."""
        if content is None:
            content = labels_of(self.grant).request("all") | {"recipient": self.physician.encryption.public.hex()}
        return letters.send(self.ward.store, content | changes, key or self.ward.holder().key)

    def asked(self, digest: bytes) -> tuple[int, int]:
        """Logs a use with this request. Which."""
        access = self.access(request=digest)
        self.send(access, self.physician)
        return self.ward.granted(self.grant).number, access.use

    def answer(self, which: tuple[int, int]) -> Any:
        """Has the holder answer, and opens it."""
        answer_all(self.ward.releasing())
        return [r.value["what"][1] for r in self.ward.reader(self.physician).records(self.ward.envelope(which), 1)]


@pytest.fixture(scope="module")
def case(ward: Ward) -> Case:
    """One that no test changes: it is only asked for, under its grant or not."""
    return Case(ward)


def no_keys_went_out(ward: Ward, which: tuple[int, int], *readers: MemberIdentity) -> bool:
    """No part was stored for this use, and the letter, if there is one, lists none."""
    if ward.archive().vault.released(*which):
        return False
    envelope = ward.archive().trail().released.get(which, {}).get(1)
    if envelope in (None, bytes(32)):
        return True
    keys = [reader.encryption for reader in readers]
    return "parts" not in letters.receive(ward.store, envelope, keys)


def refused(name: str, attempt: Callable[[], object]) -> None:
    """The contract says no, with this error."""
    with pytest.raises(ContractError) as caught:
        attempt()
    assert caught.value.name == name


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


def released_nothing(case: Case, which: tuple[int, int], told: str) -> None:
    with pytest.raises(UsageError) as caught:
        case.answer(which)
    assert str(caught.value) == told
    assert no_keys_went_out(case.ward, which, case.physician)


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


def test_a_voucher_that_is_suspended_between_access_and_release(ward: Ward) -> None:
    case = Case(ward)
    which = ward.ask(case.physician, case.grant)
    active = ward.archive().history.active
    active.discard(2)
    try:
        released_nothing(case, which, "the holder refused: nobody vouches for the reader any more")
    finally:
        active.add(2)


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


# ---------------------------------------------------------------- requests that are lies


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"label": "kind:clinical"}, "the request names another scope than the grant"),
        ({"salt": "11" * 32}, "the request names another scope than the grant"),
        ({"salt": "11" * 33}, "the request is not written as one"),
        ({"label": "everything"}, "the request is not written as one"),
        ({"label": ["all"]}, "the request is not written as one"),
        ({"wanted": 7}, "the request is not written as one"),
        ({"salt": None}, "the request is not written as one"),
        ({"label": "\u0000"}, "the request is not written as one"),
    ],
    ids=str,
)
def test_a_request_for_more_or_for_nonsense(changes: dict[str, Any], told: str, ward: Ward, case: Case) -> None:
    released_nothing(case, case.asked(case.letter(**changes)), f"the holder refused: {told}")


def test_a_request_without_its_fields(ward: Ward, case: Case) -> None:
    content = {"recipient": case.physician.encryption.public.hex()}
    released_nothing(case, case.asked(case.letter(content)), "the holder refused: the request is not written as one")


def test_a_request_that_is_sealed_to_another_holder(ward: Ward, case: Case) -> None:
    for key in (ward.holder(2).key, case.physician.encryption.public):
        released_nothing(case, case.asked(case.letter(key=key)), "the holder could not read the request")


@pytest.mark.parametrize("recipient", [None, 7, "", "zz", "00" * 32, "01" + "00" * 31, "11" * 31, ["11" * 32]])
def test_a_request_that_names_no_key_to_seal_to(recipient: Any, ward: Ward, case: Case) -> None:
    """Keys of small order among them, sealed to which anybody could read."""
    which = case.asked(case.letter(recipient=recipient))
    released_nothing(case, which, "the holder could not read the request")
    assert ward.envelope(which) == bytes(32)


@pytest.mark.parametrize("size", [0, letters.SIZE - 1, letters.SIZE, letters.SIZE + 1])
def test_a_request_that_is_no_letter(size: int, ward: Ward, case: Case) -> None:
    digest = ward.store.put(b"\x05" * size).sha256
    released_nothing(case, case.asked(digest), "the holder could not read the request")


def test_a_request_that_is_nested_without_end(ward: Ward, case: Case) -> None:
    sealed = seal(b'{"label":' + b"[" * 3_000 + b"]" * 3_000 + b"}", [ward.holder().key])
    digest = ward.store.put((len(sealed).to_bytes(4, "big") + sealed).ljust(letters.SIZE, b"\0")).sha256
    released_nothing(case, case.asked(digest), "the holder could not read the request")


def test_a_request_that_nobody_has_keeps_no_other_waiting(own_ward: Ward, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is put off, and answered when it turns up."""
    ward, now = own_ward, [1_000.0]
    monkeypatch.setattr(releasing.time, "monotonic", lambda: now[0])
    case, other = Case(ward), Case(ward)
    content = labels_of(case.grant).request("all") | {"recipient": case.physician.encryption.public.hex()}
    hidden = case.letter(content)
    path = ward.folder / "blobs" / str(letters.ref_of(hidden).cid)
    data = path.read_bytes()
    path.unlink()
    missing, there = case.asked(hidden), ward.ask(other.physician, other.grant)
    answers = ward.releasing()
    assert answers.step() is False
    assert answers.step() is True
    assert list(ward.archive().trail().released[there]) == [1]
    assert not answers.is_due(), "it is not asked for again at once"
    for pause in (30.0, 60.0, 120.0):
        now[0] += pause - 1
        assert not answers.is_due()
        now[0] += 1
        assert answers.step() is False
    assert missing not in ward.archive().trail().released
    path.write_bytes(data)
    now[0] += 3_600
    assert answers.step() is True
    assert case.answer(missing) == ["a", "b"]


def test_one_readers_request_under_anothers_grant_is_sealed_to_the_first(ward: Ward) -> None:
    """Who repeats a request that it cannot read gets an envelope that it cannot open."""
    case, thief = Case(ward), ward.person(Role.PHYSICIAN, 2)
    request = case.letter()
    grant = ward.grant(case.patient, thief.account.address)
    access = case.access(request=request, use=1, scope=grant.permit.scope)
    case.send(access, thief)
    which = ward.granted(grant).number, 1
    answer_all(ward.releasing())
    with pytest.raises(BlobError, match="not sealed to us"):
        list(ward.reader(thief).records(ward.envelope(which), 1))


def test_a_stolen_envelope_opens_with_its_readers_key_only(ward: Ward, case: Case) -> None:
    which = ward.ask(case.physician, case.grant)
    answer_all(ward.releasing())
    for thief in (MemberIdentity.create(), ward.person(Role.PHYSICIAN, 2), ward.hospitals[1]):
        with pytest.raises(BlobError, match="not sealed to us"):
            list(ward.reader(thief).records(ward.envelope(which), 1))
    letter = letters.receive(ward.store, ward.envelope(which), [case.physician.encryption])
    part = next(
        path for path in (ward.folder / "blobs").iterdir() if bytes.fromhex(letter["parts"][0][1]) in _digest(path)
    )
    with pytest.raises(BlobError):
        unseal(part.read_bytes(), ward.hospitals[1].encryption)


def _digest(path: Path) -> bytes:
    return BlobRef.of(path.read_bytes()).cid.digest


def test_no_key_is_in_any_blob_or_event(ward: Ward, case: Case) -> None:
    ward.read(case.physician, case.grant)
    secrets = [ward.archive().vault.secret(holding).encode() for holding in case.records]
    content = b"".join(path.read_bytes() for path in (ward.folder / "blobs").iterdir())
    events = repr(list(ward.archive().registry.client.events(0, ward.archive().registry.client.head()))).encode()
    assert not [secret for secret in secrets if secret in content + events]
    assert b"AGE-SECRET-KEY" not in content


# ---------------------------------------------------------------- holders that lie


class Liar:
    """A holder that answers a request with what it likes."""

    def __init__(self, ward: Ward) -> None:
        self.case = Case(ward)
        self.ward = ward
        self.which = ward.ask(self.case.physician, self.case.grant)
        answer_all(ward.releasing())
        letter = letters.receive(ward.store, ward.envelope(self.which), [self.case.physician.encryption])
        _, cid, _ = letter["parts"][0]
        path = next(path for path in (ward.folder / "blobs").iterdir() if _digest(path).hex() == cid)
        self.keys: list[dict[str, Any]] = json.loads(unseal(path.read_bytes(), self.case.physician.encryption))

    def part(self, content: bytes) -> list[Any]:
        """A part with this content, as a letter lists it."""
        ref = self.ward.store.put(seal(content, [self.case.physician.encryption.public]))
        return [ref.sha256.hex(), ref.cid.digest.hex(), ref.size]

    def read(self, letter: dict[str, Any], holder: int | None = 1) -> list[Any]:
        """What the reader makes of a letter."""
        digest = letters.send(self.ward.store, letter, self.case.physician.encryption.public)
        return [r.value["what"][1] for r in self.ward.reader(self.case.physician).records(digest, holder)]

    def tell(self, keys: Any, holder: int | None = 1) -> list[Any]:
        """What the reader makes of these keys."""
        return self.read({"parts": [self.part(canonical(keys))], "count": 1}, holder)


@pytest.fixture(scope="module")
def liar(ward: Ward) -> Liar:
    return Liar(ward)


def test_the_truth_is_read(liar: Liar) -> None:
    assert liar.tell(liar.keys) == ["a", "b"]
    assert liar.tell([]) == []


@pytest.mark.parametrize(
    "changes",
    [
        {"position": 1},
        {"position": 2},
        {"position": 2**62},
        {"proof": []},
        {"proof": ["00" * 32]},
        {"proof": ["00" * 32] * 40},
        {"commitment": "00" * 32},
        {"commitment": ""},
        {"digest": "00" * 32},
        {"offset": 1},
        {"length": 1},
        {"length": 2**62},
    ],
    ids=str,
)
def test_a_record_that_is_not_the_registered_one(changes: dict[str, Any], liar: Liar) -> None:
    with pytest.raises(VerificationError, match="a record is not in entry"):
        liar.tell([liar.keys[0] | changes])


def test_another_record_or_its_proof_in_its_place(liar: Liar) -> None:
    one, other = liar.keys
    for name in ("position", "proof", "commitment", "digest", "offset"):
        with pytest.raises(VerificationError, match="a record is not in entry"):
            liar.tell([one | {name: other[name]}])


@pytest.mark.parametrize("entry", [0, 10**6])
def test_an_entry_that_there_is_not(entry: int, liar: Liar) -> None:
    with pytest.raises(VerificationError, match=f"there is no entry {entry}"):
        liar.tell([liar.keys[0] | {"entry": entry}])


def test_an_entry_of_another_batch_or_another_holder(ward: Ward, liar: Liar) -> None:
    (elsewhere,) = ward.take(record(["x", "theirs"]), member=2)
    (ours,) = ward.take(record(["x", "ours", liar.which]))
    for holding in (elsewhere, ours):
        told = [liar.keys[0] | {"entry": _number(ward, holding)}]
        with pytest.raises(VerificationError, match=r"is not of member 1|a record is not in entry"):
            liar.tell(told)
    theirs = _key_of(ward, elsewhere, 2)
    with pytest.raises(VerificationError, match="is not of member 1"):
        liar.tell([theirs])
    assert liar.tell([theirs], None) == ["theirs"], "it is a registered one, of somebody"


def _number(ward: Ward, holding: Holding) -> int:
    entries = ward.archive().trail().entries
    return next(entry.index for entry in entries if entry.root == holding.batch.root)


def _key_of(ward: Ward, holding: Holding, member: int) -> dict[str, Any]:
    vault = ward.archive(member).vault
    tree = merkle.Tree([held.leaf for held in vault.in_batch(holding.batch)])
    return releasing._key(vault.find(holding.name), tree, vault.secrets(holding.batch))


def test_the_same_record_twice(liar: Liar) -> None:
    with pytest.raises(VerificationError, match="released a record twice"):
        liar.tell([liar.keys[0], liar.keys[1], liar.keys[0]])


@pytest.mark.parametrize(
    "secret", ["", "no key", "AGE-SECRET-KEY-1", new_identity().secret], ids=list(map(str, range(4)))
)
def test_a_key_that_opens_nothing(secret: str, liar: Liar) -> None:
    with pytest.raises(BlobError, match=r"is no key|cannot be opened"):
        liar.tell([liar.keys[0] | {"secret": secret}])


def test_a_key_of_half_a_letter_of_the_alphabet(liar: Liar) -> None:
    keys = canonical([liar.keys[0] | {"secret": "S"}]).replace(b'"S"', b'"\\ud800"')
    with pytest.raises(BlobError, match="is no key"):
        liar.read({"parts": [liar.part(keys)]})


def test_a_ciphertext_that_was_altered(own_ward: Ward) -> None:
    liar = Liar(own_ward)
    entry = own_ward.archive().trail().entries[0]
    path = own_ward.folder / "blobs" / str(entry.blob.cid)
    data = path.read_bytes()
    for wrong in (data[:-1] + b"\0", data[:-1], b""):
        path.write_bytes(wrong)
        with pytest.raises(BlobError, match="does not have the recorded"):
            liar.tell(liar.keys)
    path.unlink()
    with pytest.raises(BlobError, match="is not in"):
        liar.tell(liar.keys)


@pytest.mark.parametrize(
    ("plain", "error", "told"),
    [
        (b"no record at all", DataError, "not a record"),
        (b"[" * 50_000 + b"\n", DataError, "not a record"),
        (record("x", kind=Kind.RESEARCH).encode(), VerificationError, "of another kind than the entry"),
    ],
    ids=["no record", "deep", "another kind"],
)
def test_a_holder_that_registered_something_else(
    plain: bytes, error: type[Exception], told: str, ward: Ward, liar: Liar
) -> None:
    """It is committed to, registered and proved, and still not what it is said to be."""
    key = new_identity()
    ciphertext = seal(plain, [key.public])
    ref, commitment = ward.store.put(ciphertext), commitment_of(plain, key.secret)
    leaf = merkle.record_leaf(commitment, ref.sha256, 0, len(ciphertext))
    entry = ward.archive().registry.register(Kind.CLINICAL, 1, leaf, (ref.sha256, ref.cid.digest, ref.size))
    told_key = {"entry": entry, "position": 0, "proof": [], "commitment": commitment.hex(), "secret": key.secret}
    with pytest.raises(error, match=told):
        liar.tell([told_key | {"digest": ref.sha256.hex(), "offset": 0, "length": len(ciphertext)}])


@pytest.mark.parametrize("name", ["entry", "position", "offset", "length", "proof", "commitment", "digest", "secret"])
@pytest.mark.parametrize("value", [None, True, -1, 2**63, 1.0, "x", [1], {}, "deep"], ids=repr)
def test_a_key_that_is_not_written_as_one(name: str, value: Any, liar: Liar) -> None:
    told = [[[]]] if value == "deep" else value
    if (name, value) in (("secret", "x"),):
        return
    with pytest.raises(BlobError, match="is not written as one"):
        liar.tell([liar.keys[0] | {name: told}])


@pytest.mark.parametrize("keys", [None, 7, "text", {}, [None], [[]], ["key"], [{}], [7]], ids=repr)
def test_keys_that_are_none(keys: Any, liar: Liar) -> None:
    with pytest.raises(BlobError, match="is not written as one"):
        liar.tell(keys)


def test_json_that_is_nested_without_end(liar: Liar) -> None:
    for deep in (b"[" * 500_000, b"[" * 9_000 + b"]" * 9_000, b'[{"a":' * 4_000):
        with pytest.raises(BlobError, match="is not written as one"):
            liar.read({"parts": [liar.part(deep)]})


@pytest.mark.parametrize(
    "letter",
    [
        {},
        {"parts": None},
        {"parts": 7},
        {"parts": [7]},
        {"parts": [[]]},
        {"parts": [["", "", 0]]},
        {"parts": [["00" * 32, "00" * 32, "1"]]},
        {"parts": [["00" * 32, "00" * 32, 1.5]]},
        {"parts": [["00" * 32, "00" * 32, -1]]},
        {"parts": [["00" * 32, "00" * 32, None]]},
        {"parts": [["00" * 32, "00" * 31, 1]]},
        {"parts": [["00" * 32, "00" * 32, 1]]},
        {"parts": {"a": 1}},
    ],
    ids=str,
)
def test_a_letter_that_is_not_written_as_one(letter: dict[str, Any], liar: Liar) -> None:
    with pytest.raises(BlobError):
        liar.read(letter)


def test_a_part_that_is_too_large_is_not_fetched(liar: Liar, monkeypatch: pytest.MonkeyPatch) -> None:
    part = liar.part(canonical(liar.keys))
    with pytest.raises(BlobError, match="are allowed"):
        liar.read({"parts": [[*part[:2], 2**40]]})
    monkeypatch.setattr("trainers.receiving.MAX_PART_BYTES", part[2] - 1)
    with pytest.raises(BlobError, match="are allowed"):
        liar.read({"parts": [part]})


@pytest.mark.parametrize(
    ("said", "told"),
    [
        ("no", "the holder refused: no"),
        ("\x1b[2Jgone\n\rtwo lines", "the holder refused: '\\x1b[2Jgone two lines'"),
        ("\x9b2J", "the holder refused: '\\x9b2J'"),
        ("x" * 5_000, "the holder refused: " + "x" * 200),
        (7, "the holder refused: it does not say why"),
        ([["deep"]], "the holder refused: it does not say why"),
    ],
    ids=repr,
)
def test_what_a_holder_says_is_one_line_that_no_terminal_obeys(said: Any, told: str, liar: Liar) -> None:
    with pytest.raises(UsageError) as caught:
        liar.read({"refused": said})
    assert str(caught.value) == told


def test_a_key_is_not_shown(liar: Liar) -> None:
    key = Key.parse(liar.keys[0])
    assert key.secret not in repr(key)


# ---------------------------------------------------------------- waiting


def test_a_holder_that_does_not_answer_is_waited_for_so_long(ward: Ward, monkeypatch: pytest.MonkeyPatch) -> None:
    case = Case(ward)
    which = ward.ask(case.physician, case.grant)
    reader = ward.reader(case.physician)
    monkeypatch.setattr("trainers.receiving.LOOK_SECONDS", 0.01)
    with pytest.raises(ChainError, match="has not answered in 0 s; ask again later"):
        reader.wait(lambda trail: trail.released.get(which, {}).get(1), 0)
    answer_all(ward.releasing())
    behind: Iterator[Any] = iter([ChainBehind("behind"), None])

    def trail() -> Trail:
        fault = next(behind, None)
        if fault is not None:
            raise fault
        return ward.archive(2).trail()

    seen: list[Trail] = []
    fake = type("Hand", (), {"trail": staticmethod(trail), "client": reader.registry.client})()
    patient = replace(reader, registry=fake)
    assert patient.wait(lambda t: seen.append(t) or t.released[which][1], 5)  # type: ignore[func-returns-value]
    assert len(seen) == 1


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


# ---------------------------------------------------------------- organisations: grants, consents, staff


def hospital_grant(ward: Ward, case: Case, reader: str, purpose: Purpose = Purpose.EMR) -> Signed:
    return ward.grant(None, reader, "all", purpose, consent_of=(case.patient.account.address, "all"))


def test_a_hospitals_grant_works_while_the_patient_consents(ward: Ward) -> None:
    case = Case(ward)
    ward.about(case.name, "picture", type="imaging")
    ward.consent(case.patient, "all", Purpose.EMR)
    grant = hospital_grant(ward, case, case.physician.account.address)
    assert ward.read(case.physician, grant) == ["a", "b", "picture"]
    ward.consent(case.patient, "type:imaging", Purpose.IMAGING)
    assert ward.read(case.physician, grant) == ["a", "b"], "the more specific word decides"
    ward.consent(case.patient, "all", Purpose.IMAGING)
    refused("NoConsent", lambda: ward.ask(case.physician, grant))
    ward.consent(case.patient, "all")
    refused("NoConsent", lambda: ward.ask(case.physician, grant))


def test_consent_withdrawn_between_access_and_release(ward: Ward) -> None:
    case = Case(ward)
    ward.consent(case.patient, "all", Purpose.EMR)
    grant = hospital_grant(ward, case, case.physician.account.address)
    which = ward.ask(case.physician, grant)
    ward.consent(case.patient, "all")
    assert case.answer(which) == []
    assert ward.archive().vault.released(*which) == []


def test_a_hospital_grants_over_nobodys_records_what_is_nobodys(ward: Ward) -> None:
    case = Case(ward)
    ward.take(record(["x", "nobody's", case.name], type=f"t{Case.count}"))
    grant = ward.grant(None, case.physician.account.address, f"type:t{Case.count}", Purpose.EMR)
    assert ward.read(case.physician, grant) == ["nobody's"]
    everything = ward.grant(None, case.physician.account.address, "all", Purpose.EMR)
    assert not {"a", "b"} & set(ward.read(case.physician, everything)), "and no patient's"


def test_a_hospital_cannot_grant_over_whom_it_has_heard_nothing_from(ward: Ward) -> None:
    case = Case(ward)
    with pytest.raises(UsageError, match="has not told this hospital of any consent"):
        hospital_grant(ward, case, case.physician.account.address)


def test_staff_uses_its_organisations_grant_until_the_delegation_ends(ward: Ward) -> None:
    case, staff = Case(ward), ward.person(Role.RESEARCHER, 2)
    grant = ward.grant(case.patient, label_of(2), purpose=Purpose.EMR)
    delegate = ward.archive(2).registry.transact
    refused("NoDelegation", lambda: ward.ask(staff, grant, institution=2))
    delegate("setDelegation", staff.account.address, int(Purpose.EHR), ward.in_a_day())
    refused("NoDelegation", lambda: ward.ask(staff, grant, institution=2))
    delegate("setDelegation", staff.account.address, int(Purpose.EMR), ward.in_a_day())
    assert ward.read(staff, grant, institution=2) == ["a", "b"]
    refused("UnknownGrant", lambda: ward.ask(staff, grant))
    delegate("setDelegation", staff.account.address, int(Purpose.EMR), 0)
    refused("NoDelegation", lambda: ward.ask(staff, grant, institution=2))


def test_a_delegation_that_ends_between_access_and_release(ward: Ward) -> None:
    case, staff = Case(ward), ward.person(Role.RESEARCHER, 2)
    grant = ward.grant(case.patient, label_of(2), purpose=Purpose.EMR)
    delegate = ward.archive(2).registry.transact
    for until in (0, ward.now + 500):
        delegate("setDelegation", staff.account.address, int(Purpose.EMR), ward.now + 500)
        which = ward.ask(staff, grant, institution=2)
        if until:
            ward.chain.travel(600)
        else:
            delegate("setDelegation", staff.account.address, int(Purpose.EMR), 0)
        answer_all(ward.releasing())
        with pytest.raises(UsageError, match="may not use what is granted to its organisation any more"):
            list(ward.reader(staff).records(ward.envelope(which), 1))
        assert no_keys_went_out(ward, which, staff)


# ---------------------------------------------------------------- what is relayed


def test_a_hospital_relays_what_persons_signed_and_once(ward: Ward) -> None:
    case = Case(ward)
    signed = sharing.consent(ward.archive(), case.patient, "all", frozenset({Purpose.IMAGING}))
    assert sharing.relay_file(ward.archive(2), signed)
    assert not sharing.relay_file(ward.archive(), signed)
    assert ward.archive().vault.salt(case.patient.account.address) == signed.salt
    assert not sharing.relay_file(ward.archive(), case.grant)


def test_a_hospital_relays_nothing_in_its_own_name(ward: Ward) -> None:
    """Its account sends what it relays: a grant "by" the hospital, which anyone may write, would be the hospital's."""
    case, thief = Case(ward), ward.person(Role.RESEARCHER, 2)
    salt = b"\3" * 32
    forged = sharing.grant(ward.archive(2), None, "all", thief.account.address, Purpose.EMR, ward.in_a_day())
    forged = replace(forged, permit=replace(forged.permit, granter=label_of(1)))
    unsigned = replace(case.grant, signature=SENDER)
    before = ward.archive().trail().revision
    for signed in (forged, replace(forged, signature=(salt, salt)), unsigned):
        with pytest.raises(UsageError, match="no person signed this"):
            sharing.relay_file(ward.archive(), signed)
    assert ward.archive().trail().revision == before


def test_a_forged_consent_is_refused_and_teaches_nothing(ward: Ward) -> None:
    """Otherwise anyone could make a hospital forget what a patient's scopes stand for."""
    case, forger = Case(ward), MemberIdentity.create()
    true = ward.consent(case.patient, "all", Purpose.IMAGING)
    account = case.patient.account.address
    forged = sharing.consent(ward.archive(), forger, "all", frozenset({Purpose.EHR}))
    permit = replace(forged.permit, person=account)
    for signature in (forged.signature, sign(ward, permit, forger), true.signature):
        with pytest.raises(ContractError):
            sharing.relay_file(ward.archive(), replace(forged, permit=permit, signature=signature))
    assert ward.archive().vault.salt(account) == true.salt
    assert ward.archive(2).vault.salt(account) is None


def test_an_old_consent_is_refused_and_still_tells_what_its_scope_stands_for(ward: Ward) -> None:
    case = Case(ward)
    old = ward.consent(case.patient, "all", Purpose.IMAGING)
    ward.consent(case.patient, "all")
    refused("WrongNonce", lambda: sharing.relay_file(ward.archive(2), old))
    assert ward.archive(2).vault.salt(case.patient.account.address) == old.salt


def test_only_who_gave_a_grant_revokes_it(ward: Ward) -> None:
    case = Case(ward)
    archive = ward.archive()
    for who in (None, case.physician):
        with pytest.raises(UsageError, match="only whoever gave a grant can revoke it"):
            sharing.revoked(archive, who, case.grant)
    signed = sharing.consent(archive, case.patient, "all", frozenset())
    with pytest.raises(UsageError, match="not revoked but withdrawn"):
        sharing.revoked(archive, case.patient, signed)
    with pytest.raises(UsageError, match="a consent, not a grant"):
        sharing.number_of(archive, signed)
    unknown = sharing.grant(archive, case.patient, "all", label_of(2), Purpose.EHR, ward.in_a_day())
    with pytest.raises(UsageError, match="no such grant"):
        sharing.revoked(archive, case.patient, unknown)
    with pytest.raises(UsageError, match="does not know this grant yet"):
        sharing.number_of(archive, unknown)


def test_a_revoked_grant_can_be_given_again(ward: Ward) -> None:
    case = Case(ward)
    sharing.relay(ward.archive(), sharing.revoked(ward.archive(), case.patient, case.grant))
    again = ward.grant(case.patient, case.physician.account.address)
    assert sharing.number_of(ward.archive(), again) == sharing.number_of(ward.archive(), case.grant)
    assert ward.read(case.physician, again) == ["a", "b"]
    refused("WrongNonce", lambda: sharing.relay_file(ward.archive(), case.grant))


# ---------------------------------------------------------------- registering and erasing


def test_a_batch_that_was_registered_before_a_crash_is_not_registered_again(own_ward: Ward) -> None:
    archive = own_ward.archive()
    storing = archive.storing
    storing.take(record(["x", 1]))
    storing.finish()
    (batch,) = archive.vault.pending()
    archive.registry.register(batch.kind, batch.count, batch.root, batch_blob(batch))
    assert [number for _, number in archive.register()] == [1]
    assert list(archive.register()) == []
    assert len(archive.trail().entries) == 1
    assert verify(archive)["records"] == 1


def batch_blob(batch: Any) -> tuple[bytes, bytes, int]:
    return batch.blob.sha256, batch.blob.cid.digest, batch.blob.size


def test_erasing_goes_on_where_it_was_cut_short(own_ward: Ward) -> None:
    archive = own_ward.archive()
    holding, _ = own_ward.take(record(["x", 1]), record(["x", 2]))
    archive.vault.erase(holding)  # and then the power went
    with pytest.raises(VerificationError, match="is erased here or on chain, and not in both"):
        verify(archive)
    archive.erase(archive.vault.find(holding.name))
    archive.erase(archive.vault.find(holding.name))
    assert verify(archive)["records"] == 2
    assert archive.trail().erased == {1: {holding.leaf}}


def test_a_key_is_not_destroyed_for_an_entry_that_is_not_on_this_chain(own_ward: Ward) -> None:
    archive = own_ward.archive()
    (holding,) = own_ward.take(record(["x", 1]))
    for number in (0, 2, 99):
        moved = replace(holding, batch=replace(holding.batch, number=number))
        with pytest.raises(ChainError, match="is not the one that record"):
            archive.erase(moved)
    own_ward.take(record(["x", 2]), member=2)
    with pytest.raises(ChainError, match="is not the one that record"):
        archive.erase(replace(holding, batch=replace(holding.batch, number=2)))
    with pytest.raises(UsageError, match="is not registered yet"):
        archive.erase(replace(holding, batch=replace(holding.batch, number=None)))
    assert archive.reading.open(archive.vault.find(holding.name)).value == {"what": ["x", 1]}


def test_who_is_no_member_has_no_number(own_ward: Ward) -> None:
    stranger = MemberIdentity(OUTSIDER, own_ward.hospitals[0].encryption, bytes(32))
    archive = replace(own_ward.archive(), keys=replace(own_ward.archive().keys, identity=stranger))
    with pytest.raises(UsageError, match="is no member of this consortium"):
        archive.member  # noqa: B018
    with pytest.raises(UsageError, match="no time zone"):
        archive.context(zone="Nowhere/Atlantis")


# ---------------------------------------------------------------- records_verify


@pytest.fixture(scope="module")
def shelf(tmp_path_factory: pytest.TempPathFactory) -> Ward:
    """Three records of three persons here, and one at the other hospital."""
    ward = Ward.found(tmp_path_factory.mktemp("shelf"))
    ward.take(record(["x", 1], "one"), record(["x", 2], "two"), record(["x", 3], "three"))
    ward.take(record(["x", "theirs"]), member=2)
    return ward


@pytest.fixture
def stock(shelf: Ward, tmp_path: Path) -> Iterator[Archive]:
    """That hospital's archive, copied, to be damaged."""
    for name in ("records-1", "blobs"):
        shutil.copytree(shelf.folder / name, tmp_path / name)
    archive = shelf.fresh_archive(1, tmp_path / "records-1")
    yield replace(archive, store=DirectoryStore(tmp_path / "blobs"))
    archive.vault.close()


def is_invalid(archive: Archive, told: str, quick: bool = True) -> None:
    """What verify says now; quick: also without blobs and keys."""
    for how in (True, False) if quick else (False,):
        with pytest.raises(VerificationError, match=told) as caught:
            verify(archive, how)
        assert "\n" not in str(caught.value)
    if not quick:
        verify(archive, True)


def sql(archive: Archive, statement: str, *values: object) -> None:
    with archive.vault._writing() as database:
        database.execute(statement, values)


def test_what_is_whole_is_valid(stock: Archive, shelf: Ward) -> None:
    assert verify(stock) == verify(stock, quick=True) == {"records": 3, "batches": 1, "entries": 2}
    assert verify(shelf.archive(2)) == {"records": 1, "batches": 1, "entries": 2}


def test_a_blob_that_is_missing_or_altered(stock: Archive, tmp_path: Path) -> None:
    path = tmp_path / "blobs" / str(stock.trail().entries[0].blob.cid)
    path.write_bytes(path.read_bytes()[:-1] + b"\0")
    is_invalid(stock, r"the blob of entry 1: .* SHA-256", quick=False)
    path.unlink()
    is_invalid(stock, r"the blob of entry 1: .* is not in", quick=False)


@pytest.mark.parametrize(
    ("statement", "told"),
    [
        ("UPDATE records SET leaf = zeroblob(32) WHERE id = 2", "is not at its place in entry 1"),
        ("UPDATE records SET commitment = zeroblob(32) WHERE id = 2", "is not at its place in entry 1"),
        ("UPDATE records SET digest = zeroblob(32) WHERE id = 2", "is not at its place in entry 1"),
        ("UPDATE records SET offset = offset + 1 WHERE id = 2", "is not at its place in entry 1"),
        ("UPDATE records SET position = 7 WHERE id = 2", "is not at its place in entry 1"),
        ("DELETE FROM records WHERE id = 3", "do not have its root"),
        ("UPDATE records SET erased = 1 WHERE id = 2", "is erased here or on chain, and not in both"),
        ("UPDATE batches SET root = zeroblob(32)", "entry 1 on chain is not our batch"),
        ("UPDATE batches SET sha256 = zeroblob(32)", "entry 1 on chain is not our batch"),
        ("UPDATE batches SET kind = 'research'", "entry 1 on chain is not our batch"),
        ("UPDATE batches SET size = size + 1", "entry 1 on chain is not our batch"),
        ("UPDATE batches SET number = 2", "entry 2 on chain is not our batch"),
        ("UPDATE batches SET number = 99", "entry 99 on chain is not our batch"),
        ("UPDATE batches SET number = NULL", "3 records are not registered yet"),
    ],
)
def test_a_row_that_was_altered(statement: str, told: str, stock: Archive) -> None:
    if statement.startswith("DELETE"):
        sql(stock, "DELETE FROM codes")
    sql(stock, statement)
    is_invalid(stock, told)


def test_a_batch_that_is_gone_from_the_vault(stock: Archive) -> None:
    for table in ("codes", "records", "batches"):
        sql(stock, f"DELETE FROM {table}")
    is_invalid(stock, "the vault knows nothing of entry 1, which is ours")


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE records SET subject = 'one' WHERE id = 2",
        "UPDATE records SET type = 'imaging' WHERE id = 2",
        "UPDATE records SET time = '' WHERE id = 2",
        "UPDATE records SET source = 'fax' WHERE id = 2",
        "UPDATE codes SET code = '1' WHERE record = 2",
        "INSERT INTO codes VALUES (2, 'http://loinc.org', '1')",
    ],
)
def test_a_row_that_says_something_else_than_its_record(statement: str, stock: Archive) -> None:
    """By subject and type it is decided who may read it."""
    sql(stock, statement)
    is_invalid(stock, "is not what the vault says of it", quick=False)


def test_keys_that_were_altered(stock: Archive) -> None:
    keys = stock.vault.secrets(next(stock.vault.batches()))
    sealed = stock.vault._seal
    for wrong, told in (
        (b"\0", r"the keys of entry 1: .* is damaged"),
        (sealed(keys[:2]), r"the keys of entry 1: .* has 2 keys for 3"),
        (sealed([keys[1], keys[0], keys[2]]), "cannot be opened"),
        (sealed([keys[0], "no key", keys[2]]), "is no key"),
        (sealed([keys[0], None, keys[2]]), "is erased and its key is here, or the other way round"),
    ):
        sql(stock, "UPDATE batches SET secrets = ?", wrong)
        is_invalid(stock, told, quick=False)


def test_a_key_that_was_put_back_after_it_was_erased(own_ward: Ward) -> None:
    holding, _ = own_ward.take(record(["x", 1]), record(["x", 2]))
    archive = own_ward.archive()
    keys = archive.vault.secrets(holding.batch)
    archive.erase(holding)
    sql(archive, "UPDATE batches SET secrets = ?", archive.vault._seal(keys))
    is_invalid(archive, "is erased and its key is here, or the other way round", quick=False)


def test_entries_that_are_not_those_of_the_contract(stock: Archive) -> None:
    entries = stock.trail().entries
    entry = entries.pop()
    is_invalid(stock, "the contract has 2 entries, its events tell of 1")
    entries.append(replace(entry, timestamp=entry.timestamp + 1))
    is_invalid(stock, "entry 2 is not the one that the contract keeps the hash of")


# ---------------------------------------------------------------- the audit


@pytest.fixture(scope="module")
def audited(tmp_path_factory: pytest.TempPathFactory) -> Ward:
    """Two grants, three readings, one of which nobody answered, and two emergencies."""
    ward = Ward.found(tmp_path_factory.mktemp("audited"))
    case = Case(ward)
    ward.read(case.physician, case.grant)
    ward.consent(case.patient, "all", Purpose.CLINICAL_RESEARCH)
    whose = case.patient.account.address, "all"
    other = ward.grant(None, case.physician.account.address, "all", Purpose.CLINICAL_RESEARCH, consent_of=whose)
    ward.read(case.physician, other)
    reader = ward.reader(case.physician)
    number = reader.ask_in_emergency(case.name, "unconscious", ward.holder())
    answer_all(ward.releasing())
    ward.archive().registry.transact("review", number, case.physician.account.address, True, b"\1" * 32)
    reader.ask_in_emergency(case.name, "again", ward.holder(2))
    ward.ask(case.physician, case.grant)
    ward.archive(2).registry.transact("withdrawVouch", case.physician.account.address)
    return ward


def test_an_audit_has_every_reading_and_says_why_there_are_no_others(audited: Ward) -> None:
    found = audit(audited.archive())
    told = [(r.purpose, r.grant, r.use, r.answer, r.verdict, len(r.records)) for r in found.readings]
    assert told == [
        ("treatment", 1, 1, "released", "", 2),
        ("clinical-research", 2, 1, "released", "", 2),
        ("emergency", 1, 0, "released", "upheld", 2),
        ("emergency", 2, 0, "not answered", "not reviewed", 0),
        ("treatment", 1, 2, "not answered", "", 0),
    ]
    assert (found.grants, found.emergencies, found.unreviewed) == (2, 2, 1)
    assert {(r.role, r.vouched_by) for r in found.readings} == {("physician", 2)}, "as it was when it read"
    assert [r.granter for r in found.readings][1] == "member 1"
    times = [r.time for r in found.readings]
    assert times == sorted(times)


def test_another_hospital_sees_the_same_but_not_which_records(audited: Ward) -> None:
    ours, theirs = audit(audited.archive()), audit(audited.archive(2))
    sealed = {"released": "answered"}
    seen = [replace(r, records=[], answer=sealed.get(r.answer, r.answer)) for r in ours.readings]
    assert seen == theirs.readings


def test_the_forms_of_an_audit(audited: Ward) -> None:
    found = audit(audited.archive())
    text = render(found, "text").splitlines()
    assert text[-1].startswith(
        "COMPLETE  5 readings: every use of 2 grants, every one of 2 emergencies (1 not reviewed)"
    )
    assert "[grant 1, use 1]" in text[0]
    assert text[-2].endswith("(not answered)")
    assert [reading["use"] for reading in json.loads(render(found, "json"))["readings"]] == [1, 1, 0, 0, 2]
    table = render(found, "csv").splitlines()
    assert (len(table), table[0].split(",")[:3]) == (6, ["time", "reader", "role"])
    bundle = json.loads(render(found, "fhir"))
    resources = [entry["resource"] for entry in bundle["entry"]]
    assert {resource["resourceType"] for resource in resources} == {"AuditEvent"}
    purposes = [resource["purposeOfEvent"][0]["coding"][0]["code"] for resource in resources]
    assert purposes == ["TREAT", "HRESCH", "BTG", "BTG", "TREAT"]
    assert [resource["outcome"] for resource in resources] == ["0", "0", "0", "4", "4"]
    assert len(resources[0]["entity"]) == 2
    with pytest.raises(UsageError, match="is none of text, json, csv, fhir"):
        render(found, "pdf")


def test_care_is_not_called_research() -> None:
    assert set(access_audit.CARE) == {"ehr", "emr", "treatment"}


@pytest.mark.parametrize(
    ("tamper", "told"),
    [
        (lambda t: t.grants.pop(2), "the contract counts 2 grants, its events tell of 1"),
        (lambda t: t.grants.update({3: t.grants[1]}), "the contract counts 2 grants, its events tell of 3"),
        (lambda t: t.emergencies.pop(2), "the contract counts 2 emergencies, its events tell of 1"),
        (lambda t: t.grants[1].uses.pop(), "grant 1 was used 2 times, events tell of 1"),
        (lambda t: t.grants[2].uses.append(t.grants[2].uses[0]), "grant 2 was used 1 times, events tell of 2"),
        (lambda t: _reterm(t, expiry=0), "grant 1 is not as the events tell of it"),
        (lambda t: _reterm(t, nonce=2), "grant 1 is not as the events tell of it"),
        (lambda t: _reterm(t, reader=label_of(9)), "grant 1 was used 0 times, events tell of 2"),
        (lambda t: _reterm(t, purpose=Purpose.EHR), "grant 1 was used 0 times, events tell of 2"),
        (lambda t: setattr(t.emergencies[1], "verdict", None), "emergency 1 is not as the events tell of it"),
        (lambda t: setattr(t.emergencies[2], "verdict", True), "emergency 2 is not as the events tell of it"),
        (lambda t: setattr(t.emergencies[1], "holder", 2), "emergency 1 is not as the events tell of it"),
        (lambda t: setattr(t.emergencies[1], "reader", label_of(9)), "emergency 1 is not as the events tell of it"),
    ],
)
def test_what_was_tampered_with_is_noticed(tamper: Callable[[Trail], object], told: str, audited: Ward) -> None:
    archive = audited.fresh_archive(1, audited.folder / "records-1")
    try:
        tamper(archive.trail())
        with pytest.raises(VerificationError) as caught:
            audit(archive)
        assert str(caught.value) == told
    finally:
        archive.vault.close()


def _reterm(trail: Trail, **terms: Any) -> None:
    trail.grants[1].terms = replace(trail.grants[1].terms, **terms)


def test_uses_are_in_the_order_of_the_chain(audited: Ward) -> None:
    uses: list[Use] = audited.archive().trail().uses()
    assert [(use.number, use.use) for use in uses] == [(1, 1), (2, 1), (1, 2)]


def test_a_permit_in_a_file_is_the_one_that_is_on_chain(ward: Ward, tmp_path: Path) -> None:
    case = Case(ward)
    case.grant.write(tmp_path / "grant.json")
    assert sharing.number_of(ward.archive(), Signed.read(tmp_path / "grant.json")) == ward.granted(case.grant).number
