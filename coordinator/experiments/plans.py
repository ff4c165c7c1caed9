"""The cells of each experiment, as the rows of a table over data sets and seeds."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

from coordinator.experiments.cells import Cell, Kind, experiment_command
from coordinator.experiments.paper import PUBLISHED, Published
from hmchain.errors import UsageError

MAX_SEEDS = 1_000
BEST_RATE = 0.1  # of the paper's Table 4
RATES = (0.001, 0.01, 0.1, 0.5)
SKEWS = ("dirichlet:0.5", "dirichlet:0.1")
ATTACKS = ("label-flip", "sign-flip", "noise")
SHARES = (0.1, 0.2, 0.3, 0.4)  # of the members that attack
UNSCORED = "absolute:0"  # a standard that every update reaches
TRAINING: dict[str, Any] = {"momentum": 0.9, "schedule": "cosine", "augmentation": "shift-flip"}
UNREFUSED = TRAINING | {"standard": UNSCORED}
DEFENCES: dict[str, dict[str, Any]] = {  # against attacks
    "scored": {},
    "not scored": {"standard": UNSCORED},
    "scored, median": {"strategy": "median"},
    "not scored, median": {"standard": UNSCORED, "strategy": "median"},
}
RECIPES: dict[str, dict[str, Any]] = {  # candidates, to choose from on validation data
    "FedAvg": {},
    "FedAvg, every update counts": {"standard": UNSCORED},
    "local momentum, cosine, shift and flip": TRAINING,
    "local momentum, cosine, shift and flip, every update counts": UNREFUSED,
    "likewise, 6 epochs": UNREFUSED | {"epochs": 6},
    "likewise, 10 epochs, rate 0.03": UNREFUSED | {"epochs": 10, "learning_rate": 0.03},
    "likewise, 10 epochs, rate 0.01": UNREFUSED | {"epochs": 10, "learning_rate": 0.01},
    "likewise, class balance": UNREFUSED | {"balanced": True},
    "likewise, FedProx 0.1": UNREFUSED | {"strategy": "fedprox", "proximal": 0.1},
    "likewise, FedAdam": UNREFUSED | {"strategy": "fedadam"},
    "likewise, FedYogi": UNREFUSED | {"strategy": "fedyogi"},
    "likewise, weight decay 0.001": UNREFUSED | {"weight_decay": 0.001},
    "GroupNorm": {"architecture": "groupnorm-cnn"},
    "server momentum, cosine": {"strategy": "fedavgm", "schedule": "cosine"},
    "GroupNorm, local momentum, cosine, shifts": {
        "architecture": "groupnorm-cnn",
        "momentum": 0.9,
        "schedule": "cosine",
        "augmentation": "shift",
    },
}
OUR_RECIPE = "local momentum, cosine, shift and flip, every update counts"  # docs/experiments.md: how it was chosen


@dataclass(frozen=True)
class Row:
    """A line of a table: cells by data set, one a seed; `measure` is which of a result's metrics it shows: "test",
    "best", or "val" where it is a candidate. A published row has no cells.
    """

    label: str
    cells: Mapping[str, Sequence[Cell]]
    measure: str = "test"
    published: Published | None = None


@dataclass(frozen=True)
class Plan:
    """An experiment: its rows, most wanted first in `cells`, and the settings that each of them changes."""

    name: str
    title: str
    datasets: Sequence[str]
    seeds: int
    base: Mapping[str, Any]
    rows: Sequence[Row]

    @property
    def command(self) -> str:
        """The command that repeats it."""
        return experiment_command(self.name, self.datasets, self.seeds, self.base)

    @property
    def split(self) -> str:
        """The split that rows are compared on: choices are made on the validation split, with the test split unseen."""
        return "val" if any(row.measure == "val" for row in self.rows) else "test"

    def cells(self) -> Iterator[Cell]:
        """Every cell once."""
        seen: set[str] = set()
        for cell in (cell for row in self.rows for cells in row.cells.values() for cell in cells):
            if (name := f"{cell.dataset}/{cell.key}") not in seen:
                seen.add(name)
                yield cell

    def label(self, cell: Cell) -> str:
        """That of the first row that shows the cell."""
        return next(row.label for row in self.rows if cell in row.cells.get(cell.dataset, ()))


@dataclass(frozen=True)
class Scope:
    """What all rows of a plan share; `base` are the settings that each row changes."""

    datasets: Sequence[str]
    seeds: int
    base: Mapping[str, Any]

    def row(self, label: str, kind: Kind = "federation", measure: str = "test", seeds: int = 0, **changes: Any) -> Row:
        """A row of all data sets and seeds, or of the first `seeds`."""
        options = {**self.base, **changes}
        cells = {
            name: [Cell(name, seed, options, kind) for seed in range(seeds or self.seeds)] for name in self.datasets
        }
        return Row(label, cells, measure)


def _table3(scope: Scope) -> list[Row]:
    slow = scope.base["learning_rate"]
    return [
        *(Row(label, {}, published=published) for label, published in PUBLISHED.items()),
        scope.row(f"ours, lr {slow:g}"),
        scope.row(f"ours, lr {BEST_RATE:g}", learning_rate=BEST_RATE),
        scope.row(
            f"the same on the chain, lr {BEST_RATE:g}, seed 0", seeds=1, learning_rate=BEST_RATE, chain="embedded"
        ),
        _ours(scope, "our recipe"),
        scope.row("majority class", "majority", seeds=1),
        scope.row(f"VGG16, federated, lr {slow:g}", architecture="vgg16"),
        *_central(scope, "VGG16", architecture="vgg16", epochs=1),  # a third of CNN's: it takes thirty times as long
        *_central(scope, "CNN"),
        *_central(scope, "CNN", learning_rate=BEST_RATE),
        scope.row(f"each hospital alone, lr {BEST_RATE:g}", "alone", learning_rate=BEST_RATE),
    ]


def _central(scope: Scope, network: str, **changes: Any) -> list[Row]:
    """One network on all data, as it is after the last epoch and after the one best on the validation split."""
    settings = {**scope.base, **changes}
    network, rate = f"{network}, {settings['rounds'] * settings['epochs']} epochs", f"lr {settings['learning_rate']:g}"
    return [
        scope.row(f"{network}, last, {rate}", "central", **changes),
        scope.row(f"{network}, best validation AUC, {rate}", "central", "best", **changes),
    ]


def _table4(scope: Scope) -> list[Row]:
    return [scope.row(f"lr {rate:g}", learning_rate=rate) for rate in RATES]


def _figure5(scope: Scope) -> list[Row]:
    return [scope.row(f"lr {rate:g}", learning_rate=rate) for rate in (scope.base["learning_rate"], BEST_RATE)]


def _noniid(scope: Scope) -> list[Row]:
    even = scope.row("iid", learning_rate=BEST_RATE)
    return [even, *(scope.row(skew, learning_rate=BEST_RATE, partition=skew) for skew in SKEWS)]


def _attacks(scope: Scope) -> list[Row]:
    """Tests the paper's central claim, which it did not measure: that scoring keeps malicious hospitals out."""
    rows = [scope.row(f"none, {name}", learning_rate=BEST_RATE, **defence) for name, defence in DEFENCES.items()]
    for attack, share, (name, defence) in product(ATTACKS, SHARES, DEFENCES.items()):
        hostile: dict[str, Any] = {"attack": attack, "malicious": share, **defence}
        rows.append(scope.row(f"{attack} by {share:.0%}, {name}", learning_rate=BEST_RATE, **hostile))
    return rows


