"""`hmchain verify`: nothing of a run is believed that can be recomputed.

In order: the ledger is executed again, block by block, on the contract that this package carries; the manifest and the
initial model are built again; every aggregate is recomputed from the clients' updates; the report must be the one whose
digest was filed on chain, must agree with all of this, and its last test metrics are measured again where the data set
is at hand. The first thing that is wrong ends it.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rich.console import Console
from web3 import Web3

from coordinator.deploy import connect
from coordinator.folder import BLOBS, RunFile, read_key, read_ledger
from coordinator.options import EMBEDDED
from coordinator.replay import explain, replay
from coordinator.report import CURVES, METRICS, SUMMARY, GasTable, digest_text, report_digest, round_row
from hmchain.blobs import BlobStore, open_store
from hmchain.chain import Artifact, ChainClient
from hmchain.envelope import Identity
from hmchain.errors import BlobError, ChainError, DataError, StorageError, UsageError, VerificationError
from hmchain.exchange import SealedExchange, aggregate_of, model_header, update_header
from hmchain.history import History, JobRecord, RoundRecord
from hmchain.manifest import MAX_BYTES, Manifest
from hmchain.weights import Weights, digest, encode, specification
from trainers.datasets import load
from trainers.networks import Compute, build, initial_weights, load_weights
from trainers.scoring import evaluate

TOLERANCE = 0.01  # test metrics: other processors round differently in training precision


@dataclass
class Evidence:
    """What verification stands on: the chain's own history, and the blobs."""

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
        """The job that the run was."""
        job = self.history.jobs.get(self.run.job)
        if job is None:
            raise VerificationError(f"the chain knows no job {self.run.job}")
        return job


def verify(folder: Path, data_root: Path | None, console: Console) -> dict[str, Any]:
    """What was proved, as a dictionary. Raises VerificationError with the first thing that is wrong."""
    started = time.perf_counter()
    console.print("executing the ledger again", highlight=False)
    evidence = gather(folder)
    console.print("recomputing every global model", highlight=False)
    manifest, initial = check_job(evidence)
    models = check_rounds(evidence, manifest, initial, console)
    console.print("comparing the report", highlight=False)
    summary = check_report(folder, evidence, manifest)
    check_metrics(evidence, manifest, summary, models, data_root)
    records = evidence.job.rounds.values()
    return {
        "completed_rounds": sum(record.model is not None for record in records),
        "updates": sum(len(record.updates) for record in records),
        "models": sum(record.model is not None for record in records) + 1,
        "model_digest": summary["model_digest"],
        "contract": evidence.run.contract,
        "head": evidence.head,
        "head_hash": evidence.head_hash,
        "notes": evidence.notes,
        "seconds": round(time.perf_counter() - started, 3),
    }


def gather(folder: Path) -> Evidence:
    """Executes or opens the chain and reads its events. Raises VerificationError, ChainError."""
    run = RunFile.read(folder)
    if run.chain == EMBEDDED:
        chain, blocks = read_ledger(folder)
        replay(chain, blocks, run)
        web3 = chain.web3
    else:
        web3 = connect(run.chain)
        if web3.eth.chain_id != run.chain_id:
            raise ChainError(f"{run.chain} is chain {web3.eth.chain_id}, the run was on chain {run.chain_id}")
    check_contract(web3, run)
    client = ChainClient(web3, None, run.contract)
    history, gas, head = History(), GasTable(), client.head()
    with explain("the chain's events make no sense"):
        events = list(client.events(0, head))
        history.apply(events)
    for transaction, number, call in calls_of(events, run.job):
        gas.add(number, call, web3.eth.get_transaction_receipt(transaction)["gasUsed"])  # type: ignore[arg-type]
    head_hash = Web3.to_hex(web3.eth.get_block(head)["hash"])
    store = open_store(folder / BLOBS if run.blobs == BLOBS else run.blobs)
    return Evidence(run, history, gas, head, head_hash, store, read_key(folder))


