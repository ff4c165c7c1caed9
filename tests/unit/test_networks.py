"""Networks: the paper's CNN by name, the same first weights everywhere, and no leak between arrays and torch."""

from __future__ import annotations

from collections.abc import Callable
from hashlib import sha256

import numpy as np
import pytest
import torch

from hmchain.errors import TrainingError, UsageError
from hmchain.manifest import Manifest
from trainers.networks import Compute, build, computing, initial_weights, load_weights, weights_of

CNN = "medmnist-cnn"
JOB = Manifest(dataset="mine", channels=1, classes=("a", "b"), seed=0)


def test_the_papers_cnn_has_234034_parameters():
    assert sum(p.numel() for p in build(CNN, 1, 2).parameters()) == 234_034


@pytest.mark.parametrize(("channels", "classes"), [(1, 2), (1, 11), (3, 9)])
def test_it_takes_images_and_gives_logits(channels: int, classes: int):
    assert build(CNN, channels, classes)(torch.zeros(2, channels, 28, 28)).shape == (2, classes)


def test_an_unknown_architecture_is_refused():
    with pytest.raises(UsageError, match="unknown architecture 'lenet'; known: groupnorm-cnn"):
        build("lenet", 1, 2)


def test_first_weights_are_the_same_bytes_everywhere():
    weights = initial_weights(CNN, 1, 2, seed=0)
    digest = sha256(b"".join(weights[name].tobytes() for name in weights)).hexdigest()
    assert digest == "98451fe7a7a04292b7d9ad12218c72cd795948efd4fff56b70da7dbff0c8defa"
    assert any((weights[k] != other).any() for k, other in initial_weights(CNN, 1, 2, seed=1).items())


def test_first_weights_are_torchs_default_distribution():
    weights = initial_weights(CNN, 1, 2, seed=0)
    dense = weights["18.weight"]  # 1024 inputs
    assert abs(dense).max() <= 1 / 32
    assert dense.std() == pytest.approx(1 / 32 / 3**0.5, rel=0.02)
    assert abs(weights["18.bias"]).max() <= 1 / 32
    assert (weights["1.running_var"] == 1).all()
    assert weights["1.num_batches_tracked"] == 0


def test_weights_are_sorted_contiguous_and_of_two_types():
    weights = weights_of(build(CNN, 3, 4))
    assert list(weights) == sorted(weights)
    assert all(array.flags.c_contiguous for array in weights.values())
    assert {a.dtype.str for k, a in weights.items() if k.endswith("num_batches_tracked")} == {"<i8"}
    assert {a.dtype.str for k, a in weights.items() if not k.endswith("num_batches_tracked")} == {"<f4"}


def test_weights_make_the_round_trip_as_copies():
    network, weights = build(CNN, 1, 2), initial_weights(CNN, 1, 2, seed=4)
    for array in weights.values():
        array.flags.writeable = False  # as decoded weights are
    load_weights(network, weights)
    back = weights_of(network)
    assert all(np.array_equal(back[name], weights[name]) for name in weights)
    with torch.no_grad():
        next(network.parameters()).zero_()
    assert back["0.weight"].any(), "a copy, not a view of the network"


def test_weights_of_another_network_are_not_loaded():
    with pytest.raises(RuntimeError, match="other names or shapes"):
        load_weights(build(CNN, 1, 2), initial_weights(CNN, 1, 3, seed=0))


def test_pixels_are_scaled_to_minus_one_to_one():
    compute = Compute("cpu", False)
    grey = compute.images(torch.tensor([0, 255], dtype=torch.uint8).repeat(2, 28, 14))
    assert grey.shape == (2, 1, 28, 28)
    assert (grey.min(), grey.max()) == (-1, 1)
    colour = torch.randint(0, 256, (2, 28, 28, 3), dtype=torch.uint8)
    assert torch.equal(compute.images(colour)[1, 2], colour[1, :, :, 2] / 127.5 - 1)


# ---------------------------------------------------------------- features


@pytest.mark.parametrize(
    ("architecture", "parameters"), [("logistic", 2 * 5 + 5 * 2 + 2), ("mlp", 10 + 384 + 2080 + 66)]
)
def test_networks_of_features(architecture: str, parameters: int):
    network = build(architecture, 5, 2)
    assert sum(p.numel() for p in network.parameters()) == parameters
    assert network(torch.zeros(3, 5)).shape == (3, 2)


@pytest.mark.parametrize(
    ("architecture", "expected"),
    [
        ("logistic", "392e558391aeeda767a6572ee8d332d59f1b62c624d5beeff01d45ebea666f0d"),
        ("mlp", "bf264af97b690800b0d1ed228e486f85a1c922757ae9e3729772a4676f43f9bf"),
    ],
)
def test_their_first_weights_are_the_same_bytes_everywhere(architecture: str, expected: str):
    weights = initial_weights(architecture, 5, 2, seed=0)
    assert sha256(b"".join(weights[name].tobytes() for name in weights)).hexdigest() == expected


def test_one_batch_is_enough_to_know_where_the_data_are():
    """An average that begins at 0 would take dozens, and until then nothing could be judged."""
    network = build("logistic", 1, 2).train()
    sample = torch.tensor([[100.0], [102.0]])
    network(sample)
    assert network.get_buffer("0.running_mean") == 101
    network(sample + 2)
    assert network.get_buffer("0.running_mean") == 102


def test_features_of_any_size_stay_within_the_range_of_weights():
    given = torch.tensor([[-3e38, -1.0, 0.0, 1e-3, 1e6, 3e38]])
    found = Compute("cpu", False).inputs(given)
    assert found.tolist()[0] == pytest.approx(np.arcsinh(given[0].double().numpy()).tolist(), rel=1e-6)


def test_images_are_inputs_as_they_always_were():
    compute, pixels = Compute("cpu", False), torch.randint(0, 256, (2, 28, 28), dtype=torch.uint8)
    assert torch.equal(compute.inputs(pixels), compute.images(pixels))


def out_of_cuda(*_: int):
    raise torch.OutOfMemoryError("CUDA out of memory")


@pytest.mark.parametrize("empty", [torch.empty, out_of_cuda])
def test_too_little_memory_is_no_defect(empty: Callable[[int], object]):
    with pytest.raises(TrainingError, match="memory"), computing(JOB):
        empty(2**50)


def test_any_other_fault_of_a_network_of_ours_is_one():
    with pytest.raises(IndexError), computing(JOB):
        raise IndexError
