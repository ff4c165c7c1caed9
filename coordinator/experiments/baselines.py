"""Baselines for a federation: the majority class, one network on all data, each hospital by itself.

Network, initial weights and local SGD are a federation's, through the same functions, for as many epochs as it would
train.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict
from typing import Any

import numpy as np
from torch import nn

from hmchain.weights import Weights
from trainers.datasets import Dataset
from trainers.networks import Compute, build, initial_weights
from trainers.partition import split
from trainers.scoring import evaluate, measure
from trainers.training import LocalTraining, Trainer

ARCHITECTURE = "medmnist-cnn"  # unless the settings name another
ALONE = 10  # hospitals, the first: as many as train in a round. All hundred cost as much as the central network

Baseline = Callable[[Dataset, Mapping[str, Any]], dict[str, Any]]


def majority(dataset: Dataset, settings: Mapping[str, Any]) -> dict[str, Any]:
    """Always answers the most frequent class of the train split (of findings, the share that has each), as a network
    that learnt nothing would.
    """
    train, answers = dataset.train, np.zeros((len(dataset.test), len(dataset.classes)), np.float32)
    if train.findings:
        answers[:] = train.truth.mean(axis=0)
    else:
        answers[:, np.bincount(train.labels).argmax()] = 1
    return {"test": asdict(measure(answers, dataset.test))}


def central(dataset: Dataset, settings: Mapping[str, Any]) -> dict[str, Any]:
    """Trains one network on the whole train split; measured after the last epoch, and the one best by AUC on val."""
    network, weights = _beginning(dataset, settings)
    trainer = Trainer(network, Compute(), recorded=True)
    once = LocalTraining(1, settings["batch_size"], settings["learning_rate"])
    best: dict[str, float] = {}
    history: list[float] = []
    for epoch in range(settings["rounds"] * settings["epochs"]):  # plain SGD keeps nothing from one to the next
        weights = trainer.train(weights, dataset.train, once, _seed(settings, epoch))
        history.append(evaluate(network, dataset.val).auc)
        if history[-1] > max(history[:-1], default=-1):
            best = {"epoch": epoch + 1, **asdict(evaluate(network, dataset.test))}
    return {
        "test": asdict(evaluate(network, dataset.test)),
        "best": best,
        "val_auc": [round(auc, 5) for auc in history],
    }


def _beginning(dataset: Dataset, settings: Mapping[str, Any]) -> tuple[nn.Module, Weights]:
    """A network to compute on, and the weights that a federation of the same seed starts from."""
    shape = settings.get("architecture", ARCHITECTURE), dataset.channels, len(dataset.classes)
    return build(*shape), initial_weights(*shape, settings["seed"])


def _seed(settings: Mapping[str, Any], number: int) -> int:
    """The seed of the shuffles in an epoch, or at a hospital."""
    return int(settings["seed"]) * 1_000_000 + number


def alone(dataset: Dataset, settings: Mapping[str, Any]) -> dict[str, Any]:
    """The mean over hospitals that each train on their own shard only, for as many epochs as the federation."""
    shards = split(dataset, settings["members"], settings.get("partition", "iid"), settings["seed"])
    config = LocalTraining(settings["rounds"] * settings["epochs"], settings["batch_size"], settings["learning_rate"])
    network, base = _beginning(dataset, settings)
    trainer, found = Trainer(network, Compute(), recorded=True), []
    for number, shard in enumerate(shards[:ALONE], start=1):
        trainer.train(base, shard.train, config, _seed(settings, number))
        found.append(asdict(evaluate(network, dataset.test)))
    return {"test": {name: float(np.mean([metrics[name] for metrics in found])) for name in found[0]}, "alone": found}


BASELINES: dict[str, Baseline] = {"majority": majority, "central": central, "alone": alone}
