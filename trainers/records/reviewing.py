"""Reviews of emergency accesses: which wait for one, the readers' reasons, and the verdict."""

from __future__ import annotations

import hmac
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

from hmchain import jsontext, letters, scopes
from hmchain.command import on_one_line
from hmchain.errors import BlobError, DaemonError, UsageError
from hmchain.trail import EmergencyRecord
from trainers.records.archive import Archive
from trainers.records.persons import named
from trainers.records.sharing import when

REVIEW_SECONDS = 72 * 3600  # as in contracts/Emergency.sol: from then on others review, and the reader opens no other


@dataclass(frozen=True)
class Case:
    """An emergency access as its reviewer sees it.

    opened and due are in seconds since 1970. patient, the number that the reader named, and reason are "" where this
    hospital cannot open the reader's letter; verdict is None until there is one.
    """

    number: int
    reader: str
    role: str
    vouched_by: int
    holder: int
    opened: int
    due: int
    patient: str
    reason: str
    verdict: bool | None

    def to_json(self) -> dict[str, Any]:
        """For machines."""
        return asdict(self)

    def line(self) -> str:
        """For people."""
        verdict = {None: f"review due by {when(self.due)}", True: "upheld", False: "rejected"}[self.verdict]
        who = f"{self.role} {self.reader} of member {self.vouched_by}, at member {self.holder}"
        whose = f"patient {self.patient}" if self.patient else "(its patient cannot be read here)"
        why = self.reason or "(its reason cannot be read here)"
        return f"emergency {self.number}  {when(self.opened)}  {who}  {verdict}  {whose}  {why}"


def cases(archive: Archive, everyone: bool = False) -> Iterator[Case]:
    """The emergencies that this hospital has to review; with `everyone`, all there ever were. Raises HMChainError."""
    trail, member, client = archive.trail(), archive.member, archive.registry.client
    for record in trail.emergencies.values():
        if not everyone and (record.holder != member or record.verdict is not None):
            continue
        opened = client.block(record.block).time
        patient, reason = told_of(archive, record) if record.holder == member else ("", "")
        yield Case(
            number=record.number,
            reader=record.reader,
            role=named(record.role),
            vouched_by=record.voucher,
            holder=record.holder,
            opened=opened,
            due=opened + REVIEW_SECONDS,
            patient=patient,
            reason=reason,
            verdict=record.verdict,
        )


def told_of(archive: Archive, case: EmergencyRecord) -> tuple[str, str]:
    """The patient's number and the reason in the reader's letter, which is sealed to us, each on one line; "" for what
    cannot be read, or is another one than the reader committed to on chain. Raises DaemonError.
    """
    try:
        letter = letters.receive(archive.store, case.request, archive.keys.identities)
        salt = bytes.fromhex(letter["salt"])
        patient = _line(salt, letter["identifier"], case.subject)
        return patient, _line(salt, letter["reason"], case.reason)
    except DaemonError:
        raise  # our own store is at fault, and it says nothing about the letter
    except (BlobError, UsageError, ValueError, LookupError, TypeError):
        return "", ""


def _line(salt: bytes, told: Any, committed: bytes) -> str:
    """What another wrote, on one line, with everything escaped that steers a terminal; "" where it did not commit to
    that.
    """
    line = " ".join(jsontext.text(told).split())
    return on_one_line(line) if scopes.commitment(salt, told) == committed else ""


def review(archive: Archive, number: int, upheld: bool, report: str) -> None:
    """Files a verdict on chain: whether it was an emergency.

    The report's digest is salted with the vault's key, so that only this hospital can prove what it reported. Raises
    UsageError, ContractError, ChainError.
    """
    case = archive.trail().emergencies.get(number)
    if case is None:
        raise UsageError(f"there is no emergency {number}")
    salt = hmac.digest(archive.vault.pseudonym_key, f"hmchain/report-salt/1/{number}".encode(), "sha256")
    archive.registry.transact("review", number, case.reader, upheld, scopes.commitment(salt, report))
