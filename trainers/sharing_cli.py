"""hmchain records: persons, consents, grants, reading. Adds its commands to the group in records_cli.py."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from hmchain import scopes
from hmchain.command import EXIT_CODES, guarded
from hmchain.errors import ContractError, StorageError, UsageError
from hmchain.files import write_secret
from hmchain.identity import MemberIdentity
from hmchain.permits import LAST_LABEL, Purpose, Role
from hmchain.record import Record
from trainers import keystore, persons
from trainers.cli import File, ask, with_config, with_password
from trainers.config import Config
from trainers.persons import Signed, named
from trainers.records_cli import archive_of, content_of, records

if TYPE_CHECKING:
    from trainers.archive import Archive

__all__ = ["records"]
PURPOSES = click.Choice([named(purpose) for purpose in Purpose if purpose is not Purpose.EMERGENCY])
ROLES = click.Choice([named(role) for role in Role])


def as_person(required: bool) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Adds --as and --person-password-file; the command is handed both as paths."""

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        what = "The person's folder." if required else "The person's folder; left out, the hospital itself acts."
        command = click.option("--person-password-file", type=File, help="Holds the person's password.")(command)
        return click.option("--as", "person", type=File, required=required, help=what)(command)

    return decorate


def person_of(folder: Path, password_file: Path | None) -> MemberIdentity:
    """A person's keys, unlocked. Raises UsageError."""
    password = keystore.read_password(password_file) if password_file else ask("The person's password")
    return persons.unlock(folder, password)


@records.command(epilog=EXIT_CODES)
@click.argument("folder", metavar="DIR", type=File)
@click.option("--password-file", type=File, help="Holds the password for the new keys. [default: a prompt]")
@guarded
def person(folder: Path, password_file: Path | None) -> None:
    """Make a person's keys in DIR: a patient's, a physician's, a researcher's. No hospital has them."""
    password = keystore.read_password(password_file) if password_file else ask("Password for the new keys", twice=True)
    made = persons.create(folder, password)
    click.echo(f"account {made.account.address}: hand it to the organisation that vouches for you")


@records.command(epilog=EXIT_CODES)
@click.argument("account", metavar="ACCOUNT")
@click.argument("role", type=ROLES, required=False)
@click.option("--withdraw", is_flag=True, help="Vouch for that person no more.")
@with_config
@with_password
def vouch(config: Config, password_file: Path | None, account: str, role: str | None, withdraw: bool) -> None:
    """Vouch that ACCOUNT belongs to a person with this role."""
    if (role is None) != withdraw:
        raise UsageError("name a role, or say --withdraw")
    who = persons.checked_account(account)
    with archive_of(config, password_file) as archive:
        if role is None:
            archive.registry.transact("withdrawVouch", who)
            click.echo(f"{who} is vouched for no more")
        else:
            archive.registry.transact("vouch", who, int(persons.role_named(role)))
            click.echo(f"{who} is vouched for as {role}")


@records.command(epilog=EXIT_CODES)
@click.argument("label", metavar="SCOPE")
@click.option("--purpose", "purposes", type=PURPOSES, multiple=True, help="Again for each purpose.")
@click.option("--withdraw", is_flag=True, help="Consent to nothing for this scope from here on.")
@click.option("--out", type=File, help="Write what was signed to this file as well, for other hospitals.")
@as_person(required=True)
@with_config
@with_password
def consent(
    config: Config,
    password_file: Path | None,
    label: str,
    purposes: tuple[str, ...],
    withdraw: bool,
    out: Path | None,
    person: Path,
    person_password_file: Path | None,
) -> None:
    """Consent, as a person, to purposes for a scope; this hospital relays it and pays the gas.

    SCOPE is all, kind:clinical, type:imaging or record:<its 64 digits>. What is said replaces what was said of the same
    scope. The most specific scope that anything was ever said of decides.
    """
    from trainers import sharing

    scopes.checked(label)
    if bool(purposes) == withdraw:
        raise UsageError("name a --purpose, or say --withdraw")
    who = person_of(person, person_password_file)
    with archive_of(config, password_file) as archive:
        chosen = frozenset(persons.purpose_named(name) for name in purposes)
        signed = sharing.consent(archive, who, label, chosen)
        if out is not None:
            signed.write(out)
        sharing.relay(archive, signed)
    click.echo(f"{label}: " + (", ".join(sorted(purposes)) if purposes else "consent withdrawn"))


