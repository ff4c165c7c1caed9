"""FASTA: a record for each sequence, known by its refget digest, and what is no sequence."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest

from hmchain.record import Code, Kind, Record
from tests.samples import RECORDS, needs_samples
from trainers.importers.base import Context, Rejection
from trainers.importers.genomics import fasta

SAMPLES = RECORDS / "genomics"
CONTEXT = Context(bytes(range(32)))


def read(folder: Path, data: bytes, name: str = "a.fa", context: Context = CONTEXT) -> list[Record | Rejection]:
    (folder / name).write_bytes(data)
    return list(fasta.read(folder / name, context))


def said(items: list[Record | Rejection]) -> list[str]:
    return [
        item.attachment.decode() if isinstance(item, Record) else f"{item.position}: {item.reason}" for item in items
    ]


# Records


def test_a_sequence_is_a_record_about_nobody_known_by_its_digest(tmp_path: Path) -> None:
    (record,) = read(tmp_path, b">chr1 a chromosome\nAC\nGT\n")
    assert isinstance(record, Record)
    assert (record.kind, record.type, record.subject, record.time) == (Kind.RESEARCH, "sequence", "", "")
    assert record.attachment == b"ACGT"
    # the example of the refget and GA4GH VRS specifications
    assert record.value == {"length": 4, "alphabet": "dna", "refget": "SQ.aKF498dAxcJAqme6QYQ7EZ07-fiw8Kw2"}
    assert record.codes == (Code(fasta.REFGET, "SQ.aKF498dAxcJAqme6QYQ7EZ07-fiw8Kw2"),)
    assert record.detail == {"name": "chr1"}
    assert Record.decode(record.encode()) == record


def test_a_sequence_is_about_the_person_that_it_is_said_to_be_of(tmp_path: Path) -> None:
    context = Context(bytes(range(32)), subject="patient-7")
    records = read(tmp_path, b">one\nAC\n>two\nGT\n", context=context)
    assert [record.subject for record in records if isinstance(record, Record)] == [context.pseudonym("patient-7")] * 2


@pytest.mark.parametrize("data", [b">b\nacgt\n", b">b\r\nA\r\nCGT\r\n", b">b\n\nACG\n\nT", b">b\n  ACGT  \n"])
def test_case_lines_and_names_make_no_difference_to_what_a_sequence_is(tmp_path: Path, data: bytes) -> None:
    (one,), (other,) = read(tmp_path, b">a\nACGT\n"), read(tmp_path, data)
    assert isinstance(one, Record)
    assert isinstance(other, Record)
    assert one.identity() == other.identity()


@pytest.mark.parametrize(
    ("letters", "alphabet"), [("ACGTN", "dna"), ("ACGU", "rna"), ("MKVL", "protein"), ("RYSWKM", "dna")]
)
def test_the_alphabet_is_told_by_the_letters(tmp_path: Path, letters: str, alphabet: str) -> None:
    (record,) = read(tmp_path, f">a\n{letters}\n".encode())
    assert isinstance(record, Record)
    assert record.value["alphabet"] == alphabet


def test_a_compressed_file_is_read_alike(tmp_path: Path) -> None:
    data = b">a\nACGT\n>b\nTTTT\n"
    assert read(tmp_path, gzip.compress(data), "a.fa.gz") == read(tmp_path, data)


# Rejections


def test_a_bad_letter_is_rejected_at_its_line_and_the_other_sequences_count(tmp_path: Path) -> None:
    for bad in (b"AC-T", b"AC*", b"AC1T", b"AC GT", b"AC\xc3\xa4", b"A\0C"):
        items = read(tmp_path, b">a\nACGT\n>b\nAC\n" + bad + b"\nAC\n>c\nTT\n")
        assert said(items) == ["ACGT", "line 5: a character that is no letter of a sequence", "TT"]


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b">a\n>b\nTT\n", ["line 1: an empty sequence", "TT"]),
        (b">a\nTT\n>b\n", ["TT", "line 3: an empty sequence"]),
        (b">\nTT\n>b\nAA\n", ["line 1: a sequence without a name", "AA"]),
        (b"> a\nTT\n", ["line 1: a sequence without a name"]),
        (b">a\nTT\n>a x\nAA\n>b\nCC\n", ["TT", "line 3: a name for the second time", "CC"]),
        (b"ACGT\n>a\nTT\n", ["line 1: text before the first name", "TT"]),
        (b"", ["file: no sequences"]),
        (b"\n\n", ["file: no sequences"]),
    ],
)
def test_what_is_no_sequence_is_rejected_where_it_stands(tmp_path: Path, data: bytes, expected: list[str]) -> None:
    assert said(read(tmp_path, data)) == expected


def test_sequences_beyond_the_limits_are_rejected(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fasta, "MAX_SEQUENCE_BYTES", 10)
    assert said(read(tmp_path, b">a\nACGTACGT\nACGT\n>b\nTT\n")) == ["line 3: a sequence of more than 10 letters", "TT"]
    assert said(read(tmp_path, b">a\nACGTACGTACGT\n")) == ["file: line 2 is longer than 10 bytes"]
    monkeypatch.setattr(fasta, "MAX_SEQUENCES", 1)
    assert said(read(tmp_path, b">a\nAC\n>b\nAC\n>c\nTT\n")) == ["AC", "file: more than 1 sequences"]


def test_a_file_cut_off_anywhere_raises_nothing_and_quotes_nothing(tmp_path: Path) -> None:
    data = b">jane\nACGT\nAC\n>doe\nTTT1\n"
    for length in range(len(data)):
        items = read(tmp_path, data[:length])
        assert items
        assert not [item for item in items if isinstance(item, Rejection) and "jane" in item.reason]
    packed = gzip.compress(data)
    for length in range(1, len(packed)):
        assert isinstance(read(tmp_path, packed[:length], "a.fa.gz")[-1], Rejection)


def test_a_file_that_is_not_there_is_a_rejection(tmp_path: Path) -> None:
    (item,) = fasta.read(tmp_path / "none.fa", CONTEXT)
    assert isinstance(item, Rejection)


# The sample


@needs_samples
def test_the_worms_chromosomes_are_seven_records() -> None:
    records = [item for item in fasta.read(SAMPLES / "ce.fa", CONTEXT) if isinstance(item, Record)]
    assert [record.value["length"] for record in records] == [1_009_800, *[5_000] * 6]
    assert [record.detail["name"] for record in records][-1] == "CHROMOSOME_MtDNA"
    assert records[0].value["refget"] == "SQ.craCKaX28lK21to26asvQ7BoXwMOb_Yn"


# Recognition


def test_fasta_is_recognised_by_its_name_or_its_first_lines() -> None:
    assert fasta.recognises(b"", Path("a.FASTA"))
    assert fasta.recognises(b"\x1f\x8b", Path("a.fna.gz"))
    assert fasta.recognises(b">chr1 x\nACGT\n", Path("a.txt"))
    assert not fasta.recognises(b"> a quotation\nText.\n", Path("a.txt"))
    assert not fasta.recognises(b"\x1f\x8b", Path("a.vcf.gz"))
