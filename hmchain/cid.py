"""CIDs as Kubo computes them, without Kubo.

The CID of a blob is what `ipfs add --cid-version=1 --raw-leaves --chunker=size-262144` prints for it: the blob cut
into 256 KiB raw blocks under a balanced tree of UnixFS file nodes. So a folder of blobs and an IPFS daemon name the
same bytes alike, and the chain needs only 32 bytes of the name: the codec follows from the size.

Sources: CID v1 (github.com/multiformats/cid), dag-pb (ipld.io/specs/codecs/dag-pb), UnixFS (specs.ipfs.tech/unixfs),
and the balanced layout of github.com/ipfs/boxo, which Kubo uses.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Self

from hmchain.errors import BlobError

CHUNK_SIZE = 262_144
LINKS_PER_NODE = 174  # boxo's DefaultLinksPerBlock: as many links of that time's CIDs as fit in 8 KiB
RAW = 0x55
DAG_PB = 0x70

_SHA2_256 = b"\x12\x20"  # multihash: function 0x12, 32 bytes
_LENGTH = 36  # version, codec, multihash function, its length, digest
_BASE58 = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"
_UNIXFS_FILE = 2


@dataclass(frozen=True)
class Cid:
    """A version 1 CID: codec RAW or DAG_PB, and the 32-byte SHA-256 of the root block.

    Raises BlobError where either is anything else.
    """

    codec: int
    digest: bytes

    def __post_init__(self) -> None:
        if self.codec not in (RAW, DAG_PB):
            raise BlobError(f"a CID of codec {self.codec:#x}: blobs are raw (0x55) or dag-pb (0x70)")
        if len(self.digest) != 32:
            raise BlobError(f"a CID of a {len(self.digest)}-byte digest: SHA-256 has 32")

    def __bytes__(self) -> bytes:
        """The 36 bytes of the binary CID."""
        return bytes((1, self.codec)) + _SHA2_256 + self.digest

    def __str__(self) -> str:
        """The CID in lower-case base32, "bafk…" or "bafy…", as Kubo prints it."""
        return "b" + base64.b32encode(bytes(self)).decode().rstrip("=").lower()

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read a version 1 CID in base32 ("b…") or base58btc ("z…", which some daemons answer).

        Raises BlobError for every other text, base32 that is not its own canonical form included.
        """
        data = _multibase(text)
        if len(data) != _LENGTH or data[0] != 1 or data[2:4] != _SHA2_256:
            raise BlobError(f"not a version 1 CID with a SHA-256 digest: {text[:80]!r}")
        cid = cls(data[1], data[4:])
        # base32 has spare bits at the end, which would give one blob several names.
        if text.startswith("b") and text != str(cid):
            raise BlobError(f"not a canonical CID: {text[:80]!r}")
        return cid


def codec_for(size: int) -> int:
    """The codec of the CID of a blob of size bytes: RAW while it fits in one chunk, else DAG_PB."""
    return RAW if size <= CHUNK_SIZE else DAG_PB


def cid_of(data: bytes, chunk_size: int = CHUNK_SIZE) -> Cid:
    """The CID that `ipfs add --cid-version=1 --raw-leaves --chunker=size-262144` gives data.

    Another chunk_size, in bytes, serves to compare tall trees with Kubo's; blobs have the default.
    """
    view = memoryview(data)
    level = [_leaf(view[start : start + chunk_size]) for start in range(0, max(len(data), 1), chunk_size)]
    # All leaves of a balanced tree lie at one depth, so a node may have a single child but no level is skipped.
    while len(level) > 1:
        level = [_parent(level[start : start + LINKS_PER_NODE]) for start in range(0, len(level), LINKS_PER_NODE)]
    return level[0].cid


@dataclass(frozen=True)
class _Node:
    """What a parent block records of a child: its CID, the bytes of file below it, the bytes of all blocks below it."""

    cid: Cid
    file_size: int
    tree_size: int


def _leaf(chunk: memoryview) -> _Node:
    return _Node(Cid(RAW, hashlib.sha256(chunk).digest()), len(chunk), len(chunk))


def _parent(children: list[_Node]) -> _Node:
    file_size = sum(child.file_size for child in children)
    unixfs = _number(1, _UNIXFS_FILE) + _number(3, file_size) + b"".join(_number(4, c.file_size) for c in children)
    # Links precede data: dag-pb fixes this order, against protobuf's habit.
    block = b"".join(_bytes(2, _link(child)) for child in children) + _bytes(1, unixfs)
    tree_size = len(block) + sum(child.tree_size for child in children)
    return _Node(Cid(DAG_PB, hashlib.sha256(block).digest()), file_size, tree_size)


def _link(child: _Node) -> bytes:
    """A PBLink. Its name is empty but present, which a generic protobuf writer would drop."""
    return _bytes(1, bytes(child.cid)) + _bytes(2, b"") + _number(3, child.tree_size)


def _number(field: int, value: int) -> bytes:
    return bytes((field << 3,)) + _varint(value)


def _bytes(field: int, value: bytes) -> bytes:
    return bytes((field << 3 | 2,)) + _varint(len(value)) + value


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def _multibase(text: str) -> bytes:
    prefix, body = text[:1], text[1:]
    try:
        if prefix == "b" and len(body) == 58:
            return base64.b32decode(body.upper() + "======")
        if prefix == "z" and len(body) == 48:
            return _from_base58(_BASE58.index(letter) for letter in body)
    except (binascii.Error, ValueError, OverflowError):
        pass
    raise BlobError(f"not a version 1 CID with a SHA-256 digest: {text[:80]!r}")


def _from_base58(digits: Iterable[int]) -> bytes:
    number = 0
    for digit in digits:
        number = number * 58 + digit
    return number.to_bytes(_LENGTH, "big")
