"""Imports files into the vault, and reports what was imported, what was there already, and what was rejected."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hmchain.record import Record
from trainers.importers.base import Context, Rejection
from trainers.importers.detect import Skipped, import_files
from trainers.records.storing import Storing

EXPLAINED = 10_000  # rejections whose reason is kept; further ones are only counted


@dataclass
class FileReport:
    """What became of one file. nobodys: how many of the imported ones are about nobody."""

    path: Path
    imported: int = 0
    nobodys: int = 0
    duplicate: int = 0
    rejected: int = 0
    skipped: str = ""
    reasons: list[tuple[str, str]] = field(default_factory=list)  # position and reason of each rejection

    @property
    def shown_path(self) -> str:
        """The path, safe to print: others chose the name, so whatever could steer a terminal is escaped."""
        return str(self.path) if str(self.path).isprintable() else ascii(str(self.path))

    def to_json(self) -> dict[str, Any]:
        """For machines."""
        reasons = [{"position": position, "reason": reason} for position, reason in self.reasons]
        counts = {"imported": self.imported, "duplicate": self.duplicate, "rejected": self.rejected}
        return {"file": str(self.path), **counts, "skipped": self.skipped, "reasons": reasons}


@dataclass
class ImportReport:
    """What became of all files."""

    files: list[FileReport] = field(default_factory=list)

    def total(self, what: str) -> int:
        """The sum of "imported", "nobodys", "duplicate" or "rejected"."""
        return sum(getattr(file, what) for file in self.files)


def import_records(
    paths: Iterable[Path],
    source: str,
    context: Context,
    storing: Storing,
    told: Callable[[FileReport], None],
    counted: Callable[[FileReport], None] = lambda _: None,
) -> ImportReport:
    """Imports every record of every file; told is called as each file ends, counted as each of its records is read.

    Raises UsageError, StorageError, BlobError.

    What was imported before a fault stays: importing the same files again finds it there, and continues.
    """
    report, explained = ImportReport(), 0
    for path, item in import_files(paths, source, context):
        if not report.files or report.files[-1].path != path:
            if report.files:
                told(report.files[-1])
            report.files.append(FileReport(path))
        file = report.files[-1]
        if isinstance(item, Record):
            if storing.take(item):
                file.imported += 1
                file.nobodys += not item.subject
            else:
                file.duplicate += 1
        elif isinstance(item, Rejection):
            file.rejected += 1
            explained += 1
            if explained <= EXPLAINED:
                file.reasons.append((item.position, item.reason))
        else:
            assert isinstance(item, Skipped)
            file.skipped = item.reason
        counted(file)
    if report.files:
        told(report.files[-1])
    storing.finish()
    return report
