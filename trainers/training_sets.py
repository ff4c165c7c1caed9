"""Which data a hospital trained on: a list of each training set that it committed to, and the set of each update.

    training-sets/<root>.age       what the set is made of, sealed to the hospital's encryption key
    training-sets/job-<n>.jsonl    which set each update of a job was trained on, a line an update

    root = SHA-256(0x01 || root over the salted rows || SHA-256(0x00 || what they are made of))

The root is what the chain has: nobody, the hospital included, can change a list without being found out. Each file is
on disk before the chain is told of the set, or of the update.

A list names records by their entries and positions, and persons not at all: whose a record is, only the vault knows,
and only until it is erased. So lists stay as they are for good, and an erasure takes the person out of all of them.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any, Self

from hmchain import merkle
from hmchain.envelope import seal, unseal
from hmchain.errors import BlobError, DataError, StorageError
from hmchain.files import read_secret, write_secret
from hmchain.jsontext import parse
from trainers.keystore import Keys

FORMAT = "hmchain-training-set/1"
MAX_LIST = 1 << 30  # bytes of a sealed list: 64 features of 50,000 persons take 11 MB
Place = tuple[int, int]
"""A record, by the number of its entry on chain and its position there."""
Rows = tuple[tuple[Place, ...], ...]
"""Of each sample the records that it is made of."""


@dataclass(frozen=True)
class TrainingSet:
    """What a commitment on chain stands for.

    rows_root: over the salted rows (trainers.dataset_root), 32 bytes. Made of a file, known by its name and SHA-256 in
    hexadecimal, or, where purpose is given, of records that were consented to for it.
    """

    rows_root: bytes
    samples: int
    file: str = ""
    sha256: str = ""
    purpose: str = ""
    rows: Rows = ()

    @property
    def root(self) -> bytes:
        """The commitment, 32 bytes. No guess of the contents can be tried on it: the root over the rows is secret."""
        return merkle.root_of([self.rows_root, sha256(b"\x00" + _canonical(self._contents())).digest()])

    def encode(self) -> bytes:
        """As bytes, for `decode`."""
        return _canonical({"format": FORMAT, "rows_root": self.rows_root.hex(), **self._contents()})

    @classmethod
    def decode(cls, data: bytes) -> Self:
        """Raises DataError for bytes that are no list."""
        try:
            content = parse(data)
            if content.pop("format") != FORMAT:
                raise DataError(f"it is not a {FORMAT} file")
            rows = tuple(tuple(map(_place, row.split())) for row in content.pop("rows"))
            return cls(bytes.fromhex(content.pop("rows_root")), rows=rows, **content)
        except (ValueError, LookupError, TypeError, AttributeError) as fault:
            raise DataError("it is damaged") from fault

    def _contents(self) -> dict[str, Any]:
        rows = [" ".join(f"{entry}/{position}" for entry, position in row) for row in self.rows]
        made_of = {"file": self.file, "sha256": self.sha256, "purpose": self.purpose, "rows": rows}
        return {"samples": self.samples, **made_of}


def _place(text: str) -> Place:
    entry, position = map(int, text.split("/"))
    return entry, position


def _canonical(content: Mapping[str, Any]) -> bytes:
    return json.dumps(content, sort_keys=True, separators=(",", ":")).encode()


class TrainingSets:
    """The folder of them. Only the node writes to it."""

    def __init__(self, folder: Path, keys: Keys) -> None:
        self.folder = folder
        self._keys = keys

    def keep(self, root: bytes, listing: bytes) -> None:
        """Keeps an encoded list, once. Raises StorageError."""
        path = self._list(root)
        if not path.exists():
            self._make_folder()
            write_secret(path, seal(zlib.compress(listing), [self._keys.identity.encryption.public]))

    def note(self, job: int, round: int, update: bytes, root: bytes) -> None:
        """Notes which set an update, known by its blob's SHA-256, was trained on. Raises StorageError, DataError."""
        noted = self.noted(job)
        if noted.get((round, update)) != root:
            self._make_folder()
            lines = [_line(*key, value) for key, value in (noted | {(round, update): root}).items()]
            write_secret(self._notes(job), b"".join(lines))

    def noted(self, job: int) -> dict[tuple[int, bytes], bytes]:
        """Roots of the sets of a job's updates, by round and update: also of updates that did not reach the chain.

        Raises DataError where the file is damaged, UsageError where others can read it.
        """
        path = self._notes(job)
        if not path.exists():
            return {}
        try:
            lines = [parse(line) for line in read_secret(path, "the notes of updates").splitlines()]
            return {(int(e["round"]), bytes.fromhex(e["update"])): bytes.fromhex(e["set"]) for e in lines}
        except (ValueError, LookupError, TypeError) as fault:
            raise DataError(f"{path} is damaged; move it away") from fault

    def find(self, root: bytes) -> TrainingSet:
        """The set that a root on chain stands for.

        Raises DataError where its list is missing, damaged, or another one, and UsageError where others can read it.
        """
        path = self._list(root)
        if not path.exists():
            raise DataError(f"its list {path.name} is missing")
        sealed = read_secret(path, "the list of a training set", MAX_LIST)
        try:
            found = TrainingSet.decode(zlib.decompress(self._unsealed(sealed)))
        except (DataError, zlib.error) as fault:
            raise DataError(f"its list {path.name} cannot be read: {fault}") from fault
        if found.root != root:
            raise DataError(f"its list {path.name} is another one: its root is {found.root.hex()}")
        return found

    def _unsealed(self, sealed: bytes) -> bytes:
        for identity in self._keys.identities:
            try:
                return unseal(sealed, identity)
            except BlobError:
                continue
        raise DataError("it is damaged, or sealed to a key that is not here")

    def _list(self, root: bytes) -> Path:
        return self.folder / f"{root.hex()}.age"

    def _notes(self, job: int) -> Path:
        return self.folder / f"job-{job}.jsonl"

    def _make_folder(self) -> None:
        try:
            self.folder.mkdir(mode=0o700, exist_ok=True)  # no parents: a disk that is gone is not made anew
        except OSError as fault:
            raise StorageError(f"cannot make {self.folder}: {fault.strerror}") from fault


def _line(round: int, update: bytes, root: bytes) -> bytes:
    return _canonical({"round": round, "update": update.hex(), "set": root.hex()}) + b"\n"
