"""What hmchain.history leaves out: when things happened, when members were last heard from, ballots, reputations.

All of it follows from events, like hmchain.history, which pages read beside it.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from coordinator.ballots import MOTIONS
from hmchain.contract import Event
from hmchain.election import NEUTRAL, Pool
from hmchain.errors import Reason
from hmchain.history import History
from hmchain.rounds import Phase

# The last of these events ended a phase, where everybody said what was awaited; else the phase's deadline did.
ENDS = {
    "UpdateSubmitted": Phase.REQUEST,
    "ScoresCommitted": Phase.PRE_PREPARE,
    "UpdatesJudged": Phase.PREPARE,
    "ModelProposed": Phase.COMMIT,
    "RoundFinalized": Phase.REPLY,
}
# What a member itself sent, so that it was alive then, and the argument that says which member.
OWN_WORDS = {
    "DatasetCommitted": "member",
    "MemberEnrolled": "member",
    "UpdateSubmitted": "member",
    "ScoresCommitted": "member",
    "ScoresRevealed": "member",
    "ModelAttested": "member",
    "RotationAnnounced": "member",
    "VoteCast": "member",
    "BatchRegistered": "holder",
    "RecordErased": "holder",
    "PersonVouched": "member",
    "DelegationChanged": "member",
    "KeysReleased": "holder",
    "EmergencyKeysReleased": "holder",
    "EmergencyReviewed": "reviewer",
}

RoundName = tuple[int, int]  # job and round


@dataclass
class RoundClock:
    """Blocks by which a round moved on. ends: the last event of each phase that was seen. deadline is REQUEST's."""

    opened: int
    deadline: int
    ends: dict[Phase, int] = field(default_factory=dict)
    over: int | None = None
    transactions: set[str] = field(default_factory=set)


@dataclass
class Ballot:
    """A motion and its votes. subject is a member's number, or for an admission the candidate's account."""

    number: int
    motion: str
    subject: int | str
    opened: int
    expires: int
    voters: list[int] = field(default_factory=list)
    carried: bool = False
    departures: int = 0  # how many members had left when it was opened: the next departure closes it


@dataclass
class Chronicle:
    """All of this, up to the last event applied. `history` is the training history up to the same event."""

    history: History = field(default_factory=History)
    clocks: dict[RoundName, RoundClock] = field(default_factory=dict)
    heard: dict[int, int] = field(default_factory=dict)  # the block of a member's last own message
    ballots: dict[int, Ballot] = field(default_factory=dict)
    pools: dict[int, Pool] = field(default_factory=dict)  # by job
    reputations: dict[int, dict[int, list[tuple[int, int]]]] = field(default_factory=dict)  # job, member: round, value
    departures: int = 0

    def apply(self, events: Iterable[Event]) -> None:
        """Applies events in the order of the chain. Raises LookupError, ValueError where they do not follow."""
        for event in events:
            self.history.apply([event])
            if speaker := OWN_WORDS.get(event.name):
                self.heard[event.args[speaker]] = event.block
            if "round" in event.args and "job" in event.args:
                self._time(event)
            handler = getattr(self, f"_on_{event.name}", None)
            if handler is not None:
                handler(event.args, event)

    def reputation(self, job: int, member: int) -> int | None:
        """1 to 255; None for a member that never enrolled."""
        pool = self.pools.get(job)
        return pool.reputation.get(member) if pool else None

    def _time(self, event: Event) -> None:
        name = event.args["job"], event.args["round"]
        if event.name == "RoundOpened":
            self.clocks[name] = RoundClock(event.block, event.args["deadline"])
        clock = self.clocks.get(name)
        if clock is None:
            return
        if event.name != "RoundOpened":  # which comes in the transaction that ended the round before
            clock.transactions.add(event.transaction)
        if event.name in ENDS:
            clock.ends[ENDS[event.name]] = event.block
        if event.name in ("RoundFinalized", "RoundFailed"):
            clock.over = event.block

    def _on_MemberEnrolled(self, e: dict[str, Any], _: Event) -> None:
        self.pools.setdefault(e["job"], Pool()).enrol(e["member"])
        series = self.reputations.setdefault(e["job"], {}).setdefault(e["member"], [(0, NEUTRAL)])
        series[-1] = (series[-1][0], e["reputation"])  # the contract's own word on it
        self.pools[e["job"]].reputation[e["member"]] = e["reputation"]

    def _on_MemberWithdrawn(self, e: dict[str, Any], _: Event) -> None:
        self.pools[e["job"]].leave(e["member"])

    def _on_UpdatesJudged(self, e: dict[str, Any], _: Event) -> None:
        """contracts/Rounds.sol, _judge: what nobody scored teaches nothing, what was refused counts as 0."""
        record = self.history.jobs[e["job"]].rounds[e["round"]]
        judgement, pool = record.judgement, self.pools[e["job"]]
        assert judgement is not None
        for position, member in enumerate(record.clients):
            if judgement.medians[position] != Reason.UNSCORED:
                pool.learn(member, judgement.points(position))
                self.reputations[e["job"]][member].append((e["round"], pool.reputation[member]))

    def _on_MotionOpened(self, e: dict[str, Any], event: Event) -> None:
        candidate = e["candidate"]
        subject = e["member"] or f"{candidate['operator']}, key {candidate['encryptionKey'].hex()}"
        self.ballots[e["ballot"]] = Ballot(
            e["ballot"], MOTIONS[e["motion"]], subject, event.block, e["expiresAt"], departures=self.departures
        )

    def _on_VoteCast(self, e: dict[str, Any], _: Event) -> None:
        self.ballots[e["ballot"]].voters.append(e["member"])

    def _on_MotionCarried(self, e: dict[str, Any], _: Event) -> None:
        self.ballots[e["ballot"]].carried = True

    def _on_MemberStatusChanged(self, e: dict[str, Any], _: Event) -> None:
        if e["status"] != 1:
            self.departures += 1
