"""Both ledgers, the contract's and the plain one, tell the same story of the same round."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext, suppress
from dataclasses import replace
from types import SimpleNamespace
from typing import Any, cast

import pytest
from eth_account import Account

from coordinator.deploy import Founder, create_job, found_consortium
from hmchain import feed as module
from hmchain.blobs import BlobRef
from hmchain.chain import ChainClient
from hmchain.cid import cid_of
from hmchain.contract import Event
from hmchain.embedded import EmbeddedChain
from hmchain.errors import ChainBehind, ChainError, ContractError
from hmchain.ethereum import Head
from hmchain.identity import MemberIdentity
from hmchain.ledger import Batch, ContractLedger, JobFeed, Ledger, SoleFeed
from hmchain.manifest import Manifest
from hmchain.plain import PlainJob
from hmchain.rounds import Phase, quorum_of
from hmchain.scores import word_of_score

MANIFEST = Manifest(dataset="x", channels=1, classes=("a", "b"), seed=1, rounds=2, fraction=1.0, masters=3)
BLOB, MODEL = BlobRef.of(b"blob"), b"\7" * 32
GAS: list[tuple[int, str, int]] = []


def on_contract() -> tuple[list[Ledger], EmbeddedChain]:
    """Three members and, first, the coordinator."""
    identities = [MemberIdentity.create(bytes([n]) * 32) for n in range(3)]
    deployer = Account.create()
    chain = EmbeddedChain([deployer.address, *(identity.account.address for identity in identities)])
    founders = [Founder(identity, "H", b"\1" * 32, 50) for identity in identities]
    clients, deployment = found_consortium(chain.web3, deployer, founders)
    job = create_job(clients[1], clients[0].sender, MANIFEST, (BLOB, BLOB), MODEL)
    for client in clients[1:]:
        client.transact("enrol", job)
    clients[0].transact("startJob", job)
    feed = SoleFeed(clients[0], deployment.block)
    with pytest.raises(ChainError, match="knows no job 2"):
        feed.job(2)
    return [ContractLedger(c, feed, job, n, on_gas=lambda *a: GAS.append(a)) for n, c in enumerate(clients)], chain


def on_plain() -> tuple[list[Ledger], PlainJob]:
    job = PlainJob(MANIFEST.terms(), MANIFEST.digest(), MODEL)
    for number in (1, 2, 3):
        job.join(number, 50)
    job.start()
    return [job.ledger(number) for number in range(4)], job


def play(ledgers: list[Ledger], together: Callable[[], AbstractContextManager[None]] = nullcontext) -> None:
    """One round by the book, a phase's messages in a context each."""
    coordinator, members = ledgers[0], ledgers
    state = coordinator.state()
    number = state.number
    with together():
        for client in state.clients:
            members[client].submit_update(state, 40 + client, BLOB)
    words = [word_of_score(9000)] * 4
    with together():
        for master in state.masters:
            members[master].commit_scores(state, words, bytes([master]) * 32)
    with together():
        for master in state.masters:
            members[master].reveal_scores(state, words, bytes([master]) * 32)
    coordinator.propose_model(state, bytes([number]) * 32, BLOB)
    with together():
        for master in state.masters[: quorum_of(len(state.masters))]:
            members[master].attest_model(coordinator.state(), coordinator.record(number).proposals[-1])


def test_both_tell_the_same_story() -> None:
    (contract, _), (plain, _) = on_contract(), on_plain()
    for ledgers in (contract, plain):
        play(ledgers)
    one, other = contract[0].record(1), plain[0].record(1)
    for ours in (one, other):
        ours.commitments.clear()  # bound to chain and account
        ours.proposals = [replace(proposal, proposer="") for proposal in ours.proposals]
    assert one == other
    here, there = contract[1].state(), plain[1].state()
    assert (here.number, here.phase, here.clients, here.masters) == (2, Phase.REQUEST, there.clients, there.masters)
    assert (
        [record.number for record in contract[2].records()]
        == [record.number for record in plain[2].records()]
        == [1, 2]
    )
    assert {call for _, call, _ in GAS} == {
        "submitUpdate",
        "commitScores",
        "revealScores",
        "proposeModel",
        "attestModel",
    }


