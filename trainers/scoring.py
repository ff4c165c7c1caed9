"""Evaluates a network on a split: MedMNIST's AUC and ACC, balanced accuracy, loss, and a master's score.

Metrics are computed by numpy and scikit-learn; agreement with medmnist.Evaluator is tested. Where a network answers NaN
or infinity (finite weights can overflow), the answer counts as wrong and never raises anything.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from trainers.networks import Compute
from trainers.splits import Inputs, Split

BATCH = 512  # samples; the fastest of 128, 512 and 1024 on 2 cores, and part of the result (kernels differ by shape)
NO_ANSWER = -1  # a class that no label has

Metric = Literal["accuracy", "balanced_accuracy"]


@dataclass(frozen=True)
class Metrics:
    """auc, accuracy and balanced_accuracy in 0..1; loss is mean cross entropy in nats."""

    auc: float
    accuracy: float
    balanced_accuracy: float
    loss: float


def predict(network: nn.Module, inputs: Inputs, compute: Compute | None = None) -> NDArray[np.float32]:
    """Class probabilities, float32 (N, classes), of a split's inputs. A row of zeros is "no answer"."""
    compute = compute or Compute()
    compute.place(network).eval()
    outputs = []
    with torch.inference_mode():
        for batch in torch.split(torch.from_numpy(inputs), BATCH):
            with compute.autocast():
                logits = network(compute.inputs(batch))
            outputs.append(torch.softmax(logits.float(), dim=1).cpu())
    probabilities: NDArray[np.float32] = torch.cat(outputs).numpy()
    probabilities[~np.isfinite(probabilities).all(axis=1)] = 0
    return probabilities


def evaluate(network: nn.Module, split: Split, compute: Compute | None = None) -> Metrics:
    """All metrics of network on split, which need not hold every class."""
    return measure(predict(network, split.inputs, compute), split.labels)


def measure(probabilities: NDArray[np.float32], labels: NDArray[np.int64]) -> Metrics:
    """All metrics of predictions (N, classes) against labels (N,)."""
    answers = _answers(probabilities)
    of_truth = probabilities[np.arange(len(labels)), labels].astype(np.float64)
    return Metrics(
        auc=auc(probabilities, labels),
        accuracy=_accuracy(answers, labels),
        balanced_accuracy=_balanced_accuracy(answers, labels),
        loss=float(-np.log(np.maximum(of_truth, 1e-12)).mean()),  # the floor keeps a confident mistake finite
    )


def score(network: nn.Module, split: Split, metric: Metric, compute: Compute | None = None) -> int:
    """A master's score: the metric on its hold-out, in basis points 0..10000."""
    measure = {"accuracy": _accuracy, "balanced_accuracy": _balanced_accuracy}[metric]
    return round(10_000 * measure(_answers(predict(network, split.inputs, compute)), split.labels))


def auc(probabilities: NDArray[np.float32], labels: NDArray[np.int64]) -> float:
    """Area under the ROC curve as medmnist.Evaluator has it: with two classes, that of class 1; with more, the plain
    mean of one-versus-rest. Classes that labels lack are left out; where there is only one class, it is 0.5.
    """
    # Imported here: it takes a second, and a master's score does without it.
    from sklearn.metrics import roc_auc_score

    classes = probabilities.shape[1]
    candidates = range(1, 2) if classes == 2 else range(classes)
    judged = [c for c in candidates if 0 < np.count_nonzero(labels == c) < len(labels)]
    areas = [roc_auc_score(labels == c, probabilities[:, c]) for c in judged]
    return float(np.mean(areas)) if areas else 0.5


def _answers(probabilities: NDArray[np.float32]) -> NDArray[np.int64]:
    return np.where(probabilities.any(axis=1), probabilities.argmax(axis=1), NO_ANSWER)


def _accuracy(answers: NDArray[np.int64], labels: NDArray[np.int64]) -> float:
    return float(np.mean(answers == labels))


def _balanced_accuracy(answers: NDArray[np.int64], labels: NDArray[np.int64]) -> float:
    """The mean recall over the classes that occur in labels."""
    return float(np.mean([np.mean(answers[labels == c] == c) for c in np.unique(labels)]))
