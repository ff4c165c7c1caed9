"""Converts times as sources write them into the one form that records have (see hmchain.record).

A year, a month or a day stays what it is; whatever has an hour becomes RFC 3339 in UTC, with seconds, and with a
fraction only where that is not zero: 2014-10-06T06:27:00+07:00 is 2014-10-05T23:27:00Z. A leap second is the first
second after it. Faults never quote the text, which may be somebody's date of birth.

Source: ISO 8601-1:2019, RFC 3339, HL7 FHIR R4 (date, dateTime, instant), HL7 v2.8.2 chapter 2A (DTM).
"""

from __future__ import annotations

import re
from datetime import UTC, date, datetime, timedelta, timezone, tzinfo

MAX_CHARACTERS = 48
MAX_OFFSET = timedelta(hours=14)  # the Line Islands; FHIR allows no more

_PARTS = (("year", 1), ("month", 1), ("day", 1), ("hour", 0), ("minute", 0), ("second", 0))
_OFFSET = r"(?P<offset>[Zz]|[+-][0-9]{2}(?::?[0-9]{2})?)"
_FRACTION = r"[.,](?P<fraction>[0-9]{1,9})"
_EXTENDED = re.compile(
    r"(?P<year>[0-9]{4})(?:-(?P<month>[0-9]{2})(?:-(?P<day>[0-9]{2})(?:[Tt ](?P<hour>[0-9]{2})(?::(?P<minute>[0-9]{2})"
    rf"(?::(?P<second>[0-9]{{2}})(?:{_FRACTION})?)?)?(?: ?{_OFFSET})?)?)?)?"
)
_BASIC = re.compile(
    r"(?P<year>[0-9]{4})(?P<month>[0-9]{2})(?P<day>[0-9]{2})(?:[Tt](?P<hour>[0-9]{2})(?:(?P<minute>[0-9]{2})"
    rf"(?:(?P<second>[0-9]{{2}})(?:{_FRACTION})?)?)?{_OFFSET}?)?"
)
_HL7 = re.compile(
    r"(?P<year>[0-9]{4})(?:(?P<month>[0-9]{2})(?:(?P<day>[0-9]{2})(?:(?P<hour>[0-9]{2})(?:(?P<minute>[0-9]{2})"
    rf"(?:(?P<second>[0-9]{{2}})(?:{_FRACTION})?)?)?)?)?)?(?P<offset>[+-][0-9]{{4}})?"
)


def parse(text: str, zone: tzinfo) -> str:
    """A record's time for an ISO 8601 date or time, or a part of a date (2016, 2016-12).

    A time without an offset is one in zone. Raises ValueError for what is no time, or one that the calendar lacks.
    """
    text = text.strip() if len(text) <= MAX_CHARACTERS else ""
    return _canonical(_EXTENDED.fullmatch(text) or _BASIC.fullmatch(text), zone)


def hl7(text: str, zone: tzinfo) -> str:
    """A record's time for an HL7 v2 TS or DTM: YYYY[MM[DD[HH[MM[SS[.S[S[S[S]]]]]]]]][+/-ZZZZ].

    A time without an offset is one in zone; the offset of a date says nothing about it and is left out. Raises
    ValueError for what is no time, or one that the calendar lacks.
    """
    return _canonical(_HL7.fullmatch(text.strip() if len(text) <= MAX_CHARACTERS else ""), zone)


def of_datetime(moment: datetime) -> str:
    """A record's time for a moment. Raises ValueError for one without a zone, or outside of the years 1 to 9999."""
    if moment.utcoffset() is None:
        raise ValueError("a time without a zone")
    try:
        text = moment.astimezone(UTC).replace(tzinfo=None).isoformat()
    except OverflowError as fault:
        raise ValueError("no time of the years 1 to 9999") from fault
    return f"{text.rstrip('0').rstrip('.') if '.' in text else text}Z"


def _canonical(match: re.Match[str] | None, zone: tzinfo) -> str:
    if match is None:
        raise ValueError("not written as a time")
    part = match.groupdict()
    year, month, day, hour, minute, second = (int(part[name] or low) for name, low in _PARTS)
    leap = timedelta(seconds=second == 60)
    try:
        if part["hour"] is None:
            date(year, month, day)  # raises for a month 13, a 30th of February, a year 0
            return "-".join(part[name] for name in ("year", "month", "day") if part[name])
        moment = datetime(year, month, day, hour, minute, second - leap.seconds, tzinfo=_offset(part["offset"], zone))
        whole = of_datetime(moment.astimezone(UTC) + leap)
    except (ValueError, OverflowError) as fault:
        raise ValueError("no time that the calendar has") from fault
    # by hand: a datetime has no more than microseconds, and no offset of ours moves a fraction
    fraction = (part["fraction"] or "").rstrip("0")
    return f"{whole[:-1]}.{fraction}Z" if fraction else whole


def _offset(text: str | None, zone: tzinfo) -> tzinfo:
    if text is None:
        return zone
    if text in "Zz":
        return UTC
    digits = text[1:].replace(":", "").ljust(4, "0")
    offset = timedelta(hours=int(digits[:2]), minutes=int(digits[2:]))
    if offset > MAX_OFFSET or int(digits[2:]) > 59:
        raise ValueError("no offset of any zone")
    return timezone(-offset if text[0] == "-" else offset)
