"""The options of a run, as the API takes them; tests/e2e/test_bad_input.py has those that cannot work."""

from pathlib import Path

import numpy as np
import pytest

from coordinator.options import RunOptions
from hmchain.errors import UsageError
from trainers.datasets import Dataset
from trainers.splits import Split

EMPTY = Split(np.zeros((0, 28, 28), np.uint8), np.zeros(0, np.int64))
DATASET = Dataset("stripes", 1, ("a", "b"), EMPTY, EMPTY, EMPTY, b"\1" * 32)


def test_the_defaults_are_those_of_the_command_line() -> None:
    from coordinator.cli import run

    defaults = RunOptions(out=Path("x"))
    for option in run.params:
        if option.name in ("no_chain", "out", "as_json"):
            continue
        assert getattr(defaults, str(option.name)) == option.default, option.name


def test_whole_numbers_are_as_good_as_fractions() -> None:
    whole = RunOptions(out=Path("x"), fraction=1, learning_rate=1).manifest(DATASET)
    assert whole == RunOptions(out=Path("x"), fraction=1.0, learning_rate=1.0).manifest(DATASET)


@pytest.mark.parametrize(("members", "fraction", "clients"), [(20, 0.25, 5), (100, 0.1, 10), (3, 1.0, 3), (7, 0.3, 2)])
def test_clients_of_a_round(members: int, fraction: float, clients: int) -> None:
    assert RunOptions(out=Path("x"), members=members, fraction=fraction, masters=3).clients == clients


def test_fractions_count_in_basis_points() -> None:
    assert RunOptions(out=Path("x"), members=560, fraction=0.1).clients == 56
    with pytest.raises(UsageError, match="more than 56 clients"):
        RunOptions(out=Path("x"), members=570, fraction=0.1)
