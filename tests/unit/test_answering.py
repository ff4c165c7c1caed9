"""The node's thread that answers: what it does when something fails, and when it works again."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import cast

import pytest

from coordinator.ballots import MOTIONS
from hmchain.chain import ChainClient
from hmchain.contract import Artifact
from hmchain.errors import ChainError, DaemonError
from trainers.config import Blobs, Chain, Config, Records
from trainers.keystore import Keys
from trainers.records import answering
from trainers.records.answering import LONGEST_PAUSE, LOOK_SECONDS, Answering
from trainers.records.releasing import Releasing

from .case import Case
from .ward import Ward

POLL = 0.5


class Script:
    """Stands in for Releasing: each step does the next of these things, and after the last one the thread ends."""

    def __init__(self, thread: Answering, steps: list[Exception | bool]) -> None:
        self.thread, self.steps = thread, iter(steps)

    def step(self) -> bool:
        found = next(self.steps, None)
        if found is None:
            self.thread._stop.set()
            return True
        if isinstance(found, Exception):
            raise found
        return found


def waits_of(ward: Ward, monkeypatch: pytest.MonkeyPatch, *steps: Exception | bool) -> list[float]:
    """How long it waits after each of these."""
    config = Config(name="H1", chain=Chain(poll_seconds=POLL))
    thread, waits = Answering(config, Keys(ward.hospitals[0]), ward.consortium, 1), []
    monkeypatch.setattr(thread, "_open", lambda _: cast(Releasing, Script(thread, list(steps))))
    monkeypatch.setattr(thread._stop, "wait", waits.append)
    thread._run()
    return waits[: len(steps)]


def test_it_waits_longer_while_something_fails_and_not_when_it_works_again(
    ward: Ward, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(logging.getLogger("hmchain.node"), "propagate", True)
    down = ChainError("down")
    waits = waits_of(ward, monkeypatch, down, down, down, True, False, down, ValueError())
    assert waits == [2 * POLL, 4 * POLL, 8 * POLL, 0.0, LOOK_SECONDS, 2 * POLL, 4 * POLL]
    said = [record.getMessage() for record in caplog.records]
    assert said == ["requests for records wait", "requests for records wait", "defect"], "once for each time it fails"
    assert max(waits_of(ward, monkeypatch, *[down] * 20)) == LONGEST_PAUSE


def test_it_answers_once_its_store_works(ward: Ward, monkeypatch: pytest.MonkeyPatch) -> None:
    """What it opened stays open: a request that was put off is still put off after a fault."""
    config = Config(
        name="H1",
        chain=Chain(poll_seconds=0.01),
        blobs=Blobs(store=str(ward.folder / "blobs")),
        records=Records(folder=ward.folder / "records-1"),
    )
    case = Case(ward)
    which, tries = ward.ask(case.physician, case.grant), iter([DaemonError("down"), DaemonError("down")])
    monkeypatch.setattr(answering, "connect", lambda *_: ward.chain.web3)
    monkeypatch.setattr(answering, "open_store", faulty(tries, answering.open_store))
    thread = Answering(config, Keys(ward.hospitals[0]), ward.consortium, 1)
    monkeypatch.setattr(thread._stop, "wait", lambda _: thread._stop.set() if answered(ward, which) else None)
    thread._run()
    found = ward.reader(case.physician).records(ward.envelope(which), 1)
    assert [record.value["what"][1] for record in found] == ["a", "b"]


def answered(ward: Ward, which: tuple[int, int]) -> bool:
    return which in ward.archive(2).trail().released


def faulty(faults: Iterator[Exception], call: Callable[..., object]) -> Callable[..., object]:
    """The call, once there are no more faults."""

    def tried(*arguments: object) -> object:
        for fault in faults:
            raise fault
        return call(*arguments)

    return tried


def test_who_is_active_is_asked_of_the_chain(tmp_path: Path) -> None:
    """When an answer is written: another thread's view of it may be old, or about to be read anew."""
    ward = Ward.found(tmp_path, members=3)
    registry = ward.archive().registry
    assert [registry.is_active(member) for member in (1, 2, 3)] == [True, True, True]
    table = Artifact.load("Ballots")
    first, second = (
        ChainClient(ward.chain.web3, hospital.account, registry.members.call("ballots"), table)
        for hospital in ward.hospitals[:2]
    )
    first.transact("proposeMotion", MOTIONS.index("suspend"), 3)
    second.transact("vote", 1)
    assert [registry.is_active(member) for member in (1, 2, 3)] == [True, True, False]
