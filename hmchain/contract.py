"""Contracts as data: compiled artifacts, calls encoded, answers, events and errors decoded."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any, cast

from eth_abi.codec import ABICodec
from eth_abi.exceptions import DecodingError, EncodingError
from eth_typing import ABIEvent, ABIFunction
from eth_utils import (
    decode_hex,
    encode_hex,
    event_abi_to_log_topic,
    function_abi_to_4byte_selector,
    is_0x_prefixed,
    to_checksum_address,
)
from eth_utils.abi import collapse_if_tuple
from web3 import Web3
from web3.types import LogReceipt

from hmchain.errors import ChainError, ContractError
from hmchain.ethereum import whole_number


@dataclass(frozen=True)
class Artifact:
    """A compiled contract: ABI, creation bytecode and runtime bytecode."""

    abi: list[dict[str, Any]]
    bytecode: bytes
    runtime: bytes

    @classmethod
    def load(cls, name: str = "HMChain") -> Artifact:
        """The artifact that this package carries under this name. Raises FileNotFoundError for any other name."""
        content = json.loads(files("hmchain").joinpath(f"artifacts/{name}.json").read_text())
        return cls(content["abi"], decode_hex(content["bytecode"]), decode_hex(content["deployedBytecode"]))


@dataclass(frozen=True)
class Event:
    """A contract event: its name, its decoded arguments by name, and where it is in the chain.

    block is a number, index the log's index in that block, transaction the hash in hex.
    """

    name: str
    args: dict[str, Any]
    block: int
    index: int
    transaction: str


@dataclass(frozen=True)
class Receipt:
    """A transaction that succeeded: gas used, block number, hash in hex, and the contract's events in order."""

    gas: int
    block: int
    transaction: str
    events: tuple[Event, ...]

    def told(self, name: str) -> dict[str, Any]:
        """The arguments of its event of this name. Raises ChainError where the node leaves out the receipt's logs."""
        for event in self.events:
            if event.name == name:
                return event.args
        raise ChainError(f"the chain's node gives a receipt that lacks {name}")


class Function:
    """Encodes one function's calls and decodes its answers, as web3's contracts do, without a search of the ABI."""

    def __init__(self, codec: ABICodec, abi: ABIFunction) -> None:
        self._codec = codec
        self._name = abi["name"]
        self._selector = function_abi_to_4byte_selector(abi)
        self._takes = [collapse_if_tuple(cast(dict[str, Any], part)) for part in abi["inputs"]]
        self._outputs = abi["outputs"]
        self._gives = [collapse_if_tuple(cast(dict[str, Any], part)) for part in self._outputs]

    def encode(self, arguments: Sequence[Any]) -> bytes:
        """A call's data. Raises ChainError for arguments that do not fit."""
        try:
            return self._selector + self._codec.encode(self._takes, arguments)
        except (EncodingError, TypeError, ValueError) as fault:
            raise ChainError(f"{self._name}({','.join(self._takes)}) takes no such arguments: {fault}") from fault

    def decode(self, data: bytes) -> Any:
        """The value that a call returned, a tuple of several; structs are tuples. Raises ChainError."""
        if self._gives and not data:  # an address without code answers nothing, which some decoders take for zeros
            raise ChainError(f"nothing answers to {self._name}: is this the contract's address?")
        try:
            values = self._codec.decode(self._gives, data)
        except DecodingError as fault:
            raise ChainError(f"the contract's answer to {self._name} cannot be decoded: {fault}") from fault
        shaped = tuple(_shaped(part, value, _plain) for part, value in zip(self._outputs, values, strict=True))
        return shaped[0] if len(shaped) == 1 else shaped


