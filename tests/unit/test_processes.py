"""Processes that outlive the command which started them: real ones, found again by number and by when they began."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from coordinator import processes as module
from coordinator.processes import Processes, Started, tail_of
from hmchain.errors import StorageError, UsageError

SLEEP = ["sleep", "60"]
STUBBORN = [
    sys.executable,
    "-c",
    "import signal, time; signal.signal(15, signal.SIG_IGN); print('up', flush=True); time.sleep(60)",
]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "processes.json"


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / "log"


@pytest.fixture
def ours(file: Path) -> Iterator[Processes]:
    """A list of processes that all end with the test."""
    ours = Processes(file)
    yield ours
    for name in ours.running():
        ours.stop(name, force=True)


def until(true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 10
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def pid_of(file: Path, name: str) -> int:
    return int(json.loads(file.read_text())[name]["pid"])


# ---------------------------------------------------------------- starting


def test_a_process_runs_until_it_is_stopped(ours: Processes, file: Path, log: Path) -> None:
    assert ours.running() == []
    ours.start("one", SLEEP, log)
    ours.start("two", SLEEP, log)
    assert ours.running() == ["one", "two"]
    found = ours.find("one")
    assert found is not None
    assert found.pid == pid_of(file, "one")
    ours.stop("one")
    assert ours.running() == ["two"]
    assert ours.find("one") is None
    assert not found.is_running()


def test_another_command_finds_it_again(ours: Processes, file: Path, log: Path) -> None:
    ours.start("one", SLEEP, log)
    later = Processes(file)
    assert later.running() == ["one"]
    assert later.stop_all() == ["one"]
    assert Processes(file).running() == ours.running() == []


def test_what_runs_is_not_started_twice(ours: Processes, file: Path, log: Path) -> None:
    ours.start("one", SLEEP, log)
    first = pid_of(file, "one")
    ours.start("one", SLEEP, log)
    Processes(file).start("one", SLEEP, log)
    assert pid_of(file, "one") == first


def test_what_ended_by_itself_is_started_again(ours: Processes, file: Path, log: Path) -> None:
    ours.start("one", ["true"], log)
    first = pid_of(file, "one")
    until(lambda: ours.running() == [])
    ours.start("one", SLEEP, log)
    assert pid_of(file, "one") != first
    assert ours.running() == ["one"]


def test_it_outlives_the_command_that_started_it(file: Path, log: Path) -> None:
    program = """
        import sys
        from pathlib import Path
        from coordinator.processes import Processes
        Processes(Path(sys.argv[1])).start("one", ["sleep", "60"], Path(sys.argv[2]))
    """
    command = [sys.executable, "-W", "error", "-c", textwrap.dedent(program), str(file), str(log)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("", "")
    later = Processes(file)
    assert later.running() == ["one"]
    started = later.find("one")
    assert started is not None
    assert os.getsid(started.pid) == started.pid, "an interrupt at the terminal does not reach it"
    later.stop("one", force=True)


def test_its_output_goes_to_the_end_of_its_log(ours: Processes, log: Path) -> None:
    log.write_text("before\n")
    for name, command in (("one", "echo out; echo err >&2"), ("two", "echo again; cat")):
        ours.start(name, ["sh", "-c", command], log)
        until(lambda: ours.running() == [])
    assert log.read_text() == "before\nout\nerr\nagain\n"


def test_what_cannot_be_written_down_does_not_run(ours: Processes, file: Path, log: Path) -> None:
    file.mkdir()
    before = set(psutil.Process().children())  # of other tests in this process
    with pytest.raises(StorageError):
        ours.start("one", SLEEP, log)
    assert all(child.status() == psutil.STATUS_ZOMBIE for child in set(psutil.Process().children()) - before)


def test_a_program_that_is_not_there_or_a_log_that_cannot_be_is_one_line(ours: Processes, log: Path) -> None:
    with pytest.raises(StorageError, match=r"^cannot start no-such-program: No such file or directory$"):
        ours.start("one", ["no-such-program"], log)
    with pytest.raises(StorageError, match=r"^cannot start sleep: Not a directory$"):
        ours.start("one", SLEEP, log / "below")
    assert ours.running() == []


# ---------------------------------------------------------------- stopping


def test_what_does_not_end_by_itself_is_made_to(ours: Processes, log: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PATIENCE_SECONDS", 0.1)
    ours.start("one", STUBBORN, log)
    process = ours.find("one")
    assert process is not None
    until(lambda: log.read_text() == "up\n")
    ours.stop("one")
    assert not process.is_running()


def test_by_force_it_is_not_asked_first(ours: Processes, log: Path) -> None:
    command = "trap 'echo asked' TERM; echo up; while :; do sleep 0.05; done"
    ours.start("one", ["sh", "-c", command], log)
    until(lambda: log.read_text() == "up\n")
    ours.stop("one", force=True)
    assert (ours.running(), log.read_text()) == ([], "up\n")


def test_asked_it_can_tidy_up(ours: Processes, log: Path) -> None:
    command = "trap 'echo asked; exit' TERM; echo up; while :; do sleep 0.05; done"
    ours.start("one", ["sh", "-c", command], log)
    until(lambda: log.read_text() == "up\n")
    ours.stop("one")
    assert log.read_text() == "up\nasked\n"


def test_all_are_stopped_the_last_started_first(ours: Processes, file: Path, log: Path, tmp_path: Path) -> None:
    for name in ("one", "two", "three"):
        command = f"trap 'echo {name}; exit' TERM; echo up > {tmp_path / name}; while :; do sleep 0.05; done"
        ours.start(name, ["sh", "-c", command], log)
        until(lambda name=name: (tmp_path / name).exists())
    assert ours.stop_all() == ["one", "two", "three"]
    assert log.read_text().split() == ["three", "two", "one"]
    assert json.loads(file.read_text()) == {}
    assert ours.stop_all() == []


def test_all_are_stopped_where_nothing_can_be_written_down(
    ours: Processes, file: Path, log: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise StorageError("cannot write: No space left on device")

    for name in ("one", "two"):
        ours.start(name, SLEEP, log)
    monkeypatch.setattr(module, "write_whole", full)
    assert ours.stop_all() == ["one", "two"]
    assert json.loads(file.read_text()).keys() == {"one", "two"}
    assert Processes(file).running() == []


def test_stopping_what_does_not_run_is_harmless(ours: Processes, file: Path, log: Path) -> None:
    ours.stop("nothing")
    ours.start("one", ["true"], log)
    until(lambda: ours.running() == [])
    ours.stop("one")
    assert json.loads(file.read_text()) == {}


# ---------------------------------------------------------------- whose it is


def test_another_process_with_the_recorded_number_is_not_ours(file: Path) -> None:
    """Numbers are given again, after a restart of the machine for one."""
    with subprocess.Popen(SLEEP) as stranger:
        try:
            began = psutil.Process(stranger.pid).create_time()
            file.write_text(json.dumps({"one": {"pid": stranger.pid, "began": began - 100}}))
            found = Processes(file)
            assert found.running() == []
            found.stop("one", force=True)
            assert stranger.poll() is None, "it was left alone"
            assert Started(stranger.pid, began).find() is not None
        finally:
            stranger.kill()


@pytest.mark.skipif(not psutil.LINUX, reason="elsewhere it is told as it was when the process began")
def test_a_clock_that_is_set_makes_no_stranger_of_it(
    ours: Processes, file: Path, log: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By NTP, or when a halted machine goes on. Linux tells when a process began by adding to when the machine did."""
    ours.start("one", SLEEP, log)
    pid = pid_of(file, "one")
    began = psutil.Process(pid).create_time()
    procfs = file.with_name("proc")
    procfs.mkdir()
    (procfs / str(pid)).symlink_to(f"/proc/{pid}")
    (procfs / "stat").write_text(f"btime {psutil.boot_time() + 3600:.0f}\n")
    monkeypatch.setattr(psutil, "PROCFS_PATH", str(procfs))
    assert psutil.Process(pid).create_time() == began + 3600
    assert Processes(file).running() == ["one"]


