"""VCF: a record for each sample, a rejection for each bad row, and what ends a whole file."""

from __future__ import annotations

import gzip
import struct
import zlib
from hashlib import sha256
from pathlib import Path

import pytest

from hmchain.record import Kind, Record
from tests.samples import RECORDS, needs_samples
from trainers.importers.base import Context, Rejection
from trainers.importers.genomics import columns, vcf, vcf_rows
from trainers.importers.reading import bounded
from trainers.importers.reading.bounded import BGZF_END

SAMPLES = RECORDS / "genomics"

CONTEXT = Context(bytes(range(32)))
ABOUT = Context(CONTEXT.key, subject="patient-7")

HEAD = """##fileformat=VCFv4.3
##reference=file:///data/jane/ref/GRCh38.fa
##fileDate=20240102
##contig=<ID=1,length=1000,md5=AB>
##contig=<ID=2,length=500>
"""
FIXED = "#CHROM\tPOS\tID\tREF\tALT\tQUAL\tFILTER\tINFO"
NAMES = vcf.CALL_COLUMNS.decode()


def text(*rows: str, samples: tuple[str, ...] = ("A", "B"), head: str = HEAD) -> bytes:
    """A VCF; rows have blanks for tabs."""
    line = "\t".join([FIXED, "FORMAT", *samples]) if samples else FIXED
    return (head + line + "\n" + "".join(row.replace(" ", "\t") + "\n" for row in rows)).encode()


def read(folder: Path, data: bytes, context: Context = CONTEXT, name: str = "calls.vcf") -> list[Record | Rejection]:
    (folder / name).write_bytes(data)
    return list(vcf.read(folder / name, context))


def split(items: list[Record | Rejection]) -> tuple[list[Record], list[tuple[str, str]]]:
    records = [item for item in items if isinstance(item, Record)]
    return records, [(item.position, item.reason) for item in items if isinstance(item, Rejection)]


# Records


def test_each_sample_is_a_record_of_its_calls(tmp_path: Path) -> None:
    rows = (
        "1 10 rs1 a t,<DEL> 50 PASS DP=9 GT:DP:AD 0/1:7:3,4 1|2:.:.",
        "1 20 . AC A . q10 . GT:DP ./.:. 0/0:5",
        "2 3 . G . . . . DP 4 .",
    )
    (first, second), rejected = split(read(tmp_path, text(*rows)))
    assert rejected == []
    assert (first.kind, first.type, first.source, first.time) == (Kind.RESEARCH, "genome", "vcf-4.3", "")
    assert first.attachment.decode() == NAMES + "1\t10\tA\tT,<DEL>\tPASS\t0/1\tAD=3,4;DP=7\n2\t3\tG\t.\t.\t.\tDP=4\n"
    assert second.attachment.decode() == NAMES + "1\t10\tA\tT,<DEL>\tPASS\t1|2\t.\n1\t20\tAC\tA\tq10\t0/0\tDP=5\n"
    contigs = sha256(b"1\t1000\tab\n2\t500\t\n").hexdigest()
    assert first.value == {"assembly": "GRCh38.fa", "contigs": contigs, "calls": 2, "genotypes": 1}
    assert first.detail == {"file_date": "20240102", "samples": 2, "rejected_rows": 0}
    assert Record.decode(first.encode()) == first


def test_samples_are_known_by_pseudonyms_of_their_names_alone(tmp_path: Path) -> None:
    records, _ = split(read(tmp_path, text("1 10 . A T . . . GT 0/1 1/1", samples=("JaneDoe", "JohnRoe")), ABOUT))
    assert [record.subject for record in records] == [CONTEXT.pseudonym("JaneDoe"), CONTEXT.pseudonym("JohnRoe")]
    assert not [record for record in records if b"Doe" in record.encode() or b"jane" in record.encode()]


def test_a_file_of_one_sample_is_about_the_contexts_subject_if_there_is_one(tmp_path: Path) -> None:
    data = text("1 10 . A T . . . GT 0/1", samples=("S1",))
    assert [item.subject for item in read(tmp_path, data, ABOUT) if isinstance(item, Record)] == [ABOUT.default_subject]
    assert [item.subject for item in read(tmp_path, data) if isinstance(item, Record)] == [CONTEXT.pseudonym("S1")]


