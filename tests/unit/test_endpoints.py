"""Several URLs as one chain: which one answers, which one is passed over, and what is an answer.

The nodes here are real HTTP servers on loopback that answer as they are told.
"""

from __future__ import annotations

import json
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, HTTPServer
from io import BufferedIOBase
from typing import Any

import pytest
import requests
from hypothesis import given
from hypothesis import strategies as st
from web3 import Web3
from web3.exceptions import ContractLogicError, Web3RPCError

from hmchain import endpoints as module
from hmchain import timely
from hmchain.chain import MOST_BLOCKS, ChainClient
from hmchain.endpoints import Endpoints, open_chain, shown
from hmchain.errors import ChainError, UsageError

CHAIN = 7
REVERT = {"code": 3, "message": "execution reverted", "data": "0x01020304"}
INTERNAL = {"code": -32603, "message": "Internal error"}


@dataclass(frozen=True)
class Stream:
    """An answer without end: 100,000 bytes at a time, or one where there is a pause, in seconds, after each."""

    pause: float

    def write(self, file: BufferedIOBase) -> None:
        with suppress(OSError):  # until nobody listens any more
            while True:
                file.write(b" " * (1 if self.pause else 100_000))
                time.sleep(self.pause)


class Node:
    """A node that says its chain's number, and to everything else its `answer`; it counts what it was asked."""

    def __init__(self, answer: Any = "0x5", chain: Any = CHAIN) -> None:
        self.answer, self.chain = answer, chain
        self.asked: list[str] = []
        node = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                call = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                node.asked.append(call["method"])
                if isinstance(node.answer, Stream):
                    self.send_response(200)
                    self.end_headers()
                    node.answer.write(self.wfile)
                    return
                status, body = node.say(call["method"])
                self.send_response(status)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                pass

        self._server = HTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01})
        self._thread.start()

    def say(self, method: str) -> tuple[int, bytes]:
        answer = hex(self.chain) if method == "eth_chainId" and isinstance(self.chain, int) else self.answer
        if isinstance(answer, int):
            return answer, b"out of order"
        if isinstance(answer, bytes):
            return 200, answer
        kind = "error" if isinstance(answer, dict) else "result"
        return 200, json.dumps({"jsonrpc": "2.0", "id": 1, kind: answer}).encode()

    def close(self) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    @property
    def works(self) -> list[str]:
        """What it was asked besides the number of its chain."""
        return [method for method in self.asked if method != "eth_chainId"]


Run = Callable[..., Node]


@pytest.fixture
def run() -> Iterator[Run]:
    """Starts a node that ends with the test."""
    with ExitStack() as stack:

        def start(*arguments: Any, **options: Any) -> Node:
            node = Node(*arguments, **options)
            stack.callback(node.close)
            return node

        yield start


