"""`hmchain records`: reading, answering, reviewing, auditing. Adds its commands to the group in cli.py."""

from __future__ import annotations

import itertools
import json
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from hmchain import scopes
from hmchain.command import EXIT_CODES, FilePath, given, json_option, on_one_line
from hmchain.errors import ChainError, DaemonError, HMChainError, StorageError, UsageError
from hmchain.files import write_secret
from hmchain.permits import LAST_LABEL
from hmchain.record import Record
from trainers.cli import with_config, with_password
from trainers.config import Config
from trainers.records.cli import archive_of, content_of
from trainers.records.persons import Signed
from trainers.records.sharing_cli import as_person, person_of, records

if TYPE_CHECKING:
    from hmchain.trail import Trail
    from trainers.records import receiving
    from trainers.records.archive import Archive

__all__ = ["records"]


@records.command(epilog=EXIT_CODES)
@click.argument("file", metavar="GRANT", type=FilePath)
@click.option(
    "--from",
    "holders",
    type=click.IntRange(1),
    multiple=True,
    required=True,
    help="A member's number: whom to ask. Given several times, all are asked in one transaction.",
)
@click.option("--wanted", default="all", show_default=True, help="Part of the grant's scope, such as type:imaging.")
@click.option(
    "--institution",
    type=click.IntRange(0, LAST_LABEL),
    default=0,
    help="Number of the organisation that the grant was made to, if it was not made to you.",
)
@click.option("--use", type=click.IntRange(1), default=None, help="Ask nothing: open the answer to this earlier use.")
@click.option(
    "--out", type=FilePath, default=None, help="New folder for records as JSON and attachments. [default: print]"
)
@click.option("--wait", type=click.IntRange(0), default=60, show_default=True, help="Seconds to wait for the answer.")
@as_person(required=True)
@with_config
@with_password
def get(
    config: Config,
    password_file: Path | None,
    file: Path,
    holders: tuple[int, ...],
    wanted: str,
    institution: int,
    use: int | None,
    out: Path | None,
    wait: int,
    person: Path,
    person_password_file: Path | None,
) -> None:
    """Read records under a grant, as a person.

    GRANT is the grant's file. The signed request is logged on chain, and answered by the holder's node. Every record is
    proved to be the one that was registered. Prints one JSON object per line.
    """
    from trainers.records import receiving, sharing

    scopes.checked(wanted)
    holders = tuple(dict.fromkeys(holders))
    if use is not None and len(holders) > 1:
        raise UsageError("an earlier use was one member's: --use goes with one --from")
    signed, who = Signed.read(file), person_of(person, person_password_file)
    with archive_of(config, password_file) as archive:
        number = sharing.number_of(archive, signed)
        reader, grant = receiving.Reader(who, archive.registry, archive.store), archive.trail().grants[number]
        if use is not None and (use, holders[0]) not in [(each.use, each.holder) for each in grant.uses]:
            raise UsageError(f"member {holders[0]} was not asked by a use {use} of grant {number}")
        prepare(out)
        if use is None:
            labels = receiving.Labels(signed.label, signed.salt)
            asked = [holder_of(archive, holder) for holder in holders]
            uses = reader.ask(grant, labels.request(wanted), asked, institution)
            for holder, number_of_use in zip(holders, uses, strict=True):  # at once: whatever ends this, it was asked
                click.echo(f"use {number_of_use} of grant {number}: member {holder} is asked", err=True)
        else:
            uses = [use]
        within = [signed.label, wanted] if use is None else [signed.label]  # what an earlier use asked for is not kept
        code = _gather(reader, number, list(zip(holders, uses, strict=True)), within, wait, out)
    sys.exit(code)


