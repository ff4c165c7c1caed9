"""Genome engineering: allele counts among a hospital's genomes, over consented records.

    query.toml   assembly = "GRCh38.fa"              as records name it, or the digest of their contigs
                 regions = ["1:10000-20000", "MT"]   1-based, both ends included; none for all
                 passed = true                       only calls whose filters were passed, or not applied

A site is listed where enough persons have a call there: with AN, the alleles called, and AC of each alternative.
Persons without a call at a site add nothing to its AN, also where a file omits genotypes that equal the reference: AF
is then the frequency among carriers of some variant. A person with several genomes here counts once a site. Alleles
other than plain bases (deletions by name, breakends, "*", "<*>") are called alleles without a count of their own.
Nothing is normalised: "chr1" is not "1", and an insertion that two callers place differently is two.

    cells        genomes: 120 | "1 10019 T": AN | "1 10019 T TA": AC        no AC where it is 0

Source: the VCF specification, 4.3, 1.6.1 (GT) and 1.6.2 (AC, AN, AF).
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, field_validator

from hmchain.errors import DataError, UsageError
from hmchain.permits import Purpose
from hmchain.record import Record
from hmchain.trail import Trail
from trainers.importers.genomics.vcf import CALL_COLUMNS
from trainers.records.entitlement import consented
from trainers.records.holdings import Holding, Wanted
from trainers.records.storing import Reading
from trainers.records.vault import Vault
from trainers.services.answers import Part, Total, parsed, query_in

SERVICE, TYPE, GENOMES = "alleles", "genome", "genomes"
MAX_SITES = 100_000  # of a query, in memory and in an answer
_REGION = re.compile(r"([!-~]{1,255}?)(?::([0-9]{1,10})-([0-9]{1,10}))?")
_BASES = re.compile(r"[ACGTN]{1,400}")
_CELL = re.compile(r"([!-~]+) ([0-9]{1,10}) ([ACGTN]+)(?: ([ACGTN]+))?")
_PASSED = ("PASS", ".")

Site = tuple[str, int, str]  # CHROM, POS, REF


class Query(Part):
    """The whole of a query."""

    title: Annotated[str, Field(max_length=200)] = ""
    assembly: Annotated[str, Field(pattern=r"^[!-~]{1,64}$")]
    regions: tuple[str, ...] = Field(default=(), max_length=1_000)
    passed: bool = True

    @field_validator("regions")
    @classmethod
    def _are_regions(cls, regions: tuple[str, ...]) -> tuple[str, ...]:
        if not all(map(_REGION.fullmatch, regions)):
            raise ValueError("a region is CHROM or CHROM:FIRST-LAST")
        return regions

    def spans(self) -> dict[str, list[tuple[int, int]]]:
        """The regions by chromosome; a whole one has no end."""
        spans: dict[str, list[tuple[int, int]]] = {}
        for match in filter(None, map(_REGION.fullmatch, self.regions)):
            spans.setdefault(match[1], []).append((int(match[2] or 0), int(match[3] or 2**63)))
        return spans


@dataclass
class Calls:
    """Called alleles at a site, and how many are of each alternative. Of one person, or of all so far."""

    number: int = 0
    alternatives: Counter[str] = field(default_factory=Counter)
    persons: int = 1


def read_query(path: Path) -> dict[str, Any]:
    """A query as JSON. Raises UsageError."""
    return query_in(path, Query)


def count(
    trail: Trail, vault: Vault, reading: Reading, query: Mapping[str, Any], minimum: int
) -> dict[str, int | None]:
    """A hospital's cells, of persons who consent to GENOME as of now, and of genomes about nobody.

    Raises UsageError for a malformed query, or one that asks for too much, BlobError for a record that cannot be had.
    """
    holdings = consented(trail, vault, Purpose.GENOME, Wanted(type=TYPE, erased=False))
    by_person: dict[str, list[Holding]] = {}  # as they were imported: reading keeps the last batch
    for holding in holdings:
        by_person.setdefault(_person(vault, holding), []).append(holding)
    return told((map(reading.open, several) for several in by_person.values()), parsed(query, Query), minimum)


def _person(vault: Vault, holding: Holding) -> str:
    return vault.account_of(holding.subject) if holding.subject else holding.leaf.hex()


def told(genomes: Iterable[Iterable[Record]], query: Query, minimum: int) -> dict[str, int | None]:
    """The cells to answer: none for fewer persons than the minimum, and no site with fewer. Raises UsageError."""
    sites: dict[Site, Calls] = {}
    persons = 0
    for records in genomes:
        calls = calls_of(records, query)
        persons += bool(calls)
        for site, own in calls.items():
            known = sites.setdefault(site, Calls(persons=0))
            known.number += own.number
            known.alternatives += own.alternatives
            known.persons += 1
        if len(sites) > MAX_SITES:
            raise UsageError(f"more than {MAX_SITES:,} sites: name regions, and ask several times")
    if persons < minimum:
        return {GENOMES: None}
    enough = {site: calls for site, calls in sites.items() if calls.persons >= minimum}
    return {GENOMES: persons, **dict(_cells(enough))}


def _cells(sites: Mapping[Site, Calls]) -> Iterator[tuple[str, int]]:
    for (chrom, position, ref), calls in sites.items():
        yield f"{chrom} {position} {ref}", calls.number
        for allele, number in calls.alternatives.items():
            yield f"{chrom} {position} {ref} {allele}", number


def calls_of(records: Iterable[Record], query: Query) -> dict[Site, Calls]:
    """One person's calls, from the first of its records that has any at a site. Raises DataError."""
    found: dict[Site, Calls] = {}
    for record in records:
        if query.assembly in (record.value.get("assembly"), record.value.get("contigs")):
            found = _calls(record, query) | found
    return found


