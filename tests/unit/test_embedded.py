"""The chain in this process: it keeps its own time, and a record of it executes to the same hashes."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from eth_account import Account

from hmchain.chain import ChainClient
from hmchain.embedded import GENESIS_TIME, BlockRecord, EmbeddedChain
from hmchain.errors import VerificationError

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
    first, day, last = (record.timestamp for record in recorded)
    assert first > GENESIS_TIME
    assert day == first + 86_400
    assert last > day


@pytest.mark.parametrize("ahead", [-100, -1, 0, 1, 2, 3600])
def test_waiting_passes_a_deadline_wherever_it_lies(ahead: int) -> None:
    chain = EmbeddedChain([OWNER.address])
    chain.travel(10)
    deadline = chain.web3.eth.get_block("latest")["timestamp"] + ahead
    chain.wait_until(deadline)
    assert chain.web3.eth.get_block("latest")["timestamp"] > deadline


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
