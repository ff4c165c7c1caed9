"""How `hmchain up` finds, addresses and configures anvil and Kubo. A real Kubo is run in tests/e2e."""

from __future__ import annotations

import json
import shlex
import socket
import stat
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

from coordinator import daemons, local_founding
from coordinator.daemons import (
    HOST,
    Kubo,
    anvil_command,
    connect_all,
    find,
    free_ports,
    is_taken,
    swarm_key,
    wait_for_chain,
)
from coordinator.local import CONSORTIUM, Local, blaming, check_ports, down, faults, sole_use
from coordinator.local_cli import _news
from coordinator.local_founding import prepare, up
from hmchain.errors import ChainError, DaemonError, StorageError, UsageError


def program(folder: Path, name: str, then: str = "") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / name
    path.write_text(f"#!/bin/sh\n{then}\n")
    path.chmod(0o755)
    return path


# ---------------------------------------------------------------- finding


def test_a_program_is_looked_for_in_the_folder_then_on_path_then_in_tools(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    tools = program(tmp_path / ".tools" / "bin", "anvil")
    assert find("anvil") == find("anvil", tmp_path / "folder") == str(tools), "an absolute path"
    on_path = program(tmp_path / "bin", "anvil")
    assert find("anvil") == find("anvil", tmp_path / "folder") == str(on_path)
    named = program(tmp_path / "folder", "anvil")
    assert find("anvil", tmp_path / "folder") == str(named)
    assert find("anvil") == str(on_path)


def test_a_program_that_is_nowhere_is_named_with_the_way_to_get_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", str(tmp_path))
    (tmp_path / "ipfs").write_text("not to be run")
    with pytest.raises(UsageError, match=r"^ipfs is neither on PATH nor in \.tools/bin; `make daemons` puts it there$"):
        find("ipfs", tmp_path)


# ---------------------------------------------------------------- ports and commands


def test_free_ports_are_free_and_differ() -> None:
    ports = free_ports(20)
    assert len(set(ports)) == 20
    for port in ports:
        with closing(socket.socket()) as probe:
            probe.bind((HOST, port))


def test_anvil_keeps_what_it_has_and_its_clock_does_not_stand_still(tmp_path: Path) -> None:
    command = anvil_command("anvil", 8545, tmp_path / "state.json", "--accounts", "1", block_seconds=2)
    assert command[0] == "anvil"
    for option, value in (
        ("--host", HOST),
        ("--port", "8545"),
        ("--block-time", "2"),
        ("--state", str(tmp_path / "state.json")),
        ("--accounts", "1"),
    ):
        assert command[command.index(option) + 1] == value
    assert "--mixed-mining" in command


def test_a_swarm_key_is_one_and_another_one_each_time() -> None:
    first, second, key = swarm_key().splitlines()
    assert (first, second) == (b"/key/swarm/psk/1.0.0/", b"/base16/")
    assert len(bytes.fromhex(key.decode())) == 32
    assert swarm_key() != swarm_key()


# ---------------------------------------------------------------- Kubo


def kubo(folder: Path, name: str, ipfs: Path, port: int = 4001) -> Kubo:
    return Kubo(str(ipfs), folder / name, port, port + 1000)


@pytest.fixture
def ipfs(tmp_path: Path) -> Path:
    """A program that makes a repository as `ipfs init` does."""
    init = """repo="$2"
[ "$1" = --repo-dir ] && [ "$3" = init ] && [ "$LIBP2P_FORCE_PNET" = 1 ] || exit 1
echo '{"Identity":{"PeerID":"peer-'$(basename "$repo")'"},"Routing":null,"Plugins":{"Plugins":{}}}' > "$repo/config"
"""
    return program(tmp_path / "bin", "ipfs", init)


def config_of(made: Kubo) -> dict[str, Any]:
    return dict(json.loads((made.repository / "config").read_text()))


def test_a_daemon_runs_in_its_repository_and_only_in_a_private_swarm(tmp_path: Path) -> None:
    made = kubo(tmp_path, "one", Path("ipfs"))
    assert made.api == "/ip4/127.0.0.1/tcp/5001"
    assert made.command[:2] == ["env", "LIBP2P_FORCE_PNET=1"]
    assert made.command[2:5] == ["ipfs", "--repo-dir", str(tmp_path / "one")]
    assert "daemon" in made.command


def test_each_daemon_of_a_swarm_knows_all_others_and_has_the_key(tmp_path: Path, ipfs: Path) -> None:
    swarm = [kubo(tmp_path, name, ipfs, port) for name, port in (("one", 4001), ("two", 4002), ("three", 4003))]
    key = swarm_key()
    connect_all(swarm, key)
    for made in swarm:
        path = made.repository / "swarm.key"
        assert path.read_bytes() == key
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert stat.S_IMODE((made.repository / "config").stat().st_mode) == 0o600, "it holds the daemon's own key"
        peers = config_of(made)["Peering"]["Peers"]
        assert {(peer["ID"], *peer["Addrs"]) for peer in peers} == {
            (f"peer-{other.repository.name}", f"/ip4/127.0.0.1/tcp/{other.swarm_port}")
            for other in swarm
            if other is not made
        }


def test_a_daemon_is_private_and_on_loopback_alone(tmp_path: Path, ipfs: Path) -> None:
    made = kubo(tmp_path, "one", ipfs)
    connect_all([made], swarm_key())
    config = config_of(made)
    assert config["Identity"] == {"PeerID": "peer-one"}, "what init wrote stays"
    assert config["Addresses"] == {"API": made.api, "Gateway": [], "Swarm": ["/ip4/127.0.0.1/tcp/4001"]}
    assert config["Bootstrap"] == config["Routing"]["DelegatedRouters"] == config["Ipns"]["DelegatedPublishers"] == []
    assert config["Routing"]["Type"] == "none"
    assert config["Plugins"]["Plugins"]["telemetry"]["Config"]["Mode"] == "off"
    off = [
        config["AutoConf"],
        config["AutoTLS"],
        config["HTTPRetrieval"],
        config["Provide"],
        config["Discovery"]["MDNS"],
    ]
    off += [config["Swarm"]["RelayClient"], config["Swarm"]["RelayService"]]
    assert [table["Enabled"] for table in off] == [False] * 7
    assert config["Swarm"]["DisableNatPortMap"] is True
    assert set(config["Swarm"]["Transports"]["Network"].values()) == {False}


def test_a_program_that_cannot_be_run_or_fails_is_one_line(tmp_path: Path) -> None:
    fails = program(tmp_path / "bin", "ipfs", "echo 'no space left' >&2; exit 1")
    with pytest.raises(StorageError, match=r"ipfs init failed: no space left$"):
        kubo(tmp_path, "one", fails).create(swarm_key())
    with pytest.raises(StorageError, match="init failed: "):
        kubo(tmp_path, "two", tmp_path / "nowhere").create(swarm_key())
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match="cannot run"):
        kubo(tmp_path / "file", "three", fails).create(swarm_key())


