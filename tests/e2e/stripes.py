"""A small data set that can be learnt, and small federations on it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import replace
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np

from coordinator.cli import main
from coordinator.federation import Federation, Setup, chain_federation, plain_federation
from coordinator.folder import genesis_line
from coordinator.options import RunOptions
from hmchain.embedded import EmbeddedChain
from hmchain.stopwatch import Stopwatch
from trainers.datasets import load
from trainers.partition import split

NAME = "stripes"
MAIN = "from coordinator.cli import main; main()"


def write_stripes(path: Path, classes: int = 3, seed: int = 1) -> Path:
    """MedMNIST's layout: noise, and a bar whose height in the image is the class."""
    stream = np.random.default_rng(seed)
    arrays = {}
    for name, count in (("train", 120), ("val", 30), ("test", 30)):
        labels = np.arange(count) % classes
        images = stream.integers(0, 60, (count, 28, 28))
        for image, label in zip(images, labels, strict=True):
            image[4 + 7 * label : 11 + 7 * label, 4:24] += 150
        arrays |= {f"{name}_images": images.astype(np.uint8), f"{name}_labels": labels.astype(np.uint8)[:, None]}
    np.savez(path, **arrays)
    return path


def options_for(out: Path, data: Path, **changes: Any) -> RunOptions:
    """Five hospitals, two rounds, a second or two."""
    small = RunOptions(
        out=out,
        data_root=data,
        dataset=NAME,
        members=5,
        fraction=0.4,
        masters=4,
        rounds=2,
        epochs=1,
        batch_size=16,
    )
    return replace(small, **changes)


def setup_of(options: RunOptions) -> Setup:
    """What a federation is built from."""
    dataset = load(options.dataset, options.data_root)
    shards = split(dataset, options.members, options.partition, options.seed)
    return Setup.of(options, dataset, shards, Stopwatch())


def federation_of(options: RunOptions) -> tuple[Setup, Federation]:
    """The parties of a run, before anything has happened; on a chain they share options.out."""
    setup = setup_of(options)
    options.out.mkdir()
    return setup, chain_federation(setup, options.out) if options.chain else plain_federation(setup)


def arguments_for(data: Path, **changes: Any) -> list[str]:
    """The command line of options_for, without --out."""
    named = {
        "dataset": NAME,
        "data-root": data,
        "members": 5,
        "fraction": 0.4,
        "rounds": 2,
        "epochs": 1,
        "batch-size": 16,
    }
    return ["run", *flags({**named, **{name.replace("_", "-"): value for name, value in changes.items()}})]


def flags(named: dict[str, Any]) -> Iterator[str]:
    """Options of a command line; True is a flag."""
    for name, value in named.items():
        yield from [f"--{name}"] if value is True else [f"--{name}", str(value)]


def invoke(*arguments: object) -> tuple[int, str, str]:
    """Exit code, standard output and standard error of the command inside this process: seconds faster."""
    with redirect_stdout(StringIO()) as out, redirect_stderr(StringIO()) as err:
        try:
            main([str(argument) for argument in arguments])
        except SystemExit as end:
            return int(end.code or 0), out.getvalue(), err.getvalue()
    raise AssertionError("a click command ends the process")


def verdict_on(folder: Path, data: Path | None = None) -> dict[str, Any]:
    """What verify prints. It must be a verdict."""
    code, out, err = invoke("verify", folder, "--json", *(["--data-root", data] if data else []))
    assert err == ""
    verdict: dict[str, Any] = json.loads(out)
    assert code == (0 if verdict["valid"] else 1)
    return verdict


def write_lines(folder: Path, lines: list[str]) -> None:
    """Writes a run's ledger."""
    (folder / "ledger.jsonl").write_text("".join(line + "\n" for line in lines))


def write_ledger(folder: Path, chain: EmbeddedChain) -> Path:
    """Writes a chain as the ledger of a run, whose folder this returns."""
    write_lines(folder, [genesis_line(chain), *(record.to_json() for record in chain.blocks())])
    return folder


def start(*arguments: object) -> subprocess.Popen[str]:
    """The real command, in a process of its own."""
    command = [sys.executable, "-c", MAIN, *map(str, arguments)]
    inherited = {name: value for name, value in os.environ.items() if name != "MEDMNIST_ROOT"}
    environment = {**inherited, "PYTHONUNBUFFERED": "1", "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment)


def hmchain(*arguments: object) -> tuple[int, str, str]:
    """Exit code, standard output and standard error of the real command."""
    process = start(*arguments)
    out, err = process.communicate(timeout=300)
    return process.returncode, out, err
