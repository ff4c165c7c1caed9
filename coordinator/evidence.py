"""Gathers what verification works on: the chain, executed again or opened, and the blobs."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from web3 import Web3

from coordinator.deploy import connect
from coordinator.folder import RUN, RunFile, of_the_run, read_key, read_ledger
from coordinator.options import EMBEDDED
from coordinator.reexecution import reexecute
from coordinator.replay import OTHER_CONTRACT, explain, replay
from coordinator.report import SUMMARY, GasTable
from hmchain.blobs import IPFS_PREFIX, BlobStore, open_store
from hmchain.chain import ChainClient
from hmchain.contract import Artifact, Event
from hmchain.envelope import Identity
from hmchain.errors import ChainError, UsageError, VerificationError
from hmchain.ethereum import Deployment, Head, find_deployment
from hmchain.history import History, JobRecord


@dataclass
class Evidence:
    """What verification works on: the chain's own history, and the blobs. notes are for the verdict."""

    run: RunFile
    history: History
    gas: GasTable
    head: int
    head_hash: str
    store: BlobStore
    key: Identity
    notes: list[str] = field(default_factory=list)

    @property
    def job(self) -> JobRecord:
        """The run's job. Raises VerificationError where the chain has no such job."""
        job = self.history.jobs.get(self.run.job)
        if job is None:
            raise VerificationError(f"the chain knows no job {self.run.job}")
        return job


def gather(folder: Path, run: RunFile) -> Evidence:
    """Executes or opens the chain and reads its events. Raises VerificationError, ChainError."""
    store, key = blobs_of(folder, run), read_key(folder)
    evidence = evidence_on(chain_of(folder, run), run, store, key)
    if os.path.lexists(folder / SUMMARY):  # whatever it is
        check_not_behind(evidence)
    return evidence


def check_not_behind(evidence: Evidence) -> None:
    """Checks that the node of a run with a report knows of it: what a node does not know is no evidence against a run.

    Raises ChainError.
    """
    run, job = evidence.run, evidence.history.jobs.get(evidence.run.job)
    if run.chain != EMBEDDED and (job is None or job.report is None):
        raise ChainError(
            f"{run.chain_shown} is at block {evidence.head} and knows no report on job {run.job}: "
            "the node is behind, or the run broke off before it filed one"
        )


def chain_of(folder: Path, run: RunFile) -> Web3:
    """The chain of a run: the ledger executed again, or the node. Raises VerificationError, ChainError."""
    if run.chain == EMBEDDED:
        chain, blocks = read_ledger(folder)
        replay(chain, blocks, run)
        web3 = chain.web3
    else:
        web3 = connect(run.chain)
    chain_id = ChainClient(web3, None, run.contract).chain_id
    if chain_id != run.chain_id:
        fault = f"{run.chain_shown} is chain {chain_id}, the run was on chain {run.chain_id}"
        raise VerificationError(fault) if run.chain == EMBEDDED else ChainError(fault)
    return web3


def evidence_on(web3: Web3, run: RunFile, store: BlobStore, key: Identity) -> Evidence:
    """Reads the events of the run's chain. Raises VerificationError, ChainError."""
    client, gas = ChainClient(web3, None, run.contract), GasTable()
    history, events, head = history_on(web3, run)
    filed = [event.block for event in events if event.name == "ReportFiled" and event.args["job"] == run.job]
    if run.chain == EMBEDDED and filed and filed[-1] != head.number:
        raise VerificationError("the ledger goes on after the report was filed")
    for event, call in calls_of(events, run.job):
        gas.add(event.args["round"], call, client.gas_of(event))
    return Evidence(run, history, gas, head.number, head.hash, store, key)


def history_on(web3: Web3, run: RunFile) -> tuple[History, list[Event], Head]:
    """The history of the run's contract, the events that it is built from, and the block up to which it was read.

    No node's word is taken for what concerns the run's job: see reexecution.py. Raises VerificationError, ChainError.
    """
    client = ChainClient(web3, None, run.contract)
    deployment = check_contract(web3, run)
    history, head = History(), client.block()
    events = list(client.events(deployment.block, head.number))
    try:
        with explain("the chain's events make no sense"):
            history.apply(events)
    except VerificationError as fault:
        if run.chain == EMBEDDED:
            raise
        raise ChainError(str(fault)) from fault  # nodes have been seen to leave events out
    if run.chain != EMBEDDED:  # a ledger was executed when it was read
        reexecute(web3, run, deployment, events, head.number)
    if client.block(head.number) != head:
        raise ChainError(f"block {head.number} changed while the chain was read")
    return history, events, head


def blobs_of(folder: Path, run: RunFile) -> BlobStore:
    """The run's blobs, for reading: a missing folder is not created. Raises VerificationError, StorageError."""
    if run.blobs.startswith(IPFS_PREFIX):
        try:
            return open_store(run.blobs)
        except UsageError as fault:
            raise VerificationError(f"{RUN} names no place of blobs: {fault}") from fault
    path = folder / run.blobs
    with of_the_run(f"the folder of blobs is missing: {str(path)[:300]}", OSError, ValueError):
        entries = list(path.iterdir())
    with of_the_run(f"{str(path)[:300]} holds something that is no blob", OSError):
        if not all(entry.is_file() for entry in entries):
            raise VerificationError(f"{str(path)[:300]} holds something that is no blob")
    return open_store(path)


CALL_OF_EVENT = {
    "UpdateSubmitted": "submitUpdate",
    "ScoresCommitted": "commitScores",
    "ScoresRevealed": "revealScores",
    "ModelProposed": "proposeModel",
    "ModelAttested": "attestModel",
}


def calls_of(events: list[Event], job: int) -> Iterator[tuple[Event, str]]:
    """Every protocol message of the job, as one event of its transaction and the contract function that it called."""
    seen = set()
    for event in events:
        call = CALL_OF_EVENT.get(event.name)
        if call and event.args["job"] == job and event.transaction not in seen:
            seen.add(event.transaction)
            yield event, call


def check_contract(web3: Web3, run: RunFile) -> Deployment:
    """Checks that the contract was created from this package's bytecode. Raises VerificationError, ChainError."""
    deployment = find_deployment(web3, run.deployment)
    if deployment is None:
        fault = "the transaction that created the contract is not on the chain"
        if run.chain == EMBEDDED:
            raise VerificationError(fault)
        raise ChainError(f"{fault} of {run.chain_shown}: the node is behind, or its chain is another")
    if (deployment.bytecode, deployment.address) != (Artifact.load().bytecode, run.contract):
        raise VerificationError(OTHER_CONTRACT)
    return deployment