def _calls(record: Record, query: Query) -> dict[Site, Calls]:
    """One record's calls. Several rows of one site are parts of one call, as where alleles were split over rows."""
    if not record.attachment.startswith(CALL_COLUMNS):
        raise DataError("a genome's record holds no calls")
    spans, found = query.spans(), dict[Site, Calls]()
    for line in record.attachment.decode().split("\n")[1:-1]:  # a value may have other line breaks
        chrom, position, ref, alts, filters, genotype, _ = line.split("\t")
        if (query.passed and filters not in _PASSED) or not _BASES.fullmatch(ref):
            continue
        if query.regions and not any(low <= int(position) <= high for low, high in spans.get(chrom, ())):
            continue
        alleles = [int(allele) for allele in re.findall("[0-9]+", genotype)]
        if not alleles:
            continue
        calls = found.setdefault((chrom, int(position), ref), Calls())
        calls.number = max(calls.number, len(alleles))
        names = alts.split(",")
        met = Counter(names[allele - 1] for allele in alleles if allele)
        calls.alternatives |= Counter({allele: n for allele, n in met.items() if _BASES.fullmatch(allele)})
    return found


@dataclass(frozen=True)
class Frequency:
    """An alternative allele over all hospitals, "." for a site where none was met. hospitals: how many told of it."""

    chrom: str
    position: int
    ref: str
    alt: str
    count: int
    number: int
    hospitals: int

    def text(self) -> str:
        """AF to six significant digits; "." where AN is 0, which a well-formed answer never tells."""
        return f"{self.count / self.number:.6g}" if self.number else "."

    def to_json(self) -> dict[str, Any]:
        """For machines, and as a row of a table."""
        site = {"chrom": self.chrom, "pos": self.position, "ref": self.ref, "alt": self.alt}
        return {**site, "ac": self.count, "an": self.number, "af": self.text(), "hospitals": self.hospitals}


def frequencies(totals: Mapping[str, Total]) -> list[Frequency]:
    """All alternatives, in order of chromosome and position. Raises DataError for malformed cells.

    A site is reported with all its alternatives: a hospital that lists the site but not an allele has none of that.
    """
    sites: dict[Site, Total] = {}
    alternatives: dict[Site, dict[str, int]] = {}
    for name, total in totals.items():
        if name == GENOMES:
            continue
        match = _CELL.fullmatch(name)
        if match is None:
            raise DataError("an answer has a cell that is no site and no allele")
        site = match[1], int(match[2]), match[3]
        if match[4]:
            alternatives.setdefault(site, {})[match[4]] = total.value
        else:
            sites[site] = total
    if not alternatives.keys() <= sites.keys():
        raise DataError("an answer has an allele of a site that it does not list")
    return [
        Frequency(*site, alt, number, sites[site].value, sites[site].told)
        for site in sorted(sites, key=lambda site: (*_natural(site[0]), *site[1:]))
        for alt, number in sorted(alternatives.get(site, {".": 0}).items())
    ]


def _natural(chrom: str) -> tuple[int, str]:
    digits = re.search(r"[0-9]+", chrom)
    return (int(digits[0]) if digits and len(digits[0]) < 3 else 100), chrom


def vcf(query: Mapping[str, Any], found: Iterable[Frequency]) -> str:
    """A VCF of sites, with AC, AN, AF and the number of hospitals in INFO."""
    head = [
        "##fileformat=VCFv4.3",
        f"##reference={parsed(query, Query).assembly}",
        '##INFO=<ID=AC,Number=A,Type=Integer,Description="Alternative alleles met">',
        '##INFO=<ID=AN,Number=1,Type=Integer,Description="Alleles called">',
        '##INFO=<ID=AF,Number=A,Type=Float,Description="AC / AN">',
        '##INFO=<ID=HOSPITALS,Number=1,Type=Integer,Description="Hospitals that tell of the site">',
        "#CHROM\tPOS\tID\tREF\tALT\tQUAL\tFILTER\tINFO",
    ]
    rows = (
        f"{f.chrom}\t{f.position}\t.\t{f.ref}\t{f.alt}\t.\t.\t"
        + ("" if f.alt == "." else f"AC={f.count};")
        + f"AN={f.number};"
        + ("" if f.alt == "." else f"AF={f.text()};")
        + f"HOSPITALS={f.hospitals}"
        for f in found
    )
    return "\n".join((*head, *rows)) + "\n"
