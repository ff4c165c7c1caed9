"""Processes that outlive the command which started them, remembered in a file by number and by when they began."""

from __future__ import annotations

import json
import os
import subprocess
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import psutil

from hmchain.errors import StorageError, UsageError
from hmchain.files import read_file, write_whole
from hmchain.jsontext import parse

PATIENCE_SECONDS = 20.0  # for a process to end by itself


@dataclass(frozen=True)
class Started:
    """A process of ours: its number and the moment it began, as the system tells it."""

    pid: int
    began: float

    def find(self) -> psutil.Process | None:
        """The process, if it still runs; another one that was given its number later is not it."""
        try:
            process = psutil.Process(self.pid)
            same = abs(process.create_time() - self.began) < 1 and process.status() != psutil.STATUS_ZOMBIE
        except (psutil.NoSuchProcess, ValueError):
            return None
        return process if same else None

    def ended(self, seconds: float) -> bool:
        """Waits for its end. One that has ended and that nobody has collected yet has ended, whatever psutil says."""
        deadline = time.monotonic() + seconds
        while self.find() is not None:
            if time.monotonic() > deadline:
                return False
            time.sleep(0.02)
        with suppress(ChildProcessError):  # it was started by another command
            os.waitpid(self.pid, os.WNOHANG)
        return True


class Processes:
    """Named processes and the file that remembers them."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._started: dict[str, Started] = {}
        if file.exists():
            try:
                content = parse(read_file(file, "the list of processes"))
                self._started = {name: Started(int(p["pid"]), float(p["began"])) for name, p in content.items()}
            except (ValueError, KeyError, TypeError, AttributeError) as fault:
                raise UsageError(f"{file} is not a list of processes") from fault

    def find(self, name: str) -> psutil.Process | None:
        """A process of ours, if it runs."""
        return self._started[name].find() if name in self._started else None

    def running(self) -> list[str]:
        """Names of those that run."""
        return [name for name, process in self._started.items() if process.find()]

    def start(self, name: str, command: Sequence[str], log: Path) -> None:
        """Starts a process, its output going to the end of `log`; one that runs already is left alone.

        Raises StorageError.
        """
        if name in self.running():
            return
        try:
            with log.open("ab") as output:
                process = subprocess.Popen(
                    list(command),
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=subprocess.STDOUT,
                    start_new_session=True,
                )
        except OSError as fault:
            raise StorageError(f"cannot start {command[0]}: {fault.strerror}") from fault
        try:
            self._started[name] = Started(process.pid, psutil.Process(process.pid).create_time())
            self._save()
        except BaseException:  # an interrupt as well: nobody would ever stop what is written down nowhere
            process.kill()
            process.wait()
            self._started.pop(name, None)
            raise
        process.returncode = 0  # it outlives us: Popen need not complain that nobody waited for it

    def stop(self, name: str, force: bool = False) -> None:
        """Ends a process, by force where it does not end by itself."""
        process = self.find(name)
        if process is not None:
            with suppress(psutil.NoSuchProcess):  # it may end by itself meanwhile
                (process.kill if force else process.terminate)()
                if not self._started[name].ended(PATIENCE_SECONDS):
                    process.kill()
                    self._started[name].ended(PATIENCE_SECONDS)
        self._started.pop(name, None)
        self._save()

    def stop_all(self) -> list[str]:
        """Ends all of them, the last started first. Returns the names of those that ran."""
        ran = self.running()
        for name in reversed(list(self._started)):
            self.stop(name)
        return ran

    def _save(self) -> None:
        content = {name: {"pid": p.pid, "began": p.began} for name, p in self._started.items()}
        write_whole(self._file, json.dumps(content, indent=1).encode() + b"\n")


def tail_of(log: Path, lines: int = 3) -> str:
    """The end of a log, on one line."""
    try:
        with log.open("rb") as file:
            file.seek(max(0, os.fstat(file.fileno()).st_size - 4096))
            text = file.read().decode(errors="replace")
    except OSError:
        return ""
    return " | ".join(line.strip() for line in text.splitlines()[-lines:] if line.strip())
