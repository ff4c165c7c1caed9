"""What the dashboard reads: a chain by URL, a hospital's consortium, or the folder of a finished run."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from eth_utils import is_address

from coordinator.dashboard.reader import Reader
from coordinator.deploy import connect
from coordinator.evidence import chain_of, check_contract
from coordinator.folder import RunFile
from coordinator.options import EMBEDDED
from hmchain.consortium import Consortium
from hmchain.errors import UsageError
from hmchain.registry import Registry
from trainers import parts
from trainers.config import load


@dataclass(frozen=True)
class Source:
    """A consortium to read, from the block that created its contract. folder is a finished run's; final where its chain
    is only executed again, so that nothing can follow.
    """

    reader: Reader
    first_block: int
    folder: Path | None = None
    final: bool = False


def live(url: str, contract: str, records: str | None = None) -> Source:
    """A consortium on a node. Raises UsageError, ChainError."""
    for option, address in (("--contract", contract), ("--records", records)):
        if address is not None and not is_address(address):
            raise UsageError(f"{option} must be an address, not {address!r:.80}")
    return Source(Reader(connect(url), contract, records), 0)


def configured(path: Path) -> Source:
    """A hospital's consortium, by its nodes. Raises UsageError, ChainError."""
    config = load(path)
    consortium = Consortium.read(config.chain.consortium)
    web3 = parts.connect(config, consortium)
    records = Registry.open(web3, None, consortium).client.address if consortium.records else None
    return Source(Reader(web3, consortium.contract, records), consortium.block)


def recorded(folder: Path) -> Source:
    """A run's consortium, its ledger executed again.

    Raises UsageError where there is no run, VerificationError where it is corrupt, ChainError.
    """
    run = RunFile.read(folder)
    web3 = chain_of(folder, run)
    return Source(Reader(web3, run.contract), check_contract(web3, run).block, folder, run.chain == EMBEDDED)