@records.command(epilog=EXIT_CODES)
@click.argument("label", metavar="SCOPE")
@click.option("--to", "reader", required=True, metavar="READER", help="An account, or a member's number.")
@click.option("--purpose", type=PURPOSES, required=True)
@click.option("--until", default="", help="A date, such as 2027-01-31. [default: --days from now]")
@click.option("--days", type=click.IntRange(1, 3650), default=30, show_default=True)
@click.option("--consent-of", default="", metavar="ACCOUNT", help="A hospital's grant over a person's records: whose.")
@click.option("--consent-scope", default="all", show_default=True, help="The scope of that person's consent.")
@click.option("--out", type=File, required=True, help="The grant's file, which the reader needs.")
@as_person(required=False)
@with_config
@with_password
def share(
    config: Config,
    password_file: Path | None,
    label: str,
    reader: str,
    purpose: str,
    until: str,
    days: int,
    consent_of: str,
    consent_scope: str,
    out: Path,
    person: Path | None,
    person_password_file: Path | None,
) -> None:
    """Let READER read a scope for a purpose, until a day. Hand the reader the file.

    A person shares its own records (--as). A hospital shares records about nobody, or, with --consent-of, a person's:
    those work only while that person consents to the purpose.
    """
    from trainers import sharing

    to, expiry = persons.party(reader), sharing.expiry_of(until, days)
    whose = (persons.checked_account(consent_of), scopes.checked(consent_scope)) if consent_of else None
    if person and whose:
        raise UsageError("a person's own grant is its consent: --consent-of is for a hospital's grant")
    scopes.checked(label)
    who = person_of(person, person_password_file) if person else None
    with archive_of(config, password_file) as archive:
        signed = sharing.grant(archive, who, label, to, persons.purpose_named(purpose), expiry, whose)
        signed.write(out)
        sharing.relay(archive, signed)
        click.echo(f"grant {sharing.number_of(archive, signed)}, until {_when(expiry)}: hand the reader {out}")


@records.command(epilog=EXIT_CODES)
@click.argument("file", metavar="GRANT", type=File)
@as_person(required=False)
@with_config
@with_password
def revoke(
    config: Config, password_file: Path | None, file: Path, person: Path | None, person_password_file: Path | None
) -> None:
    """Revoke a grant, by its file. What was read stays read; no key goes out after this."""
    from trainers import sharing

    given, who = Signed.read(file), person_of(person, person_password_file) if person else None
    with archive_of(config, password_file) as archive:
        signed = sharing.revoked(archive, who, given)
        sharing.relay(archive, signed)
        click.echo(f"grant {sharing.number_of(archive, signed)} is revoked")


@records.command(epilog=EXIT_CODES)
@click.argument("files", metavar="FILE...", type=File, nargs=-1, required=True)
@with_config
@with_password
def relay(config: Config, password_file: Path | None, files: tuple[Path, ...]) -> None:
    """Bring consents and grants that persons signed onto the chain, and remember what their scopes stand for."""
    from trainers import sharing

    permits = [(file, Signed.read(file)) for file in files]
    with archive_of(config, password_file) as archive:
        for file, signed in permits:
            new = sharing.relay_file(archive, signed)
            click.echo(f"{file}: {'relayed' if new else 'on the chain already'}")


@records.command(epilog=EXIT_CODES)
@click.argument("account", metavar="ACCOUNT")
@click.argument("purpose", type=PURPOSES)
@click.option("--until", default="")
@click.option("--days", type=click.IntRange(1, 3650), default=30, show_default=True)
@click.option("--end", is_flag=True, help="No more.")
@with_config
@with_password
def delegate(
    config: Config, password_file: Path | None, account: str, purpose: str, until: str, days: int, end: bool
) -> None:
    """Let a person of the staff use grants made to this organisation, for one purpose."""
    from trainers import sharing

    expiry = 0 if end else sharing.expiry_of(until, days)
    staff = persons.checked_account(account)
    with archive_of(config, password_file) as archive:
        archive.registry.transact("setDelegation", staff, int(persons.purpose_named(purpose)), expiry)
    click.echo("delegation ended" if end else f"{staff} may use our grants for {purpose} until {_when(expiry)}")


@records.command(epilog=EXIT_CODES)
@click.argument("file", metavar="GRANT", type=File)
@click.option("--from", "holder", type=click.IntRange(1), required=True, help="Number of the member to ask.")
@click.option("--wanted", default="all", show_default=True, help="What of the grant's scope, such as type:imaging.")
@click.option(
    "--institution",
    type=click.IntRange(0, LAST_LABEL),
    default=0,
    help="Number of the organisation that the grant was made to.",
)
@click.option("--use", type=click.IntRange(1), default=None, help="Open the answer to this earlier use again.")
@click.option("--out", type=File, default=None, help="Folder for records as JSON and attachments. [default: print]")
@click.option("--wait", type=click.IntRange(0), default=60, show_default=True, help="Seconds, for the holder's answer.")
@as_person(required=True)
@with_config
@with_password
def get(
    config: Config,
    password_file: Path | None,
    file: Path,
    holder: int,
    wanted: str,
    institution: int,
    use: int | None,
    out: Path | None,
    wait: int,
    person: Path,
    person_password_file: Path | None,
) -> None:
    """Read records under a grant, as a person: one signed request on chain, answered by the holder's node.

    Every record is proved to be the one that was registered. One JSON object a line.
    """
    from trainers import receiving, sharing

    scopes.checked(wanted)
    signed, who = Signed.read(file), person_of(person, person_password_file)
    with archive_of(config, password_file) as archive:
        number = sharing.number_of(archive, signed)
        reader = receiving.Reader(who, archive.registry, archive.store)
        if use is None:
            labels = receiving.Labels(signed.label, signed.salt, signed.consent_label, signed.consent_salt)
            grant = archive.trail().grants[number]
            use = reader.ask(grant, labels.request(wanted), holder_of(archive, holder), institution)
        answer = (number, use)
        envelope = reader.wait(lambda trail: trail.released.get(answer, {}).get(holder), wait)
        count = _write(reader.records(envelope, holder), out)
    click.echo(f"{count:,} records by use {use} of grant {number}", err=True)


