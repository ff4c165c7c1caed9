"""Times of sources: one text for each moment, and ValueError, nothing else, for what is none."""

from contextlib import suppress
from datetime import UTC, datetime, timedelta, timezone
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trainers.importers.measures import times

ZONES = st.integers(-14 * 60, 14 * 60).map(lambda minutes: timezone(timedelta(minutes=minutes)))
MOMENTS = st.datetimes(datetime(2, 1, 1), datetime(9998, 12, 31), timezones=ZONES)


@pytest.mark.parametrize(
    ("text", "time"),
    [
        ("2016", "2016"),
        ("2016-12", "2016-12"),
        ("2016-12-14", "2016-12-14"),
        ("20161214", "2016-12-14"),
        ("2016-12-14T13:55:57+00:00", "2016-12-14T13:55:57Z"),
        ("2016-12-14T13:55:57.715Z", "2016-12-14T13:55:57.715Z"),
        ("2016-12-14T13:55:57.7150000Z", "2016-12-14T13:55:57.715Z"),
        ("2016-12-14T13:55:57.000Z", "2016-12-14T13:55:57Z"),
        ("2016-12-14T13:55:57.123456789-05:00", "2016-12-14T18:55:57.123456789Z"),
        ("2016-12-14t13:55z", "2016-12-14T13:55:00Z"),
        ("2016-12-14T13+01", "2016-12-14T12:00:00Z"),
        ("2014-09-13 11:23:54 +0100", "2014-09-13T10:23:54Z"),
        ("20161214T135557,5Z", "2016-12-14T13:55:57.5Z"),
        ("2016-12-31T23:59:60Z", "2017-01-01T00:00:00Z"),
        (" 2000-01-01T00:30:00+14:00 ", "1999-12-31T10:30:00Z"),
    ],
)
def test_iso_8601_becomes_a_records_time(text: str, time: str) -> None:
    assert times.parse(text, UTC) == time


@pytest.mark.parametrize(
    ("text", "time"),
    [
        ("2007", "2007"),
        ("200705", "2007-05"),
        ("20070526", "2007-05-26"),
        ("20070526+0700", "2007-05-26"),
        ("2007052608", "2007-05-26T08:00:00Z"),
        ("200808151030-0700", "2008-08-15T17:30:00Z"),
        ("20141006062700+0700", "2014-10-05T23:27:00Z"),
        ("20210817151943.4+0200", "2021-08-17T13:19:43.4Z"),
    ],
)
def test_hl7_times_become_a_records_time(text: str, time: str) -> None:
    assert times.hl7(text, UTC) == time


def test_a_time_without_offset_is_one_in_the_zone() -> None:
    zone = ZoneInfo("Europe/Berlin")
    assert times.parse("2016-07-01T12:00:00", zone) == times.hl7("20160701120000", zone) == "2016-07-01T10:00:00Z"
    assert times.parse("2016-01-01T12:00:00", zone) == "2016-01-01T11:00:00Z"
    assert times.parse("2016-01-01T12:00:00Z", zone) == "2016-01-01T12:00:00Z"


@pytest.mark.parametrize(
    "text",
    [
        *(
            "",
            "yesterday",
            "2016-13",
            "2016-00-01",
            "2015-02-29",
            "0000",
            "0000-01-01",
            "16-12-14",
            "2016-1-1",
            "201612",
        ),
        *("2016-12-14T24:00:00Z", "2016-12-14T13:60:00Z", "2016-12-14T13:55:61Z", "2016-12-14T", "2016-12-14Z"),
        *(
            "2016-12-14T13:55:57+15:00",
            "2016-12-14T13:55:57+05:99",
            "2016-12-14T13:55:57.Z",
            "2016-12-14T13:55:57.1234567890",
        ),
        *(
            "0001-01-01T00:00:00+01:00",
            "9999-12-31T23:59:59-01:00",
            "9999-12-31T23:59:60Z",
            "2016-12-14T13:55:57Z\n2016",
        ),
        *("٢٠١٦", "2016" * 10_000, "-2016", "+12016-01-01", "1481723757", "2016-12-14T13:55:57[Europe/Paris]"),
    ],
)
def test_what_is_no_time_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"not written as a time|no time that the calendar has"):
        times.parse(text, UTC)


@pytest.mark.parametrize(
    "text", ["", "20141", "20141306", "00000000", "20141006250000", "2014-10-06", "20141006T0627", '""']
)
def test_what_is_no_hl7_time_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"not written as a time|no time that the calendar has"):
        times.hl7(text, UTC)


def test_faults_quote_nothing_of_the_text() -> None:
    with pytest.raises(ValueError, match=r"calendar") as fault:
        times.parse("1941-10-32", UTC)
    assert "1941" not in str(fault.value)


def test_a_moment_without_a_zone_is_no_time() -> None:
    with pytest.raises(ValueError, match="without a zone"):
        times.of_datetime(datetime(2016, 12, 14))
    with pytest.raises(ValueError, match="1 to 9999"):
        times.of_datetime(datetime(1, 1, 1, tzinfo=timezone(timedelta(hours=1))))


@given(MOMENTS)
def test_every_spelling_of_a_moment_gives_the_same_text(moment: datetime) -> None:
    time = times.of_datetime(moment)
    assert times.parse(moment.isoformat(), UTC) == times.parse(moment.isoformat(" "), UTC) == time
    assert times.hl7(f"{moment:%Y%m%d%H%M%S.%f%z}".rjust(26, "0"), UTC) == time
    assert datetime.fromisoformat(time) == moment


@given(MOMENTS)
def test_a_records_time_is_its_own_canonical_form(moment: datetime) -> None:
    time = times.of_datetime(moment)
    assert times.parse(time, ZoneInfo("Asia/Tokyo")) == time


@given(st.text(max_size=60) | st.from_regex(r"[0-9:TZ+. -]{4,35}", fullmatch=True))
def test_nothing_else_than_value_error_is_raised(text: str) -> None:
    for read in (times.parse, times.hl7):
        with suppress(ValueError):
            assert read(text, UTC)
