"""FHIR as XML says what the same FHIR says as JSON; what is no XML, or a bomb, is rejected at its place."""

from __future__ import annotations

import json
from decimal import Decimal
from pathlib import Path
from typing import Any
from xml.sax.saxutils import quoteattr

import pytest

from hmchain.record import Record
from tests.samples import RECORDS, needs_samples
from trainers.importers.base import MAX_DEPTH, Context, Rejection
from trainers.importers.detect import importer_for
from trainers.importers.fhir import resources
from trainers.importers.reading import xmlstream

SAMPLES = RECORDS / "fhir"
CONTEXT = Context(b"k" * 32)
HEAD = '<?xml version="1.0" encoding="UTF-8"?>'
XMLNS = 'xmlns="http://hl7.org/fhir"'
GLUCOSE = {
    "resourceType": "Observation",
    "id": "o1",
    "status": "final",
    "code": {"coding": [{"system": "http://loinc.org", "code": "2339-0"}]},
    "subject": {"reference": "Patient/p1", "display": "Peter Chalmers"},
    "effectiveDateTime": "2020-01-02T03:04:05Z",
    "valueQuantity": {"value": 6.30, "unit": "mmol/L", "system": "http://unitsofmeasure.org", "code": "mmol/L"},
}


def written(resource: dict[str, Any], attributes: str = "") -> str:
    """A resource as XML, by the rules of FHIR's 2.6.1: written here for its own sake, with nothing of the importer."""
    kind = resource["resourceType"]
    return f"<{kind} {attributes}>{''.join(_member(*item) for item in resource.items())}</{kind}>"


def _member(name: str, content: Any) -> str:
    if name == "resourceType" or name.startswith("_"):
        return ""
    if isinstance(content, list):
        return "".join(_member(name, child) for child in content)
    if not isinstance(content, dict):
        text = str(content).lower() if isinstance(content, bool) else str(content)
        return f"<{name} value={quoteattr(text)}/>"
    if "resourceType" in content:
        return f"<{name}>{written(content)}</{name}>"
    if "div" in content:
        return f'<{name}><status value="generated"/>{content["div"]}</{name}>'
    attributes = "".join(f" {key}={quoteattr(content[key])}" for key in ("url",) if name == "extension")
    inner = (item for item in content.items() if not (name == "extension" and item[0] == "url"))
    return f"<{name}{attributes}>{''.join(_member(*item) for item in inner)}</{name}>"


def imported(tmp_path: Path, text: str | bytes) -> list[Record | Rejection]:
    path = tmp_path / "resource.xml"
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return list(resources.read(path, CONTEXT))


def test_names_are_taken_out_of_what_stands_before_the_patient(tmp_path: Path) -> None:
    patient = {"resourceType": "Patient", "id": "p1", "name": [{"family": "Chalmers", "given": ["Peter"]}]}
    said = {**GLUCOSE, "subject": {"reference": "Patient/p1"}, "valueString": "as for Peter last year"}
    del said["valueQuantity"]
    entries = "".join(f"<entry><resource>{written(each)}</resource></entry>" for each in (said, patient))
    first, _ = imported(tmp_path, f'{HEAD}<Bundle {XMLNS}><type value="searchset"/>{entries}</Bundle>')
    assert isinstance(first, Record)
    assert first.value == {"text": "as for [name] last year"}


def only(tmp_path: Path, text: str | bytes) -> Any:
    (thing,) = imported(tmp_path, text)
    return thing


def bundle(*entries: str) -> str:
    return f"{HEAD}<Bundle {XMLNS}><type value='collection'/>{''.join(entries)}</Bundle>"


def entry(resource: dict[str, Any]) -> str:
    return f"<entry><resource>{written(resource)}</resource></entry>"


@needs_samples
@pytest.mark.parametrize("pattern", ["synthea_r4_Liz*", "synthea_r4_Buster*"])
def test_a_bundle_is_the_same_records_as_in_json(pattern: str, tmp_path: Path) -> None:
    (path,) = SAMPLES.glob(pattern)
    content = json.loads(path.read_text(), parse_float=Decimal)
    things = imported(tmp_path, HEAD + written(content, XMLNS))
    expected = list(resources.read(path, CONTEXT))
    assert [thing.identity() for thing in things if isinstance(thing, Record)] == [
        thing.identity() for thing in expected if isinstance(thing, Record)
    ]
    assert len(things) == len(expected)


@pytest.mark.parametrize("head", ["", HEAD, "\ufeff" + HEAD, "<!-- of the ward -->\n"])
def test_a_single_resource_is_a_record(head: str, tmp_path: Path) -> None:
    record = only(tmp_path, head + written(GLUCOSE, XMLNS))
    (tmp_path / "same.json").write_text(json.dumps(GLUCOSE))
    (same,) = resources.read(tmp_path / "same.json", CONTEXT)
    assert isinstance(same, Record)
    assert record.identity() == same.identity()
    assert resources.recognises((head + written(GLUCOSE, XMLNS)).encode(), Path("x"))


