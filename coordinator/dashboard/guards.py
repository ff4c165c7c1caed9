"""Keeps other web sites out: security headers, and refusal of requests that another site could cause."""

from __future__ import annotations

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
    "connect-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",  # with no-referrer, browsers send no Origin with a form either
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}
LOOPBACK_NAMES = frozenset(("127.0.0.1", "localhost", "[::1]"))


class Guarded:
    """Middleware: security headers on every answer; loopback names only; POST requests from its own pages only."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serves one request."""

        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(HEADERS)
            await send(message)

        if scope["type"] != "http":
            await self._app(scope, receive, send)
        elif refusal := _refusal(scope):
            await PlainTextResponse(refusal, 403)(scope, receive, with_headers)
        else:
            await self._app(scope, receive, with_headers)


def _refusal(scope: Scope) -> str | None:
    """Why a request is refused: another site's name for this address (DNS rebinding), or another site's form."""
    headers = Headers(scope=scope)
    host = headers.get("host", "")
    if host.rpartition(":")[0] not in LOOPBACK_NAMES and host not in LOOPBACK_NAMES:
        return "this dashboard answers on this machine alone"
    if scope["method"] not in ("GET", "HEAD") and headers.get("origin") != f"http://{host}":
        return "only this dashboard's own pages may ask for that"
    return None
