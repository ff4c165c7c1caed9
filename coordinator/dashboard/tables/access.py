"""Records and who may read them, according to the Records contract: no record's content, and no patient's name."""

from __future__ import annotations

from collections import Counter

from coordinator.dashboard.reading import View
from coordinator.dashboard.sheet import Column, Kind, Row, Sheet, hexed, moment
from coordinator.dashboard.tables.training import name_of
from hmchain.permits import NOBODY, member_of
from hmchain.trail import GrantRecord
from trainers.records.persons import named
from trainers.records.reviewing import REVIEW_SECONDS

INTEGER, HASH, TIME = Kind.INTEGER, Kind.HASH, Kind.TIME


def _party(view: View, address: str) -> str:
    """An account, or the organisation that an address stands for."""
    member = member_of(address)
    return address if member is None else name_of(view.history, member)


def kinds(view: View) -> Sheet:
    """Registered records by kind and holder."""
    batches, records, erased = Counter[tuple[int, str]](), Counter[tuple[int, str]](), Counter[tuple[int, str]]()
    for entry in view.trail.entries:
        key = entry.holder, entry.kind.value
        batches[key] += 1
        records[key] += entry.count
        erased[key] += len(view.trail.erased.get(entry.index, ()))
    rows = [(name_of(view.history, h), k, batches[h, k], records[h, k], erased[h, k]) for h, k in sorted(batches)]
    columns = (
        Column("holder"),
        Column("kind"),
        Column("batches", INTEGER),
        Column("records", INTEGER),
        Column("erased", INTEGER),
    )
    return Sheet("Registered records", "How many records of each kind every holder registered.", columns, rows)


def batches(view: View) -> Sheet:
    """Every registered batch, latest first."""
    rows = [
        (
            entry.index,
            name_of(view.history, entry.holder),
            entry.kind.value,
            entry.count,
            len(view.trail.erased.get(entry.index, ())),
            moment(entry.timestamp),
            hexed(entry.root),
            str(entry.blob.cid),
        )
        for entry in reversed(view.trail.entries)
    ]
    columns = (
        Column("entry", INTEGER),
        Column("holder"),
        Column("kind"),
        Column("records", INTEGER),
        Column("erased", INTEGER),
        Column("registered", TIME),
        Column("root", HASH),
        Column("CID", HASH),
    )
    return Sheet("Batches", "Every entry of the register: each names the one before it.", columns, rows)


def persons(view: View) -> Sheet:
    """Every account that a member vouches for."""
    rows = [(person, name_of(view.history, m), named(role)) for person, (m, role) in view.trail.persons.items()]
    columns = Column("account", HASH), Column("vouched for by"), Column("role")
    return Sheet("Persons", "Accounts of people, as members vouch for them.", columns, rows)


def consents(view: View) -> Sheet:
    """What every person said last of every scope."""
    rows = [
        (person, hexed(scope), ", ".join(sorted(map(named, purposes))) or "withdrawn", nonce)
        for (person, scope), (purposes, nonce) in view.trail.consents.items()
    ]
    columns = Column("person", HASH), Column("scope", HASH), Column("purposes"), Column("words", INTEGER)
    return Sheet(
        "Consents", "What each person consents to now, and how often it spoke of it. Scopes are salted.", columns, rows
    )


def grants(view: View) -> Sheet:
    """Every grant, latest first."""
    now = view.head.time if view.head else 0
    rows: list[Row] = []
    for grant in reversed(view.trail.grants.values()):
        terms = grant.terms
        rows.append(
            (
                grant.number,
                _party(view, terms.granter),
                _party(view, terms.reader),
                named(terms.purpose),
                _grant_state(view, grant, now),
                moment(terms.expiry) if terms.expiry else None,
                terms.consent_of if terms.consent_of != NOBODY else None,
                len(grant.uses),
                hexed(terms.scope),
            )
        )
    columns = (
        Column("grant", INTEGER),
        Column("granter", HASH),
        Column("reader", HASH),
        Column("purpose"),
        Column("state"),
        Column("expires", TIME),
        Column("while this person consents", HASH),
        Column("uses", INTEGER),
        Column("scope", HASH),
    )
    return Sheet("Grants", "Who may read what, what for and until when.", columns, rows)


def _grant_state(view: View, grant: GrantRecord, now: int) -> str:
    """Whether contracts/Permissions.sol would accept a request under the grant now, as far as the grant decides."""
    terms = grant.terms
    if terms.expiry <= now:
        return "over"
    if terms.consent_of != NOBODY:
        consent = view.trail.consent(terms.consent_of, terms.consent_scope) or ()
        return "in force" if terms.purpose in consent else "no consent"
    return "in force"


def delegations(view: View) -> Sheet:
    """Staff that may use what is granted to their organisation."""
    now = view.head.time if view.head else 0
    rows = [
        (
            name_of(view.history, member),
            staff,
            named(purpose),
            "over" if expiry <= now else "in force" if member in view.history.active else "member not active",
            moment(expiry),
        )
        for (member, staff, purpose), expiry in view.trail.delegations.items()
    ]
    columns = Column("member"), Column("staff", HASH), Column("purpose"), Column("state"), Column("expires", TIME)
    return Sheet("Delegations", "Staff that may use what was granted to their organisation.", columns, rows)


def readings(view: View) -> Sheet:
    """Every use of every grant, latest first."""
    rows = [
        (
            moment(view.times.get(use.block)),
            use.reader,
            named(use.role),
            name_of(view.history, use.voucher),
            name_of(view.history, use.holder),
            named(use.purpose),
            use.number,
            use.use,
            "answered" if use.holder in view.trail.released.get((use.number, use.use), {}) else "not answered",
            hexed(use.request),
            use.transaction,
        )
        for use in reversed(view.trail.uses())
    ]
    columns = (
        Column("time", TIME),
        Column("reader", HASH),
        Column("role"),
        Column("vouched for by"),
        Column("holder"),
        Column("purpose"),
        Column("grant", INTEGER),
        Column("use", INTEGER),
        Column("answer"),
        Column("request", HASH),
        Column("transaction", HASH),
    )
    return Sheet(
        "Readings", "The audit: every reading under a grant. Which records it was, its holder can tell.", columns, rows
    )


def emergencies(view: View) -> Sheet:
    """Every breaking of the glass, those awaiting review first."""
    cases = sorted(view.trail.emergencies.values(), key=lambda case: (case.verdict is not None, -case.number))
    rows: list[Row] = []
    for case in cases:
        opened = view.times.get(case.block)
        verdict = {None: "awaits review", True: "upheld", False: "rejected"}[case.verdict]
        due = moment(opened + REVIEW_SECONDS) if opened is not None and case.verdict is None else None
        reviewer = name_of(view.history, case.reviewer) if case.reviewer else None
        who = case.reader, named(case.role), name_of(view.history, case.voucher), name_of(view.history, case.holder)
        rows.append((case.number, moment(opened), *who, verdict, due, reviewer, hexed(case.reason), case.transaction))
    columns = (
        Column("emergency", INTEGER),
        Column("opened", TIME),
        Column("reader", HASH),
        Column("role"),
        Column("vouched for by"),
        Column("holder"),
        Column("verdict"),
        Column("review due", TIME),
        Column("reviewer"),
        Column("reason's digest", HASH),
        Column("transaction", HASH),
    )
    return Sheet("Emergencies", "Every breaking of the glass; those that await their review come first.", columns, rows)
