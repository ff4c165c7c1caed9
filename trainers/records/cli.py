"""`hmchain records`: a hospital's own records. sharing_cli.py, reading_cli.py and services/cli.py add more commands."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import tzinfo
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from hmchain.command import EXIT_CODES, FilePath, given, json_option, on_one_line
from hmchain.errors import UsageError, VerificationError
from hmchain.record import Code, Kind, Record
from trainers import logs
from trainers.cli import unlock, with_config, with_password
from trainers.config import Config
from trainers.importers.base import Context
from trainers.importers.measures import times
from trainers.records.holdings import Holding, Wanted

if TYPE_CHECKING:
    from trainers.records.archive import Archive
    from trainers.records.importing import FileReport
    from trainers.records.vault import Vault


@contextmanager
def archive_of(config: Config, password_file: Path | None) -> Iterator[Archive]:
    """Unlocks and opens the hospital's archive. Requests are logged as the node would log them."""
    from trainers.records.archive import open_archive

    logs.set_up(config.log.level, config.log.format)
    with open_archive(config, unlock(config, password_file)) as archive:
        yield archive


@click.group(epilog=EXIT_CODES)
def records() -> None:
    """Records: bring them in, share them under consent, prove who read what.

    \b
    a hospital           deploy, import, list, show, link, erase, verify, vouch, delegate, relay, release
                         emergencies, review
    a person             person, accept, consent, get, emergency
    person or hospital   share, revoke
    a data officer       trained
    anyone               audit
    services             timeline, cohort, alleles
    """


@records.command(epilog=EXIT_CODES)
@with_config
@with_password
def deploy(config: Config, password_file: Path | None) -> None:
    """Deploy the consortium's Records contract, if it has none.

    `hmchain deploy` has done this already for any newer consortium. Writes the contract into consortium.json: hand that
    file to all members.
    """
    from dataclasses import replace

    from hmchain import registry
    from hmchain.consortium import Consortium
    from trainers.parts import connect

    consortium = Consortium.read(config.chain.consortium)
    if consortium.records:
        raise UsageError(f"{config.chain.consortium} names a Records contract already")
    keys = unlock(config, password_file)
    transaction = registry.deploy(connect(config, consortium), keys.identity.account, consortium)
    replace(consortium, records=transaction).write(config.chain.consortium)
    click.echo(f"Records contract created by transaction {transaction}; hand {config.chain.consortium} to all members")


@records.command(name="import", epilog=EXIT_CODES)
@click.argument("paths", metavar="PATH...", type=FilePath, nargs=-1, required=True)
@click.option(
    "--source",
    default="auto",
    show_default=True,
    help="auto, or one importer for all files: fhir, hl7v2, dicom, labs, …",
)
@click.option("--subject", default="", help="The hospital's number of the person, for files that name nobody; - asks.")
@click.option("--zone", default="", help="Time zone of times that name none. [default: the configuration's]")
@json_option()
@with_config
@with_password
def import_(
    config: Config,
    password_file: Path | None,
    paths: tuple[Path, ...],
    source: str,
    subject: str,
    zone: str,
    as_json: bool,
) -> None:
    """Import files and folders: FHIR, HL7 v2, DICOM, VCF, FASTA, laboratory CSV, EEG, wearables.

    Each record is sealed under a key of its own, stored by CID and registered on chain. Prints what was imported, what
    was here already, and what was rejected, with position and reason. A bad record never stops the rest, and the exit
    code is still 0. If it is interrupted, start it again: it continues where it was.
    """
    from trainers.records.counting import Counter
    from trainers.records.importing import import_records

    counter = Counter()

    def told(file: FileReport) -> None:
        counter.clear()
        if not as_json:
            print_file(file)

    with archive_of(config, password_file) as archive:
        archive.member  # noqa: B018 - fails before anything is stored that could not be registered
        context = archive.context(given(subject, "number"), zone)
        report = import_records(paths, source, context, archive.storing, told, counter.count)
        entries = [number for _, number in archive.register()]
    counts = {what: report.total(what) for what in ("imported", "duplicate", "rejected")}
    if as_json:
        click.echo(json.dumps({**counts, "entries": entries, "files": [f.to_json() for f in report.files]}))
        return
    click.echo(", ".join(f"{count:,} {what}" for what, count in counts.items()))
    if nobodys := report.total("nobodys"):
        click.echo(
            f"note: {nobodys:,} records are about nobody, and the hospital's own to share without a consent; where "
            "files name nobody, --subject says whose they are",
            err=True,
        )
    if entries:
        click.echo(f"registered on chain as {'entry' if len(entries) == 1 else 'entries'} {_span(entries)}")


