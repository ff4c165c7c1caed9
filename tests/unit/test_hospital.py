"""One hospital: what is due, once, and the same again after a crash."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from hmchain.blobs import BlobRef, DirectoryStore
from hmchain.envelope import new_identity
from hmchain.errors import BlobError, DaemonError, Reason
from hmchain.exchange import DirectExchange, SealedExchange, aggregate_of, model_header, update_header
from hmchain.history import Proposal, RoundRecord, Update
from hmchain.identity import MemberIdentity
from hmchain.judgement import Judgement
from hmchain.manifest import Manifest
from hmchain.plain import PlainJob
from hmchain.rounds import Phase
from hmchain.scores import word_of_reason
from hmchain.stopwatch import Stopwatch
from hmchain.weights import Weights, digest, encode, specification
from trainers.hospital import BaseModel, Hospital, base_model
from trainers.learner import LocalLearner, Pad
from trainers.networks import Compute, build, initial_weights
from trainers.splits import Shard, Split

MANIFEST = Manifest(
    dataset="x", channels=1, classes=("a", "b"), seed=1, rounds=3, fraction=0.5, masters=3, epochs=1, batch_size=4
)
INITIAL = initial_weights(MANIFEST.architecture, 1, 2, MANIFEST.seed)


def shard(number: int) -> Shard:
    stream = np.random.default_rng(number)

    def some(count: int) -> Split:
        return Split(stream.integers(0, 256, (count, 28, 28), dtype=np.uint8), np.arange(count) % 2)

    return Shard(some(8), some(4))


@pytest.fixture
def job() -> tuple[PlainJob, Callable[[int], Hospital]]:
    """A started job of six, and how to make a member of it, as often as one likes."""
    model = digest(encode(INITIAL, model_header(MANIFEST.digest(), 0, bytes(32))))
    job, exchange = PlainJob(MANIFEST.terms(), MANIFEST.digest(), model), DirectExchange(specification(INITIAL))
    pad = Pad(build(MANIFEST.architecture, 1, 2))
    for number in range(1, 7):
        job.join(number, 8)
    job.start()

    def hospital(number: int) -> Hospital:
        ledger = job.ledger(number)
        base = base_model(MANIFEST, exchange, INITIAL, ledger.records)
        identity = MemberIdentity.create(bytes([number]) * 32)
        learner = LocalLearner(MANIFEST, shard(number), pad, Compute("cpu", False))
        return Hospital(number, learner, identity, MANIFEST, ledger, exchange, base, Stopwatch())

    return job, hospital


def test_everyone_does_its_part_once_and_the_round_ends(job: tuple[PlainJob, Callable[[int], Hospital]]) -> None:
    plain, hospital = job
    members = {number: hospital(number) for number in range(1, 7)}
    coordinator = plain.ledger(0)
    for phase, role in ((Phase.REQUEST, "clients"), (Phase.PRE_PREPARE, "masters"), (Phase.PREPARE, "masters")):
        state = coordinator.state()
        assert state.phase == phase
        drawn = getattr(state, role)
        idle = [member for number, member in members.items() if number not in drawn]
        assert not any(member.act(state) for member in idle)
        for number in drawn:
            assert members[number].act(coordinator.state())
            if coordinator.state().phase == phase:
                assert not members[number].act(coordinator.state()), "once is enough"
    state = coordinator.state()
    assert state.phase == Phase.COMMIT
    assert not any(member.act(state) for member in members.values()), "the coordinator comes first"


def test_what_may_not_be_used_any_more_is_not_sent(job: tuple[PlainJob, Callable[[int], Hospital]]) -> None:
    plain, hospital = job
    state = plain.ledger(0).state()
    member = hospital(state.clients[0])
    stand, looks = [False, True], []
    member.data_stand = lambda: looks.append(member._update is not None) or stand.pop(0)  # type: ignore[func-returns-value]
    assert not member.act(state)
    assert (looks, plain.ledger(0).state().awaited) == ([True], state.awaited), "asked when it was trained, not before"
    assert member._update is None, "the next one is trained anew"
    assert member.act(state)
    assert looks == [True, True]


def test_whoever_starts_again_finds_its_salt_and_its_scores(job: tuple[PlainJob, Callable[[int], Hospital]]) -> None:
    plain, hospital = job
    coordinator = plain.ledger(0)
    for phase in (Phase.REQUEST, Phase.PRE_PREPARE, Phase.PREPARE):
        while (state := coordinator.state()).phase == phase:
            drawn = state.clients if phase == Phase.REQUEST else state.masters
            acted = [hospital(number).act(coordinator.state()) for number in drawn]
            assert any(acted)
    assert coordinator.state().phase == Phase.COMMIT
    assert len(coordinator.record(1).scores) == 3


def test_a_ballot_of_other_updates_is_none(job: tuple[PlainJob, Callable[[int], Hospital]]) -> None:
    """As it is left by a chain that was set back, and that has other updates in the same round now."""
    plain, hospital = job
    state = plain.ledger(0).state()
    for number in state.clients:
        assert hospital(number).act(plain.ledger(0).state())
    members = {number: hospital(number) for number in state.masters}
    others = [word_of_reason(Reason.UNAVAILABLE)] * (len(state.clients) + 1)
    for member in members.values():
        member.ballots[1] = others
        assert member.act(plain.ledger(0).state())
        assert len(member.ballots[1]) == len(others)
        assert member.ballots[1] != others
    assert all(member.act(plain.ledger(0).state()) for member in members.values())
    assert plain.ledger(0).record(1).scores == {number: tuple(member.ballots[1]) for number, member in members.items()}


def test_an_update_is_noted_before_it_is_submitted(job: tuple[PlainJob, Callable[[int], Hospital]]) -> None:
    plain, hospital = job
    state = plain.ledger(0).state()
    member, noted = hospital(state.clients[0]), list[tuple[int, BlobRef]]()

    def note(round: int, blob: BlobRef) -> None:
        assert not plain.ledger(0).record(round).updates
        noted.append((round, blob))

    member.note = note
    assert member.act(state)
    assert noted == [(1, plain.ledger(0).record(1).updates[0].blob)]


def test_the_same_member_trains_the_same_update_and_another_one_another(
    job: tuple[PlainJob, Callable[[int], Hospital]],
) -> None:
    _, hospital = job
    seeds = {hospital(number)._seed(round) for number in (1, 2) for round in (1, 2)}
    assert len(seeds) == 4
    assert hospital(1)._seed(1) == hospital(1)._seed(1) in seeds
    assert all(0 <= seed < 2**63 for seed in seeds)


def test_an_update_weighs_what_it_was_trained_on_up_to_a_limit(job: tuple[PlainJob, Callable[[int], Hospital]]) -> None:
    _, hospital = job
    learner = hospital(1).learner
    assert isinstance(learner, LocalLearner)
    assert learner.samples == 8
    huge = Split(np.zeros((2**17 + 1, 0), np.uint8), np.zeros(2**17 + 1, np.int64))
    learner.shard = replace(learner.shard, train=huge)
    assert learner.samples == 2**17


def test_the_base_is_the_last_model_made(job: tuple[PlainJob, Callable[[int], Hospital]]) -> None:
    plain, hospital = job
    member = hospital(1)
    assert member.base(plain.ledger(0).record(1)) is INITIAL


# ---------------------------------------------------------------- models whose blobs are gone


class Past:
    """Two rounds that ended with a model of one update each; whoever reads it has opened nothing before."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.key = folder, new_identity()
        self.records: list[RoundRecord] = []
        base, weights = model_of(INITIAL), INITIAL
        for number in (1, 2):
            record = RoundRecord(number, base, (4,), (1,), judgement=Judgement(number, frozenset({0}), 0, (300,), 300))
            update = {name: value + value.dtype.type(number) for name, value in weights.items()}
            _, blob = self.exchange().publish(update, update_header(MANIFEST.digest(), record, 4))
            record.updates[0] = Update(4, 8, blob)
            weights, header = aggregate_of(record, weights, MANIFEST, self.exchange())
            for proposer, proposed in (("coordinator", frozenset({15})), ("1", frozenset({0, 15}))):
                record.proposals.append(Proposal(proposer, proposed, *self.exchange().publish(weights, header)))
            base = record.model = record.proposals[-1].model
            self.records.append(record)
        self.next = RoundRecord(3, base, (4,), (1,))
        self.model = base

    def exchange(self) -> SealedExchange:
        return SealedExchange(DirectoryStore(self.folder), self.key, specification(INITIAL))

    def base(self) -> BaseModel:
        return base_model(MANIFEST, self.exchange(), INITIAL, lambda: self.records)

    def lose(self, *blobs: BlobRef) -> None:
        for blob in blobs:
            (self.folder / str(blob.cid)).unlink()

    def lose_models(self) -> None:
        self.lose(*(proposal.blob for record in self.records for proposal in record.proposals))

    def is_model(self, weights: Weights) -> bool:
        header = model_header(MANIFEST.digest(), 2, self.records[1].base)
        return digest(encode(weights, header)) == self.model


