"""The dashboard's index and tables: over a finished run, and over a chain that does what chains do."""

from __future__ import annotations

import csv
import io
import signal
import threading
import time
from collections.abc import Callable, Iterator
from io import StringIO
from pathlib import Path

import pytest
import requests
from sqlalchemy import text
from web3 import HTTPProvider, Web3
from web3.types import RPCEndpoint

from bench.emitter import Emitter, Told, founding, history, node
from coordinator.dashboard.indexer import Indexer
from coordinator.dashboard.reader import CONTRACTS
from coordinator.dashboard.reading import Reading
from coordinator.dashboard.source import live, recorded
from coordinator.dashboard.store import open_database
from coordinator.dashboard.tables import SHEETS
from coordinator.evidence import gather
from coordinator.folder import LEDGER, RunFile, read_ledger
from coordinator.replay import replay
from hmchain.chain import ChainClient
from hmchain.contract import Artifact
from hmchain.errors import ChainBehind, ChainError, StorageError, VerificationError
from tests.e2e.board import database, fresh, rows, settled
from tests.e2e.conftest import FinishedRun
from tests.e2e.proxy import Answer, Call, Forward, Proxy
from tests.e2e.stripes import invoke
from tools.board import dashboard, start

HOSTILE = "<img src=x onerror=alert(1)>"


@pytest.fixture
def emitter() -> Iterator[Emitter]:
    """A node of its own, and a contract that emits any event."""
    with node() as url:
        yield Emitter(url)


def url_of(emitter: Emitter) -> str:
    assert isinstance(emitter.web3.provider, HTTPProvider)
    return str(emitter.web3.provider.endpoint_uri)


def rpc(web3: Web3, method: str, *params: object) -> object:
    return web3.provider.make_request(RPCEndpoint(method), list(params)).get("result")


