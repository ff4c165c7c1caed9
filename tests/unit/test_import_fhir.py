"""FHIR R4: each resource a record that tells of nobody who they are, or a rejection with its place and its reason."""

import json
import tracemalloc
from collections import Counter
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hmchain.record import Code, Kind, Record
from tests.samples import RECORDS, needs_samples
from trainers.importers.base import MAX_DEPTH, MAX_ITEM_BYTES, Context, Rejection
from trainers.importers.fhir import resources
from trainers.importers.reading import jsonstream

SAMPLES = RECORDS / "fhir"
LIZ, BUSTER = "synthea_r4_Liz_Conn_*.json", "synthea_r4_Buster_Hoeger_*.json"
CONTEXT = Context(b"k" * 32)
Things = list[Record | Rejection]

PATIENT: dict[str, Any] = {
    "resourceType": "Patient",
    "id": "p1",
    "text": {"status": "generated", "div": '<div xmlns="http://www.w3.org/1999/xhtml">Adam Everyman</div>'},
    "identifier": [{"system": "http://hl7.org/fhir/sid/us-ssn", "value": "078-05-1120"}],
    "name": [{"family": "Everyman", "given": ["Adam"]}],
    "telecom": [{"system": "phone", "value": "555-0100"}],
    "gender": "male",
    "birthDate": "1941-10-12",
    "_birthDate": {"extension": [{"url": "http://x/birthTime", "valueDateTime": "1941-10-12T03:04:05Z"}]},
    "deceasedDateTime": "2011-02-03T04:05:06Z",
    "address": [{"line": ["1 Elm Street"], "city": "Smallville"}],
    "extension": [{"url": "http://x/mothersMaidenName", "valueString": "Maiden"}],
    "contact": [{"name": {"family": "Everyman"}, "gender": "female"}],
    "photo": [{"contentType": "image/png", "data": "aGVsbG8="}],
    "generalPractitioner": [{"reference": "Practitioner/d1", "display": "Dr Woolfson"}],
}
PRIVATE = (
    *(
        "Everyman",
        "Adam",
        "078-05",
        "1.2.78",
        "07805112",
        "555-0100",
        "-10-12",
        "-02-03",
        "03:04",
        "Elm",
        "Smallville",
        "Maiden",
        "Woolfson",
        "78.0511",
    ),
    *("aGVsbG8", '"p1"', "Patient/p1", "d1", "<div"),
)
GLUCOSE: dict[str, Any] = {
    "resourceType": "Observation",
    "id": "o1",
    "status": "final",
    "code": {"coding": [{"system": "http://loinc.org", "code": "15074-8", "display": "Glucose"}]},
    "subject": {"reference": "Patient/p1", "display": "Adam Everyman"},
    "effectiveDateTime": "2013-04-02T09:30:10+01:00",
    "valueQuantity": {"value": 6.3, "unit": "mmol/l", "system": "http://unitsofmeasure.org", "code": "mmol/L"},
}


def observation(**changes: Any) -> dict[str, Any]:
    """GLUCOSE with other members; None takes one away."""
    return {name: content for name, content in {**GLUCOSE, **changes}.items() if content is not None}


def valued(**value: Any) -> dict[str, Any]:
    return observation(valueQuantity=None, **value)


def bundle(*resources: Any) -> dict[str, Any]:
    return {"resourceType": "Bundle", "type": "collection", "entry": [{"resource": resource} for resource in resources]}


def imported(tmp_path: Path, content: Any, name: str = "bundle.json", context: Context = CONTEXT) -> Things:
    path = tmp_path / name
    text = content if isinstance(content, str | bytes) else json.dumps(content)
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return list(resources.read(path, context))


def only(things: Things) -> Record:
    [record] = things
    assert isinstance(record, Record), record
    assert Record.decode(record.encode()) == record
    return record


def rejection(things: Things) -> Rejection:
    [rejected] = things
    assert isinstance(rejected, Rejection), rejected
    return rejected


def sample(pattern: str) -> Path:
    return next(SAMPLES.glob(pattern))


@needs_samples
@pytest.mark.parametrize(
    ("pattern", "types"),
    [
        (
            LIZ,
            {
                "observation": 36,
                "claim": 8,
                "encounter": 7,
                "explanationofbenefit": 7,
                "immunization": 4,
                "procedure": 3,
            }
            | {"diagnosticreport": 2, "patient": 1, "organization": 1, "practitioner": 1, "condition": 1}
            | {"medicationrequest": 1, "careplan": 1},
        ),
        (
            BUSTER,
            {
                "observation": 33,
                "claim": 7,
                "encounter": 6,
                "explanationofbenefit": 6,
                "immunization": 4,
                "condition": 3,
            }
            | {"diagnosticreport": 2, "patient": 1, "organization": 1, "practitioner": 1, "procedure": 1}
            | {"medicationrequest": 1},
        ),
    ],
)
def test_every_resource_of_the_synthea_bundles_is_a_record(pattern: str, types: dict[str, int]) -> None:
    things = list(resources.read(sample(pattern), CONTEXT))
    assert Counter(thing.type for thing in things if isinstance(thing, Record)) == types
    assert (
        len({thing.identity() for thing in things if isinstance(thing, Record)}) == sum(types.values()) == len(things)
    )


