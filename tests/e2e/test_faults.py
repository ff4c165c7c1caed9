"""Kill -9 and restarts at every boundary of the protocol: the run ends with the very model of the undisturbed one."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from threading import Event, Lock

import pytest

from tests.e2e.proxy import Answer, Call, Forward
from tests.e2e.town import PATIENCE, Town, undisturbed

ENTERING = ("commitDataset", "publishKey", "enrol", "startJob")
BLOB = "a blob is stored"
ROUND = ("submitUpdate", "commitScores", "revealScores", "proposeModel", "attestModel")


@dataclass(frozen=True)
class Fault:
    """What is hit (the node that sends, its IPFS daemon, the chain), and when: before or after which message."""

    target: str
    when: str
    message: str

    def __str__(self) -> str:
        return f"{self.target} {self.when} {self.message}"


BOUNDARIES = {"node": (*ENTERING, *ROUND, BLOB), "ipfs": ROUND, "chain": ROUND}


class Trap:
    """Strikes the first hospital that sends the message; whatever it strikes is started again by the test."""

    def __init__(self, town: Town, fault: Fault) -> None:
        self.town, self.fault = town, fault
        self.sprung = Event()
        self.victim = 0
        self._lock = Lock()
        for hospital in town.rpc:
            town.rpc[hospital].rule = self._rule(hospital)
            town.ipfs[hospital].rule = self._rule(hospital)

    def _rule(self, hospital: int):  # type: ignore[no-untyped-def]
        def rule(call: Call, forward: Forward) -> Answer | None:
            stored = call.path.startswith("/api/v0/add") and self.fault.message == BLOB
            if not stored and call.function != self.fault.message:
                return forward()
            with self._lock:
                if self.sprung.is_set():
                    return forward()
                self.victim = hospital
                if self.fault.when == "after":
                    forward()
                self._strike(hospital)
                self.sprung.set()
            return None

        return rule

    def _strike(self, hospital: int) -> None:
        if self.fault.target == "chain":
            self.town.stop_chain()
        else:
            self.town.kill(f"{self.fault.target}-{hospital}")

    def recover(self) -> None:
        """Starts again what was struck."""
        if self.fault.target == "chain":
            self.town.start_chain()
        elif self.fault.target == "ipfs":
            self.town.start_ipfs(self.victim)
        else:
            self.town.start_node(self.victim)


@pytest.fixture
def town(tmp_path: Path, data: Path) -> Iterator[Town]:
    town = Town(tmp_path / "town", data, rounds=8)
    yield town
    town.close()


@pytest.mark.parametrize("target", BOUNDARIES)
def test_the_fault_matrix(town: Town, target: str, record_property: Callable[[str, object], None]) -> None:
    """Rows of the matrix, one after the other on one job, each at the first hospital that comes to the boundary."""
    expected = undisturbed(town.local)
    town.found()
    faults = [Fault(target, when, message) for message in BOUNDARIES[target] for when in ("before", "after")]
    trap = Trap(town, faults[0])
    town.start_nodes()
    for fault in faults:
        trap = trap if fault == trap.fault else Trap(town, fault)
        started = time.monotonic()
        assert trap.sprung.wait(PATIENCE), f"nobody came to {fault}: {town.log(1)[-800:]}"
        trap.recover()
        record_property(str(fault), f"hospital {trap.victim}, {time.monotonic() - started:.1f} s")
    history = town.wait_until_closed()

    rounds = history.jobs[1].rounds
    assert [record.number for record in rounds.values() if record.model is None] == []
    assert [record.silent() for record in rounds.values() if record.silent()] == []
    assert rounds[max(rounds)].model == expected
    twice = {key: count for key, count in town.sent().items() if count > 1 and key[0] != "advance"}
    assert twice == {}
