"""How far a report's metrics may be from what is measured here: other processors see some samples otherwise."""

from __future__ import annotations

import numpy as np
import pytest

from coordinator.claims import TOLERANCE, tolerance_on
from trainers.scoring import measure
from trainers.splits import Split


@pytest.mark.parametrize("counts", [(42, 114), (21, 57), (1, 1), (5, 0, 300)])
def test_two_samples_that_flip_are_within_it(counts: tuple[int, ...]) -> None:
    labels = np.repeat(np.arange(len(counts)), counts)
    split = Split(np.zeros((len(labels), 28, 28), np.uint8), labels)
    answers = np.eye(len(counts))[labels]
    flipped = answers.copy()
    flipped[:2] = np.roll(flipped[:2], 1, axis=1)
    one, other = measure(answers, labels), measure(flipped, labels)
    assert abs(one.accuracy - other.accuracy) <= tolerance_on(split)
    assert abs(one.balanced_accuracy - other.balanced_accuracy) <= tolerance_on(split)


def test_of_many_samples_it_is_a_hundredth() -> None:
    labels = np.arange(10_000) % 7
    assert tolerance_on(Split(np.zeros((10_000, 28, 28), np.uint8), labels)) == TOLERANCE
