"""The reader's side: asks for records under a grant, then opens and checks what the holder released."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, TypeVar

from hmchain import letters, merkle, scopes
from hmchain.blobs import BlobRef, BlobStore
from hmchain.cid import Cid, codec_for
from hmchain.envelope import unseal
from hmchain.errors import BlobError, ChainBehind, ChainError, ContractError, Reason, UsageError, VerificationError
from hmchain.identity import MemberIdentity
from hmchain.jsontext import parse
from hmchain.permits import Access, EmergencyAccess
from hmchain.record import MAX_RECORD_BYTES, Record
from hmchain.registry import Registry
from hmchain.trail import GrantRecord, Trail
from trainers.records.storing import BATCH_BYTES, open_record

MAX_PART_BYTES = 16 << 20
MAX_BLOB_BYTES = BATCH_BYTES + MAX_RECORD_BYTES + (1 << 20)
LOOK_SECONDS = 0.5
EMERGENCY_SECONDS = 3600  # until the deadline of a signed emergency: it is urgent now, or it is none
T = TypeVar("T")


@dataclass(frozen=True)
class Labels:
    """What a grant's scope stands for: its label and salt, which only those know who were given the grant's file."""

    label: str
    salt: bytes

    def request(self, wanted: str) -> dict[str, Any]:
        """The content of a request for the part `wanted` of the scope; it is sealed to the holder."""
        return {
            "label": self.label,
            "salt": self.salt.hex(),
            "wanted": scopes.checked(wanted),
        }


@dataclass(frozen=True)
class Holder:
    """Whom to ask: a member, and the X25519 key that requests to it are sealed to."""

    member: int
    key: bytes


@dataclass(frozen=True)
class Key:
    """What a holder releases for a record: where it is, its key, and the proof that it is the registered one."""

    entry: int
    position: int
    proof: list[bytes]
    commitment: bytes
    digest: bytes
    offset: int
    length: int
    secret: str = field(repr=False)

    @classmethod
    def parse(cls, told: dict[str, Any]) -> Key:
        """Raises ValueError, LookupError or TypeError for anything but a key."""
        entry, position, offset, length = (_of(int, told[name]) for name in ("entry", "position", "offset", "length"))
        commitment, digest = bytes.fromhex(told["commitment"]), bytes.fromhex(told["digest"])
        proof = [bytes.fromhex(node) for node in _of(list, told["proof"])]
        return cls(entry, position, proof, commitment, digest, offset, length, _of(str, told["secret"]))

    def leaf(self) -> bytes:
        """Its leaf in the entry's tree."""
        return merkle.record_leaf(self.commitment, self.digest, self.offset, self.length)


