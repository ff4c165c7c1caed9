"""The command line: help, and one line and a documented exit code for every fault."""

from __future__ import annotations

import io
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from coordinator.cli import EXIT_CODES, guarded, main, verify_command
from coordinator.options import RunOptions
from coordinator.progress import Terminal
from hmchain import errors

FAULTS = [
    errors.VerificationError("no", 3, 4),
    errors.UsageError("no"),
    errors.DataError("no"),
    errors.ChainError("no"),
    errors.ContractError("WrongPhase", (3,)),
    errors.BlobError("no"),
    errors.WeightsError("no"),
    errors.StorageError("no"),
]

SCRIPT = "import click, hmchain.command as c; c.guarded(lambda: [click.echo('x' * 9999) for _ in range(99)])()"
TALKING = [sys.executable, "-c", SCRIPT]


def ended(fault: BaseException, capsys: pytest.CaptureFixture[str]) -> tuple[object, str]:
    @guarded
    def command() -> None:
        raise fault

    with pytest.raises(SystemExit) as end:
        command()
    out, err = capsys.readouterr()
    assert out == ""
    return end.value.code, err


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: type(fault).__name__)
def test_every_fault_has_its_line_and_exit_code(fault: errors.HMChainError, capsys: pytest.CaptureFixture[str]) -> None:
    assert ended(fault, capsys) == (fault.exit_code, f"hmchain: {fault}\n")
    assert f"{fault.exit_code} " in EXIT_CODES


@pytest.mark.parametrize(
    ("written", "told"),
    [
        ("two\nlines\r\u2028", r"two\nlines\r\u2028"),
        ("\x1b[2K\x07\x9b1A\u202e", r"\x1b[2K\x07\x9b1A\u202e"),
        ("\ud800 \udcff", r"\ud800 \udcff"),
        ("Zürich, 大阪市, λ ≤ 0.1 …", "Zürich, 大阪市, λ ≤ 0.1 …"),
    ],
)
def test_what_others_wrote_is_one_line_that_no_terminal_obeys(
    written: str, told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert ended(errors.ChainError(written), capsys) == (4, f"hmchain: {told}\n")


def test_a_file_that_the_system_refuses_is_no_defect(capsys: pytest.CaptureFixture[str]) -> None:
    refusal = PermissionError(13, "Permission denied", "/srv/theirs/consortium.json")
    said = "hmchain: /srv/theirs/consortium.json cannot be used: Permission denied\n"
    assert ended(refusal, capsys) == (errors.StorageError.exit_code, said)


@pytest.mark.parametrize(("typed", "code"), [("caf\udce9", 2), (("a", "\udcff"), 2), ("café", 70)])
def test_what_was_typed_in_no_characters_is_no_defect(
    typed: object, code: int, capsys: pytest.CaptureFixture[str]
) -> None:
    @guarded
    def command(subject: object) -> None:
        "\udce9".encode()

    with pytest.raises(SystemExit) as end:
        command(subject=typed)
    assert end.value.code == code
    assert ("subject holds bytes that are no characters" in capsys.readouterr().err) == (code == 2)


def test_an_interrupt(capsys: pytest.CaptureFixture[str]) -> None:
    assert ended(KeyboardInterrupt(), capsys) == (130, "hmchain: interrupted\n")


def test_a_reader_that_has_had_enough_is_no_defect() -> None:
    """As head does: the end of a pipe is closed before all is written."""
    with subprocess.Popen(TALKING, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        assert process.stderr.read() == b""
    assert process.returncode == 130


def test_nor_does_it_make_a_run_not_valid() -> None:
    class Closed(io.StringIO):
        def write(self, text: str) -> int:
            raise BrokenPipeError

    with pytest.raises(BrokenPipeError):
        Terminal(file=Closed()).print("executing the ledger again")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full")
def test_a_full_disk_takes_no_output() -> None:
    with Path("/dev/full").open("wb") as full:
        ended = subprocess.run(TALKING, stdout=full, stderr=subprocess.PIPE)
    assert (ended.returncode, ended.stderr) == (6, b"hmchain: cannot write: No space left on device\n")


def test_a_defect_shows_where_it_is_on_request(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HMCHAIN_TRACEBACK", "1")
    code, err = ended(ZeroDivisionError("oops"), capsys)
    assert code == 70
    assert err.startswith("Traceback")
    assert err.splitlines()[-1].startswith("hmchain: this is a defect of hmchain")


@pytest.mark.parametrize("arguments", [["-h"], ["run", "-h"], ["verify", "--help"]])
def test_help_has_the_exit_codes(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        main(arguments)
    assert end.value.code == 0
    assert "Exit codes: 0 done, 1 not valid" in capsys.readouterr().out


def test_the_command_that_checks_a_run_has_what_it_needs() -> None:
    def command(out: str, **options: Any) -> str:
        return verify_command(RunOptions(Path(out), **options))

    assert command("runs/x") == "hmchain verify runs/x"
    assert command("runs/x", chain="http://127.0.0.1:8545/") == "hmchain verify runs/x"
    assert command("runs/x", chain="http://127.0.0.1:8545/v3/0123456789abcdef") == "hmchain verify runs/x --chain URL"
    assert (
        command("my runs/x", data_root=Path("scans"), architecture="net:Net")
        == "hmchain verify 'my runs/x' --data-root scans --allow-module net:Net"
    )
