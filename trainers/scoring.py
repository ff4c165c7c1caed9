"""Evaluates a network on a split: MedMNIST's AUC and ACC, balanced accuracy, loss, and a master's score.

Of a multi-label split, ACC and balanced accuracy are the means over findings, each answered at a half, and loss is that
of each finding by itself.

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
NO_ANSWER = -1  # instead of a probability, a class, or whether a finding applies

Metric = Literal["accuracy", "balanced_accuracy"]


@dataclass(frozen=True)
class Metrics:
    """auc, accuracy and balanced_accuracy in 0..1; loss is mean cross entropy in nats."""

    auc: float
    accuracy: float
    balanced_accuracy: float
    loss: float


def predict(network: nn.Module, split: Split, compute: Compute | None = None) -> NDArray[np.float32]:
    """The probability of each class for a split's inputs, float32 (N, classes); NO_ANSWER in rows without any."""
    return probabilities(network, split.inputs, bool(split.findings), compute)


def probabilities(
    network: nn.Module, inputs: Inputs, multi_label: bool, compute: Compute | None = None
) -> NDArray[np.float32]:
    """The same for inputs whose labels are not known. multi_label: several classes may apply to each."""
    compute = compute or Compute()
    compute.place(network).eval()
    outputs = []
    with torch.inference_mode():
        for batch in torch.split(torch.from_numpy(inputs), BATCH):
            with compute.autocast():
                logits = network(compute.inputs(batch)).float()
            outputs.append((torch.sigmoid(logits) if multi_label else torch.softmax(logits, dim=1)).cpu())
    answers: NDArray[np.float32] = torch.cat(outputs).numpy()
    answers[~np.isfinite(answers).all(axis=1)] = NO_ANSWER
    return answers


def evaluate(network: nn.Module, split: Split, compute: Compute | None = None) -> Metrics:
    """All metrics of network on split, which need not hold every class."""
    return measure(predict(network, split, compute), split)


def measure(probabilities: NDArray[np.float32], split: Split) -> Metrics:
    """All metrics of predictions (N, classes) of a split."""
    answers, truth = _answers(probabilities, split), split.truth
    if split.findings:
        of_truth = np.where(truth, probabilities, 1 - probabilities) * (probabilities != NO_ANSWER)
    else:
        of_truth = probabilities[np.arange(len(split)), truth]
    return Metrics(
        auc=auc(probabilities, split),
        accuracy=_accuracy(answers, truth),
        balanced_accuracy=_balanced_accuracy(answers, truth),
        # The floor keeps a confident mistake finite.
        loss=float(-np.log(np.maximum(of_truth.astype(np.float64), 1e-12)).mean()),
    )


def score(network: nn.Module, split: Split, metric: Metric, compute: Compute | None = None) -> int:
    """A master's score: the metric on its hold-out, in basis points 0..10000."""
    measure = {"accuracy": _accuracy, "balanced_accuracy": _balanced_accuracy}[metric]
    return round(10_000 * measure(_answers(predict(network, split, compute), split), split.truth))


def auc(probabilities: NDArray[np.float32], split: Split) -> float:
    """Area under the ROC curve as medmnist.Evaluator has it: with two classes, that of class 1; with more, the plain
    mean of one-versus-rest; of findings, the plain mean. Classes that apply to no sample or to all are left out; where
    none is left, it is 0.5.
    """
    # Imported here: it takes a second, and a master's score does without it.
    from sklearn.metrics import roc_auc_score

    classes, truth = probabilities.shape[1], split.truth
    applies = truth == 1 if split.findings else truth[:, None] == np.arange(classes)
    judged = np.flatnonzero(applies.any(axis=0) & ~applies.all(axis=0))
    if classes == 2 and not split.findings:
        judged = judged[judged == 1]
    areas = [roc_auc_score(applies[:, c], probabilities[:, c]) for c in judged]
    return float(np.mean(areas)) if areas else 0.5


def _answers(probabilities: NDArray[np.float32], split: Split) -> NDArray[np.int64]:
    """Of the form of Split.truth, or NO_ANSWER."""
    answered = probabilities[:, 0] != NO_ANSWER
    if split.findings:
        return np.where(answered[:, None], probabilities > 0.5, NO_ANSWER)
    return np.where(answered, probabilities.argmax(axis=1), NO_ANSWER)


def _accuracy(answers: NDArray[np.int64], truth: NDArray[np.int64]) -> float:
    return float(np.mean(answers == truth))


def _balanced_accuracy(answers: NDArray[np.int64], truth: NDArray[np.int64]) -> float:
    """The mean recall over the classes that occur; of findings, its mean over them."""
    if truth.ndim == 2:
        return float(np.mean([_balanced_accuracy(*pair) for pair in zip(answers.T, truth.T, strict=True)]))
    return float(np.mean([np.mean(answers[truth == c] == c) for c in np.unique(truth)]))
