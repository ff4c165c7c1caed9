"""A hospital's own store: which records it holds, where each one's ciphertext is, and the keys that open them.

    records/vault.sqlite    for its owner's eyes only; the ciphertexts are in the blob store

The keys of a batch's records are one age file in the batch's row, sealed to the vault's own identity (vault_file.py). A
key that is erased is taken out of its file, and what the vault knew of the record's content out of its row; what SQLite
frees is overwritten, and so is its journal: no stored byte opens the record any more.
"""

from __future__ import annotations

import hmac
import json
import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from hmchain.blobs import BlobRef
from hmchain.envelope import seal, unseal
from hmchain.errors import BlobError, StorageError, UsageError
from hmchain.record import Code, Kind
from trainers.records.holdings import SELECT, Batch, Holding, Sealed, Wanted
from trainers.records.vault_file import VaultFile

PAGE = 1_000  # rows held in memory while a million are listed
NO_LEAF = b""  # notes an answer with which no key went out


class Vault(VaultFile):
    """The opened vault. Not thread-safe; several processes may have it open."""

    # ------------------------------------------------------------------ what comes in

    def tag(self, identity: bytes) -> bytes:
        """A record's identity under the vault's key, without which nobody can test whether a guessed record is here."""
        return hmac.digest(self.pseudonym_key, b"hmchain/identity/1" + identity, "sha256")

    def knows(self, tag: bytes) -> bool:
        """Whether a record with this tag is held, or was and is erased."""
        return self._one("SELECT 1 FROM records WHERE tag = ?", tag) is not None

    def add(self, kind: Kind, root: bytes, blob: BlobRef, rows: list[Sealed]) -> Batch:
        """Writes a batch down whose blob is stored: all of it or nothing. It is not registered yet.

        Raises StorageError, also where another process has put one of these records away meanwhile.
        """
        keys = self._seal([row.secret for row in rows])
        with self._writing() as database:
            cursor = database.execute(
                "INSERT INTO batches (kind, root, sha256, cid, size, count, secrets) VALUES (?, ?, ?, ?, ?, ?, ?)",
                (kind.value, root, blob.sha256, blob.cid.digest, blob.size, len(rows), keys),
            )
            batch = cursor.lastrowid
            assert batch is not None
            for position, row in enumerate(rows):
                self._insert(database, batch, position, row)
        return Batch(batch, kind, root, blob, len(rows), None)

    @staticmethod
    def _insert(database: sqlite3.Connection, batch: int, position: int, row: Sealed) -> None:
        record = row.record
        known = record.type, record.subject, record.time, record.source
        cursor = database.execute(
            "INSERT INTO records (tag, batch, position, leaf, commitment, digest, offset, length, type, subject, time,"
            " source) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (row.tag, batch, position, row.leaf, row.commitment, row.digest, row.offset, row.length, *known),
        )
        codes = [(cursor.lastrowid, code.system, code.code) for code in dict.fromkeys(record.codes)]
        database.executemany("INSERT INTO codes VALUES (?, ?, ?)", codes)

    def pending(self) -> list[Batch]:
        """Batches that are stored and not registered, in their order."""
        return list(self._batches("number IS NULL"))

    def registered(self, batch: Batch, number: int) -> None:
        """Notes a batch's index on chain; where two processes registered it, the index noted first stays."""
        with self._writing() as database:
            database.execute("UPDATE batches SET number = ? WHERE id = ? AND number IS NULL", (number, batch.id))

    # ------------------------------------------------------------------ what is there

    def batches(self) -> Iterator[Batch]:
        """All batches, in their order."""
        return self._batches("1")

    def holdings(self, wanted: Wanted | None = None, limit: int | None = None) -> Iterator[Holding]:
        """Records in the order they were imported, a page at a time."""
        condition, values = (wanted or Wanted()).sql()
        after = 0
        while limit is None or limit > 0:
            size = PAGE if limit is None else min(limit, PAGE)
            query = f"{SELECT} WHERE {condition} AND r.id > ? ORDER BY r.id LIMIT ?"
            page = self._holdings(query, *values, after, size)
            yield from page
            if len(page) < size:
                return
            after, limit = page[-1].id, None if limit is None else limit - size

    def in_batch(self, batch: Batch) -> list[Holding]:
        """A batch's records, by position."""
        return self._holdings(f"{SELECT} WHERE r.batch = ? ORDER BY r.position", batch.id)

    def in_entry(self, number: int) -> list[Holding]:
        """The records of the entry with this index on chain, by position."""
        return self._holdings(f"{SELECT} WHERE b.number = ? ORDER BY r.position", number)

    def find(self, name: str) -> Holding:
        """The record whose leaf begins with these hexadecimal digits. Raises UsageError where none or several do."""
        digits = name.strip().lower()
        if len(digits) < 4 or len(digits) > 64 or set(digits) - set("0123456789abcdef"):
            raise UsageError(f"{name!r:.80} is no record: 4 to 64 hexadecimal digits name one")
        low, high = (bytes.fromhex(digits.ljust(64, filler)) for filler in "0f")
        found = self._holdings(f"{SELECT} WHERE r.leaf BETWEEN ? AND ? LIMIT 2", low, high)
        if len(found) != 1:
            raise UsageError(f"{'no record' if not found else 'more than one record'} here begins with {digits}")
        return found[0]

    def having(self, leaves: Iterable[bytes]) -> Iterator[Holding]:
        """The records with these leaves, as far as they are here."""
        for leaf in leaves:
            yield from self._holdings(f"{SELECT} WHERE r.leaf = ?", leaf)

    def count(self, wanted: Wanted | None = None) -> int:
        """How many records there are."""
        condition, values = (wanted or Wanted()).sql()
        query = f"SELECT COUNT(*) FROM records r JOIN batches b ON b.id = r.batch WHERE {condition}"
        return int(self._all(query, *values)[0][0])

    def of_subjects(self, pseudonyms: Iterable[str]) -> Iterator[Holding]:
        """The registered, unerased records of these subjects; "" is the subject of those about nobody."""
        for pseudonym in pseudonyms:
            for holding in self.holdings(Wanted(subject=pseudonym, erased=False)):
                if holding.batch.number is not None:
                    yield holding

    def codes(self, holding: Holding) -> tuple[Code, ...]:
        """A record's codes, without what they are called."""
        rows = self._all("SELECT system, code FROM codes WHERE record = ?", holding.id)
        return tuple(Code(system, code) for system, code in rows)

    # ------------------------------------------------------------------ keys

    def secret(self, holding: Holding) -> str:
        """The record's key. Raises UsageError where it was erased."""
        secret = self.secrets(holding.batch)[holding.position]
        if secret is None:
            raise UsageError(f"record {holding.name} was erased")
        return secret

    def erase(self, *holdings: Holding) -> None:
        """Destroys records' keys, for good: their ciphertexts, wherever they lie, are noise from here on.

        Whose they were, when and with which codes goes as well. What stays shows that records were there.
        """
        with self._writing() as database:  # from before the keys are read, or another process's erasure would be undone
            keys = {batch.id: self.secrets(batch) for batch in {holding.batch for holding in holdings}}
            for holding in holdings:
                keys[holding.batch.id][holding.position] = None
            for batch, left in keys.items():
                database.execute("UPDATE batches SET secrets = ? WHERE id = ?", (self._seal(left), batch))
            ids = [(holding.id,) for holding in holdings]
            database.executemany("UPDATE records SET erased = 1, subject = '', time = '' WHERE id = ?", ids)
            database.executemany("DELETE FROM codes WHERE record = ?", ids)
        self._overwrite_journal()

    def secrets(self, batch: Batch) -> list[str | None]:
        """The keys of a batch's records by position, None where one was erased. Raises StorageError."""
        row = self._one("SELECT secrets FROM batches WHERE id = ?", batch.id)
        try:
            opened: list[str | None] = json.loads(unseal(row[0], self._identity)) if row else []
        except (BlobError, ValueError, TypeError) as fault:
            raise StorageError(f"{self._path} is damaged: the keys of batch {batch.id} cannot be read") from fault
        if len(opened) != batch.count:
            raise StorageError(f"{self._path} is damaged: batch {batch.id} has {len(opened)} keys for {batch.count}")
        return opened

    def _seal(self, keys: Iterable[str | None]) -> bytes:
        return seal(json.dumps(list(keys)).encode(), [self._identity.public])

    # ------------------------------------------------------------------ persons

    def link(self, pseudonym: str, account: str) -> None:
        """This pseudonym's person signs with this account. Raises UsageError where it is linked to another one, and for
        "", which stands for nobody: records about nobody are no person's to share.
        """
        if not pseudonym:
            raise UsageError("that is nobody's number")
        with self._writing() as database:
            known = self.account_of(pseudonym)
            if known not in ("", account):
                raise UsageError(f"{pseudonym} is linked to account {known}")
            database.execute("INSERT OR REPLACE INTO subjects VALUES (?, ?)", (pseudonym, account))

    def unlink(self, pseudonym: str) -> bool:
        """Forgets which account a pseudonym's person signs with. False where none was known."""
        with self._writing() as database:
            return bool(database.execute("DELETE FROM subjects WHERE pseudonym = ?", (pseudonym,)).rowcount)

    def account_of(self, pseudonym: str) -> str:
        """The account that a pseudonym's person signs with, "" where none is known."""
        row = self._one("SELECT account FROM subjects WHERE pseudonym = ?", pseudonym)
        return str(row[0]) if row else ""

    def pseudonyms_of(self, account: str) -> list[str]:
        """The pseudonyms of the persons that sign with an account."""
        return [row[0] for row in self._all("SELECT pseudonym FROM subjects WHERE account = ?", account)]

    def learn(self, account: str, salt: bytes) -> None:
        """Keeps the salt of a person's scopes, without which its consents cannot be read."""
        with self._writing() as database:
            database.execute("INSERT OR REPLACE INTO salts VALUES (?, ?)", (account, salt))

    def salt(self, account: str) -> bytes | None:
        """The salt of a person's scopes, if it told us."""
        row = self._one("SELECT salt FROM salts WHERE account = ?", account)
        return bytes(row[0]) if row else None

    # ------------------------------------------------------------------ what was read

    def note_release(self, number: int, use: int, holdings: Iterable[Holding]) -> None:
        """Notes which records' keys go out for a use of a grant, or that none do; emergencies have use 0."""
        with self._writing() as database:
            rows = [(number, use, leaf) for leaf in [holding.leaf for holding in holdings] or [NO_LEAF]]
            database.executemany("INSERT OR IGNORE INTO releases VALUES (?, ?, ?)", rows)

    def released(self, number: int, use: int) -> list[bytes] | None:
        """The leaves of the records whose keys went out, None where no answer is noted: another vault gave it."""
        rows = self._all("SELECT leaf FROM releases WHERE number = ? AND use = ? ORDER BY rowid", number, use)
        return [bytes(row[0]) for row in rows if row[0] != NO_LEAF] if rows else None

    # ------------------------------------------------------------------ rows

    def _holdings(self, query: str, *values: object) -> list[Holding]:
        with self._plausible():
            return list(map(Holding.of, self._all(query, *values)))

    def _batches(self, condition: str) -> Iterator[Batch]:
        query = f"SELECT id, kind, root, sha256, cid, size, count, number FROM batches WHERE {condition} ORDER BY id"
        for row in self._all(query):
            with self._plausible():
                batch = Batch.of(row)
            yield batch

    @contextmanager
    def _plausible(self) -> Iterator[None]:
        """Turns the failure to read a row into StorageError: the file is damaged."""
        try:
            yield
        except (BlobError, ValueError, TypeError) as fault:
            raise StorageError(f"{self._path} is damaged: it holds a row that cannot be read") from fault
