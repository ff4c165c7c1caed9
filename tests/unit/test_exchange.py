"""Both exchanges hand out the same weights, and refuse the same ones for the same reason."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from hmchain.blobs import BlobRef, DirectoryStore
from hmchain.envelope import new_identity
from hmchain.errors import BlobError, Reason
from hmchain.exchange import (
    CACHED,
    DirectExchange,
    Exchange,
    SealedExchange,
    aggregate_of,
    fetch_model,
    limit_of,
    model_header,
    update_header,
)
from hmchain.history import RoundRecord, Update
from hmchain.judgement import Judgement
from hmchain.manifest import Manifest
from hmchain.weights import SERVER_PREFIX, Header, Weights, digest, encode, payload_bytes, specification

JOB = Manifest("stripes", 1, ("a", "b"), seed=0)
MANIFEST, BASE = JOB.digest(), b"\2" * 32
RECORD = RoundRecord(3, BASE, (4, 5, 6), (1, 2))
HEADER = update_header(MANIFEST, RECORD, 4)


def weights(value: float = 1.0) -> Weights:
    return {"a": np.full((2, 3), value, np.float32), "n": np.array(7, np.int64)}


LIKE = specification(weights())


@pytest.fixture(params=["sealed", "direct"])
def exchange(request: pytest.FixtureRequest, tmp_path: Path) -> Exchange:
    if request.param == "direct":
        return DirectExchange(LIKE)
    return SealedExchange(DirectoryStore(tmp_path), new_identity(), LIKE)


def test_what_was_published_is_fetched(exchange: Exchange) -> None:
    name, blob = exchange.publish(weights(), HEADER)
    assert name == digest(encode(weights(), HEADER))
    for _ in range(2):
        fetched = exchange.fetch(HEADER, blob)
        assert encode(fetched, HEADER) == encode(weights(), HEADER)


def test_in_memory_as_many_large_weights_are_kept_as_are_needed_the_last_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hmchain.exchange.CACHE_BYTES", payload_bytes(LIKE))
    exchange = DirectExchange(LIKE, needed=3)
    headers = [replace(HEADER, round=round) for round in range(5)]
    blobs: dict[Header, BlobRef] = {}
    for header in headers:
        blobs[header] = exchange.publish(weights(), header)[1]
        exchange.fetch(headers[0], blobs[headers[0]])
    with pytest.raises(BlobError, match="nobody published"):
        exchange.fetch(headers[2], blobs[headers[2]])
    for kept in (headers[0], headers[3], headers[4]):
        exchange.fetch(kept, blobs[kept])


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda e: e.publish(weights(np.nan), HEADER)[1], Reason.NOT_FINITE),
        (lambda e: e.publish(weights(1e6), HEADER)[1], Reason.OUT_OF_RANGE),
        (lambda e: e.publish({**weights(), "z": np.zeros(1, np.float32)}, HEADER)[1], Reason.WRONG_TENSORS),
        (lambda e: e.publish({"a": weights()["a"]}, HEADER)[1], Reason.WRONG_TENSORS),
        (lambda e: e.publish(weights(), replace(HEADER, round=4))[1], Reason.WRONG_HEADER),
        (lambda e: e.publish(weights(), replace(HEADER, kind="model"))[1], Reason.WRONG_HEADER),
        (lambda e: BlobRef.of(b"never stored"), Reason.UNAVAILABLE),
        (lambda e: replace(e.publish(weights(), HEADER)[1], size=10**9), Reason.TOO_LARGE),
    ],
)
def test_what_is_wrong_is_refused_by_name(
    change: Callable[[Exchange], BlobRef], reason: Reason, exchange: Exchange
) -> None:
    blob = change(exchange)
    for _ in range(2):
        with pytest.raises(BlobError) as caught:
            exchange.fetch(HEADER, blob)
        assert caught.value.reason is reason


@pytest.mark.parametrize(("more", "too_large"), [(0, False), (1, True)])
def test_a_blob_may_be_as_large_as_such_weights_make_it_and_no_larger(
    more: int, too_large: bool, exchange: Exchange
) -> None:
    _, blob = exchange.publish(weights(), HEADER)
    with pytest.raises(BlobError) as caught:
        exchange.fetch(HEADER, replace(blob, size=limit_of(LIKE) + more))
    assert (caught.value.reason is Reason.TOO_LARGE) is too_large


def test_weights_of_very_many_small_tensors_are_not_too_large(tmp_path: Path) -> None:
    many = {f"features.denseblock.layer{i}.norm.weight": np.ones(1, np.float32) for i in range(2_000)}
    exchange = SealedExchange(DirectoryStore(tmp_path), new_identity(), specification(many))
    assert exchange.fetch(HEADER, exchange.publish(many, HEADER)[1]) == many


def test_a_name_that_differs_in_anything_is_another_name(exchange: Exchange) -> None:
    """What was proved once is kept, but under all of what was proved."""
    _, blob = exchange.publish(weights(), HEADER)
    exchange.fetch(HEADER, blob)
    for other in (
        replace(blob, size=blob.size + 1),
        replace(blob, cid=BlobRef.of(b"x").cid),
        replace(blob, sha256=BASE),
    ):
        with pytest.raises(BlobError):
            exchange.fetch(HEADER, other)
    with pytest.raises(BlobError):
        exchange.fetch(replace(HEADER, sender=5), blob)


def test_what_is_in_use_is_not_forgotten(exchange: Exchange) -> None:
    """A base model stands for as many failed rounds as it must."""
    _, base = exchange.publish(weights(), HEADER)
    for sender in range(100, 100 + 3 * CACHED):
        exchange.publish(weights(), replace(HEADER, sender=sender))
        exchange.fetch(HEADER, base)


def test_of_large_weights_only_as_many_are_kept_as_memory_allows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hmchain.exchange.CACHE_BYTES", 2 * payload_bytes(LIKE))
    exchange = SealedExchange(DirectoryStore(tmp_path), new_identity(), LIKE)
    headers = [replace(HEADER, sender=sender) for sender in range(3)]
    blobs = [exchange.publish(weights(sender), replace(HEADER, sender=sender))[1] for sender in range(3)]
    first, second, _ = [exchange.fetch(header, blob) for header, blob in zip(headers, blobs, strict=True)]
    assert exchange.fetch(headers[1], blobs[1]) is second
    assert exchange.fetch(headers[2], blobs[2]) is exchange.fetch(headers[2], blobs[2])
    again = exchange.fetch(headers[0], blobs[0])
    assert again is not first, "the third took its place"
    assert encode(again, headers[0]) == encode(first, headers[0])


def test_a_model_must_be_the_one_that_was_recorded(exchange: Exchange) -> None:
    header = model_header(MANIFEST, 3, BASE)
    model, blob = exchange.publish(weights(), header)
    _, other = exchange.publish(weights(2.0), header)
    assert fetch_model(exchange, header, blob, model)["a"][0, 0] == 1
    with pytest.raises(BlobError) as caught:
        fetch_model(exchange, header, other, model)
    assert caught.value.reason is Reason.WRONG_DIGEST


def test_a_model_carries_the_servers_moments_and_an_update_must_not(tmp_path: Path) -> None:
    model = weights() | {f"{SERVER_PREFIX}first/a": np.zeros((2, 3), np.float32)}
    header = model_header(MANIFEST, 3, BASE)
    like = specification(model)
    for exchange in (DirectExchange(like), SealedExchange(DirectoryStore(tmp_path), new_identity(), like)):
        assert set(exchange.fetch(header, exchange.publish(model, header)[1])) == set(model)
        assert set(exchange.fetch(HEADER, exchange.publish(weights(), HEADER)[1])) == set(weights())
        for wrong, under in ((model, replace(HEADER, sender=5)), (weights(), replace(header, round=4))):
            with pytest.raises(BlobError) as caught:
                exchange.fetch(under, exchange.publish(wrong, under)[1])
            assert caught.value.reason is Reason.WRONG_TENSORS


def test_the_aggregate_is_of_the_accepted_updates_alone(exchange: Exchange) -> None:
    record = replace(RECORD, updates={})
    for position, (member, value) in enumerate(zip(record.clients, (1.0, 4.0, 100.0), strict=True)):
        _, blob = exchange.publish(weights(value), update_header(MANIFEST, record, member))
        record.updates[position] = Update(member, position + 1, blob)
    record.judgement = Judgement(3, frozenset({0, 1}), 0, (300, 300, 0), 300)
    model, header = aggregate_of(record, weights(), JOB, exchange)
    assert header == model_header(MANIFEST, 3, BASE)
    assert (model["a"] == 3).all()
