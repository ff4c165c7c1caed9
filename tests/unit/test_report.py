"""The report: gas, rows, a picture, and one digest over all of it."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from coordinator.report import (
    CURVES,
    MAX_CURVES,
    MAX_ROW,
    MAX_SUMMARY,
    METRICS,
    SUMMARY,
    GasTable,
    read_bytes,
    report_digest,
    round_row,
    write_report,
)
from hmchain.blobs import BlobRef
from hmchain.errors import Reason, StorageError
from hmchain.history import RoundRecord, Update
from hmchain.judgement import Judgement
from hmchain.rounds import Phase
from trainers.scoring import Metrics

BLOB = BlobRef.of(b"x")


def judged() -> RoundRecord:
    """Four clients: one accepted, one too weak, one bad, one silent."""
    record = RoundRecord(2, b"\1" * 32, (4, 5, 6, 7), (1, 2, 3))
    record.updates = {p: Update(record.clients[p], 10, BLOB) for p in range(3)}
    record.judgement = Judgement(2, frozenset({0}), 5000, (256 + 6000, 256 + 4000, int(Reason.NOT_FINITE), 0), 256)
    record.model = b"\2" * 32
    return record


def test_gas_is_counted_by_call_and_by_round() -> None:
    table = GasTable()
    for round, call, gas in (
        (1, "submitUpdate", 10),
        (1, "submitUpdate", 30),
        (2, "submitUpdate", 40),
        (2, "attestModel", 5),
    ):
        table.add(round, call, gas)
    assert table.summary() == {
        "submit_update": {"min": 10, "median": 30, "max": 40},
        "attest_model": {"min": 5, "median": 5, "max": 5},
        "round_total": {"min": 40, "median": 42, "max": 45},
    }
    assert GasTable().summary() == {}


def test_a_row_says_what_became_of_every_client() -> None:
    row = round_row(judged(), Metrics(0.9, 0.8, 0.7, 0.6), 123, {"training": 1.23456})
    assert (row["outcome"], row["accepted"], row["silent"]) == ("finalized", [4], [7])
    assert row["refused"] == {
        "5": "scored 40.00 %, below the standard of 50.00 %",
        "6": "a weight is NaN or infinite",
    }
    assert (row["standard"], row["gas"], row["seconds"]) == (0.5, 123, {"training": 1.2346})
    assert row["test"]["auc"] == 0.9
    assert json.loads(json.dumps(row)) == row


def test_a_row_of_a_round_that_failed_early() -> None:
    record = RoundRecord(1, b"\1" * 32, (4,), (1,), failed=Phase.REQUEST)
    row = round_row(record, None, 0, {})
    assert (row["outcome"], row["failed_in"], row["test"], row["model_digest"]) == ("failed", "REQUEST", None, None)
    assert (row["accepted"], row["refused"], row["silent"], row["standard"]) == ([], {}, [4], None)


@pytest.fixture
def report(tmp_path: Path) -> tuple[Path, bytes]:
    summary: dict[str, Any] = {"dataset": "stripes", "members": 5, "completed_rounds": 1}
    rows = [
        round_row(judged(), Metrics(0.9, 0.8, 0.7, 0.6), 123, {}),
        round_row(RoundRecord(3, b"", (4,), (1,)), None, 0, {}),
    ]
    return tmp_path, write_report(tmp_path, summary, rows)


def test_the_digest_is_of_all_files(report: tuple[Path, bytes]) -> None:
    folder, digest = report
    assert report_digest(folder, 2) == digest
    for name in (SUMMARY, METRICS, CURVES):
        content = (folder / name).read_bytes()
        (folder / name).write_bytes(content + b"\n")
        assert report_digest(folder, 2) != digest
        (folder / name).write_bytes(content)
    swapped = (folder / SUMMARY).read_bytes()
    (folder / SUMMARY).write_bytes((folder / METRICS).read_bytes())
    (folder / METRICS).write_bytes(swapped)
    assert report_digest(folder, 2) != digest


def test_a_report_that_lacks_a_file_has_no_digest(report: tuple[Path, bytes]) -> None:
    (report[0] / CURVES).unlink()
    with pytest.raises(StorageError, match=r"curves\.png is missing"):
        report_digest(report[0], 2)


@pytest.mark.parametrize(
    ("name", "limit"), [(SUMMARY, MAX_SUMMARY), (METRICS, 2 * MAX_ROW), (CURVES, MAX_CURVES)], ids=str
)
def test_a_report_is_no_larger_than_any_of_so_many_rounds(name: str, limit: int, report: tuple[Path, bytes]) -> None:
    os.truncate(report[0] / name, limit)
    assert report_digest(report[0], 2) != report[1]
    os.truncate(report[0] / name, limit + 1)
    with pytest.raises(StorageError, match=f"has more than {limit:,} bytes"):
        report_digest(report[0], 2)


def test_pipes_and_devices_are_no_files(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "endless").symlink_to("/dev/zero")
    for name in ("pipe", "endless", "absent", "."):
        with pytest.raises(StorageError, match="is missing or is no file"):
            read_bytes(tmp_path / name)
