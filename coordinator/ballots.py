"""A consortium's ballots (votes on its members), read from the Ballots contract."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from eth_utils import keccak

from hmchain.errors import UsageError

if TYPE_CHECKING:
    from coordinator.session import Session
    from hmchain.card import Card
    from hmchain.chain import ChainClient
    from hmchain.contract import Receipt

MOTIONS = ("admit", "suspend", "reinstate", "remove")  # IBallots.Motion
STATUSES = ("none", "active", "suspended", "removed")  # IConsortium.Status
MAY_BE = {"suspend": (1,), "reinstate": (2,), "remove": (1, 2)}  # what a member is before, see changeStatus


def listing(session: Session) -> list[dict[str, Any]]:
    """Every ballot ever opened, oldest first, one dictionary each. Raises ChainError."""
    contract = session.ballots
    departures, now = session.client.call("departures"), session.client.block().time
    needed = contract.call("quorum")
    ballots = {number: contract.call("ballot", number) for number in range(1, contract.call("ballotCount") + 1)}
    return [_row(ballot, number, needed, departures, now) for number, ballot in ballots.items()]


def _row(ballot: Any, number: int, needed: int, departures: int, now: int) -> dict[str, Any]:
    motion, member, votes, expires, carried, departures_then, candidate = ballot
    return {
        "ballot": number,
        "motion": MOTIONS[motion],
        "member": member,
        "candidate": _candidate(candidate) if motion == 0 else None,
        "key": bytes(candidate[1]).hex() if motion == 0 else None,
        "votes": votes,
        "needed": needed,
        "state": state_of(carried, expires, departures_then, now, departures),
        "expires": expires,
    }


def _candidate(organisation: Any) -> str:
    operator, _, name = organisation
    text = bytes(name).rstrip(bytes(1)).decode(errors="replace")
    return f"{text if text.isprintable() else repr(text)} {operator}"


def state_of(carried: bool, expires: int, departures_then: int, now: int, departures: int) -> str:
    """ "carried", "open" or "closed": a ballot not yet carried is open until it expires or any member departs.

    expires and now are in seconds; departures counts the departures there have been, departures_then those there had
    been when the ballot was opened.
    """
    open_ = now <= expires and departures_then == departures
    return "carried" if carried else "open" if open_ else "closed"


def title(ballot: Any) -> str:
    """What a ballot as the contract gives it is about, in words: "to suspend member 3"."""
    motion, member, *_, candidate = ballot
    return f"to {MOTIONS[motion]} {_candidate(candidate) if MOTIONS[motion] == 'admit' else f'member {member}'}"


def cast_vote(contract: ChainClient, number: int, ballot: Any) -> Receipt:
    """Votes for what the ballot was seen to be about. Raises ContractError where the chain's is another, ChainError."""
    motion, member, *_, candidate = ballot
    matter = keccak(
        contract.web3.codec.encode(["uint8", "uint16", "(address,bytes32,bytes32)"], [motion, member, candidate])
    )
    return contract.transact("vote", number, matter)


def check_motion(session: Session, motion: str, subject: Any) -> None:
    """Refuses a vote that could only end in the consortium's refusal. subject: the candidate, or a member's number.

    The contract would open it, as only the last vote carries a motion out. Raises UsageError, ContractError.
    """
    if motion == "admit":
        number, _ = session.client.call("memberOf", subject[0])
        if number:
            raise UsageError(f"{subject[0]} is the account of member {number} already")
        return
    _, status, *_ = session.client.call("member", subject)
    if status not in MAY_BE[motion]:
        raise UsageError(f"member {subject} is {STATUSES[status]}: a vote to {motion} it could not be carried out")


def check_candidate(number: int, ballot: Any, card: Card) -> None:
    """Compares a ballot on an admission with the newcomer's own card.

    Whoever proposes a newcomer writes that member's keys into the ballot, and could write its own instead. Raises
    UsageError where the ballot is not an admission or differs from the card.
    """
    motion, *_, candidate = ballot
    if MOTIONS[motion] != "admit":
        raise UsageError(f"ballot {number} is to {MOTIONS[motion]} a member: a card goes with an admission")
    pairs = zip(("operator account", "encryption key", "name"), candidate, card.to_abi(), strict=True)
    others = [what for what, proposed, handed in pairs if proposed != handed]
    if others:
        raise UsageError(f"ballot {number} has another {', '.join(others)} than the card of {card.name}: not voted")
