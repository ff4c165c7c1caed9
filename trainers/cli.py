"""The commands of one hospital: init, node, status. `python -m trainers` has them without the coordinator package."""

from __future__ import annotations

import json
import signal
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from types import FrameType
from typing import Any

import click

from hmchain.command import EXIT_CODES, FilePath, guarded, json_option, on_one_line
from hmchain.errors import UsageError
from hmchain.files import name_of
from trainers import config as configuration
from trainers import founding, keystore
from trainers.config import Config

CONTEXT = {"help_option_names": ["-h", "--help"], "max_content_width": 100}
MAX_IDLE = 5  # jobs without anybody in them that are shown one by one


def with_config(command: Callable[..., None]) -> Callable[..., None]:
    """Adds --config, and passes the command the configuration that it names."""

    def call(config: Path, **options: Any) -> None:
        command(configuration.load(config), **options)

    call.__doc__, call.__name__ = command.__doc__, command.__name__
    call.__click_params__ = getattr(command, "__click_params__", [])  # type: ignore[attr-defined]
    option = click.option(
        "--config", "-c", type=FilePath, default=configuration.FILE, show_default=True, help="The hospital's settings."
    )
    return option(guarded(call))


def with_password(command: Callable[..., None]) -> Callable[..., None]:
    """Adds --password-file."""
    option = click.option(
        "--password-file", type=FilePath, help="Holds the keys' password. [default: the configuration's, else a prompt]"
    )
    return option(command)


def unlock(config: Config, password_file: Path | None) -> keystore.Keys:
    """The hospital's keys. Raises UsageError."""
    return keystore.unlock(config.keys.operator, config.keys.encryption, password_of(config, password_file))


def password_of(config: Config, password_file: Path | None) -> str:
    """The keys' password: from the file named, else from the configuration's, else by a prompt. Raises UsageError."""
    path = password_file or config.keys.password_file
    return keystore.read_password(path) if path else ask("Password")


def ask(text: str, twice: bool = False, option: str = "--password-file") -> str:
    """Asks for a password on the terminal. Raises UsageError where there is none; it names `option` as another way."""
    if not sys.stdin.isatty():
        raise UsageError(f"{text}: there is no terminal to ask for it; name its file with {option}")
    password: str = click.prompt(text, hide_input=True, confirmation_prompt=twice, err=True)
    return password


@click.group(epilog=EXIT_CODES, context_settings=CONTEXT)
@click.version_option(package_name="fl-hmchain")
def main() -> None:
    """One hospital's side of FL-HMChain: its keys, its node, what it sees.

    \b
    init DIR        make keys and a commented hospital.toml
    node            watch the chain and do this hospital's part
    status          chain, blobs, members, jobs
    records         import, share under consent, audit
    """


@main.command(epilog=EXIT_CODES)
@click.argument("folder", metavar="DIR", type=FilePath)
@click.option("--name", default=None, help="What the other members call this hospital. [default: DIR's name]")
@click.option("--password-file", type=FilePath, help="Holds the password for the new keys. [default: a prompt]")
@guarded
def init(folder: Path, name: str | None, password_file: Path | None) -> None:
    """Make a hospital's folder: keys, hospital.toml, and member.json for the others.

    The keys are encrypted under one password. Hand member.json to whoever deploys the consortium, or to a member who
    proposes you; keep the rest. Whoever has keys and password is this hospital.
    """
    password = keystore.read_password(password_file) if password_file else ask("Password for the new keys", twice=True)
    card = founding.create(folder, name or name_of(folder), password, password_file)
    click.echo(f"{card.name}: operator account {card.operator}")
    click.echo(f"hand {folder / founding.CARD} to the consortium, and look through {folder / configuration.FILE}")


