"""anvil and Kubo as `hmchain up` and the tests run them: on loopback, with all their state in a folder."""

from __future__ import annotations

import errno
import json
import secrets
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path

import requests

from hmchain.errors import ChainError, DaemonError, HMChainError, StorageError, UsageError
from hmchain.files import write_secret, write_whole

TOOLS = Path(".tools/bin")  # where `make daemons` puts them
START_SECONDS = 60.0
HOST = "127.0.0.1"
CHAIN_ID = 31_337


def find(program: str, folder: Path | None = None) -> str:
    """The path of a program: in `folder`, on PATH, or in .tools/bin. Raises UsageError, which says how to get it."""
    for path in (folder, None, TOOLS):
        found = shutil.which(program, path=None if path is None else str(path))
        if found:
            return str(Path(found).absolute())
    raise UsageError(f"{program} is neither on PATH nor in {TOOLS}; `make daemons` puts it there")


def free_ports(count: int) -> list[int]:
    """TCP ports that nobody listens on now."""
    with ExitStack() as stack:
        sockets = [stack.enter_context(closing(socket.socket())) for _ in range(count)]
        for each in sockets:
            each.bind((HOST, 0))
        return [int(each.getsockname()[1]) for each in sockets]


def is_taken(port: int) -> bool:
    """Whether a program listens on this TCP port. Connections that have ended do not count."""
    with closing(socket.socket()) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError as fault:
            return fault.errno == errno.EADDRINUSE
    return False


def anvil_command(program: str, port: int, state: Path, *options: str, block_seconds: int = 1) -> list[str]:
    """How to run anvil so that it mines transactions at once, and a block every block_seconds anyway: deadlines pass by
    the chain's clock, which must not stand still.

    It writes `state` once a second and when it ends, and continues from it at the next start.
    """
    mining = ["--block-time", str(block_seconds), "--mixed-mining"]
    kept = ["--state", str(state), "--state-interval", "1"]
    return [program, "--silent", "--host", HOST, "--port", str(port), *mining, *kept, *options]


def wait_for_chain(url: str, runs: Callable[[], bool] = lambda: True) -> None:
    """Waits until a chain answers. Raises ChainError after START_SECONDS, or once its process does not run any more."""
    _wait(url, {"json": {"jsonrpc": "2.0", "id": 1, "method": "eth_chainId", "params": []}}, ChainError, runs)


def swarm_key() -> bytes:
    """A fresh key for a private swarm: only daemons that have it talk to each other."""
    return b"/key/swarm/psk/1.0.0/\n/base16/\n" + secrets.token_hex(32).encode() + b"\n"


@dataclass(frozen=True)
class Kubo:
    """One Kubo daemon: its repository, and its ports for the swarm and for its RPC API."""

    program: str
    repository: Path
    swarm_port: int
    api_port: int

    @property
    def api(self) -> str:
        """The multiaddr of its RPC API."""
        return f"/ip4/{HOST}/tcp/{self.api_port}"

    @property
    def command(self) -> list[str]:
        """The command that runs the daemon."""
        return [*self._program, "daemon", "--enable-gc=false"]

    @property
    def _program(self) -> list[str]:
        """With LIBP2P_FORCE_PNET it refuses to run outside the private swarm."""
        return ["env", "LIBP2P_FORCE_PNET=1", self.program, "--repo-dir", str(self.repository)]

    def create(self, key: bytes) -> str:
        """Makes the repository. Returns the daemon's peer identity. Raises StorageError."""
        try:
            self.repository.mkdir(parents=True, exist_ok=True)
            write_secret(self.repository / "swarm.key", key)
            done = subprocess.run([*self._program, "init", "--profile=test"], capture_output=True, check=False)
        except OSError as fault:
            raise StorageError(f"cannot run {self.program}: {fault.strerror}") from fault
        if done.returncode:
            raise StorageError(f"{self.program} init failed: {done.stderr.decode(errors='replace').strip()[:300]}")
        config = json.loads((self.repository / "config").read_text())
        return str(config["Identity"]["PeerID"])

    def configure(self, peers: Mapping[str, Kubo]) -> None:
        """Writes a configuration in which it talks to its peers (by peer identity) and nobody else.

        deploy/kubo gives the reason for each setting.
        """
        path = self.repository / "config"
        config = json.loads(path.read_text())
        for name, value in self._settings(peers).items():
            table = config
            *parents, last = name.split(".")
            for parent in parents:
                if table.get(parent) is None:
                    table[parent] = {}
                table = table[parent]
            table[last] = value
        write_whole(path, json.dumps(config, indent=2).encode(), 0o600)

    def _settings(self, peers: Mapping[str, Kubo]) -> dict[str, object]:
        network = ("Websocket", "QUIC", "WebTransport", "WebRTCDirect", "Relay")
        return {
            "Addresses.API": self.api,
            "Addresses.Gateway": [],
            "Addresses.Swarm": [f"/ip4/{HOST}/tcp/{self.swarm_port}"],
            "AutoConf.Enabled": False,
            "AutoNAT.ServiceMode": "disabled",
            "AutoTLS.Enabled": False,
            "Bootstrap": [],
            "DNS.Resolvers": {},
            "Discovery.MDNS.Enabled": False,
            "HTTPRetrieval.Enabled": False,
            "Ipns.DelegatedPublishers": [],
            "Peering.Peers": [
                {"ID": identity, "Addrs": [f"/ip4/{HOST}/tcp/{kubo.swarm_port}"]} for identity, kubo in peers.items()
            ],
            "Plugins.Plugins.telemetry.Config.Mode": "off",
            "Provide.Enabled": False,
            "Routing.DelegatedRouters": [],
            "Routing.Type": "none",
            "Swarm.DisableNatPortMap": True,
            "Swarm.EnableHolePunching": False,
            "Swarm.RelayClient.Enabled": False,
            "Swarm.RelayService.Enabled": False,
            **{f"Swarm.Transports.Network.{name}": False for name in network},
        }

    def wait(self, runs: Callable[[], bool] = lambda: True) -> None:
        """Waits until the daemon answers. Raises DaemonError after START_SECONDS, or once it does not run any more."""
        _wait(f"http://{HOST}:{self.api_port}/api/v0/id", {}, DaemonError, runs)


def connect_all(kubos: Sequence[Kubo], key: bytes) -> None:
    """Makes the repositories of a swarm in which each daemon stays connected to every other. Raises StorageError."""
    identities = {kubo.create(key): kubo for kubo in kubos}
    for own, kubo in identities.items():
        kubo.configure({identity: peer for identity, peer in identities.items() if identity != own})


def _wait(url: str, arguments: Mapping[str, object], fault: type[HMChainError], runs: Callable[[], bool]) -> None:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        try:
            if requests.post(url, timeout=5, **arguments).ok:  # type: ignore[arg-type]
                return
        except requests.RequestException:
            pass
        if not runs():
            raise fault(f"nothing answers at {url}, as its process has ended")
        time.sleep(0.05)
    raise fault(f"nothing answers at {url} after {START_SECONDS:g} s")
