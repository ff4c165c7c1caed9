"""`hmchain verify`: recomputes everything in a run that can be recomputed, and believes none of it.

In this order: the ledger is executed again, block by block, on the contract that this package carries; the manifest and
the initial model are built again; every aggregate is recomputed from the clients' updates; the report must be the one
whose digest was filed on chain and agree with all of this, and, where the data set is at hand, its metrics with what
the models are measured to have (claims.py). Verification ends at the first thing that is wrong.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rich.console import Console

from coordinator.claims import check_report
from coordinator.evidence import Evidence, gather
from coordinator.folder import BLOBS, KEY, LEDGER, RUN, RunFile
from coordinator.measurement import check_metrics
from coordinator.options import EMBEDDED
from coordinator.replay import explain
from coordinator.report import CURVES, METRICS, SUMMARY, digest_text
from hmchain.blobs import IPFS_PREFIX, BlobRef, BlobStore
from hmchain.errors import BlobError, DaemonError, Reason, VerificationError
from hmchain.exchange import SealedExchange, aggregate_of, fetch_model, limit_of, model_header, update_header
from hmchain.history import JobRecord, RoundRecord
from hmchain.keyring import MAX_BYTES as MAX_KEYRING
from hmchain.manifest import MAX_BYTES, Manifest
from hmchain.scores import is_score
from hmchain.weights import Header, Weights, digest_of, specification
from trainers.networks import initial_model, refuse_custom_network

WORD = "how its updates were trained, on how many samples, and what it measured as a master"


def verify(
    folder: Path, data_root: Path | None, console: Console, modules: Collection[str] = (), url: str | None = None
) -> dict[str, Any]:
    """Verifies a run's folder. Returns what was proved. `modules` are the custom networks that may be imported, `url`
    is a node of the run's chain, where it is not the one that run.json names.

    Raises VerificationError with the first thing that is wrong.
    """
    started = time.perf_counter()
    run = RunFile.read(folder).on(url)
    console.print("executing the ledger again", highlight=False)
    evidence = gather(folder, run)
    console.print("recomputing every global model", highlight=False)
    with unless_unavailable(run):
        manifest, initial = check_job(evidence, modules)
        if run.dataset != manifest.dataset:
            raise VerificationError(f"run.json names {run.dataset!r}, the manifest {manifest.dataset!r}")
        check_rounds(evidence, manifest, initial)
    console.print("comparing the report", highlight=False)
    report = check_report(folder, evidence, manifest)
    check_metrics(evidence, manifest, report, initial, data_root)
    strange = strangers(folder, run, evidence.job)
    if strange:
        evidence.notes.append(f"not of the run, and not looked at: {', '.join(strange)[:300]}")
    return verdict_of(evidence, started)


def strangers(folder: Path, run: RunFile, job: JobRecord) -> list[str]:
    """Names of the files in a run's folder that are no part of the run."""
    ours = {RUN, KEY, SUMMARY, METRICS, CURVES, run.blobs, *((LEDGER,) if run.chain == EMBEDDED else ())}
    strange = [entry.name for entry in folder.iterdir() if entry.name not in ours]
    if run.blobs == BLOBS:  # its own; other runs may share another
        known = {str(blob.cid) for blob in job.blobs()}
        strange += [f"{BLOBS}/{entry.name}" for entry in (folder / BLOBS).iterdir() if entry.name not in known]
    return sorted(strange)


def verdict_of(evidence: Evidence, started: float) -> dict[str, Any]:
    """What was proved, as JSON-ready facts; started is a time.perf_counter() reading."""
    records = list(evidence.job.rounds.values())
    models = [record.model for record in records if record.model is not None]
    return {
        "completed_rounds": len(models),
        "updates": sum(len(record.updates) for record in records),
        "models": len(models) + 1,
        "model_digest": digest_text(models[-1]) if models else None,
        "contract": evidence.run.contract,
        "chain": evidence.run.chain_shown,
        "head": evidence.head,
        "head_hash": evidence.head_hash,
        "notes": [*evidence.notes, f"each member's own word: {WORD}"],
        "seconds": round(time.perf_counter() - started, 3),
    }


@contextmanager
def unless_unavailable(run: RunFile) -> Iterator[None]:
    """Raises BlobError in place of VerificationError where an IPFS daemon is at fault, or does not find a blob.

    That is no evidence against the run.
    """
    try:
        yield
    except VerificationError as fault:
        cause = fault.__cause__
        if not run.blobs.startswith(IPFS_PREFIX) or not isinstance(cause, BlobError):
            raise
        if cause.reason == Reason.UNAVAILABLE or isinstance(cause, DaemonError):
            raise cause from fault
        raise


