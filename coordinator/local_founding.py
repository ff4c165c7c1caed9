"""Creates a local consortium: divides the data, makes each hospital's keys and folder, founds it on a fresh chain."""

from __future__ import annotations

import json
import secrets
import shutil
from dataclasses import replace
from pathlib import Path
from shlex import quote
from typing import Any

from coordinator import daemons
from coordinator.deploy import connect_any, found, fund
from coordinator.jobs import create, manifest_of, read_manifest
from coordinator.local import (
    CONSORTIUM,
    JOB,
    LOCAL,
    PROCESSES,
    Local,
    Note,
    blaming,
    check_ports,
    sole_use,
    start_daemons,
    start_nodes,
)
from coordinator.processes import Processes
from hmchain import registry
from hmchain.blobs import open_store
from hmchain.card import Card
from hmchain.chain import ChainClient
from hmchain.consortium import Consortium
from hmchain.errors import UsageError
from hmchain.files import write_secret, write_whole
from hmchain.ledger import JobFeed
from trainers import config as configuration
from trainers import founding, keystore
from trainers.config import Config
from trainers.datasets import load
from trainers.partition import split
from trainers.parts import connect
from trainers.splits import write_shard

PHASE_SECONDS = {"request_seconds": 180, "score_seconds": 120, "reveal_seconds": 60, "reply_seconds": 60}


def up(
    folder: Path, hospitals: int, dataset: str, root: Path | None, partition: str, job: dict[str, Any], note: Note
) -> Local:
    """Creates a local consortium, or takes the existing one, and starts those of its processes that do not run.

    note is told each step; job has the fields of job.toml. Raises HMChainError; a consortium that could not be founded
    leaves nothing behind.
    """
    if not (folder / LOCAL).exists() and folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise UsageError(f"{folder} exists and holds no local consortium")
    folder.mkdir(parents=True, exist_ok=True)
    with sole_use(folder):
        if (folder / CONSORTIUM).exists():
            return _start_again(Local.read(folder), note)
        if any(folder.iterdir()):
            begun = "holds a consortium that was not founded to the end"
            raise UsageError(f"{folder} {begun}: hmchain down --remove {quote(str(folder))}")
        try:
            return _make(folder.absolute(), hospitals, dataset, root, partition, job, note)
        except BaseException:
            if (folder / PROCESSES).exists():
                Processes(folder / PROCESSES).stop_all()
            shutil.rmtree(folder, ignore_errors=True)
            raise


def _start_again(local: Local, note: Note) -> Local:
    note(f"{local.folder} has {len(local.hospitals)} hospitals and their job: options that make them have no effect")
    check_ports(local)
    with blaming(local):
        start_daemons(local, note)
        create_first_job(local)
    start_nodes(local, note)
    return local


def _make(
    folder: Path, hospitals: int, dataset: str, root: Path | None, partition: str, job: dict[str, Any], note: Note
) -> Local:
    local = prepare(folder, hospitals, dataset, root, partition, job)
    note(f"{dataset} divided among {hospitals} hospitals, each with its own keys")
    daemons.connect_all(local.kubos, daemons.swarm_key())
    check_ports(local)
    with blaming(local):
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
    samples = {"channels": data.channels, "classes": list(data.classes), "multi_label": data.multi_label}
    named = {"dataset": data.name} | samples | PHASE_SECONDS | job
    manifest_of(named)
    ports = daemons.free_ports(1 + 2 * hospitals)
    folder.mkdir(parents=True, exist_ok=True)
    local = Local(
        folder=folder,
        anvil=daemons.find("anvil"),
        ipfs=daemons.find("ipfs"),
        chain_port=ports[0],
        swarm_ports=tuple(ports[1 : 1 + hospitals]),
        api_ports=tuple(ports[1 + hospitals :]),
    )
    local.write()  # before anything else: `hmchain down --remove` then knows the folder, however soon we are killed
    lines = [f"{key} = {json.dumps(value)}" for key, value in named.items()]
    write_whole(folder / JOB, ("\n".join(lines) + "\n").encode())
    for number, (hospital, kubo, shard) in enumerate(zip(local.hospitals, local.kubos, shards, strict=True), start=1):
        make_hospital(hospital, f"Hospital {number}", local.url, kubo.api)
        write_shard(hospital / "data.npz", shard)
    return local


def make_hospital(hospital: Path, name: str, url: str, api: str) -> Card:
    """Makes one hospital's folder, with a random password in a file, and returns its card. Raises HMChainError.

    url is the chain's, api the multiaddr of the hospital's IPFS daemon.
    """
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
    """Deploys both contracts from the first hospital's account; every hospital is a founder, and is given gas money."""
    web3 = connect_any([local.url], 30.0)
    cards = [Card.read(hospital / founding.CARD) for hospital in local.hospitals]
    fund(web3, [card.operator for card in cards])
    first = local.config(1)
    keys = keystore.unlock(first.keys.operator, first.keys.encryption, _password(first))
    client, receipt = found(web3, keys.identity.account, [card.to_abi() for card in cards])
    consortium = Consortium(client.chain_id, client.address, receipt.transaction, receipt.block)
    consortium = replace(consortium, records=registry.deploy(web3, keys.identity.account, consortium))
    for hospital in local.hospitals:
        consortium.write(hospital / CONSORTIUM)
    consortium.write(local.folder / CONSORTIUM)


def create_first_job(local: Local) -> None:
    """Creates the job from the first hospital's account, unless it was created before. Raises HMChainError."""
    config = local.config(1)
    keys = keystore.unlock(config.keys.operator, config.keys.encryption, _password(config))
    consortium = Consortium.read(config.chain.consortium)
    client = ChainClient(connect(config, consortium), keys.identity.account, consortium.contract)
    history = JobFeed(client, consortium.block).poll()
    store = open_store(config.blobs.store)
    create(client, history, store, config.state.parent, keys.identities, read_manifest(local.folder / JOB))


def _password(config: Config) -> str:
    assert config.keys.password_file is not None
    return keystore.read_password(config.keys.password_file)
