"""Envelopes: age, and Bech32 between the chain's 32 bytes and age's text."""

import base64

import pyrage
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pyrage import x25519

from hmchain.envelope import (
    Identity,
    bech32_decode,
    bech32_encode,
    format_recipient,
    is_usable,
    parse_recipient,
    seal,
    unseal,
)
from hmchain.errors import BlobError, Reason, UsageError

ALICE, BOB, EVE = (Identity.from_raw(bytes([n]) * 32) for n in (1, 2, 3))
SEALED = seal(b"hello" * 9, [ALICE.public])

P = 2**255 - 19
SMALL_ORDER = {
    "zero": bytes(32),
    "one": (1).to_bytes(32, "little"),
    "order 8": bytes.fromhex("e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800"),
    "order 8 too": bytes.fromhex("5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157"),
    "p - 1": (P - 1).to_bytes(32, "little"),
    "p": P.to_bytes(32, "little"),
    "p + 1": (P + 1).to_bytes(32, "little"),
}


@given(st.binary(max_size=100_000))
@settings(max_examples=25)
def test_every_recipient_opens_what_was_sealed_and_nobody_else(data: bytes) -> None:
    sealed = seal(data, [ALICE.public, BOB.public])
    assert unseal(sealed, ALICE) == unseal(sealed, BOB) == data
    with pytest.raises(BlobError) as caught:
        unseal(sealed, EVE)
    assert caught.value.reason is Reason.UNREADABLE


def test_other_age_tools_open_our_envelopes_and_we_theirs() -> None:
    theirs = x25519.Identity.generate()
    ours = Identity.parse(str(theirs))
    assert pyrage.decrypt(seal(b"hello", [ours.public]), [theirs]) == b"hello"
    assert unseal(pyrage.encrypt(b"hello", [theirs.to_public()]), ours) == b"hello"


def test_the_same_bytes_sealed_twice_differ() -> None:
    assert seal(b"x", [ALICE.public]) != seal(b"x", [ALICE.public])


def test_an_identity_survives_its_text() -> None:
    assert Identity.parse(ALICE.secret) == ALICE
    key_file = f"# created: 2026-01-01\n# public key: {format_recipient(ALICE.public)}\n\n{ALICE.secret}\n"
    assert Identity.parse(key_file) == ALICE
    assert len(ALICE.public) == 32


def test_an_identity_does_not_show_its_secret() -> None:
    assert ALICE.secret not in repr(ALICE)
    assert "AGE-SECRET" not in repr(ALICE) + str(ALICE) + f"{[ALICE]}"


@pytest.mark.parametrize("text", ["", "#", "foo", ALICE.secret[:-1], f"{ALICE.secret}\n{BOB.secret}", "age1foo"])
def test_a_text_that_is_no_identity_is_refused_and_not_repeated(text: str) -> None:
    with pytest.raises(UsageError) as caught:
        Identity.parse(text)
    assert text[:20] not in str(caught.value) or len(text) < 10


@pytest.mark.parametrize("key", [*SMALL_ORDER.values(), b"", b"\x09" * 31, b"\x09" * 33], ids=lambda k: k.hex()[:8])
def test_a_public_key_that_cannot_be_encrypted_to_is_refused(key: bytes) -> None:
    assert not is_usable(key)
    with pytest.raises(UsageError):
        seal(b"x", [ALICE.public, key])


@pytest.mark.parametrize("key", SMALL_ORDER.values(), ids=SMALL_ORDER)
def test_the_top_bit_does_not_hide_a_point_of_small_order(key: bytes) -> None:
    assert not is_usable(key[:31] + bytes((key[31] | 0x80,)))


@given(st.binary(min_size=32, max_size=32))
def test_every_other_key_can_be_sealed_to(key: bytes) -> None:
    if is_usable(key):
        seal(b"x", [key])


def test_an_envelope_needs_a_recipient() -> None:
    with pytest.raises(UsageError):
        seal(b"x", [])


@pytest.mark.parametrize(
    "data",
    [b"", b"x", b"age-encryption.org/v1\n", b"age-encryption.org/v2\n", SEALED[:-1], bytes(999)],
    ids=["empty", "x", "version 1", "version 2", "cut off", "zeros"],
)
def test_bytes_that_are_no_envelope_are_unreadable(data: bytes) -> None:
    with pytest.raises(BlobError) as caught:
        unseal(data, ALICE)
    assert caught.value.reason is Reason.UNREADABLE
    assert "\n" not in str(caught.value)


