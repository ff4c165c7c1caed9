"""The node's thread that answers: what it does when something fails, and when it works again."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import cast

import pytest

from coordinator.ballots import MOTIONS, cast_vote
from hmchain.chain import ChainClient
from hmchain.contract import Artifact
from hmchain.errors import ChainBehind, ChainError, ContractError, DaemonError, StorageError
from hmchain.permits import Role
from trainers.config import Blobs, Chain, Config, Records
from trainers.health import Health
from trainers.keystore import Keys
from trainers.records import answering
from trainers.records.answering import LONGEST_PAUSE, LOOK_SECONDS, Answering
from trainers.records.releasing import Releasing

from .case import Case
from .ward import Ward, record

POLL = 0.5
KINDS = "disk", "defect", "chain"


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


def waits_of(
    ward: Ward, monkeypatch: pytest.MonkeyPatch, *steps: Exception | bool, health: Health | None = None
) -> list[float]:
    """How long it waits after each of these."""
    config = Config(name="H1", chain=Chain(poll_seconds=POLL))
    thread, waits = Answering(config, Keys(ward.hospitals[0]), ward.consortium, 1, health or Health(60.0)), []
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
    assert max(waits_of(ward, monkeypatch, *[ChainBehind("behind")] * 20)) == LOOK_SECONDS, "it soon catches up"


def test_its_faults_are_on_the_page_of_metrics(ward: Ward, monkeypatch: pytest.MonkeyPatch) -> None:
    """An alert is on defects and on a full disk, whichever thread meets them."""
    health = Health(60.0)
    waits_of(ward, monkeypatch, StorageError("full"), StorageError("full"), True, ValueError(), health=health)
    counted = {kind: health.registry.get_sample_value("hmchain_faults_total", {"kind": kind}) for kind in KINDS}
    assert counted == {"disk": 2, "defect": 1, "chain": None}


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
    thread = Answering(config, Keys(ward.hospitals[0]), ward.consortium, 1, Health(60.0))
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


def suspend(ward: Ward, member: int) -> None:
    """All others vote for it."""
    table, ballots = Artifact.load("Ballots"), ward.archive().registry.members.call("ballots")
    others = [hospital.account for number, hospital in enumerate(ward.hospitals, 1) if number != member]
    first, *more = (ChainClient(ward.chain.web3, account, ballots, table) for account in others)
    first.transact("proposeMotion", MOTIONS.index("suspend"), member)
    for voter in more:
        cast_vote(voter, 1, voter.call("ballot", 1))


def test_who_is_active_is_asked_of_the_chain(tmp_path: Path) -> None:
    """When an answer is written: another thread's view of it may be old, or about to be read anew."""
    ward = Ward.found(tmp_path, members=3)
    registry = ward.archive().registry
    assert [registry.is_active(member) for member in (1, 2, 3)] == [True, True, True]
    suspend(ward, 3)
    assert [registry.is_active(member) for member in (1, 2, 3)] == [True, True, False]


def test_a_suspended_holder_writes_no_keys_each_time_it_tries(tmp_path: Path) -> None:
    ward = Ward.found(tmp_path, members=3)
    physician = ward.person(Role.PHYSICIAN, 2)
    ward.take(record(["x", "about nobody"]))
    which = ward.ask(physician, ward.grant(None, physician.account.address))
    suspend(ward, 1)
    before, releasing = set((tmp_path / "blobs").iterdir()), ward.releasing()
    for _ in range(2):
        with pytest.raises(ContractError, match="NotActiveMember"):
            releasing.step()
    assert set((tmp_path / "blobs").iterdir()) == before
    assert ward.archive().vault.released(*which) is None, "and does not note that they went out"
