"""Plays with a deployed Records contract: persons that sign, members that relay, and trees of leaves."""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import sha256
from typing import Any

from eth_account import Account
from eth_utils import keccak

from hmchain.permits import (
    SENDER,
    Acceptance,
    Access,
    Consent,
    EmergencyAccess,
    Grant,
    Permit,
    Purpose,
    Role,
    Signature,
    label_of,
)

BLOB = (b"\x55" * 32, b"\x66" * 32, 1_000)
SCOPE, OTHER_SCOPE = b"\x71" * 32, b"\x72" * 32
REQUEST = b"\x73" * 32
ENVELOPE = b"\x74" * 32
SUBJECT, REASON, REPORT = b"\x75" * 32, b"\x76" * 32, b"\x77" * 32
DAY = 86_400
FOREVER = 2**40 - 1

FUNCTIONS = {
    Acceptance: "vouch",
    Consent: "setConsent",
    Grant: "setGrant",
    Access: "logAccess",
    EmergencyAccess: "breakGlass",
}


def person(name: str) -> Any:
    """An account of a person, without ether."""
    return Account.from_key(keccak(text=name))


PATIENT, OTHER_PATIENT = person("patient"), person("other patient")
PHYSICIAN, PHARMACIST, RESEARCHER = person("physician"), person("pharmacist"), person("researcher")
STRANGER = person("stranger")  # nobody vouches for this one
HOLDER, INSTITUTION = 1, 2  # the hospital that keeps the records, and the one whose staff reads
HOLDER_LABEL, INSTITUTION_LABEL = label_of(HOLDER), label_of(INSTITUTION)
VOUCHED = [
    (HOLDER, PATIENT, Role.PATIENT),
    (HOLDER, OTHER_PATIENT, Role.PATIENT),
    (INSTITUTION, PHYSICIAN, Role.PHYSICIAN),
    (INSTITUTION, PHARMACIST, Role.PHARMACIST),
    (INSTITUTION, RESEARCHER, Role.RESEARCHER),
]