@needs_samples
def test_the_bundle_with_an_entry_that_is_none_gives_the_others() -> None:
    patient, rejected, glucose = resources.read(sample("ms_ObservationBundle.json"), CONTEXT)
    assert isinstance(patient, Record)
    assert isinstance(glucose, Record)
    assert (patient.type, glucose.type) == ("patient", "observation")
    assert patient.subject == glucose.subject == CONTEXT.pseudonym("f001")
    assert rejected == Rejection("entry 2", "it has members that a bundle's entry has not, and no resource")


@needs_samples
@pytest.mark.parametrize("pattern", [LIZ, BUSTER, "ms_ObservationBundle.json"])
def test_no_record_of_the_samples_tells_who_it_is_about(pattern: str) -> None:
    content = json.loads(sample(pattern).read_text("utf-8-sig"))
    patients = [e["resource"] for e in content["entry"] if e.get("resource", {}).get("resourceType") == "Patient"]
    private = {word.casefold() for patient in patients for word in identifying(patient) if len(word) > 3}
    assert len(private) > 10
    for thing in resources.read(sample(pattern), CONTEXT):
        text = thing.encode().decode().casefold() if isinstance(thing, Record) else thing.reason
        assert [word for word in private if word in text] == []


def identifying(patient: dict[str, Any]) -> Iterator[str]:
    yield from (patient["id"], patient["birthDate"])
    for identifier in patient["identifier"]:
        yield identifier["value"]
    for name in patient["name"]:
        yield from (name.get("family", ""), *name["given"])
    for address in patient["address"]:
        yield from (*address["line"], address["city"], address.get("text", ""))
    yield from (telecom.get("value", "") for telecom in patient["telecom"])
    for extension in patient.get("extension", []):
        yield from (extension.get("valueString", ""), extension.get("valueAddress", {}).get("city", ""))


def test_a_patient_is_a_pseudonym_with_years(tmp_path: Path) -> None:
    record = only(imported(tmp_path, PATIENT))
    assert (record.kind, record.type, record.subject) == (Kind.CLINICAL, "patient", CONTEXT.pseudonym("p1"))
    assert record.value == {
        "gender": "male",
        "birthDate": "1941",
        "deceasedDateTime": "2011",
        "contact": [{"gender": "female"}],
        "generalPractitioner": [{"reference": CONTEXT.pseudonym("d1"), "type": "Practitioner"}],
    }


