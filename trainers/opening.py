"""Opens a job: what a hospital must have and have checked before it takes part, manifest, initial model and key."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from hmchain.blobs import BlobRef, BlobStore
from hmchain.chain import ChainClient
from hmchain.envelope import Identity
from hmchain.errors import BlobError, DaemonError, Reason, UsageError
from hmchain.exchange import SealedExchange, model_header
from hmchain.history import JobRecord
from hmchain.keyring import MAX_BYTES as MAX_KEYRING
from hmchain.keyring import open_key
from hmchain.ledger import JobFeed
from hmchain.manifest import MAX_BYTES, Manifest
from hmchain.stopwatch import Stopwatch
from hmchain.weights import Weights, digest_of, specification
from trainers.config import Roles
from trainers.data_facts import DataFacts
from trainers.keystore import Keys
from trainers.state import NodeState
from trainers.training_sets import TrainingSets
from trainers.worker import Worker

KEYRINGS = 16  # newest and as many oldest keyrings of a job that are tried: a coordinator can publish any number


@dataclass(frozen=True)
class Site:
    """What a hospital's parts in all its jobs share.

    training_seconds: the most that one training may take. data_stand: whether the data may still be used, right now.
    """

    member: int
    keys: Keys
    client: ChainClient
    feed: JobFeed
    store: BlobStore
    worker: Worker
    data: DataFacts
    state: NodeState
    sets: TrainingSets
    roles: Roles
    training_seconds: float
    data_stand: Callable[[], bool]


@dataclass(frozen=True)
class OpenJob:
    """A job whose manifest, initial model and key have been checked."""

    manifest: Manifest
    initial: Weights
    key: Identity
    exchange: SealedExchange


class RefusedJob(UsageError):
    """A job that this hospital cannot or will not take part in, and why."""


def open_job(site: Site, job: JobRecord, key: Identity, watch: Stopwatch | None = None) -> OpenJob:
    """Fetches a job's manifest and checks it and the initial model. Raises RefusedJob, BlobError, StorageError."""
    try:
        manifest = Manifest.parse(site.store.get(job.manifest_blob, MAX_BYTES))
        if manifest.digest() != job.manifest or manifest.terms() != job.terms:
            raise RefusedJob("its manifest is not the one that the chain recorded")
        initial = site.worker.initial(manifest)
    except RefusedJob:
        raise
    except UsageError as fault:
        raise RefusedJob(f"its manifest cannot be reproduced here: {fault}") from fault
    except BlobError as fault:
        if fault.reason == Reason.UNAVAILABLE or isinstance(fault, DaemonError):
            raise
        raise RefusedJob(f"its manifest: {fault}") from fault
    if digest_of(initial, model_header(manifest.digest(), 0, bytes(32))) != job.initial:
        raise RefusedJob("its initial model is not the one that its manifest's seed gives")
    return OpenJob(manifest, initial, key, SealedExchange(site.store, key, specification(initial), watch))


def key_of(
    store: BlobStore,
    job: JobRecord,
    member: int,
    identities: Sequence[Identity],
    sought: Counter[BlobRef] | None = None,
) -> Identity | None:
    """The job's key, from the newest keyring with an envelope to any of the member's keys; None where there is none.

    A job has one key, the first that was published; a later one under another key is ignored. Unusable keyrings cannot
    take the key from anyone either: older ones are tried.

    Raises BlobError where a keyring is not available now and no other opens. With `sought`, which counts failed
    attempts, it is raised at the first such keyring, as looking for one takes long, and the next call begins with those
    that were sought least often.
    """
    published = [blob for recipient, blob in reversed(job.keys) if recipient == job.keys[0][0]]
    keyrings = list(dict.fromkeys(published[:KEYRINGS] + published[-KEYRINGS:]))
    if sought is not None:
        keyrings.sort(key=sought.__getitem__)
    missing: BlobError | None = None
    for blob in keyrings:
        try:
            key = _opened(store.get(blob, MAX_KEYRING), member, identities, job.keys[0][0])
        except BlobError as fault:
            if isinstance(fault, DaemonError):
                raise
            if fault.reason == Reason.UNAVAILABLE:
                missing = fault
                if sought is not None:
                    sought[blob] += 1
                    break
            continue
        if key is not None:
            return key
    if missing is not None:
        raise missing
    return None


def _opened(keyring: bytes, member: int, identities: Sequence[Identity], public: bytes) -> Identity | None:
    """The key in the member's envelope, if it is the one whose public half was published."""
    for identity in identities:
        try:
            key = open_key(keyring, member, identity)
        except BlobError:
            continue
        if key.public == public:
            return key
    return None


def misfit(manifest: Manifest, data: DataFacts) -> str | None:
    """Why our data do not fit a job; None where they do."""
    if data.samples == 0:
        return "there is no record here that is consented to"
    if data.samples == 1:
        return "a single sample cannot be trained on (batch norm)"
    if data.features != manifest.features:
        return _other_features(manifest.features, data.features)
    if data.channels != manifest.channels:
        return f"it is about images of {manifest.channels} channels, ours have {data.channels}"
    if data.multi_label != manifest.multi_label:
        return (
            f"{_several(manifest.multi_label)} may apply to a sample of it, {_several(data.multi_label)} to one of ours"
        )
    if data.multi_label and data.classes != len(manifest.classes):
        return f"it has {len(manifest.classes)} findings, ours are {data.classes}"
    if data.classes > len(manifest.classes):
        return f"it has {len(manifest.classes)} classes, our labels go up to {data.classes - 1}"
    return None


def _several(multi_label: bool) -> str:
    return "several classes" if multi_label else "one class"


def _other_features(wanted: tuple[str, ...], ours: tuple[str, ...]) -> str:
    if not wanted or not ours:
        return f"it is about {'features' if wanted else 'images'}, ours are {'features' if ours else 'images'}"
    if len(wanted) != len(ours):
        return f"it is about {len(wanted)} features, ours are {len(ours)}"
    place = next(i for i, (one, other) in enumerate(zip(wanted, ours, strict=True)) if one != other)
    return f"its feature {place + 1} is {wanted[place]}, ours is {ours[place]}"
