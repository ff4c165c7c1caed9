"""consortium.json: on which chain a consortium is, and at which contract. Every member needs it; it holds no secret.

The chain has to confirm it: the transaction it names must have created that contract there, from the bytecode that this
package carries.
"""

from __future__ import annotations

import json
import re
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from eth_utils import is_checksum_address
from web3 import Web3

from hmchain.contract import Artifact
from hmchain.errors import ChainError, UsageError
from hmchain.ethereum import find_deployment
from hmchain.files import read_file, write_whole
from hmchain.jsontext import parse

FORMAT = "hmchain-consortium/1"


@dataclass(frozen=True)
class Consortium:
    """A deployment: EIP-155 chain id, contract address, hash of the transaction that created it, and its block.

    records is the hash of the transaction that created the Records contract, "" while there is none.
    """

    chain_id: int
    contract: str
    deployment: str
    block: int
    format: str = FORMAT
    records: str = ""

    def write(self, path: Path) -> None:
        """Writes consortium.json. Raises StorageError."""
        write_whole(path, (json.dumps(asdict(self), indent=2) + "\n").encode())

    @classmethod
    def read(cls, path: Path) -> Consortium:
        """Reads consortium.json. Raises UsageError."""
        if not path.exists():
            raise UsageError(
                f"there is no {path}: whoever founds the consortium (hmchain deploy) hands it to all members"
            )
        try:
            content: dict[str, Any] = parse(read_file(path, "the consortium's file"))
            consortium = cls(**content)
        except (ValueError, TypeError) as fault:
            raise UsageError(f"{path} is not a {FORMAT} file") from fault
        if not consortium._is_plain():
            raise UsageError(f"{path} is not a {FORMAT} file")
        return consortium

    def _is_plain(self) -> bool:
        numbers = type(self.chain_id) is type(self.block) is int and self.block >= 0
        texts = all(type(text) is str for text in (self.contract, self.deployment, self.format, self.records))
        plain = numbers and texts and self.format == FORMAT and is_checksum_address(self.contract)
        return plain and _is_hash(self.deployment) and (not self.records or _is_hash(self.records))

    def check(self, web3: Web3) -> None:
        """Compares the file with the chain. Raises ChainError where that holds no such contract, or another one."""
        found = find_deployment(web3, self.deployment)
        if found is None or (found.address, found.block) != (self.contract, self.block):
            raise ChainError(f"this chain has no contract {self.contract} created in block {self.block}")
        if found.bytecode != Artifact.load().bytecode:
            raise ChainError(f"contract {self.contract} is not the one that this version of hmchain carries")


def _is_hash(text: str) -> bool:
    return re.fullmatch("0x[0-9a-f]{64}", text) is not None
