"""Stores records: each is sealed under a key of its own, batched, stored by CID and entered into the vault.

    blob of a batch = sealed record 0 || sealed record 1 || …          each one an age file

Registering on chain comes after, and again after a crash: a batch in the vault without a number is still to do.
"""

from __future__ import annotations

import hmac
from dataclasses import dataclass, field
from hashlib import sha256

from hmchain import merkle
from hmchain.blobs import BlobStore
from hmchain.envelope import Identity, new_identity, seal, unseal
from hmchain.errors import BlobError, Reason, UsageError
from hmchain.record import Kind, Record
from trainers.records.holdings import Batch, Holding, Sealed
from trainers.records.vault import Vault

BATCH_RECORDS = 1_000
BATCH_BYTES = 8 << 20  # of sealed records in a blob: what a reader of one of them fetches at most, unless one is larger


def seal_record(record: Record, tag: bytes, offset: int) -> tuple[Sealed, bytes]:
    """Seals a record under a fresh key, for its place in a blob. Returns what the vault keeps, and the ciphertext.

    Raises DataError for a record that cannot be written as bytes.
    """
    plain, key = record.encode(), new_identity()
    ciphertext = seal(plain, [key.public])
    digest, commitment = sha256(ciphertext).digest(), commitment_of(plain, key.secret)
    leaf = merkle.record_leaf(commitment, digest, offset, len(ciphertext))
    return Sealed(record, tag, key.secret, leaf, commitment, digest, offset, len(ciphertext)), ciphertext


def open_record(ciphertext: bytes, secret: str, digest: bytes, commitment: bytes) -> Record:
    """The record that was committed to. Raises BlobError for other bytes or another key, DataError for no record."""
    if sha256(ciphertext).digest() != digest:
        raise BlobError("the sealed record is not the one that was registered", Reason.WRONG_DIGEST)
    try:
        plain = unseal(ciphertext, Identity.parse(secret))
    except (UsageError, ValueError) as fault:
        raise BlobError("what should open the sealed record is no key", Reason.UNREADABLE) from fault
    if commitment_of(plain, secret) != commitment:
        raise BlobError("the record is not the one that was committed to", Reason.WRONG_DIGEST)
    return Record.decode(plain)


def commitment_of(plain: bytes, secret: str) -> bytes:
    """SHA-256(salt || plain). The salt comes from the record's key: whoever may read can check, nobody else can guess,
    and erasing the key erases both.
    """
    salt = hmac.digest(secret.encode(), b"hmchain/record-salt/1", "sha256")
    return sha256(salt + plain).digest()


@dataclass
class _Open:
    """A batch that is being filled."""

    rows: list[Sealed] = field(default_factory=list)
    parts: list[bytes] = field(default_factory=list)
    size: int = 0


class Storing:
    """Collects records and stores them a batch at a time."""

    def __init__(self, vault: Vault, store: BlobStore) -> None:
        self._vault = vault
        self._store = store
        self._open: dict[Kind, _Open] = {kind: _Open() for kind in Kind}
        self._tags: set[bytes] = set()

    def take(self, record: Record) -> bool:
        """Adds a record; False for one that is here already. Raises DataError, StorageError, BlobError."""
        tag = self._vault.tag(record.identity())
        if tag in self._tags or self._vault.knows(tag):
            return False
        batch = self._open[record.kind]
        sealed, ciphertext = seal_record(record, tag, batch.size)
        if batch.rows and batch.size + len(ciphertext) > BATCH_BYTES:
            self._put_away(record.kind)
            batch = self._open[record.kind]
            sealed, ciphertext = seal_record(record, tag, 0)
        batch.rows.append(sealed)
        batch.parts.append(ciphertext)
        batch.size += len(ciphertext)
        self._tags.add(tag)
        if len(batch.rows) == BATCH_RECORDS:
            self._put_away(record.kind)
        return True

    def finish(self) -> None:
        """Stores what is left. Raises StorageError, BlobError."""
        for kind in Kind:
            self._put_away(kind)

    def _put_away(self, kind: Kind) -> None:
        """Stores a batch, blob first: the vault only names blobs that exist. A crash in between leaves one unused."""
        batch = self._open[kind]
        if not batch.rows:
            return
        ref = self._store.put(b"".join(batch.parts))
        root = merkle.root_of([row.leaf for row in batch.rows])
        self._vault.add(kind, root, ref, batch.rows)
        self._tags.difference_update(row.tag for row in batch.rows)
        self._open[kind] = _Open()


class Reading:
    """Opens the hospital's own records. The blob read last is kept, as records are mostly read in order."""

    def __init__(self, vault: Vault, store: BlobStore) -> None:
        self._vault = vault
        self._store = store
        self._last: tuple[int, bytes] | None = None

    def open(self, holding: Holding) -> Record:
        """A record of ours. Raises UsageError where it was erased, BlobError where its blob cannot be had."""
        secret = self._vault.secret(holding)
        blob = self.blob(holding.batch)
        return open_record(holding.cut(blob), secret, holding.digest, holding.commitment)

    def blob(self, batch: Batch) -> bytes:
        """A batch's blob, proved. Raises BlobError."""
        if self._last is None or self._last[0] != batch.id:
            self._last = batch.id, self._store.get(batch.blob, batch.blob.size)
        return self._last[1]
