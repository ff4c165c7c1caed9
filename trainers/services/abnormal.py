"""Which results are abnormal: by the laboratory's own mark, else by the reference range that came with them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from decimal import Decimal, InvalidOperation
from typing import Any

from hmchain.record import Record
from trainers.importers.measures.units import MAX_EXPONENT

_MARKS = {"L", "LL", "<", "H", "HH", ">", "A", "AA", "HU", "LU"}  # HL7 table 0078; N and others are no mark
_RANGE = re.compile(r"(?:(<=?)|(>=?)|([0-9.]+) ?- ?)?([0-9.]+)")

Limits = tuple[Decimal | None, Decimal | None]


def mark_of(record: Record) -> str:
    """The laboratory's mark, or "L" or "H" by the range; "" where nothing says that the result is abnormal."""
    given = record.detail.get("interpretation")
    if given:
        return next((mark for mark in _said(given) if mark in _MARKS), "")
    quantity = record.detail.get("written") or record.value.get("quantity")  # ranges are in the laboratory's own unit
    value = number(quantity.get("value")) if isinstance(quantity, Mapping) else None
    if value is None or "comparator" in record.value:
        return ""
    low, high = _limits(record.detail.get("referenceRange"))
    return "L" if low is not None and value < low else "H" if high is not None and value > high else ""


def _said(given: Any) -> list[str]:
    """The codes of an interpretation: text, a list of texts, or FHIR's CodeableConcepts."""
    if isinstance(given, str):
        return [given]
    texts = [said for said in given if isinstance(said, str)] if isinstance(given, list) else []
    return texts + [str(coding.get("code")) for said in objects(given) for coding in objects(said.get("coding"))]


def _limits(given: Any) -> Limits:
    """The lowest and the highest normal value: of FHIR's one range for everybody, or of text without words."""
    ranges = objects(given)
    if len(ranges) == 1 and not ranges[0].keys() & {"age", "appliesTo", "type"}:
        sides = (ranges[0].get(side) for side in ("low", "high"))
        low, high = (number(side.get("value")) if isinstance(side, Mapping) else None for side in sides)
        return low, high
    match = _RANGE.fullmatch(given.strip()) if isinstance(given, str) else None
    if match is None or not any(match.groups()[:3]):
        return None, None
    limit = number(match[4])
    return (limit, None) if match[2] else (number(match[3]), limit)


def number(text: Any) -> Decimal | None:
    """A finite decimal of a size that can be added and drawn, None for anything else."""
    try:
        value = Decimal(str(text))
    except InvalidOperation:
        return None
    return value if value.is_finite() and abs(value.adjusted()) <= MAX_EXPONENT else None


def objects(content: Any) -> list[Mapping[str, Any]]:
    """The objects in a list that somebody else wrote; none of anything but a list."""
    return [item for item in content if isinstance(item, Mapping)] if isinstance(content, list) else []
