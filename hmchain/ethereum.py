"""An Ethereum node through web3.py, whatever the contract: fees, receipts, deployments, and what its faults mean."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, cast

from eth_utils import encode_hex
from web3 import Web3
from web3.exceptions import TransactionNotFound, Web3RPCError
from web3.types import TxReceipt

from hmchain.endpoints import TRANSPORT_FAULTS
from hmchain.errors import ChainError

TIMEOUT_SECONDS = 120.0  # for a transaction to be in a block
FIRST_POLL = 0.002  # seconds until the second look for a receipt: development chains mine at once
LAST_POLL = 0.25  # seconds between looks later on
# How geth, Besu, anvil and eth-tester answer a transaction whose nonce another one has.
NONCE_TAKEN = (
    "nonce too low",
    "nonce_too_low",
    "replacement transaction underpriced",
    "underpriced replacement",
    "invalid transaction nonce",
)


@dataclass(frozen=True)
class Head:
    """A block: its number, its hash in hex, and its time in seconds since 1970, which deadlines are compared with."""

    number: int
    hash: str
    time: int


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
        if whole_number(receipt["status"]) != 1 or not receipt["contractAddress"]:
            return None
        return Deployment(bytes(creation["input"]), receipt["contractAddress"], whole_number(receipt["blockNumber"]))


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
        raise fault_of(fault) from fault


def whole_number(answer: Any) -> int:
    """A number that a node gave: of a block, of seconds, of gas. Raises TypeError for anything else, which web3 passes
    on as it is, and ValueError for a number that no chain has.
    """
    if type(answer) is not int:
        raise TypeError(f"{answer!r:.60} is no number")
    if not 0 <= answer < 2**63:
        raise ValueError("a number below 0, or of more than 63 bits")
    return answer


def fault_of(fault: Exception) -> ChainError:
    """What a library raised about a node, as our error."""
    if isinstance(fault, Web3RPCError) and "insufficient funds" in str(fault).lower():
        return ChainError("this chain asks for fees, and the account that sends has not enough for them: fund it")
    return ChainError(f"the chain does not answer as it should: {_one_line(fault)}")


def is_nonce_taken(fault: Exception) -> bool:
    """Whether a node refused a transaction because another one of the account has its nonce."""
    return isinstance(fault, Web3RPCError) and any(text in str(fault).lower() for text in NONCE_TAKEN)


def _one_line(fault: Exception) -> str:
    text = " ".join(str(fault).split())
    return f"{type(fault).__name__}: {text[:200]}" if text else type(fault).__name__