@pytest.mark.parametrize("context", [CONTEXT, ABOUT], ids=["nobody", "somebody"])
def test_a_file_without_samples_is_one_record_about_whom_it_is_said_to_be_of(context: Context, tmp_path: Path) -> None:
    ((record,), rejected) = split(
        read(tmp_path, text("1 10 rs1 A T 5 PASS AF=0.1", "1 x . A T . . .", samples=()), context)
    )
    assert (record.type, record.subject, record.value["sites"]) == ("variants", context.default_subject, 1)
    assert record.attachment == vcf.SITE_COLUMNS + b"1\t10\trs1\tA\tT\t5\tPASS\tAF=0.1\n"
    assert rejected == [("line 8", "POS is no position")]


def test_compressed_or_not_the_records_are_the_same(tmp_path: Path) -> None:
    data = text("1 10 . A T . . . GT 0/1 1/1")
    plain = [item.identity() for item in read(tmp_path, data) if isinstance(item, Record)]
    packed = [
        item.identity() for item in read(tmp_path, gzip.compress(data), name="a.vcf.gz") if isinstance(item, Record)
    ]
    assert plain == packed
    assert len(plain) == 2


def test_line_ends_of_windows_make_no_difference(tmp_path: Path) -> None:
    data = text("1 10 . A T . . . GT 0/1 1/1")
    assert read(tmp_path, data.replace(b"\n", b"\r\n")) == read(tmp_path, data)


def test_calls_that_do_not_fit_in_memory_wait_on_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = text(*(f"1 {i} . A T . . . GT 0/1 {i % 2}/1" for i in range(1, 200)))
    whole = read(tmp_path, data)
    monkeypatch.setattr(columns, "MAX_HELD", 300)
    assert read(tmp_path, data) == whole
    monkeypatch.setattr(columns, "MAX_SPOOLED", 1_000)
    assert read(tmp_path, data) == [Rejection("file", "its columns hold more than 1,000 bytes")]


@pytest.mark.parametrize(
    "alt", ["T", ".", "*", "<DEL>", "<*>", "G]17:198982]", "]13:123456]T", "[2:321682[T", ".TC", "C.", "t,*"]
)
def test_every_kind_of_allele_is_read(tmp_path: Path, alt: str) -> None:
    records, rejected = split(read(tmp_path, text(f"1 10 . A {alt} . . . GT 0/0 0|0")))
    assert (len(records), rejected) == (2, [])


# Rows


@pytest.mark.parametrize(
    ("row", "why"),
    [
        ("1 10 . A T . . . GT 0/1", "10 columns where the header has 11"),
        ("1 10 . A T . . . GT 0/1 0/1 0/1", "12 columns where the header has 11"),
        ("1 ten . A T . . . GT 0/1 0/1", "POS is no position"),
        ("1 -1 . A T . . . GT 0/1 0/1", "POS is no position"),
        ("1 99999999999 . A T . . . GT 0/1 0/1", "POS is no position"),
        ("1 10 . Jane T . . . GT 0/1 0/1", "REF is not nucleotides"),
        ("1 10 . . T . . . GT 0/1 0/1", "REF is not nucleotides"),
        ("1 10 . A Jane . . . GT 0/1 0/1", "ALT is no allele"),
        ("1 10 . A T, . . . GT 0/1 0/1", "ALT is no allele"),
        ("1 10 . A T high . . GT 0/1 0/1", "QUAL is no number"),
        ("1 10 . A T .  . GT 0/1 0/1", "an empty column, or a blank in ID or FILTER"),
        ("*1 10 . A T . . . GT 0/1 0/1", "CHROM is no name"),
        (" 10 . A T . . . GT 0/1 0/1", "CHROM is no name"),
        ("1 10 . A T . . . GT:GT 0/1 0/1", "FORMAT has a key twice"),
        ("1 10 . A T . . . DP:GT 3:0/1 0/1", "GT is not the first key of FORMAT"),
        ("1 10 . A T . . . 9X 0/1 0/1", "FORMAT has no keys"),
        ("1 10 . A T . . . GT 0/1:5 0/1", "a sample has more values than FORMAT has keys"),
        ("1 10 . A T . . . GT 0/x 0/1", "a malformed genotype"),
        ("1 10 . A T . . . GT 0/2 0/1", "a genotype of an allele that is not there"),
    ],
)
def test_a_bad_row_is_rejected_at_its_line_and_the_others_count(tmp_path: Path, row: str, why: str) -> None:
    good = "1 5 . A T . . . GT 0/1 0/1"
    records, rejected = split(read(tmp_path, text(good, row, "1 20 . A T . . . GT 0/1 0/1")))
    assert rejected == [("line 8", why)]
    assert [record.value["calls"] for record in records] == [2, 2]
    assert [record.detail["rejected_rows"] for record in records] == [1, 1]