def test_a_file_in_latin_1_that_says_so_is_read(tmp_path: Path) -> None:
    words = {name: said for name, said in GLUCOSE.items() if name != "valueQuantity"} | {"valueString": "erhöht"}
    text = '<?xml version="1.0" encoding="ISO-8859-1"?>' + written(words, XMLNS)
    assert only(tmp_path, text.encode("latin-1")).value == {"text": "erhöht"}
    assert "not well-formed" in only(tmp_path, (HEAD + written(words, XMLNS)).encode("latin-1")).reason


def test_one_bad_entry_stops_no_other(tmp_path: Path) -> None:
    twice = entry(GLUCOSE).replace("<status", '<status value="final"/><status')
    foreign = entry(GLUCOSE).replace("<status", "<colour value='red'/><status")
    two = "<entry><resource>" + written(GLUCOSE) * 2 + "</resource></entry>"
    things = imported(tmp_path, bundle(entry(GLUCOSE), twice, foreign, two, "<entry/>", entry(GLUCOSE)))
    assert [isinstance(thing, Record) for thing in things] == [True, False, False, False, False, True]
    assert [thing.position for thing in things if isinstance(thing, Rejection)] == [f"entry {n}" for n in (2, 3, 4, 5)]
    assert [thing.reason for thing in things if isinstance(thing, Rejection)] == [
        "an element is there twice that may be there once",
        "not valid FHIR R4: Observation has a field that FHIR has not",
        "no resource where one is needed, or several",
        "it has no resource",
    ]


def test_a_file_that_is_cut_off_gives_what_came_before(tmp_path: Path) -> None:
    record, fault = imported(tmp_path, bundle(entry(GLUCOSE), entry(GLUCOSE))[:-40])
    assert isinstance(record, Record)
    assert fault == Rejection("entry 2", "no XML: unclosed token; nothing is read from here on")


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (f'<!DOCTYPE x [<!ENTITY a "{"ha" * 99}">]><Patient {XMLNS}>&a;</Patient>', "document type"),
        (f'<!DOCTYPE x SYSTEM "file:///etc/passwd"><Patient {XMLNS}/>', "document type"),
        (f"<Patient {XMLNS}>" + "<name>" * 100_000, f"nested deeper than {MAX_DEPTH}"),
        (f"<Patient {XMLNS}>&x;</Patient>", "undefined entity"),
        (f"<Patient {XMLNS}><id value='1'></Patient>", "mismatched tag"),
        (f"<Klingon {XMLNS}/>", "not valid FHIR R4"),
        (f"<Patient {XMLNS} colour='red'/>", "has a field that FHIR has not"),
        (f"<Patient {XMLNS} " + " ".join(f"a{n}=''" for n in range(1001)) + "/>", "more than 1,000 attributes"),
    ],
    ids=["laughs", "external", "deep", "entity", "tag", "unknown", "attribute", "attributes"],
)
def test_hostile_markup_is_one_rejection(text: str, reason: str, tmp_path: Path) -> None:
    fault = only(tmp_path, text)
    assert isinstance(fault, Rejection)
    assert reason in fault.reason
    importer = importer_for(tmp_path / "resource.xml")
    assert importer is not None
    assert importer.NAME == "fhir"


def test_an_entry_without_end_is_not_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(xmlstream, "MAX_ITEM_BYTES", 1 << 20)
    monkeypatch.setattr(xmlstream, "MAX_ELEMENTS", 1000)
    record, fault = imported(tmp_path, bundle(entry(GLUCOSE), "<entry>" + "<link/>" * 2000))
    assert isinstance(record, Record)
    assert fault.reason.startswith("an element with more than 1,000 below it")
    _, fault = imported(tmp_path, bundle(entry(GLUCOSE), "<entry>" + " " * (3 << 20)))
    assert fault.reason.startswith("an element of more than 1 MiB")


def test_names_of_patients_are_taken_out_of_what_others_wrote(tmp_path: Path) -> None:
    patient = {"resourceType": "Patient", "id": "p1", "name": [{"family": "Everyman", "given": ["Adamine"]}]}
    report = {
        "resourceType": "DiagnosticReport",
        "status": "final",
        "code": {"text": "x"},
        "subject": {"reference": "Patient/p1", "display": "Smallville"},
        "conclusion": "Ms Everyman (Adamine) of Smallville is well",
    }
    _, record = imported(tmp_path, bundle(entry(patient), entry(report)))
    assert isinstance(record, Record)
    assert record.value["conclusion"] == "Ms [name] ([name]) of [name] is well"
    assert record.detail["freeText"] is True
