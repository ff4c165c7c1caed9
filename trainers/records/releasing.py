"""The holder's side of reading: answers each logged request with the keys of the records that it may read.

The contract has checked grant, consent and delegation already; entitlement.py checks again, as things are now. Answers
are sealed to the reader.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from itertools import islice
from typing import Any

from hmchain import letters, merkle
from hmchain.blobs import BlobStore
from hmchain.envelope import Identity, is_usable, seal
from hmchain.errors import BlobError, DaemonError, Reason, StorageError, UsageError
from hmchain.record import canonical
from hmchain.registry import Registry
from hmchain.trail import EmergencyRecord, Use
from trainers.logs import say, warn
from trainers.records.entitlement import Entitlement, Refusal
from trainers.records.holdings import Batch, Holding

PART_RECORDS = 1_000
MAX_RECORDS = 20_000  # of one release: the parts that one letter can list
REFUSED = bytes(32)  # in place of an envelope, where there is nobody to write a letter to
FIRST_PAUSE, LAST_PAUSE = 30.0, 3600.0  # seconds until a letter that could not be had is asked for again
EMERGENCY_TRIES = 3  # in which an emergency comes before all readings
MAX_TRIES = 30  # for about a day; then it is refused: nobody can make a holder look for it forever

Chosen = Callable[[dict[str, Any]], Iterable[Holding]]


@dataclass(frozen=True)
class Due:
    """A request that is logged on chain and not answered yet. which: (grant, use), or (emergency, 0).

    chosen gives the records for the request's content. voucher: the member that vouched for the reader. in_vain: no
    record here can be under its grant.
    """

    which: tuple[int, int]
    request: bytes
    chosen: Chosen
    voucher: int
    in_vain: bool = False

    @property
    def is_emergency(self) -> bool:
        """Whether it is one, and not a use of a grant."""
        return self.which[1] == 0


@dataclass
class Releasing:
    """One holder's answers. What is due follows from the chain: the requests that are logged and not answered.

    The members take turns: one that logs any number of requests, of readers that it invents, delays each of another's
    by one of its own. A request whose letter is not available is put off, for longer each time, and of a member's
    requests those that were tried less often come first.
    """

    rules: Entitlement
    registry: Registry
    store: BlobStore
    identities: tuple[Identity, ...]
    answered: int = 0
    _put_off: dict[tuple[int, int], tuple[float, int]] = field(default_factory=dict)  # until when, and how often
    _served: dict[int, float] = field(default_factory=dict)  # when a member's readers had their last turn
    # Letters that the chain does not have yet, for which records: it may fail for days, and blobs are kept for good.
    _written: dict[tuple[int, int], tuple[list[Holding], bytes]] = field(default_factory=dict)

    def step(self) -> bool:
        """Answers one request or puts it off, if one is due. Raises HMChainError, StorageError where the vault lacks
        batches of ours: an answer is final, and so would be what it leaves out.
        """
        due = min(self._due(), key=self._turn, default=None)
        if due is None:
            return False
        self._check_whole()
        self._served[due.voucher] = time.monotonic()
        function, which = ("releaseEmergencyKeys", due.which[:1]) if due.is_emergency else ("releaseKeys", due.which)
        self.registry.client.call(function, *which, REFUSED)  # a suspended member is refused before it writes any keys
        try:
            envelope = self._answer(due)
        except DaemonError:
            raise  # our own store is at fault
        except BlobError as fault:
            if self._postpone(due, fault):
                return True
            envelope = REFUSED
        self.registry.transact(function, *which, envelope)
        self._written.pop(due.which, None)
        self.answered += 1
        return True

    def _check_whole(self) -> None:
        lost = self.rules.lost(self.registry.trail())
        if lost:
            names = ", ".join(map(str, lost[:20])) + (" …" if len(lost) > 20 else "")
            raise StorageError(
                f"the vault lacks batches that are ours, entries {names}: bring back the newest backup of it, or name "
                "those that are gone for good in [records] lost"
            )

    def is_due(self) -> bool:
        """Whether there is a request to answer that is not put off. Raises ChainError."""
        return next(self._due(), None) is not None

    def _due(self) -> Iterator[Due]:
        """Emergencies first, then in the order of the chain."""
        trail, member = self.registry.trail(), self.rules.member
        for case in trail.emergencies.values():
            which = case.number, 0
            if case.holder == member and self._is_due(which, trail.emergency_released.get(case.number, {})):
                yield Due(which, case.request, partial(self._in_emergency, case), case.voucher)
        for use in trail.uses():
            which = use.number, use.use
            if use.holder == member and self._is_due(which, trail.released.get(which, {})):
                in_vain = not self.rules.may_cover(trail.grants[use.number].terms)
                yield Due(which, use.request, partial(self._under_grant, use), use.voucher, in_vain)

    def _turn(self, due: Due) -> tuple[bool, bool, float, int]:
        """The sort key of requests: emergencies first for EMERGENCY_TRIES, as a letter may take a while to spread.

        Requests in vain come last. They are not refused unread, which would reveal who is not known here.
        """
        tries, served = self._tries(due.which), self._served.get(due.voucher, -1.0)
        return due.in_vain, not due.is_emergency or tries >= EMERGENCY_TRIES, served, tries

    def _in_emergency(self, case: EmergencyRecord, request: dict[str, Any]) -> Iterable[Holding]:
        """By the chain as it is when this is asked."""
        return self.rules.in_emergency(self.registry.trail(), case, request)

    def _under_grant(self, use: Use, request: dict[str, Any]) -> Iterable[Holding]:
        """By the chain as it is when this is asked."""
        trail, head = self.registry.trail(), self.registry.feed.head
        assert head is not None
        return self.rules.under_grant(trail, use, head.time, request)

    def _is_due(self, which: tuple[int, int], answers: Mapping[int, bytes]) -> bool:
        """Whether we have not answered it, and it is not put off. answers: by holder."""
        return self.rules.member not in answers and time.monotonic() >= self._put_off.get(which, (0.0, 0))[0]

    def _tries(self, which: tuple[int, int]) -> int:
        return self._put_off.get(which, (0.0, 0))[1]

    def _postpone(self, due: Due, fault: BlobError) -> bool:
        """Puts a request off; False where it has been put off MAX_TRIES times and is given up."""
        tries = self._tries(due.which)
        if tries == MAX_TRIES:
            warn("request refused", which=due.which, reason=f"its letter never turned up: {fault}")
            return False
        pause = min(FIRST_PAUSE * 2**tries, LAST_PAUSE)
        self._put_off[due.which] = time.monotonic() + pause, tries + 1
        warn("request put off", which=due.which, seconds=pause, reason=str(fault))
        return True

    def _answer(self, due: Due) -> bytes:
        """Writes the letter to the reader, with keys or the reason for a refusal, and returns its digest.

        Raises BlobError where the request's letter is not available.
        """
        which = due.which
        try:
            request = letters.receive(self.store, due.request, self.identities)
            if due.is_emergency:  # which its review must be able to read
                letters.keep(self.store, due.request)
            recipient = bytes.fromhex(request["recipient"])
            if not is_usable(recipient):
                raise ValueError("no key")
        except BlobError as fault:
            if fault.reason is Reason.UNAVAILABLE or isinstance(fault, DaemonError):
                raise
            warn("request refused", which=which, reason="it is no letter, or not sealed to us")
            return REFUSED
        except (ValueError, LookupError, TypeError):
            warn("request refused", which=which, reason="it names no key to seal to")
            return REFUSED
        try:
            return self._release(due, request, recipient)
        except (Refusal, UsageError, ValueError, LookupError, TypeError) as fault:
            reason = str(fault) if isinstance(fault, Refusal) else "the request is not written as one"
            warn("request refused", which=which, reason=reason)
            self.rules.vault.note_release(*which, ())
            return letters.send(self.store, {"refused": reason}, recipient)

    def _release(self, due: Due, request: dict[str, Any], recipient: bytes) -> bytes:
        """The digest of a letter with the keys of what may be read: the one written before, where the chain did not
        take that and nothing has changed since. Raises Refusal, and ValueError, LookupError or TypeError for a
        malformed request.
        """
        holdings = _at_most(due.chosen(request), MAX_RECORDS)
        if (written := self._written.get(due.which)) is None or written[0] != holdings:
            holdings, parts = self._sealed(due, request, recipient, holdings)
            written = holdings, letters.send(self.store, {"parts": parts, "count": len(holdings)}, recipient)
            self._written[due.which] = written
            say("keys released", which=due.which, records=len(holdings))
        self.rules.vault.note_release(*due.which, holdings)
        return written[1]

    def _sealed(
        self, due: Due, request: dict[str, Any], recipient: bytes, holdings: list[Holding]
    ) -> tuple[list[Holding], list[Any]]:
        """Seals keys in parts, again until none of them was revoked or withdrawn meanwhile. Returns whose they are.

        What may be read since then waits for another request: otherwise somebody who consents and withdraws all the
        time would let none finish.
        """
        while True:
            parts, chosen = [self._part(part, recipient) for part in _parts(holdings)], {each.id for each in holdings}
            still = [each for each in due.chosen(request) if each.id in chosen]
            if still == holdings:
                return holdings, parts
            holdings = still

    def _part(self, holdings: list[Holding], recipient: bytes) -> list[Any]:
        batches: dict[int, tuple[merkle.Tree, list[str | None]]] = {}
        for holding in holdings:
            if holding.batch.id not in batches:
                batches[holding.batch.id] = self._tree(holding.batch), self.rules.vault.secrets(holding.batch)
        keys = [_key(holding, *batches[holding.batch.id]) for holding in holdings]
        held = [key for key in keys if key["secret"] is not None]  # another process may have erased one meanwhile
        ref = self.store.put(seal(canonical(held), [recipient]))
        return [ref.sha256.hex(), ref.cid.digest.hex(), ref.size]

    def _tree(self, batch: Batch) -> merkle.Tree:
        return merkle.Tree([holding.leaf for holding in self.rules.vault.in_batch(batch)])


def _key(holding: Holding, tree: merkle.Tree, secrets: list[str | None]) -> dict[str, Any]:
    """All that a reader needs to find a record, open it, and check that it is the registered one."""
    return {
        "entry": holding.batch.number,
        "position": holding.position,
        "proof": [node.hex() for node in tree.proof(holding.position)],
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
