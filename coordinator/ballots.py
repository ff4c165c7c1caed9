"""The votes of a consortium, read from its Ballots contract."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from hmchain.errors import UsageError

if TYPE_CHECKING:
    from coordinator.desk import Desk
    from hmchain.card import Card
    from hmchain.chain import ChainClient

MOTIONS = ("admit", "suspend", "reinstate", "remove")  # IBallots.Motion


def listing(desk: Desk) -> list[dict[str, Any]]:
    """Every vote ever called, oldest first. Raises ChainError."""
    table = desk.ballots
    departures, now, needed = desk.client.call("departures"), desk.client.block().time, table.call("quorum")
    ballots = {number: table.call("ballot", number) for number in range(1, table.call("ballotCount") + 1)}
    return [_row(ballot, number, needed, departures, now) for number, ballot in ballots.items()]


def _row(ballot: Any, number: int, needed: int, departures: int, now: int) -> dict[str, Any]:
    motion, member, votes, expires, carried, departures_then, candidate = ballot
    operator, key, name = candidate
    text = bytes(name).rstrip(bytes(1)).decode(errors="replace")
    return {
        "ballot": number,
        "motion": MOTIONS[motion],
        "member": member,
        "candidate": f"{text if text.isprintable() else repr(text)} {operator}" if motion == 0 else None,
        "key": bytes(key).hex() if motion == 0 else None,
        "votes": votes,
        "needed": needed,
        "state": state_of(carried, expires, departures_then, now, departures),
        "expires": expires,
    }


def state_of(carried: bool, expires: int, departures_then: int, now: int, departures: int) -> str:
    """A ballot that is not carried is open until its time is over or another member departs."""
    open_ = now <= expires and departures_then == departures
    return "carried" if carried else "open" if open_ else "closed"


def check_candidate(table: ChainClient, number: int, card: Card) -> None:
    """Whoever proposes a newcomer writes down its keys, and may write its own: the newcomer's card tells.

    Raises UsageError where the vote is not about the card, ChainError.
    """
    motion, *_, candidate = table.call("ballot", number)
    if MOTIONS[motion] != "admit":
        raise UsageError(f"ballot {number} is to {MOTIONS[motion]} a member: a card goes with an admission")
    pairs = zip(("operator account", "encryption key", "name"), candidate, card.to_abi(), strict=True)
    others = [what for what, proposed, handed in pairs if proposed != handed]
    if others:
        raise UsageError(f"ballot {number} has another {', '.join(others)} than the card of {card.name}: not voted")
