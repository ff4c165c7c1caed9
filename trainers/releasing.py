"""The holder's side of reading: for each request that the chain has logged, the keys of just the records it is about.

The contract has looked at grant, consent and delegation already; entitlement.py looks again, as things are now. What
goes out is sealed to the reader: an envelope is of no use to anyone else.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from itertools import islice
from typing import Any

from hmchain import letters, merkle
from hmchain.blobs import BlobStore
from hmchain.envelope import Identity, is_usable, seal
from hmchain.errors import BlobError, Reason
from hmchain.record import canonical
from hmchain.registry import Registry
from trainers.entitlement import Entitlement, Refusal
from trainers.holdings import Batch, Holding
from trainers.logs import say, warn

PART_RECORDS = 1_000
MAX_RECORDS = 20_000  # of one release: the parts that one letter can list
REFUSED = bytes(32)  # in place of an envelope, where there is nobody to write a letter to

Chosen = Callable[[dict[str, Any]], Iterable[Holding]]


@dataclass
class Releasing:
    """One holder's answers. Nothing is kept: what the chain has logged and has not seen answered is due."""

    rules: Entitlement
    registry: Registry
    store: BlobStore
    identities: tuple[Identity, ...]

    def step(self) -> bool:
        """Answers one request, if one is due. Raises HMChainError."""
        trail, member = self.registry.trail(), self.rules.member
        head = self.registry.feed.head
        assert head is not None
        for use in trail.uses():
            if use.holder == member and member not in trail.released.get((use.number, use.use), {}):
                chosen = partial(self.rules.under_grant, trail, use, head.time)
                envelope = self._answer(use.request, (use.number, use.use), chosen)
                self.registry.transact("releaseKeys", use.number, use.use, envelope)
                return True
        for case in trail.emergencies.values():
            if case.holder == member and member not in trail.emergency_released.get(case.number, {}):
                envelope = self._answer(case.request, (case.number, 0), partial(self.rules.in_emergency, trail, case))
                self.registry.transact("releaseEmergencyKeys", case.number, envelope)
                return True
        return False

    def _answer(self, digest: bytes, which: tuple[int, int], chosen: Chosen) -> bytes:
        """The digest of the letter to the reader, in which are keys, or why there are none."""
        try:
            request = letters.receive(self.store, digest, self.identities)
            recipient = bytes.fromhex(request["recipient"])
            if not is_usable(recipient):
                raise ValueError("no key")
        except BlobError as fault:
            if fault.reason is not Reason.UNREADABLE:
                raise
            warn("request refused", which=which, reason="it is not sealed to us")
            return REFUSED
        except (ValueError, LookupError, TypeError):
            warn("request refused", which=which, reason="it names no key to seal to")
            return REFUSED
        try:
            holdings = _at_most(chosen(request), MAX_RECORDS)
        except (Refusal, ValueError, LookupError, TypeError) as fault:
            reason = str(fault) if isinstance(fault, Refusal) else "the request is not written as one"
            warn("request refused", which=which, reason=reason)
            return letters.send(self.store, {"refused": reason}, recipient)
        parts = [self._part(part, recipient) for part in _parts(holdings)]
        self.rules.vault.note_release(*which, holdings)
        say("keys released", which=which, records=len(holdings))
        return letters.send(self.store, {"parts": parts, "count": len(holdings)}, recipient)

    def _part(self, holdings: list[Holding], recipient: bytes) -> list[Any]:
        batches: dict[int, tuple[list[bytes], list[str | None]]] = {}
        for holding in holdings:
            if holding.batch.id not in batches:
                batches[holding.batch.id] = self._leaves(holding.batch), self.rules.vault.secrets(holding.batch)
        ref = self.store.put(seal(canonical([_key(h, *batches[h.batch.id]) for h in holdings]), [recipient]))
        return [ref.sha256.hex(), ref.cid.digest.hex(), ref.size]

    def _leaves(self, batch: Batch) -> list[bytes]:
        return [holding.leaf for holding in self.rules.vault.in_batch(batch)]


def _key(holding: Holding, leaves: list[bytes], secrets: list[str | None]) -> dict[str, Any]:
    """All that it takes to find a record, open it, and prove it to be the registered one."""
    return {
        "entry": holding.batch.number,
        "position": holding.position,
        "proof": [node.hex() for node in merkle.proof_of(leaves, holding.position)],
        "commitment": holding.commitment.hex(),
        "digest": holding.digest.hex(),
        "offset": holding.offset,
        "length": holding.length,
        "secret": secrets[holding.position],
    }


def _at_most(holdings: Iterable[Holding], limit: int) -> list[Holding]:
    taken = list(islice(holdings, limit + 1))
    if len(taken) > limit:
        raise Refusal(f"more than {limit:,} records at once: ask for one kind or type of them")
    return taken


def _parts(holdings: list[Holding]) -> Iterator[list[Holding]]:
    for start in range(0, len(holdings), PART_RECORDS):
        yield holdings[start : start + PART_RECORDS]
