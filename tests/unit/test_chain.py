"""The chain client: nonces, receipts, events, and every fault as one of ours."""

from __future__ import annotations

import re
import time
from contextlib import suppress
from typing import Any, cast

import pytest
from eth_account import Account
from eth_utils import decode_hex, keccak, to_hex
from web3 import HTTPProvider, Web3
from web3.providers.base import BaseProvider
from web3.types import LogReceipt, RPCEndpoint, RPCResponse

from hmchain import chain as module
from hmchain import ethereum
from hmchain.chain import ChainClient
from hmchain.contract import Artifact, Decoder, Event
from hmchain.embedded import EmbeddedChain, Provider
from hmchain.errors import _REFUSAL_TEXT, ChainBehind, ChainError, ContractError, NonceClash, StorageError
from hmchain.ethereum import base_fee, find_deployment, wait_for_receipt

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


def test_a_receipt_without_the_event_that_it_must_have_is_the_nodes_fault(deployed: Deployed) -> None:
    receipt = deployed.owner.transact("found", [ORGANISATION])
    assert receipt.told("MemberAdmitted")["operator"] == MEMBER.address
    with pytest.raises(ChainError, match="gives a receipt that lacks JobCreated"):
        receipt.told("JobCreated")


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


def test_calls_and_answers_are_those_of_web3(deployed: Deployed) -> None:
    deployed.owner.transact("found", [ORGANISATION])
    theirs = deployed.web3.eth.contract(address=deployed.owner.address, abi=Artifact.load().abi)
    for name, *arguments in (("member", 1), ("memberOf", MEMBER.address), ("ballots",), ("memberCount",)):
        assert deployed.member.encode(name, *arguments) == decode_hex(theirs.encode_abi(name, arguments))
        said = theirs.functions[name](*arguments).call()
        assert deployed.member.call(name, *arguments) == (tuple(said) if isinstance(said, list) else said)
    admission = deployed.member.encode("found", [ORGANISATION])
    assert admission == decode_hex(theirs.encode_abi("found", [[ORGANISATION]]))


def test_an_error_of_a_contract_that_ours_has_called_is_known() -> None:
    data = keccak(text="UnknownMember(uint256)")[:4] + (77).to_bytes(32, "big")
    fault = Decoder(Web3(), Artifact.load("Ballots")).error(data)
    assert (fault.name, fault.arguments) == ("UnknownMember", (77,))


def test_what_is_said_of_a_refusal_is_said_of_one_that_a_contract_has() -> None:
    known = {e["name"] for name in ("HMChain", "Ballots", "Records") for e in Artifact.load(name).abi if "name" in e}
    assert known >= _REFUSAL_TEXT.keys()
    assert str(ContractError("GrantOver", (1, 0))).endswith("GrantOver(1, 0): the grant has expired, or was revoked")
    assert str(ContractError("UnknownLeaf", (1, b"\xab"))) == "the contract refused: UnknownLeaf(1, 0xab)"


@pytest.mark.parametrize("arguments", [(), ("one",), (-1,), (2**300,), (1, 2), (b"\1",)])
def test_arguments_that_do_not_fit_are_a_chain_error(deployed: Deployed, arguments: tuple[Any, ...]) -> None:
    with pytest.raises(ChainError, match=r"^member\(uint\d+\) takes no such arguments"):
        deployed.owner.call("member", *arguments)


def test_an_address_without_the_contract_is_a_chain_error(deployed: Deployed) -> None:
    stranger = ChainClient(deployed.web3, None, MEMBER.address)
    with pytest.raises(ChainError, match="nothing answers to jobCount: is this the contract's address"):
        stranger.call("jobCount")


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


@pytest.mark.parametrize("answer", [None, {}, [], True, 1.5, -1, 2**63], ids=repr)
def test_what_is_no_number_is_no_answer_where_a_number_is_asked_for(answer: Any, posted: Posted) -> None:
    posted.box.note(1, b"signed")
    client = ChainClient(Web3(Nonsense(answer)), OWNER, "0x" + "11" * 20, outbox=posted.box)
    for ask in (client.settle, client.head, lambda: client.chain_id):
        with pytest.raises(ChainError, match="does not answer as it should"):
            ask()
    assert posted.box.content == (1, b"signed")


