"""Local training: a few epochs of SGD on one hospital's shard, plain unless the manifest asks for more.

The same base, shard, configuration and seed give the same bytes on the same machine with the same number of torch
threads. Other machines may differ in the last bits; the protocol does not depend on it. On a GPU each thread that
trains has a lane of its own, so that the drawn clients of a round train together (docs/experiments.md, "On a GPU").
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from math import cos, isfinite, pi

import torch
from torch import nn
from torch.nn.functional import binary_cross_entropy_with_logits, cross_entropy

from hmchain.errors import UsageError
from hmchain.manifest import Manifest
from hmchain.weights import Weights
from trainers.augmentation import augmented
from trainers.descent import Descent
from trainers.networks import Compute, load_weights, weights_of
from trainers.recorder import Recorder
from trainers.splits import Split

SMALLEST_BATCH = 2  # a batch norm needs two samples to have a variance


@dataclass(frozen=True)
class LocalTraining:
    """A client's training in a round: epochs over its shard, samples a batch, learning rate of SGD.

    hmchain.recipe describes the other fields. Raises UsageError for values that cannot be trained with.
    """

    epochs: int
    batch_size: int
    learning_rate: float
    momentum: float = 0.0
    weight_decay: float = 0.0
    proximal: float = 0.0
    augmentation: str = "none"
    balanced: bool = False

    def __post_init__(self) -> None:
        if self.epochs < 1:
            raise UsageError(f"epochs must be at least 1, not {self.epochs}")
        if self.batch_size < SMALLEST_BATCH:
            raise UsageError(f"batch size must be at least {SMALLEST_BATCH} (batch norm), not {self.batch_size}")
        if not (isfinite(self.learning_rate) and self.learning_rate > 0):
            raise UsageError(f"learning rate must be a positive number, not {self.learning_rate}")

    @classmethod
    def of(cls, job: Manifest, round: int) -> LocalTraining:
        """A job's local training in a round, 1 to job.rounds; the learning rate may depend on the round."""
        return cls(
            job.epochs,
            job.batch_size,
            job.learning_rate * scheduled(job.schedule, round, job.rounds),
            job.momentum,
            job.weight_decay,
            job.proximal,
            job.augmentation,
            job.balanced,
        )


def scheduled(schedule: str, round: int, rounds: int) -> float:
    """The factor on the learning rate in a round. Cosine (Loshchilov and Hutter 2017): from 1 down towards 0."""
    return (1 + cos(pi * (round - 1) / rounds)) / 2 if schedule == "cosine" else 1.0


def train(
    network: nn.Module,
    base: Weights,
    split: Split,
    config: LocalTraining,
    seed: int,
    compute: Compute | None = None,
) -> Weights:
    """What a Trainer of the network trains, once."""
    return Trainer(network, compute or Compute()).train(base, split, config, seed)


class Trainer:
    """Trains one network for one client after the other.

    The network is a scratch pad: its weights are overwritten. With `recorded`, steps on a GPU are recorded and replayed
    (trainers.recorder); the network must then do the same with every batch.
    """

    def __init__(self, network: nn.Module, compute: Compute, recorded: bool = False) -> None:
        self._network, self._compute = compute.place(network), compute
        self._parameters = [parameter for parameter in network.parameters() if parameter.requires_grad]
        self._lane = compute.lane()
        self._recorded = recorded and self._lane is not None and _is_steady(network)
        self._config: LocalTraining | None = None

    def train(self, base: Weights, split: Split, config: LocalTraining, seed: int) -> Weights:
        """The weights after config.epochs of SGD on split, from base.

        A learning rate too large gives weights that are not finite, which masters refuse by name. Raises UsageError
        where split has fewer than SMALLEST_BATCH samples.
        """
        if len(split) < SMALLEST_BATCH:
            least = f"training needs at least {SMALLEST_BATCH} samples (batch norm)"
            raise UsageError(f"{least}, this shard has {len(split)}")
        with torch.cuda.stream(self._lane):  # nothing, where there is no lane
            load_weights(self._network, base)
            self._network.train()
            self._configure(config)
            self._descent.begin(config.learning_rate)
            for batch in self._batches(split, config, seed):
                self._step(*batch)
            return weights_of(self._network)

    def _configure(self, config: LocalTraining) -> None:
        """Makes the steps of config, unless they are there: the same serve any learning rate."""
        if self._config is None or replace(config, learning_rate=self._config.learning_rate) != self._config:
            self._descent = Descent(self._parameters, config.momentum, config.weight_decay, config.proximal)
            self._step = Recorder(self._take) if self._recorded else self._take
        self._config = config

    def _take(self, samples: torch.Tensor, targets: torch.Tensor, weights: torch.Tensor | None = None) -> None:
        """A step on one batch."""
        with self._compute.autocast():
            logits = self._network(self._compute.inputs(samples))
        loss = _loss(logits.float(), targets, weights)
        self._descent.step(torch.autograd.grad(loss, self._parameters, allow_unused=True, materialize_grads=True))

    def _batches(self, split: Split, config: LocalTraining, seed: int) -> Iterator[list[torch.Tensor]]:
        """The batches of all epochs: samples, targets and, where classes are balanced, samples' weights."""
        # Inputs stay uint8 (on a CPU sharing memory with split) and are scaled a batch at a time: a quarter of the
        # memory that a float copy takes.
        inputs = torch.from_numpy(split.inputs).to(self._compute.device)
        labels = _targets(split).to(self._compute.device)
        targets = [labels, _sample_weights(labels)] if config.balanced else [labels]
        shuffle = torch.Generator().manual_seed(seed)
        for _ in range(config.epochs):
            for numbers in _batches(len(split), config.batch_size, shuffle):
                samples = augmented(inputs[numbers], config.augmentation, shuffle)
                yield [samples, *(each[numbers] for each in targets)]


def _batches(samples: int, size: int, shuffle: torch.Generator) -> Iterator[torch.Tensor]:
    """One epoch of shuffled indices. A single sample left over joins the batch before it: no sample is dropped."""
    batches = list(torch.split(torch.randperm(samples, generator=shuffle), size))
    if len(batches) > 1 and len(batches[-1]) < SMALLEST_BATCH:
        batches[-2:] = [torch.cat(batches[-2:])]
    yield from batches


def _is_steady(network: nn.Module) -> bool:
    """Whether no layer reads a number back from a GPU. A norm without momentum does: how many batches it has seen."""
    return all(getattr(layer, "momentum", 0) is not None for layer in network.modules())


def _targets(split: Split) -> torch.Tensor:
    """What a split's samples should be answered with: classes (N,) int64, or findings (N, L) float32 of 0 and 1."""
    truth = torch.from_numpy(split.truth)
    return truth.float() if split.findings else truth


def _loss(logits: torch.Tensor, targets: torch.Tensor, weights: torch.Tensor | None) -> torch.Tensor:
    """Mean cross entropy, weighted by sample where there are weights; of findings, that of each by itself."""
    if targets.ndim == 2:
        return binary_cross_entropy_with_logits(logits, targets)
    if weights is None:
        return cross_entropy(logits, targets)
    return (weights * cross_entropy(logits, targets, reduction="none")).mean()


def _sample_weights(labels: torch.Tensor) -> torch.Tensor:
    """Each sample's weight: the inverse frequency of its class here, 1 on average."""
    counts = torch.bincount(labels).float()
    return len(labels) / (counts.count_nonzero() * counts[labels])
