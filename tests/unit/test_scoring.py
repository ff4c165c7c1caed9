"""Scoring: the same numbers as medmnist.Evaluator and scikit-learn, whatever classes a split happens to hold."""

from __future__ import annotations

import numpy as np
import pytest
from medmnist import Evaluator
from medmnist.evaluator import getACC, getAUC
from sklearn.metrics import accuracy_score, balanced_accuracy_score, log_loss

from tests.samples import MEDMNIST, needs_medmnist
from trainers.datasets import load
from trainers.networks import Compute, build, initial_weights, load_weights
from trainers.scoring import BATCH, NO_ANSWER, Metrics, auc, evaluate, measure, predict, score
from trainers.splits import Split, each_finding

CNN = "medmnist-cnn"


def network_of(classes: int, seed: int = 0):
    network = build(CNN, 1, classes)
    load_weights(network, initial_weights(CNN, 1, classes, seed))
    return network


def random_split(count: int, classes: int) -> Split:
    stream = np.random.default_rng(1)
    return Split(stream.integers(0, 256, (count, 28, 28), dtype=np.uint8), stream.integers(0, classes, count))


def labelled(labels: np.ndarray, findings: int = 0) -> Split:
    return Split(np.zeros((len(labels), 28, 28), np.uint8), labels, findings)


def random_answers(count: int, classes: int) -> np.ndarray:
    return np.random.default_rng(2).dirichlet(np.ones(classes), count).astype(np.float32)


@needs_medmnist
@pytest.mark.parametrize("name", ["pneumoniamnist", "organamnist"])
def test_agrees_with_medmnists_evaluator_on_the_official_test_split(name: str):
    dataset = load(name, MEDMNIST, download=False)
    probabilities = random_answers(len(dataset.test), len(dataset.classes))
    probabilities[::3] = np.eye(len(dataset.classes))[dataset.test.labels[::3]]  # better than chance, and ties
    theirs = Evaluator(name, "test", root=MEDMNIST).evaluate(probabilities)
    ours = measure(probabilities, dataset.test)
    assert (ours.auc, ours.accuracy) == pytest.approx((theirs.AUC, theirs.ACC), abs=1e-12)


@pytest.mark.parametrize("classes", [2, 5])
def test_agrees_with_scikit_learn(classes: int):
    probabilities, labels = random_answers(100, classes), np.arange(100) % classes
    metrics, answers = measure(probabilities, labelled(labels)), probabilities.argmax(axis=1)
    assert metrics.accuracy == accuracy_score(labels, answers)
    assert metrics.balanced_accuracy == pytest.approx(balanced_accuracy_score(labels, answers))
    exact = probabilities.astype(np.float64)
    exact /= exact.sum(axis=1, keepdims=True)
    assert metrics.loss == pytest.approx(log_loss(labels, exact, labels=range(classes)), rel=1e-5)


def test_evaluating_a_network_is_measuring_its_predictions():
    network, split = network_of(5), random_split(20, 5)
    assert evaluate(network, split) == measure(predict(network, split), split)


def test_probabilities_are_probabilities_and_repeat_themselves():
    split = random_split(BATCH + 1, 3)
    probabilities = predict(network_of(3), split)
    assert probabilities.shape == (BATCH + 1, 3)
    assert probabilities.sum(axis=1) == pytest.approx(1, abs=1e-5)
    assert probabilities.tobytes() == predict(network_of(3), split).tobytes()


def test_bfloat16_answers_as_float32_does():
    split = random_split(64, 3)
    plain = predict(network_of(3), split, Compute("cpu", False))
    assert predict(network_of(3), split, Compute("cpu", True)) == pytest.approx(plain, abs=0.01)


def test_auc_of_two_classes_is_that_of_class_1():
    probabilities = np.array([[0.9, 0.1], [0.4, 0.6], [0.35, 0.65], [0.2, 0.8]], np.float32)
    assert auc(probabilities, labelled(np.array([0, 0, 1, 1]))) == 1
    assert auc(probabilities, labelled(np.array([0, 1, 0, 1]))) == 0.75


