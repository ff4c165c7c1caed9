"""Permits, which persons sign: acceptances, consents, grants, requests to read, emergencies. Also roles and purposes.

Each is EIP-712 typed data, so that a wallet shows its fields to the person that signs. Its domain names chain and
contract, and its number must be the next one of its kind: a signature serves for one thing, once.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import IntEnum
from typing import Any, ClassVar

from eth_abi.abi import encode
from eth_account.messages import encode_typed_data
from eth_account.signers.local import LocalAccount
from eth_typing import ChecksumAddress
from eth_utils import encode_hex, keccak, to_checksum_address

from hmchain.errors import UsageError
from hmchain.record import Kind

NAME, VERSION = "FL-HMChain Records", "1"
NOBODY = to_checksum_address("0x" + "00" * 20)
NO_SCOPE = bytes(32)
LAST_LABEL = 2**16 - 1  # member numbers have sixteen bits

Signature = tuple[bytes, bytes]
SENDER: Signature = (bytes(32), bytes(32))  # in place of a signature: the account that sends the transaction

KIND_NUMBERS = {kind: number for number, kind in enumerate(Kind)}  # as the contract's Kind counts them


class Role(IntEnum):
    """A person's role, for which a member vouches. Numbers as in contracts/interfaces/IPersons.sol."""

    PHYSICIAN = 0
    PHARMACIST = 1
    RADIOLOGIST = 2
    LABORATORY_TECHNICIAN = 3
    RESEARCHER = 4
    PATIENT = 5


CLINICAL_ROLES = frozenset({Role.PHYSICIAN, Role.PHARMACIST})  # may break the glass


class Purpose(IntEnum):
    """What records are read for (contracts/interfaces/IPermissions.sol). No consent and no grant can name EMERGENCY."""

    EHR = 0
    EMR = 1
    CLINICAL_RESEARCH = 2
    BIOMEDICAL = 3
    NEUROSCIENCE = 4
    GENOME = 5
    IMAGING = 6
    TREATMENT = 7
    EMERGENCY = 8


def bits_of(purposes: Iterable[Purpose]) -> int:
    """Purposes as the bitmap in a consent: bit p for purpose p. Raises UsageError for EMERGENCY."""
    bits = sum({1 << purpose for purpose in purposes})
    if bits >= 1 << Purpose.EMERGENCY:
        raise UsageError("an emergency needs no consent, and none can be given for it")
    return bits


def purposes_of(bits: int) -> frozenset[Purpose]:
    """The purposes in a bitmap."""
    return frozenset(purpose for purpose in Purpose if bits >> purpose & 1)


def label_of(member: int) -> ChecksumAddress:
    """The address that stands for an organisation as granter or reader: its member number. Raises UsageError."""
    if not 0 < member <= LAST_LABEL:
        raise UsageError(f"{member} is no member's number")
    return to_checksum_address(member.to_bytes(20))


def member_of(party: str) -> int | None:
    """The number of the organisation that an address stands for; None where it is a person's account."""
    number = int(party, 16)
    return number if number <= LAST_LABEL else None


class Permit:
    """Base of what persons sign. FIELDS are the struct's fields in order, with their Solidity types."""

    FIELDS: ClassVar[tuple[tuple[str, str], ...]]

    def abi(self) -> tuple[Any, ...]:
        """The struct as the contract takes it: the values of FIELDS."""
        raise NotImplementedError

    def typed(self, chain_id: int, contract: str) -> dict[str, Any]:
        """The whole EIP-712 message, JSON-ready: what `eth_signTypedData_v4` asks a wallet to sign."""
        struct = type(self).__name__
        domain = {"name": NAME, "version": VERSION, "chainId": chain_id, "verifyingContract": contract}
        kinds = {"name": "string", "version": "string", "chainId": "uint256", "verifyingContract": "address"}
        values = (encode_hex(value) if isinstance(value, bytes) else value for value in self.abi())
        return {
            "types": {
                "EIP712Domain": [{"name": name, "type": kind} for name, kind in kinds.items()],
                struct: [{"name": name, "type": kind} for name, kind in self.FIELDS],
            },
            "primaryType": struct,
            "domain": domain,
            "message": {name: value for (name, _), value in zip(self.FIELDS, values, strict=True)},
        }

    def sign(self, account: LocalAccount, chain_id: int, contract: str) -> Signature:
        """The account's signature (r, vs) in compact form (EIP-2098)."""
        signed = account.sign_message(encode_typed_data(full_message=self.typed(chain_id, contract)))
        return signed.r.to_bytes(32), (signed.s | (signed.v - 27) << 255).to_bytes(32)


@dataclass(frozen=True)
class Acceptance(Permit):
    """A person accepts that a member vouches for them, in a role.

    nonce: one more than how often the person has accepted before. deadline: the last second, since 1970, in which the
    acceptance is valid.
    """

    person: str
    member: int
    role: Role
    nonce: int
    deadline: int

    FIELDS = (
        ("person", "address"),
        ("member", "uint16"),
        ("role", "uint8"),
        ("nonce", "uint40"),
        ("deadline", "uint40"),
    )

    def abi(self) -> tuple[Any, ...]:
        return self.person, self.member, int(self.role), self.nonce, self.deadline


