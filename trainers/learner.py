"""What a hospital computes on its own data, in this process. Behind worker.py it is a process of its own."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from copy import deepcopy
from dataclasses import dataclass

from torch import nn

from hmchain.manifest import Manifest
from hmchain.rounds import MAX_SAMPLES
from hmchain.scores import word_of_score
from hmchain.weights import Weights
from trainers.networks import Compute, computing, load_weights
from trainers.scoring import score
from trainers.splits import Shard
from trainers.training import LocalTraining, train


class Pad(threading.local):
    """A network to compute on, which learners may share: each thread that asks has a copy of its own."""

    def __init__(self, network: nn.Module) -> None:  # called again in every thread: copying takes as long as a score
        self.network = deepcopy(network)


@dataclass
class LocalLearner:
    """See hospital.Learner."""

    manifest: Manifest
    shard: Shard
    pad: Pad
    compute: Compute

    @property
    def samples(self) -> int:
        """See Learner."""
        return min(len(self.shard.train), MAX_SAMPLES)

    def begin(self, base: Weights, seed: int, round: int) -> None:
        """See Learner. Nothing computes beside this process's only thread."""

    def train(self, base: Weights, seed: int, round: int) -> Weights:
        """See Learner. Raises UsageError where there is too little data, TrainingError as `computing` does."""
        config = LocalTraining.of(self.manifest, round)
        with computing(self.manifest):
            return train(self.pad.network, base, self.shard.train, config, seed, self.compute)

    def score(self, weights: Weights) -> int:
        """See Learner."""
        network = self.pad.network
        with computing(self.manifest):
            load_weights(self.compute.place(network), weights)
            return word_of_score(score(network, self.shard.holdout, self.manifest.metric, self.compute))

    def scores(self, weights: Sequence[Weights]) -> list[int]:
        """See Learner."""
        return [self.score(each) for each in weights]