def test_messages_that_are_waited_for_together_tell_the_same() -> None:
    (alone, _), (ledgers, _) = on_contract(), on_contract()
    batch = Batch()
    for ledger in cast(list[ContractLedger], ledgers):
        ledger._batch = batch
    play(ledgers, batch.together)
    play(alone)
    here, there = ledgers[0].record(1), alone[0].record(1)
    assert (here.model, list(here.updates), here.judgement) == (there.model, list(there.updates), there.judgement)
    blocks = [cast(ContractLedger, party[0]).client.head() for party in (ledgers, alone)]
    assert blocks[0] == blocks[1] - 8, "a block a phase: of three updates, commitments, reveals and attestations"


def test_what_is_sent_together_is_waited_for_in_order_and_after_a_fault_not_at_all() -> None:
    batch, story = Batch(), list[str]()
    batch.sent(lambda: story.append("alone"))
    with batch.together():
        batch.sent(lambda: story.append("first"))
        batch.sent(lambda: story.append("second"))
        story.append("sent")
    assert story == ["alone", "sent", "first", "second"]
    with suppress(ChainError), batch.together():
        batch.sent(lambda: story.append("never"))
        raise ChainError("the next could not be sent")
    batch.sent(lambda: story.append("alone again"))
    assert story[4:] == ["alone again"]


def test_receipts_tell_what_the_chain_tells() -> None:
    ledgers, chain = on_contract()
    play(ledgers)
    chain.wait_until(ledgers[0].state().deadline)
    ledgers[0].advance()  # the last round failed, and the job is over
    coordinator = cast(ContractLedger, ledgers[0])
    told, read = coordinator.records(), JobFeed(coordinator.client, 1).job(coordinator.job)
    assert [record.failed for record in told] == [None, Phase.REQUEST]
    assert told == list(read.rounds.values())


@pytest.mark.parametrize("build", [on_contract, on_plain])
def test_each_refuses_what_the_protocol_refuses(build: object) -> None:
    ledgers, clock = build()  # type: ignore[operator]
    state = ledgers[0].state()
    with pytest.raises(ContractError) as caught:
        ledgers[state.clients[0]].submit_update(state, 51, BLOB)
    assert caught.value.name == "SampleCountOutOfRange"
    with pytest.raises(ContractError) as caught:
        ledgers[0].advance()
    assert caught.value.name == "NothingToAdvance"
    clock.wait_until(state.deadline)
    assert ledgers[0].state().phase == Phase.FAILED
    ledgers[0].advance()
    assert ledgers[0].record(1).failed is Phase.REQUEST
    assert ledgers[0].state().phase == Phase.WAITING, "everyone was silent, so everyone left the draws"


def test_the_blob_is_recorded_under_its_name() -> None:
    assert BLOB.cid == cid_of(b"blob")


# ---------------------------------------------------------------- a wary feed


class Chain:
    """A chain as a client sees it: block n admits member n. Its hashes say which fork a block is of."""

    def __init__(self, height: int, fork: str = "a") -> None:
        self.forks = [fork] * (height + 1)
        self.asked: list[tuple[int, int]] = []
        self.moves: list[Any] = []  # what happens while events are read
        self.passed_over = 0

    def try_another_node(self) -> None:
        self.passed_over += 1

    @property
    def height(self) -> int:
        return len(self.forks) - 1

    def grow(self, blocks: int = 1, fork: str = "a") -> None:
        self.forks += [fork] * blocks

    def shrink(self, height: int) -> None:
        """Another node answers, which is not as far; or the chain was set back."""
        del self.forks[height + 1 :]

    def turn(self, first: int, fork: str) -> None:
        """Goes on otherwise from block `first` on."""
        self.forks[first:] = [fork] * (len(self.forks) - first)

    def block(self, which: int | str = "latest") -> Head:
        number = self.height if which == "latest" else int(which)
        if number > self.height:
            raise ChainError("no such block")
        return Head(number, f"{self.forks[number]}{number}", 1000 + number)

    def head(self) -> int:
        return self.height

    def events(self, first: int, last: int) -> Iterator[Event]:
        self.asked.append((first, last))
        for n in range(first, last + 1):
            fork = self.forks[n]
            who = {"member": n, "operator": f"{fork}{n}", "encryptionKey": b"", "name": b""}
            yield Event("MemberAdmitted", who, n, 0, f"{fork}{n}")
        for move in self.moves:
            move()
        self.moves.clear()


def wary(chain: Chain) -> JobFeed:
    return JobFeed(cast(ChainClient, chain), 1, wary=True)