@dataclass(frozen=True)
class Consent(Permit):
    """A person consents to purposes for a scope, in place of what it said of that scope before.

    scope: 32 bytes that stand for a label (hmchain.scopes). purposes: none withdraws the consent, for which it is never
    too late. nonce: one more than that of the last consent for this scope. deadline: the last second, since 1970, in
    which the consent can be brought onto the chain.
    """

    person: str
    scope: bytes
    purposes: frozenset[Purpose]
    nonce: int
    deadline: int

    FIELDS = (
        ("person", "address"),
        ("scope", "bytes32"),
        ("purposes", "uint16"),
        ("nonce", "uint40"),
        ("deadline", "uint40"),
    )

    def abi(self) -> tuple[Any, ...]:
        return self.person, self.scope, bits_of(self.purposes), self.nonce, self.deadline


# A grant and its uses begin with the same fields, so that the contract computes the grant's key from either.
_TERMS = (
    ("granter", "address"),
    ("scope", "bytes32"),
    ("purpose", "uint8"),
    ("consentOf", "address"),
    ("consentScope", "bytes32"),
)


@dataclass(frozen=True)
class Grant(Permit):
    """A person, or an organisation by its label, lets a reader (likewise) read a scope for a purpose.

    expiry: the grant is valid before this time, in seconds since 1970; 0 revokes it. nonce: one more than that of the
    last grant of the same terms. consent_of, consent_scope: whose consent an organisation's grant needs, and for which
    scope.
    """

    granter: str
    reader: str
    scope: bytes
    purpose: Purpose
    expiry: int
    nonce: int
    consent_of: str = NOBODY
    consent_scope: bytes = NO_SCOPE

    FIELDS = (
        *_TERMS,
        ("reader", "address"),
        ("expiry", "uint40"),
        ("nonce", "uint40"),
    )

    def abi(self) -> tuple[Any, ...]:
        return (
            *(self.granter, self.scope, int(self.purpose), self.consent_of, self.consent_scope),
            *(self.reader, self.expiry, self.nonce),
        )

    def is_well_formed(self) -> bool:
        """Whether the grant can be of use: only an organisation's stands on a consent, and then names its scope.

        The contract checks both, but takes a consent for the scope of zeros, which stands for nothing.
        """
        if self.consent_of == NOBODY:
            return self.consent_scope == NO_SCOPE
        return self.consent_scope != NO_SCOPE and member_of(self.granter) is not None

    def key(self) -> bytes:
        """The 32-byte key under which the contract stores grants of these terms."""
        return _key(self.reader, self.granter, self.scope, self.purpose, self.consent_of, self.consent_scope)


@dataclass(frozen=True)
class Access(Permit):
    """A reader asks a holder for records under a grant.

    institution: the number of the organisation that the grant was made to; 0 where it was made to the reader. holder:
    the member's number. request: SHA-256 of the request's letter. use: one more than the grant's uses so far.
    """

    granter: str
    scope: bytes
    purpose: Purpose
    holder: int
    request: bytes
    use: int
    institution: int = 0
    consent_of: str = NOBODY
    consent_scope: bytes = NO_SCOPE

    FIELDS = (
        *_TERMS,
        ("institution", "uint16"),
        ("holder", "uint16"),
        ("request", "bytes32"),
        ("use", "uint40"),
    )

    def abi(self) -> tuple[Any, ...]:
        return (
            *(self.granter, self.scope, int(self.purpose), self.consent_of, self.consent_scope),
            *(self.institution, self.holder, self.request, self.use),
        )

    def key(self, reader: str) -> bytes:
        """The key of the grant that this uses when `reader` signs it."""
        grantee = label_of(self.institution) if self.institution else reader
        return _key(grantee, self.granter, self.scope, self.purpose, self.consent_of, self.consent_scope)


@dataclass(frozen=True)
class EmergencyAccess(Permit):
    """A physician or pharmacist reads without a grant, in an emergency ("breaks the glass").

    holder: the member's number. subject: salted commitment to the person whose records are read. reason: salted digest
    of why. request: SHA-256 of the request's letter. nonce: one more than the emergencies that the reader has opened
    before. deadline: the last second, since 1970, in which it can be brought onto the chain.
    """

    holder: int
    subject: bytes
    reason: bytes
    request: bytes
    nonce: int
    deadline: int

    FIELDS = (
        ("holder", "uint16"),
        ("subject", "bytes32"),
        ("reason", "bytes32"),
        ("request", "bytes32"),
        ("nonce", "uint40"),
        ("deadline", "uint40"),
    )

    def abi(self) -> tuple[Any, ...]:
        return self.holder, self.subject, self.reason, self.request, self.nonce, self.deadline


def _key(reader: str, granter: str, scope: bytes, purpose: Purpose, consent_of: str, consent_scope: bytes) -> bytes:
    types = ["address", "address", "bytes32", "uint8", "address", "bytes32"]
    return keccak(encode(types, [reader, granter, scope, int(purpose), consent_of, consent_scope]))
