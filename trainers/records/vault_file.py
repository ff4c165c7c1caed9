"""The file of a hospital's vault: SQLite, readable by its owner only, with freed pages and journal overwritten.

The vault's own identity, to which everything secret in it is sealed, is sealed to the hospital's encryption key:
rotating that key seals one row again.
"""

from __future__ import annotations

import os
import secrets
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any, Self

from hmchain.consortium import Consortium
from hmchain.envelope import Identity, new_identity, seal, unseal
from hmchain.errors import BlobError, StorageError, UsageError
from trainers.keystore import Keys

FILE = "vault.sqlite"
FORMAT = "hmchain-vault/1"
_NO_VAULT = (sqlite3.SQLITE_ERROR, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_CORRUPT)  # of what SQLite did read

_SCHEMA = """
CREATE TABLE about (format TEXT, chain_id INTEGER, contract TEXT, identity BLOB, pseudonyms BLOB);
CREATE TABLE batches (
    id INTEGER PRIMARY KEY, kind TEXT, root BLOB UNIQUE, sha256 BLOB, cid BLOB, size INTEGER, count INTEGER,
    secrets BLOB, number INTEGER UNIQUE);
CREATE TABLE records (
    id INTEGER PRIMARY KEY, tag BLOB UNIQUE, batch INTEGER REFERENCES batches, position INTEGER, leaf BLOB UNIQUE,
    commitment BLOB, digest BLOB, offset INTEGER, length INTEGER, type TEXT, subject TEXT, time TEXT, source TEXT,
    erased INTEGER DEFAULT 0);
CREATE TABLE codes (record INTEGER REFERENCES records, system TEXT, code TEXT);
CREATE TABLE subjects (pseudonym TEXT PRIMARY KEY, account TEXT);
CREATE TABLE salts (account TEXT PRIMARY KEY, salt BLOB);
CREATE TABLE releases (number INTEGER, use INTEGER, leaf BLOB, PRIMARY KEY (number, use, leaf));
"""
_INDEXES = {
    "by_subject": "records (subject, time)",
    "by_batch": "records (batch, position)",
    "by_code": "codes (system, code, record)",
    "of_record": "codes (record)",
    "by_account": "subjects (account)",
}


class VaultFile:
    """The opened file. Not thread-safe; several processes may have it open."""

    def __init__(self, database: sqlite3.Connection, path: Path, identity: Identity, pseudonyms: bytes) -> None:
        self._database = database
        self._path = path
        self._identity = identity
        self.pseudonym_key = pseudonyms

    @classmethod
    def open(cls, folder: Path, keys: Keys, consortium: Consortium) -> Self:
        """Opens the vault in `folder`, or makes it. Raises UsageError, StorageError."""
        path = folder / FILE
        try:
            if not path.exists():
                _create(path, keys.identity.encryption.public, consortium)
            database = _connect(path)
        except OSError as fault:
            raise StorageError(f"cannot read {path}: {fault.strerror}") from fault
        except sqlite3.DatabaseError as fault:
            raise _told_of(path, fault) from fault
        try:
            vault, key = cls._opened(database, path, keys, consortium)
            if key != keys.identity.encryption:
                with suppress(StorageError):  # the earlier key still opens it, the next time as well
                    vault.reseal(keys)
            with suppress(StorageError):  # it is only slower without
                vault.index()
        except BaseException:
            database.close()
            raise
        return vault

    @classmethod
    def _opened(
        cls, database: sqlite3.Connection, path: Path, keys: Keys, consortium: Consortium
    ) -> tuple[Self, Identity]:
        """The vault, and which of the hospital's encryption keys it is sealed to."""
        try:
            told = database.execute("SELECT format, chain_id, contract, identity, pseudonyms FROM about").fetchone()
        except sqlite3.DatabaseError as fault:
            raise _told_of(path, fault) from fault
        if told is None or told[0] != FORMAT:
            raise UsageError(f"{path} is not a {FORMAT} file")
        if told[1:3] != (consortium.chain_id, consortium.contract):
            raise UsageError(f"{path} belongs to contract {told[2]} on chain {told[1]}, not to the one configured")
        try:
            secret, key = _unsealed(told[3], keys, path)
            identity = Identity.parse(secret.decode())
            return cls(database, path, identity, unseal(told[4], identity)), key
        except (BlobError, UnicodeDecodeError, TypeError) as fault:
            raise UsageError(f"{path} is damaged: its own keys cannot be read") from fault

    def close(self) -> None:
        """Closes the file."""
        self._database.close()

    def reseal(self, keys: Keys) -> None:
        """After a rotation of the hospital's encryption key: what earlier keys open, the present one opens alone."""
        with self._writing() as database:
            sealed = seal(self._identity.secret.encode(), [keys.identity.encryption.public])
            database.execute("UPDATE about SET identity = ?", (sealed,))

    def index(self) -> None:
        """Makes the indexes that a vault of an earlier version lacks. Raises StorageError, as where it is read-only."""
        there = {name for (name,) in self._all("SELECT name FROM sqlite_master WHERE type = 'index'")}
        missing = [name for name in _INDEXES if name not in there]
        if missing:
            with self._writing() as database:
                for name in missing:  # unless another process has been faster
                    database.execute(f"CREATE INDEX IF NOT EXISTS {name} ON {_INDEXES[name]}")

    def revision(self) -> int:
        """A number that changes whenever the vault is changed, by us or by another process."""
        return int(self._all("PRAGMA data_version")[0][0]) + self._database.total_changes

    # ------------------------------------------------------------------ SQLite

    @contextmanager
    def _writing(self) -> Iterator[sqlite3.Connection]:
        """One transaction, and nobody else's beside it. Raises StorageError; then nothing of it was written."""
        try:
            with self._database:
                self._database.execute("BEGIN IMMEDIATE")
                yield self._database
        except sqlite3.IntegrityError as fault:
            raise StorageError(f"{self._path} was changed by another process meanwhile: do it again") from fault
        except sqlite3.DatabaseError as fault:
            raise StorageError(f"cannot write {self._path}: {fault}") from fault

    def _all(self, query: str, *values: object) -> list[tuple[Any, ...]]:
        """Raises StorageError."""
        try:
            return self._database.execute(query, values).fetchall()
        except sqlite3.DatabaseError as fault:
            raise StorageError(f"cannot read {self._path}: {fault}") from fault

    def _one(self, query: str, *values: object) -> tuple[Any, ...] | None:
        return next(iter(self._all(query, *values)), None)

    def _overwrite_journal(self) -> None:
        """Zeros over SQLite's rollback journal, which holds pages as they were before: keys that are erased among them.

        While we hold the lock nobody else writes one, and ours has not begun.
        """
        journal = self._path.with_name(f"{self._path.name}-journal")
        with self._writing():
            try:
                with suppress(FileNotFoundError), journal.open("r+b", buffering=0) as file:
                    file.write(bytes(os.fstat(file.fileno()).st_size))
                    os.fsync(file.fileno())
            except OSError as fault:
                raise StorageError(f"cannot overwrite {journal}: {fault.strerror}") from fault


