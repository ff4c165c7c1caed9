"""One hospital in one job: it acts in whichever role, client or master, a round gives it.

All that it knows of others comes through the ledger and the exchange; of its data, only weights and scores leave it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, MutableMapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from hmchain.blobs import BlobRef
from hmchain.errors import BlobError, DaemonError, Reason
from hmchain.exchange import Exchange, aggregate_of, fetch_model, final_model, update_header
from hmchain.history import RoundRecord
from hmchain.identity import MemberIdentity
from hmchain.ledger import Ledger
from hmchain.manifest import Manifest
from hmchain.rounds import Phase, RoundState
from hmchain.scores import word_of_reason
from hmchain.stopwatch import Stopwatch
from hmchain.weights import Weights, digest_of

TOGETHER = 4  # updates that a master scores at a time, all in memory: one for each core of a small machine
BaseModel = Callable[[RoundRecord], Weights]


class Learner(Protocol):
    """What a hospital computes on its own data, for one job."""

    @property
    def samples(self) -> int:
        """The number of samples that it trains on, at most MAX_SAMPLES: the update's weight."""

    def begin(self, base: Weights, seed: int, round: int) -> None:
        """Starts in the background, where it can, what `train` with the same arguments will be asked for."""

    def train(self, base: Weights, seed: int, round: int) -> Weights:
        """An update: the weights after local training from `base`, the model that `round` starts from."""

    def score(self, weights: Weights) -> int:
        """The score word of weights on the hospital's hold-out."""

    def scores(self, weights: Sequence[Weights]) -> list[int]:
        """The score words of several, in order; computed at the same time where it can."""


