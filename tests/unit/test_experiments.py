"""What an experiment consists of, what it keeps, and what it draws; tests/e2e/test_experiment.py runs some."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from coordinator.cli import run
from coordinator.experiment_cli import NAMES
from coordinator.experiments import processes
from coordinator.experiments.baselines import central, majority
from coordinator.experiments.cells import PAPER, Cell
from coordinator.experiments.conduct import missing
from coordinator.experiments.figures import curves, draw, shares
from coordinator.experiments.plans import EXPERIMENTS, OUR_RECIPE, RECIPES, plan
from coordinator.experiments.store import Store
from coordinator.experiments.tables import spread, table
from coordinator.options import RunOptions
from hmchain.errors import DataError, UsageError
from trainers.cli import CONTEXT
from trainers.datasets import load

SET = "breastmnist"


def result(auc: float, **more: Any) -> dict[str, Any]:
    """As measuring.py makes them, as far as tables and figures look."""
    metrics = {"auc": auc, "accuracy": auc / 2}
    costs = {"peak_mib": 900, "seconds": 60.0, "versions": {"torch": "2"}}
    return {"test": metrics, "best": metrics, "rounds": {}, **costs, **more}


def test_the_command_line_offers_every_experiment() -> None:
    assert tuple(EXPERIMENTS) == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_every_cell_is_one_that_a_run_understands(name: str) -> None:
    known = {field.name for field in fields(RunOptions)}
    cells = list(plan(name, [SET, "organamnist"], 2, PAPER).cells())
    assert all(set(cell.settings) <= known for cell in cells)
    assert len({(cell.dataset, cell.key) for cell in cells}) == len(cells)


def test_experiments_share_what_they_have_in_common() -> None:
    table3, table4 = ({cell.key for cell in plan(name, [SET], 5, PAPER).cells()} for name in ("table3", "table4"))
    assert len(table3 & table4) == 10  # the federation at two rates, five seeds each


@pytest.mark.parametrize("name", ["table5", "", "Table3"])
def test_an_unknown_experiment(name: str) -> None:
    with pytest.raises(UsageError, match="unknown experiment"):
        plan(name, [SET], 5, PAPER)


@pytest.mark.parametrize(("datasets", "seeds"), [([], 5), ([SET], 0)])
def test_an_experiment_of_nothing(datasets: list[str], seeds: int) -> None:
    with pytest.raises(UsageError, match="at least one"):
        plan("table3", datasets, seeds, PAPER)


def test_the_command_of_a_cell_is_that_run() -> None:
    cell = Cell(SET, 3, PAPER | {"partition": "dirichlet:0.5"})
    words = cell.command().split()
    assert words[:2] == ["hmchain", "run"]
    parsed = run.make_context("run", words[2:], **CONTEXT).params  # else click keeps other help options
    assert parsed.pop("no_chain") is True
    assert {name: parsed[name] for name in cell.settings if name != "chain"} == {
        name: value for name, value in cell.settings.items() if name != "chain"
    }


def test_a_result_is_read_back_and_belongs_to_its_cell(tmp_path: Path) -> None:
    store, cell = Store(tmp_path), Cell(SET, 0)
    assert store.read(cell) is None
    store.write(cell, result(0.9))
    assert store.read(cell)["test"]["auc"] == 0.9
    assert store.read(Cell(SET, 1)) is None
    assert [path.name for path in store.path(cell).parent.iterdir()] == [f"{cell.key}.json"]


@pytest.mark.parametrize("content", [b"", b"[]", b"{}", b'{"format":"hmchain-experiment/1"}', b"\xff"])
def test_a_file_that_is_not_the_result_of_its_cell(content: bytes, tmp_path: Path) -> None:
    store, cell = Store(tmp_path), Cell(SET, 0)
    store.write(cell, result(0.9))
    store.path(cell).write_bytes(content)
    with pytest.raises(DataError, match="delete it to run the cell again"):
        store.read(cell)


@pytest.mark.parametrize(
    "change",
    [
        lambda found: found.pop("peak_mib"),
        lambda found: found.pop("test"),
        lambda found: found.pop("rounds"),
        lambda found: found["test"].pop("accuracy"),
        lambda found: found["test"].update(auc="high"),
        lambda found: found.update(versions="2", test=None),
        lambda found: found.update(val=[0.9]),
    ],
)
def test_a_result_that_lacks_what_is_shown_is_refused(change: Callable[[Any], None], tmp_path: Path) -> None:
    store, cell = Store(tmp_path), Cell(SET, 0)
    store.write(cell, result(0.9))
    found = json.loads(store.path(cell).read_text())
    change(found)
    store.path(cell).write_text(json.dumps(found))
    with pytest.raises(DataError, match="delete it to run the cell again"):
        store.read(cell)


def test_every_result_that_is_committed_can_be_read() -> None:
    store = Store(Path(__file__).parents[2] / "results")
    cells = list(plan("table3", [SET], 5, PAPER).cells())
    assert sum(store.read(cell) is not None for cell in cells) > 30


def test_a_result_of_other_settings_is_refused(tmp_path: Path) -> None:
    store, cell = Store(tmp_path), Cell(SET, 0)
    store.write(cell, result(0.9))
    changed = json.loads(store.path(cell).read_text())
    changed["settings"]["rounds"] = 5
    store.path(cell).write_text(json.dumps(changed))
    with pytest.raises(DataError, match="delete it"):
        store.read(cell)


def test_two_experiments_do_not_share_a_folder(tmp_path: Path) -> None:
    with Store(tmp_path).taken(), pytest.raises(UsageError, match="another experiment"), Store(tmp_path).taken():
        pass


def test_what_a_killed_run_left_is_taken_away(tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.workplace(Cell(SET, 0)).mkdir(parents=True)
    with store.taken():
        assert not store.workplace(Cell(SET, 0)).parent.exists()


@pytest.mark.parametrize(
    ("values", "text"), [([0.5], "0.500"), ([0.8, 0.9], "0.850 ± 0.071"), ([1, 1, 1], "1.000 ± 0.000")]
)
def test_mean_and_deviation(values: list[float], text: str) -> None:
    assert spread(values) == text


def test_a_table_says_what_was_run_and_what_was_not() -> None:
    chosen = plan("table4", [SET, "tissuemnist"], 2, PAPER)
    slow, fast = (
        next(cell for cell in chosen.cells() if cell.settings["learning_rate"] == rate) for rate in (0.01, 0.1)
    )
    found = {slow.key: result(0.8), fast.key: result(0.9), Cell(SET, 1, fast.options).key: result(0.7)}
    lines = table(chosen, lambda cell: found.get(cell.key) if cell.dataset == SET else None).splitlines()
    assert "| lr 0.01 | 0.800 / 0.400 (1 of 2 seeds) | not run |" in lines
    assert "| lr 0.1 | 0.800 ± 0.141 / 0.400 ± 0.071 | not run |" in lines
    assert "3 of 16 runs are done; ± is the standard deviation over seeds 0 to 1." in lines


def test_a_table_names_the_command_that_repeats_it() -> None:
    lines = table(plan("table4", [SET, "mine"], 2, PAPER), lambda cell: None).splitlines()
    assert f"`hmchain experiment table4 --datasets {SET},mine --seeds 2 --data-root DIR`" in lines
    look = plan("table3", [SET], 2, PAPER | {"rounds": 5, "members": 20})
    assert f"--datasets {SET} --seeds 2 --rounds 5 --members 20 --data-root DIR`" in table(look, lambda cell: None)
    majority_cell = next(cell for cell in look.cells() if cell.kind == "majority")
    assert "--seeds 1 --rounds 5 --members 20 " in majority_cell.command()


def test_a_recipe_is_chosen_on_the_validation_split() -> None:
    chosen = plan("recipe", [SET], 1, PAPER)
    assert chosen.split == "val"
    assert [row.measure for row in chosen.rows] == ["val"] * len(RECIPES) + ["test"]
    assert chosen.rows[-1].cells in [row.cells for row in chosen.rows[:-1] if row.label == OUR_RECIPE]
    assert chosen.rows[-1].cells in [row.cells for row in plan("table3", [SET], 1, PAPER).rows]
    found = result(0.9, val={"auc": 0.6, "accuracy": 0.5})
    lines = table(chosen, lambda cell: found).splitlines()
    assert "| AUC / ACC, validation split | breastmnist |" in lines
    assert "| FedAvg | 0.600 / 0.500 |" in lines


def test_what_is_run_is_what_the_rows_lack(tmp_path: Path) -> None:
    store, chosen = Store(tmp_path), plan("recipe", [SET], 2, PAPER)
    first, second = next(row for row in chosen.rows if "server momentum" in row.label).cells[SET]
    store.write(first, result(0.9))  # from before there was a validation number
    store.write(second, result(0.9, val=None))  # no round was completed
    assert missing(chosen, store, "server momentum") == [first]
    assert len(missing(chosen, store)) == len(list(chosen.cells())) - 1
    assert not missing(chosen, store, "no such row")


def test_published_rows_are_quoted() -> None:
    lines = table(plan("table3", [SET, "tissuemnist"], 1, PAPER), lambda cell: None).splitlines()
    assert "| FL-CNN-HMChain (paper) | 0.875 / 0.795 | 0.896 / 0.620 |" in lines
    assert "| ResNet-18 (MedMNIST) | 0.901 / 0.863 | not quoted |" in lines


def test_curves_have_gaps_where_rounds_failed() -> None:
    row = plan("figure5", [SET], 2, PAPER).rows[0]
    seeds = [[0.5, None, 0.7], [0.6, 0.7, 0.8]]
    drawn = curves(row, SET, "auc", lambda cell: {"rounds": {"auc": seeds[cell.seed]}})
    assert np.array_equal(drawn, [[0.5, np.nan, 0.7], [0.6, 0.7, 0.8]], equal_nan=True)
    assert not len(curves(row, SET, "auc", lambda cell: None))


def test_rounds_that_failed_with_every_seed_are_drawn_as_gaps(tmp_path: Path) -> None:
    chosen = plan("figure5", [SET], 2, PAPER | {"rounds": 3})
    some = {"accepted": [4, 0, 4], "auc": [0.5, None, 0.7], "accuracy": [0.5, None, 0.7]}

    def read(cell: Cell) -> dict[str, Any]:
        return {"rounds": {"accepted": [0, 0, 0]} if cell.seed else some}

    assert np.array_equal(curves(chosen.rows[0], SET, "auc", read), [[0.5, np.nan, 0.7], [np.nan] * 3], equal_nan=True)
    assert draw(chosen, read, tmp_path) == [f"figure5-{SET}"]


def test_attacks_are_drawn_by_share_and_defence(tmp_path: Path) -> None:
    chosen = plan("attacks", [SET, "tissuemnist"], 2, PAPER)

    def read(cell: Cell) -> dict[str, Any] | None:
        malicious, scored = cell.settings.get("malicious", 0.0), "standard" not in cell.settings
        if cell.dataset != SET or malicious > 0.2:
            return None
        reached = 0.8 if "strategy" in cell.settings else 0.9 - (0 if scored else malicious)
        return result(reached, **({} if malicious < 0.2 or cell.seed else {"test": None}))

    assert shares(chosen, SET, "noise", "scored", "accuracy", read) == (
        [0.0, 0.1, 0.2],
        [[0.45, 0.45], [0.45, 0.45], [0.45]],
    )
    assert shares(chosen, SET, "noise", "not scored", "accuracy", read)[1][2] == [pytest.approx(0.35)]
    assert shares(chosen, SET, "sign-flip", "scored, median", "accuracy", read)[1][1] == [0.4, 0.4]
    assert draw(chosen, read, tmp_path) == [f"attacks-{SET}"]
    assert {path.name for path in tmp_path.iterdir()} == {f"attacks-{SET}.png", f"attacks-{SET}.svg"}
    assert not draw(plan("table4", [SET], 1, PAPER), lambda cell: result(0.9), tmp_path)


def tissue(folder: Path) -> Path:
    """A file of TissueMNIST's shape: 28x28, grey, 8 classes; its own is not had on a closed network."""
    stream, arrays = np.random.default_rng(0), {}
    for name, count in (("train", 64), ("val", 16), ("test", 16)):
        labels = (np.arange(count) % 8).astype(np.uint8)
        arrays[f"{name}_images"] = (stream.integers(0, 40, (count, 28, 28)) + 25 * labels[:, None, None]).astype(
            np.uint8
        )
        arrays[f"{name}_labels"] = labels[:, None]
    np.savez(folder / "tissue-like.npz", **arrays)
    return folder


