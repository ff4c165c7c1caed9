"""What wearables and their applications measure: the one vocabulary of the importers that read them.

Two applications that report the same heartbeat give one fact, so its type, its codes and its unit are settled here and
nowhere else. A LOINC code is given only where its definition is that of the measure; Apple's identifier, which has a
definition for everything that HealthKit stores, goes with it whoever measured.

Sources: loinc.org; HealthKit's HKTypeIdentifiers.h; Open mHealth schemas (physical-activity 1.2 names its SNOMED code).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from hmchain.record import Code, Kind, Record
from trainers.importers.base import Rejection

HEALTHKIT = "https://developer.apple.com/documentation/healthkit"
LOINC = "http://loinc.org"
SNOMED = "http://snomed.info/sct"


@dataclass(frozen=True)
class Behaviour:
    """type: of the record. unit: UCUM, for sources that give none; "" for what is no quantity."""

    type: str
    codes: tuple[Code, ...]
    unit: str = ""


# type, unit, HealthKit's identifier (without HK and TypeIdentifier), LOINC
_ROWS = (
    ("active-energy", "kcal", "Quantity ActiveEnergyBurned", ""),
    ("basal-energy", "kcal", "Quantity BasalEnergyBurned", ""),
    ("blood-glucose", "mg/dL", "Quantity BloodGlucose", ""),
    ("body-fat", "%", "Quantity BodyFatPercentage", "41982-0"),
    ("body-height", "m", "Quantity Height", "8302-2"),
    ("body-mass", "kg", "Quantity BodyMass", "29463-7"),
    ("body-mass-index", "kg/m2", "Quantity BodyMassIndex", "39156-5"),
    ("body-temperature", "Cel", "Quantity BodyTemperature", "8310-5"),
    ("diastolic-blood-pressure", "mm[Hg]", "Quantity BloodPressureDiastolic", "8462-4"),
    ("distance", "m", "", ""),
    ("distance-cycling", "m", "Quantity DistanceCycling", ""),
    ("distance-swimming", "m", "Quantity DistanceSwimming", ""),
    ("distance-walking-running", "m", "Quantity DistanceWalkingRunning", ""),
    ("energy-burned", "kcal", "", "41981-2"),
    ("exercise-time", "min", "Quantity AppleExerciseTime", ""),
    ("flights-climbed", "1", "Quantity FlightsClimbed", ""),
    ("heart-rate", "/min", "Quantity HeartRate", "8867-4"),
    ("heart-rate-variability", "ms", "Quantity HeartRateVariabilitySDNN", "80404-7"),
    ("mindful-session", "", "Category MindfulSession", ""),
    ("oxygen-saturation", "%", "Quantity OxygenSaturation", "59408-5"),
    ("respiratory-rate", "/min", "Quantity RespiratoryRate", "9279-1"),
    ("resting-heart-rate", "/min", "Quantity RestingHeartRate", "40443-4"),
    ("sleep", "", "Category SleepAnalysis", ""),
    ("sleep-duration", "min", "", "93832-4"),
    ("sleep-episode", "min", "", "93832-4"),
    ("speed", "m/s", "", ""),
    ("stand-time", "min", "Quantity AppleStandTime", ""),
    ("step-count", "1", "Quantity StepCount", "55423-8"),
    ("systolic-blood-pressure", "mm[Hg]", "Quantity BloodPressureSystolic", "8480-6"),
    ("vo2-max", "mL/(kg.min)", "Quantity VO2Max", ""),
)


def healthkit(identifier: str) -> Code:
    """The code of something that HealthKit stores."""
    return Code(HEALTHKIT, identifier)


def _behaviour(type: str, unit: str, apple: str, loinc: str) -> Behaviour:
    sort, _, name = apple.partition(" ")
    codes = (healthkit(f"HK{sort}TypeIdentifier{name}"),) if apple else ()
    return Behaviour(type, (*codes, Code(LOINC, loinc)) if loinc else codes, unit)


BEHAVIOURS = {row[0]: _behaviour(*row) for row in _ROWS}
BY_HEALTHKIT = {c.code: b for b in BEHAVIOURS.values() for c in b.codes if c.system == HEALTHKIT}

# Steps of a whole day have a LOINC code of their own: such a total is another fact than a sample of some minutes.
DAILY_STEPS = Behaviour("step-count", (Code(LOINC, "41950-7"),), "1")
ACTIVITY = Behaviour("physical-activity", (Code(SNOMED, "68130003"), healthkit("HKWorkoutTypeIdentifier")))

SLEEP_STATES = ("in-bed", "out-of-bed", "asleep", "restless", "light", "deep", "rem", "awake")


@dataclass(frozen=True)
class Origin:
    """What all records of a file have in common. subject is a pseudonym, source a standard ("fitbit")."""

    subject: str
    source: str

    def record(
        self, behaviour: Behaviour, span: tuple[str, str], value: Mapping[str, Any], detail: Mapping[str, Any]
    ) -> Record:
        """A record of something that lasted from one canonical time to another, "" where there is none.

        An end that is the start, as applications write for a moment, is left out, and so is detail that is None.
        Raises ValueError for an end before the start.
        """
        start, end = span
        if end and end.rstrip("Z") < start.rstrip("Z"):  # without the Z, 00.5 sorts after 00
            raise ValueError("it ends before it starts")
        return Record(
            kind=Kind.BEHAVIOUR,
            type=behaviour.type,
            subject=self.subject,
            time=start,
            codes=behaviour.codes,
            value={**value, "end": end} if end and end != start else dict(value),
            source=self.source,
            detail={name: given for name, given in detail.items() if given is not None},
        )


def attempt(position: str, reader: Callable[..., Record], *arguments: Any) -> Record | Rejection:
    """What reader makes of its arguments, or a Rejection with the text of its ValueError for a reason."""
    try:
        return reader(*arguments)
    except ValueError as fault:
        return Rejection(position, str(fault))