def _gather(
    reader: receiving.Reader,
    number: int,
    asked: Sequence[tuple[int, int]],
    within: Sequence[str],
    wait: int,
    out: Path | None,
) -> int:
    """Writes what each holder answers to its use of a grant, whatever the others do. Returns the exit code."""
    code, numbers = 0, itertools.count(1)
    for holder, use in asked:
        try:
            envelope = reader.wait(partial(_released, (number, use), holder), wait, f"--use {use}")
            count = _write(reader.records(envelope, holder, within), out, numbers)
        except HMChainError as fault:
            if len(asked) == 1:
                raise
            click.echo(f"hmchain: member {holder}, use {use}: {on_one_line(str(fault))}", err=True)
            code = fault.exit_code
        else:
            click.echo(f"{count:,} records by use {use} of grant {number}", err=True)
    return code


def _released(which: tuple[int, int], holder: int, trail: Trail) -> bytes | None:
    return trail.released.get(which, {}).get(holder)


def holder_of(archive: Archive, member: int) -> Any:
    """Whom to ask. Raises UsageError where there is no such member."""
    from trainers.records.receiving import Holder

    key = archive.history.keys.get(member)
    if key is None:
        raise UsageError(f"there is no member {member}")
    return Holder(member, key)


def prepare(out: Path | None) -> None:
    """Makes the folder for records, before anything is asked for: what is asked is logged for good.

    Raises StorageError, and UsageError where it holds records: of another reading, perhaps about somebody else.
    """
    if out is None:
        return
    try:
        out.mkdir(parents=True, exist_ok=True, mode=0o700)
        taken = any(path.suffix in (".json", ".bin") and path.stem.isdecimal() for path in out.iterdir())
    except OSError as fault:
        raise StorageError(f"cannot make {out}: {fault.strerror}") from fault
    if taken:
        raise UsageError(f"{out} holds records of another reading: name a new folder with --out")


def _write(found: Iterable[Record], out: Path | None, numbers: Iterator[int]) -> int:
    count = 0
    for record in found:
        count += 1
        text = json.dumps(content_of(record), ensure_ascii=False)
        if out is None:
            click.echo(text)
            continue
        name = f"{next(numbers):06}"
        write_secret(out / f"{name}.json", text.encode() + b"\n")
        if record.attachment:
            write_secret(out / f"{name}.bin", record.attachment)
    return count


@records.command(epilog=EXIT_CODES)
@click.argument("identifier", metavar="NUMBER")
@click.option("--from", "holder", type=click.IntRange(1), required=True, help="Number of the member to ask.")
@click.option("--reason", default="", help="Why; sealed to the holder, and committed to on chain; - asks.")
@click.option(
    "--number", type=click.IntRange(1), default=None, help="Ask nothing: open this earlier emergency's answer."
)
@click.option(
    "--out", type=FilePath, default=None, help="New folder for records as JSON and attachments. [default: print]"
)
@click.option("--wait", type=click.IntRange(0), default=60, show_default=True, help="Seconds to wait for the answer.")
@as_person(required=True)
@with_config
@with_password
def emergency(
    config: Config,
    password_file: Path | None,
    identifier: str,
    holder: int,
    reason: str,
    number: int | None,
    out: Path | None,
    wait: int,
    person: Path,
    person_password_file: Path | None,
) -> None:
    """Break the glass: read a patient's clinical records at once, without a grant.

    NUMBER is the patient's number at the holder (- asks). The access cannot be undone or hidden, and the holder must
    review it: while one of yours stays unreviewed for more than 72 hours, you can open no other.
    """
    from trainers.records import receiving

    if number is None and not reason.strip():
        raise UsageError("say why: --reason")
    identifier, reason = given(identifier, "number"), given(reason, "reason")
    who = person_of(person, person_password_file)
    with archive_of(config, password_file) as archive:
        reader, known = receiving.Reader(who, archive.registry, archive.store), archive.trail().emergencies
        if number is not None and (number not in known or known[number].holder != holder):
            raise UsageError(f"member {holder} was not asked in an emergency {number}")
        prepare(out)
        if number is None:
            number = reader.ask_in_emergency(identifier, reason, holder_of(archive, holder))
            click.echo(f"emergency {number}: it will be reviewed", err=True)
        opened = number
        again = f"--number {opened}"
        envelope = reader.wait(lambda trail: trail.emergency_released.get(opened, {}).get(holder), wait, again)
        count = _write(reader.records(envelope, holder, ["kind:clinical"]), out, itertools.count(1))
    click.echo(f"{count:,} records" if count else f"member {holder} has no clinical record under this number", err=True)


