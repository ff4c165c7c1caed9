"""One account's view of the contract over web3.py: calls, transactions, events, and errors decoded in one place."""

from __future__ import annotations

import ast
import json
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from importlib.resources import files
from typing import Any, cast

import requests
from eth_abi.exceptions import DecodingError
from eth_account.signers.local import LocalAccount
from eth_tester.exceptions import TransactionFailed, ValidationError
from eth_typing import ChecksumAddress, HexStr
from eth_utils import decode_hex, encode_hex, event_abi_to_log_topic, function_abi_to_4byte_selector, is_0x_prefixed
from web3 import Web3
from web3.exceptions import ContractCustomError, ContractLogicError, TransactionNotFound, Web3Exception
from web3.types import LogReceipt, TxParams, TxReceipt

from hmchain.errors import ChainError, ContractError, HMChainError

GAS = 15_000_000  # below the cap on one transaction (EIP-7825); what is not used is not spent
TIMEOUT_SECONDS = 120.0  # for a transaction to be in a block
FIRST_POLL, LAST_POLL = (
    0.002,
    0.25,
)  # seconds between looks for a receipt: development chains mine at once, others do not
LOG_SPAN = 5_000  # blocks asked for at once; nodes refuse much larger spans

# What the libraries raise where a node is gone or refuses; the last three are what they make of an answer that is none.
TRANSPORT_FAULTS = (
    Web3Exception,
    requests.RequestException,
    ValidationError,
    OSError,
    ValueError,
    LookupError,
    TypeError,
    AttributeError,
)


@dataclass(frozen=True)
class Artifact:
    """A compiled contract: ABI, creation bytecode and runtime bytecode."""

    abi: list[dict[str, Any]]
    bytecode: bytes
    runtime: bytes

    @classmethod
    def load(cls, name: str = "HMChain") -> Artifact:
        """The artifact that this package carries."""
        content = json.loads(files("hmchain").joinpath(f"artifacts/{name}.json").read_text())
        return cls(content["abi"], decode_hex(content["bytecode"]), decode_hex(content["deployedBytecode"]))


@dataclass(frozen=True)
class Event:
    """A contract event: its name, its decoded arguments and where it stands in the chain."""

    name: str
    args: dict[str, Any]
    block: int
    index: int
    transaction: str


@dataclass(frozen=True)
class Receipt:
    """A transaction that succeeded."""

    gas: int
    block: int
    transaction: str
    events: tuple[Event, ...]


class Decoder:
    """Turns the contract's raw logs and raw errors into ours."""

    def __init__(self, web3: Web3, artifact: Artifact) -> None:
        self._contract = web3.eth.contract(abi=artifact.abi)
        self._codec = web3.codec
        abi = cast(list[Any], artifact.abi)
        self._errors = {function_abi_to_4byte_selector(e): e for e in abi if e["type"] == "error"}
        self._events = {
            event_abi_to_log_topic(e): self._contract.events[e["name"]]() for e in abi if e["type"] == "event"
        }

    def events(self, logs: Iterable[LogReceipt]) -> Iterator[Event]:
        """Decodes the contract's own events and passes over any other."""
        for log in logs:
            decoder = self._events.get(bytes(log["topics"][0])) if log["topics"] else None
            if decoder is not None:
                data = decoder.process_log(log)
                where = (log["blockNumber"], log["logIndex"], encode_hex(log["transactionHash"]))
                yield Event(data["event"], _plain(data["args"]), *where)

    def error(self, data: bytes) -> ContractError:
        """The contract's own error in revert data; `Reverted` where it is none of them."""
        abi = self._errors.get(data[:4])
        if abi is None:
            return ContractError("Reverted", (encode_hex(data[:36]),) if data else ())
        try:
            values = self._codec.decode([parameter["type"] for parameter in abi["inputs"]], data[4:])
        except DecodingError:
            return ContractError("Reverted", (encode_hex(data[:36]),))
        return ContractError(abi["name"], values)


