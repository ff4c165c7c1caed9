"""`hmchain records trained`: what this hospital's updates were trained on. Adds its command to the group in cli.py."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from hmchain.command import EXIT_CODES, given, json_option, on_one_line
from hmchain.errors import UsageError, VerificationError
from trainers.cli import unlock, with_config, with_password
from trainers.config import Config
from trainers.records.cli import pseudonym_of
from trainers.records.holdings import Holding, Wanted
from trainers.records.reading_cli import records

if TYPE_CHECKING:
    from trainers.records.provenance import Provenance, Submission, Trained
    from trainers.records.vault import Vault
    from trainers.training_sets import Place, TrainingSet

__all__ = ["records"]


@records.command(epilog=EXIT_CODES)
@click.argument("names", metavar="[RECORD...]", nargs=-1)
@click.option(
    "--subject", default="", metavar="NUMBER", help="All records under this number of a person, or a pseudonym; - asks."
)
@click.option("--job", type=click.IntRange(1), default=None, help="Only this job's updates.")
@click.option("--round", "round_", type=click.IntRange(1), default=None, help="Only this round's, with --job.")
@json_option()
@with_config
@with_password
def trained(
    config: Config,
    password_file: Path | None,
    names: tuple[str, ...],
    subject: str,
    job: int | None,
    round_: int | None,
    as_json: bool,
) -> None:
    """List what this hospital's updates were trained on.

    Names the consents, and whether they still stand. With --job and no RECORD or --subject, lists every record of ours
    that the job has seen; with none of the three, only the sets. Each set's list is compared with the chain: where the
    list is missing, or not what was committed to, the set is NOT PROVED, and the exit code is 1. Records that are held
    out judge the updates of others, and are never trained on. No record is opened.
    """
    from trainers.records.provenance import open_provenance

    if names and subject:
        raise UsageError("name records, or a person by --subject")
    if round_ and not job:
        raise UsageError("--round needs --job: each job has its own rounds")
    subject = given(subject, "number")
    with open_provenance(config, unlock(config, password_file)) as known:
        wanted = _places(known.vault, names, subject)
        known.submissions = [s for s in known.submissions if job in (None, s.job) and round_ in (None, s.round)]
        found = _grouped(known.records(wanted)) if wanted is not None or job else []
        faults = {submission: known.fault(submission) for submission in known.submissions}
        if as_json:
            updates = [_update_facts(s, known.listed(s), faults[s]) for s in known.submissions]
            told = {"valid": not any(faults.values()), "updates": updates}
            click.echo(json.dumps(told | {"records": [_record_facts(group) for group in found]}))
        else:
            _tell(known, faults, found, wanted is not None)
    if any(faults.values()):
        sys.exit(VerificationError.exit_code)


def _places(vault: Vault | None, names: tuple[str, ...], subject: str) -> set[Place] | None:
    """Where the records named are on chain, None where none is named. Raises UsageError."""
    if not (names or subject):
        return None
    if vault is None:
        raise UsageError("this consortium has no Records contract, and this hospital no records")
    holdings: Iterable[Holding] = [vault.find(name) for name in names]
    if subject:
        holdings = list(vault.holdings(Wanted(subject=pseudonym_of(vault, subject))))
        if not holdings:
            raise UsageError(f"there is no record about {subject}: was it erased?")
    return {(holding.batch.number, holding.position) for holding in holdings if holding.batch.number is not None}


def _grouped(trained: Iterable[Trained]) -> list[list[Trained]]:
    """Grouped by job, record and consent, so that each is printed once, with its rounds."""
    groups: dict[Any, list[Trained]] = {}
    for each in trained:
        groups.setdefault((each.submissions[0].job, each.place, each.then), []).append(each)
    return list(groups.values())


# ---------------------------------------------------------------- text


def _tell(known: Provenance, faults: dict[Submission, str], found: list[list[Trained]], asked_of_records: bool) -> None:
    sets: dict[Any, list[Submission]] = {}
    for submission, fault in faults.items():
        sets.setdefault((submission.job, submission.root, fault), []).append(submission)
    for (job, root, fault), rounds in sets.items():
        listed = known.listed(rounds[0])
        made_of = _made_of(listed) if listed else f"{rounds[0].samples:,} samples"
        verdict = f"NOT PROVED ({fault})" if fault else "as committed"
        click.echo(on_one_line(f"job {job}, {_rounds(rounds)}: {verdict}, set {root.hex()[:16]}, {made_of}"))
    for group in found:
        click.echo(_line(group))
    if not faults:
        click.echo("no such update of ours is on chain")
    elif asked_of_records and not found:
        click.echo("none of these records was trained on")


def _made_of(listed: TrainingSet) -> str:
    if not listed.purpose:
        return f"{listed.samples:,} samples of {listed.file} (SHA-256 {listed.sha256})"
    count = len({place for row in listed.rows for place in row})
    return f"{listed.samples:,} samples of {count:,} records for {listed.purpose}"


def _all_of(group: list[Trained]) -> list[Submission]:
    return [submission for each in group for submission in each.submissions]


def _rounds(every: list[Submission]) -> str:
    """Rounds as people write them, and those in which the update did not count."""
    spared = _spans([each.round for each in every if not each.counted])
    many = "rounds" if len(every) > 1 else "round"
    return f"{many} {_spans([each.round for each in every])}" + (f" (not counted: {spared})" if spared else "")


def _spans(numbers: list[int]) -> str:
    """Such as "1 to 3, 7"."""
    spans: list[list[int]] = []
    for number in sorted(numbers):
        if spans and spans[-1][-1] == number - 1:
            spans[-1].append(number)
        else:
            spans.append([number])
    return ", ".join(str(span[0]) if len(span) == 1 else f"{span[0]} to {span[-1]}" for span in spans)


def _line(group: list[Trained]) -> str:
    first = group[0]
    entry, position = first.place
    name, type, subject = f"{entry}/{position}", "-", ""
    if first.holding is not None:
        name, type, subject = first.holding.name, first.holding.type, first.holding.subject
    consent = f"{first.then}, " if first.then else ""
    where = f"job {first.submissions[0].job}, {_rounds(_all_of(group))}"
    return f"{name:<16}  {type:<22} {subject[:12] or '-':<12}  {where}: {consent}{first.state}"


# ---------------------------------------------------------------- JSON


def _update_facts(submission: Submission, listed: TrainingSet | None, fault: str) -> dict[str, Any]:
    made_of: dict[str, Any] = {}
    if listed is not None:
        made_of = {"purpose": listed.purpose} if listed.purpose else {"file": listed.file, "sha256": listed.sha256}
    return {
        "job": submission.job,
        "round": submission.round,
        "set": submission.root.hex(),
        "samples": submission.samples,
        **made_of,
        "counted": submission.counted,
        "model": submission.model.hex() if submission.model else None,
        "fault": fault,
    }


def _record_facts(group: list[Trained]) -> dict[str, Any]:
    first = group[0]
    holding, then = first.holding, first.then
    entry, position = first.place
    return {
        "record": holding.leaf.hex() if holding else None,
        "type": holding.type if holding else None,
        "subject": holding.subject if holding else None,
        "entry": entry,
        "position": position,
        "job": first.submissions[0].job,
        "rounds": [submission.round for submission in _all_of(group)],
        "consent": {"scope": then.label, "number": then.number, "stood": then.stands} if then else None,
        "state": first.state,
    }
