"""The commands by which a consortium governs itself: deploy, members, job."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from coordinator.ballots import MOTIONS
from hmchain.command import EXIT_CODES, FilePath, json_option
from hmchain.errors import UsageError
from trainers.cli import password_of, unlock, with_config, with_password
from trainers.config import Config

if TYPE_CHECKING:  # which brings web3, and takes a second that --help has no use for
    from hmchain.contract import Receipt


@click.command(epilog=EXIT_CODES)
@click.argument("cards", metavar="CARD...", type=FilePath, nargs=-1, required=True)
@click.option("--out", type=FilePath, default="consortium.json", show_default=True, help="File for all members.")
@with_config
@with_password
def deploy(config: Config, password_file: Path | None, cards: tuple[Path, ...], out: Path) -> None:
    """Found a consortium of the members whose cards are named.

    A CARD is the member.json that `hmchain init` made at each hospital; name your own as well, to be a founder. Deploys
    the contract from this hospital's account, enters the founders, and gives up every right that deploying gave: from
    then on members are admitted and removed by vote.
    """
    from coordinator.deploy import connect_any, found
    from hmchain import registry
    from hmchain.card import Card
    from hmchain.consortium import Consortium

    founders = [Card.read(path) for path in cards]
    if len({card.operator for card in founders}) < len(founders):
        raise UsageError("two cards name the same operator account")
    if out.exists():
        raise UsageError(f"{out} exists: a consortium is deployed once; name another file with --out")
    if not out.parent.is_dir() or not os.access(out.parent, os.W_OK):
        raise UsageError(f"{out} cannot be written: {out.parent} is no folder, or not writable")
    keys = unlock(config, password_file)
    web3 = connect_any(config.chain.urls, config.chain.timeout_seconds)
    client, receipt = found(web3, keys.identity.account, [card.to_abi() for card in founders])
    click.echo(f"contract {client.address} on chain {client.chain_id}, {len(founders)} founding members")
    click.echo(f"created in block {receipt.block} by transaction {receipt.transaction}")
    consortium = Consortium(client.chain_id, client.address, receipt.transaction, receipt.block)
    consortium.write(out)
    replace(consortium, records=registry.deploy(web3, keys.identity.account, consortium)).write(out)
    click.echo(f"hand {out} to all of them")


@click.group(epilog=EXIT_CODES)
def members() -> None:
    """Who belongs: list, propose, vote, rotate keys."""


@members.command("list", epilog=EXIT_CODES)
@with_config
@json_option()
def list_members(config: Config, as_json: bool) -> None:
    """List all members, past ones too."""
    from coordinator.session import open_session
    from trainers.status import members as rows_of

    rows = list(rows_of(open_session(config, None).history))
    if as_json:
        click.echo(json.dumps(rows, sort_keys=True))
        return
    for row in rows:
        note = f"{row['samples']:,} samples" if row["active"] else "not active"
        click.echo(f"{row['member']:<4} {row['name']:<32} {row['operator']}  {note}")


@members.command(epilog=EXIT_CODES)
@with_config
@json_option()
def ballots(config: Config, as_json: bool) -> None:
    """List the votes, open and closed."""
    from coordinator.ballots import listing
    from coordinator.session import open_session

    rows = listing(open_session(config, None))
    if as_json:
        click.echo(json.dumps(rows, sort_keys=True))
        return
    for row in rows:
        subject = f"{row['candidate']} key {_brief(row['key'])}" if row["key"] else f"member {row['member']}"
        click.echo(
            f"{row['ballot']:<4} {row['motion']:<9} {subject}  {row['votes']} of {row['needed']}  {row['state']}"
        )
    if not rows:
        click.echo("no vote was ever called")


def _brief(key: str) -> str:
    """Enough of a key to tell it from any that somebody could make to look like it."""
    return f"{key[:16]}…{key[-16:]}"


@members.command(epilog=EXIT_CODES)
@click.argument("motion", type=click.Choice(MOTIONS))
@click.argument("subject")
@with_config
@with_password
def propose(config: Config, password_file: Path | None, motion: str, subject: str) -> None:
    """Call a vote, and cast the first vote for it.

    SUBJECT is, for admit, the newcomer's card (member.json); for suspend, reinstate and remove, the member's number.
    """
    from coordinator.ballots import check_motion
    from coordinator.session import open_session
    from hmchain.card import Card
    from hmchain.chain import insist

    about: Any
    if motion == "admit":
        about = Card.read(Path(subject)).to_abi()
        arguments: tuple[Any, ...] = ("proposeAdmission", about)
    elif subject.isdecimal() and len(subject) < 10 and 0 < int(subject) < 2**16:
        about = int(subject)
        arguments = ("proposeMotion", MOTIONS.index(motion), about)
    else:
        raise UsageError(f"{motion} takes a member's number, not {subject!r:.60}; members list shows them")
    session = open_session(config, unlock(config, password_file))
    check_motion(session, motion, about)
    contract = session.ballots
    receipt = insist(lambda: contract.transact(*arguments))
    _print_outcome(receipt, receipt.told("MotionOpened")["ballot"])


@members.command(epilog=EXIT_CODES)
@click.argument("ballot", type=click.IntRange(1, 2**63))
@click.option("--card", type=FilePath, help="Vote only if the ballot admits this card (member.json), with its key.")
@with_config
@with_password
def vote(config: Config, password_file: Path | None, ballot: int, card: Path | None) -> None:
    """Vote for a motion; the vote that completes the majority carries it out.

    To admit a member, name with --card the card that you got from the newcomer itself. The proposer wrote the
    newcomer's key into the ballot, and whatever is sealed to the newcomer will be sealed to that key.
    """
    from coordinator.ballots import cast_vote, check_candidate, title
    from coordinator.session import open_session
    from hmchain.card import Card
    from hmchain.chain import insist

    handed = Card.read(card) if card else None
    contract = open_session(config, unlock(config, password_file)).ballots
    seen = contract.call("ballot", ballot)
    if handed:
        check_candidate(ballot, seen, handed)
    receipt = insist(lambda: cast_vote(contract, ballot, seen))
    _print_outcome(receipt, ballot, f", {title(seen)}")


def _print_outcome(receipt: Receipt, ballot: int, about: str = "") -> None:
    carried = any(event.name == "MotionCarried" for event in receipt.events)
    outcome = "carried" if carried else f"waits for more votes: hmchain members vote {ballot}"
    click.echo(f"ballot {ballot}{about}: {outcome}")


@members.command(epilog=EXIT_CODES)
@with_config
@with_password
def rotate(config: Config, password_file: Path | None) -> None:
    """Replace this hospital's operator account and encryption key. Stop the node first.

    Two transactions: the old account names the new keys, the new account takes over. If it is interrupted, start it
    again. The old keys stay in keys/retired, so that old envelopes stay readable.
    """
    from coordinator.rotation import rotate as rotate_keys
    from coordinator.session import open_session
    from trainers import founding, keystore
    from trainers.state import sole_account, sole_use

    password = password_of(config, password_file)
    with sole_use(config.state), sole_account(config.keys.operator):
        session = open_session(config, None)
        new = rotate_keys(session.client.web3, session.client.address, config.keys, password, session.history.member_of)
    click.echo(f"operator account {new.account.address} is in use; the old keys are in keys/{keystore.RETIRED}")
    click.echo(f"back up the keys again; {founding.CARD} still names the old ones")


@click.group(epilog=EXIT_CODES)
def job() -> None:
    """Federated jobs: create, list, show."""


def print_example(context: click.Context) -> None:
    """--example: ends the command."""
    from coordinator.jobs import EXAMPLE

    click.echo(EXAMPLE, nl=False)
    context.exit()


@job.command("create", epilog=EXIT_CODES)
@click.argument("file", metavar="JOB.toml", type=FilePath)
@click.option(
    "--example",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=lambda context, _, asked: print_example(context) if asked else None,
    help="Print a commented JOB.toml and do nothing else.",
)
@with_config
@with_password
def create_job(config: Config, password_file: Path | None, file: Path) -> None:
    """Create a job that this hospital coordinates.

    JOB.toml describes it; --example prints one. This hospital's node then hands out the job's key and opens the first
    round.
    """
    from coordinator.jobs import create, read_manifest
    from coordinator.session import open_session
    from hmchain.blobs import open_store

    manifest = read_manifest(file)
    keys = unlock(config, password_file)
    session = open_session(config, keys)
    store = open_store(config.blobs.store, config.blobs.timeout_seconds, config.limits.disk_mib * 2**20)
    new = create(session.client, session.history, store, config.state.parent, keys.identities, manifest)
    click.echo(f"job {new.number} " + ("was created before" if new.existed else "created"))
    active = len(session.history.active)
    if active < manifest.masters:
        click.echo(f"it waits for members: it names {manifest.masters} masters, and there are {active} active members")


@job.command("list", epilog=EXIT_CODES)
@with_config
@json_option()
def list_jobs(config: Config, as_json: bool) -> None:
    """List all jobs with their round and phase."""
    from trainers.status import status

    rows = status(config)["jobs"]
    if as_json:
        click.echo(json.dumps(rows, sort_keys=True))
        return
    for row in rows:
        click.echo(
            f"{row['job']:<4} round {row['round']} of {row['rounds']}  {row['phase']:<12} "
            f"{row['completed']} models, {len(row['enrolled'])} enrolled, coordinator {row['coordinator']}"
        )
    if not rows:
        click.echo("no job yet; hmchain job create --example shows how to describe one")


@job.command("show", epilog=EXIT_CODES)
@click.argument("number", metavar="JOB", type=click.IntRange(1, 2**63))
@with_config
def show_job(config: Config, number: int) -> None:
    """Print a job, its rounds and its manifest as JSON."""
    from coordinator.session import open_session
    from hmchain.blobs import open_store
    from hmchain.manifest import MAX_BYTES, Manifest
    from trainers.status import status

    seen = next((row for row in status(config)["jobs"] if row["job"] == number), None)
    if seen is None:
        raise UsageError(f"there is no job {number}")
    record = open_session(config, None).history.jobs[number]
    text = open_store(config.blobs.store, config.blobs.timeout_seconds).get(record.manifest_blob, MAX_BYTES)
    click.echo(json.dumps(seen | {"manifest": asdict(Manifest.parse(text))}, indent=2, sort_keys=True))