# ---------------------------------------------------------------- waiting


@pytest.mark.parametrize(
    ("wait", "fault"),
    [
        (lambda port: wait_for_chain(f"http://{HOST}:{port}"), ChainError),
        (lambda port: Kubo("ipfs", Path(), 1, port).wait(), DaemonError),
    ],
    ids=["chain", "Kubo"],
)
def test_what_does_not_answer_in_time_is_one_line(
    wait: Callable[[int], None], fault: type[Exception], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(daemons, "START_SECONDS", 0.1)
    with closing(socket.socket()) as taken:
        taken.bind((HOST, 0))
        with pytest.raises(fault, match=r"^nothing answers at http://127\.0\.0\.1:\d+\S* after 0\.1 s$"):
            wait(taken.getsockname()[1])


def test_what_has_ended_is_not_waited_for() -> None:
    with closing(socket.socket()) as taken:
        taken.bind((HOST, 0))
        with pytest.raises(
            DaemonError, match=r"^nothing answers at http://127\.0\.0\.1:\d+\S*, as its process has ended$"
        ):
            Kubo("ipfs", Path(), 1, taken.getsockname()[1]).wait(lambda: False)


def test_a_daemon_that_has_ended_is_blamed_for_what_came_of_it(tmp_path: Path) -> None:
    local = Local(tmp_path, "anvil", "ipfs", 1, (), ())
    (tmp_path / "chain").mkdir()
    (tmp_path / "chain" / "anvil.log").write_text("Error: Address already in use (os error 98)\n")
    taken = r"^the chain \(port 1\) ended: Error: Address already in use"
    with pytest.raises(ChainError, match=taken), blaming(local):
        raise ChainError("this chain asks for fees")
    local.processes.start("chain", ["sleep", "60"], tmp_path / "log")
    try:
        with pytest.raises(StorageError, match=r"^full$"), blaming(local):
            raise StorageError("full")
    finally:
        local.processes.stop_all()


def test_a_daemon_that_has_ended_is_told_with_its_ports_as_another_program_may_have_one(tmp_path: Path) -> None:
    local = Local(tmp_path, "anvil", "ipfs", 1, (2,), (3,))
    (tmp_path / "hospital-1").mkdir()
    (tmp_path / "hospital-1" / "ipfs.log").write_text("serveHTTPApi: bind: address already in use\n")
    assert "ipfs-1 (ports 2 and 3) ended: serveHTTPApi: bind: address already in use" in faults(local)


class Anything(BaseHTTPRequestHandler):
    """A program that answers whatever it is asked."""

    def do_POST(self) -> None:
        self.send_response(200)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def foreign() -> Iterator[int]:
    """The port of a program that is not ours, and answers over HTTP."""
    with HTTPServer((HOST, 0), Anything) as server:
        thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server.server_port
        server.shutdown()
        thread.join()


@pytest.mark.parametrize("daemon", ["the chain", "ipfs-1's swarm", "ipfs-1's API"])
def test_a_program_that_answers_on_a_daemons_port_is_not_taken_for_it(daemon: str, tmp_path: Path) -> None:
    """Nodes would be started, and end at once, as the chain is not theirs."""
    anvil, (chain, swarm, api) = program(tmp_path, "anvil", "exit 1"), free_ports(3)
    (tmp_path / CONSORTIUM).write_text("{}")
    (tmp_path / "hospital-1").mkdir()
    with foreign() as port:
        ports = {"the chain": chain, "ipfs-1's swarm": swarm, "ipfs-1's API": api} | {daemon: port}
        chain, swarm, api = ports.values()
        Local(tmp_path, str(anvil), str(anvil), chain, (swarm,), (api,)).write()
        told = rf"^another program has port {port}, where {daemon.partition(chr(39))[0]} has to listen: end it, and try"
        with pytest.raises(UsageError, match=told):
            up(tmp_path, 1, "organamnist-sample", None, "iid", {"masters": 1, "seed": 0}, print)
    assert not (tmp_path / "processes.json").exists(), "and nothing was started"


def test_a_port_is_not_taken_by_a_connection_that_has_ended() -> None:
    (port,) = free_ports(1)
    with closing(socket.create_server((HOST, port))) as server:
        assert is_taken(port)
        with closing(socket.create_connection((HOST, port))), closing(server.accept()[0]):
            pass
    assert not is_taken(port)


def test_what_runs_already_has_its_ports_itself(tmp_path: Path) -> None:
    with foreign() as port:
        local = Local(tmp_path, "anvil", "ipfs", port, (), ())
        local.processes.start("chain", ["sleep", "60"], tmp_path / "log")
        try:
            check_ports(local)
        finally:
            local.processes.stop_all()


def test_a_consortium_whose_making_was_killed_early_can_be_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.chdir(tmp_path)
    for name in ("anvil", "ipfs"):
        program(tmp_path / ".tools" / "bin", name)
    monkeypatch.setattr(local_founding, "write_whole", killed)
    folder = tmp_path / "St. Mary's"
    with pytest.raises(KeyboardInterrupt):
        prepare(folder, 2, "organamnist-sample", None, "iid", {"masters": 1, "seed": 0})
    with pytest.raises(UsageError, match="was not founded to the end: hmchain down --remove '") as refusal:
        up(folder, 2, "organamnist-sample", None, "iid", {"masters": 1, "seed": 0}, print)
    assert shlex.split(str(refusal.value).partition("--remove ")[2]) == [str(folder)], "it can be typed as it is"
    assert down(folder, remove=True) == []
    assert not folder.exists()


def test_while_up_or_down_is_at_work_in_a_folder_another_one_leaves_it_alone(tmp_path: Path) -> None:
    """One that founds a consortium in a folder, and fails, removes the folder: another one's, else."""
    told = "another `hmchain up` or `down` is at work in"
    with sole_use(tmp_path), pytest.raises(UsageError, match=told):
        up(tmp_path, 2, "no-such-set", None, "iid", {"masters": 1, "seed": 0}, print)
    assert tmp_path.exists()
    Local(tmp_path, "anvil", "ipfs", 1, (2,), (3,)).write()
    with sole_use(tmp_path), pytest.raises(UsageError, match=told):
        down(tmp_path, remove=True)
    assert down(tmp_path, remove=True) == []


# ---------------------------------------------------------------- what is told meanwhile


def test_who_is_enrolled_is_told_before_the_first_round_and_while_a_round_waits() -> None:
    job = {"history": [], "round": 0, "phase": "ENROLMENT", "enrolled": [], "needed": 3}
    assert _news(job, 0) == ["enrolled: nobody yet"]
    assert _news(job | {"phase": "WAITING", "round": 4, "enrolled": [1, 5]}, 0) == [
        "round 4  WAITING for 3 members, enrolled: 1, 5"
    ]
