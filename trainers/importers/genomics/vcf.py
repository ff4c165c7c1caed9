"""VCF 4 (plain, gzip, BGZF): one record for a sample's column, holding that person's calls.

No library reads it: pysam, cyvcf2 and vcfpy end a file at its first bad row, and the last two take FORMAT GT:GT for
good. Here a bad row is one rejection and the others count.

A sample is whoever has a column and at least one call in a good row; a call is any value that is not missing. Its
attachment is text: a line of names, then CHROM, POS, REF, ALT, FILTER, GT and the rest by key, divided by tabs, a row
for each call. A file of one sample is about the context's subject, if there is one; otherwise samples are told apart
by their names, of which only pseudonyms remain. A file without samples is one record, type "variants", about the
context's subject or about nobody.
ID, QUAL and INFO are about sites and kept there alone. VCF has no time of sampling: fileDate is kept as detail.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from hmchain.record import MAX_HEADER_BYTES, MAX_RECORD_BYTES, Kind, Record
from trainers.importers.base import Context, Rejection
from trainers.importers.genomics.columns import Columns, TooLarge
from trainers.importers.genomics.vcf_rows import FIXED, BadRow, Header, read_call, read_header, read_row
from trainers.importers.reading.bounded import GZIP, Unreadable, numbered_lines

NAME = "vcf"
CALL_COLUMNS = b"#CHROM\tPOS\tREF\tALT\tFILTER\tGT\tOTHER\n"
SITE_COLUMNS = "\t".join(FIXED).encode() + b"\n"
MAX_ATTACHMENT = MAX_RECORD_BYTES - MAX_HEADER_BYTES
MAX_CONTIGS = 1_000_000  # that rows may speak of


def recognises(head: bytes, path: Path) -> bool:
    """Whether head is that of VCF, or of gzip under a name that ends as VCF's do."""
    packed = head.startswith(GZIP) and path.name.lower().endswith((".vcf.gz", ".vcf.bgz"))
    return packed or head.startswith(b"##fileformat=VCF") or path.suffix.lower() == ".vcf"


def read(path: Path, context: Context) -> Iterator[Record | Rejection]:
    """A rejection for each bad row, then each sample's record; of a file that breaks off within, no record."""
    try:
        lines = numbered_lines(path)
        header = read_header(lines)
        with Columns(max(1, len(header.samples))) as columns:
            table = _Table(header, columns)
            yield from table.fill(lines)
            yield from _sample_records(table, context) if header.samples else _site_record(table, context)
    except (Unreadable, TooLarge) as fault:
        yield Rejection("file", str(fault))
    except OSError as fault:
        yield Rejection("file", f"its columns find no room on disk: {fault.strerror}")


class _Table:
    """The calls of the rows read so far, by sample, and how many."""

    def __init__(self, header: Header, columns: Columns) -> None:
        self.header, self.columns = header, columns
        self.calls, self.genotypes = [0] * max(1, len(header.samples)), [0] * max(1, len(header.samples))
        self.rejected = 0
        self._chrom, self._position, self._done = "", -1, set[str]()

    def fill(self, lines: Iterator[tuple[int, bytes]]) -> Iterator[Rejection]:
        for number, line in lines:
            try:
                self._add(line)
            except BadRow as fault:
                self.rejected += 1
                yield Rejection(f"line {number}", str(fault))

    def _add(self, line: bytes) -> None:
        """Adds all calls of a row, or none of them."""
        row, columns = read_row(line, len(self.header.samples))
        seen: dict[str, tuple[str, str] | None] = {}  # few values differ among the samples of a row
        for value in row.values:
            if value not in seen:
                seen[value] = read_call(row.keys, row.alternatives, value)
        self._advance(row.site[0], int(row.site[1]))
        if not self.header.samples:
            self.calls[0] += 1
            self.columns.add(0, "\t".join(columns).encode() + b"\n")
            return
        site = "\t".join(row.site)
        text = {value: f"{site}\t{call[0]}\t{call[1]}\n".encode() for value, call in seen.items() if call}
        for sample, value in enumerate(row.values):
            if call := seen[value]:
                self.columns.add(sample, text[value])
                self.calls[sample] += 1
                self.genotypes[sample] += call[0].strip("./|") != ""

    def _advance(self, chrom: str, position: int) -> None:
        """Checks that rows are sorted: a contig's rows stand together, by position."""
        if chrom in self._done or (chrom == self._chrom and position < self._position):
            raise BadRow("not in order")
        if chrom != self._chrom:
            if self._chrom:
                self._done.add(self._chrom)
            if len(self._done) > MAX_CONTIGS:
                raise Unreadable(f"rows of more than {MAX_CONTIGS:,} contigs")
        self._chrom, self._position = chrom, position


def _sample_records(table: _Table, context: Context) -> Iterator[Record | Rejection]:
    header, alone = table.header, len(table.header.samples) == 1
    for sample, name in enumerate(header.samples):
        where = f"column {10 + sample}"
        if not table.calls[sample]:
            yield Rejection(where, "a sample without a call in any row that can be read")
        elif table.columns.size(sample) > MAX_ATTACHMENT - len(CALL_COLUMNS):
            yield Rejection(where, f"a sample with calls of more than {MAX_ATTACHMENT:,} bytes")
        else:
            subject = (alone and context.default_subject) or context.pseudonym(name)
            counts = {"calls": table.calls[sample], "genotypes": table.genotypes[sample]}
            yield _record(table, "genome", subject, counts, CALL_COLUMNS + table.columns.text(sample))


def _site_record(table: _Table, context: Context) -> Iterator[Record | Rejection]:
    if not table.calls[0]:
        yield Rejection("file", "neither samples nor sites")
    elif table.columns.size(0) > MAX_ATTACHMENT - len(SITE_COLUMNS):
        yield Rejection("file", f"sites of more than {MAX_ATTACHMENT:,} bytes")
    else:
        yield _record(
            table, "variants", context.default_subject, {"sites": table.calls[0]}, SITE_COLUMNS + table.columns.text(0)
        )


def _record(table: _Table, kind: str, subject: str, counts: dict[str, int], attachment: bytes) -> Record:
    header = table.header
    value = {"assembly": header.assembly, "contigs": header.digest(), **counts}
    detail = {"file_date": header.date, "samples": len(header.samples), "rejected_rows": table.rejected}
    source = f"vcf-{header.version}"
    return Record(Kind.RESEARCH, kind, subject, "", (), value, source, detail=detail, attachment=attachment)
