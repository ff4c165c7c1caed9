"""The networks a job may name, and the crossing between numpy weights and torch.

A manifest names an architecture; every node builds it from its own code, never from a peer's bytes.
"""

from trainers.networks.compute import Compute, computing
from trainers.networks.custom import drawing, draws_numbers, refuse_custom_network, source_digest
from trainers.networks.of_job import initial_model, network_of
from trainers.networks.tensors import load_weights, weights_of
from trainers.networks.zoo import ARCHITECTURES, build, initial_weights

__all__ = [
    "ARCHITECTURES",
    "Compute",
    "build",
    "computing",
    "drawing",
    "draws_numbers",
    "initial_model",
    "initial_weights",
    "load_weights",
    "network_of",
    "refuse_custom_network",
    "source_digest",
    "weights_of",
]
