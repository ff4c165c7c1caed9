"""Where blobs are stored: a folder, or an IPFS daemon. Both give a blob the same name and refuse the same bytes.

Whatever a store returns has been checked: the size is compared with the limit before anything is read, never more than
one byte beyond the recorded size is read, and SHA-256 and CID are compared before the caller sees a byte.
"""

from __future__ import annotations

import hashlib
import io
import os
import re
import secrets
import time
import warnings
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, Self

from hmchain.cid import Cid, cid_of
from hmchain.errors import BlobError, DaemonError, Reason, StorageError, UsageError

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
            finally:
                with suppress(FileNotFoundError):
                    partial.unlink()
        except OSError as error:
            raise StorageError(f"cannot write a blob to {self._root}: {error.strerror}") from error
        return ref

    def get(self, ref: BlobRef, limit: int) -> bytes:
        """See BlobStore.get."""
        _check_limit(ref, limit)
        try:
            with self._path(ref).open("rb") as file:
                data = file.read(ref.size + 1)
        except FileNotFoundError:
            raise BlobError(f"blob {ref.cid} is not in {self._root}", Reason.UNAVAILABLE) from None
        except OSError as error:
            raise StorageError(f"cannot read blob {ref.cid} in {self._root}: {error.strerror}") from error
        return _proved(data, ref)

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


class IpfsStore:
    """Blobs in a Kubo daemon, through its RPC API; put also pins them there.

    address is the daemon's multiaddr, such as /ip4/127.0.0.1/tcp/5001; timeout, in seconds, bounds each put and get.
    The daemon belongs to the hospital, so it is trusted not to flood us; what it fetches from others is checked.
    """

    def __init__(self, address: str, timeout: float = 60.0) -> None:
        # Imported here: it takes a while, and a node that uses a folder does not need it.
        import ipfshttpclient

        # The client passes an argument that urllib3 2 ignores, with a warning that users can do nothing about.
        warnings.filterwarnings("ignore", "The 'strict' parameter", FutureWarning, r"urllib3\.")
        self._address = address
        self._timeout = timeout
        # requests' errors, which are OSErrors, come through while an answer is being streamed; the last three are
        # what the client makes of the answer of a server that is no IPFS daemon.
        self._faults = (ipfshttpclient.exceptions.Error, OSError, LookupError, TypeError, AssertionError)
        self._unreachable = ipfshttpclient.exceptions.ConnectionError
        self._late = (ipfshttpclient.exceptions.TimeoutError, TimeoutError)
        try:
            # Not connect(): that refuses every daemon released since 2021, for its version alone.
            self._client: Any = ipfshttpclient.Client(address, timeout=timeout)
        except (ipfshttpclient.exceptions.AddressError, ValueError) as error:
            raise UsageError(f"{address!r} is not the address of an IPFS daemon") from error

    def put(self, data: bytes) -> BlobRef:
        """See BlobStore.put. Raises DaemonError also where the daemon's CID is not ours."""
        ref = BlobRef.of(data)
        try:
            answer = self._client.add(
                io.BytesIO(data),
                cid_version=1,
                raw_leaves=True,
                chunker="size-262144",
                opts={"cid-base": "base32"},
            )
            name = str(answer["Hash"])
        except self._faults as error:
            raise DaemonError(self._failed(f"store {ref.cid}", error)) from error
        if name != str(ref.cid):
            raise DaemonError(f"the IPFS daemon at {self._address} stored {ref.cid} as {name[:80]!r}")
        return ref

    def get(self, ref: BlobRef, limit: int) -> bytes:
        """See BlobStore.get."""
        _check_limit(ref, limit)
        try:
            data = self._read(ref)
        except self._faults as error:
            kind = DaemonError if isinstance(error, self._unreachable) else BlobError
            raise kind(self._failed(f"fetch {ref.cid}", error)) from error
        if len(data) == ref.size and cid_of(data) != ref.cid:
            # The CID is a digest, too: a daemon that works would have refused these bytes, whoever sent them.
            message = f"the IPFS daemon at {self._address} gives other bytes for {ref.cid}"
            raise DaemonError(message, Reason.WRONG_DIGEST)
        return _proved(data, ref)

    def used(self) -> int:
        """See BlobStore.used."""
        try:
            return int(self._client.repo.stat(opts={"size-only": "true"})["RepoSize"])
        except (*self._faults, ValueError) as error:
            raise DaemonError(self._failed("say what it holds", error)) from error

    def _read(self, ref: BlobRef) -> bytes:
        """The bytes of ref, at most one more than ref.size. The client's timeout is for a packet, ours for the whole.

        Raises TimeoutError, or OSError for an answer that ends early.
        """
        deadline = time.monotonic() + self._timeout
        data = bytearray()
        with self._client.cat(str(ref.cid), length=ref.size + 1, stream=True) as chunks:
            for chunk in chunks:
                data += chunk
                if len(data) > ref.size:
                    break
                if time.monotonic() > deadline:
                    raise TimeoutError
        # Kubo ends an answer early where it cannot find the next block.
        if len(data) < ref.size:
            raise OSError(f"the answer ended after {len(data):,} of {ref.size:,} bytes")
        return bytes(data)

    def _failed(self, action: str, error: BaseException) -> str:
        if isinstance(error, self._unreachable):
            why = "it is not reachable"
        elif isinstance(error, self._late):
            why = f"no answer, or no end of it, within {self._timeout:g} s"
        else:
            why = (str(error).splitlines() or [type(error).__name__])[0][:300]
        return f"the IPFS daemon at {self._address} cannot {action}: {why}"


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
        store = IpfsStore(spec.removeprefix(IPFS_PREFIX), timeout)
    else:
        store = DirectoryStore(Path(spec), durable)
    return LimitedStore(store, limit) if limit else store


def check_spec(spec: str) -> None:
    """Raises UsageError for an address without "ipfs:": as a folder, it would hold blobs that nobody else finds."""
    if ADDRESS.match(spec) and not spec.startswith(IPFS_PREFIX):
        raise UsageError("an IPFS daemon is named with ipfs: and its multiaddr, as in ipfs:/ip4/127.0.0.1/tcp/5001")


def _size_of(entry: os.DirEntry[str]) -> int:
    """Bytes of a file; 0 for one that another writer has renamed meanwhile."""
    try:
        return entry.stat().st_size
    except FileNotFoundError:
        return 0


def _check_limit(ref: BlobRef, limit: int) -> None:
    if ref.size > limit:
        raise BlobError(f"blob {ref.cid} has {ref.size:,} bytes, {limit:,} are allowed", Reason.TOO_LARGE)


def _proved(data: bytes, ref: BlobRef) -> bytes:
    """data, if it is what ref names; the cheapest comparison comes first. Raises BlobError(WRONG_DIGEST)."""
    if len(data) != ref.size:
        raise BlobError(f"blob {ref.cid} does not have the recorded {ref.size:,} bytes", Reason.WRONG_DIGEST)
    if hashlib.sha256(data).digest() != ref.sha256:
        raise BlobError(f"blob {ref.cid} does not have the recorded SHA-256", Reason.WRONG_DIGEST)
    if cid_of(data) != ref.cid:
        raise BlobError(f"the bytes recorded as blob {ref.cid} have another CID", Reason.WRONG_DIGEST)
    return data
