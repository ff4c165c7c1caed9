"""Members, their reputations, and the votes on them."""

from __future__ import annotations

from collections import Counter

from coordinator.ballots import state_of
from coordinator.dashboard.reading import View
from coordinator.dashboard.sheet import Column, Kind, Row, Sheet, hexed, moment
from coordinator.dashboard.tables.training import name_of
from hmchain.history import History

INTEGER, HASH, TIME = Kind.INTEGER, Kind.HASH, Kind.TIME


def members(view: View) -> Sheet:
    """Every member, with its keys and how often it trained and judged."""
    history, chronicle = view.history, view.chronicle
    trained, accepted, terms = _counts(history)
    last = view.job()
    rows: list[Row] = [
        (
            member,
            name_of(history, member),
            "active" if member in history.active else "not active",
            chronicle.reputation(last, member),
            "yes" if last and member in history.jobs[last].enrolled else "no",
            history.samples.get(member),
            trained[member],
            accepted[member],
            terms[member],
            moment(view.times.get(chronicle.heard[member])) if member in chronicle.heard else None,
            operator,
            hexed(history.keys.get(member)),
        )
        for member, operator in history.members.items()
    ]
    columns = (
        Column("member", INTEGER),
        Column("name"),
        Column("status"),
        Column("reputation", INTEGER),
        Column("in the draws"),
        Column("samples", INTEGER),
        Column("updates", INTEGER),
        Column("accepted", INTEGER),
        Column("rounds as master", INTEGER),
        Column("last heard", TIME),
        Column("operator", HASH),
        Column("encryption key", HASH),
    )
    about = "Reputation (1 to 255, newcomers 128) and draws are of the latest job that has rounds."
    return Sheet("Members", about, columns, rows)


def _counts(history: History) -> tuple[Counter[int], Counter[int], Counter[int]]:
    """By member: updates sent, updates accepted, rounds as a master."""
    trained, accepted, terms = Counter[int](), Counter[int](), Counter[int]()
    for job in history.jobs.values():
        for record in job.rounds.values():
            trained.update(update.member for update in record.updates.values())
            accepted.update(update.member for update in record.accepted())
            terms.update(record.masters)
    return trained, accepted, terms


def reputations(view: View) -> Sheet:
    """Every member's reputation over time."""
    rows = [
        (job, round, name_of(view.history, member), value)
        for job, by_member in view.chronicle.reputations.items()
        for member, series in by_member.items()
        for round, value in series
    ]
    columns = Column("job", INTEGER), Column("round", INTEGER), Column("member"), Column("reputation", INTEGER)
    return Sheet(
        "Reputations", "After every round that judged an update of the member; round 0: as it began.", columns, rows
    )


def ballots(view: View) -> Sheet:
    """Every vote on membership, latest first."""
    now = view.head.time if view.head else 0
    rows = [
        (
            ballot.number,
            ballot.motion,
            name_of(view.history, ballot.subject) if isinstance(ballot.subject, int) else ballot.subject,
            state_of(ballot.carried, ballot.expires, ballot.departures, now, view.chronicle.departures),
            len(ballot.voters),
            ", ".join(map(str, ballot.voters)),
            moment(view.times.get(ballot.opened)),
            moment(ballot.expires),
        )
        for ballot in reversed(view.chronicle.ballots.values())
    ]
    columns = (
        Column("ballot", INTEGER),
        Column("motion"),
        Column("concerns"),
        Column("state"),
        Column("votes", INTEGER),
        Column("voters' numbers"),
        Column("opened", TIME),
        Column("expires", TIME),
    )
    return Sheet("Ballots", "Votes to admit, suspend, reinstate or remove a member.", columns, rows)