def test_a_wary_feed_reads_each_block_once_and_knows_its_head() -> None:
    chain = Chain(3)
    feed = wary(chain)
    assert feed.head is None
    assert list(feed.poll().members.values()) == ["a1", "a2", "a3"]
    assert feed.head == Head(3, "a3", 1003)
    feed.poll()
    chain.grow(2)
    assert len(feed.poll().members) == 5
    assert feed.head == Head(5, "a5", 1005)
    assert chain.asked == [(1, 3), (4, 5)]


def test_a_node_that_is_behind_is_not_listened_to() -> None:
    chain = Chain(5)
    feed = wary(chain)
    seen = feed.poll()
    chain.shrink(3)
    with pytest.raises(ChainBehind, match="is at block 3, this process has seen 5"):
        feed.poll()
    assert feed.history is seen
    assert feed.head == Head(5, "a5", 1005), "what was seen stays"
    assert chain.passed_over == 1, "another one may know"
    chain.grow(3)
    assert len(feed.poll().members) == 6
    assert chain.asked == [(1, 5), (6, 6)], "it has caught up"


def test_a_node_that_has_yet_to_see_our_own_transaction_is_not_listened_to() -> None:
    chain = Chain(3)
    feed = wary(chain)
    feed.poll()
    feed.reached(4)
    with pytest.raises(ChainBehind, match="is at block 3, this process has seen 4"):
        feed.poll()
    feed.reached(2)
    with pytest.raises(ChainBehind):
        feed.poll()
    chain.grow()
    assert len(feed.poll().members) == 4


def test_a_chain_that_was_set_back_is_read_again_after_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    chain = Chain(5)
    feed = wary(chain)
    feed.poll()
    chain.shrink(2)
    chain.turn(1, "b")
    with pytest.raises(ChainBehind):
        feed.poll()
    monkeypatch.setattr(module, "PATIENCE_SECONDS", 0.0)
    assert list(feed.poll().members.values()) == ["b1", "b2"]
    assert (feed.head, feed.generation) == (Head(2, "b2", 1002), 1)
    chain.grow(1, "b")
    assert len(feed.poll().members) == 3, "and followed from there"


@pytest.fixture
def now(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The seconds on the feeds' clock, which a test may turn."""
    seconds = [100.0]
    monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=lambda: seconds[0]))
    return seconds


@pytest.mark.parametrize(("first", "patience"), [(3, "FORK_SECONDS"), (4, "PATIENCE_SECONDS")])
def test_a_chain_that_was_set_back_is_read_again_soon_once_it_goes_on_otherwise(
    first: int, patience: str, now: list[float]
) -> None:
    """A node that is merely behind has the blocks that were read."""
    chain = Chain(3)
    feed = wary(chain)
    for _ in range(3):
        feed.poll()
        chain.grow()
    feed.poll()
    chain.shrink(3)
    chain.turn(first, "b")
    for waited in (0.0, getattr(module, patience) - 1):
        now[0] += waited
        with pytest.raises(ChainBehind, match="is at block 3, this process has seen 6"):
            feed.poll()
    now[0] += 1
    assert feed.poll().members[3] == ("b3" if first == 3 else "a3")
    assert feed.generation == 1


def test_patience_begins_anew_when_the_node_has_caught_up(now: list[float]) -> None:
    chain = Chain(5)
    feed = wary(chain)
    for _ in range(3):
        feed.poll()
        chain.shrink(3)
        with pytest.raises(ChainBehind):
            feed.poll()
        chain.grow(2)
        now[0] += module.PATIENCE_SECONDS / 2
    feed.poll()
    chain.shrink(3)
    for waited in (0.0, module.PATIENCE_SECONDS - 1):
        now[0] += waited
        with pytest.raises(ChainBehind):
            feed.poll()
    now[0] += 1
    assert len(feed.poll().members) == 3


@pytest.mark.parametrize(("first", "grown"), [(3, 0), (3, 1), (2, 2), (1, 0), (5, 1)])
def test_a_chain_that_went_on_otherwise_is_read_again(first: int, grown: int) -> None:
    chain = Chain(5)
    feed = wary(chain)
    feed.poll()
    chain.turn(first, "b")
    chain.grow(grown, "b")
    forks = ["a"] * (first - 1) + ["b"] * (6 - first + grown)
    assert list(feed.poll().members.values()) == [f"{fork}{n}" for n, fork in enumerate(forks, start=1)]
    assert (feed.head, feed.generation) == (chain.block(), 1)


def test_whoever_looked_at_a_job_is_told_that_the_chain_was_set_back_since() -> None:
    """Otherwise a step that began before would go on with another chain's rounds."""
    chain = Chain(5)
    feed = wary(chain)
    feed.poll()
    chain.turn(3, "b")
    with pytest.raises(ChainBehind, match="was set back meanwhile"):
        feed.job(1)
    assert feed.generation == 1
    with pytest.raises(ChainError, match="knows no job 1"):
        feed.job(1)


