"""Allele counts: of consented genomes, by site, of enough persons; and their sums as frequencies."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hmchain.errors import DataError, UsageError
from hmchain.permits import Purpose
from hmchain.record import Kind, Record
from tests.samples import needs_samples
from tests.unit.small_hospital import SmallHospital, sample, signed
from trainers.importers.base import Context
from trainers.importers.genomics import vcf
from trainers.services import alleles
from trainers.services.alleles import Calls, Query, calls_of, count, frequencies, told
from trainers.services.answers import summed

QUERY = Query(assembly="GRCh38")


@pytest.fixture
def hospital(tmp_path: Path) -> Iterator[SmallHospital]:
    made = SmallHospital.make(tmp_path / "hospital")
    with closing(made.vault):
        yield made


def genome(*calls: str, subject: str = "p", assembly: str = "GRCh38") -> Record:
    """A genome's record; a call is CHROM POS REF ALT FILTER GT."""
    text = vcf.CALL_COLUMNS + b"".join(call.replace(" ", "\t").encode() + b"\t.\n" for call in calls)
    value = {"assembly": assembly, "contigs": "c0ffee", "calls": len(calls), "genotypes": len(calls)}
    return Record(Kind.RESEARCH, "genome", subject, "", (), value, "vcf-4.3", attachment=text)


def cells(*genomes: Record | list[Record], minimum: int = 1, query: Query = QUERY) -> dict[str, int | None]:
    persons = [g if isinstance(g, list) else [g] for g in genomes]
    return told(persons, query, minimum)


# A person's calls


@pytest.mark.parametrize(
    ("genotype", "number", "met"),
    [
        ("0/1", 2, {"T": 1}),
        ("1|1", 2, {"T": 2}),
        ("1|2", 2, {"T": 1, "G": 1}),
        ("0/0", 2, {}),
        ("1", 1, {"T": 1}),
        ("./1", 1, {"T": 1}),
        ("0/1/1", 3, {"T": 2}),
        ("3/0", 2, {}),
    ],
)
def test_alleles_of_a_genotype_are_counted(genotype: str, number: int, met: dict[str, int]) -> None:
    found = calls_of([genome(f"1 10 A T,G,<DEL> PASS {genotype}")], QUERY)
    assert found == {("1", 10, "A"): Calls(number, alleles.Counter(met))}


def test_a_genotype_that_is_missing_is_no_call() -> None:
    assert calls_of([genome("1 10 A T PASS .", "1 20 A T PASS ./.")], QUERY) == {}


def test_a_value_with_line_breaks_of_its_own_divides_no_row(tmp_path: Path) -> None:
    (tmp_path / "odd.vcf").write_bytes(
        b"##fileformat=VCFv4.3\n##reference=GRCh38\n#CHROM\tPOS\tID\tREF\tALT\tQUAL\tFILTER\tINFO\tFORMAT\tS\n"
        + "1\t10\t.\tA\tT\t.\tPASS\t.\tGT:NOTE\t0/1:a\u2028b\rc\x0cd\n".encode()
    )
    (record,) = vcf.read(tmp_path / "odd.vcf", Context(bytes(32)))
    assert isinstance(record, Record)
    assert calls_of([record], QUERY) == {("1", 10, "A"): Calls(2, alleles.Counter("T"))}


def test_alleles_that_were_divided_among_rows_are_one_call() -> None:
    rows = "1 10 A T PASS 0/1", "1 10 A G PASS 1/0"
    assert calls_of([genome(*rows)], QUERY) == {("1", 10, "A"): Calls(2, alleles.Counter("TG"))}


def test_a_person_counts_once_at_a_site_by_the_first_genome_that_has_it() -> None:
    first, second = genome("1 10 A T PASS 0/1"), genome("1 10 A T PASS 1/1", "1 20 C G PASS 1/1")
    assert cells([first, second]) == {"genomes": 1, "1 10 A": 2, "1 10 A T": 1, "1 20 C": 2, "1 20 C G": 2}