@pytest.mark.parametrize("gas", [None, [], True, 2**70], ids=repr)
def test_a_receipt_without_gas_is_no_answer(gas: Any) -> None:
    client = ChainClient(Web3(Nonsense({"gasUsed": gas})), None, "0x" + "11" * 20)
    with pytest.raises(ChainError, match="does not answer as it should"):
        CALLS["gas"](client)


@pytest.mark.parametrize("field", ["blockNumber", "logIndex"])
def test_a_log_that_is_in_no_block_is_no_event(field: str, deployed: Deployed) -> None:
    deployed.owner.transact("found", [ORGANISATION])
    logs = deployed.web3.eth.get_logs({"address": deployed.owner.address, "fromBlock": 0})
    decoder = Decoder(deployed.web3, Artifact.load())
    assert list(decoder.events(logs))
    with pytest.raises(TypeError, match="None is no number"):
        list(decoder.events([cast(LogReceipt, {**log, field: None}) for log in logs]))


def test_a_node_that_is_gone_is_a_chain_error() -> None:
    client = ChainClient(Web3(HTTPProvider("http://127.0.0.1:9")), OWNER, "0x" + "11" * 20)
    with pytest.raises(ChainError, match="does not answer as it should"):
        client.head()


def test_a_transaction_in_no_block_is_not_waited_for_for_ever(
    deployed: Deployed, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ethereum, "TIMEOUT_SECONDS", 0.01)
    with pytest.raises(ChainError, match=r"is in no block after 0\.01 s"):
        wait_for_receipt(deployed.web3, b"\1" * 32)


# ---------------------------------------------------------------- an outbox


class Wire(Provider):
    """The way to a chain, on which transactions get lost or are refused."""

    def __init__(self, chain: EmbeddedChain) -> None:
        super().__init__(chain.web3.provider.ethereum_tester)  # type: ignore[attr-defined]
        self.sent: list[str] = []
        self.lost = self.cut = False
        self.refusal: str | None = None

    def make_request(self, method: RPCEndpoint, params: Any) -> RPCResponse:
        if method != "eth_sendRawTransaction":
            return super().make_request(method, params)
        self.sent.append(params[0])
        if self.refusal is not None:
            return {"jsonrpc": "2.0", "id": 1, "error": {"code": -32000, "message": self.refusal}}
        if self.lost:
            return {"jsonrpc": "2.0", "id": 1, "result": to_hex(keccak(hexstr=params[0]))}  # type: ignore[typeddict-item]
        answer = super().make_request(method, params)
        if self.cut:
            raise ConnectionError("gone")
        return answer


class Box:
    """An outbox that tells what was sent when something was noted or cleared."""

    def __init__(self, wire: Wire) -> None:
        self.wire = wire
        self.content: tuple[int, bytes] | None = None
        self.story: list[tuple[str, int]] = []

    def noted(self) -> tuple[int, bytes] | None:
        return self.content

    def note(self, nonce: int, raw: bytes) -> None:
        self.content = nonce, raw
        self.story.append(("note", len(self.wire.sent)))

    def clear(self) -> None:
        self.content = None
        self.story.append(("clear", len(self.wire.sent)))


class Posted(Deployed):
    """The owner's client with an outbox, as a node has it; `again` is the node after a restart."""

    def __init__(self) -> None:
        super().__init__()
        self.plain = self.owner
        self.wire = Wire(self.chain)
        self.box = Box(self.wire)
        self.told: list[str] = []
        self.owner = self.again()

    def again(self) -> ChainClient:
        def tell(call: str, _: object) -> None:
            self.told.append(call)

        return ChainClient(Web3(self.wire), OWNER, self.plain.address, outbox=self.box, on_receipt=tell)

    def beside(self) -> None:
        """Another process of the same account, say a command, sends a transaction of its own."""
        client = ChainClient(self.chain.web3, OWNER, self.plain.address)
        client.transact("found", [(Account.create().address, b"\1" * 32, bytes(32))])

    def found(self) -> str:
        """Admits somebody new, which every transaction does once."""
        return self.owner.transact("found", [(Account.create().address, b"\1" * 32, bytes(32))]).transaction

    @property
    def admitted(self) -> int:
        return int(self.plain.call("memberCount"))


