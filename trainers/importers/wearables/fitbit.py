"""Fitbit's Web API: what it answers about heart rate, steps, floors, calories and sleep; and its export's files.

Times are the wearer's local ones and name no zone: Context.zone does. Series whose unit depends on settings of the
account, as distance does, cannot be read from the answer alone.

Source: Fitbit Web API reference: Heart Rate Intraday, Activity Time Series, Sleep Log 1.2.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

from hmchain.record import Record
from trainers.importers.base import Context, Rejection
from trainers.importers.measures import times
from trainers.importers.measures.behaviours import BEHAVIOURS, DAILY_STEPS, Behaviour, Origin, attempt
from trainers.importers.measures.units import quantity
from trainers.importers.reading.jsonfields import content_of, field, number, optional
from trainers.importers.wearables import fitbit_export
from trainers.importers.wearables.fitbit_sleep import night, span_of

NAME = "fitbit"

_HEAD = re.compile(rb'(?:\xef\xbb\xbf)?\s*\{\s*"(?:activities-[a-zA-Z-]+|sleep)"\s*:\s*\[?')
_DAILY = {
    "calories": BEHAVIOURS["energy-burned"],
    "floors": BEHAVIOURS["flights-climbed"],
    "heart": BEHAVIOURS["heart-rate"],
    "steps": DAILY_STEPS,
}
_INTRADAY = _DAILY | {"steps": BEHAVIOURS["step-count"]}
_INTERVALS = {"second": timedelta(seconds=1), "minute": timedelta(minutes=1)}


def recognises(head: bytes, path: Path) -> bool:
    """An object that starts with a series of activities or a log of sleep, or a list as the export has them."""
    return _HEAD.match(head) is not None or fitbit_export.recognises(head)


def read(path: Path, context: Context) -> Iterator[Record | Rejection]:
    """Every value of every series, and of each night the episode and its stages."""
    origin = Origin(context.default_subject, NAME)
    try:
        content = content_of(path)
        if not isinstance(content, dict | list):
            raise ValueError("not an object")
    except ValueError as fault:
        yield Rejection("file", str(fault))
        return
    if isinstance(content, list):
        yield from fitbit_export.records(content, path.name, origin, context)
    else:
        yield from _answer(content, origin, context)


def _answer(content: dict[str, Any], origin: Origin, context: Context) -> Iterator[Record | Rejection]:
    """What the Web API answered."""
    for count, (key, part) in enumerate(content.items(), 1):
        name = key.removeprefix("activities-")
        if key == "sleep" and isinstance(part, list):
            for number_of_night, log in enumerate(part, 1):
                yield from night(log, f"sleep {number_of_night}", origin, context)
        elif name in _DAILY and isinstance(part, list):
            yield from _days(name, part, origin, context)
        elif name.removesuffix("-intraday") in _INTRADAY and isinstance(part, dict):
            name = name.removesuffix("-intraday")
            yield from _minutes(name, part, content.get(f"activities-{name}"), origin, context)
        elif key != "summary":  # of what the logs say
            yield Rejection(f"part {count}", "a series that this importer does not read")


def _days(name: str, days: list[Any], origin: Origin, context: Context) -> Iterator[Record | Rejection]:
    for count, day in enumerate(days, 1):
        value = day.get("value") if isinstance(day, dict) else None
        if isinstance(value, dict):
            if "restingHeartRate" in value:  # a day without enough wear has none
                resting = {"dateTime": day.get("dateTime"), "value": value["restingHeartRate"]}
                yield attempt(f"{name} day {count}", _day, BEHAVIOURS["resting-heart-rate"], resting, origin, context)
        else:
            yield attempt(f"{name} day {count}", _day, _DAILY[name], day, origin, context)


def _day(behaviour: Behaviour, day: Any, origin: Origin, context: Context) -> Record:
    time = times.parse(field(day, "dateTime", str), context.zone)
    if len(time) != len("2015-08-21"):
        raise ValueError("dateTime is no date")
    value: dict[str, Any] = {"quantity": quantity(number(day, "value"), behaviour.unit)}
    if behaviour.type == "heart-rate":
        value["statistic"] = "average"
    return origin.record(behaviour, (time, ""), value, {})


def _minutes(
    name: str, part: dict[str, Any], days: Any, origin: Origin, context: Context
) -> Iterator[Record | Rejection]:
    """The values within a day. Which day that is stands beside them."""
    try:
        if not isinstance(days, list) or len(days) != 1:
            raise ValueError("times of no day, or of several")
        date = field(days[0], "dateTime", str)
        unit = _INTERVALS.get(optional(part, "datasetType", str) or "minute")
        length = optional(part, "datasetInterval", int) or 1
        if unit is None or not 0 < length <= 1440:
            raise ValueError("an interval of no known length")
        points = field(part, "dataset", list)
    except ValueError as fault:
        yield Rejection(f"{name} intraday", str(fault))
        return
    # A heart rate is one of a moment, anything else is counted over the interval.
    interval = timedelta(0) if name == "heart" else unit * length
    for count, point in enumerate(points, 1):
        position = f"{name} intraday {count}"
        yield attempt(position, _minute, _INTRADAY[name], date, interval, point, origin, context)


def _minute(
    behaviour: Behaviour, date: str, interval: timedelta, point: Any, origin: Origin, context: Context
) -> Record:
    span = span_of(f"{date}T{field(point, 'time', str)}", interval, context)
    return origin.record(behaviour, span, {"quantity": quantity(number(point, "value"), behaviour.unit)}, {})
