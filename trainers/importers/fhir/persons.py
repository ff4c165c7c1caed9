"""De-identifies FHIR resources.

What goes is found by its FHIR type, which the validated model knows, and not by its name: every HumanName, Address,
ContactPoint, Identifier, Attachment, Narrative, Annotation and Signature, wherever it stands, and every extension of a
person. References become pseudonyms without display, days of birth and death become years. Texts that FHIR has as plain
strings (a conclusion, a result in words) stay, without the names of the patients in the bundle.

Source: HL7 FHIR R4, data types; 45 CFR 164.514(b)(2) for what identifies.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from decimal import Decimal
from functools import lru_cache
from typing import Any

from trainers.importers.measures.naming import names_in

PERSONS = {"Patient", "Person", "RelatedPerson", "Practitioner"}
_NAMED = PERSONS | {
    "Account",
    "Organization",
    "Location",
    "HealthcareService",
    "CareTeam",
    "Group",
    "FamilyMemberHistory",
    "Endpoint",
    "CoverageClass",
    "DeviceDeviceName",  # as people call their own
}
_TYPES_LEFT_OUT = {
    *("HumanName", "Address", "ContactPoint", "ContactDetail", "Identifier", "Attachment", "Narrative", "Annotation"),
    *("Signature", "Meta", "LocationPosition", "MolecularSequenceRepository"),
}
# Numbers, addresses and dates whose type does not tell what they are. uid: DICOM's, of a series and of an image.
_LEFT_OUT = {
    *("id", "implicitRules", "fhir_comments", "subscriberId", "dependent", "serialNumber", "udiCarrier", "bornString"),
    *("bornPeriod", "deceasedString", "distinctIdentifier", "preAuthRef", "uid"),
    *("valueId", "valueOid", "valueUri", "valueUrl", "valueUuid"),
}
# of one type only: the number of a policy, and where a device or a server is to be reached
_FIELDS_LEFT_OUT = {("CoverageClass", "value"), ("Device", "url"), ("Endpoint", "address")}
_DAYS = {"birthDate", "bornDate", "deceasedDate", "deceasedDateTime"}
_REFERENCE = re.compile(r"(?:.*/)?([A-Z][A-Za-z]{1,40})/([A-Za-z0-9.-]{1,64})(?:/_history/[A-Za-z0-9.-]{1,64})?")

Pseudonym = Callable[[str], str]


def cleaned(raw: Any, model: Any, pseudonym: Pseudonym) -> Any:
    """raw without identifiers: JSON without floats; None, {} or [] where nothing is left. model is raw, validated."""
    if isinstance(model, list):
        children = (cleaned(item, made, pseudonym) for item, made in zip(raw, model, strict=True))
        return [child for child in children if child not in (None, {}, [])]
    made: Any = type(model)
    if not hasattr(made, "model_fields"):
        return str(raw) if isinstance(model, Decimal) or isinstance(raw, Decimal) else raw
    kind = made.__name__
    if kind in _TYPES_LEFT_OUT:
        return None
    if kind == "Reference":
        return reference(raw, pseudonym)
    fields = _fields(made)
    out = {"resourceType": raw["resourceType"]} if "resourceType" in raw else {}
    for name, child in raw.items():
        if name in fields and not _identifies(kind, name, child):
            content = cleaned(child, getattr(model, fields[name]), pseudonym)
            if content not in (None, {}, []):
                out[name] = content[:4] if name in _DAYS and isinstance(content, str) else content
    return out


def _identifies(kind: str, name: str, child: Any) -> bool:
    if name in _LEFT_OUT or name.startswith("_"):  # _birthDate: an extension of a date may be the time of it
        return True
    if kind in PERSONS and name in ("extension", "modifierExtension"):
        return True
    if (kind, name) in _FIELDS_LEFT_OUT:
        return True
    return kind in _NAMED and name in ("name", "alias", "description") and not isinstance(child, dict)


@lru_cache(maxsize=1024)
def _fields(model: Any) -> dict[str, str]:
    """JSON names of a model's fields, and what Python calls them ("class": "class_fhir")."""
    return {described.alias or name: name for name, described in model.model_fields.items()}


def names_of(resource: Mapping[str, Any]) -> set[str]:
    """What the person is called whom a resource is, or is about, and its numbers: as measures.naming looks for it."""
    held = resource.get("contained")
    described = [resource, *(held if isinstance(held, list) else [])]
    patients = [each for each in described if isinstance(each, dict) and each.get("resourceType") in PERSONS]
    found = [text for patient in patients for text in _texts([patient.get("name"), patient.get("contact")])]
    found += [text for patient in patients for text in _numbers(patient.get("identifier"))]
    shown = (resource.get(name) for name in ("subject", "patient"))
    return names_in(*found, *(str(one["display"]) for one in shown if isinstance(one, dict) and "display" in one))


def _texts(content: Any) -> Iterator[str]:
    """The words of HumanNames, wherever they stand in it."""
    if isinstance(content, list):
        for child in content:
            yield from _texts(child)
    elif isinstance(content, dict):
        if isinstance(content.get("name"), dict):  # of a contact
            yield from _texts(content["name"])
        for part in (content.get(name) for name in ("text", "family", "given")):
            yield from filter(lambda word: isinstance(word, str), part if isinstance(part, list) else [part])


def _numbers(identifiers: Any) -> list[str]:
    """What Identifiers say."""
    given = [one.get("value") for one in identifiers if isinstance(one, dict)] if isinstance(identifiers, list) else []
    return [value for value in given if isinstance(value, str)]


def reference(raw: dict[str, Any], pseudonym: Pseudonym) -> dict[str, str]:
    """A Reference as {"reference": pseudonym, "type": if it is known}; {} for one that has a display only."""
    target, kind, identity = raw.get("reference"), raw.get("type"), ""
    if isinstance(target, str) and target.startswith("#"):
        return {"reference": target}  # to what is contained in the same resource
    if isinstance(target, str):
        match = _REFERENCE.fullmatch(target)
        kind, identity = (match[1], match[2]) if match else (kind, target)
    elif isinstance(raw.get("identifier"), dict):
        identity = str(raw["identifier"].get("value", ""))
    if not identity:
        return {}
    out = {"reference": pseudonym(identity)}
    return {**out, "type": kind} if isinstance(kind, str) else out