def check_job(evidence: Evidence, modules: Collection[str] = ()) -> tuple[Manifest, Weights]:
    """Checks that manifest and initial model are as recorded on chain, and as our own code rebuilds them.

    Returns both. Raises VerificationError, UsageError for a custom network that is not in `modules` or has another
    source here.
    """
    job = evidence.job
    if evidence.key.public not in (public for public, _ in job.keys):
        raise VerificationError(f"{KEY} is not the key that the chain recorded")
    with blamed("manifest"):
        text = evidence.store.get(job.manifest_blob, MAX_BYTES)
    with explain("the manifest cannot be reproduced"):
        manifest = Manifest.parse(text)
    if manifest.digest() != job.manifest or manifest.terms() != job.terms:
        raise VerificationError("the manifest is not the one that the chain recorded")
    refuse_custom_network(manifest, modules)  # UsageError: what may or can be imported here is no evidence
    with explain("the manifest cannot be reproduced"):
        initial = initial_model(manifest, modules)
    header = model_header(manifest.digest(), 0, bytes(32))
    if digest_of(initial, header) != job.initial:
        raise VerificationError("the initial model is not the one that the manifest's seed gives", round=0)
    with blamed("initial model", round=0):
        exchange = SealedExchange(evidence.store, evidence.key, specification(initial))
        fetch_model(exchange, header, job.initial_blob, job.initial)
    for _, keyring in job.keys:
        with blamed("keyring"):
            evidence.store.get(keyring, MAX_KEYRING)
    return manifest, initial


def check_rounds(evidence: Evidence, manifest: Manifest, initial: Weights) -> None:
    """Recomputes each round's model from its accepted updates."""
    like = specification(initial)
    exchange = SealedExchange(evidence.store, evidence.key, like)
    base, model, there = evidence.job.initial, initial, []
    for record in evidence.job.rounds.values():
        if record.base != base:
            raise VerificationError("it does not start from the model before it", round=record.number)
        there += [f"{record.number} of member {who}" for who in check_updates(record, manifest.digest(), exchange)]
        check_proposals(evidence.store, record, limit_of(like))
        if record.model is not None:
            base, model = record.model, check_model(record, model, manifest, exchange)
    if there:
        evidence.notes.append(f"masters could not fetch updates that are there now, in round {', '.join(there)[:300]}")


def check_updates(record: RoundRecord, manifest: bytes, exchange: SealedExchange) -> list[int]:
    """Checks that every update is what its masters found: weights where they scored it, else wrong as they said.

    Nobody has vouched for an update that was not judged, so that it may be anything. Returns the members whose update
    is there although masters could not fetch it: it came too late, or they did not look.
    """
    there = []
    for position, update in sorted(record.updates.items()):
        told = record.judgement.medians[position] if record.judgement else int(Reason.UNSCORED)
        fault = fault_of(update_header(manifest, record, update.member), update.blob, exchange)
        if not agree(told, fault):
            said = f"masters gave word {told} on it, and it is as it should be" if fault is None else str(fault)
            raise VerificationError(f"update: {said}", record.number, update.member) from fault
        if told == Reason.UNAVAILABLE and fault is None:
            there.append(update.member)
    return there


def fault_of(header: Header, blob: BlobRef, exchange: SealedExchange) -> BlobError | None:
    """What is wrong with the weights in a blob; None where nothing is."""
    try:
        exchange.fetch(header, blob)
    except BlobError as fault:
        return fault
    return None


def agree(told: int, fault: BlobError | None) -> bool:
    """Whether a verdict's score word fits what is found wrong with the update (None: nothing)."""
    if told == Reason.UNSCORED:  # it counted for nothing; but what is stored must be what was recorded
        return fault is None or fault.reason != Reason.WRONG_DIGEST
    if fault is None:
        return is_score(told) or told == Reason.UNAVAILABLE  # it may have become available too late
    return told == fault.reason


def check_proposals(store: BlobStore, record: RoundRecord, limit: int) -> None:
    """Checks that the stored proposals are as recorded. One that was not attested may hold anything: more than `limit`
    bytes, which no model has, are not read.
    """
    for proposal in record.proposals:
        try:
            store.get(proposal.blob, limit)
        except BlobError as fault:
            if fault.reason == Reason.WRONG_DIGEST:
                raise VerificationError(f"proposal: {fault}", round=record.number) from fault


def check_model(record: RoundRecord, base: Weights, manifest: Manifest, exchange: SealedExchange) -> Weights:
    """Checks that the aggregate of the accepted updates is the attested model, and that its blob holds it. Returns it.

    `base` is a recomputed model, with recomputed moments of the server.
    """
    with explain("its accepted updates cannot be aggregated", round=record.number):
        weights, header = aggregate_of(record, base, manifest, exchange)
    if digest_of(weights, header) != record.model:
        raise VerificationError("the global model is not the aggregate of the accepted updates", round=record.number)
    with blamed("global model", round=record.number):
        fetch_model(exchange, header, record.final_blob(), record.model)
    return weights


@contextmanager
def blamed(what: str, round: int | None = None) -> Iterator[None]:
    """Turns BlobError into VerificationError: a blob is not what the chain says."""
    try:
        yield
    except BlobError as fault:
        raise VerificationError(f"{what}: {fault}", round=round) from fault
