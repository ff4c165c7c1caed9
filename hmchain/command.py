"""What all hmchain commands share: options, and how an expected fault ends one, in one line and an exit code."""

from __future__ import annotations

import functools
import os
import sys
import traceback
from collections.abc import Callable, Mapping
from errno import ENOSPC
from pathlib import Path
from typing import Any

import click

from hmchain.errors import HMChainError, StorageError, UsageError
from hmchain.interrupts import INTERRUPTED

EXIT_CODES = """\b
Exit codes: 0 done, 1 not valid, 2 wrong usage, 3 data set, 4 chain, 5 blobs or weights,
6 local disk or memory, 70 a defect of hmchain, 130 interrupted.
"""
DEFECT = 70
Option = Callable[[Callable[..., Any]], Callable[..., Any]]
FilePath = click.Path(path_type=Path)  # a parameter's type: a file or a folder


def data_root_option(text: str) -> Option:
    """--data-root, the folder with data sets. As for medmnist itself, the environment may name it (MEDMNIST_ROOT)."""
    return click.option("--data-root", type=FilePath, envvar="MEDMNIST_ROOT", show_envvar=True, help=text)


def json_option(text: str = "Print JSON, and nothing else.") -> Option:
    """--json, for machines; the command gets it as as_json."""
    return click.option("--json", "as_json", is_flag=True, help=text)


def given(value: str, name: str) -> str:
    """A parameter's value. For "-" it is asked for, or read from standard input, as one line: a personal value then
    appears in no list of processes and in no shell's history. Raises UsageError where standard input has none.
    """
    if value != "-":
        return value
    if sys.stdin.isatty():
        return str(click.prompt(name, err=True))
    line = sys.stdin.readline().strip()
    if not line:
        raise UsageError(f"standard input has no {name}")
    return line


def guarded(command: Callable[..., None]) -> Callable[..., None]:
    """Ends a command at any fault with one line on standard error and the fault's exit code, never a traceback."""

    @functools.wraps(command)
    def call(*args: Any, **kwargs: Any) -> None:
        try:
            command(*args, **kwargs)
        except HMChainError as fault:
            fail(str(fault), fault.exit_code)
        except (KeyboardInterrupt, click.exceptions.Abort):
            fail("interrupted", INTERRUPTED)
        except (click.ClickException, click.exceptions.Exit):
            raise
        except BrokenPipeError:  # whoever read what we print, such as head, has had enough
            _print_no_more()
            sys.exit(INTERRUPTED)
        except MemoryError:
            fail("not enough memory", StorageError.exit_code)
        except Exception as fault:  # the last resort: a defect is reported as one
            if isinstance(fault, OSError) and fault.filename is not None:  # such as a folder that we may not look into
                fail(f"{fault.filename} cannot be used: {fault.strerror}", StorageError.exit_code)
            if isinstance(fault, OSError) and fault.errno == ENOSPC:  # of the file that takes what we print
                _print_no_more()
                fail(f"cannot write: {fault.strerror}", StorageError.exit_code)
            if isinstance(fault, UnicodeEncodeError) and (name := _no_text(kwargs)):
                fail(f"{name} holds bytes that are no characters", UsageError.exit_code)
            if "HMCHAIN_TRACEBACK" in os.environ:
                traceback.print_exc()
            kind = f"{type(fault).__name__}: {' '.join(str(fault).split())[:300]}"
            fail(f"this is a defect of hmchain, please report it ({kind}); HMCHAIN_TRACEBACK=1 shows where", DEFECT)

    return call


def _no_text(parameters: Mapping[str, Any]) -> str | None:
    """The parameter that was typed in bytes that are no characters: they may name a file, and nothing else."""
    for name, value in parameters.items():
        for text in value if isinstance(value, tuple) else (value,):
            if isinstance(text, str) and any("\ud800" <= character <= "\udfff" for character in text):
                return name
    return None


def _print_no_more() -> None:
    """Takes standard output away, which is written to once more when Python ends."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def fail(message: str, code: int) -> None:
    """Ends the process with one line on standard error and this exit code."""
    click.echo(f"hmchain: {on_one_line(message)}", err=True)
    sys.exit(code)


def on_one_line(text: str) -> str:
    """A text that others may have written, with everything escaped that ends a line or steers a terminal."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
