"""What a manifest may add to local training: it does what it says, and leaves plain SGD as it was."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from hmchain.manifest import Manifest
from hmchain.weights import Weights
from tests.unit.test_training import BASE, CNN, ONCE, PLAIN, bright_or_dark, same
from trainers.augmentation import SHIFT, augmented
from trainers.networks import build
from trainers.splits import Split
from trainers.training import LocalTraining, scheduled, train

JOB = Manifest("stripes", 1, ("a", "b"), seed=0, rounds=50, batch_size=8, epochs=1)
NETWORK, SPLIT = build(CNN, 1, 2), bright_or_dark(24)


def trained(split: Split = SPLIT, **changes: object) -> Weights:
    return train(NETWORK, BASE, split, replace(ONCE, **changes), seed=3, compute=PLAIN)  # type: ignore[arg-type]


def test_a_job_without_a_recipe_trains_as_ever():
    assert LocalTraining.of(JOB, 7) == ONCE


def test_every_choice_of_a_job_reaches_the_training():
    job = replace(JOB, momentum=0.5, weight_decay=0.1, proximal=0.2, augmentation="flip", balanced=True)
    assert LocalTraining.of(job, 1) == LocalTraining(1, 8, 0.1, 0.5, 0.1, 0.2, "flip", True)


@pytest.mark.parametrize(
    "changes", [{"momentum": 0.9}, {"weight_decay": 0.1}, {"proximal": 1.0}, {"augmentation": "shift-flip"}]
)
def test_each_choice_changes_the_update_and_repeats_itself(changes: dict[str, object]):
    assert same(trained(**changes), trained(**changes))
    assert not same(trained(**changes), trained())


def test_the_proximal_term_pulls_back_what_was_moved_and_nothing_else():
    """Of two steps on one batch the first is plain, and the second goes back by rate × proximal × the first."""
    batch = SPLIT.take(np.arange(8))
    first, plain = trained(batch), trained(batch, epochs=2)
    assert same(trained(batch, proximal=5.0), first)
    pulled = trained(batch, epochs=2, proximal=5.0)
    for name, _ in NETWORK.named_parameters():
        expected = plain[name] - 0.1 * 5.0 * (first[name] - BASE[name])
        np.testing.assert_allclose(pulled[name], expected, atol=1e-5)


def test_balance_changes_nothing_where_classes_are_balanced_and_helps_the_rare_one():
    even = SPLIT.take(np.arange(8))
    for name, array in trained(even, balanced=True).items():
        np.testing.assert_allclose(array, trained(even)[name], atol=1e-5)
    skewed = SPLIT.take(np.array([0, 2, 4, 6, 8, 10, 12, 1]))
    rare, plain = trained(skewed, balanced=True), trained(skewed)
    assert rare["22.bias"][1] - rare["22.bias"][0] > plain["22.bias"][1] - plain["22.bias"][0]


def test_a_cosine_begins_at_one_and_comes_near_zero():
    shares = [scheduled("cosine", round, 50) for round in range(1, 51)]
    assert shares[0] == 1
    assert shares[25] == pytest.approx(0.5)
    assert shares == sorted(shares, reverse=True)
    assert 0 < shares[-1] < 0.002
    assert {scheduled("constant", round, 50) for round in range(1, 51)} == {1.0}
    assert LocalTraining.of(replace(JOB, schedule="cosine"), 26).learning_rate == pytest.approx(0.05)


@pytest.mark.parametrize("shape", [(40, 28, 28), (40, 28, 28, 3)])
def test_a_shifted_image_is_the_image_elsewhere(shape: tuple[int, ...]):
    images = torch.randint(0, 256, shape, dtype=torch.uint8)
    shifted = augmented(images, "shift", torch.Generator().manual_seed(0))
    assert shifted.dtype == torch.uint8
    inner, moves = slice(SHIFT, 28 - SHIFT), set()
    for before, after in zip(images, shifted, strict=True):
        found = [
            (down, right)
            for down in range(-SHIFT, SHIFT + 1)
            for right in range(-SHIFT, SHIFT + 1)
            if torch.equal(after[inner, inner], before.roll((-down, -right), (0, 1))[inner, inner])
        ]
        assert len(found) == 1
        moves |= set(found)
    assert len(moves) > 10


def test_every_other_image_is_flipped_left_to_right():
    images = torch.randint(0, 256, (40, 28, 28, 3), dtype=torch.uint8)
    flipped = augmented(images, "flip", torch.Generator().manual_seed(0))
    mirrored = [torch.equal(after, before.flip(1)) for before, after in zip(images, flipped, strict=True)]
    kept = [torch.equal(after, before) for before, after in zip(images, flipped, strict=True)]
    assert all(one != other for one, other in zip(mirrored, kept, strict=True))
    assert 10 < sum(mirrored) < 30


def test_no_augmentation_draws_nothing():
    stream, images = torch.Generator().manual_seed(0), torch.zeros(2, 28, 28)
    assert augmented(images, "none", stream) is images
    assert torch.equal(torch.rand(1, generator=stream), torch.rand(1, generator=torch.Generator().manual_seed(0)))
