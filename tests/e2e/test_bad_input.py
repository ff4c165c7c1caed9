"""What cannot work is refused in one line with a documented exit code, and leaves nothing behind."""

from __future__ import annotations

import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from coordinator.cli import guarded
from coordinator.jobs import EXAMPLE
from hmchain.card import Card
from hmchain.envelope import new_identity
from hmchain.errors import BlobError, ChainError, DataError, StorageError, UsageError
from tests.e2e.stripes import MAIN, NAME, arguments_for, invoke, write_stripes
from tests.samples import MEDMNIST, needs_medmnist

CLOSED = 9  # the discard port: nobody listens there


def refused(code: int, arguments: list[str], out: Path) -> str:
    """The one line that a refused run says; nothing may be left at `out`."""
    there = out.parent.is_dir() and out.name in {path.name for path in out.parent.iterdir()}
    found, said, line = invoke(*arguments, "--out", out)
    assert (found, said.count("\n")) in ((code, 0), (code, 1)), line
    assert line.startswith("hmchain: ")
    assert line.count("\n") == 1
    assert "Traceback" not in line
    assert there == (out.parent.is_dir() and out.name in {path.name for path in out.parent.iterdir()})
    return line


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"masters": 6}, "--masters must lie between 1 and 5"),
        ({"masters": 0}, "--masters"),
        ({"masters": 16, "members": 40}, "at most 15"),
        ({"members": 0, "masters": 1}, "--members"),
        ({"members": 1, "masters": 1}, "nobody judges its own update"),
        ({"members": -5}, "--members"),
        ({"members": 3000}, "--members must lie between 2 and 2047"),
        ({"fraction": 0.1}, "is no client at all"),
        ({"fraction": -0.1}, "--fraction"),
        ({"fraction": 1.1}, "--fraction"),
        ({"fraction": "nan"}, "--fraction"),
        ({"members": 100, "fraction": 0.9}, "more than 56 clients"),
        ({"rounds": 0}, "1 to 65535 rounds"),
        ({"rounds": -1}, "1 to 65535 rounds"),
        ({"rounds": 70_000}, "1 to 65535 rounds"),
        ({"epochs": 0}, "epochs"),
        ({"batch-size": 1}, "batch norm"),
        ({"batch-size": -3}, "batch norm"),
        ({"lr": 0}, "learning rate"),
        ({"lr": -0.1}, "learning rate"),
        ({"lr": "nan"}, "learning rate"),
        ({"lr": "inf"}, "learning rate"),
        ({"lr": "1e300"}, "learning rate must be a positive number of 1.18e-38 to 3.4e+38, not 1e+300"),
        ({"lr": "1e-39"}, "learning rate"),
        ({"seed": -1}, "--seed"),
        ({"seed": 2**63}, "--seed"),
        ({"partition": "random"}, "unknown partition 'random'"),
        ({"partition": "dirichlet:-1"}, "unknown partition"),
        ({"partition": "dirichlet:1e308"}, "unknown partition"),
        ({"standard": "relative:0.2"}, "neither absolute:X nor relative:-D"),
        ({"standard": "absolute:nan"}, "neither absolute:X nor relative:-D"),
        ({"members": 500, "fraction": 0.01}, "too few for 500 members"),
        ({"blobs": ""}, "--blobs names no place"),
        ({"blobs": "ipfs:nowhere"}, "'nowhere' is not the address of an IPFS daemon"),
        ({"blobs": "ipfs:/ip4/127.0.0.1"}, "is not the address of an IPFS daemon"),
    ],
    ids=str,
)
def test_options_that_cannot_work(options: dict[str, Any], told: str, data: Path, tmp_path: Path) -> None:
    assert told in refused(UsageError.exit_code, arguments_for(data, **options), tmp_path / "run")


@pytest.mark.parametrize("more", [{"chain": "http://127.0.0.1:9"}, {"blobs": "elsewhere"}], ids=str)
def test_without_a_chain_there_is_no_other_chain_and_no_blobs(more: dict[str, Any], data: Path, tmp_path: Path) -> None:
    line = refused(UsageError.exit_code, arguments_for(data, no_chain=True, **more), tmp_path / "run")
    assert "leave --chain and --blobs out" in line


@pytest.mark.parametrize(
    "options", [{"members": "many"}, {"metric": "f1"}, {"lr": "fast"}, {"colour": "blue"}], ids=str
)
def test_options_that_are_none(options: dict[str, Any], data: Path, tmp_path: Path) -> None:
    code, out, err = invoke(*arguments_for(data, **options), "--out", tmp_path / "run")
    assert (code, out) == (2, "")
    assert err.splitlines()[-1].startswith("Error: ")
    assert not (tmp_path / "run").exists()


