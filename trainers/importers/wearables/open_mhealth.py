"""Open mHealth: data points with a header (IEEE 1752 writes the same), and bodies without one.

What a body measures is said by the name of its member, whatever the version of its schema. Notes that people write
themselves are not kept. A part of a day ("morning") has no clock time: it is kept beside the date.

Source: Open mHealth schemas, omh namespace: data-point 1.0, time-frame 1.0 to 4.0 and those of the measures.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

from hmchain.record import Record
from trainers.importers.base import Context, Rejection
from trainers.importers.measures import times
from trainers.importers.measures.behaviours import ACTIVITY, BEHAVIOURS, Behaviour, Origin, attempt
from trainers.importers.measures.units import quantity
from trainers.importers.reading.jsonfields import content_of, field, number, optional

NAME = "open-mhealth"

_MEASURES = {
    "blood_glucose": BEHAVIOURS["blood-glucose"],
    "body_fat_percentage": BEHAVIOURS["body-fat"],
    "body_height": BEHAVIOURS["body-height"],
    "body_mass_index": BEHAVIOURS["body-mass-index"],
    "body_temperature": BEHAVIOURS["body-temperature"],
    "body_weight": BEHAVIOURS["body-mass"],
    "diastolic_blood_pressure": BEHAVIOURS["diastolic-blood-pressure"],
    "heart_rate": BEHAVIOURS["heart-rate"],
    "kcal_burned": BEHAVIOURS["energy-burned"],
    "oxygen_saturation": BEHAVIOURS["oxygen-saturation"],
    "respiratory_rate": BEHAVIOURS["respiratory-rate"],
    "sleep_duration": BEHAVIOURS["sleep-duration"],
    "speed": BEHAVIOURS["speed"],
    "step_count": BEHAVIOURS["step-count"],
    "systolic_blood_pressure": BEHAVIOURS["systolic-blood-pressure"],
    "total_sleep_time": BEHAVIOURS["sleep-duration"],
}
_NIGHT = (  # of a sleep episode, beside total_sleep_time
    "latency_to_sleep_onset",
    "latency_to_arising",
    "wake_after_sleep_onset",
    "number_of_awakenings",
    "sleep_maintenance_efficiency_percentage",
)
_COUNTS = ("step_count", "number_of_awakenings")
_MEMBERS = "|".join((*_MEASURES, *_NIGHT, "is_main_sleep", "activity_name", "effective_time_frame")).encode()
_BODY = re.compile(rb'"(?:%s)"\s*:' % _MEMBERS)
_HEADER = re.compile(rb'"schema_id"\s*:\s*\{')
_SCHEMAS = {"blood-pressure", "calories-burned", "physical-activity", "sleep-episode"}
_SCHEMA = re.compile(r"([a-z]+(?:-[a-z]+)*)[_-][0-9]+\.[0-9x]+(?![0-9])")
_WORDS = re.compile(r"[a-z0-9]{1,32}(?:[ _-][a-z0-9]{1,32}){0,9}")
_DETAILS = (  # words of the schemas' own lists: circumstances of a measurement
    "body_posture",
    "measurement_location",
    "position_during_measurement",
    "specimen_source",
    "temporal_relationship_to_meal",
    "temporal_relationship_to_physical_activity",
    "temporal_relationship_to_sleep",
)
_SECONDS = {"us": "1e-6", "ms": "1e-3", "sec": "1", "min": "60", "h": "3600", "d": "86400", "wk": "604800"}
_LONGEST = timedelta(days=36_525)


def recognises(head: bytes, path: Path) -> bool:
    """JSON with a header or a measure of Open mHealth, or named after a schema: step-count_1.0….json."""
    if not head.lstrip(b"\xef\xbb\xbf \t\r\n").startswith((b"{", b"[")) or b'"resourceType"' in head:
        return False
    name = _SCHEMA.match(path.name) if path.suffix == ".json" else None
    known = name is not None and (name[1].replace("-", "_") in _MEASURES or name[1] in _SCHEMAS)
    return known or _BODY.search(head) is not None or _HEADER.search(head) is not None


def read(path: Path, context: Context) -> Iterator[Record | Rejection]:
    """Every measure of every data point; a file holds one, or a list."""
    try:
        content = content_of(path)
    except ValueError as fault:
        yield Rejection("file", str(fault))
        return
    match = _SCHEMA.match(path.name)
    points = content if isinstance(content, list) else [content]
    for count, point in enumerate(points, 1):
        yield from _records(point, f"data point {count}", match[1] if match else "", context)


@dataclass(frozen=True)
class _Point:
    """A data point's body, when that was (and the part of a day where no more is said), and what else is known."""

    body: dict[str, Any]
    span: tuple[str, str]
    part_of_day: dict[str, str]
    detail: dict[str, str]
    origin: Origin

    def record(self, behaviour: Behaviour, value: dict[str, Any]) -> Record:
        return self.origin.record(behaviour, self.span, value | self.part_of_day, self.detail)