@records.command(epilog=EXIT_CODES)
@click.option("--all", "everyone", is_flag=True, help="List also those reviewed already, and other holders'.")
@json_option()
@with_config
@with_password
def emergencies(config: Config, password_file: Path | None, everyone: bool, as_json: bool) -> None:
    """List the emergency accesses that this hospital has to review.

    Each says about which patient it was, and for which reason.
    """
    from dataclasses import replace

    from hmchain.blobs import open_store
    from trainers.records import reviewing
    from trainers.records.answering import LETTER_SECONDS

    cases, letters = [], open_store(config.blobs.store, LETTER_SECONDS)
    with archive_of(config, password_file) as archive:
        for case in reviewing.cases(replace(archive, store=letters), everyone):
            cases.append(case)
            if not as_json:  # each at once: letters that nobody has are looked for one after the other
                click.echo(case.line())
    if as_json:
        click.echo(json.dumps([case.to_json() for case in cases]))
        return
    click.echo(f"{len(cases)} emergencies" if everyone else f"{len(cases)} emergencies wait for a review")


@records.command(epilog=EXIT_CODES)
@click.argument("number", type=click.IntRange(1))
@click.option("--uphold/--reject", "upheld", default=None, required=True, help="Whether it was an emergency.")
@click.option("--report", required=True, help="What was found; only a salted digest of it goes on chain; - asks.")
@with_config
@with_password
def review(config: Config, password_file: Path | None, number: int, upheld: bool, report: str) -> None:
    """Review an emergency access. NUMBER is as emergencies lists it.

    This is the holder's duty; after 72 hours every other member may do it, except the reader's own.
    """
    from trainers.records import reviewing

    if not report.strip():
        raise UsageError("say what was found: --report")
    report = given(report, "report")
    with archive_of(config, password_file) as archive:
        reviewing.review(archive, number, upheld, report)
    click.echo(f"emergency {number}: {'upheld' if upheld else 'rejected'}")


@records.command(epilog=EXIT_CODES)
@click.option("--watch", is_flag=True, help="Keep answering until interrupted.")
@with_config
@with_password
def release(config: Config, password_file: Path | None, watch: bool) -> None:
    """Answer the requests that the chain has logged. A running node does this by itself."""
    from trainers.records.releasing import Releasing

    with archive_of(config, password_file) as archive:
        releasing = Releasing(archive.rules, archive.registry, archive.store, archive.keys.identities)
        while True:
            try:
                while releasing.step():
                    pass
            except (ChainError, DaemonError) as fault:
                if not watch:
                    raise
                click.echo(f"will try again: {on_one_line(str(fault))}", err=True)
            if not watch:
                break
            time.sleep(config.chain.poll_seconds)
    click.echo(f"{releasing.answered} requests answered")


@records.command(epilog=EXIT_CODES)
@click.option(
    "--format",
    "form",
    type=click.Choice(["text", "json", "csv", "fhir"]),
    default="text",
    show_default=True,
    help="fhir is a Bundle of AuditEvent resources (R4).",
)
@click.option("--out", type=FilePath, default=None, help="Write to this file. [default: print]")
@with_config
@with_password
def audit(config: Config, password_file: Path | None, form: str, out: Path | None) -> None:
    """Print who read what, when and for which purpose, and prove that no reading is missing."""
    from trainers.records import access_audit

    with archive_of(config, password_file) as archive:
        text = access_audit.render(access_audit.audit(archive), form)
    if out is None:
        click.echo(text)
    else:
        write_secret(out, text.encode() + b"\n")