def test_the_majority_class_of_a_set_of_tissuemnists_shape(tmp_path: Path) -> None:
    dataset = load("tissue-like", tissue(tmp_path))
    assert len(dataset.classes) == 8
    assert majority(dataset, {})["test"]["accuracy"] == 1 / 8
    assert majority(dataset, {})["test"]["auc"] == 0.5


def test_the_central_network_learns_and_remembers_its_best_epoch(tmp_path: Path) -> None:
    dataset = load("tissue-like", tissue(tmp_path))
    found = central(dataset, {"seed": 0, "rounds": 3, "epochs": 2, "batch_size": 16, "learning_rate": 0.1})
    assert len(found["val_auc"]) == 6
    assert found["best"]["epoch"] == 1 + int(np.argmax(found["val_auc"]))
    assert found["test"]["auc"] > 0.6


def test_the_central_network_may_be_another(tmp_path: Path) -> None:
    dataset = load("tissue-like", tissue(tmp_path))
    settings = {"seed": 0, "rounds": 1, "epochs": 1, "batch_size": 16, "learning_rate": 0.1}
    usual, named, other = (
        central(dataset, settings | changes)
        for changes in ({}, {"architecture": "medmnist-cnn"}, {"architecture": "groupnorm-cnn"})
    )
    assert usual == named != other


def test_a_run_that_is_done_is_kept_when_another_one_fails_at_the_same_moment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cells = [Cell("no-such-set", 0, {}, "majority"), Cell("tissue-like", 0, {}, "majority")]
    monkeypatch.setattr(processes, "wait", lambda pipes: [pipe for pipe in pipes if pipe.poll(120)])
    found = processes.results(cells, Store(tmp_path / "results"), tissue(tmp_path), jobs=2)
    assert next(found)[0] == cells[1]
    with pytest.raises(DataError, match="no-such-set"):
        next(found)
