"""A pool of threads that train and evaluate for the hospitals in one process at the same time.

torch computes outside Python's global lock, and each thread uses a network of its own: results do not depend on the
number of threads.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from copy import deepcopy
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import nn

from hmchain.weights import Weights
from trainers.hospital import Learner
from trainers.networks import Compute
from trainers.scoring import BATCH, Metrics, measure, predict
from trainers.splits import Split


class Team:
    """A pool of `workers` threads, by default one a core."""

    def __init__(self, workers: int | None = None) -> None:
        self.workers = workers or os.cpu_count() or 1
        self.threads = ThreadPoolExecutor(self.workers, "hmchain-team", torch.set_num_threads, (1,))

    def evaluate(self, network: nn.Module, split: Split, compute: Compute) -> Metrics:
        """scoring.evaluate in parallel, by parts of whole batches: each batch, and so the result, is the same."""
        size = BATCH * -(-len(split) // (BATCH * self.workers))
        parts = [split.take(slice(start, start + size)) for start in range(0, len(split), size)]
        answers = self.threads.map(lambda part: predict(deepcopy(network), part, compute), parts)
        return measure(np.concatenate(list(answers)), split)

    def close(self) -> None:
        """Ends the threads after what they compute now; what has not begun is dropped."""
        self.threads.shutdown(cancel_futures=True)


@dataclass
class TeamLearner:
    """A Learner (see trainers.hospital) that trains and scores in a team's threads."""

    inner: Learner
    team: Team
    _begun: dict[tuple[int, int], Future[Weights]] = field(default_factory=dict)  # by round and seed

    @property
    def samples(self) -> int:
        """See Learner."""
        return self.inner.samples

    def begin(self, base: Weights, seed: int, round: int) -> None:
        """See Learner."""
        self._begun[round, seed] = self.team.threads.submit(self.inner.train, base, seed, round)

    def train(self, base: Weights, seed: int, round: int) -> Weights:
        """See Learner."""
        begun = self._begun.pop((round, seed), None)
        return begun.result() if begun else self.inner.train(base, seed, round)

    def score(self, weights: Weights) -> int:
        """See Learner."""
        return self.inner.score(weights)

    def scores(self, weights: Sequence[Weights]) -> list[int]:
        """See Learner."""
        return list(self.team.threads.map(self.inner.score, weights))
