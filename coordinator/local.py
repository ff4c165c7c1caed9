"""A whole consortium on this machine: anvil, and for every hospital an IPFS daemon and a node, each a process with its
own keys, data and folder. For trying things out, and for tests.

    DIR/local.json  job.toml  consortium.json  processes.json  chain/  hospital-1/ … hospital-N/
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

from coordinator import daemons
from coordinator.daemons import Kubo
from coordinator.processes import Processes, tail_of
from hmchain.errors import ChainError, HMChainError, UsageError
from hmchain.files import read_file, write_whole
from hmchain.jsontext import parse
from trainers import config as configuration
from trainers.config import Config

LOCAL, JOB, CONSORTIUM, PROCESSES = "local.json", "job.toml", "consortium.json", "processes.json"
Note = Callable[[str], None]


@dataclass(frozen=True)
class Local:
    """A local consortium: its folder, the programs it runs, and its ports."""

    folder: Path
    anvil: str
    ipfs: str
    chain_port: int
    swarm_ports: tuple[int, ...]
    api_ports: tuple[int, ...]

    @property
    def hospitals(self) -> list[Path]:
        """The hospitals' folders."""
        return [self.folder / f"hospital-{number}" for number in range(1, len(self.api_ports) + 1)]

    @property
    def url(self) -> str:
        """The chain's URL."""
        return f"http://{daemons.HOST}:{self.chain_port}"

    @property
    def kubos(self) -> list[Kubo]:
        """The IPFS daemons, one a hospital."""
        ports = zip(self.hospitals, self.swarm_ports, self.api_ports, strict=True)
        return [Kubo(self.ipfs, hospital / "ipfs", swarm, api) for hospital, swarm, api in ports]

    @property
    def processes(self) -> Processes:
        """The consortium's processes, as recorded in its folder. Raises UsageError."""
        return Processes(self.folder / PROCESSES)

    def config(self, hospital: int) -> Config:
        """A hospital's configuration; hospitals count from 1."""
        return configuration.load(self.hospitals[hospital - 1] / configuration.FILE)

    def write(self) -> None:
        """Writes local.json. Raises StorageError."""
        content = {name: value for name, value in asdict(self).items() if name != "folder"}
        write_whole(self.folder / LOCAL, json.dumps(content, indent=1).encode() + b"\n")

    @classmethod
    def read(cls, folder: Path) -> Local:
        """Reads local.json. Raises UsageError where there is none."""
        if not (folder / LOCAL).exists():
            raise UsageError(f"{folder} holds no local consortium ({LOCAL} is missing)")
        try:
            content = parse(read_file(folder / LOCAL, "the local consortium"))
            content |= {name: tuple(content[name]) for name in ("swarm_ports", "api_ports")}
            return cls(folder.resolve(), **content)
        except (ValueError, TypeError, KeyError) as fault:
            raise UsageError(f"{folder / LOCAL} is not what `hmchain up` writes") from fault


@contextmanager
def sole_use(folder: Path) -> Iterator[None]:
    """Keeps every other `up` and `down` off a folder. Raises UsageError where one of them is at work there.

    The lock is on the folder itself, so that nothing can be left of it, and that a full disk is no obstacle.
    """
    handle = os.open(folder, os.O_RDONLY)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise UsageError(f"another `hmchain up` or `down` is at work in {folder}") from None
        except OSError:
            pass  # NFS locks no folders: there it is left to whoever types
        yield
    finally:
        os.close(handle)


def down(folder: Path, remove: bool = False) -> list[str]:
    """Stops the processes of a local consortium: nodes first, the chain last. Returns the names of those that ran.

    remove: deletes the folder as well. Raises UsageError.
    """
    local = Local.read(folder)
    with sole_use(folder):
        ran = local.processes.stop_all()
        if remove:
            try:
                shutil.rmtree(folder)
            except OSError as fault:
                raise UsageError(f"cannot remove {folder}: {fault.strerror}") from fault
    return ran


def check_ports(local: Local) -> None:
    """Raises UsageError where another program has a port of a daemon that does not run: it may answer in its place."""
    ports = {"chain": [local.chain_port]}
    ports |= {f"ipfs-{number}": [kubo.swarm_port, kubo.api_port] for number, kubo in enumerate(local.kubos, start=1)}
    processes = local.processes
    for name, port in ((name, port) for name, both in ports.items() for port in both):
        if daemons.is_taken(port) and not processes.runs(name):
            what = "the chain" if name == "chain" else name
            raise UsageError(f"another program has port {port}, where {what} has to listen: end it, and try again")


def start_daemons(local: Local, note: Note) -> None:
    """Starts the chain and the IPFS daemons, and waits until they answer. Raises HMChainError."""
    processes = local.processes
    chain = local.folder / "chain"
    chain.mkdir(parents=True, exist_ok=True)
    command = daemons.anvil_command(
        local.anvil, local.chain_port, chain / "state.json", "--chain-id", str(daemons.CHAIN_ID)
    )
    processes.start("chain", command, chain / "anvil.log")
    for number, kubo in enumerate(local.kubos, start=1):
        processes.start(f"ipfs-{number}", kubo.command, local.hospitals[number - 1] / "ipfs.log")
    daemons.wait_for_chain(local.url, partial(processes.runs, "chain"))
    for number, kubo in enumerate(local.kubos, start=1):
        kubo.wait(partial(processes.runs, f"ipfs-{number}"))
    note(f"chain at {local.url}, {len(local.kubos)} IPFS daemons in a private swarm")


def start_nodes(local: Local, note: Note) -> None:
    """Starts every hospital's node. Raises StorageError."""
    processes = local.processes
    for number, hospital in enumerate(local.hospitals, start=1):
        processes.start(f"node-{number}", node_command(hospital), hospital / "node.log")
    note(f"{len(local.hospitals)} nodes started")


def node_command(hospital: Path) -> list[str]:
    """The command that runs a hospital's node."""
    return [sys.executable, "-m", "trainers", "node", "--config", str(hospital / configuration.FILE)]


def faults(local: Local) -> Iterator[str]:
    """For each process of a local consortium that has ended, its name, its ports and the end of its log."""
    running = set(local.processes.running())
    if "chain" not in running:
        yield f"the chain (port {local.chain_port}) ended: {tail_of(local.folder / 'chain' / 'anvil.log')}"
    for number, (hospital, kubo) in enumerate(zip(local.hospitals, local.kubos, strict=True), start=1):
        if (name := f"ipfs-{number}") not in running:
            yield f"{name} (ports {kubo.swarm_port} and {kubo.api_port}) ended: {tail_of(hospital / 'ipfs.log')}"
        if (name := f"node-{number}") not in running:
            yield f"{name} ended: {tail_of(hospital / 'node.log')}"


@contextmanager
def blaming(local: Local) -> Iterator[None]:
    """If a daemon has ended, reports that and not what it led to: perhaps another program has its port."""
    try:
        yield
    except HMChainError as fault:
        ended = [text for text in faults(local) if not text.startswith("node-")]
        if ended:
            raise ChainError("; ".join(ended)) from fault
        raise