CALL_OF_EVENT = {
    "UpdateSubmitted": "submitUpdate",
    "ScoresCommitted": "commitScores",
    "ScoresRevealed": "revealScores",
    "ModelProposed": "proposeModel",
    "ModelAttested": "attestModel",
}


def calls_of(events: list[Any], job: int) -> Iterator[tuple[str, int, str]]:
    """(transaction, round, contract function) of every message of the job; a transaction is one message."""
    seen = set()
    for event in events:
        call = CALL_OF_EVENT.get(event.name)
        if call and event.args["job"] == job and event.transaction not in seen:
            seen.add(event.transaction)
            yield event.transaction, event.args["round"], call


def check_contract(web3: Web3, run: RunFile) -> None:
    """The contract must have been created by this package's bytecode."""
    try:
        creation = web3.eth.get_transaction(run.deployment)  # type: ignore[arg-type]
        receipt = web3.eth.get_transaction_receipt(run.deployment)  # type: ignore[arg-type]
    except Exception as fault:  # web3's and eth-tester's own "not found"
        raise VerificationError("the transaction that created the contract is not on the chain") from fault
    if bytes(creation["input"]) != Artifact.load().bytecode or receipt["contractAddress"] != run.contract:
        raise VerificationError("the contract on the chain is not the one that this version of hmchain carries")


def check_job(evidence: Evidence) -> tuple[Manifest, Weights]:
    """Manifest and initial model must be what the chain recorded, and what our own code makes of them."""
    job = evidence.job
    with blamed("manifest"):
        text = evidence.store.get(job.manifest_blob, MAX_BYTES)
    with explain("the manifest cannot be reproduced"):
        manifest = Manifest.parse(text)
        initial = initial_weights(manifest.architecture, manifest.channels, len(manifest.classes), manifest.seed)
    if manifest.digest() != job.manifest or manifest.terms() != job.terms:
        raise VerificationError("the manifest is not the one that the chain recorded")
    if evidence.run.dataset != manifest.dataset:
        raise VerificationError(f"run.json names {evidence.run.dataset!r}, the manifest {manifest.dataset!r}")
    header = model_header(manifest.digest(), 0, bytes(32))
    if digest(encode(initial, header)) != job.initial:
        raise VerificationError("the initial model is not the one that the manifest's seed gives", round=0)
    with blamed("initial model", round=0):
        SealedExchange(evidence.store, evidence.key, specification(initial)).fetch(header, job.initial_blob)
    for _, keyring in job.keys:
        with blamed("keyring"):
            evidence.store.get(keyring, keyring.size)
    return manifest, initial


def check_rounds(evidence: Evidence, manifest: Manifest, initial: Weights, console: Console) -> dict[int, Weights]:
    """Recomputes each round's model from its accepted updates. Returns the last model by its round."""
    exchange = SealedExchange(evidence.store, evidence.key, specification(initial))
    base, last = evidence.job.initial, {0: initial}
    for record in evidence.job.rounds.values():
        if record.base != base:
            raise VerificationError("it does not start from the model before it", round=record.number)
        check_updates(record, manifest.digest(), exchange)
        if record.model is not None:
            last = {record.number: check_model(record, manifest.digest(), exchange)}
            base = record.model
    return last


def check_updates(record: RoundRecord, manifest: bytes, exchange: SealedExchange) -> None:
    """Every update must be there as recorded, or its masters must have said why not."""
    for position, update in sorted(record.updates.items()):
        judged_bad = record.judgement is not None and position not in record.judgement.accepted
        try:
            exchange.fetch(update_header(manifest, record, update.member), update.blob)
        except BlobError as fault:
            told = record.judgement.medians[position] if record.judgement else None
            if not (judged_bad and told == fault.reason):
                raise VerificationError(f"update: {fault}", record.number, update.member) from fault