@pytest.fixture
def posted(monkeypatch: pytest.MonkeyPatch) -> Posted:
    monkeypatch.setattr(module, "RESEND_SECONDS", 0.01)
    return Posted()


def test_a_transaction_is_noted_before_it_is_sent_and_forgotten_when_it_is_in_a_block(posted: Posted) -> None:
    assert posted.owner.settle() is None, "nothing to do"
    posted.found()
    posted.found()
    assert posted.box.story == [("note", 0), ("clear", 1), ("note", 1), ("clear", 2)]
    assert posted.told == ["found", "found"]
    assert posted.box.content is None


def test_a_transaction_that_was_refused_by_the_contract_is_forgotten_too(posted: Posted) -> None:
    with pytest.raises(ContractError, match="NotCoordinator"):
        posted.owner.transact("startJob", 5)
    assert posted.box.content is None
    assert posted.told == []
    posted.found()


def test_a_transaction_that_cannot_be_noted_is_not_sent(posted: Posted, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(nonce: int, raw: bytes) -> None:
        raise StorageError("the disk is full")

    monkeypatch.setattr(posted.box, "note", full)
    with pytest.raises(StorageError, match="the disk is full"):
        posted.found()
    assert (posted.wire.sent, posted.admitted) == ([], 0)


def test_a_lost_transaction_stays_noted_and_is_sent_again_as_the_same_bytes(posted: Posted) -> None:
    posted.wire.lost = True
    with pytest.raises(ChainError, match=r"is in no block after 0\.01 s"):
        posted.found()
    noted = posted.box.content
    assert noted is not None
    with pytest.raises(ChainError, match="is in no block"):
        posted.again().settle()
    assert posted.box.content == noted, "it waits as long as the chain does not take it"
    posted.wire.lost = False
    assert posted.again().settle() == 2, "the block that it is in"
    assert posted.wire.sent == [to_hex(noted[1])] * 3
    assert (posted.admitted, posted.box.content) == (1, None)
    assert posted.again().settle() is None


@pytest.mark.parametrize("mined", [True, False])
def test_a_transaction_whose_answer_was_lost_is_executed_once(mined: bool, posted: Posted) -> None:
    posted.wire.cut = True
    with pytest.raises(ChainError, match="gone"):
        posted.found()
    assert posted.box.content is not None
    posted.wire.cut = False
    if mined:
        posted.chain.travel(1)
    assert posted.again().settle() == (3 if mined else 2)
    assert (posted.admitted, posted.box.content) == (1, None)
    assert len(posted.wire.sent) == (1 if mined else 2), "where the chain had it, it is not sent again"


def test_a_node_that_has_a_transaction_already_is_waited_for(posted: Posted) -> None:
    posted.wire.lost = True
    with pytest.raises(ChainError):
        posted.found()
    for said in ("already known", "Known transaction", "ALREADY_IMPORTED: already imported"):
        posted.wire.refusal = said
        with pytest.raises(ChainError, match="is in no block"):
            posted.again().settle()
        assert posted.box.content is not None


def test_an_entry_whose_nonce_was_used_meanwhile_is_dropped(posted: Posted) -> None:
    posted.wire.lost = True
    with pytest.raises(ChainError):
        posted.found()
    posted.wire.lost = False
    posted.beside()
    assert posted.again().settle() == 2
    assert (len(posted.wire.sent), posted.admitted, posted.box.content) == (1, 1, None)


def test_an_entry_beyond_the_chains_nonce_waits_for_the_node_to_catch_up(posted: Posted) -> None:
    posted.box.content = (2, b"\2")
    client = posted.again()
    with pytest.raises(ChainBehind, match="knows 1 transactions of ours, 2 were executed"):
        client.settle()
    assert posted.box.content == (2, b"\2")
    posted.beside()
    posted.beside()
    assert client.settle() == 3
    assert (posted.wire.sent, posted.box.content) == ([], None)


def test_an_entry_that_stays_beyond_the_chains_nonce_is_dropped(posted: Posted) -> None:
    """The chain was set back: what came before the entry is gone, so it can never be executed."""
    posted.box.content = (9, b"\2")
    client = posted.again()
    with pytest.raises(ChainBehind):
        client.settle()
    time.sleep(0.02)
    assert client.settle() == 1
    assert (posted.wire.sent, posted.box.content) == ([], None)


@pytest.mark.parametrize(
    "said",
    [
        "intrinsic gas too low",
        "Transaction exceeds block gas limit",
        "Insufficient funds for gas * price + value",
        "max fee per gas less than block base fee",
    ],
)
def test_what_the_chain_can_never_take_leaves_the_outbox(said: str, posted: Posted) -> None:
    posted.wire.refusal = said
    with pytest.raises(ChainError, match="not enough for them: fund it" if "funds" in said else re.escape(said)):
        posted.found()
    assert posted.box.content is None
    posted.wire.refusal = None
    posted.found()
    assert posted.admitted == 1


def test_what_the_chain_can_never_take_leaves_the_outbox_after_a_restart_too(posted: Posted) -> None:
    posted.wire.lost = True
    with pytest.raises(ChainError):
        posted.found()
    posted.wire.refusal = "intrinsic gas too low"
    with pytest.raises(ChainError, match="intrinsic gas too low"):
        posted.again().settle()
    assert posted.again().settle() is None


@pytest.mark.parametrize("said", ["txpool is full", "the tx rate is too high", "request entity too large"])
def test_what_one_node_refuses_stays_for_another_one(said: str, posted: Posted) -> None:
    posted.wire.refusal = said
    with pytest.raises(ChainError, match=said):
        posted.found()
    noted = posted.box.content
    assert noted is not None
    posted.wire.refusal = None
    assert posted.again().settle() == 2
    assert posted.wire.sent == [to_hex(noted[1])] * 2
    assert posted.admitted == 1


@pytest.mark.parametrize(
    "said", ["nonce too low", "NONCE_TOO_LOW", "replacement transaction underpriced", "Underpriced replacement"]
)
def test_another_transaction_of_the_account_that_came_first_is_a_clash(said: str, posted: Posted) -> None:
    posted.wire.refusal = said
    with pytest.raises(NonceClash, match="another transaction of this account came first"):
        posted.found()
    posted.beside()
    posted.wire.refusal = None
    assert posted.owner.settle() == 2, "by the other one"
    posted.found()
    assert posted.admitted == 2


def test_a_nonce_that_this_very_transaction_took_is_no_clash(posted: Posted) -> None:
    """Another node had passed it on already."""
    posted.wire.cut = True
    with pytest.raises(ChainError, match="gone"):
        posted.found()
    noted = posted.box.content
    assert noted is not None
    posted.wire.cut = False
    posted.wire.refusal = "nonce too low"
    posted.owner._deliver(noted[1])


def test_two_processes_of_one_account_do_not_stop_each_other(posted: Posted) -> None:
    """A command beside the node: with an outbox the nonce is the chain's, not a count of one's own."""
    for _ in range(2):
        posted.found()
        posted.beside()
    assert posted.admitted == 4


def test_an_account_is_not_sending_once_its_transactions_are_in_a_block(posted: Posted) -> None:
    posted.found()
    assert not posted.owner.is_sending()


def test_a_refusal_that_only_sounds_like_a_known_transaction_is_a_refusal(posted: Posted) -> None:
    posted.wire.refusal = "unknown transaction type"
    with pytest.raises(ChainError, match="unknown transaction type"):
        posted.found()
