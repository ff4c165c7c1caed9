"""The worker: real processes that compute what the same call in this process would, and that may die at any moment."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from hashlib import sha256
from multiprocessing import active_children
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import psutil
import pytest
import torch

from hmchain.errors import DataError, TrainingError, UsageError
from hmchain.manifest import Manifest
from hmchain.weights import Weights
from trainers import worker as module
from trainers.data_facts import DataFacts
from trainers.dataset_root import dataset_root, salt_of
from trainers.learner import LocalLearner, Pad
from trainers.networks import Compute, build, initial_weights, source_digest
from trainers.splits import Shard, Split, write_shard
from trainers.worker import RemoteLearner, StillWorking, Worker
from trainers.worker_process import WorkerOptions

MANIFEST = Manifest(dataset="x", channels=1, classes=("a", "b"), seed=1, epochs=1, batch_size=4)
INITIAL = initial_weights(MANIFEST.architecture, 1, 2, MANIFEST.seed)
ENOUGH = 600.0  # seconds for a training of a second, wherever the tests run


def some(count: int) -> Split:
    stream = np.random.default_rng(count)
    return Split(stream.integers(0, 256, (count, 28, 28), dtype=np.uint8), np.arange(count) % 2)


SHARD = Shard(some(8), some(4))
LEARNER = LocalLearner(MANIFEST, SHARD, Pad(build(MANIFEST.architecture, 1, 2)), Compute())


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    """As the worker has: with another number sums are rounded otherwise."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("hospital") / "data.npz"
    write_shard(path, SHARD)
    return path


@pytest.fixture(scope="module")
def worker(data: Path) -> Iterator[Worker]:
    """One whose process the tests that do not end it share: it takes seconds to load torch."""
    shared = Worker(WorkerOptions(data))
    yield shared
    shared.close()


@pytest.fixture
def start() -> Iterator[Callable[..., Worker]]:
    """Makes a worker that is ended with the test."""
    made: list[Worker] = []

    def make(data: Path, **options: float) -> Worker:
        made.append(Worker(WorkerOptions(data, **options)))  # type: ignore[arg-type]
        return made[-1]

    yield make
    for each in made:
        each.close()


def processes() -> set[int]:
    return {child.pid for child in active_children() if child.name == "hmchain-worker" and child.pid is not None}


def patiently(train: Callable[[], Weights]) -> Weights:
    """As a node does: asks again until it is done."""
    while True:
        try:
            return train()
        except StillWorking:
            continue


def same(one: Weights, other: Weights) -> bool:
    """Bit for bit."""
    return list(one) == list(other) and all(
        one[name].dtype == other[name].dtype and one[name].tobytes() == other[name].tobytes() for name in one
    )


# ---------------------------------------------------------------- the same as here


def test_the_facts_are_those_of_the_data(data: Path, worker: Worker) -> None:
    root, digest = dataset_root(SHARD.train, salt_of(SHARD.train, b"secret")), sha256(data.read_bytes()).digest()
    assert worker.facts(b"secret") == DataFacts(8, 1, 2, root, file=digest)
    assert worker.facts(b"other").root != worker.facts(b"secret").root


def test_weights_and_scores_are_the_same_bit_for_bit(worker: Worker) -> None:
    remote = RemoteLearner(worker, MANIFEST, LEARNER.samples)
    assert same(worker.initial(MANIFEST), INITIAL)
    trained = patiently(lambda: remote.train(INITIAL, 7, 1))
    assert same(trained, LEARNER.train(INITIAL, 7, 1))
    assert not same(trained, INITIAL)
    assert not same(trained, patiently(lambda: remote.train(INITIAL, 8, 1)))
    assert [remote.score(weights) for weights in (INITIAL, trained)] == [
        LEARNER.score(weights) for weights in (INITIAL, trained)
    ]


def test_one_process_serves_several_jobs(worker: Worker) -> None:
    other = replace(MANIFEST, seed=2)
    before = processes()
    for manifest in (MANIFEST, other, MANIFEST):
        assert same(worker.initial(manifest), initial_weights(manifest.architecture, 1, 2, manifest.seed))
        assert worker.score(manifest, INITIAL) == LEARNER.score(INITIAL)
    assert processes() == before


