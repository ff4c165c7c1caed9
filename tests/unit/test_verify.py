"""What `hmchain verify` makes of a verdict on an update, and of a blob that is not there; tests/e2e has whole runs."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from coordinator.evidence import Evidence
from coordinator.folder import RunFile
from coordinator.options import EMBEDDED
from coordinator.verify import (
    agree,
    blamed,
    check_job,
    check_proposals,
    check_rounds,
    check_updates,
    strangers,
    unless_unavailable,
)
from hmchain.blobs import BlobRef, DirectoryStore
from hmchain.cid import Cid
from hmchain.envelope import new_identity, seal
from hmchain.errors import BlobError, DaemonError, HMChainError, Reason, UsageError, VerificationError
from hmchain.exchange import SealedExchange, model_header, update_header
from hmchain.history import JobRecord, Proposal, RoundRecord, Update
from hmchain.judgement import Judgement
from hmchain.manifest import MAX_BYTES, Manifest
from hmchain.rounds import Phase
from hmchain.scores import word_of_score
from hmchain.weights import specification
from trainers.networks import initial_model

SCORED = word_of_score(0)


@pytest.mark.parametrize(
    ("told", "found", "fits"),
    [
        (SCORED, None, True),
        (SCORED, Reason.NOT_FINITE, False),
        (SCORED, Reason.UNAVAILABLE, False),
        (Reason.NOT_FINITE, Reason.NOT_FINITE, True),
        (Reason.NOT_FINITE, Reason.WRONG_TENSORS, False),
        (Reason.NOT_FINITE, None, False),
        (Reason.UNAVAILABLE, Reason.UNAVAILABLE, True),
        (Reason.UNAVAILABLE, None, True),  # it came too late, or they did not look
        (Reason.UNAVAILABLE, Reason.WRONG_DIGEST, False),
        (Reason.UNSCORED, None, True),
        (Reason.UNSCORED, Reason.UNAVAILABLE, True),
        (Reason.UNSCORED, Reason.NOT_FINITE, True),
        (Reason.UNSCORED, Reason.WRONG_DIGEST, False),
    ],
)
def test_a_verdict_fits_what_is_found_of_the_update(told: int, found: Reason | None, fits: bool) -> None:
    assert agree(int(told), None if found is None else BlobError("found", found)) is fits


@pytest.mark.parametrize(
    ("blobs", "fault", "raised"),
    [
        ("ipfs:/ip4/127.0.0.1/tcp/5001", BlobError("not found"), BlobError),
        ("ipfs:/ip4/127.0.0.1/tcp/5001", DaemonError("other bytes", Reason.WRONG_DIGEST), DaemonError),
        ("ipfs:/ip4/127.0.0.1/tcp/5001", BlobError("altered", Reason.WRONG_DIGEST), VerificationError),
        ("blobs", BlobError("not found"), VerificationError),
    ],
)
def test_a_blob_that_an_ipfs_daemon_does_not_find_is_no_evidence(
    blobs: str, fault: BlobError, raised: type[HMChainError]
) -> None:
    run = cast(RunFile, SimpleNamespace(blobs=blobs))
    with pytest.raises(raised) as caught, unless_unavailable(run), blamed("manifest"):
        raise fault
    assert type(caught.value) is raised


def test_what_no_blob_is_to_blame_for_is_evidence_wherever_blobs_are() -> None:
    run = cast(RunFile, SimpleNamespace(blobs="ipfs:/ip4/127.0.0.1/tcp/5001"))
    with pytest.raises(VerificationError, match="the manifest is another one"), unless_unavailable(run):
        raise VerificationError("the manifest is another one")


def test_a_proposal_larger_than_any_model_is_not_read(tmp_path: Path) -> None:
    blob = BlobRef(bytes(32), Cid(0x70, bytes(32)), 1 << 31)
    (tmp_path / str(blob.cid)).write_bytes(b"other bytes")
    proposals = [Proposal("0x" + "11" * 20, frozenset(), bytes(32), blob)]
    record = RoundRecord(1, bytes(32), (1,), (2,), proposals=proposals)
    check_proposals(DirectoryStore(tmp_path), record, (1 << 31) - 1)
    with pytest.raises(VerificationError, match="does not have the recorded"):
        check_proposals(DirectoryStore(tmp_path), record, 1 << 31)


@pytest.mark.parametrize(
    ("chain", "blobs", "named"),
    [
        (EMBEDDED, "blobs", ["blobs/other", "patients.csv"]),
        (EMBEDDED, "../shared", ["blobs", "patients.csv"]),  # other runs' blobs may be there too
        ("http://127.0.0.1:8545", "blobs", ["blobs/other", "ledger.jsonl", "patients.csv"]),
    ],
)
def test_what_is_no_part_of_a_run_is_named(chain: str, blobs: str, named: list[str], tmp_path: Path) -> None:
    (tmp_path / "blobs").mkdir()
    store = DirectoryStore(tmp_path / "blobs")
    job = cast(JobRecord, SimpleNamespace(blobs=lambda: [store.put(b"an update")]))
    for name in ("run.json", "job.key", "ledger.jsonl", "summary.json", "patients.csv", "blobs/other"):
        (tmp_path / name).touch()
    assert strangers(tmp_path, cast(RunFile, SimpleNamespace(chain=chain, blobs=blobs)), job) == named


# ---------------------------------------------------------------- a job, as whoever created it recorded it

JOB = Manifest("ward", 0, ("a", "b"), seed=1, features=("age",), architecture="logistic", preprocessing="asinh")
KEY, OTHER_KEY = new_identity(), new_identity()


def recorded(folder: Path, job: Manifest = JOB, text: bytes | None = None, **changes: Any) -> Evidence:
    """What a chain and a store hold of a job that is as it should be but for `changes`."""
    store, weights = DirectoryStore(folder), initial_model(JOB)
    header = model_header(job.digest(), 0, bytes(32))
    digest, blob = SealedExchange(store, KEY, specification(weights)).publish(weights, header)
    told = {
        "manifest": job.digest(),
        "terms": job.terms(),
        "manifest_blob": store.put(job.canonical() if text is None else text),
        "initial": digest,
        "initial_blob": blob,
        "keys": [(KEY.public, store.put(b"a keyring"))],
    }
    return cast(Evidence, SimpleNamespace(job=SimpleNamespace(**(told | changes)), store=store, key=KEY))


def test_a_job_that_is_as_recorded_gives_its_manifest_and_its_initial_model(tmp_path: Path) -> None:
    manifest, initial = check_job(recorded(tmp_path))
    assert manifest == JOB
    assert specification(initial) == specification(initial_model(JOB))


ELSEWHERE = BlobRef.of(b"nobody stored it")
OTHER_JOBS: dict[str, tuple[dict[str, Any], str]] = {
    "no manifest": ({"text": b"{}"}, "the manifest cannot be reproduced"),
    "a manifest in other words": ({"text": JOB.canonical() + b" "}, "the manifest cannot be reproduced"),
    "a network that there is not": (
        {"job": Manifest("ward", 1, ("a", "b"), seed=1, architecture="no-such")},
        "the manifest cannot be reproduced",
    ),
    "a manifest that is not there": ({"manifest_blob": ELSEWHERE}, "manifest: blob "),
    "a manifest that is too large": ({"text": b" " * (MAX_BYTES + 1)}, "manifest: blob .* are allowed"),
    "another manifest": ({"manifest": bytes(32)}, "the manifest is not the one that the chain recorded"),
    "other terms": (
        {"terms": replace(JOB.terms(), masters=1)},
        "the manifest is not the one that the chain recorded",
    ),
    "another initial model": ({"initial": bytes(32)}, "not the one that the manifest's seed gives"),
    "no initial model": ({"initial_blob": ELSEWHERE}, "initial model: blob "),
    "another key": ({"keys": [(OTHER_KEY.public, ELSEWHERE)]}, "is not the key that the chain recorded"),
    "no keyring": ({"keys": [(KEY.public, ELSEWHERE)]}, "keyring: blob "),
    "a second keyring that is none": (
        {"keys": [(OTHER_KEY.public, ELSEWHERE), (KEY.public, ELSEWHERE)]},
        "keyring: blob ",
    ),
}


@pytest.mark.parametrize("what", OTHER_JOBS)
def test_a_job_that_is_not_as_recorded_is_found(what: str, tmp_path: Path) -> None:
    changes, told = OTHER_JOBS[what]
    with pytest.raises(VerificationError, match=told):
        check_job(recorded(tmp_path, **changes))


def test_a_custom_network_that_may_not_run_here_is_no_evidence(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="whose code is not allowed to run here"):
        check_job(recorded(tmp_path, replace(JOB, architecture="somewhere:Network", source="ab" * 32)))


def test_an_initial_model_whose_blob_holds_another_is_found(tmp_path: Path) -> None:
    """Whoever joins later begins with what the blob holds."""
    evidence = recorded(tmp_path)
    weights = {name: array + 1 for name, array in initial_model(JOB).items()}
    header = model_header(JOB.digest(), 0, bytes(32))
    _, evidence.job.initial_blob = SealedExchange(evidence.store, KEY, specification(weights)).publish(weights, header)
    with pytest.raises(VerificationError, match="initial model: the blob holds another model") as caught:
        check_job(evidence)
    assert caught.value.round == 0
    evidence.job.initial_blob = evidence.store.put(seal(b"no model", [KEY.public]))
    with pytest.raises(VerificationError, match="initial model: not safetensors"):
        check_job(evidence)


# ---------------------------------------------------------------- its rounds


def failed(number: int, base: bytes, **found: Any) -> RoundRecord:
    """A round that left the model before it."""
    return RoundRecord(number, base, (1,), (2,), failed=Phase.REQUEST, **found)


def test_a_round_must_start_from_the_model_before_it(tmp_path: Path) -> None:
    evidence, initial = recorded(tmp_path), initial_model(JOB)
    evidence.job.rounds = {1: failed(1, evidence.job.initial), 2: failed(2, evidence.job.initial)}
    check_rounds(evidence, JOB, initial)
    evidence.job.rounds[2] = failed(2, b"\1" * 32)
    with pytest.raises(VerificationError, match="it does not start from the model before it") as caught:
        check_rounds(evidence, JOB, initial)
    assert caught.value.round == 2


def submitted(folder: Path, *words: int) -> tuple[RoundRecord, SealedExchange, list[Path]]:
    """A round in which clients submitted good updates, which masters gave these words; and where the blobs are."""
    weights = initial_model(JOB)
    exchange = SealedExchange(DirectoryStore(folder), KEY, specification(weights))
    clients = tuple(range(1, len(words) + 1)) or (1, 2)
    record = failed(1, bytes(32))
    for position, member in enumerate(clients):
        _, blob = exchange.publish(weights, update_header(JOB.digest(), record, member))
        record.updates[position] = Update(member, 10, blob)
    record.judgement = Judgement(1, frozenset(), 0, words, SCORED) if words else None
    return record, exchange, [folder / str(update.blob.cid) for update in record.updates.values()]


def test_of_updates_that_masters_could_not_fetch_only_those_that_are_there_are_named(tmp_path: Path) -> None:
    record, exchange, (_, missing, _) = submitted(tmp_path, Reason.UNAVAILABLE, Reason.UNAVAILABLE, SCORED)
    missing.unlink()
    assert check_updates(record, JOB.digest(), exchange) == [1]


def test_an_update_that_nobody_judged_may_be_missing_but_not_another_than_was_recorded(tmp_path: Path) -> None:
    """Its round failed before any master revealed its scores."""
    record, exchange, (first, second) = submitted(tmp_path)
    first.unlink()
    second.write_bytes(second.read_bytes() + b"\0")
    with pytest.raises(VerificationError, match=r"update: blob .* does not have the recorded") as caught:
        check_updates(record, JOB.digest(), exchange)
    assert (caught.value.round, caught.value.member) == (1, 2)


def test_a_word_on_an_update_is_that_of_its_position(tmp_path: Path) -> None:
    record, exchange, (first, _) = submitted(tmp_path, Reason.UNAVAILABLE, SCORED)
    first.unlink()
    assert check_updates(record, JOB.digest(), exchange) == []
    assert record.judgement is not None
    record.judgement = replace(record.judgement, medians=tuple(reversed(record.judgement.medians)))
    with pytest.raises(VerificationError, match="update: blob ") as caught:
        check_updates(record, JOB.digest(), exchange)
    assert caught.value.member == 1


def test_a_proposal_that_nobody_attested_must_be_stored_as_recorded(tmp_path: Path) -> None:
    evidence = recorded(tmp_path)
    blob = evidence.store.put(b"any bytes")
    proposal = Proposal("0x" + "11" * 20, frozenset(), bytes(32), blob)
    evidence.job.rounds = {1: failed(1, evidence.job.initial, proposals=[proposal])}
    check_rounds(evidence, JOB, initial_model(JOB))
    (tmp_path / str(blob.cid)).write_bytes(b"bad bytes")
    with pytest.raises(VerificationError, match=r"proposal: blob .* does not have the recorded SHA-256") as caught:
        check_rounds(evidence, JOB, initial_model(JOB))
    assert caught.value.round == 1
