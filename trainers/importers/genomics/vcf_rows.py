"""The header and the rows of VCF 4.0 to 4.5, strictly: a row that two programs could read in two ways is a fault.

Source: the VCF specifications of samtools/hts-specs, 4.0 to 4.5, sections 1.2 to 1.6. Faults never quote the text.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from hashlib import sha256
from pathlib import PurePosixPath

from trainers.importers.reading.bounded import Unreadable

FIXED = ("#CHROM", "POS", "ID", "REF", "ALT", "QUAL", "FILTER", "INFO")
MAX_META_LINES = 200_000
MAX_SAMPLES = 100_000
MAX_POSITION = 2**31 - 1  # as htslib, whatever the version

_VERSION = re.compile(rb"##fileformat=VCFv(4\.[0-5])\r?\n")
_PLAIN = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_CONTIG = re.compile(r"[!-)+-;=?-~][!-)+-~]{0,254}")  # 1.4.7: no "*", and no "<", ">" or blank where it would confuse
_REF = re.compile(r"[ACGTN]+", re.IGNORECASE)
_ALLELE = re.compile(
    r"[ACGTN]+|\*|<[^\s<>,]+>|\.[ACGTN]+|[ACGTN]+\.|[ACGTN.]*(?:\[[^\s\[\],]+\[|\][^\s\[\],]+\])[ACGTN.]*",
    re.IGNORECASE,
)
_QUALITY = re.compile(r"\.|[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d+)?|[+]?inf(inity)?|nan", re.IGNORECASE)
_KEYS = re.compile(r"\.|(?:[A-Za-z_][0-9A-Za-z_.]*|1000G)(?::(?:[A-Za-z_][0-9A-Za-z_.]*|1000G))*")
_GENOTYPE = re.compile(r"[/|]?(?:\d{1,4}|\.)(?:[/|](?:\d{1,4}|\.))*")
_NAMED = re.compile(r"[\[\]<]")
_ANGLED = re.compile(r"<[!-;=?-~]{1,253}>")
_DIGITS = re.compile(r"[0-9]{1,10}")


class BadRow(ValueError):
    """A row that cannot be read, and why."""


@dataclass
class Header:
    """version: "4.3". assembly: the reference's own name, "" where it has none that is plain. line: of the columns."""

    version: str
    line: int = 0
    assembly: str = ""
    date: str = ""
    contigs: list[str] = field(default_factory=list)
    samples: list[str] = field(default_factory=list)

    def digest(self) -> str:
        """SHA-256, in hexadecimal, over the contigs as declared: name, length and md5; "" where none are."""
        return sha256("".join(self.contigs).encode()).hexdigest() if self.contigs else ""


@dataclass(frozen=True)
class Row:
    """One line: site is CHROM, POS, REF, ALT and FILTER, bases in capitals; values are one text a sample."""

    site: tuple[str, ...]
    keys: tuple[str, ...]
    values: tuple[str, ...]
    alternatives: int


def read_header(lines: Iterator[tuple[int, bytes]]) -> Header:
    """Consume the lines up to and with #CHROM. Raises Unreadable."""
    _, first = next(lines, (0, b""))
    version = _VERSION.fullmatch(first)
    if not version:
        raise Unreadable("no VCF 4: its first line is not ##fileformat=VCFv4.0 to 4.5")
    header = Header(version[1].decode())
    for number, line in lines:
        if number > MAX_META_LINES:
            raise Unreadable(f"more than {MAX_META_LINES:,} lines before #CHROM")
        if not line.startswith(b"##"):
            header.line, header.samples = number, _samples(line, number)
            return header
        _meta(header, line.decode("utf-8", "replace").rstrip("\r\n"))
    raise Unreadable("no line of columns (#CHROM)")


def _meta(header: Header, line: str) -> None:
    key, _, content = line[2:].partition("=")
    if key == "contig":
        parts = {name: re.search(rf"[<,]{name}=([^,>\"]+)", content) for name in ("ID", "length", "md5", "assembly")}
        found = {name: match[1] if match else "" for name, match in parts.items()}
        header.contigs.append(f"{found['ID']}\t{found['length']}\t{found['md5'].lower()}\n")
        header.assembly = header.assembly or _plain(found["assembly"])
    elif key in ("reference", "assembly"):  # often a path or URL, which says where a laboratory keeps its files
        header.assembly = header.assembly or _plain(PurePosixPath(content).name)
    elif key == "fileDate" and re.fullmatch(r"[\d-]{8,10}", content):
        header.date = content


def _plain(text: str) -> str:
    return text if _PLAIN.fullmatch(text) else ""


