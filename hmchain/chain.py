"""One account's view of the contract over web3.py: calls, transactions, events."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Protocol, cast

import requests
from eth_account.signers.local import LocalAccount
from eth_typing import ChecksumAddress, HexStr
from eth_utils import encode_hex, keccak
from web3 import Web3
from web3.exceptions import ContractCustomError, ContractLogicError, TransactionNotFound, Web3Exception, Web3RPCError
from web3.types import BlockIdentifier, TxParams, TxReceipt

from hmchain.contract import Artifact, Decoder, Event, Function, Receipt, revert_data
from hmchain.endpoints import Endpoints
from hmchain.errors import ChainBehind, ChainError, ContractError, HMChainError, NonceClash

GAS = 15_000_000  # below the cap on one transaction (EIP-7825); what is not used is not spent
TIMEOUT_SECONDS = 120.0  # for a transaction to be in a block
RESEND_SECONDS = 15.0  # after which a transaction in an outbox is sent again: a node that restarts forgets what waits
FIRST_POLL, LAST_POLL = (
    0.002,
    0.25,
)  # seconds between looks for a receipt: development chains mine at once, others do not
TRIES = 10  # where the node of the same account sends as well
LOG_SPAN = 5_000  # blocks asked for at once; nodes refuse much larger spans

# What the libraries raise where a node is gone or refuses; the last three are what they make of an answer that is none.
TRANSPORT_FAULTS = (
    Web3Exception,
    requests.RequestException,
    OSError,
    ValueError,
    LookupError,
    TypeError,
    AttributeError,
)


# What geth, Besu, anvil and eth-tester say of a transaction that they have, and of one whose nonce another one has.
ALREADY_SENT = re.compile(r"\b(already known|already imported|known transaction)")
HOPELESS = ("less than block base fee", "insufficient funds", "exceeds block gas limit", "intrinsic gas")
NONCE_TAKEN = ("nonce too low", "nonce_too_low", "replacement transaction underpriced", "underpriced replacement")


@dataclass(frozen=True)
class Head:
    """A block: its number, its hash in hex, and its time in seconds, by which deadlines are measured."""

    number: int
    hash: str
    time: int


class Outbox(Protocol):
    """Where a signed transaction is written down before it is sent, until it is in a block."""

    def noted(self) -> tuple[int, bytes] | None:
        """Nonce and raw bytes of the transaction written down, if there is one."""

    def note(self, nonce: int, raw: bytes) -> None:
        """Writes a transaction down, for good. Raises StorageError."""

    def clear(self) -> None:
        """Forgets it. Raises StorageError."""


class ChainClient:
    """The contract as one account uses it. Not for several threads at once: it counts its own nonces.

    With an outbox, no transaction is lost or made twice, whenever the process dies: see `settle`.
    """

    def __init__(
        self,
        web3: Web3,
        account: LocalAccount | None,
        address: str,
        artifact: Artifact | None = None,
        outbox: Outbox | None = None,
        on_receipt: Callable[[str, Receipt], None] | None = None,
    ) -> None:
        artifact = artifact or Artifact.load()
        self.web3 = web3
        self.account = account
        self._outbox = outbox
        self.on_receipt = on_receipt
        self._gap_since: float | None = None
        self.address = Web3.to_checksum_address(address)
        abi = cast(list[Any], artifact.abi)
        self._functions = {entry["name"]: Function(web3.codec, entry) for entry in abi if entry["type"] == "function"}
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

    def call(self, function: str, *arguments: Any, block: BlockIdentifier = "latest") -> Any:
        """Reads from the contract as of a block. Raises ContractError, ChainError."""
        sender: TxParams = {"from": self.account.address} if self.account else {}
        question: TxParams = {"to": self.address, "data": self.encode(function, *arguments), **sender}
        with self._translated():
            return self._functions[function].decode(self.web3.eth.call(question, block))

    def encode(self, function: str, *arguments: Any) -> bytes:
        """A call as transactions carry it. Raises ChainError for arguments that do not fit."""
        return self._functions[function].encode(arguments)

    def transact(self, function: str, *arguments: Any) -> Receipt:
        """Sends a transaction and waits until it is in a block. Raises ContractError, ChainError."""
        receipt = self._send({"to": self.address, "data": self.encode(function, *arguments)})
        if receipt["status"] != 1:
            self.call(function, *arguments)  # the same call says why
            raise ContractError("Reverted")
        done = self._receipt(receipt)
        if self.on_receipt is not None:
            self.on_receipt(function, done)
        return done

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

    def block(self, which: BlockIdentifier = "latest") -> Head:
        """A block, by default the latest. Raises ChainError."""
        with self._translated():
            block = self.web3.eth.get_block(which)
            return Head(block["number"], Web3.to_hex(block["hash"]), block["timestamp"])

    def events(self, first: int, last: int) -> Iterator[Event]:
        """The contract's events in blocks first..last, in order. Raises ChainError."""
        for start in range(first, last + 1, LOG_SPAN):
            with self._translated():
                logs = self.web3.eth.get_logs(
                    {"address": self.address, "fromBlock": start, "toBlock": min(start + LOG_SPAN - 1, last)}
                )
                decoded = list(self._decoder.events(logs))
            yield from decoded

    def is_sending(self) -> bool:
        """Whether a transaction of this account waits to be put into a block. Raises ChainError."""
        with self._translated():
            count = self.web3.eth.get_transaction_count
            return count(self.sender, "pending") > count(self.sender, "latest")

    def try_another_node(self) -> None:
        """Where there are several, asks the next one from here on."""
        if isinstance(self.web3.provider, Endpoints):
            self.web3.provider.pass_over()

    def gas_of(self, event: Event) -> int:
        """Gas that the event's transaction used. Raises ChainError."""
        with self._translated():
            return self.web3.eth.get_transaction_receipt(HexStr(event.transaction))["gasUsed"]

    def settle(self) -> int | None:
        """Sees to it that the transaction in the outbox, if any, is in a block: the first thing after a restart.

        It is sent again as the same bytes, so it is executed once at most. Returns a block by which it is settled, None
        where the outbox was empty. Raises ChainError where the chain does not take it in time; then it stays, unless
        the chain can never take it.
        """
        noted = self._outbox.noted() if self._outbox else None
        if noted is None:
            return None
        assert self._outbox is not None
        nonce, raw = noted
        with self._translated():
            block = self.web3.eth.block_number
            executed = self.web3.eth.get_transaction_count(self.sender, "latest")
            if executed >= nonce:
                self._gap_since = None
            if executed == nonce:
                block = self._deliver(raw)["blockNumber"]
        if executed < nonce:
            self._wait_for_gap(executed, nonce)
        self._gap_since = None
        self._outbox.clear()
        return block

    def _wait_for_gap(self, executed: int, nonce: int) -> None:
        """Earlier transactions of ours are not there: the node is behind, or, if that lasts, the chain was set back."""
        self._gap_since = self._gap_since or time.monotonic()
        if time.monotonic() - self._gap_since < RESEND_SECONDS:
            raise ChainBehind(f"the chain's node knows {executed} transactions of ours, {nonce} were executed")

    def _send(self, fields: dict[str, Any]) -> TxReceipt:
        sender = self.sender
        assert self.account is not None
        with self._translated():
            nonce = self._take_nonce(sender)
            transaction = fields | {
                "chainId": self.chain_id,
                "nonce": nonce,
                "value": 0,
                **self._limits(),
            }
            raw = bytes(self.account.sign_transaction(transaction).raw_transaction)
            if self._outbox is not None:
                self._outbox.note(nonce, raw)
            receipt = self._deliver(raw)
        if self._outbox is not None:
            self._outbox.clear()
        return receipt

    def _deliver(self, raw: bytes) -> TxReceipt:
        """Sends and waits. What a chain can never take leaves the outbox; any other refusal may be one node's own."""
        try:
            self.web3.eth.send_raw_transaction(raw)
        except Web3RPCError as refusal:
            text = str(refusal).lower()
            if any(known in text for known in NONCE_TAKEN):
                with suppress(TransactionNotFound):  # taken by this very transaction: another node had passed it on
                    return self.web3.eth.get_transaction_receipt(cast(Any, keccak(raw)))
            if self._outbox is not None and any(known in text for known in HOPELESS):
                self._outbox.clear()
            if not ALREADY_SENT.search(text):
                raise
        return wait_for_receipt(self.web3, keccak(raw), TIMEOUT_SECONDS if self._outbox is None else RESEND_SECONDS)

    def _take_nonce(self, address: ChecksumAddress) -> int:
        if self._outbox is not None:  # the hospital's other commands send from this account, too
            return self.web3.eth.get_transaction_count(address, "pending")
        nonce = self._nonce if self._nonce is not None else self.web3.eth.get_transaction_count(address, "pending")
        self._nonce = nonce + 1
        return nonce

    def _limits(self) -> dict[str, int]:
        """What a transaction may use: gas, at most what the next block is sure to hold (a limit falls by a 1024th a
        block), and wei for it. Twice the base fee covers six full blocks (EIP-1559); where gas has a price, nodes want
        a tip, geth 1 wei at least.
        """
        latest = self.web3.eth.get_block("latest")
        room = latest["gasLimit"] - latest["gasLimit"] // 1024
        fee = latest.get("baseFeePerGas", 0)
        tip = self.web3.eth.max_priority_fee if fee else 0
        return {"gas": min(GAS, room), "maxFeePerGas": 2 * fee + tip, "maxPriorityFeePerGas": tip}

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
        except (ContractCustomError, ContractLogicError) as fault:
            raise self._decoder.error(revert_data(fault)) from fault
        except TRANSPORT_FAULTS as fault:
            self._nonce = None
            if isinstance(fault, Web3RPCError) and any(text in str(fault).lower() for text in NONCE_TAKEN):
                raise NonceClash("another transaction of this account came first") from fault
            raise _no_answer(fault) from fault