@contextmanager
def nobody() -> Iterator[str]:
    """A URL at which nobody answers."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield f"http://127.0.0.1:{taken.getsockname()[1]}"


def block_number(*urls: str, chain: int | None = CHAIN) -> int:
    return Web3(Endpoints(urls, 5.0, chain)).eth.block_number


# ---------------------------------------------------------------- which one answers


def test_the_first_one_answers_and_the_second_is_not_asked(run: Run) -> None:
    first, second = run("0x1"), run("0x2")
    endpoints = Endpoints([first.url, second.url], 5.0, CHAIN)
    assert [Web3(endpoints).eth.block_number for _ in range(3)] == [1, 1, 1]
    assert first.asked == ["eth_chainId", *["eth_blockNumber"] * 3], "its chain is asked for once"
    assert second.asked == []
    assert endpoints.current == first.url


def test_where_the_first_is_down_the_next_one_answers_and_stays(run: Run) -> None:
    second = run("0x2")
    with nobody() as first:
        endpoints = Endpoints([first, second.url], 5.0, CHAIN)
        assert [Web3(endpoints).eth.block_number for _ in range(2)] == [2, 2]
        assert endpoints.current == second.url


@pytest.mark.parametrize(
    "answer",
    [500, 503, 404, INTERNAL, {"code": -32005, "message": "limit exceeded"}, b"<html>", b"{", b""],
    ids=repr,
)
def test_a_node_that_is_out_of_order_is_passed_over(answer: Any, run: Run) -> None:
    first, second = run(answer), run("0x2")
    assert block_number(first.url, second.url) == 2
    assert first.works == ["eth_blockNumber"]


def test_a_node_that_cannot_even_say_its_chain_is_passed_over(run: Run) -> None:
    for chain in (500, INTERNAL, "nonsense", None, b"{}"):
        first, second = run(chain, chain=None), run("0x2")
        assert block_number(first.url, second.url) == 2
        assert first.works == []


def test_a_node_that_fails_is_asked_for_its_chain_again(run: Run) -> None:
    node = run("0x1")
    web3 = Web3(Endpoints([node.url], 5.0, CHAIN))
    assert web3.eth.block_number == 1
    node.answer = 500
    with pytest.raises(ChainError):
        web3.eth.block_number  # noqa: B018
    node.answer, node.chain = "0x1", 8
    with pytest.raises(ChainError, match="is chain 8, not chain 7"):
        web3.eth.block_number  # noqa: B018


def test_after_a_while_the_preferred_one_is_tried_again(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = run(500), run("0x2")
    endpoints = Endpoints([first.url, second.url], 5.0, CHAIN)
    web3 = Web3(endpoints)
    assert web3.eth.block_number == 2
    first.answer = "0x1"
    assert web3.eth.block_number == 2, "not yet"
    monkeypatch.setattr(module, "RETURN_SECONDS", 0.0)
    assert web3.eth.block_number == 1
    assert endpoints.current == first.url
    first.answer = 500
    assert web3.eth.block_number == 2, "and it may fail again"


def test_a_node_that_is_behind_can_be_passed_over(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = run("0x1"), run("0x2")
    endpoints = Endpoints([first.url, second.url], 5.0, CHAIN)
    web3 = Web3(endpoints)
    assert web3.eth.block_number == 1
    endpoints.pass_over()
    assert [web3.eth.block_number for _ in range(2)] == [2, 2]
    endpoints.pass_over()
    assert web3.eth.block_number == 1, "after the last one comes the first"
    endpoints.pass_over()
    monkeypatch.setattr(module, "RETURN_SECONDS", 0.0)
    assert web3.eth.block_number == 1, "and the preferred one is tried again after a while"


def test_a_node_that_claims_more_blocks_than_there_can_be_is_passed_over(run: Run) -> None:
    endpoints = Endpoints([run([]).url, run([]).url], 5.0, CHAIN)
    client = ChainClient(Web3(endpoints), None, "0x" + "11" * 20)
    client.check_span(5, MOST_BLOCKS + 4)
    first = endpoints.current
    with pytest.raises(ChainError, match=f"claims to have block {MOST_BLOCKS + 5}: no chain is as long as that"):
        list(client.events(5, MOST_BLOCKS + 5))
    assert endpoints.current != first


def test_one_node_alone_cannot_be_passed_over(run: Run) -> None:
    node = run("0x1")
    endpoints = Endpoints([node.url], 5.0, CHAIN)
    endpoints.pass_over()
    assert Web3(endpoints).eth.block_number == 1


def test_blocks_of_a_chain_whose_validators_seal_them_can_be_read(run: Run) -> None:
    """QBFT's extraData has more than the 32 bytes that web3 expects."""
    block = {"number": "0x1", "timestamp": "0x2", "hash": "0x" + "11" * 32, "extraData": "0x" + "22" * 97}
    node = run(json.dumps({"jsonrpc": "2.0", "id": 1, "result": block}).encode())
    assert open_chain([node.url]).eth.get_block("latest")["number"] == 1


