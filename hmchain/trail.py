"""The history of records, rebuilt from the Records contract's events alone: who holds, may read and has read what.

Nodes, audits and the dashboard all read that log through it. It checks that nothing is missing: the contract numbers
entries, grants, uses and emergencies without gaps, and every entry has the hash of the one before it.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any

from eth_abi.abi import encode

from hmchain.blobs import BlobRef
from hmchain.contract import Event
from hmchain.history import blob_of, blob_to_abi
from hmchain.permits import KIND_NUMBERS, Grant, Purpose, Role, purposes_of
from hmchain.record import Kind

KINDS = {number: kind for kind, number in KIND_NUMBERS.items()}
_ENTRY = ["uint256", "bytes32", "uint256", "uint256", "uint8", "uint256", "bytes32", "(bytes32,bytes32,uint256)"]


@dataclass(frozen=True)
class Entry:
    """A registered batch: the paper's Algorithm 1. timestamp is in seconds since 1970."""

    index: int
    previous: bytes
    timestamp: int
    holder: int
    kind: Kind
    count: int
    root: bytes
    blob: BlobRef

    def to_abi(self) -> tuple[Any, ...]:
        """IRegistry.Entry."""
        kind, blob = KIND_NUMBERS[self.kind], blob_to_abi(self.blob)
        return self.index, self.previous, self.timestamp, self.holder, kind, self.count, self.root, blob

    def hash(self) -> bytes:
        """SHA-256 of its ABI encoding: what the contract keeps, and the next entry names."""
        return sha256(encode([f"({','.join(_ENTRY)})"], [self.to_abi()])).digest()


@dataclass(frozen=True)
class Use:
    """One reading under a grant, as the reader signed for it: number is the grant's, use counts its readings from 1.

    voucher, role: who vouched for the reader when it read, and as what.
    """

    number: int
    use: int
    reader: str
    holder: int
    purpose: Purpose
    request: bytes
    block: int
    transaction: str
    voucher: int
    role: Role


@dataclass
class GrantRecord:
    """A grant: its terms as they stand, and every reading under it."""

    number: int
    terms: Grant
    uses: list[Use] = field(default_factory=list)


@dataclass
class EmergencyRecord:
    """An emergency access; verdict is None until it is reviewed. voucher and role are as in Use."""

    number: int
    reader: str
    holder: int
    subject: bytes
    reason: bytes
    request: bytes
    block: int
    transaction: str
    voucher: int
    role: Role
    verdict: bool | None = None
    reviewer: int | None = None
    report: bytes | None = None


