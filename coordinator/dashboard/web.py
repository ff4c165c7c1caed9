"""The web application: which address is answered by what."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from sqlalchemy.exc import SQLAlchemyError
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

from coordinator.dashboard.api import Api
from coordinator.dashboard.filed import FiledReport
from coordinator.dashboard.guards import Guarded
from coordinator.dashboard.indexer import Indexer
from coordinator.dashboard.pages import Pages
from coordinator.dashboard.reading import Reading
from coordinator.dashboard.verification import Verification
from hmchain.errors import StorageError

STATIC = Path(__file__).parent / "static"


def application(
    reading: Reading,
    indexer: Indexer,
    report: FiledReport,
    verification: Verification | None,
    ended: Callable[[], bool],
) -> Starlette:
    """The application over an index that somebody else keeps up to date. ended: whether the server is being stopped."""

    def state() -> str:
        outcome = verification.outcome.state if verification else ""
        return f"{indexer.presents} {indexer.fault} {indexer.details} {outcome}".replace("\n", " ")

    pages = Pages(reading, indexer, report, verification, state)
    api = Api(reading, state, ended)
    routes = [
        Route("/", pages.overview),
        Route("/rounds", pages.rounds),
        Route("/rounds/{job}/{round}", pages.round),
        Route("/models", pages.models),
        Route("/members", pages.members),
        Route("/records", pages.records),
        Route("/chain", pages.chain),
        Route("/data", pages.data),
        Route("/tables/{name}", pages.table),
        Route("/verify", pages.verify, methods=["POST"]),
        Route("/api", pages.api),
        Route("/api/openapi.json", api.openapi),
        Route("/api/{name}.{form:str}", api.data),
        Route("/live", api.stream),
        Mount("/static", StaticFiles(directory=STATIC)),
    ]
    handlers = {404: pages.missing, SQLAlchemyError: pages.broken, StorageError: pages.broken}
    return Starlette(routes=routes, middleware=[Middleware(Guarded)], exception_handlers=handlers)