# ---------------------------------------------------------------- what is an answer


def call(endpoints: Endpoints) -> Any:
    return Web3(endpoints).eth.call({"to": "0x" + "11" * 20, "data": "0x"})


@pytest.mark.parametrize(
    "error", [REVERT, REVERT | {"data": None}, {"code": -32000, "message": "x", "data": "0x"}], ids=str
)
def test_a_revert_is_an_answer_and_nobody_else_is_asked(error: dict[str, Any], run: Run) -> None:
    first, second = run(error), run("0x2")
    endpoints = Endpoints([first.url, second.url], 5.0, CHAIN)
    with pytest.raises((ContractLogicError, Web3RPCError)):
        call(endpoints)
    assert second.asked == []
    assert endpoints.current == first.url


def test_what_a_node_says_of_a_transaction_is_an_answer(run: Run) -> None:
    """Another node would be told the same transaction, and might take it."""
    first, second = run({"code": -32000, "message": "nonce too low"}), run("0x" + "11" * 32)
    with pytest.raises(Web3RPCError, match="nonce too low"):
        Web3(Endpoints([first.url, second.url], 5.0, CHAIN)).eth.send_raw_transaction(b"\1")
    assert second.asked == []


def test_where_all_refuse_the_refusal_is_the_answer(run: Run) -> None:
    nodes = [run(INTERNAL), run({"code": -32005, "message": "limit exceeded"})]
    with pytest.raises(Web3RPCError, match="limit exceeded"):
        block_number(*(node.url for node in nodes))
    assert [node.works for node in nodes] == [["eth_blockNumber"]] * 2


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (429, "answers with HTTP 429"),
        (b"<html>log in</html>", "does not answer in JSON-RPC"),
        (b"null", "does not answer in JSON-RPC"),
    ],
)
def test_what_is_wrong_with_a_node_is_said(answer: Any, said: str, run: Run) -> None:
    nodes = [run(answer, chain=None), run(answer)]
    with pytest.raises(ChainError) as caught:
        block_number(*(node.url for node in nodes))
    assert str(caught.value) == "; ".join(f"{node.url} {said}" for node in nodes)


def test_what_is_wrong_with_a_nodes_certificate_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its dates, for instance: where this machine's clock was set, every certificate is too old or too young."""

    def expired(*_: object) -> None:
        reason = ssl.SSLCertVerificationError(1, "certificate verify failed")
        reason.verify_message = "certificate is not yet valid"
        try:
            raise reason
        except ssl.SSLError:
            raise requests.exceptions.SSLError("Max retries exceeded")  # noqa: B904 - as requests does

    monkeypatch.setattr(module.Node, "make_request", expired)
    with pytest.raises(ChainError) as caught:
        block_number("https://127.0.0.1:1/secret")
    assert str(caught.value) == "https://127.0.0.1:1 does not answer (certificate is not yet valid)"


# ---------------------------------------------------------------- which chain


def test_another_chain_is_passed_over_and_named_where_nobody_else_answers(run: Run) -> None:
    other, right = run("0x1", chain=8), run("0x2")
    assert block_number(other.url, right.url) == 2
    with nobody() as down:
        with pytest.raises(ChainError) as caught:
            block_number(other.url, down)
        assert str(caught.value) == f"{other.url} is chain 8, not chain 7; {down} does not answer (ConnectionError)"
    assert other.works == [], "nothing is asked of a chain that is not ours"


def test_without_a_number_the_first_ones_chain_is_the_right_one(run: Run) -> None:
    first, other = run("0x1", chain=8), run("0x2", chain=9)
    endpoints = Endpoints([first.url, other.url], 5.0)
    assert Web3(endpoints).eth.block_number == 1
    first.answer = 500
    with pytest.raises(ChainError, match="is chain 9, not chain 8"):
        Web3(endpoints).eth.block_number  # noqa: B018


