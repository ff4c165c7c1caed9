"""What some unit tests share."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from trainers.logs import LOGGER

from .case import Case
from .ward import Ward


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> None:
    """torch as a run has it: its own threads change bytes, and spin for each other where the machine is busy."""
    torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def silent_log() -> Iterator[None]:
    """A node's log is one for the whole process, and commands set it up: the next test finds it as it was imported."""
    yield
    LOGGER.handlers.clear()
    LOGGER.setLevel("NOTSET")
    LOGGER.propagate = True


@pytest.fixture(scope="module")
def ward(tmp_path_factory: pytest.TempPathFactory) -> Ward:
    """One for all tests: each has persons and records of its own."""
    return Ward.found(tmp_path_factory.mktemp("ward"))


@pytest.fixture
def own_ward(tmp_path: Path) -> Ward:
    """For tests that damage it, or count."""
    return Ward.found(tmp_path)


@pytest.fixture(scope="module")
def case(ward: Ward) -> Case:
    """One that no test changes: it is only asked for, under its grant or not."""
    return Case(ward)
