"""Checks a run's report against what is known without it: the chain's events. Its metrics are measurement.py's part.

The coordinator that files a report may lie. So it must be written byte for byte as a run writes it, with the same keys
and no others. What neither chain nor data can prove must at least be possible, and is named in a note.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass, fields
from math import isfinite
from pathlib import Path
from reprlib import Repr
from typing import Any

from coordinator.evidence import Evidence
from coordinator.folder import RUN, of_the_run
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
    settings_of,
    summary_text,
)
from coordinator.run import TIMES
from hmchain.errors import StorageError, UsageError, VerificationError
from hmchain.jsontext import parse
from hmchain.manifest import Manifest
from hmchain.rounds import clients_of
from trainers.partition import concentration_of
from trainers.scoring import Metrics

TOLERANCE = 0.01  # of a metric, relative for a loss above 1: other processors round differently
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

    @property
    def validated(self) -> bool:
        """Whether it has metrics on the validation split as well."""
        return not VALIDATION.keys().isdisjoint(self.summary)


def check_report(folder: Path, evidence: Evidence, manifest: Manifest) -> Report:
    """Checks that the report is the one filed on chain, and agrees with the chain. Raises VerificationError."""
    job = evidence.job
    if not job.closed or job.report is None:
        raise VerificationError(f"the run did not finish: {len(job.rounds)} of {manifest.rounds} rounds, no report")
    with of_the_run("a file of the report is missing, too large or cannot be read", StorageError):
        files = read_report(folder, len(job.rounds))
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
    if (summary_text(report.summary), metrics_text(report.rows)) != texts:  # a key that occurs twice has two readings
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
    proved = told in (ours, evidence.run.chain_shown)
    validated = VALIDATION if report.validated else ()
    check_names(SUMMARY, summary, {*facts, *UNPROVED, *TEST, *validated, "chain"})
    if summary["dataset_digest"] != facts["dataset_digest"]:  # of which the chain knows nothing
        raise VerificationError(f"{SUMMARY} and {RUN} name different files of {manifest.dataset}")
    compare(SUMMARY, summary, facts)
    measured = list(report.tests().values())
    compare(SUMMARY, summary, {name: measured[-1][metric] if measured else None for name, metric in TEST.items()})
    for name in validated:
        fits = is_metric(VALIDATION[name], summary[name]) if measured else summary[name] is None
        check_possible(SUMMARY, {name: summary[name]}, fits)
    numbers = summary["malicious"]
    possible = {
        "attack": summary["attack"] in ATTACKS,
        "malicious": are_malicious(numbers, summary["attack"], evidence.history.members.keys()),
        "partition": is_partition(summary["partition"]),
        "seconds": are_seconds(summary["seconds"]),
        "chain": proved or (ours != EMBEDDED and type(told) is str and told.startswith("http")),
    }
    for name, fits in possible.items():
        check_possible(SUMMARY, {name: summary[name]}, fits)
    unproved = UNPROVED if proved else ("chain", *UNPROVED)  # others reach the run's node by another URL
    evidence.notes.append(f"the report says without proof: {', '.join(unproved)}; {CURVES} was not read")


def facts_of(evidence: Evidence, manifest: Manifest) -> dict[str, Any]:
    """The part of the summary that follows from the chain."""
    records, members = list(evidence.job.rounds.values()), len(evidence.history.members)
    models = [record.model for record in records if record.model is not None]
    return {
        "dataset": manifest.dataset,
        "dataset_digest": evidence.run.dataset_digest,
        "members": members,
        "clients": clients_of(members, evidence.job.terms.fraction),
        **settings_of(manifest),
        "completed_rounds": len(models),
        "failed_rounds": len(records) - len(models),
        "model_digest": digest_text(models[-1]) if models else None,
        "manifest_digest": digest_text(manifest.digest()),
        "gas": evidence.gas.summary(),
    }


def check_names(where: str, told: dict[str, Any], names: Iterable[str], round: int | None = None) -> None:
    """Raises VerificationError where a name is missing, or is one that no run writes."""
    wanted = set(names)
    for name in sorted(wanted ^ told.keys()):
        kind = "lacks" if name in wanted else "has what no run writes,"
        raise VerificationError(f"{where} {kind} {name[:100]}", round)


def compare(where: str, told: dict[str, Any], facts: dict[str, Any], round: int | None = None) -> None:
    """Raises VerificationError for the first fact that the report states otherwise."""
    for name, fact in facts.items():
        if not same(told.get(name), fact):
            difference = f"{name} = {SHORT.repr(told.get(name)):.100}, the chain {fact!r:.100}"
            raise VerificationError(f"{where} says {difference}", round)


def same(told: Any, fact: Any) -> bool:
    """Whether two JSON values are equal, in type as well and at every depth: 2 is not 2.0, 0 is not false."""
    if type(told) is not type(fact):
        return False
    if isinstance(fact, dict):
        return told.keys() == fact.keys() and all(same(told[name], fact[name]) for name in fact)
    if isinstance(fact, list):
        return len(told) == len(fact) and all(map(same, told, fact))
    return bool(told == fact)


def check_possible(where: str, told: dict[str, Any], fits: bool, round: int | None = None) -> None:
    """Raises VerificationError where the report gives a name a value that it cannot have."""
    if not fits:
        ((name, value),) = told.items()
        raise VerificationError(f"{where} says {name} = {SHORT.repr(value):.100}, which cannot be", round)


def is_metric(name: str, value: Any) -> bool:
    """Whether a metric can have this value."""
    low, high = RANGES[name]
    return type(value) is float and low <= value <= high  # not NaN either


def are_malicious(told: Any, attack: str, members: Collection[int]) -> bool:
    """Whether these can be the attackers: some members, but not all, or none where there is no attack."""
    numbers = type(told) is list and all(type(number) is int for number in told)
    possible = numbers and told == sorted(set(told) & set(members)) and len(told) < len(members)
    return bool(possible and (attack != ATTACKS[0]) == bool(told))


def is_partition(told: Any) -> bool:
    """Whether data could be divided like that."""
    try:
        concentration_of(told)
    except (UsageError, AttributeError):
        return False
    return True


def are_seconds(told: Any) -> bool:
    """Whether these can be the times that a run and its parts took."""
    if type(told) is not dict or not {"total"} <= told.keys() <= {"total", *TIMES}:
        return False
    return all(type(each) is float and isfinite(each) and each >= 0 for each in told.values())
