"""Apple Health: the export.xml that an iPhone makes of everything in HealthKit.

Records, workouts, days and correlations. What a correlation groups stands in the file a second time as records of its
own, so it yields no values. Left behind: who the person is (Me), names of devices, which people call after themselves
("Anna's iPhone"), and every note that is not known to be harmless.

Source: the document type of the export, versions 3 to 14; HealthKit's HKTypeIdentifiers.h and HKMetadata.h.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Any

from hmchain.record import Record
from trainers.importers.base import Context, Rejection
from trainers.importers.measures import times
from trainers.importers.measures.behaviours import ACTIVITY, BY_HEALTHKIT, Behaviour, Origin, attempt, healthkit
from trainers.importers.measures.units import quantity
from trainers.importers.reading.xmlstream import Element
from trainers.importers.wearables.apple_xml import elements

NAME = "apple-health"

_UNREAD = {"ExportDate", "Me", "ClinicalRecord"}  # a ClinicalRecord names a FHIR file beside the export
_PRODUCT = re.compile(r"Apple Watch|iPhone|iPad")
_DEVICE = re.compile(r"\b(manufacturer|model|hardware|software):([^>]{1,64}?)(?=, [A-Za-z]+:|>)")
_IDENTIFIER = re.compile(r"HK[A-Za-z0-9]{1,126}")
_MOLAR_MASS = re.compile(r"<[0-9.]+>")  # mmol<180.1558800000541>/L
_METADATA = {
    "HKAverageMETs": "average_mets",
    "HKBloodGlucoseMealTime": "meal_time",
    "HKBodyTemperatureSensorLocation": "sensor_location",
    "HKHeartRateSensorLocation": "sensor_location",
    "HKIndoorWorkout": "indoor",
    "HKMetadataKeyHeartRateMotionContext": "motion_context",
    "HKVO2MaxTestType": "test_type",
    "HKWasUserEntered": "user_entered",
}
# HealthKit's units that trainers.importers.measures.units cannot know, or would take for others: st is UCUM's stere.
_UNITS = {
    "cup_us": "[cup_us]",
    "dBASPL": "dB[SPL]",
    "fl_oz_us": "[foz_us]",
    "kcal/hr·kg": "kcal/(h.kg)",
    "mcS": "uS",
    "st": "[stone_av]",
}
_SLEEP = {
    "InBed": "in-bed",
    "Asleep": "asleep",
    "AsleepUnspecified": "asleep",
    "AsleepCore": "light",  # stages N1 and N2, which others call light
    "AsleepDeep": "deep",
    "AsleepREM": "rem",
    "Awake": "awake",
}
_DAY = {  # of an ActivitySummary: attribute, our word, unit
    "activeEnergyBurned": ("energy", "kcal"),
    "activeEnergyBurnedGoal": ("energy_goal", "kcal"),
    "appleMoveTime": ("move_time", "min"),
    "appleMoveTimeGoal": ("move_time_goal", "min"),
    "appleExerciseTime": ("exercise_time", "min"),
    "appleExerciseTimeGoal": ("exercise_time_goal", "min"),
    "appleStandHours": ("stand_hours", "hr"),
    "appleStandHoursGoal": ("stand_hours_goal", "hr"),
}


def recognises(head: bytes, path: Path) -> bool:
    """An XML document whose root is, or will be, HealthData."""
    return b"<HealthData" in head or b"<!DOCTYPE HealthData" in head


def read(path: Path, context: Context) -> Iterator[Record | Rejection]:
    """Every record of an export, in its order; positions count the elements that hold data."""
    origin, count = Origin(context.default_subject, NAME), 0
    try:
        for element in elements(path):
            if element.name not in _UNREAD:
                count += 1
                yield attempt(f"element {count}", _READERS.get(element.name, _unknown), element, origin, context)
    except (ValueError, OSError) as fault:
        reason = f"cannot be read: {fault.strerror}" if isinstance(fault, OSError) else str(fault)
        yield Rejection("file", f"{reason} (after element {count})")


def _unknown(element: Element, origin: Origin, context: Context) -> Record:
    raise ValueError("an element that this importer does not read")


def _sample(element: Element, origin: Origin, context: Context) -> Record:
    """A Record: a quantity, or a category with a value of its own words."""
    given = element.attributes
    name = _identifier(given, "type")
    behaviour = BY_HEALTHKIT.get(name) or Behaviour("measurement", (healthkit(name),))
    if name.startswith("HKQuantityType"):
        # HealthKit counts what the body mass index is measured in
        unit = behaviour.unit if behaviour.type == "body-mass-index" else given.get("unit")
        value: dict[str, Any] = {"quantity": _quantity(given.get("value"), unit)}
    elif behaviour.type == "sleep":
        value = {"state": _sleep_state(given.get("value", ""))}
    else:
        value = {"state": _identifier(given, "value")} if given.get("value") else {}
    return origin.record(behaviour, _span(given, context), value, _detail(element))


def _workout(element: Element, origin: Origin, context: Context) -> Record:
    given = element.attributes
    activity = _identifier(given, "workoutActivityType").removeprefix("HKWorkoutActivityType")
    value: dict[str, Any] = {"activity": re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "-", activity).lower()}
    for name, key in (("duration", "duration"), ("totalDistance", "distance"), ("totalEnergyBurned", "energy")):
        if name in given:
            value[key] = _quantity(given[name], given.get(f"{name}Unit"))
    value |= _totals(element)
    return origin.record(ACTIVITY, _span(given, context), value, _detail(element))


def _totals(element: Element) -> dict[str, Any]:
    """From iOS 16 on, sums are elements below the workout, and no longer its attributes."""
    totals = {}
    for name, given in _below(element):
        if name == "WorkoutStatistics" and "sum" in given:
            of = given.get("type", "").removeprefix("HKQuantityTypeIdentifier")
            key = "energy" if of == "ActiveEnergyBurned" else "distance" if of.startswith("Distance") else None
            if key is not None:
                totals[key] = _quantity(given["sum"], given.get("unit"))
    return totals


def _day(element: Element, origin: Origin, context: Context) -> Record:
    """An ActivitySummary: what the rings of a day show, and how far they were to go."""
    given = element.attributes
    energy_unit = given.get("activeEnergyBurnedUnit", "kcal")
    value = {
        key: _quantity(given[name], energy_unit if unit == "kcal" else unit)
        for name, (key, unit) in _DAY.items()
        if name in given
    }
    behaviour = Behaviour("activity-summary", (healthkit("HKActivitySummaryTypeIdentifier"),))
    return origin.record(behaviour, (times.parse(given.get("dateComponents", ""), context.zone), ""), value, {})


def _correlation(element: Element, origin: Origin, context: Context) -> Record:
    """A correlation: only which types belong together, as the records themselves stand in the file once more."""
    members = sorted({_identifier(given, "type") for name, given in _below(element) if name == "Record"})
    behaviour = Behaviour("correlation", (healthkit(_identifier(element.attributes, "type")),))
    return origin.record(behaviour, _span(element.attributes, context), {"of": members}, _detail(element))


_READERS = {"Record": _sample, "Workout": _workout, "ActivitySummary": _day, "Correlation": _correlation}


def _identifier(given: Mapping[str, str], name: str) -> str:
    text = given.get(name, "")
    if not _IDENTIFIER.fullmatch(text):
        raise ValueError(f"{name} is no identifier of HealthKit")
    return text


def _sleep_state(value: str) -> str:
    try:
        return _SLEEP[value.removeprefix("HKCategoryValueSleepAnalysis")]
    except KeyError:
        raise ValueError("a state of sleep that HealthKit does not have") from None


def _span(given: Mapping[str, str], context: Context) -> tuple[str, str]:
    start, end = given.get("startDate", ""), given.get("endDate", "")
    time = times.parse(start, context.zone)
    return time, "" if start == end else times.parse(end, context.zone)


def _quantity(value: str | None, unit: str | None) -> dict[str, str]:
    if value is None or unit is None:
        raise ValueError("a quantity without value or unit")
    if unit == "%":  # HealthKit's percent are fractions of 1
        value = _percent(value)
    return quantity(value, _UNITS.get(unit) or _MOLAR_MASS.sub("", unit))


def _percent(fraction: str) -> str:
    try:
        return str(Decimal(fraction).scaleb(2))
    except InvalidOperation:
        raise ValueError("a quantity that is no number") from None


def _detail(element: Element) -> dict[str, Any]:
    """What made the record (product, maker, versions), but not whose that is; and the metadata that are on a list."""
    given = element.attributes
    product = _PRODUCT.search(given.get("sourceName", ""))
    device = dict(_DEVICE.findall(given.get("device", "")))
    notes = {
        _METADATA[note["key"]]: note.get("value", "")[:64]
        for name, note in _below(element)
        if name == "MetadataEntry" and note.get("key") in _METADATA
    }
    return {
        "product": product[0] if product else None,
        "version": given.get("sourceVersion", "")[:64] or None,
        "device": device or None,
        **notes,
    }


def _below(element: Element) -> Iterator[tuple[str, Mapping[str, str]]]:
    """Names and attributes of all that is below it."""
    return ((child.name, child.attributes) for child in element.below())
