"""`hmchain up` and `down` as a user meets them, and what a hospital's node says to a start that cannot work."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest

from coordinator import daemons, local_founding
from coordinator.jobs import read_manifest
from hmchain.errors import BlobError, ChainError, DataError, UsageError
from hmchain.files import write_secret
from tests.e2e.stripes import NAME, flags, hmchain, invoke, start
from tests.e2e.town import Town
from trainers import logs
from trainers.config import FILE
from trainers.splits import load_shard

CLOSED = 9  # the discard port: nobody listens there
INTERRUPTED = 130


def up_arguments(folder: Path, data: Path, **changes: Any) -> list[str]:
    """Three hospitals, one of which trains in a round."""
    named = {"hospitals": 3, "masters": 3, "dataset": NAME, "data-root": data, "rounds": 4, "fraction": 0.34}
    named |= {"epochs": 1, "batch-size": 16}
    return ["up", str(folder), *flags(named | {name.replace("_", "-"): value for name, value in changes.items()})]


def pids(folder: Path) -> dict[str, int]:
    """The processes of a local consortium, by name."""
    content = json.loads((folder / "processes.json").read_text())
    return {name: process["pid"] for name, process in content.items()}


def alive(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def serving(folder: Path) -> list[str]:
    """Command lines, of whichever process but this one, that name a folder."""
    others = [p for p in psutil.process_iter(["cmdline", "status"]) if p.pid != os.getpid()]
    lines = [" ".join(p.info["cmdline"] or ()) for p in others if p.info["status"] != psutil.STATUS_ZOMBIE]
    return [line for line in lines if str(folder) in line]


def status(folder: Path) -> dict[str, Any]:
    """The first job as the first hospital sees it."""
    code, out, err = invoke("status", "--config", folder / "hospital-1" / FILE, "--json")
    assert (code, err) == (0, "")
    [job] = json.loads(out)["jobs"]
    return job  # type: ignore[no-any-return]


# ---------------------------------------------------------------- up and down


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """Where a test may have a local consortium; whatever runs of it afterwards is stopped."""
    yield tmp_path / "local"
    if (tmp_path / "local").exists():
        invoke("down", tmp_path / "local", "--remove")


def test_up_and_down_as_often_as_one_likes(folder: Path, data: Path) -> None:
    code, out, err = hmchain(*up_arguments(folder, data))
    assert (code, err) == (0, "")
    assert "round 1  over: model " in out
    assert f"stop:  hmchain down {folder}" in out
    first = pids(folder)
    names = {"chain", *(f"{what}-{n}" for what in ("ipfs", "node") for n in (1, 2, 3))}
    assert set(first) == names
    assert all(map(alive, first.values()))

    job = status(folder)
    assert (job["rounds"], job["history"][0]["round"], job["history"][0]["outcome"]) == (4, 1, "finalized")
    code, out, err = invoke("up", folder, "--wait", 0, "--hospitals", 4)
    assert (code, err) == (0, "")
    assert "has 3 hospitals and their job" in out
    assert pids(folder) == first, "nothing was started twice"

    code, out, err = invoke("down", folder)
    assert (code, err) == (0, "")
    assert set(out.removeprefix("stopped ").strip().split(", ")) == names
    assert [name for name, pid in first.items() if alive(pid)] == []
    assert serving(folder) == []
    assert invoke("down", folder) == (0, "nothing was running\n", "")

    code, out, err = hmchain("up", folder, "--wait", 100)
    assert (code, err) == (0, "")
    assert re.search(r"round \d  [A-Z_]+: members", out), "it went on in the middle of a round"
    assert re.search(r"round 4  (over: model|failed in COMMIT)", out), "an update may be refused"
    job = status(folder)
    assert (job["phase"], len(job["history"])) == ("CLOSED", 4)
    assert {past["failed_in"] for past in job["history"]} <= {None, "COMMIT"}
    assert [past["round"] for past in job["history"] if past["silent"]] == [], "who was stopped came back in time"

    second = pids(folder)
    assert invoke("down", folder, "--remove")[::2] == (0, "")
    assert not folder.exists()
    assert [name for name, pid in second.items() if alive(pid)] == []


@pytest.mark.parametrize("moment", ["divided among", "chain at"])
def test_an_interrupted_founding_leaves_nothing_behind(moment: str, folder: Path, data: Path) -> None:
    process = start(*up_arguments(folder, data))
    assert process.stdout is not None
    for line in process.stdout:
        if moment in line:
            process.send_signal(signal.SIGINT)
            break
    _, err = process.communicate(timeout=60)
    assert (process.returncode, err) == (INTERRUPTED, "hmchain: interrupted\n")
    assert not folder.exists()
    assert serving(folder) == []


def refused(code: int, *arguments: object) -> str:
    """The one line that a command says which cannot work."""
    found, out, line = invoke(*arguments)
    assert (found, out) == (code, ""), line
    assert line.startswith("hmchain: ")
    assert line.count("\n") == 1
    assert "defect" not in line
    return line


@pytest.mark.parametrize(
    ("changes", "code", "told"),
    [
        ({"dataset": "organmnist"}, DataError.exit_code, "did you mean"),
        ({"masters": 4}, UsageError.exit_code, "masters"),  # of three hospitals: nobody could ever open a round
        ({"masters": 0}, UsageError.exit_code, "masters"),
        ({"hospitals": 50, "masters": 16}, UsageError.exit_code, "masters"),
        ({"fraction": 0}, UsageError.exit_code, "fraction"),
        ({"rounds": 0}, UsageError.exit_code, "rounds"),
        ({"epochs": 0}, UsageError.exit_code, "epochs"),
        ({"partition": "random"}, UsageError.exit_code, "partition"),
        ({"seed": -1}, UsageError.exit_code, "seed"),
        ({"lr": "nan"}, UsageError.exit_code, "learning rate"),
    ],
    ids=str,
)
def test_options_that_cannot_work_start_nothing(
    changes: dict[str, Any], code: int, told: str, folder: Path, data: Path
) -> None:
    line = refused(code, *up_arguments(folder, data, wait=0, **changes))
    assert told in line
    assert "job.toml" not in line, "of which the user knows nothing"
    assert not folder.exists()


def test_one_hospital_is_no_consortium(folder: Path, data: Path) -> None:
    code, out, err = invoke(*up_arguments(folder, data, hospitals=1))
    assert (code, out) == (UsageError.exit_code, "")
    assert err.splitlines()[-1].startswith("Error: Invalid value for '--hospitals'")
    assert not folder.exists()


def test_without_anvil_nothing_is_started(folder: Path, data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In a folder that has no .tools/bin, either."""
    monkeypatch.setenv("PATH", "")
    monkeypatch.chdir(folder.parent)
    line = "hmchain: anvil is neither on PATH nor in .tools/bin; `make daemons` puts it there\n"
    assert refused(UsageError.exit_code, *up_arguments(folder, data)) == line
    assert not folder.exists()


