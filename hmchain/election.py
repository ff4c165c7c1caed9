"""Who is drawn for a round, in plain Python: masters by reputation, clients uniformly (contracts/MasterElection.sol).

The contract finds the same members without a loop over the membership (contracts/lib/SumTree.sol, Lots.sol). Here they
lie side by side on a line in ascending order of number, each as long as its weight, and whoever a random point hits is
drawn and taken off the line.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import accumulate

from eth_utils import keccak

NEUTRAL = 128
HIGHEST = 255
CAPACITY = 2048  # numbers from here on cannot enrol: the contract's sum tree ends

MASTERS_DRAW = 0
CLIENTS_DRAW = 1


@dataclass
class Pool:
    """The members enrolled for a job, and the reputation (1 to 255, by member number) of all that ever were.

    A member that leaves the draws keeps its reputation.
    """

    reputation: dict[int, int] = field(default_factory=dict)
    enrolled: set[int] = field(default_factory=set)

    def enrol(self, member: int) -> None:
        """Enters a member into the draws. A newcomer starts at NEUTRAL, any other with the reputation it had."""
        self.reputation.setdefault(member, NEUTRAL)
        self.enrolled.add(member)

    def leave(self, member: int) -> None:
        """Takes a member out of the draws, if it is in them."""
        self.enrolled.discard(member)

    def learn(self, member: int, basis_points: int) -> None:
        """Moves a member's reputation a quarter of the way to its score, whether it is enrolled or not."""
        score = basis_points * HIGHEST // 10_000
        self.reputation[member] = max((3 * self.reputation[member] + score + 2) // 4, 1)


@dataclass(frozen=True)
class Committee:
    """The masters of a round by position, and the round in which their term began."""

    members: tuple[int, ...] = ()
    since: int = 0


def elect_masters(
    pool: Pool, outgoing: Committee, round: int, count: int, term_rounds: int, seed: bytes, dismissed: bool = False
) -> Committee:
    """The masters of `round`. The caller makes sure that at least `count` members are enrolled.

    A committee serves `term_rounds` rounds; a master that left the draws is replaced at its position. At the end of its
    term, or when it is dismissed, a new committee is elected, and the outgoing one sits this election out
    unless the consortium is too small for two committees.
    """
    over = dismissed or not outgoing.members or round - outgoing.since >= term_rounds
    if not over:
        return _replace_absent(pool, outgoing, round, seed)
    cool_down = len(pool.enrolled) >= 2 * count
    line = _line(pool, without=outgoing.members if cool_down else ())
    number = _draw_seed(seed, round, MASTERS_DRAW)
    return Committee(tuple(_draw(line, number, turn) for turn in range(count)), round)


def draw_clients(pool: Pool, masters: tuple[int, ...], round: int, count: int, seed: bytes) -> tuple[int, ...]:
    """The clients of `round`: distinct members by position, none of them a master while there are enough others."""
    apart = len(pool.enrolled) >= count + len(masters)
    line = dict.fromkeys(_line(pool, without=masters if apart else ()), 1)
    number = _draw_seed(seed, round, CLIENTS_DRAW)
    return tuple(_draw(line, number, turn) for turn in range(count))


def _replace_absent(pool: Pool, committee: Committee, round: int, seed: bytes) -> Committee:
    """The same committee, with another member in place of each that left the draws."""
    line = _line(pool, without=committee.members)
    number = _draw_seed(seed, round, MASTERS_DRAW)
    members = (
        member if member in pool.enrolled else _draw(line, number, turn)
        for turn, member in enumerate(committee.members)
    )
    return Committee(tuple(members), committee.since)


def _line(pool: Pool, without: Iterable[int]) -> dict[int, int]:
    """Reputation by member, in ascending order of number."""
    return {member: pool.reputation[member] for member in sorted(pool.enrolled.difference(without))}


def _draw(line: dict[int, int], seed: int, turn: int) -> int:
    """Takes the member at a random point off the line."""
    ends = list(accumulate(line.values()))
    point = int.from_bytes(keccak(seed.to_bytes(32) + turn.to_bytes(32))) % ends[-1]
    member = list(line)[bisect_right(ends, point)]
    del line[member]
    return member


def _draw_seed(seed: bytes, round: int, purpose: int) -> int:
    return int.from_bytes(keccak(seed + round.to_bytes(32) + purpose.to_bytes(32)))
