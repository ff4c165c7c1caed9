"""Conducts an experiment: runs the cells that are missing, then makes tables and figures of all results."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from coordinator.experiments.cells import Cell
from coordinator.experiments.figures import draw
from coordinator.experiments.plans import Plan
from coordinator.experiments.processes import results
from coordinator.experiments.store import Result, Store
from coordinator.experiments.tables import table
from hmchain.files import write_whole
from trainers.datasets import load

Say = Callable[[str], None]
Line = Callable[[Cell, Result], str]


def conduct(
    plan: Plan, store: Store, data_root: Path | None, jobs: int, say: Say, only: str = ""
) -> tuple[int, list[str]]:
    """Runs the cells of plan that store has no result of, of rows with `only` in their label. Returns how many, and the
    names of the files that `report` wrote. Raises HMChainError.
    """
    with store.taken():
        wanted = missing(plan, store, only)
        for name in dict.fromkeys(cell.dataset for cell in wanted):
            load(name, data_root)  # a data set that cannot be had is said now, not in an hour
        try:
            _run(wanted, store, data_root, jobs, lambda cell, result: _line(plan, cell, result), say)
        finally:  # an interrupted experiment shows what it has
            files = report(plan, store)
    return len(wanted), files


def report(plan: Plan, store: Store) -> list[str]:
    """Writes the plan's table, and figures where it has some. Returns the names of the files. Raises StorageError."""
    pictures = draw(plan, store.read, store.folder)
    text = table(plan, store.read) + "".join(f"\n![{name}]({name}.png)\n" for name in pictures)
    write_whole(store.folder / f"{plan.name}.md", text.encode())
    return [f"{plan.name}.md", *(f"{name}.{suffix}" for name in pictures for suffix in ("png", "svg"))]


def missing(plan: Plan, store: Store, only: str = "") -> list[Cell]:
    """Cells without a result, or whose result lacks what its row shows (early results have no validation metrics)."""
    wanted: dict[tuple[str, str], Cell] = {}
    for row in (row for row in plan.rows if only in row.label):
        for cell in (cell for cells in row.cells.values() for cell in cells):
            result = store.read(cell)
            if result is None or row.measure not in result:
                wanted[cell.dataset, cell.key] = cell
    return list(wanted.values())


def _run(cells: list[Cell], store: Store, data_root: Path | None, jobs: int, line: Line, say: Say) -> None:
    took = 0.0
    for done, (cell, result) in enumerate(results(cells, store, data_root, jobs), start=1):
        store.write(cell, result)
        took += result["seconds"]  # by the clock, while others ran beside it
        left = took / done * (len(cells) - done) / jobs
        say(f"{done}/{len(cells)}  {line(cell, result)}; about {left / 60:.0f} min left")


def _line(plan: Plan, cell: Cell, result: Result) -> str:
    metrics = result.get(plan.split)
    found = f"AUC {metrics['auc']:.4f} ACC {metrics['accuracy']:.4f}" if metrics else "no round was completed"
    return f"{cell.dataset}, {plan.label(cell)}, seed {cell.seed}: {found}, {result['seconds']:.0f} s"
