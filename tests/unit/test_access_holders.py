"""Holders that lie about the records they release, or do not answer: no reader believes them."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import pytest

from hmchain import letters, merkle
from hmchain.envelope import new_identity, seal, unseal
from hmchain.errors import BlobError, ChainBehind, ChainError, DataError, UsageError, VerificationError
from hmchain.record import Kind, canonical
from hmchain.trail import Trail
from trainers.records import releasing
from trainers.records.holdings import Holding
from trainers.records.receiving import Key
from trainers.records.storing import commitment_of

from .case import Case, digest_of
from .ward import Ward, answer_all, record

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
        path = next(path for path in (ward.folder / "blobs").iterdir() if digest_of(path).hex() == cid)
        self.keys: list[dict[str, Any]] = json.loads(unseal(path.read_bytes(), self.case.physician.encryption))

    def part(self, content: bytes) -> list[Any]:
        """A part with this content, as a letter lists it."""
        ref = self.ward.store.put(seal(content, [self.case.physician.encryption.public]))
        return [ref.sha256.hex(), ref.cid.digest.hex(), ref.size]

    def read(self, letter: dict[str, Any], holder: int | None = 1, asked: Sequence[str] = ()) -> list[Any]:
        """What the reader makes of a letter."""
        digest = letters.send(self.ward.store, letter, self.case.physician.encryption.public)
        return [r.value["what"][1] for r in self.ward.reader(self.case.physician).records(digest, holder, asked)]

    def tell(self, keys: Any, holder: int | None = 1, asked: Sequence[str] = ()) -> list[Any]:
        """What the reader makes of these keys."""
        return self.read({"parts": [self.part(canonical(keys))], "count": 1}, holder, asked)


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


def test_another_record_than_was_asked_for(ward: Ward, liar: Liar) -> None:
    first, second = (f"record:{holding.leaf.hex()}" for holding in liar.case.records)
    assert liar.tell(liar.keys, asked=["all", "kind:clinical", "type:observation"]) == ["a", "b"]
    assert liar.tell([liar.keys[0]], asked=["all", first]) == ["a"]
    for asked in (["all", second], [second, "all"], ["type:imaging"], ["kind:research"]):
        with pytest.raises(VerificationError, match="released what was not asked for: observation"):
            liar.tell([liar.keys[0]], asked=asked)


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
    for wrong in (data[:-1] + bytes([data[-1] ^ 1]), data[:-1], b""):
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
    (entry,) = ward.archive().registry.register((Kind.CLINICAL, 1, leaf, (ref.sha256, ref.cid.digest, ref.size)))
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
    monkeypatch.setattr("trainers.records.receiving.MAX_PART_BYTES", part[2] - 1)
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


def test_a_holder_that_does_not_answer_is_waited_for_so_long(own_ward: Ward, monkeypatch: pytest.MonkeyPatch) -> None:
    case = Case(own_ward)
    which = own_ward.ask(case.physician, case.grant)
    reader = own_ward.reader(case.physician)
    monkeypatch.setattr("trainers.records.receiving.LOOK_SECONDS", 0.01)
    with pytest.raises(ChainError, match="has not answered in 0 s; look for it later with --use 1"):
        reader.wait(lambda trail: trail.released.get(which, {}).get(1), 0, "--use 1")
    answer_all(own_ward.releasing())
    behind: Iterator[Any] = iter([ChainBehind("behind"), None])

    def trail() -> Trail:
        fault = next(behind, None)
        if fault is not None:
            raise fault
        return own_ward.archive(2).trail()

    seen: list[Trail] = []
    fake = type("Hand", (), {"trail": staticmethod(trail), "client": reader.registry.client})()
    patient = replace(reader, registry=fake)
    assert patient.wait(lambda t: seen.append(t) or t.released[which][1], 5, "")  # type: ignore[func-returns-value]
    assert len(seen) == 1
