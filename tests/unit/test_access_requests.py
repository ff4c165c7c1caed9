"""Requests for records that are lies, and the envelopes of others: no key goes out."""

from __future__ import annotations

from typing import Any

import pytest

from hmchain import letters
from hmchain.envelope import seal, unseal
from hmchain.errors import BlobError
from hmchain.identity import MemberIdentity
from hmchain.permits import Role
from trainers.records import releasing

from .case import Case, digest_of, released_nothing
from .ward import Ward, answer_all, labels_of

# ---------------------------------------------------------------- requests that are lies


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"label": "kind:clinical"}, "the request names another scope than the grant"),
        ({"salt": "11" * 32}, "the request names another scope than the grant"),
        ({"salt": "11" * 33}, "the request is not written as one"),
        ({"label": "everything"}, "the request is not written as one"),
        ({"label": ["all"]}, "the request is not written as one"),
        ({"wanted": 7}, "the request is not written as one"),
        ({"salt": None}, "the request is not written as one"),
        ({"label": "\u0000"}, "the request is not written as one"),
    ],
    ids=str,
)
def test_a_request_for_more_or_for_nonsense(changes: dict[str, Any], told: str, ward: Ward, case: Case) -> None:
    released_nothing(case, case.asked(case.letter(**changes)), f"the holder refused: {told}")


def test_a_request_without_its_fields(ward: Ward, case: Case) -> None:
    content = {"recipient": case.physician.encryption.public.hex()}
    released_nothing(case, case.asked(case.letter(content)), "the holder refused: the request is not written as one")


def test_a_request_that_is_sealed_to_another_holder(ward: Ward, case: Case) -> None:
    for key in (ward.holder(2).key, case.physician.encryption.public):
        released_nothing(case, case.asked(case.letter(key=key)), "the holder could not read the request")


@pytest.mark.parametrize("recipient", [None, 7, "", "zz", "00" * 32, "01" + "00" * 31, "11" * 31, ["11" * 32]])
def test_a_request_that_names_no_key_to_seal_to(recipient: Any, ward: Ward, case: Case) -> None:
    """Keys of small order among them, sealed to which anybody could read."""
    which = case.asked(case.letter(recipient=recipient))
    released_nothing(case, which, "the holder could not read the request")
    assert ward.envelope(which) == bytes(32)


@pytest.mark.parametrize("size", [0, letters.SIZE - 1, letters.SIZE, letters.SIZE + 1])
def test_a_request_that_is_no_letter(size: int, ward: Ward, case: Case) -> None:
    digest = ward.store.put(b"\x05" * size).sha256
    released_nothing(case, case.asked(digest), "the holder could not read the request")


def test_a_request_that_is_nested_without_end(ward: Ward, case: Case) -> None:
    sealed = seal(b'{"label":' + b"[" * 3_000 + b"]" * 3_000 + b"}", [ward.holder().key])
    digest = ward.store.put((len(sealed).to_bytes(4, "big") + sealed).ljust(letters.SIZE, b"\0")).sha256
    released_nothing(case, case.asked(digest), "the holder could not read the request")


def test_a_request_that_nobody_has_keeps_no_other_waiting(own_ward: Ward, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is put off, and answered when it turns up."""
    ward, now = own_ward, [1_000.0]
    monkeypatch.setattr(releasing.time, "monotonic", lambda: now[0])
    case, other = Case(ward), Case(ward)
    content = labels_of(case.grant).request("all") | {"recipient": case.physician.encryption.public.hex()}
    hidden = case.letter(content)
    path = ward.folder / "blobs" / str(letters.ref_of(hidden).cid)
    data = path.read_bytes()
    path.unlink()
    missing, there = case.asked(hidden), ward.ask(other.physician, other.grant)
    answers = ward.releasing()
    assert [answers.step(), answers.step()] == [True, True], "put off, and answered"
    assert list(ward.archive().trail().released[there]) == [1]
    assert not answers.is_due(), "it is not asked for again at once"
    for pause in (30.0, 60.0, 120.0):
        now[0] += pause - 1
        assert not answers.is_due()
        now[0] += 1
        assert answers.step() is True
        assert answers.step() is False
    assert missing not in ward.archive().trail().released
    path.write_bytes(data)
    now[0] += 3_600
    assert answers.step() is True
    assert case.answer(missing) == ["a", "b"]


def test_one_readers_request_under_anothers_grant_is_sealed_to_the_first(ward: Ward) -> None:
    """Who repeats a request that it cannot read gets an envelope that it cannot open."""
    case, thief = Case(ward), ward.person(Role.PHYSICIAN, 2)
    request = case.letter()
    grant = ward.grant(case.patient, thief.account.address)
    access = case.access(request=request, use=1, scope=grant.permit.scope)
    case.send(access, thief)
    which = ward.granted(grant).number, 1
    answer_all(ward.releasing())
    with pytest.raises(BlobError, match="not sealed to us"):
        list(ward.reader(thief).records(ward.envelope(which), 1))


def test_a_stolen_envelope_opens_with_its_readers_key_only(ward: Ward, case: Case) -> None:
    which = ward.ask(case.physician, case.grant)
    answer_all(ward.releasing())
    for thief in (MemberIdentity.create(), ward.person(Role.PHYSICIAN, 2), ward.hospitals[1]):
        with pytest.raises(BlobError, match="not sealed to us"):
            list(ward.reader(thief).records(ward.envelope(which), 1))
    letter = letters.receive(ward.store, ward.envelope(which), [case.physician.encryption])
    part = next(
        path for path in (ward.folder / "blobs").iterdir() if bytes.fromhex(letter["parts"][0][1]) in digest_of(path)
    )
    with pytest.raises(BlobError):
        unseal(part.read_bytes(), ward.hospitals[1].encryption)


def test_no_key_is_in_any_blob_or_event(ward: Ward, case: Case) -> None:
    ward.read(case.physician, case.grant)
    secrets = [ward.archive().vault.secret(holding).encode() for holding in case.records]
    content = b"".join(path.read_bytes() for path in (ward.folder / "blobs").iterdir())
    events = repr(list(ward.archive().registry.client.events(0, ward.archive().registry.client.head()))).encode()
    assert not [secret for secret in secrets if secret in content + events]
    assert b"AGE-SECRET-KEY" not in content