class EventDecoder:
    """Decodes one event's logs, as web3's `process_log` does, without a search of the ABI."""

    def __init__(self, codec: ABICodec, abi: ABIEvent) -> None:
        self._decode = codec.decode
        self._name = abi["name"]
        self._inputs = abi["inputs"]
        self._indexed = [part for part in self._inputs if part["indexed"]]
        self._plain = [part for part in self._inputs if not part["indexed"]]
        self._types = [collapse_if_tuple(cast(dict[str, Any], part)) for part in self._plain]

    def decode(self, log: LogReceipt) -> Event:
        """A log as an Event. Raises ValueError, TypeError for a log that does not fit this event, or is in no block."""
        topics = log["topics"][1:]
        if len(topics) != len(self._indexed):
            raise ValueError(f"{self._name} with {len(topics)} indexed arguments, not {len(self._indexed)}")
        found = {}
        try:
            for part, topic in zip(self._indexed, topics, strict=True):
                found[part["name"]] = _shaped(part, self._decode([part["type"]], topic)[0], dict)
            for part, value in zip(self._plain, self._decode(self._types, log["data"]), strict=True):
                found[part["name"]] = _shaped(part, value, dict)
        except DecodingError as fault:
            raise ValueError(f"{self._name} whose data do not fit: {fault}") from fault
        args = {part["name"]: found[part["name"]] for part in self._inputs}
        block, index = whole_number(log["blockNumber"]), whole_number(log["logIndex"])
        return Event(self._name, args, block, index, encode_hex(log["transactionHash"]))


class Decoder:
    """Decodes the logs and revert data of one contract."""

    def __init__(self, web3: Web3, artifact: Artifact) -> None:
        self._codec = web3.codec
        events = [e for e in cast(list[Any], artifact.abi) if e["type"] == "event"]
        self._events = {event_abi_to_log_topic(e): EventDecoder(web3.codec, e) for e in events}

    def events(self, logs: Iterable[LogReceipt]) -> Iterator[Event]:
        """The contract's own events; logs of others are left out. Raises as EventDecoder.decode does."""
        for log in logs:
            decoder = self._events.get(bytes(log["topics"][0])) if log["topics"] else None
            if decoder is not None:
                yield decoder.decode(log)

    def error(self, data: bytes) -> ContractError:
        """The error in revert data, of any of our contracts; an error named "Reverted" for any other data."""
        abi = _errors().get(data[:4])
        if abi is None:
            return ContractError("Reverted", (encode_hex(data[:36]),) if data else ())
        try:
            values = self._codec.decode([parameter["type"] for parameter in abi["inputs"]], data[4:])
        except DecodingError:
            return ContractError("Reverted", (encode_hex(data[:36]),))
        return ContractError(abi["name"], values)


@cache
def _errors() -> dict[bytes, Any]:
    """The errors of all our contracts, by selector: where one calls another, it fails with the other's."""
    abis = (Artifact.load(name).abi for name in ("HMChain", "Ballots", "Records"))
    return {function_abi_to_4byte_selector(cast(Any, e)): e for abi in abis for e in abi if e["type"] == "error"}


def revert_data(fault: Exception) -> bytes:
    """The revert data in an exception of web3's, which carries it as hex; empty where there is none."""
    for candidate in (getattr(fault, "data", None), *fault.args):
        if isinstance(candidate, str) and is_0x_prefixed(candidate):
            return decode_hex(candidate)
    return b""


def _shaped(part: Mapping[str, Any], value: Any, struct: Callable[[Iterable[tuple[str, Any]]], Any]) -> Any:
    """A decoded value as the ABI describes it, addresses with checksum (EIP-55). struct takes (name, value) pairs."""
    kind: str = part["type"]
    if kind.endswith("]"):
        inner = {**part, "type": kind[: kind.rindex("[")]}
        return [_shaped(inner, each, struct) for each in value]
    if kind == "tuple":
        parts = zip(part["components"], value, strict=True)
        return struct((each["name"], _shaped(each, item, struct)) for each, item in parts)
    return to_checksum_address(value) if kind == "address" else value


def _plain(fields: Iterable[tuple[str, Any]]) -> tuple[Any, ...]:
    return tuple(value for _, value in fields)
