"""A node's log: readable lines, or one JSON object a line. Every fact is a named field of a call.

No call has a key, password, weight or patient's data as a field, and messages of other packages are not shown.
"""

from __future__ import annotations

import json
import logging
import sys
import traceback
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TextIO

LOGGER = logging.getLogger("hmchain.node")


def set_up(level: str, form: str, stream: TextIO | None = None) -> None:
    """Sends the node's log to `stream` (standard error by default); `form` is "text" or "json"."""
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.setFormatter(_Json() if form == "json" else _Text())
    LOGGER.handlers[:] = [handler]
    LOGGER.setLevel(level.upper())
    LOGGER.propagate = False
    logging.getLogger().addHandler(logging.NullHandler())  # without any, Python shows others' warnings on its own


def say(event: str, level: int = logging.INFO, **facts: Any) -> None:
    """Logs an event with its facts."""
    LOGGER.log(level, event, extra={"facts": facts})


def warn(event: str, **facts: Any) -> None:
    """Logs an event that somebody should look at."""
    say(event, logging.WARNING, **facts)


def defect(fault: Exception, **facts: Any) -> None:
    """Logs a defect of ours: its type and where it was raised, but no message and no values."""
    where = [f"{Path(f.filename).name}:{f.lineno}" for f in traceback.extract_tb(fault.__traceback__)]
    say("defect", logging.ERROR, **facts, kind=type(fault).__name__, where=" ".join(where[-6:]))


class _Json(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        moment = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
        facts: dict[str, Any] = getattr(record, "facts", {})
        return json.dumps({"time": moment, "level": record.levelname.lower(), "event": record.getMessage(), **facts})


class _Text(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        moment = datetime.fromtimestamp(record.created).astimezone()
        facts: dict[str, Any] = getattr(record, "facts", {})
        tail = "".join(f"  {name}={_shown(value)}" for name, value in facts.items())
        return f"{moment:%Y-%m-%d %H:%M:%S} {record.levelname.lower():7} {record.getMessage()}{tail}"


def _shown(value: Any) -> str:
    """On one line, whatever it is."""
    text = " ".join(str(value).split())
    return repr(text) if " " in text or not text.isprintable() else text