@pytest.mark.parametrize(
    "resource",
    [
        PATIENT,
        {**PATIENT, "resourceType": "Patient", "contained": [{**PATIENT, "id": "c"}]},
        observation(contained=[PATIENT], note=[{"text": "Adam Everyman"}], performer=[{"display": "Dr Woolfson"}]),
        observation(extension=[{"url": "http://x", "valueHumanName": {"family": "Everyman"}}]),
        observation(
            identifier=[{"value": "078-05-1120"}],
            method={"text": "x", "extension": [{"url": "x", "valueAddress": {"city": "Smallville"}}]},
        ),
        {"resourceType": "RelatedPerson", "patient": {"reference": "Patient/p1"}, "name": [{"family": "Everyman"}]},
        {"resourceType": "Practitioner", "name": [{"family": "Woolfson"}], "birthDate": "1941-10-12"},
        {
            "resourceType": "Organization",
            "name": "Dr Woolfson",
            "alias": ["Elm"],
            "contact": [{"name": {"text": "Adam"}}],
        },
        {
            "resourceType": "DocumentReference",
            "status": "current",
            "subject": {"reference": "Patient/p1", "identifier": {"value": "078-05-1120"}},
            "content": [{"attachment": {"data": "aGVsbG8=", "title": "Adam Everyman"}}],
        },
        {
            "resourceType": "FamilyMemberHistory",
            "status": "completed",
            "patient": {"reference": "http://x/fhir/Patient/p1"},
            "name": "Adam Everyman",
            "relationship": {"text": "father"},
            "bornDate": "1941-10-12",
        },
        {
            "resourceType": "Account",
            "status": "active",
            "subject": [{"reference": "Patient/p1"}],
            "name": "Adam",
            "description": "of Adam Everyman",
        },
        {
            "resourceType": "Coverage",
            "status": "active",
            "beneficiary": {"reference": "Patient/p1"},
            "payor": [{"display": "Adam"}],
            "dependent": "078-05-1120",
            "class": [{"type": {"text": "policy"}, "value": "078-05-1120", "name": "Smallville"}],
        },
        {
            "resourceType": "FamilyMemberHistory",
            "status": "completed",
            "patient": {"reference": "Patient/p1"},
            "relationship": {"text": "father"},
            "bornPeriod": {"start": "1941-10-12", "end": "1941-10-12"},
            "deceasedString": "on 2011-02-03",
        },
        {
            "resourceType": "ImagingStudy",
            "status": "available",
            "subject": {"reference": "Patient/p1"},
            "series": [
                {
                    "uid": "1.2.78.5.1120",
                    "modality": {"code": "CT"},
                    "instance": [{"uid": "1.2.78.5.1120.1", "sopClass": {"code": "urn:oid:1.2.840.10008.5.1.4.1.1.2"}}],
                }
            ],
        },
        {
            "resourceType": "MolecularSequence",
            "coordinateSystem": 0,
            "patient": {"reference": "Patient/p1"},
            "repository": [{"type": "other", "url": "http://x/078-05-1120", "readsetId": "078-05-1120"}],
        },
        {
            "resourceType": "ClaimResponse",
            "status": "active",
            "type": {"text": "x"},
            "use": "claim",
            "patient": {"reference": "Patient/p1"},
            "created": "2020",
            "insurer": {"reference": "Organization/o"},
            "outcome": "complete",
            "preAuthRef": "078-05-1120",
        },
        *(
            observation(extension=[{"url": "http://x", name: said}])
            for name, said in {
                "valueId": "078-05-1120",
                "valueUri": "http://x/078-05-1120",
                "valueUrl": "http://x/078-05-1120",
                "valueOid": "urn:oid:1.2.78.5.1120",
                "valueUuid": "urn:uuid:07805112-0780-4112-8078-051120780511",
            }.items()
        ),
        {
            "resourceType": "Location",
            "status": "active",
            "position": {"longitude": 10.12, "latitude": 78.0511},
        },
        {
            "resourceType": "Device",
            "patient": {"reference": "Patient/p1"},
            "distinctIdentifier": "078-05-1120",
            "deviceName": [{"name": "Pump of Adam", "type": "user-friendly-name"}],
            "url": "https://example.org/Adam",
        },
        {
            "resourceType": "Endpoint",
            "status": "active",
            "connectionType": {"code": "hl7-fhir-rest"},
            "payloadType": [{"text": "any"}],
            "address": "https://example.org/Adam",
        },
    ],
    ids=lambda resource: str(resource["resourceType"]),
)
def test_nothing_of_a_resource_tells_who_somebody_is(tmp_path: Path, resource: dict[str, Any]) -> None:
    text = only(imported(tmp_path, resource)).encode().decode()
    assert [word for word in PRIVATE if word in text] == []


@pytest.mark.parametrize(
    "resource",
    [
        {"resourceType": "Account", "status": "active", "subject": [{"reference": "Patient/p1"}]},
        {
            "resourceType": "Appointment",
            "status": "booked",
            "participant": [
                {"actor": {"reference": "Practitioner/d1"}, "status": "accepted"},
                {"actor": {"reference": "Patient/p1"}, "status": "accepted"},
            ],
        },
        {"resourceType": "Person", "link": [{"target": {"reference": "Patient/p1"}}]},
        observation(subject=None, focus=[{"reference": "p1", "type": "Patient"}]),
    ],
    ids=lambda resource: str(resource["resourceType"]),
)
def test_a_resource_is_about_the_patient_that_it_names_wherever_that_stands(
    tmp_path: Path, resource: dict[str, Any]
) -> None:
    assert only(imported(tmp_path, resource)).subject == CONTEXT.pseudonym("p1")


def test_a_resource_about_several_persons_is_no_record(tmp_path: Path) -> None:
    both = [{"reference": "Patient/p1"}, {"reference": "Patient/p2"}]
    account = {"resourceType": "Account", "status": "active", "subject": both}
    group = {
        "resourceType": "Group",
        "type": "person",
        "actual": True,
        "member": [{"entity": one} for one in both],
    }
    child, donor = (observation(focus=[{"reference": other}]) for other in ("Patient/p2", "RelatedPerson/r1"))
    for resource in (account, group, child, donor):
        assert rejection(imported(tmp_path, resource)).reason == "it is about several persons"
    assert only(imported(tmp_path, observation(focus=[{"reference": "Patient/p1"}, {"reference": "Device/d1"}])))