@dataclass
class Hospital:
    """A member in one job. `base` finds the model that a round starts from; `ballots` keeps a round's score words from
    their commitment to their reveal; `data_stand` says whether the data may still be used, at the last moment before an
    update leaves the hospital; `note` is told of a round's update before it is submitted.
    """

    number: int
    learner: Learner
    identity: MemberIdentity
    manifest: Manifest
    ledger: Ledger
    exchange: Exchange
    base: BaseModel
    watch: Stopwatch
    ballots: MutableMapping[int, list[int]] = field(default_factory=dict)
    data_stand: Callable[[], bool] = lambda: True
    note: Callable[[int, BlobRef], None] = lambda round, blob: None

    def __post_init__(self) -> None:
        self._digest = self.manifest.digest()
        self._scored: dict[tuple[int, int], int] = {}  # words by round and position
        self._sought: dict[tuple[int, int], int] = {}  # failed attempts to fetch an update, by round and position
        self._update: tuple[int, Weights] | None = None  # trained for a round, kept until the chain has it
        self._begun: tuple[int, Weights] | None = None  # the round that it trains for already, and from what
        self._rejected: set[bytes] = set()  # candidates that are not the aggregate

    def act(self, state: RoundState) -> bool:
        """Sends what the round expects of this member now. False where there was nothing to send.

        Raises ContractError, ChainError, BlobError, StorageError.
        """
        everyone = frozenset(range(len(state.masters)))
        duty = {
            Phase.REQUEST: (self.submit, state.clients, state.awaited),
            Phase.PRE_PREPARE: (self.commit, state.masters, state.uncommitted),
            Phase.PREPARE: (self.reveal, state.masters, state.unrevealed),
            Phase.COMMIT: (self.propose, state.masters, everyone - state.proposed if state.proposed else frozenset()),
            Phase.REPLY: (self.attest, state.masters, everyone - state.attested),
        }.get(state.phase)
        if duty is None:
            return False
        action, roster, expected = duty
        if self.number not in roster or roster.index(self.number) not in expected:
            return False
        return action(state)

    def anticipate(self, state: RoundState) -> None:
        """Begins to train for the round, so that all clients in one process train at the same time."""
        if state.phase == Phase.REQUEST and self.number in state.clients and self._update is None:
            base = self.base(self.ledger.record(state.number))
            self._begun = state.number, base
            self.learner.begin(base, self._seed(state.number), state.number)

    def submit(self, state: RoundState) -> bool:
        """REQUEST: trains from the base model and submits the update, unless the data may not be used any more."""
        record = self.ledger.record(state.number)
        if self._update is None or self._update[0] != state.number:
            base = self._begun[1] if self._begun and self._begun[0] == state.number else self.base(record)
            with self.watch.measure("training"):
                self._update = state.number, self.learner.train(base, self._seed(state.number), state.number)
        if not self.data_stand():
            self._update = self._begun = None
            return False
        _, blob = self.exchange.publish(self._update[1], update_header(self._digest, record, self.number))
        self.note(state.number, blob)
        self.ledger.submit_update(state, self.learner.samples, blob)
        self._update = self._begun = None
        return True

    def commit(self, state: RoundState) -> bool:
        """PRE-PREPARE: scores every update and the base model on its own held-out data, and commits to the scores."""
        words = self._score(state.number)  # not those of the ballot: a chain that was set back may have other updates
        if self.ballots.get(state.number) != words:
            self.ballots[state.number] = words
        self.ledger.commit_scores(state, words, self._salt(state.number))
        return True

    def reveal(self, state: RoundState) -> bool:
        """PREPARE: reveals the scores. The salt is derived, so it is the same as for the commitment; so are the scores
        where the ballot was not kept and they are computed again.
        """
        words = self.ballots.get(state.number) or self._score(state.number)
        self.ledger.reveal_scores(state, words, self._salt(state.number))
        self.forget(state.number - 1)
        return True

    def forget(self, round: int) -> None:
        """Drops what is kept of the rounds up to and including `round`."""
        for number in [number for number in self.ballots if number <= round]:
            del self.ballots[number]
        self._scored = {key: word for key, word in self._scored.items() if key[0] > round}
        self._sought = {key: times for key, times in self._sought.items() if key[0] > round}

    def look_ahead(self, round: int) -> list[int]:
        """Scores the updates submitted so far, ahead of PRE-PREPARE. Returns the members whose updates are not scored.

        Stops at the first update that is not available, since looking for one takes long, and begins with another one
        next time. Raises DaemonError where the blob store is at fault.
        """
        record = self.ledger.record(round)
        unscored = [p for p, u in record.updates.items() if u.member != self.number and (round, p) not in self._scored]
        for position in sorted(unscored, key=lambda p: self._sought.get((round, p), 0)):
            if self._look_for(record, position) == Reason.UNAVAILABLE:
                break
        return [record.updates[position].member for position in unscored if (round, position) not in self._scored]

    def propose(self, state: RoundState) -> bool:
        """COMMIT: posts the aggregate, as a master may once the coordinator was silent or its proposal failed."""
        propose_aggregate(state, self.ledger, self.exchange, self.manifest, self.base, self.watch)
        return True

    def attest(self, state: RoundState) -> bool:
        """REPLY: recomputes the aggregate bit for bit. Attests the candidate if it is the same, and its blob holds it.

        Otherwise the master stays silent, and this returns False.
        """
        record = self.ledger.record(state.number)
        candidate = record.proposals[-1]
        if candidate.model in self._rejected:
            return False
        try:
            with self.watch.measure("aggregation"):
                weights, header = aggregate_of(record, self.base(record), self.manifest, self.exchange)
                model = digest_of(weights, header)
            if model != candidate.model:
                self._rejected.add(candidate.model)
                return False
            fetch_model(self.exchange, header, candidate.blob, model)
        except DaemonError:
            raise
        except BlobError:
            return False
        self.ledger.attest_model(state, candidate)
        return True

    def _score(self, round: int) -> list[int]:
        """Score words of every client's update in order of position, then of the base model."""
        record = self.ledger.record(round)
        unseen = [p for p in range(len(record.clients)) if self._to_score(record, p)]
        for start in range(0, len(unseen), TOGETHER):
            self._score_together(record, unseen[start : start + TOGETHER])
        words = [self._word_of(record, position) for position in range(len(record.clients))]
        return [*words, self._word(self.base(record))]

    def _to_score(self, record: RoundRecord, position: int) -> bool:
        """Whether an update is still to be scored: neither its own, nor scored, nor looked for in vain before."""
        key, update = (record.number, position), record.updates.get(position)
        return not (update is None or update.member == self.number or key in self._scored or key in self._sought)

    def _word_of(self, record: RoundRecord, position: int) -> int:
        update = record.updates.get(position)
        if update is None or update.member == self.number:
            return 0
        return self._scored.get((record.number, position), word_of_reason(Reason.UNAVAILABLE))

    def _look_for(self, record: RoundRecord, position: int) -> int:
        self._score_together(record, [position])
        return self._word_of(record, position)

    def _score_together(self, record: RoundRecord, positions: Sequence[int]) -> None:
        found = {position: weights for position in positions if (weights := self._found(record, position)) is not None}
        with self.watch.measure("scoring"):
            for position, word in zip(found, self.learner.scores(list(found.values())), strict=True):
                self._scored[record.number, position] = word

    def _found(self, record: RoundRecord, position: int) -> Weights | None:
        """An update's weights; None where they are unusable, for a reason that is noted."""
        key, update = (record.number, position), record.updates[position]
        try:
            return self.exchange.fetch(update_header(self._digest, record, update.member), update.blob)
        except DaemonError:
            raise
        except BlobError as fault:
            if fault.reason == Reason.UNAVAILABLE:
                self._sought[key] = self._sought.get(key, 0) + 1
            else:
                self._scored[key] = word_of_reason(fault.reason)
        return None

    def _word(self, weights: Weights) -> int:
        with self.watch.measure("scoring"):
            return self.learner.score(weights)

    def _salt(self, round: int) -> bytes:
        return self.identity.salt(self._digest, round)

    def _seed(self, round: int) -> int:
        """The seed of local training in a round: fixed by the job, different for every member and round."""
        text = f"{self._digest.hex()}/{round}/{self.number}".encode()
        return int.from_bytes(hashlib.sha256(text).digest()[:7], "big")


