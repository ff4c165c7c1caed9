"""What the contract and the plain model of the protocol share: terms, phases, the state of a round.

Phases and their order, field names and units are those of contracts/interfaces/ITraining.sol.
"""

from __future__ import annotations

from dataclasses import astuple, dataclass
from enum import IntEnum

from hmchain.errors import ChainError

COORDINATOR = 15  # the position under which the coordinator proposes
MAX_CLIENTS = 56
MAX_MASTERS = 15
MAX_SAMPLES = 2**17  # the most that one update may count for; MAX_CLIENTS of them stay within exact aggregation


class Phase(IntEnum):
    """The paper's phases, in the order a round passes them."""

    NONE = 0
    ENROLMENT = 1
    WAITING = 2
    REQUEST = 3
    PRE_PREPARE = 4
    PREPARE = 5
    COMMIT = 6
    REPLY = 7
    FAILED = 8
    CLOSED = 9


def phase_of(word: int) -> Phase:
    """The phase that a contract's answer names. Raises ChainError for one that there is not."""
    if word not in Phase._value2member_map_:
        raise ChainError(f"the contract's answer names a phase {word}, which there is not")
    return Phase(word)


@dataclass(frozen=True)
class Terms:
    """A job's parameters that the contract enforces. Shares and scores in basis points, times in seconds."""

    rounds: int
    fraction: int
    masters: int
    term_rounds: int
    relative: bool
    standard: int
    request_seconds: int
    score_seconds: int
    reveal_seconds: int
    reply_seconds: int

    def to_abi(self) -> tuple[int, ...]:
        """The values in the order of the contract's struct."""
        return astuple(self)


@dataclass(frozen=True)
class RoundState:
    """A round as a transaction sent now would meet it. deadline is in seconds since 1970; in WAITING 0 until enough
    members are enrolled.

    Sets hold positions, which the contract keeps as bits: awaited clients have not submitted; updates were submitted,
    and are narrowed to the accepted ones when judged; masters are uncommitted, unrevealed (committed, not revealed),
    have attested the candidate, or have proposed (COORDINATOR for the coordinator).
    """

    number: int
    completed: int
    phase: Phase
    deadline: int
    clients: tuple[int, ...]  # member numbers by position
    masters: tuple[int, ...]
    awaited: frozenset[int]
    updates: frozenset[int]
    uncommitted: frozenset[int]
    unrevealed: frozenset[int]
    attested: frozenset[int]
    proposed: frozenset[int]


def quorum_of(masters: int) -> int:
    """floor(2M/3) + 1: with M = 3f + 1 masters, f of them may be at fault."""
    return 2 * masters // 3 + 1


def clients_of(enrolled: int, fraction: int) -> int:
    """Clients of a round: `fraction` basis points of the enrolled members, at least 1, at most MAX_CLIENTS."""
    return min(max(enrolled * fraction // 10_000, 1), MAX_CLIENTS)
