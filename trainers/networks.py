"""The networks a job may name, and the crossing between numpy weights and torch.

A manifest names an architecture; every node builds it from its own code below, never from a peer's bytes.
Weights are dict[str, numpy.ndarray] in sorted key order: float32 parameters and buffers, int64 counters.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from math import prod, sqrt

import numpy as np
import torch
from torch import nn

from hmchain.errors import UsageError
from hmchain.weights import Weights


def _best_device() -> str:
    return "cuda" if torch.cuda.is_available() else "cpu"


def _has_bfloat16() -> bool:
    """Whether bf16 is native here. Emulated bf16, which plain AVX-512 would offer, is slower than float32."""
    if torch.cuda.is_available():
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    has: dict[str, bool] = getattr(torch.cpu, "get_capabilities", dict)()  # old torch cannot tell: float32
    return bool(has.get("avx512_bf16") or has.get("amx_bf16"))


@dataclass(frozen=True)
class Compute:
    """Where and how precisely a network runs. Compute() is the fastest here; Compute("cpu", False) is plain float32."""

    device: str = field(default_factory=_best_device)
    bfloat16: bool = field(default_factory=_has_bfloat16)

    def autocast(self) -> AbstractContextManager[object]:
        """Run convolutions and matrix products in bf16; weights, sums and the optimizer stay float32."""
        return torch.autocast(self.device, torch.bfloat16, enabled=self.bfloat16)

    def deterministic(self) -> AbstractContextManager[object]:
        """Same inputs, same bytes: cuDNN may neither race nor choose kernels by the stopwatch (no effect on a CPU)."""
        return torch.backends.cudnn.flags(enabled=True, benchmark=False, deterministic=True, allow_tf32=False)

    def inputs(self, samples: torch.Tensor) -> torch.Tensor:
        """What a network takes, of images (uint8, see `images`) or of features: float32 (N, F), to asinh of each.

        asinh is nearly the number where it is small and its logarithm where it is large. Values keep their order, and
        the means and variances of any unit stay within the range in which weights are averaged exactly.
        """
        if samples.dtype == torch.uint8:
            return self.images(samples)
        return samples.to(self.device).asinh()

    def images(self, pixels: torch.Tensor) -> torch.Tensor:
        """uint8 (N, 28, 28[, 3]) pixels of 0..255 to the float32 (N, channels, 28, 28) in [-1, 1] that networks take.

        An NHWC array seen as NCHW is channels_last already, so nothing is moved but the numbers.
        """
        scaled = pixels.to(self.device, torch.float32).div_(127.5).sub_(1)
        return scaled.unsqueeze(1) if scaled.ndim == 3 else scaled.permute(0, 3, 1, 2)


def _medmnist_cnn(channels: int, classes: int) -> nn.Module:
    """MedMNIST's example CNN: five 3x3 convolutions, three dense layers; 234,034 parameters for 1 channel, 2 classes.

    Source: https://github.com/MedMNIST/MedMNIST, examples/getting_started.ipynb; the network of Hu et al. 2024.
    """

    def block(inputs: int, outputs: int, padding: int = 0, pool: bool = False) -> list[nn.Module]:
        layers = [nn.Conv2d(inputs, outputs, 3, padding=padding), nn.BatchNorm2d(outputs), nn.ReLU(inplace=True)]
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


def _standardised(features: int) -> nn.Module:
    """Each feature by its own mean and variance: averages over all batches so far. The usual ones begin at 0 and 1 and
    move by a tenth, and would be far from the data for the first rounds of a small hospital.
    """
    return nn.BatchNorm1d(features, momentum=None)


def _logistic(features: int, classes: int) -> nn.Module:
    """Logistic regression on standardised features."""
    return nn.Sequential(_standardised(features), nn.Linear(features, classes))


def _mlp(features: int, classes: int) -> nn.Module:
    """Two hidden layers of 64 and 32 on standardised features."""
    hidden = [nn.Linear(features, 64), nn.ReLU(inplace=True), nn.Linear(64, 32), nn.ReLU(inplace=True)]
    return nn.Sequential(_standardised(features), *hidden, nn.Linear(32, classes))


ARCHITECTURES: dict[str, Callable[[int, int], nn.Module]] = {
    "medmnist-cnn": _medmnist_cnn,
    "logistic": _logistic,
    "mlp": _mlp,
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
    """The weights of round 0, the same bytes on every machine and torch version.

    Torch's own default (uniform in ±1/sqrt(fan-in), He et al. 2015 with a = sqrt 5), drawn from numpy's PCG64
    because torch promises no stable stream. Batch norms start at identity.
    """
    network = build(architecture, width, classes)
    weights = weights_of(network)
    stream = np.random.Generator(np.random.PCG64(seed))
    for name, module in network.named_modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            bound = np.float32(1 / sqrt(prod(module.weight.shape[1:])))
            for key in (f"{name}.weight", f"{name}.bias"):
                unit = stream.random(weights[key].shape, dtype=np.float32)
                weights[key] = (2 * unit - 1) * bound
    return weights


def load_weights(network: nn.Module, weights: Weights) -> None:
    """Copy weights into the network in place. They must have its names and shapes (hmchain.weights checks a peer's).

    Raises RuntimeError where they do not.
    """
    state = network.state_dict()
    if state.keys() != weights.keys() or any(state[name].shape != weights[name].shape for name in weights):
        raise RuntimeError("weights with other names or shapes than the network's")
    for name, array in weights.items():  # half the time of load_state_dict, which a master calls for every update
        # torch.tensor copies: decoded weights are views of read-only bytes, which torch.from_numpy cannot hold.
        state[name].copy_(torch.tensor(array))


def weights_of(network: nn.Module) -> Weights:
    """A copy of the network's parameters and buffers: C order, sorted by name, independent of the network."""
    state = network.state_dict()
    return {name: state[name].detach().cpu().numpy().copy(order="C") for name in sorted(state)}
