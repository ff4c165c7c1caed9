"""/metrics (Prometheus) and /healthz of a node: off by default, and on loopback unless an address is given."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from socket import AF_INET, AF_INET6
from threading import Thread
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST

from hmchain.contract import Receipt
from hmchain.errors import UsageError
from hmchain.ethereum import Head
from hmchain.rounds import MAX_CLIENTS, Phase

# Seconds of the longest step that do not go into blobs: the worker scores up to MAX_CLIENTS updates, and a transaction
# has to get into a block. Nobody waits for a training (worker.SLICE_SECONDS).
SPARE_SECONDS = 300.0


def longest_step(blob_seconds: float) -> float:
    """The longest that a node may go without looking at the chain, in seconds.

    A master fetches the updates of all clients, one after the other, each for as long as the store may take for a blob,
    and scores them before it looks again.
    """
    return MAX_CLIENTS * blob_seconds + SPARE_SECONDS


class Health:
    """A node's metrics and health. Nothing else in a node reads the hospital's own clock.

    blob_seconds is the time that the blob store may take for each blob. A block's age grows until the next look: a step
    longer than max_block_age seconds is reported as an old block before it is reported as a long step. clock tells
    seconds since 1970 and may be wrong or set at any time; stopwatch tells seconds since any moment, and is never set.
    """

    def __init__(
        self,
        max_block_age: float,
        clock: Callable[[], float] = time.time,
        stopwatch: Callable[[], float] = time.monotonic,
        blob_seconds: float = 30.0,
    ) -> None:
        self._max_block_age = max_block_age
        self._longest_step = longest_step(blob_seconds)
        self._clock = clock
        self._stopwatch = stopwatch
        self._looked = stopwatch()
        self._latest: Head | None = None
        self._seen = self._looked  # when the latest block was seen first
        self._store_up = True
        self._chain_up = True
        self.registry = CollectorRegistry()
        self._head = self._gauge("hmchain_head_block", "Number of the latest block seen")
        self._gauge("hmchain_block_age_seconds", "Age of the latest block").set_function(self._block_age)
        self._gauge("hmchain_chain_up", "Whether the chain answered last time").set_function(lambda: self._chain_up)
        self._gauge("hmchain_blob_store_up", "Whether the blob store answered").set_function(lambda: self._store_up)
        self._acted = self._gauge("hmchain_last_action_timestamp_seconds", "When a transaction was last in a block")
        self._round = self._gauge("hmchain_round", "Current round of a job", "job")
        self._phase = self._gauge("hmchain_phase", "Phase of it (1 enrolment to 9 closed)", "job")
        self._actions = self._counter("hmchain_actions", "Transactions by contract function", "action")
        self._faults = self._counter("hmchain_faults", "Steps that failed, by kind", "kind")
        self._gas = self._counter("hmchain_gas_used", "Gas of all transactions")

    def looked(self, head: Head) -> None:
        """Notes that the chain was read."""
        self._looked, self._chain_up = self._stopwatch(), True
        if head != self._latest:
            self._latest, self._seen = head, self._looked
        self._head.set(head.number)

    def acted(self, call: str, receipt: Receipt) -> None:
        """Notes that a transaction is in a block."""
        self._actions.labels(call).inc()
        self._gas.inc(receipt.gas)
        self._acted.set(self._clock())

    def failed(self, kind: str, chain: bool) -> None:
        """Notes that a step failed; `chain` where the chain did not answer."""
        self.counted(kind)
        self._chain_up = not chain

    def counted(self, kind: str) -> None:
        """Counts a fault, such as one of another thread."""
        self._faults.labels(kind).inc()

    def stored(self, up: bool) -> None:
        """Notes whether the blob store works."""
        self._store_up = up

    def at(self, job: int, round: int, phase: Phase) -> None:
        """Notes a job's current round and phase."""
        self._round.labels(str(job)).set(round)
        self._phase.labels(str(job)).set(phase)

    def report(self) -> tuple[bool, dict[str, Any]]:
        """Whether all is well, and the facts behind it."""
        age, idle = self._block_age(), self._stopwatch() - self._looked
        facts = {
            "chain": self._chain_up,
            "block_age_seconds": None if self._latest is None else round(age, 1),
            "blob_store": self._store_up,
            "seconds_since_look": round(idle, 1),
        }
        well = self._chain_up and self._store_up and age <= self._max_block_age and idle <= self._longest_step
        return well, {"healthy": well, **facts}

    def _block_age(self) -> float:
        """In seconds, by the clock; at least how long it has been the latest one, which a slow clock cannot hide."""
        if self._latest is None:
            return float("inf")
        return max(self._clock() - self._latest.time, self._stopwatch() - self._seen)

    def _gauge(self, name: str, text: str, *labels: str) -> Gauge:
        return Gauge(name, text, labels, registry=self.registry)

    def _counter(self, name: str, text: str, *labels: str) -> Counter:
        return Counter(name, text, labels, registry=self.registry)


def serve(health: Health, address: tuple[str, int]) -> ThreadingHTTPServer:
    """Serves both pages on `address`, in a thread, until shut down. Raises UsageError where it cannot listen there."""

    class Page(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if self.path == "/metrics":
                self._answer(200, CONTENT_TYPE_LATEST, generate_latest(health.registry))
            elif self.path == "/healthz":
                well, facts = health.report()
                self._answer(200 if well else 503, "application/json", json.dumps(facts).encode() + b"\n")
            else:
                self._answer(404, "text/plain", b"there are /metrics and /healthz\n")

        def _answer(self, status: int, kind: str, body: bytes) -> None:
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Logs nothing: nobody needs a line for every scrape."""

    class Server(ThreadingHTTPServer):
        address_family = AF_INET6 if ":" in address[0] else AF_INET

    try:
        server = Server(address, Page)
    except OSError as fault:
        raise UsageError(f"cannot listen on {address[0]}:{address[1]}: {fault.strerror}") from fault
    Thread(target=server.serve_forever, daemon=True).start()
    return server
