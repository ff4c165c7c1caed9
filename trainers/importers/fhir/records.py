"""What a FHIR resource says, as a record: validated, cleaned of what identifies, its subject, time and codes found.

fhir.resources validates each by its R4B models, since its R4 ones are of a release that needs pydantic 1: R4B differs
from R4 in the definition of medicines, in evidence and in subscriptions, none a patient's record. What identifies
people does not become part of a record (see persons.py).

Source: HL7 FHIR R4 (4.0.1).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Set
from dataclasses import replace
from typing import Any

from hmchain.errors import DataError
from hmchain.record import Code, Kind, Record
from trainers.importers.base import Context, Rejection
from trainers.importers.fhir.observations import codings, moment, observed
from trainers.importers.fhir.persons import cleaned, names_of, reference
from trainers.importers.measures.naming import is_free, nameless

MAX_PARTS = 50_000  # of a resource: validating each takes up to a third of a millisecond
_NOT_RECORDS = {
    "AuditEvent": "an AuditEvent is about who works with records, and is no part of a patient's",
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
_ERROR = "entered-in-error"
_DENIALS = {"not-done", "not-taken", "refuted"}
# where people write freely, in resources other than observations
_WRITTEN = {
    *("comment", "conclusion", "contentString", "description", "patientInstruction", "summary", "title"),
    *("valueString", "valueMarkdown"),
}


def record_of(
    position: str, given: Any, context: Context, url: Any = None, names: Set[str] = frozenset()
) -> Record | Rejection:
    """The record of a resource, given as JSON, or why there is none.

    url: its fullUrl, for one without an id. names: of the patients in its bundle.
    """
    try:
        resource = _without_nulls(given)
        if _parts(resource) > MAX_PARTS:
            raise ValueError(f"a resource of more than {MAX_PARTS:,} parts")
        if _is_modified(resource):
            raise ValueError("it has a modifier extension, with which it may say the opposite")
        kind = resource.get("resourceType") if isinstance(resource, dict) else None
        if isinstance(kind, str) and kind in _NOT_RECORDS:
            raise ValueError(_NOT_RECORDS[kind])
        record = _record(resource, _validated(kind, resource), context, url)
        record = _without_names(record, {*names, *names_of(resource)})
        record.encode()
        return record
    except (ValueError, DataError) as fault:
        return Rejection(position, str(fault))


def _record(resource: Mapping[str, Any], model: Any, context: Context, url: Any) -> Record:
    clean = cleaned(resource, model, context.pseudonym)
    identity = resource.get("id") or (url if isinstance(url, str) else "")
    subject = _subject(resource, type(model).model_fields, identity, context)
    if resource["resourceType"] == "Observation":
        record = observed(resource, clean, subject, context.zone)
    else:
        record = _general(resource, clean, subject, context)
    meta = {name: resource["meta"][name] for name in ("lastUpdated", "profile") if name in resource.get("meta", {})}
    kept = {**record.detail, "id": context.pseudonym(identity), "meta": meta}
    return replace(record, detail={name: said for name, said in kept.items() if said})


def _without_names(record: Record, names: set[str]) -> Record:
    """The record without these names, and marked where it has words that were written freely."""
    clean = nameless(record, names)
    free = any(is_free(text) for text in _written(clean.value))
    return replace(clean, detail={**clean.detail, "freeText": True}) if free else clean


def _written(content: Any) -> Iterator[Any]:
    """What stands where people write freely, however deep."""
    if isinstance(content, list):
        for child in content:
            yield from _written(child)
    elif isinstance(content, Mapping):
        for name, child in content.items():
            yield from (child,) if name in _WRITTEN else _written(child)


def _without_nulls(content: Any) -> Any:
    """The content without null, which FHIR uses only to keep the place of extensions; those are left out anyway."""
    if isinstance(content, dict):
        return {name: _without_nulls(child) for name, child in content.items() if child is not None}
    return [_without_nulls(c) for c in content if c is not None] if isinstance(content, list) else content


def _parts(content: Any) -> int:
    """How many values, objects and lists the content has."""
    if not isinstance(content, dict | list):
        return 1
    return 1 + sum(map(_parts, content.values() if isinstance(content, dict) else content))


def _is_modified(content: Any) -> bool:
    """Whether anything in it has a modifierExtension: who does not know that one must not use the resource."""
    if isinstance(content, dict):
        return bool(content.get("modifierExtension")) or any(map(_is_modified, content.values()))
    return isinstance(content, list) and any(map(_is_modified, content))


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
    named = [one for name in _SUBJECTS for one in _listed(resource.get(name))] or list(_patients(resource))
    if not named:
        return context.default_subject if {"subject", "patient"} & fields.keys() else ""
    if any(str(one.get("reference", "")).startswith("#") for one in named):
        raise ValueError("it is about somebody who is only described in it")
    found = [reference(one, context.pseudonym) for one in named]
    if not all(found):
        raise ValueError("it does not say which person it is about")
    persons = {one["reference"] for one in found if one.get("type", "Patient") == "Patient"}
    measured = (reference(one, context.pseudonym) for one in _listed(resource.get("focus")))  # an unborn child, a donor
    if len(persons | {one["reference"] for one in measured if one.get("type") in ("Patient", "RelatedPerson")}) > 1:
        raise ValueError("it is about several persons")
    return next(iter(persons), "")


def _listed(given: Any) -> list[dict[str, Any]]:
    """The references of a field that has one or several."""
    return [one for one in (given if isinstance(given, list) else [given]) if isinstance(one, dict)]


def _patients(content: Any) -> Iterator[dict[str, Any]]:
    """References to patients, wherever they stand: as of an Appointment's participants."""
    if isinstance(content, list):
        for child in content:
            yield from _patients(child)
    elif isinstance(content, dict):
        if reference(content, str).get("type") == "Patient":
            yield content
        for child in content.values():
            yield from _patients(child)


def _general(resource: Mapping[str, Any], clean: dict[str, Any], subject: str, context: Context) -> Record:
    """What denies something (a refuted condition, a vaccination not done) has no codes, by which it would be counted as
    the thing itself: they stay in its value. Raises ValueError for what was entered in error.
    """
    kind, statuses = clean.pop("resourceType"), _statuses(resource)
    if _ERROR in statuses:
        raise ValueError("its status says that it was entered in error")
    denies = bool(_DENIALS & statuses) or resource.get("doNotPerform") is True
    return Record(
        kind=Kind.CLINICAL,
        type=kind.lower(),
        subject=subject,
        time=_time(resource, context),
        codes=() if denies else _codes(resource),
        value={name: content for name, content in clean.items() if name not in _SUBJECTS or not subject},
        source="fhir-r4",
    )


def _statuses(resource: Mapping[str, Any]) -> set[str]:
    """What a resource says of itself as a whole: its status, and for a diagnosis how sure that is."""
    sure = resource.get("verificationStatus")
    told = sure.get("coding", []) if isinstance(sure, dict) else []
    given = [resource.get("status"), *(coding.get("code") for coding in told)]
    return {status for status in given if isinstance(status, str)}


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
