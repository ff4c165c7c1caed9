"""Local training: it learns, it repeats itself bit for bit, and it leaves its inputs alone."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from hmchain.aggregate import fedavg
from hmchain.errors import UsageError
from hmchain.weights import Weights, check_values
from trainers.descent import Descent
from trainers.networks import Compute, build, initial_weights, load_weights, weights_of
from trainers.scoring import evaluate
from trainers.splits import Split
from trainers.training import LocalTraining, Trainer, train

CNN = "medmnist-cnn"
PLAIN = Compute("cpu", False)
ONCE = LocalTraining(epochs=1, batch_size=8, learning_rate=0.1)


def bright_or_dark(count: int, channels: int = 1) -> Split:
    """Class 1 is brighter than class 0: learnt in a few steps."""
    labels = np.arange(count) % 2
    shape = (count, 28, 28) if channels == 1 else (count, 28, 28, 3)
    noise = np.random.default_rng(0).integers(0, 128, shape, dtype=np.uint8)
    noise[labels == 1] += 100
    return Split(noise, labels)


def same(one: Weights, two: Weights) -> bool:
    return all(one[name].tobytes() == two[name].tobytes() for name in one)


def ill_or_well(count: int) -> Split:
    """Class 1 has more of the first feature, which varies beyond any weight's range; the second says nothing."""
    stream, labels = np.random.default_rng(count), np.arange(count) % 2
    glucose = 1_000 + 600 * labels + stream.normal(0, 300, count)
    return Split(np.stack([glucose, stream.normal(0, 1e-3, count)], axis=1).astype(np.float32), labels)


BASE = initial_weights(CNN, 1, 2, seed=0)


def test_it_learns():
    network = build(CNN, 1, 2)
    train(network, BASE, bright_or_dark(48), LocalTraining(8, 16, 0.1), seed=0)
    assert evaluate(network, bright_or_dark(40)).accuracy > 0.9


@pytest.mark.parametrize("compute", [Compute(), PLAIN], ids=["fastest", "float32"])
def test_the_same_inputs_give_the_same_bytes_whatever_the_network_did_before(compute: Compute):
    network, split = build(CNN, 1, 2), bright_or_dark(37)
    config = LocalTraining(epochs=3, batch_size=16, learning_rate=0.1)
    first = train(network, BASE, split, config, seed=7, compute=compute)
    other = train(network, BASE, split, config, seed=8, compute=compute)
    assert not same(first, other), "the seed decides the order of the batches"
    assert same(first, train(network, BASE, split, config, seed=7, compute=compute))
    assert same(first, train(build(CNN, 1, 2), BASE, split, config, seed=7, compute=compute))


def test_a_step_is_that_of_torchs_own_optimizer():
    network, split = build(CNN, 1, 2), bright_or_dark(16)
    trained = train(network, BASE, split, LocalTraining(1, 16, 0.1), seed=3, compute=PLAIN)
    load_weights(network, BASE)
    order = torch.randperm(16, generator=torch.Generator().manual_seed(3))
    pixels, labels = torch.from_numpy(split.inputs)[order], torch.from_numpy(split.labels)[order]
    torch.nn.functional.cross_entropy(network.train()(PLAIN.inputs(pixels)), labels).backward()
    torch.optim.SGD(network.parameters(), lr=0.1).step()
    assert same(trained, weights_of(network))


def test_two_weights_that_are_added_have_one_gradient_and_each_its_own_decay():
    weights, gradient = [torch.tensor([1.0]), torch.tensor([8.0])], torch.tensor([1.0])
    descent = Descent(weights, weight_decay=0.5)
    descent.begin(0.125)
    descent.step([gradient, gradient])  # as torch gives them
    assert [weight.item() for weight in weights] == [1 - 0.125 * 1.5, 8 - 0.125 * 5]


def test_two_weights_that_are_added_are_each_pulled_to_its_own_start():
    weights, gradient = [torch.tensor([1.0]), torch.tensor([8.0])], torch.tensor([1.0])
    descent = Descent(weights, proximal=0.5)
    descent.begin(0.125)
    weights[0] += 1
    weights[1] += 2
    descent.step([gradient, gradient])
    assert [weight.item() for weight in weights] == [2 - 0.125 * 1.5, 10 - 0.125 * 2]


