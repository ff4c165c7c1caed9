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
from threading import Event, Timer
from typing import Any

from hmchain.errors import HMChainError, TrainingError
from hmchain.manifest import Manifest
from hmchain.weights import Header, Weights, digest_of
from trainers import child
from trainers.data_facts import DataFacts
from trainers.worker_process import WorkerOptions, serve

SLICE_SECONDS = 1.0  # that a training is waited for at a time
ANSWER_SECONDS = 1800.0  # that any other answer is waited for at most: large data take their time
LEAST_SECONDS = 120.0  # that any is waited for at least: a process that starts has torch to load
LOW_MEMORY = "is its memory limit too low?"

_Training = tuple[bytes, int, bytes]  # the digest of its manifest, its seed, the digest of its base


class StillWorking(HMChainError):
    """The training process is at work; ask again. Until then the node does what needs no computing."""


class Worker:
    """The node's end. Not thread-safe. Calls raise the HMChainError that the same call in this process would raise.

    They raise TrainingError where the worker's process has ended, as it does with too little memory, and where it does
    not answer, as one that was halted: then it is ended.
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
            self._send(seconds, "train", manifest, base, seed, round)
            self._training = key, time.monotonic() + seconds
        self._collect(SLICE_SECONDS)
        if key not in self._trained:
            raise StillWorking("the training process is at work")
        weights: Weights = self._opened(self._trained.pop(key))
        return weights

    def score(self, manifest: Manifest, weights: Weights, seconds: float = ANSWER_SECONDS) -> int:
        """See Learner.score. seconds is how long it may take."""
        return int(self._call("score", manifest, weights, seconds=seconds))

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

    def _call(self, name: str, *arguments: Any, seconds: float = ANSWER_SECONDS) -> Any:
        """Asks for something and waits for the answer. Raises StillWorking while a training is going on."""
        self._collect(0)
        if self._training is not None:
            raise StillWorking("the training process is at work")
        self._send(seconds, name, *arguments)
        return self._opened(self._receive(seconds))

    def _collect(self, wait: float) -> None:
        """Takes the result of the training that is going on, if there is one, and ends one that has taken too long."""
        if self._training is None:
            return
        assert self._pipe is not None
        (key, until), self._used = self._training, time.monotonic()
        if self._pipe.poll(wait):
            self._training = None
            self._trained = {key: self._receive(0)}
        elif time.monotonic() > until:
            self.close()
            raise TrainingError("a training was given up: it takes longer than the round has, or the limit allows")

    def _send(self, seconds: float, name: str, *arguments: Any) -> None:
        if self._process is None or not self._process.is_alive():
            self._start()
        assert self._pipe is not None
        with self._watched(seconds):
            self._pipe.send((name, arguments))

    def _receive(self, seconds: float) -> Any:
        assert self._pipe is not None
        with self._watched(seconds):
            return self._pipe.recv()

    @contextmanager
    def _watched(self, seconds: float) -> Iterator[None]:
        """Turns the end of the process, or its silence, into TrainingError, and notes when the worker was last used."""
        assert self._process is not None
        patience = max(LEAST_SECONDS, min(seconds, ANSWER_SECONDS))
        try:
            with _ended_after(patience, self._process) as late:
                yield
        except (EOFError, OSError) as fault:
            code = self._ended()
            what = f"did not answer within {patience:g} s" if late.is_set() else f"ended ({code}): {LOW_MEMORY}"
            raise TrainingError(f"the training process {what}") from fault
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


@contextmanager
def _ended_after(seconds: float, process: BaseProcess) -> Iterator[Event]:
    """Kills the process, and sets the event, where what is done meanwhile takes longer: its pipe has no time-outs."""
    late = Event()

    def end() -> None:
        late.set()
        process.kill()

    timer = Timer(seconds, end)
    timer.daemon = True
    timer.start()
    try:
        yield late
    finally:
        timer.cancel()


@dataclass
class RemoteLearner:
    """A Learner (see trainers.hospital) that computes in the worker. `seconds` is how long each call may take now."""

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
        return self.worker.score(self.manifest, weights, self.seconds)

    def scores(self, weights: Sequence[Weights]) -> list[int]:
        """See Learner."""
        return [self.score(each) for each in weights]
