"""What a node says of a job is executed again from signed transactions, so that it can make nothing up."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import pytest
from eth_account import Account
from eth_utils import to_canonical_address
from web3 import Web3
from web3.datastructures import AttributeDict
from web3.eth import Eth

from coordinator.ballots import MOTIONS, cast_vote
from coordinator.deploy import found
from coordinator.evidence import chain_of, check_contract
from coordinator.folder import RunFile
from coordinator.reexecution import reexecute
from hmchain.chain import ChainClient
from hmchain.contract import Artifact, Event, Receipt
from hmchain.embedded import EmbeddedChain
from hmchain.envelope import new_identity
from hmchain.errors import ChainError
from hmchain.ethereum import Deployment, Head
from tests.contracts.federation import BLOB, FIRST_MODEL, MANIFEST, TERMS
from tests.e2e.conftest import FinishedRun


@dataclass(frozen=True)
class Told:
    """A chain, and what it tells of a job."""

    web3: Web3
    run: RunFile
    deployment: Deployment
    events: list[Event]

    @classmethod
    def of(cls, web3: Web3, run: RunFile) -> Told:
        deployment = check_contract(web3, run)
        client = ChainClient(web3, None, run.contract)
        return cls(web3, run, deployment, list(client.events(deployment.block, client.head())))

    def check(self, events: list[Event] | None = None) -> None:
        told = self.events if events is None else events
        reexecute(self.web3, self.run, self.deployment, told, self.web3.eth.block_number)


@pytest.fixture(scope="module")
def told(finished: FinishedRun) -> Told:
    run = RunFile.read(finished.folder)
    return Told.of(chain_of(finished.folder, run), run)


def test_all_that_an_honest_node_tells_follows_from_signed_transactions(told: Told) -> None:
    told.check()


EVENTS = (
    *("MemberAdmitted", "ConsortiumSealed", "DatasetCommitted", "JobCreated", "MemberEnrolled", "JobKeyPublished"),
    *("RoundOpened", "UpdateSubmitted", "ScoresCommitted", "ScoresRevealed", "UpdatesJudged"),
    *("ModelProposed", "ModelAttested", "RoundFinalized", "JobClosed", "ReportFiled"),
)


@pytest.mark.parametrize("name", EVENTS)
def test_a_node_can_change_nothing_in_an_event(name: str, told: Told) -> None:
    index = next(i for i, event in enumerate(told.events) if event.name == name)
    event = told.events[index]
    changed = replace(event, args=event.args | {list(event.args)[-1]: b"another"})
    with pytest.raises(ChainError, match=f"does not tell the truth about transaction {event.transaction} in block"):
        told.check([*told.events[:index], changed, *told.events[index + 1 :]])


def test_the_events_tried_are_all_that_a_run_without_faults_has(told: Told) -> None:
    assert set(EVENTS) == {event.name for event in told.events}


@pytest.mark.parametrize("name", ["JobCreated", "MemberEnrolled", "UpdateSubmitted", "ScoresRevealed", "ModelProposed"])
def test_a_node_cannot_leave_out_a_message_that_others_follow_from(name: str, told: Told) -> None:
    left_out = next(event.transaction for event in told.events if event.name == name)
    with pytest.raises(ChainError, match="executed again: "):
        told.check([event for event in told.events if event.transaction != left_out])


def test_a_node_cannot_tell_a_transaction_twice(told: Told) -> None:
    report = told.events[-1]
    early = [replace(report, block=1, index=-1, transaction=told.run.deployment)]
    with pytest.raises(ChainError, match="after a later one of its sender"):
        told.check([*early, *told.events])


def edited(monkeypatch: pytest.MonkeyPatch, **changes: Any) -> None:
    """Makes the node give every transaction with these changes."""
    get = Eth.get_transaction
    monkeypatch.setattr(Eth, "get_transaction", lambda *asked: AttributeDict({**get(*asked), **changes}))


def test_a_node_is_not_asked_who_sent_a_transaction(told: Told, monkeypatch: pytest.MonkeyPatch) -> None:
    edited(monkeypatch, **{"from": Account.create().address})
    told.check()


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        ({"nonce": 77}, "is another, or another chain's"),
        ({"to": None}, "is another, or another chain's"),
        ({"input": b"other"}, "is another, or another chain's"),
        ({"r": b"\0" * 32}, "was not signed"),
        ({"r": "nonsense"}, "was not signed"),
        ({"type": 3}, "was not signed"),
        ({"v": 7}, "was not signed"),
    ],
)
def test_a_node_can_give_no_other_transaction_than_was_signed(
    change: dict[str, Any], fault: str, told: Told, monkeypatch: pytest.MonkeyPatch
) -> None:
    edited(monkeypatch, **change)
    with pytest.raises(ChainError, match=fault):
        told.check()


def test_transactions_of_another_chain_are_none_of_this_one(told: Told) -> None:
    with pytest.raises(ChainError, match="is another, or another chain's"):
        reexecute(told.web3, replace(told.run, chain_id=7), told.deployment, told.events, 0)


@pytest.mark.parametrize(
    ("name", "fault"),
    [("RoundOpened", "it logs RoundOpened, with other"), ("UpdateSubmitted", r"refused: WrongPhase\(")],
)
def test_a_node_cannot_say_that_it_was_later(
    name: str, fault: str, told: Told, monkeypatch: pytest.MonkeyPatch
) -> None:
    late, block = next(event.block for event in told.events if event.name == name), ChainClient.block

    def later(client: ChainClient, number: int) -> Head:
        head = block(client, number)
        return replace(head, time=head.time + 100_000 * (number == late))

    monkeypatch.setattr(ChainClient, "block", later)
    with pytest.raises(ChainError, match=fault):
        told.check()


class Consortium:
    """Four members, the first of which is everyone's voice, and two jobs; a stranger has an account as well."""

    def __init__(self) -> None:
        self.accounts = [Account.create() for _ in range(4)]
        self.stranger = Account.create()
        self.chain = EmbeddedChain([account.address for account in (*self.accounts, self.stranger)])
        organisations = [(account.address, new_identity().public, b"H".ljust(32, b"\0")) for account in self.accounts]
        client, self.deployment = found(self.chain.web3, self.accounts[0], organisations)
        others = [ChainClient(self.chain.web3, account, client.address) for account in self.accounts[1:]]
        self.members = [client, *others]
        for job in (1, 2):
            terms = tuple((TERMS | {"masters": 1}).values())
            client.transact("createJob", terms, self.accounts[0].address, MANIFEST, FIRST_MODEL, BLOB, BLOB)
            self.each("enrol", job)
            client.transact("startJob", job)

    def each(self, function: str, *arguments: Any) -> Receipt:
        """Every member does this; the last receipt."""
        return [member.transact(function, *arguments) for member in self.members][-1]

    def carry(self, motion: str, member: int) -> None:
        """Everyone but `member` votes for a motion about it."""
        address, artifact = self.members[0].call("ballots"), Artifact.load("Ballots")
        voters = [ChainClient(self.chain.web3, account, address, artifact) for account in self.accounts]
        voters[0].transact("proposeMotion", MOTIONS.index(motion), member)
        for voter in voters[1:3]:
            cast_vote(voter, 1, voter.call("ballot", 1))

    def by_way_of_another_contract(self, function: str, *arguments: Any) -> None:
        """The stranger creates a contract whose creation makes this call, and nothing else."""
        data, address = self.members[0].encode(function, *arguments), to_canonical_address(self.members[0].address)
        size = bytes([len(data)])
        call = b"\x60" + size + b"\x60\x2a\x5f\x39\x5f\x5f\x60" + size + b"\x5f\x5f\x73" + address + b"\x5a\xf1"
        code = (call + b"\x50\x00").ljust(0x2A, b"\0") + data
        eth = self.chain.web3.eth
        fields = {"nonce": eth.get_transaction_count(self.stranger.address), "gas": 3_000_000, "value": 0, "data": code}
        fees = {"maxFeePerGas": 10**10, "maxPriorityFeePerGas": 0, "chainId": eth.chain_id}
        sent = eth.send_raw_transaction(self.stranger.sign_transaction(fields | fees).raw_transaction)
        eth.wait_for_transaction_receipt(sent)

    def told(self, job: int) -> Told:
        where = self.chain.web3.eth.chain_id, self.members[0].address, self.deployment.transaction
        return Told.of(self.chain.web3, RunFile("http://127.0.0.1:8545", *where, job, "blobs", "", ""))


