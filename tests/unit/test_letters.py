"""Letters: one size, one recipient, and whatever else is there instead is refused with a BlobError."""

from __future__ import annotations

from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hmchain.blobs import DirectoryStore
from hmchain.cid import cid_of
from hmchain.envelope import new_identity, seal
from hmchain.errors import BlobError, DataError, Reason, UsageError
from hmchain.letters import SIZE, receive, ref_of, send

OURS, EARLIER, OTHER = new_identity(), new_identity(), new_identity()
CONTENT = {"label": "type:observation", "number": 7, "nested": {"a": [1, None]}}


@pytest.fixture
def store(tmp_path: Path) -> DirectoryStore:
    return DirectoryStore(tmp_path)


def put(store: DirectoryStore, sealed: bytes, length: int | None = None) -> bytes:
    """A letter that somebody wrote by hand. Returns its digest."""
    return store.put(((length or len(sealed)).to_bytes(4, "big") + sealed).ljust(SIZE, b"\0")).sha256


def test_a_letter_is_read_by_whom_it_is_sealed_to(store: DirectoryStore) -> None:
    digest = send(store, CONTENT, OURS.public)
    assert receive(store, digest, [OURS]) == CONTENT
    assert receive(store, digest, [OTHER, EARLIER, OURS]) == CONTENT, "with an earlier key as well"
    with pytest.raises(BlobError, match="not sealed to us") as caught:
        receive(store, digest, [OTHER])
    assert caught.value.reason is Reason.UNREADABLE
    with pytest.raises(BlobError):
        receive(store, digest, [])


def test_every_letter_has_one_size_and_its_digest_is_its_cid(store: DirectoryStore) -> None:
    sizes = set()
    for content in ({}, {"a": "x" * 5_000}):
        data = store.get(ref_of(send(store, content, OURS.public)), SIZE)
        sizes.add(len(data))
        assert ref_of(sha256(data).digest()).cid == cid_of(data)
    assert sizes == {SIZE}


def test_nothing_of_the_content_shows(store: DirectoryStore) -> None:
    data = store.get(ref_of(send(store, CONTENT, OURS.public)), SIZE)
    assert b"observation" not in data


def test_too_much_for_a_letter_is_said_before_it_is_stored(store: DirectoryStore) -> None:
    with pytest.raises(UsageError, match="too much for one letter"):
        send(store, {"a": "x" * SIZE}, OURS.public)
    assert store.used() == 0


@pytest.mark.parametrize("content", [{"a": float("nan")}, {"a": "\udc80"}, {"a": b""}], ids=str)
def test_what_is_no_json_is_not_sent(content: dict[str, Any], store: DirectoryStore) -> None:
    with pytest.raises(DataError):
        send(store, content, OURS.public)
    assert store.used() == 0


def test_nothing_is_sealed_to_a_key_that_is_none(store: DirectoryStore) -> None:
    for key in (b"", bytes(32), b"\1" * 31):
        with pytest.raises(UsageError):
            send(store, CONTENT, key)
    assert store.used() == 0


# ---------------------------------------------------------------- what is there instead


def reason_of(store: DirectoryStore, digest: bytes) -> Reason:
    with pytest.raises(BlobError) as caught:
        receive(store, digest, [EARLIER, OURS])
    return caught.value.reason


def test_a_letter_that_is_not_there_is_unavailable(store: DirectoryStore) -> None:
    for digest in (bytes(32), b"\7" * 32):
        assert reason_of(store, digest) is Reason.UNAVAILABLE


def test_a_blob_of_another_size_or_content_is_no_letter(store: DirectoryStore, tmp_path: Path) -> None:
    for size in (0, SIZE - 1, SIZE + 1):
        assert reason_of(store, store.put(bytes(size)).sha256) is Reason.WRONG_DIGEST
    digest = send(store, CONTENT, OURS.public)
    (tmp_path / str(ref_of(digest).cid)).write_bytes(bytes(SIZE))
    assert reason_of(store, digest) is Reason.WRONG_DIGEST


@pytest.mark.parametrize(
    "plain",
    [b"", b"null", b"[]", b"7", b'"text"', b"{", b"\xff", b"[" * 7_000, b'{"a":' * 1_200, b"{}" + b"\0"],
    ids=lambda plain: plain[:10],
)
def test_a_letter_that_holds_no_message_is_refused(plain: bytes, store: DirectoryStore) -> None:
    assert reason_of(store, put(store, seal(plain, [OURS.public]))) is Reason.UNREADABLE


@pytest.mark.parametrize("length", [1, 10, SIZE, 2**32 - 1])
def test_a_length_that_is_a_lie_is_refused(length: int, store: DirectoryStore) -> None:
    assert reason_of(store, put(store, seal(b"{}", [OURS.public]), length)) is Reason.UNREADABLE


@given(st.binary(max_size=300))
@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_other_bytes_are_refused_and_nothing_else_is_raised(store: DirectoryStore, data: bytes) -> None:
    assert reason_of(store, store.put(data.ljust(SIZE, b"\0")).sha256) is Reason.UNREADABLE
    assert reason_of(store, put(store, b"age-encryption.org/v1\n" + data)) is Reason.UNREADABLE
