"""The verify button: runs the real command in a process of its own, and keeps its output."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hmchain.jsontext import parse

COMMAND = (sys.executable, "-m", "coordinator")
IDLE, RUNNING, VALID, INVALID, FAILED = "idle", "running", "valid", "invalid", "failed"


@dataclass(frozen=True)
class Outcome:
    """Where a verification stands: one of the states above, what it said, and how long it took, in seconds; notes say
    what is not proved.
    """

    state: str
    text: str = ""
    seconds: float = 0.0
    notes: tuple[str, ...] = ()


class Verification:
    """Verifies one run, never twice at a time."""

    def __init__(self, folder: Path, data_root: Path | None = None) -> None:
        self._command = [*COMMAND, "verify", str(folder), "--json"]
        if data_root is not None:
            self._command += ["--data-root", str(data_root)]
        self._lock = threading.Lock()
        self._process: subprocess.Popen[str] | None = None
        self.outcome = Outcome(IDLE)

    def start(self) -> None:
        """Begins, unless it is under way already."""
        with self._lock:
            if self.outcome.state == RUNNING:
                return
            try:
                self._process = subprocess.Popen(
                    self._command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, stdin=subprocess.DEVNULL, text=True
                )
            except OSError as fault:
                self.outcome = Outcome(FAILED, f"cannot start it: {fault.strerror}")
                return
            self.outcome = Outcome(RUNNING)
        threading.Thread(target=self._wait, args=(self._process,), daemon=True).start()

    def close(self) -> None:
        """Ends what is under way."""
        with self._lock:
            if self._process is not None and self._process.poll() is None:
                self._process.kill()

    def _wait(self, process: subprocess.Popen[str]) -> None:
        started = time.monotonic()
        out, err = process.communicate()
        self.outcome = _told(process.returncode, out, err, round(time.monotonic() - started, 1))


def _told(code: int, out: str, err: str, seconds: float) -> Outcome:
    try:
        verdict: dict[str, Any] = parse(out)
        if verdict["valid"]:
            text = f"{verdict['models']} models and {verdict['updates']} updates checked; {verdict['model_digest']}"
            return Outcome(VALID, text, seconds, tuple(verdict["notes"]))
        where = [f"{name} {verdict[name]}" for name in ("round", "member") if verdict[name] is not None]
        return Outcome(INVALID, ": ".join([*where, verdict["reason"]]), seconds)
    except (ValueError, LookupError, TypeError):
        said = err.strip().splitlines()
        return Outcome(FAILED, said[-1] if said else f"it ended with {code} and said nothing", seconds)
