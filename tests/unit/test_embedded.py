"""The chain in this process: it keeps its own time, and a record of it executes to the same hashes."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace

import pytest
from eth_account import Account

from hmchain.chain import ChainClient
from hmchain.contract import Receipt
from hmchain.embedded import GENESIS_TIME, MOST_TOGETHER, BlockRecord, EmbeddedChain
from hmchain.errors import ChainError, NonceClash, VerificationError

OWNER = Account.create()


@pytest.fixture(scope="module")
def recorded() -> list[BlockRecord]:
    """A deployment, a day, and a transaction."""
    chain = EmbeddedChain([OWNER.address])
    client, _ = ChainClient.deploy(chain.web3, OWNER)
    chain.travel(86_400)
    client.transact("found", [(Account.create().address, b"\1" * 32, b"x" * 32)])
    return list(chain.blocks())


def test_a_record_executes_to_the_same_hashes(recorded: list[BlockRecord]) -> None:
    chain = EmbeddedChain([OWNER.address])
    for record in recorded:
        chain.replay(BlockRecord.from_json(record.to_json()))
    assert list(chain.blocks()) == recorded
    assert list(chain.blocks(after=2)) == recorded[2:]


def test_time_is_the_chains_own_and_moves_when_told(recorded: list[BlockRecord]) -> None:
    """A second a block, whatever the clock of the machine says: two runs of the same are the same chain."""
    assert [record.timestamp - GENESIS_TIME for record in recorded] == [1, 86_401, 86_402]


class Members:
    """A founded consortium's clients, and what they send at once."""

    def __init__(self, count: int) -> None:
        accounts = [Account.create() for _ in range(count)]
        self.chain = EmbeddedChain([OWNER.address, *(account.address for account in accounts)])
        owner, _ = ChainClient.deploy(self.chain.web3, OWNER)
        owner.transact("found", [(account.address, b"\1" * 32, b"x" * 32) for account in accounts])
        owner.transact("seal")
        self.clients = [ChainClient(self.chain.web3, account, owner.address) for account in accounts]
        self.head = owner.head()

    def commit(self) -> list[Callable[[], Receipt]]:
        """Each sends one transaction. Returns what waits for them."""
        return [client.send("commitDataset", bytes([n]) * 32, n) for n, client in enumerate(self.clients, start=1)]


def test_what_is_sent_before_anybody_waits_shares_a_block_which_executes_again() -> None:
    members = Members(MOST_TOGETHER + 2)
    waits = members.commit()
    assert members.clients[0].head() == members.head + 1, "a block holds so many"
    receipts = [wait() for wait in reversed(waits)][::-1]
    assert [receipt.block - members.head for receipt in receipts] == [1] * MOST_TOGETHER + [2] * 2
    first, *rest = members.chain.blocks()
    assert [len(block.transactions) for block in rest[-2:]] == [MOST_TOGETHER, 2]
    again = EmbeddedChain(members.chain.accounts)
    for block in (first, *rest):
        again.replay(block)
    assert list(again.blocks()) == [first, *rest]


def test_logs_are_counted_by_block_as_nodes_count_them() -> None:
    members = Members(3)
    receipts = [wait() for wait in members.commit()]
    told = [event for receipt in receipts for event in receipt.events]
    assert [event.index for event in told] == [0, 1, 2]
    assert list(members.clients[0].events(receipts[0].block, receipts[0].block)) == told
    assert [receipt.gas for receipt in receipts] == [members.clients[0].gas_of(event) for event in told]


def test_one_account_may_send_twice_before_it_waits() -> None:
    members = Members(2)
    waits = [*members.commit(), *members.commit()]
    assert [wait().block - members.head for wait in waits] == [1, 1, 2, 2]


def test_time_passes_after_what_was_sent() -> None:
    members = Members(2)
    waits = members.commit()
    members.chain.travel(100)
    assert [wait().block - members.head for wait in waits] == [1, 1]
    sent, empty = list(members.chain.blocks(after=members.head))
    assert (empty.transactions, empty.timestamp) == ((), sent.timestamp + 100)


def test_a_record_has_what_was_sent_and_nobody_waited_for() -> None:
    members = Members(2)
    members.commit()
    (block,) = members.chain.blocks(after=members.head)
    assert len(block.transactions) == 2


