"""The protocol as one party uses it, with the same methods on the contract and on the plain model of --no-chain.

A party is a member or the coordinator, and acts only for itself. `state` is the round as it stands, `record` what has
happened in it so far.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Protocol

from web3.types import BlockIdentifier

from hmchain.blobs import BlobRef
from hmchain.chain import ChainClient
from hmchain.contract import Receipt
from hmchain.errors import ChainBehind, ChainError, ContractError
from hmchain.feed import Feed
from hmchain.history import History, JobRecord, Proposal, RoundRecord, bits_of, blob_to_abi, positions_of
from hmchain.rounds import COORDINATOR, Phase, RoundState, phase_of
from hmchain.scores import commitment_of, pack
from hmchain.stopwatch import Stopwatch

GasObserver = Callable[[int, str, int], None]  # round, call, gas


class Ledger(Protocol):
    """One party's access to one job. Every method raises ChainError where the chain fails."""

    def state(self) -> RoundState:
        """The round as of now."""

    def record(self, round: int) -> RoundRecord:
        """What has happened in a round so far."""

    def records(self) -> list[RoundRecord]:
        """All rounds so far, in order."""

    def submit_update(self, state: RoundState, samples: int, blob: BlobRef) -> None:
        """REQUEST. Like the other messages, raises ContractError where the protocol refuses it."""

    def commit_scores(self, state: RoundState, words: list[int], salt: bytes) -> None:
        """PRE-PREPARE."""

    def reveal_scores(self, state: RoundState, words: list[int], salt: bytes) -> None:
        """PREPARE."""

    def propose_model(self, state: RoundState, model: bytes, blob: BlobRef) -> None:
        """COMMIT."""

    def attest_model(self, state: RoundState, candidate: Proposal) -> None:
        """REPLY: attests this proposal; refused where another one has come since."""

    def advance(self) -> None:
        """Moves a round on whose deadline has passed."""


class JobFeed(Feed[History]):
    """The feed of HMChain's events: members and jobs."""

    def __init__(self, client: ChainClient, first_block: int, wary: bool = False) -> None:
        super().__init__(client, first_block, History, wary)

    def job(self, number: int) -> JobRecord:
        """A job, up to date. Raises ChainError if there is none.

        ChainBehind where the chain was set back since the last look: then it is not the job that the caller looked at.
        """
        before = self.generation
        job = self.poll().jobs.get(number)
        if self.generation != before:
            raise ChainBehind("the chain was set back meanwhile: what was read before counts no more")
        if job is None:
            raise ChainError(f"the contract knows no job {number}")
        return job


class SoleFeed(JobFeed):
    """The same for a chain that only this process writes to: after the first poll, receipts bring every event."""

    _looked = False

    def poll(self) -> History:
        """See Feed.poll."""
        if not self._looked:
            super().poll()
            self._looked = True
        return self.history

    def took(self, receipt: Receipt) -> None:
        """See Feed.took."""
        if self._looked:
            self.history.apply(receipt.events)


class Batch:
    """Messages that several parties in one process send before they wait for the first, so that they share a block."""

    def __init__(self) -> None:
        self._waits: list[Callable[[], None]] | None = None

    def sent(self, wait: Callable[[], None]) -> None:
        """Takes what waits for a message: waits at once, unless messages are sent together."""
        if self._waits is None:
            wait()
        else:
            self._waits.append(wait)

    @contextmanager
    def together(self) -> Iterator[None]:
        """Messages that are sent in this context are waited for at its end. Raises ContractError, ChainError."""
        waits: list[Callable[[], None]] = []
        self._waits = waits
        try:
            yield
        finally:
            self._waits = None
        for wait in waits:
            wait()


class ContractLedger:
    """A Ledger on the contract. `member` is 0 for the coordinator, `batch` is shared by those who send together."""

    def __init__(
        self,
        client: ChainClient,
        feed: JobFeed,
        job: int,
        member: int,
        watch: Stopwatch | None = None,
        on_gas: GasObserver | None = None,
        batch: Batch | None = None,
    ) -> None:
        self.client = client
        self.job = job
        self.member = member
        self._feed = feed
        self._watch = watch or Stopwatch()
        self._on_gas = on_gas
        self._batch = batch or Batch()

    def state(self) -> RoundState:
        """See Ledger.state."""
        with self._watch.measure("chain"):
            head = self._feed.head
            block: BlockIdentifier = "latest" if head is None else head.number
            number, completed, _, word, deadline, *bits = self.client.call("roundOf", self.job, block=block)
        phase = phase_of(word)
        drawn = self.record(number) if number and phase != Phase.WAITING else None
        clients, masters = (drawn.clients, drawn.masters) if drawn else ((), ())
        return RoundState(number, completed, phase, deadline, clients, masters, *map(positions_of, bits))

    def record(self, round: int) -> RoundRecord:
        """See Ledger.record."""
        with self._watch.measure("chain"):
            rounds = self._feed.job(self.job).rounds
        if round not in rounds:  # nodes have been seen to leave events out
            raise ChainBehind(f"the chain's events know no round {round} of job {self.job}")
        return rounds[round]

    def records(self) -> list[RoundRecord]:
        """See Ledger.records."""
        return list(self._feed.history.jobs[self.job].rounds.values())

    def submit_update(self, state: RoundState, samples: int, blob: BlobRef) -> None:
        """See Ledger.submit_update."""
        self._send(state, "submitUpdate", state.clients.index(self.member), samples, blob_to_abi(blob))

    def commit_scores(self, state: RoundState, words: list[int], salt: bytes) -> None:
        """See Ledger.commit_scores."""
        self._send(state, "commitScores", state.masters.index(self.member), self._commitment(state, words, salt))

    def reveal_scores(self, state: RoundState, words: list[int], salt: bytes) -> None:
        """See Ledger.reveal_scores. What does not open the commitment is not sent: the contract would refuse it."""
        if self._commitment(state, words, salt) != self.record(state.number).commitments.get(self.member):
            raise ContractError("CommitmentMismatch", (self.member,))
        self._send(state, "revealScores", state.masters.index(self.member), pack(words), salt)

    def propose_model(self, state: RoundState, model: bytes, blob: BlobRef) -> None:
        """See Ledger.propose_model."""
        position = state.masters.index(self.member) if self.member else COORDINATOR
        self._send(state, "proposeModel", position, model, blob_to_abi(blob))

    def attest_model(self, state: RoundState, candidate: Proposal) -> None:
        """See Ledger.attest_model."""
        proposed = bits_of(candidate.proposed)
        self._send(state, "attestModel", state.masters.index(self.member), proposed, candidate.model)

    def advance(self) -> None:
        """See Ledger.advance."""
        with self._watch.measure("chain"):
            self._feed.took(self.client.transact("advance", self.job))

    def _commitment(self, state: RoundState, words: list[int], salt: bytes) -> bytes:
        where = (self.client.chain_id, self.client.address, self.job, state.number, self.client.sender)
        return commitment_of(*where, pack(words), salt)

    def _send(self, state: RoundState, function: str, *arguments: object) -> None:
        with self._watch.measure("chain"):
            receipt_of = self.client.send(function, self.job, state.number, *arguments)

        def wait() -> None:
            with self._watch.measure("chain"):
                receipt = receipt_of()
            self._feed.took(receipt)
            if self._on_gas is not None:
                self._on_gas(state.number, function, receipt.gas)

        self._batch.sent(wait)