class TestFinishedRun:
    def test_is_indexed_as_verification_reads_it_and_again_to_the_same_rows(
        self, finished: FinishedRun, tmp_path: Path
    ) -> None:
        source, engine = recorded(finished.folder), database(tmp_path / "index")
        settled(source, engine)
        found = rows(engine)
        assert found["events"]
        assert found == fresh(source, tmp_path / "again")
        with Reading(engine).view() as view:
            assert view.fault is None
            assert view.history == gather(finished.folder, RunFile.read(finished.folder)).history

    def test_gas_times_and_reputations_are_what_the_chain_says(self, finished: FinishedRun, tmp_path: Path) -> None:
        run = RunFile.read(finished.folder)
        chain, blocks = read_ledger(finished.folder)
        replay(chain, blocks, run)
        client = ChainClient(chain.web3, None, run.contract)
        engine = database(tmp_path / "index")
        settled(recorded(finished.folder), engine)
        with Reading(engine).view() as view:
            for event in view.events:
                assert view.costs[event.transaction].gas == client.gas_of(event)
                assert view.times[event.block] == client.block(event.block).time
            for member in view.history.members:
                assert view.chronicle.reputation(run.job, member) == client.call("standing", run.job, member)[0]
            gas = gather(finished.folder, run).gas
            assert [(row[1], row[10]) for row in SHEETS["rounds"](view).rows[::-1]] == list(gas.rounds.items())
            by_call = {row[0]: tuple(row[2:5]) for row in SHEETS["gas"](view).rows}
            assert by_call["submitUpdate"] == tuple(gas.summary()["submit_update"].values())

    def test_what_no_node_can_mean_is_a_fault_of_the_node(
        self, finished: FinishedRun, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        source = recorded(finished.folder)
        eth = source.reader._web3.eth
        logs = eth.get_logs({"fromBlock": 1})
        monkeypatch.setattr(eth, "get_transaction", lambda _: {"to": "0x"})
        monkeypatch.setattr(eth, "get_logs", lambda _: [{**log, "blockTimestamp": hex(2**70)} for log in logs])
        for ask in (
            lambda: source.reader.cost(logs[0]["transactionHash"].to_0x_hex(), 1),
            lambda: source.reader.read(1, 2),
        ):
            with pytest.raises(ChainError, match="does not answer as it should"):
                ask()

    def test_one_that_is_cut_short_is_not_shown(self, finished: FinishedRun, tmp_path: Path) -> None:
        for name in ("run.json", LEDGER):
            (tmp_path / name).write_bytes((finished.folder / name).read_bytes()[: -9 if name == LEDGER else None])
        with pytest.raises(VerificationError, match="cut short"):
            recorded(tmp_path)


class TestLiveChain:
    def test_a_reorganisation_is_followed(self, emitter: Emitter, tmp_path: Path) -> None:
        source, engine = live(url_of(emitter), emitter.address), database(tmp_path / "index")
        emitter.emit(history(5, 2, clients=3, masters=3))
        snapshot = rpc(emitter.web3, "evm_snapshot")
        emitter.emit([("MemberStatusChanged", {"member": 5, "status": 2})])
        indexer = settled(source, engine)
        assert rpc(emitter.web3, "evm_revert", snapshot)
        emitter.emit([("MemberStatusChanged", {"member": 4, "status": 2})] * 2)
        indexer.catch_up()
        settled(source, engine)
        assert rows(engine) == fresh(source, tmp_path / "again")
        with Reading(engine).view() as view:
            assert view.history.active == {1, 2, 3, 5}

    def test_a_node_that_is_behind_takes_nothing_back(self, emitter: Emitter, tmp_path: Path) -> None:
        source, engine = live(url_of(emitter), emitter.address), database(tmp_path / "index")
        emitter.emit(history(4, 1, clients=2, masters=2))
        snapshot = rpc(emitter.web3, "evm_snapshot")
        emitter.emit([("MemberStatusChanged", {"member": 4, "status": 2})])
        indexer = settled(source, engine)
        before = rows(engine)
        assert rpc(emitter.web3, "evm_revert", snapshot)
        with pytest.raises(ChainBehind, match="node is at block"):
            indexer.catch_up()
        assert rows(engine) == before

    def test_a_chain_longer_than_there_can_be_is_not_indexed(self, emitter: Emitter, tmp_path: Path) -> None:
        def rule(call: Call, forward: Forward) -> Answer | None:
            if call.method == "eth_getBlockByNumber" and call.params[0] == "latest":
                return forward().edited(lambda block: block | {"number": hex(2**60)})
            return forward()

        proxy, engine = Proxy(url_of(emitter), rule), database(tmp_path / "index")
        try:
            with pytest.raises(ChainError, match=f"claims to have block {2**60}: no chain is as long as that"):
                Indexer(live(proxy.url, emitter.address), engine).step()
        finally:
            proxy.close()

    def test_an_index_that_another_dashboard_begins_anew_is_read_anew(self, emitter: Emitter, tmp_path: Path) -> None:
        emitter.emit(history(4, 1, clients=2, masters=2))
        source, engine = live(url_of(emitter), emitter.address), database(tmp_path / "index")
        settled(source, engine)
        reading = Reading(engine)
        with reading.view() as view:
            count = len(view.events)
        settled(source, open_database(str(engine.url), rebuild=True))
        emitter.emit([("MemberStatusChanged", {"member": 4, "status": 2})])
        Indexer(source, engine).catch_up()
        with reading.view() as view:
            assert (len(view.events), view.fault) == (count + 1, None)

    def test_another_chain_behind_the_same_url_is_named_and_not_mixed_in(self, tmp_path: Path) -> None:
        engine = database(tmp_path / "index")
        with node() as url:
            emitter = Emitter(url)
            emitter.emit(history(4, 1, clients=2, masters=2))
            source = live(url, emitter.address)
            indexer = settled(source, engine)
            before = rows(engine)
        with pytest.raises(ChainError, match="does not answer"):
            indexer.catch_up()
        with node("--chain-id", "4711", port=int(url.rpartition(":")[2])) as same_url:
            Emitter(same_url).emit(founding(9))
            with pytest.raises(ChainError, match=r"another chain or contract.*--rebuild"):
                indexer.catch_up()
        assert rows(engine) == before

    def test_a_chain_that_is_gone_is_said_and_followed_again_when_it_is_back(self, tmp_path: Path) -> None:
        state, engine, stop = tmp_path / "state.json", database(tmp_path / "index"), threading.Event()
        with node("--state", str(state)) as url:
            emitter = Emitter(url)
            emitter.emit(founding(3))
            indexer = Indexer(live(url, emitter.address), engine)
            thread = threading.Thread(target=indexer.follow, args=(stop,))
            thread.start()
            wait_until(lambda: len(rows(engine)["blocks"]) == 1 and indexer.fault is None)
        try:
            wait_until(lambda: "does not answer" in (indexer.fault or ""))
            with node("--state", str(state), port=int(url.rpartition(":")[2])):
                emitter.emit([("MemberStatusChanged", {"member": 2, "status": 2})])
                wait_until(lambda: len(rows(engine)["blocks"]) == 2 and indexer.fault is None)
        finally:
            stop.set()
            thread.join()

    def test_two_dashboards_may_write_the_same_index(self, emitter: Emitter, tmp_path: Path) -> None:
        url, stop = url_of(emitter), threading.Event()
        engines = [database(tmp_path / "index") for _ in range(2)]
        indexers = [Indexer(live(url, emitter.address), engine) for engine in engines]
        threads = [threading.Thread(target=indexer.follow, args=(stop,)) for indexer in indexers]
        for thread in threads:
            thread.start()
        emitter.emit(history(6, 20, clients=3, masters=3))
        source = live(url, emitter.address)
        expected = fresh(source, tmp_path / "alone")
        try:
            wait_until(lambda: rows(engines[0]) == expected)
            wait_until(lambda: all(indexer.fault is None for indexer in indexers))
        finally:
            stop.set()
            for thread in threads:
                thread.join()

    def test_killed_amid_ten_thousand_events_it_goes_on_with_whole_blocks(
        self, emitter: Emitter, tmp_path: Path
    ) -> None:
        emitter.emit(history(100, 400))
        url, path = url_of(emitter), tmp_path / "index"
        source, engine = live(url, emitter.address), database(path)
        arguments = "--chain", url, "--contract", emitter.address, "--db", f"sqlite:///{path}"
        seen = []
        for patience in (0.0, 0.4, 1.0):
            process = start(*arguments)
            if patience:
                wait_until(lambda: bool(rows(engine)["events"]))
            time.sleep(patience)
            process.kill()
            process.communicate()
            with Reading(engine).view() as view:
                assert view.fault is None
                seen.append(len(view.events))
        assert seen[-1] > 10_000
        settled(source, engine)
        assert rows(engine) == fresh(source, tmp_path / "again")

    @pytest.mark.parametrize(
        ("events", "said"),
        [
            ([("RoundFinalized", {"job": 7, "round": 1, "model": bytes(32)})], "KeyError"),
            ([*founding(1), ("MotionCarried", {"ballot": 3})], "KeyError"),
        ],
        ids=["no such job", "no such ballot"],
    )
    def test_events_that_follow_from_nothing_are_said_and_shown(
        self, emitter: Emitter, tmp_path: Path, events: list[Told], said: str
    ) -> None:
        emitter.emit(events)
        engine = database(tmp_path / "index")
        settled(live(url_of(emitter), emitter.address), engine)
        with Reading(engine).view() as view:
            assert said in (view.fault or "")
            assert len(SHEETS["events"](view).rows) == len(events)


class TestServer:
    """Of a chain whose members chose hostile names."""

    @pytest.fixture(scope="class")
    def url(self) -> Iterator[str]:
        with node() as chain:
            emitter = Emitter(chain)
            emitter.emit(founding(2, name=HOSTILE.encode()))
            emitter.emit([("MemberAdmitted", dict(list(founding(3, name=b'=HYPERLINK("http://evil")'))[2][1]))])
            with dashboard("--chain", chain, "--contract", emitter.address) as url:
                yield url

    @pytest.mark.parametrize("name", SHEETS)
    def test_every_table_is_the_same_as_json_and_csv(self, url: str, name: str) -> None:
        as_json = requests.get(f"{url}/api/{name}.json", timeout=30).json()
        as_csv = list(csv.reader(io.StringIO(requests.get(f"{url}/api/{name}.csv", timeout=30).text)))
        described = requests.get(f"{url}/api/openapi.json", timeout=30).json()["paths"][f"/api/{name}.json"]["get"]
        columns = described["responses"]["200"]["content"]["application/json"]["schema"]["items"]["properties"]
        assert as_csv[0] == list(columns)
        assert len(as_csv) == len(as_json) + 1
        assert all(list(row) == list(columns) for row in as_json)

    def test_names_are_text_and_no_markup_or_formula(self, url: str) -> None:
        page = requests.get(f"{url}/members", timeout=30).text
        assert HOSTILE not in page
        assert "&lt;img src=x onerror=alert(1)&gt;" in page
        assert '\'=HYPERLINK(""http://evil"")' in requests.get(f"{url}/api/members.csv", timeout=30).text

    @pytest.mark.parametrize(
        ("headers", "method", "status"),
        [
            ({}, "GET", 200),
            ({"Host": "evil.example"}, "GET", 403),
            ({"Host": "evil.example:8088"}, "GET", 403),
            ({}, "POST", 403),
            ({"Origin": "http://evil.example"}, "POST", 403),
        ],
    )
    def test_other_sites_get_nothing(self, url: str, headers: dict[str, str], method: str, status: int) -> None:
        path = "/verify" if method == "POST" else "/"
        answer = requests.request(method, url + path, headers=headers, timeout=30)
        assert answer.status_code == status
        assert "default-src 'none'" in answer.headers["Content-Security-Policy"]

    @pytest.mark.parametrize(
        "path",
        [
            "/nothing",
            "/rounds/1/1",
            "/rounds/x/y",
            "/rounds/99999999999999999999/1",
            f"/rounds/{'9' * 5000}/1",
            "/tables/nothing",
            "/api/nothing.json",
            "/api/rounds.xml",
            "/static/%2e%2e/store.py",
        ],
    )
    def test_what_is_not_there_is_said(self, url: str, path: str) -> None:
        answer = requests.get(url + path, timeout=30)
        assert answer.status_code == 404
        assert "Back to the overview" in answer.text or "static" in path

    @pytest.mark.parametrize("query", ["page=0", "page=-1", "page=x", "page=²", "page=99999999999", "q=%00", "q=%ff"])
    def test_queries_that_make_no_sense_show_a_page(self, url: str, query: str) -> None:
        assert requests.get(f"{url}/tables/members?{query}", timeout=30).status_code == 200

    def test_the_stream_tells_of_what_there_is(self, url: str) -> None:
        with requests.get(f"{url}/live", stream=True, timeout=30) as answer:
            assert next(answer.iter_lines()).startswith(b"data: ")


def test_a_database_that_is_gone_is_said_and_read_again_when_it_is_back(emitter: Emitter, tmp_path: Path) -> None:
    emitter.emit(founding(2))
    engine = database(tmp_path / "index")
    with dashboard("--chain", url_of(emitter), "--contract", emitter.address, "--db", engine.url) as url:
        with engine.begin() as connection:
            connection.execute(text("ALTER TABLE source RENAME TO gone"))
        for place in ("", "nowhere"):
            answer = requests.get(f"{url}/{place}", timeout=30)
            assert (answer.status_code, "The index cannot be read" in answer.text) == (503, True), place
        with requests.get(f"{url}/live", stream=True, timeout=30) as stream:
            assert b"no database" in next(stream.iter_lines())
        with engine.begin() as connection:
            connection.execute(text("ALTER TABLE gone RENAME TO source"))
        wait_until(lambda: "stands still" not in requests.get(f"{url}/members", timeout=30).text)
        assert "Hospital 2 (2)" in requests.get(f"{url}/members", timeout=30).text


def test_the_verify_button_finds_a_blob_that_was_altered(copy: Callable[[], Path]) -> None:
    """That it finds a sound run sound is seen in the browser (test_pages)."""
    folder = copy()
    largest = max((folder / "blobs").iterdir(), key=lambda blob: blob.stat().st_size)
    content = bytearray(largest.read_bytes())
    content[len(content) // 2] ^= 1
    largest.write_bytes(content)
    with dashboard("--run", folder) as url:
        assert requests.post(f"{url}/verify", headers={"Origin": url}, timeout=30).status_code == 200
        wait_until(lambda: "INVALID: " in requests.get(f"{url}/models", timeout=30).text)


@pytest.mark.parametrize(
    ("number", "code", "said"), [(signal.SIGINT, 130, "hmchain: interrupted\n"), (signal.SIGTERM, 0, "")]
)
def test_a_signal_just_after_the_start_ends_it_in_order(
    number: signal.Signals, code: int, said: str, emitter: Emitter, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    process = start("--chain", url_of(emitter), "--contract", emitter.address)
    assert process.stdout is not None
    assert process.stdout.readline().startswith("http://")
    process.send_signal(number)
    _, complaints = process.communicate(timeout=60)
    assert (process.returncode, complaints) == (code, said)
    assert not list(tmp_path.glob("hmchain-dashboard-*"))  # where its index was


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        ((), 2, "name one source"),
        (("--run", "x", "--chain", "http://127.0.0.1:1"), 2, "name one source"),
        (("--chain", "http://127.0.0.1:1"), 2, "go together"),
        (("--run", "nothing-here"), 2, "holds no run"),
        (("--config", "nothing.toml"), 2, "nothing.toml"),
        (("--chain", "http://127.0.0.1:1", "--contract", "0x12"), 2, "--contract must be an address"),
        (("--chain", "http://127.0.0.1:1", "--contract", "0x" + "12" * 20), 4, "no Ethereum node answers"),
    ],
)
def test_wrong_options_are_said_in_one_line(arguments: tuple[str, ...], code: int, said: str) -> None:
    status, out, err = invoke("dashboard", *arguments)
    assert (status, out) == (code, "")
    assert said in err
    assert len(err.strip().splitlines()) == 1


def test_an_address_without_a_contract_is_refused() -> None:
    with node() as url:
        status, _, err = invoke("dashboard", "--chain", url, "--contract", "0x" + "12" * 20)
    assert (status, "there is no contract at" in err) == (4, True)


def test_a_database_of_another_make_is_refused(
    finished: FinishedRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "index").write_text("this is no database " * 99)
    url = f"sqlite:///{tmp_path}/index"
    status, _, err = invoke("dashboard", "--run", finished.folder, "--db", url)
    assert (status, "cannot use the database" in err) == (6, True)
    monkeypatch.setattr("sys.stdin", StringIO(f"{url}\n"))
    assert invoke("dashboard", "--run", finished.folder, "--db", "-") == (status, "", err)


def test_what_is_left_of_an_index_is_not_taken_for_one(emitter: Emitter, tmp_path: Path) -> None:
    emitter.emit(founding(2))
    settled(live(url_of(emitter), emitter.address), engine := database(tmp_path / "index"))
    with engine.begin() as connection:
        connection.execute(text("DROP TABLE events"))
    with pytest.raises(
        StorageError, match=r"^the index in this database lacks events; to read it again, use --rebuild$"
    ):
        open_database(f"sqlite:///{tmp_path}/index")
    open_database(f"sqlite:///{tmp_path}/index", rebuild=True)


def test_a_start_that_was_cut_short_is_made_up_for(tmp_path: Path) -> None:
    with database(tmp_path / "index").begin() as connection:
        connection.execute(text("DROP TABLE events"))
    open_database(f"sqlite:///{tmp_path}/index")


def test_an_index_that_is_damaged_is_said(emitter: Emitter, tmp_path: Path) -> None:
    emitter.emit(founding(2))
    settled(live(url_of(emitter), emitter.address), engine := database(tmp_path / "index"))
    with dashboard("--chain", url_of(emitter), "--contract", emitter.address, "--db", engine.url) as url:
        for damaged in ("{", "[]]", '{"member": {"hex": "x"}}'):
            with engine.begin() as connection:
                connection.execute(text("UPDATE events SET args = :args"), {"args": damaged})
            answer = requests.get(url, timeout=30)
            assert (answer.status_code, "damaged at block" in answer.text) == (503, True), damaged


def test_a_database_whose_port_is_no_number_is_refused() -> None:
    with pytest.raises(StorageError, match=r"^cannot use the database: "):
        open_database("postgresql+psycopg://hmchain@127.0.0.1:port/postgres")


def test_no_two_contracts_have_an_event_in_common() -> None:
    names = [part["name"] for name in CONTRACTS for part in Artifact.load(name).abi if part["type"] == "event"]
    assert len(names) == len(set(names))


def wait_until(happens: Callable[[], bool], seconds: float = 90.0) -> None:
    """What is waited for takes a second or two on a quiet machine."""
    deadline = time.monotonic() + seconds
    while not happens():
        assert time.monotonic() < deadline
        time.sleep(0.1)
