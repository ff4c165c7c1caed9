"""Blobs in a Kubo daemon, through its RPC API."""

from __future__ import annotations

import io
import re
import warnings
from contextlib import suppress
from typing import Any

import ipfshttpclient
from ipfshttpclient import exceptions

from hmchain.blobs import BlobRef, check_limit, proved
from hmchain.cid import CHUNK_SIZE, cid_of
from hmchain.errors import BlobError, DaemonError, Reason, UsageError
from hmchain.timely import Timely

# What the client raises. requests' errors, which are OSErrors, come through while an answer is being streamed; the last
# four are what the client makes of the answer of a server that is no IPFS daemon.
FAULTS = (exceptions.Error, OSError, LookupError, TypeError, AssertionError, RecursionError)
# What a daemon says whose own disk refuses: it keeps what it fetches. Go's words for errno, in lower case everywhere.
OWN_DISK = re.compile("no space left on device|disk quota exceeded|read-only file system|input/output error")
WHY_SECONDS = 5.0  # for the reason of an answer that ended early


class IpfsStore:
    """Blobs in a Kubo daemon, through its RPC API; put also pins them there.

    address is the daemon's multiaddr, such as /ip4/127.0.0.1/tcp/5001; timeout, in seconds, bounds each put and get.
    The daemon belongs to the hospital; what it fetches from others is checked.
    """

    def __init__(self, address: str, timeout: float = 60.0) -> None:
        # The client passes an argument that urllib3 2 ignores, with a warning that users can do nothing about.
        warnings.filterwarnings("ignore", "The 'strict' parameter", FutureWarning, r"urllib3\.")
        self._address = address
        self._timeout = timeout
        try:
            # Not connect(): that refuses every daemon released since 2021, for its version alone.
            self._client: Any = ipfshttpclient.Client(address, timeout=timeout, auth=Timely(timeout))
        except (exceptions.AddressError, ValueError) as error:
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
        except FAULTS as error:
            raise DaemonError(self._failed(f"store {ref.cid}", error)) from error
        if name != str(ref.cid):
            raise DaemonError(f"the IPFS daemon at {self._address} stored {ref.cid} as {name[:80]!r}")
        self._check_pinned(ref)
        return ref

    def get(self, ref: BlobRef, limit: int) -> bytes:
        """See BlobStore.get."""
        check_limit(ref, limit)
        try:
            data = self._read(ref)
        except FAULTS as error:
            kind = DaemonError if self._is_at_fault(error) else BlobError
            raise kind(self._failed(f"fetch {ref.cid}", error)) from error
        if len(data) == ref.size and cid_of(data) != ref.cid:
            # The CID is a digest, too: a daemon that works would have refused these bytes, whoever sent them.
            message = f"the IPFS daemon at {self._address} gives other bytes for {ref.cid}"
            raise DaemonError(message, Reason.WRONG_DIGEST)
        return proved(data, ref)

    def used(self) -> int:
        """See BlobStore.used."""
        try:
            return int(self._client.repo.stat(opts={"size-only": "true"})["RepoSize"])
        except (*FAULTS, ValueError) as error:
            raise DaemonError(self._failed("say what it holds", error)) from error

    def _read(self, ref: BlobRef) -> bytes:
        """The bytes of ref, at most one more than ref.size. Raises OSError for an answer that ends early."""
        data = bytearray()
        with self._client.cat(str(ref.cid), length=ref.size + 1, stream=True) as chunks:
            for chunk in chunks:
                data += chunk
                if len(data) > ref.size:
                    break
        if len(data) < ref.size:
            # Kubo ends an answer early where it cannot find the next block, or store it.
            self._ask_for_block(ref, len(data) // CHUNK_SIZE)
            raise OSError(f"the answer ended after {len(data):,} of {ref.size:,} bytes")
        return bytes(data)

    def _ask_for_block(self, ref: BlobRef, number: int) -> None:
        """Raises why a block of a blob is not to be had, where Kubo says it: why an answer ended early it says in a
        trailer, which the client does not read.
        """
        with suppress(exceptions.TimeoutError, LookupError, TypeError):
            links = self._client.dag.get(str(ref.cid), timeout=WHY_SECONDS)["Links"]
            self._client.block.stat(links[number]["Hash"]["/"], timeout=WHY_SECONDS)

    def _check_pinned(self, ref: BlobRef) -> None:
        """Raises DaemonError for what the daemon stored and did not pin: where its disk was full by then, it says so in
        the trailer alone, and its garbage collector would remove the blob.
        """
        try:
            self._client.pin.ls(str(ref.cid), type="recursive")
        except FAULTS as error:
            raise DaemonError(self._failed(f"keep {ref.cid}", error)) from error

    def _is_at_fault(self, error: BaseException) -> bool:
        """Whether it is the daemon that failed, and not a blob that nobody has: it is gone, its disk refuses to take
        what is fetched, or it answers nothing else either.
        """
        if isinstance(error, exceptions.ConnectionError) or OWN_DISK.search(str(error)):
            return True
        try:
            self.used()
        except DaemonError:
            return True
        return False

    def _failed(self, action: str, error: BaseException) -> str:
        if isinstance(error, exceptions.ConnectionError):
            why = "it is not reachable"
        elif isinstance(error, (exceptions.TimeoutError, TimeoutError)):
            why = f"no answer, or no end of it, within {self._timeout:g} s"
        else:
            why = (str(error).splitlines() or [type(error).__name__])[0][:300]
        return f"the IPFS daemon at {self._address} cannot {action}: {why}"
