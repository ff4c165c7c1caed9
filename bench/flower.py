"""The same federation by ours with chain and scoring, ours without, Flower's simulation, and a plain PyTorch loop.

python -m bench.flower --flower-python PYTHON [--dataset NAME] [--data-root DIR] [--members N] [--rounds R]

Flower's packages do not go with ours, so it has a Python of its own, which must also import torch and medmnist:
    python3 -m venv flower && flower/bin/pip install 'flwr[simulation]' torch medmnist scikit-learn safetensors
Without --flower-python its row is left out.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from coordinator.options import EMBEDDED, RunOptions
from coordinator.progress import Silent
from coordinator.run import run
from hmchain.aggregate import fedavg
from trainers.datasets import load
from trainers.networks import build, initial_weights, load_weights
from trainers.partition import split
from trainers.scoring import evaluate
from trainers.training import LocalTraining, train

ROOT = Path(__file__).resolve().parents[1]
ARCHITECTURE = "medmnist-cnn"


@dataclass(frozen=True)
class Took:
    """Seconds by the clock: all of it, and training alone where that can be told apart."""

    whole: float
    training: float | None = None


def ours(asked: argparse.Namespace, chain: str | None, masters: int) -> Took:
    """`hmchain run`."""
    with tempfile.TemporaryDirectory() as folder:
        options = RunOptions(
            out=Path(folder) / "run",
            dataset=asked.dataset,
            data_root=asked.data_root,
            members=asked.members,
            fraction=asked.fraction,
            rounds=asked.rounds,
            masters=masters,
            chain=chain,
        )
        started = time.perf_counter()
        summary = run(options, Silent())
        return Took(time.perf_counter() - started, summary["seconds"]["training"])


def loop(asked: argparse.Namespace, threads: int) -> Took:
    """One client after the other, without protocol, scores or report."""
    torch.set_num_threads(threads)
    training = 0.0

    def rounds() -> None:
        nonlocal training
        dataset = load(asked.dataset, asked.data_root)
        shards = split(dataset, asked.members, "iid", 0)
        network = build(ARCHITECTURE, dataset.channels, len(dataset.classes))
        model = initial_weights(ARCHITECTURE, dataset.channels, len(dataset.classes), 0)
        stream, config = np.random.default_rng(0), LocalTraining(3, 128, 0.1)
        for _ in range(asked.rounds):
            drawn = stream.choice(asked.members, round(asked.members * asked.fraction), replace=False)
            parts = [shards[member].train for member in drawn]
            started = time.perf_counter()
            updates = [(train(network, model, part, config, seed=0), len(part)) for part in parts]
            training += time.perf_counter() - started
            model = fedavg(updates)
            load_weights(network, model)
            evaluate(network, dataset.test)

    try:
        return Took(timed(rounds), training)
    finally:
        torch.set_num_threads(1)


def flower(asked: argparse.Namespace) -> tuple[float, float]:
    """Seconds of Flower's simulation, all of it and its rounds alone (Ray's start takes its time)."""
    with tempfile.TemporaryDirectory() as folder:
        answer = Path(folder) / "answer.json"
        wish = {
            "dataset": asked.dataset,
            "root": str(asked.data_root or ""),
            "members": asked.members,
            "fraction": asked.fraction,
            "rounds": asked.rounds,
            "epochs": 3,
            "batch_size": 128,
            "lr": 0.1,
            "answer": str(answer),
        }
        environment = {**os.environ, "PYTHONPATH": str(ROOT), "HMCHAIN_BENCH_FLOWER": json.dumps(wish)}
        command = [asked.flower_python, "-c", "from bench.flower_app import simulate; simulate()"]
        whole = timed(lambda: subprocess.run(command, env=environment, check=True, stdout=sys.stderr))
        return whole, json.loads(answer.read_text())["rounds"]


def timed(work: Callable[[], object]) -> float:
    """Seconds that it takes."""
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def measure(asked: argparse.Namespace) -> Iterator[tuple[str, Took]]:
    """What each took, by name, as it is measured. The first is what the others are compared with."""
    if asked.flower_python:
        whole, alone = flower(asked)
        yield "Flower's simulation", Took(whole)
        yield "of which its rounds", Took(alone)
    yield "plain loop, 1 thread", loop(asked, 1)
    yield "plain loop, 2 threads", loop(asked, 2)
    yield "ours: chain, blobs, 4 masters", ours(asked, EMBEDDED, 4)
    yield "ours: no chain, 4 masters", ours(asked, None, 4)
    yield "ours: no chain, 1 master", ours(asked, None, 1)


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(prog="python -m bench.flower", description=__doc__)
    parser.add_argument("--flower-python", help="A Python that has flwr[simulation].")
    parser.add_argument("--dataset", default="organamnist-sample")
    parser.add_argument("--data-root", type=Path)
    parser.add_argument("--members", type=int, default=100)
    parser.add_argument("--fraction", type=float, default=0.1)
    parser.add_argument("--rounds", type=int, default=5)
    asked = parser.parse_args()
    print(f"{asked.dataset}, {asked.members} members, {asked.rounds} rounds")
    reference = 0.0
    for name, took in measure(asked):
        reference = reference or took.whole
        training = f"  training {took.training:8.1f} s" if took.training is not None else ""
        print(f"  {name:32} {took.whole:8.1f} s  {took.whole / reference:6.2f}{training}", flush=True)


if __name__ == "__main__":
    main()
