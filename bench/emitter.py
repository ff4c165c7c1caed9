"""A node with a contract that emits any events: long histories in seconds, and hostile ones."""

from __future__ import annotations

import subprocess
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from hashlib import sha256
from itertools import islice
from pathlib import Path
from typing import Any, cast

import solcx
from eth_abi.abi import encode
from eth_typing import ABIEvent
from eth_utils import event_abi_to_log_topic
from eth_utils.abi import collapse_if_tuple
from web3 import HTTPProvider, Web3

from coordinator.daemons import free_ports, wait_for_chain
from coordinator.dashboard.reader import CONTRACTS
from hmchain.contract import Artifact
from hmchain.rounds import COORDINATOR
from hmchain.scores import pack, word_of_score
from tools import daemons, solc

SOURCE = Path(__file__).with_name("Emitter.sol")
GAS = 28_000_000  # below a block's
PER_TRANSACTION = 60  # events

Told = tuple[str, Mapping[str, Any]]  # an event's name, and its arguments


@contextmanager
def node(*options: str, port: int = 0) -> Iterator[str]:
    """An anvil of its own, by default on a free port. Yields its URL."""
    port = port or free_ports(1)[0]
    url = f"http://127.0.0.1:{port}"
    process = subprocess.Popen([daemons.anvil(), "--silent", "--port", str(port), *options], stdin=subprocess.DEVNULL)
    try:
        wait_for_chain(url)
        yield url
    finally:
        process.terminate()
        process.wait(10)


class Emitter:
    """The contract on a node, and the events of our contracts by name."""

    def __init__(self, url: str) -> None:
        self.web3 = Web3(HTTPProvider(url))
        content = _compiled()
        made = self.web3.eth.contract(abi=content["abi"], bytecode=content["evm"]["bytecode"]["object"])
        self.account = self.web3.eth.accounts[0]
        receipt = self.web3.eth.wait_for_transaction_receipt(made.constructor().transact({"from": self.account}))
        assert receipt["contractAddress"]
        self.address = receipt["contractAddress"]
        self._contract = self.web3.eth.contract(address=self.address, abi=content["abi"])
        self._abi = {
            part["name"]: part for name in CONTRACTS for part in Artifact.load(name).abi if part["type"] == "event"
        }

    def emit(self, events: Iterable[Told]) -> int:
        """Emits them in order, many to a transaction. Returns how many."""
        count = 0
        rest = iter(events)
        while some := list(islice(rest, PER_TRANSACTION)):
            sent = self._contract.functions.emitAll([self._entry(*told) for told in some])
            receipt = self.web3.eth.wait_for_transaction_receipt(
                sent.transact({"from": self.account, "gas": GAS}), poll_latency=0.01
            )
            assert receipt["status"] == 1
            count += len(some)
        return count

    def _entry(self, name: str, args: Mapping[str, Any]) -> tuple[list[bytes], bytes]:
        abi = self._abi[name]
        indexed = [part for part in abi["inputs"] if part["indexed"]]
        plain = [part for part in abi["inputs"] if not part["indexed"]]
        topics = [
            event_abi_to_log_topic(cast(ABIEvent, abi)),
            *(encode([part["type"]], [args[part["name"]]]) for part in indexed),
        ]
        return topics, encode([collapse_if_tuple(part) for part in plain], [args[part["name"]] for part in plain])


@cache
def _compiled() -> dict[str, Any]:
    """By standard JSON: npm's stand-in for the compiler takes nothing else."""
    outputs = {"*": {"*": ["abi", "evm.bytecode.object"]}}
    settings = {"optimizer": {"enabled": True}, "evmVersion": "cancun", "outputSelection": outputs}
    sources = {SOURCE.name: {"content": SOURCE.read_text()}}
    task = {"language": "Solidity", "sources": sources, "settings": settings}
    content: dict[str, Any] = solcx.compile_standard(task, solc_binary=solc.use())["contracts"][SOURCE.name]["Emitter"]
    return content


def history(members: int, rounds: int, clients: int = 10, masters: int = 4) -> Iterator[Told]:
    """The events of a consortium whose rounds all succeed."""
    yield from founding(members)
    terms = (rounds, 1000, masters, 4, True, 2000, 60, 60, 60, 60)
    blobs = {"manifestBlob": _blob("manifest"), "modelBlob": _blob("model")}
    opened = {"job": 1, "coordinator": account(0), "member": 1, "manifest": _digest("m"), "model": _digest("model 0")}
    yield "JobCreated", {**opened, "terms": terms, **blobs}
    for member in range(1, members + 1):
        yield "MemberEnrolled", {"job": 1, "member": member, "reputation": 128}
    for number in range(1, rounds + 1):
        yield from _round(members, number, clients, masters)


def founding(members: int, name: bytes = b"Hospital %d") -> Iterator[Told]:
    """The members, all of the same kind of name."""
    for member in range(1, members + 1):
        label = (name % member if b"%d" in name else name)[:32].ljust(32, b"\0")
        facts = {"operator": account(member), "encryptionKey": _digest(f"key {member}"), "name": label}
        yield "MemberAdmitted", {"member": member, **facts}


def _round(members: int, number: int, clients: int, masters: int) -> Iterator[Told]:
    place = {"job": 1, "round": number}
    drawn = [(number * clients + i) % members + 1 for i in range(clients)]
    judges = [(number * clients + clients + i) % members + 1 for i in range(masters)]
    words = [word_of_score(7_000 + (number * 37 + 91 * i) % 2_000) for i in range(clients + 1)]
    roster = {"masters": _words(judges)[0], "clients": _words(drawn)}
    yield "RoundOpened", {**place, "base": _digest(f"model {number - 1}"), **roster, "deadline": 2_000_000_000}
    for client in drawn:
        blob = _blob(f"{number} {client}")
        yield "UpdateSubmitted", {**place, "member": client, "samples": 300, "blob": blob}
    for master in judges:
        yield "ScoresCommitted", {**place, "member": master, "commitment": _digest(f"{number} {master}")}
    for master in judges:
        yield "ScoresRevealed", {**place, "member": master, "scores": pack(words)}
    standard = {"accepted": (1 << clients) - 1, "standard": 5_000, "medians": pack(words)}
    yield "UpdatesJudged", {**place, **standard}
    model = _digest(f"model {number}")
    yield (
        "ModelProposed",
        {
            **place,
            "proposer": account(0),
            "proposed": 1 << COORDINATOR,
            "model": model,
            "blob": _blob(f"model {number}"),
        },
    )
    for master in judges[:-1]:
        yield "ModelAttested", {**place, "member": master, "model": model}
    yield "RoundFinalized", {**place, "model": model}


def _words(members: list[int]) -> list[int]:
    return [sum(m << 16 * i for i, m in enumerate(members[at : at + 16])) for at in range(0, len(members), 16)]


def account(number: int) -> str:
    """The account that a member, or with 0 the coordinator, acts from."""
    return Web3.to_checksum_address(_digest(f"account {number}")[:20])


def _digest(text: str) -> bytes:
    return sha256(text.encode()).digest()


def _blob(text: str) -> tuple[bytes, bytes, int]:
    return _digest(text), _digest(f"cid {text}"), 950_000
