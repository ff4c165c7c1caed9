"""What a hospital computes on its own data: training and scoring. worker.py runs it in a process of its own."""

from __future__ import annotations

import threading
from collections.abc import Collection, Sequence
from contextlib import nullcontext
from copy import deepcopy
from dataclasses import dataclass

from torch import nn

from hmchain.manifest import Manifest
from hmchain.rounds import MAX_SAMPLES
from hmchain.scores import word_of_score
from hmchain.weights import Weights
from trainers.networks import Compute, computing, drawing, draws_numbers, load_weights, network_of
from trainers.scoring import score
from trainers.splits import Shard
from trainers.training import LocalTraining, Trainer


class Pad(threading.local):
    """A scratch network to compute on, which learners may share: each thread has a copy of its own.

    draws: whether the network draws numbers from torch while it trains.
    """

    # threading.local calls this once in each thread that uses the pad; a copy takes as long as a score.
    def __init__(self, network: nn.Module, draws: bool = False) -> None:
        self.network = deepcopy(network)
        self.draws = draws
        self._trainer: Trainer | None = None

    def trainer(self, compute: Compute, recorded: bool) -> Trainer:
        """The trainer of this thread's network; what its first call asks for holds for all."""
        self._trainer = self._trainer or Trainer(self.network, compute, recorded)
        return self._trainer


def pad_of(job: Manifest, allowed: Collection[str] = ()) -> Pad:
    """A pad with a job's network. Raises UsageError as network_of does."""
    network = network_of(job, allowed)
    return Pad(network, bool(job.source) and draws_numbers(network, job))


@dataclass
class LocalLearner:
    """A Learner (see trainers.hospital) that computes in the calling thread."""

    manifest: Manifest
    shard: Shard
    pad: Pad
    compute: Compute

    @property
    def samples(self) -> int:
        """See Learner."""
        return min(len(self.shard.train), MAX_SAMPLES)

    def begin(self, base: Weights, seed: int, round: int) -> None:
        """See Learner. Does nothing: there is no other thread to train in."""

    def train(self, base: Weights, seed: int, round: int) -> Weights:
        """See Learner. Raises UsageError where there is too little data, TrainingError as `computing` does."""
        config = LocalTraining.of(self.manifest, round)
        with computing(self.manifest), drawing(seed) if self.pad.draws else nullcontext():
            # A custom network may do something else with each batch, which no recording would.
            trainer = self.pad.trainer(self.compute, recorded=not self.manifest.source)
            return trainer.train(base, self.shard.train, config, seed)

    def score(self, weights: Weights) -> int:
        """See Learner."""
        network = self.pad.network
        with computing(self.manifest):
            load_weights(self.compute.place(network), weights)
            return word_of_score(score(network, self.shard.holdout, self.manifest.metric, self.compute))

    def scores(self, weights: Sequence[Weights]) -> list[int]:
        """See Learner."""
        return [self.score(each) for each in weights]
