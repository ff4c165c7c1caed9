"""What a page says of a job, made of events and of where the contract says that the job stands."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import cast

import pytest
from starlette.requests import Request

from coordinator.dashboard.filed import FiledReport
from coordinator.dashboard.indexer import Indexer
from coordinator.dashboard.pages import Pages
from coordinator.dashboard.reader import Present
from coordinator.dashboard.reading import Reading, View
from coordinator.dashboard.store import Cursor, Origin
from hmchain.permits import NOBODY
from hmchain.rounds import Phase
from tests.unit.test_dashboard_tables import ROUND, view_of

PATIENCE = 1_700_000_000  # a deadline, in seconds since 1970


def overview(view: View, present: Present) -> str:
    """The first page as a browser gets it."""
    view.cursor = Cursor(Origin("1", "0x", NOBODY, ""), 1, 1)

    @contextmanager
    def held() -> Iterator[View]:
        yield view

    indexer = SimpleNamespace(presents={present.job: present}, fault="")
    reading = cast(Reading, SimpleNamespace(view=held))
    pages = Pages(reading, cast(Indexer, indexer), FiledReport(None), None, lambda: "")
    request = Request({"type": "http", "path": "/", "query_string": b"", "headers": []})
    return bytes(pages.overview(request).body).decode()


@pytest.mark.parametrize(
    ("deadline", "said"),
    [(0, "enough members to open round 2"), (PATIENCE, "more members to enrol for round 2")],
)
def test_a_job_that_waits_says_for_what(deadline: int, said: str) -> None:
    page = overview(view_of(ROUND), Present(1, 2, Phase.WAITING, deadline))
    assert '<dd id="phase">WAITING</dd>' in page
    assert said in page
    assert ("Its deadline" in page) == bool(deadline)
    assert ("2023-11-14T22:13:20Z" in page) == bool(deadline)


def test_a_job_at_work_waits_for_nothing() -> None:
    assert "Waiting for" not in overview(view_of(ROUND), Present(1, 1, Phase.REPLY, PATIENCE))
