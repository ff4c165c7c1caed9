"""A node: whether it is a member, what it commits to, and what it does about faults."""

from __future__ import annotations

import logging
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from eth_account import Account

from coordinator.deploy import found
from hmchain.chain import ChainClient
from hmchain.embedded import EmbeddedChain
from hmchain.envelope import new_identity
from hmchain.errors import (
    ChainBehind,
    ChainError,
    ContractError,
    DaemonError,
    DataError,
    NonceClash,
    StorageError,
    TrainingError,
    UsageError,
)
from hmchain.identity import MemberIdentity
from tests.unit.test_open_jobs import created
from trainers.config import Config
from trainers.data_facts import NO_DATA, DataFacts
from trainers.health import Health
from trainers.keystore import Keys
from trainers.node import IDLE_POLLS, LONGEST_BEHIND, LONGEST_PAUSE, ForeignKey, Node, RotatedAway
from trainers.training_sets import TrainingSet, TrainingSets


def test_a_refusal_that_persists_is_logged_once(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(logging.getLogger("hmchain.node"), "propagate", True)
    member = MemberIdentity.create()
    node, history = node_of(member, member.encryption.public), created((1, "0x1"))
    outcomes: list[Any] = [ContractError("ElectionFull")] * 3 + [False] + [ContractError("ElectionFull")] * 2

    def attend(*_: Any) -> bool:
        outcome = outcomes.pop(0)
        if isinstance(outcome, Exception):
            raise outcome
        return bool(outcome)

    monkeypatch.setattr(node, "_attend", attend)
    caplog.set_level(logging.INFO, "hmchain.node")
    while outcomes:
        node._work(history)
    assert [record.getMessage() for record in caplog.records] == ["somebody was faster"] * 2


# ---------------------------------------------------------------- membership


def node_of(member: MemberIdentity, on_chain: bytes, *earlier: Any) -> Node:
    """A member's node, where the chain has this encryption key for it."""
    deployer = Account.create()
    chain = EmbeddedChain([deployer.address, member.account.address])
    client, deployment = found(chain.web3, deployer, [(member.account.address, on_chain, b"H".ljust(32, b"\0"))])
    return node_on(chain, member, client.address, deployment.block, *earlier)


def node_on(chain: EmbeddedChain, member: MemberIdentity, contract: str, block: int, *earlier: Any) -> Node:
    return assembled(ChainClient(chain.web3, member.account, contract), member, contract, block, *earlier)


def assembled(client: Any, member: MemberIdentity, contract: str, block: int, *earlier: Any) -> Node:
    parts = SimpleNamespace(
        client=client,
        config=Config(name="H"),
        consortium=SimpleNamespace(block=block, contract=contract, records=""),
        data=NO_DATA,
        health=Health(60.0),
        keys=Keys(member, earlier),
        registry=None,
        state=None,
        sets=None,
        store=SimpleNamespace(used=lambda: 0),
        worker=SimpleNamespace(tidy=lambda: None),
    )
    return Node(cast(Any, parts))


def test_a_node_ends_where_the_chain_has_somebody_elses_key_for_it() -> None:
    """Whoever proposed it wrote that key down, and reads what others seal to it."""
    other = new_identity().public
    with pytest.raises(ForeignKey, match=f"^member 1 has a key on chain that is not ours, {other.hex()}: .*rotate"):
        node_of(MemberIdentity.create(), other).run()


def test_a_node_waits_until_the_founder_can_admit_nobody_any_more() -> None:
    member, deployer = MemberIdentity.create(), Account.create()
    chain = EmbeddedChain([deployer.address, member.account.address])
    founder, deployment = ChainClient.deploy(chain.web3, deployer)
    founder.transact("found", [(member.account.address, member.encryption.public, b"H".ljust(32, b"\0"))])
    node = node_on(chain, member, founder.address, deployment.block)
    assert node.step() is False
    assert node._site is None
    founder.transact("seal")
    node.step()
    assert node._site is not None


def test_a_suspended_members_node_says_so_once_each_time(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "hmchain.node")
    member = MemberIdentity.create()
    node = node_of(member, member.encryption.public)
    for _ in range(2):
        node.step()
        node._feed.history.active.remove(1)
        node.step()
        node.step()
        node._feed.history.active.add(1)
    assert [record.getMessage()[:20] for record in caplog.records] == ["we are a member", *["suspended or removed"] * 2]


def test_a_node_goes_on_with_any_key_of_its_own() -> None:
    member, earlier = MemberIdentity.create(), new_identity()
    for key in (member.encryption.public, earlier.public):
        assert node_of(member, key, earlier).step() is False


def test_a_node_ends_whose_account_was_rotated_away() -> None:
    member, successor, deployer = MemberIdentity.create(), MemberIdentity.create(), Account.create()
    chain = EmbeddedChain([who.address for who in (deployer, member.account, successor.account)])
    client, deployment = found(
        chain.web3, deployer, [(member.account.address, member.encryption.public, b"H".ljust(32, b"\0"))]
    )
    node = node_on(chain, member, client.address, deployment.block)
    key = successor.encryption.public
    ChainClient(chain.web3, member.account, client.address).transact("announceRotation", successor.account.address, key)
    assert node.step() is False, "announced is not done"
    ChainClient(chain.web3, successor.account, client.address).transact("completeRotation", 1)
    with pytest.raises(RotatedAway, match=f"^account {member.account.address} was rotated away"):
        node.run()


def test_a_node_commits_to_its_data_once_and_again_when_they_are_others() -> None:
    member = MemberIdentity.create()
    node = node_of(member, member.encryption.public)
    registry = node._parts.health.registry
    for number, root in enumerate((bytes([1] * 32), bytes([2] * 32)), 1):
        node._data, node._site = DataFacts(8, 1, 2, root), None
        assert [node.step(), node.step()] == [True, False]
        assert node._feed.history.roots == {1: root}
        assert registry.get_sample_value("hmchain_actions_total", {"action": "commitDataset"}) == number


def test_a_hospital_asks_its_records_whether_its_data_stand() -> None:
    member = MemberIdentity.create()
    node = node_of(member, member.encryption.public)
    node.step()
    assert node._site is not None
    assert node._site.data_stand(), "a file has no consents"
    node._records = cast(Any, SimpleNamespace(stand=lambda: False))
    assert not node._site.data_stand()


def test_what_a_commitment_stands_for_is_on_disk_before_it_is_sent(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    member = MemberIdentity.create()
    node, sets = node_of(member, member.encryption.public), TrainingSets(tmp_path, Keys(member))
    node._parts.sets = sets  # type: ignore[misc]
    listed = TrainingSet(bytes(32), 8, "data.npz", "ab" * 32)
    node._data = DataFacts(8, 1, 2, bytes(32)).listed(listed)

    def killed(*_: object) -> None:
        assert sets.find(listed.root) == listed
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(node._parts.client, "transact", killed)
        with pytest.raises(KeyboardInterrupt):
            node.step()
    assert [node.step(), node.step()] == [True, False]
    assert node._feed.history.roots == {1: listed.root}


def test_a_node_that_is_stopped_ends_after_its_step(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    steps: list[int] = []

    def step() -> bool:
        if steps:
            raise RotatedAway("it went on")
        steps.append(1)
        node.stop()
        return True

    monkeypatch.setattr(node, "step", step)
    node.run()


# ---------------------------------------------------------------- faults


@pytest.fixture
def node() -> Node:
    """One that never looks at a chain."""
    return assembled(SimpleNamespace(sender="0x1"), MemberIdentity.create(), "0xc", 1)


class Clock:
    """In place of a node's stop flag: notes how long it would wait, and stops it after so many waits."""

    def __init__(self, waits: int) -> None:
        self.waited: list[float] = []
        self._waits = waits

    def is_set(self) -> bool:
        return len(self.waited) == self._waits

    def wait(self, seconds: float) -> None:
        self.waited.append(seconds)


def waits(node: Node, monkeypatch: pytest.MonkeyPatch, *outcomes: bool | Exception) -> list[float]:
    """How long a node waits after steps that end so; it looks once a second while there is a job."""
    clock, left = Clock(len(outcomes)), list(outcomes)

    def step() -> bool:
        outcome = left.pop(0)
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    monkeypatch.setattr(node, "step", step)
    monkeypatch.setattr(node, "_stop", clock)
    node.run()
    return clock.waited


def test_a_node_acts_at_once_and_looks_seldom_while_no_job_is_open(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    assert waits(node, monkeypatch, True, False) == [0, IDLE_POLLS]
    node._feed.history.jobs = created((1, "0x1")).jobs
    assert waits(node, monkeypatch, True, False) == [0, 1]


def test_no_fault_ends_a_node_and_each_makes_it_wait_longer(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    faults = ChainError("gone"), OSError("odd"), ChainError("gone"), KeyError("odd"), ChainError("gone")
    assert waits(node, monkeypatch, *faults, True, ChainError("gone")) == [1, 2, 4, 8, LONGEST_PAUSE, 0, 1]
    assert waits(node, monkeypatch, *[ContractError("WrongPhase")] * 3) == [1, 1, 1], "somebody was faster"


def test_a_node_whose_chain_is_behind_looks_again_soon(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    assert waits(node, monkeypatch, *[ChainBehind("behind")] * 4) == [1, 2, LONGEST_BEHIND, LONGEST_BEHIND]


def test_a_fault_that_persists_is_told_once_and_again_when_it_comes_back(
    node: Node, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(logging.getLogger("hmchain.node"), "propagate", True)
    waits(node, monkeypatch, ChainError("gone"), ChainError("gone"), False, ChainError("gone"))
    assert [record.getMessage() for record in caplog.records] == ["will try again"] * 2
    waits(node, monkeypatch, False, ChainBehind("at block 5"), ChainBehind("at block 6"))
    assert [record.getMessage() for record in caplog.records] == ["will try again"] * 3


@pytest.mark.parametrize(
    ("fault", "kind", "chain_up"),
    [
        (ContractError("WrongPhase"), "refused", 1),
        (ChainError("gone"), "chain", 0),
        (NonceClash("taken"), "chain", 1),
        (DaemonError("gone"), "blobs", 1),
        (StorageError("full"), "disk", 1),
        (TrainingError("too little memory"), "training", 1),
        (DataError("it is gone"), "data", 1),
        (UsageError("it does not fit"), "usage", 1),
        (ValueError("odd"), "defect", 1),
    ],
)
def test_faults_are_counted_by_kind(
    fault: Exception, kind: str, chain_up: int, node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    waits(node, monkeypatch, fault)
    registry = node._parts.health.registry
    assert registry.get_sample_value("hmchain_faults_total", {"kind": kind}) == 1
    assert registry.get_sample_value("hmchain_chain_up") == chain_up


def test_a_fault_in_one_job_is_no_other_jobs(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    attended: list[int] = []

    def attend(number: int, _: str) -> bool:
        attended.append(number)
        if number == 1:
            raise DaemonError("its blobs cannot be had")
        return False

    monkeypatch.setattr(node, "_attend", attend)
    for _ in range(3):
        node._work(created((1, "0x1"), (2, "0x2")))
    assert attended == [1, 2, 2, 2], "it is left alone for a while"


def test_a_fault_of_the_chain_is_every_jobs(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    attended: list[int] = []

    def attend(number: int, _: str) -> bool:
        attended.append(number)
        raise ChainError("gone")

    monkeypatch.setattr(node, "_attend", attend)
    with pytest.raises(ChainError):
        node._work(created((1, "0x1"), (2, "0x2")))
    assert attended == [1]


def test_a_node_without_its_blob_store_says_so_and_goes_on() -> None:
    member, asked = MemberIdentity.create(), list[int]()
    node = node_of(member, member.encryption.public)

    def used() -> int:
        asked.append(1)
        raise DaemonError("gone")

    node._parts.store.used = used  # type: ignore[method-assign]
    for _ in range(3):
        assert node.step() is False
    assert node._site is not None, "it is a member all the same"
    assert node._parts.health.report()[1]["blob_store"] is False
    assert len(asked) == 1, "not at every step"
