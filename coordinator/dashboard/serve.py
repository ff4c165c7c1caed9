"""The dashboard as a process: an indexer beside a web server."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable

import uvicorn
from sqlalchemy import Engine

from coordinator.dashboard.indexer import Indexer
from coordinator.dashboard.reading import Reading
from coordinator.dashboard.web import application
from hmchain.chain import ChainClient
from hmchain.errors import UsageError

LOOPBACK = "127.0.0.1"
CLOSING_SECONDS = 1  # for open streams, when it is stopped


def serve(client: ChainClient, engine: Engine, first_block: int, port: int, announce: Callable[[str], None]) -> None:
    """Indexes and serves until interrupted. Raises UsageError where the port is taken, ChainError, StorageError."""
    with _listener(port) as listener:
        indexer, stop = Indexer(client, engine, first_block), threading.Event()
        indexer.catch_up()
        thread = threading.Thread(target=indexer.follow, args=(stop,), daemon=True)
        thread.start()
        announce(f"http://{LOOPBACK}:{listener.getsockname()[1]}/")
        web = application(Reading(engine), lambda: indexer.fault)
        config = uvicorn.Config(web, log_level="warning", timeout_graceful_shutdown=CLOSING_SECONDS)
        try:
            uvicorn.Server(config).run(sockets=[listener])
        finally:
            stop.set()
            thread.join()


def _listener(port: int) -> socket.socket:
    try:
        return socket.create_server((LOOPBACK, port))
    except OSError as fault:
        raise UsageError(f"cannot listen on port {port}: {fault.strerror}; name another with --port") from fault