def _records(content: Any, position: str, schema: str, context: Context) -> Iterator[Record | Rejection]:
    try:
        if not isinstance(content, dict):
            raise ValueError("not an object")
        header = optional(content, "header", dict)
        body = content if header is None else field(content, "body", dict)
        point = _point(header or {}, body, context)
    except ValueError as fault:
        yield Rejection(position, str(fault))
        return
    schema = _schema(header) or schema
    if schema == "sleep-episode" or "is_main_sleep" in body or any(name in body for name in _NIGHT):
        yield attempt(position, _episode, point)
    elif "activity_name" in body:
        yield attempt(position, _activity, point)
    elif names := [name for name in _MEASURES if name in body]:
        for name in names:
            yield attempt(position, _measure, point, name)
    else:
        yield Rejection(position, "no measure that this importer reads")


def _point(header: dict[str, Any], body: dict[str, Any], context: Context) -> _Point:
    person = optional(header, "user_id", str)
    origin = Origin(context.pseudonym(person) if person else context.default_subject, NAME)
    return _Point(body, *_time_frame(body, context), _detail(header, body), origin)


def _schema(header: dict[str, Any] | None) -> str:
    schema = (header or {}).get("schema_id")
    name = schema.get("name") if isinstance(schema, dict) else None
    return name if isinstance(name, str) else ""


def _measure(point: _Point, name: str) -> Record:
    value: dict[str, Any] = {"quantity": _quantity(point.body, name)}
    for statistic in ("descriptive_statistic", "descriptive_statistic_denominator"):
        if statistic in point.body:
            value[statistic.removeprefix("descriptive_")] = _word(point.body, statistic)
    return point.record(_MEASURES[name], value)


def _episode(point: _Point) -> Record:
    body = point.body
    value: dict[str, Any] = {name: _quantity(body, name) for name in _NIGHT if name in body}
    if "total_sleep_time" in body:
        value["quantity"] = _quantity(body, "total_sleep_time")
    if "is_main_sleep" in body:
        value["is_main_sleep"] = field(body, "is_main_sleep", bool)
    return point.record(BEHAVIOURS["sleep-episode"], value)


def _activity(point: _Point) -> Record:
    body = point.body
    value: dict[str, Any] = {"activity": re.sub("[ _]", "-", _word(body, "activity_name"))}
    for name, key in (("distance", "distance"), ("kcal_burned", "energy"), ("duration", "duration")):
        if name in body:
            value[key] = _quantity(body, name)
    if "reported_activity_intensity" in body:
        value["intensity"] = _word(body, "reported_activity_intensity")
    return point.record(ACTIVITY, value)


def _quantity(body: dict[str, Any], name: str) -> dict[str, str]:
    """A unit value {"value", "unit"}; a count may be a bare number."""
    given = body[name]
    if not isinstance(given, dict):
        if name not in _COUNTS:
            raise ValueError(f"{name} is no quantity with a unit")
        return quantity(number(body, name), "1")
    return quantity(number(given, "value"), field(given, "unit", str))


def _time_frame(body: dict[str, Any], context: Context) -> tuple[tuple[str, str], dict[str, str]]:
    """(start, end), and the part of a day where there is no more than that."""
    frame = optional(body, "effective_time_frame", dict)
    if frame is None:
        return ("", ""), {}
    if "date_time" in frame:
        return (_time(frame, "date_time", context), ""), {}
    interval = field(frame, "time_interval", dict)
    if "part_of_day" in interval:
        return (_time(interval, "date", context), ""), {"part_of_day": _word(interval, "part_of_day")}
    start, end = (_time(interval, n, context) if n in interval else "" for n in ("start_date_time", "end_date_time"))
    if not start and not end:
        raise ValueError("a time interval with neither start nor end")
    if not (start and end):
        length = _length(field(interval, "duration", dict))
        start, end = (start, _shifted(start, length)) if start else (_shifted(end, -length), end)
    return (start, end), {}


def _time(content: dict[str, Any], name: str, context: Context) -> str:
    return times.parse(field(content, name, str), context.zone)


def _length(duration: dict[str, Any]) -> timedelta:
    """Exact for the units that have one length: no month and no year."""
    size = _SECONDS.get(field(duration, "unit", str))
    text = number(duration, "value")
    if size is None or not re.fullmatch(r"[0-9]{1,12}(?:\.[0-9]{1,9})?", text):
        raise ValueError("a duration of no known length")
    microseconds = Decimal(text) * Decimal(size) * 1_000_000
    length = timedelta(microseconds=int(microseconds)) if microseconds < 10**19 else _LONGEST * 2
    if length > _LONGEST:
        raise ValueError("a duration of no known length")
    return length


def _shifted(time: str, length: timedelta) -> str:
    try:
        return times.of_datetime(datetime.fromisoformat(time) + length)
    except (ValueError, OverflowError) as fault:
        raise ValueError("a duration from a date without a time") from fault


def _word(content: dict[str, Any], name: str) -> str:
    """One of a schema's own words, never a sentence of somebody's."""
    word = field(content, name, str).lower()
    if not _WORDS.fullmatch(word):
        raise ValueError(f"{name} is none of the schema's words")
    return word


def _detail(header: dict[str, Any], body: dict[str, Any]) -> dict[str, str]:
    detail = {name: body.get(name) for name in _DETAILS}
    provenance = header.get("acquisition_provenance")
    if isinstance(provenance, dict):
        detail["modality"] = provenance.get("modality")
    return {name: v for name, v in detail.items() if isinstance(v, str) and _WORDS.fullmatch(v.lower())}
