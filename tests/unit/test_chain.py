"""The chain client: nonces, receipts, events, and every fault as one of ours."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import pytest
from eth_account import Account
from web3 import HTTPProvider, Web3
from web3.providers.base import BaseProvider
from web3.types import RPCEndpoint, RPCResponse

from hmchain import chain as module
from hmchain.chain import ChainClient, base_fee, find_deployment, wait_for_receipt
from hmchain.contract import Artifact, Decoder, Event
from hmchain.embedded import EmbeddedChain
from hmchain.errors import ChainError, ContractError

OWNER, MEMBER = Account.create(), Account.create()
ORGANISATION = (MEMBER.address, b"\1" * 32, b"Hospital".ljust(32, b"\0"))


class Deployed:
    """A fresh contract, its owner's client and its member's."""

    def __init__(self) -> None:
        self.chain = EmbeddedChain([OWNER.address, MEMBER.address])
        self.web3 = self.chain.web3
        self.owner, self.receipt = ChainClient.deploy(self.web3, OWNER)
        self.member = ChainClient(self.web3, MEMBER, self.owner.address)


@pytest.fixture
def deployed() -> Deployed:
    return Deployed()


def test_what_was_deployed_can_be_found_again(deployed: Deployed) -> None:
    found = find_deployment(deployed.web3, deployed.receipt.transaction)
    assert found is not None
    assert (found.bytecode, found.address, found.block) == (Artifact.load().bytecode, deployed.owner.address, 1)
    assert find_deployment(deployed.web3, "0x" + "11" * 32) is None
    other = deployed.owner.transact("found", [ORGANISATION]).transaction
    assert find_deployment(deployed.web3, other) is None, "it created nothing"


def test_a_transaction_has_a_receipt_with_its_events(deployed: Deployed) -> None:
    receipt = deployed.owner.transact("found", [ORGANISATION])
    assert receipt.block == 2
    assert 21_000 < receipt.gas < 1_000_000
    (event,) = (event for event in receipt.events if event.name == "MemberAdmitted")
    assert event.args["operator"] == MEMBER.address
    assert event.args["encryptionKey"] == b"\1" * 32
    assert (event.block, event.transaction) == (2, receipt.transaction)
    assert deployed.owner.gas_of(event) == receipt.gas


def test_events_are_read_from_a_range_of_blocks(deployed: Deployed, monkeypatch: pytest.MonkeyPatch) -> None:
    others = [(Account.create().address, b"\1" * 32, bytes(32)) for _ in range(3)]
    for organisation in others:
        deployed.owner.transact("found", [organisation])
    operators = [organisation[0] for organisation in others]

    def admitted(first: int, last: int) -> list[Any]:
        return [e.args["operator"] for e in deployed.owner.events(first, last) if e.name == "MemberAdmitted"]

    assert admitted(0, 4) == operators
    assert admitted(3, 3) == operators[1:2]
    assert admitted(5, 4) == []
    monkeypatch.setattr(module, "LOG_SPAN", 2)
    assert admitted(0, 4) == operators, "the same in small steps"


def test_a_client_counts_its_own_nonces(deployed: Deployed) -> None:
    for _ in range(3):
        deployed.owner.transact("found", [(Account.create().address, b"\1" * 32, bytes(32))])
    assert deployed.web3.eth.get_transaction_count(OWNER.address) == 4


def test_the_contracts_errors_come_with_their_values(deployed: Deployed) -> None:
    for act in (deployed.member.call, deployed.member.transact):
        with pytest.raises(ContractError) as caught:
            act("startJob", 5)
        assert (caught.value.name, caught.value.arguments) == ("NotCoordinator", (MEMBER.address.lower(),))


def test_after_a_refusal_the_next_transaction_goes_through(deployed: Deployed) -> None:
    for _ in range(2):
        with pytest.raises(ContractError):
            deployed.owner.transact("startJob", 5)
    deployed.owner.transact("found", [ORGANISATION])


def test_a_client_without_an_account_reads_only(deployed: Deployed) -> None:
    reader = ChainClient(deployed.web3, None, deployed.owner.address)
    assert reader.call("jobCount") == 0
    with pytest.raises(ChainError, match="no account"):
        reader.transact("seal")


def test_facts_of_the_chain(deployed: Deployed) -> None:
    client = deployed.owner
    assert client.head() == 1
    assert client.block().time == deployed.web3.eth.get_block(1)["timestamp"]
    assert client.chain_id == deployed.web3.eth.chain_id
    assert client.block(1).hash == next(deployed.chain.blocks()).hash
    assert base_fee(deployed.web3) > 0


@pytest.mark.parametrize("data", [b"", b"\1\2", b"\1\2\3\4" + b"\5" * 99])
def test_an_unknown_error_is_reverted(data: bytes) -> None:
    fault = Decoder(Web3(), Artifact.load()).error(data)
    assert fault.name == "Reverted"
    assert len(str(fault)) < 200


# ---------------------------------------------------------------- nodes that fail


class Nonsense(BaseProvider):
    """A node that gives the same answer to everything."""

    def __init__(self, answer: Any) -> None:
        super().__init__()
        self.answer = answer

    def make_request(self, method: RPCEndpoint, params: Any) -> RPCResponse:
        if isinstance(self.answer, Exception):
            raise self.answer
        return {"jsonrpc": "2.0", "id": 1, "result": self.answer}


CALLS = {
    "call": lambda client: client.call("jobCount"),
    "transact": lambda client: client.transact("seal"),
    "head": lambda client: client.head(),
    "latest": lambda client: client.block(),
    "chain id": lambda client: client.chain_id,
    "hash": lambda client: client.block(1),
    "gas": lambda client: client.gas_of(Event("x", {}, 1, 0, "0x" + "11" * 32)),
    "events": lambda client: list(client.events(0, 5)),
    "deployment": lambda client: find_deployment(client.web3, "0x" + "11" * 32),
}


@pytest.mark.parametrize("answer", ["hello", {}, {"a": 1}, [[]], 7, ConnectionError("gone"), TimeoutError()], ids=repr)
@pytest.mark.parametrize("what", CALLS)
def test_a_node_that_talks_nonsense_is_a_chain_error_or_an_odd_answer(what: str, answer: Any) -> None:
    """Never another exception: a number where any number will do is an answer."""
    client = ChainClient(Web3(Nonsense(answer)), OWNER, "0x" + "11" * 20)
    with suppress(ChainError):
        CALLS[what](client)
        assert not isinstance(answer, Exception)


def test_a_node_that_is_gone_is_a_chain_error() -> None:
    client = ChainClient(Web3(HTTPProvider("http://127.0.0.1:9")), OWNER, "0x" + "11" * 20)
    with pytest.raises(ChainError, match="does not answer as it should"):
        client.head()


def test_a_transaction_in_no_block_is_not_waited_for_for_ever(
    deployed: Deployed, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "TIMEOUT_SECONDS", 0.01)
    with pytest.raises(ChainError, match=r"is in no block after 0\.01 s"):
        wait_for_receipt(deployed.web3, b"\1" * 32)
