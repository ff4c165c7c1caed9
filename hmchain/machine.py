"""The Ethereum virtual machine by itself: py-evm executes calls of contracts, without blocks, fees or nonces.

What our contracts do follows from their code, the calls before, and the sender, data and time of a call. So it can be
found out again without the rest of the chain that it happened on, whatever that chain's fork or its price of gas.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import rlp
from eth.constants import BLANK_ROOT_HASH, CREATE_CONTRACT_ADDRESS
from eth.db.atomic import AtomicDB
from eth.vm.execution_context import ExecutionContext
from eth.vm.forks.prague.state import PragueState
from eth.vm.message import Message
from eth_typing import Address, BlockNumber, Hash32
from eth_utils import keccak, to_canonical_address, to_checksum_address

GAS = 30_000_000  # of one call: what whoever sent it could spend at most on a usual chain


@dataclass(frozen=True)
class Log:
    """What a contract, by its address with checksum, logged."""

    address: str
    topics: tuple[bytes, ...]
    data: bytes


@dataclass(frozen=True)
class Execution:
    """What a call came to: its logs and what it returned, or, where it failed, what it was reverted with."""

    failed: bool
    output: bytes
    logs: tuple[Log, ...]


class Machine:
    """A machine whose state is that of the contracts created on it. Addresses are with or without checksum."""

    def __init__(self, chain_id: int) -> None:
        self._chain_id = chain_id
        self._state = PragueState(AtomicDB(), self._block(0), BLANK_ROOT_HASH)

    def create(self, sender: str, nonce: int, code: bytes, time: int) -> Execution:
        """Creates a contract at address_of(sender, nonce), at a time in seconds since 1970."""
        address = to_canonical_address(address_of(sender, nonce))
        message = Message(
            GAS, CREATE_CONTRACT_ADDRESS, to_canonical_address(sender), 0, b"", code, create_address=address
        )
        return self._execute(self._state.computation_class.apply_create_message, message, time)

    def call(self, sender: str, contract: str, data: bytes, time: int) -> Execution:
        """Calls a contract at a time in seconds since 1970. Where the call fails, nothing has changed."""
        to = to_canonical_address(contract)
        message = Message(GAS, to, to_canonical_address(sender), 0, data, self._state.get_code(to))
        return self._execute(self._state.computation_class.apply_message, message, time)

    def _execute(self, apply: Any, message: Message, time: int) -> Execution:
        self._state.execution_context = self._block(time)
        computation = apply(
            self._state, message, self._state.transaction_context_class(gas_price=0, origin=message.sender)
        )
        self._state.lock_changes()
        return Execution(computation.is_error, bytes(computation.output), tuple(_logs(computation)))

    def _block(self, time: int) -> ExecutionContext:
        """Its block, of which contracts see the time and the chain's number alone, as ours look at nothing else."""
        nobody, nothing, first = Address(b"\0" * 20), Hash32(b"\0" * 32), BlockNumber(1)
        return ExecutionContext(nobody, time, first, 0, nothing, GAS, (), self._chain_id, 0, 0)


def address_of(sender: str, nonce: int) -> str:
    """The address, with checksum, of the contract that a transaction of the sender with this nonce creates."""
    return to_checksum_address(keccak(rlp.encode([to_canonical_address(sender), nonce]))[-20:])


def _logs(computation: Any) -> Iterator[Log]:
    for address, topics, data in computation.get_log_entries():
        yield Log(to_checksum_address(address), tuple(topic.to_bytes(32, "big") for topic in topics), data)
