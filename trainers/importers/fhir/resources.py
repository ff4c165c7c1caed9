"""FHIR R4: bundles and single resources as JSON, and bulk exports as NDJSON; one record for each resource.

fhir.resources validates each by its R4B models, since its R4 ones are of a release that needs pydantic 1: R4B differs
from R4 in the definition of medicines, in evidence and in subscriptions, none a patient's record. Bundles are read
entry by entry: a faulty one is rejected at its place, and the others are taken. What identifies people does not become
part of a record (see persons.py).

Source: HL7 FHIR R4 (4.0.1), FHIR Bulk Data Access 2.0.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, BinaryIO

from hmchain.errors import DataError
from hmchain.record import Code, Kind, Record
from trainers.importers.base import MAX_ITEM_BYTES, Context, Rejection
from trainers.importers.fhir.observations import codings, moment, observed
from trainers.importers.fhir.persons import cleaned, reference
from trainers.importers.reading import jsonstream
from trainers.importers.reading.jsonstream import BOM, JsonError

NAME = "fhir"
_LINES = (".ndjson", ".jsonl")
_TYPE = re.compile(rb'"resourceType"\s*:\s*"[A-Z]')
_TWO_LINES = re.compile(rb'\s*\{[^\n]*"resourceType"[^\n]*\}\s*\n\s*\{')
_ENTRY = {"fullUrl", "id", "extension", "modifierExtension", "link", "resource", "search", "request", "response"}
_NOT_RECORDS = {
    "Binary": "a Binary may hold anything, names as well",
    "Bundle": "a bundle inside of another one",
    "OperationOutcome": "an OperationOutcome is no part of a patient's record",
    "Parameters": "Parameters are no part of a patient's record",
}
_SUBJECTS = ("subject", "patient", "beneficiary", "for", "individual")
_CODES = ("code", "vaccineCode", "medicationCodeableConcept", "type", "serviceType", "category")
_TIMES = (
    *(
        "performedDateTime",
        "performedPeriod",
        "occurrenceDateTime",
        "occurrencePeriod",
        "effectiveDateTime",
        "effectivePeriod",
    ),
    *(
        "onsetDateTime",
        "onsetPeriod",
        "period",
        "started",
        "whenHandedOver",
        "authoredOn",
        "billablePeriod",
        "recordedDate",
    ),
    *("recorded", "date", "issued", "created"),
)


def recognises(head: bytes, path: Path) -> bool:
    """Whether this is JSON that says what resource it is, or NDJSON by its name."""
    text = head.removeprefix(BOM).lstrip()
    return text.startswith(b"{") and (bool(_TYPE.search(text)) or path.suffix.lower() in _LINES)


def read(path: Path, context: Context) -> Iterator[Record | Rejection]:
    """A record for each resource; positions are "entry 2", "line 14", "file", each from 1."""
    try:
        with path.open("rb") as file:
            head = file.read(4096)
            file.seek(0)
            if head.startswith((b"\xff\xfe", b"\xfe\xff")):
                yield Rejection("file", "it is UTF-16, and FHIR's JSON is UTF-8")
            elif path.suffix.lower() in _LINES or _TWO_LINES.match(head.removeprefix(BOM)):
                yield from _lines(file, context)
            else:
                yield from _json(file, context)
    except OSError as fault:
        yield Rejection("file", f"cannot be read: {fault.strerror}")


def _lines(file: BinaryIO, context: Context) -> Iterator[Record | Rejection]:
    number = 0
    while line := file.readline(MAX_ITEM_BYTES + 1):
        number += 1
        if len(line) > MAX_ITEM_BYTES:
            while line and not line.endswith(b"\n"):
                line = file.readline(MAX_ITEM_BYTES)
            yield Rejection(f"line {number}", f"it is larger than {MAX_ITEM_BYTES >> 20} MiB")
        elif line.removeprefix(BOM).strip():
            yield _record_of_json(f"line {number}", line, context)


def _json(file: BinaryIO, context: Context) -> Iterator[Record | Rejection]:
    try:
        kind = jsonstream.member(file, "resourceType")
    except JsonError as fault:
        yield Rejection("file", str(fault))
        return
    file.seek(0)
    if kind == "Bundle":
        yield from _bundle(file, context)
    elif len(data := file.read(MAX_ITEM_BYTES + 1)) > MAX_ITEM_BYTES:
        yield Rejection("file", f"a resource that is larger than {MAX_ITEM_BYTES >> 20} MiB")
    else:
        yield _record_of_json("file", data, context)


def _bundle(file: BinaryIO, context: Context) -> Iterator[Record | Rejection]:
    number = 0
    try:
        for entry in jsonstream.elements(file, "entry"):
            number += 1
            try:
                resource = _resource(entry)
            except ValueError as fault:
                yield Rejection(f"entry {number}", str(fault))
                continue
            if resource is not None:
                yield _record(f"entry {number}", resource, context, entry.get("fullUrl"))
    except JsonError as fault:
        yield Rejection(f"entry {number + 1}", f"{fault}; nothing is read from here on")


def _resource(entry: Any) -> dict[str, Any] | None:
    """The resource of an entry; None where an entry is only about a request, as to delete. Raises ValueError."""
    if isinstance(entry, JsonError):
        raise entry
    if not isinstance(entry, dict):
        raise ValueError("it is no object")
    if not set(entry) <= _ENTRY:
        raise ValueError(
            f"it has members that a bundle's entry has not{'' if 'resource' in entry else ', and no resource'}"
        )
    resource = entry.get("resource")
    if resource is None and not entry.keys() & {"request", "response"}:
        raise ValueError("it has no resource")
    if resource is not None and not isinstance(resource, dict):
        raise ValueError("its resource is no object")
    return resource


def _record_of_json(position: str, data: bytes, context: Context) -> Record | Rejection:
    try:
        return _record(position, jsonstream.document(data), context)
    except JsonError as fault:
        return Rejection(position, str(fault))


def _record(position: str, given: Any, context: Context, url: Any = None) -> Record | Rejection:
    resource = _without_nulls(given)
    try:
        kind = resource.get("resourceType") if isinstance(resource, dict) else None
        if isinstance(kind, str) and kind in _NOT_RECORDS:
            raise ValueError(_NOT_RECORDS[kind])
        model = _validated(kind, resource)
        clean = cleaned(resource, model, context.pseudonym)
        identity = resource.get("id") or (url if isinstance(url, str) else "")
        subject = _subject(resource, type(model).model_fields, identity, context)
        if kind == "Observation":
            record = observed(resource, clean, subject, context.zone)
        else:
            record = _general(resource, clean, subject, context)
        meta = {name: resource["meta"][name] for name in ("lastUpdated", "profile") if name in resource.get("meta", {})}
        kept = {**record.detail, "id": context.pseudonym(identity), "meta": meta}
        record = replace(record, detail={name: said for name, said in kept.items() if said})
        record.encode()
        return record
    except (ValueError, DataError) as fault:
        return Rejection(position, str(fault))


def _without_nulls(content: Any) -> Any:
    """It without JSON's null, which FHIR has only to keep the place of extensions that are left out anyway."""
    if isinstance(content, dict):
        return {name: _without_nulls(child) for name, child in content.items() if child is not None}
    return [_without_nulls(c) for c in content if c is not None] if isinstance(content, list) else content