def insist(send: Callable[[], Receipt]) -> Receipt:
    """Sends again where the hospital's own node was faster with the same nonce. Raises ChainError."""
    for _ in range(TRIES - 1):
        try:
            return send()
        except NonceClash:
            time.sleep(0.5)
    return send()


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


def wait_for_receipt(web3: Web3, transaction: bytes, seconds: float | None = None) -> TxReceipt:
    """The receipt, as soon as the transaction is in a block: looks often at first, then less and less.

    web3's own loop looks at a fixed rate: ten times a second would take most of a round on a chain that mines at once.
    """
    seconds = TIMEOUT_SECONDS if seconds is None else seconds
    deadline, pause = time.monotonic() + seconds, FIRST_POLL
    while True:
        try:
            receipt = web3.eth.get_transaction_receipt(cast(Any, transaction))
            if receipt["blockHash"] is not None:
                return receipt
        except TransactionNotFound:
            pass
        if time.monotonic() > deadline:
            raise ChainError(f"transaction {encode_hex(transaction)} is in no block after {seconds:g} s")
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
    if isinstance(fault, Web3RPCError) and "insufficient funds" in str(fault).lower():
        return ChainError("this chain asks for fees, and the account that sends has not enough for them: fund it")
    return ChainError(f"the chain does not answer as it should: {_one_line(fault)}")


def _one_line(fault: Exception) -> str:
    text = " ".join(str(fault).split())
    return f"{type(fault).__name__}: {text[:200]}" if text else type(fault).__name__
