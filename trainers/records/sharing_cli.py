"""`hmchain records`: persons, consents, grants. Adds its commands to the group in cli.py."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import click

from hmchain import scopes
from hmchain.command import EXIT_CODES, FilePath, guarded
from hmchain.errors import UsageError
from hmchain.identity import MemberIdentity
from hmchain.permits import Purpose, Role, member_of
from trainers import keystore
from trainers.cli import ask, with_config, with_password
from trainers.config import Config
from trainers.records import persons
from trainers.records.cli import archive_of, records
from trainers.records.holdings import Wanted
from trainers.records.persons import Signed, named

if TYPE_CHECKING:
    from trainers.records.archive import Archive

__all__ = ["records"]
PURPOSES = click.Choice([named(purpose) for purpose in Purpose if purpose is not Purpose.EMERGENCY])
ROLES = click.Choice([named(role) for role in Role])
UNTIL = click.option("--until", default="", help="A date, such as 2027-01-31. [default: --days from now]")
DAYS = click.option(
    "--days", type=click.IntRange(1, 3650), default=30, show_default=True, help="Days from now, by the chain's clock."
)


def as_person(required: bool) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Adds --as and --person-password-file; the command is handed both as paths."""

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        what = "The person's folder." if required else "The person's folder. [default: the hospital itself acts]"
        holds = "Holds the person's password. [default: a prompt]"
        command = click.option("--person-password-file", type=FilePath, help=holds)(command)
        return click.option("--as", "person", type=FilePath, required=required, help=what)(command)

    return decorate


def person_of(folder: Path, password_file: Path | None) -> MemberIdentity:
    """A person's keys, unlocked. Raises UsageError."""
    option = "--person-password-file"
    password = keystore.read_password(password_file) if password_file else ask("The person's password", option=option)
    return persons.unlock(folder, password)


def note_unknown_type(archive: Archive, label: str) -> None:
    """Warns of a type that no record here has: a misspelt type is a valid scope, too, but covers nothing."""
    kind, _, name = label.partition(":")
    if kind == "type" and not archive.vault.count(Wanted(type=name)):
        click.echo(f"note: this hospital holds no record of type {name}; records list shows their names", err=True)


@records.command(epilog=EXIT_CODES)
@click.argument("folder", metavar="DIR", type=FilePath)
@click.option("--password-file", type=FilePath, help="Holds the password for the new keys. [default: a prompt]")
@guarded
def person(folder: Path, password_file: Path | None) -> None:
    """Make a person's keys in DIR: a patient's, a physician's, a researcher's. No hospital gets them."""
    password = keystore.read_password(password_file) if password_file else ask("Password for the new keys", twice=True)
    made = persons.create(folder, password)
    click.echo(f"account {made.account.address}: hand it to the organisation that vouches for you")


@records.command(epilog=EXIT_CODES)
@click.argument("role", type=ROLES)
@click.option("--out", type=FilePath, required=True, help="Write the acceptance to this file, for the hospital.")
@as_person(required=True)
@with_config
@with_password
def accept(
    config: Config,
    password_file: Path | None,
    role: str,
    out: Path,
    person: Path,
    person_password_file: Path | None,
) -> None:
    """Accept, as a person, that this hospital vouches for you in a role.

    Hand the file to the hospital within seven days: without it nobody can vouch for you. The hospital then replaces
    whoever vouched for you before.
    """
    from trainers.records import sharing

    who = person_of(person, person_password_file)
    with archive_of(config, password_file) as archive:
        sharing.acceptance(archive, who, persons.role_named(role)).write(out)
    click.echo(f"{who.account.address} accepts to be vouched for as {role}: hand the hospital {out}")


@records.command(epilog=EXIT_CODES)
@click.argument("file", metavar="[ACCEPTANCE]", type=FilePath, required=False)
@click.option("--withdraw", default="", metavar="ACCOUNT", help="Stop vouching for this person.")
@with_config
@with_password
def vouch(config: Config, password_file: Path | None, file: Path | None, withdraw: str) -> None:
    """Vouch for a person. ACCEPTANCE is the file that the person made with `hmchain records accept`."""
    from trainers.records import sharing

    if (file is None) != bool(withdraw):
        raise UsageError("name the file of an acceptance, or say --withdraw ACCOUNT")
    who, signed = persons.checked_account(withdraw) if withdraw else "", Signed.read(file) if file else None
    with archive_of(config, password_file) as archive:
        if signed is None:
            archive.registry.transact("withdrawVouch", who)
            click.echo(f"{who} is no longer vouched for")
        else:
            accepted = sharing.vouch(archive, signed)
            click.echo(f"{accepted.person} is vouched for as {named(accepted.role)}")