def test_rows_of_features_are_computed_with_as_images_are(tmp_path: Path, start: Callable[..., Worker]) -> None:
    stream = np.random.default_rng(3)
    halves = [Split(stream.normal(size=(n, 2)).astype(np.float32), np.arange(n) % 2) for n in (8, 4)]
    shard = Shard(halves[0], halves[1], ("x", "y"))
    write_shard(tmp_path / "data.npz", shard)
    rows = Manifest(
        "rows", 0, ("a", "b"), 1, epochs=1, architecture="logistic", preprocessing="asinh", features=shard.features
    )
    remote, initial = start(tmp_path / "data.npz"), initial_weights("logistic", 2, 2, 1)
    root = dataset_root(shard.train, salt_of(shard.train, b"secret"))
    digest = sha256((tmp_path / "data.npz").read_bytes()).digest()
    assert remote.facts(b"secret") == DataFacts(8, 0, 2, root, ("x", "y"), file=digest)
    assert same(remote.initial(rows), initial)
    learner = LocalLearner(rows, shard, Pad(build("logistic", 2, 2)), Compute())
    trained = patiently(lambda: remote.train(rows, initial, 7, 1, ENOUGH))
    assert same(trained, learner.train(initial, 7, 1))
    assert remote.score(rows, trained) == learner.score(trained)


# ---------------------------------------------------------------- while it trains


def test_while_it_trains_nobody_waits_for_it(worker: Worker, monkeypatch: pytest.MonkeyPatch) -> None:
    long = replace(MANIFEST, epochs=20)

    def train(seed: int) -> Weights:
        return worker.train(long, INITIAL, seed, 1, ENOUGH)

    worker.facts(b"secret")
    monkeypatch.setattr(module, "SLICE_SECONDS", 0.0)
    for busy in (
        lambda: train(9),
        lambda: train(9),
        lambda: train(10),
        lambda: worker.score(long, INITIAL),
        lambda: worker.facts(b"secret"),
    ):
        with pytest.raises(StillWorking):
            busy()
    monkeypatch.setattr(module, "SLICE_SECONDS", 60.0)
    with pytest.raises(StillWorking):
        train(10)  # meanwhile the other one is done, and is not lost
    assert same(train(9), replace(LEARNER, manifest=long).train(INITIAL, 9, 1))
    assert worker.score(long, INITIAL) == LEARNER.score(INITIAL)


