"""One hospital: it holds its data and its keys, and plays whichever role the protocol gives it in a round.

Everything it knows of the others comes through the ledger and the exchange; nothing of its data leaves it but weights
and scores.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass

from torch import nn

from hmchain.errors import BlobError
from hmchain.exchange import Exchange, aggregate_of, fetch_model, model_header, update_header
from hmchain.history import RoundRecord
from hmchain.identity import MemberIdentity
from hmchain.ledger import Ledger
from hmchain.manifest import Manifest
from hmchain.rounds import MAX_SAMPLES, Phase, RoundState
from hmchain.scores import word_of_reason, word_of_score
from hmchain.stopwatch import Stopwatch
from hmchain.weights import Weights, digest, encode
from trainers.networks import Compute, load_weights
from trainers.partition import Shard
from trainers.scoring import score
from trainers.training import LocalTraining, train

BaseModel = Callable[[RoundRecord], Weights]


@dataclass
class Hospital:
    """A member. `network` is a scratch pad that hospitals of one process may share; `base` finds the model to start
    a round from.
    """

    number: int
    shard: Shard
    identity: MemberIdentity
    manifest: Manifest
    ledger: Ledger
    exchange: Exchange
    base: BaseModel
    network: nn.Module
    compute: Compute
    watch: Stopwatch

    def __post_init__(self) -> None:
        self._digest = self.manifest.digest()
        self._words: dict[int, list[int]] = {}

    @property
    def samples(self) -> int:
        """Records that it trains on, as far as they may count."""
        return min(len(self.shard.train), MAX_SAMPLES)

    def act(self, state: RoundState) -> bool:
        """Does what the round expects of this member now, once. False where there was nothing to send.

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

    def submit(self, state: RoundState) -> bool:
        """REQUEST: trains from the base model and submits the update."""
        record = self.ledger.record(state.number)
        config = LocalTraining(self.manifest.epochs, self.manifest.batch_size, self.manifest.learning_rate)
        base = self.base(record)
        with self.watch.measure("training"):
            weights = train(self.network, base, self.shard.train, config, self._seed(state.number), self.compute)
        _, blob = self.exchange.publish(weights, update_header(self._digest, record, self.number))
        self.ledger.submit_update(state, self.samples, blob)
        return True

    def commit(self, state: RoundState) -> bool:
        """PRE-PREPARE: scores every update and the base model on its own held-out data, and commits to the scores."""
        self.ledger.commit_scores(state, self._score(state.number), self._salt(state.number))
        return True

    def reveal(self, state: RoundState) -> bool:
        """PREPARE: reveals them; scores and salt come out the same if it has to compute them again."""
        self.ledger.reveal_scores(state, self._score(state.number), self._salt(state.number))
        self._words.pop(state.number, None)
        return True

    def propose(self, state: RoundState) -> bool:
        """COMMIT: posts the aggregate, which is a master's right once the coordinator was silent or found no quorum."""
        propose_aggregate(state, self.ledger, self.exchange, self._digest, self.watch)
        return True

    def attest(self, state: RoundState) -> bool:
        """REPLY: recomputes the aggregate bit for bit, and attests the candidate if it is that and its blob holds it.
        Else stays silent.
        """
        record = self.ledger.record(state.number)
        candidate = record.proposals[-1]
        try:
            with self.watch.measure("aggregation"):
                weights, header = aggregate_of(record, self._digest, self.exchange)
                model = digest(encode(weights, header))
            if model != candidate.model:
                return False
            fetch_model(self.exchange, header, candidate.blob, model)
        except BlobError:
            return False
        self.ledger.attest_model(state, model)
        return True

    def _score(self, round: int) -> list[int]:
        """Score words of every client's update in order of position, then of the base model."""
        if round not in self._words:
            record = self.ledger.record(round)
            words = [self._word_of(record, position) for position in range(len(record.clients))]
            self._words[round] = [*words, self._word(self.base(record))]
        return self._words[round]

    def _word_of(self, record: RoundRecord, position: int) -> int:
        update = record.updates.get(position)
        if update is None or update.member == self.number:
            return 0
        try:
            return self._word(self.exchange.fetch(update_header(self._digest, record, update.member), update.blob))
        except BlobError as fault:
            return word_of_reason(fault.reason)

    def _word(self, weights: Weights) -> int:
        with self.watch.measure("scoring"):
            load_weights(self.network.to(self.compute.device), weights)
            return word_of_score(score(self.network, self.shard.holdout, self.manifest.metric, self.compute))

    def _salt(self, round: int) -> bytes:
        return self.identity.salt(self._digest, round)

    def _seed(self, round: int) -> int:
        """Of the shuffles in a round: fixed by the job, different for every member and round."""
        text = f"{self._digest.hex()}/{round}/{self.number}".encode()
        return int.from_bytes(hashlib.sha256(text).digest()[:7], "big")


def propose_aggregate(state: RoundState, ledger: Ledger, exchange: Exchange, manifest: bytes, watch: Stopwatch) -> None:
    """COMMIT, for master and coordinator alike: recomputes the aggregate, publishes and proposes it."""
    with watch.measure("aggregation"):
        weights, header = aggregate_of(ledger.record(state.number), manifest, exchange)
    model, blob = exchange.publish(weights, header)
    ledger.propose_model(state, model, blob)


def base_model(
    manifest: bytes, exchange: Exchange, initial: Weights, records: Callable[[], list[RoundRecord]]
) -> BaseModel:
    """Finds the model that a round starts from: the last one that a round ended with, or the initial one."""

    def find(record: RoundRecord) -> Weights:
        made = next((r for r in reversed(records()) if r.number < record.number and r.model is not None), None)
        if made is None:
            return initial
        assert made.model is not None
        return fetch_model(exchange, model_header(manifest, made.number, made.base), made.final_blob(), made.model)

    return find
