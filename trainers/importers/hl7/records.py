"""What HL7 v2 segments say, as records: results (OBX), visits (ADT) and orders (ORC, OBR).

Names, addresses, telephone numbers, comments (NTE) and whom somebody was seen by do not become part of a record;
numbers of visits and orders do as pseudonyms. The patient's and the relatives' names are taken out of all words.

Source: HL7 v2.8.2, chapters 3 (ADT), 4 (orders) and 7 (observations); LOINC's and FHIR's names of coding systems.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import tzinfo
from typing import Any

from hmchain.record import Code, Kind, Record
from trainers.importers.base import Context
from trainers.importers.hl7.documents import DOCUMENTS, document
from trainers.importers.hl7.fields import Segment
from trainers.importers.measures import times
from trainers.importers.measures.naming import is_free
from trainers.importers.measures.observations import SYSTEMS, Observation, coded, measured, principal, reported, written
from trainers.importers.measures.units import quantity

_TABLES = "http://terminology.hl7.org/CodeSystem/v2-"
_TABLE = re.compile(r"HL7([0-9]{4})")
_SYSTEM = re.compile(r"[A-Za-z0-9._-]{1,32}")
_COMPARATORS = ("", "=", "<", ">", "<=", ">=")


@dataclass(frozen=True)
class Envelope:
    """What a message says of all its records. subject: a pseudonym. source: "hl7v2-2.5.1". names: of the patient and
    relatives, as measures.naming finds them.
    """

    context: Context
    subject: str
    source: str
    event: str
    received: str
    names: set[str]


def codes(segment: Segment, field: int) -> tuple[Code, ...]:
    """The codes of a CE, CWE or CNE, with their alternates, of all repetitions; without any, their words as one."""
    found = []
    for repetition in range(1, segment.count(field) + 1):
        given = [[segment.text(field, start + part, repetition) for part in range(3)] for start in (1, 4)]
        coded_here = [Code(_system(system), code, display) for code, display, system in given if code]
        words = segment.text(field, 9, repetition) or given[0][1]
        found += coded_here or ([Code("", words)] if words else [])
    return tuple(found)


def _system(name: str) -> str:
    table = _TABLE.fullmatch(name.upper())
    if table:
        return _TABLES + table[1]
    known = SYSTEMS.get(name.upper())
    return known or (f"urn:hl7v2:{name}" if _SYSTEM.fullmatch(name) else "")


def time(segment: Segment, field: int, zone: tzinfo) -> str:
    """The canonical time of a field, "" for none. Raises ValueError, which names the field."""
    text = segment.text(field)
    try:
        return times.hl7(text, zone) if text else ""
    except ValueError as fault:
        raise ValueError(f"{segment.name}-{field} is {fault}") from fault


def result(obx: Segment, obr: Segment | None, of: Envelope) -> Record:
    """The observation of an OBX, ordered by an OBR or by none. Raises ValueError."""
    zone = of.context.zone
    when = time(obx, 14, zone) or (time(obr, 7, zone) if obr else "")
    if obx.text(2) in DOCUMENTS:
        return document(obx, principal(codes(obx, 3)), when, of.subject, of.source, of.context)
    value = _value(obx, zone)
    number = obx.text(5) if "quantity" in value and obx.text(2) == "NM" else ""
    detail: dict[str, Any] = {
        "status": obx.text(11),
        "interpretation": [obx.text(8, 1, repetition) for repetition in range(1, obx.count(8) + 1)],
        "referenceRange": obx.whole(7),
        "method": _listed(codes(obx, 17)),
        "order": _listed(codes(obr, 4)) if obr else [],
        "received": of.received,
        "written": written(value, number, _unit(obx)) if number else {},
    }
    return Observation(of.subject, when, codes(obx, 3)).record(value, of.source, detail)


def _value(obx: Segment, zone: tzinfo) -> dict[str, Any]:
    """OBX-5 by its type, OBX-2."""
    kind, whole, unit = obx.text(2), obx.whole(5), _unit(obx)
    if whole in ("", '""'):
        raise ValueError("it has no value (OBX-5)")
    if kind in ("CE", "CWE", "CNE"):
        return coded(codes(obx, 5)) if obx.text(5) else {"text": " ".join((obx.text(5, 2) or obx.text(5, 9)).split())}
    if kind in ("ST", "TX", "FT"):
        return reported(whole, unit) if unit else {"text": " ".join(whole.split())}
    if kind in ("SN", "DT", "TS", "DTM") and obx.count(5) > 1:
        raise ValueError("it has several values where one is meant (OBX-5)")
    if kind == "NM":
        numbers = [measured(obx.text(5, 1, repetition), unit or "1") for repetition in range(1, obx.count(5) + 1)]
        return {"each": numbers} if len(numbers) > 1 else numbers[0]
    if kind == "SN":
        return _structured(obx, unit or "1")
    if kind in ("DT", "TS", "DTM"):
        return {"time": time(obx, 5, zone)}
    raise ValueError("its type is not imported (OBX-2)" if kind else "its type is not said (OBX-2)")


def _unit(obx: Segment) -> str:
    """OBX-6: the code of UCUM where it says so, else the code, else its words; "" where there is no unit."""
    codes = [obx.text(6, place) for place in (1, 4) if obx.text(6, place + 2).upper() == "UCUM"]
    return next(filter(None, (*codes, *(obx.text(6, place) for place in (1, 2, 4, 5)))), "")


def _structured(obx: Segment, unit: str) -> dict[str, Any]:
    """An SN: comparator, number, separator, number; such as <^5, ^1^:^128, ^10^-^20."""
    comparator, first, separator, second = (obx.text(5, component) for component in range(1, 5))
    if comparator not in _COMPARATORS:
        raise ValueError("a comparator that HL7 has not (OBX-5.1)")
    if not separator:
        return measured(first, unit, "" if comparator == "=" else comparator)
    if separator in (":", "/"):
        return {"numerator": measured(first, unit), "denominator": measured(second, "1")}
    if separator == "-":
        return {"low": measured(first, unit), "high": measured(second, unit)}
    if separator in ("+", ".") and not second:
        return {"text": quantity(first, unit)["value"] + separator}
    raise ValueError("a structured number that HL7 has not (OBX-5)")


def visit(segments: Sequence[Segment], of: Envelope) -> Record:
    """The encounter that an ADT message describes. Raises ValueError."""
    zone = of.context.zone
    by_name: dict[str, list[Segment]] = {}
    for segment in segments:
        by_name.setdefault(segment.name, []).append(segment)
    pv1 = next(iter(by_name.get("PV1", [])), None)
    events = [time(evn, field, zone) for evn in by_name.get("EVN", []) for field in (6, 2)]
    value: dict[str, Any] = {"event": of.event}
    for name, key, field in (("DG1", "diagnoses", 3), ("PR1", "procedures", 3), ("AL1", "allergies", 3)):
        value[key] = [pair for segment in by_name.get(name, []) for pair in _listed(codes(segment, field))]
    if pv1:
        value |= {"class": pv1.text(2), "admission": pv1.text(4), "service": pv1.text(10)}
        value |= {"start": time(pv1, 44, zone), "end": time(pv1, 45, zone)}
        value["visit"] = of.context.pseudonym(pv1.text(19))
    value["reasons"] = [pair for pv2 in by_name.get("PV2", []) for pair in _listed(codes(pv2, 3))]
    when = next(filter(None, events), "") or of.received
    codes_of_event = (Code(_TABLES + "0003", of.event),) if of.event else ()
    detail = _marked(*(value[key] for key in ("diagnoses", "procedures", "allergies", "reasons")))
    return Record(Kind.CLINICAL, "encounter", of.subject, when, codes_of_event, _said(value), of.source, detail)


def order(obr: Segment, orc: Segment | None, of: Envelope) -> Record:
    """What an OBR orders, with the ORC before it. Raises ValueError."""
    zone = of.context.zone
    number = (orc.text(2) if orc else "") or obr.text(2)
    value: dict[str, Any] = {
        "number": of.context.pseudonym(number),
        "control": orc.text(1) if orc else "",
        "status": orc.text(5) if orc else "",
        "priority": obr.text(5),
        "reasons": _listed(codes(obr, 31)),
    }
    when = (time(orc, 9, zone) if orc else "") or time(obr, 6, zone) or time(obr, 7, zone) or of.received
    ordered = codes(obr, 4)
    others = [pair for pair in _listed(ordered) if pair[:2] not in [[c.system, c.code] for c in principal(ordered)]]
    detail = _said({"received": of.received, "codes": others}) | _marked(value["reasons"])
    return Record(Kind.CLINICAL, "order", of.subject, when, principal(ordered), _said(value), of.source, detail)


def _listed(given: Sequence[Code]) -> list[list[str]]:
    return [[code.system, code.code, code.display] for code in given]


def _marked(*fields: list[list[str]]) -> dict[str, Any]:
    """A detail that says where words stand in place of codes that were written freely."""
    return {"freeText": True} if any(not pair[0] and is_free(pair) for field in fields for pair in field) else {}


def _said(value: dict[str, Any]) -> dict[str, Any]:
    return {name: content for name, content in value.items() if content not in ("", [], {})}
