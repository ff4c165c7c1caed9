"""A hospital's computations in a process of their own, which is started when something is due and ended when idle.

So the node itself stays small and responsive: torch, the data, and a training that runs out of memory are elsewhere.
The worker ends with its node, however that ends.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing import connection, get_context
from multiprocessing.process import BaseProcess
from typing import Any

from hmchain.errors import HMChainError, TrainingError
from hmchain.manifest import Manifest
from hmchain.weights import Header, Weights, digest_of
from trainers import child
from trainers.data_facts import DataFacts
from trainers.worker_process import WorkerOptions, serve

SLICE_SECONDS = 1.0  # that a training is waited for at a time


_Training = tuple[bytes, int, bytes]  # the digest of its manifest, its seed, the digest of its base


class StillWorking(HMChainError):
    """The training process is at work; ask again. Until then the node does what needs no computing."""


class Worker:
    """The node's end. Not thread-safe. Calls raise the HMChainError that the same call in this process would raise.

    They raise TrainingError where the worker's process has ended, as it does with too little memory.
    """

    def __init__(self, options: WorkerOptions) -> None:
        self._options = options
        self._process: BaseProcess | None = None
        self._pipe: connection.Connection | None = None
        self._used = 0.0
        self._file = b""  # the SHA-256 of the data that were committed to
        self._training: tuple[_Training, float] | None = None  # which, and until when
        self._trained: dict[_Training, Any] = {}

    @property
    def is_training(self) -> bool:
        """Whether a training is under way."""
        return self._training is not None

    def facts(self, salt_secret: bytes) -> DataFacts:
        """Loads the data and computes the commitment to them. Raises DataError."""
        self._file = b""
        facts: DataFacts = self._call("facts", salt_secret)
        self._file = facts.file
        return facts

    def initial(self, manifest: Manifest) -> Weights:
        """The weights of round 0. Raises UsageError where this package cannot build the network."""
        weights: Weights = self._call("initial", manifest)
        return weights

    def train(self, manifest: Manifest, base: Weights, seed: int, round: int, seconds: float) -> Weights:
        """See Learner.train. Raises StillWorking until it is done, TrainingError where it takes more than `seconds`.

        From another base it is another training: a chain that was set back may begin the same round on another one.
        """
        job = manifest.digest()
        key = job, seed, digest_of(base, Header("model", job, round, 0, bytes(32)))
        if self._training is None and key not in self._trained:
            self._send("train", manifest, base, seed, round)
            self._training = key, time.monotonic() + seconds
        self._collect(SLICE_SECONDS)
        if key not in self._trained:
            raise StillWorking("the training process is at work")
        weights: Weights = self._opened(self._trained.pop(key))
        return weights

    def score(self, manifest: Manifest, weights: Weights) -> int:
        """See Learner.score."""
        return int(self._call("score", manifest, weights))

    def tidy(self) -> None:
        """Ends the process if it was not used for a while."""
        idle = time.monotonic() - self._used > self._options.idle_seconds
        if self._process is not None and self._training is None and idle:
            self.close()

    def close(self) -> None:
        """Ends the process."""
        if self._process is not None:
            self._process.kill()
            self._process.join()
        if self._pipe is not None:
            self._pipe.close()
        self._process = self._pipe = self._training = None
        self._trained.clear()  # trained on data for which consent may have been withdrawn

    def _call(self, name: str, *arguments: Any) -> Any:
        """Asks for something and waits for the answer. Raises StillWorking while a training is going on."""
        self._collect(0)
        if self._training is not None:
            raise StillWorking("the training process is at work")
        self._send(name, *arguments)
        return self._opened(self._receive())

    def _collect(self, wait: float) -> None:
        """Takes the result of the training that is going on, if there is one, and ends one that has taken too long."""
        if self._training is None:
            return
        assert self._pipe is not None
        (key, until), self._used = self._training, time.monotonic()
        if self._pipe.poll(wait):
            self._training = None
            self._trained = {key: self._receive()}
        elif time.monotonic() > until:
            self.close()
            raise TrainingError("a training was given up: it takes longer than the round has, or the limit allows")

    def _send(self, name: str, *arguments: Any) -> None:
        if self._process is None or not self._process.is_alive():
            self._start()
        assert self._pipe is not None
        with self._watched():
            self._pipe.send((name, arguments))

    def _receive(self) -> Any:
        assert self._pipe is not None
        with self._watched():
            return self._pipe.recv()

    @contextmanager
    def _watched(self) -> Iterator[None]:
        """Turns the end of the process into TrainingError, and notes when the worker was last used."""
        try:
            yield
        except (EOFError, OSError) as fault:
            code = self._ended()
            raise TrainingError(f"the training process ended ({code}): is its memory limit too low?") from fault
        finally:
            self._used = time.monotonic()

    def _opened(self, answer: Any) -> Any:
        if isinstance(answer, BaseException):
            raise answer
        return answer

    def _start(self) -> None:
        self.close()
        context = get_context("spawn")
        self._pipe, theirs = context.Pipe()
        self._process = context.Process(
            target=serve, args=(theirs, self._options, self._file), daemon=True, name="hmchain-worker"
        )
        child.start(self._process)
        theirs.close()

    def _ended(self) -> str:
        assert self._process is not None
        self._process.join(5)
        code = self._process.exitcode
        self.close()
        return "still running" if code is None else f"signal {-code}" if code < 0 else f"exit {code}"


@dataclass
class RemoteLearner:
    """A Learner (see trainers.hospital) that computes in the worker. `seconds` is how long a training may take now."""

    worker: Worker
    manifest: Manifest
    samples: int
    seconds: float = float("inf")

    def begin(self, base: Weights, seed: int, round: int) -> None:
        """See Learner. Does nothing: `train` itself only begins, and is called again until it is done."""

    def train(self, base: Weights, seed: int, round: int) -> Weights:
        """See Learner."""
        return self.worker.train(self.manifest, base, seed, round, self.seconds)

    def score(self, weights: Weights) -> int:
        """See Learner."""
        return self.worker.score(self.manifest, weights)

    def scores(self, weights: Sequence[Weights]) -> list[int]:
        """See Learner."""
        return [self.score(each) for each in weights]
