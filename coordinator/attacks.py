"""Simulated malicious hospitals, for `hmchain run` only: what they train, send, and say as masters.

label-flip trains on class C - 1 - c where class c is right, on a multi-label set on the classes that do not apply;
sign-flip sends the base model minus what it learnt; noise sends the base model with Gaussian noise. As masters, all of
them give the best update the worst score.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from coordinator.options import RunOptions
from hmchain.scores import MAX_BASIS_POINTS, basis_points, word_of_score
from hmchain.weights import RANGE, Weights, of_network
from trainers.learner import LocalLearner

NOISE = 0.1  # standard deviation, about that of the network's own weights


@dataclass
class Attacker:
    """A malicious hospital's Learner (see trainers.hospital), around what it would compute if it were honest."""

    honest: LocalLearner
    attack: str

    @property
    def samples(self) -> int:
        """See Learner."""
        return self.honest.samples

    def begin(self, base: Weights, seed: int, round: int) -> None:
        """See Learner."""

    def train(self, base: Weights, seed: int, round: int) -> Weights:
        """See Learner."""
        if self.attack == "label-flip":
            return flipped(self.honest).train(base, seed, round)
        start = of_network(base)
        if self.attack == "noise":
            return noisy(start, seed)
        return mirrored(start, self.honest.train(base, seed, round))

    def score(self, weights: Weights) -> int:
        """See Learner. The score is turned upside down."""
        return word_of_score(MAX_BASIS_POINTS - basis_points(self.honest.score(weights)))

    def scores(self, weights: Sequence[Weights]) -> list[int]:
        """See Learner."""
        return [self.score(each) for each in weights]


def malicious_members(options: RunOptions) -> list[int]:
    """The numbers of as many members as attack, drawn by the seed, in ascending order."""
    stream = np.random.default_rng([options.seed, 0xBAD])
    return sorted(int(n) + 1 for n in stream.permutation(options.members)[: options.attackers])


def flipped(learner: LocalLearner) -> LocalLearner:
    """The same learner, with the labels of its train split turned around."""
    train, count = learner.shard.train, len(learner.manifest.classes)
    last = (1 << count if train.findings else count) - 1
    return replace(learner, shard=replace(learner.shard, train=replace(train, labels=last - train.labels)))


def mirrored(base: Weights, trained: Weights) -> Weights:
    """base - (trained - base) where weights are float32; counters as trained."""
    return {
        name: np.clip(2 * base[name] - array, -RANGE, RANGE) if array.dtype == np.float32 else array
        for name, array in trained.items()
    }


def noisy(base: Weights, seed: int) -> Weights:
    """base + N(0, NOISE²)."""
    stream = np.random.default_rng(seed)
    return {
        name: (array + stream.normal(0, NOISE, array.shape)).astype(np.float32) if array.dtype == np.float32 else array
        for name, array in base.items()
    }
