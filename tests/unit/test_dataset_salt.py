"""The salt of a commitment to data: found again after a restart, and another one for other records."""

from __future__ import annotations

import numpy as np

from trainers.dataset_root import SALT_BYTES, dataset_root, salt_of
from trainers.splits import Split

IMAGES = np.random.default_rng(0).integers(0, 256, (7, 28, 28), dtype=np.uint8)
WHOLE = Split(IMAGES, np.arange(7))
SECRET = b"salt secret"


def test_the_same_records_have_the_same_salt_again() -> None:
    again = Split(IMAGES.copy(), WHOLE.labels.copy())
    assert salt_of(again, SECRET) == salt_of(WHOLE, SECRET)
    assert dataset_root(again, salt_of(again, SECRET)) == dataset_root(WHOLE, salt_of(WHOLE, SECRET))


def test_a_salt_cannot_be_searched() -> None:
    assert len(salt_of(WHOLE, SECRET)) == 32 >= SALT_BYTES


def test_other_records_and_other_secrets_have_other_salts() -> None:
    """Under one salt, equal records at equal places would show as equal."""
    pixel = Split(IMAGES.copy(), WHOLE.labels)
    pixel.inputs[3, 5, 5] ^= 1
    label = Split(IMAGES, np.where(np.arange(7) == 3, 0, WHOLE.labels))
    fewer, swapped = WHOLE.take(np.arange(6)), WHOLE.take(np.array([1, 0, 2, 3, 4, 5, 6]))
    salts = [salt_of(changed, SECRET) for changed in (WHOLE, pixel, label, fewer, swapped)]
    assert len({*salts, salt_of(WHOLE, b"another")}) == 6
