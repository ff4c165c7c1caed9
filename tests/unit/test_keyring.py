"""The job's key reaches each participant in an envelope of its own, and nobody else."""

import pytest

from hmchain.envelope import new_identity
from hmchain.errors import BlobError, Reason
from hmchain.keyring import open_key, seal_key

KEY = new_identity()
MEMBERS = {number: new_identity() for number in (1, 2, 3)}
KEYRING = seal_key(KEY, {number: identity.public for number, identity in MEMBERS.items()})


@pytest.mark.parametrize("number", MEMBERS)
def test_a_participant_opens_its_envelope(number: int) -> None:
    assert open_key(KEYRING, number, MEMBERS[number]) == KEY


def test_nobody_opens_anothers() -> None:
    with pytest.raises(BlobError):
        open_key(KEYRING, 1, MEMBERS[2])


def test_a_stranger_has_none() -> None:
    with pytest.raises(BlobError) as fault:
        open_key(KEYRING, 4, new_identity())
    assert fault.value.reason == Reason.UNREADABLE


def test_a_member_whose_key_is_none_does_not_keep_the_others_from_theirs() -> None:
    keyring = seal_key(KEY, {1: MEMBERS[1].public, 2: bytes(32)})
    assert open_key(keyring, 1, MEMBERS[1]) == KEY
    with pytest.raises(BlobError):
        open_key(keyring, 2, MEMBERS[2])


@pytest.mark.parametrize("keyring", [b"", b"[]", b"{}", b"\xff", b'{"envelopes":{"1":"!"}}', b"[" * 50_000])
def test_hostile_bytes_are_no_keyring(keyring: bytes) -> None:
    with pytest.raises(BlobError):
        open_key(keyring, 1, MEMBERS[1])
