"""A cell: one run of an experiment, the command that repeats it, and the name of its result.

A cell is named by what was run and by nothing else, so that experiments share cells: Table 3, Table 4 and Figure 5 all
have the federation at learning rate 0.1.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

Kind = Literal["federation", "central", "alone", "majority"]

# Hu et al. 2024, Table 2. The chain changes no byte of the model (tests/e2e/test_run.py), so most cells go without.
PAPER: dict[str, Any] = {
    "members": 100,
    "fraction": 0.1,
    "masters": 4,
    "rounds": 50,
    "epochs": 3,
    "batch_size": 128,
    "learning_rate": 0.01,
    "chain": None,
}
FLAGS = {"learning_rate": "lr"}  # options whose flag has another name


@dataclass(frozen=True)
class Cell:
    """What is run: a federation, or a baseline on the same data with the same budget. `options` are RunOptions' fields,
    by name.
    """

    dataset: str
    seed: int
    options: Mapping[str, Any] = field(default_factory=lambda: PAPER)
    kind: Kind = "federation"

    @property
    def settings(self) -> dict[str, Any]:
        """All settings that the result depends on; versions are recorded in the result."""
        return {**self.options, "dataset": self.dataset, "seed": self.seed}

    @property
    def key(self) -> str:
        """The name of the result, which is the same for the same settings."""
        text = json.dumps([self.kind, self.settings], sort_keys=True, separators=(",", ":"))
        return f"{self.kind}-{hashlib.sha256(text.encode()).hexdigest()[:12]}"

    def command(self) -> str:
        """The command that runs it again. DIR stands for the folder of the data."""
        if self.kind != "federation":
            return experiment_command("table3", [self.dataset], self.seed + 1, self.options)
        settings = self.settings
        chain = settings.pop("chain", None)
        flags = [_flag(name, value) for name, value in settings.items()]
        return " ".join(
            ["hmchain run", *flags, "--no-chain" if chain is None else f"--chain {chain}", "--data-root DIR"]
        )


def experiment_command(name: str, datasets: Sequence[str], seeds: int, options: Mapping[str, Any]) -> str:
    """The command that repeats an experiment. DIR stands for the folder of the data."""
    size = [_flag(each, options[each]) for each in ("rounds", "members") if options[each] != PAPER[each]]
    given = [_flag("datasets", ",".join(datasets)), _flag("seeds", seeds), *size]
    return " ".join(["hmchain experiment", name, *given, "--data-root DIR"])


def _flag(name: str, value: Any) -> str:
    flag = f"--{FLAGS.get(name, name.replace('_', '-'))}"
    return flag if value is True else f"{flag} {value}"
