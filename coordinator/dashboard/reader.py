"""The contracts of one consortium on one node, read together: their events in the order of the chain, and their costs.

Not for several threads at once: the indexer's thread alone asks the chain.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, cast

from eth_utils import encode_hex, function_abi_to_4byte_selector, to_int
from web3 import Web3
from web3.exceptions import TransactionNotFound
from web3.types import FilterParams, LogReceipt

from coordinator.dashboard.store import Cost, Origin
from hmchain.chain import ChainClient
from hmchain.contract import Artifact, Decoder, Event
from hmchain.endpoints import Endpoints
from hmchain.errors import ChainError
from hmchain.ethereum import Head, answering, whole_number
from hmchain.rounds import Phase, phase_of

CONTRACTS = ("HMChain", "Ballots", "Records")  # no two of them have an event of the same name


@dataclass(frozen=True)
class Batch:
    """The events of a range of blocks. times is in seconds since 1970, of the blocks where the node told it."""

    events: list[Event]
    times: dict[int, int]


@dataclass(frozen=True)
class Present:
    """What the contract says of a job's round as of a block: what a transaction sent now would meet.

    deadline is in seconds since 1970, 0 where the phase has none.
    """

    job: int
    round: int
    phase: Phase
    deadline: int


@dataclass(frozen=True)
class NodeFacts:
    """What the node says of itself. url is without what may be secret in it; None inside this process."""

    url: str | None
    software: str
    peers: int | None
    syncing: bool


class Reader:
    """Reads the consortium's contract, its Ballots, and its Records where there are some."""

    def __init__(self, web3: Web3, contract: str, records: str | None = None) -> None:
        """Raises ChainError where the chain has no such contract."""
        self._web3 = web3
        self._client = ChainClient(web3, None, contract)
        for address in filter(None, (contract, records)):
            with answering():
                code = web3.eth.get_code(Web3.to_checksum_address(address))
            if not code:
                raise ChainError(f"there is no contract at {address} on this chain")
        if records:
            told = ChainClient(web3, None, records, Artifact.load("Records")).call("consortium")
            if Web3.to_checksum_address(told) != self._client.address:
                raise ChainError(f"{records} keeps the records of another consortium, {told}")
        ballots = self._client.call("ballots")
        self._addresses = [Web3.to_checksum_address(a) for a in (contract, ballots, records) if a]
        self._records = self._addresses[2] if records else ""
        abi = [part for name in CONTRACTS for part in Artifact.load(name).abi]
        self._decoder = Decoder(web3, Artifact([part for part in abi if part["type"] == "event"], b"", b""))
        self._calls = {
            function_abi_to_4byte_selector(cast(Any, part)): part["name"] for part in abi if part["type"] == "function"
        }

    def origin(self) -> Origin:
        """Asked each time, because the URL may lead to another chain by now. Raises ChainError."""
        with answering():
            chain_id = str(self._web3.eth.chain_id)
        return Origin(chain_id, self.block(0).hash, self._client.address, self._records)

    def head(self, first: int) -> Head:
        """The latest block, of a chain that is read from block `first` on. Raises ChainError."""
        head = self._client.block()
        self._client.check_span(first, head.number)
        return head

    def block(self, number: int) -> Head:
        """A block. Raises ChainError."""
        return self._client.block(number)

    def read(self, first: int, last: int) -> Batch:
        """The events of blocks first..last. Raises ChainError."""
        span: Any = {"address": self._addresses, "fromBlock": first, "toBlock": last}
        with answering():
            logs = self._web3.eth.get_logs(cast(FilterParams, span))
            events = list(self._decoder.events(logs))
            times = dict(filter(None, map(_time_of, logs)))
        events.sort(key=lambda event: (event.block, event.index))
        return Batch(events, times)

    def cost(self, transaction: str, block: int) -> Cost:
        """What a transaction called and used. Raises ChainError."""
        with answering():
            try:
                sent: Mapping[str, Any] = self._web3.eth.get_transaction(cast(Any, transaction))
                receipt = self._web3.eth.get_transaction_receipt(cast(Any, transaction))
            except TransactionNotFound:  # nodes may forget old transactions, and keep their logs
                return Cost(transaction, block, "unknown", None)
            call = self._calls.get(bytes(sent["input"])[:4], "other") if sent.get("to") else "deployment"
            return Cost(transaction, block, call, whole_number(receipt["gasUsed"]))

    def presents(self, block: int, most: int) -> list[Present]:
        """Where the newest jobs stand, as of a block. Raises ChainError."""
        count = self._client.call("jobCount", block=block)
        return [self._present(job, block) for job in range(max(1, count - most + 1), count + 1)]

    def _present(self, job: int, block: int) -> Present:
        round_ = self._client.call("roundOf", job, block=block)
        phase = phase_of(round_[3])
        return Present(job, round_[0], phase, round_[4] if Phase.WAITING <= phase <= Phase.REPLY else 0)

    def node(self) -> NodeFacts:
        """Raises ChainError where it does not answer; what it will not tell is left out."""
        provider = self._web3.provider
        url = provider.current if isinstance(provider, Endpoints) else None
        with answering():
            software = self._web3.client_version if url else "executed again in this process"
        return NodeFacts(url, software, self._optional("peer_count", url), bool(self._optional("syncing", url)))

    def _optional(self, what: str, url: str | None) -> Any:
        """What a node may decline to say: many do, and development nodes know none of it."""
        try:
            with answering():
                return getattr(self._web3.net if what == "peer_count" else self._web3.eth, what) if url else None
        except ChainError:
            return None


def _time_of(log: LogReceipt) -> tuple[int, int] | None:
    """The time of a log's block; recent nodes put it into the log (execution-apis, blockTimestamp)."""
    time: Any = cast(Mapping[str, Any], log).get("blockTimestamp")
    if isinstance(time, bytes):
        time = encode_hex(time)
    if time is None:
        return None
    seconds = to_int(hexstr=time) if isinstance(time, str) else time
    return whole_number(log["blockNumber"]), whole_number(seconds)
