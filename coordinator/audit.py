"""`hmchain verify --config`: a member recomputes a job of its consortium from its own chain node and its own blobs.

The checks are those of a run's folder, without the report, which a job on a real consortium does not have.
"""

from __future__ import annotations

import time
from typing import Any

from coordinator.evidence import Evidence, history_on
from coordinator.folder import RunFile
from coordinator.report import GasTable
from coordinator.verify import check_job, check_rounds, unless_unavailable, verdict_of
from hmchain.blobs import open_store
from hmchain.consortium import Consortium
from hmchain.endpoints import shown
from hmchain.errors import UsageError
from trainers.config import Config
from trainers.keystore import Keys
from trainers.opening import key_of
from trainers.parts import connect


def audit(config: Config, keys: Keys, job: int) -> dict[str, Any]:
    """Verifies a job as far as it has got. Returns what was proved (coordinator.verify.verdict_of).

    Raises VerificationError with the first thing that is wrong, BlobError where a blob is not available, and as
    evidence_of does.
    """
    started = time.perf_counter()
    evidence = evidence_of(config, keys, job)
    with unless_unavailable(evidence.run):
        manifest, initial = check_job(evidence, config.roles.modules)
        check_rounds(evidence, manifest, initial)
    if not evidence.job.closed:
        evidence.notes.append("the job is still running: this is what there is of it now")
    return verdict_of(evidence, started)


def evidence_of(config: Config, keys: Keys, job: int) -> Evidence:
    """A job's history on the hospital's chain, its blobs, and its key.

    Raises UsageError where there is no such job or no key for us, VerificationError where the contract is not ours,
    ChainError, BlobError.
    """
    consortium = Consortium.read(config.chain.consortium)
    store = open_store(config.blobs.store, config.blobs.timeout_seconds)
    run = RunFile(
        chain=shown(config.chain.urls[0]),
        chain_id=consortium.chain_id,
        contract=consortium.contract,
        deployment=consortium.deployment,
        job=job,
        blobs=config.blobs.store,
        dataset="",
        dataset_digest="",
    )
    history, _, head = history_on(connect(config, consortium), run)
    if job not in history.jobs:
        raise UsageError(f"there is no job {job}")
    member = history.member_of(keys.identity.account.address)
    if member is None:
        raise UsageError(f"account {keys.identity.account.address} is no member's")
    key = key_of(store, history.jobs[job], member, keys.identities)
    if key is None:
        raise UsageError(f"nobody has enveloped the key of job {job} to us")
    return Evidence(run, history, GasTable(), head.number, head.hash, store, key)  # gas is the report's alone
