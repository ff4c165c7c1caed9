"""Sealed envelopes: the age format, version 1 (age-encryption.org/v1), for X25519 recipients.

The chain records a member's encryption key as 32 raw bytes; age and its tools write the same key as "age1…". Bech32
between the two is written here and tested with BIP-173's own vectors: PyPI's `bech32` package has had no release since
2020, checks nothing that these lines do not, and would be one more dependency to trust with keys.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import reduce
from operator import xor
from typing import Self

import pyrage
from pyrage import x25519

from hmchain.errors import BlobError, Reason, UsageError

_RECIPIENT = "age"
_SECRET = "age-secret-key-"
_CHARSET = "qpzry9x8gf2tvdw0s3jn54khce6mua7l"
_BEGIN, _END = b"age-encryption.org/v1\n", b"\n--- "  # of a header; no line within it begins with dashes
_GENERATOR = (0x3B6A57B2, 0x26508E6D, 0x1EA119FA, 0x3D4233DD, 0x2A1462B3)

# Bytes of an envelope's header. Ours have one recipient and, with the line of nonsense that age may add, up to about
# 400. age's library takes time that grows with the square of it: someone else's header of a megabyte would keep us busy
# for minutes or hours, one of 4 KiB takes a fraction of a second. It holds some thirty recipients.
MAX_HEADER = 4096

# What each of the 32 values of the top five bits adds to the remainder. A table, because the keys of a million records
# pass through here.
_FOLDED = tuple(
    reduce(xor, (generator for bit, generator in enumerate(_GENERATOR) if top >> bit & 1), 0) for top in range(32)
)

# Points of small order, as u-coordinates. A secret agreed with one of them is zero for everyone, and age's library
# panics (which is no Exception and would end the process) instead of refusing. Source: RFC 7748, section 6.1, and
# cr.yp.to/ecdh.
_FIELD = 2**255 - 19
_SMALL_ORDER = frozenset(
    (
        0,
        1,
        _FIELD - 1,
        325606250916557431795983626356110631294008115727848805560023387167927233504,
        39382357235489614581723060781553021112529911719440698176882885853963445705823,
    )
)


@dataclass(frozen=True)
class Identity:
    """A member's encryption key pair.

    public is the 32-byte X25519 key; secret is "AGE-SECRET-KEY-1…", and is left out of the repr.
    """

    public: bytes
    secret: str = field(repr=False)

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read a secret key as age-keygen writes it; empty lines and # comments may surround it.

        Raises UsageError, whose message never repeats the text.
        """
        lines = [line.strip() for line in text.splitlines() if line.strip() and not line.lstrip().startswith("#")]
        if len(lines) != 1:
            raise UsageError("not an age secret key: it must be one line, AGE-SECRET-KEY-1…")
        try:
            key = x25519.Identity.from_str(lines[0])
        except pyrage.IdentityError:
            raise UsageError("not an age secret key: it must be AGE-SECRET-KEY-1… of an X25519 identity") from None
        return cls(parse_recipient(str(key.to_public())), str(key))

    def raw(self) -> bytes:
        """The 32-byte secret scalar (RFC 7748)."""
        _, words = bech32_decode(self.secret)
        return _regroup(words, 5, 8)

    @classmethod
    def from_raw(cls, scalar: bytes) -> Self:
        """The identity of a 32-byte secret scalar. Raises UsageError."""
        if len(scalar) != 32:
            raise UsageError("an X25519 secret key has 32 bytes")
        return cls.parse(bech32_encode(_SECRET, _regroup(scalar, 8, 5)).upper())


def new_identity() -> Identity:
    """A fresh identity, from the operating system's random numbers."""
    return Identity.parse(str(x25519.Identity.generate()))


def seal(data: bytes, recipients: Sequence[bytes]) -> bytes:
    """Encrypts data so that each recipient, a 32-byte X25519 public key, can read it. Every call gives other bytes.

    Raises UsageError without recipients, or where one is not usable (see is_usable).
    """
    if not recipients:
        raise UsageError("an envelope needs at least one recipient")
    unusable = next((key for key in recipients if not is_usable(key)), None)
    if unusable is not None:
        raise UsageError(f"not an X25519 public key that can be encrypted to: {unusable.hex()}")
    sealed: bytes = pyrage.encrypt(data, [x25519.Recipient.from_str(format_recipient(key)) for key in recipients])
    return sealed


