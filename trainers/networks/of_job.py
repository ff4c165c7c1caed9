"""The network that a manifest names, and the model of round 0."""

from __future__ import annotations

from collections.abc import Collection

from torch import nn

from hmchain.errors import UsageError, WeightsError
from hmchain.manifest import Manifest
from hmchain.server import first_moments
from hmchain.weights import Weights, check_values
from trainers.networks.custom import custom_network
from trainers.networks.tensors import first_weights
from trainers.networks.zoo import build


def network_of(job: Manifest, allowed: Collection[str] = ()) -> nn.Module:
    """The untrained network of a job: float32 samples to (N, classes) logits (see zoo.build).

    allowed: the custom networks, "package.module:Class", that may be imported here. Raises UsageError for any other.
    """
    return custom_network(job, allowed) if job.source else build(job.architecture, job.width, len(job.classes))


def initial_model(job: Manifest, allowed: Collection[str] = ()) -> Weights:
    """The model of round 0: initial weights, and the server's moments. Raises UsageError as network_of does."""
    network = network_of(job, allowed)
    weights = first_weights(network, job.seed)
    try:
        check_values(weights)
    except WeightsError as fault:  # a buffer's: a mask of infinities, say
        raise UsageError(f"{job.architecture} begins with weights that no model may have: {fault}") from fault
    if job.source and not same_bytes(weights, first_weights(network_of(job, allowed), job.seed)):
        raise UsageError(f"{job.architecture} begins with other buffers each time: let them draw from torch alone")
    parameters = {name: weights[name] for name, _ in network.named_parameters()}
    moments = first_moments(parameters, job, job.aggregation)
    return dict(sorted((weights | moments).items()))


def same_bytes(one: Weights, other: Weights) -> bool:
    """Whether weights are the same, NaN and all."""
    return {name: array.tobytes() for name, array in one.items()} == {n: a.tobytes() for n, a in other.items()}
