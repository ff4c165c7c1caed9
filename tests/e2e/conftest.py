"""What the end-to-end tests share: a data set, and one finished run that nobody may write to."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from coordinator.progress import Silent
from coordinator.run import conduct
from hmchain.exchange import update_header
from hmchain.rounds import RoundState
from tests.e2e.stripes import NAME, federation_of, options_for, write_stripes
from trainers.hospital import Hospital


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> None:
    """Images this small are not worth two, least of all on a machine that others use as well."""
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the data set."""
    return write_stripes(tmp_path_factory.mktemp("data") / f"{NAME}.npz").parent


class Diverged(Hospital):
    """A member whose update of the first round holds a NaN."""

    def submit(self, state: RoundState) -> bool:
        if state.number > 1:
            return super().submit(state)
        record = self.ledger.record(state.number)
        weights = {name: array.copy() for name, array in self.base(record).items()}
        weights["0.weight"].flat[7] = np.nan
        _, blob = self.exchange.publish(weights, update_header(self.manifest.digest(), record, self.number))
        self.ledger.submit_update(state, self.learner.samples, blob)
        return True


@dataclass(frozen=True)
class FinishedRun:
    """A run's folder, its summary, and the member whose update was refused in round 1."""

    folder: Path
    summary: dict[str, Any]
    refused: int


@pytest.fixture(scope="session")
def finished(data: Path, tmp_path_factory: pytest.TempPathFactory) -> FinishedRun:
    """Three rounds; in the first one update is refused."""
    options = options_for(tmp_path_factory.mktemp("runs") / "finished", data, rounds=3)
    setup, federation = federation_of(options)
    refused = federation.coordinator.state().clients[0]
    federation.hospitals[refused] = Diverged(**vars_of(federation.hospitals[refused]))
    summary = conduct(federation, options, setup.dataset, Silent())
    return FinishedRun(options.out, summary, refused)


def vars_of(hospital: Hospital) -> dict[str, Any]:
    """The fields of a hospital, to make another kind of hospital of it."""
    return {name: getattr(hospital, name) for name in hospital.__dataclass_fields__}


@pytest.fixture
def copy(finished: FinishedRun, tmp_path: Path) -> Callable[[], Path]:
    """A copy of the finished run to tamper with."""
    return lambda: Path(shutil.copytree(finished.folder, tmp_path / "copy"))