def print_file(file: FileReport) -> None:
    """Prints what became of one file."""
    name = file.shown_path
    if file.skipped:
        click.echo(f"{name}: skipped, {file.skipped}")
        return
    click.echo(f"{name}: {file.imported:,} imported, {file.duplicate:,} duplicate, {file.rejected:,} rejected")
    for position, reason in file.reasons:
        click.echo(f"    {position}: {reason}")


def _span(numbers: list[int]) -> str:
    return f"{numbers[0]} to {numbers[-1]}" if len(numbers) > 1 else str(numbers[0])


def with_filter(command: Callable[..., None]) -> Callable[..., None]:
    """Adds the options that say which records."""
    for option in reversed(
        (
            click.option("--kind", type=click.Choice([k.value for k in Kind]), default=None, help="Records' kind."),
            click.option("--type", "type_", default="", help="Such as observation, imaging, genome, step-count."),
            click.option(
                "--subject", default="", help="The hospital's own number for a person, or a pseudonym; - asks."
            ),
            click.option("--since", default="", help="Earliest time: 2020, 2020-05 or 2020-05-31T12:00:00Z."),
            click.option("--until", default="", help="Only records before this time, written likewise."),
            click.option("--code", default="", metavar="SYSTEM|CODE", help="Such as http://loinc.org|8867-4."),
        )
    ):
        command = option(command)
    return command


def wanted(archive: Archive, options: dict[str, Any]) -> Wanted:
    """The options of with_filter. Raises UsageError."""
    subject, code = given(options["subject"], "number"), None
    if options["code"]:
        system, bar, value = options["code"].rpartition("|")
        if not bar:
            raise UsageError("--code is SYSTEM|CODE, such as http://loinc.org|8867-4")
        code = Code(system, value)
    subject = subject and pseudonym_of(archive.vault, subject)
    kind = Kind(options["kind"]) if options["kind"] else None
    since, until = (_moment(options[name], name, archive.context().zone) for name in ("since", "until"))
    return Wanted(kind, options["type_"], subject or None, since, until, code)


def pseudonym_of(vault: Vault, subject: str) -> str:
    """A person's pseudonym in the vault, by that itself or by the hospital's own number."""
    known = vault.count(Wanted(subject=subject)) > 0
    return subject if known else Context(vault.pseudonym_key).pseudonym(subject)


def _moment(text: str, option: str, zone: tzinfo) -> str:
    """A time as records have it, in whose order they compare. Raises UsageError."""
    try:
        return times.parse(text, zone) if text else ""
    except ValueError as fault:
        told = f"--{option} is {fault}: 2020, 2020-05 or 2020-05-31T12:00:00Z are"
        raise UsageError(told) from fault


@records.command(name="list", epilog=EXIT_CODES)
@with_filter
@click.option("--limit", type=click.IntRange(1), default=None, help="List at most this many.")
@click.option("--count", "only_count", is_flag=True, help="Print only how many there are.")
@json_option()
@with_config
@with_password
def list_(
    config: Config, password_file: Path | None, limit: int | None, only_count: bool, as_json: bool, **options: Any
) -> None:
    """List this hospital's records, without opening them. With --json, one object per line."""
    with archive_of(config, password_file) as archive:
        which = wanted(archive, options)
        if only_count:
            click.echo(archive.vault.count(which))
            return
        for holding in archive.vault.holdings(which, limit):
            click.echo(json.dumps(_facts(holding)) if as_json else _line(holding))


def _facts(holding: Holding) -> dict[str, Any]:
    return {
        "record": holding.leaf.hex(),
        "kind": holding.kind.value,
        "type": holding.type,
        "subject": holding.subject,
        "time": holding.time,
        "source": holding.source,
        "entry": holding.batch.number,
        "erased": holding.erased,
    }


def _line(holding: Holding) -> str:
    place = f"entry {holding.batch.number}" if holding.batch.number else "not registered"
    state = "erased" if holding.erased else place
    subject = holding.subject[:12] or "-"
    return (
        f"{holding.name}  {holding.kind.value:<9} {holding.type:<22} {holding.time or '-':<24} {subject:<12}  "
        f"{holding.source:<14} {state}"
    )


@records.command(epilog=EXIT_CODES)
@click.argument("name", metavar="RECORD")
@click.option("--attachment", type=FilePath, help="Write its image, recording or document to this file.")
@json_option()
@with_config
@with_password
def show(config: Config, password_file: Path | None, name: str, attachment: Path | None, as_json: bool) -> None:
    """Open one of the hospital's own records. RECORD is its name as list shows it; the first digits are enough."""
    with archive_of(config, password_file) as archive:
        holding = archive.vault.find(name)
        record = archive.reading.open(holding)
    click.echo(json.dumps(content_of(record), indent=None if as_json else 2, ensure_ascii=False))
    if attachment is not None:
        from hmchain.files import write_secret

        write_secret(attachment, record.attachment)