class ChainClient:
    """The contract as one account uses it. Not for several threads at once: it counts its own nonces."""

    def __init__(
        self, web3: Web3, account: LocalAccount | None, address: str, artifact: Artifact | None = None
    ) -> None:
        artifact = artifact or Artifact.load()
        self.web3 = web3
        self.account = account
        self.address = Web3.to_checksum_address(address)
        self._contract = web3.eth.contract(address=self.address, abi=artifact.abi)
        self._decoder = Decoder(web3, artifact)
        self._nonce: int | None = None

    @classmethod
    def deploy(cls, web3: Web3, account: LocalAccount, artifact: Artifact | None = None) -> tuple[ChainClient, Receipt]:
        """Deploys the contract from `account`; the receipt says where. Raises ChainError."""
        artifact = artifact or Artifact.load()
        client = cls(web3, account, "0x" + "00" * 20, artifact)
        receipt = client._send({"data": artifact.bytecode})
        if receipt["status"] != 1 or receipt["contractAddress"] is None:
            raise ChainError("the chain refused the deployment of the contract")
        deployed = cls(web3, account, receipt["contractAddress"], artifact)
        deployed._nonce = client._nonce
        return deployed, client._receipt(receipt)

    def call(self, function: str, *arguments: Any) -> Any:
        """Reads from the contract as of the latest block. Raises ContractError, ChainError."""
        sender: TxParams = {"from": self.account.address} if self.account else {}
        with self._translated():
            return self._contract.functions[function](*arguments).call(sender)

    def transact(self, function: str, *arguments: Any) -> Receipt:
        """Sends a transaction and waits until it is in a block. Raises ContractError, ChainError."""
        data = self._contract.encode_abi(function, arguments)
        receipt = self._send({"to": self.address, "data": data})
        if receipt["status"] != 1:
            self.call(function, *arguments)  # the same call says why
            raise ContractError("Reverted")
        return self._receipt(receipt)

    @property
    def sender(self) -> ChecksumAddress:
        """The address that transactions come from. Raises ChainError for a client that only reads."""
        if self.account is None:
            raise ChainError("this client has no account to send transactions from")
        return self.account.address

    @cached_property
    def chain_id(self) -> int:
        """The chain's number (EIP-155). Raises ChainError."""
        with self._translated():
            return self.web3.eth.chain_id

    def head(self) -> int:
        """The number of the latest block. Raises ChainError."""
        with self._translated():
            return self.web3.eth.block_number

    def now(self) -> int:
        """The latest block's time in seconds, by which deadlines are measured. Raises ChainError."""
        with self._translated():
            return self.web3.eth.get_block("latest")["timestamp"]

    def block_hash(self, number: int) -> str:
        """The hash of a block. Raises ChainError."""
        with self._translated():
            return Web3.to_hex(self.web3.eth.get_block(number)["hash"])

    def events(self, first: int, last: int) -> Iterator[Event]:
        """The contract's events in blocks first..last, in order. Raises ChainError."""
        for start in range(first, last + 1, LOG_SPAN):
            with self._translated():
                logs = self.web3.eth.get_logs(
                    {"address": self.address, "fromBlock": start, "toBlock": min(start + LOG_SPAN - 1, last)}
                )
                decoded = list(self._decoder.events(logs))
            yield from decoded

    def gas_of(self, event: Event) -> int:
        """Gas that the event's transaction used. Raises ChainError."""
        with self._translated():
            return self.web3.eth.get_transaction_receipt(HexStr(event.transaction))["gasUsed"]

    def _send(self, fields: dict[str, Any]) -> TxReceipt:
        sender = self.sender
        assert self.account is not None
        with self._translated():
            transaction = fields | {
                "chainId": self.chain_id,
                "nonce": self._take_nonce(sender),
                "gas": GAS,
                "value": 0,
                **self._fees(),
            }
            raw = self.account.sign_transaction(transaction).raw_transaction
            sent = self.web3.eth.send_raw_transaction(raw)
            return wait_for_receipt(self.web3, sent)

    def _take_nonce(self, address: ChecksumAddress) -> int:
        nonce = self._nonce if self._nonce is not None else self.web3.eth.get_transaction_count(address, "pending")
        self._nonce = nonce + 1
        return nonce

    def _fees(self) -> dict[str, int]:
        """Twice the base fee covers six full blocks (EIP-1559)."""
        return {"maxFeePerGas": 2 * base_fee(self.web3), "maxPriorityFeePerGas": 0}

    def _receipt(self, raw: TxReceipt) -> Receipt:
        events = tuple(self._decoder.events(raw["logs"]))
        return Receipt(raw["gasUsed"], raw["blockNumber"], encode_hex(raw["transactionHash"]), events)

    @contextmanager
    def _translated(self) -> Iterator[None]:
        """The one place where a library's exception becomes ours; the next nonce is asked for again."""
        try:
            yield
        except HMChainError:
            raise
        except (ContractCustomError, ContractLogicError, TransactionFailed) as fault:
            raise self._decoder.error(_revert_data(fault)) from fault
        except TRANSPORT_FAULTS as fault:
            self._nonce = None
            raise _no_answer(fault) from fault