@pytest.mark.parametrize("rows", [("1 20", "1 10", "1 30"), ("1 10", "2 5", "1 11")])
def test_rows_out_of_order_are_rejected(tmp_path: Path, rows: tuple[str, ...]) -> None:
    records, rejected = split(read(tmp_path, text(*(f"{row} . A T . . . GT 0/1 0/1" for row in rows))))
    assert [reason for _, reason in rejected] == ["not in order"]
    assert [record.value["calls"] for record in records] == [2, 2]


def test_a_row_that_is_not_utf8_and_one_without_a_line_end_are_rejected(tmp_path: Path) -> None:
    data = (
        text("1 5 . A T . . . GT 0/1 0/1")
        + b"1\t6\t.\tA\tT\t.\t\xff\t.\tGT\t0/1\t0/1\n1\t7\t.\tA\tT\t.\t.\t.\tGT\t0/1\t0/1"
    )
    records, rejected = split(read(tmp_path, data))
    assert rejected == [("line 8", "not UTF-8"), ("line 9", "cut off: no line end")]
    assert len(records) == 2


def test_a_sample_without_any_call_is_rejected_at_its_column(tmp_path: Path) -> None:
    records, rejected = split(read(tmp_path, text("1 10 . A T . . . GT:DP 0/1:3 ./.:.")))
    assert rejected == [("column 11", "a sample without a call in any row that can be read")]
    assert len(records) == 1


# Whole files


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"", "no VCF 4"),
        (b"\xef\xbb\xbf" + text(), "no VCF 4"),
        (text(head="##fileformat=VCFv3.3\n"), "no VCF 4"),
        (text(head=""), "no VCF 4"),
        (HEAD.encode(), "no line of columns"),
        (HEAD.encode() + b"1\t10\t.\tA\tT\t.\t.\t.\n", "line 6: not the columns of VCF"),
        (text().replace(b"POS", b"Pos"), "line 6: not the columns of VCF"),
        (text().replace(b"FORMAT\t", b""), "line 6: not the columns of VCF"),
        (text(samples=("",)), "line 6: a sample without a name"),
        (text(samples=("A", "a")), "line 6: two samples of one name"),
        (text(samples=("A\x07", "B")), "line 6: a sample without a name"),
        (text().replace(b"\tA\t", b"\t\xff\t"), "line 6: not UTF-8"),
        (text(samples=()), "neither samples nor sites"),
    ],
)
def test_a_broken_header_ends_the_file(tmp_path: Path, data: bytes, why: str) -> None:
    (item,) = read(tmp_path, data)
    assert isinstance(item, Rejection)
    assert item.position == "file"
    assert item.reason.startswith(why)


def test_more_samples_than_are_allowed_end_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vcf_rows, "MAX_SAMPLES", 1)
    assert read(tmp_path, text()) == [Rejection("file", "more than 1 samples")]


