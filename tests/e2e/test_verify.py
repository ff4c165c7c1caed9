"""`hmchain verify` on runs that nobody tampered with: finished, cut short, or not there."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from coordinator.evidence import blobs_of, chain_of, evidence_on
from coordinator.folder import RunFile, read_key
from coordinator.progress import Silent
from coordinator.run import run
from hmchain.chain import ChainClient
from hmchain.errors import BlobError, ChainError, VerificationError
from tests.e2e.conftest import FinishedRun
from tests.e2e.stripes import arguments_for, hmchain, invoke, options_for, start

CLOSED = 9  # the discard port: nobody listens there


def test_a_finished_run_is_valid_in_a_process_of_its_own(finished: FinishedRun, data: Path) -> None:
    code, out, err = hmchain("verify", finished.folder, "--data-root", data, "--json")
    verdict = json.loads(out)
    assert (code, err, verdict["valid"]) == (0, "", True)
    assert verdict["notes"][0].startswith("the report says without proof: ")
    assert verdict["model_digest"] == finished.summary["model_digest"]
    assert (verdict["completed_rounds"], verdict["updates"], verdict["models"]) == (3, 6, 4)
    last = json.loads((finished.folder / "ledger.jsonl").read_text().splitlines()[-1])
    assert (verdict["head"], verdict["head_hash"]) == (last["number"], last["hash"]), "to compare with what others know"
    assert (verdict["contract"], verdict["chain"]) == (RunFile.read(finished.folder).contract, "embedded")


def test_a_run_on_images_with_several_findings_is_valid(tmp_path: Path) -> None:
    stream, arrays = np.random.default_rng(0), {}
    for name, count in (("train", 100), ("val", 20), ("test", 30)):
        columns = stream.integers(0, 2, (count, 3))
        images = stream.integers(0, 60, (count, 28, 28)) + 150 * np.repeat(columns, (9, 9, 10), axis=1)[:, :, None]
        arrays |= {f"{name}_images": images.astype(np.uint8), f"{name}_labels": columns}
    np.savez(tmp_path / "stripes.npz", **arrays)
    summary = run(options_for(tmp_path / "run", tmp_path), Silent())
    assert 0 < summary["test_acc"] < 1
    code, out, err = invoke("verify", tmp_path / "run", "--data-root", tmp_path)
    assert (code, err) == (0, "")
    assert "metrics were not measured" not in out
    arrays["test_labels"] = 1 - arrays["test_labels"]
    np.savez(tmp_path / "stripes.npz", **arrays)
    assert "another file than the run's" in invoke("verify", tmp_path / "run", "--data-root", tmp_path)[1]


def test_without_the_data_set_the_metrics_are_not_measured_and_a_note_says_so(finished: FinishedRun) -> None:
    code, out, err = invoke("verify", finished.folder)
    assert (code, err) == (0, "")
    assert "VALID  3 rounds, 6 updates and 4 models" in out
    assert "note   test metrics were not measured again" in out


def test_verify_leaves_the_folder_as_it_was(finished: FinishedRun, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(finished.folder, tmp_path / "copy"))
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    assert invoke("verify", folder)[0] == 0
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before


def test_a_node_that_leaves_events_out_is_no_evidence(finished: FinishedRun, monkeypatch: pytest.MonkeyPatch) -> None:
    the_run, events = RunFile.read(finished.folder), ChainClient.events
    web3, store, key = chain_of(finished.folder, the_run), blobs_of(finished.folder, the_run), read_key(finished.folder)
    monkeypatch.setattr(ChainClient, "events", lambda *asked: (e for e in events(*asked) if e.name != "JobCreated"))
    with pytest.raises(VerificationError, match="the chain's events make no sense"):
        evidence_on(web3, the_run, store, key)
    with pytest.raises(ChainError, match="the chain's events make no sense"):
        evidence_on(web3, replace(the_run, chain="http://127.0.0.1:8545"), store, key)


def test_an_ipfs_daemon_that_does_not_answer_is_no_evidence(finished: FinishedRun, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(finished.folder, tmp_path / "copy"))
    replace(RunFile.read(folder), blobs=f"ipfs:/ip4/127.0.0.1/tcp/{CLOSED}").write(folder)
    code, out, err = invoke("verify", folder)
    assert (code, "INVALID" in out) == (BlobError.exit_code, False)
    assert err.startswith("hmchain: the IPFS daemon ")


def test_a_run_keeps_its_blobs_where_it_is_told(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    run(options_for(tmp_path / "run", data, rounds=1, blobs="elsewhere"), Silent())
    assert len(list((tmp_path / "elsewhere").iterdir())) == 3 + 2 + 1
    monkeypatch.chdir("/")
    assert invoke("verify", tmp_path / "run")[0] == 0


@pytest.mark.parametrize("what", ["absent", "empty", "file", "without a chain", "a name too long"])
def test_a_folder_without_a_run_is_a_mistake_of_the_user(what: str, data: Path, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    if what == "empty":
        folder.mkdir()
    elif what == "file":
        folder.touch()
    elif what == "a name too long":
        folder = tmp_path / ("a" * 300)
    elif what == "without a chain":
        run(options_for(folder, data, rounds=1, chain=None), Silent())
    code, out, err = invoke("verify", folder)
    assert (code, out) == (2, "")
    assert err == f"hmchain: {folder} holds no run with a chain (run.json is missing)\n"


def test_a_chain_by_another_url_is_for_a_run_on_a_node(finished: FinishedRun) -> None:
    line = "hmchain: the chain of this run is in its folder: leave --chain out\n"
    assert invoke("verify", finished.folder, "--chain", "http://127.0.0.1:9") == (2, "", line)
    code, _, err = invoke("verify", "--config", "hospital.toml", "--job", 1, "--chain", "http://127.0.0.1:9")
    assert (code, err) == (2, "hmchain: --chain is for a run's folder; a hospital's configuration has [chain] urls\n")


@pytest.fixture
def running(data: Path, tmp_path: Path) -> subprocess.Popen[str]:
    """A long run in tmp_path/run, past its second round."""
    process = start(*arguments_for(data, rounds=500), "--out", tmp_path / "run")
    assert process.stdout is not None
    for line in process.stdout:
        if line.startswith("round 3/"):
            return process
    raise AssertionError("the run ended")


def test_a_killed_run_is_not_valid_and_verify_says_how_far_it_came(
    running: subprocess.Popen[str], tmp_path: Path
) -> None:
    running.kill()
    running.communicate()
    code, out, err = invoke("verify", tmp_path / "run", "--json")
    assert (code, err) == (1, "")
    verdict = json.loads(out)
    assert verdict["valid"] is False
    assert "the run did not finish" in verdict["reason"] or "cut short" in verdict["reason"]


def test_an_interrupted_run_ends_with_one_line_and_exit_code_130(
    running: subprocess.Popen[str], tmp_path: Path
) -> None:
    running.send_signal(signal.SIGINT)
    _, err = running.communicate(timeout=30)
    assert (running.returncode, err) == (130, "hmchain: interrupted\n")
    code, out, _ = invoke("verify", tmp_path / "run")
    assert code == 1
    assert "INVALID  the run did not finish: " in out
