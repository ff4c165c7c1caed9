"""How weights travel between parties: as sealed blobs, or, for --no-chain, in memory.

Both ways make the same checks, so that a bad update is refused for the same reason with and without a chain.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Protocol

from hmchain.blobs import BlobRef, BlobStore
from hmchain.cid import Cid, codec_for
from hmchain.envelope import Identity, seal, unseal
from hmchain.errors import BlobError, DaemonError, Reason, WeightsError
from hmchain.history import RoundRecord
from hmchain.manifest import Manifest
from hmchain.stopwatch import Stopwatch
from hmchain.strategies import aggregate
from hmchain.weights import (
    Header,
    Spec,
    Weights,
    check_values,
    decode,
    digest,
    digest_of,
    encode,
    encoded_bytes,
    of_network,
    payload_bytes,
    specification,
)

OVERHEAD_BYTES = 64 * 1024  # room for age's header; age adds 16 bytes to every 64 KiB as well
CACHED = 80  # weights kept decrypted, least recently used dropped first: a largest round's updates and some models
CACHE_BYTES = 1 << 29  # limit of what they take: of a large network fewer are kept, and others decrypted again


class Exchange(Protocol):
    """Where one party publishes weights and fetches others'."""

    def publish(self, weights: Weights, header: Header) -> tuple[bytes, BlobRef]:
        """Makes weights available to the others. Returns the digest of their canonical plaintext, and their blob.

        Raises BlobError, StorageError.
        """

    def fetch(self, header: Header, blob: BlobRef) -> Weights:
        """The weights in `blob`, which must be those that `header` describes. Raises BlobError, WeightsError."""


class SealedExchange:
    """Blobs sealed to the job's key, which every participant holds: every participant can audit.

    `like` has a model's tensors. Weights that were fetched and checked are cached: blobs never change.
    """

    def __init__(self, store: BlobStore, key: Identity, like: dict[str, Spec], watch: Stopwatch | None = None) -> None:
        self._store = store
        self._key = key
        self._like = like
        self._watch = watch or Stopwatch()
        self._open: OrderedDict[tuple[BlobRef, Header], Weights] = OrderedDict()
        self._most = max(1, _cached(like))

    def publish(self, weights: Weights, header: Header) -> tuple[bytes, BlobRef]:
        """See Exchange.publish."""
        with self._watch.measure("blobs"):
            plaintext = encode(weights, header)
            return digest(plaintext), self._store.put(seal(plaintext, [self._key.public]))

    def fetch(self, header: Header, blob: BlobRef) -> Weights:
        """See Exchange.fetch."""
        if (blob, header) in self._open:
            self._open.move_to_end((blob, header))
            return self._open[blob, header]
        like = expected(self._like, header)
        with self._watch.measure("blobs"):
            weights = decode(unseal(self._store.get(blob, limit_of(like)), self._key), header, like)
        self._open[blob, header] = weights
        if len(self._open) > self._most:
            self._open.popitem(last=False)
        return weights


class DirectExchange:
    """Weights handed over in memory. The digest of their plaintext stands for the blob.

    There is no other copy of them, so that at least `needed` are kept, least recently used dropped first.
    """

    def __init__(self, like: dict[str, Spec], needed: int = CACHED) -> None:
        self._like = like
        self._most = max(needed, _cached(like))
        self._held: OrderedDict[BlobRef, tuple[Header, Weights]] = OrderedDict()

    def publish(self, weights: Weights, header: Header) -> tuple[bytes, BlobRef]:
        """See Exchange.publish."""
        plaintext = encode(weights, header)
        name, size = digest(plaintext), len(plaintext)
        blob = BlobRef(name, Cid(codec_for(size), name), size)
        self._held[blob] = header, weights
        if len(self._held) > self._most:
            self._held.popitem(last=False)
        return name, blob

    def fetch(self, header: Header, blob: BlobRef) -> Weights:
        """See Exchange.fetch."""
        like = expected(self._like, header)
        if blob.size > limit_of(like):
            raise BlobError(f"{blob.size:,} bytes are more than the job allows", Reason.TOO_LARGE)
        if blob not in self._held:
            raise BlobError(f"nobody published the {header.kind} of round {header.round}", Reason.UNAVAILABLE)
        self._held.move_to_end(blob)
        found, weights = self._held[blob]
        if found != header:
            raise WeightsError(f"the header is {found}", Reason.WRONG_HEADER)
        if specification(weights) != like:
            raise WeightsError("unexpected or missing tensors", Reason.WRONG_TENSORS)
        check_values(weights)
        return weights


def _cached(like: dict[str, Spec]) -> int:
    """How many weights a cache holds."""
    return min(CACHED, CACHE_BYTES // max(1, payload_bytes(like)))


def expected(like: dict[str, Spec], header: Header) -> dict[str, Spec]:
    """The tensors that the blob of `header` must have, given a model's: an update lacks the server's moments."""
    return like if header.kind == "model" else of_network(like)


def limit_of(like: dict[str, Spec]) -> int:
    """The most bytes that a sealed blob of such weights may have."""
    plain = encoded_bytes(like)
    return plain + plain // 1000 + OVERHEAD_BYTES


def update_header(manifest: bytes, record: RoundRecord, member: int) -> Header:
    """The header that a member's update in a round must carry."""
    return Header("update", manifest, record.number, member, record.base)


def model_header(manifest: bytes, round: int, base: bytes) -> Header:
    """The header of the global model that a round ended with. The initial one has round 0 and a base of zeros."""
    return Header("model", manifest, round, 0, base)


def fetch_model(exchange: Exchange, header: Header, blob: BlobRef, model: bytes) -> Weights:
    """The global model of `header` with the digest `model`. A proposer may have stored another one than it proposed.

    Raises BlobError.
    """
    weights = exchange.fetch(header, blob)
    if digest_of(weights, header) != model:
        raise WeightsError("the blob holds another model than was recorded", Reason.WRONG_DIGEST)
    return weights


def final_model(exchange: Exchange, manifest: bytes, record: RoundRecord) -> Weights:
    """The global model that a finalized round ended with, from the first of its blobs that is available.

    Raises BlobError where none is.
    """
    assert record.model is not None
    missing = BlobError(f"nobody stored the model of round {record.number}", Reason.UNAVAILABLE)
    for blob in record.final_blobs():
        try:
            return fetch_model(exchange, model_header(manifest, record.number, record.base), blob, record.model)
        except DaemonError:
            raise
        except BlobError as fault:
            missing = fault
    raise missing


def aggregate_of(record: RoundRecord, base: Weights, job: Manifest, exchange: Exchange) -> tuple[Weights, Header]:
    """Aggregates a judged round: the next global model, the same bytes for everyone, and the header it travels under.

    Raises BlobError where an accepted update is not available.
    """
    manifest = job.digest()
    updates = [
        (exchange.fetch(update_header(manifest, record, update.member), update.blob), update.samples)
        for update in record.accepted()
    ]
    return aggregate(base, updates, job), model_header(manifest, record.number, record.base)
