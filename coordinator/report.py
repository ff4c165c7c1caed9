"""A run's report for people: summary.json, metrics.jsonl and curves.png."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

from hmchain.errors import StorageError
from hmchain.files import write_whole
from hmchain.history import RoundRecord, verdict_text
from hmchain.manifest import Manifest
from hmchain.recipe import chosen, strategy_of
from trainers.scoring import Metrics

SUMMARY, METRICS, CURVES = "summary.json", "metrics.jsonl", "curves.png"
MAX_FILE = 1 << 30
MAX_SUMMARY, MAX_ROW, MAX_CURVES = 1 << 22, 1 << 16, 1 << 24  # bytes; a row is that of a round, in which 56 may train
CALLS = {
    "submitUpdate": "submit_update",
    "commitScores": "commit_scores",
    "revealScores": "reveal_scores",
    "proposeModel": "propose_model",
    "attestModel": "attest_model",
}


@dataclass
class GasTable:
    """Gas by call and by round."""

    calls: dict[str, list[int]] = field(default_factory=lambda: {name: [] for name in CALLS.values()})
    rounds: dict[int, int] = field(default_factory=dict)

    def add(self, round: int, call: str, gas: int) -> None:
        """Adds the gas of one transaction that called the contract function `call`."""
        self.calls[CALLS[call]].append(gas)
        self.rounds[round] = self.rounds.get(round, 0) + gas

    def summary(self) -> dict[str, dict[str, int]]:
        """min, median and max of each call and of a round's total; empty without a chain."""
        rows = {**self.calls, "round_total": list(self.rounds.values())}
        return {name: _spread(values) for name, values in rows.items() if values}


def _spread(values: Sequence[int]) -> dict[str, int]:
    return {"min": min(values), "median": round(median(values)), "max": max(values)}


def settings_of(job: Manifest) -> dict[str, Any]:
    """What a job's manifest says of how it trains, for the summary; `recipe` is what differs from the defaults."""
    names = ("masters", "rounds", "seed", "fraction", "epochs", "batch_size", "learning_rate", "metric", "standard")
    given = {name: getattr(job, name) for name in (*names, "architecture")}
    return given | {"strategy": strategy_of(job.aggregation), "recipe": chosen(job)}


def round_row(record: RoundRecord, metrics: Metrics | None, gas: int, seconds: dict[str, float]) -> dict[str, Any]:
    """One line of metrics.jsonl. Members are named by number; scores are in 0..1."""
    verdict = record.judgement
    return {
        "round": record.number,
        "outcome": "finalized" if record.model else "failed",
        "failed_in": record.failed.name if record.failed else None,
        "clients": list(record.clients),
        "masters": list(record.masters),
        "accepted": [update.member for update in record.accepted()],
        "refused": {
            str(record.clients[p]): verdict_text(verdict, p) for p in sorted(set(record.updates) - verdict.accepted)
        }
        if verdict
        else {},
        "silent": [member for p, member in enumerate(record.clients) if p not in record.updates],
        "standard": verdict.standard / 10_000 if verdict else None,
        "model_digest": digest_text(record.model) if record.model else None,
        "test": asdict(metrics) if metrics else None,
        "gas": gas,
        "seconds": {name: round(value, 4) for name, value in sorted(seconds.items())},
    }


def digest_text(digest: bytes) -> str:
    """A digest as text, "sha256:" and hexadecimal digits."""
    return f"sha256:{digest.hex()}"


def read_bytes(path: Path, limit: int = MAX_FILE) -> bytes:
    """The content of a file that somebody else may have put there. Raises StorageError, also where it is too long."""
    try:
        check_file(path, limit)
        with path.open("rb") as file:
            content = file.read(limit + 1)  # it may grow, and some files say that they are empty
    except OSError as fault:
        raise StorageError(f"cannot read {path}: {fault.strerror}") from fault
    if len(content) > limit:
        raise StorageError(f"{path} has more than {limit:,} bytes")
    return content


def check_file(path: Path, limit: int) -> None:
    """Checks, before it is opened, that a path is a file of at most `limit` bytes. Raises StorageError."""
    if not path.is_file():  # a pipe would keep us waiting, a device would never end
        raise StorageError(f"{path} is missing or is no file")
    if path.stat().st_size > limit:
        raise StorageError(f"{path} has more than {limit:,} bytes")


def write_report(folder: Path, summary: dict[str, Any], rows: Sequence[dict[str, Any]]) -> bytes:
    """Writes summary, metrics and picture. Returns the report's digest, which the coordinator files on chain.

    Raises StorageError.
    """
    write_whole(folder / METRICS, metrics_text(rows).encode())
    write_whole(folder / SUMMARY, summary_text(summary).encode())
    draw_curves(folder / CURVES, summary, rows)
    return report_digest(folder, len(rows))


def summary_text(summary: dict[str, Any]) -> str:
    """The text of summary.json, which verification compares byte by byte."""
    return json.dumps(summary, indent=2, sort_keys=True) + "\n"


def metrics_text(rows: Sequence[dict[str, Any]]) -> str:
    """The text of metrics.jsonl, which verification compares byte by byte."""
    return "".join(json.dumps(row, sort_keys=True) + "\n" for row in rows)


def read_report(folder: Path, rounds: int) -> dict[str, bytes]:
    """The files, by name, of a report on so many rounds. Raises StorageError, also where one is larger than any is."""
    limits = {SUMMARY: MAX_SUMMARY, METRICS: MAX_ROW * rounds, CURVES: MAX_CURVES}
    return {name: read_bytes(folder / name, limit) for name, limit in limits.items()}


def digest_of(files: dict[str, bytes]) -> bytes:
    """SHA-256 over the digests of the report's files, in the order of read_report."""
    whole = hashlib.sha256()
    for name, content in files.items():
        whole.update(name.encode() + b"\0" + hashlib.sha256(content).digest())
    return whole.digest()


def report_digest(folder: Path, rounds: int) -> bytes:
    """The digest of the report in a folder, on so many rounds. Raises StorageError."""
    return digest_of(read_report(folder, rounds))


def draw_curves(path: Path, summary: dict[str, Any], rows: Sequence[dict[str, Any]]) -> None:
    """Draws AUC and ACC on the test set by round; failed rounds are dotted lines. Raises StorageError."""
    # Imported here: it takes half a second, and only the end of a run needs it.
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt
    from matplotlib.ticker import MaxNLocator

    points = [(row["round"], row["test"]) for row in rows if row["test"]]
    figure, axes = plt.subplots(figsize=(7, 4), layout="constrained")
    for key, label in (("auc", "AUC"), ("accuracy", "ACC")):
        axes.plot([r for r, _ in points], [test[key] for _, test in points], marker="o", markersize=3, label=label)
    failed = [row["round"] for row in rows if row["outcome"] == "failed"]
    if failed:
        axes.vlines(failed, 0, 1.02, colors="0.6", linestyles=":", zorder=0, label="failed")
    axes.set(xlabel="round", ylabel="test set", ylim=(0, 1.02))
    rounds = f"{summary['completed_rounds']} of {len(rows)} rounds"
    axes.set_title(f"{summary['dataset']}: {summary['members']} hospitals, {rounds}")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.grid(alpha=0.3)
    axes.legend(loc="lower right")
    try:
        figure.savefig(path, dpi=120)
    except OSError as fault:
        raise StorageError(f"cannot write {path}: {fault.strerror}") from fault
    finally:
        plt.close(figure)
