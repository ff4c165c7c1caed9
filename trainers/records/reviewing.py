"""Emergencies after the fact: what waits for a review, why the glass was broken, and the verdict."""

from __future__ import annotations

import hmac
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

from hmchain import letters, scopes
from hmchain.errors import BlobError, UsageError
from hmchain.trail import EmergencyRecord
from trainers.records.archive import Archive
from trainers.records.persons import named
from trainers.records.sharing import when

REVIEW_SECONDS = 72 * 3600  # as in contracts/Emergency.sol: from then on others review, and the reader opens no other


@dataclass(frozen=True)
class Case:
    """An emergency as a data officer looks at it. opened and due are in seconds since 1970; reason is "" where this
    hospital cannot open the reader's letter, verdict None until there is one.
    """

    number: int
    reader: str
    role: str
    vouched_by: int
    holder: int
    opened: int
    due: int
    reason: str
    verdict: bool | None

    def to_json(self) -> dict[str, Any]:
        """For machines."""
        return asdict(self)

    def line(self) -> str:
        """For people."""
        verdict = {None: f"review due by {when(self.due)}", True: "upheld", False: "rejected"}[self.verdict]
        who = f"{self.role} {self.reader} of member {self.vouched_by}, at member {self.holder}"
        why = self.reason or "(its reason cannot be read here)"
        return f"emergency {self.number}  {when(self.opened)}  {who}  {verdict}  {why}"


def cases(archive: Archive, everyone: bool = False) -> Iterator[Case]:
    """What this hospital is to review; with `everyone`, all there ever was. Raises HMChainError."""
    trail, member, client = archive.trail(), archive.member, archive.registry.client
    for record in trail.emergencies.values():
        if not everyone and (record.holder != member or record.verdict is not None):
            continue
        opened = client.block(record.block).time
        reason = reason_of(archive, record) if record.holder == member else ""
        yield Case(
            number=record.number,
            reader=record.reader,
            role=named(record.role),
            vouched_by=record.voucher,
            holder=record.holder,
            opened=opened,
            due=opened + REVIEW_SECONDS,
            reason=reason,
            verdict=record.verdict,
        )


def reason_of(archive: Archive, case: EmergencyRecord) -> str:
    """What the reader gave as its reason, in a letter sealed to us; "" where that is no letter, or says another reason
    than the reader committed to.
    """
    try:
        letter = letters.receive(archive.store, case.request, archive.keys.identities)
        reason, salt = letter["reason"], bytes.fromhex(letter["salt"])
        told = isinstance(reason, str) and scopes.commitment(salt, reason) == case.reason
    except (BlobError, UsageError, ValueError, LookupError, TypeError):
        return ""
    return " ".join(reason.split()) if told and reason.isprintable() else ""


def review(archive: Archive, number: int, upheld: bool, report: str) -> None:
    """Says whether it was an emergency. The report's digest is salted from the vault's key, so that only this hospital
    can show what it reported. Raises UsageError, ContractError, ChainError.
    """
    case = archive.trail().emergencies.get(number)
    if case is None:
        raise UsageError(f"there is no emergency {number}")
    salt = hmac.digest(archive.vault.pseudonym_key, f"hmchain/report-salt/1/{number}".encode(), "sha256")
    archive.registry.transact("review", number, case.reader, upheld, scopes.commitment(salt, report))
