"""Transactions as their senders signed them (EIP-155, EIP-2718), out of answers of a node that is not believed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, cast

import rlp
from eth_account import Account
from eth_account.typed_transactions import TypedTransaction
from eth_utils import keccak
from web3 import Web3
from web3.exceptions import TransactionNotFound

from hmchain.errors import ChainError
from hmchain.ethereum import answering

LEGACY = 0  # the type of a transaction that has none
PRICES = {LEGACY: ("gasPrice",), 1: ("gasPrice",), 2: ("maxPriorityFeePerGas", "maxFeePerGas")}  # by type
SIGNATURE = ("v", "r", "s")


@dataclass(frozen=True)
class Signed:
    """A signed transaction. sender and to are addresses with checksum, to is None where it creates a contract."""

    sender: str
    nonce: int
    to: str | None
    data: bytes


def find_signed(web3: Web3, transaction: str, chain_id: int) -> Signed:
    """A transaction (its hash in hex) that was signed for a chain.

    Raises ChainError where the node has no such transaction, or answers with one of another hash, chain or type.
    """
    with answering():
        try:
            answer = web3.eth.get_transaction(cast(Any, transaction))
        except TransactionNotFound:
            raise ChainError(f"the chain's node has no transaction {transaction}, of which it tells events") from None
    try:
        raw = _encoded(answer)
        matches = keccak(raw) == bytes.fromhex(transaction.removeprefix("0x")) and _chain_of(answer) == chain_id
        sender = Account.recover_transaction(raw)
    except Exception as fault:  # eth-account, eth-keys and rlp have no common base for "this was not signed"
        raise ChainError(f"transaction {transaction}, as the chain's node gives it, was not signed") from fault
    if not matches:
        raise ChainError(f"transaction {transaction}, as the chain's node gives it, is another, or another chain's")
    return Signed(sender, answer["nonce"], answer["to"] or None, bytes(answer["input"]))


def _encoded(answer: Any) -> bytes:
    """The bytes that were signed, with their signature."""
    kind, to = int(answer["type"]), bytes.fromhex((answer["to"] or "0x")[2:])
    fields = {name: answer[name] for name in ("nonce", *PRICES[kind], "gas")}
    fields |= {"to": to, "value": answer["value"], "data": bytes(answer["input"])}
    signature = {name: int.from_bytes(answer[name]) if name != "v" else answer[name] for name in SIGNATURE}
    if kind == LEGACY:
        return bytes(rlp.encode([*fields.values(), *signature.values()]))
    of_type = {"type": kind, "chainId": answer["chainId"], "accessList": [dict(each) for each in answer["accessList"]]}
    return TypedTransaction.from_dict(fields | of_type | signature).encode()


def _chain_of(answer: Any) -> int:
    """The chain that a transaction is signed for (EIP-155); negative where it is for any."""
    return int(answer["chainId"] if int(answer["type"]) != LEGACY else (answer["v"] - 35) // 2)
