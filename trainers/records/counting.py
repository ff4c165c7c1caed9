"""How far a long import is, for whoever looks at a terminal."""

from __future__ import annotations

import sys
import time

import click

from trainers.records.importing import FileReport

EVERY_SECONDS = 0.5
START_OF_LINE = "\r\x1b[K"  # ECMA-48: carriage return, erase to the end of the line


class Counter:
    """Counts a file's records in one line of standard error while it is read; silent where that is no terminal."""

    def __init__(self) -> None:
        self._next = time.monotonic() + EVERY_SECONDS if sys.stderr.isatty() else float("inf")
        self._shown = False

    def count(self, file: FileReport) -> None:
        """One more record of the file was read."""
        if time.monotonic() < self._next:
            return
        seen = file.imported + file.duplicate + file.rejected
        click.echo(f"{START_OF_LINE}{file.shown_path}: {seen:,} records so far", nl=False, err=True)
        self._next, self._shown = time.monotonic() + EVERY_SECONDS, True

    def clear(self) -> None:
        """Takes the line away, for what is printed next."""
        if self._shown:
            click.echo(START_OF_LINE, nl=False, err=True)
        self._shown = False
