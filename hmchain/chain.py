"""One account's client of a contract over web3.py: calls, transactions, events."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import cached_property
from typing import Any, Protocol, cast

from eth_account.signers.local import LocalAccount
from eth_typing import ChecksumAddress, HexStr
from eth_utils import encode_hex, keccak
from web3 import Web3
from web3.exceptions import ContractCustomError, ContractLogicError, TransactionNotFound, Web3RPCError
from web3.types import BlockIdentifier, LogReceipt, TxParams, TxReceipt

from hmchain.contract import Artifact, Decoder, Event, Function, Receipt, revert_data
from hmchain.endpoints import TRANSPORT_FAULTS, Endpoints
from hmchain.errors import ChainBehind, ChainError, ContractError, HMChainError, NonceClash
from hmchain.ethereum import Head, fault_of, fees, is_nonce_taken, wait_for_receipt, whole_number

GAS = 15_000_000  # below the cap on one transaction (EIP-7825); what is not used is not spent
RESEND_SECONDS = 15.0  # after which a transaction in an outbox is sent again: a restarted node forgets its mempool
TRIES = 10  # of a command whose hospital's node sends from the same account
LOG_SPAN = 5_000  # blocks asked for at once; nodes refuse much larger spans
PLACE = ("blockNumber", "transactionIndex", "logIndex")  # of a log
MOST_BLOCKS = 1 << 28  # of one contract: eight years of a block a second

# How geth, Besu, anvil and eth-tester answer a transaction that they already have, and one that they can never take.
ALREADY_SENT = re.compile(r"\b(already known|already imported|known transaction)")
HOPELESS = ("less than block base fee", "insufficient funds", "exceeds block gas limit", "intrinsic gas")


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
    function's name and the receipt of each transaction that succeeded. decoder is of the contract's logs and errors.
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
        self.decoder = Decoder(web3, artifact)
        self._nonce: int | None = None

    @classmethod
    def deploy(cls, web3: Web3, account: LocalAccount, artifact: Artifact | None = None) -> tuple[ChainClient, Receipt]:
        """Deploys a contract from `account`. Returns its client and the receipt. Raises ChainError."""
        artifact = artifact or Artifact.load()
        client = cls(web3, account, "0x" + "00" * 20, artifact)
        receipt = client._wait(client._send({"data": artifact.bytecode}))
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
        return self.send(function, *arguments)()

    def send(self, function: str, *arguments: Any) -> Callable[[], Receipt]:
        """Sends a transaction. Returns what waits until it is in a block, and raises ContractError and ChainError as
        this does. A client with an outbox has to wait for one before it sends the next.
        """
        raw = self._send({"to": self.address, "data": self.encode(function, *arguments)})

        def wait() -> Receipt:
            receipt = self._wait(raw)
            if receipt["status"] != 1:
                self.call(function, *arguments)  # a receipt has no reason: the same call raises the contract's error
                raise ContractError("Reverted")
            done = self._receipt(receipt)
            if self.on_receipt is not None:
                self.on_receipt(function, done)
            return done

        return wait

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
            return whole_number(self.web3.eth.chain_id)

    def head(self) -> int:
        """The number of the latest block. Raises ChainError."""
        with self._translated():
            return whole_number(self.web3.eth.block_number)

    def block(self, which: BlockIdentifier = "latest") -> Head:
        """A block, by default the latest. Raises ChainError."""
        with self._translated():
            block = self.web3.eth.get_block(which)
            return Head(whole_number(block["number"]), Web3.to_hex(block["hash"]), whole_number(block["timestamp"]))

    def events(self, first: int, last: int) -> Iterator[Event]:
        """The contract's events in blocks first..last, in order. Raises ChainError."""
        self.check_span(first, last)
        for start in range(first, last + 1, LOG_SPAN):
            with self._translated():
                decoded = list(self.decoder.events(self._logs(start, min(start + LOG_SPAN - 1, last))))
            yield from decoded

    def check_span(self, first: int, last: int) -> None:
        """Raises ChainError for more blocks than there can be: to read whatever a node claims to have never ends."""
        if last - first >= MOST_BLOCKS:
            self.try_another_node()
            raise ChainError(f"the chain's node claims to have block {last}: no chain is as long as that")

    def _logs(self, first: int, last: int) -> list[LogReceipt]:
        """The contract's logs in blocks first..last. Raises ValueError where the node answers with any others."""
        logs = self.web3.eth.get_logs({"address": self.address, "fromBlock": first, "toBlock": last})
        if any(log["address"] != self.address for log in logs):
            raise ValueError("logs of another contract than was asked for")
        places = [tuple(whole_number(log[part]) for part in PLACE) for log in logs]  # type: ignore[literal-required]
        if places != sorted(set(places)):
            raise ValueError("logs that occur twice, or not in the order of the chain")
        if not all(first <= block <= last for block, *_ in places):
            raise ValueError("logs of other blocks than were asked for")
        return list(logs)

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
            return whole_number(self.web3.eth.get_transaction_receipt(HexStr(event.transaction))["gasUsed"])

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
            block = whole_number(self.web3.eth.block_number)
            executed = whole_number(self.web3.eth.get_transaction_count(self.sender, "latest"))
            if executed >= nonce:
                self._gap_since = None
            if executed == nonce:
                self._deliver(raw)
                block = whole_number(self._receipt_of(raw)["blockNumber"])
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

    def _send(self, fields: dict[str, Any]) -> bytes:
        """Signs a transaction and sends it. Returns its bytes."""
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
            self._deliver(raw)
        return raw

    def _wait(self, raw: bytes) -> TxReceipt:
        """The receipt of a transaction that was sent, once it is in a block."""
        with self._translated():
            receipt = self._receipt_of(raw)
        if self._outbox is not None:
            self._outbox.clear()
        return receipt

    def _deliver(self, raw: bytes) -> None:
        """Sends a signed transaction.

        One that no node of this chain can ever take leaves the outbox; any other refusal may be this node's alone.
        """
        try:
            self.web3.eth.send_raw_transaction(raw)
        except Web3RPCError as refusal:
            text = str(refusal).lower()
            if is_nonce_taken(refusal):
                with suppress(TransactionNotFound):  # taken by this very transaction: another node had passed it on
                    self.web3.eth.get_transaction_receipt(cast(Any, keccak(raw)))
                    return
            if self._outbox is not None and any(known in text for known in HOPELESS):
                self._outbox.clear()
            if not ALREADY_SENT.search(text):
                raise

    def _receipt_of(self, raw: bytes) -> TxReceipt:
        return wait_for_receipt(self.web3, keccak(raw), None if self._outbox is None else RESEND_SECONDS)

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
            events = tuple(self.decoder.events(raw["logs"]))
            gas, block = whole_number(raw["gasUsed"]), whole_number(raw["blockNumber"])
            return Receipt(gas, block, encode_hex(raw["transactionHash"]), events)

    @contextmanager
    def _translated(self) -> Iterator[None]:
        """The one place where a library's exception becomes ours. After a fault the nonce is asked for again."""
        try:
            yield
        except HMChainError:
            raise
        except (ContractCustomError, ContractLogicError) as fault:
            raise self.decoder.error(revert_data(fault)) from fault
        except TRANSPORT_FAULTS as fault:
            self._nonce = None
            if is_nonce_taken(fault):
                raise NonceClash("another transaction of this account came first") from fault
            raise fault_of(fault) from fault


def insist(send: Callable[[], Receipt]) -> Receipt:
    """Sends a transaction, again where the hospital's own node was faster with the same nonce. Raises ChainError."""
    for _ in range(TRIES - 1):
        try:
            return send()
        except NonceClash:
            time.sleep(0.5)
    return send()
