"""The paper's network, and the same with normalisation that needs no running statistics."""

from __future__ import annotations

from collections.abc import Callable

from torch import nn

Norm = Callable[[int], nn.Module]
GROUPS = 8


def medmnist_cnn(channels: int, classes: int) -> nn.Module:
    """MedMNIST's example CNN: five 3x3 convolutions, three dense layers; 234,034 parameters for 1 channel, 2 classes.

    Source: https://github.com/MedMNIST/MedMNIST, examples/getting_started.ipynb; the network of Hu et al. 2024.
    """
    return _cnn(channels, classes, nn.BatchNorm2d)


def groupnorm_cnn(channels: int, classes: int) -> nn.Module:
    """The same with group normalisation (Wu and He 2018), which has no statistics that differ between hospitals."""
    return _cnn(channels, classes, grouped)


def grouped(channels: int) -> nn.Module:
    """Group normalisation in GROUPS groups."""
    return nn.GroupNorm(GROUPS, channels)


def _cnn(channels: int, classes: int, norm: Norm) -> nn.Module:
    def block(inputs: int, outputs: int, padding: int = 0, pool: bool = False) -> list[nn.Module]:
        layers = [nn.Conv2d(inputs, outputs, 3, padding=padding), norm(outputs), nn.ReLU(inplace=True)]
        return [*layers, nn.MaxPool2d(2)] if pool else layers

    def dense(inputs: int, outputs: int) -> list[nn.Module]:
        return [nn.Linear(inputs, outputs), nn.ReLU(inplace=True)]

    return nn.Sequential(
        *block(channels, 16),
        *block(16, 16, pool=True),
        *block(16, 64),
        *block(64, 64),
        *block(64, 64, padding=1, pool=True),
        nn.Flatten(),
        *dense(64 * 4 * 4, 128),
        *dense(128, 128),
        nn.Linear(128, classes),
    )
