"""The dataset root: a commitment to every record, in order, that can be rebuilt by hand."""

from __future__ import annotations

import hmac
from hashlib import sha256

import numpy as np
import pytest

from hmchain.errors import UsageError
from trainers.dataset_root import dataset_root, salt_of
from trainers.splits import Split

SALT = bytes(range(32))


def split(count: int) -> Split:
    images = np.random.default_rng(0).integers(0, 256, (count, 28, 28), dtype=np.uint8)
    return Split(images, np.arange(count))


def leaf(part: Split, index: int) -> bytes:
    blind = hmac.new(SALT, index.to_bytes(8, "big"), "sha256").digest()
    label = int(part.labels[index]).to_bytes(8, "big")
    return sha256(b"\0" + blind + label + part.inputs[index].tobytes()).digest()


def inner(left: bytes, right: bytes) -> bytes:
    return sha256(b"\1" + left + right).digest()


def test_one_record_is_its_own_root():
    assert dataset_root(split(1), SALT) == leaf(split(1), 0)


def test_five_records_by_hand():
    a, b, c, d, e = (leaf(split(5), i) for i in range(5))
    assert dataset_root(split(5), SALT) == inner(inner(inner(a, b), inner(c, d)), e), "the odd one moves up as it is"


def test_any_change_shows():
    whole = split(7)
    root = dataset_root(whole, SALT)
    pixel = Split(whole.inputs.copy(), whole.labels)
    pixel.inputs[3, 5, 5] ^= 1
    label = Split(whole.inputs, np.where(np.arange(7) == 3, 0, whole.labels))
    fewer, swapped = whole.take(np.arange(6)), whole.take(np.array([1, 0, 2, 3, 4, 5, 6]))
    others = [dataset_root(changed, SALT) for changed in (pixel, label, fewer, swapped)]
    assert len({root, dataset_root(whole, bytes(32)), *others}) == 6


def test_a_repeated_last_record_is_not_an_odd_one():
    """The flaw of trees that pair an odd node with itself (CVE-2012-2459)."""
    assert dataset_root(split(3), SALT) != dataset_root(split(3).take(np.array([0, 1, 2, 2])), SALT)


def test_equal_records_have_unlike_leaves():
    twins = split(2).take(np.array([0, 0]))
    assert leaf(twins, 0) != leaf(twins, 1)


def test_nothing_to_commit_to_or_a_guessable_salt_is_refused():
    with pytest.raises(UsageError, match="at least one record"):
        dataset_root(split(1).take(np.arange(0)), SALT)
    with pytest.raises(UsageError, match="at least 16 bytes, not 15"):
        dataset_root(split(1), bytes(15))


def test_a_row_of_features_is_committed_to_as_an_image_is():
    rows = Split(np.array([[1.5, -2.0], [3.0, 4.0]], np.float32), np.array([0, 1]))
    assert dataset_root(rows, SALT) == inner(leaf(rows, 0), leaf(rows, 1))
    other = Split(np.array([[1.5, -2.0], [3.0, 4.25]], np.float32), rows.labels)
    assert dataset_root(other, SALT) != dataset_root(rows, SALT)
    assert salt_of(other, b"secret") != salt_of(rows, b"secret")