def test_one_url_alone_without_a_number_is_believed(run: Run) -> None:
    node = run("0x1", chain=8)
    assert block_number(node.url, chain=None) == 1
    assert node.asked == ["eth_blockNumber"]


# ---------------------------------------------------------------- URLs


def test_no_url_and_other_schemes_are_refused() -> None:
    with pytest.raises(UsageError, match="no URL"):
        Endpoints([])
    for url in ("ws://127.0.0.1:8546", "127.0.0.1:8545", "", "file:///tmp/geth.ipc"):
        with pytest.raises(UsageError, match=r"is not the http\(s\) URL"):
            Endpoints(["http://127.0.0.1:8545", url])


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("http://127.0.0.1:8545", "http://127.0.0.1:8545"),
        ("https://user:pass@node.example/v3/0123456789abcdef?key=abc#x", "https://node.example"),
        ("https://node.example:8443/v3/0123456789abcdef", "https://node.example:8443"),
        ("http://[::1]:8545/key", "http://[::1]:8545"),
        ("http://token@[2001:db8::1]/", "http://[2001:db8::1]"),
    ],
)
def test_a_url_is_shown_without_what_may_be_secret(url: str, expected: str) -> None:
    assert shown(url) == expected


@pytest.mark.parametrize(
    "url", ["http://127.0.0.1:99999", "http://127.0.0.1:secret", "http://[::1/secret", "user:secret"]
)
def test_what_is_no_url_is_refused_and_not_shown(url: str, run: Run) -> None:
    assert shown(url) == "an address that is no URL"
    with pytest.raises(UsageError, match=r"^an address that is no URL is not the http"):
        block_number(url, run("0x2").url)


@pytest.mark.parametrize("url", ["http://", "https://:8545", "ws://user:hunter2@node.example/v3/0123456789abcdef"])
def test_a_url_that_is_refused_does_not_show_its_secrets(url: str) -> None:
    with pytest.raises(UsageError) as caught:
        block_number(url)
    assert "hunter2" not in str(caught.value)
    assert "0123456789abcdef" not in str(caught.value)


@pytest.mark.parametrize(("pause", "said"), [(0.05, "TimeoutError"), (0.0, "TooLong")], ids=["slow", "endless"])
def test_an_answer_that_does_not_end_holds_nobody_up(
    pause: float, said: str, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(timely, "MOST", 1 << 20)
    bad, good = run(Stream(pause)), run()
    started = time.monotonic()
    assert open_chain([bad.url, good.url], 0.5, CHAIN).eth.block_number == 5
    with pytest.raises(ChainError, match=rf"does not answer \({said}\)"):
        assert open_chain([bad.url], 0.5).eth.block_number
    assert time.monotonic() - started < 30


@pytest.mark.parametrize("answer", [b"[]", b'"x"', b"null", b"7", b'{"result":' + b"[" * 10**6])
def test_json_that_is_no_object_is_no_answer(answer: bytes, run: Run) -> None:
    assert block_number(run(answer).url, run("0x2").url) == 2
    with pytest.raises(ChainError, match="does not answer"):
        block_number(run(answer).url)


WORDS = st.text("secrtky0123456789", min_size=8, max_size=20).map(lambda word: f"SECRET{word}")


@given(user=WORDS, password=WORDS, path=WORDS, query=WORDS)
def test_no_part_but_scheme_host_and_port_is_shown(user: str, password: str, path: str, query: str) -> None:
    assert shown(f"https://{user}:{password}@node.example:1/{path}?k={query}#{path}") == "https://node.example:1"


def test_a_fault_does_not_give_the_secret_away(run: Run) -> None:
    node = run(500)
    with pytest.raises(ChainError) as caught:
        block_number(f"{node.url.replace('//', '//user:secret@')}/secret?key=secret")
    assert "secret" not in str(caught.value)
    assert node.url in str(caught.value)
