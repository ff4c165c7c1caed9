"""Five hospitals as real processes on anvil and Kubo: how soon they begin, what a round costs besides training, and
what they take while nothing is to be done.

python -m bench.nodes [--hospitals N] [--rounds R] [--dataset NAME] [--data-root DIR]
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from statistics import median
from typing import Any

from coordinator import local, local_founding
from coordinator.daemons import connect_all, swarm_key
from coordinator.local import Local
from hmchain.errors import HMChainError
from tools import daemons
from trainers.config import FILE
from trainers.status import status

IDLE_SECONDS = 30.0


def log_of(hospital: Path) -> Iterator[dict[str, Any]]:
    """The lines of a node's log, with their time in seconds."""
    for line in (hospital / "node.log").read_text().splitlines():
        facts = json.loads(line)
        yield facts | {"seconds": datetime.fromisoformat(facts["time"]).timestamp()}


def wait_for(here: Local, rounds: int) -> None:
    """Until so many rounds are over."""
    while True:
        for fault in local.faults(here):
            raise SystemExit(fault)
        try:
            jobs = status(here.config(1))["jobs"]
        except HMChainError:
            jobs = []
        if jobs and len(jobs[0]["history"]) >= rounds:
            return
        time.sleep(0.1)


def rounds_of(here: Local) -> dict[str, list[float]]:
    """For every round but the first: seconds from the last update to the attested model, and a node's own times."""
    lines = [line for hospital in here.hospitals for line in log_of(hospital)]
    table: dict[str, list[float]] = {"last update to attested model": []}
    updates: dict[int, list[float]] = {}
    attested: dict[int, list[float]] = {}
    for line in lines:
        if line["event"] == "submitUpdate":
            updates.setdefault(line["round"], []).append(line["seconds"])
        if line["event"] in ("attestModel", "proposeModel"):
            attested.setdefault(line["round"], []).append(line["seconds"])
        if line["event"].endswith(" over") and "round 1 " not in line["event"]:
            for name in ("chain", "blobs", "training", "scoring", "aggregation"):
                table.setdefault(f"{name}, one node", []).append(line.get(f"{name}_seconds", 0.0))
    for number in sorted(attested)[1:]:
        table["last update to attested model"].append(max(attested[number]) - max(updates[number]))
    return table


def idle(here: Local) -> dict[str, tuple[float, float]]:
    """Per cent of a core and MiB of each process while nothing is to be done."""
    processes = {name: here.processes.find(name) for name in here.processes.running()}
    found = {name: process for name, process in processes.items() if process is not None}
    while any("spawn_main" in " ".join(child.cmdline()) for process in found.values() for child in process.children()):
        time.sleep(1)  # until the training processes have ended
    for process in found.values():
        process.cpu_percent()
    time.sleep(IDLE_SECONDS)
    return {name: (process.cpu_percent(), process.memory_info().rss / 2**20) for name, process in found.items()}


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(prog="python -m bench.nodes", description=__doc__)
    parser.add_argument("--hospitals", type=int, default=5)
    parser.add_argument("--rounds", type=int, default=6)
    parser.add_argument("--dataset", default="organamnist-sample")
    parser.add_argument("--data-root", type=Path)
    chosen = parser.parse_args()
    daemons.anvil(), daemons.ipfs()
    job = {"rounds": chosen.rounds, "fraction": 0.4, "masters": min(4, chosen.hospitals), "seed": 0}
    with tempfile.TemporaryDirectory() as parent:
        folder, started = Path(parent) / "local", time.monotonic()
        here = local_founding.prepare(folder, chosen.hospitals, chosen.dataset, chosen.data_root, "iid", job)
        try:
            found(here)
            wait_for(here, 1)
            print(f"from nothing to the first finished round  {time.monotonic() - started:8.1f} s")
            wait_for(here, chosen.rounds)
            for name, seconds in rounds_of(here).items():
                print(f"{name + ', a round':40}  {median(seconds):8.2f} s  (at most {max(seconds):.2f} s)")
            for name, (percent, mebibytes) in idle(here).items():
                print(f"{name + ', idle':40}  {percent:8.2f} %  {mebibytes:.0f} MiB")
        finally:
            local.down(folder)


def found(here: Local) -> None:
    """What `hmchain up` does, with logs that a program can read."""
    for hospital in here.hospitals:
        as_json(hospital)
    connect_all(here.kubos, swarm_key())
    local.start_daemons(here, lambda _: None)
    local_founding.found_members(here)
    local.start_nodes(here, lambda _: None)
    local_founding.create_first_job(here)


def as_json(hospital: Path) -> None:
    """Has a hospital's node log in JSON, and end its training process soon."""
    path = hospital / FILE
    text = path.read_text().replace('format = "text"', 'format = "json"')
    path.write_text(text.replace("worker_idle_seconds = 60.0", "worker_idle_seconds = 10.0"))


if __name__ == "__main__":
    main()