def propose_aggregate(
    state: RoundState, ledger: Ledger, exchange: Exchange, job: Manifest, base: BaseModel, watch: Stopwatch
) -> None:
    """COMMIT, for master and coordinator alike: recomputes the aggregate, publishes and proposes it."""
    record = ledger.record(state.number)
    with watch.measure("aggregation"):
        weights, header = aggregate_of(record, base(record), job, exchange)
    model, blob = exchange.publish(weights, header)
    ledger.propose_model(state, model, blob)


def base_model(
    job: Manifest, exchange: Exchange, initial: Weights, records: Callable[[], list[RoundRecord]]
) -> BaseModel:
    """A function that finds the model a round starts from: the last one that a round ended with, or the initial one.

    One whose blobs are gone is recomputed from its round's updates: whoever stored it cannot end a job by losing it.
    """
    remade: dict[bytes, Weights] = {}  # the last recomputed one, as that takes long

    def find(record: RoundRecord) -> Weights:
        made = next((r for r in reversed(records()) if r.number < record.number and r.model is not None), None)
        if made is None:
            return initial
        assert made.model is not None
        if made.model in remade:
            return remade[made.model]
        try:
            return final_model(exchange, job.digest(), made)
        except DaemonError:
            raise
        except BlobError as fault:
            weights, header = aggregate_of(made, find(made), job, exchange)
            if digest_of(weights, header) != made.model:
                raise fault  # a quorum attested something else: only a blob can tell what
        remade.clear()
        remade[made.model] = weights
        return weights

    return find