def test_a_folder_of_something_else_is_left_alone(tmp_path: Path, data: Path) -> None:
    foreign = tmp_path / "photos"
    foreign.mkdir()
    (foreign / "cat.png").write_bytes(b"cat")
    assert "holds no local consortium" in refused(UsageError.exit_code, *up_arguments(foreign, data))
    assert "holds no local consortium" in refused(UsageError.exit_code, "down", foreign, "--remove")
    assert [(path.name, path.read_bytes()) for path in foreign.iterdir()] == [("cat.png", b"cat")]
    assert "holds no local consortium" in refused(UsageError.exit_code, "down", tmp_path / "nowhere")


# ---------------------------------------------------------------- a node that cannot start


@pytest.fixture(scope="module")
def founded(tmp_path_factory: pytest.TempPathFactory, data: Path) -> Iterator[Town]:
    """A chain, IPFS daemons and a job, but no node at work."""
    town = Town(tmp_path_factory.mktemp("founded") / "town", data, hospitals=2, masters=2, rounds=1)
    try:
        town.found()
        yield town
    finally:
        town.close()


@pytest.fixture
def hospital(founded: Town, tmp_path: Path) -> Iterator[Path]:
    """A copy of a hospital's folder to do harm to."""
    logger = logs.LOGGER
    kept = logger.handlers[:], logger.level, logger.propagate
    yield Path(shutil.copytree(founded.folder(1), tmp_path / "hospital", ignore=shutil.ignore_patterns("ipfs*")))
    logger.handlers[:], logger.propagate = kept[0], kept[2]
    logger.setLevel(kept[1])


