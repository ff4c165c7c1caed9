"""Which records exist: an append-only chain of batches that anyone can check (the paper's Algorithm 1)."""

from __future__ import annotations

from hashlib import sha256
from typing import Any

import ape
import pytest
from eth_abi import encode

from hmchain.permits import KIND_NUMBERS
from hmchain.record import Kind

from .clinic import BLOB, HOLDER, leaves_of, levels_of, proof_of, root_of

CLINICAL = KIND_NUMBERS[Kind.CLINICAL]
LEAVES = leaves_of(5)
ENTRY = "(uint256,bytes32,uint256,uint256,uint8,uint256,bytes32,(bytes32,bytes32,uint32))"


def register(clinic: Any, leaves: list[bytes] = LEAVES, kind: int = CLINICAL, holder: int = HOLDER) -> Any:
    """Registers a batch; the entry as anyone builds it from the event."""
    account = clinic.account(holder)
    receipt = clinic.records.registerBatch(kind, len(leaves), root_of(leaves), BLOB, sender=account)
    (e,) = receipt.events
    return e.index, e.previous, e.timestamp, e.holder, e.kind, e.count, e.root, tuple(e.blob)


def entry_hash(entry: Any) -> bytes:
    """What the contract keeps of an entry."""
    return sha256(encode([ENTRY], [entry])).digest()


# ---------------------------------------------------------------------- the chain


@pytest.mark.parametrize("kind", Kind)
def test_a_member_registers_a_batch(clinic: Any, kind: Kind) -> None:
    records = clinic.records
    receipt = records.registerBatch(KIND_NUMBERS[kind], 5, root_of(LEAVES), BLOB, sender=clinic.account(3))
    time = receipt.timestamp
    assert list(receipt.events) == [
        records.BatchRegistered(
            index=1,
            holder=3,
            kind=KIND_NUMBERS[kind],
            previous=b"\0" * 32,
            timestamp=time,
            count=5,
            root=root_of(LEAVES),
        )
    ]
    assert tuple(receipt.events[0].blob) == BLOB
    entry = (1, b"\0" * 32, time, 3, KIND_NUMBERS[kind], 5, root_of(LEAVES), BLOB)
    assert records.entryHash(1) == entry_hash(entry)
    assert records.isEntry(entry)


def test_every_entry_names_the_one_before(clinic: Any) -> None:
    entries = [register(clinic, holder=holder) for holder in (1, 2, 1)]
    assert [entry[0] for entry in entries] == [1, 2, 3]
    assert [entry[1] for entry in entries] == [b"\0" * 32, entry_hash(entries[0]), entry_hash(entries[1])]
    assert clinic.records.entryCount() == 3
    assert clinic.records.entryHash(4) == b"\0" * 32


OTHER = [2, b"\1" * 32, 1, 2, 1, 6, b"\2" * 32, (b"\3" * 32, BLOB[1], BLOB[2])]


@pytest.mark.parametrize("field", range(len(OTHER)))
def test_an_altered_entry_is_not_the_registered_one(clinic: Any, field: int) -> None:
    altered = list(register(clinic))
    altered[field] = OTHER[field]
    assert not clinic.records.isEntry(tuple(altered))


@pytest.mark.parametrize("part", range(3))
def test_nor_one_with_an_altered_blob(clinic: Any, part: int) -> None:
    *entry, blob = register(clinic)
    altered = [*blob]
    altered[part] = (b"\3" * 32, b"\3" * 32, 7)[part]
    assert not clinic.records.isEntry((*entry, tuple(altered)))


def test_there_is_no_entry_before_the_first(records: Any) -> None:
    assert records.entryCount() == 0
    assert not records.isEntry((0, b"\0" * 32, 0, 0, 0, 0, b"\0" * 32, (b"\0" * 32, b"\0" * 32, 0)))


@pytest.mark.parametrize(("count", "root"), [(0, root_of(LEAVES)), (5, b"\0" * 32)])
def test_empty_batch(clinic: Any, count: int, root: bytes) -> None:
    with ape.reverts(clinic.records.EmptyBatch):
        clinic.records.registerBatch.call(CLINICAL, count, root, BLOB, sender=clinic.account(1))


@pytest.mark.parametrize("missing", range(3))
def test_invalid_blob(clinic: Any, missing: int) -> None:
    blob = [*BLOB]
    blob[missing] = (b"\0" * 32, b"\0" * 32, 0)[missing]
    with ape.reverts(clinic.records.InvalidBlob):
        clinic.records.registerBatch.call(CLINICAL, 5, root_of(LEAVES), tuple(blob), sender=clinic.account(1))


