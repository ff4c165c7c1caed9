"""Where the dashboard reads from: a node's URL, or the folder of a finished run."""

from __future__ import annotations

from pathlib import Path

from eth_utils import is_address

from coordinator.deploy import connect
from coordinator.evidence import chain_of, check_contract
from coordinator.folder import RunFile
from hmchain.chain import ChainClient
from hmchain.errors import UsageError


def live(url: str, contract: str) -> ChainClient:
    """A reader of a contract on a node. Raises UsageError, ChainError."""
    if not is_address(contract):
        raise UsageError(f"--contract must be an address, not {contract!r}")
    client = ChainClient(connect(url), None, contract)
    client.head()
    return client


def recorded(folder: Path) -> tuple[ChainClient, int]:
    """A reader of a run's contract, its ledger executed again, and the block that created it.

    Raises UsageError where there is no run, VerificationError where it is corrupt, ChainError.
    """
    run = RunFile.read(folder)
    web3 = chain_of(folder, run)
    return ChainClient(web3, None, run.contract), check_contract(web3, run).block
