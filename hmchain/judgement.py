"""How masters' scores become verdicts: the median of every update against the job's standard value."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

from hmchain.errors import Reason
from hmchain.phases import revealed
from hmchain.rounds import RoundState, Terms
from hmchain.scores import MAX_BASIS_POINTS, basis_points, is_score, lower_median, unpack

NOTHING_PASSES = 65_535


class Ballot(NamedTuple):
    """What a master revealed: its scores, packed, and the salt of its commitment."""

    slots: tuple[int, ...]
    salt: bytes


@dataclass(frozen=True)
class Judgement:
    """The verdicts on a round's updates.

    accepted: client positions. standard: basis points. medians: score words by client position. base: the median word
    of the base model.
    """

    round: int
    accepted: frozenset[int]
    standard: int
    medians: tuple[int, ...]
    base: int

    @property
    def reachable(self) -> bool:
        """Whether any score at all could reach the standard."""
        return self.standard <= MAX_BASIS_POINTS

    def points(self, position: int) -> int:
        """The basis points that the client's reputation moves towards: its update's score, or 0 for a refused one."""
        return basis_points(self.medians[position]) if position in self.accepted else 0


def judge(state: RoundState, terms: Terms, ballots: Mapping[int, Ballot]) -> Judgement:
    """Judges a round's updates. ballots are by master position; only those revealed in this round are read."""
    clients = range(len(state.clients))
    words = {position: unpack(ballots[position].slots, len(clients) + 1) for position in revealed(state)}
    base = lower_median(scores[-1] for scores in words.values())
    standard = _standard(terms, base)
    medians = tuple(_median(state, words, client) for client in clients)
    accepted = frozenset(i for i in clients if is_score(medians[i]) and basis_points(medians[i]) >= standard)
    return Judgement(state.number, accepted, standard, medians, base)


def _standard(terms: Terms, base: int) -> int:
    """The standard value in basis points. A relative one passes nothing where the base model has no score."""
    if not terms.relative:
        return terms.standard
    return max(basis_points(base) - terms.standard, 0) if is_score(base) else NOTHING_PASSES


def _median(state: RoundState, words: Mapping[int, list[int]], client: int) -> int:
    """The median word of the masters on an update; a master's word on its own update does not count."""
    if client not in state.updates:
        return int(Reason.UNSCORED)
    author = state.clients[client]
    return lower_median(scores[client] for master, scores in words.items() if state.masters[master] != author)
