"""Processes that outlive the command that started them, remembered in a file by process id and start time."""

from __future__ import annotations

import json
import os
import subprocess
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

import psutil

from hmchain.errors import StorageError, UsageError
from hmchain.files import read_file, write_whole
from hmchain.jsontext import parse, whole

PATIENCE_SECONDS = 20.0  # for a process to end by itself
BOOT_ID = Path("/proc/sys/kernel/random/boot_id")  # Linux's name for the time since the machine was started


@dataclass(frozen=True)
class Started:
    """A process of ours: its process id and its start time, in seconds.

    They count from the start of the machine where that has a name, boot: counted from 1970, Linux tells them by a clock
    that may have been set since. Elsewhere boot is "", and they count from 1970.
    """

    pid: int
    began: float
    boot: str = ""

    @classmethod
    def now(cls, pid: int) -> Started:
        """The process that has this id now. Raises psutil.NoSuchProcess."""
        boot = _boot()
        return cls(pid, _began(psutil.Process(pid), boot), boot)

    def find(self) -> psutil.Process | None:
        """The process, if it still runs. A later process with the same id is told apart by its start time."""
        if self.boot and self.boot != _boot():
            return None
        try:
            process = psutil.Process(self.pid)
            same = abs(_began(process, self.boot) - self.began) < 1 and process.status() != psutil.STATUS_ZOMBIE
        except (psutil.NoSuchProcess, ValueError):
            return None
        return process if same else None

    def ended(self, seconds: float) -> bool:
        """Waits for the process to end, and reaps it where it is our child. False where it has not after `seconds`."""
        deadline = time.monotonic() + seconds
        while self.find() is not None:
            if time.monotonic() > deadline:
                return False
            time.sleep(0.02)
        with suppress(ChildProcessError):  # it was started by another command
            os.waitpid(self.pid, os.WNOHANG)
        return True


def _boot() -> str:
    try:
        return BOOT_ID.read_text().strip()
    except OSError:
        return ""


def _began(process: psutil.Process, boot: str) -> float:
    return float(process.create_time() - (psutil.boot_time() if boot else 0))


class Processes:
    """Named processes, and the file that remembers them. Raises UsageError for another file."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._started: dict[str, Started] = {}
        if file.exists():
            try:
                content = parse(read_file(file, "the list of processes"))
                self._started = {
                    name: Started(whole(p["pid"]), float(p["began"]), str(p.get("boot", "")))
                    for name, p in content.items()
                }
            except (ValueError, KeyError, TypeError, AttributeError) as fault:
                raise UsageError(f"{file} is not a list of processes") from fault

    def find(self, name: str) -> psutil.Process | None:
        """The process with this name, if it runs."""
        return self._started[name].find() if name in self._started else None

    def runs(self, name: str) -> bool:
        """Whether the process with this name runs."""
        return self.find(name) is not None

    def running(self) -> list[str]:
        """Names of those that run."""
        return [name for name in self._started if self.runs(name)]

    def start(self, name: str, command: Sequence[str], log: Path) -> None:
        """Starts a process, its output going to the end of `log`; one that runs already is left alone.

        Raises StorageError.
        """
        if self.runs(name):
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
            self._started[name] = Started.now(process.pid)
            self._save()
        except BaseException:  # an interrupt as well: a process that is recorded nowhere would never be stopped
            process.kill()
            process.wait()
            self._started.pop(name, None)
            raise
        process.returncode = 0  # it outlives us, and Popen would warn that nobody waited for it

    def stop(self, name: str, force: bool = False) -> None:
        """Ends a process (SIGTERM), and kills it where it has not ended after PATIENCE_SECONDS, or at once by force.

        Where that cannot be written down, the file keeps one that ended, which does no harm: disks are full, and others
        are to be stopped.
        """
        process = self.find(name)
        if process is not None:
            with suppress(psutil.NoSuchProcess):  # it may end by itself meanwhile
                (process.kill if force else process.terminate)()
                if not self._started[name].ended(PATIENCE_SECONDS):
                    process.kill()
                    self._started[name].ended(PATIENCE_SECONDS)
        self._started.pop(name, None)
        with suppress(StorageError):
            self._save()

    def stop_all(self) -> list[str]:
        """Ends all processes, the last started first. Returns the names of those that ran."""
        ran = self.running()
        for name in reversed(list(self._started)):
            self.stop(name)
        return ran

    def _save(self) -> None:
        content = {name: asdict(started) for name, started in self._started.items()}
        write_whole(self._file, json.dumps(content, indent=1).encode() + b"\n")


def tail_of(log: Path, lines: int = 3) -> str:
    """The last lines of a log, on one line; "" where it cannot be read."""
    try:
        with log.open("rb") as file:
            file.seek(max(0, os.fstat(file.fileno()).st_size - 4096))
            text = file.read().decode(errors="replace")
    except OSError:
        return ""
    return " | ".join(line.strip() for line in text.splitlines()[-lines:] if line.strip())
