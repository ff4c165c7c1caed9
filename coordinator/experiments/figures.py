"""Figures: AUC and ACC by round, the mean over seeds in a band from the lowest to the highest."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from coordinator.experiments.plans import Plan, Row
from coordinator.experiments.tables import Read
from hmchain.errors import StorageError

METRICS = (("auc", "AUC"), ("accuracy", "ACC"))
FORMATS = ("png", "svg")


def curves(row: Row, dataset: str, metric: str, read: Read) -> NDArray[np.float64]:
    """(seeds, rounds), NaN where a round failed; no rows where nothing was run."""
    found = [result["rounds"][metric] for cell in row.cells[dataset] if (result := read(cell))]
    return np.array(found, dtype=np.float64)


def draw(plan: Plan, read: Read, folder: Path) -> list[str]:
    """A picture a data set that has results. Returns their names, without suffix. Raises StorageError."""
    drawn = [name for name in plan.datasets if any(len(curves(row, name, "auc", read)) for row in plan.rows)]
    for name in drawn:
        _draw(plan, name, read, folder / f"{plan.name}-{name}")
    return [f"{plan.name}-{name}" for name in drawn]


def _draw(plan: Plan, dataset: str, read: Read, path: Path) -> None:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    matplotlib.rcParams["svg.hashsalt"] = plan.name  # the same picture, the same bytes
    figure, panels = plt.subplots(1, 2, figsize=(8, 3.2), layout="constrained")
    for axes, (metric, label) in zip(panels, METRICS, strict=True):
        for row in plan.rows:
            values = curves(row, dataset, metric, read)
            if len(values):
                rounds = np.arange(1, values.shape[1] + 1)
                axes.plot(rounds, np.nanmean(values, axis=0), label=f"{row.label} ({len(values)} seeds)")
                axes.fill_between(rounds, np.nanmin(values, axis=0), np.nanmax(values, axis=0), alpha=0.2, linewidth=0)
        axes.set(xlabel="round", ylabel=f"{label}, test set", title=dataset)
        axes.grid(alpha=0.3)
    panels[0].legend(loc="lower right")
    try:
        for suffix in FORMATS:
            figure.savefig(
                path.with_suffix(f".{suffix}"), dpi=100, metadata={"Date": None} if suffix == "svg" else None
            )
    except OSError as fault:
        raise StorageError(f"cannot write {path}: {fault.strerror}") from fault
    finally:
        plt.close(figure)
