"""Fixtures that several unit tests share."""

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
    """A ward shared by all tests, each of which makes persons and records of its own."""
    return Ward.found(tmp_path_factory.mktemp("ward"))


@pytest.fixture
def own_ward(tmp_path: Path) -> Ward:
    """A ward of its own, for tests that damage it or count what is in it."""
    return Ward.found(tmp_path)


@pytest.fixture(scope="module")
def case(ward: Ward) -> Case:
    """A case shared by tests that do not change it: they only ask for its records."""
    return Case(ward)
