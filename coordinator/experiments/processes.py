"""Runs each cell in a process of its own: its memory is freed afterwards, and a crash costs one cell only."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from multiprocessing import get_context
from multiprocessing.connection import Connection, wait
from multiprocessing.context import ForkServerContext
from multiprocessing.process import BaseProcess
from pathlib import Path

from coordinator.experiments.cells import Cell
from coordinator.experiments.store import Result, Store
from hmchain.errors import HMChainError, TrainingError
from trainers import child

# Imported once, in a process that does nothing but fork: they take longer than a run on a small data set.
PRELOADED = ["coordinator.experiments.measuring", "coordinator.experiments.baselines", "matplotlib.pyplot"]

Running = dict[Connection, tuple[Cell, BaseProcess]]


def results(cells: Sequence[Cell], store: Store, data_root: Path | None, jobs: int) -> Iterator[tuple[Cell, Result]]:
    """Runs cells, `jobs` at a time, and yields each when it is done. Whatever ends the caller ends them.

    Raises the HMChainError of a cell that could not be run, TrainingError where its process ended.
    """
    waiting, running, context = deque(cells), Running(), get_context("forkserver")
    context.set_forkserver_preload(PRELOADED)
    try:
        while waiting or running:
            while waiting and len(running) < jobs:
                _start(waiting.popleft(), store, data_root, running, context)
            failed: HMChainError | None = None
            for pipe in wait(list(running)):
                assert isinstance(pipe, Connection)
                cell, process = running.pop(pipe)
                try:
                    result = _received(cell, pipe, process)
                except HMChainError as fault:  # told once those that are done, too, were handed on: each took long
                    failed = fault
                    continue
                yield cell, result
            if failed is not None:
                raise failed
    finally:
        for _, process in running.values():
            process.kill()
            process.join()


def _start(cell: Cell, store: Store, data_root: Path | None, running: Running, context: ForkServerContext) -> None:
    ours, theirs = context.Pipe(duplex=False)
    process = context.Process(target=_work, args=(theirs, cell, data_root, store.workplace(cell)), daemon=True)
    child.start(process)
    theirs.close()
    running[ours] = cell, process


def _received(cell: Cell, pipe: Connection, process: BaseProcess) -> Result:
    try:
        answer = pipe.recv()
    except EOFError as fault:
        process.join()
        raise TrainingError(
            f"the process of {cell.dataset}, seed {cell.seed}, ended ({process.exitcode}): is there too little memory?"
        ) from fault
    process.join()
    if isinstance(answer, HMChainError):
        raise answer
    result: Result = answer
    return result


def _work(pipe: Connection, cell: Cell, data_root: Path | None, folder: Path) -> None:
    """The child's end."""
    child.belong_to_parent()
    from coordinator.experiments.measuring import measured  # here: the parent does without torch

    try:
        pipe.send(measured(cell, data_root, folder))
    except HMChainError as fault:
        pipe.send(fault)