# ---------------------------------------------------------------- data


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("organmnist", "did you mean organsmnist, organcmnist, organamnist?"),
        ("pneumonia", "pneumoniamnist"),
        ("../stripes", "unknown data set"),
        ("röntgen", "'röntgen' (a file of one's own is named with a to z"),
        ("my-sample", "and not ...-sample)"),
        ("organmnist3d", "three-dimensional"),
    ],
)
def test_an_unknown_data_set(name: str, told: str, data: Path, tmp_path: Path) -> None:
    assert told in refused(DataError.exit_code, arguments_for(data, dataset=name), tmp_path / "run")


def test_an_absent_data_root(tmp_path: Path) -> None:
    assert "is not a folder" in refused(DataError.exit_code, arguments_for(tmp_path / "no"), tmp_path / "run")


def _arrays(path: Path, **changes: Any) -> None:
    with np.load(path) as arrays:
        content = dict(arrays)
    np.savez(path, **{**content, **changes})


DAMAGES = {
    "truncated": lambda path: path.write_bytes(path.read_bytes()[:-1000]),
    "a byte flipped": lambda path: path.write_bytes(path.read_bytes()[:5000] + b"\x99" + path.read_bytes()[5001:]),
    "empty": lambda path: path.write_bytes(b""),
    "no npz": lambda path: path.write_bytes(b"hello"),
    "NaN": lambda path: _arrays(path, train_images=np.full((120, 28, 28), np.nan)),
    "labels of another type": lambda path: _arrays(path, train_labels=np.zeros((120, 1), np.float32)),
    "a pickle": lambda path: _arrays(path, train_labels=np.array([[print]] * 120, dtype=object)),
    "another size": lambda path: _arrays(path, train_images=np.zeros((120, 64, 64), np.uint8)),
    "fewer labels": lambda path: _arrays(path, train_labels=np.zeros((119, 1), np.uint8)),
}


@pytest.mark.parametrize("how", DAMAGES)
def test_a_damaged_data_set(how: str, tmp_path: Path) -> None:
    path = write_stripes(tmp_path / f"{NAME}.npz")
    DAMAGES[how](path)
    refused(DataError.exit_code, arguments_for(tmp_path), tmp_path / "run")


@needs_medmnist
def test_an_altered_official_file(tmp_path: Path) -> None:
    path = Path(shutil.copy(MEDMNIST / "breastmnist.npz", tmp_path))
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    line = refused(DataError.exit_code, arguments_for(tmp_path, dataset="breastmnist"), tmp_path / "run")
    assert "is not the published file: its md5 is" in line


# ---------------------------------------------------------------- the disk


