"""What a hospital computes on its own data, in this process. Behind worker.py it is a process of its own."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import dataclass

from torch import nn

from hmchain.manifest import Manifest
from hmchain.rounds import MAX_SAMPLES
from hmchain.scores import word_of_score
from hmchain.weights import Weights
from trainers.networks import Compute, load_weights
from trainers.scoring import score
from trainers.splits import Shard
from trainers.training import LocalTraining, train


@dataclass
class LocalLearner:
    """See hospital.Learner. `network` is a scratch pad that learners may share; each training has a copy of it, so that
    several may go on at a time.
    """

    manifest: Manifest
    shard: Shard
    network: nn.Module
    compute: Compute

    @property
    def samples(self) -> int:
        """See Learner."""
        return min(len(self.shard.train), MAX_SAMPLES)

    def begin(self, base: Weights, seed: int, round: int) -> None:
        """See Learner. Nothing computes beside this process's only thread."""

    def train(self, base: Weights, seed: int, round: int) -> Weights:
        """See Learner. Raises UsageError where there is too little data."""
        config = LocalTraining.of(self.manifest, round)
        return train(deepcopy(self.network), base, self.shard.train, config, seed, self.compute)

    def score(self, weights: Weights) -> int:
        """See Learner."""
        load_weights(self.compute.place(self.network), weights)
        return word_of_score(score(self.network, self.shard.holdout, self.manifest.metric, self.compute))
