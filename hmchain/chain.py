"""One account's client of a contract over web3.py: calls, transactions, events."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Protocol, cast

from eth_account.signers.local import LocalAccount
from eth_typing import ChecksumAddress, HexStr
from eth_utils import encode_hex, keccak
from web3 import Web3
from web3.exceptions import ContractCustomError, ContractLogicError, TransactionNotFound, Web3RPCError
from web3.types import BlockIdentifier, TxParams, TxReceipt

from hmchain.contract import Artifact, Decoder, Event, Function, Receipt, revert_data
from hmchain.endpoints import TRANSPORT_FAULTS, Endpoints
from hmchain.errors import ChainBehind, ChainError, ContractError, HMChainError, NonceClash

GAS = 15_000_000  # below the cap on one transaction (EIP-7825); what is not used is not spent
TIMEOUT_SECONDS = 120.0  # for a transaction to be in a block
RESEND_SECONDS = 15.0  # after which a transaction in an outbox is sent again: a restarted node forgets its mempool
FIRST_POLL = 0.002  # seconds until the second look for a receipt: development chains mine at once
LAST_POLL = 0.25  # seconds between looks later on
TRIES = 10  # of a command whose hospital's node sends from the same account
LOG_SPAN = 5_000  # blocks asked for at once; nodes refuse much larger spans

# How geth, Besu, anvil and eth-tester answer a transaction that they already have, one that they can never take, and
# one whose nonce another transaction has.
ALREADY_SENT = re.compile(r"\b(already known|already imported|known transaction)")
HOPELESS = ("less than block base fee", "insufficient funds", "exceeds block gas limit", "intrinsic gas")
NONCE_TAKEN = ("nonce too low", "nonce_too_low", "replacement transaction underpriced", "underpriced replacement")


@dataclass(frozen=True)
class Head:
    """A block: its number, its hash in hex, and its time in seconds since 1970, which deadlines are compared with."""

    number: int
    hash: str
    time: int


class Outbox(Protocol):
    """Keeps a signed transaction on disk from before it is sent until it is in a block. It holds one at most."""

    def noted(self) -> tuple[int, bytes] | None:
        """Nonce and raw bytes of the transaction that is kept, None where there is none."""

    def note(self, nonce: int, raw: bytes) -> None:
        """Keeps a transaction, durably once this returns. Raises StorageError."""

    def clear(self) -> None:
        """Forgets the transaction. Raises StorageError."""


class ChainClient:
    """A contract as one account uses it. Not thread-safe: it counts its own nonces.

    account None makes a client that only reads; artifact is HMChain's unless another is named. With an outbox no
    transaction is lost or executed twice, whenever the process dies: see `settle`. on_receipt is called with the
    function's name and the receipt of each transaction that succeeded.
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
        """Deploys a contract from `account`. Returns its client and the receipt. Raises ChainError."""
        artifact = artifact or Artifact.load()
        client = cls(web3, account, "0x" + "00" * 20, artifact)
        receipt = client._send({"data": artifact.bytecode})
        if receipt["status"] != 1 or receipt["contractAddress"] is None:
            raise ChainError("the chain refused the deployment of the contract")
        deployed = cls(web3, account, receipt["contractAddress"], artifact)
        deployed._nonce = client._nonce
        return deployed, client._receipt(receipt)

    def call(self, function: str, *arguments: Any, block: BlockIdentifier = "latest") -> Any:
        """Calls a view function as of a block: its value, or a tuple of several. Raises ContractError, ChainError."""
        sender: TxParams = {"from": self.account.address} if self.account else {}
        question: TxParams = {"to": self.address, "data": self.encode(function, *arguments), **sender}
        with self._translated():
            return self._functions[function].decode(self.web3.eth.call(question, block))

    def encode(self, function: str, *arguments: Any) -> bytes:
        """The call data of a function. Raises ChainError for arguments that do not fit its ABI."""
        return self._functions[function].encode(arguments)

    def transact(self, function: str, *arguments: Any) -> Receipt:
        """Sends a transaction and waits until it is in a block. Raises ContractError, ChainError."""
        receipt = self._send({"to": self.address, "data": self.encode(function, *arguments)})
        if receipt["status"] != 1:
            self.call(function, *arguments)  # a receipt has no reason: the same call raises the contract's error
            raise ContractError("Reverted")
        done = self._receipt(receipt)
        if self.on_receipt is not None:
            self.on_receipt(function, done)
        return done

    @property
    def sender(self) -> ChecksumAddress:
        """The address that sends the transactions. Raises ChainError for a client that only reads."""
        if self.account is None:
            raise ChainError("this client has no account to send transactions from")
        return self.account.address

    @cached_property
    def chain_id(self) -> int:
        """The chain's number (EIP-155). Raises ChainError."""
        with self._translated():
            return _number(self.web3.eth.chain_id)

    def head(self) -> int:
        """The number of the latest block. Raises ChainError."""
        with self._translated():
            return _number(self.web3.eth.block_number)

    def block(self, which: BlockIdentifier = "latest") -> Head:
        """A block, by default the latest. Raises ChainError."""
        with self._translated():
            block = self.web3.eth.get_block(which)
            return Head(_number(block["number"]), Web3.to_hex(block["hash"]), _number(block["timestamp"]))

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
        """Whether a transaction of this account is pending. Raises ChainError."""
        with self._translated():
            count = self.web3.eth.get_transaction_count
            return count(self.sender, "pending") > count(self.sender, "latest")

    def try_another_node(self) -> None:
        """Asks the next URL from here on, where there are several."""
        if isinstance(self.web3.provider, Endpoints):
            self.web3.provider.pass_over()

    def gas_of(self, event: Event) -> int:
        """Gas that the event's transaction used. Raises ChainError."""
        with self._translated():
            return self.web3.eth.get_transaction_receipt(HexStr(event.transaction))["gasUsed"]

    def settle(self) -> int | None:
        """Gets the transaction in the outbox, if there is one, into a block. To be called first after a restart.

        The same bytes are sent again, so they are executed at most once. Returns the number of a block by which it is
        settled, None where the outbox was empty. Raises ChainError where the chain does not take it in time; then it
        stays in the outbox, unless the chain can never take it.
        """
        noted = self._outbox.noted() if self._outbox else None
        if noted is None:
            return None
        assert self._outbox is not None
        nonce, raw = noted
        with self._translated():
            block = _number(self.web3.eth.block_number)
            executed = _number(self.web3.eth.get_transaction_count(self.sender, "latest"))
            if executed >= nonce:
                self._gap_since = None
            if executed == nonce:
                block = _number(self._deliver(raw)["blockNumber"])
        if executed < nonce:
            self._wait_for_gap(executed, nonce)
        self._gap_since = None
        self._outbox.clear()
        return block

    def _wait_for_gap(self, executed: int, nonce: int) -> None:
        """The node lacks earlier transactions of ours: it is behind, or, if that lasts, the chain was set back.

        Raises ChainBehind for RESEND_SECONDS, and returns after that.
        """
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
                **self._gas_and_fees(),
            }
            raw = bytes(self.account.sign_transaction(transaction).raw_transaction)
            if self._outbox is not None:
                self._outbox.note(nonce, raw)
            receipt = self._deliver(raw)
        if self._outbox is not None:
            self._outbox.clear()
        return receipt

    def _deliver(self, raw: bytes) -> TxReceipt:
        """Sends a signed transaction and waits for its receipt.

        One that no node of this chain can ever take leaves the outbox; any other refusal may be this node's alone.
        """
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
        if self._outbox is not None:  # other commands of this hospital send from the same account
            return self.web3.eth.get_transaction_count(address, "pending")
        nonce = self._nonce if self._nonce is not None else self.web3.eth.get_transaction_count(address, "pending")
        self._nonce = nonce + 1
        return nonce

    def _gas_and_fees(self) -> dict[str, int]:
        """At most as much gas as the next block is sure to hold (its limit is at most a 1024th lower), and the fees."""
        latest = self.web3.eth.get_block("latest")
        limit = latest["gasLimit"] - latest["gasLimit"] // 1024
        return {"gas": min(GAS, limit), **fees(self.web3, latest.get("baseFeePerGas", 0))}

    def _receipt(self, raw: TxReceipt) -> Receipt:
        with self._translated():
            events = tuple(self._decoder.events(raw["logs"]))
            gas, block = _number(raw["gasUsed"]), _number(raw["blockNumber"])
            return Receipt(gas, block, encode_hex(raw["transactionHash"]), events)

    @contextmanager
    def _translated(self) -> Iterator[None]:
        """The one place where a library's exception becomes ours. After a fault the nonce is asked for again."""
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
    """Sends a transaction, again where the hospital's own node was faster with the same nonce. Raises ChainError."""
    for _ in range(TRIES - 1):
        try:
            return send()
        except NonceClash:
            time.sleep(0.5)
    return send()