def _samples(line: bytes, number: int) -> list[str]:
    """The sample names of the line of columns: UTF-8 since 4.3, and there is no reason to refuse them before."""
    try:
        columns = _fields(line)
    except BadRow as fault:
        raise Unreadable(f"line {number}: {fault}") from fault
    if tuple(columns[:8]) != FIXED or (len(columns) > 8 and columns[8] != "FORMAT") or len(columns) == 9:
        raise Unreadable(f"line {number}: not the columns of VCF")
    names = columns[9:]
    if len(names) > MAX_SAMPLES:
        raise Unreadable(f"more than {MAX_SAMPLES:,} samples")
    if not all(name.strip() and name.isprintable() for name in names):
        raise Unreadable(f"line {number}: a sample without a name, or with one that cannot be printed")
    if len({name.strip().casefold() for name in names}) < len(names):  # pseudonyms know no case
        raise Unreadable(f"line {number}: two samples of one name")
    return names


def _fields(line: bytes) -> list[str]:
    if not line.endswith(b"\n"):
        raise BadRow("cut off: no line end")
    try:
        text = line.decode().removesuffix("\n").removesuffix("\r")
    except UnicodeDecodeError as fault:
        raise BadRow("not UTF-8") from fault
    return text.split("\t")


def read_row(line: bytes, samples: int) -> tuple[Row, list[str]]:
    """The row of a line, and its columns as they are. Raises BadRow."""
    found, wanted = line.count(b"\t") + 1, 9 + samples if samples else 8
    if found != wanted and line.endswith(b"\n"):
        raise BadRow(f"{found:,} columns where the header has {wanted:,}")
    columns = _fields(line)
    chrom, pos, name, ref, alt, quality, filters, _ = columns[:8]
    _check_chrom(chrom)
    if not _DIGITS.fullmatch(pos) or int(pos) > MAX_POSITION:
        raise BadRow("POS is no position")
    alleles = _alleles(ref, alt)
    if not _QUALITY.fullmatch(quality):
        raise BadRow("QUAL is no number")
    if not all(columns) or " " in name or " " in filters:
        raise BadRow("an empty column, or a blank in ID or FILTER")
    keys = _keys(columns[8]) if samples else ()
    site = (chrom, str(int(pos)), *alleles, filters)
    return Row(site, keys, tuple(columns[9:]), 0 if alt == "." else alt.count(",") + 1), columns


@lru_cache(1_000)
def _check_chrom(chrom: str) -> None:
    if not (_CONTIG.fullmatch(chrom) or _ANGLED.fullmatch(chrom)):
        raise BadRow("CHROM is no name")


@lru_cache(1_000)
def _alleles(ref: str, alt: str) -> tuple[str, str]:
    """REF and ALT, bases in capitals; names within brackets keep their case."""
    if not _REF.fullmatch(ref):
        raise BadRow("REF is not nucleotides")
    alleles = alt.split(",")
    if alt != "." and not all(map(_ALLELE.fullmatch, alleles)):
        raise BadRow("ALT is no allele")
    return ref.upper(), ",".join(allele if _NAMED.search(allele) else allele.upper() for allele in alleles)


@lru_cache(1_000)
def _keys(text: str) -> tuple[str, ...]:
    if not _KEYS.fullmatch(text):
        raise BadRow("FORMAT has no keys")
    keys = tuple(text.split(":")) if text != "." else ()
    if len(set(keys)) < len(keys):
        raise BadRow("FORMAT has a key twice")
    if "GT" in keys[1:]:
        raise BadRow("GT is not the first key of FORMAT")
    return keys


@lru_cache(10_000)
def read_call(keys: tuple[str, ...], alternatives: int, value: str) -> tuple[str, str] | None:
    """A sample's genotype ("." if none) and its other values by key ("DP=7;GQ=50", or "."); None for no call at all.

    keys, alternatives: the row's. Raises BadRow for more values than keys, and for a genotype of an allele that the
    row does not have.
    """
    values = value.split(":")
    if len(values) > max(len(keys), 1):
        raise BadRow("a sample has more values than FORMAT has keys")
    if not keys or not value.strip(".:/|,"):
        return None
    named = dict(zip(keys, values, strict=False))
    genotype = named.pop("GT", ".")
    if not _GENOTYPE.fullmatch(genotype):
        raise BadRow("a malformed genotype")
    if any(int(allele) > alternatives for allele in re.findall(r"\d+", genotype)):
        raise BadRow("a genotype of an allele that is not there")
    rest = ";".join(f"{key}={text}" for key, text in sorted(named.items()) if text.strip(".,"))
    return genotype, rest or "."