def test_a_folder_that_is_not_empty(data: Path, tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run/mine").write_text("mine")
    line = refused(UsageError.exit_code, arguments_for(data), tmp_path / "run")
    assert "exists and is not empty" in line
    assert (tmp_path / "run/mine").read_text() == "mine"


def test_a_file_where_the_folder_should_be(data: Path, tmp_path: Path) -> None:
    (tmp_path / "run").write_text("mine")
    refused(UsageError.exit_code, arguments_for(data), tmp_path / "run")
    assert (tmp_path / "run").read_text() == "mine"


@pytest.mark.parametrize(
    "out", ["/proc/run", "/dev/null/run", "long" * 100], ids=["read-only", "no folder", "too long"]
)
def test_a_folder_that_cannot_be_made(out: str, data: Path, tmp_path: Path) -> None:
    refused(StorageError.exit_code, arguments_for(data), tmp_path / out)


def test_a_place_for_blobs_that_cannot_be_used(data: Path, tmp_path: Path) -> None:
    refused(StorageError.exit_code, arguments_for(data, blobs="/dev/null/blobs"), tmp_path / "run")


def test_a_full_disk(data: Path, tmp_path: Path) -> None:
    """A limit on the size of files is what a test can have of one: the first write beyond it fails."""
    limited = f"ulimit -f 1; exec {sys.executable} -c '{MAIN}' \"$@\""
    command = ["bash", "-c", limited, "hmchain", *arguments_for(data, rounds=1), "--out", str(tmp_path / "run")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == StorageError.exit_code
    assert done.stderr.startswith("hmchain: cannot write ")
    assert done.stderr.count("\n") == 1
    assert not (tmp_path / "run").exists()


# ---------------------------------------------------------------- the network


@pytest.fixture
def stranger() -> Iterator[tuple[int, list[bytes]]]:
    """A web server that is no Ethereum node and no IPFS daemon: its port, and what it answers."""
    answer = [b"<html>hello</html>"]

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length") or 0))
            self.send_response(200)
            self.send_header("Content-Length", str(len(answer[0])))
            self.end_headers()
            self.wfile.write(answer[0])

        def log_message(self, format: str, *arguments: Any) -> None:
            """Nothing."""

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        yield server.server_port, answer
        server.shutdown()
        thread.join()


def test_a_chain_that_is_not_there(data: Path, tmp_path: Path) -> None:
    line = refused(ChainError.exit_code, arguments_for(data, chain=f"http://127.0.0.1:{CLOSED}"), tmp_path / "run")
    assert line == f"hmchain: no Ethereum node answers at http://127.0.0.1:{CLOSED}\n"


@pytest.mark.parametrize(
    "url", ["ganache", "ftp://me:secret@127.0.0.1/secret", "http://", "http://[", "http://no.such.host.invalid/secret"]
)
def test_a_chain_whose_address_is_none(url: str, data: Path, tmp_path: Path) -> None:
    assert "secret" not in refused(ChainError.exit_code, arguments_for(data, chain=url), tmp_path / "run")


@pytest.mark.parametrize(
    "answer",
    [
        b"<html>hello</html>",
        b"",
        b"[]",
        b"null",
        b'{"jsonrpc":"2.0","id":0,"result":"0x1"}',
        b'{"jsonrpc":"2.0","id":0,"result":null}',
        b'{"jsonrpc":"2.0","id":0,"result":{"a":[1]}}',
        b'{"jsonrpc":"2.0","id":0,"error":{"code":-32601,"message":"no\\nsuch\\nmethod"}}',
    ],
    ids=str,
)
def test_a_chain_that_talks_nonsense(
    answer: bytes, stranger: tuple[int, list[bytes]], data: Path, tmp_path: Path
) -> None:
    port, answers = stranger
    answers[0] = answer
    refused(ChainError.exit_code, arguments_for(data, chain=f"http://127.0.0.1:{port}"), tmp_path / "run")


def test_an_ipfs_daemon_that_is_not_there(data: Path, tmp_path: Path) -> None:
    line = refused(
        BlobError.exit_code, arguments_for(data, blobs=f"ipfs:/ip4/127.0.0.1/tcp/{CLOSED}"), tmp_path / "run"
    )
    assert "it is not reachable" in line


def test_an_ipfs_daemon_that_is_none(stranger: tuple[int, list[bytes]], data: Path, tmp_path: Path) -> None:
    refused(BlobError.exit_code, arguments_for(data, blobs=f"ipfs:/ip4/127.0.0.1/tcp/{stranger[0]}"), tmp_path / "run")


# ---------------------------------------------------------------- what nobody foresaw


def test_a_defect_is_reported_as_one_in_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    @guarded
    def broken() -> None:
        raise LookupError("two\nlines")

    with pytest.raises(SystemExit) as end:
        broken()
    assert end.value.code == 70
    assert capsys.readouterr().err.startswith(
        "hmchain: this is a defect of hmchain, please report it (LookupError: two lines)"
    )


def test_too_little_memory_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    @guarded
    def hungry() -> None:
        raise MemoryError

    with pytest.raises(SystemExit) as end:
        hungry()
    assert (end.value.code, capsys.readouterr().err) == (6, "hmchain: not enough memory\n")


# ---------------------------------------------------------------- other commands


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["verify"], "name a run's folder, or a hospital's --config and the --job"),
        (["verify", "run", "--config", "hospital.toml", "--job", "1"], "name a run's folder, or"),
        (["verify", "run", "--job", "1"], "name a run's folder, or"),
        (["verify", "--config", "hospital.toml"], "name a run's folder, or"),
        (["verify", "--config", "x", "--job", "1", "--allow-module", "a:B"], "--allow-module is for a run's folder"),
        (["experiment", "table3", "--only", "no such row"], "table3 has no row with 'no such row' in its label"),
        (["experiment", "table3", "--out", "nowhere", "--draw-only"], "nowhere holds no results"),
        (["experiment", "table4", "--seeds", "0"], "at least one data set and one seed"),
        (["experiment", "table4", "--seeds", "1000000000000"], "an experiment has at most 1000 seeds"),
        (["up", "there", "--hospitals", "3", "--masters", "4"], "3 hospitals can have 1 to 3 masters, not 4"),
        (["deploy", "one.json", "one.json"], "two cards name the same operator account"),
        (["deploy", "one.json", "--out", "one.json"], "one.json exists: a consortium is deployed once"),
        (["deploy", "one.json", "--out", "no/where"], "no/where cannot be written: no is no folder, or not writable"),
        (["deploy", "none.json"], "none.json"),
    ],
    ids=lambda part: " ".join(part) if isinstance(part, list) else "",
)
def test_commands_that_cannot_work(
    arguments: list[str], told: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("hospital.toml").write_text('name = "H"\n')
    Card("One", "0x52908400098527886E0F7030069857D2E4169EE7", new_identity().public).write(Path("one.json"))
    before = sorted(tmp_path.rglob("*"))
    code, out, err = invoke(*arguments)
    assert (code, out) == (UsageError.exit_code, "")
    assert err.startswith("hmchain: ")
    assert told in err
    assert sorted(tmp_path.rglob("*")) == before


def test_an_example_of_a_job_needs_nothing() -> None:
    assert invoke("job", "create", "--example") == (0, EXAMPLE, "")
