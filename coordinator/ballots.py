"""The votes of a consortium, read from its Ballots contract."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from coordinator.desk import Desk

MOTIONS = ("admit", "suspend", "reinstate", "remove")  # IBallots.Motion


def listing(desk: Desk) -> list[dict[str, Any]]:
    """Every vote ever called, oldest first. Raises ChainError."""
    table = desk.ballots
    departures, now = desk.client.call("departures"), desk.client.block().time
    ballots = {number: table.call("ballot", number) for number in range(1, table.call("ballotCount") + 1)}
    return [
        _row(ballot, number, table.call("quorum", ballot[1]), departures, now) for number, ballot in ballots.items()
    ]


def _row(ballot: Any, number: int, needed: int, departures: int, now: int) -> dict[str, Any]:
    motion, member, votes, expires, carried, departures_then, candidate = ballot
    operator, _, name = candidate
    text = bytes(name).rstrip(bytes(1)).decode(errors="replace")
    return {
        "ballot": number,
        "motion": MOTIONS[motion],
        "member": member,
        "candidate": f"{text if text.isprintable() else repr(text)} {operator}" if motion == 0 else None,
        "votes": votes,
        "needed": needed,
        "state": state_of(carried, expires, departures_then, now, departures),
        "expires": expires,
    }


def state_of(carried: bool, expires: int, departures_then: int, now: int, departures: int) -> str:
    """A ballot that is not carried is open until its time is over or another member departs."""
    open_ = now <= expires and departures_then == departures
    return "carried" if carried else "open" if open_ else "closed"
