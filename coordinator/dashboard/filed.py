"""The report of a finished run, shown only where it is the one whose digest the coordinator filed on chain."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from coordinator.report import METRICS, read_bytes, report_digest
from hmchain.errors import StorageError
from hmchain.history import JobRecord
from hmchain.jsontext import parse


@dataclass(frozen=True)
class Measured:
    """The last global model on the test set, as the report has it, both from 0 to 1."""

    round: int
    auc: float
    accuracy: float


class FiledReport:
    """The report in a run's folder; None stands for a chain that is followed without one."""

    def __init__(self, folder: Path | None) -> None:
        self._folder = folder
        self._of: bytes | None = None
        self._rows: list[Measured] = []

    def rows(self, job: JobRecord | None) -> list[Measured]:
        """AUC and accuracy by round; empty where the folder's report is not the one that was filed for this job."""
        filed = job.report if job else None
        if self._folder is None or filed is None:
            return []
        if filed != self._of:
            self._rows, self._of = self._read(filed), filed
        return self._rows

    def _read(self, filed: bytes) -> list[Measured]:
        assert self._folder is not None
        try:
            if report_digest(self._folder) != filed:
                return []
            rows = [parse(line) for line in read_bytes(self._folder / METRICS).decode().splitlines()]
            return [_measured(row) for row in rows if row["test"]]
        except (StorageError, ValueError, LookupError, TypeError):
            return []


def _measured(row: Any) -> Measured:
    return Measured(int(row["round"]), float(row["test"]["auc"]), float(row["test"]["accuracy"]))