def test_names_and_numbers_are_taken_out_of_codes_and_all_words(tmp_path: Path) -> None:
    patient = {**PATIENT, "identifier": [{"value": "10006579"}]}
    code = {"coding": [{"system": "http://x", "code": "adam", "display": "Asthma of Adam"}]}
    conditions = [
        {"resourceType": "Condition", "subject": {"reference": "Patient/p1"}, "code": code},
        {"resourceType": "Condition", "subject": {"reference": "Patient/p1"}, "code": {"text": "Adam 10006579 itches"}},
    ]
    talk = {
        "resourceType": "Communication",
        "status": "completed",
        "subject": {"reference": "Patient/p1"},
        "payload": [{"contentString": "Adam, 10006579, will call again"}],
    }
    _, coded, worded, said = imported(tmp_path, bundle(patient, *conditions, talk))
    assert isinstance(coded, Record)
    assert isinstance(worded, Record)
    assert isinstance(said, Record)
    assert (coded.codes[0].code, coded.codes[0].display) == ("adam", "Asthma of [name]")
    assert worded.codes == (Code("", "[name] [name] itches"),)
    assert said.value["payload"] == [{"contentString": "[name], [name], will call again"}]
    assert said.detail["freeText"] is True
    assert "freeText" not in coded.detail


DOCUMENT = {
    "resourceType": "Composition",
    "status": "final",
    "type": {"text": "Letter"},
    "date": "2020",
    "author": [{"display": "Dr. Green"}],
    "title": "Discharge letter for Adam Everyman",
    "subject": {"reference": "Patient/p1"},
}


def test_names_are_taken_out_of_what_stands_before_the_patient(tmp_path: Path) -> None:
    document, *_ = imported(tmp_path, bundle(DOCUMENT, PATIENT, PATIENT))
    assert isinstance(document, Record)
    assert document.value["title"] == "Discharge letter for [name] [name]"


def test_an_observation_is_what_a_laboratory_would_say(tmp_path: Path) -> None:
    assert only(imported(tmp_path, GLUCOSE)) == Record(
        kind=Kind.CLINICAL,
        type="observation",
        subject=CONTEXT.pseudonym("p1"),
        time="2013-04-02T08:30:10Z",
        codes=(Code("http://loinc.org", "15074-8"),),
        value={"quantity": {"value": "6.3", "unit": "mmol/L"}},
        source="fhir-r4",
        detail={"status": "final", "id": CONTEXT.pseudonym("o1")},
    )


def test_scale_unit_offset_and_local_codes_do_not_make_another_fact(tmp_path: Path) -> None:
    local = [{"system": "http://x", "code": "GLU"}, GLUCOSE["code"]["coding"][0]]
    other = observation(
        id="o2",
        status="amended",
        code={"coding": local, "text": "glucose"},
        subject={"reference": "http://x/fhir/Patient/p1/_history/2"},
        effectiveDateTime="2013-04-02T03:30:10-05:00",
        valueQuantity={"value": 6300, "unit": "umol/L"},
    )
    first, second = only(imported(tmp_path, GLUCOSE)), only(imported(tmp_path, other))
    assert first.identity() == second.identity()
    assert second.detail["written"] == {"value": "6300", "unit": "umol/L"}
    assert second.detail["codes"] == [["http://x", "GLU", ""]]


def quantity(value: int | str, unit: str) -> dict[str, Any]:
    return {"quantity": {"value": str(value), "unit": unit}}


@pytest.mark.parametrize(
    ("resource", "value"),
    [
        (valued(valueInteger=3), quantity(3, "1")),
        (valued(valueString=" not \n found "), {"text": "not found"}),
        (valued(valueBoolean=False), {"boolean": False}),
        (valued(valueTime="12:30:00"), {"text": "12:30:00"}),
        (valued(valueDateTime="2013-04"), {"time": "2013-04"}),
        (valued(valuePeriod={"start": "2013", "end": "2014"}), {"start": "2013", "end": "2014"}),
        (
            valued(valueCodeableConcept={"coding": [{"system": "s", "code": "c", "display": "d"}]}),
            {"codes": [["s", "c"]]},
        ),
        (valued(valueCodeableConcept={"text": "negative"}), {"text": "negative"}),
        (valued(valueRange={"low": {"value": 1, "unit": "mg/L"}}), {"low": quantity(1, "mg/L")}),
        (
            valued(valueRatio={"numerator": {"value": 1}, "denominator": {"value": 128}}),
            {"numerator": quantity(1, "1"), "denominator": quantity(128, "1")},
        ),
        (
            observation(valueQuantity={"value": 5, "comparator": "<", "unit": "mg/L"}),
            {**quantity(5, "mg/L"), "comparator": "<"},
        ),
        (
            observation(valueQuantity={"value": 5, "system": "http://x", "code": "tbl", "unit": "mg"}),
            quantity("0.000005", "kg"),
        ),
        (
            valued(
                valueSampledData={"origin": {"value": 0, "unit": "mV"}, "period": 4.0, "dimensions": 1, "data": "1 2 E"}
            ),
            {"samples": {"origin": quantity(0, "mV"), "period": "4.0", "dimensions": 1, "data": "1 2 E"}},
        ),
        (valued(hasMember=[{"reference": "Observation/o2"}]), {"members": [CONTEXT.pseudonym("o2")]}),
    ],
    ids=str,
)
def test_values_of_each_type(tmp_path: Path, resource: dict[str, Any], value: dict[str, Any]) -> None:
    assert only(imported(tmp_path, resource)).value == value