def edit(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert text.count(old) == 1
    path.write_text(text.replace(old, new))


def configure(hospital: Path, key: str, value: Any) -> None:
    [line] = [line for line in (hospital / FILE).read_text().splitlines() if line.startswith(f"{key} = ")]
    edit(hospital / FILE, line, f"{key} = {json.dumps(value)}")


def rewrite(path: Path, **changes: Any) -> None:
    """Changes fields of a JSON file."""
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def state_of_another(hospital: Path) -> None:
    consortium = json.loads((hospital / "consortium.json").read_text())
    content = {"format": "hmchain-node/1", "chain_id": consortium["chain_id"], "contract": "0x" + "11" * 20}
    write_secret(hospital / "state.json", json.dumps(content | {"outbox": None, "ballots": {}}).encode())


Damage = Callable[[Path], object]
CARELESSNESS: dict[str, tuple[Damage, int, str]] = {
    "a configuration that is no TOML": (
        lambda h: (h / FILE).write_text("name = 'Hospital\n"),
        UsageError.exit_code,
        f"{FILE} is not TOML: ",
    ),
    "a key that does not exist": (
        lambda h: edit(h / FILE, "poll_seconds =", "pol_seconds ="),
        UsageError.exit_code,
        "unknown key chain.pol_seconds; did you mean poll_seconds?",
    ),
    "another password": (
        lambda h: write_secret(h / "password", b"guess\n"),
        UsageError.exit_code,
        "the password does not open the operator's keystore",
    ),
    "a key that others can read": (
        lambda h: (h / "keys/operator.json").chmod(0o644),
        UsageError.exit_code,
        "can be read by others (mode 0644)",
    ),
    "a contract that the chain does not have": (
        lambda h: rewrite(h / "consortium.json", deployment="0x" + "11" * 32),
        ChainError.exit_code,
        "this chain has no contract",
    ),
    "another contract than the deployment made": (
        lambda h: rewrite(h / "consortium.json", contract="0x" + "11" * 20),
        ChainError.exit_code,
        "this chain has no contract 0x1111111111111111111111111111111111111111",
    ),
    "a consortium's file that is none": (
        lambda h: (h / "consortium.json").write_text("{}"),
        UsageError.exit_code,
        "is not a hmchain-consortium/1 file",
    ),
    "the memory of another consortium": (
        state_of_another,
        UsageError.exit_code,
        "belongs to contract 0x1111111111111111111111111111111111111111 on chain 31337",
    ),
    "a memory that is damaged": (
        lambda h: write_secret(h / "state.json", b'{"format": '),
        UsageError.exit_code,
        "state.json is damaged",
    ),
    "a chain that does not answer": (
        lambda h: configure(h, "urls", [f"http://127.0.0.1:{CLOSED}"]),
        ChainError.exit_code,
        f"http://127.0.0.1:{CLOSED} does not answer",
    ),
    "another chain": (
        lambda h: rewrite(h / "consortium.json", chain_id=1),
        ChainError.exit_code,
        f"is chain {daemons.CHAIN_ID}, not chain 1",
    ),
    "an IPFS daemon that does not answer": (
        lambda h: configure(h, "store", f"ipfs:/ip4/127.0.0.1/tcp/{CLOSED}"),
        BlobError.exit_code,
        "it is not reachable",
    ),
    "no data": (lambda h: (h / "data.npz").unlink(), DataError.exit_code, "data.npz"),
    "data cut short": (
        lambda h: (h / "data.npz").write_bytes((h / "data.npz").read_bytes()[:-1000]),
        DataError.exit_code,
        "data.npz cannot be read",
    ),
}


def content_of(folder: Path) -> dict[str, str]:
    """Every file but the lock, its mode and its digest."""
    files = [path for path in folder.rglob("*") if path.is_file() and path.suffix != ".lock"]
    return {
        str(path.relative_to(folder)): f"{path.stat().st_mode:o} {hashlib.sha256(path.read_bytes()).hexdigest()}"
        for path in files
    }


@pytest.mark.parametrize("mistake", CARELESSNESS)
def test_a_node_says_in_one_line_why_it_cannot_start(mistake: str, hospital: Path, founded: Town) -> None:
    damage, code, told = CARELESSNESS[mistake]
    damage(hospital)
    before, sent = content_of(hospital), founded.nonce(1)
    assert told in refused(code, "node", "--config", hospital / FILE)
    assert content_of(hospital) == before
    assert founded.nonce(1) == sent


def test_a_hospital_runs_one_node(founded: Town) -> None:
    """The real command, against a node at work, whose log is its own."""
    founded.start_node(2)
    founded.wait("that the node is at work", lambda _: "we are a member" in founded.log(2))
    config = founded.folder(2) / FILE
    before = content_of(founded.folder(2) / "keys")
    code, out, err = hmchain("node", "--config", config)
    assert (code, out) == (UsageError.exit_code, "")
    assert err == f"hmchain: another process uses {founded.folder(2)}/state.json: a hospital runs one node\n"
    assert founded.running("node-2")
    assert content_of(founded.folder(2) / "keys") == before


def test_of_images_with_several_findings_the_first_job_is_multi_label(tmp_path: Path) -> None:
    arrays = {}
    for name in ("train", "val", "test"):
        arrays |= {f"{name}_images": np.zeros((8, 28, 28), np.uint8), f"{name}_labels": np.eye(8, 3, dtype=np.uint8)}
    np.savez(tmp_path / "findings.npz", **arrays)
    job = {"masters": 2, "seed": 0}
    local = local_founding.prepare(tmp_path / "town", 2, "findings", tmp_path, "iid", job)
    assert read_manifest(local.folder / "job.toml").multi_label
    assert {load_shard(hospital / "data.npz").train.findings for hospital in local.hospitals} == {3}
