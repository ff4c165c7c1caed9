"""How far a report's metrics may be from what is measured here: other processors see some samples otherwise."""

from __future__ import annotations

import numpy as np
import pytest

from coordinator.claims import TOLERANCE
from coordinator.measurement import tolerances_on
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
    tolerances = tolerances_on(split)
    assert abs(one.accuracy - other.accuracy) <= tolerances["accuracy"]
    assert abs(one.balanced_accuracy - other.balanced_accuracy) <= tolerances["balanced_accuracy"]


def test_of_many_samples_it_is_a_hundredth() -> None:
    labels = np.arange(10_000) % 7
    assert set(tolerances_on(Split(np.zeros((10_000, 28, 28), np.uint8), labels)).values()) == {TOLERANCE}


def test_a_rare_class_excuses_no_false_accuracy() -> None:
    tolerances = tolerances_on(Split(np.zeros((1000, 28, 28), np.uint8), (np.arange(1000) == 0).astype(np.int64)))
    assert (tolerances["accuracy"], tolerances["loss"]) == (TOLERANCE, TOLERANCE)
    assert tolerances["auc"] > 1
