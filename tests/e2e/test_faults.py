"""Kill -9 and restarts at every boundary of the protocol: the run ends with the very model of the undisturbed one."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from queue import Empty, Queue
from threading import Lock

import pytest

from tests.e2e.proxy import Answer, Call, Forward, Rule
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


NODE, IPFS, CHAIN = "node", "ipfs", "chain"


def around(target: str, message: str) -> list[Fault]:
    """The two faults of a boundary: before the message is out, and after."""
    return [Fault(target, "before", message), Fault(target, "after", message)]


# What is set at the same time. Messages that are sent once must all be waited for before a node starts, in whatever
# order nodes come to them. A chain that is down brings everybody to the next boundary: one at a time.
MATRIX = {
    NODE: [[fault for message in ENTERING for fault in around(NODE, message)]]
    + [around(NODE, message) for message in (*ROUND, BLOB)],
    IPFS: [around(IPFS, message) for message in ROUND],
    CHAIN: [[fault] for message in ROUND for fault in around(CHAIN, message)],
}


class Traps:
    """Each strikes the first hospital that comes to its boundary; whatever it strikes is started again by the test."""

    def __init__(self, town: Town) -> None:
        self.town = town
        self.sprung: Queue[tuple[Fault, int]] = Queue()
        self._set: list[Fault] = []
        self._lock = Lock()
        for hospital in town.rpc:
            town.rpc[hospital].rule = self._rule(hospital)
            town.ipfs[hospital].rule = self._rule(hospital)

    def set(self, faults: list[Fault]) -> None:
        """Sets traps, besides those that wait for somebody."""
        with self._lock:
            self._set += faults

    def _rule(self, hospital: int) -> Rule:
        def rule(call: Call, forward: Forward) -> Answer | None:
            message = BLOB if call.path.startswith("/api/v0/add") else call.function
            with self._lock:
                fault = next((fault for fault in self._set if fault.message == message), None)
                if fault is not None:
                    self._set.remove(fault)
                    if fault.when == "after":
                        forward()
                    self._strike(fault, hospital)
                    self.sprung.put((fault, hospital))
                    return None
            return forward()

        return rule

    def _strike(self, fault: Fault, hospital: int) -> None:
        if fault.target == CHAIN:
            self.town.stop_chain()
        else:
            self.town.kill(f"{fault.target}-{hospital}")

    def recover(self, fault: Fault, hospital: int) -> None:
        """Starts again what was struck. Waits for the chain alone: another trap may strike the others as they start."""
        with self._lock:
            if fault.target == CHAIN:
                self.town.start_chain()
            elif fault.target == IPFS:
                self.town.start_ipfs(hospital, wait=False)
            else:
                self.town.start_node(hospital)


@pytest.fixture
def town(tmp_path: Path, data: Path) -> Iterator[Town]:
    town = Town(tmp_path / "town", data, rounds=8)
    yield town
    town.close()


@pytest.mark.parametrize("target", MATRIX)
def test_the_fault_matrix(town: Town, target: str, record_property: Callable[[str, object], None]) -> None:
    """Rows of the matrix, one after the other on one job, each at the first hospital that comes to the boundary."""
    expected = undisturbed(town.local)
    town.found()
    traps = Traps(town)
    for faults in MATRIX[target]:
        traps.set(faults)
        town.start_nodes()  # only the first time: they run then
        started, awaited = time.monotonic(), set(faults)
        while awaited:
            try:
                fault, victim = traps.sprung.get(timeout=PATIENCE)
            except Empty:
                pytest.fail(f"nobody came to {', '.join(map(str, awaited))}: {town.log(1)[-800:]}")
            traps.recover(fault, victim)
            awaited.remove(fault)
            record_property(str(fault), f"hospital {victim}, {time.monotonic() - started:.1f} s")
    history = town.wait_until_closed()

    rounds = history.jobs[1].rounds
    assert [record.number for record in rounds.values() if record.model is None] == []
    assert [record.silent() for record in rounds.values() if record.silent()] == []
    assert rounds[max(rounds)].model == expected
    twice = {key: count for key, count in town.sent().items() if count > 1 and key[0] != "advance"}
    assert twice == {}