@pytest.fixture
def consortium() -> Consortium:
    return Consortium()


def test_votes_are_executed_again_as_well(consortium: Consortium) -> None:
    consortium.carry("suspend", 4)
    told = consortium.told(1)
    assert told.events[-1].name == "MemberStatusChanged"
    told.check()


def test_a_node_cannot_make_up_a_vote(consortium: Consortium, monkeypatch: pytest.MonkeyPatch) -> None:
    consortium.carry("suspend", 4)
    told, events = consortium.told(1), ChainClient.events

    def fewer(client: ChainClient, first: int, last: int) -> list[Event]:
        found = list(events(client, first, last))
        vote = next((event.transaction for event in found if event.name == "VoteCast"), None)
        return [event for event in found if event.transaction != vote]

    monkeypatch.setattr(ChainClient, "events", fewer)
    with pytest.raises(ChainError, match="executed again: "):
        told.check()


@pytest.mark.parametrize("job", [1, 2])
def test_what_anyone_may_do_may_come_by_way_of_another_contract(job: int, consortium: Consortium) -> None:
    consortium.carry("suspend", 4)
    consortium.by_way_of_another_contract("strike", 1, 4)
    consortium.chain.travel(TERMS["requestSeconds"] + 1)
    consortium.by_way_of_another_contract("advance", 1)
    told = consortium.told(job)
    assert [event.name for event in told.events][-2:] == ["MemberWithdrawn", "RoundOpened"]
    assert {"RoundFailed", "MemberWithdrawn"} <= {event.name for event in told.events if event.args.get("job") == 1}
    told.check()


def test_what_only_a_member_may_do_cannot_come_by_way_of_another_contract(consortium: Consortium) -> None:
    told = consortium.told(1)
    started = next(event for event in told.events if event.name == "RoundOpened" and event.args["job"] == 1)
    consortium.by_way_of_another_contract("advance", 1)
    sent = consortium.chain.web3.eth.get_block("latest")["transactions"][0]
    moved = replace(started, transaction=Web3.to_hex(sent), block=consortium.chain.web3.eth.block_number)
    with pytest.raises(ChainError, match="NothingToAdvance"):
        told.check([moved if event is started else event for event in told.events])


def test_messages_of_other_jobs_are_not_executed(consortium: Consortium) -> None:
    told = consortium.told(1)

    def altered(job: int) -> list[Event]:
        return [
            replace(event, args=event.args | {"reputation": 255})
            if event.name == "MemberEnrolled" and event.args["job"] == job
            else event
            for event in told.events
        ]

    told.check(altered(2))
    with pytest.raises(ChainError, match="does not tell the truth"):
        told.check(altered(1))