def test_a_transaction_that_cannot_be_executed_is_refused_at_once() -> None:
    members = Members(1)
    members.clients[0]._nonce = 7
    with pytest.raises(NonceClash):
        members.commit()
    stranger = ChainClient(members.chain.web3, Account.create(), members.clients[0].address)
    with pytest.raises(ChainError, match="cannot afford"):
        stranger.transact("commitDataset", b"\1" * 32, 1)
    assert [wait().block - members.head for wait in members.commit()] == [1], "after the refusal"


@pytest.mark.parametrize("ahead", [-100, -1, 0, 1, 2, 3600])
def test_waiting_passes_a_deadline_wherever_it_lies(ahead: int) -> None:
    chain = EmbeddedChain([OWNER.address])
    chain.travel(10)
    now = chain.web3.eth.get_block("latest")["timestamp"]
    chain.wait_until(now + ahead)
    assert chain.web3.eth.get_block("latest")["timestamp"] == now + max(ahead, 0) + 1, "and no longer than that"


def test_other_accounts_give_another_chain(recorded: list[BlockRecord]) -> None:
    chain = EmbeddedChain([OWNER.address, Account.create().address])
    with pytest.raises(VerificationError, match="block 1 has another hash"):
        chain.replay(recorded[0])


def test_accounts_are_a_set_however_they_are_written() -> None:
    one, other = OWNER.address, Account.create().address
    assert EmbeddedChain([one, other]).accounts == EmbeddedChain([other.lower(), one, one]).accounts


@pytest.mark.parametrize("number", [0, 2, -1, 10**30])
def test_a_block_out_of_turn_is_refused(number: int, recorded: list[BlockRecord]) -> None:
    with pytest.raises(VerificationError, match="the ledger goes from block"):
        EmbeddedChain([OWNER.address]).replay(replace(recorded[0], number=number))


@pytest.mark.parametrize("timestamp", [0, -1, GENESIS_TIME, 2**64, 10**999])
def test_a_time_that_cannot_be_is_refused(timestamp: int, recorded: list[BlockRecord]) -> None:
    with pytest.raises(VerificationError):
        EmbeddedChain([OWNER.address]).replay(replace(recorded[0], timestamp=timestamp))


def test_the_same_transaction_does_not_count_twice(recorded: list[BlockRecord]) -> None:
    chain = EmbeddedChain([OWNER.address])
    with pytest.raises(VerificationError, match="cannot be executed"):
        chain.replay(replace(recorded[0], transactions=recorded[0].transactions * 2))


GOOD = BlockRecord(1, 2, "0x" + "ab" * 32, ("0x01",)).to_json()


def test_a_line_is_what_it_was() -> None:
    assert BlockRecord.from_json(GOOD).to_json() == GOOD


@pytest.mark.parametrize(
    "line",
    [
        "",
        "{}",
        "null",
        "[]",
        "[" * 100_000,
        GOOD + " ",
        GOOD.replace(":", ": "),
        GOOD.replace("ab", "AB"),
        GOOD.replace('"number":1', '"number":true'),
        GOOD.replace('"number":1', '"number":1.0'),
        GOOD.replace('"number":1', '"number":"1"'),
        GOOD.replace('"timestamp":2', '"timestamp":NaN'),
        GOOD.replace('"timestamp":2', '"timestamp":1e999'),
        GOOD.replace('"timestamp":2', '"timestamp":' + "9" * 5000),
        GOOD.replace('["0x01"]', '"0x01"'),
        GOOD.replace('["0x01"]', "[1]"),
        GOOD.replace("0x01", "01"),
        GOOD.replace("0x01", "0x1"),
        GOOD.replace("0x01", "0xzz"),
        json.dumps({**json.loads(GOOD), "more": 1}, separators=(",", ":")),
        json.dumps(dict(reversed(json.loads(GOOD).items())), separators=(",", ":")),
    ],
    ids=lambda line: line[:60],
)
def test_any_other_line_is_refused(line: str) -> None:
    with pytest.raises(VerificationError, match="a line that is no block"):
        BlockRecord.from_json(line)
