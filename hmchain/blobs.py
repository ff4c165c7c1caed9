"""Where blobs are stored: a folder, or an IPFS daemon. Both give a blob the same name and refuse the same bytes.

Whatever a store returns has been checked: the size is compared with the limit before anything is read, never more than
one byte beyond the recorded size is read, and SHA-256 and CID are compared before the caller sees a byte.
"""

from __future__ import annotations

import hashlib
import os
import re
import secrets
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, Self

from hmchain.cid import Cid, cid_of
from hmchain.errors import BlobError, Reason, StorageError, UsageError
from hmchain.files import sync_folder

IPFS_PREFIX = "ipfs:"
ADDRESS = re.compile(r"[a-z]+:|/(ip4|ip6|dns[46]?)/", re.IGNORECASE)  # how addresses begin, and folders do not


@dataclass(frozen=True)
class BlobRef:
    """What the chain records of a blob: SHA-256 of its bytes (32 bytes), CID, size in bytes."""

    sha256: bytes
    cid: Cid
    size: int

    @classmethod
    def of(cls, data: bytes) -> Self:
        """The reference of data."""
        return cls(hashlib.sha256(data).digest(), cid_of(data), len(data))


class BlobStore(Protocol):
    """A content-addressed store of blobs."""

    def put(self, data: bytes) -> BlobRef:
        """Store data and return its reference; storing the same bytes again is harmless.

        Raises StorageError where the local disk refuses, BlobError where the daemon does.
        """

    def get(self, ref: BlobRef, limit: int) -> bytes:
        """Fetch the bytes that ref names, if they are at most limit bytes.

        Raises BlobError with the reason TOO_LARGE before anything is read, UNAVAILABLE, or WRONG_DIGEST for bytes
        of another size, digest or CID; DaemonError where the store is at fault, not the blob; StorageError where the
        local disk cannot be read.
        """

    def used(self) -> int:
        """Bytes that the store holds; also the way to ask whether it works at all. Raises DaemonError, StorageError."""


class DirectoryStore:
    """Blobs as files <root>/<cid>, each written whole or not at all.

    With fsync a blob survives a power cut as soon as put returns, at the price of some milliseconds. Without it a power
    cut may lose a blob until the same bytes are put again.
    """

    def __init__(self, root: Path, fsync: bool = False) -> None:
        self._root = root
        self._fsync = fsync
        try:
            root.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise StorageError(f"cannot use {root} as a folder of blobs: {error.strerror}") from error

    def put(self, data: bytes) -> BlobRef:
        """See BlobStore.put."""
        ref = BlobRef.of(data)
        # The name starts with a dot, as no CID does, and is random, so that two writers never share it.
        partial = self._root / f".{ref.cid}.{secrets.token_hex(8)}"
        try:
            try:
                self._write(partial, data)
                partial.replace(self._path(ref))
                if self._fsync:
                    sync_folder(self._root)
            finally:
                with suppress(FileNotFoundError):
                    partial.unlink()
        except OSError as error:
            raise StorageError(f"cannot write a blob to {self._root}: {error.strerror}") from error
        return ref

    def get(self, ref: BlobRef, limit: int) -> bytes:
        """See BlobStore.get."""
        check_limit(ref, limit)
        try:
            with open(self._path(ref), "rb", opener=_at_once) as file:
                data = file.read(ref.size + 1) or b""
        except FileNotFoundError:
            raise BlobError(f"blob {ref.cid} is not in {self._root}", Reason.UNAVAILABLE) from None
        except OSError as error:
            raise StorageError(f"cannot read blob {ref.cid} in {self._root}: {error.strerror}") from error
        return proved(data, ref)

    def used(self) -> int:
        """See BlobStore.used."""
        try:
            return sum(_size_of(entry) for entry in os.scandir(self._root))
        except OSError as error:
            raise StorageError(f"cannot read {self._root}: {error.strerror}") from error

    def _path(self, ref: BlobRef) -> Path:
        return self._root / str(ref.cid)

    def _write(self, path: Path, data: bytes) -> None:
        with path.open("xb") as file:
            file.write(data)
            if self._fsync:
                file.flush()
                os.fsync(file.fileno())