@main.command(epilog=EXIT_CODES)
@with_config
@with_password
def node(config: Config, password_file: Path | None) -> None:
    """Watch the chain and do this hospital's part: train, judge, propose, attest.

    It is safe to kill at any moment: started again, it continues from the chain's state. A fault at the start ends it
    with one line; whatever fails later, it waits and tries again.
    """
    from trainers import health, logs
    from trainers.node import Node
    from trainers.parts import assemble
    from trainers.state import sole_account, sole_use

    logs.set_up(config.log.level, config.log.format)
    with sole_use(config.state), sole_account(config.keys.operator):
        parts = assemble(config, unlock(config, password_file))
        watcher = Node(parts)

        def stop(*_: int | FrameType | None) -> None:
            watcher.stop()
            raise KeyboardInterrupt  # whatever is in progress may be dropped: the next start takes it up

        signal.signal(signal.SIGTERM, stop)
        page = (
            health.serve(parts.health, configuration.address_of(config.health.listen)) if config.health.listen else None
        )
        try:
            watcher.run()
        except KeyboardInterrupt:
            logs.say("stopped")
        finally:
            watcher.close()
            parts.worker.close()
            if page is not None:
                page.shutdown()


@main.command(epilog=EXIT_CODES)
@with_config
@json_option("Print everything as one JSON object.")
def status(config: Config, as_json: bool) -> None:
    """Show chain, blobs, members and jobs as this hospital sees them.

    Of each job: its round and phase, the time left, who is awaited, and how the latest rounds ended.
    """
    from trainers.status import status as look

    seen = look(config)
    click.echo(json.dumps(seen, sort_keys=True) if as_json else "\n".join(map(on_one_line, _lines(seen))))


def _lines(seen: dict[str, Any]) -> list[str]:
    chain, blobs = seen["chain"], seen["blobs"]
    held = f"{blobs['bytes'] / 2**20:,.1f} MiB" if blobs["up"] else f"DOWN: {blobs['reason']}"
    lines = [
        f"chain    {chain['chain_id']} at block {chain['block']}, {_age(chain)}, by {', '.join(chain['urls'])}",
        f"contract {chain['contract']}",
        f"blobs    {blobs['store']}, {held}",
    ]
    for member in seen["members"]:
        mark = "*" if member["member"] == seen["member"] else " "
        note = f"{member['samples']:,} samples" if member["active"] else "not active"
        lines.append(f"member {mark} {member['member']:<3} {member['name']:<32} {note}")
    return lines + _jobs_lines(seen["jobs"])


def _age(chain: dict[str, Any]) -> str:
    """How old the latest block is, by this machine's clock; where that is slow, by how much."""
    behind = round(chain["clock_behind_seconds"])
    if behind:
        return f"{behind} s ahead of this machine's clock"
    return f"{chain['block_age_seconds']:.0f} s old"


def _jobs_lines(jobs: Sequence[dict[str, Any]]) -> list[str]:
    """Lines on all jobs. Any member may create thousands that nobody enrols in: they must not push out the others."""
    if not jobs:
        return ["no job yet"]
    living = [job for job in jobs if job["enrolled"] or job["phase"] != "ENROLMENT"]
    idle = len(jobs) - len(living)
    if idle <= MAX_IDLE:
        shown, rest = jobs, []
    else:
        shown, rest = living, [f"and {idle:,} jobs in which nobody is enrolled; job list has them"]
    return [*(line for job in shown for line in _job_lines(job)), *rest]


def _job_lines(job: dict[str, Any]) -> list[str]:
    head = f"job {job['job']}    round {job['round']} of {job['rounds']}, {job['phase']}"
    if job["phase"] == "FAILED":
        head += "; waiting for a node to begin the next one"
    elif "awaited" in job:
        head += f", {job['seconds_left']} s left; waiting for {', '.join(map(str, job['awaited'])) or 'a proposal'}"
    elif job["phase"] in ("ENROLMENT", "WAITING"):
        head += f"; enrolled: {', '.join(map(str, job['enrolled'])) or 'nobody'}"
        if len(job["enrolled"]) < job["needed"]:
            head += f"; it needs {job['needed']} members"
        if "deadline" in job:
            head += f"; others may enrol for {max(job['seconds_left'], 0)} s"
    lines = [head]
    for past in job["history"][-5:]:
        score = f"base scored {past['base_score']:.2%}" if past["base_score"] is not None else ""
        missing = "; ".join(f"no {what} from {', '.join(map(str, who))}" for what, who in past["silent"].items())
        result = past["model"][:23] + "…" if past["model"] else f"failed in {past['failed_in']}: {past['failure']}"
        lines.append("  ".join(filter(None, (f"  round {past['round']:<4} {result}", score, missing))))
    return lines
