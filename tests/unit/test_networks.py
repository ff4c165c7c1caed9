"""Networks: the paper's CNN by name, the same first weights everywhere, and no leak between arrays and torch."""

from __future__ import annotations

from hashlib import sha256

import numpy as np
import pytest
import torch

from hmchain.errors import UsageError
from trainers.networks import Compute, build, initial_weights, load_weights, weights_of

CNN = "medmnist-cnn"


def test_the_papers_cnn_has_234034_parameters():
    assert sum(p.numel() for p in build(CNN, 1, 2).parameters()) == 234_034


@pytest.mark.parametrize(("channels", "classes"), [(1, 2), (1, 11), (3, 9)])
def test_it_takes_images_and_gives_logits(channels: int, classes: int):
    assert build(CNN, channels, classes)(torch.zeros(2, channels, 28, 28)).shape == (2, classes)


def test_an_unknown_architecture_is_refused():
    with pytest.raises(UsageError, match="unknown architecture 'vgg16'; known: medmnist-cnn"):
        build("vgg16", 1, 2)


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
    with pytest.raises(RuntimeError, match="size mismatch"):
        load_weights(build(CNN, 1, 2), initial_weights(CNN, 1, 3, seed=0))


def test_pixels_are_scaled_to_minus_one_to_one():
    compute = Compute("cpu", False)
    grey = compute.images(torch.tensor([0, 255], dtype=torch.uint8).repeat(2, 28, 14))
    assert grey.shape == (2, 1, 28, 28)
    assert (grey.min(), grey.max()) == (-1, 1)
    colour = torch.randint(0, 256, (2, 28, 28, 3), dtype=torch.uint8)
    assert torch.equal(compute.images(colour)[1, 2], colour[1, :, :, 2] / 127.5 - 1)
