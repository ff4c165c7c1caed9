"""The web application: read-only pages, JSON and CSV over the index, and a stream that says when something is new."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from starlette.applications import Starlette
from starlette.datastructures import MutableHeaders
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response, StreamingResponse
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from coordinator.dashboard.reading import Reading, View
from coordinator.dashboard.tables import SHEETS, Sheet, name_of, percent, roster, stage
from hmchain.history import RoundRecord

HERE = Path(__file__).parent
PAGE_ROWS = 50
LOOK_SECONDS = 1.0  # between two looks of the stream at the index
HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
}


class Guarded:
    """Puts the same headers on every answer."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serves one request."""

        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(HEADERS)
            await send(message)

        await self._app(scope, receive, with_headers)


class Pages:
    """The pages over one index. `fault` gives the indexer's fault, None while there is none."""

    def __init__(self, reading: Reading, fault: Callable[[], str | None]) -> None:
        self._reading = reading
        self._fault = fault
        self._templates = Environment(
            loader=FileSystemLoader(HERE / "templates"), autoescape=True, undefined=StrictUndefined, trim_blocks=True
        )

    def overview(self, _: Request) -> Response:
        """The latest job and its latest round."""
        view = self._reading.view()
        job = _last(view.history.jobs)
        latest = _last(job.rounds) if job else None
        done = [stage(record) for record in job.rounds.values()] if job else []
        state = stage(latest) if latest else None
        return self._page("overview.html", view, "Overview", job=job, latest=latest, state=state, done=done)

    def sheet(self, request: Request) -> Response:
        """One table, a page of rows at a time."""
        view, sheet = self._sheet(request)
        pages = max(1, -(-len(sheet.rows) // PAGE_ROWS))
        page = request.query_params.get("page", "1")
        number = min(int(page), pages) if page.isdecimal() and len(page) < 10 and int(page) else 1
        rows = sheet.rows[(number - 1) * PAGE_ROWS : number * PAGE_ROWS]
        shown = Sheet(sheet.title, sheet.columns, rows)
        name = request.path_params["name"]
        return self._page("table.html", view, sheet.title, sheet=shown, name=name, number=number, pages=pages)

    def round(self, request: Request) -> Response:
        """One round: its clients, the verdicts, and what every master scored."""
        view = self._reading.view()
        job = view.history.jobs.get(request.path_params["job"])
        record = job.rounds.get(request.path_params["round"]) if job else None
        if job is None or record is None:
            raise HTTPException(404, "the chain knows no such round")
        title = f"Round {record.number} of job {job.number}"
        matrix = _matrix(view, record)
        sheet = roster(view, record)
        return self._page("round.html", view, title, record=record, state=stage(record), sheet=sheet, matrix=matrix)

    def data(self, request: Request) -> Response:
        """One whole table, as JSON or CSV."""
        _, sheet = self._sheet(request)
        if request.path_params["form"] == "json":
            return JSONResponse(sheet.records())
        name = f"attachment; filename={request.path_params['name']}.csv"
        return Response(sheet.to_csv(), media_type="text/csv", headers={"Content-Disposition": name})

    async def stream(self, _: Request) -> Response:
        """Server-sent events: one when it is opened, and one whenever index or fault change."""

        async def ticks() -> AsyncIterator[str]:
            last = None
            while True:
                tick = (await asyncio.to_thread(self._reading.tick), self._fault())
                yield f"data: {tick[0]}\n\n" if tick != last else ": still here\n\n"
                last = tick
                await asyncio.sleep(LOOK_SECONDS)

        return StreamingResponse(ticks(), media_type="text/event-stream")

    def missing(self, _: Request, fault: Exception) -> Response:
        """The page for what is not there."""
        text = fault.detail if isinstance(fault, HTTPException) else "there is no such page"
        return self._page("missing.html", self._reading.view(), "Not found", status=404, text=text)

    def _sheet(self, request: Request) -> tuple[View, Sheet]:
        make = SHEETS.get(request.path_params["name"])
        if make is None:
            raise HTTPException(404, "there is no such table")
        view = self._reading.view()
        return view, make(view)

    def _page(self, template: str, view: View, title: str, status: int = 200, **values: Any) -> Response:
        head, fault = view.head, self._fault()
        time = datetime.fromtimestamp(head.time, UTC).isoformat() if head else None
        shared = {"title": title, "head": head, "time": time, "fault": fault, "cursor": view.cursor, "sheets": SHEETS}
        return HTMLResponse(self._templates.get_template(template).render(**shared, **values), status)


def _last(records: dict[int, Any]) -> Any:
    return records[max(records)] if records else None


def _matrix(view: View, record: RoundRecord) -> list[tuple[str, list[float | None]]]:
    """Masters × clients: scores in per cent; None for a reason in a score's place."""
    clients = len(record.clients)
    return [(name_of(view.history, m), [percent(w) for w in words[:clients]]) for m, words in record.scores.items()]


def application(reading: Reading, fault: Callable[[], str | None] = lambda: None) -> Starlette:
    """The application over an index."""
    pages = Pages(reading, fault)
    routes = [
        Route("/", pages.overview),
        Route("/rounds/{job:int}/{round:int}", pages.round),
        Route("/api/{name}.{form:str}", pages.data),
        Route("/live", pages.stream),
        Mount("/static", StaticFiles(directory=HERE / "static")),
        Route("/{name}", pages.sheet),
    ]
    return Starlette(routes=routes, middleware=[Middleware(Guarded)], exception_handlers={404: pages.missing})
