"""One hospital: what is due, once, and the same again after a crash."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from hmchain.exchange import DirectExchange, model_header
from hmchain.identity import MemberIdentity
from hmchain.manifest import Manifest
from hmchain.plain import PlainJob
from hmchain.rounds import Phase
from hmchain.stopwatch import Stopwatch
from hmchain.weights import digest, encode, specification
from trainers.hospital import Hospital, base_model
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
        base = base_model(MANIFEST.digest(), exchange, INITIAL, ledger.records)
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
