"""A ledger that somebody without any key writes anew from its signed transactions.

Nobody signs when a message was sent. So such a ledger can be valid; but what it then says of members, updates, models
and report is the same, and its head block is another one, which `verify` prints (docs/protocol.md, what is not
defended).
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from eth_account import Account
from eth_account.typed_transactions import TypedTransaction
from eth_utils import decode_hex
from hexbytes import HexBytes
from web3 import Web3

from coordinator.folder import read_ledger
from hmchain.contract import Artifact
from hmchain.embedded import EmbeddedChain
from tests.e2e.stripes import verdict_on, write_ledger

Block = tuple[int, list[str]]  # its time, and its signed transactions
Blocks = list[Block]
CONTRACT = Web3().eth.contract(abi=Artifact.load().abi)
STRANGER = Account.create()


def retold(folder: Path, change: Callable[[Blocks], Blocks]) -> Path:
    """Writes a folder's ledger anew: the same signed transactions in other blocks."""
    chain, records = read_ledger(folder)
    anew = EmbeddedChain([*chain.accounts, STRANGER.address])
    for time, transactions in change([(record.timestamp, list(record.transactions)) for record in records]):
        anew._backend.next_block_at(time)
        for raw in transactions:
            anew._backend.send_raw_transaction(decode_hex(raw))
        anew._backend.mine_blocks()
    return write_ledger(folder, anew)


def function_of(block: Block) -> str:
    """The contract's function that a block's transaction calls, "" for none."""
    for raw in block[1]:
        fields = TypedTransaction.from_bytes(HexBytes(raw)).as_dict()
        if fields["to"]:
            return str(CONTRACT.decode_function_input(bytes(fields["data"]))[0].fn_name)
    return ""


def later(blocks: Blocks, seconds: int) -> Blocks:
    """The same blocks, each that much later."""
    return [(time + seconds, sent) for time, sent in blocks]


def strangers_call(contract: str, chain_id: int) -> Callable[[Blocks], Blocks]:
    """One more block, with a transaction that the contract refuses."""
    call = {"to": contract, "data": CONTRACT.encode_abi("advance", args=[99]), "chainId": chain_id, "nonce": 0}
    fees = {"gas": 10**6, "value": 0, "maxFeePerGas": 10**10, "maxPriorityFeePerGas": 0}
    raw = STRANGER.sign_transaction(call | fees).raw_transaction.to_0x_hex()
    return lambda blocks: [*blocks[:20], (blocks[19][0] + 1, [raw]), *later(blocks[20:], 1)]


def in_pairs(blocks: Blocks) -> Blocks:
    """Half as many blocks."""
    pairs = zip(blocks[1::2], [*blocks[2::2], (0, [])], strict=False)
    return [blocks[0], *((time, sent + more) for (time, sent), (_, more) in pairs)]


HARMLESS: dict[str, Callable[[Blocks], Blocks]] = {
    "an hour later": lambda blocks: later(blocks, 3_600),
    "a pause in the middle": lambda blocks: [*blocks[:20], *later(blocks[20:], 5)],
    "an empty block more": lambda blocks: [*blocks[:20], (blocks[19][0] + 1, []), *later(blocks[20:], 1)],
    "half as many blocks": in_pairs,
}


@pytest.mark.parametrize("how", [*HARMLESS, "a stranger's transaction"])
def test_a_ledger_told_otherwise_says_the_same_and_has_another_head(how: str, copy: Callable[[], Path]) -> None:
    folder = copy()
    told = verdict_on(folder)
    run = json.loads((folder / "run.json").read_text())
    again = verdict_on(retold(folder, HARMLESS.get(how) or strangers_call(run["contract"], run["chain_id"])))
    assert (told["valid"], again["valid"]) == (True, True)
    for same in ("contract", "model_digest", "completed_rounds", "updates", "models"):
        assert again[same] == told[same]
    assert again["head_hash"] != told["head_hash"]


DROPPED: dict[str, Callable[[Blocks], Blocks]] = {
    "a deadline missed": lambda blocks: [*blocks[:20], *later(blocks[20:], 10**6)],
    "the last attestation": lambda blocks: without(blocks, "attestModel"),
    "the report": lambda blocks: without(blocks, "fileReport"),
}


def without(blocks: Blocks, name: str) -> Blocks:
    """The last message of this kind left out: of any earlier one, its sender's next would lack it."""
    last = max(place for place, block in enumerate(blocks) if function_of(block) == name)
    return [*blocks[:last], *blocks[last + 1 :]]


@pytest.mark.parametrize("how", DROPPED)
def test_a_ledger_in_which_a_message_does_not_count_is_found(how: str, copy: Callable[[], Path]) -> None:
    verdict = verdict_on(retold(copy(), DROPPED[how]))
    assert verdict["valid"] is False
    assert "the run did not finish" in verdict["reason"]
