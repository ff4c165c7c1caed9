"""The contract as bytes and texts: compiled artifacts, its events, and its errors decoded in one place."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from importlib.resources import files
from typing import Any, cast

from eth_abi.exceptions import DecodingError
from eth_utils import decode_hex, encode_hex, event_abi_to_log_topic, function_abi_to_4byte_selector, is_0x_prefixed
from web3 import Web3
from web3.types import LogReceipt

from hmchain.errors import ContractError


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


def revert_data(fault: Exception) -> bytes:
    """Revert data of a fault of web3's, which carries it as hex; none where there is none."""
    for candidate in (getattr(fault, "data", None), *fault.args):
        if isinstance(candidate, str) and is_0x_prefixed(candidate):
            return decode_hex(candidate)
    return b""


def _plain(value: Any) -> Any:
    """AttributeDict and HexBytes become dict, list and bytes."""
    if isinstance(value, Mapping):
        return {key: _plain(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(inner) for inner in value]
    return bytes(value) if isinstance(value, bytes) else value
