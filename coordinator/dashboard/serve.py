"""The dashboard as a process: an indexer beside a web server."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable
from pathlib import Path

import uvicorn
from sqlalchemy import Engine

from coordinator.dashboard.filed import FiledReport
from coordinator.dashboard.indexer import Indexer
from coordinator.dashboard.reading import Reading
from coordinator.dashboard.source import Source
from coordinator.dashboard.verification import Verification
from coordinator.dashboard.web import application
from hmchain.errors import UsageError

LOOPBACK = "127.0.0.1"
CLOSING_SECONDS = 10  # for streams to notice that it is being stopped


def serve(source: Source, engine: Engine, port: int, data_root: Path | None, announce: Callable[[str], None]) -> None:
    """Indexes and serves until interrupted. Raises UsageError where the port is taken, ChainError, StorageError."""
    verification = Verification(source.folder, data_root) if source.folder else None
    with _listener(port) as listener:
        indexer, stop = Indexer(source, engine), threading.Event()
        indexer.step()  # a chain or database that cannot be used ends it here, with one line
        thread = threading.Thread(target=indexer.follow, args=(stop,), daemon=True)
        thread.start()
        announce(f"http://{LOOPBACK}:{listener.getsockname()[1]}/")
        server: uvicorn.Server
        web = application(
            Reading(engine), indexer, FiledReport(source.folder), verification, lambda: server.should_exit
        )
        server = uvicorn.Server(uvicorn.Config(web, log_level="warning", timeout_graceful_shutdown=CLOSING_SECONDS))
        try:
            server.run(sockets=[listener])
        finally:
            stop.set()
            if verification:
                verification.close()
            thread.join()


def _listener(port: int) -> socket.socket:
    try:
        return socket.create_server((LOOPBACK, port))
    except OSError as fault:
        raise UsageError(f"cannot listen on port {port}: {fault.strerror}; name another with --port") from fault
