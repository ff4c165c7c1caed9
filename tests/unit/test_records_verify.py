"""Batches registered and erased, and what `records verify` finds of a vault that was damaged."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from hmchain.blobs import DirectoryStore
from hmchain.errors import ChainError, UsageError, VerificationError
from hmchain.identity import MemberIdentity
from trainers.config import Records
from trainers.records.archive import AT_ONCE, Archive
from trainers.records.holdings import Wanted
from trainers.records.verify import verify

from .ward import OUTSIDER, Ward, record

# ---------------------------------------------------------------- registering and erasing


def test_a_batch_that_was_registered_before_a_crash_is_not_registered_again(own_ward: Ward) -> None:
    archive = own_ward.archive()
    storing = archive.storing
    storing.take(record(["x", 1]))
    storing.finish()
    (batch,) = archive.vault.pending()
    archive.registry.register((batch.kind, batch.count, batch.root, batch_blob(batch)))
    assert [number for _, number in archive.register()] == [1]
    assert list(archive.register()) == []
    assert len(archive.trail().entries) == 1
    assert verify(archive)["records"] == 1


def test_stored_batches_are_registered_in_one_transaction(own_ward: Ward) -> None:
    archive = own_ward.archive()
    storing = archive.storing
    for number in range(3):
        storing.take(record(["x", number]))
        storing.finish()
    first, *_ = archive.vault.pending()
    archive.registry.register((first.kind, first.count, first.root, batch_blob(first)))  # and then the power went
    block = own_ward.chain.web3.eth.block_number
    told = list(archive.register())
    assert own_ward.chain.web3.eth.block_number == block + 1
    assert [number for _, number in told] == [1, 2, 3]
    assert [archive.trail().entries[number - 1].root for _, number in told] == [batch.root for batch, _ in told]
    assert (archive.vault.pending(), verify(archive)["records"]) == ([], 3)


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


def test_many_are_erased_in_one_transaction_whichever_batches_they_are_in(own_ward: Ward) -> None:
    archive = own_ward.archive()
    held = [*own_ward.take(*(record(["x", n]) for n in range(AT_ONCE))), *own_ward.take(record(["y", 1]))]
    stays, *asked = held
    archive.vault.erase(asked[0])  # and then the power went
    block = own_ward.chain.web3.eth.block_number
    archive.erase(*asked)
    assert own_ward.chain.web3.eth.block_number == block + 1
    assert archive.trail().erased == {1: {h.leaf for h in asked[:-1]}, 2: {asked[-1].leaf}}
    assert [h.leaf for h in archive.vault.holdings(Wanted(erased=False))] == [stays.leaf]
    assert verify(archive)["records"] == len(held)
    archive.erase(*asked)
    assert own_ward.chain.web3.eth.block_number == block + 1, "all of it was on chain already"


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


# ---------------------------------------------------------------- records.verify


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
    assert verify(stock) == verify(stock, quick=True) == {"records": 3, "batches": 1, "lost": [], "entries": 2}
    assert verify(shelf.archive(2)) == {"records": 1, "batches": 1, "lost": [], "entries": 2}


def test_a_blob_that_is_missing_or_altered(stock: Archive, tmp_path: Path) -> None:
    path = tmp_path / "blobs" / str(stock.trail().entries[0].blob.cid)
    *most, last = path.read_bytes()
    path.write_bytes(bytes([*most, last ^ 1]))
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


def test_records_of_all_batches_that_wait_are_counted(stock: Archive) -> None:
    sql(stock, "UPDATE batches SET number = NULL")
    columns = "kind, sha256, cid, size, secrets"
    sql(stock, f"INSERT INTO batches (root, count, {columns}) SELECT zeroblob(32), 4, {columns} FROM batches")
    is_invalid(stock, "7 records are not registered yet")


def test_a_batch_that_is_gone_from_the_vault(stock: Archive) -> None:
    for table in ("codes", "records", "batches"):
        sql(stock, f"DELETE FROM {table}")
    is_invalid(stock, "the vault knows nothing of entry 1, which is ours")
    given_up = stock.config.model_copy(update={"records": Records(lost=frozenset({1}))})
    assert verify(replace(stock, config=given_up))["lost"] == [1]


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
    is_invalid(stock, "the contract has 2 entries, its events show 1")
    entries.append(replace(entry, timestamp=entry.timestamp + 1))
    is_invalid(stock, "entry 2 is not the one that the contract keeps the hash of")
