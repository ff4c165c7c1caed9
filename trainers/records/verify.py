"""Checks a hospital's records: the chain of entries, every batch's place in it, every leaf, every ciphertext."""

from __future__ import annotations

from hashlib import sha256
from typing import Any

from hmchain import merkle
from hmchain.errors import BlobError, DataError, StorageError, VerificationError
from hmchain.record import Record
from hmchain.trail import Entry, Trail
from trainers.records.archive import Archive
from trainers.records.holdings import Batch, Holding
from trainers.records.storing import open_record


def verify(archive: Archive, quick: bool = False) -> dict[str, Any]:
    """Raises VerificationError with the first thing that is wrong. Only one batch at a time is in memory.

    quick leaves out what needs blobs and keys.
    """
    trail = archive.trail()
    check_entries(archive, trail)
    records = batches = 0
    for batch in archive.vault.batches():
        if batch.number is None:
            waiting = sum(pending.count for pending in archive.vault.pending())
            raise VerificationError(f"{waiting} records are not registered yet: import again, which registers them")
        holdings = archive.vault.in_batch(batch)
        _check_batch(trail, archive.member, batch.number, batch, holdings)
        if not quick:
            _check_blob(archive, batch, holdings)
        batches, records = batches + 1, records + len(holdings)
    missing, given_up = archive.rules.missing(trail), archive.config.records.lost
    for number in missing:
        if number not in given_up:
            raise VerificationError(f"the vault knows nothing of entry {number}, which is ours")
    return {"records": records, "batches": batches, "lost": missing, "entries": len(trail.entries)}


def check_entries(archive: Archive, trail: Trail) -> None:
    """The entries that events tell of are all that the contract has, and each is the one that it keeps the hash of.

    The paper's Algorithm 1: index and previous hash were checked as the events were read (hmchain.trail).
    """
    client = archive.registry.client
    assert archive.registry.feed.head is not None
    block = archive.registry.feed.head.number
    count = client.call("entryCount", block=block)
    if count != len(trail.entries):
        raise VerificationError(f"the contract has {count} entries, its events show {len(trail.entries)}")
    if trail.entries and client.call("entryHash", count, block=block) != trail.entries[-1].hash():
        raise VerificationError(f"entry {count} is not the one that the contract keeps the hash of")


def _check_batch(trail: Trail, member: int, number: int, batch: Batch, holdings: list[Holding]) -> None:
    entry = trail.entries[number - 1] if number <= len(trail.entries) else None
    told = batch.root, batch.blob, batch.count, batch.kind, member
    if entry is None or told != (entry.root, entry.blob, entry.count, entry.kind, entry.holder):
        raise VerificationError(f"entry {number} on chain is not our batch")
    for position, holding in enumerate(holdings):
        leaf = merkle.record_leaf(holding.commitment, holding.digest, holding.offset, holding.length)
        if holding.position != position or leaf != holding.leaf:
            raise VerificationError(f"record {holding.name} is not at its place in entry {entry.index}")
    if len(holdings) != batch.count or merkle.root_of([h.leaf for h in holdings]) != batch.root:
        raise VerificationError(f"the records of entry {entry.index} do not have its root")
    _check_erased(trail, entry, holdings)


def _check_erased(trail: Trail, entry: Entry, holdings: list[Holding]) -> None:
    told = trail.erased.get(entry.index, set())
    for holding in holdings:
        if holding.erased != (holding.leaf in told):
            raise VerificationError(f"record {holding.name} is erased here or on chain, and not in both")


def _check_blob(archive: Archive, batch: Batch, holdings: list[Holding]) -> None:
    try:
        blob = archive.reading.blob(batch)
    except BlobError as fault:
        raise VerificationError(f"the blob of entry {batch.number}: {fault}") from fault
    try:
        keys = archive.vault.secrets(batch)
    except StorageError as fault:
        raise VerificationError(f"the keys of entry {batch.number}: {fault}") from fault
    for holding in holdings:
        if sha256(holding.cut(blob)).digest() != holding.digest:
            raise VerificationError(f"record {holding.name} is not in the blob of entry {batch.number}")
        secret = keys[holding.position]
        if holding.erased != (secret is None):
            raise VerificationError(f"record {holding.name} is erased and its key is here, or the other way round")
        if secret is None:
            continue
        try:
            record = open_record(holding.cut(blob), secret, holding.digest, holding.commitment)
        except (BlobError, DataError) as fault:
            raise VerificationError(f"record {holding.name}: {fault}") from fault
        if not _is_as_known(archive, holding, record):
            raise VerificationError(f"record {holding.name} is not what the vault says of it")


def _is_as_known(archive: Archive, holding: Holding, record: Record) -> bool:
    """Whose a record is, and of what type, decides who may read it: the vault must say what the record itself says."""
    known = holding.kind, holding.type, holding.subject, holding.time, holding.source
    said = record.kind, record.type, record.subject, record.time, record.source
    return known == said and set(archive.vault.codes(holding)) == set(record.codes)
