"""Letters: small sealed messages that the chain names by 32 bytes and nothing else.

    letter = length (4 bytes) || age file || zeros, 8,192 bytes in all

All have one size, so that 32 bytes are enough to fetch one: its SHA-256, which is also the digest of its CID, as it
fits into one block. And the size tells nobody how much was asked for or released.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from hmchain.blobs import BlobRef, BlobStore
from hmchain.cid import Cid, codec_for
from hmchain.envelope import Identity, seal, unseal
from hmchain.errors import BlobError, Reason, UsageError
from hmchain.jsontext import parse
from hmchain.record import canonical

SIZE = 8_192


def send(store: BlobStore, content: dict[str, Any], recipient: bytes) -> bytes:
    """Seals a message to a 32-byte X25519 key and stores it. Returns its digest.

    Raises UsageError where it does not fit into SIZE, BlobError, StorageError.
    """
    sealed = seal(canonical(content), [recipient])
    if len(sealed) + 4 > SIZE:
        raise UsageError("this is too much for one letter")
    data = (len(sealed).to_bytes(4, "big") + sealed).ljust(SIZE, b"\0")
    return store.put(data).sha256


def receive(store: BlobStore, digest: bytes, identities: Sequence[Identity]) -> dict[str, Any]:
    """Fetches and opens a letter with any of our identities.

    Raises BlobError where it is not available, not sealed to us, or no letter.
    """
    data = store.get(ref_of(digest), SIZE)
    length = int.from_bytes(data[:4], "big")
    for identity in identities:
        try:
            content = parse(unseal(data[4 : 4 + length], identity))
        except BlobError:
            continue
        except ValueError as fault:
            raise BlobError("a letter holds no message", Reason.UNREADABLE) from fault
        if isinstance(content, dict):
            return content
    raise BlobError("a letter is not sealed to us, or holds no message", Reason.UNREADABLE)


def keep(store: BlobStore, digest: bytes) -> None:
    """Stores a letter as our own: it stays when whoever sent it deletes it. Raises BlobError, StorageError."""
    store.put(store.get(ref_of(digest), SIZE))


def ref_of(digest: bytes) -> BlobRef:
    """The blob of the letter with this digest."""
    return BlobRef(digest, Cid(codec_for(SIZE), digest), SIZE)
