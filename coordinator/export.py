"""`hmchain export`: a job's global model as files, for whoever wants to use it (trainers/exported.py reads them).

model.safetensors has the very bytes that the masters attested, so that its SHA-256 is the model's digest on chain, and
any safetensors reader opens it. manifest.json, likewise as on chain, says what network it is of, and what its inputs
and classes are.
"""

from __future__ import annotations

import shutil
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from coordinator.evidence import Evidence
from coordinator.report import digest_text
from coordinator.verify import blamed, check_job, unless_unavailable
from hmchain.errors import StorageError, UsageError
from hmchain.exchange import SealedExchange, final_model, model_header
from hmchain.files import write_secret
from hmchain.history import RoundRecord
from hmchain.manifest import Manifest
from hmchain.weights import Header, Weights, digest, encode, specification
from trainers.exported import MANIFEST, MODEL


def export(evidence: Evidence, round: int | None, out: Path, modules: Collection[str] = ()) -> dict[str, Any]:
    """Writes a round's global model, by default the last, into the new folder `out`. Returns what it is.

    The model is the one that the round's masters attested; that it is the aggregate of its updates, `hmchain verify`
    recomputes. Raises UsageError where there is no such model or something is at `out`, VerificationError, BlobError,
    StorageError.
    """
    refuse_existing(out)
    with unless_unavailable(evidence.run):
        manifest, initial = check_job(evidence, modules)
        weights, header = _model(evidence, manifest, initial, round)
    data = encode(weights, header)
    _write(out, {MANIFEST: manifest.canonical(), MODEL: data})
    return {
        "round": header.round,
        "model_digest": digest_text(digest(data)),
        "manifest_digest": digest_text(manifest.digest()),
        "architecture": manifest.architecture,
        "classes": manifest.classes,
        "bytes": len(data),
        "out": str(out),
    }


def _model(evidence: Evidence, manifest: Manifest, initial: Weights, round: int | None) -> tuple[Weights, Header]:
    if round == 0:
        return initial, model_header(manifest.digest(), 0, bytes(32))
    record = _record(evidence, round)
    exchange = SealedExchange(evidence.store, evidence.key, specification(initial))
    with blamed("global model", round=record.number):
        weights = final_model(exchange, manifest.digest(), record)
    return weights, model_header(manifest.digest(), record.number, record.base)


def _record(evidence: Evidence, round: int | None) -> RoundRecord:
    """The record of a round that ended with a model, by default the last one. Raises UsageError."""
    made = {number: record for number, record in evidence.job.rounds.items() if record.model is not None}
    if not made:
        raise UsageError("no round has made a model yet; --round 0 is the initial one")
    number = max(made) if round is None else round
    if number not in made:
        raise UsageError(f"round {number} made no model; the last that did is round {max(made)}")
    return made[number]


def refuse_existing(out: Path) -> None:
    """Refuses to mix a model with what is there. Raises UsageError."""
    if out.exists():
        raise UsageError(f"{out} exists; name a new folder with --out")


def _write(out: Path, files: Mapping[str, bytes]) -> None:
    try:
        out.mkdir(parents=True)
    except OSError as fault:
        raise StorageError(f"cannot make the folder {out}: {fault.strerror}") from fault
    try:
        for name, data in files.items():
            write_secret(out / name, data)  # a model can betray what it was trained on
    except BaseException:
        shutil.rmtree(out, ignore_errors=True)
        raise