def check_model(record: RoundRecord, manifest: bytes, exchange: SealedExchange) -> Weights:
    """The aggregate of the accepted updates must be the attested model, and every proposal's blob must be there."""
    with explain("its accepted updates cannot be aggregated", round=record.number):
        weights, header = aggregate_of(record, manifest, exchange)
    if digest(encode(weights, header)) != record.model:
        raise VerificationError("the global model is not the aggregate of the accepted updates", round=record.number)
    with blamed("global model", round=record.number):
        exchange.fetch(header, record.final_blob())
    return weights


def check_report(folder: Path, evidence: Evidence, manifest: Manifest) -> dict[str, Any]:
    """The report must be the one filed on chain, and say what the chain says."""
    job = evidence.job
    if not job.closed or job.report is None:
        raise VerificationError(f"the run did not finish: {len(job.rounds)} of {manifest.rounds} rounds, no report")
    try:
        if report_digest(folder) != job.report:
            raise VerificationError(f"{SUMMARY}, {METRICS} or {CURVES} is not what the coordinator filed on chain")
        summary = json.loads((folder / SUMMARY).read_text())
        rows = [json.loads(line) for line in (folder / METRICS).read_text().splitlines()]
    except (StorageError, ValueError) as fault:
        raise VerificationError(f"the report cannot be read: {fault}") from fault
    with explain("the report lacks what every report has"):
        compare("summary.json", summary, facts_of(evidence, manifest))
        compare("summary.json", {"rows": len(rows)}, {"rows": len(job.rounds)})
        for row, record in zip(rows, job.rounds.values(), strict=True):
            told = round_row(record, None, evidence.gas.rounds.get(record.number, 0), {})
            compare(METRICS, row, {k: v for k, v in told.items() if k not in ("test", "seconds")}, record.number)
    return dict(summary)


def facts_of(evidence: Evidence, manifest: Manifest) -> dict[str, Any]:
    """What the summary must say, from the chain."""
    records = list(evidence.job.rounds.values())
    models = [record.model for record in records if record.model is not None]
    return {
        "dataset": manifest.dataset,
        "dataset_digest": evidence.run.dataset_digest,
        "members": len(evidence.history.members),
        "masters": manifest.masters,
        "rounds": manifest.rounds,
        "seed": manifest.seed,
        "completed_rounds": len(models),
        "failed_rounds": len(records) - len(models),
        "model_digest": digest_text(models[-1]) if models else None,
        "manifest_digest": digest_text(manifest.digest()),
        "gas": evidence.gas.summary(),
    }


def compare(where: str, told: dict[str, Any], facts: dict[str, Any], round: int | None = None) -> None:
    """Raises VerificationError at the first fact that is told otherwise."""
    for name, fact in facts.items():
        if told.get(name) != fact:
            raise VerificationError(f"{where} says {name} = {told.get(name)!r}, the chain {fact!r}", round=round)


def check_metrics(
    evidence: Evidence, manifest: Manifest, summary: dict[str, Any], models: dict[int, Weights], root: Path | None
) -> None:
    """Measures the final model on the test set again, where that set is at hand; nothing is downloaded for it."""
    ((number, model),) = models.items()
    if number == 0:
        return
    try:
        dataset = load(manifest.dataset, root, download=False)
    except (DataError, UsageError) as fault:
        evidence.notes.append(f"test metrics were not measured again: {fault}")
        return
    if digest_text(dataset.digest) != evidence.run.dataset_digest:
        evidence.notes.append("test metrics were not measured again: the data set here is another file than the run's")
        return
    network, compute = build(manifest.architecture, manifest.channels, len(manifest.classes)), Compute()
    load_weights(network.to(compute.device), model)
    measured = evaluate(network, dataset.test, compute)
    for name, value in (("test_auc", measured.auc), ("test_acc", measured.accuracy)):
        if abs(summary[name] - value) > TOLERANCE:
            raise VerificationError(f"summary.json says {name} = {summary[name]}, measured {value:.4f}", number)


@contextmanager
def blamed(what: str, round: int | None = None) -> Iterator[None]:
    """A blob that is not what the chain says."""
    try:
        yield
    except BlobError as fault:
        raise VerificationError(f"{what}: {fault}", round=round) from fault
