"""`hmchain experiment`: the paper's tables and figures, run again."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import click

from hmchain.command import EXIT_CODES, FilePath, data_root_option, guarded, json_option
from hmchain.errors import UsageError
from hmchain.interrupts import loading

NAMES = ("table3", "table4", "figure5", "noniid", "recipe", "attacks")


@click.command(epilog=EXIT_CODES)
@click.argument("name", type=click.Choice(NAMES))
@click.option(
    "--datasets", default="breastmnist,pneumoniamnist,organamnist", show_default=True, help="Names, comma-separated."
)
@click.option("--seeds", default=5, show_default=True, help="Runs of each setting, with seeds from 0.")
@click.option(
    "--rounds", type=click.IntRange(1), default=50, show_default=True, help="The paper's 50, or a quick look."
)
@click.option("--members", type=click.IntRange(2), default=100, show_default=True, help="Hospitals in a federation.")
@click.option("--out", type=FilePath, default=Path("results"), show_default=True, help="Folder of results.")
@data_root_option("Folder with NAME.npz.")
@click.option("--jobs", type=click.IntRange(1), default=None, help="Runs at a time. [default: one per core]")
@click.option("--only", default="", metavar="TEXT", help="Run only the rows whose label contains TEXT; draw all.")
@click.option("--draw-only", is_flag=True, help="Run nothing: draw tables and figures of the results that are there.")
@json_option("Print what was done as JSON, and nothing else.")
@guarded
def experiment(
    name: str,
    datasets: str,
    seeds: int,
    rounds: int,
    members: int,
    out: Path,
    data_root: Path | None,
    jobs: int | None,
    only: str,
    draw_only: bool,
    as_json: bool,
) -> None:
    """Run an experiment of the paper, and write its tables and figures.

    table3, table4 and figure5 are the paper's; noniid has label skew, attacks malicious hospitals, and recipe chooses a
    better recipe on the validation split. Every run is a process of its own and leaves one small file in the folder of
    results. A run whose file is there is not run again, so an interrupted experiment continues where it stopped.
    """
    with loading():
        from coordinator.experiments.cells import PAPER
        from coordinator.experiments.conduct import conduct, report
        from coordinator.experiments.plans import plan
        from coordinator.experiments.store import Store

    chosen = plan(
        name, tuple(dict.fromkeys(datasets.split(","))), seeds, PAPER | {"rounds": rounds, "members": members}
    )
    if not any(only in row.label for row in chosen.rows if row.cells):
        raise UsageError(f"{name} has no row with {only!r} in its label")
    store = Store(out)
    if draw_only:
        if not out.is_dir():
            raise UsageError(f"{out} holds no results")
        ran, files = 0, report(chosen, store)
    else:
        say = (lambda line: None) if as_json else click.echo
        ran, files = conduct(chosen, store, data_root, jobs or os.cpu_count() or 1, say, only)
    done: dict[str, Any] = {"experiment": name, "ran": ran, "files": [str(out / file) for file in files]}
    click.echo(json.dumps(done, sort_keys=True) if as_json else "\n".join(done["files"]))
