"""How a round passes from phase to phase, by its messages or by the clock (contracts/lib/RoundClock.sol)."""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

from hmchain.rounds import Phase, RoundState, Terms, quorum_of

NONE: frozenset[int] = frozenset()

_NEXT = {
    Phase.REQUEST: Phase.PRE_PREPARE,
    Phase.PRE_PREPARE: Phase.PREPARE,
    Phase.PREPARE: Phase.COMMIT,
    Phase.REPLY: Phase.COMMIT,  # the proposed model found no quorum in time: another one may be proposed
}


class Outcome(NamedTuple):
    """How a round ended: with a new global model, or without one, and in which phase."""

    round: int
    phase: Phase
    model: bytes | None


def first_state() -> RoundState:
    """A job before its first round."""
    return RoundState(0, 0, Phase.ENROLMENT, 0, (), (), NONE, NONE, NONE, NONE, NONE, NONE)


def open_round(
    state: RoundState, terms: Terms, now: int, clients: tuple[int, ...], masters: tuple[int, ...]
) -> RoundState:
    """The state at the start of REQUEST: every client still owes an update, every master a commitment. now: seconds."""
    return replace(
        first_state(),
        number=state.number,
        completed=state.completed,
        phase=Phase.REQUEST,
        deadline=now + terms.request_seconds,
        clients=clients,
        masters=masters,
        awaited=frozenset(range(len(clients))),
        uncommitted=frozenset(range(len(masters))),
    )


def roll(state: RoundState, terms: Terms, now: int) -> tuple[RoundState, bool]:
    """Moves a round on through every deadline that has passed. The flag says that it failed, in the phase returned."""
    while Phase.REQUEST <= state.phase <= Phase.REPLY and now > state.deadline:
        if not _outlives_deadline(state):
            return state, True
        state = next_phase(state, terms, state.deadline)
    return state, False


def draw_pending(state: RoundState, now: int) -> bool:
    """Whether nobody may enter or leave the draws: the next one's seed is known, or about to be. now: seconds."""
    if state.phase == Phase.WAITING:
        return 0 < state.deadline < now
    return Phase.PREPARE <= state.phase <= Phase.FAILED


def next_phase(state: RoundState, terms: Terms, start: int) -> RoundState:
    """The phase that follows, with its deadline. `start` is now, or the deadline that ended the phase before."""
    phase = _NEXT[state.phase]
    if phase == Phase.PRE_PREPARE:
        return replace(state, phase=phase, deadline=start + terms.score_seconds)
    if phase == Phase.PREPARE:
        committed = _positions(state) - state.uncommitted
        return replace(state, phase=phase, deadline=start + terms.reveal_seconds, unrevealed=committed)
    return replace(state, phase=phase, deadline=start + terms.reply_seconds)


def revealed(state: RoundState) -> frozenset[int]:
    """Positions of the masters that committed and revealed."""
    return _positions(state) - state.uncommitted - state.unrevealed


def _outlives_deadline(state: RoundState) -> bool:
    """Whether enough messages came by the phase's deadline for the round to go on."""
    quorum = quorum_of(len(state.masters))
    if state.phase == Phase.REQUEST:
        return bool(state.updates)
    if state.phase == Phase.PRE_PREPARE:
        return len(_positions(state) - state.uncommitted) >= quorum
    if state.phase == Phase.PREPARE:
        return len(revealed(state)) >= quorum
    return state.phase == Phase.REPLY and not _positions(state) <= state.proposed


def _positions(state: RoundState) -> frozenset[int]:
    return frozenset(range(len(state.masters)))
