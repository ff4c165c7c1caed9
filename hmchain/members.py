"""The members as a job sees them, and how they enter and leave its draws (contracts/MasterElection.sol).

Members are numbers from 1; None stands for an account that is no member's, such as the coordinator's.
"""

from __future__ import annotations

from abc import ABC, abstractmethod

from hmchain.election import CAPACITY, Pool
from hmchain.errors import ContractError


def require(fits: bool, error: str, *arguments: object) -> None:
    """Refuses a call as the contract would, unless it fits. Raises ContractError with the contract's error."""
    if not fits:
        raise ContractError(error, arguments)


class Members(ABC):
    """The members of one job: who committed to a data set. All but the suspended are active; votes are not modelled."""

    def __init__(self, job: int) -> None:
        self.job = job
        self.pool = Pool()
        self.samples: dict[int, int] = {}
        self._suspended: set[int] = set()

    def suspend(self, member: int) -> None:
        """The consortium has suspended or removed a member by vote."""
        self._suspended.add(member)

    def reinstate(self, member: int) -> None:
        """The consortium has reinstated a suspended member by vote."""
        self._suspended.discard(member)

    def commit_dataset(self, member: int, samples: int) -> None:
        """A member commits to its records; their number caps the weight of its updates."""
        self.require_active(member)
        self.samples[member] = samples

    def enrol(self, member: int) -> None:
        """A member enters the draws, for the first time or again."""
        self.require_active(member)
        self._require_open()
        self._require_no_draw_pending()
        require(member < CAPACITY, "ElectionFull", member)
        require(member not in self.pool.enrolled, "AlreadyEnrolled", self.job, member)
        self.pool.enrol(member)

    def withdraw(self, member: int) -> None:
        """A member leaves the draws; a running round still expects what it was drawn for."""
        self._require_no_draw_pending()
        self.require_active(member)
        require(member in self.pool.enrolled, "NotEnrolled", self.job, member)
        self.pool.leave(member)

    def strike(self, member: int) -> None:
        """Anyone takes a suspended or removed member out of the draws."""
        self._require_no_draw_pending()
        require(member in self.pool.enrolled, "NotEnrolled", self.job, member)
        require(member in self._suspended, "StillActive", member)
        self.pool.leave(member)

    def require_active(self, member: int | None) -> None:
        """Raises ContractError unless an active member is acting."""
        require(member is not None and member not in self._suspended, "NotActiveMember", member)

    def require_enrolled(self, needed: int) -> None:
        """Raises ContractError while fewer members than that can be drawn."""
        enrolled = len(self.pool.enrolled)
        require(enrolled >= needed, "TooFewEnrolled", enrolled, needed)

    def all_enrolled(self) -> bool:
        """Whether as many members can be drawn as are active."""
        return len(self.pool.enrolled) >= len(self.samples.keys() - self._suspended)

    @abstractmethod
    def _require_open(self) -> None:
        """Raises ContractError once the job no longer takes members."""

    @abstractmethod
    def _require_no_draw_pending(self) -> None:
        """Raises ContractError while the next draw's seed is known: who is enrolled must not change then."""
