"""The networks that a job may name."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import nn

from hmchain.errors import UsageError
from hmchain.weights import Weights
from trainers.networks.cnn import groupnorm_cnn, medmnist_cnn
from trainers.networks.deep import groupnorm_resnet, resnet18, vgg16
from trainers.networks.tabular import logistic, mlp
from trainers.networks.tensors import first_weights

ARCHITECTURES: dict[str, Callable[[int, int], nn.Module]] = {
    "medmnist-cnn": medmnist_cnn,
    "groupnorm-cnn": groupnorm_cnn,
    "groupnorm-resnet": groupnorm_resnet,
    "vgg16": vgg16,
    "resnet18": resnet18,
    "logistic": logistic,
    "mlp": mlp,
}


def build(architecture: str, width: int, classes: int) -> nn.Module:
    """A network by name: float32 to (N, classes) logits, of (N, width, 28, 28) images with so many channels, or of
    (N, width) features (hmchain.manifest says which takes what). Its weights are not yet meaningful.

    Raises UsageError for a name that is not in ARCHITECTURES.
    """
    if architecture not in ARCHITECTURES:
        raise UsageError(f"unknown architecture {architecture!r}; known: {', '.join(sorted(ARCHITECTURES))}")
    network = ARCHITECTURES[architecture](width, classes)
    return network.to(memory_format=torch.channels_last)  # type: ignore[call-overload, no-any-return]


def initial_weights(architecture: str, width: int, classes: int, seed: int) -> Weights:
    """The weights of round 0 of a network by name. Raises UsageError as `build` does."""
    return first_weights(build(architecture, width, classes), seed)
