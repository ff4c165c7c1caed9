"""Whose turn it is where several may act, by the state of the round and the chain's clock (never the hospital's own).

The first in line acts, and the others follow at intervals: a silent member costs seconds, and no gas is wasted on
transactions that come second. Times are in seconds.
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
    """Whether a master may still wait for an update that is not available: while a third of the phase is left."""
    return state.phase == Phase.PRE_PREPARE and now < state.deadline - terms.score_seconds // 3


def needs_advance(state: RoundState, judged: bool, enrolled: int, active: int, terms: Terms, now: int) -> bool:
    """Whether only `advance` can move the job on: the round failed, nobody triggered its judgement, enough members have
    enrolled again, or all of them have, or the time that the others had to do so is over.

    enrolled, active: how many members are.
    """
    if state.phase == Phase.WAITING:
        return now > state.deadline or enrolled >= active if state.deadline else enrolled >= terms.masters
    return state.phase == Phase.FAILED or (state.phase == Phase.COMMIT and not judged)
