"""Clients that train at the same time: the same bytes, whatever their number."""

from __future__ import annotations

from concurrent.futures import CancelledError
from pathlib import Path
from threading import Event, Thread

import numpy as np
import pytest

from coordinator.options import RunOptions
from hmchain.errors import UsageError
from hmchain.manifest import Manifest
from hmchain.weights import Weights
from trainers.learner import LocalLearner, Pad
from trainers.networks import Compute, build, initial_weights
from trainers.scoring import BATCH, evaluate
from trainers.splits import Shard, Split
from trainers.team import Team, TeamLearner

CNN, JOB = "medmnist-cnn", Manifest("noise", 1, ("a", "b"), seed=0, epochs=2, batch_size=8)
BASE = initial_weights(CNN, 1, 2, seed=0)


def noise(count: int, seed: int = 0) -> Split:
    stream = np.random.default_rng(seed)
    return Split(stream.integers(0, 256, (count, 28, 28), dtype=np.uint8), np.arange(count) % 2)


def trained(workers: int) -> list[Weights]:
    """Three clients', on one pad."""
    team, pad = Team(workers), Pad(build(CNN, 1, 2))
    shards = [Shard(noise(20, n), noise(4, n)) for n in range(3)]
    learners = [TeamLearner(LocalLearner(JOB, shard, pad, Compute()), team) for shard in shards]
    for seed, learner in enumerate(learners):
        learner.begin(BASE, seed, 1)
    updates = [learner.train(BASE, seed, 1) for seed, learner in enumerate(learners)]
    team.close()
    return updates


def test_the_number_of_workers_changes_no_byte() -> None:
    one, two = trained(1), trained(2)
    assert len({update["0.weight"].tobytes() for update in one}) == 3
    for mine, other in zip(one, two, strict=True):
        assert all(mine[name].tobytes() == other[name].tobytes() for name in mine)


def test_what_was_begun_is_what_would_be_trained() -> None:
    learner = TeamLearner(LocalLearner(JOB, Shard(noise(20), noise(4)), Pad(build(CNN, 1, 2)), Compute()), Team(2))
    learner.begin(BASE, 5, 1)
    begun, later = learner.train(BASE, 5, 1), learner.train(BASE, 5, 1)
    assert all(begun[name].tobytes() == later[name].tobytes() for name in begun)
    assert learner.samples == 20
    assert learner.score(begun) == learner.inner.score(begun)


@pytest.mark.parametrize("workers", [1, 3])
def test_scores_of_several_are_those_of_each(workers: int) -> None:
    learner = TeamLearner(
        LocalLearner(JOB, Shard(noise(20), noise(41, 1)), Pad(build(CNN, 1, 2)), Compute()), Team(workers)
    )
    (last,) = (name for name, array in BASE.items() if array.shape == (2,))
    updates = [{**BASE, last: np.roll(np.array([9, -9], np.float32), turn)} for turn in (0, 0, 1, 0, 1, 1)]
    assert learner.scores(updates) == learner.inner.scores(updates) == [learner.score(update) for update in updates]
    assert len(set(learner.scores(updates))) > 1
    assert learner.scores([]) == []


def test_a_fault_of_a_training_that_was_begun_is_raised_where_it_is_asked_for() -> None:
    learner = TeamLearner(LocalLearner(JOB, Shard(noise(1), noise(4)), Pad(build(CNN, 1, 2)), Compute()), Team(2))
    learner.begin(BASE, 0, 1)
    with pytest.raises(UsageError, match="at least 2 samples"):
        learner.train(BASE, 0, 1)


@pytest.mark.parametrize("count", [1, BATCH, 2 * BATCH + 3])
def test_metrics_are_those_of_one_thread(count: int) -> None:
    network, split = build(CNN, 1, 2), noise(count)
    assert Team(3).evaluate(network, split, Compute()) == evaluate(network, split)


def test_a_team_that_closes_begins_nothing_more() -> None:
    team, over = Team(1), Event()
    running, waiting = team.threads.submit(over.wait, 10), team.threads.submit(over.wait, 10)
    closing = Thread(target=team.close)
    closing.start()
    with pytest.raises(CancelledError):
        waiting.result(10)
    over.set()
    closing.join()
    assert running.result(0)


@pytest.mark.parametrize("workers", [0, -1])
def test_a_run_has_a_worker(workers: int) -> None:
    with pytest.raises(UsageError, match="--workers"):
        RunOptions(out=Path("x"), workers=workers)
