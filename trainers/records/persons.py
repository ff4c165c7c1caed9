"""Persons (patients, physicians, researchers): their keys, which are theirs alone, and files of what they signed."""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from eth_utils import is_checksum_address, is_hex_address, to_checksum_address

from hmchain import jsontext, scopes
from hmchain.envelope import format_recipient
from hmchain.errors import HMChainError, UsageError
from hmchain.files import read_file, write_secret
from hmchain.identity import MemberIdentity
from hmchain.permits import LAST_LABEL, Acceptance, Consent, Grant, Purpose, Role, label_of
from trainers import keystore

FORMAT = "hmchain-permit/1"
PERSON = "person.json"


def create(folder: Path, password: str, work: int = keystore.WORK) -> MemberIdentity:
    """Makes a person's keys in a new folder. Raises UsageError, StorageError."""
    if folder.exists():
        raise UsageError(f"{folder} exists")
    try:
        folder.mkdir(parents=True, mode=0o700)
    except OSError as fault:
        raise UsageError(f"cannot make {folder}: {fault.strerror}") from fault
    try:
        identity = keystore.create(folder, password, work)
    except HMChainError:
        with suppress(OSError):  # it is empty, and would be in the way of another try
            folder.rmdir()
        raise
    card = {"account": identity.account.address, "encryption": format_recipient(identity.encryption.public)}
    write_secret(folder / PERSON, json.dumps(card, indent=2).encode() + b"\n")
    return identity


def unlock(folder: Path, password: str) -> MemberIdentity:
    """A person's keys. Raises UsageError."""
    return keystore.unlock(folder / keystore.OPERATOR, folder / keystore.ENCRYPTION, password).identity


def salt_of(person: MemberIdentity) -> bytes:
    """The salt of the scopes of all the person's consents, derived from its key."""
    return scopes.salt_from(bytes(person.account.key))


def grant_salt_of(person: MemberIdentity, label: str, reader: str, purpose: Purpose) -> bytes:
    """The salt of the scope of one of the person's grants."""
    return scopes.grant_salt_from(bytes(person.account.key), label, reader, purpose)


def checked_account(text: str) -> str:
    """An account's address with its checksum. Raises UsageError."""
    if not text.startswith("0x") or not is_hex_address(text) or int(text, 16) <= LAST_LABEL:
        raise UsageError(f"{text!r:.80} is no account: 0x and 40 hexadecimal digits")
    account = to_checksum_address(text)
    if text not in (account, account.lower()):
        raise UsageError(f"the checksum of {text} is wrong: is there a typing error?")
    return account


def party(text: str) -> str:
    """An account, or the address that stands for a member by its number. Raises UsageError."""
    return label_of(int(text)) if text.isdecimal() and len(text) <= 5 else checked_account(text)


def purpose_named(text: str) -> Purpose:
    """A purpose by its name, such as clinical-research."""
    return Purpose[text.upper().replace("-", "_")]


def role_named(text: str) -> Role:
    """A role by its name, such as laboratory-technician."""
    return Role[text.upper().replace("-", "_")]


def named(member: Purpose | Role) -> str:
    """The name of a purpose or role as people write it."""
    return member.name.lower().replace("_", "-")


@dataclass(frozen=True)
class Signed:
    """A signed acceptance, consent or grant, as a file for hospitals and readers, with the label and salt of its scope.

    Whoever has the file can use it only as it was signed. A consent's salt also reveals the scopes of all of this
    person's consents, a grant's only that of the grant.
    """

    permit: Acceptance | Consent | Grant
    signature: tuple[bytes, bytes]
    label: str = ""
    salt: bytes = field(default=b"", repr=False)

    def write(self, path: Path) -> None:
        """Writes the file, readable by its owner only. Raises StorageError."""
        content = {"format": FORMAT, "permit": type(self.permit).__name__, "terms": _json(asdict(self.permit))}
        rest = asdict(self)
        del rest["permit"]
        write_secret(path, json.dumps(content | _json(rest), indent=2).encode() + b"\n")

    @classmethod
    def read(cls, path: Path) -> Signed:
        """Raises UsageError."""
        try:
            content = jsontext.parse(read_file(path, "the permit"))
            if content["format"] != FORMAT:
                raise ValueError("of another format")
            permit = _permit(content["permit"], content["terms"])
            r, vs = (_word(part) for part in content["signature"])
            signed = cls(permit, (r, vs), jsontext.text(content["label"]), bytes.fromhex(content["salt"]))
            signed.check()
        except (ValueError, LookupError, TypeError, AttributeError) as fault:
            raise UsageError(f"{path} is not a {FORMAT} file") from fault
        return signed

    def check(self) -> None:
        """Checks that label and scope agree, and that a grant is well formed. Raises UsageError."""
        if isinstance(self.permit, Acceptance):
            return
        if scopes.scope_of(self.salt, self.label) != self.permit.scope:
            raise UsageError("the permit's label is not that of its scope")
        if isinstance(self.permit, Grant) and not self.permit.is_well_formed():
            raise UsageError("only a hospital's grant stands on a person's consent, and names its scope")


def _permit(name: str, terms: Mapping[str, Any]) -> Acceptance | Consent | Grant:
    if name in ("Acceptance", "Consent"):
        person, numbers = _address(terms["person"]), (_number(terms["nonce"]), _number(terms["deadline"]))
        if name == "Acceptance":
            return Acceptance(person, _member(terms["member"]), Role(terms["role"]), *numbers)
        purposes = frozenset(Purpose(number) for number in terms["purposes"])
        return Consent(person, _word(terms["scope"]), purposes, *numbers)
    if name != "Grant":
        raise ValueError("neither acceptance, consent nor grant")
    granter, reader, consent_of = (_address(terms[who]) for who in ("granter", "reader", "consent_of"))
    parties = granter, reader, _word(terms["scope"]), Purpose(terms["purpose"])
    times = _number(terms["expiry"]), _number(terms["nonce"])
    return Grant(*parties, *times, consent_of, _word(terms["consent_scope"]))


def _address(value: Any) -> str:
    if not is_checksum_address(jsontext.text(value)):
        raise ValueError("no address with its checksum")
    return str(value)


def _word(value: Any) -> bytes:
    """Thirty-two bytes, from JSON. Raises ValueError."""
    word = bytes.fromhex(value)
    if len(word) != 32:
        raise ValueError("not 32 bytes")
    return word


def _number(value: Any) -> int:
    """As many bits as expiries and nonces have on chain."""
    if type(value) is not int or not 0 <= value < 2**40:
        raise ValueError("no number, or out of range")
    return value


def _member(value: Any) -> int:
    """A member's number."""
    if not 0 < _number(value) <= LAST_LABEL:
        raise ValueError("no member's number")
    return int(value)


def _json(values: dict[str, Any]) -> dict[str, Any]:
    return {key: _plain(value) for key, value in values.items()}


def _plain(value: Any) -> Any:
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, frozenset | tuple):
        return [_plain(item) for item in (sorted(value) if isinstance(value, frozenset) else value)]
    return int(value) if isinstance(value, Purpose | Role) else value
