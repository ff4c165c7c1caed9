"""A node's faults: each is counted for the health page, and logged unless it is the same as last time."""

from __future__ import annotations

from hmchain.errors import (
    BlobError,
    ChainBehind,
    ChainError,
    ContractError,
    DataError,
    HMChainError,
    NonceClash,
    StorageError,
    TrainingError,
    UsageError,
)
from trainers.health import Health
from trainers.logs import defect, say, warn


class FaultLog:
    """What went wrong last, in each job and in the node itself (None)."""

    def __init__(self, health: Health) -> None:
        self._health = health
        self._last: dict[int | None, str] = {}

    def note(self, fault: Exception, job: int | None = None) -> None:
        """Counts a fault, and logs it unless it is the same as last time."""
        unreachable = isinstance(fault, ChainError) and not isinstance(fault, ContractError | NonceClash)
        self._health.failed(kind_of(fault), unreachable)
        text, facts = gist(fault), {} if job is None else {"job": job}
        if self._last.get(job) == text:
            return
        self._last[job] = text
        if isinstance(fault, ContractError):
            say("somebody was faster", **facts, reason=str(fault))
        elif isinstance(fault, HMChainError):
            warn("will try again", **facts, reason=str(fault))
        else:
            defect(fault, **facts)

    def forget(self, job: int | None = None) -> None:
        """Notes that all went well: the next fault is logged, whatever it is."""
        self._last.pop(job, None)


def gist(fault: Exception) -> str:
    """What tells a fault from another one: not the block that a chain is at, which is another one each time."""
    return type(fault).__name__ if isinstance(fault, ChainBehind) else f"{type(fault).__name__}: {fault}"


def kind_of(fault: Exception) -> str:
    """What a fault is counted as on the page of metrics."""
    kinds = {
        ContractError: "refused",
        ChainError: "chain",
        BlobError: "blobs",
        StorageError: "disk",
        TrainingError: "training",
        DataError: "data",
        UsageError: "usage",
    }
    return next((name for kind, name in kinds.items() if isinstance(fault, kind)), "defect")
