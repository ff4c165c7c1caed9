"""`hmchain run`: what it leaves behind, and that a chain changes nothing about the model."""

from __future__ import annotations

import json
import stat
from pathlib import Path
from typing import Any

import pytest

from coordinator.progress import Silent
from coordinator.run import conduct, run
from tests.e2e.conftest import FinishedRun
from tests.e2e.stripes import arguments_for, federation_of, hmchain, invoke, options_for

CALLS = {"submit_update", "commit_scores", "reveal_scores", "propose_model", "attest_model", "round_total"}


def digest_of(out: Path, data: Path, **changes: Any) -> str | None:
    """The model digest of a run with these options."""
    digest: str | None = run(options_for(out, data, **changes), Silent())["model_digest"]
    return digest


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"partition": "dirichlet:0.3", "metric": "balanced_accuracy"},
        {"members": 3, "masters": 3, "fraction": 1.0},
        {"masters": 1, "seed": 7},
    ],
    ids=["five members", "label skew", "three members in every role", "one master"],
)
def test_the_same_seed_gives_the_same_model_with_and_without_a_chain(
    changes: dict[str, Any], data: Path, tmp_path: Path
) -> None:
    with_chain = run(options_for(tmp_path / "chain", data, **changes), Silent())
    without = run(options_for(tmp_path / "plain", data, chain=None, **changes), Silent())
    assert with_chain["model_digest"] == without["model_digest"] is not None
    for told in (with_chain, without):
        for other in ("gas", "seconds", "chain"):
            told.pop(other)
    assert with_chain == without


def test_the_number_of_workers_changes_nothing_in_the_model(data: Path, tmp_path: Path) -> None:
    one, three = (digest_of(tmp_path / str(n), data, chain=None, rounds=1, workers=n) for n in (1, 3))
    assert one == three is not None


def test_measuring_the_validation_split_changes_nothing_else(data: Path, tmp_path: Path) -> None:
    plain, validated = (
        run(options_for(tmp_path / str(validate), data, chain=None, validate=validate), Silent())
        for validate in (False, True)
    )
    assert set(validated) - set(plain) == {"val_auc", "val_acc"}
    assert 0 <= validated["val_auc"] <= 1
    assert 0 <= validated["val_acc"] <= 1
    assert plain["model_digest"] == validated["model_digest"] is not None


def test_the_seed_decides_the_model(data: Path, tmp_path: Path) -> None:
    digests = [digest_of(tmp_path / str(n), data, chain=None, rounds=1, seed=seed) for n, seed in enumerate((3, 3, 4))]
    assert digests[0] == digests[1] != digests[2]


@pytest.mark.parametrize("chain", ["embedded", None])
def test_a_standard_that_refuses_everything_fails_the_rounds_and_the_model_stands(
    chain: str | None, data: Path, tmp_path: Path
) -> None:
    options = options_for(tmp_path / "run", data, chain=chain, standard="absolute:1", learning_rate=1e-6)
    summary = run(options, Silent())
    assert (summary["completed_rounds"], summary["failed_rounds"]) == (0, 2)
    assert summary["model_digest"] is summary["test_auc"] is summary["test_acc"] is None
    rows = [json.loads(line) for line in (options.out / "metrics.jsonl").read_text().splitlines()]
    assert [(row["outcome"], row["failed_in"], row["accepted"]) for row in rows] == [("failed", "COMMIT", [])] * 2
    assert all("below the standard of 100.00 %" in why for row in rows for why in row["refused"].values())