@dataclass(frozen=True)
class Deployment:
    """The transaction that created a contract."""

    bytecode: bytes
    address: str
    block: int


def find_deployment(web3: Web3, transaction: str) -> Deployment | None:
    """The contract that a transaction (its hash in hex) created; None where there is none. Raises ChainError."""
    with answering():
        try:
            creation = web3.eth.get_transaction(cast(Any, transaction))
            receipt = web3.eth.get_transaction_receipt(cast(Any, transaction))
        except TransactionNotFound:
            return None
        if receipt["status"] != 1 or not receipt["contractAddress"]:
            return None
        return Deployment(bytes(creation["input"]), receipt["contractAddress"], receipt["blockNumber"])


def wait_for_receipt(web3: Web3, transaction: bytes) -> TxReceipt:
    """The receipt, as soon as the transaction is in a block: looks often at first, then less and less.

    web3's own loop looks at a fixed rate: ten times a second would take most of a round on a chain that mines at once.
    """
    deadline, pause = time.monotonic() + TIMEOUT_SECONDS, FIRST_POLL
    while True:
        try:
            receipt = web3.eth.get_transaction_receipt(cast(Any, transaction))
            if receipt["blockHash"] is not None:
                return receipt
        except TransactionNotFound:
            pass
        if time.monotonic() > deadline:
            raise ChainError(f"transaction {encode_hex(transaction)} is in no block after {TIMEOUT_SECONDS:g} s")
        time.sleep(pause)
        pause = min(2 * pause, LAST_POLL)


def base_fee(web3: Web3) -> int:
    """What a unit of gas costs now, in wei; 0 where a consortium gives gas away."""
    return web3.eth.get_block("latest").get("baseFeePerGas", 0)


@contextmanager
def answering() -> Iterator[None]:
    """What a library says of a node that is gone, or answers nonsense, becomes ChainError."""
    try:
        yield
    except TRANSPORT_FAULTS as fault:
        raise _no_answer(fault) from fault


def _no_answer(fault: Exception) -> ChainError:
    return ChainError(f"the chain does not answer as it should: {_one_line(fault)}")


def _revert_data(fault: Exception) -> bytes:
    """web3 carries revert data as hex in `data`; eth-tester as its only argument, the repr of bytes."""
    for candidate in (getattr(fault, "data", None), *fault.args):
        if isinstance(candidate, bytes):
            return candidate
        if isinstance(candidate, str) and is_0x_prefixed(candidate):
            return decode_hex(candidate)
    text = str(fault).removeprefix("execution reverted: ")
    if isinstance(fault, TransactionFailed) and text[:2] in ("b'", 'b"'):
        return bytes(ast.literal_eval(text))
    return b""


def _one_line(fault: Exception) -> str:
    text = " ".join(str(fault).split())
    return f"{type(fault).__name__}: {text[:200]}" if text else type(fault).__name__


def _plain(value: Any) -> Any:
    """AttributeDict and HexBytes become dict, list and bytes."""
    if isinstance(value, Mapping):
        return {key: _plain(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(inner) for inner in value]
    return bytes(value) if isinstance(value, bytes) else value