class LimitedStore:
    """A store that refuses to put more once it holds `limit` bytes, blobs that were only fetched included."""

    def __init__(self, store: BlobStore, limit: int) -> None:
        self._store = store
        self._limit = limit

    def put(self, data: bytes) -> BlobRef:
        """See BlobStore.put. Raises StorageError at the limit."""
        used = self.used()
        if used + len(data) > self._limit:
            raise StorageError(f"the blob store holds {used:,} bytes, its limit is {self._limit:,}")
        return self._store.put(data)

    def get(self, ref: BlobRef, limit: int) -> bytes:
        """See BlobStore.get."""
        return self._store.get(ref, limit)

    def used(self) -> int:
        """See BlobStore.used."""
        return self._store.used()


def open_store(spec: str | Path, timeout: float = 60.0, limit: int = 0, durable: bool = False) -> BlobStore:
    """The store that spec names: a folder, or "ipfs:" and a daemon's multiaddr (ipfs:/ip4/127.0.0.1/tcp/5001).

    timeout is in seconds, for each put or get of a daemon; limit is in bytes, 0 for none. durable: a folder's blobs
    survive a power cut (a daemon has its own settings for that). Raises UsageError for what is no multiaddr, or one
    without "ipfs:", StorageError for a folder that cannot be used.
    """
    store: BlobStore
    check_spec(str(spec))
    if isinstance(spec, str) and spec.startswith(IPFS_PREFIX):
        from hmchain.ipfs import IpfsStore  # its client takes a while to import, and a folder does not need it

        store = IpfsStore(spec.removeprefix(IPFS_PREFIX), timeout)
    else:
        store = DirectoryStore(Path(spec), durable)
    return LimitedStore(store, limit) if limit else store


def check_spec(spec: str) -> None:
    """Raises UsageError for what no folder can be called, and for an address without "ipfs:": as a folder, it would
    hold blobs that nobody else finds.
    """
    if "\0" in spec:
        raise UsageError("names no folder")
    if ADDRESS.match(spec) and not spec.startswith(IPFS_PREFIX):
        raise UsageError("an IPFS daemon is named with ipfs: and its multiaddr, as in ipfs:/ip4/127.0.0.1/tcp/5001")


def _at_once(path: str, flags: int) -> int:
    """Opens a file; a pipe in its place, whoever put it there, keeps nobody waiting for somebody to write to it."""
    return os.open(path, flags | os.O_NONBLOCK)


def _size_of(entry: os.DirEntry[str]) -> int:
    """Bytes of a file; 0 for one that another writer has renamed meanwhile."""
    try:
        return entry.stat().st_size
    except FileNotFoundError:
        return 0


def check_limit(ref: BlobRef, limit: int) -> None:
    """Raises BlobError(TOO_LARGE) for a blob of more than limit bytes."""
    if ref.size > limit:
        raise BlobError(f"blob {ref.cid} has {ref.size:,} bytes, {limit:,} are allowed", Reason.TOO_LARGE)


def proved(data: bytes, ref: BlobRef) -> bytes:
    """data, if it is what ref names; the cheapest comparison comes first. Raises BlobError(WRONG_DIGEST)."""
    if len(data) != ref.size:
        raise BlobError(f"blob {ref.cid} does not have the recorded {ref.size:,} bytes", Reason.WRONG_DIGEST)
    if hashlib.sha256(data).digest() != ref.sha256:
        raise BlobError(f"blob {ref.cid} does not have the recorded SHA-256", Reason.WRONG_DIGEST)
    if cid_of(data) != ref.cid:
        raise BlobError(f"the bytes recorded as blob {ref.cid} have another CID", Reason.WRONG_DIGEST)
    return data
