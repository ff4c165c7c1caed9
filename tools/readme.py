"""Check that what README.md tells a reader to type exists: make targets, commands with their options, files.

python -m tools.readme
"""

from __future__ import annotations

import importlib.util
import re
import shlex
import sys
from collections.abc import Iterator
from pathlib import Path

import click

from coordinator import cli
from tools.solc import ROOT

README = ROOT / "README.md"
FENCE = re.compile(r"^```(?:sh|bash|shell|console)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
LINK = re.compile(r"\]\((?!\w+:|#)([^)#\s]+)[^)]*\)")


def commands(text: str) -> Iterator[list[str]]:
    """The words of every command in the shell blocks; in a block with prompts, only the lines behind one."""
    for block in FENCE.findall(text):
        lines = block.replace("\\\n", " ").splitlines()
        prompted = [line[2:] for line in lines if line.startswith("$ ")]
        for line in prompted or lines:
            for part in re.split(r"\s*(?:&&|;)\s*", line):
                if words := shlex.split(part, comments=True):
                    yield words


def fault(words: list[str]) -> str | None:
    """What is wrong with one command; None when it can be typed as it stands. Foreign commands are not judged."""
    match words:
        case ["make", *rest]:
            targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(encoding="utf8"), re.MULTILINE))
            unknown = [word for word in rest if "=" not in word and word not in targets]
            return f"no such make target: {unknown[0]}" if unknown else None
        case [program, *rest] if Path(program).name == "hmchain":
            return _hmchain_fault(rest)
        case [program, "-m", module, *_] if Path(program).name.startswith("python"):
            return None if importlib.util.find_spec(module) else f"no such module: {module}"
    return None


def _hmchain_fault(words: list[str]) -> str | None:
    command: click.Command = cli.main
    name = "hmchain"
    while isinstance(command, click.Group) and words and not words[0].startswith("-"):
        name = f"{name} {words[0]}"
        if words[0] not in command.commands:
            return f"no such command: {name}"
        command, words = command.commands[words[0]], words[1:]
    options = {option for parameter in command.params for option in (*parameter.opts, *parameter.secondary_opts)}
    unknown = [word for word in words if word.startswith("--") and word.partition("=")[0] not in options | {"--help"}]
    return f"{name} has no option {unknown[0]}" if unknown else None


def faults(text: str) -> Iterator[str]:
    """Every command that cannot be typed and every linked file that is not there."""
    for words in commands(text):
        if reason := fault(words):
            yield f"{reason}  ({shlex.join(words)})"
    for name in LINK.findall(text):
        if not (ROOT / name).exists():
            yield f"no such file: {name}"


def main() -> int:
    """Print each fault; 1 when there is one."""
    if not README.is_file():
        print("README.md is missing", file=sys.stderr)
        return 1
    found = list(faults(README.read_text(encoding="utf8")))
    for line in found:
        print(f"README.md: {line}", file=sys.stderr)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
