"""The audit of readings: who read what, when and for which purpose, proved to be complete, in several formats."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any

from hmchain.errors import UsageError, VerificationError
from hmchain.permits import member_of
from hmchain.trail import EmergencyRecord, Trail, Use
from trainers.records.archive import Archive
from trainers.records.persons import named
from trainers.records.releasing import REFUSED

VERDICTS = (None, True, False)  # as the contract's Verdict counts them
CARE = ("ehr", "emr", "treatment")
OUTCOMES = {"released": "0", "answered": "0", "not answered": "4", "refused": "8"}  # FHIR's audit-event-outcome


@dataclass(frozen=True)
class Reading:
    """One line of the audit.

    role, vouched_by: the reader's at the time. records: the leaves of what was released, known only to the holder that
    released it. answer: see answer_to. grant and use number the readings without gaps; an emergency has its number in
    grant, and use 0.
    """

    time: str
    reader: str
    role: str
    vouched_by: int
    holder: int
    purpose: str
    grant: int
    use: int
    granter: str
    answer: str
    request: str
    records: list[str]
    verdict: str
    block: int
    transaction: str


@dataclass(frozen=True)
class Audit:
    """All readings, and the counts on chain that prove that there are no others."""

    readings: list[Reading]
    grants: int
    emergencies: int
    unreviewed: int
    block: int
    contract: str


def audit(archive: Archive) -> Audit:
    """Reads the whole log and proves it complete. Raises VerificationError, ChainError."""
    trail = archive.trail()
    check_complete(archive, trail)
    assert archive.registry.feed.head is not None
    time_of = _clock(archive)
    readings = [_of_use(archive, trail, use, time_of) for use in trail.uses()]
    readings += [_of_emergency(archive, trail, case, time_of) for case in trail.emergencies.values()]
    readings.sort(key=lambda reading: (reading.block, reading.grant, reading.use))
    unreviewed = sum(case.verdict is None for case in trail.emergencies.values())
    head = archive.registry.feed.head.number
    return Audit(readings, len(trail.grants), len(trail.emergencies), unreviewed, head, archive.registry.client.address)


def check_complete(archive: Archive, trail: Trail) -> None:
    """Checks that the events hold every grant, use and emergency that the contract counts, and agree with its state.

    hmchain.trail has checked already that their numbers have no gaps. Raises VerificationError, ChainError.
    """
    client, head = archive.registry.client, archive.registry.feed.head
    assert head is not None
    for what, count, seen in (
        ("grants", client.call("grantCount", block=head.number), len(trail.grants)),
        ("emergencies", client.call("emergencyCount", block=head.number), len(trail.emergencies)),
    ):
        if count != seen:
            raise VerificationError(f"the contract counts {count} {what}, its events show {seen}")
    for grant in trail.grants.values():
        number, expiry, uses, nonce = client.call("grantOf", grant.terms.abi(), block=head.number)
        if uses != len(grant.uses):
            raise VerificationError(f"grant {grant.number} was used {uses} times, its events show {len(grant.uses)}")
        if (number, expiry, nonce) != (grant.number, grant.terms.expiry, grant.terms.nonce):
            raise VerificationError(f"grant {grant.number} is not as its events say")
    for case in trail.emergencies.values():
        told = case.holder, VERDICTS.index(case.verdict)
        if tuple(client.call("emergencyOf", case.reader, case.number, block=head.number)[1:3]) != told:
            raise VerificationError(f"emergency {case.number} is not as its events say")


def _clock(archive: Archive) -> Callable[[int], str]:
    seen: dict[int, str] = {}

    def time_of(block: int) -> str:
        if block not in seen:
            moment = datetime.fromtimestamp(archive.registry.client.block(block).time, UTC)
            seen[block] = moment.strftime("%Y-%m-%dT%H:%M:%SZ")
        return seen[block]

    return time_of


def _of_use(archive: Archive, trail: Trail, use: Use, time_of: Callable[[int], str]) -> Reading:
    released = trail.released.get((use.number, use.use), {})
    granter = _party(trail.grants[use.number].terms.granter)
    return _reading(archive, time_of, use, named(use.purpose), use.use, granter, released, "")


def _of_emergency(archive: Archive, trail: Trail, case: EmergencyRecord, time_of: Callable[[int], str]) -> Reading:
    released = trail.emergency_released.get(case.number, {})
    verdict = {None: "not reviewed", True: "upheld", False: "rejected"}[case.verdict]
    return _reading(archive, time_of, case, "emergency", 0, "", released, verdict)


def _reading(
    archive: Archive,
    time_of: Callable[[int], str],
    event: Use | EmergencyRecord,
    purpose: str,
    use: int,
    granter: str,
    released: Mapping[int, bytes],
    verdict: str,
) -> Reading:
    leaves = archive.vault.released(event.number, use)
    return Reading(
        time=time_of(event.block),
        reader=event.reader,
        role=named(event.role),
        vouched_by=event.voucher,
        holder=event.holder,
        purpose=purpose,
        grant=event.number,
        use=use,
        granter=granter,
        answer=answer_to(released.get(event.holder), leaves, event.holder == archive.member),
        request=event.request.hex(),
        records=[leaf.hex() for leaf in leaves or ()],
        verdict=verdict,
        block=event.block,
        transaction=event.transaction,
    )


def answer_to(envelope: bytes | None, released: list[bytes] | None, ours: bool) -> str:
    """What became of a request: "released" (keys went out), "refused" (none did) or "not answered".

    Of another holder's answer, which is sealed to the reader, only that it was "answered"; likewise of our own where
    the vault, being a new one or a backup, does not know it.
    """
    if envelope is None:
        return "not answered"
    if envelope == REFUSED:
        return "refused"
    if not ours or released is None:
        return "answered"
    return "released" if released else "refused"


def _party(address: str) -> str:
    member = member_of(address)
    return address if member is None else f"member {member}"


def render(audit: Audit, form: str) -> str:
    """The audit as text, json, csv, or a FHIR R4 Bundle of AuditEvent. Raises UsageError for any other form."""
    forms: dict[str, Callable[[Audit], str]] = {"text": _text, "json": _json, "csv": _csv, "fhir": _fhir}
    if form not in forms:
        raise UsageError(f"{form!r} is none of {', '.join(forms)}")
    return forms[form](audit)


def _text(audit: Audit) -> str:
    lines = [
        f"{r.time}  {r.role:<21} {r.reader}  read from member {r.holder} for {r.purpose}"
        + (f", {len(r.records)} records" if r.records else "")
        + (f"  [grant {r.grant}, use {r.use}]" if r.use else f"  [emergency {r.grant}: {r.verdict}]")
        + f"  ({r.answer})"
        for r in audit.readings
    ]
    proof = (
        f"COMPLETE  {len(audit.readings)} readings: every use of {audit.grants} grants, every one of "
        f"{audit.emergencies} emergencies ({audit.unreviewed} not reviewed), as contract {audit.contract} counts them "
        f"in block {audit.block}"
    )
    return "\n".join([*lines, proof])


def _json(audit: Audit) -> str:
    return json.dumps(asdict(audit), sort_keys=True)


def _csv(audit: Audit) -> str:
    out = io.StringIO()
    writer = csv.DictWriter(out, list(Reading.__dataclass_fields__), lineterminator="\n")
    writer.writeheader()
    for reading in audit.readings:
        writer.writerow(asdict(reading) | {"records": " ".join(reading.records)})
    return out.getvalue().rstrip("\n")


def _fhir(audit: Audit) -> str:
    entries = [{"resource": _audit_event(audit, reading)} for reading in audit.readings]
    return json.dumps({"resourceType": "Bundle", "type": "collection", "entry": entries}, indent=1)


def _audit_event(audit: Audit, reading: Reading) -> dict[str, Any]:
    """AuditEvent as R4 has it (hl7.org/fhir/R4/auditevent.html)."""
    purpose = "BTG" if reading.purpose == "emergency" else "TREAT" if reading.purpose in CARE else "HRESCH"
    return {
        "resourceType": "AuditEvent",
        "id": f"grant-{reading.grant}-use-{reading.use}" if reading.use else f"emergency-{reading.grant}",
        "type": {"system": "http://terminology.hl7.org/CodeSystem/audit-event-type", "code": "rest"},
        "subtype": [{"system": "http://hl7.org/fhir/restful-interaction", "code": "read"}],
        "action": "R",
        "recorded": reading.time,
        "outcome": OUTCOMES[reading.answer],
        "outcomeDesc": reading.answer,
        "purposeOfEvent": [
            {
                "coding": [{"system": "http://terminology.hl7.org/CodeSystem/v3-ActReason", "code": purpose}],
                "text": reading.purpose,
            }
        ],
        "agent": [
            {
                "requestor": True,
                "altId": reading.reader,
                "role": [{"text": reading.role}],
            }
        ],
        "source": {"observer": {"display": f"contract {audit.contract}, transaction {reading.transaction}"}},
        "entity": [
            {"what": {"identifier": {"system": "urn:hmchain:record", "value": leaf}}} for leaf in reading.records
        ]
        or [{"what": {"identifier": {"system": "urn:hmchain:request", "value": reading.request}}}],
    }
