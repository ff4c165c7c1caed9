"""A whole consortium on this machine, as real as one machine can be: anvil, and for every hospital an IPFS daemon and a
node, each a process with its own keys, data and folder. For trying things out, and for tests.

    DIR/local.json  job.toml  consortium.json  processes.json  chain/  hospital-1/ … hospital-N/
"""

from __future__ import annotations

import json
import secrets
import shutil
import sys
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from coordinator import daemons
from coordinator.daemons import Kubo
from coordinator.deploy import connect_any, found, fund
from coordinator.jobs import create, read_manifest
from coordinator.processes import Processes, tail_of
from hmchain.blobs import open_store
from hmchain.card import Card
from hmchain.chain import ChainClient
from hmchain.consortium import Consortium
from hmchain.errors import UsageError
from hmchain.files import read_file, write_secret, write_whole
from hmchain.jsontext import parse
from hmchain.ledger import JobFeed
from trainers import config as configuration
from trainers import founding, keystore
from trainers.config import Config
from trainers.datasets import load
from trainers.partition import split
from trainers.splits import write_shard

LOCAL, JOB, CONSORTIUM, PROCESSES = "local.json", "job.toml", "consortium.json", "processes.json"
PHASE_SECONDS = {"request_seconds": 180, "score_seconds": 120, "reveal_seconds": 60, "reply_seconds": 60}
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
        """The chain's."""
        return f"http://{daemons.HOST}:{self.chain_port}"

    @property
    def kubos(self) -> list[Kubo]:
        """The IPFS daemons, one a hospital."""
        ports = zip(self.hospitals, self.swarm_ports, self.api_ports, strict=True)
        return [Kubo(self.ipfs, hospital / "ipfs", swarm, api) for hospital, swarm, api in ports]

    @property
    def processes(self) -> Processes:
        """What runs of it."""
        return Processes(self.folder / PROCESSES)

    def config(self, hospital: int) -> Config:
        """A hospital's configuration; hospitals count from 1."""
        return configuration.load(self.hospitals[hospital - 1] / configuration.FILE)

    def write(self) -> None:
        """Raises StorageError."""
        content = {name: value for name, value in asdict(self).items() if name != "folder"}
        write_whole(self.folder / LOCAL, json.dumps(content, indent=1).encode() + b"\n")

    @classmethod
    def read(cls, folder: Path) -> Local:
        """Raises UsageError where there is none."""
        if not (folder / LOCAL).exists():
            raise UsageError(f"{folder} holds no local consortium ({LOCAL} is missing)")
        try:
            content = parse(read_file(folder / LOCAL, "the local consortium"))
            content |= {name: tuple(content[name]) for name in ("swarm_ports", "api_ports")}
            return cls(folder.resolve(), **content)
        except (ValueError, TypeError, KeyError) as fault:
            raise UsageError(f"{folder / LOCAL} is not what `hmchain up` writes") from fault


def up(
    folder: Path, hospitals: int, dataset: str, root: Path | None, partition: str, job: dict[str, Any], note: Note
) -> Local:
    """Makes a local consortium, or takes up the one that is there, and starts what of it does not run.

    Raises HMChainError; a consortium that could not be founded leaves nothing behind.
    """
    if (folder / LOCAL).exists() and (folder / CONSORTIUM).exists():
        local = Local.read(folder)
        start_daemons(local, note)
        create_first_job(local)
        start_nodes(local, note)
        return local
    if (folder / LOCAL).exists():
        raise UsageError(f"{folder} holds a consortium that was not founded to the end: hmchain down --remove {folder}")
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise UsageError(f"{folder} exists and holds no local consortium")
    try:
        return _make(folder.absolute(), hospitals, dataset, root, partition, job, note)
    except BaseException:
        if (folder / PROCESSES).exists():
            Processes(folder / PROCESSES).stop_all()
        shutil.rmtree(folder, ignore_errors=True)
        raise


def down(folder: Path) -> list[str]:
    """Stops whatever runs of a local consortium: nodes first, the chain last. Returns what ran."""
    return Local.read(folder).processes.stop_all()


def start_daemons(local: Local, note: Note) -> None:
    """The chain and the IPFS daemons, and waits until they answer. Raises HMChainError."""
    processes = local.processes
    chain = local.folder / "chain"
    chain.mkdir(parents=True, exist_ok=True)
    command = daemons.anvil_command(
        local.anvil, local.chain_port, chain / "state.json", "--chain-id", str(daemons.CHAIN_ID)
    )
    processes.start("chain", command, chain / "anvil.log")
    for number, kubo in enumerate(local.kubos, start=1):
        processes.start(f"ipfs-{number}", kubo.command, local.hospitals[number - 1] / "ipfs.log")
    daemons.wait_for_chain(local.url)
    for kubo in local.kubos:
        kubo.wait()
    note(f"chain at {local.url}, {len(local.kubos)} IPFS daemons in a private swarm")


