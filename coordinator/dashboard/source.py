"""Where the dashboard reads from: a node's URL, or the folder of a finished run."""

from __future__ import annotations

from pathlib import Path

from eth_utils import is_address

from coordinator.deploy import connect
from coordinator.evidence import check_contract
from coordinator.folder import RunFile, read_ledger
from coordinator.options import EMBEDDED
from coordinator.replay import replay
from hmchain.chain import ChainClient
from hmchain.errors import ChainError, UsageError, VerificationError


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
    if run.chain == EMBEDDED:
        chain, blocks = read_ledger(folder)
        replay(chain, blocks, run)
        web3 = chain.web3
    else:
        web3 = connect(run.chain)
    client = ChainClient(web3, None, run.contract)
    if client.chain_id != run.chain_id:
        fault = f"{run.chain} is chain {client.chain_id}, the run was on chain {run.chain_id}"
        raise VerificationError(fault) if run.chain == EMBEDDED else ChainError(fault)
    return client, check_contract(web3, run).block
