"""The dashboard as a process: an indexer beside a web server."""

from __future__ import annotations

import signal
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
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
from hmchain.interrupts import leave

LOOPBACK = "127.0.0.1"
CLOSING_SECONDS = 45  # for pages and streams to notice that it is being stopped, or that their database is gone


def serve(source: Source, engine: Engine, port: int, data_root: Path | None, announce: Callable[[str], None]) -> None:
    """Indexes and serves until interrupted. Raises UsageError where the port is taken, ChainError, StorageError."""
    verification = Verification(source.folder, data_root) if source.folder else None
    with _listener(port) as listener:
        indexer, stop = Indexer(source, engine), threading.Event()
        indexer.step()  # a chain or database that cannot be used ends it here, with one line
        thread = threading.Thread(target=indexer.follow, args=(stop,), daemon=True)
        server: Server
        web = application(
            Reading(engine), indexer, FiledReport(source.folder), verification, lambda: server.should_exit
        )
        server = Server(uvicorn.Config(web, log_level="warning", timeout_graceful_shutdown=CLOSING_SECONDS))
        with _ended_by_signals(server):
            thread.start()
            try:
                announce(f"http://{LOOPBACK}:{listener.getsockname()[1]}/")
                server.run(sockets=[listener])
            finally:
                stop.set()
                if verification:
                    verification.close()
                thread.join()


class Server(uvicorn.Server):
    """One that leaves signals alone: its own handlers come after the URL is told, and a Ctrl-C before them is lost."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Captures none."""
        yield


@contextmanager
def _ended_by_signals(server: Server) -> Iterator[None]:
    """Has Ctrl-C and SIGTERM end the server in order, and the second of them the process, at once.

    Raises KeyboardInterrupt after a Ctrl-C.
    """
    told: list[int] = []

    def end(number: int, _: object) -> None:
        if told:
            leave()
        told.append(number)
        server.should_exit = True

    before = {number: signal.signal(number, end) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    if signal.SIGINT in told:
        raise KeyboardInterrupt


def _listener(port: int) -> socket.socket:
    try:
        return socket.create_server((LOOPBACK, port))
    except OSError as fault:
        raise UsageError(f"cannot listen on port {port}: {fault.strerror}; name another with --port") from fault
