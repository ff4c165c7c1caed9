"""The tables for programs: JSON and CSV, described as OpenAPI, and a stream that announces changes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from importlib.metadata import version
from typing import Any

from sqlalchemy.exc import SQLAlchemyError
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse

from coordinator.dashboard.reading import Reading, View
from coordinator.dashboard.tables import SHEETS, Kind, sheet_of

SCHEMAS: dict[Kind, dict[str, Any]] = {  # JSON Schema; null: not on chain
    Kind.TEXT: {"type": ["string", "null"]},
    Kind.INTEGER: {"type": ["integer", "null"]},
    Kind.NUMBER: {"type": ["number", "null"]},
    Kind.HASH: {"type": ["string", "null"], "description": Kind.HASH.value},
    Kind.TIME: {"type": ["string", "null"], "format": "date-time"},
}
LOOK_SECONDS = 0.5  # between two looks of the stream at the index


class Api:
    """The tables over one index. `state` gives a text that changes with whatever else pages show; `ended`: whether the
    server is being stopped.
    """

    def __init__(self, reading: Reading, state: Callable[[], str], ended: Callable[[], bool]) -> None:
        self._reading = reading
        self._state = state
        self._ended = ended

    def data(self, request: Request) -> Response:
        """One whole table, as JSON or CSV; with q, the rows that hold a text."""
        name, form = request.path_params["name"], request.path_params["form"]
        if name not in SHEETS or form not in ("json", "csv"):
            raise HTTPException(404, "There is no such table")
        with self._reading.view() as view:
            sheet = sheet_of(view, name)
        if query := request.query_params.get("q", "").strip():
            sheet = sheet.matching(query)
        if form == "json":
            return JSONResponse(sheet.records())
        attachment = {"Content-Disposition": f"attachment; filename={name}.csv"}
        return Response(sheet.to_csv(), media_type="text/csv", headers=attachment)

    def openapi(self, _: Request) -> Response:
        """The description of all of it."""
        return JSONResponse(description())

    async def stream(self, _: Request) -> Response:
        """Server-sent events: one when it is opened, and one whenever there is something new."""

        async def ticks() -> AsyncIterator[str]:
            last = None
            while not self._ended():
                tick = f"{await asyncio.to_thread(self._tick)} {self._state()}"
                yield f"data: {tick}\n\n" if tick != last else ": still here\n\n"
                last = tick
                await asyncio.sleep(LOOK_SECONDS)

        return StreamingResponse(ticks(), media_type="text/event-stream")

    def _tick(self) -> str:
        try:
            return self._reading.tick()
        except SQLAlchemyError:
            return "no database"  # pages say so; the stream must outlive it, to tell when it is back


def description() -> dict[str, Any]:
    """OpenAPI 3.1."""
    query = {"name": "q", "in": "query", "description": "Only rows that hold this text", "schema": {"type": "string"}}
    paths: dict[str, Any] = {}
    for name, make in SHEETS.items():
        sheet = make(View())
        row = {"type": "object", "properties": {c.name: SCHEMAS[c.kind] for c in sheet.columns}}
        forms = {
            "json": ("application/json", {"type": "array", "items": row}),
            "csv": ("text/csv", {"type": "string"}),
        }
        for form, (media, schema) in forms.items():
            answer = {"200": {"description": sheet.title, "content": {media: {"schema": schema}}}}
            about = {"summary": sheet.title, "description": make.__doc__, "parameters": [query], "responses": answer}
            paths[f"/api/{name}.{form}"] = {"get": about}
    about_stream = {"summary": "An event whenever there is something new", "responses": {"200": {"description": "SSE"}}}
    paths["/live"] = {"get": about_stream}
    info = {"title": "HMChain dashboard", "version": version("fl-hmchain"), "description": "Read-only, from the chain."}
    return {"openapi": "3.1.0", "info": info, "paths": paths}
