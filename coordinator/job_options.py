"""Which job is meant: the options of the commands that take a run's folder, or a job of a hospital's consortium."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import click

from hmchain.command import FilePath, given
from hmchain.errors import UsageError
from trainers.cli import with_password

Command = TypeVar("Command", bound=Callable[..., Any])


@dataclass(frozen=True)
class JobOptions:
    """A run's folder, with its chain's URL and networks to import, or a hospital's configuration and a job's number.

    Raises UsageError where they are of both kinds, or of none.
    """

    folder: Path | None
    url: str | None
    config: Path | None
    number: int | None
    modules: tuple[str, ...]
    password_file: Path | None

    def __post_init__(self) -> None:
        if (self.folder is None) == (self.config is None) or (self.config is None) != (self.number is None):
            raise UsageError("name a run's folder, or a hospital's --config and the --job")
        if self.config is not None and self.url is not None:
            raise UsageError("--chain is for a run's folder; a hospital's configuration has [chain] urls")
        if self.config is not None and self.modules:
            raise UsageError("--allow-module is for a run's folder; a hospital's configuration has [roles] modules")

    @classmethod
    def of(cls, url: str | None, **named: Any) -> JobOptions:
        """What the command line says, which may leave the URL to standard input. Raises UsageError."""
        return cls(url=None if url is None else given(url, "URL"), **named)


def with_job(command: Command) -> Command:
    """Adds these options to a command, in this order of --help; it takes them as keywords, for JobOptions."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


_OPTIONS: list[Callable[..., Any]] = [
    click.argument("folder", metavar="[DIR]", type=FilePath, required=False),
    click.option("--config", "-c", type=FilePath, help="A hospital.toml: of a job of its consortium, not of a DIR."),
    click.option("--job", "number", type=click.IntRange(1), help="With --config: the job's number."),
    with_password,
    click.option(
        "--chain", "url", help="URL of a node of the run's chain, where run.json does not name it all; - asks."
    ),
    click.option(
        "--allow-module", "modules", multiple=True, help="A custom network, package.module:Class, that may be imported."
    ),
]
