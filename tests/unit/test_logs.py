"""A node's log: one event a line, whatever others wrote into its facts."""

from __future__ import annotations

import io
import json
import logging
import re
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trainers.logs import say, set_up, warn

LINE = re.compile(r"^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d (info   |warning|error  ) .+$")
FORGED = "x\n2026-11-24 12:00:00 info    job closed  job=1"


def logged(form: str, event: str, level: int = logging.INFO, **facts: Any) -> str:
    stream = io.StringIO()
    set_up("debug", form, stream)
    say(event, level, **facts)
    return stream.getvalue()


# ---------------------------------------------------------------- text


def test_a_line_has_time_level_event_and_facts() -> None:
    line = logged("text", "job opened", job=1, dataset="pneumoniamnist", rounds=10)
    assert re.fullmatch(
        r"[\d-]{10} \d\d:\d\d:\d\d info    job opened  job=1  dataset=pneumoniamnist  rounds=10\n", line
    )


def test_a_fact_of_several_words_is_quoted() -> None:
    assert logged("text", "refused", reason="not  our\tjob").endswith("refused  reason='not our job'\n")


@pytest.mark.parametrize(
    "value",
    [FORGED, "a\r\nb", "a\x85b", "a\u2028b", "a\x1cb", "\x1b[2J", "a\0b", "\x9b31m", "\x7f", "\u202egnp"],
    ids=repr,
)
def test_line_breaks_and_control_characters_in_a_fact_forge_nothing(value: str) -> None:
    line = logged("text", "refused", reason=value)
    assert line.endswith("\n")
    assert line[:-1].isprintable()
    assert LINE.fullmatch(line[:-1])


@given(st.text() | st.lists(st.text()) | st.dictionaries(st.text(), st.text()) | st.binary())
def test_any_fact_stays_on_its_line(value: object) -> None:
    line = logged("text", "event", fact=value)
    assert line.count("\n") == 1
    assert line[:-1].isprintable()


# ---------------------------------------------------------------- JSON


def test_a_json_line_is_one_object_with_a_moment() -> None:
    line = logged("json", "job opened", job=1, silent={"update": [3]}, model=None)
    content = json.loads(line)
    moment = datetime.fromisoformat(content.pop("time"))
    assert abs(datetime.now(UTC) - moment) < timedelta(minutes=1)
    assert content == {"level": "info", "event": "job opened", "job": 1, "silent": {"update": [3]}, "model": None}


@given(st.text() | st.lists(st.text()) | st.dictionaries(st.text(), st.text()))
def test_any_text_in_a_fact_stays_in_its_json_line(value: object) -> None:
    line = logged("json", "event", fact=value)
    assert line.count("\n") == 1
    assert line[:-1].isprintable()
    assert json.loads(line)["fact"] == value


# ---------------------------------------------------------------- levels


def test_what_somebody_should_look_at_is_a_warning() -> None:
    stream = io.StringIO()
    set_up("info", "json", stream)
    warn("will try again", reason="x")
    assert json.loads(stream.getvalue())["level"] == "warning"


@pytest.mark.parametrize(("level", "lines"), [("debug", 4), ("info", 3), ("warning", 2), ("error", 1)])
def test_what_is_below_the_level_is_not_said(level: str, lines: int) -> None:
    stream = io.StringIO()
    set_up(level, "text", stream)
    for number in (logging.DEBUG, logging.INFO, logging.WARNING, logging.ERROR):
        say("event", number)
    assert stream.getvalue().count("\n") == lines


def test_a_log_goes_to_standard_error_once(capsys: pytest.CaptureFixture[str]) -> None:
    for _ in range(3):
        set_up("info", "text")
    say("event")
    assert capsys.readouterr().out == ""
    set_up("info", "text")
    say("event")
    said = capsys.readouterr()
    assert (said.out, said.err.count("event")) == ("", 1)


def test_other_packages_say_nothing_in_it() -> None:
    stream = io.StringIO()
    set_up("debug", "text", stream)
    logging.getLogger("web3").error("a stranger's message")
    logging.getLogger().error("another's")
    assert stream.getvalue() == ""