@dataclass(frozen=True)
class Reader:
    """A person that reads, with its keys, and a member's registry through which its signed requests are sent."""

    keys: MemberIdentity
    registry: Registry
    store: BlobStore

    def ask(
        self, grant: GrantRecord, request: dict[str, Any], holders: Sequence[Holder], institution: int = 0
    ) -> list[int]:
        """Asks holders for records under a grant, in one transaction. Returns the number of each of these uses.

        Anyone may send what was signed: whoever sees the transaction and sends a part of it first makes the rest fail.
        Then each is sent by itself. Raises HMChainError.
        """
        terms, client, calls, first = grant.terms, self.registry.client, {}, len(grant.uses) + 1
        for use, holder in enumerate(holders, first):
            access = Access(
                granter=terms.granter,
                scope=terms.scope,
                purpose=terms.purpose,
                holder=holder.member,
                request=letters.send(self.store, request | self._recipient(), holder.key),
                use=use,
                institution=institution,
                consent_of=terms.consent_of,
                consent_scope=terms.consent_scope,
            )
            signature = access.sign(self.keys.account, client.chain_id, client.address)
            calls[access] = "logAccess", (access.abi(), *signature)
        try:
            self.registry.transact_all(list(calls.values()))
        except ContractError:
            if len(calls) == 1 and not self._is_logged(grant.number, *calls):
                raise
            for access, (function, arguments) in calls.items():
                self._log(grant.number, access, function, arguments)
        return [access.use for access in calls]

    def _log(self, number: int, access: Access, function: str, arguments: Sequence[object]) -> None:
        """Sends a use of a grant, unless somebody was faster with it."""
        if self._is_logged(number, access):
            return
        try:
            self.registry.transact(function, *arguments)
        except ContractError:
            if not self._is_logged(number, access):
                raise

    def _is_logged(self, number: int, access: Access) -> bool:
        told = access.use, self.keys.account.address, access.holder, access.request
        uses = self.registry.trail().grants[number].uses
        return told in [(use.use, use.reader, use.holder, use.request) for use in uses]

    def ask_in_emergency(self, identifier: str, reason: str, holder: Holder) -> int:
        """Breaks the glass for the person with this number at the holder. Returns the emergency's number."""
        salt = secrets.token_bytes(32)
        request = {"identifier": identifier, "salt": salt.hex(), "reason": reason}
        digest = letters.send(self.store, request | self._recipient(), holder.key)
        client, reader = self.registry.client, self.keys.account.address
        opened, deadline = client.call("docketOf", reader)[0], client.block().time + EMERGENCY_SECONDS
        subject, why = scopes.commitment(salt, identifier), scopes.commitment(salt, reason)
        emergency = EmergencyAccess(holder.member, subject, why, digest, opened + 1, deadline)
        signature = emergency.sign(self.keys.account, client.chain_id, client.address)
        receipt = self.registry.transact("breakGlass", emergency.abi(), *signature)
        return int(receipt.told("GlassBroken")["number"])

    def _recipient(self) -> dict[str, Any]:
        return {"recipient": self.keys.encryption.public.hex()}

    def wait(self, answer: Callable[[Trail], bytes | None], seconds: float, again: str) -> bytes:
        """The digest of the holder's letter, once it is there. Raises ChainError where it is not, in time.

        again: the option by which its reader looks for it later.
        """
        deadline = time.monotonic() + seconds
        while True:
            with suppress(ChainBehind):  # the chain's node has yet to see our request
                envelope = answer(self.registry.trail())
                if envelope is not None:
                    return envelope
            if time.monotonic() > deadline:
                raise ChainError(f"the holder has not answered in {seconds:g} s; look for it later with {again}")
            time.sleep(LOOK_SECONDS)

    def records(self, envelope: bytes, holder: int | None = None, asked: Sequence[str] = ()) -> Iterator[Record]:
        """The records whose keys are in a letter, each checked to be registered, and none of them twice.

        envelope: the letter's digest. holder: the member that must hold the records, None for any. asked: labels that
        each must fall under. Raises UsageError where the holder refused, BlobError, VerificationError, DataError.
        """
        if envelope == bytes(32):
            raise UsageError("the holder could not read the request")
        letter = letters.receive(self.store, envelope, [self.keys.encryption])
        if "refused" in letter:
            raise UsageError(f"the holder refused: {_shown(letter['refused'])}")
        trail = self.registry.trail()
        blobs: dict[int, bytes] = {}
        seen: set[bytes] = set()
        for key in self._keys(letter):
            leaf = key.leaf()
            if leaf in seen:
                raise VerificationError("the holder released a record twice")
            seen.add(leaf)
            record = self._record(trail, key, blobs, holder)
            if not all(scopes.falls_under(label, record.kind, record.type, leaf) for label in asked):
                raise VerificationError(f"the holder released what was not asked for: {_shown(record.type)}")
            yield record

    def _keys(self, letter: dict[str, Any]) -> Iterator[Key]:
        try:
            for sha256, cid, size in letter["parts"]:
                ref = BlobRef(bytes.fromhex(sha256), Cid(codec_for(size), bytes.fromhex(cid)), size)
                keys = parse(unseal(self.store.get(ref, MAX_PART_BYTES), self.keys.encryption))
                yield from map(Key.parse, _of(list, keys))
        except (ValueError, LookupError, TypeError) as fault:
            raise BlobError("the holder's letter is not written as one", Reason.UNREADABLE) from fault

    def _record(self, trail: Trail, key: Key, blobs: dict[int, bytes], holder: int | None) -> Record:
        entry = trail.entries[key.entry - 1] if 0 < key.entry <= len(trail.entries) else None
        if entry is None:
            raise VerificationError(f"there is no entry {key.entry}, in which the holder says that a record is")
        if holder not in (None, entry.holder):
            raise VerificationError(f"entry {entry.index} is not of member {holder}")
        if not merkle.is_proved(key.leaf(), key.position, entry.count, key.proof, entry.root):
            raise VerificationError(f"a record is not in entry {entry.index}, where the holder says it is")
        if entry.index not in blobs:
            blobs.clear()
            blobs[entry.index] = self.store.get(entry.blob, MAX_BLOB_BYTES)
        ciphertext = blobs[entry.index][key.offset : key.offset + key.length]
        record = open_record(ciphertext, key.secret, key.digest, key.commitment)
        if record.kind is not entry.kind:
            raise VerificationError(f"a record of entry {entry.index} is of another kind than the entry")
        return record


def _of(kind: type[T], value: Any) -> T:
    """The value, which somebody else wrote. Raises TypeError where it is of another type, ValueError below zero."""
    if type(value) is not kind:
        raise TypeError(f"no {kind.__name__}")
    if isinstance(value, int) and not 0 <= value < 2**63:
        raise ValueError("out of range")
    return value


def _shown(text: Any) -> str:
    """What another wrote, on one line: terminals obey what they are sent."""
    line = " ".join(text.split())[:200] if isinstance(text, str) else "it does not say why"
    return line if line.isprintable() else repr(line)
