"""Results on disk: one small JSON file a cell, written when the cell is done. A cell with a result is not run again."""

from __future__ import annotations

import fcntl
import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from coordinator.experiments.cells import Cell
from hmchain.errors import DataError, StorageError, UsageError
from hmchain.files import write_whole
from hmchain.jsontext import parse

FORMAT = "hmchain-experiment/1"
RUNS, UNFINISHED = "runs", ".unfinished"

Result = dict[str, Any]


class Store:
    """The folder of an experiment's results."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @contextmanager
    def taken(self) -> Iterator[None]:
        """Locks the folder for this process, and removes what killed runs left. Raises UsageError, StorageError."""
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            with (self.folder / ".lock").open("w") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(self.folder / UNFINISHED, ignore_errors=True)
                yield
                shutil.rmtree(self.folder / UNFINISHED, ignore_errors=True)
        except BlockingIOError as fault:
            raise UsageError(f"another experiment is writing to {self.folder}") from fault
        except OSError as fault:
            raise StorageError(f"cannot write {self.folder}: {fault.strerror}") from fault

    def path(self, cell: Cell) -> Path:
        """Where a cell's result is, or will be."""
        return self.folder / RUNS / cell.dataset / f"{cell.key}.json"

    def workplace(self, cell: Cell) -> Path:
        """A temporary folder for a run's blobs, ledger and weights, which are not kept."""
        return self.folder / UNFINISHED / f"{cell.dataset}-{cell.key}"

    def read(self, cell: Cell) -> Result | None:
        """The result, or None where the cell is not done. Raises DataError for a file that is not of this cell."""
        path = self.path(cell)
        try:
            result: Result = parse(path.read_bytes())
            ours = result["format"] == FORMAT and result["settings"] == cell.settings and result["kind"] == cell.kind
            if ours and _is_whole(result):
                return result
        except FileNotFoundError:
            return None
        except OSError as fault:
            raise StorageError(f"cannot read {path}: {fault.strerror}") from fault
        except (ValueError, TypeError, KeyError):
            pass
        raise DataError(f"{path} is not the result of its cell; delete it to run the cell again")

    def write(self, cell: Cell, result: Result) -> None:
        """Raises StorageError."""
        path = self.path(cell)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as fault:
            raise StorageError(f"cannot make the folder {path.parent}: {fault.strerror}") from fault
        head = {"format": FORMAT, "kind": cell.kind, "command": cell.command(), "settings": cell.settings}
        write_whole(path, json.dumps(head | result, sort_keys=True, separators=(",", ":")).encode() + b"\n")


def _is_whole(result: Result) -> bool:
    """Whether a result has what tables and figures show. Raises TypeError, KeyError where something is missing."""
    measured = [result["test"], *(result[name] for name in ("val", "best") if name in result)]
    metrics = [each[name] for each in measured if each is not None for name in ("auc", "accuracy")]
    numbers = all(type(each) in (int, float) for each in [*metrics, result["seconds"], result["peak_mib"]])
    by_round = result["rounds"] if result["kind"] == "federation" else {}
    return numbers and type(result["versions"]) is dict and type(by_round) is dict