@pytest.mark.skipif(not psutil.LINUX, reason="elsewhere it has no name")
def test_a_restart_of_the_machine_ends_all(ours: Processes, file: Path, log: Path) -> None:
    """Also where another process has the number, and began as long after the start."""
    ours.start("one", SLEEP, log)
    content = json.loads(file.read_text())
    file.write_text(json.dumps({"one": content["one"] | {"boot": "another"}}))
    assert Processes(file).running() == []
    assert ours.running() == ["one"]


def test_a_process_that_ended_but_was_not_waited_for_does_not_run(log: Path) -> None:
    child = subprocess.Popen(SLEEP)
    started = Started(child.pid, psutil.Process(child.pid).create_time())
    assert started.find() is not None
    child.send_signal(signal.SIGKILL)
    until(lambda: psutil.Process(child.pid).status() == psutil.STATUS_ZOMBIE)
    assert started.find() is None
    child.wait()
    assert started.find() is None


@pytest.mark.parametrize(
    "content",
    [
        "",
        "{",
        "[]",
        "7",
        '{"a": 1}',
        '{"a": {"pid": 1}}',
        '{"a": {"pid": "x", "began": 1}}',
        '{"a": {"pid": 1e999, "began": 1}}',
        '{"a": {"pid": 1, "began": null}}',
    ],
)
def test_a_file_that_is_no_list_of_processes_is_refused(content: str, file: Path) -> None:
    file.write_text(content)
    with pytest.raises(UsageError, match=r"processes\.json is not a list of processes"):
        Processes(file)


# ---------------------------------------------------------------- what it said last


def test_the_end_of_a_log_is_one_line(log: Path) -> None:
    log.write_text("first\n" + "x" * 9000 + "\nsecond\n\n  third\n")
    assert tail_of(log) == "second | third"
    assert tail_of(log, 1) == "third"
    log.write_bytes(b"\xff\xfe\n")
    assert "\n" not in tail_of(log)


def test_a_log_that_is_empty_or_not_there_says_nothing(log: Path) -> None:
    assert tail_of(log) == ""
    log.write_text("")
    assert tail_of(log) == ""
