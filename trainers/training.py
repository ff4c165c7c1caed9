"""Local training: a few epochs of plain SGD on one hospital's shard.

Reads top to bottom. Same base, shard, configuration and seed give the same bytes on the same machine with the same
number of torch threads; other machines may differ in the last bits, and nothing in the protocol needs them not to.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from math import isfinite

import torch
from torch import nn
from torch.nn.functional import cross_entropy

from hmchain.errors import UsageError
from hmchain.weights import Weights
from trainers.networks import Compute, load_weights, weights_of
from trainers.splits import Split

SMALLEST_BATCH = 2  # a batch norm needs two samples to have a variance


@dataclass(frozen=True)
class LocalTraining:
    """What a client does in a round: epochs over its shard, samples a batch, step size of SGD without momentum."""

    epochs: int
    batch_size: int
    learning_rate: float

    def __post_init__(self) -> None:
        if self.epochs < 1:
            raise UsageError(f"epochs must be at least 1, not {self.epochs}")
        if self.batch_size < SMALLEST_BATCH:
            raise UsageError(f"batch size must be at least {SMALLEST_BATCH} (batch norm), not {self.batch_size}")
        if not (isfinite(self.learning_rate) and self.learning_rate > 0):
            raise UsageError(f"learning rate must be a positive number, not {self.learning_rate}")


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

    load_weights(network.to(compute.device), base)
    network.train()
    parameters = list(network.parameters())

    # As they are, on a CPU shared with split, and scaled a batch at a time: a quarter of the memory of a float copy.
    inputs = torch.from_numpy(split.inputs).to(compute.device)
    labels = torch.from_numpy(split.labels).to(compute.device)
    shuffle = torch.Generator().manual_seed(seed)

    with compute.deterministic():
        for _ in range(config.epochs):
            for batch in _batches(len(split), config.batch_size, shuffle):
                with compute.autocast():
                    logits = network(compute.inputs(inputs[batch]))
                loss = cross_entropy(logits.float(), labels[batch])
                _step(parameters, torch.autograd.grad(loss, parameters), config.learning_rate)
    return weights_of(network)


@torch.no_grad()
def _step(parameters: list[nn.Parameter], gradients: tuple[torch.Tensor, ...], rate: float) -> None:
    """SGD without momentum, to the byte that of torch.optim, whose first use loads torch's compiler: 5 to 10 seconds of
    every process.
    """
    for parameter, gradient in zip(parameters, gradients, strict=True):
        parameter.add_(gradient, alpha=-rate)


def _batches(samples: int, size: int, shuffle: torch.Generator) -> Iterator[torch.Tensor]:
    """One epoch of shuffled indices. A single sample left over joins the batch before it: no sample is dropped."""
    batches = list(torch.split(torch.randperm(samples, generator=shuffle), size))
    if len(batches) > 1 and len(batches[-1]) < SMALLEST_BATCH:
        batches[-2:] = [torch.cat(batches[-2:])]
    yield from batches
