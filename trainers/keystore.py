"""A hospital's keys on disk: its operator account and its encryption key, under one password.

    operator.json      the Ethereum account that acts for the hospital
    encryption.json    its X25519 key, to which jobs' keys are sealed
    retired/           earlier pairs of them, from before rotations, with which old envelopes stay readable

Both are Web3 Secret Storage, version 3: scrypt and AES-128-CTR, as geth, Besu's tools and wallets write them.
"""

from __future__ import annotations

import hashlib
import hmac
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from eth_account import Account
from eth_account.signers.local import LocalAccount
from eth_utils import is_hex_address, to_checksum_address

from hmchain.envelope import Identity, new_identity
from hmchain.errors import UsageError
from hmchain.files import read_secret, write_secret
from hmchain.identity import MemberIdentity
from hmchain.jsontext import parse

OPERATOR, ENCRYPTION, RETIRED = "operator.json", "encryption.json", "retired"
WORK = 2**18  # scrypt's N: about a second, and what geth takes
LIGHT = 2**12  # scrypt's N for keys that protect nothing: local consortia and tests


@dataclass(frozen=True)
class Keys:
    """A hospital's unlocked keys: those in use, and its earlier encryption keys, latest first."""

    identity: MemberIdentity
    earlier: tuple[Identity, ...] = field(default=(), repr=False)

    @property
    def identities(self) -> tuple[Identity, ...]:
        """All encryption keys, the one in use first."""
        return (self.identity.encryption, *self.earlier)


def create(folder: Path, password: str, work: int = WORK) -> MemberIdentity:
    """Makes fresh keys in a folder that holds none. Raises StorageError, UsageError."""
    if not password:
        raise UsageError("the password is empty")
    account, encryption = Account.create(), new_identity()
    write_secret(folder / OPERATOR, _locked(bytes(account.key), password, work))
    write_secret(folder / ENCRYPTION, _locked(encryption.raw(), password, work))
    return _member(account, encryption)


def unlock(operator: Path, encryption: Path, password: str) -> Keys:
    """Opens both keys, and those retired beside the encryption key. Raises UsageError."""
    account: LocalAccount = Account.from_key(_opened(operator, password, "the operator's keystore"))
    present = Identity.from_raw(_opened(encryption, password, "the encryption key"))
    retired = sorted((encryption.parent / RETIRED).glob(f"*-{ENCRYPTION}"), reverse=True)
    earlier = [Identity.from_raw(_opened(path, password, "the retired encryption key")) for path in retired]
    return Keys(_member(account, present), tuple(earlier))


def address_of(operator: Path) -> str:
    """The account of a keystore, which its file names in the clear. Raises UsageError."""
    address = _parsed(operator, "the operator's keystore").get("address")
    if not isinstance(address, str) or not is_hex_address(address):
        raise UsageError(f"the operator's keystore {operator} names no account")
    return to_checksum_address(address)


def read_password(path: Path) -> str:
    """The password in a file, without its last line break. Raises UsageError."""
    try:
        text = read_secret(path, "the password file").decode().removesuffix("\n").removesuffix("\r")
    except UnicodeDecodeError:
        raise UsageError(f"the password file {path} is not text") from None
    if not text:
        raise UsageError(f"the password file {path} is empty")
    return text


def _member(account: LocalAccount, encryption: Identity) -> MemberIdentity:
    """The member's identity. Salts derive from the operator key, without which nothing could be revealed anyway."""
    salt_secret = hmac.digest(bytes(account.key), b"hmchain/salt-secret/1", hashlib.sha256)
    return MemberIdentity(account, encryption, salt_secret)


def _locked(secret: bytes, password: str, work: int) -> bytes:
    return json.dumps(Account.encrypt(secret, password, kdf="scrypt", iterations=work)).encode()


def _opened(path: Path, password: str, what: str) -> bytes:
    content = _parsed(path, what)
    try:
        secret, address = bytes(Account.decrypt(content, password)), content.get("address")
        # The format's MAC does not cover the IV: with a damaged IV another key would come out.
        named = isinstance(address, str) and is_hex_address(address)
        if named and Account.from_key(secret).address != to_checksum_address(address):
            raise ValueError("another key")
        return secret
    except ValueError as fault:
        if "MAC mismatch" in str(fault):
            raise UsageError(f"the password does not open {what} {path}") from None
        raise UsageError(f"{what} {path} is no Web3 Secret Storage file") from None
    except (KeyError, TypeError, AttributeError, NotImplementedError, AssertionError, ArithmeticError):
        raise UsageError(f"{what} {path} is no Web3 Secret Storage file") from None


def _parsed(path: Path, what: str) -> dict[str, Any]:
    try:
        content = parse(read_secret(path, what))
    except ValueError:
        content = None
    if not isinstance(content, dict):
        raise UsageError(f"{what} {path} is no Web3 Secret Storage file")
    return content
