"""Google Fit: data sets of its REST API, and the same points as Google Takeout writes them.

A point says for which nanoseconds it holds. Its origin names the application and may name the very device: only the
application is kept. Where somebody was (com.google.location) is not read.

Source: Google Fit REST API reference, Users.dataSources.datasets; Fitness data types; Activity and sleep types.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from hmchain.record import Record
from trainers.importers.base import Context, Rejection
from trainers.importers.measures import times
from trainers.importers.measures.behaviours import ACTIVITY, BEHAVIOURS, Behaviour, Origin, attempt
from trainers.importers.measures.units import quantity
from trainers.importers.reading.jsonfields import field, number, optional
from trainers.importers.reading.jsonstream import JsonError, elements

NAME = "google-fit"

_HEAD = re.compile(rb'"(?:dataSourceId|Data Source|dataTypeName)"\s*:\s*"(?:(?:raw|derived):)?com\.google\.')
_POINTS = re.compile(rb'"(point|Data Points)"\s*:\s*\[')  # the API's and Takeout's
_HEAD_BYTES = 4096
_PACKAGE = re.compile(r"[a-zA-Z][\w]*(?:\.[a-zA-Z][\w]*)+")
_NANOSECONDS = 10**9
_LATEST = 253_402_300_800  # seconds: the year 10000

# Data type, without com.google., to what each of its fields measures, in their order
_TYPES: dict[str, tuple[Behaviour, ...]] = {
    "blood_pressure": (BEHAVIOURS["systolic-blood-pressure"], BEHAVIOURS["diastolic-blood-pressure"]),
    "body.fat.percentage": (BEHAVIOURS["body-fat"],),
    "body.temperature": (BEHAVIOURS["body-temperature"],),
    "calories.expended": (BEHAVIOURS["energy-burned"],),
    "distance.delta": (BEHAVIOURS["distance"],),
    "heart_rate.bpm": (BEHAVIOURS["heart-rate"],),
    "height": (BEHAVIOURS["body-height"],),
    "oxygen_saturation": (BEHAVIOURS["oxygen-saturation"],),
    "speed": (BEHAVIOURS["speed"],),
    "step_count.delta": (BEHAVIOURS["step-count"],),
    "weight": (BEHAVIOURS["body-mass"],),
}
_SLEEP_SEGMENTS = {1: "awake", 2: "asleep", 3: "out-of-bed", 4: "light", 5: "deep", 6: "rem"}
_SLEEP_ACTIVITIES = {72: "asleep", 109: "light", 110: "deep", 111: "rem", 112: "awake"}
_ACTIVITIES = {
    1: "cycling",
    2: "on-foot",
    7: "walking",
    8: "running",
    15: "mountain-biking",
    16: "road-biking",
    24: "dance",
    25: "elliptical",
    35: "hiking",
    80: "strength-training",
    82: "swimming",
    97: "weightlifting",
    100: "yoga",
}


def recognises(head: bytes, path: Path) -> bool:
    """JSON that names a data source or a data type of com.google."""
    return _HEAD.search(head) is not None


def read(path: Path, context: Context) -> Iterator[Record | Rejection]:
    """One record a point, two for a blood pressure."""
    origin, count = Origin(context.default_subject, NAME), 0
    try:
        with path.open("rb") as file:
            start = _POINTS.search(file.read(_HEAD_BYTES))
            if start is None:
                raise JsonError("no list of points")
            file.seek(0)
            for count, point in enumerate(elements(file, start[1].decode()), 1):
                yield from _records(point, f"point {count}", origin)
    except JsonError as fault:
        yield Rejection("file", f"{fault} (after point {count})")
    except OSError as fault:
        yield Rejection("file", f"cannot be read: {fault.strerror}")


def _records(point: Any, position: str, origin: Origin) -> Iterator[Record | Rejection]:
    try:
        if isinstance(point, JsonError):
            raise point
        name = field(point, "dataTypeName", str).removeprefix("com.google.")
        span = _time(point, "startTimeNanos"), _time(point, "endTimeNanos")
        values, detail = _values(point), _detail(point)
        if name in ("sleep.segment", "activity.segment"):
            yield _segment(name, span, values, detail, origin)
            return
        if name not in _TYPES:
            raise ValueError("a data type that this importer does not read")
        if len(values) < len(_TYPES[name]):
            raise ValueError("a point with too few values")
    except ValueError as fault:
        yield Rejection(position, str(fault))
        return
    for behaviour, value in zip(_TYPES[name], values, strict=False):
        yield attempt(position, _measure, behaviour, span, value, detail, origin)


def _measure(behaviour: Behaviour, span: tuple[str, str], value: Any, detail: dict[str, Any], origin: Origin) -> Record:
    digits = number(value, "fpVal" if "fpVal" in value else "intVal")
    return origin.record(behaviour, span, {"quantity": quantity(digits, behaviour.unit)}, detail)


def _segment(name: str, span: tuple[str, str], values: list[Any], detail: dict[str, Any], origin: Origin) -> Record:
    """A stretch of sleep or of activity: the value is a number that Google has given it."""
    kind = field(values[0], "intVal", int)
    state = (_SLEEP_SEGMENTS if name == "sleep.segment" else _SLEEP_ACTIVITIES).get(kind)
    if state is not None:
        return origin.record(BEHAVIOURS["sleep"], span, {"state": state}, detail)
    if name == "sleep.segment" or kind not in _ACTIVITIES:
        raise ValueError("a kind of segment that this importer does not know")
    return origin.record(ACTIVITY, span, {"activity": _ACTIVITIES[kind]}, detail)


def _values(point: Any) -> list[Any]:
    """The values of a point: Takeout wraps each once more."""
    takeout = isinstance(point, dict) and "fitValue" in point
    given = field(point, "fitValue" if takeout else "value", list)
    values = [value.get("value", value) if takeout and isinstance(value, dict) else value for value in given]
    if not values or not all(isinstance(value, dict) for value in values):
        raise ValueError("a point without values")
    return values


def _time(point: Any, name: str) -> str:
    """RFC 3339 for nanoseconds since 1970, which the API writes as text and Takeout as a number."""
    try:
        seconds, nanoseconds = divmod(int(number(point, name)), _NANOSECONDS)
    except ValueError as fault:
        raise ValueError(f"{name} is no time") from fault
    if not 0 <= seconds < _LATEST:
        raise ValueError(f"{name} is no time")
    whole = datetime.fromtimestamp(seconds, UTC).replace(tzinfo=None).isoformat()
    return times.parse(f"{whole}.{nanoseconds:09}Z", UTC)


def _detail(point: Any) -> dict[str, Any]:
    """origin: "raw:com.google.heart_rate.bpm:APPLICATION:maker:model:device number:stream"."""
    parts = (optional(point, "originDataSourceId", str) or "").split(":")
    application = parts[2] if len(parts) > 2 and len(parts[2]) < 128 and _PACKAGE.fullmatch(parts[2]) else None
    return {"application": application, "user_entered": True if parts[-1] == "user_input" else None}