def test_a_panel_has_its_components_in_one_order(tmp_path: Path) -> None:
    parts = [
        {
            "code": {"coding": [{"system": "http://loinc.org", "code": code}]},
            "valueQuantity": {"value": value, "unit": "mmHg"},
        }
        for code, value in (("8480-6", 120), ("8462-4", 80))
    ]
    missing = {"code": {"text": "mean"}, "dataAbsentReason": {"text": "unknown"}}
    first = only(imported(tmp_path, valued(component=[*parts, missing])))
    assert first.value == {
        "components": [
            {"of": [["", "mean"]], "absent": True},
            {"of": [["http://loinc.org", "8462-4"]], "quantity": {"value": "80", "unit": "mm[Hg]"}},
            {"of": [["http://loinc.org", "8480-6"]], "quantity": {"value": "120", "unit": "mm[Hg]"}},
        ]
    }
    assert first.identity() == only(imported(tmp_path, valued(component=[missing, *reversed(parts)]))).identity()


def test_a_period_is_its_start_and_an_end(tmp_path: Path) -> None:
    during = {"start": "2013-04-02T09:00:00Z", "end": "2013-04-02T10:00:00Z"}
    record = only(imported(tmp_path, observation(effectiveDateTime=None, effectivePeriod=during)))
    assert (record.time, record.value["end"]) == ("2013-04-02T09:00:00Z", "2013-04-02T10:00:00Z")


@pytest.mark.parametrize(
    ("resource", "reason"),
    [
        (valued(), "no value"),
        (observation(status="entered-in-error"), "no result"),
        (observation(status="cancelled"), "no result"),
        (observation(status=None), "status"),
        (observation(code={"coding": [{"system": "http://loinc.org", "code": "15074-9"}]}), "check digit"),
        (observation(code={}), "no code"),
        (observation(valueQuantity={"unit": "mg/L"}), "without a number"),
        (observation(valueQuantity={"value": 5, "unit": "foo"}), "unknown unit 'foo'"),
        (observation(valueQuantity={"value": "many", "unit": "mg/L"}), "valueQuantity.value is not valid"),
        (observation(valueQuantity={"value": 1e300, "unit": "mg/L"}), "no size"),
        (observation(valueQuantity=[5]), "valueQuantity"),
        (observation(valueString="and text"), "not valid"),
        (observation(effectiveDateTime="2013-13-02"), "effectiveDateTime is not valid"),
        (observation(effectiveDateTime="2013-02-30"), "effectiveDateTime is not valid"),
        (observation(effectiveDateTime=1364891410), "a time that is not text"),
        (
            observation(subject={"reference": "#p1"}, contained=[{"resourceType": "Patient", "id": "p1"}]),
            "only described in it",
        ),
        (observation(subject={"display": "Adam"}), "which person"),
        (observation(Everyman=1), "Observation has a field that FHIR has not"),
        (observation(subject={"reference": "Patient/p1", "Everyman": 1}), "subject has a field that FHIR has not"),
        ({"resourceType": "HumanName", "family": "Everyman"}, "no resource has this name"),
        ({"resourceType": "Everyman"}, "not valid FHIR R4"),
        ({"resourceType": "Element"}, "not valid FHIR R4"),
        ({"resourceType": ["Patient"]}, "does not say what resource"),
        ({"resourceType": "../Patient"}, "does not say what resource"),
        ({"id": "p1"}, "does not say what resource"),
        ({"resourceType": "Binary", "contentType": "text/plain", "data": "aGVsbG8="}, "Binary"),
        (bundle(PATIENT), "a bundle inside"),
        ({**PATIENT, "contained": [{"resourceType": "Everyman"}]}, "not valid FHIR R4"),
    ],
    ids=lambda given: given[:20] if isinstance(given, str) else "",
)
def test_a_resource_that_is_not_valid_is_rejected_by_its_entry_and_stops_nothing(
    tmp_path: Path, resource: Any, reason: str
) -> None:
    before, rejected, after = imported(tmp_path, bundle(GLUCOSE, resource, GLUCOSE))
    assert isinstance(before, Record)
    assert before == after
    assert isinstance(rejected, Rejection)
    assert rejected.position == "entry 2"
    assert reason in rejected.reason
    assert not any(word in rejected.reason for word in ("Everyman", "Adam"))