def test_a_chain_without_the_contract_is_waited_for_as_long_as_it_takes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PATIENCE_SECONDS", 0.0)
    chain = Chain(5)
    feed = wary(chain)
    feed.poll()
    chain.shrink(0)
    for _ in range(2):
        with pytest.raises(ChainBehind):
            feed.poll()
    assert (len(feed.history.members), feed.generation) == (5, 0)


def test_events_that_do_not_follow_from_one_another_are_read_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """A node once left some out."""
    chain = Chain(3)
    feed = wary(chain)
    feed.poll()
    chain.grow()
    closed = [Event("JobClosed", {"job": 9}, 4, 0, "x")]
    with monkeypatch.context() as patched:
        patched.setattr(chain, "events", lambda first, last: iter(closed))
        with pytest.raises(ChainBehind, match="do not follow from one another"):
            feed.poll()
    assert (feed.history.members, feed.head, feed.generation) == ({}, None, 1)
    assert len(feed.poll().members) == 4


def test_a_block_that_changes_while_it_is_read_is_not_applied() -> None:
    chain = Chain(3)
    feed = wary(chain)
    feed.poll()
    chain.grow()
    chain.moves.append(lambda: chain.turn(4, "b"))
    with pytest.raises(ChainBehind, match="block 4 changed while it was read"):
        feed.poll()
    assert list(feed.history.members.values()) == ["a1", "a2", "a3"]
    assert list(feed.poll().members.values()) == ["a1", "a2", "a3", "b4"]


def test_a_chain_that_is_set_back_while_it_is_read_is_not_applied() -> None:
    chain = Chain(3)
    feed = wary(chain)
    chain.moves.append(lambda: chain.turn(1, "b"))
    with pytest.raises(ChainBehind):
        feed.poll()
    assert (feed.history.members, feed.head) == ({}, None)
    assert list(feed.poll().members.values()) == ["b1", "b2", "b3"]


def test_blocks_that_come_while_one_is_read_are_left_for_the_next_time() -> None:
    chain = Chain(3)
    feed = wary(chain)
    chain.moves.append(lambda: chain.grow(2))
    assert len(feed.poll().members) == 3
    assert feed.head == Head(3, "a3", 1003)
    assert len(feed.poll().members) == 5


def test_a_wary_ledger_reads_the_round_as_of_the_feeds_head() -> None:
    """Otherwise the round of one block would be judged by the events of another."""
    ledgers, _ = on_contract()
    contract = cast(ContractLedger, ledgers[0])
    feed = JobFeed(contract.client, 1, wary=True)
    ledger = ContractLedger(contract.client, feed, contract.job, 0)
    feed.poll()
    before = ledger.state()
    member = ledgers[before.clients[0]]
    member.submit_update(before, 40, BLOB)
    assert ledger.state() == before
    feed.poll()
    assert ledger.state().updates == {0}


@pytest.mark.parametrize(("place", "value", "told"), [(3, 10, "names a phase 10"), (0, 2, "know no round 2 of job 1")])
def test_a_round_that_the_events_do_not_bear_out_is_a_chain_error(
    place: int, value: int, told: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    ledgers, _ = on_contract()
    said = list(cast(ContractLedger, ledgers[0]).client.call("roundOf", 1))
    said[place] = value
    monkeypatch.setattr(ChainClient, "call", lambda *_, **__: tuple(said))
    with pytest.raises(ChainError, match=told):
        ledgers[0].state()


def test_scores_that_do_not_open_the_commitment_are_not_sent() -> None:
    ledgers, clock = on_contract()
    state = ledgers[0].state()
    for client in state.clients:
        ledgers[client].submit_update(state, 40, BLOB)
    words, salt = [word_of_score(9000)] * 4, bytes(32)
    for master in state.masters:
        ledgers[master].commit_scores(ledgers[0].state(), words, salt)
    height = len(list(clock.blocks()))
    master = ledgers[state.masters[0]]
    for wrong in ((words, bytes([1]) * 32), ([word_of_score(9001)] * 4, salt)):
        with pytest.raises(ContractError, match="CommitmentMismatch"):
            master.reveal_scores(ledgers[0].state(), *wrong)
    assert len(list(clock.blocks())) == height
    master.reveal_scores(ledgers[0].state(), words, salt)
