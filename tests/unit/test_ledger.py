"""Both ledgers, the contract's and the plain one, tell the same story of the same round."""

from __future__ import annotations

from dataclasses import replace

import pytest
from eth_account import Account

from coordinator.deploy import Founder, create_job, found_consortium
from hmchain.blobs import BlobRef
from hmchain.cid import cid_of
from hmchain.embedded import EmbeddedChain
from hmchain.errors import ChainError, ContractError
from hmchain.identity import MemberIdentity
from hmchain.ledger import ContractLedger, JobFeed, Ledger
from hmchain.manifest import Manifest
from hmchain.plain import PlainJob
from hmchain.rounds import Phase
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
    feed = JobFeed(clients[0], deployment.block)
    with pytest.raises(ChainError, match="knows no job 2"):
        feed.job(2)
    return [ContractLedger(c, feed, job, n, on_gas=lambda *a: GAS.append(a)) for n, c in enumerate(clients)], chain


def on_plain() -> tuple[list[Ledger], PlainJob]:
    job = PlainJob(MANIFEST.terms(), MANIFEST.digest(), MODEL)
    for number in (1, 2, 3):
        job.join(number, 50)
    job.start()
    return [job.ledger(number) for number in range(4)], job


def play(ledgers: list[Ledger]) -> None:
    """One round by the book."""
    coordinator, members = ledgers[0], ledgers
    number = coordinator.state().number
    for client in coordinator.state().clients:
        members[client].submit_update(coordinator.state(), 40 + client, BLOB)
    words = [word_of_score(9000)] * 4
    for master in coordinator.state().masters:
        members[master].commit_scores(coordinator.state(), words, bytes([master]) * 32)
    for master in coordinator.state().masters:
        members[master].reveal_scores(coordinator.state(), words, bytes([master]) * 32)
    coordinator.propose_model(coordinator.state(), bytes([number]) * 32, BLOB)
    for master in coordinator.state().masters:
        members[master].attest_model(coordinator.state(), bytes([number]) * 32)


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