def _create(path: Path, recipient: bytes, consortium: Consortium) -> None:
    """Creates a vault under a temporary name and then links it: it appears complete, and never replaces another."""
    partial = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    identity, pseudonyms = new_identity(), secrets.token_bytes(32)
    sealed = seal(identity.secret.encode(), [recipient]), seal(pseudonyms, [identity.public])
    try:
        path.parent.mkdir(mode=0o700, exist_ok=True)  # no parents: without its disk, the vault would seem empty
        os.close(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
        with closing(_connect(partial)) as database:
            database.executescript(_SCHEMA + "".join(f"CREATE INDEX {name} ON {on};" for name, on in _INDEXES.items()))
            about = (FORMAT, consortium.chain_id, consortium.contract, *sealed)
            with database:
                database.execute("INSERT INTO about VALUES (?, ?, ?, ?, ?)", about)
        with suppress(FileExistsError):  # another process was faster: its vault is the one
            path.hardlink_to(partial)
    except OSError as fault:
        raise StorageError(f"cannot make {path}: {fault.strerror}") from fault
    except sqlite3.DatabaseError as fault:
        raise StorageError(f"cannot make {path}: {fault}") from fault
    finally:
        for left in (partial, partial.with_name(f"{partial.name}-journal")):
            with suppress(OSError):
                left.unlink()


def _connect(path: Path) -> sqlite3.Connection:
    if path.stat().st_mode & 0o077:
        raise UsageError(f"the vault {path} can be read by others; do: chmod 600 {path}")
    database = sqlite3.connect(path, timeout=30.0)
    try:
        database.execute("PRAGMA foreign_keys = ON")
        database.execute("PRAGMA secure_delete = ON")  # what is erased is overwritten, not only let go of
        database.execute("PRAGMA journal_mode = PERSIST")  # a journal that stays can be overwritten
        database.execute("PRAGMA synchronous = FULL")
    except BaseException:
        database.close()
        raise
    return database


def _told_of(path: Path, fault: sqlite3.DatabaseError) -> UsageError | StorageError:
    """What to raise where a vault does not open. One that cannot be read, or is locked, may be as it should be."""
    code = getattr(fault, "sqlite_errorcode", sqlite3.SQLITE_ERROR)  # without one for text that is none
    if path.is_dir() or code & 0xFF in _NO_VAULT:
        return UsageError(f"{path} is not a vault of records: {fault}")
    return StorageError(f"cannot read {path}: {fault}")


def _unsealed(sealed: bytes, keys: Keys, path: Path) -> tuple[bytes, Identity]:
    for identity in keys.identities:
        with suppress(BlobError):
            return unseal(sealed, identity), identity
    raise UsageError(f"{path} is sealed to an encryption key that this hospital does not have")