def _recipe(scope: Scope) -> list[Row]:
    """Candidates by what they reach on the validation split; only the chosen one is shown on the test set as well."""
    rated = {name: {"learning_rate": BEST_RATE} | changes for name, changes in RECIPES.items()}
    return [
        *(scope.row(name, measure="val", **changes) for name, changes in rated.items()),
        _ours(scope, "our recipe, test set"),
    ]


def _ours(scope: Scope, label: str) -> Row:
    return scope.row(label, **({"learning_rate": BEST_RATE} | RECIPES[OUR_RECIPE]))


EXPERIMENTS: dict[str, tuple[str, Callable[[Scope], list[Row]]]] = {
    "table3": ("The paper's Table 3: federated against central, on the test set", _table3),
    "table4": ("The paper's Table 4: learning rates", _table4),
    "figure5": ("The paper's Figure 5: AUC and ACC by round", _figure5),
    "noniid": (f"Label skew, learning rate {BEST_RATE:g}", _noniid),
    "recipe": (
        f"Candidates for a better recipe, learning rate {BEST_RATE:g} or as told: what they reach on data to choose by",
        _recipe,
    ),
    "attacks": (f"Malicious hospitals, scored or not, averaged or by the median, lr {BEST_RATE:g}", _attacks),
}


def plan(name: str, datasets: Sequence[str], seeds: int, base: Mapping[str, Any]) -> Plan:
    """The experiment called name. Raises UsageError."""
    if name not in EXPERIMENTS:
        raise UsageError(f"unknown experiment {name!r}; known: {', '.join(EXPERIMENTS)}")
    if seeds < 1 or not datasets:
        raise UsageError("an experiment has at least one data set and one seed")
    if seeds > MAX_SEEDS:
        raise UsageError(f"an experiment has at most {MAX_SEEDS} seeds: each is a run of every row")
    title, rows = EXPERIMENTS[name]
    return Plan(name, title, datasets, seeds, base, rows(Scope(datasets, seeds, base)))
