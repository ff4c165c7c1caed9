"""Figures: AUC and ACC by round, by share of attackers; the mean over seeds in a band from lowest to highest."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from coordinator.experiments.plans import ATTACKS, DEFENCES, Plan, Row
from coordinator.experiments.tables import Read
from hmchain.errors import StorageError

METRICS = (("auc", "AUC"), ("accuracy", "ACC"))
FORMATS = ("png", "svg")


def curves(row: Row, dataset: str, metric: str, read: Read) -> NDArray[np.float64]:
    """(seeds, rounds), NaN where a round failed; no rows where nothing was run."""
    done = [(cell, result["rounds"]) for cell in row.cells[dataset] if (result := read(cell))]
    # A run of which every round failed has no column of a metric.
    found = [rounds.get(metric) or [None] * cell.settings["rounds"] for cell, rounds in done]
    return np.array(found, dtype=np.float64)


def shares(
    plan: Plan, dataset: str, attack: str, defence: str, metric: str, read: Read
) -> tuple[list[float], list[list[float]]]:
    """The shares of attacking members, 0 first, and for each the final metric of its runs, one a seed.

    defence is one of DEFENCES.
    """
    found: dict[float, list[float]] = {}
    for cell in (cell for row in plan.rows for cell in row.cells[dataset]):
        settings = cell.settings
        chosen = {name: settings[name] for name in ("standard", "strategy") if name in settings}
        of_panel = settings.get("attack", attack) == attack and chosen == DEFENCES[defence]
        if of_panel and (result := read(cell)) and result["test"]:
            found.setdefault(settings.get("malicious", 0.0), []).append(result["test"][metric])
    return sorted(found), [found[share] for share in sorted(found)]


def draw(plan: Plan, read: Read, folder: Path) -> list[str]:
    """A picture a data set that has results, where the plan is one to be drawn. Returns their names, without suffix.
    Raises StorageError.
    """
    if plan.name not in PICTURES:
        return []
    shape, fill = PICTURES[plan.name]
    names = [name for name in plan.datasets if any(read(cell) for row in plan.rows for cell in row.cells[name])]
    for name in names:
        with _panels(shape, plan.name, folder / f"{plan.name}-{name}") as panels:
            fill(plan, name, read, panels)
    return [f"{plan.name}-{name}" for name in names]


@contextmanager
def _panels(shape: tuple[int, int], salt: str, path: Path) -> Iterator[Any]:
    """Axes in rows and columns; saved in every format on leaving the context."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    matplotlib.rcParams["svg.hashsalt"] = salt  # the same picture, the same bytes
    figure, panels = plt.subplots(*shape, figsize=(8, 3.2 * shape[0]), layout="constrained", squeeze=False)
    try:
        yield panels
        for suffix in FORMATS:
            figure.savefig(
                path.with_suffix(f".{suffix}"), dpi=100, metadata={"Date": None} if suffix == "svg" else None
            )
    except OSError as fault:
        raise StorageError(f"cannot write {path}: {fault.strerror}") from fault
    finally:
        plt.close(figure)


def _by_round(plan: Plan, dataset: str, read: Read, panels: Any) -> None:
    for axes, (metric, label) in zip(panels[0], METRICS, strict=True):
        for row in plan.rows:
            values = curves(row, dataset, metric, read)
            if len(values):
                rounds = np.arange(1, values.shape[1] + 1)
                # Masked: of a round that failed with every seed there is no mean.
                known = np.ma.masked_invalid(values)  # type: ignore[no-untyped-call]
                axes.plot(rounds, known.mean(axis=0), label=f"{row.label} ({len(values)} seeds)")
                axes.fill_between(rounds, known.min(axis=0), known.max(axis=0), alpha=0.2, linewidth=0)
        axes.set(xlabel="round", ylabel=f"{label}, test set", title=dataset)
        axes.grid(alpha=0.3)
    panels[0, 0].legend(loc="lower right")


def _by_share(plan: Plan, dataset: str, read: Read, panels: Any) -> None:
    for axes, ((metric, label), attack) in zip(panels.flat, product(METRICS, ATTACKS), strict=True):
        for name in DEFENCES:
            at, found = shares(plan, dataset, attack, name, metric, read)
            if at:
                percent, middle = [100 * share for share in at], [np.mean(values) for values in found]
                axes.plot(percent, middle, marker="o", markersize=3, label=name)
                axes.fill_between(percent, [*map(min, found)], [*map(max, found)], alpha=0.2, linewidth=0)
        axes.set(xlabel="malicious members, %", ylabel=f"{label}, test set", title=attack, ylim=(0, 1), xlim=(-2, 42))
        axes.grid(alpha=0.3)
    panels[0, 0].legend(loc="lower left")


Fill = Callable[[Plan, str, Read, Any], None]
PICTURES: dict[str, tuple[tuple[int, int], Fill]] = {
    "figure5": ((1, len(METRICS)), _by_round),
    "attacks": ((len(METRICS), len(ATTACKS)), _by_share),
}
