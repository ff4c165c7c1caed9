"""anvil and Kubo for the tests and `hmchain up`: the ones of this machine, and what is said where there are none."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tools import daemons

Provide = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A checkout in which nothing has been installed."""
    shutil.copytree(daemons.ROOT / "tools", tmp_path / "checkout" / "tools")
    shutil.copy(daemons.ROOT / "package.json", tmp_path / "checkout")
    return tmp_path / "checkout"


@pytest.fixture
def provide(checkout: Path) -> Provide:
    """Runs the command in that checkout: nothing but these folders on the PATH, and no package index."""

    def run(*folders: Path) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "tools.daemons"],
            cwd=checkout,
            env={"PATH": os.pathsep.join(map(str, folders)), "PIP_NO_INDEX": "1"},
            capture_output=True,
            text=True,
            check=False,
        )

    return run


def program(folder: Path, name: str, says: str, then: str = "") -> None:
    """A program that answers each call with that line, and then does that."""
    folder.mkdir(exist_ok=True)
    (folder / name).write_text(f"#!/bin/sh\necho '{says}'\n{then}\n", encoding="utf8")
    (folder / name).chmod(0o755)


@pytest.mark.parametrize(
    ("path", "expected", "oldest"),
    [
        (daemons.anvil, r"anvil Version: (\d+)\.(\d+)\.(\d+)", daemons.OLDEST_ANVIL),
        (daemons.ipfs, r"ipfs version (\d+)\.(\d+)\.(\d+)", daemons.OLDEST_KUBO),
    ],
)
def test_this_machine_has_the_program(path: Callable[[], Path], expected: str, oldest: daemons.Version) -> None:
    assert path().parent == daemons.BIN
    answer = subprocess.run([path(), "--version"], capture_output=True, text=True, check=True).stdout
    version = re.match(expected, answer)
    assert version is not None
    assert tuple(map(int, version.groups())) >= oldest


def test_the_command_names_both_and_changes_nothing_the_second_time(capsys: pytest.CaptureFixture[str]) -> None:
    assert daemons.main() == 0
    first = capsys.readouterr().out
    before = {path.name: path.stat().st_mtime_ns for path in daemons.BIN.iterdir()}
    assert daemons.main() == 0
    assert capsys.readouterr() == (first, "")
    assert {path.name: path.stat().st_mtime_ns for path in daemons.BIN.iterdir()} == before
    assert re.fullmatch(
        r"anvil (1\.7\.1 \(npm\)|\S+ \(on PATH\))\n"
        r"kubo (0\.42\.0 \(built from its Go module\)|\S+ \(on PATH\))\n",
        first,
    )


def test_without_npm_and_go_there_is_one_line_for_each(provide: Provide) -> None:
    done = provide()
    assert (done.returncode, done.stdout) == (1, "")
    no_anvil, building, no_kubo = done.stderr.splitlines()
    assert no_anvil == "no anvil: there is no Node.js; put anvil 1.0.0 or later on the PATH"
    assert building.startswith("building Kubo 0.42.0")
    assert no_kubo.startswith("no Kubo: there is no fitting Go, and pip failed: ERROR: ")
    assert no_kubo.endswith("; it needs Go 1.21.0 or later and the network, or ipfs 0.32.0 or later on the PATH")


def test_what_the_machine_has_is_linked(provide: Provide, checkout: Path, tmp_path: Path) -> None:
    program(tmp_path / "bin", "anvil", "anvil Version: 1.5.0")
    program(tmp_path / "bin", "ipfs", "ipfs version 0.40.1")
    for _ in range(2):  # the second time with the links on the PATH, which must not become links to themselves
        done = provide(checkout / ".tools" / "bin", tmp_path / "bin")
        assert (done.returncode, done.stdout) == (0, "anvil 1.5.0 (on PATH)\nkubo 0.40.1 (on PATH)\n")
        for name in ("anvil", "ipfs"):
            assert (checkout / ".tools" / "bin" / name).readlink() == tmp_path / "bin" / name


def test_tools_that_checkouts_share_are_not_linked_to_themselves(
    provide: Provide, checkout: Path, tmp_path: Path
) -> None:
    (tmp_path / "shared").mkdir()
    (checkout / ".tools").symlink_to(tmp_path / "shared")
    program(tmp_path / "bin", "anvil", "anvil Version: 1.5.0")
    program(tmp_path / "bin", "ipfs", "ipfs version 0.40.1")
    for _ in range(2):
        done = provide(tmp_path / "shared" / "bin", tmp_path / "bin")
        assert (done.returncode, done.stdout) == (0, "anvil 1.5.0 (on PATH)\nkubo 0.40.1 (on PATH)\n")
        assert (tmp_path / "shared" / "bin" / "ipfs").readlink() == tmp_path / "bin" / "ipfs"


def test_old_programs_and_others_of_the_same_name_are_passed_over(provide: Provide, tmp_path: Path) -> None:
    program(tmp_path / "bin", "anvil", "Anvil, a text editor, version 9.1")
    program(tmp_path / "bin", "ipfs", "ipfs version 0.31.0")
    program(tmp_path / "bin", "go", "go version go1.19.8 linux/amd64")
    done = provide(tmp_path / "bin")
    assert (done.returncode, done.stdout) == (1, "")
    assert "no anvil: there is no Node.js" in done.stderr
    assert "no Kubo: there is no fitting Go, and pip failed" in done.stderr


def test_what_go_complains_of_is_said_and_nothing_is_left(provide: Provide, checkout: Path, tmp_path: Path) -> None:
    fails = '[ "$1" = version ] || { echo "go: no network" >&2; exit 1; }'
    program(tmp_path / "bin", "go", "go version go1.26.5 linux/amd64", fails)
    done = provide(tmp_path / "bin")
    assert done.returncode == 1
    assert "no Kubo: Go failed: go: no network; it needs Go" in done.stderr
    assert list((checkout / ".tools").rglob("*")) == [checkout / ".tools" / "bin"]
