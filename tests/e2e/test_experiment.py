"""`hmchain experiment` as it is typed: what it writes, that it goes on where it was, and what stops it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.e2e.stripes import NAME, invoke, start


def arguments(data: Path, out: Path, name: str = "figure5", **changes: Any) -> list[str]:
    """Two runs of two rounds, each a few seconds."""
    named = {"datasets": NAME, "seeds": 1, "rounds": 2, "members": 10, "data-root": data, "out": out, **changes}
    return ["experiment", name, *(f"--{option}={value}" for option, value in named.items())]


def runs(out: Path) -> list[Path]:
    return sorted((out / "runs").rglob("*.json"))


@pytest.fixture(scope="module")
def done(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished experiment."""
    out = tmp_path_factory.mktemp("experiment") / "results"
    code, _, err = invoke(*arguments(data, out))
    assert (code, err) == (0, "")
    return out


def test_it_leaves_a_table_figures_and_a_small_file_a_run(done: Path) -> None:
    assert {path.name for path in done.iterdir()} == {
        ".lock",
        "figure5.md",
        f"figure5-{NAME}.png",
        f"figure5-{NAME}.svg",
        "runs",
    }
    assert "2 of 2 runs are done" in (done / "figure5.md").read_text()
    results = [json.loads(path.read_text()) for path in runs(done)]
    assert all(len(result["rounds"]["auc"]) == result["completed_rounds"] == 2 for result in results)
    assert all(path.stat().st_size < 4096 for path in runs(done))


def test_no_result_knows_where_its_data_were(done: Path, data: Path) -> None:
    for path in runs(done):
        assert str(data) not in path.read_text()
        assert json.loads(path.read_text())["command"].endswith("--no-chain --data-root DIR")


def test_what_is_done_is_not_run_again(done: Path, data: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in runs(done)}
    code, out, _ = invoke(*arguments(data, done), "--json")
    assert (code, json.loads(out)["ran"]) == (0, 0)
    assert before == {path: path.stat().st_mtime_ns for path in runs(done)}


def test_a_result_is_that_of_the_command_it_names(done: Path, data: Path, tmp_path: Path) -> None:
    result = json.loads(runs(done)[0].read_text())
    words = result["command"].replace("DIR", str(data)).split()[1:]
    code, out, _ = invoke(*words, "--out", tmp_path / "run", "--json")
    assert (code, json.loads(out)["model_digest"]) == (0, result["model_digest"])


def test_finished_runs_survive_a_kill(data: Path, tmp_path: Path) -> None:
    process = start(*arguments(data, tmp_path, jobs=1))
    deadline = time.monotonic() + 90
    while not runs(tmp_path) and time.monotonic() < deadline:
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    kept = {path: path.read_bytes() for path in runs(tmp_path)}
    assert kept
    code, out, _ = invoke(*arguments(data, tmp_path), "--json")
    assert (code, json.loads(out)["ran"]) == (0, 2 - len(kept))
    assert all(path.read_bytes() == content for path, content in kept.items())
    assert not (tmp_path / ".unfinished").exists()


def test_an_interrupted_experiment_says_so_and_shows_what_it_has(data: Path, tmp_path: Path) -> None:
    process = start(*arguments(data, tmp_path, jobs=1))
    assert process.stdout is not None
    assert process.stdout.readline().startswith(f"1/2  {NAME}, lr 0.01, seed 0: AUC ")
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert (process.returncode, err) == (130, "hmchain: interrupted\n")
    assert "1 of 2 runs are done" in (tmp_path / "figure5.md").read_text()


def test_ctrl_c_while_its_processes_start_is_one_line_too(data: Path, tmp_path: Path) -> None:
    process = start(*arguments(data, tmp_path, jobs=1))
    server = fork_server_of(process)
    while not any("torch" in map.path for map in server.memory_maps()):
        time.sleep(0.01)
    for pid in (server.pid, process.pid):  # a terminal sends it to the whole group
        os.kill(pid, signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert (process.returncode, out, err) == (130, "", "hmchain: interrupted\n")


def fork_server_of(process: subprocess.Popen[str]) -> psutil.Process:
    """The process that others will be forked from, as soon as there is one."""
    while process.poll() is None:
        for child in psutil.Process(process.pid).children():
            with suppress(psutil.NoSuchProcess):  # some end as soon as they have begun
                if "forkserver" in " ".join(child.cmdline()):
                    return child
    raise AssertionError(process.communicate())


@pytest.mark.parametrize(
    ("changes", "code", "said"),
    [
        ({"datasets": "breastmnits"}, 3, "did you mean breastmnist"),
        ({"datasets": "organsmnist"}, 3, "organsmnist.npz is not the published file"),
        ({"members": 500}, 2, "too few"),
    ],
    ids=["unknown", "altered", "too many members"],
)
def test_what_cannot_be_run_is_one_line(
    changes: dict[str, Any], code: int, said: str, data: Path, tmp_path: Path
) -> None:
    (tmp_path / "organsmnist.npz").write_bytes(b"altered")
    (tmp_path / f"{NAME}.npz").symlink_to(data / f"{NAME}.npz")
    found, _, err = invoke(*arguments(tmp_path, tmp_path / "out", **changes))
    assert (found, err.count("\n")) == (code, 1), err
    assert said in err
    assert not runs(tmp_path / "out")


def test_what_is_refused_leaves_the_tables_that_are_there(data: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / "figure5.md").write_text("what was run before")
    assert invoke(*arguments(data, out, datasets="breastmnits"))[0] == 3
    assert (out / "figure5.md").read_text() == "what was run before"