def unseal(data: bytes, identity: Identity) -> bytes:
    """Decrypts an envelope. Raises BlobError(UNREADABLE) for other bytes, one not sealed to this identity, or one whose
    header has more than MAX_HEADER bytes.
    """
    header = data[:MAX_HEADER]
    if not header.startswith(_BEGIN) or _END not in header:
        raise BlobError(f"the envelope does not begin with a header of up to {MAX_HEADER} bytes", Reason.UNREADABLE)
    try:
        opened: bytes = pyrage.decrypt(data, [x25519.Identity.from_str(identity.secret)])
    except pyrage.DecryptError as error:
        why = (str(error).splitlines() or ["unknown"])[0]
        raise BlobError(f"the envelope cannot be opened: {why}", Reason.UNREADABLE) from error
    return opened


def is_usable(public: bytes) -> bool:
    """Whether seal accepts a public key: 32 bytes, not of small order. On chain, a member may write any 32 bytes."""
    # X25519 ignores the top bit and takes the rest modulo the field.
    return len(public) == 32 and int.from_bytes(public, "little") % 2**255 % _FIELD not in _SMALL_ORDER


def format_recipient(public: bytes) -> str:
    """The 32-byte public key as age writes it: "age1…"."""
    return bech32_encode(_RECIPIENT, _regroup(public, 8, 5))


def parse_recipient(text: str) -> bytes:
    """The 32-byte public key of "age1…". Raises UsageError for any other text."""
    _, words = bech32_decode(text)
    public = _regroup(words, 5, 8)
    if len(public) != 32 or format_recipient(public) != text:  # of another prefix, or another length
        raise UsageError(f"not an age public key: {text[:80]!r}")
    return public


def bech32_encode(prefix: str, words: Sequence[int]) -> str:
    """BIP-173: a prefix and 5-bit words as text, with its checksum."""
    checksum = _polymod(prefix, [*words, *bytes(6)]) ^ 1
    tail = [checksum >> shift & 31 for shift in (25, 20, 15, 10, 5, 0)]
    return f"{prefix}1" + "".join(_CHARSET[word] for word in [*words, *tail])


def bech32_decode(text: str) -> tuple[str, list[int]]:
    """BIP-173: the lower-case prefix and the 5-bit words of text. Raises UsageError where it is not Bech32."""
    prefix, _, body = text.lower().rpartition("1")  # without a separator there is no prefix
    words = [_CHARSET.find(letter) for letter in body]
    printable = all(33 <= ord(letter) <= 126 for letter in text)
    one_case = text in (text.lower(), text.upper())
    if not (printable and one_case and prefix and len(text) <= 90 and len(body) >= 6) or -1 in words:
        raise UsageError(f"not Bech32: {text[:100]!r}")
    if _polymod(prefix, words) != 1:
        raise UsageError(f"the checksum is wrong, is there a typing error? {text!r}")
    return prefix, words[:-6]


def _polymod(prefix: str, words: Sequence[int]) -> int:
    """The remainder of BIP-173's BCH code over the expanded prefix and the words."""
    remainder = 1
    for value in (*(ord(c) >> 5 for c in prefix), 0, *(ord(c) & 31 for c in prefix), *words):
        remainder = (remainder & 0x1FFFFFF) << 5 ^ value ^ _FOLDED[remainder >> 25]
    return remainder


def _regroup(values: Sequence[int], old: int, new: int) -> bytes:
    """Words of `old` bits as words of `new` bits: from 8 to 5 bits padded with zeros, from 5 to 8 truncated."""
    length = -(-len(values) * old // new) if new < old else len(values) * old // new
    number = 0
    for value in values:
        number = number << old | value
    spare = length * new - len(values) * old
    number = number << spare if spare >= 0 else number >> -spare
    return bytes(number >> new * i & (1 << new) - 1 for i in reversed(range(length)))