def test_calls_larger_than_a_record_are_rejected_at_their_column(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(vcf, "MAX_ATTACHMENT", 100)
    rows = [f"1 {i} . A T . . . GT 0/1 {'0/1' if i == 1 else './.'}" for i in range(1, 9)]
    records, rejected = split(read(tmp_path, text(*rows)))
    assert rejected == [("column 10", "a sample with calls of more than 100 bytes")]
    assert len(records) == 1


def test_a_line_and_a_file_above_their_limits_end_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bomb = gzip.compress(text(*[f"1 {i} . A T . . . GT 0/1 0/1" for i in range(1, 5_000)]))
    monkeypatch.setattr(bounded, "MAX_STREAM_BYTES", 10_000)
    assert read(tmp_path, bomb, name="a.vcf.gz")[-1:] == [Rejection("file", "longer than 10,000 bytes")]
    long = text("1 10 . A T . . . GT 0/1 0/1").replace(b"##fileDate", b"##" + b"x" * (17 << 20))
    monkeypatch.undo()
    assert read(tmp_path, long) == [Rejection("file", "line 3 is longer than 16,777,216 bytes")]


def bgzf(data: bytes) -> bytes:
    """One block of the blocked gzip that bgzip writes (SAM specification, 4.1)."""
    packer = zlib.compressobj(wbits=-15)
    body = packer.compress(data) + packer.flush()
    head = b"\x1f\x8b\x08\x04\0\0\0\0\0\xff\x06\0BC\x02\0" + struct.pack("<H", len(body) + 25)
    return head + body + struct.pack("<II", zlib.crc32(data), len(data))


def test_bgzf_is_read_and_one_that_was_cut_off_between_blocks_is_not(tmp_path: Path) -> None:
    start, end = text("1 10 . A T . . . GT 0/1 0/1"), b"1\t11\t.\tA\tT\t.\t.\t.\tGT\t0/1\t0/1\n"
    records, rejected = split(read(tmp_path, bgzf(start) + bgzf(end) + BGZF_END, name="a.vcf.gz"))
    assert ([record.value["calls"] for record in records], rejected) == ([2, 2], [])
    assert read(tmp_path, bgzf(start), name="a.vcf.gz") == [Rejection("file", "the compressed data are cut off")]


def test_a_compressed_file_cut_off_anywhere_gives_no_record(tmp_path: Path) -> None:
    data = gzip.compress(text(*(f"1 {i} . A T . . . GT 0/1 {i % 2}/1" for i in range(1, 300))))
    for length in range(len(data)):
        items = read(tmp_path, data[:length], name="a.vcf.gz")
        assert items
        assert all(isinstance(item, Rejection) for item in items), length


def test_a_file_cut_off_anywhere_raises_nothing_and_quotes_nothing(tmp_path: Path) -> None:
    data = text("1 10 . A T . . . GT 0/1 1/1", "1 12 . A T . . . GT 0/1 1/1", samples=("JaneDoe", "JohnRoe"))
    for length in range(len(data)):
        items = read(tmp_path, data[:length])
        assert items
        _, rejected = split(items)
        assert not [reason for _, reason in rejected if "Jane" in reason or "Roe" in reason]


def test_a_file_that_is_not_there_is_a_rejection(tmp_path: Path) -> None:
    (item,) = vcf.read(tmp_path / "none.vcf", CONTEXT)
    assert isinstance(item, Rejection)


# The samples


@needs_samples
def test_the_sample_of_bcftools_is_one_record_of_all_its_rows() -> None:
    ((record,), rejected) = split(list(vcf.read(SAMPLES / "index.vcf", CONTEXT)))
    assert (record.source, record.value["calls"], record.value["genotypes"], rejected) == ("vcf-4.2", 621, 0, [])
    assert record.value["assembly"] == "hs37d5.fa"
    assert b"srpipe" not in record.encode()
    assert b"ERS220911" not in record.encode()


@needs_samples
def test_a_name_beyond_ascii_is_one() -> None:
    records, rejected = split(list(vcf.read(SAMPLES / "formatcols.vcf", CONTEXT)))
    assert [record.subject for record in records] == [CONTEXT.pseudonym(name) for name in ("S1", "S\u00b2", "S3")]
    assert rejected == []


@needs_samples
def test_a_row_whose_samples_say_nothing_gives_no_record() -> None:
    records, rejected = split(list(vcf.read(SAMPLES / "formatmissing.vcf", CONTEXT)))
    assert (records, [where for where, _ in rejected]) == ([], ["column 10", "column 11", "column 12"])


@needs_samples
def test_rows_with_a_key_twice_are_rejected_and_the_good_one_counts() -> None:
    ((record,), rejected) = split(list(vcf.read(SAMPLES / "noroundtrip.vcf", CONTEXT)))
    assert rejected == [(f"line {line}", "FORMAT has a key twice") for line in (5, 7, 8)]
    assert record.attachment.decode() == NAMES + "3\t60\tT\tC\tPASS\t0/1\t.\n"


# Recognition


def test_vcf_is_recognised_by_its_first_line_or_its_name() -> None:
    assert vcf.recognises(b"##fileformat=VCFv4.2\n", Path("calls.txt"))
    assert vcf.recognises(b"\x1f\x8b\x08", Path("a.vcf.gz"))
    assert vcf.recognises(b"", Path("a.vcf"))
    assert not vcf.recognises(b"\x1f\x8b\x08", Path("a.fa.gz"))
    assert not vcf.recognises(b">chr1\nACGT\n", Path("a.txt"))