@dataclass(frozen=True)
class Deployment:
    """How a contract was created: the bytecode sent (with constructor arguments), its address, and the block number."""

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
    """The receipt of a transaction (its 32-byte hash), once it is in a block. Raises ChainError after `seconds`.

    Polls often at first, then less and less. web3's own loop polls at a fixed rate: at ten times a second, waiting
    would take most of a round on a chain that mines at once.
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
    """The latest block's base fee in wei per gas (EIP-1559); 0 where a consortium gives gas away."""
    return web3.eth.get_block("latest").get("baseFeePerGas", 0)


def fees(web3: Web3, base: int) -> dict[str, int]:
    """A transaction's fee fields at a base fee, in wei per gas (EIP-1559). Twice the base fee covers six full blocks.

    Where gas has a price, nodes want a tip as well: geth at least 1 wei.
    """
    tip = web3.eth.max_priority_fee if base else 0
    return {"maxFeePerGas": 2 * base + tip, "maxPriorityFeePerGas": tip}


@contextmanager
def answering() -> Iterator[None]:
    """Turns what the libraries raise about a node that is gone, or answers nonsense, into ChainError."""
    try:
        yield
    except TRANSPORT_FAULTS as fault:
        raise _no_answer(fault) from fault


def _number(answer: Any) -> int:
    """A number that a node gave. Raises TypeError for anything else, which web3 passes on as it is."""
    if type(answer) is not int:
        raise TypeError(f"{answer!r:.60} is no number")
    return answer


def _no_answer(fault: Exception) -> ChainError:
    if isinstance(fault, Web3RPCError) and "insufficient funds" in str(fault).lower():
        return ChainError("this chain asks for fees, and the account that sends has not enough for them: fund it")
    return ChainError(f"the chain does not answer as it should: {_one_line(fault)}")


def _one_line(fault: Exception) -> str:
    text = " ".join(str(fault).split())
    return f"{type(fault).__name__}: {text[:200]}" if text else type(fault).__name__