def test_auc_leaves_out_classes_that_the_labels_do_not_hold():
    probabilities = np.array([[0.8, 0.1, 0.1], [0.2, 0.7, 0.1], [0.6, 0.3, 0.1]], np.float32)
    assert auc(probabilities, labelled(np.array([0, 1, 0]))) == 1


def test_labels_of_one_class_order_nothing():
    network, split = network_of(3), random_split(9, 3)
    metrics = evaluate(network, Split(split.inputs, np.full(9, 2)))
    assert metrics.auc == 0.5
    assert metrics.balanced_accuracy == metrics.accuracy


def test_one_image_is_enough_to_score():
    network, split = network_of(2), random_split(1, 2)
    answer = int(predict(network, split).argmax())
    assert score(network, Split(split.inputs, np.array([answer])), "accuracy") == 10_000
    assert score(network, Split(split.inputs, np.array([1 - answer])), "accuracy") == 0


def test_a_score_is_the_metric_in_basis_points():
    network, split = network_of(5), random_split(90, 5)
    metrics = evaluate(network, split)
    assert score(network, split, "accuracy") == round(10_000 * metrics.accuracy)
    assert score(network, split, "balanced_accuracy") == round(10_000 * metrics.balanced_accuracy)


def test_a_network_that_overflows_is_wrong_everywhere_and_no_fault():
    network, split = build(CNN, 1, 2), random_split(10, 2)
    huge = {k: np.full_like(a, 1e38) if a.dtype == np.float32 else a for k, a in initial_weights(CNN, 1, 2, 0).items()}
    load_weights(network, huge)
    assert score(network, split, "accuracy") == 0
    assert evaluate(network, split) == Metrics(0.5, 0.0, 0.0, pytest.approx(27.63, abs=0.01))


def test_rows_are_scored_as_images_are():
    network, stream = build("logistic", 4, 2), np.random.default_rng(0)
    load_weights(network, initial_weights("logistic", 4, 2, 0))
    split = Split(stream.normal(size=(50, 4)).astype(np.float32), stream.integers(0, 2, 50))
    probabilities = predict(network, split)
    assert probabilities.sum(axis=1) == pytest.approx(1, abs=1e-5)
    assert score(network, split, "accuracy") == round(10_000 * measure(probabilities, split).accuracy)


# ---------------------------------------------------------------- several findings a sample


@pytest.mark.parametrize("findings", [2, 14])
def test_findings_are_measured_as_medmnists_evaluator_does(findings: int):
    stream, task = np.random.default_rng(3), "multi-label, binary-class"
    split = labelled(stream.integers(0, 1 << findings, 200), findings)
    probabilities = stream.random((200, findings), np.float32)
    truth = each_finding(split.labels, findings)
    metrics = measure(probabilities, split)
    assert metrics.accuracy == pytest.approx(getACC(truth, probabilities, task), abs=1e-12)
    assert metrics.auc == pytest.approx(getAUC(truth, probabilities, task), abs=1e-12)
    answers = probabilities > 0.5
    each = [balanced_accuracy_score(truth[:, k], answers[:, k]) for k in range(findings)]
    assert metrics.balanced_accuracy == pytest.approx(np.mean(each))
    losses = [log_loss(truth[:, k], probabilities[:, k].astype(np.float64)) for k in range(findings)]
    assert metrics.loss == pytest.approx(np.mean(losses), rel=1e-5)


def test_each_finding_has_a_probability_of_its_own():
    network, images = network_of(3), random_split(9, 3).inputs
    split = Split(images, np.arange(9) % 8, findings=3)
    both = predict(network, split), predict(network, Split(images, np.zeros(9, np.int64)))
    odds = [np.log(both[0][:, k] / (1 - both[0][:, k])) for k in range(3)]
    assert odds[1] - odds[0] == pytest.approx(np.log(both[1][:, 1] / both[1][:, 0]), abs=1e-4), "the same logits"
    assert score(network, split, "accuracy") == round(10_000 * evaluate(network, split).accuracy)


def test_of_findings_no_answer_is_wrong_everywhere():
    split = labelled(np.arange(8), 3)
    assert measure(np.full((8, 3), NO_ANSWER, np.float32), split) == Metrics(0.5, 0, 0, pytest.approx(27.63, abs=0.01))
