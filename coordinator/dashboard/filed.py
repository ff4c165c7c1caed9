"""The report of a finished run, shown only where it is the one whose digest the coordinator filed on chain."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from coordinator.report import METRICS, digest_of, read_report
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
        if self._folder is None or job is None or job.report is None:
            return []
        if job.report != self._of:
            self._rows, self._of = self._read(self._folder, job), job.report
        return self._rows

    def _read(self, folder: Path, job: JobRecord) -> list[Measured]:
        try:
            files = read_report(folder, len(job.rounds))
            if digest_of(files) != job.report:
                return []
            rows = [parse(line) for line in files[METRICS].decode().splitlines()]
            return [_measured(row, job) for row in rows if row["test"]]
        except (StorageError, ValueError, LookupError, TypeError):
            return []


def _measured(row: Any, job: JobRecord) -> Measured:
    """Raises ValueError, LookupError or TypeError for what cannot be drawn: a coordinator can file anything."""
    auc, accuracy = row["test"]["auc"], row["test"]["accuracy"]
    if not (0 <= auc <= 1 and 0 <= accuracy <= 1):
        raise ValueError("no AUC or accuracy")
    return Measured(job.rounds[row["round"]].number, auc, accuracy)
