"""Fitbit's Web API: what it answers about heart rate, steps, floors, calories and sleep.

Times are the wearer's local ones and name no zone: Context.zone does. Series whose unit depends on settings of the
account, as distance does, cannot be read from the answer alone.

Source: Fitbit Web API reference: Heart Rate Intraday, Activity Time Series, Sleep Log 1.2.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from hmchain.record import Record
from trainers.importers.base import Context, Rejection
from trainers.importers.measures import times
from trainers.importers.measures.behaviours import BEHAVIOURS, DAILY_STEPS, SLEEP_STATES, Behaviour, Origin, attempt
from trainers.importers.measures.units import quantity
from trainers.importers.reading.jsonfields import content_of, field, number, optional

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
_MINUTES = {  # of a night: Open mHealth's name and Fitbit's
    "latency_to_sleep_onset": "minutesToFallAsleep",
    "latency_to_arising": "minutesAfterWakeup",
    "wake_after_sleep_onset": "minutesAwake",
}


def recognises(head: bytes, path: Path) -> bool:
    """An object that starts with a series of activities, or with a log of sleep."""
    return _HEAD.match(head) is not None


def read(path: Path, context: Context) -> Iterator[Record | Rejection]:
    """Every value of every series, and of each night the episode and its stages."""
    origin = Origin(context.default_subject, NAME)
    try:
        content = content_of(path)
        if not isinstance(content, dict):
            raise ValueError("not an object")
    except ValueError as fault:
        yield Rejection("file", str(fault))
        return
    for count, (key, part) in enumerate(content.items(), 1):
        name = key.removeprefix("activities-")
        if key == "sleep" and isinstance(part, list):
            for night, log in enumerate(part, 1):
                yield from _night(log, f"sleep {night}", origin, context)
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
    span = _span(f"{date}T{field(point, 'time', str)}", interval, context)
    return origin.record(behaviour, span, {"quantity": quantity(number(point, "value"), behaviour.unit)}, {})


def _night(log: Any, position: str, origin: Origin, context: Context) -> Iterator[Record | Rejection]:
    yield attempt(position, _episode, log, origin, context)
    levels = log.get("levels") if isinstance(log, dict) else None
    if not isinstance(levels, dict):
        return
    for name in ("data", "shortData"):  # shortData: wakings of under three minutes within the stages of data
        for count, stage in enumerate(optional(levels, name, list) or [], 1):
            yield attempt(f"{position} {name} {count}", _stage, stage, origin, context)


def _episode(log: Any, origin: Origin, context: Context) -> Record:
    span = (
        times.parse(field(log, "startTime", str), context.zone),
        times.parse(field(log, "endTime", str), context.zone),
    )
    value: dict[str, Any] = {"quantity": quantity(number(log, "minutesAsleep"), "min")}
    value |= {ours: quantity(number(log, theirs), "min") for ours, theirs in _MINUTES.items() if theirs in log}
    if "efficiency" in log:
        value["sleep_maintenance_efficiency_percentage"] = quantity(number(log, "efficiency"), "%")
    if "isMainSleep" in log:
        value["is_main_sleep"] = field(log, "isMainSleep", bool)
    sort = optional(log, "type", str)
    return origin.record(BEHAVIOURS["sleep-episode"], span, value, {"log": sort if sort in _LOGS else None})


_LOGS = ("classic", "stages")


def _stage(stage: Any, origin: Origin, context: Context) -> Record:
    seconds, level = field(stage, "seconds", int), field(stage, "level", str)
    state = "awake" if level == "wake" else level
    if state not in SLEEP_STATES or not 0 <= seconds <= 172_800:
        raise ValueError("a stage of sleep of no known kind or length")
    span = _span(field(stage, "dateTime", str), timedelta(seconds=seconds), context)
    return origin.record(BEHAVIOURS["sleep"], span, {"state": state}, {})


def _span(local: str, length: timedelta, context: Context) -> tuple[str, str]:
    """A start, and the end so much later: in elapsed time, also where clocks are changed in between."""
    start = times.parse(local, context.zone)
    try:
        return start, times.of_datetime(datetime.fromisoformat(start) + length) if length else ""
    except ValueError as fault:
        raise ValueError("a date where a time is needed") from fault
