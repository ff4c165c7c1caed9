"""Merkle trees over SHA-256: over a batch's records (as contracts/lib/MerkleProof.sol has them), over a data set.

    inner = SHA-256(0x01 || left || right)       an odd node moves up as it is

Leaves are digests of data that begin with 0x00, so that none can pass for an inner node (RFC 6962, section 2.1).
"""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import sha256


def record_leaf(commitment: bytes, ciphertext: bytes, offset: int, length: int) -> bytes:
    """The leaf of a record in its batch: SHA-256(0x00 || commitment || SHA-256(ciphertext) || offset || length).

    commitment: 32 bytes. ciphertext: the SHA-256 of the sealed record. offset, length: its place in the batch's blob,
    in bytes.
    """
    return sha256(b"\x00" + commitment + ciphertext + offset.to_bytes(8, "big") + length.to_bytes(8, "big")).digest()


class Tree:
    """A tree over 32-byte leaves, all levels of it in memory. Raises ValueError where there is no leaf."""

    def __init__(self, leaves: Sequence[bytes]) -> None:
        if not leaves:
            raise ValueError("a tree needs at least one leaf")
        self._levels = [list(leaves)]
        while len(self._levels[-1]) > 1:
            self._levels.append(_above(self._levels[-1]))

    @property
    def root(self) -> bytes:
        """The root, 32 bytes."""
        return self._levels[-1][0]

    def proof(self, index: int) -> list[bytes]:
        """The proof of the leaf at `index`: the siblings on its way up; a node that moves up alone has none.

        Raises ValueError where there is no such leaf.
        """
        if not 0 <= index < len(self._levels[0]):
            raise ValueError(f"there is no leaf {index} among {len(self._levels[0])}")
        proof = []
        for level in self._levels[:-1]:
            if index ^ 1 < len(level):
                proof.append(level[index ^ 1])
            index //= 2
        return proof


def root_of(leaves: Sequence[bytes]) -> bytes:
    """The 32-byte root over leaves. Raises ValueError where there is none."""
    return Tree(leaves).root


def is_proved(leaf: bytes, index: int, count: int, proof: Sequence[bytes], root: bytes) -> bool:
    """Whether `leaf` is the leaf at `index` of the tree of `count` leaves with this root."""
    if not 0 <= index < count:
        return False
    node, siblings = leaf, list(proof)
    while count > 1:
        if index ^ 1 < count:
            if not siblings:
                return False
            other = siblings.pop(0)
            node = _inner(other, node) if index & 1 else _inner(node, other)
        index, count = index // 2, (count + 1) // 2
    return not siblings and node == root


def _above(level: list[bytes]) -> list[bytes]:
    pairs = zip(level[::2], level[1::2], strict=False)
    return [_inner(left, right) for left, right in pairs] + (level[-1:] if len(level) % 2 else [])


def _inner(left: bytes, right: bytes) -> bytes:
    return sha256(b"\x01" + left + right).digest()
