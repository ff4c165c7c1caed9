"""The worker's process: holds the data and the networks, and answers the calls that trainers.worker sends it."""

from __future__ import annotations

import resource
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, lru_cache
from multiprocessing import connection
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hmchain.errors import DataError, StorageError, TrainingError, UsageError
from hmchain.manifest import Manifest
from hmchain.weights import Weights
from trainers import child
from trainers.data_facts import DataFacts

if TYPE_CHECKING:  # their modules bring torch, which the node does without
    from trainers.learner import LocalLearner
    from trainers.splits import Shard

KEPT_LEARNERS = 4


@dataclass(frozen=True)
class WorkerOptions:
    """How the worker runs: the data file, torch's threads, MiB of memory (0: no limit), seconds of idleness after which
    it ends, and the custom networks that it may import.
    """

    data: Path
    threads: int = 1
    memory_mib: int = 0
    idle_seconds: float = 60.0
    modules: frozenset[str] = frozenset()


def serve(pipe: connection.Connection, options: WorkerOptions, file: bytes) -> None:
    """Answers calls until the pipe closes. file: the SHA-256 of the data to use; where it is empty, any."""
    child.belong_to_parent()
    if options.memory_mib:
        limit = options.memory_mib * 2**20
        resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))
    workplace = _Workplace(options, file)
    while True:
        try:
            name, arguments = pipe.recv()
        except (EOFError, OSError):
            return
        pipe.send(_answered(getattr(workplace, name), arguments))


def _answered(call: Callable[..., Any], arguments: tuple[Any, ...]) -> Any:
    """The result, or the fault as an exception that survives the pipe."""
    try:
        return call(*arguments)
    except (DataError, UsageError, StorageError, TrainingError) as fault:
        return fault
    except MemoryError:
        return TrainingError("the training process has not enough memory: is its limit too low?")
    except Exception as fault:  # torch's (RuntimeError: no memory), a custom network's, or a defect
        return TrainingError.of(fault)


class _Workplace:
    """What the process keeps between calls, the data and a learner for each job, and the calls that it answers."""

    def __init__(self, options: WorkerOptions, file: bytes) -> None:
        self._options = options
        self._file = file
        self._learner = lru_cache(KEPT_LEARNERS)(self._new_learner)

    def facts(self, salt_secret: bytes) -> DataFacts:
        from trainers.dataset_root import dataset_root, salt_of

        shard = self._shard
        train, multi_label = shard.train, shard.train.findings > 0
        classes = train.findings or 1 + max(int(split.labels.max()) for split in (train, shard.holdout))
        root = dataset_root(train, salt_of(train, salt_secret))
        return DataFacts(len(train), train.channels, classes, root, shard.features, multi_label, shard.digest)

    def initial(self, manifest: Manifest) -> Weights:
        from trainers.networks import initial_model

        self._limit_threads()
        return initial_model(manifest, self._options.modules)

    def train(self, manifest: Manifest, base: Weights, seed: int, round: int) -> Weights:
        return self._learner(manifest).train(base, seed, round)

    def score(self, manifest: Manifest, weights: Weights) -> int:
        return self._learner(manifest).score(weights)

    def _limit_threads(self) -> None:
        import torch

        torch.set_num_threads(self._options.threads)

    @cached_property
    def _shard(self) -> Shard:
        from trainers.splits import load_shard

        shard, path = load_shard(self._options.data), self._options.data
        if self._file not in (b"", shard.digest):
            raise DataError(f"{path} is not the file that was committed to: start the node again, to commit to it")
        return shard

    def _new_learner(self, manifest: Manifest) -> LocalLearner:
        shard = self._shard
        from trainers.learner import LocalLearner, pad_of
        from trainers.networks import Compute

        self._limit_threads()
        return LocalLearner(manifest, shard, pad_of(manifest, self._options.modules), Compute())
