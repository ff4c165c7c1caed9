"""A run's report, held to what is known without it: the chain's events, the recomputed models and the data set.

The coordinator that files a report may be the liar. So it must be written in the one way that a run writes it, and say
nothing that no run says. What neither chain nor data can prove must at least be possible, and is named in a note.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass, fields, replace
from math import isfinite
from pathlib import Path
from reprlib import Repr
from typing import Any

import numpy as np

from coordinator.evidence import Evidence
from coordinator.folder import of_the_run
from coordinator.options import EMBEDDED
from coordinator.recipe_options import ATTACKS
from coordinator.replay import explain
from coordinator.report import (
    CURVES,
    METRICS,
    SUMMARY,
    digest_of,
    digest_text,
    metrics_text,
    read_report,
    round_row,
    summary_text,
)
from coordinator.run import TIMES
from hmchain.errors import DataError, StorageError, UsageError, VerificationError
from hmchain.exchange import SealedExchange, fetch_model, model_header
from hmchain.jsontext import parse
from hmchain.manifest import Manifest
from hmchain.recipe import chosen, strategy_of
from hmchain.rounds import clients_of
from hmchain.weights import Weights, specification
from trainers.datasets import Dataset, load
from trainers.networks import Compute, load_weights, network_of
from trainers.scoring import Metrics, evaluate
from trainers.splits import Split

TOLERANCE = 0.01  # of a metric; of a loss above 1 it is a share: other processors round differently
FLIPPED = 2.5  # samples of the smallest class that they may take for another one, where that makes more
UNPROVED = ("attack", "malicious", "partition", "seconds")
VALIDATION = {"val_auc": "auc", "val_acc": "accuracy"}  # only where `run --validate` measured them
TEST = {"test_auc": "auc", "test_acc": "accuracy"}
RANGES = {field.name: (0.0, 1.0) for field in fields(Metrics)} | {"loss": (-TOLERANCE, 28.0)}  # -log(1e-12) is 27.6
SHORT = Repr()
SHORT.maxstring = SHORT.maxother = 100


@dataclass(frozen=True)
class Report:
    """The content of summary.json and of each line of metrics.jsonl."""

    summary: dict[str, Any]
    rows: list[dict[str, Any]]

    def tests(self) -> dict[int, dict[str, float]]:
        """Test metrics of the model that a round ended with, by round."""
        return {row["round"]: row["test"] for row in self.rows if row["test"] is not None}


def check_report(folder: Path, evidence: Evidence, manifest: Manifest) -> Report:
    """The report must be the one filed on chain, and say what the chain says."""
    job = evidence.job
    if not job.closed or job.report is None:
        raise VerificationError(f"the run did not finish: {len(job.rounds)} of {manifest.rounds} rounds, no report")
    with of_the_run("a file of the report is missing or cannot be read", StorageError):
        files = read_report(folder)
    if digest_of(files) != job.report:
        raise VerificationError(f"{SUMMARY}, {METRICS} or {CURVES} is not what the coordinator filed on chain")
    try:
        texts = files[SUMMARY].decode(), files[METRICS].decode()
        report = Report(parse(texts[0]), [parse(line) for line in texts[1].splitlines()])
    except ValueError as fault:
        raise VerificationError(f"the report cannot be read: {fault}") from fault
    with explain("the report lacks what every report has"):
        _check_rows(report.rows, evidence)
        _check_summary(report, evidence, manifest)
    if (summary_text(report.summary), metrics_text(report.rows)) != texts:  # a key twice is read in two ways
        raise VerificationError(f"{SUMMARY} or {METRICS} is not written as a run writes it")
    return report


def _check_rows(rows: list[dict[str, Any]], evidence: Evidence) -> None:
    records = evidence.job.rounds
    compare(METRICS, {"rows": len(rows)}, {"rows": len(records)})
    for row, record in zip(rows, records.values(), strict=True):
        told = round_row(record, None, evidence.gas.rounds.get(record.number, 0), {})
        check_names(METRICS, row, told, record.number)
        compare(METRICS, row, {k: v for k, v in told.items() if k not in ("test", "seconds")}, record.number)
        check_possible(METRICS, {"seconds": row["seconds"]}, are_seconds(row["seconds"]), record.number)
        if record.model is None:
            compare(METRICS, row, {"test": None}, record.number)
            continue
        check_names(f"{METRICS}, test", row["test"], RANGES, record.number)
        for name, value in row["test"].items():
            check_possible(METRICS, {name: value}, is_metric(name, value), record.number)


def _check_summary(report: Report, evidence: Evidence, manifest: Manifest) -> None:
    summary, facts = report.summary, facts_of(evidence, manifest)
    told, ours = summary.get("chain"), evidence.run.chain
    validated = () if VALIDATION.keys().isdisjoint(summary) else VALIDATION
    check_names(SUMMARY, summary, {*facts, *UNPROVED, *TEST, *validated, "chain"})
    compare(SUMMARY, summary, facts)
    measured = list(report.tests().values())
    compare(SUMMARY, summary, {name: measured[-1][metric] if measured else None for name, metric in TEST.items()})
    for name in validated:
        fits = is_metric(VALIDATION[name], summary[name]) if measured else summary[name] is None
        check_possible(SUMMARY, {name: summary[name]}, fits)
    numbers = summary["malicious"]
    possible = {
        "attack": summary["attack"] in ATTACKS,
        "malicious": type(numbers) is list
        and all(type(number) is int for number in numbers)
        and numbers == sorted(set(numbers) & evidence.history.members.keys()),
        "partition": type(summary["partition"]) is str,
        "seconds": are_seconds(summary["seconds"]),
        "chain": told == ours or (ours != EMBEDDED and type(told) is str and told.startswith("http")),
    }
    for name, fits in possible.items():
        check_possible(SUMMARY, {name: summary[name]}, fits)
    unproved = UNPROVED if told == ours else ("chain", *UNPROVED)  # others reach the run's node by another URL
    evidence.notes.append(f"the report says without proof: {', '.join(unproved)}; {CURVES} was not read")


def facts_of(evidence: Evidence, manifest: Manifest) -> dict[str, Any]:
    """What the summary must say, from the chain."""
    records, members = list(evidence.job.rounds.values()), len(evidence.history.members)
    models = [record.model for record in records if record.model is not None]
    return {
        "dataset": manifest.dataset,
        "dataset_digest": evidence.run.dataset_digest,
        "members": members,
        "clients": clients_of(members, evidence.job.terms.fraction),
        "masters": manifest.masters,
        "rounds": manifest.rounds,
        "seed": manifest.seed,
        "strategy": strategy_of(manifest.aggregation),
        "architecture": manifest.architecture,
        "recipe": chosen(manifest),
        "completed_rounds": len(models),
        "failed_rounds": len(records) - len(models),
        "model_digest": digest_text(models[-1]) if models else None,
        "manifest_digest": digest_text(manifest.digest()),
        "gas": evidence.gas.summary(),
    }


def check_names(where: str, told: dict[str, Any], names: Iterable[str], round: int | None = None) -> None:
    """Raises VerificationError where a name is missing, or is none that a run writes."""
    wanted = set(names)
    for name in sorted(wanted ^ told.keys()):
        kind = "lacks" if name in wanted else "has what no run writes,"
        raise VerificationError(f"{where} {kind} {name[:100]}", round)


def compare(where: str, told: dict[str, Any], facts: dict[str, Any], round: int | None = None) -> None:
    """Raises VerificationError at the first fact that is told otherwise."""
    for name, fact in facts.items():
        if not same(told.get(name), fact):
            difference = f"{name} = {SHORT.repr(told.get(name)):.100}, the chain {fact!r:.100}"
            raise VerificationError(f"{where} says {difference}", round)


def same(told: Any, fact: Any) -> bool:
    """Equal in type as well, all the way in: JSON tells 2 from 2.0, and 0 from false."""
    if type(told) is not type(fact):
        return False
    if isinstance(fact, dict):
        return told.keys() == fact.keys() and all(same(told[name], fact[name]) for name in fact)
    if isinstance(fact, list):
        return len(told) == len(fact) and all(map(same, told, fact))
    return bool(told == fact)


def check_possible(where: str, told: dict[str, Any], fits: bool, round: int | None = None) -> None:
    """Raises VerificationError where what is told cannot be."""
    if not fits:
        ((name, value),) = told.items()
        raise VerificationError(f"{where} says {name} = {SHORT.repr(value):.100}, which cannot be", round)


def is_metric(name: str, value: Any) -> bool:
    """Whether a metric could be that."""
    low, high = RANGES[name]
    return type(value) is float and low <= value <= high  # not NaN either


def are_seconds(told: Any) -> bool:
    """Whether it is the time that each part of a run took."""
    if type(told) is not dict or not told.keys() <= {"total", *TIMES}:
        return False
    return all(type(each) is float and isfinite(each) and each >= 0 for each in told.values())


def check_metrics(
    evidence: Evidence, manifest: Manifest, report: Report, initial: Weights, data_root: Path | None
) -> None:
    """Measures the model of every round on the test set again, and the last on the val split where the report does, if
    the data are at hand; nothing is downloaded for it.
    """
    tests = report.tests()
    if not tests:
        return
    try:
        dataset = load(manifest.dataset, data_root, download=False)
    except (DataError, UsageError) as fault:
        evidence.notes.append(f"test metrics were not measured again: {fault}")
        return
    if digest_text(dataset.digest) != evidence.run.dataset_digest:
        evidence.notes.append("test metrics were not measured again: the data set here is another file than the run's")
        return
    _measure(evidence, manifest, report, initial, dataset)


def _measure(evidence: Evidence, manifest: Manifest, report: Report, initial: Weights, dataset: Dataset) -> None:
    exchange = SealedExchange(evidence.store, evidence.key, specification(initial))
    network, tests = network_of(manifest, {manifest.architecture}), report.tests()
    for number, told in tests.items():
        record = evidence.job.rounds[number]
        assert record.model is not None
        header = model_header(manifest.digest(), number, record.base)
        load_weights(network, fetch_model(exchange, header, record.final_blob(), record.model))
        _agree(METRICS, told, {name: name for name in RANGES}, network, dataset.test, number)
    if not VALIDATION.keys().isdisjoint(report.summary):
        _agree(SUMMARY, report.summary, VALIDATION, network, dataset.val, max(tests))


def tolerance_on(split: Split) -> float:
    """How far a metric on these samples may be from what is measured here."""
    counts = np.bincount(split.labels)
    counts = counts[counts > 0]
    return max(TOLERANCE, FLIPPED / float(len(counts) * counts.min()))


def _agree(where: str, told: dict[str, Any], metrics: dict[str, str], network: Any, split: Split, number: int) -> None:
    """Raises VerificationError where a measurement differs, in the training precision of this processor and in that of
    others: of a model that has learnt little yet, each gives other answers.
    """
    ours, tolerance = Compute(), tolerance_on(split)
    for compute in (ours, replace(ours, bfloat16=not ours.bfloat16)):
        measured = asdict(evaluate(network, split, compute))
        found = {name: measured[metric] for name, metric in metrics.items()}
        wrong = [name for name, value in found.items() if abs(told[name] - value) > tolerance * max(1, value)]
        if not wrong:
            return
        name = wrong[0]
        difference = f"{name} = {told[name]}, measured {found[name]:.4f}"
    raise VerificationError(f"{where} says {difference}", number)