def start_nodes(local: Local, note: Note) -> None:
    """Every hospital's node. Raises StorageError."""
    processes = local.processes
    for number, hospital in enumerate(local.hospitals, start=1):
        processes.start(f"node-{number}", node_command(hospital), hospital / "node.log")
    note(f"{len(local.hospitals)} nodes started")


def node_command(hospital: Path) -> list[str]:
    """How a hospital's node is run."""
    return [sys.executable, "-m", "trainers", "node", "--config", str(hospital / configuration.FILE)]


def _make(
    folder: Path, hospitals: int, dataset: str, root: Path | None, partition: str, job: dict[str, Any], note: Note
) -> Local:
    local = prepare(folder, hospitals, dataset, root, partition, job)
    note(f"{dataset} divided among {hospitals} hospitals, each with its own keys")
    daemons.connect_all(local.kubos, daemons.swarm_key())
    start_daemons(local, note)
    found_members(local)
    note("contract deployed, members founded")
    create_first_job(local)
    note("job created by hospital-1")
    start_nodes(local, note)
    return local


def prepare(
    folder: Path, hospitals: int, dataset: str, root: Path | None, partition: str, job: dict[str, Any]
) -> Local:
    """Folders, keys, data and the job's file; the IPFS daemons are not made yet. Raises HMChainError."""
    if not 1 <= job["masters"] <= hospitals:
        raise UsageError(f"{hospitals} hospitals can have 1 to {hospitals} masters, not {job['masters']}")
    data = load(dataset, root)
    shards = split(data, hospitals, partition, job["seed"])
    ports = daemons.free_ports(1 + 2 * hospitals)
    folder.mkdir(parents=True, exist_ok=True)
    named = {"dataset": data.name, "channels": data.channels, "classes": list(data.classes)} | PHASE_SECONDS | job
    lines = [f"{key} = {json.dumps(value)}" for key, value in named.items()]
    write_whole(folder / JOB, ("\n".join(lines) + "\n").encode())
    read_manifest(folder / JOB)
    local = Local(
        folder=folder,
        anvil=daemons.find("anvil"),
        ipfs=daemons.find("ipfs"),
        chain_port=ports[0],
        swarm_ports=tuple(ports[1 : 1 + hospitals]),
        api_ports=tuple(ports[1 + hospitals :]),
    )
    local.write()
    for number, (hospital, kubo, shard) in enumerate(zip(local.hospitals, local.kubos, shards, strict=True), start=1):
        settle(hospital, f"Hospital {number}", local.url, kubo.api)
        write_shard(hospital / "data.npz", shard)
    return local


def settle(hospital: Path, name: str, url: str, api: str) -> Card:
    """One hospital's folder, with a password that nobody has to remember. Raises HMChainError."""
    password = secrets.token_urlsafe(24)
    card = founding.create(hospital, name, password, work=keystore.LIGHT)
    write_secret(hospital / "password", password.encode() + b"\n")
    text = founding.configuration(
        name,
        urls=json.dumps([url]),
        store=json.dumps(f"ipfs:{api}"),
        poll_seconds="0.5",
        start_after_seconds="60.0",
    )
    write_whole(hospital / configuration.FILE, text.replace("# password_file", "password_file").encode())
    return card


def found_members(local: Local) -> None:
    """Deploys from the first hospital's account; everybody is a founder and gets what gas costs."""
    web3 = connect_any([local.url], 30.0)
    cards = [Card.read(hospital / founding.CARD) for hospital in local.hospitals]
    fund(web3, [card.operator for card in cards])
    first = local.config(1)
    keys = keystore.unlock(first.keys.operator, first.keys.encryption, _password(first))
    client, receipt = found(web3, keys.identity.account, [card.to_abi() for card in cards])
    consortium = Consortium(client.chain_id, client.address, receipt.transaction, receipt.block)
    for hospital in local.hospitals:
        consortium.write(hospital / CONSORTIUM)
    consortium.write(local.folder / CONSORTIUM)


def create_first_job(local: Local) -> None:
    """From the first hospital's account, unless it was created before. Raises HMChainError."""
    config = local.config(1)
    keys = keystore.unlock(config.keys.operator, config.keys.encryption, _password(config))
    consortium = Consortium.read(config.chain.consortium)
    client = ChainClient(connect_any([local.url], 30.0), keys.identity.account, consortium.contract)
    history = JobFeed(client, consortium.block).poll()
    store = open_store(config.blobs.store)
    create(client, history, store, config.state.parent, keys.identities, read_manifest(local.folder / JOB))


def _password(config: Config) -> str:
    assert config.keys.password_file is not None
    return keystore.read_password(config.keys.password_file)


def faults(local: Local) -> Iterator[str]:
    """What of a local consortium does not run, and the last it said."""
    running = set(local.processes.running())
    for number, hospital in enumerate(local.hospitals, start=1):
        for name, log in ((f"ipfs-{number}", "ipfs.log"), (f"node-{number}", "node.log")):
            if name not in running:
                yield f"{name} ended: {tail_of(hospital / log)}"
    if "chain" not in running:
        yield f"the chain ended: {tail_of(local.folder / 'chain' / 'anvil.log')}"
