"""`hmchain up` and `hmchain down`: a local consortium of real processes."""

from __future__ import annotations

import time
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, Any

import click

from hmchain.command import EXIT_CODES, FilePath, data_root_option, guarded
from hmchain.errors import ChainError, HMChainError

if TYPE_CHECKING:  # which brings web3, and takes a second that --help has no use for
    from coordinator.local import Local, Note

DEFAULT = Path("local")


@click.command(epilog=EXIT_CODES)
@click.argument("folder", metavar="[DIR]", type=FilePath, default=DEFAULT)
@click.option("--hospitals", default=5, show_default=True, type=click.IntRange(2, 50), help="Hospitals, all members.")
@click.option("--dataset", default="organamnist-sample", show_default=True, help="Data divided among them; as for run.")
@data_root_option("Folder with NAME.npz.")
@click.option("--partition", default="iid", show_default=True, help="iid, or dirichlet:A for label skew.")
@click.option("--rounds", default=10, show_default=True, help="Rounds of the job.")
@click.option("--fraction", default=0.4, show_default=True, help="Share of the hospitals that trains in a round.")
@click.option("--masters", default=None, type=int, help="Masters of a round. [default: 4, or as many as there are]")
@click.option("--epochs", default=3, show_default=True, help="Local epochs a round.")
@click.option("--batch-size", default=128, show_default=True, help="Samples in a batch of local training.")
@click.option("--lr", "learning_rate", default=0.1, show_default=True, help="Learning rate of local SGD.")
@click.option("--seed", default=0, show_default=True, help="For partition, initial weights, shuffles and draws.")
@click.option("--wait", type=click.IntRange(0), default=1, show_default=True, help="Rounds to watch; 0 for none.")
@guarded
def up(
    folder: Path,
    hospitals: int,
    dataset: str,
    data_root: Path | None,
    partition: str,
    masters: int | None,
    wait: int,
    **job: Any,
) -> None:
    """Start a consortium of real processes on this machine, and one job.

    There is a chain (anvil), and for each hospital an IPFS daemon and a node: each a process of its own, on loopback.
    Each hospital has its own keys, data and folder in DIR. The processes keep running when this command ends;
    `hmchain down` stops them, and `hmchain up` starts those that have ended, to continue where they stopped.
    """
    from coordinator import local_founding

    job |= {"masters": min(4, hospitals) if masters is None else masters}
    started = time.monotonic()

    def note(text: str) -> None:
        click.echo(f"{time.monotonic() - started:6.1f} s  {text}")

    here = local_founding.up(folder, hospitals, dataset, data_root, partition, job, note)
    try:
        _watch(here, wait, note)
    except KeyboardInterrupt:
        click.echo("the processes keep running")
    first = folder / "hospital-1"
    config, log, whole = (quote(str(path)) for path in (first / "hospital.toml", first / "node.log", folder))
    click.echo(f"look:  hmchain status --config {config}    less {log}")
    click.echo(f"stop:  hmchain down {whole}")


def _watch(here: Local, rounds: int, note: Note) -> None:
    """Notes each phase as it begins, until `rounds` more rounds have ended or the job is over.

    Raises ChainError where one of the processes has ended.
    """
    from coordinator.local import faults
    from trainers.status import status

    noted: set[str] = set()
    first: int | None = None
    while rounds:
        ended = next(faults(here), None)
        if ended is not None:
            raise ChainError(ended)
        try:
            jobs = status(here.config(1))["jobs"]
        except HMChainError:
            jobs = []
        if jobs:
            job = jobs[-1]
            first = job["round"] if first is None else first
            for text in _news(job, first):
                if text not in noted:
                    noted.add(text)
                    note(text)
            if job["phase"] == "CLOSED" or len([r for r in job["history"] if r["round"] >= max(first, 1)]) >= rounds:
                return
        time.sleep(0.5)


def _news(job: dict[str, Any], first: int) -> list[str]:
    """Lines on a job (as `trainers.status` has it): its rounds that ended since `first`, and its present phase."""
    lines = [
        f"round {r['round']}  over: model {(r['model'] or 'none')[:23]}…, {len(r['updates'])} updates"
        if r["model"]
        else f"round {r['round']}  failed in {r['failed_in']}: {r['failure']}"
        for r in job["history"]
        if r["round"] >= first
    ]
    if "clients" in job:
        who = job["clients"] if job["phase"] == "REQUEST" else job["masters"]
        lines.append(f"round {job['round']}  {job['phase']}: members {', '.join(map(str, who))}")
    elif job["phase"] in ("ENROLMENT", "WAITING"):
        waits = f"round {job['round']}  WAITING for {job['needed']} members, " if job["phase"] == "WAITING" else ""
        lines.append(f"{waits}enrolled: {', '.join(map(str, job['enrolled'])) or 'nobody yet'}")
    return lines


@click.command(epilog=EXIT_CODES)
@click.argument("folder", metavar="[DIR]", type=FilePath, default=DEFAULT)
@click.option("--remove", is_flag=True, help="Delete DIR as well: chain, keys, blobs, data.")
@guarded
def down(folder: Path, remove: bool) -> None:
    """Stop what `hmchain up` started in DIR."""
    from coordinator import local as consortium

    ran = consortium.down(folder, remove)
    click.echo(f"stopped {', '.join(ran)}" if ran else "nothing was running")
