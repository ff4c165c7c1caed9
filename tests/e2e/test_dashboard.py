"""The dashboard's index over a finished run, against the reading that verification makes of the same chain."""

from __future__ import annotations

from pathlib import Path

import pytest

from coordinator.dashboard.indexer import Indexer
from coordinator.dashboard.reading import Reading
from coordinator.dashboard.source import recorded
from coordinator.dashboard.store import EVENTS, open_database
from coordinator.dashboard.tables import rounds
from coordinator.evidence import gather
from coordinator.folder import LEDGER, RunFile
from hmchain.errors import VerificationError
from tests.e2e.conftest import FinishedRun


def test_a_runs_folder_is_indexed_as_verification_reads_it_and_again_to_the_same_rows(
    finished: FinishedRun, tmp_path: Path
) -> None:
    client, first = recorded(finished.folder)
    rows = []
    for rebuild in (False, True):
        engine = open_database(f"sqlite:///{tmp_path}/index.sqlite", rebuild)
        Indexer(client, engine, first).catch_up()
        with engine.connect() as connection:
            rows.append(connection.execute(EVENTS.select().order_by(EVENTS.c.block, EVENTS.c.log)).all())
        view = Reading(engine).view()
        engine.dispose()
    assert rows[0]
    assert rows[0] == rows[1]
    assert view.history == gather(finished.folder, RunFile.read(finished.folder)).history
    assert [row[1] for row in rounds(view).rows] == [3, 2, 1]


def test_a_ledger_cut_short_is_not_shown(finished: FinishedRun, tmp_path: Path) -> None:
    for name in ("run.json", LEDGER):
        (tmp_path / name).write_bytes((finished.folder / name).read_bytes()[: -9 if name == LEDGER else None])
    with pytest.raises(VerificationError, match="cut short"):
        recorded(tmp_path)
