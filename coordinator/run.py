"""`hmchain run`: a whole consortium in one process, round after round, and its report."""

from __future__ import annotations

import time
from collections import Counter
from typing import Any

import torch

from coordinator.attacks import malicious_members
from coordinator.federation import Federation, Setup, chain_federation, plain_federation
from coordinator.folder import new_folder
from coordinator.options import RunOptions
from coordinator.progress import Progress
from coordinator.report import digest_text, round_row, settings_of, write_report
from hmchain.errors import ChainError
from hmchain.exchange import fetch_model, model_header
from hmchain.history import RoundRecord
from hmchain.rounds import COORDINATOR, Phase, RoundState, quorum_of
from hmchain.stopwatch import Stopwatch
from trainers.datasets import Dataset, load
from trainers.hospital import propose_aggregate
from trainers.networks import Compute, computing, load_weights, network_of
from trainers.partition import split
from trainers.scoring import Metrics
from trainers.splits import Split

TIMES = ("training", "scoring", "chain", "blobs", "aggregation", "evaluation")


def run(options: RunOptions, progress: Progress) -> dict[str, Any]:
    """Runs all rounds and writes the report. Returns the summary. Raises HMChainError."""
    watch = Stopwatch()
    # One torch thread a computation. torch's threads spin while they wait for each other: where anything else uses a
    # core, two of them train 30 times slower than one. With one, a run's model also does not depend on the cores.
    torch.set_num_threads(1)
    dataset = load(options.dataset, options.data_root)
    shards = split(dataset, options.members, options.partition, options.seed)
    setup = Setup.of(options, dataset, shards, watch)
    with new_folder(options.out):
        progress.note(
            f"{dataset.name}: {options.members} hospitals, {options.clients} of them train in a round, "
            f"{options.masters} masters, {options.rounds} rounds"
        )
        federation = plain_federation(setup) if options.chain is None else chain_federation(setup, options.out)
        return conduct(federation, options, dataset, progress)


def conduct(federation: Federation, options: RunOptions, dataset: Dataset, progress: Progress) -> dict[str, Any]:
    """All rounds of a federation, and the report on them. Returns the summary. Raises HMChainError."""
    try:
        rows = [_play(federation, dataset, progress) for _ in range(options.rounds)]
        validation = _validation(federation, dataset) if options.validate else {}
    finally:
        federation.team.close()
    summary = _summary(options, dataset, federation, rows) | validation
    federation.file_report(write_report(options.out, summary, rows))
    return summary


def _play(federation: Federation, dataset: Dataset, progress: Progress) -> dict[str, Any]:
    """One round, from REQUEST to its end."""
    started, before = time.perf_counter(), Counter(federation.watch.seconds)
    ledger = federation.coordinator
    state = ledger.state()
    number = state.number
    if state.phase == Phase.WAITING:
        raise ChainError(f"round {number} cannot open: fewer members are enrolled than the job has masters")
    while state.number == number and state.phase not in (Phase.CLOSED, Phase.WAITING):
        if state.phase == Phase.FAILED:
            ledger.advance()
        elif state.phase == Phase.COMMIT and COORDINATOR not in state.proposed:
            propose_aggregate(
                state, ledger, federation.exchange, federation.manifest, federation.base, federation.watch
            )
        elif not _act(federation, state, progress):
            federation.wait_until(state.deadline)
        state = ledger.state()
    federation.save()
    record = ledger.record(number)
    metrics = _evaluate(federation, dataset.test, record) if record.model is not None else None
    gas = federation.gas.rounds.get(number, 0)
    seconds = dict(Counter(federation.watch.seconds) - before) | {"total": time.perf_counter() - started}
    progress.round_over(record, metrics, gas, seconds["total"])
    return round_row(record, metrics, gas, seconds)


def _act(federation: Federation, state: RoundState, progress: Progress) -> bool:
    """Lets as many parties of the phase act as it needs. False where none of them had anything to send."""
    roster = state.clients if state.phase == Phase.REQUEST else state.masters
    for number in roster:
        federation.hospitals[number].anticipate(state)
    enough = {Phase.COMMIT: 1, Phase.REPLY: quorum_of(len(roster)) - len(state.attested)}.get(state.phase, len(roster))
    record, acted = federation.coordinator.record(state.number), 0
    with federation.together():
        for done, number in enumerate(roster):
            progress.step(record, state.phase, done, len(roster))
            acted += federation.hospitals[number].act(state)
            if acted == enough:
                break
    return acted > 0


def _evaluate(federation: Federation, split: Split, record: RoundRecord) -> Metrics:
    """Measures the global model that a round ended with on a split."""
    assert record.model is not None
    header = model_header(federation.manifest.digest(), record.number, record.base)
    model = fetch_model(federation.exchange, header, record.final_blob(), record.model)
    manifest, compute = federation.manifest, Compute()
    with federation.watch.measure("evaluation"), computing(manifest):
        network = network_of(manifest, {manifest.architecture})
        load_weights(compute.place(network), model)
        return federation.team.evaluate(network, split, compute)


def _validation(federation: Federation, dataset: Dataset) -> dict[str, float | None]:
    """Metrics of the last global model on the val split, for choosing between settings.

    They are no independent result: the hospitals' hold-outs, by which the masters judge, are shares of that split.
    """
    made = [record for record in federation.coordinator.records() if record.model is not None]
    if not made:
        return {"val_auc": None, "val_acc": None}
    metrics = _evaluate(federation, dataset.val, made[-1])
    return {"val_auc": metrics.auc, "val_acc": metrics.accuracy}


def _summary(
    options: RunOptions, dataset: Dataset, federation: Federation, rows: list[dict[str, Any]]
) -> dict[str, Any]:
    last = next((row for row in reversed(rows) if row["test"]), None)
    completed = sum(row["outcome"] == "finalized" for row in rows)
    return {
        "dataset": dataset.name,
        "dataset_digest": digest_text(dataset.digest),
        "members": options.members,
        "clients": options.clients,
        "partition": options.partition,
        **settings_of(federation.manifest),
        "attack": options.attack,
        "malicious": malicious_members(options),
        "completed_rounds": completed,
        "failed_rounds": len(rows) - completed,
        "test_auc": last["test"]["auc"] if last else None,
        "test_acc": last["test"]["accuracy"] if last else None,
        "model_digest": last["model_digest"] if last else None,
        "manifest_digest": digest_text(federation.manifest.digest()),
        "chain": options.chain_shown,
        "gas": federation.gas.summary(),
        "seconds": {"total": round(federation.watch.total(), 3)}
        | {name: round(federation.watch.seconds.get(name, 0.0), 3) for name in TIMES},
    }