@pytest.mark.parametrize(
    ("query", "sites"),
    [
        ({}, ["1 10 A", "1 99 A", "2 10 A"]),
        ({"passed": False}, ["1 10 A", "1 99 A", "2 10 A", "2 20 A"]),
        ({"regions": ["2"]}, ["2 10 A"]),
        ({"regions": ["1:10-98", "2:11-12"]}, ["1 10 A"]),
        ({"assembly": "GRCh37"}, []),
        ({"assembly": "c0ffee"}, ["1 10 A", "1 99 A", "2 10 A"]),
    ],
)
def test_a_query_names_assembly_regions_and_filters(query: dict[str, Any], sites: list[str]) -> None:
    record = genome("1 10 A . PASS 0/0", "1 99 A . . 0/0", "2 10 A . PASS 0/0", "2 20 A . q10 0/0")
    asked = Query.model_validate({"assembly": "GRCh38"} | query)
    assert [name for name in cells(record, query=asked) if name != "genomes"] == sites


def test_a_genome_without_calls_is_refused() -> None:
    with pytest.raises(DataError, match="holds no calls"):
        calls_of([Record(Kind.RESEARCH, "genome", "", "", (), {"assembly": "GRCh38"}, "x")], QUERY)


# What is told


def test_nothing_is_told_of_too_few_genomes_and_no_site_of_too_few() -> None:
    both, one = genome("1 10 A T PASS 0/1", "1 20 A T PASS 0/1"), genome("1 10 A T PASS 0/1")
    assert cells(both, one, minimum=3) == {"genomes": None}
    assert cells(both, one, minimum=2) == {"genomes": 2, "1 10 A": 4, "1 10 A T": 2}
    assert cells() == {"genomes": None}


GENOTYPES = st.dictionaries(st.integers(1, 5), st.sampled_from(["0/0", "0/1", "1/1", "./."]), max_size=5)


@given(st.lists(GENOTYPES, max_size=9), st.integers(1, 6))
@settings(max_examples=60, deadline=None)
def test_counts_are_those_of_a_naive_loop_and_sites_of_few_are_not_there(
    persons: list[dict[int, str]], minimum: int
) -> None:
    records = [genome(*(f"1 {at} A T PASS {gt}" for at, gt in sorted(own.items()))) for own in persons]
    found = cells(*records, minimum=minimum)
    called = [{at: gt for at, gt in own.items() if gt != "./."} for own in persons]
    if sum(map(bool, called)) < minimum:
        assert found == {"genomes": None}
        return
    expected: dict[str, int | None] = {"genomes": sum(map(bool, called))}
    for at in range(1, 6):
        genotypes = [own[at] for own in called if at in own]
        if genotypes and len(genotypes) >= minimum:
            expected[f"1 {at} A"] = 2 * len(genotypes)
            if met := sum(genotype.count("1") for genotype in genotypes):
                expected[f"1 {at} A T"] = met
    assert found == expected


def test_more_sites_than_an_answer_holds_ask_for_regions() -> None:
    record = genome(*(f"1 {at} A T PASS 0/1" for at in range(alleles.MAX_SITES + 1)))
    with pytest.raises(UsageError, match="more than 100,000 sites: name regions"):
        cells(record)


def test_only_genomes_that_are_consented_count_and_those_about_nobody(hospital: SmallHospital) -> None:
    call = "1 10 A T PASS 0/1"
    hospital.take(genome(call, f"2 {i + 1} A T PASS 0/1", subject=s) for i, s in enumerate(("yes", "no", "twice", "")))
    hospital.take([genome(call, "3 1 A T PASS 0/1", subject="again")])
    hospital.person("yes", Purpose.GENOME)
    hospital.person("no", Purpose.BIOMEDICAL)
    hospital.person("twice", Purpose.GENOME, who="one")
    hospital.person("again", Purpose.GENOME, who="one")
    found = count(hospital.trail, hospital.vault, hospital.reading, {"assembly": "GRCh38"}, 1)
    assert (found["genomes"], found["1 10 A"], found["1 10 A T"]) == (3, 6, 3)
    assert "2 2 A" not in found
    assert count(hospital.trail, hospital.vault, hospital.reading, {"assembly": "GRCh38"}, 4) == {"genomes": None}
    with pytest.raises(UsageError, match="assembly"):
        count(hospital.trail, hospital.vault, hospital.reading, {}, 1)


