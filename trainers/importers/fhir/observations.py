"""A FHIR Observation as a record that is the same as a laboratory's own (see observations.py)."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import tzinfo
from decimal import Decimal
from typing import Any

from hmchain.record import Code, Record
from trainers.importers.measures import times
from trainers.importers.measures.observations import Observation, coded, measured, written

_UCUM = "http://unitsofmeasure.org"
_SAMPLED = ("period", "factor", "lowerLimit", "upperLimit", "dimensions", "data")
_SAID = ("resourceType", "subject", "code", "hasMember")  # by the record's own fields, and not again by its detail


def observed(raw: Mapping[str, Any], clean: Mapping[str, Any], subject: str, zone: tzinfo) -> Record:
    """The record of an Observation: raw, validated by FHIR's rules, and clean, which is raw without identifiers.

    Raises ValueError for one that has no result, or none that can be had in canonical form.
    """
    time, end = _when(raw, zone)
    value = _measure(raw, zone)
    components = [_component(component, zone) for component in raw.get("component", [])]
    if components:
        value["components"] = sorted(components, key=lambda component: str(component["of"]))
    members = sorted(member["reference"] for member in clean.get("hasMember", []) if "reference" in member)
    if members:
        value["members"] = members
    if not value:
        raise ValueError("it has no value")
    if end:
        value["end"] = end
    detail = {name: said for name, said in clean.items() if name not in _SAID and not name.startswith(("value", "eff"))}
    detail["written"] = written(value, *_quantity(raw["valueQuantity"])[:2]) if "valueQuantity" in raw else {}
    return Observation(subject, time, codings(raw["code"])).record(value, "fhir-r4", detail)


def moment(text: Any, zone: tzinfo) -> str:
    """The canonical time, "" for None. Raises ValueError; FHIR's models take numbers, which are no times of FHIR's."""
    if text is None:
        return ""
    if not isinstance(text, str):
        raise ValueError("a time that is not text")
    return times.parse(text, zone)


def codings(concept: Mapping[str, Any]) -> tuple[Code, ...]:
    """The codes of a CodeableConcept; where it has only words, these are the code, of no system."""
    found = [
        Code(c.get("system", ""), c["code"], c.get("display", "")) for c in concept.get("coding", []) if c.get("code")
    ]
    words = _words(concept.get("text", ""))
    return tuple(found) or ((Code("", words),) if words else ())


def _when(raw: Mapping[str, Any], zone: tzinfo) -> tuple[str, str]:
    """Start and end, "" where there is none."""
    period = raw.get("effectivePeriod", {})
    events = raw.get("effectiveTiming", {}).get("event", [None])
    start = raw.get("effectiveDateTime") or raw.get("effectiveInstant") or period.get("start") or events[0]
    return moment(start, zone), moment(period.get("end"), zone)


def _component(raw: Mapping[str, Any], zone: tzinfo) -> dict[str, Any]:
    return {"of": coded(codings(raw["code"]))["codes"], **(_measure(raw, zone) or {"absent": True})}


def _measure(raw: Mapping[str, Any], zone: tzinfo) -> dict[str, Any]:
    """What an Observation, or a component of one, has as its value[x]; {} for none."""
    name = next((name for name in raw if name.startswith("value")), "")
    given: Any = raw.get(name)
    match name:
        case "valueQuantity":
            return measured(*_quantity(given))
        case "valueInteger":
            return measured(given, "1")
        case "valueCodeableConcept":
            return coded(codings(given)) if given.get("coding") else {"text": _words(given.get("text", ""))}
        case "valueString" | "valueTime":
            return {"text": _words(given)}
        case "valueBoolean":
            return {"boolean": given}
        case "valueDateTime":
            return {"time": moment(given, zone)}
        case "valuePeriod":
            return {side: moment(given[side], zone) for side in ("start", "end") if side in given}
        case "valueRange" | "valueRatio":
            return {side: measured(*_quantity(part)) for side, part in given.items() if isinstance(part, dict)}
        case "valueSampledData":
            samples = {part: _plain(given[part]) for part in _SAMPLED if part in given}
            return {"samples": {**samples, "origin": measured(*_quantity(given["origin"]))}}
    return {}


def _quantity(given: Mapping[str, Any]) -> tuple[Any, str, str]:
    """Number, unit and comparator. FHIR's code is for computers and its unit for people; much software has one only."""
    if "value" not in given:
        raise ValueError("a quantity without a number")
    names = (given.get("code"), given.get("unit")) if given.get("system", _UCUM) == _UCUM else (given.get("unit"),)
    return given["value"], next(filter(None, names), "1"), given.get("comparator", "")


def _plain(given: Any) -> Any:
    return str(given) if isinstance(given, Decimal) else given


def _words(text: Any) -> str:
    return " ".join(str(text).split())
