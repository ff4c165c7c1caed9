"""A member's identity: its operator account, its encryption key, and a secret that salts are derived from."""

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
        """The same member, with a salt secret for one job: a salt revealed in one job is of no use in another."""
        message = f"hmchain/job-salts/1/{chain_id}/{contract}/{job}".encode()
        return replace(self, salt_secret=hmac.digest(self.salt_secret, message, hashlib.sha256))

    def salt(self, manifest: bytes, round: int) -> bytes:
        """The salt of this member's score commitment in a round: 32 bytes.

        It is derived, so that a process that dies between commit and reveal computes it again, and keyed (HMAC), so
        that it is secret until it is revealed. It differs by manifest and round, and with for_job also by job.
        """
        message = b"hmchain/score-salt/1" + manifest + round.to_bytes(4, "big")
        return hmac.digest(self.salt_secret, message, hashlib.sha256)