@dataclass
class Trail:
    """All that the Records contract's events say, up to the last one applied."""

    entries: list[Entry] = field(default_factory=list)
    erased: dict[int, set[bytes]] = field(default_factory=dict)  # leaves, by entry
    persons: dict[str, tuple[int, Role]] = field(default_factory=dict)  # voucher and role, by account
    acceptances: dict[str, int] = field(default_factory=dict)  # how often an account accepted a voucher
    consents: dict[tuple[str, bytes], tuple[frozenset[Purpose], int]] = field(default_factory=dict)  # with nonce
    grants: dict[int, GrantRecord] = field(default_factory=dict)
    numbers: dict[bytes, int] = field(default_factory=dict)  # of grants, by the key of their terms
    delegations: dict[tuple[int, str, Purpose], int] = field(default_factory=dict)  # expiry
    emergencies: dict[int, EmergencyRecord] = field(default_factory=dict)
    released: dict[tuple[int, int], dict[int, bytes]] = field(default_factory=dict)  # envelopes by member, of a use
    emergency_released: dict[int, dict[int, bytes]] = field(default_factory=dict)
    revision: int = 0  # how many events were applied: as long as it stays the same, so does the trail

    def apply(self, events: Iterable[Event]) -> None:
        """Applies events in the order of the chain. Raises ValueError, LookupError where one is missing before them."""
        for event in events:
            handler = getattr(self, f"_on_{event.name}", None)
            if handler is not None:
                handler(event.args, event)
                self.revision += 1

    def entry_of(self, root: bytes, holder: int) -> Entry | None:
        """The holder's entry with this root, if there is one; the first where it was registered twice."""
        return next((e for e in self.entries if e.root == root and e.holder == holder), None)

    def consent(self, person: str, scope: bytes) -> frozenset[Purpose] | None:
        """The purposes that a person consents to for a scope; None where it never gave or withdrew one for it."""
        known = self.consents.get((person, scope))
        return known[0] if known else None

    def next_acceptance(self, person: str) -> int:
        """The number that the person's next acceptance must have."""
        return self.acceptances.get(person, 0) + 1

    def next_consent(self, person: str, scope: bytes) -> int:
        """The number that the person's next consent for this scope must have."""
        return self.consents.get((person, scope), (None, 0))[1] + 1

    def grant_like(self, terms: Grant) -> GrantRecord | None:
        """The grant of the same granter, reader, scope, purpose and consent."""
        return self.grants.get(self.numbers.get(terms.key(), 0))

    def uses(self) -> list[Use]:
        """Every reading, by block."""
        uses = [use for grant in self.grants.values() for use in grant.uses]
        return sorted(uses, key=lambda use: (use.block, use.number, use.use))

    # ------------------------------------------------------------------ events

    def _on_BatchRegistered(self, e: dict[str, Any], _: Event) -> None:
        entry = Entry(
            e["index"],
            e["previous"],
            e["timestamp"],
            e["holder"],
            KINDS[e["kind"]],
            e["count"],
            e["root"],
            blob_of(e["blob"]),
        )
        _expect("entry", entry.index, len(self.entries) + 1)
        if entry.previous != (self.entries[-1].hash() if self.entries else bytes(32)):
            raise ValueError(f"entry {entry.index} does not name the one before it")
        self.entries.append(entry)

    def _on_RecordErased(self, e: dict[str, Any], _: Event) -> None:
        self.erased.setdefault(e["index"], set()).add(e["leaf"])

    def _on_PersonVouched(self, e: dict[str, Any], _: Event) -> None:
        self.persons[e["person"]] = e["member"], Role(e["role"])
        self.acceptances[e["person"]] = self.next_acceptance(e["person"])

    def _on_VouchWithdrawn(self, e: dict[str, Any], _: Event) -> None:
        del self.persons[e["person"]]

    def _on_ConsentChanged(self, e: dict[str, Any], _: Event) -> None:
        key = e["person"], e["scope"]
        _expect("consent", e["nonce"], self.next_consent(*key))
        self.consents[key] = purposes_of(e["purposes"]), e["nonce"]

    def _on_GrantChanged(self, e: dict[str, Any], _: Event) -> None:
        terms = Grant(
            e["granter"],
            e["reader"],
            e["scope"],
            Purpose(e["purpose"]),
            e["expiry"],
            e["nonce"],
            e["consentOf"],
            e["consentScope"],
        )
        number = e["number"]
        known = self.grants.get(number)
        if known is None:
            _expect("grant", number, len(self.grants) + 1)
        elif known.terms.key() != terms.key():
            raise ValueError(f"grant {number} is of other terms than before")
        _expect(f"grant {number}, change", terms.nonce, known.terms.nonce + 1 if known else 1)
        self.grants.setdefault(number, GrantRecord(number, terms)).terms = terms
        self.numbers[terms.key()] = number

    def _on_DelegationChanged(self, e: dict[str, Any], _: Event) -> None:
        self.delegations[e["member"], e["staff"], Purpose(e["purpose"])] = e["expiry"]

    def _on_Accessed(self, e: dict[str, Any], event: Event) -> None:
        grant = self.grants[e["number"]]
        _expect(f"grant {grant.number}, use", e["use"], len(grant.uses) + 1)
        what = e["use"], e["reader"], e["holder"], Purpose(e["purpose"]), e["request"]
        grant.uses.append(Use(grant.number, *what, event.block, event.transaction, *self.persons[e["reader"]]))

    def _on_KeysReleased(self, e: dict[str, Any], _: Event) -> None:
        self.released.setdefault((e["number"], e["use"]), {})[e["holder"]] = e["envelope"]

    def _on_GlassBroken(self, e: dict[str, Any], event: Event) -> None:
        _expect("emergency", e["number"], len(self.emergencies) + 1)
        what = e["number"], e["reader"], e["holder"], e["subject"], e["reason"], e["request"]
        where = event.block, event.transaction
        self.emergencies[e["number"]] = EmergencyRecord(*what, *where, *self.persons[e["reader"]])

    def _on_EmergencyReviewed(self, e: dict[str, Any], _: Event) -> None:
        case = self.emergencies[e["number"]]
        case.verdict, case.reviewer, case.report = e["upheld"], e["reviewer"], e["report"]

    def _on_EmergencyKeysReleased(self, e: dict[str, Any], _: Event) -> None:
        self.emergency_released.setdefault(e["number"], {})[e["holder"]] = e["envelope"]


def _expect(what: str, number: int, expected: int) -> None:
    if number != expected:
        raise ValueError(f"{what} {number} where {expected} should follow")
