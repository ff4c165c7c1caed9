"""member.json, a member's card: what an organisation hands to the others so that they admit it. It holds no secret."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from eth_utils import is_checksum_address

from hmchain.envelope import format_recipient, is_usable, parse_recipient
from hmchain.errors import UsageError
from hmchain.files import read_file, write_whole
from hmchain.jsontext import parse

FORMAT = "hmchain-member/1"
NAME_BYTES = 32  # of UTF-8, as the contract keeps it


@dataclass(frozen=True)
class Card:
    """A name, an operator account (checksummed address) and a 32-byte X25519 public key.

    Raises UsageError where the name does not fit NAME_BYTES or is not printable, or the key cannot be encrypted to.
    """

    name: str
    operator: str
    encryption: bytes

    def __post_init__(self) -> None:
        size = len(self.name.encode(errors="replace"))
        if not 1 <= size <= NAME_BYTES or not self.name.isprintable():
            raise UsageError(f"a name has 1 to {NAME_BYTES} bytes of printable text, {self.name!r:.80} has {size}")
        if not is_usable(self.encryption):
            raise UsageError(f"the encryption key of {self.name} is no X25519 key that can be encrypted to")

    def to_abi(self) -> tuple[str, bytes, bytes]:
        """The card as the contract's IConsortium.Organisation."""
        return self.operator, self.encryption, self.name.encode().ljust(NAME_BYTES, b"\0")

    def write(self, path: Path) -> None:
        """Writes member.json. Raises StorageError."""
        content = {
            "format": FORMAT,
            "name": self.name,
            "operator": self.operator,
            "encryption": format_recipient(self.encryption),
        }
        write_whole(path, (json.dumps(content, indent=2, ensure_ascii=False) + "\n").encode())

    @classmethod
    def read(cls, path: Path) -> Card:
        """Reads member.json. Raises UsageError."""
        try:
            content = parse(read_file(path, "the member's card"))
            card = cls(content["name"], content["operator"], parse_recipient(content["encryption"]))
            plain = content["format"] == FORMAT and is_checksum_address(card.operator)
        except (ValueError, KeyError, TypeError, AttributeError):
            plain = False
        if not plain:
            raise UsageError(f"{path} is not a {FORMAT} file with a name, an operator account and an encryption key")
        return card