def content_of(record: Record) -> dict[str, Any]:
    """A record as JSON, its attachment only counted."""
    content: dict[str, Any] = json.loads(record.encode().partition(b"\n")[0])
    return content | {"attachment_bytes": len(record.attachment)}


@records.command(epilog=EXIT_CODES)
@click.argument("subject", metavar="NUMBER")
@click.argument("account", metavar="[ACCOUNT]", default="")
@click.option("--undo", is_flag=True, help="Forget which account that is.")
@with_config
@with_password
def link(config: Config, password_file: Path | None, subject: str, account: str, undo: bool) -> None:
    """Note which account a patient signs with; this stays in the vault.

    NUMBER is the hospital's own number for that person (- asks).
    """
    from trainers.records.persons import checked_account

    if bool(account) == undo:
        raise UsageError("name an account, or say --undo")
    account = account and checked_account(account)
    subject = given(subject, "number")
    with archive_of(config, password_file) as archive:
        pseudonym = archive.context().pseudonym(subject)
        if undo:
            known = archive.vault.unlink(pseudonym)
            click.echo(
                f"{subject} is linked to no account any more" if known else f"{subject} was linked to no account"
            )
            return
        archive.vault.link(pseudonym, account)
        count = archive.vault.count(Wanted(subject=pseudonym))
    click.echo(f"{count:,} records are about the person that signs with {account}")


@records.command(epilog=EXIT_CODES)
@click.argument("names", metavar="[RECORD...]", nargs=-1)
@click.option(
    "--subject", default="", metavar="NUMBER", help="All records under this number of a person, and its link; - asks."
)
@click.option("--yes", is_flag=True, help="Do not ask.")
@with_config
@with_password
def erase(config: Config, password_file: Path | None, names: tuple[str, ...], subject: str, yes: bool) -> None:
    """Erase records for good, by destroying their keys.

    Backups of the vault made before still hold the keys, and readers keep what was released to them. The chain still
    shows that the record was there, and that it was erased. Models that were trained on it stay: `trained` names them,
    from now on by the record's name alone. If erasing is interrupted, start it again: it completes what was begun, also
    after an older backup was brought back.
    """
    from trainers.records.archive import AT_ONCE

    if bool(names) == bool(subject):
        raise UsageError("name records, or a person by --subject")
    subject = given(subject, "number")
    with archive_of(config, password_file) as archive:
        pseudonym = archive.context().pseudonym(subject) if subject else ""
        asked = [archive.vault.find(name) for name in names]
        if pseudonym:
            asked = list(archive.vault.holdings(Wanted(subject=pseudonym, erased=False)))
        holdings = list(dict.fromkeys([*archive.half_erased(), *asked]))
        if not holdings:
            raise UsageError(f"there is no record about {subject}")
        if not yes and ask_yes(f"erase {len(holdings)} records for good?") is False:
            raise UsageError("nothing was erased")
        if pseudonym:
            archive.vault.unlink(pseudonym)
        for start in range(0, len(holdings), AT_ONCE):
            group = holdings[start : start + AT_ONCE]
            archive.erase(*group)
            for holding in group:
                click.echo(f"erased {holding.name}")


def ask_yes(text: str) -> bool:
    """Asks on the terminal. Raises UsageError where there is none."""
    if not sys.stdin.isatty():
        raise UsageError("there is no terminal to ask on: say --yes")
    return bool(click.confirm(text, err=True))


@records.command(epilog=EXIT_CODES)
@click.option("--quick", is_flag=True, help="Compare with the chain only; do not fetch and open blobs.")
@json_option()
@with_config
@with_password
def verify(config: Config, password_file: Path | None, quick: bool, as_json: bool) -> None:
    """Check every record of this hospital against chain and blobs.

    Checks the chain of entries of all hospitals as well. Prints VALID, or INVALID and the first thing that is wrong.
    """
    from trainers.records.verify import verify as check

    with archive_of(config, password_file) as archive:
        try:
            verdict = check(archive, quick)
        except VerificationError as fault:
            click.echo(
                json.dumps({"valid": False, "reason": fault.reason})
                if as_json
                else f"INVALID  {on_one_line(fault.reason)}"
            )
            sys.exit(fault.exit_code)
    ours = f"{verdict['records']:,} records in {verdict['batches']:,} batches of ours"
    if verdict["lost"]:
        ours += f" ({len(verdict['lost'])} more given up as lost)"
    told = f"VALID  {ours}, {verdict['entries']:,} entries of all hospitals"
    click.echo(json.dumps({"valid": True, **verdict}) if as_json else told)
