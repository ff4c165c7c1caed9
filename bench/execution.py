"""What it costs to execute a run's transactions: as they were mined, one, five or ten a block, and without blocks.

python -m bench.execution DIR [--rounds N]

DIR is a run on the embedded chain. Of each way the least processor time of N tries counts, as others use the machine.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from pathlib import Path

from eth_account import Account
from eth_account.typed_transactions import TypedTransaction
from eth_utils import decode_hex
from hexbytes import HexBytes

from coordinator.folder import RunFile, read_ledger
from hmchain.machine import Machine


def as_mined(folder: Path) -> int:
    """Every block again, its hash compared. Returns how many transactions that were."""
    chain, blocks = read_ledger(folder)
    count = 0
    for block in blocks:
        chain.replay(block)
        count += len(block.transactions)
    return count


def in_blocks(folder: Path, size: int) -> int:
    """Blocks of so many transactions, each with a state root of its own, at other times than the run's."""
    embedded, blocks = read_ledger(folder)
    transactions = [embedded._backend.decode(decode_hex(raw)) for block in blocks for raw in block.transactions]
    for start in range(0, len(transactions), size):
        embedded._backend.mine(transactions[start : start + size])
    return len(transactions)


def without_blocks(folder: Path) -> int:
    """No block, state root, nonce or fee, as `hmchain verify` executes what a node tells."""
    machine, contract, count = Machine(RunFile.read(folder).chain_id), RunFile.read(folder).contract, 0
    for block in read_ledger(folder)[1]:
        for raw in block.transactions:
            fields, sender = TypedTransaction.from_bytes(HexBytes(raw)).as_dict(), Account.recover_transaction(raw)
            if fields["to"]:
                done = machine.call(sender, contract, bytes(fields["data"]), block.timestamp)
            else:
                done = machine.create(sender, fields["nonce"], bytes(fields["data"]), block.timestamp)
            assert not done.failed, "a transaction of the run fails"
            count += 1
    return count


def milliseconds(execute: Callable[[], int]) -> float:
    """Processor time for each transaction."""
    started = time.process_time()
    count = execute()
    return (time.process_time() - started) / count * 1000


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(prog="python -m bench.execution", description=__doc__)
    parser.add_argument("folder", type=Path, metavar="DIR")
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    folder: Path = options.folder
    ways: dict[str, Callable[[], int]] = {
        "as mined": lambda: as_mined(folder),
        "one a block": lambda: in_blocks(folder, 1),
        "five a block": lambda: in_blocks(folder, 5),
        "ten a block": lambda: in_blocks(folder, 10),
        "without blocks": lambda: without_blocks(folder),
    }
    found: dict[str, list[float]] = {way: [] for way in ways}
    for _ in range(options.rounds):
        for way, execute in ways.items():
            found[way].append(milliseconds(execute))
    for way, times in found.items():
        print(f"{way:15} {min(times):6.2f} ms a transaction")


if __name__ == "__main__":
    main()
