"""EHR and EMR: all that is known of one person, from one hospital or several, in order of time and as trends.

What several hospitals say of the same fact is one fact with several places. Pseudonyms are each hospital's own, so
whose a record is, and whom it refers to, is left out when places are compared: whoever merges says that all is about
one person.

Two values of one measure for the same moment are a conflict, and both are shown. What a laboratory marked, or what is
outside of the range that came with it, is abnormal. Neither is judged further here.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

from hmchain.errors import DataError, UsageError
from hmchain.files import read_file
from hmchain.jsontext import parse
from hmchain.record import MAX_RECORD_BYTES, Kind, Record, canonical
from trainers.importers.measures.behaviours import BEHAVIOURS, DAILY_STEPS
from trainers.services.abnormal import mark_of, number, objects

# Summed over a day: a watch writes them down every few seconds.
_ADDED = re.compile(r"step-count|distance.*|active-energy|basal-energy|flights-climbed|exercise-time|stand-time")
_DATE = re.compile(r"([0-9]{4})(?:-([0-9]{2})(?:-([0-9]{2})(?:T([0-9:]{8})(?:\.([0-9]{1,6})[0-9]*)?Z)?)?)?")
_PSEUDONYM = re.compile(r"[0-9a-f]{32}")


@dataclass
class Fact:
    """A record, and who says so. mark: "H", "L", … where it is abnormal. conflicts: whether others say otherwise."""

    record: Record
    places: list[str]
    mark: str = ""
    conflicts: bool = False


@dataclass(frozen=True)
class Point:
    """A measured value at a moment."""

    time: str
    moment: datetime
    value: Decimal
    places: tuple[str, ...]
    mark: str = ""


@dataclass
class Trend:
    """One measure in one unit, by time. code: "SYSTEM|CODE", or the type where nothing has a code."""

    name: str
    code: str
    unit: str
    points: list[Point] = field(default_factory=list)


@dataclass
class Timeline:
    """All facts, by time, undated ones first, and the trends of what was measured, by name.

    subjects: how many pseudonyms each place has for whom it is about: several may be several persons.
    """

    facts: list[Fact]
    trends: list[Trend]
    subjects: Mapping[str, int]
    names: Mapping[str, str] = field(repr=False)

    def shared(self) -> int:
        """How many facts several places say."""
        return sum(len(fact.places) > 1 for fact in self.facts)

    def name(self, record: Record) -> str:
        """What people call what the record is about."""
        return next((self.names[c] for c in _codes(record) if c in self.names), record.type.replace("-", " "))


def records_in(folder: Path) -> Iterator[Record]:
    """The records that `hmchain records get --out` wrote. Raises UsageError where there are none, or others."""
    paths = sorted(path for path in folder.glob("*.json") if path.stem.isdecimal())
    if not paths:
        raise UsageError(f"{folder} holds no records; hmchain records get --out {folder} writes them")
    for path in paths:
        try:
            content = parse(read_file(path, "the record"))
            size = content.pop("attachment_bytes")
            attachment = _attachment(path.with_suffix(".bin")) if size else b""
            if len(attachment) != size:
                raise DataError("its attachment is not the one that was written")
            yield Record.decode(canonical(content) + b"\n" + attachment)
        except (ValueError, LookupError, TypeError, AttributeError, DataError) as fault:
            raise UsageError(f"{path} is no record as hmchain records get writes it: {fault}") from fault


def _attachment(path: Path) -> bytes:
    try:
        if path.stat().st_size > MAX_RECORD_BYTES:
            raise UsageError(f"{path} is larger than a record may be")
        return path.read_bytes()
    except OSError as fault:
        raise UsageError(f"{path} cannot be read: {fault.strerror}") from fault


def timeline(sources: Iterable[tuple[str, Iterable[Record]]]) -> Timeline:
    """The timeline of one person: records by the place that they come from. Raises what reading them raises."""
    facts: dict[bytes, list[Fact]] = {}
    seen: set[tuple[str, bytes]] = set()
    subjects: dict[str, set[str]] = {}
    names = {f"{c.system}|{c.code}": b.type.replace("-", " ") for b in BEHAVIOURS.values() for c in b.codes}
    names |= {f"{c.system}|{c.code}": "steps of a whole day" for c in DAILY_STEPS.codes}
    for place, records in sources:
        for record in records:
            subjects.setdefault(place, set()).update({record.subject} - {""})
            identity = place, record.identity()
            if identity not in seen:
                seen.add(identity)
                _merge(facts.setdefault(_same(record), []), place, record)
            names |= {code: name for code, name in _named(record) if name and code not in names}
    ordered = [fact for alike in facts.values() for fact in alike]
    ordered.sort(key=lambda fact: (fact.record.time, fact.record.type))
    _find_conflicts(ordered)
    return Timeline(ordered, _trends(ordered, names), {place: len(s) for place, s in subjects.items()}, names)


def _merge(alike: list[Fact], place: str, record: Record) -> None:
    """Adds a report of a fact. What one place says twice, of other pseudonyms, is two facts: two visits in one hour."""
    fact = next((fact for fact in alike if place not in fact.places), None)
    if fact is None:
        fact = Fact(replace(record, attachment=b""), [])
        alike.append(fact)
    fact.places.append(place)
    fact.mark = fact.mark or mark_of(record)


def _same(record: Record) -> bytes:
    """What facts share that are the same but for a hospital's pseudonyms."""
    return replace(record, subject="", value=_without_pseudonyms(record.value)).identity()


