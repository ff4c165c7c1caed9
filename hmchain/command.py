"""What hmchain's commands have in common: expected faults end them with one line and a documented exit code."""

from __future__ import annotations

import functools
import os
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from hmchain.errors import HMChainError, StorageError
from hmchain.interrupts import INTERRUPTED

EXIT_CODES = """\b
Exit codes: 0 done, 1 not valid, 2 wrong usage, 3 data set, 4 chain, 5 blobs or weights,
6 local disk or memory, 70 a defect of ours, 130 interrupted.
"""
DEFECT = 70
Option = Callable[[Callable[..., Any]], Callable[..., Any]]


def data_root_option(text: str) -> Option:
    """--data-root, the folder with data sets, which may stand in the environment as for medmnist itself."""
    return click.option(
        "--data-root", type=click.Path(path_type=Path), envvar="MEDMNIST_ROOT", show_envvar=True, help=text
    )


def guarded(command: Callable[..., None]) -> Callable[..., None]:
    """One line on standard error and a documented exit code for every expected fault."""

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
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # for what is written when Python ends
            sys.exit(INTERRUPTED)
        except MemoryError:
            fail("not enough memory", StorageError.exit_code)
        except Exception as fault:  # the last resort: a defect is reported as one
            if "HMCHAIN_TRACEBACK" in os.environ:
                traceback.print_exc()
            kind = f"{type(fault).__name__}: {' '.join(str(fault).split())[:300]}"
            fail(f"this is a defect of hmchain, please report it ({kind}); HMCHAIN_TRACEBACK=1 shows where", DEFECT)

    return call


def fail(message: str, code: int) -> None:
    """Ends the process."""
    click.echo(f"hmchain: {on_one_line(message)}", err=True)
    sys.exit(code)


def on_one_line(text: str) -> str:
    """A text, perhaps of others, with nothing in it that ends a line, steers a terminal or cannot be encoded."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