def test_the_summary_has_every_field_that_is_promised(finished: FinishedRun) -> None:
    summary = json.loads((finished.folder / "summary.json").read_text())
    assert summary == finished.summary
    assert (summary["dataset"], summary["members"], summary["rounds"]) == ("stripes", 5, 3)
    trained = {
        name: summary[name] for name in ("epochs", "batch_size", "learning_rate", "metric", "standard", "fraction")
    }
    options = options_for(finished.folder, Path(), rounds=3)
    assert trained == {name: getattr(options, name) for name in trained}
    assert (summary["completed_rounds"], summary["failed_rounds"]) == (3, 0)
    assert 0 <= summary["test_acc"] <= 1
    assert 0 <= summary["test_auc"] <= 1
    assert summary["model_digest"].startswith("sha256:")
    assert set(summary["gas"]) == CALLS
    assert all(0 < gas["min"] <= gas["median"] <= gas["max"] for gas in summary["gas"].values())
    assert {"total", "training", "scoring", "chain", "blobs"} <= set(summary["seconds"])
    parts = sum(seconds for name, seconds in summary["seconds"].items() if name != "total")
    assert parts <= summary["seconds"]["total"] + 0.01


def test_every_round_has_a_line_of_metrics(finished: FinishedRun) -> None:
    rows = [json.loads(line) for line in (finished.folder / "metrics.jsonl").read_text().splitlines()]
    assert [row["round"] for row in rows] == [1, 2, 3]
    assert rows[0]["refused"] == {str(finished.refused): "a weight is NaN or infinite"}
    assert finished.refused not in rows[0]["accepted"]
    assert rows[-1]["test"]["auc"] == finished.summary["test_auc"]
    assert rows[-1]["model_digest"] == finished.summary["model_digest"]


def test_the_curves_are_a_picture(finished: FinishedRun) -> None:
    picture = (finished.folder / "curves.png").read_bytes()
    assert picture.startswith(b"\x89PNG\r\n\x1a\n")
    assert picture.endswith(b"IEND\xaeB`\x82")


def test_the_job_key_is_for_its_owner_alone(finished: FinishedRun) -> None:
    assert stat.S_IMODE((finished.folder / "job.key").stat().st_mode) == 0o600


def test_no_secret_is_written_anywhere_but_to_the_job_key(data: Path, tmp_path: Path) -> None:
    options = options_for(tmp_path / "run", data, rounds=1)
    setup, federation = federation_of(options)
    conduct(federation, options, setup.dataset, Silent())
    secrets = [b"AGE-SECRET-KEY-1"]
    for hospital in federation.hospitals.values():
        identity = hospital.identity
        for secret in (bytes(identity.account.key), identity.salt_secret):
            secrets += [secret, secret.hex().encode()]
        secrets.append(identity.encryption.secret.encode())
        assert all(secret.decode(errors="replace") not in repr(hospital) for secret in secrets)
    for path in (path for path in options.out.rglob("*") if path.is_file()):
        found = [secret for secret in secrets if secret in path.read_bytes()]
        assert found == ([b"AGE-SECRET-KEY-1"] if path.name == "job.key" else []), path


def test_progress_tells_the_round_who_took_part_and_how_it_ended(data: Path, tmp_path: Path) -> None:
    code, out, err = hmchain(*arguments_for(data, rounds=1), "--out", tmp_path / "run")
    assert (code, err) == (0, "")
    for told in ("5 hospitals", "round 1/1", "REQUEST", "PRE-PREPARE", "2 accepted", "COMMIT", "REPLY", "AUC", "gas"):
        assert told in out
    assert f"hmchain verify {tmp_path / 'run'}" in out.replace("\n", "")
    assert "AGE-SECRET-KEY" not in out


def test_json_prints_one_object_and_nothing_else(data: Path, tmp_path: Path) -> None:
    code, out, err = invoke(*arguments_for(data, rounds=1, no_chain=True, json=True), "--out", tmp_path / "run")
    assert (code, err) == (0, "")
    assert json.loads(out) == json.loads((tmp_path / "run/summary.json").read_text())
    assert out.count("\n") == 1
    assert json.loads(out)["gas"] == {}
    assert sorted(path.name for path in (tmp_path / "run").iterdir()) == ["curves.png", "metrics.jsonl", "summary.json"]
