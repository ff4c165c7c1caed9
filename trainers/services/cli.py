"""`hmchain records`: services over granted and consented records. Adds its commands to the group in records/cli.py."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from hmchain.command import EXIT_CODES, FilePath, guarded, json_option
from hmchain.errors import UsageError
from hmchain.files import name_of, write_secret
from hmchain.jsontext import MAX_WHOLE
from trainers.cli import with_config, with_password
from trainers.config import Config
from trainers.records.cli import archive_of
from trainers.records.trained_cli import records

if TYPE_CHECKING:
    from trainers.records.archive import Archive
    from trainers.services.answers import Answer

__all__ = ["records"]
THRESHOLD = 5  # persons, below which nothing is told, unless the hospital says otherwise
LEAST = click.IntRange(1, MAX_WHOLE)  # of a threshold: what an answer can hold
FILES = click.argument("files", metavar="QUERY|ANSWER...", type=FilePath, nargs=-1, required=True)
SUM = click.option("--sum", "summing", is_flag=True, help="As a researcher: add up the hospitals' answers.")
QUERY = click.option("--query", type=FilePath, default=None, help="With --sum: the query that answers must be to.")


@records.command(epilog=EXIT_CODES)
@click.argument("folders", metavar="DIR...", type=FilePath, nargs=-1, required=True)
@click.option("--out", type=FilePath, default=None, help="Write .html, .png, .svg or .json. [default: print tables]")
@json_option()
@guarded
def timeline(folders: tuple[Path, ...], out: Path | None, as_json: bool) -> None:
    """Show one person's records as a timeline: latest values, trends, what is abnormal or in conflict.

    DIR is what `hmchain records get --out DIR` wrote. Several folders, of several hospitals, are merged; each is called
    by its folder's name. All of them must be about one person.
    """
    from trainers.services import timeline_views
    from trainers.services.timeline import records_in
    from trainers.services.timeline import timeline as made

    names = [name_of(folder) for folder in folders]
    places = [name if names.count(name) == 1 else str(path) for name, path in zip(names, folders, strict=True)]
    told = made((place, records_in(folder)) for place, folder in zip(places, folders, strict=True))
    if out is not None:
        write_secret(out, timeline_views.rendered(told, out.suffix))
    if as_json:
        click.echo(timeline_views.as_json(told))
    elif out is None:
        click.echo(timeline_views.as_text(told))


@records.command(epilog=EXIT_CODES)
@FILES
@SUM
@QUERY
@click.option("--threshold", type=LEAST, help=f"Counts below it are suppressed. [default: {THRESHOLD}]")
@click.option("--out", type=FilePath, default=None, help="Write to this file. [default: print]")
@json_option()
@with_config
@with_password
def cohort(
    config: Config,
    password_file: Path | None,
    files: tuple[Path, ...],
    summing: bool,
    query: Path | None,
    threshold: int | None,
    out: Path | None,
    as_json: bool,
) -> None:
    """Count this hospital's persons who meet a query.

    QUERY is a TOML file; only records consented for biomedical research count. Counts below the threshold are
    suppressed, and so are totals that would reveal them. The answer is signed by this hospital. With --sum: check the
    answers of several hospitals, and add them.
    """
    from trainers.services import answers
    from trainers.services import cohort as service

    _check_options(summing, query, threshold, "--threshold")
    if summing:
        asked = service.read_query(query) if query else None
        found, given = _checked(config, service.SERVICE, files, asked)
        rows = service.rows(found, answers.summed(given))
        _tell(json.dumps({**_about(found, given), "cells": rows}) if as_json else _table(rows), out)
        return
    asked = service.read_query(_only(files))
    with archive_of(config, password_file) as archive:
        least = threshold or THRESHOLD
        cells = service.count(archive.trail(), archive.vault, asked, least)
        _tell_answer(_answer(archive, service.SERVICE, asked, least, cells), out, as_json)


@records.command(epilog=EXIT_CODES)
@FILES
@SUM
@QUERY
@click.option("--minimum", type=LEAST, help=f"Fewest persons at a site. [default: {THRESHOLD}]")
@click.option(
    "--out", type=FilePath, default=None, help="Write to this file; with --sum, .vcf writes a VCF. [default: print]"
)
@json_option()
@with_config
@with_password
def alleles(
    config: Config,
    password_file: Path | None,
    files: tuple[Path, ...],
    summing: bool,
    query: Path | None,
    minimum: int | None,
    out: Path | None,
    as_json: bool,
) -> None:
    """Count alleles at the sites that a query asks for.

    QUERY is a TOML file; only genomes consented for genome engineering count. A site where fewer persons than the
    minimum have a call is left out. The answer is signed by this hospital. With --sum: check the answers of several
    hospitals, and compute allele frequencies.
    """
    from trainers.services import alleles as service
    from trainers.services import answers

    _check_options(summing, query, minimum, "--minimum")
    if summing:
        asked = service.read_query(query) if query else None
        found, given = _checked(config, service.SERVICE, files, asked)
        sites = service.frequencies(answers.summed(given))
        if out is not None and out.suffix == ".vcf":
            _tell(service.vcf(found, sites).rstrip("\n"), out)
        else:
            rows = [site.to_json() for site in sites]
            _tell(json.dumps({**_about(found, given), "sites": rows}) if as_json else _table(rows), out)
        return
    asked = service.read_query(_only(files))
    with archive_of(config, password_file) as archive:
        least = minimum or THRESHOLD
        cells = service.count(archive.trail(), archive.vault, archive.reading, asked, least)
        _tell_answer(_answer(archive, service.SERVICE, asked, least, cells), out, as_json)


def _check_options(summing: bool, query: Path | None, least: int | None, option: str) -> None:
    """Raises UsageError for an option that only the other use of the command obeys."""
    if summing and least is not None:
        raise UsageError(f"{option} is for whoever answers: it does not go with --sum")
    if query is not None and not summing:
        raise UsageError("--query says what answers must be to: it goes with --sum")


def _only(files: Sequence[Path]) -> Path:
    if len(files) != 1:
        raise UsageError("one query at a time; to add answers say --sum")
    return files[0]


def _answer(
    archive: Archive, service: str, query: Mapping[str, Any], threshold: int, cells: Mapping[str, int | None]
) -> Answer:
    """Signs an answer, as of the block that the trail was read up to."""
    from trainers.services.answers import Answer, Place

    head, consortium = archive.registry.feed.head, archive.consortium
    assert head is not None  # the trail was read
    place = Place(consortium.chain_id, consortium.contract, archive.member, head.number, head.hash)
    return Answer(service, query, place, threshold, cells).signed(archive.identity.account)


def _tell_answer(answer: Answer, out: Path | None, as_json: bool) -> None:
    """Prints an answer, or writes it and says so."""
    if out is not None:
        answer.write(out)
    if out is None or as_json:
        click.echo(answer.encode().decode().rstrip("\n"))
        return
    hidden = sum(count is None for count in answer.cells.values())
    click.echo(f"{len(answer.cells) - hidden:,} counts told, {hidden:,} suppressed: hand the researcher {out}")


def _checked(
    config: Config, service: str, files: Sequence[Path], query: Mapping[str, Any] | None
) -> tuple[Mapping[str, Any], list[Answer]]:
    """The query and its answers, as good as the chain says they are. Raises HMChainError."""
    from hmchain.chain import ChainClient
    from hmchain.consortium import Consortium
    from hmchain.ledger import JobFeed
    from trainers.parts import connect
    from trainers.services.answers import Answer, check, query_digest

    given = [Answer.read(path) for path in files]
    consortium = Consortium.read(config.chain.consortium)
    client = ChainClient(connect(config, consortium), None, consortium.contract)
    history = JobFeed(client, consortium.block, wary=True).poll()
    found = check(given, service, consortium, history, client)
    if query is not None and query_digest(service, query) != query_digest(service, found):
        raise UsageError("the answers are to another query than the one named with --query")
    return found, given


def _about(query: Mapping[str, Any], given: Sequence[Answer]) -> dict[str, Any]:
    hospitals = [
        {"member": answer.place.member, "block": answer.place.block, "threshold": answer.threshold} for answer in given
    ]
    return {"query": query, "query_digest": given[0].digest().hex(), "answers": hospitals}


def _table(rows: Sequence[Mapping[str, Any]]) -> str:
    if not rows:
        return "nothing was told"
    cells = [list(rows[0]), *(["?" if value is None else str(value) for value in row.values()] for row in rows)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    lines = ("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in cells)
    return "\n".join(line.rstrip() for line in lines)


def _tell(text: str, out: Path | None) -> None:
    if out is None:
        click.echo(text)
    else:
        write_secret(out, text.encode() + b"\n")
