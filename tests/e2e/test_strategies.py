"""Every strategy through whole runs: the same model with and without a chain, recomputed by verify; and attacks."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

import trainers.hospital
from coordinator.progress import Silent
from coordinator.run import conduct, run
from hmchain.exchange import aggregate_of
from hmchain.recipe import STRATEGIES
from hmchain.weights import SERVER_PREFIX, Header, Weights
from tests.e2e.conftest import vars_of
from tests.e2e.stripes import arguments_for, federation_of, invoke, options_for
from tests.e2e.test_tamper import Accomplice

SMALL: dict[str, Any] = {"members": 3, "masters": 1, "fraction": 1.0}


@pytest.mark.parametrize("strategy", STRATEGIES[1:])
def test_a_strategy_ends_with_one_model_that_anyone_can_recompute(strategy: str, data: Path, tmp_path: Path) -> None:
    changes = {**SMALL, "strategy": strategy, "proximal": 0.1, "schedule": "cosine", "architecture": "groupnorm-cnn"}
    told = run(options_for(tmp_path / "chain", data, **changes), Silent())
    plain = run(options_for(tmp_path / "plain", data, chain=None, **changes), Silent())
    assert told["model_digest"] == plain["model_digest"] is not None
    assert (told["strategy"], told["recipe"]) == (strategy, {"proximal": 0.1, "schedule": "cosine"})
    code, out, err = invoke("verify", tmp_path / "chain", "--data-root", data)
    assert (code, err) == (0, "")
    assert "VALID  2 rounds, 6 updates and 3 models" in out


def test_moments_that_somebody_changed_are_found_though_everyone_attested_them(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The weights are right, the next round's would not be."""

    def nudged(*arguments: Any) -> tuple[Weights, Header]:
        weights, header = aggregate_of(*arguments)
        moved = {name: array + (1e-3 if name.startswith(SERVER_PREFIX) else 0) for name, array in weights.items()}
        return moved, header

    options = options_for(tmp_path / "run", data, rounds=1, strategy="fedavgm", **SMALL)
    setup, federation = federation_of(options)
    federation.hospitals.update({n: Accomplice(**vars_of(h)) for n, h in federation.hospitals.items()})
    monkeypatch.setattr(trainers.hospital, "aggregate_of", nudged)
    conduct(federation, options, setup.dataset, Silent())
    monkeypatch.undo()
    code, out, _ = invoke("verify", options.out, "--json")
    verdict = json.loads(out)
    assert (code, verdict["round"]) == (1, 1)
    assert verdict["reason"] == "the global model is not the aggregate of the accepted updates"


def test_malicious_hospitals_are_named_in_the_report_and_refused_by_the_masters(data: Path, tmp_path: Path) -> None:
    """One of five turns its labels around; a standard well above chance lets through what learnt, and no more."""
    attack = {"attack": "label-flip", "malicious": 0.2, "fraction": 1.0, "rounds": 3, "epochs": 4, "chain": None}
    told = run(options_for(tmp_path / "run", data, standard="absolute:0.6", **attack), Silent())
    (attacker,) = told["malicious"]
    assert told["attack"] == "label-flip"
    rows = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert any(str(attacker) in row["refused"] for row in rows)
    open_to_all = run(options_for(tmp_path / "open", data, standard="absolute:0", **attack), Silent())
    rows = [json.loads(line) for line in (tmp_path / "open" / "metrics.jsonl").read_text().splitlines()]
    assert all(attacker in row["accepted"] for row in rows)
    assert open_to_all["model_digest"] != told["model_digest"]


NET = """\
from torch import nn
class Net(nn.Sequential):
    def __init__(self, channels, classes):
        super().__init__(nn.Flatten(), nn.Linear(784 * channels, classes))
"""


def test_a_network_of_ones_own_is_verified_by_whoever_allows_it(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "our_nets.py").write_text(NET)
    monkeypatch.syspath_prepend(tmp_path)
    run(options_for(tmp_path / "run", data, rounds=1, architecture="our_nets:Net", **SMALL), Silent())
    code, _, err = invoke("verify", tmp_path / "run")
    assert code == 2
    assert err == "hmchain: our_nets:Net is a custom network, whose code is not allowed to run here\n"
    assert invoke("verify", tmp_path / "run", "--allow-module", "our_nets:Net")[0] == 0
    (tmp_path / "our_nets.py").write_text(NET + "# changed\n")
    code, out, err = invoke("verify", tmp_path / "run", "--allow-module", "our_nets:Net")
    assert (code, "VALID" in out) == (2, False), "it is no evidence against the run"
    assert re.match("hmchain: the source of our_nets:Net here has SHA-256 .*, the manifest names .*\n$", err)


FAULTY = """
from torch import nn
class Net(nn.Sequential):
    def __init__(self, channels, classes): super().__init__(nn.Flatten(), nn.Linear(784 * channels, classes))
    def forward(self, x):
        print("a batch of", len(x))
        if len(x) > 2 and self.training is FAILS:
            raise KeyError("no such layer")
        return super().forward(x)
"""


@pytest.mark.parametrize("fails", [True, False], ids=["in training", "when measured"])
def test_what_a_network_of_ones_own_raises_is_one_line_and_no_defect(
    fails: bool, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = f"faulty_{fails}"
    (tmp_path / f"{name}.py").write_text(FAULTY.replace("FAILS", str(fails)))
    monkeypatch.syspath_prepend(tmp_path)
    code, _, err = invoke(*arguments_for(data, architecture=f"{name}:Net", no_chain=True), "--out", tmp_path / "run")
    assert (code, err) == (6, f"hmchain: KeyError at {name}.py:8: 'no such layer'\n")
    assert not (tmp_path / "run").exists()


def test_what_a_network_of_ones_own_prints_is_no_part_of_the_json(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "talking_nets.py").write_text(FAULTY.replace("FAILS", "None"))
    monkeypatch.syspath_prepend(tmp_path)
    own, out = "talking_nets:Net", tmp_path / "run"
    code, said, err = invoke(*arguments_for(data, architecture=own, rounds=1), "--out", out, "--json")
    assert (code, json.loads(said)["architecture"]) == (0, own)
    assert "a batch of 2" in err
    code, said, _ = invoke("verify", out, "--data-root", data, "--allow-module", own, "--json")
    assert (code, json.loads(said)["valid"]) == (0, True)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"strategy": "fedprox"}, "fedprox needs a proximal above 0: with 0 it is fedavg"),
        ({"strategy": "median", "trim": 0.2}, "aggregation 'median-exact/1' has no trim"),
        ({"architecture": "lenet"}, "unknown architecture 'lenet'; known: groupnorm-cnn, groupnorm-resnet, logistic"),
        ({"architecture": "mlp"}, "architecture 'mlp' does not take images"),
        ({"architecture": "no_such_package:Net"}, "there is no Python source of 'no_such_package' here"),
        ({"architecture": "torch.nn:Linear"}, "torch.nn:Linear does not take images: RuntimeError: "),
        ({"attack": "noise"}, "--attack and --malicious, a share above 0 and below 1, go together"),
    ],
)
def test_options_that_do_not_go_together_are_one_line(
    options: dict[str, Any], said: str, data: Path, tmp_path: Path
) -> None:
    code, out, err = invoke(*arguments_for(data, **options), "--out", tmp_path / "run")
    assert (code, out) == (2, "")
    assert err.startswith(f"hmchain: {said}")
    assert err.count("\n") == 1
    assert not (tmp_path / "run").exists()
