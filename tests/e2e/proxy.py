"""A real HTTP server between a node and what it talks to, which does to an exchange what a test wants done to it."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any, Protocol

import requests
from eth_account.typed_transactions import TypedTransaction
from hexbytes import HexBytes
from web3 import Web3

from hmchain.contract import Artifact

CONTRACT = Web3().eth.contract(abi=Artifact.load().abi)
HOP = {"transfer-encoding", "connection", "content-length", "content-encoding", "host", "keep-alive", "date", "server"}


@dataclass(frozen=True)
class Call:
    """What is asked: the path, the body, and for JSON-RPC method and parameters."""

    path: str
    body: bytes
    method: str = ""
    params: tuple[Any, ...] = ()

    @property
    def function(self) -> str:
        """The contract function that a transaction on its way calls; empty for anything else."""
        if self.method != "eth_sendRawTransaction":
            return ""
        fields = TypedTransaction.from_bytes(HexBytes(self.params[0])).as_dict()
        try:
            return str(CONTRACT.get_function_by_selector(bytes(HexBytes(fields["data"]))[:4]).fn_name)
        except ValueError:
            return ""


class Forward(Protocol):
    """Asks what was asked, or something else in its place."""

    def __call__(self, instead: bytes = b"") -> Answer: ...


Rule = Callable[[Call, Forward], "Answer | None"]


@dataclass(frozen=True)
class Answer:
    """What comes back."""

    status: int
    body: bytes
    headers: tuple[tuple[str, str], ...] = (("Content-Type", "application/json"),)

    @classmethod
    def error(cls, code: int, message: str) -> Answer:
        """A JSON-RPC error."""
        return cls(200, json.dumps({"jsonrpc": "2.0", "id": 0, "error": {"code": code, "message": message}}).encode())

    def edited(self, edit: Callable[[Any], Any]) -> Answer:
        """The same with another JSON-RPC result."""
        content = json.loads(self.body)
        if "result" in content:
            content["result"] = edit(content["result"])
        return Answer(self.status, json.dumps(content).encode(), self.headers)


def ask(method: str, *params: Any) -> bytes:
    """The body of a JSON-RPC request."""
    return json.dumps({"jsonrpc": "2.0", "id": 1, "method": method, "params": params}).encode()


def pass_on(_: Call, forward: Forward) -> Answer | None:
    """Changes nothing."""
    return forward()


class Proxy:
    """Listens on loopback and forwards to `target`. `rule` may be replaced at any time; None drops the connection."""

    def __init__(self, target: str, rule: Rule = pass_on) -> None:
        self.rule = rule
        proxy = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def setup(self) -> None:
                super().setup()
                self.onward = requests.Session()
                self.onward.trust_env = False  # there is no proxy behind a proxy

            def finish(self) -> None:
                self.onward.close()
                super().finish()

            def do_POST(self) -> None:
                body = self._body()
                call = _read(self.path, body)
                headers = {k: v for k, v in self.headers.items() if k.lower() not in HOP}

                def forward(instead: bytes = b"") -> Answer:
                    url = f"{target}{self.path}"
                    answer = self.onward.post(url, data=instead or body, headers=headers, timeout=300)
                    kept = tuple((k, v) for k, v in answer.headers.items() if k.lower() not in HOP)
                    return Answer(answer.status_code, answer.content, kept)

                try:
                    answer = proxy.rule(call, forward)
                except requests.RequestException:
                    answer = None
                if answer is None:
                    self.close_connection = True
                    return
                try:
                    self.send_response(answer.status)
                    for name, value in answer.headers:
                        self.send_header(name, value)
                    self.send_header("Content-Length", str(len(answer.body)))
                    self.end_headers()
                    self.wfile.write(answer.body)
                except OSError:
                    self.close_connection = True  # whoever asked is dead

            def _body(self) -> bytes:
                if "chunked" not in self.headers.get("Transfer-Encoding", ""):
                    return self.rfile.read(int(self.headers.get("Content-Length", 0)))
                chunks = []
                while size := int(self.rfile.readline().split(b";")[0], 16):
                    chunks.append(self.rfile.read(size))
                    self.rfile.readline()
                self.rfile.readline()
                return b"".join(chunks)

            def log_message(self, *_: object) -> None:
                """Silent."""

        class Server(ThreadingHTTPServer):
            daemon_threads = True

            def handle_error(self, *_: object) -> None:
                """A killed node leaves its connections torn."""

        self._server = Server(("127.0.0.1", 0), Handler)
        Thread(target=self._server.serve_forever, args=(0.1,), daemon=True).start()

    @property
    def port(self) -> int:
        """Where it listens."""
        return int(self._server.server_address[1])

    @property
    def url(self) -> str:
        """The same, as a URL."""
        return f"http://127.0.0.1:{self.port}"

    def close(self) -> None:
        """Stops listening."""
        self._server.shutdown()
        self._server.server_close()


def _read(path: str, body: bytes) -> Call:
    if path.startswith("/api/"):
        return Call(path, body)
    content = json.loads(body)
    return Call(path, body, content["method"], tuple(content.get("params", ())))