VERSION, STANZA = b"age-encryption.org/v1\n", b"-> X25519 " + b"A" * 43 + b"\n" + b"A" * 43 + b"\n"


@pytest.mark.parametrize(
    "data",
    [
        VERSION + b"-> " + b"a" * 50_000,
        VERSION + b"-> x\n" + (b"A" * 64 + b"\n") * 800,
        VERSION + STANZA * 300 + b"--- " + b"A" * 43 + b"\n" + bytes(99),
        SEALED.replace(b"\n", b"\n" + STANZA * 300, 1),
    ],
    ids=["a long line", "a long stanza", "many stanzas", "many stanzas before ours"],
)
def test_a_header_that_would_keep_us_busy_is_not_read(data: bytes) -> None:
    with pytest.raises(BlobError, match="does not begin with a header of up to 4096 bytes") as caught:
        unseal(data, ALICE)
    assert caught.value.reason is Reason.UNREADABLE


def test_an_envelope_to_thirty_is_opened_by_the_last() -> None:
    everyone = [Identity.from_raw(bytes([n]) * 32) for n in range(1, 31)]
    assert unseal(seal(b"hello", [one.public for one in everyone]), everyone[-1]) == b"hello"


@given(st.data())
@settings(max_examples=300)
def test_an_altered_envelope_is_unreadable(data: st.DataObject) -> None:
    sealed = bytearray(SEALED)
    at = data.draw(st.integers(0, len(sealed) - 1))
    sealed[at] ^= data.draw(st.integers(1, 255))
    with pytest.raises(BlobError):
        unseal(bytes(sealed), ALICE)


@pytest.mark.parametrize("share", SMALL_ORDER.values(), ids=SMALL_ORDER)
def test_an_envelope_made_with_a_point_of_small_order_is_unreadable(share: bytes) -> None:
    lines = seal(b"hello", [ALICE.public]).split(b"\n")
    stanza = next(i for i, line in enumerate(lines) if line.startswith(b"-> X25519 "))
    lines[stanza] = b"-> X25519 " + base64.b64encode(share).rstrip(b"=")
    with pytest.raises(BlobError):
        unseal(b"\n".join(lines), ALICE)


@given(st.binary(min_size=32, max_size=32))
def test_a_public_key_survives_its_text(public: bytes) -> None:
    assert parse_recipient(format_recipient(public)) == public


def test_age_writes_public_keys_as_we_do() -> None:
    key = x25519.Identity.generate().to_public()
    assert format_recipient(parse_recipient(str(key))) == str(key)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "age1",
        format_recipient(ALICE.public).upper(),
        format_recipient(ALICE.public[:31]),
        format_recipient(ALICE.public + b"\0"),
        "A12UEL5L",
        ALICE.secret,
        bech32_encode("age", [0] * 51),
        bech32_encode("agf", [0] * 52),
    ],
)
def test_a_text_that_is_no_public_key_is_refused(text: str) -> None:
    with pytest.raises(UsageError):
        parse_recipient(text)


# From BIP-173, "Test vectors".
BIP173_VALID = [
    "A12UEL5L",
    "a12uel5l",
    "an83characterlonghumanreadablepartthatcontainsthenumber1andtheexcludedcharactersbio1tt5tgs",
    "abcdef1qpzry9x8gf2tvdw0s3jn54khce6mua7lmqqqxw",
    "11qqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqc8247j",
    "split1checkupstagehandshakeupstreamerranterredcaperred2y9e3w",
    "?1ezyfcl",
]
BIP173_INVALID = [
    "\x201nwldj5",  # prefix character out of range
    "\x7f1axkwrx",
    "\x801eym55h",
    "an84characterslonghumanreadablepartthatcontainsthenumber1andtheexcludedcharactersbio1569pvx",  # too long
    "pzry9x0s0muk",  # no separator
    "1pzry9x0s0muk",  # empty prefix
    "x1b4n0q5v",  # invalid data character
    "li1dgmt3",  # checksum too short
    "de1lg7wt\xff",  # invalid character in checksum
    "A1G7SGD8",  # checksum of the upper-case prefix
    "10a06t8",  # empty prefix
    "1qzzfhee",
]


@pytest.mark.parametrize("text", BIP173_VALID)
def test_valid_bech32_of_the_bip_is_read_and_written(text: str) -> None:
    assert bech32_encode(*bech32_decode(text)) == text.lower()


@pytest.mark.parametrize("text", [*BIP173_INVALID, "a12UEL5L"])
def test_invalid_bech32_of_the_bip_is_refused(text: str) -> None:
    with pytest.raises(UsageError):
        bech32_decode(text)
