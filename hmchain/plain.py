"""A job on the plain model of the protocol, with the interface of one on the contract: what --no-chain runs on."""

from __future__ import annotations

from hmchain.blobs import BlobRef
from hmchain.history import Proposal, RoundRecord, Update
from hmchain.protocol import Protocol, plain_commitment
from hmchain.rounds import COORDINATOR, Phase, RoundState, Terms
from hmchain.scores import pack


class PlainJob:
    """The protocol, a clock that only moves when told to, and what happened in each round."""

    def __init__(self, terms: Terms, manifest: bytes, model: bytes) -> None:
        self.now = 0
        self.protocol = Protocol(terms, manifest, model, lambda: self.now)
        self.records: dict[int, RoundRecord] = {}

    def join(self, member: int, samples: int) -> None:
        """A member commits to its data and enrols."""
        self.protocol.commit_dataset(member, samples)
        self.protocol.enrol(member)

    def start(self) -> None:
        """The coordinator opens the first round."""
        self.protocol.start()
        self.note()

    def ledger(self, member: int) -> PlainLedger:
        """A member's Ledger; 0 is the coordinator."""
        return PlainLedger(self, member)

    def wait_until(self, deadline: int) -> None:
        """Lets time pass beyond `deadline`."""
        self.now = max(self.now, deadline) + 1

    def note(self) -> None:
        """Records what the last call brought about."""
        protocol, state = self.protocol, self.protocol.round()
        if protocol.judgements:
            self.records[protocol.judgements[-1].round].judgement = protocol.judgements[-1]
        if protocol.outcomes:
            outcome = protocol.outcomes[-1]
            record = self.records[outcome.round]
            record.model, record.failed = outcome.model, None if outcome.model else outcome.phase
        if state.phase == Phase.REQUEST and state.number not in self.records:
            self.records[state.number] = RoundRecord(state.number, protocol.model, state.clients, state.masters)


class PlainLedger:
    """A Ledger (see hmchain.ledger) on the plain model."""

    def __init__(self, job: PlainJob, member: int) -> None:
        self._job = job
        self._protocol = job.protocol
        self.member = member

    def state(self) -> RoundState:
        """See Ledger.state."""
        return self._protocol.round()

    def record(self, round: int) -> RoundRecord:
        """See Ledger.record."""
        return self._job.records[round]

    def records(self) -> list[RoundRecord]:
        """See Ledger.records."""
        return list(self._job.records.values())

    def submit_update(self, state: RoundState, samples: int, blob: BlobRef) -> None:
        """See Ledger.submit_update."""
        position = state.clients.index(self.member)
        self._protocol.submit_update(self.member, state.number, position, samples)
        self.record(state.number).updates[position] = Update(self.member, samples, blob)

    def commit_scores(self, state: RoundState, words: list[int], salt: bytes) -> None:
        """See Ledger.commit_scores."""
        commitment = plain_commitment(state.number, self.member, pack(words), salt)
        self._protocol.commit_scores(self.member, state.number, state.masters.index(self.member), commitment)
        self.record(state.number).commitments[self.member] = commitment

    def reveal_scores(self, state: RoundState, words: list[int], salt: bytes) -> None:
        """See Ledger.reveal_scores."""
        self._protocol.reveal_scores(self.member, state.number, state.masters.index(self.member), words, salt)
        self.record(state.number).scores[self.member] = tuple(words)
        self._job.note()

    def propose_model(self, state: RoundState, model: bytes, blob: BlobRef) -> None:
        """See Ledger.propose_model."""
        proposer = self.member or None
        position = state.masters.index(self.member) if self.member else COORDINATOR
        record = self.record(state.number)
        self._protocol.propose_model(proposer, state.number, position, model)
        proposed = state.proposed | {position}
        record.proposals.append(Proposal(str(self.member or "coordinator"), proposed, model, blob))
        record.attested = [self.member] if self.member else []
        self._job.note()

    def attest_model(self, state: RoundState, candidate: Proposal) -> None:
        """See Ledger.attest_model."""
        position = state.masters.index(self.member)
        self._protocol.attest_model(self.member, state.number, position, candidate.proposed, candidate.model)
        self.record(state.number).attested.append(self.member)
        self._job.note()

    def advance(self) -> None:
        """See Ledger.advance."""
        self._protocol.advance()
        self._job.note()