def test_a_training_from_another_base_is_another_one(
    data: Path, start: Callable[..., Worker], monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a chain was set back, a round may begin again with another model."""
    worker, other = start(data), initial_weights(MANIFEST.architecture, 1, 2, 2)
    worker.facts(b"secret")
    with monkeypatch.context() as patch:
        patch.setattr(module, "SLICE_SECONDS", 0.0)
        with pytest.raises(StillWorking):
            worker.train(MANIFEST, INITIAL, 7, 1, ENOUGH)
    assert same(patiently(lambda: worker.train(MANIFEST, other, 7, 1, ENOUGH)), LEARNER.train(other, 7, 1))


def test_what_was_trained_on_other_data_ends_with_the_process(
    tmp_path: Path, start: Callable[..., Worker], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where a consent is withdrawn a node ends the process: nothing trained on that record may be sent any more."""
    path, others = tmp_path / "data.npz", Shard(some(6), SHARD.holdout)
    write_shard(path, SHARD)
    worker = start(path)
    worker.facts(b"secret")
    with monkeypatch.context() as patch:
        patch.setattr(module, "SLICE_SECONDS", 0.0)
        with pytest.raises(StillWorking):
            worker.train(MANIFEST, INITIAL, 7, 1, ENOUGH)
        patch.setattr(module, "SLICE_SECONDS", 60.0)
        with pytest.raises(StillWorking):
            worker.train(MANIFEST, INITIAL, 8, 1, ENOUGH)  # the first is done, and waits to be asked for
    assert not worker.is_training
    worker.close()
    write_shard(path, others)
    worker.facts(b"secret")
    trained = patiently(lambda: worker.train(MANIFEST, INITIAL, 7, 1, ENOUGH))
    assert same(trained, replace(LEARNER, shard=others).train(INITIAL, 7, 1))


def test_a_training_that_takes_too_long_is_given_up(
    data: Path, start: Callable[..., Worker], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "SLICE_SECONDS", 0.0)
    worker = start(data)
    with pytest.raises(TrainingError, match="a training was given up"):
        worker.train(MANIFEST, INITIAL, 1, 1, 0.0)
    assert worker.facts(b"secret").samples == 8, "and the next call works again"


# ---------------------------------------------------------------- faults of the hospital's own


def test_a_data_error_comes_back_as_one(tmp_path: Path, start: Callable[..., Worker]) -> None:
    path = tmp_path / "data.npz"
    before, worker = processes(), start(path)
    for content in (None, b"", b"no zip"):
        if content is not None:
            path.write_bytes(content)
        with pytest.raises(DataError, match=r"data\.npz cannot be read"):
            worker.facts(b"secret")
    write_shard(path, SHARD)
    assert worker.facts(b"secret").samples == 8, "mended, it is read"
    assert len(processes() - before) == 1, "without a restart"


def test_a_file_that_was_changed_since_its_commitment_is_not_trained_on(
    tmp_path: Path, start: Callable[..., Worker]
) -> None:
    path = tmp_path / "data.npz"
    write_shard(path, SHARD)
    worker = start(path)
    assert worker.facts(b"secret").samples == 8
    worker.close()  # as it is when idle: the next process reads the file again
    write_shard(path, Shard(some(6), some(4)))
    with pytest.raises(DataError, match=r"data\.npz is not the file that was committed to"):
        patiently(lambda: worker.train(MANIFEST, INITIAL, 7, 1, ENOUGH))
    worker.close()
    assert worker.facts(b"secret").samples == 6, "once it is committed to, it is"


def test_what_cannot_be_computed_here_comes_back_as_a_usage_error(worker: Worker) -> None:
    before = processes()
    with pytest.raises(UsageError, match="no-such-net"):
        worker.initial(replace(MANIFEST, architecture="no-such-net"))
    with pytest.raises(UsageError, match="own:Net is a custom network, whose code is not allowed to run here"):
        worker.initial(replace(MANIFEST, architecture="own:Net", source="00" * 32))
    assert processes() == before


def test_a_custom_module_that_the_hospital_allows_is_built(
    data: Path, start: Callable[..., Worker], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "allowed_nets.py").write_text(
        "from torch import nn\n"
        "def Net(channels, classes): return nn.Sequential(nn.Flatten(), nn.Linear(784 * channels, classes))\n"
    )
    monkeypatch.syspath_prepend(tmp_path)  # which the worker inherits
    own = "allowed_nets:Net"
    job = replace(MANIFEST, architecture=own, source=source_digest(own))
    assert list(start(data, modules=frozenset({own})).initial(job)) == ["1.bias", "1.weight"]


def test_too_little_memory_is_a_training_error_and_the_next_call_works_again(
    data: Path, start: Callable[..., Worker]
) -> None:
    worker = start(data, memory_mib=120)  # enough for the data, not for torch
    assert worker.facts(b"secret").samples == 8
    for _ in range(2):
        with pytest.raises(TrainingError):
            worker.initial(MANIFEST)
    assert worker.facts(b"secret").samples == 8


def test_too_little_memory_for_the_data_is_said(tmp_path: Path, start: Callable[..., Worker]) -> None:
    data = tmp_path / "data.npz"
    write_shard(data, Shard(some(4_000), some(4)))  # 3 MB: what a new process has at hand may hold eight images
    with pytest.raises(TrainingError, match="not enough memory: is its limit too low"):
        start(data, memory_mib=1).facts(b"secret")


def test_what_a_custom_network_raises_is_said_and_ends_no_process(
    data: Path, start: Callable[..., Worker], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "faulty_nets.py").write_text(
        "from torch import nn\n"
        "class Net(nn.Sequential):\n"
        "    def __init__(self, channels, classes): super().__init__(nn.Flatten(), nn.Linear(784, classes))\n"
        "    def forward(self, batch):\n"
        "        return super().forward(batch) if len(batch) < 3 else {}['no such\\nlayer']\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    own = "faulty_nets:Net"
    job, before = replace(MANIFEST, architecture=own, source=source_digest(own)), processes()
    worker = start(data, modules=frozenset({own}))
    initial = worker.initial(job)
    with pytest.raises(TrainingError, match=r"^KeyError at faulty_nets.py:5: 'no such\\nlayer'$"):
        worker.score(job, initial)
    assert len(processes() - before) == 1
    assert worker.facts(b"secret").samples == 8


def test_a_process_that_is_killed_at_work_is_a_training_error_and_the_next_call_works_again(
    data: Path, start: Callable[..., Worker], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "SLICE_SECONDS", 0.0)
    before, worker = processes(), start(data)
    with pytest.raises(StillWorking):
        worker.train(MANIFEST, INITIAL, 1, 1, ENOUGH)
    (pid,) = processes() - before
    os.kill(pid, signal.SIGKILL)
    monkeypatch.setattr(module, "SLICE_SECONDS", 60.0)
    with pytest.raises(
        TrainingError, match=r"^the training process ended \(signal 9\): is its memory limit too low\?$"
    ):
        worker.train(MANIFEST, INITIAL, 1, 1, ENOUGH)
    assert worker.facts(b"secret").samples == 8


def test_a_process_that_was_halted_is_given_up_and_the_next_call_works_again(
    data: Path, start: Callable[..., Worker], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its node would wait for it for ever, in all jobs, whether for its answer or for it to take what it is sent."""
    monkeypatch.setattr(module, "LEAST_SECONDS", 0.2)
    before, worker = processes(), start(data)
    worker.facts(b"secret")
    calls: list[Callable[[], object]] = [
        lambda: worker.score(MANIFEST, {}, 0.1),
        lambda: worker.score(MANIFEST, INITIAL, 0.1),  # which is more than a pipe holds
        lambda: worker.train(MANIFEST, INITIAL, 1, 1, 0.1),
    ]
    for call in calls:
        (pid,) = processes() - before
        os.kill(pid, signal.SIGSTOP)
        with pytest.raises(TrainingError, match=r"^the training process did not answer within 0\.2 s$"):
            call()
        assert worker.facts(b"secret").samples == 8


def test_a_process_that_was_killed_idle_is_not_noticed(data: Path, start: Callable[..., Worker]) -> None:
    before, worker = processes(), start(data)
    worker.facts(b"secret")
    (first,) = processes() - before
    os.kill(first, signal.SIGKILL)
    while first in processes():
        time.sleep(0.01)
    assert worker.facts(b"secret").samples == 8


def test_an_interrupt_of_the_whole_group_leaves_it_to_the_node(data: Path, start: Callable[..., Worker]) -> None:
    before, worker = processes(), start(data)
    worker.facts(b"secret")
    (pid,) = processes() - before
    os.kill(pid, signal.SIGINT)
    assert worker.facts(b"secret").samples == 8
    assert processes() - before == {pid}


# ---------------------------------------------------------------- its end


def test_an_idle_process_gives_its_memory_back(
    data: Path, start: Callable[..., Worker], monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [100.0]
    monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=lambda: now[0]))
    before, worker = processes(), start(data, idle_seconds=60.0)
    worker.tidy()
    assert processes() == before, "nothing was due yet"
    worker.facts(b"secret")
    now[0] += 60
    worker.tidy()
    assert len(processes() - before) == 1, "it may be wanted again"
    now[0] += 1
    worker.tidy()
    assert processes() == before
    assert worker.facts(b"secret").samples == 8


def test_a_process_that_trains_is_not_idle(
    data: Path, start: Callable[..., Worker], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "SLICE_SECONDS", 0.0)
    before, worker = processes(), start(data, idle_seconds=0.0)
    with pytest.raises(StillWorking):
        worker.train(MANIFEST, INITIAL, 1, 1, ENOUGH)
    time.sleep(0.01)
    worker.tidy()
    assert len(processes() - before) == 1
    worker.close()
    worker.close()
    assert processes() == before


def test_it_dies_with_its_node_however_that_ends(data: Path) -> None:
    program = """
        import sys, time
        from multiprocessing import active_children
        from pathlib import Path
        from trainers.worker import Worker
        from trainers.worker_process import WorkerOptions
        Worker(WorkerOptions(Path(sys.argv[1]))).facts(b"secret")
        print(active_children()[0].pid, flush=True)
        time.sleep(60)
    """
    command = [sys.executable, "-c", textwrap.dedent(program), str(data)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as node:
        assert node.stdout is not None
        process = psutil.Process(int(node.stdout.readline()))
        node.kill()
    deadline = time.monotonic() + 10
    while process.is_running() and process.status() != psutil.STATUS_ZOMBIE:  # nobody may be there to bury it
        assert time.monotonic() < deadline
        time.sleep(0.02)
