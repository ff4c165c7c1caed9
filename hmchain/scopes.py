"""Scopes: which of a person's or an organisation's records a consent or a grant covers.

    label   all | kind:clinical | type:observation | record:<leaf, 64 hexadecimal digits>
    scope   SHA-256("hmchain/scope/1" || salt || label)

Only scopes are on chain. The salt is known only to whoever made it and those who were told: there are so few labels
that without a secret salt anyone could try them all.
"""

from __future__ import annotations

import hmac
import re
from collections.abc import Callable, Iterator
from hashlib import sha256
from typing import TypeVar

from hmchain.errors import UsageError
from hmchain.record import Kind

ALL = "all"
_LABEL = re.compile(r"all|kind:(clinical|research|behaviour)|type:[a-z][a-z0-9-]{0,63}|record:[0-9a-f]{64}")
T = TypeVar("T")


def checked(label: str) -> str:
    """The label itself. Raises UsageError for a text that is no label."""
    if not _LABEL.fullmatch(label):
        raise UsageError(f"{label!r:.80} is no scope: all, kind:clinical, type:observation, or record:<64 digits>")
    return label


def salt_from(secret: bytes) -> bytes:
    """A person's 32-byte salt for the scopes of all its consents, derived from its secret."""
    return hmac.digest(secret, b"hmchain/scope-salt/1", "sha256")


def grant_salt_from(secret: bytes, label: str, reader: str, purpose: int) -> bytes:
    """A party's 32-byte salt for the scope of one grant, derived, so that prolonging the grant finds it again.

    Whoever is handed it can read the scope of that grant, and of no other grant or consent.
    """
    about = f"hmchain/grant-salt/1/{checked(label)}/{reader}/{int(purpose)}"
    return hmac.digest(secret, about.encode(), "sha256")


def scope_of(salt: bytes, label: str) -> bytes:
    """The 32 bytes that stand for a label on chain. Raises UsageError.

    A salt has 32 bytes, always: with a longer one, "type:fall" under one salt would be "all" under another.
    """
    return sha256(b"hmchain/scope/1" + _whole(salt) + checked(label).encode()).digest()


def labels_of(kind: Kind, type: str, leaf: bytes) -> Iterator[str]:
    """The labels that a record falls under, the most specific first. A type that no label can name has none."""
    yield f"record:{leaf.hex()}"
    if _LABEL.fullmatch(f"type:{type}"):
        yield f"type:{type}"
    yield f"kind:{kind.value}"
    yield ALL


def falls_under(label: str, kind: Kind, type: str, leaf: bytes) -> bool:
    """Whether a record falls under a label."""
    return label in labels_of(kind, type, leaf)


def decided(kind: Kind, type: str, leaf: bytes, lookup: Callable[[str], T | None]) -> T | None:
    """What holds for a record: lookup's answer for the most specific label that has one, None where none has.

    lookup gives what was said of a label, None where nothing was ever said of it.
    """
    for label in labels_of(kind, type, leaf):
        found = lookup(label)
        if found is not None:
            return found
    return None


def commitment(salt: bytes, text: str) -> bytes:
    """32 bytes that commit to a text and hide it from whoever lacks the 32-byte salt. Raises UsageError."""
    return sha256(b"hmchain/text/1" + _whole(salt) + text.encode()).digest()


def _whole(salt: bytes) -> bytes:
    if len(salt) != 32:
        raise UsageError("a salt has 32 bytes")
    return salt