@needs_samples
def test_real_files_count_where_they_have_genotypes(hospital: SmallHospital) -> None:
    records = [r for r in sample("genomics", context=hospital.context) if r.type == "genome"]
    hospital.take(records)
    for record in records:
        hospital.person(record.subject, Purpose.GENOME)
    (called,) = (r for r in records if r.value["genotypes"])
    query = {"assembly": called.value["contigs"]}
    found = count(hospital.trail, hospital.vault, hospital.reading, query, 1)
    assert found == {"genomes": 1, "3 60 T": 2, "3 60 T C": 1}
    assert count(hospital.trail, hospital.vault, hospital.reading, {"assembly": "hs37d5.fa"}, 1) == {"genomes": None}


# Frequencies


def test_frequencies_are_of_the_hospitals_that_tell_of_a_site() -> None:
    query = QUERY.model_dump(mode="json")
    answers = [
        signed({"genomes": 5, "10 7 A": 10, "10 7 A T": 4, "2 9 C": 10, "2 9 C G": 1}, 1, "alleles", query),
        signed({"genomes": 6, "10 7 A": 12, "10 7 A G": 3, "X 1 G": 6}, 2, "alleles", query),
        signed({"genomes": None}, 3, "alleles", query),
    ]
    found = [tuple(f.to_json().values()) for f in frequencies(summed(answers))]
    assert found == [
        ("2", 9, "C", "G", 1, 10, "0.1", 1),
        ("10", 7, "A", "G", 3, 22, "0.136364", 2),
        ("10", 7, "A", "T", 4, 22, "0.181818", 2),
        ("X", 1, "G", ".", 0, 6, "0", 1),
    ]


def test_frequencies_are_written_as_a_vcf_that_is_read_again(tmp_path: Path) -> None:
    names = {"genomes": 5, "10 7 A": 10, "10 7 A T": 4, "2 9 C": 10}
    sites = frequencies(summed([signed(names, service="alleles")]))
    (tmp_path / "sites.vcf").write_text(alleles.vcf({"assembly": "GRCh38"}, sites))
    (record,) = vcf.read(tmp_path / "sites.vcf", Context(bytes(32)))
    assert isinstance(record, Record)
    assert (record.type, record.value["assembly"], record.value["sites"]) == ("variants", "GRCh38", 2)
    assert record.attachment.splitlines()[1:] == [
        b"2\t9\t.\tC\t.\t.\t.\tAN=10;HOSPITALS=1",
        b"10\t7\t.\tA\tT\t.\t.\tAC=4;AN=10;AF=0.4;HOSPITALS=1",
    ]


@pytest.mark.parametrize("name", ["1 10 A T", "1 x A", "1 10", "1 10 A T G", "1 10 A t", "total"])
def test_cells_that_are_no_sites_are_refused(name: str) -> None:
    with pytest.raises(DataError, match="an answer has"):
        frequencies(summed([signed({name: 1}, service="alleles")]))


@pytest.mark.parametrize("text", ["", "assembly = ''", "assembly = 'a b'", "assembly = 'a'\nregions = ['1:a-b ']"])
def test_a_query_that_is_none_is_refused(text: str, tmp_path: Path) -> None:
    (tmp_path / "query.toml").write_text(text)
    with pytest.raises(UsageError, match=r"query\.toml: (assembly|regions)"):
        alleles.read_query(tmp_path / "query.toml")
