"""Fitbit's log of a night, as its Web API and its export both have it: an episode of sleep, and the stages within."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any

from hmchain.record import Record
from trainers.importers.base import Context, Rejection
from trainers.importers.measures import times
from trainers.importers.measures.behaviours import BEHAVIOURS, SLEEP_STATES, Origin, attempt
from trainers.importers.measures.units import quantity
from trainers.importers.reading.jsonfields import field, number, optional

_LOGS = ("classic", "stages")
_MAIN = ("isMainSleep", "mainSleep")  # of the API, and of the export
_MINUTES = {  # of a night: Open mHealth's name and Fitbit's
    "latency_to_sleep_onset": "minutesToFallAsleep",
    "latency_to_arising": "minutesAfterWakeup",
    "wake_after_sleep_onset": "minutesAwake",
}


def night(log: Any, position: str, origin: Origin, context: Context) -> Iterator[Record | Rejection]:
    """The episode's record, and one for each stage."""
    yield attempt(position, _episode, log, origin, context)
    levels = log.get("levels") if isinstance(log, dict) else None
    if not isinstance(levels, dict):
        return
    for name in ("data", "shortData"):  # shortData: wakings of under three minutes within the stages of data
        try:
            stages = optional(levels, name, list) or []
        except ValueError as fault:
            yield Rejection(f"{position} {name}", str(fault))
            continue
        for count, stage in enumerate(stages, 1):
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
    for name in _MAIN:
        if name in log:
            value["is_main_sleep"] = field(log, name, bool)
    sort = optional(log, "type", str)
    return origin.record(BEHAVIOURS["sleep-episode"], span, value, {"log": sort if sort in _LOGS else None})


def _stage(stage: Any, origin: Origin, context: Context) -> Record:
    seconds, level = field(stage, "seconds", int), field(stage, "level", str)
    state = "awake" if level == "wake" else level
    if state not in SLEEP_STATES or not 0 <= seconds <= 172_800:
        raise ValueError("a stage of sleep of no known kind or length")
    span = span_of(field(stage, "dateTime", str), timedelta(seconds=seconds), context)
    return origin.record(BEHAVIOURS["sleep"], span, {"state": state}, {})


def span_of(local: str, length: timedelta, context: Context) -> tuple[str, str]:
    """A start, and the end so much later: in elapsed time, also where clocks are changed in between."""
    start = times.parse(local, context.zone)
    try:
        return start, times.of_datetime(datetime.fromisoformat(start) + length) if length else ""
    except ValueError as fault:
        raise ValueError("a date where a time is needed") from fault