@pytest.mark.parametrize(
    "config",
    [ONCE, replace(ONCE, momentum=0.9), replace(ONCE, proximal=0.5), replace(ONCE, balanced=True, weight_decay=0.1)],
)
def test_a_trainer_takes_nothing_from_one_client_to_the_next(config: LocalTraining):
    split, trainer = bright_or_dark(21), Trainer(build(CNN, 1, 2), PLAIN)
    alone = train(build(CNN, 1, 2), BASE, split, config, seed=3, compute=PLAIN)
    slower = replace(config, learning_rate=0.01)
    trainer.train(initial_weights(CNN, 1, 2, seed=1), bright_or_dark(16), replace(config, momentum=0.5), 1)
    assert same(trainer.train(BASE, split, config, 3), alone), "after another configuration"
    assert not same(trainer.train(BASE, split, slower, 3), alone)
    assert same(trainer.train(BASE, split, config, 3), alone), "after another learning rate"


def test_the_base_and_the_shard_are_left_alone():
    split, before = bright_or_dark(16), {name: array.copy() for name, array in BASE.items()}
    train(build(CNN, 1, 2), BASE, split, ONCE, seed=0)
    assert same(before, BASE)
    assert np.array_equal(split.inputs, bright_or_dark(16).inputs)


@pytest.mark.parametrize(("samples", "steps"), [(16, 2), (17, 2), (18, 3), (8, 1), (9, 1), (2, 1)])
def test_a_single_sample_left_over_joins_the_batch_before_it(samples: int, steps: int):
    trained = train(build(CNN, 1, 2), BASE, bright_or_dark(samples), ONCE, seed=0, compute=PLAIN)
    assert trained["1.num_batches_tracked"] == steps


def test_colour_images():
    base = initial_weights(CNN, 3, 2, seed=0)
    trained = train(build(CNN, 3, 2), base, bright_or_dark(8, channels=3), ONCE, seed=0)
    assert np.isfinite(trained["0.weight"]).all()


def test_one_sample_cannot_be_trained_on():
    with pytest.raises(UsageError, match="at least 2 samples"):
        train(build(CNN, 1, 2), BASE, bright_or_dark(1), ONCE, seed=0)


@pytest.mark.parametrize(
    ("values", "line"),
    [
        ((0, 8, 0.1), "epochs"),
        ((1, 1, 0.1), "batch size"),
        ((1, 8, 0.0), "learning rate"),
        ((1, 8, float("nan")), "learning rate"),
        ((1, 8, float("inf")), "learning rate"),
    ],
)
def test_a_configuration_that_cannot_train_is_refused(values: tuple[int, int, float], line: str):
    with pytest.raises(UsageError, match=line):
        LocalTraining(*values)


def test_it_learns_several_findings_of_an_image():
    stream, labels = np.random.default_rng(0), np.arange(64) % 4
    images = stream.integers(0, 128, (64, 28, 28), dtype=np.uint8)
    images[labels & 1 == 1, :, :14] += 100
    images[labels & 2 == 2, :, 14:] += 100
    network, split = build(CNN, 1, 2), Split(images, labels, findings=2)
    train(network, BASE, split, LocalTraining(30, 16, 0.1), seed=0)
    metrics = evaluate(network, split)
    assert metrics.accuracy > 0.9
    assert metrics.auc > 0.95


# ---------------------------------------------------------------- features


@pytest.mark.parametrize("architecture", ["logistic", "mlp"])
def test_it_learns_from_features_of_any_unit(architecture: str):
    network, base = build(architecture, 2, 2), initial_weights(architecture, 2, 2, seed=0)
    config = LocalTraining(epochs=10, batch_size=16, learning_rate=0.1)
    weights = train(network, base, ill_or_well(200), config, seed=0)
    assert evaluate(network, ill_or_well(100)).auc > 0.85
    assert same(weights, train(network, base, ill_or_well(200), config, seed=0))
    assert not same(weights, train(network, base, ill_or_well(200), config, seed=1))
    check_values(fedavg([(weights, 200), (base, 100)]))
