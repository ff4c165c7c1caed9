"""Whose turn it is where several may act: from the round as it stands and the chain's clock, never the hospital's own.

What anyone may do is done by the first in line; the next ones follow at intervals, so that a silent one costs seconds
and an eager crowd costs no gas.
"""

from __future__ import annotations

from hmchain.rounds import Phase, RoundState, Terms, quorum_of

INTERVAL_SECONDS = 4  # between one member's turn and the next one's: a block or two


def interval(terms: Terms) -> int:
    """INTERVAL_SECONDS, or less where a phase is too short for all masters' turns."""
    return max(1, min(INTERVAL_SECONDS, terms.reply_seconds // (4 * terms.masters)))


def rank(state: RoundState, member: int, coordinator: bool) -> int:
    """A member's place in line to advance a round: the coordinator, the masters, everybody else."""
    if coordinator:
        return 0
    if member in state.masters:
        return 1 + state.masters.index(member)
    return 1 + len(state.masters) + member % 8


def may_propose(state: RoundState, terms: Terms, member: int, now: int) -> bool:
    """Whether it is a master's turn to post the aggregate: after half the time, or after a proposal without quorum."""
    if state.phase != Phase.COMMIT or member not in state.masters:
        return False
    position = state.masters.index(member)
    if position in state.proposed:
        return False
    wait = 0 if state.proposed else terms.reply_seconds - terms.reply_seconds // 2
    return now >= state.deadline - terms.reply_seconds + wait + position * interval(terms)


def may_attest(state: RoundState, terms: Terms, member: int, now: int) -> bool:
    """Whether it is a master's turn to attest: those beyond a quorum wait, since a quorum is likely to do."""
    if member not in state.masters:
        return False
    late = state.masters.index(member) >= quorum_of(len(state.masters))
    return now >= state.deadline - terms.reply_seconds + (interval(terms) if late else 0)


def waits_for_blobs(state: RoundState, terms: Terms, now: int) -> bool:
    """Whether a master that cannot find an update may still wait for it: while a third of the phase is left."""
    return state.phase == Phase.PRE_PREPARE and now < state.deadline - terms.score_seconds // 3


def needs_advance(state: RoundState, judged: bool, enrolled: int, terms: Terms) -> bool:
    """Whether the round goes on by `advance` alone: it failed, its updates were never judged, or members are back."""
    if state.phase == Phase.WAITING:
        return enrolled >= terms.masters
    return state.phase == Phase.FAILED or (state.phase == Phase.COMMIT and not judged)
