"""The job's key reaches each member, and nobody else."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hmchain.envelope import new_identity, seal
from hmchain.errors import BlobError, Reason
from hmchain.keyring import open_key, seal_key, serves

KEY, ALICE, BOB = new_identity(), new_identity(), new_identity()
KEYRING = seal_key(KEY, {1: ALICE.public, 2: BOB.public})


def test_every_member_finds_the_key_in_its_own_envelope() -> None:
    assert open_key(KEYRING, 1, ALICE) == open_key(KEYRING, 2, BOB) == KEY


def test_nobody_opens_anothers_envelope() -> None:
    for member, identity in ((1, BOB), (2, ALICE), (3, ALICE)):
        with pytest.raises(BlobError) as caught:
            open_key(KEYRING, member, identity)
        assert caught.value.reason is Reason.UNREADABLE


def test_the_secret_is_not_in_the_keyring() -> None:
    assert KEY.secret.encode() not in KEYRING


def test_a_member_without_a_usable_key_gets_none_and_keeps_nobody_from_theirs() -> None:
    keyring = seal_key(KEY, {1: bytes(32), 2: BOB.public})
    assert set(json.loads(keyring)["envelopes"]) == {"2"}
    assert open_key(keyring, 2, BOB) == KEY


@pytest.mark.parametrize(
    "keyring",
    [
        b"",
        b"[]",
        b"null",
        b"{}",
        b"[" * 100_000,
        b'{"envelopes":[]}',
        b'{"envelopes":{"1":1}}',
        b'{"envelopes":{"1":"!"}}',
        b'{"envelopes":{"1":""},"format":"hmchain-keyring/1"}',
        KEYRING.replace(b"hmchain-keyring/1", b"hmchain-keyring/2"),
        json.dumps({"format": "hmchain-keyring/1", "envelopes": {"1": "AAAA"}}).encode(),
    ],
    ids=lambda keyring: repr(keyring[:40]),
)
def test_a_bad_keyring_is_unreadable(keyring: bytes) -> None:
    with pytest.raises(BlobError):
        open_key(keyring, 1, ALICE)


def test_an_envelope_may_hold_something_else_than_a_key() -> None:
    import base64

    for content in (b"", b"hello", b"\xff\xfe"):
        envelope = base64.b64encode(seal(content, [ALICE.public])).decode()
        with pytest.raises(BlobError):
            open_key(json.dumps({"format": "hmchain-keyring/1", "envelopes": {"1": envelope}}).encode(), 1, ALICE)


@given(st.binary(max_size=100))
def test_nothing_else_than_blob_error_is_raised(data: bytes) -> None:
    with pytest.raises(BlobError):
        open_key(data, 1, ALICE)


def test_a_keyring_serves_the_members_that_it_was_made_for() -> None:
    assert serves(KEYRING, {1: ALICE.public, 2: BOB.public})
    assert serves(KEYRING, {2: BOB.public}), "one that has left is no reason for a new keyring"
    assert serves(KEYRING, {})


@pytest.mark.parametrize(
    "members",
    [{3: ALICE.public}, {1: ALICE.public, 3: new_identity().public}, {1: BOB.public}, {1: BOB.public, 2: ALICE.public}],
    ids=["joined", "one joined", "rotated", "changed places"],
)
def test_a_keyring_does_not_serve_a_member_that_joined_or_rotated(members: dict[int, bytes]) -> None:
    assert not serves(KEYRING, members)


def test_a_member_whose_key_is_none_can_be_served_by_no_keyring_and_is_left_aside() -> None:
    assert serves(KEYRING, {1: ALICE.public, 3: bytes(32), 4: b""})
    assert serves(seal_key(KEY, {1: bytes(32)}), {1: bytes(32)})


@pytest.mark.parametrize(
    "keyring",
    [b"", b"[]", b"null", b"{}", b"[" * 100_000, b'{"recipients":[]}', b'{"recipients":7}', b'{"recipients":null}'],
    ids=lambda keyring: repr(keyring[:40]),
)
def test_a_bad_keyring_serves_nobody(keyring: bytes) -> None:
    assert not serves(keyring, {1: ALICE.public})


@given(st.binary(max_size=100))
def test_other_bytes_serve_nobody_and_raise_nothing(data: bytes) -> None:
    assert not serves(data, {1: ALICE.public})