def _validated(kind: Any, resource: Mapping[str, Any]) -> Any:
    """The resource as FHIR's model of it. Raises ValueError, which names a field and never its content."""
    from fhir.resources.R4B import get_fhir_model_class
    from fhir.resources.R4B.resource import Resource
    from pydantic import ValidationError

    if not isinstance(kind, str) or not re.fullmatch("[A-Z][A-Za-z]{1,40}", kind):
        raise ValueError("it does not say what resource it is")
    try:
        model = get_fhir_model_class(kind)
        if issubclass(model, Resource):
            return model.model_validate(resource)
    except ValidationError as fault:
        first = fault.errors(include_url=False, include_context=False, include_input=False)[0]
        unknown = first["type"] == "extra_forbidden"  # then the last name is the file's, not FHIR's
        place = ".".join(map(str, first["loc"][: -1 if unknown else None])) or kind
        said = {"extra_forbidden": "has a field that FHIR has not", "missing": "is missing"}.get(
            first["type"], "is not valid"
        )
        raise ValueError(f"not valid FHIR R4: {place} {said}") from None
    except Exception:  # the library's own slips on what it did not foresee: KeyError, AttributeError, TypeError
        raise ValueError("not valid FHIR R4, or of a resource that it has not") from None
    raise ValueError("not valid FHIR R4: no resource has this name")


def _subject(resource: Mapping[str, Any], fields: Mapping[str, Any], identity: str, context: Context) -> str:
    """The pseudonym of whom a resource is about; "" for what is about nobody, as an Organization is."""
    if resource["resourceType"] == "Patient":
        return context.pseudonym(identity) or context.default_subject
    named = next((resource[name] for name in _SUBJECTS if isinstance(resource.get(name), dict)), None)
    if named is None:
        return context.default_subject if {"subject", "patient"} & fields.keys() else ""
    if str(named.get("reference", "")).startswith("#"):
        raise ValueError("it is about somebody who is only described in it")
    found = reference(dict(named), context.pseudonym)
    if not found:
        raise ValueError("it does not say which person it is about")
    return found["reference"] if found.get("type", "Patient") == "Patient" else ""


def _general(resource: Mapping[str, Any], clean: dict[str, Any], subject: str, context: Context) -> Record:
    kind = clean.pop("resourceType")
    return Record(
        kind=Kind.CLINICAL,
        type=kind.lower(),
        subject=subject,
        time=_time(resource, context),
        codes=_codes(resource),
        value={name: content for name, content in clean.items() if name not in _SUBJECTS or not subject},
        source="fhir-r4",
    )


def _codes(resource: Mapping[str, Any]) -> tuple[Code, ...]:
    for concept in (resource.get(name) for name in _CODES):
        first = concept[0] if isinstance(concept, list) and concept else concept
        if isinstance(first, dict) and first.keys() & {"coding", "text"}:
            return codings(first)
    return ()


def _time(resource: Mapping[str, Any], context: Context) -> str:
    for given in filter(None, map(resource.get, _TIMES)):
        start = given.get("start") if isinstance(given, dict) else given
        if start is not None:
            return moment(start, context.zone)
    return ""
