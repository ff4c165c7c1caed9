"""A hospital's commitment to its training data: a salted Merkle root over its records, which reveals none of them.

    leaf i = SHA-256(0x00 || HMAC-SHA256(salt, i) || label || input)     i and label as 8 bytes, big-endian
    input: the bytes of an image, or of float32 features, little-endian

The tree over the leaves is hmchain.merkle's. The HMAC blinds each leaf separately: without it anyone could confirm a
guessed record, and with one blinding factor for all leaves, opening one leaf would open the rest.

A node commits to what its records are as well: see trainers.training_sets.
"""

from __future__ import annotations

import hmac
from hashlib import sha256

from hmchain import merkle
from hmchain.errors import UsageError
from trainers.splits import Split

SALT_BYTES = 16  # at least; 128 bits cannot be searched


def salt_of(split: Split, secret: bytes) -> bytes:
    """The 32-byte salt for committing to a split, derived from `secret` and the split's content.

    As it is derived, a restarted node can tell whether its commitment still holds, and can open its leaves.
    """
    content = sha256(split.labels.tobytes())
    content.update(split.inputs.tobytes())
    return hmac.digest(secret, b"hmchain/dataset-salt/1" + content.digest(), "sha256")


def dataset_root(split: Split, salt: bytes) -> bytes:
    """The 32-byte root of split, one leaf a record, in split's order.

    salt is secret and new for each commitment: under one salt, equal records at equal places show as equal.
    Raises UsageError for an empty split or a salt shorter than SALT_BYTES.
    """
    if len(split) == 0:
        raise UsageError("a dataset root needs at least one record")
    if len(salt) < SALT_BYTES:
        raise UsageError(f"a dataset root needs a salt of at least {SALT_BYTES} bytes, not {len(salt)}")
    return merkle.root_of(_leaves(split, salt))


def _leaves(split: Split, salt: bytes) -> list[bytes]:
    labels = split.labels.tolist()
    blinds = (hmac.digest(salt, index.to_bytes(8, "big"), "sha256") for index in range(len(split)))
    return [
        sha256(b"\x00" + blind + label.to_bytes(8, "big") + sample.tobytes()).digest()
        for blind, label, sample in zip(blinds, labels, split.inputs, strict=True)
    ]