def deep(levels: int) -> str:
    return '{"resourceType": "Basic", "extension": ' + "[" * levels + "]" * levels + "}"


@pytest.mark.parametrize(
    ("entry", "reason"),
    [
        ("{}", "it has no resource"),
        ('{"fullUrl": "urn:uuid:1"}', "it has no resource"),
        ('{"resource": 5}', "its resource is no object"),
        ("5", "it is no object"),
        ('{"resource": {"valueDecimal": NaN}}', "a malformed or infinite number"),
        ('{"resource": {"valueDecimal": -Infinity}}', "a malformed or infinite number"),
        ('{"resource": {"valueDecimal": 01}}', "not JSON"),
        ('{"resource": {"valueDecimal": 1e99999999999999999999}}', "no size that is measured"),
        ('{"resource": {"a": ' + "9" * 5000 + "}}", "more than 400 digits"),
        ('{"resource": {"a": 1,}}', "not JSON"),
        ('{"resource": {"a": "\x01"}}', "not JSON"),
        ('{"resource": {"resourceType": "Patient", "gender": "\\ud800"}}', "not valid"),
        (b'{"resource": {"a": "\xe9t\xe9"}}', "not UTF-8 (perhaps Latin-1)"),
        ("[]", "it is no object"),
        ('{"resource": {"resourceType": "Patient", "gender": "male", "gender": "female"}}', "a key twice"),
        ('{"resource": ' + deep(MAX_DEPTH) + "}", "nested more than 64 deep"),
        ('{"resource": ' + deep(100_000) + "}", "nested more than 64 deep"),
        (
            '{"resource": {"resourceType": "Patient", "x": [' + "0," * 1_000_000 + "0]}}",
            "more than 1,000,000 values",
        ),
        (
            '{"resource": {"resourceType": "Patient", "x": [' + f'"{"y" * 9999}",' * 1_700 + "0]}}",
            "larger than 16 MiB",
        ),
    ],
    ids=lambda given: str(given[:30]),
)
def test_an_entry_that_is_none_is_passed_over(tmp_path: Path, entry: str | bytes, reason: str) -> None:
    good = json.dumps({"resource": GLUCOSE}).encode()
    entries = b", ".join([good, entry.encode() if isinstance(entry, str) else entry, good])
    things = imported(tmp_path, b'{"resourceType": "Bundle", "type": "batch", "entry": [' + entries + b"]}")
    assert [type(thing) for thing in things] == [Record, Rejection, Record]
    assert isinstance(things[1], Rejection)
    assert things[1].position == "entry 2"
    assert reason in things[1].reason


@pytest.mark.parametrize(
    ("rest", "reason"),
    [
        (', {"resource": {"resourceType"', "ends too early"),
        ("", "ends too early"),
        (', {"resource": [}}]}', "brackets do not match"),
        (' {"resource": {}}]}', "it is not JSON"),
        ("]} {}", "more follows"),
        (
            ', {"resource": {"resourceType": "Patient", "x": "' + "y" * (MAX_ITEM_BYTES * 2),
            "a text of more than 16 MiB",
        ),
    ],
    ids=lambda given: str(given[:40]),
)
def test_where_the_json_ends_the_entries_before_are_read(tmp_path: Path, rest: str | bytes, reason: str) -> None:
    start = json.dumps(bundle(GLUCOSE)).removesuffix("]}")
    record, rejected = imported(tmp_path, start.encode() + (rest.encode() if isinstance(rest, str) else rest))
    assert isinstance(record, Record)
    assert isinstance(rejected, Rejection)
    assert rejected.position == "entry 2"
    assert reason in rejected.reason


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "ends too early"),
        (b"[]", "no JSON object"),
        (b"{}", "does not say what resource"),
        (b"hello", "no JSON object"),
        (json.dumps(bundle(GLUCOSE)).encode("utf-16"), "UTF-16"),
        (b'{"resourceType": "Patient", "id": "\xff"}', "not UTF-8"),
        (b'{"resourceType": "Patient"', "ends too early"),
        (b'{"resourceType": "Patient", "id": "1", "id": "2"}', "a key twice"),
        (b'{"resourceType": "Patient", "id": "' + b"x" * MAX_ITEM_BYTES + b'"}', "larger than 16 MiB"),
        (b"[" * 200_000, "no JSON object"),
        (b'{"a":' * 200_000, "ends too early"),
    ],
    ids=lambda given: str(given[:30]),
)
def test_a_file_without_resources_is_one_rejection(tmp_path: Path, content: bytes, reason: str) -> None:
    rejected = rejection(imported(tmp_path, content))
    assert rejected.position == "file"
    assert reason in rejected.reason


def test_a_file_that_is_not_there_is_a_rejection(tmp_path: Path) -> None:
    assert "cannot be read" in rejection(list(resources.read(tmp_path / "none.json", CONTEXT))).reason


