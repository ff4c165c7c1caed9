"""How far a report's metrics may be from what is measured here: other processors see some samples otherwise."""

from __future__ import annotations

import numpy as np
import pytest

from coordinator.claims import TOLERANCE
from coordinator.measurement import tolerances_on
from trainers.scoring import measure
from trainers.splits import Split, each_finding


@pytest.mark.parametrize("counts", [(42, 114), (21, 57), (1, 1), (5, 0, 300)])
def test_two_samples_that_flip_are_within_it(counts: tuple[int, ...]) -> None:
    labels = np.repeat(np.arange(len(counts)), counts)
    split = Split(np.zeros((len(labels), 28, 28), np.uint8), labels)
    answers = np.eye(len(counts))[labels]
    flipped = answers.copy()
    flipped[:2] = np.roll(flipped[:2], 1, axis=1)
    one, other = measure(answers, split), measure(flipped, split)
    tolerances = tolerances_on(split)
    assert abs(one.accuracy - other.accuracy) <= tolerances["accuracy"]
    assert abs(one.balanced_accuracy - other.balanced_accuracy) <= tolerances["balanced_accuracy"]


def test_of_many_samples_it_is_a_hundredth() -> None:
    labels = np.arange(10_000) % 7
    assert set(tolerances_on(Split(np.zeros((10_000, 28, 28), np.uint8), labels)).values()) == {TOLERANCE}


def test_findings_that_flip_in_two_samples_are_within_it() -> None:
    labels = np.random.default_rng(0).integers(0, 8, 150)
    split = Split(np.zeros((150, 28, 28), np.uint8), labels, findings=3)
    answers = each_finding(labels, 3).astype(np.float32)
    flipped = answers.copy()
    flipped[:2] = 1 - flipped[:2]
    tolerances, differ = tolerances_on(split), measure(flipped, split)
    assert 1 - differ.accuracy <= tolerances["accuracy"] == pytest.approx(2.5 / 150)
    assert 1 - differ.balanced_accuracy <= tolerances["balanced_accuracy"] < 0.1


def test_a_rare_class_excuses_no_false_accuracy() -> None:
    tolerances = tolerances_on(Split(np.zeros((1000, 28, 28), np.uint8), (np.arange(1000) == 0).astype(np.int64)))
    assert (tolerances["accuracy"], tolerances["loss"]) == (TOLERANCE, TOLERANCE)
    assert tolerances["auc"] > 1
