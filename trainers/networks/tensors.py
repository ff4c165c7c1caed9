"""Conversion between numpy weights and torch networks, and the weights of round 0.

Weights are dict[str, numpy.ndarray] in sorted key order: float32 parameters and buffers, int64 counters.
"""

from __future__ import annotations

from math import prod, sqrt

import numpy as np
import torch
from torch import nn

from hmchain.errors import UsageError
from hmchain.weights import Weights, of_network

_AT_IDENTITY = (nn.BatchNorm1d, nn.BatchNorm2d, nn.GroupNorm, nn.LayerNorm)


def first_weights(network: nn.Module, seed: int) -> Weights:
    """The weights of round 0, the same bytes on every machine and torch version.

    Torch's own default (uniform in ±1/sqrt(fan-in), He et al. 2015 with a = sqrt 5), drawn from numpy's PCG64
    because torch promises no stable stream. Norms start at identity. Raises UsageError for a layer of any other kind
    that has parameters, and for parameters of a derived layer's own: their first weights would be torch's, or wrong.
    """
    weights = weights_of(network)
    stream = np.random.Generator(np.random.PCG64(seed))
    for name, module in network.named_modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            bound = np.float32(1 / sqrt(prod(module.weight.shape[1:])))
            for part, _ in module.named_parameters(recurse=False):
                key = f"{name}.{part}" if name else part
                if part != "bias" and weights[key].shape != module.weight.shape:
                    raise UsageError(f"no first weights are known of {key}, which {type(module).__name__} adds")
                unit = stream.random(weights[key].shape, dtype=np.float32)
                weights[key] = (2 * unit - 1) * bound
        elif not isinstance(module, _AT_IDENTITY) and any(True for _ in module.parameters(recurse=False)):
            raise UsageError(f"no first weights are known of {name or 'the network'}, a {type(module).__name__}")
    return weights


def load_weights(network: nn.Module, weights: Weights) -> None:
    """Copies weights into the network in place, without the server's moments.

    Raises RuntimeError where names or shapes are not the network's; hmchain.weights has checked those of a peer.
    """
    tensors = of_network(weights)
    state = network.state_dict()
    if state.keys() != tensors.keys() or any(state[name].shape != tensors[name].shape for name in tensors):
        raise RuntimeError("weights with other names or shapes than the network's")
    for name, array in tensors.items():  # half the time of load_state_dict, and a master does this for every update
        # torch.tensor copies: decoded weights are views of read-only bytes, which torch.from_numpy cannot hold.
        state[name].copy_(torch.tensor(array))


def weights_of(network: nn.Module) -> Weights:
    """A copy of the network's parameters and buffers: C order, sorted by name, independent of the network."""
    state = network.state_dict()
    return {name: state[name].detach().cpu().numpy().copy(order="C") for name in sorted(state)}
