"""Who a member is to the others: an operator account, an encryption key, and a secret that never leaves it."""

from __future__ import annotations

import hashlib
import hmac
import secrets
from dataclasses import dataclass, field, replace

from eth_account import Account
from eth_account.signers.local import LocalAccount

from hmchain.envelope import Identity, new_identity


@dataclass(frozen=True)
class MemberIdentity:
    """An operator account, an X25519 identity, and the secret that commit-reveal salts are derived from."""

    account: LocalAccount = field(repr=False)
    encryption: Identity = field(repr=False)
    salt_secret: bytes = field(repr=False)

    @classmethod
    def create(cls, salt_secret: bytes | None = None) -> MemberIdentity:
        """Fresh keys from the system's randomness. A simulated member is given its salt secret, so that the same seed
        draws the same masters and clients; a real one never is.
        """
        account = Account.from_key(secrets.token_bytes(32))
        return cls(account, new_identity(), salt_secret or secrets.token_bytes(32))

    def for_job(self, chain_id: int, contract: str, job: int) -> MemberIdentity:
        """The same member with a salt secret of its own for one job, so that a salt revealed in one opens no other."""
        message = f"hmchain/job-salts/1/{chain_id}/{contract}/{job}".encode()
        return replace(self, salt_secret=hmac.digest(self.salt_secret, message, hashlib.sha256))

    def salt(self, manifest: bytes, round: int) -> bytes:
        """The salt of this member's score commitment in a round: 32 bytes.

        Derived, not drawn: a process that dies between commit and reveal finds it again. Secret until it is revealed,
        as it is keyed; its own for every manifest and round, and, of an identity made by for_job, for every job.
        """
        message = b"hmchain/score-salt/1" + manifest + round.to_bytes(4, "big")
        return hmac.digest(self.salt_secret, message, hashlib.sha256)
