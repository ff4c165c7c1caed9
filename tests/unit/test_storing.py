"""Putting records away: each under its own key, in batches, once; and opening them, or saying what is wrong."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hmchain import merkle
from hmchain.blobs import BlobRef, DirectoryStore
from hmchain.consortium import Consortium
from hmchain.envelope import Identity, new_identity, seal
from hmchain.errors import BlobError, DataError, Reason, StorageError, UsageError
from hmchain.identity import MemberIdentity
from hmchain.record import Kind, Record
from trainers.keystore import Keys
from trainers.records import storing as module
from trainers.records.storing import Reading, Storing, commitment_of, open_record, seal_record
from trainers.records.vault import Vault

from .full_disk import files_of_at_most
from .ward import record

CONSORTIUM = Consortium(1337, "0x" + "00" * 20, "0x" + "11" * 32, 1)
KEYS = Keys(MemberIdentity.create())


@pytest.fixture
def store(tmp_path: Path) -> DirectoryStore:
    return DirectoryStore(tmp_path / "blobs")


@pytest.fixture
def vault(tmp_path: Path) -> Iterator[Vault]:
    with closing(Vault.open(tmp_path / "records", KEYS, CONSORTIUM)) as opened:
        yield opened


def take(vault: Vault, store: DirectoryStore, *records: Record) -> list[bool]:
    """One run of an import."""
    storing = Storing(vault, store)
    taken = [storing.take(item) for item in records]
    storing.finish()
    return taken


def sizes(vault: Vault) -> list[tuple[Kind, int]]:
    return [(batch.kind, batch.count) for batch in vault.batches()]


# ---------------------------------------------------------------- one record


@given(st.binary(max_size=200), st.integers(0, 2**40))
@settings(max_examples=20, deadline=None)
def test_a_record_opens_with_its_own_key_to_what_was_committed(attachment: bytes, offset: int) -> None:
    item = record("x", attachment=attachment)
    row, ciphertext = seal_record(item, b"tag", offset)
    assert open_record(ciphertext, row.secret, row.digest, row.commitment) == item
    assert row.digest == sha256(ciphertext).digest()
    assert row.commitment == commitment_of(item.encode(), row.secret)
    assert row.leaf == merkle.record_leaf(row.commitment, row.digest, offset, len(ciphertext))


def test_nothing_about_a_record_is_the_same_twice() -> None:
    (one, _), (other, _) = (seal_record(record("x"), b"tag", 0) for _ in range(2))
    for name in ("secret", "leaf", "commitment", "digest"):
        assert getattr(one, name) != getattr(other, name)


def test_a_commitment_cannot_be_tried_without_the_key() -> None:
    row, _ = seal_record(record("x"), b"tag", 0)
    guesses = (commitment_of(record("x").encode(), secret) for secret in ("", new_identity().secret))
    assert row.commitment not in {*guesses, sha256(record("x").encode()).digest()}


def test_a_key_is_not_shown() -> None:
    row, _ = seal_record(record("x"), b"tag", 0)
    assert row.secret not in repr(row)


def test_what_cannot_be_written_as_bytes_is_not_sealed(vault: Vault, store: DirectoryStore) -> None:
    storing = Storing(vault, store)
    for bad in (record(float("nan")), record("\udc80"), record(b"")):
        with pytest.raises(DataError):
            storing.take(bad)
    assert storing.take(record("good"))
    storing.finish()
    assert sizes(vault) == [(Kind.CLINICAL, 1)]


# ---------------------------------------------------------------- wrong bytes, wrong keys


def test_other_bytes_are_refused_before_any_key_is_tried() -> None:
    row, ciphertext = seal_record(record("x"), b"tag", 0)
    for wrong in (b"", ciphertext[:-1], ciphertext + b"\0", bytes(len(ciphertext))):
        with pytest.raises(BlobError, match="is not the one that was registered") as caught:
            open_record(wrong, "no key at all", row.digest, row.commitment)
        assert caught.value.reason is Reason.WRONG_DIGEST


def test_another_key_opens_nothing() -> None:
    row, ciphertext = seal_record(record("x"), b"tag", 0)
    with pytest.raises(BlobError, match="cannot be opened"):
        open_record(ciphertext, new_identity().secret, row.digest, row.commitment)


@pytest.mark.parametrize("secret", ["", "AGE-SECRET-KEY-1", "two\nlines", "\ud800", "AGE-SECRET-KEY-1" + "Q" * 58])
def test_what_is_no_key_is_the_fault_of_who_gave_it(secret: str) -> None:
    row, ciphertext = seal_record(record("x"), b"tag", 0)
    with pytest.raises(BlobError, match="is no key") as caught:
        open_record(ciphertext, secret, row.digest, row.commitment)
    assert caught.value.reason is Reason.UNREADABLE


def test_another_record_under_the_right_key_is_not_what_was_committed_to() -> None:
    row, _ = seal_record(record("x"), b"tag", 0)
    other = seal(record("y").encode(), [Identity.parse(row.secret).public])
    with pytest.raises(BlobError, match="is not the one that was committed to"):
        open_record(other, row.secret, sha256(other).digest(), row.commitment)


@pytest.mark.parametrize("plain", [b"", b"{}\n", b"no record", b"[" * 100_000 + b"\n"], ids=len)
def test_what_was_committed_to_may_still_be_no_record(plain: bytes) -> None:
    key = new_identity()
    ciphertext = seal(plain, [key.public])
    with pytest.raises(DataError, match="not a record"):
        open_record(ciphertext, key.secret, sha256(ciphertext).digest(), commitment_of(plain, key.secret))


# ---------------------------------------------------------------- batches


def test_a_batch_is_a_blob_of_one_kind_and_a_root(vault: Vault, store: DirectoryStore) -> None:
    records = [record(n, kind=kind) for kind in Kind for n in range(3)]
    assert take(vault, store, *records) == [True] * 9
    assert sizes(vault) == [(kind, 3) for kind in Kind]
    reading = Reading(vault, store)
    for batch in vault.batches():
        held = vault.in_batch(batch)
        blob = reading.blob(batch)
        assert b"".join(holding.cut(blob) for holding in held) == blob, "one after the other, and nothing between"
        assert merkle.root_of([holding.leaf for holding in held]) == batch.root
        assert batch.blob == BlobRef.of(blob)
        assert [reading.open(holding).value for holding in held] == [{"what": n} for n in range(3)]
    assert vault.pending() == list(vault.batches())


def test_a_batch_has_so_many_records_at_most(
    vault: Vault, store: DirectoryStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "BATCH_RECORDS", 3)
    take(vault, store, *(record(n) for n in range(7)), record("r", kind=Kind.RESEARCH))
    assert sizes(vault) == [(Kind.CLINICAL, 3), (Kind.CLINICAL, 3), (Kind.CLINICAL, 1), (Kind.RESEARCH, 1)]


def test_a_batch_has_so_many_bytes_at_most_but_for_one_record(
    vault: Vault, store: DirectoryStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "BATCH_BYTES", 2_000)
    lengths = (10, 10, 1_500, 10, 9_000, 10, 400)
    records = [record(n, attachment=bytes(length)) for n, length in enumerate(lengths)]
    take(vault, store, *records)
    for batch in vault.batches():
        assert batch.blob.size <= 2_000 or batch.count == 1
    assert [count for _, count in sizes(vault)] == [2, 1, 1, 1, 2]
    reading = Reading(vault, store)
    assert [reading.open(holding) for holding in vault.holdings()] == records


def test_no_records_are_no_batch(vault: Vault, store: DirectoryStore) -> None:
    assert take(vault, store) == []
    assert (sizes(vault), store.used()) == ([], 0)


# ---------------------------------------------------------------- once


def test_a_record_is_put_away_once_however_often_it_comes(vault: Vault, store: DirectoryStore) -> None:
    one, other = record("x"), record("y")
    again = replace(one, source="hl7v2", detail={"other": "words"})
    assert take(vault, store, one, other, again, one) == [True, True, False, False]
    assert take(vault, store, again, other, record("z")) == [False, False, True]
    assert vault.count() == 3


def test_a_duplicate_is_noticed_also_where_its_batch_was_put_away(
    vault: Vault, store: DirectoryStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "BATCH_RECORDS", 1)
    assert take(vault, store, record("x"), record("x")) == [True, False]


def test_an_erased_record_does_not_come_back(vault: Vault, store: DirectoryStore) -> None:
    take(vault, store, record("x"))
    vault.erase(next(vault.holdings()))
    assert take(vault, store, record("x")) == [False]
    with pytest.raises(UsageError, match="was erased"):
        Reading(vault, store).open(next(vault.holdings()))


def test_the_same_values_of_two_persons_are_two_records(vault: Vault, store: DirectoryStore) -> None:
    assert take(vault, store, record("x", "one"), record("x", "other")) == [True, True]


# ---------------------------------------------------------------- faults


def test_after_a_crash_between_blob_and_row_the_same_import_puts_all_away(
    vault: Vault, store: DirectoryStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    records = [record(n) for n in range(3)]
    with monkeypatch.context() as patched:
        patched.setattr(vault, "add", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            take(vault, store, *records)
    assert (vault.count(), store.used() > 0) == (0, True), "a blob that nobody names"
    assert take(vault, store, *records) == [True] * 3
    reading = Reading(vault, store)
    assert [reading.open(holding) for holding in vault.holdings()] == records


def test_on_a_full_disk_nothing_is_named_that_is_not_there(vault: Vault, store: DirectoryStore) -> None:
    large = record("x", attachment=bytes(100_000))
    with files_of_at_most(50_000), pytest.raises(StorageError):
        take(vault, store, large)
    assert vault.count() == 0
    assert take(vault, store, large) == [True]


def test_two_imports_of_the_same_at_once_put_it_away_once(vault: Vault, store: DirectoryStore) -> None:
    one, other = Storing(vault, store), Storing(vault, store)
    assert one.take(record("x"))
    assert other.take(record("x"))
    assert other.take(record("y"))
    one.finish()
    with pytest.raises(StorageError, match="do it again"):
        other.finish()
    assert vault.count() == 1
    assert take(vault, store, record("x"), record("y")) == [False, True]


def test_a_blob_that_is_gone_or_altered_is_not_read(vault: Vault, store: DirectoryStore, tmp_path: Path) -> None:
    take(vault, store, record("x"))
    holding = next(vault.holdings())
    (path,) = (tmp_path / "blobs").iterdir()
    whole = path.read_bytes()
    path.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    with pytest.raises(BlobError) as caught:
        Reading(vault, store).open(holding)
    assert caught.value.reason is Reason.WRONG_DIGEST
    path.unlink()
    with pytest.raises(BlobError) as caught:
        Reading(vault, store).open(holding)
    assert caught.value.reason is Reason.UNAVAILABLE


def test_a_batch_is_fetched_once_while_its_records_are_read(vault: Vault, store: DirectoryStore) -> None:
    take(vault, store, *(record(n) for n in range(3)), record("r", kind=Kind.RESEARCH))
    asked = []

    class Counting(DirectoryStore):
        def get(self, ref: BlobRef, limit: int) -> bytes:
            asked.append(ref)
            return store.get(ref, limit)

    reading = Reading(vault, Counting(store._root))
    for holding in vault.holdings():
        reading.open(holding)
    assert len(asked) == 2
