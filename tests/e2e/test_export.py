"""`hmchain export`: the bytes that the masters attested, and a network that answers as the run's did."""

from __future__ import annotations

import hashlib
import json
import shutil
import stat
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from coordinator.progress import Silent
from coordinator.run import run
from hmchain.errors import HMChainError, UsageError, WeightsError
from tests.e2e.conftest import FinishedRun
from tests.e2e.stripes import NAME, invoke, options_for
from trainers.datasets import load
from trainers.exported import MANIFEST, MODEL, open_model
from trainers.scoring import measure


@pytest.fixture(scope="session")
def exported(finished: FinishedRun, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The last model of the finished run."""
    out = tmp_path_factory.mktemp("exported") / "model"
    code, told, err = invoke("export", finished.folder, "--out", out)
    assert (code, err) == (0, "")
    assert told.startswith(f"model of round 3, {finished.summary['model_digest']}, ")
    return out


@pytest.fixture
def altered(exported: Path, tmp_path: Path) -> Path:
    """A copy to alter."""
    return Path(shutil.copytree(exported, tmp_path / "altered"))


def sha256(path: Path) -> str:
    return "sha256:" + hashlib.sha256(path.read_bytes()).hexdigest()


def test_the_files_are_what_the_chain_names(finished: FinishedRun, exported: Path) -> None:
    assert sha256(exported / MODEL) == finished.summary["model_digest"]
    assert sha256(exported / MANIFEST) == finished.summary["manifest_digest"]
    assert stat.S_IMODE((exported / MODEL).stat().st_mode) == 0o600, "it can betray what it was trained on"


def test_a_model_answers_as_it_did_in_the_run(finished: FinishedRun, exported: Path, data: Path) -> None:
    model, test = open_model(exported), load(NAME, data).test
    assert (model.round, f"sha256:{model.digest.hex()}") == (3, finished.summary["model_digest"])
    answers = model.predict(test.inputs)
    assert answers.shape == (len(test), len(model.manifest.classes))
    metrics = measure(answers, test)
    assert (metrics.auc, metrics.accuracy) == (finished.summary["test_auc"], finished.summary["test_acc"])


def test_any_reader_of_safetensors_opens_it(exported: Path) -> None:
    weights = load_file(exported / MODEL)
    state = open_model(exported).network.state_dict()
    assert weights.keys() == state.keys()
    assert all(np.array_equal(state[name].cpu().numpy(), array) for name, array in weights.items())


def test_each_rounds_model_and_the_initial_one(finished: FinishedRun, tmp_path: Path) -> None:
    digests = set()
    for number in (0, 1, 2):
        code, told, err = invoke(
            "export", finished.folder, "--round", number, "--out", tmp_path / f"{number}", "--json"
        )
        assert (code, err) == (0, "")
        written = json.loads(told)
        assert written["round"] == open_model(tmp_path / f"{number}").round == number
        assert written["model_digest"] == sha256(tmp_path / f"{number}" / MODEL)
        digests.add(written["model_digest"])
    assert len(digests) == 3


def test_findings_and_the_servers_moments(tmp_path: Path) -> None:
    """A model of several findings, with server momentum, which the network does not have."""
    stream, arrays = np.random.default_rng(0), {}
    for name, count in (("train", 60), ("val", 20), ("test", 20)):
        arrays[f"{name}_images"] = stream.integers(0, 256, (count, 28, 28, 3)).astype(np.uint8)
        arrays[f"{name}_labels"] = stream.integers(0, 2, (count, 3))
    np.savez(tmp_path / f"{NAME}.npz", **arrays)
    summary = run(options_for(tmp_path / "run", tmp_path, strategy="fedavgm", rounds=1), Silent())
    assert invoke("export", tmp_path / "run", "--out", tmp_path / "model")[::2] == (0, "")
    model, test = open_model(tmp_path / "model"), load(NAME, tmp_path).test
    assert measure(model.predict(test.inputs), test).auc == summary["test_auc"]
    with pytest.raises(UsageError, match=r"takes uint8 \('N', 28, 28, 3\), not uint8 \(20, 28, 28\)"):
        model.predict(test.inputs[..., 0])
    with pytest.raises(UsageError, match="not float64"):
        model.predict(test.inputs.astype(np.float64))


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--round", "4"], "round 4 made no model; the last that did is round 3"),
        (["--config", "x"], "name a run's folder, or a hospital's --config and the --job"),
        (["--job", "1"], "name a run's folder, or a hospital's --config and the --job"),
        (["--out", "there"], "there exists; name a new folder with --out"),
        (["--out", "no/where/new"], "cannot make the folder no/where/new"),
    ],
    ids=lambda part: " ".join(part) if isinstance(part, list) else "",
)
def test_what_cannot_be_exported(
    arguments: list[str], told: str, finished: FinishedRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("there").mkdir()
    Path("no").touch()
    code, out, err = invoke("export", finished.folder, *arguments)
    assert code in (2, 6)
    assert (out, err.count("\n")) == ("", 1)
    assert told in err
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["no", "there"]


def test_a_blob_that_is_lost_leaves_no_half_of_a_model(copy: Callable[[], Path], tmp_path: Path) -> None:
    folder = copy()
    largest = sorted((folder / "blobs").iterdir(), key=lambda path: path.stat().st_size)
    for path in largest[-20:]:
        path.unlink()
    code, out, err = invoke("export", folder, "--out", tmp_path / "model")
    assert (code, out, err.count("\n")) == (1, "", 1)
    assert not (tmp_path / "model").exists()


def test_another_jobs_manifest_is_noticed(altered: Path) -> None:
    text = (altered / MANIFEST).read_text().replace('"seed":0', '"seed":1')
    (altered / MANIFEST).write_text(text)
    with pytest.raises(UsageError, match="is of another job than"):
        open_model(altered)


@pytest.mark.parametrize("name", [MODEL, MANIFEST])
def test_a_file_that_is_missing_or_is_none(name: str, altered: Path) -> None:
    (altered / name).write_bytes(b"{}")
    with pytest.raises(UsageError, match=r"no model that hmchain exported|not a manifest"):
        open_model(altered)
    (altered / name).unlink()
    with pytest.raises(HMChainError):
        open_model(altered)


def test_weights_of_another_network_or_written_otherwise(altered: Path) -> None:
    model = altered / MODEL
    whole, weights = model.read_bytes(), load_file(model)
    model.write_bytes(whole[:-4])
    with pytest.raises(HMChainError):
        open_model(altered)
    name = next(iter(weights))
    save_file({name: weights[name]}, model, metadata=metadata_of(whole))
    with pytest.raises(WeightsError):
        open_model(altered)


def metadata_of(data: bytes) -> dict[str, str]:
    """A safetensors file's metadata: eight bytes of length, then JSON."""
    header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
    return dict(header["__metadata__"])
