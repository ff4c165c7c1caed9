"""What the dashboard takes from a report that a coordinator filed, whatever is in it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, cast

import pytest

from coordinator.dashboard.filed import FiledReport, Measured
from coordinator.report import CURVES, METRICS, SUMMARY, report_digest
from hmchain.history import JobRecord, RoundRecord

ROW = {"round": 1, "test": {"auc": 0.9, "accuracy": 1.0}}


def shown(folder: Path, row: dict[str, Any]) -> list[Measured]:
    """What is shown of a report with this row, which was filed."""
    for name in (SUMMARY, CURVES):
        (folder / name).write_bytes(b"")
    (folder / METRICS).write_text(json.dumps(row) + "\n")
    job = JobRecord(1, 1, "", *[cast(Any, None)] * 5, rounds={1: RoundRecord(1, b"", (), ())})
    job.report = report_digest(folder, len(job.rounds))
    return FiledReport(folder).rows(job)


def test_what_was_filed_is_shown(tmp_path: Path) -> None:
    assert shown(tmp_path, ROW) == [Measured(1, 0.9, 1.0)]


@pytest.mark.parametrize(
    "lie",
    [
        {"round": 2},
        {"round": 10**400},
        {"round": float("inf")},
        {"round": []},
        {"test": {"auc": float("nan"), "accuracy": 0.5}},
        {"test": {"auc": 0.5, "accuracy": 10**400}},
        {"test": {"auc": "0.5", "accuracy": 0.5}},
        {"test": 1},
    ],
    ids=lambda lie: repr(lie)[:40],
)
def test_what_cannot_be_drawn_is_not_shown(lie: dict[str, Any], tmp_path: Path) -> None:
    assert shown(tmp_path, ROW | lie) == []
