"""The consortium's history, rebuilt from the contract's events alone: members, jobs, rounds, scores, models.

Nodes, whole-consortium runs, verification and the dashboard all read the event log through it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from hmchain.blobs import BlobRef
from hmchain.cid import Cid, codec_for
from hmchain.contract import Event
from hmchain.errors import Reason
from hmchain.judgement import Judgement
from hmchain.rounds import Phase, Terms
from hmchain.scores import basis_points, is_score, unpack

ACTIVE = 1  # IConsortium.Status


@dataclass(frozen=True)
class Update:
    """A client's update as submitted: member number, sample count, blob."""

    member: int
    samples: int
    blob: BlobRef


def verdict_text(judgement: Judgement, position: int) -> str:
    """Why the update at `position` was accepted or refused, in words."""
    word = judgement.medians[position]
    if not is_score(word):
        return _known(word)
    score = f"scored {basis_points(word) / 100:.2f} %"
    if position in judgement.accepted:
        return score
    if not judgement.reachable:  # the base model has no score
        return f"{score}, but the base model has none, so that nothing passes"
    return f"{score}, below the standard of {judgement.standard / 100:.2f} %"


def _known(word: int) -> str:
    return Reason(word).text if word in Reason._value2member_map_ else f"reason {word}"


@dataclass(frozen=True)
class Proposal:
    """A proposed aggregate. proposer: an account. proposed: positions that had proposed by then, its own included."""

    proposer: str
    proposed: frozenset[int]
    model: bytes
    blob: BlobRef


@dataclass
class RoundRecord:
    """A round so far. clients and masters are member numbers by position; base and model are SHA-256 digests."""

    number: int
    base: bytes
    clients: tuple[int, ...]
    masters: tuple[int, ...]
    updates: dict[int, Update] = field(default_factory=dict)  # by position
    commitments: dict[int, bytes] = field(default_factory=dict)  # by member
    scores: dict[int, tuple[int, ...]] = field(default_factory=dict)  # words, by member
    judgement: Judgement | None = None
    proposals: list[Proposal] = field(default_factory=list)
    attested: list[int] = field(default_factory=list)
    model: bytes | None = None
    failed: Phase | None = None

    def has_ended(self) -> bool:
        """Whether it has its model, or failed."""
        return self.model is not None or self.failed is not None

    def accepted(self) -> list[Update]:
        """The updates that count, in order of position."""
        return [self.updates[p] for p in sorted(self.judgement.accepted)] if self.judgement else []

    def failure(self) -> str:
        """Why a failed round failed, in words."""
        if self.failed is Phase.REQUEST:
            return "nobody submitted an update"
        if self.failed in (Phase.PRE_PREPARE, Phase.PREPARE):
            return "too few masters gave their scores"
        if self.judgement is not None and not self.judgement.accepted:
            return "no update reached the standard value"
        return "no model found a quorum of masters"

    def silent(self) -> dict[str, list[int]]:
        """Members that owe something, by what it is: they were silent, or are still awaited in a running round."""
        submitted = {update.member for update in self.updates.values()}
        owed = {
            "update": [member for member in self.clients if member not in submitted],
            "commitment": [member for member in self.masters if member not in self.commitments] if submitted else [],
            "reveal": [member for member in self.commitments if member not in self.scores],
        }
        return {what: members for what, members in owed.items() if members}

    def final_blob(self) -> BlobRef:
        """The blob of the model that the round ended with: the last proposal is the one that was attested."""
        return self.proposals[-1].blob

    def final_blobs(self) -> list[BlobRef]:
        """final_blob, and the blobs of earlier proposals of the same model, which should hold it as well."""
        return list(dict.fromkeys(p.blob for p in reversed(self.proposals) if p.model == self.model))


