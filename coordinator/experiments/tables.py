"""Tables in Markdown: the paper's rows beside ours, mean ± standard deviation over the seeds that were run."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from statistics import mean, stdev
from typing import Any

from coordinator.experiments.cells import Cell
from coordinator.experiments.plans import Plan, Row
from coordinator.experiments.store import Result

Read = Callable[[Cell], Result | None]

NOT_RUN = "not run"
SPLITS = {"test": "test set", "val": "validation split"}


def table(plan: Plan, read: Read) -> str:
    """The plan's table, AUC / ACC, as Markdown."""
    return "\n".join([*_head(plan), *(_line(row, plan, read) for row in plan.rows), "", *_notes(plan, read), ""])


def _head(plan: Plan) -> Iterator[str]:
    yield f"# {plan.title}"
    yield ""
    yield f"`{plan.command}`"
    yield ""
    yield f"| AUC / ACC, {SPLITS[plan.split]} | " + " | ".join(plan.datasets) + " |"
    yield "|---|" + "---|" * len(plan.datasets)


def _line(row: Row, plan: Plan, read: Read) -> str:
    return f"| {row.label} | " + " | ".join(_entry(row, name, read) for name in plan.datasets) + " |"


def _entry(row: Row, dataset: str, read: Read) -> str:
    if row.published is not None:
        return " / ".join(f"{value:.3f}" for value in row.published.get(dataset, ())) or "not quoted"
    cells = row.cells[dataset]
    found = [result[row.measure] for cell in cells if (result := read(cell)) and result.get(row.measure)]
    if not found:
        return NOT_RUN
    entry = " / ".join(spread([metrics[name] for metrics in found]) for name in ("auc", "accuracy"))
    return entry if len(found) == len(cells) else f"{entry} ({len(found)} of {len(cells)} seeds)"


def spread(values: Sequence[float]) -> str:
    """Mean ± sample standard deviation; of one value, the value."""
    return f"{mean(values):.3f}" + (f" ± {stdev(values):.3f}" if len(values) > 1 else "")


def _notes(plan: Plan, read: Read) -> Iterator[str]:
    done = [result for cell in plan.cells() if (result := read(cell))]
    total = sum(1 for _ in plan.cells())
    yield f"{len(done)} of {total} runs are done; ± is the standard deviation over seeds 0 to {plan.seeds - 1}."
    if done:
        peak, hours = max(result["peak_mib"] for result in done), sum(result["seconds"] for result in done) / 3600
        yield f"Added up they took {hours:.1f} h by the clock; the largest had {peak:,} MiB."
        yield f"Versions: {'; '.join(sorted({_versions(result) for result in done}))}."


def _versions(result: dict[str, Any]) -> str:
    return ", ".join(f"{name} {number}" for name, number in sorted(result["versions"].items()))