def holder_of(archive: Archive, member: int) -> Any:
    """Whom to ask. Raises UsageError where there is no such member."""
    from trainers.receiving import Holder

    key = archive.history.keys.get(member)
    if key is None:
        raise UsageError(f"there is no member {member}")
    return Holder(member, key)


def _write(found: Iterable[Record], out: Path | None) -> int:
    count = 0
    for count, record in enumerate(found, 1):
        text = json.dumps(content_of(record), ensure_ascii=False)
        if out is None:
            click.echo(text)
            continue
        try:
            out.mkdir(parents=True, exist_ok=True, mode=0o700)
        except OSError as fault:
            raise StorageError(f"cannot make {out}: {fault.strerror}") from fault
        write_secret(out / f"{count:06}.json", text.encode() + b"\n")
        if record.attachment:
            write_secret(out / f"{count:06}.bin", record.attachment)
    return count


@records.command(epilog=EXIT_CODES)
@click.argument("identifier", metavar="NUMBER")
@click.option("--from", "holder", type=click.IntRange(1), required=True, help="Number of the member to ask.")
@click.option("--reason", default="", help="Why; sealed to the holder, and committed to on chain.")
@click.option("--number", type=click.IntRange(1), default=None, help="Open the answer to this earlier emergency again.")
@click.option("--out", type=File, default=None, help="Folder for records as JSON and attachments. [default: print]")
@click.option("--wait", type=click.IntRange(0), default=60, show_default=True)
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
    """Break the glass: a patient's clinical records at once, without a grant. NUMBER is the patient's at the holder.

    It cannot be undone or hidden, and must be reviewed by the holder: unreviewed for 72 hours, you open no other.
    """
    from trainers import receiving

    if number is None and not reason:
        raise UsageError("say why: --reason")
    who = person_of(person, person_password_file)
    with archive_of(config, password_file) as archive:
        reader = receiving.Reader(who, archive.registry, archive.store)
        if number is None:
            number = reader.ask_in_emergency(identifier, reason, holder_of(archive, holder))
            click.echo(f"emergency {number}: it will be reviewed", err=True)
        opened = number
        envelope = reader.wait(lambda trail: trail.emergency_released.get(opened, {}).get(holder), wait)
        count = _write(reader.records(envelope, holder), out)
    click.echo(f"{count:,} records", err=True)


@records.command(epilog=EXIT_CODES)
@click.argument("number", type=click.IntRange(1))
@click.option("--uphold/--reject", "upheld", default=None, required=True, help="Whether it was an emergency.")
@click.option("--report", required=True, help="What was found; only its digest goes on chain.")
@with_config
@with_password
def review(config: Config, password_file: Path | None, number: int, upheld: bool, report: str) -> None:
    """Review an emergency access to this hospital's records."""
    from hashlib import sha256

    with archive_of(config, password_file) as archive:
        case = archive.trail().emergencies.get(number)
        if case is None:
            raise UsageError(f"there is no emergency {number}")
        archive.registry.transact("review", number, case.reader, upheld, sha256(report.encode()).digest())
    click.echo(f"emergency {number}: {'upheld' if upheld else 'rejected'}")


@records.command(epilog=EXIT_CODES)
@click.option("--watch", is_flag=True, help="Go on until interrupted.")
@with_config
@with_password
def release(config: Config, password_file: Path | None, watch: bool) -> None:
    """Answer the requests that the chain has logged. A running node does this by itself."""
    from trainers.releasing import Releasing

    with archive_of(config, password_file) as archive:
        releasing = Releasing(archive.rules, archive.registry, archive.store, archive.keys.identities)
        answered = 0
        while True:
            try:
                while releasing.is_due():
                    answered += releasing.step()
            except ContractError as fault:
                click.echo(str(fault), err=True)
            if not watch:
                break
            time.sleep(config.chain.poll_seconds)
    click.echo(f"{answered} requests answered")


@records.command(epilog=EXIT_CODES)
@click.option("--format", "form", type=click.Choice(["text", "json", "csv", "fhir"]), default="text", show_default=True)
@click.option("--out", type=File, default=None, help="Write to this file. [default: print]")
@with_config
@with_password
def audit(config: Config, password_file: Path | None, form: str, out: Path | None) -> None:
    """Who read what, when, for which purpose; and that nothing is missing from the sequence.

    fhir gives a Bundle of AuditEvent resources (R4).
    """
    from trainers import access_audit

    with archive_of(config, password_file) as archive:
        text = access_audit.render(access_audit.audit(archive), form)
    if out is None:
        click.echo(text)
    else:
        write_secret(out, text.encode() + b"\n")


def _when(seconds: int) -> str:
    return time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(seconds))
