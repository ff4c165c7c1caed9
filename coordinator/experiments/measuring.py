"""Runs one cell in this process, and reduces it to the result that is kept."""

from __future__ import annotations

import platform
import resource
import shutil
import sys
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from coordinator.experiments.cells import Cell
from coordinator.experiments.store import Result
from coordinator.options import RunOptions
from coordinator.progress import Silent
from coordinator.report import METRICS, digest_text, read_bytes
from coordinator.run import run
from hmchain.jsontext import parse

DIGITS = 5  # of a metric; MedMNIST's tables have three


def measured(cell: Cell, data_root: Path | None, folder: Path) -> Result:
    """The result of a cell. `folder` is the run's, and is gone afterwards. Raises HMChainError."""
    started = time.perf_counter()
    try:
        content = _federation(cell, data_root, folder) if cell.kind == "federation" else _baseline(cell, data_root)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    costs = {"seconds": round(time.perf_counter() - started, 1), "peak_mib": _peak_mib()}
    return {**_rounded(content), **costs, "versions": versions()}


def versions() -> dict[str, str]:
    """Versions of what the numbers depend on, and the GPU, where one computed them."""
    packages = {name: version(name) for name in ("fl-hmchain", "torch", "numpy", "medmnist", "scikit-learn")}
    gpu = {"gpu": torch.cuda.get_device_name()} if torch.cuda.is_available() else {}
    return {"python": platform.python_version(), **packages, **gpu}


def _federation(cell: Cell, data_root: Path | None, folder: Path) -> Result:
    """`hmchain run`, through the same call."""
    summary = run(RunOptions(out=folder, data_root=data_root, workers=1, validate=True, **cell.settings), Silent())
    rows = [parse(line) for line in read_bytes(folder / METRICS).splitlines()]
    last = next((row["test"] for row in reversed(rows) if row["test"]), None)
    kept = ("dataset_digest", "manifest_digest", "model_digest", "completed_rounds", "failed_rounds")
    val = {"auc": summary["val_auc"], "accuracy": summary["val_acc"]} if last else None
    return {**{name: summary[name] for name in kept}, "test": last, "val": val, "rounds": _columns(rows)}


def _columns(rows: list[dict[str, Any]]) -> dict[str, list[Any]]:
    """A column for each number of a round: a quarter of the size of rows. Metrics of a failed round are None."""
    counts = {name: [len(row[name]) for row in rows] for name in ("accepted", "refused", "silent")}
    names = next((list(row["test"]) for row in rows if row["test"]), [])
    return counts | {name: [row["test"] and row["test"][name] for row in rows] for name in names}


def _baseline(cell: Cell, data_root: Path | None) -> Result:
    from coordinator.experiments.baselines import BASELINES
    from trainers.datasets import load

    torch.set_num_threads(1)  # as a run has; a result must not depend on the number of cores
    dataset = load(cell.dataset, data_root)
    return {"dataset_digest": digest_text(dataset.digest), **BASELINES[cell.kind](dataset, cell.settings)}


def _rounded(content: Any) -> Any:
    if isinstance(content, dict):
        return {name: _rounded(value) for name, value in content.items()}
    if isinstance(content, list):
        return [_rounded(value) for value in content]
    return round(content, DIGITS) if isinstance(content, float) else content


def _peak_mib() -> int:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak // (2**20 if sys.platform == "darwin" else 2**10)
