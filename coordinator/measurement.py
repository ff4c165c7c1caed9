"""A report's metrics, measured again on the run's data set, where that is at hand."""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np

from coordinator.claims import RANGES, TOLERANCE, VALIDATION, Report
from coordinator.evidence import Evidence
from coordinator.report import METRICS, SUMMARY, digest_text
from hmchain.errors import DataError, UsageError, VerificationError
from hmchain.exchange import SealedExchange, fetch_model, model_header
from hmchain.manifest import Manifest
from hmchain.weights import Weights, specification
from trainers.datasets import Dataset, is_published, load
from trainers.networks import Compute, computing, load_weights, network_of
from trainers.scoring import evaluate
from trainers.splits import Split

FLIPPED = 2.5  # samples that another processor may take for another class, where that makes more than TOLERANCE


def check_metrics(
    evidence: Evidence, manifest: Manifest, report: Report, initial: Weights, data_root: Path | None
) -> None:
    """Measures the model of every round on the test set again, and the last on the val split where the report does, if
    the data are at hand; nothing is downloaded for it. Raises VerificationError.
    """
    if not report.tests():
        evidence.notes.append("no round made a model to measure, nor is dataset_digest proved")
        return
    try:
        dataset = _data_of(evidence, manifest, data_root)
    except (DataError, UsageError) as fault:
        metrics = "test and validation metrics" if report.validated else "test metrics"
        evidence.notes.append(f"{metrics} were not measured again, nor is dataset_digest proved: {fault}")
        return
    with computing(manifest):
        _measure(evidence, manifest, report, initial, dataset)
    widest = max(tolerances_on(dataset.test).values())
    if widest > TOLERANCE:
        evidence.notes.append(f"metrics are proved to within {widest:.2g} only, by so few test samples")


def _data_of(evidence: Evidence, manifest: Manifest, data_root: Path | None) -> Dataset:
    """The run's data set. Raises VerificationError where the run cannot have been on it, DataError where it is not at
    hand.
    """
    dataset = load(manifest.dataset, data_root, download=False)
    if digest_text(dataset.digest) != evidence.run.dataset_digest:
        if is_published(manifest.dataset):
            raise VerificationError(f"{SUMMARY} names another file than the published {dataset.name}")
        raise DataError("the data set here is another file than the run's")
    ours = manifest.channels, manifest.classes, manifest.multi_label
    if (dataset.channels, dataset.classes, dataset.multi_label) != ours:
        raise VerificationError(f"the manifest has other channels or classes than {dataset.name}")
    return dataset


def _measure(evidence: Evidence, manifest: Manifest, report: Report, initial: Weights, dataset: Dataset) -> None:
    exchange = SealedExchange(evidence.store, evidence.key, specification(initial))
    network, tests = network_of(manifest, {manifest.architecture}), report.tests()
    for number, told in tests.items():
        record = evidence.job.rounds[number]
        assert record.model is not None
        header = model_header(manifest.digest(), number, record.base)
        load_weights(network, fetch_model(exchange, header, record.final_blob(), record.model))
        _agree(METRICS, told, {name: name for name in RANGES}, network, dataset.test, number)
    if report.validated:
        _agree(SUMMARY, report.summary, VALIDATION, network, dataset.val, max(tests))


def tolerances_on(split: Split) -> dict[str, float]:
    """How far each metric on these samples may be from what is measured here. AUC and balanced accuracy give every
    class the same weight, and so a sample of a rare one a large weight.
    """
    if split.findings:  # each is had or not, as of two classes
        have = split.truth.sum(axis=0)
        counts, classes = np.concatenate([have, len(split) - have]), 2
    else:
        counts = np.bincount(split.labels)
        classes = np.count_nonzero(counts)
    by_sample = max(TOLERANCE, FLIPPED / len(split))
    by_class = max(TOLERANCE, FLIPPED / float(classes * counts[counts > 0].min()))
    return {"accuracy": by_sample, "loss": by_sample, "balanced_accuracy": by_class, "auc": by_class}


def _agree(where: str, told: dict[str, Any], metrics: dict[str, str], network: Any, split: Split, number: int) -> None:
    """Raises VerificationError where a measurement differs, in the training precision of this processor and in that of
    others: of a model that has learnt little yet, each gives other answers.
    """
    ours, tolerances = Compute(), tolerances_on(split)
    for compute in (ours, replace(ours, bfloat16=not ours.bfloat16)):
        measured = asdict(evaluate(network, split, compute))
        found = {name: (measured[metric], tolerances[metric]) for name, metric in metrics.items()}
        wrong = [name for name, (value, share) in found.items() if abs(told[name] - value) > share * max(1, value)]
        if not wrong:
            return
        name = wrong[0]
        difference = f"{name} = {told[name]}, measured {found[name][0]:.4f}"
    raise VerificationError(f"{where} says {difference}", number)
