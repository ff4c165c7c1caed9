"""Plays a job on a deployed HMChain: who was drawn, and whole phases in one call."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from enum import IntEnum
from typing import Any

from eth_abi import encode
from eth_utils import keccak

PHASE_SECONDS = 1000
COORDINATOR = 15  # the position that stands for it in `proposeModel`
PER_SLOT = 12
GOOD = 256 + 9_000
BAD = 256 + 1_000

MANIFEST = b"\x11" * 32
FIRST_MODEL = b"\x22" * 32
MODEL = b"\x33" * 32
OTHER_MODEL = b"\x44" * 32
BLOB = (b"\x55" * 32, b"\x66" * 32, 1_000)
TERMS: dict[str, Any] = {
    "rounds": 3,
    "fraction": 4_000,
    "masters": 4,
    "termRounds": 2,
    "relative": False,
    "standard": 5_000,
    "requestSeconds": PHASE_SECONDS,
    "scoreSeconds": PHASE_SECONDS,
    "revealSeconds": PHASE_SECONDS,
    "replySeconds": PHASE_SECONDS,
}


class Status(IntEnum):
    NONE, ACTIVE, SUSPENDED, REMOVED = range(4)


class Motion(IntEnum):
    ADMIT, SUSPEND, REINSTATE, REMOVE = range(4)


class Withdrawal(IntEnum):
    OWN, SILENT, NOT_ACTIVE = range(3)


class Phase(IntEnum):
    NONE, ENROLMENT, WAITING, REQUEST, PRE_PREPARE, PREPARE, COMMIT, REPLY, FAILED, CLOSED = range(10)


def organisation(operator: Any, tag: int) -> tuple[str, bytes, bytes]:
    """What a consortium needs to know of a member; `tag` makes its key its own."""
    return str(operator), tag.to_bytes(32, "big"), f"Hospital {tag}".encode().ljust(32, b"\0")


def matter_of(ballots: Any, number: int) -> bytes:
    """What a vote on this ballot names: the motion, whom it concerns, and whom it would admit."""
    ballot = ballots.ballot(number)
    candidate = ballot.candidate
    return matter(ballot.motion, ballot.member, candidate.operator, candidate.encryptionKey, candidate.name)


def matter(motion: int, member: int, operator: str, encryptionKey: bytes, name: bytes) -> bytes:
    """What a vote on such a ballot names."""
    return keccak(
        encode(["uint8", "uint16", "address", "bytes32", "bytes32"], [motion, member, operator, encryptionKey, name])
    )


def pack_scores(words: Sequence[int]) -> list[int]:
    """Score words, twelve to a slot, in its upper 192 bits."""
    slots = [0] * -(-len(words) // PER_SLOT)
    for i, word in enumerate(words):
        slots[i // PER_SLOT] |= word << (64 + 16 * (i % PER_SLOT))
    return slots


def unpack_scores(slots: Sequence[int], count: int) -> list[int]:
    """The inverse of `pack_scores`."""
    return [slots[i // PER_SLOT] >> (64 + 16 * (i % PER_SLOT)) & 0xFFFF for i in range(count)]


def commitment(hm: Any, chain_id: int, job: int, round_: int, sender: Any, slots: list[int], salt: bytes) -> bytes:
    """What a master commits to before it reveals `slots`."""
    kinds = ["uint256", "address", "uint256", "uint256", "address", "uint256[]", "bytes32"]
    return keccak(encode(kinds, [chain_id, str(hm.address), job, round_, str(sender), slots, salt]))


def quorum(masters: int) -> int:
    """Votes by which M masters decide."""
    return 2 * masters // 3 + 1


class Federation:
    """A consortium's contract, its members' accounts in order of their numbers, and at most one job of it."""

    def __init__(self, hm: Any, members: Sequence[Any], coordinator: Any, chain: Any) -> None:
        self.hm, self.members, self.coordinator, self.chain = hm, list(members), coordinator, chain
        self.job = 0
        self.terms: dict[str, Any] = {}
        self.chain_id = chain.chain_id
        self._seen: dict[str, tuple[int, Any]] = {}

    # -- the job

    def create(self, **changes: Any) -> Any:
        """Creates a job with TERMS as `changes` have it."""
        self.terms = TERMS | changes
        receipt = self.hm.createJob(
            tuple(self.terms.values()), self.coordinator, MANIFEST, FIRST_MODEL, BLOB, BLOB, sender=self.members[0]
        )
        self.job = self.hm.jobCount()
        return receipt

    def enrol(self, numbers: Iterable[int] | None = None) -> None:
        """Enrols `numbers`, or every member."""
        for number in numbers or range(1, len(self.members) + 1):
            self.hm.enrol(self.job, sender=self.account(number))

    def start(self) -> Any:
        """Opens the first round."""
        return self.hm.startJob(self.job, sender=self.coordinator)

    # -- who and where

    def account(self, number: int) -> Any:
        """The account that acts for a member."""
        return self.members[number - 1]

    def _view(self, key: str, at: int, read: Callable[[], Any]) -> Any:
        """What `read` gave last, unless `at` has moved on: a view takes as long as a transaction."""
        if self._seen.get(key, (None,))[0] != at:
            self._seen[key] = (at, read())
        return self._seen[key][1]

    @property
    def round(self) -> Any:
        """The round as of the last block."""
        height = self.chain.provider.web3.eth.block_number
        return self._view("round", height, lambda: self.hm.roundOf(self.job))

    @property
    def roster(self) -> Any:
        """Who was drawn for the round, packed."""
        state = self.round
        opened = state.number if state.phase != Phase.WAITING else -state.number
        return self._view("roster", opened, lambda: self.hm.rosterOf(self.job))

    @property
    def phase(self) -> Phase:
        """The phase as of now."""
        return Phase(self.round.phase)

    @property
    def masters(self) -> list[int]:
        """The masters' numbers, by position."""
        word = self.roster.masters
        return [word >> (16 * i) & 0xFFFF for i in range(self.terms["masters"])]

    @property
    def clients(self) -> list[int]:
        """The drawn clients' numbers, by position. Before judgement only: it forgets refused updates."""
        state = self.round
        words = self.roster.clients
        count = (state.awaited | state.updates).bit_length()
        return [words[i // 16] >> (16 * (i % 16)) & 0xFFFF for i in range(count)]

    def master(self, position: int) -> Any:
        """The account of the master at `position`."""
        return self.account(self.masters[position])

    def client(self, position: int) -> Any:
        """The account of the client at `position`."""
        return self.account(self.clients[position])

    def bystander(self) -> int:
        """A member that was drawn for nothing."""
        return next(n for n in range(1, len(self.members) + 1) if n not in {*self.masters, *self.clients})

    # -- time

    def let_deadline_pass(self, seconds: int = 1) -> None:
        """Mines a block `seconds` after the present deadline."""
        self.chain.mine(timestamp=self.round.deadline + seconds)

    def advance(self, sender: Any = None) -> Any:
        """Moves the round on."""
        return self.hm.advance(self.job, sender=sender or self.coordinator)

    # -- one message

    def submit(self, position: int, samples: int = 100) -> Any:
        """REQUEST of the client at `position`."""
        return self.hm.submitUpdate(self.job, self.round.number, position, samples, BLOB, sender=self.client(position))

    def salt(self, position: int) -> bytes:
        """The salt that the master at `position` uses in this round."""
        return keccak(encode(["uint256", "uint256"], [self.round.number, position]))

    def commitment(self, position: int, words: Sequence[int], **changes: Any) -> bytes:
        """The commitment of the master at `position`, with any part of it replaced."""
        parts = {
            "hm": self.hm,
            "chain_id": self.chain_id,
            "job": self.job,
            "round_": self.round.number,
            "sender": self.master(position),
            "slots": pack_scores(words),
            "salt": self.salt(position),
        }
        return commitment(**(parts | changes))

    def commit(self, position: int, words: Sequence[int]) -> Any:
        """PRE-PREPARE of the master at `position`."""
        sealed = self.commitment(position, words)
        return self.hm.commitScores(self.job, self.round.number, position, sealed, sender=self.master(position))

    def reveal(self, position: int, words: Sequence[int]) -> Any:
        """PREPARE of the master at `position`."""
        return self.hm.revealScores(
            self.job,
            self.round.number,
            position,
            pack_scores(words),
            self.salt(position),
            sender=self.master(position),
        )

    def propose(self, position: int = COORDINATOR, model: bytes = MODEL) -> Any:
        """COMMIT of the coordinator, or of the master at `position`."""
        sender = self.coordinator if position == COORDINATOR else self.master(position)
        return self.hm.proposeModel(self.job, self.round.number, position, model, BLOB, sender=sender)

    def attest(self, position: int, model: bytes = MODEL, proposed: int | None = None) -> Any:
        """REPLY of the master at `position`, by default to the latest proposal."""
        latest = self.round.proposed if proposed is None else proposed
        return self.hm.attestModel(self.job, self.round.number, position, latest, model, sender=self.master(position))

    # -- whole phases

    def play_request(self) -> None:
        """Every client submits."""
        number = self.round.number
        for position, client in enumerate(self.clients):
            self.hm.submitUpdate(self.job, number, position, 100, BLOB, sender=self.account(client))

    def words(self, word: int = GOOD) -> list[int]:
        """The same score for every client and the base model."""
        return [word] * (len(self.clients) + 1)

    def play_scores(self, words: Sequence[int] | Sequence[Sequence[int]] | None = None) -> Any:
        """Every master commits and reveals: the same `words`, or each its own list. The last receipt."""
        ballots: Any = words or self.words()
        if isinstance(ballots[0], int):
            ballots = [ballots] * self.terms["masters"]
        for position, ballot in enumerate(ballots):
            self.commit(position, ballot)
        return [self.reveal(position, ballot) for position, ballot in enumerate(ballots)][-1]

    def play_reply(self, model: bytes = MODEL) -> Any:
        """The coordinator proposes and a quorum attests. The last receipt."""
        self.propose(model=model)
        return [self.attest(position, model) for position in range(quorum(self.terms["masters"]))][-1]

    def play_until(self, phase: Phase) -> Federation:
        """Plays an undisturbed round up to the beginning of `phase`."""
        if phase > Phase.REQUEST:
            self.play_request()
        words = self.words()
        if phase > Phase.PRE_PREPARE:
            for position in range(self.terms["masters"]):
                self.commit(position, words)
        if phase > Phase.PREPARE:
            for position in range(self.terms["masters"]):
                self.reveal(position, words)
        if phase > Phase.COMMIT:
            self.propose()
        assert self.phase == phase
        return self

    def play_round(self, model: bytes = MODEL) -> Any:
        """Plays a whole round that ends with `model`. The last receipt."""
        self.play_request()
        self.play_scores()
        return self.play_reply(model)

    # -- membership

    @property
    def ballots(self) -> str:
        """The address of the contract that holds the votes."""
        return str(self.hm.ballots())
