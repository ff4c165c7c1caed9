"""Local training: a few epochs of SGD on one hospital's shard, plain unless the manifest asks for more.

The same base, shard, configuration and seed give the same bytes on the same machine with the same number of torch
threads. Other machines may differ in the last bits; the protocol does not depend on it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import cos, isfinite, pi

import torch
from torch import nn
from torch.nn.functional import cross_entropy

from hmchain.errors import UsageError
from hmchain.manifest import Manifest
from hmchain.weights import Weights
from trainers.augmentation import augmented
from trainers.networks import Compute, load_weights, weights_of
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
    """The weights after config.epochs of SGD on split, from base.

    network is a scratch pad: its weights are overwritten, so that one serves every client in turn. compute defaults
    to the fastest here. A learning rate too large gives weights that are not finite, which masters refuse by name.

    Raises UsageError where split has fewer than SMALLEST_BATCH samples.
    """
    if len(split) < SMALLEST_BATCH:
        raise UsageError(f"training needs at least {SMALLEST_BATCH} samples (batch norm), this shard has {len(split)}")
    compute = compute or Compute()

    load_weights(compute.place(network), base)
    network.train()
    parameters = [parameter for parameter in network.parameters() if parameter.requires_grad]
    descent = _Descent(parameters, config)

    # Inputs stay uint8 (on a CPU sharing memory with split) and are scaled a batch at a time: a quarter of the memory
    # that a float copy takes.
    inputs = torch.from_numpy(split.inputs).to(compute.device)
    labels = torch.from_numpy(split.labels).to(compute.device)
    weights = _sample_weights(labels) if config.balanced else None
    shuffle = torch.Generator().manual_seed(seed)

    with compute.deterministic():
        for _ in range(config.epochs):
            for batch in _batches(len(split), config.batch_size, shuffle):
                samples = augmented(inputs[batch], config.augmentation, shuffle)
                with compute.autocast():
                    logits = network(compute.inputs(samples))
                loss = _loss(logits.float(), labels[batch], None if weights is None else weights[batch])
                descent.step(torch.autograd.grad(loss, parameters, allow_unused=True, materialize_grads=True))
    return weights_of(network)


class _Descent:
    """SGD with momentum, weight decay and FedProx's term (Li et al. 2020, equation 2): the gradient of
    proximal / 2 |w - start|^2.

    Gives the same bytes as torch.optim.SGD, whose first use loads torch's compiler and costs every process seconds.
    """

    def __init__(self, parameters: list[nn.Parameter], config: LocalTraining) -> None:
        self._parameters, self._config = parameters, config
        self._start = [parameter.detach().clone() for parameter in parameters] if config.proximal else []
        self._momenta: list[torch.Tensor] = []

    @torch.no_grad()
    def step(self, gradients: Sequence[torch.Tensor]) -> None:
        """Moves the parameters one step. Changes the gradients, too."""
        for gradient, parameter, origin in zip(gradients, self._parameters, self._start, strict=False):
            gradient.add_(parameter - origin, alpha=self._config.proximal)
        if self._config.weight_decay:
            for gradient, parameter in zip(gradients, self._parameters, strict=True):
                gradient.add_(parameter, alpha=self._config.weight_decay)
        for momentum, gradient in zip(self._momenta, gradients, strict=False):
            momentum.mul_(self._config.momentum).add_(gradient)
        if self._config.momentum and not self._momenta:
            self._momenta = [gradient.clone() for gradient in gradients]
        for parameter, change in zip(self._parameters, self._momenta or gradients, strict=True):
            parameter.add_(change, alpha=-self._config.learning_rate)


def _batches(samples: int, size: int, shuffle: torch.Generator) -> Iterator[torch.Tensor]:
    """One epoch of shuffled indices. A single sample left over joins the batch before it: no sample is dropped."""
    batches = list(torch.split(torch.randperm(samples, generator=shuffle), size))
    if len(batches) > 1 and len(batches[-1]) < SMALLEST_BATCH:
        batches[-2:] = [torch.cat(batches[-2:])]
    yield from batches


def _loss(logits: torch.Tensor, labels: torch.Tensor, weights: torch.Tensor | None) -> torch.Tensor:
    """Mean cross entropy, weighted by sample where there are weights."""
    if weights is None:
        return cross_entropy(logits, labels)
    return (weights * cross_entropy(logits, labels, reduction="none")).mean()


def _sample_weights(labels: torch.Tensor) -> torch.Tensor:
    """Each sample's weight: the inverse frequency of its class here, 1 on average."""
    counts = torch.bincount(labels).float()
    return len(labels) / (counts.count_nonzero() * counts[labels])