@records.command(epilog=EXIT_CODES)
@click.argument("label", metavar="SCOPE")
@click.option("--purpose", "purposes", type=PURPOSES, multiple=True, help="A purpose; may be given several times.")
@click.option("--withdraw", is_flag=True, help="Withdraw the consent for this scope.")
@click.option("--out", type=FilePath, help="Write what was signed to this file as well, for other hospitals.")
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

    SCOPE says which records: all, kind:clinical, type:imaging or record:<its 64 digits>. A consent replaces the earlier
    one for the same scope. For each record, the most specific scope that you ever gave or withdrew consent for decides.
    """
    from trainers.records import sharing

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
        note_unknown_type(archive, label)
        if withdraw and (others := sharing.still_consented(archive, who)):
            click.echo(f"note: consent for {', '.join(others)} still stands; withdraw it separately", err=True)
    click.echo(f"{label}: " + (", ".join(sorted(purposes)) if purposes else "consent withdrawn"))


@records.command(epilog=EXIT_CODES)
@click.argument("label", metavar="SCOPE")
@click.option("--to", "reader", required=True, metavar="READER", help="An account, or a member's number.")
@click.option("--purpose", type=PURPOSES, required=True, help="What the records may be read for.")
@UNTIL
@DAYS
@click.option("--consent-of", default="", metavar="ACCOUNT", help="In a hospital's grant: whose records they are.")
@click.option("--consent-scope", default="all", show_default=True, help="The scope of that person's consent.")
@click.option("--out", type=FilePath, required=True, help="Write the grant to this file, for the reader.")
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
    """Let READER read a scope for a purpose, for a limited time. Hand the reader the file.

    SCOPE says which records: all, kind:clinical, type:imaging or record:<its 64 digits>. A person shares their own
    records (--as). A hospital shares records that are about nobody, or, with --consent-of, a person's: such a grant
    works only while that person consents to its purpose.
    """
    from trainers.records import sharing

    to, moment = persons.party(reader), sharing.moment_of(until)
    whose = (persons.checked_account(consent_of), scopes.checked(consent_scope)) if consent_of else None
    if person and whose:
        raise UsageError("a person's own grant is its consent: --consent-of is for a hospital's grant")
    scopes.checked(label)
    who = person_of(person, person_password_file) if person else None
    with archive_of(config, password_file) as archive:
        if member_of(to) not in (None, *archive.history.members):  # it would be whoever is admitted next
            raise UsageError(f"there is no member {reader}")
        expiry = sharing.expiry_of(archive, moment, days)
        signed = sharing.grant(archive, who, label, to, persons.purpose_named(purpose), expiry, whose)
        signed.write(out)
        sharing.relay(archive, signed)
        note_unknown_type(archive, label)
        click.echo(f"grant {sharing.number_of(archive, signed)}, until {sharing.when(expiry)}: hand the reader {out}")


@records.command(epilog=EXIT_CODES)
@click.argument("grant", metavar="GRANT")
@as_person(required=False)
@with_config
@with_password
def revoke(
    config: Config, password_file: Path | None, grant: str, person: Path | None, person_password_file: Path | None
) -> None:
    """Revoke a grant, by its file or its number. No key goes out from now on; what was read stays with the reader.

    GRANT is a number, as share prints it, or the grant's file, which also revokes one that was not relayed yet.
    """
    from trainers.records import sharing

    is_number = grant.isdecimal() and len(grant) < 20 and not Path(grant).exists()
    file = None if is_number else Signed.read(Path(grant))
    who = person_of(person, person_password_file) if person else None
    with archive_of(config, password_file) as archive:
        signed = sharing.revoked(archive, who, file or sharing.granted(archive, int(grant)))
        sharing.relay(archive, signed)
        click.echo(f"grant {sharing.number_of(archive, signed)} is revoked")


@records.command(epilog=EXIT_CODES)
@click.argument("files", metavar="FILE...", type=FilePath, nargs=-1, required=True)
@with_config
@with_password
def relay(config: Config, password_file: Path | None, files: tuple[Path, ...]) -> None:
    """Bring consents and grants that persons signed onto the chain.

    The vault remembers what their scopes stand for. Several files go in one transaction, which costs 21,000 gas less
    for each after the first.
    """
    from trainers.records import sharing

    permits = [Signed.read(file) for file in files]
    with archive_of(config, password_file) as archive:
        for file, new in zip(files, sharing.relay_files(archive, permits), strict=True):
            click.echo(f"{file}: {'relayed' if new else 'on the chain already'}")


@records.command(epilog=EXIT_CODES)
@click.argument("account", metavar="ACCOUNT")
@click.argument("purpose", type=PURPOSES)
@UNTIL
@DAYS
@click.option("--end", is_flag=True, help="End the delegation.")
@with_config
@with_password
def delegate(
    config: Config, password_file: Path | None, account: str, purpose: str, until: str, days: int, end: bool
) -> None:
    """Let somebody of the staff, by ACCOUNT, use grants made to this organisation, for one purpose."""
    from trainers.records import sharing

    moment, staff = sharing.moment_of(until), persons.checked_account(account)
    with archive_of(config, password_file) as archive:
        expiry = 0 if end else sharing.expiry_of(archive, moment, days)
        archive.registry.transact("setDelegation", staff, int(persons.purpose_named(purpose)), expiry)
    click.echo("delegation ended" if end else f"{staff} may use our grants for {purpose} until {sharing.when(expiry)}")