@dataclass
class JobRecord:
    """A job and its rounds."""

    number: int
    creator: int  # the member that created it; the coordinator may be any account
    coordinator: str
    manifest: bytes
    initial: bytes
    terms: Terms
    manifest_blob: BlobRef
    initial_blob: BlobRef
    keys: list[tuple[bytes, BlobRef]] = field(default_factory=list)
    rounds: dict[int, RoundRecord] = field(default_factory=dict)
    enrolled: set[int] = field(default_factory=set)  # members in the draws
    closed: bool = False
    report: bytes | None = None

    def blobs(self) -> Iterator[BlobRef]:
        """All blobs that the chain names."""
        yield from (self.manifest_blob, self.initial_blob, *(keyring for _, keyring in self.keys))
        for record in self.rounds.values():
            yield from (update.blob for update in record.updates.values())
            yield from (proposal.blob for proposal in record.proposals)


@dataclass
class History:
    """All that the contract's events say, up to the last one applied. Dictionaries are by member or job number."""

    sealed: bool = False  # the founder has no rights any more
    members: dict[int, str] = field(default_factory=dict)  # operator by member number
    names: dict[int, str] = field(default_factory=dict)
    keys: dict[int, bytes] = field(default_factory=dict)  # X25519 public key by member number
    retired: dict[str, int] = field(default_factory=dict)  # member by an operator that it rotated away
    active: set[int] = field(default_factory=set)  # neither suspended nor removed
    roots: dict[int, bytes] = field(default_factory=dict)  # of the data set that a member committed to
    samples: dict[int, int] = field(default_factory=dict)
    jobs: dict[int, JobRecord] = field(default_factory=dict)

    def apply(self, events: Iterable[Event]) -> None:
        """Applies events in the order of the chain. Raises LookupError or ValueError for any that do not follow: the
        contract emits none without those before it, but nodes have been seen to leave events out.
        """
        for event in events:
            handler = getattr(self, f"_on_{event.name}", None)
            if handler is not None:
                handler(event.args)

    def _on_ConsortiumSealed(self, _: dict[str, Any]) -> None:
        self.sealed = True

    def _on_MemberAdmitted(self, e: dict[str, Any]) -> None:
        self.retired.pop(e["operator"], None)
        self.members[e["member"]] = e["operator"]
        self.keys[e["member"]] = e["encryptionKey"]
        name = e["name"].rstrip(b"\0").decode(errors="replace")
        # Others chose it: it could steer terminals.
        self.names[e["member"]] = name if name.isprintable() else repr(name)
        self.active.add(e["member"])

    def _on_MemberStatusChanged(self, e: dict[str, Any]) -> None:
        (self.active.add if e["status"] == ACTIVE else self.active.discard)(e["member"])

    def _on_RotationCompleted(self, e: dict[str, Any]) -> None:
        self.retired[self.members[e["member"]]] = e["member"]
        self.retired.pop(e["operator"], None)
        self.members[e["member"]] = e["operator"]
        self.keys[e["member"]] = e["encryptionKey"]

    def _on_DatasetCommitted(self, e: dict[str, Any]) -> None:
        self.samples[e["member"]] = e["sampleCount"]
        self.roots[e["member"]] = e["root"]

    def _on_JobCreated(self, e: dict[str, Any]) -> None:
        self.jobs[e["job"]] = JobRecord(
            e["job"],
            e["member"],
            e["coordinator"],
            e["manifest"],
            e["model"],
            Terms(*e["terms"].values()),
            blob_of(e["manifestBlob"]),
            blob_of(e["modelBlob"]),
        )

    def _on_JobKeyPublished(self, e: dict[str, Any]) -> None:
        self.jobs[e["job"]].keys.append((e["recipient"], blob_of(e["envelope"])))

    def _on_MemberEnrolled(self, e: dict[str, Any]) -> None:
        self.jobs[e["job"]].enrolled.add(e["member"])

    def _on_MemberWithdrawn(self, e: dict[str, Any]) -> None:
        self.jobs[e["job"]].enrolled.discard(e["member"])

    def _on_RoundOpened(self, e: dict[str, Any]) -> None:
        job = self.jobs[e["job"]]
        last = job.rounds.get(e["round"] - 1)
        _follows(e["round"] == len(job.rounds) + 1 and (last is None or last.has_ended()), "RoundOpened")
        masters = unroster([e["masters"]])[: job.terms.masters]
        job.rounds[e["round"]] = RoundRecord(e["round"], e["base"], unroster(e["clients"]), masters)

    def _on_UpdateSubmitted(self, e: dict[str, Any]) -> None:
        record = self._round(e)
        update = Update(e["member"], e["samples"], blob_of(e["blob"]))
        record.updates[record.clients.index(e["member"])] = update

    def _on_ScoresCommitted(self, e: dict[str, Any]) -> None:
        self._round(e).commitments[e["member"]] = e["commitment"]

    def _on_ScoresRevealed(self, e: dict[str, Any]) -> None:
        record = self._round(e)
        _follows(e["member"] in record.commitments, "ScoresRevealed")
        record.scores[e["member"]] = tuple(unpack(e["scores"], len(record.clients) + 1))

    def _on_UpdatesJudged(self, e: dict[str, Any]) -> None:
        record = self._round(e)
        *medians, base = unpack(e["medians"], len(record.clients) + 1)
        accepted = positions_of(e["accepted"])
        _follows(accepted <= record.updates.keys(), "UpdatesJudged")
        record.judgement = Judgement(e["round"], accepted, e["standard"], tuple(medians), base)

    def _on_ModelProposed(self, e: dict[str, Any]) -> None:
        record = self._round(e)
        proposal = Proposal(e["proposer"], positions_of(e["proposed"]), e["model"], blob_of(e["blob"]))
        record.proposals.append(proposal)
        record.attested = []

    def _on_ModelAttested(self, e: dict[str, Any]) -> None:
        self._round(e).attested.append(e["member"])

    def _on_RoundFinalized(self, e: dict[str, Any]) -> None:
        record = self._round(e)
        _follows(bool(record.proposals) and record.proposals[-1].model == e["model"], "RoundFinalized")
        record.model = e["model"]

    def _on_RoundFailed(self, e: dict[str, Any]) -> None:
        self._round(e).failed = Phase(e["phase"])

    def _on_JobClosed(self, e: dict[str, Any]) -> None:
        self.jobs[e["job"]].closed = True

    def _on_ReportFiled(self, e: dict[str, Any]) -> None:
        self.jobs[e["job"]].report = e["report"]

    def member_of(self, operator: str) -> int | None:
        """The number of the member whose operator an account is now, None where it is nobody's."""
        return next((number for number, account in self.members.items() if account == operator), None)

    def _round(self, e: dict[str, Any]) -> RoundRecord:
        return self.jobs[e["job"]].rounds[e["round"]]


def _follows(does: bool, event: str) -> None:
    """Raises LookupError where an event does not follow from those before it."""
    if not does:
        raise LookupError(f"{event} does not follow from the events before it")


def positions_of(bits: int) -> frozenset[int]:
    """The positions whose bits are set, as the contract keeps a set of them."""
    return frozenset(i for i in range(bits.bit_length()) if bits >> i & 1)


def bits_of(positions: Iterable[int]) -> int:
    """The reverse of positions_of."""
    return sum(1 << position for position in positions)


def unroster(words: Iterable[int]) -> tuple[int, ...]:
    """Member numbers by position, from words of sixteen; 0 ends them (contracts/lib/Roster.sol)."""
    members = [word >> 16 * i & 0xFFFF for word in words for i in range(16)]
    return tuple(members[: members.index(0)] if 0 in members else members)


def blob_of(blob: dict[str, Any]) -> BlobRef:
    """A contract's Blob; the codec of its CID follows from the size."""
    return BlobRef(blob["sha256"], Cid(codec_for(blob["size"]), blob["cid"]), blob["size"])


def blob_to_abi(ref: BlobRef) -> tuple[bytes, bytes, int]:
    """The contract's Blob of a reference."""
    return ref.sha256, ref.cid.digest, ref.size