def model_of(weights: Weights) -> bytes:
    return digest(encode(weights, model_header(MANIFEST.digest(), 0, bytes(32))))


@pytest.fixture
def past(tmp_path: Path) -> Past:
    return Past(tmp_path)


def test_a_model_is_had_from_another_proposal_of_it(past: Past) -> None:
    past.lose(past.records[1].final_blob())
    past.lose(*(update.blob for update in past.records[1].updates.values()))
    assert past.is_model(past.base()(past.next))


def test_models_that_nobody_stores_any_more_are_made_again_from_their_updates(past: Past) -> None:
    past.lose_models()
    base = past.base()
    weights = base(past.next)
    assert past.is_model(weights)
    past.lose(*(record.updates[0].blob for record in past.records))
    assert base(past.next) is weights, "once: it takes long"


def test_another_model_than_was_attested_is_never_made_of_updates(past: Past) -> None:
    past.lose_models()
    past.records[1].model = bytes(32)
    with pytest.raises(BlobError) as caught:
        past.base()(past.next)
    assert caught.value.reason is Reason.UNAVAILABLE


def test_without_model_and_updates_there_is_nothing_to_start_from(past: Past) -> None:
    past.lose_models()
    past.lose(past.records[0].updates[0].blob)
    with pytest.raises(BlobError) as caught:
        past.base()(past.next)
    assert caught.value.reason is Reason.UNAVAILABLE


def test_a_store_at_fault_is_no_loss(past: Past, monkeypatch: pytest.MonkeyPatch) -> None:
    def down(*_: object) -> bytes:
        raise DaemonError("down", Reason.UNAVAILABLE)

    monkeypatch.setattr(DirectoryStore, "get", down)
    with pytest.raises(DaemonError):
        past.base()(past.next)
