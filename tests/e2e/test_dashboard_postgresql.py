"""The dashboard's index in a real PostgreSQL, started for the test."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from sqlalchemy import Engine, text

from bench.emitter import Emitter, history, node
from coordinator.dashboard import postgresql
from coordinator.dashboard.indexer import Indexer
from coordinator.dashboard.reading import Reading
from coordinator.dashboard.source import live, recorded
from coordinator.dashboard.store import METADATA, begin, cursor_of, open_database
from hmchain.errors import StorageError
from tests.e2e.board import fresh, rows, settled
from tests.e2e.conftest import FinishedRun
from tools.board import dashboard


def program(name: str) -> str | None:
    """Debian keeps PostgreSQL's programs off the PATH."""
    found = [shutil.which(name), *map(str, sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{name}"), reverse=True))]
    return next(filter(None, found), None)


INITDB, PG_CTL = program("initdb"), program("pg_ctl")
pytestmark = pytest.mark.skipif(not (INITDB and PG_CTL), reason="this machine has no PostgreSQL")


def run_as_owner(folder: Path, *command: str) -> None:
    """PostgreSQL refuses to run as root, for whom its own user stands in."""
    user: dict[str, str] = {}
    if os.geteuid() == 0:
        shutil.chown(folder, "postgres", pwd.getpwnam("postgres").pw_gid)
        user = {"user": "postgres"}
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False, timeout=120, **user)  # type: ignore[call-overload]
    assert done.returncode == 0, done.stderr


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    """A cluster that listens on a socket alone. Yields its folder."""
    assert INITDB
    assert PG_CTL
    with tempfile.TemporaryDirectory(prefix="hmchain-pg-") as name:
        folder = Path(name)
        run_as_owner(folder, INITDB, "-D", f"{folder}/data", "-U", "hmchain", "-A", "trust", "--no-sync")
        options = f"-k {folder} -c listen_addresses='' -c fsync=off"
        run_as_owner(folder, PG_CTL, "-D", f"{folder}/data", "-l", f"{folder}/log", "-w", "-o", options, "start")
        yield name
        run_as_owner(folder, PG_CTL, "-D", f"{folder}/data", "-m", "immediate", "-w", "stop")


@pytest.fixture
def url(server: str) -> str:
    """The URL of its database."""
    return f"postgresql+psycopg://hmchain@/postgres?host={server}"


def test_it_holds_the_same_rows_as_sqlite(url: str, finished: FinishedRun, tmp_path: Path) -> None:
    source, engine = recorded(finished.folder), open_database(url, rebuild=True)
    settled(source, engine)
    assert rows(engine) == fresh(source, tmp_path / "sqlite")
    engine.dispose()


def test_the_command_keeps_its_index_there(url: str, finished: FinishedRun) -> None:
    with dashboard("--run", finished.folder, "--db", url, "--rebuild"):
        pass
    engine = open_database(url)
    with Reading(engine).view() as view:
        assert len(view.history.jobs) == 1
    engine.dispose()


def test_several_that_begin_at_once_make_its_tables_once(url: str) -> None:
    emptied = open_database(url)
    METADATA.drop_all(emptied)
    emptied.dispose()
    with ThreadPoolExecutor(8) as threads:
        for engine in threads.map(open_database, [url] * 8):
            engine.dispose()


def waiting(engine: Engine) -> int:
    """Returns once somebody waits for a lock in this database: for how many."""
    for _ in range(600):
        with engine.connect() as connection:
            if count := connection.execute(text("SELECT count(*) FROM pg_locks WHERE NOT granted")).scalar():
                return int(count)
        time.sleep(0.05)
    raise AssertionError("nobody waits")


def test_two_that_begin_to_read_at_once_begin_one_index(url: str, finished: FinishedRun, tmp_path: Path) -> None:
    source, engine, other = recorded(finished.folder), open_database(url, rebuild=True), open_database(url)
    with ThreadPoolExecutor(1) as thread:
        with engine.begin() as held:
            begun = begin(held, source.reader.origin(), source.first_block)
            second = thread.submit(Indexer(source, other).step)
            assert waiting(engine)
        assert second.result(), "it goes on with the index that the first one has begun"
    with engine.connect() as connection:
        cursor = cursor_of(connection)
    assert cursor
    assert cursor.generation == begun.generation
    settled(source, engine)
    assert rows(engine) == fresh(source, tmp_path / "sqlite")
    for each in (engine, other):
        each.dispose()


def test_a_rebuild_waits_for_readers_and_they_do_not_wait_for_it(url: str, finished: FinishedRun) -> None:
    source, engine = recorded(finished.folder), open_database(url, rebuild=True)
    settled(source, engine)
    with ThreadPoolExecutor(1) as thread:
        with engine.connect() as reader:
            cursor = cursor_of(reader)
            assert cursor
            rebuilt = thread.submit(open_database, url, rebuild=True)
            assert waiting(engine)
            for table in METADATA.tables.values():
                assert reader.execute(table.select().limit(1)).first(), "all that was there still is"
        rebuilt.result().dispose()
    with engine.connect() as reader:
        assert cursor_of(reader) is None
    settled(source, engine)
    engine.dispose()


def test_a_reorganisation_is_taken_back(url: str, tmp_path: Path) -> None:
    with node() as chain:
        emitter = Emitter(chain)
        source, engine = live(chain, emitter.address), open_database(url, rebuild=True)
        emitter.emit(history(4, 1, clients=2, masters=2))
        snapshot = emitter.web3.provider.make_request("evm_snapshot", [])["result"]  # type: ignore[arg-type]
        emitter.emit([("MemberStatusChanged", {"member": 4, "status": 2})])
        indexer = settled(source, engine)
        emitter.web3.provider.make_request("evm_revert", [snapshot])  # type: ignore[arg-type]
        emitter.emit([("MemberStatusChanged", {"member": 3, "status": 2})])
        indexer.catch_up()
        settled(source, engine)
        assert rows(engine) == fresh(source, tmp_path / "sqlite")
        engine.dispose()


TWICE = """
import sys
from coordinator.dashboard.store import METADATA, open_database
with open_database(sys.argv[1], rebuild=True).begin() as connection:
    connection.execute(METADATA.tables["blocks"].insert(), [{"block": 1, "time": 1}] * 999)
"""


def test_what_fails_is_said_by_us_alone(url: str) -> None:
    """As where its disk is full amid several rows."""
    done = subprocess.run([sys.executable, "-c", TWICE, url], capture_output=True, text=True, check=False)
    assert "UniqueViolation" in done.stderr
    assert "Pipeline" not in done.stderr


def test_a_server_that_does_not_answer_is_a_fault_and_not_waited_for(
    url: str, finished: FinishedRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(postgresql, "ANSWER_SECONDS", 0.5)
    source, engine = recorded(finished.folder), open_database(url, rebuild=True)
    indexer = settled(source, engine)
    other = open_database(url)
    with other.begin() as held:
        held.execute(text("LOCK TABLE source"))
        with pytest.raises(StorageError, match=r"^the index cannot be used: .*did not answer within 0\.5 s$"):
            indexer.step()
    assert not indexer.step()
    for each in (engine, other):
        each.dispose()
