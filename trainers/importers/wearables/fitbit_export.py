"""Fitbit's export archive: heart rates, steps, calories and nights, each file a list that its name says the kind of.

    Physical Activity/heart_rate-2020-03-01.json    [{"dateTime": "03/01/20 05:00:08", "value": {"bpm": 70, ...}}, ...]
    Physical Activity/steps-2020-03-01.json         [{"dateTime": "03/01/20 05:00:00", "value": "12"}, ...]
    Sleep/sleep-2020-03-01.json                     [{"logId": ..., "startTime": ..., "levels": {...}}, ...]

Times of activities are UTC here, those of nights the wearer's local ones. Series whose unit depends on settings of the
account (distance, altitude, weight) are not read.

Source: files of the export; Fitbit describes their columns and not their form.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

from hmchain.record import Record
from trainers.importers.base import Context, Rejection
from trainers.importers.measures import times
from trainers.importers.measures.behaviours import BEHAVIOURS, Behaviour, Origin, attempt
from trainers.importers.measures.units import quantity
from trainers.importers.reading.jsonfields import field, number
from trainers.importers.wearables.fitbit_sleep import night

_HEAD = re.compile(rb'(?:\xef\xbb\xbf)?\s*\[\s*\{\s*"(?:dateTime"\s*:\s*"\d\d/\d\d/\d\d |logId"\s*:\s*\d)')
_NAME = re.compile(r"([a-z_]+)-\d{4}-\d\d-\d\d\.json")
_MINUTE = timedelta(minutes=1)
_SERIES = {  # what a file is named, what it measures, and for how long each value stands
    "calories": (BEHAVIOURS["energy-burned"], _MINUTE),
    "heart_rate": (BEHAVIOURS["heart-rate"], timedelta(0)),
    "resting_heart_rate": (BEHAVIOURS["resting-heart-rate"], timedelta(0)),
    "steps": (BEHAVIOURS["step-count"], _MINUTE),
}


def recognises(head: bytes) -> bool:
    """A list of values with times as the export writes them, or of logs."""
    return _HEAD.match(head) is not None


def records(content: list[Any], name: str, origin: Origin, context: Context) -> Iterator[Record | Rejection]:
    """The records of a file, given what it says and what it is called."""
    match = _NAME.fullmatch(name)
    kind = match[1] if match else ""
    if kind == "sleep":
        for count, log in enumerate(content, 1):
            yield from night(log, f"sleep {count}", origin, context)
    elif kind in _SERIES:
        for count, point in enumerate(content, 1):
            if not _is_day_without(point):
                yield attempt(f"value {count}", _value, *_SERIES[kind], point, origin)
    else:
        yield Rejection("file", "a series that this importer does not read; the file's name says which")


def _is_day_without(point: Any) -> bool:
    """Whether this is a day without enough wear, whose resting heart rate is 0, of no date."""
    value = point.get("value") if isinstance(point, dict) else None
    return isinstance(value, dict) and "date" in value and value["date"] is None


def _value(behaviour: Behaviour, length: timedelta, point: Any, origin: Origin) -> Record:
    start = _moment(field(point, "dateTime", str))
    value = point["value"] if isinstance(point.get("value"), dict) else point
    given = number(value, "bpm" if "bpm" in value else "value")
    if behaviour.type == "resting-heart-rate":
        span = start.date().isoformat(), ""
    else:
        span = times.of_datetime(start), times.of_datetime(start + length) if length else ""
    return origin.record(behaviour, span, {"quantity": quantity(given, behaviour.unit)}, {})


def _moment(text: str) -> datetime:
    try:
        return datetime.strptime(text, "%m/%d/%y %H:%M:%S").replace(tzinfo=UTC)
    except ValueError:
        raise ValueError("dateTime is not written as a time of the export") from None