def _without_pseudonyms(content: Any) -> Any:
    if isinstance(content, Mapping):
        return {name: _without_pseudonyms(child) for name, child in content.items()}
    if isinstance(content, list):
        return [_without_pseudonyms(child) for child in content]
    return "" if isinstance(content, str) and _PSEUDONYM.fullmatch(content) else content


def _named(record: Record) -> Iterator[tuple[str, str]]:
    """What codes are called, for people."""
    plain = record.type.replace("-", " ") if record.kind is Kind.BEHAVIOUR else ""
    yield from ((f"{c.system}|{c.code}", c.display or plain or ("" if c.system else c.code)) for c in record.codes)
    for component in objects(record.detail.get("component")):
        concept = component.get("code")
        for coding in objects(concept.get("coding") if isinstance(concept, Mapping) else None):
            yield f"{coding.get('system', '')}|{coding.get('code', '')}", str(coding.get("display", ""))


def _codes(record: Record) -> list[str]:
    """The record's codes, LOINC's first: those a watch and a laboratory have in common."""
    codes = sorted(record.codes, key=lambda c: (c.system != "http://loinc.org", c))
    return [f"{c.system}|{c.code}" for c in codes]


# ---------------------------------------------------------------------- conflicts and trends


def _find_conflicts(facts: Iterable[Fact]) -> None:
    """Marks facts with different values for the same moment; for a whole day, several values are no conflict."""
    told: dict[tuple[Any, ...], list[Fact]] = {}
    for fact in facts:
        record, value = fact.record, fact.record.value
        if "T" in record.time and record.codes and (record.type == "observation" or "quantity" in value):
            key = record.time, *_codes(record), str(value.get("end")), str(value.get("statistic"))
            told.setdefault(key, []).append(fact)
    for several in told.values():
        first, *others = (_compared(_without_pseudonyms(fact.record.value)) for fact in several)
        differ = any(other != first for other in others)
        for fact in several:
            fact.conflicts = differ


def _compared(content: Any) -> Any:
    """A value with its quantities as numbers: 7.40 does not contradict 7.4."""
    quantity = _quantity(content)
    if quantity:
        return quantity
    if isinstance(content, Mapping):
        return {name: _compared(child) for name, child in content.items()}
    return [_compared(child) for child in content] if isinstance(content, list) else content


def _trends(facts: Iterable[Fact], names: Mapping[str, str]) -> list[Trend]:
    trends: dict[tuple[str, ...], Trend] = {}
    sums: dict[tuple[str, ...], dict[str, Point]] = {}
    for fact in facts:
        record, moment = fact.record, moment_of(fact.record.time)
        if moment is None:
            continue
        for code, part, amount, unit in _measures(record):
            added = bool(_ADDED.fullmatch(record.type)) and "T" in record.time
            how = f"a day, {record.source}" if added else str(record.value.get("statistic", ""))
            name = ", ".join(filter(None, (names.get(code) or code.rpartition("|")[2].replace("-", " "), part, how)))
            trend = trends.setdefault((code, part, how, unit), Trend(name, code, unit))
            if not added:
                trend.points.append(Point(record.time, moment, amount, tuple(fact.places), fact.mark))
                continue
            day = record.time[:10]
            days = sums.setdefault((code, part, how, unit), {})
            so_far = days[day].value if day in days else Decimal(0)
            start = moment.replace(hour=0, minute=0, second=0, microsecond=0)
            days[day] = Point(day, start, so_far + amount, tuple(fact.places))
    for key, days in sums.items():
        trends[key].points = list(days.values())
    return sorted(trends.values(), key=lambda trend: (trend.name, trend.unit))


def _measures(record: Record) -> Iterator[tuple[str, str, Decimal, str]]:
    """Code, part, number and unit of each quantity; a bound ("< 5") cannot be drawn, and is left out."""
    if record.type != "observation" and record.kind is not Kind.BEHAVIOUR:
        return
    code = next(iter(_codes(record)), record.type)
    for name, value in record.value.items():
        quantity = _quantity(value)
        if quantity and not (name == "quantity" and "comparator" in record.value):
            yield code, "" if name == "quantity" else name.replace("_", " "), *quantity
    for component in objects(record.value.get("components")):
        quantity, of = _quantity(component.get("quantity")), component.get("of")
        first = of[0] if isinstance(of, list) and of else None
        if quantity and isinstance(first, list) and "comparator" not in component:
            yield "|".join(map(str, first)), "", *quantity


def _quantity(value: Any) -> tuple[Decimal, str] | None:
    if not (isinstance(value, Mapping) and value.keys() == {"value", "unit"}):
        return None
    amount = number(value["value"])
    return None if amount is None else (amount, str(value["unit"]))


def moment_of(time: str) -> datetime | None:
    """The first moment of a record's time; None for one that has none."""
    match = _DATE.fullmatch(time)
    if match is None:
        return None
    year, month, day, clock, fraction = match.groups()
    text = f"{year}-{month or '01'}-{day or '01'}T{clock or '00:00:00'}.{(fraction or '').ljust(6, '0')}"
    try:
        return datetime.fromisoformat(text).replace(tzinfo=UTC)
    except ValueError:
        return None
