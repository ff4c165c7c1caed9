"""Ctrl-C while modules are loaded ends the process at once, in one line; afterwards it is Python's again."""

from __future__ import annotations

import subprocess
import sys

import pytest

BEGIN = "import os, signal\nfrom hmchain.interrupts import loading\n"
PRESS = "os.kill(os.getpid(), signal.SIGINT)\n"
SWALLOW = f"try:\n        {PRESS}    except BaseException:\n        pass\n"  # as imports do


def run(script: str) -> tuple[int, str, str]:
    done = subprocess.run([sys.executable, "-c", BEGIN + script], capture_output=True, text=True, check=False)
    return done.returncode, done.stdout, done.stderr


def test_no_import_swallows_it() -> None:
    assert run(f"with loading():\n    {SWALLOW}print('went on')") == (130, "", "hmchain: interrupted\n")


@pytest.mark.parametrize(
    ("script", "said"),
    [
        (f"with loading():\n    pass\ntry:\n    {PRESS}except KeyboardInterrupt:\n    print('caught')", "caught\n"),
        (f"signal.signal(signal.SIGINT, signal.SIG_IGN)\nwith loading():\n    {PRESS}print('went on')", "went on\n"),
    ],
    ids=["after it", "where it is ignored"],
)
def test_it_is_nobody_elses_afterwards(script: str, said: str) -> None:
    assert run(script) == (0, said, "")


def test_the_command_begins_with_it() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "coordinator", "--version"], capture_output=True, text=True, check=True
    )
    assert done.stdout.startswith("hmchain, version ")