class Clinic:
    """A Records contract and the operators of the consortium's members, in order of their numbers."""

    def __init__(self, records: Any, members: Sequence[Any], chain: Any) -> None:
        self.records, self.members, self.chain = records, list(members), chain
        self.chain_id = chain.chain_id

    def account(self, number: int) -> Any:
        """The account that acts for a member."""
        return self.members[number - 1]

    @property
    def now(self) -> int:
        """The time of a transaction that is sent now, within a second or two."""
        return int(self.chain.pending_timestamp)

    def pass_time(self, seconds: int) -> None:
        """Mines a block that much later."""
        self.chain.mine(timestamp=self.now + seconds)

    # -- what persons sign

    def sign(self, permit: Permit, by: Any, **domain: Any) -> Signature:
        """The signature of `by`, in this contract's domain or another one."""
        return permit.sign(by, **({"chain_id": self.chain_id, "contract": str(self.records.address)} | domain))

    def send(self, permit: Permit, by: Any = None, sender: Any = None) -> Any:
        """Relays what `by` signs, or what the sender, by default the holder, says itself. The receipt."""
        return self._call(permit, by, None, sender, self._function(permit))

    def trial(self, permit: Permit, by: Any = None, sender: Any = None, signature: Signature | None = None) -> Any:
        """The same, or with a ready signature, as a call that leaves no trace."""
        return self._call(permit, by, signature, sender, self._function(permit).call)

    def _function(self, permit: Permit) -> Any:
        return getattr(self.records, FUNCTIONS[type(permit)])

    def _call(self, permit: Permit, by: Any, signature: Signature | None, sender: Any, function: Any) -> Any:
        r, vs = signature or (self.sign(permit, by) if by else SENDER)
        return function(permit.abi(), r, vs, sender=sender or self.account(HOLDER))

    # -- the usual

    def acceptance(self, person: Any, role: Role, member: int, **changes: Any) -> Acceptance:
        """The next word of a person on who vouches for it."""
        address = str(getattr(person, "address", person))
        fields: dict[str, Any] = {"nonce": self.records.acceptances(address) + 1, "deadline": FOREVER}
        return Acceptance(address, member, role, **(fields | changes))

    def vouch(self, person: Any, role: Role, member: int) -> Any:
        """A member vouches for a person that accepts it; an account of ape's signs by its key."""
        signer = person if hasattr(person, "key") else Account.from_key(person.private_key)
        return self.send(self.acceptance(person, role, member), signer, self.account(member))

    def consent(self, *purposes: Purpose, nonce: int = 1, scope: bytes = SCOPE, deadline: int = FOREVER) -> Consent:
        """The patient's."""
        return Consent(PATIENT.address, scope, frozenset(purposes), nonce, deadline)

    def own_grant(self, **changes: Any) -> Grant:
        """The patient lets the physician read for treatment, for a day."""
        terms: dict[str, Any] = {
            "granter": PATIENT.address,
            "reader": PHYSICIAN.address,
            "scope": SCOPE,
            "purpose": Purpose.TREATMENT,
            "expiry": self.now + DAY,
            "nonce": 1,
        }
        return Grant(**(terms | changes))

    def hospital_grant(self, **changes: Any) -> Grant:
        """The holder lets the researcher read the patient's records for research, under the patient's consent."""
        terms: dict[str, Any] = {
            "granter": HOLDER_LABEL,
            "reader": RESEARCHER.address,
            "purpose": Purpose.CLINICAL_RESEARCH,
            "consent_of": PATIENT.address,
            "consent_scope": SCOPE,
        }
        return self.own_grant(**(terms | changes))

    def state(self, grant: Grant) -> tuple[int, int, int, int]:
        """Number, expiry, uses and nonce of a grant."""
        return tuple(self.records.grantOf(grant.abi()))

    def emergency(self, nonce: int = 1, **changes: Any) -> EmergencyAccess:
        """Somebody breaks the glass over records of the holder."""
        fields: dict[str, Any] = {
            "holder": HOLDER,
            "subject": SUBJECT,
            "reason": REASON,
            "request": REQUEST,
            "nonce": nonce,
            "deadline": FOREVER,
        }
        return EmergencyAccess(**(fields | changes))


def use_of(grant: Grant, use: int = 1, **changes: Any) -> Access:
    """A request under a grant, of its reader or, of one made to an organisation, of the staff of that."""
    fields: dict[str, Any] = {
        "granter": grant.granter,
        "scope": grant.scope,
        "purpose": grant.purpose,
        "holder": HOLDER,
        "request": REQUEST,
        "use": use,
        "institution": int(grant.reader, 16) if grant.reader == INSTITUTION_LABEL else 0,
        "consent_of": grant.consent_of,
        "consent_scope": grant.consent_scope,
    }
    return Access(**(fields | changes))


# ---------------------------------------------------------------------- trees


def leaves_of(count: int) -> list[bytes]:
    """So many leaves."""
    return [sha256(b"\0" + number.to_bytes(8)).digest() for number in range(count)]


def levels_of(leaves: Sequence[bytes]) -> list[list[bytes]]:
    """Every level of the tree, from the leaves up: an odd node moves up as it is."""
    levels = [list(leaves)]
    while len(levels[-1]) > 1:
        below = levels[-1]
        above = [sha256(b"\1" + below[i] + below[i + 1]).digest() for i in range(0, len(below) - 1, 2)]
        levels.append(above + below[len(above) * 2 :])
    return levels


def proof_of(leaves: Sequence[bytes], position: int) -> list[bytes]:
    """The neighbours of a leaf on its way up."""
    proof = []
    for level in levels_of(leaves)[:-1]:
        if position ^ 1 < len(level):
            proof.append(level[position ^ 1])
        position //= 2
    return proof


def root_of(leaves: Sequence[bytes]) -> bytes:
    """The top of the tree."""
    return levels_of(leaves)[-1][0]
