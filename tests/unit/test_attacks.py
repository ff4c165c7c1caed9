"""Malicious hospitals do what their attack is called, and are as many as they should be."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from coordinator.attacks import NOISE, Attacker, flipped, malicious_members
from coordinator.options import RunOptions
from coordinator.recipe_options import ATTACKS
from hmchain.errors import UsageError
from hmchain.manifest import Manifest
from hmchain.scores import basis_points
from tests.unit.test_training import bright_or_dark
from trainers.learner import LocalLearner, Pad
from trainers.networks import Compute, initial_model, network_of
from trainers.splits import Shard

JOB = Manifest("stripes", 1, ("a", "b"), 0, epochs=1, batch_size=8, aggregation="fedavgm-exact/1")
BASE = initial_model(JOB)
HONEST = LocalLearner(JOB, Shard(bright_or_dark(24), bright_or_dark(10)), Pad(network_of(JOB)), Compute("cpu", False))


@pytest.mark.parametrize("attack", ATTACKS[1:])
def test_an_attacker_sends_what_looks_like_an_update_and_repeats_itself(attack: str) -> None:
    honest, attacker = HONEST.train(BASE, 7, 1), Attacker(HONEST, attack)
    update, again = (attacker.train(BASE, 7, 1) for _ in range(2))
    assert list(update) == list(honest)
    assert all(update[name].dtype == array.dtype for name, array in honest.items())
    assert all(update[name].tobytes() == again[name].tobytes() for name in update)
    assert any((update[name] != honest[name]).any() for name in update)
    assert attacker.samples == HONEST.samples


def test_labels_are_flipped_for_training_and_nobody_elses() -> None:
    before = HONEST.shard.train.labels.copy()
    flipped = Attacker(HONEST, "label-flip").train(BASE, 7, 1)
    assert (HONEST.shard.train.labels == before).all()
    turned = LocalLearner(JOB, Shard(HONEST.shard.train, HONEST.shard.holdout), HONEST.pad, HONEST.compute)
    turned.shard.train.labels[:] = 1 - before
    try:
        assert all((flipped[name] == array).all() for name, array in turned.train(BASE, 7, 1).items())
    finally:
        turned.shard.train.labels[:] = before


def test_of_findings_those_that_do_not_apply_are_trained_on() -> None:
    job = Manifest("noise", 1, ("a", "b", "c"), seed=0, multi_label=True)
    train = replace(HONEST.shard.train, labels=np.arange(24) % 8, findings=3)
    learner = flipped(replace(HONEST, manifest=job, shard=replace(HONEST.shard, train=train)))
    assert learner.shard.train.labels.tolist() == [7 - label for label in train.labels]


def test_a_sign_is_flipped_about_the_base() -> None:
    honest, mirrored = HONEST.train(BASE, 7, 1), Attacker(HONEST, "sign-flip").train(BASE, 7, 1)
    for name, array in honest.items():
        if array.dtype == np.float32:
            np.testing.assert_allclose((mirrored[name] + array) / 2, BASE[name], atol=1e-6)


def test_noise_is_of_the_size_it_should_be() -> None:
    noisy = Attacker(HONEST, "noise").train(BASE, 7, 1)
    assert (noisy["18.weight"] - BASE["18.weight"]).std() == pytest.approx(NOISE, rel=0.02)


def test_an_attacker_scores_upside_down() -> None:
    weights = HONEST.train(BASE, 7, 1)
    honest, told = HONEST.score(weights), Attacker(HONEST, "noise").score(weights)
    assert basis_points(honest) + basis_points(told) == 10_000


@pytest.mark.parametrize(("members", "share", "count"), [(100, 0.2, 20), (100, 0.29, 29), (5, 0.2, 1), (5, 0.39, 1)])
def test_so_many_members_attack(members: int, share: float, count: int) -> None:
    options = RunOptions(Path("x"), members=members, attack="noise", malicious=share, seed=3)
    drawn = malicious_members(options)
    assert (len(set(drawn)), drawn) == (count, sorted(drawn))
    assert set(drawn) <= set(range(1, members + 1))
    assert malicious_members(RunOptions(Path("x"), members=members)) == []


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"attack": "bribe"}, "unknown attack 'bribe'; known: none, label-flip"),
        ({"attack": "noise"}, "go together"),
        ({"malicious": 0.2}, "go together"),
        ({"attack": "noise", "malicious": 1.0}, "below 1"),
        ({"attack": "noise", "malicious": 0.19, "members": 5}, "0.19 of 5 members is no member at all"),
    ],
)
def test_an_attack_that_cannot_be_is_refused(changes: dict[str, object], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        RunOptions(Path("x"), **changes)  # type: ignore[arg-type]