def test_only_active_members_register(clinic: Any, outsider: Any, suspend: Any) -> None:
    suspend(3)
    for caller in (outsider, clinic.account(3)):
        with ape.reverts(clinic.records.NotActiveMember, caller=caller):
            clinic.records.registerBatch.call(CLINICAL, 5, root_of(LEAVES), BLOB, sender=caller)


# ---------------------------------------------------------------------- leaves


@pytest.mark.parametrize("count", [1, 2, 3, 5, 6, 7])
def test_every_leaf_is_proved(clinic: Any, count: int) -> None:
    leaves = leaves_of(count)
    entry = register(clinic, leaves)
    for position, leaf in enumerate(leaves):
        assert clinic.records.isLeaf(entry, leaf, position, proof_of(leaves, position))


def test_a_large_batch(clinic: Any) -> None:
    leaves = leaves_of(1_000)
    entry = register(clinic, leaves)
    for position in (0, 511, 967, 999):
        assert clinic.records.isLeaf(entry, leaves[position], position, proof_of(leaves, position))
        assert not clinic.records.isLeaf(entry, leaves[position - 1], position, proof_of(leaves, position))


def test_what_is_no_leaf(clinic: Any) -> None:
    entry = register(clinic)
    leaf, proof = LEAVES[2], proof_of(LEAVES, 2)
    inner = levels_of(LEAVES)[1]
    is_leaf = clinic.records.isLeaf
    assert is_leaf(entry, leaf, 2, proof)
    assert not is_leaf(entry, LEAVES[3], 2, proof)
    assert not is_leaf(entry, leaf, 3, proof)
    assert not is_leaf(entry, leaf, 5, proof)  # beyond the batch
    assert not is_leaf(entry, leaf, 2**255, proof)
    assert not is_leaf(entry, leaf, 2, proof[:-1])
    assert not is_leaf(entry, leaf, 2, [*proof, b"\0" * 32])
    assert not is_leaf(entry, leaf, 2, [])
    assert not is_leaf(entry, inner[1], 1, [inner[0], LEAVES[4]])  # an inner node, two levels up
    assert not is_leaf(entry, root_of(LEAVES), 0, [])
    assert not is_leaf((*entry[:5], 4, *entry[6:]), leaf, 2, proof)  # an entry that nobody registered


# ---------------------------------------------------------------------- erasing


def erase(clinic: Any, entry: Any, position: int, caller: Any, leaf: bytes | None = None) -> Any:
    """The arguments of `eraseRecord`, called without a trace."""
    proof = proof_of(LEAVES, position)
    return clinic.records.eraseRecord.call(entry, leaf or LEAVES[position], position, proof, sender=caller)


def test_the_holder_erases_a_record(clinic: Any) -> None:
    records, entry = clinic.records, register(clinic)
    receipt = records.eraseRecord(entry, LEAVES[4], 4, proof_of(LEAVES, 4), sender=clinic.account(HOLDER))
    assert list(receipt.events) == [records.RecordErased(index=1, holder=HOLDER, leaf=LEAVES[4])]
    assert records.isLeaf(entry, LEAVES[4], 4, proof_of(LEAVES, 4))  # that there was one stays provable


def test_not_holder(clinic: Any) -> None:
    entry = register(clinic)
    with ape.reverts(clinic.records.NotHolder, caller=clinic.account(2), holder=HOLDER):
        erase(clinic, entry, 1, clinic.account(2))


def test_unknown_entry(clinic: Any) -> None:
    entry = register(clinic)
    with ape.reverts(clinic.records.UnknownEntry, index=1):  # as if it were the caller's
        erase(clinic, (*entry[:3], 2, *entry[4:]), 1, clinic.account(2))


def test_unknown_leaf(clinic: Any) -> None:
    entry = register(clinic)
    with ape.reverts(clinic.records.UnknownLeaf, index=1, leaf=b"\1" * 32):
        erase(clinic, entry, 1, clinic.account(HOLDER), b"\1" * 32)


def test_only_active_members_erase(clinic: Any, outsider: Any, suspend: Any) -> None:
    entry = register(clinic)
    suspend(HOLDER)
    for caller in (outsider, clinic.account(HOLDER)):
        with ape.reverts(clinic.records.NotActiveMember, caller=caller):
            erase(clinic, entry, 1, caller)
