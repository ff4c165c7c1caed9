"""The job's key: every blob of a job is sealed to it, and the key is sealed to each participant in an envelope.

A blob with one recipient is cheap to open: age tries recipients in turn, which takes 80 ms a blob with a hundred.
And a member that joins later needs only one small envelope to read everything from before.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping

from hmchain.envelope import Identity, is_usable, seal, unseal
from hmchain.errors import BlobError, Reason, UsageError
from hmchain.jsontext import parse

FORMAT = "hmchain-keyring/1"
MAX_BYTES = 4 * 1024 * 1024


def seal_key(key: Identity, members: Mapping[int, bytes]) -> bytes:
    """The keyring: `key` sealed to each member's X25519 public key, by member number.

    A member whose key on chain cannot be encrypted to gets no envelope; it must not keep the others from theirs.
    """
    usable = {number: public for number, public in members.items() if is_usable(public)}
    content = {
        "format": FORMAT,
        "recipients": {str(number): public.hex() for number, public in usable.items()},
        "envelopes": {
            str(number): base64.b64encode(seal(key.secret.encode(), [public])).decode()
            for number, public in usable.items()
        },
    }
    return json.dumps(content, sort_keys=True, separators=(",", ":")).encode()


def serves(keyring: bytes, members: Mapping[int, bytes]) -> bool:
    """Whether a keyring has an envelope to each member's present key, members with unusable keys left aside."""
    try:
        recipients = parse(keyring)["recipients"]
        return all(recipients.get(str(n)) == public.hex() for n, public in members.items() if is_usable(public))
    except (ValueError, KeyError, TypeError, AttributeError):
        return False


def open_key(keyring: bytes, member: int, identity: Identity) -> Identity:
    """The job's key, from the member's own envelope. Raises BlobError."""
    try:
        content = parse(keyring)
        envelope = base64.b64decode(content["envelopes"][str(member)], validate=True)
        if content["format"] != FORMAT:
            raise BlobError(f"this is not a {FORMAT} file", Reason.UNREADABLE)
        return Identity.parse(unseal(envelope, identity).decode())
    except (ValueError, KeyError, TypeError, UsageError) as fault:
        raise BlobError(f"the job's keyring holds no envelope for member {member}", Reason.UNREADABLE) from fault