def test_a_byte_order_mark_before_good_json_is_no_fault(tmp_path: Path) -> None:
    assert imported(tmp_path, "\ufeff" + json.dumps(bundle(GLUCOSE))) == imported(tmp_path, bundle(GLUCOSE))


def test_entries_about_requests_only_are_no_fault(tmp_path: Path) -> None:
    gone = {"request": {"method": "DELETE", "url": "Patient/p1"}}
    content = bundle(GLUCOSE)
    content["entry"].insert(0, gone)
    only(imported(tmp_path, content))


def test_ndjson_is_read_line_by_line(tmp_path: Path) -> None:
    good = json.dumps(GLUCOSE).encode()
    lines = [
        good,
        b"",
        b'{"resourceType": "Patient", "id": "\xe9"}',
        good[:-9],
        b"x" * (MAX_ITEM_BYTES + 9),
        b"{}",
        good,
    ]
    things = imported(tmp_path, b"\r\n".join(lines), "Observation.ndjson")
    assert [thing.position for thing in things if isinstance(thing, Rejection)] == [
        "line 3",
        "line 4",
        "line 5",
        "line 6",
    ]
    assert things[0] == things[-1] == only(imported(tmp_path, GLUCOSE))
    assert imported(tmp_path, good + b"\n" + good, "export.json") == [things[0]] * 2


def test_a_patient_without_id_has_the_one_of_its_entry(tmp_path: Path) -> None:
    patient = {"resourceType": "Patient", "gender": "male"}
    content = bundle(patient, observation(subject={"reference": "urn:uuid:9-9"}))
    content["entry"][0]["fullUrl"] = "urn:uuid:9-9"
    subjects = {thing.subject for thing in imported(tmp_path, content) if isinstance(thing, Record)}
    assert subjects == {CONTEXT.pseudonym("9-9")}


@pytest.mark.parametrize(
    ("subject", "of"),
    [
        (None, "whom"),
        ({"reference": "Patient/p1"}, "p1"),
        ({"reference": "urn:uuid:p1"}, "p1"),
        ({"identifier": {"value": "p1"}}, "p1"),
        ({"reference": "Group/g1"}, ""),
        ({"reference": "urn:uuid:d1", "type": "Device"}, ""),
    ],
)
def test_whom_an_observation_is_about(tmp_path: Path, subject: dict[str, Any] | None, of: str) -> None:
    context = Context(b"k" * 32, subject="whom")
    assert only(imported(tmp_path, observation(subject=subject), context=context)).subject == context.pseudonym(of)


def test_what_is_about_nobody_has_no_subject(tmp_path: Path) -> None:
    assert (
        only(
            imported(tmp_path, {"resourceType": "Organization", "active": True}, context=Context(b"k" * 32, "p1"))
        ).subject
        == ""
    )


def test_a_condition_has_its_code_and_time(tmp_path: Path) -> None:
    record = only(
        imported(
            tmp_path,
            {
                "resourceType": "Condition",
                "code": {"coding": [{"system": "http://snomed.info/sct", "code": "38341003"}]},
                "subject": {"reference": "Patient/p1"},
                "onsetDateTime": "2005-07-29T16:37:06-04:00",
            },
        )
    )
    assert (record.type, record.time) == ("condition", "2005-07-29T20:37:06Z")
    assert record.codes == (Code("http://snomed.info/sct", "38341003"),)


P1, DIABETES = {"reference": "Patient/p1"}, {"coding": [{"system": "http://snomed.info/sct", "code": "44054006"}]}
CONDITION = {"resourceType": "Condition", "subject": P1, "code": DIABETES}
PROCEDURE = {"resourceType": "Procedure", "subject": P1, "code": DIABETES}
VACCINATION = {"resourceType": "Immunization", "patient": P1, "vaccineCode": DIABETES, "occurrenceDateTime": "2020"}
ORDER = {"resourceType": "MedicationRequest", "subject": P1, "medicationCodeableConcept": DIABETES, "intent": "order"}


def sure(verification: str) -> dict[str, Any]:
    return CONDITION | {"verificationStatus": {"coding": [{"code": verification}]}}


@pytest.mark.parametrize(
    ("resource", "counts"),
    [
        (sure("confirmed"), True),
        (sure("refuted"), False),
        (PROCEDURE | {"status": "completed"}, True),
        (PROCEDURE | {"status": "not-done"}, False),
        (VACCINATION | {"status": "completed"}, True),
        (VACCINATION | {"status": "not-done"}, False),
        (ORDER | {"status": "active"}, True),
        (ORDER | {"status": "active", "doNotPerform": False}, True),
        (ORDER | {"status": "active", "doNotPerform": True}, False),
    ],
)
def test_what_denies_something_is_not_found_by_its_code(tmp_path: Path, resource: dict[str, Any], counts: bool) -> None:
    record = only(imported(tmp_path, resource, "resource.json"))
    assert (Code("http://snomed.info/sct", "44054006") in record.codes) == counts
    assert DIABETES in record.value.values()


@pytest.mark.parametrize(
    "resource",
    [sure("entered-in-error"), *(kind | {"status": "entered-in-error"} for kind in (PROCEDURE, VACCINATION))],
)
def test_what_was_entered_in_error_is_no_record(tmp_path: Path, resource: dict[str, Any]) -> None:
    assert "entered in error" in rejection(imported(tmp_path, resource, "resource.json")).reason


@pytest.mark.parametrize("inside", ["resource", "element"])
def test_what_an_extension_may_turn_round_is_no_record(tmp_path: Path, inside: str) -> None:
    turned = {"modifierExtension": [{"url": "http://example.org/not", "valueBoolean": True}]}
    component = {"code": DIABETES, "valueBoolean": True}
    resource = observation(component=[component | turned]) if inside == "element" else observation(**turned)
    assert "modifier extension" in rejection(imported(tmp_path, resource)).reason
    assert only(imported(tmp_path, observation(component=[component | {"modifierExtension": []}])))


def test_it_recognises_resources_only() -> None:
    for start in (b'{"resourceType": "Bundle"', b'\xef\xbb\xbf {\n "id": "1",\n "resourceType" : "Patient"'):
        assert resources.recognises(start, Path("x"))
    assert resources.recognises(b'{"id": "1", ', Path("Patient.ndjson"))
    for other in (b"", b"{}", b'[{"resourceType": "Patient"}]', b"MSH|", b'{"resourceType": 5}', b"loinc,value"):
        assert not resources.recognises(other, Path("x.json"))


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda c: st.lists(c) | st.dictionaries(st.text(), c),
    max_leaves=20,
)


class Dripping(BytesIO):
    """A stream that gives a few bytes at a time."""

    def read(self, size: int | None = -1) -> bytes:
        return super().read(min(7, size) if size and size > 0 else 7)


@given(JSON)
def test_the_reader_of_json_reads_what_json_wrote(content: Any) -> None:
    text = json.dumps(content).encode()
    assert (
        jsonstream.document(text)
        == jsonstream.document(json.dumps(content, ensure_ascii=False, indent=1).encode())
        == content
    )


@given(JSON, JSON)
def test_the_reader_of_json_finds_every_element_wherever_the_stream_is_cut(content: Any, other: Any) -> None:
    text = json.dumps({"skip": content, "list": [content, 1, other], "name": "x", "then": other}).encode()
    assert [*jsonstream.elements(Dripping(text), "list")] == [content, 1, other]
    assert jsonstream.member(Dripping(text), "name") == "x"


def test_the_reader_keeps_the_digits_of_numbers() -> None:
    assert str(jsonstream.document(b"[1.10]")[0]) == "1.10"


def test_the_reader_holds_no_more_than_an_item_and_a_block() -> None:
    text = b'{"list": [' + b",".join([b'"' + b"x" * 9_999 + b'"'] * 4_000) + b"]}"
    stream = BytesIO(text)
    tracemalloc.start()
    try:
        assert sum(len(item) for item in jsonstream.elements(stream, "list")) == 39_996_000
        assert tracemalloc.get_traced_memory()[1] < 8 << 20
    finally:
        tracemalloc.stop()


@given(st.dictionaries(st.sampled_from([*GLUCOSE, "component", "note"]), JSON, max_size=4), st.binary(max_size=30))
def test_any_content_gives_rejections_at_worst(
    tmp_path_factory: pytest.TempPathFactory, changes: dict[str, Any], tail: bytes
) -> None:
    folder = tmp_path_factory.getbasetemp()
    for content in (bundle({**GLUCOSE, **changes}), json.dumps(GLUCOSE).encode()[:60] + tail):
        for thing in imported(folder, content):
            assert isinstance(thing, Record) or thing.position.startswith(("entry", "file"))


@pytest.mark.parametrize(
    "inside", [',"x":[' + "{}," * 50_000 + "{}]", "".join(f',"k{i}":1' for i in range(50_000))], ids=["list", "members"]
)
def test_a_resource_of_too_many_parts_is_not_validated(inside: str, tmp_path: Path) -> None:
    assert rejection(imported(tmp_path, f'{{"resourceType":"Patient"{inside}}}')).reason == (
        "a resource of more than 50,000 parts"
    )


def test_the_end_of_what_is_nested_without_measure_is_not_looked_for(tmp_path: Path) -> None:
    text = '{"resourceType":"Bundle","entry":[{},' + "[" * 1_000_001
    assert imported(tmp_path, text)[-1] == Rejection(
        "entry 2", "it is nested more than 1,000,000 deep; nothing is read from here on"
    )
