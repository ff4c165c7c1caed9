"""Assembles what a node is made of, and checks that it works before anything is written or sent."""

from __future__ import annotations

from dataclasses import dataclass

from web3 import Web3

from hmchain.blobs import BlobStore, open_store
from hmchain.chain import ChainClient
from hmchain.consortium import Consortium
from hmchain.endpoints import open_chain
from hmchain.registry import Registry
from trainers.config import Config
from trainers.data_facts import NO_DATA, DataFacts
from trainers.health import Health
from trainers.keystore import Keys
from trainers.state import NodeState
from trainers.training_sets import TrainingSet, TrainingSets
from trainers.worker import Worker
from trainers.worker_process import WorkerOptions


@dataclass(frozen=True)
class Parts:
    """What a node is made of, all of it checked."""

    config: Config
    keys: Keys
    consortium: Consortium
    client: ChainClient
    store: BlobStore
    worker: Worker
    data: DataFacts
    state: NodeState
    health: Health
    sets: TrainingSets
    registry: Registry | None  # for reading consents; None where the data are a file


def connect(config: Config, consortium: Consortium) -> Web3:
    """The chain, proved to be the consortium's. Raises ChainError, UsageError."""
    web3 = open_chain(config.chain.urls, config.chain.timeout_seconds, consortium.chain_id)
    consortium.check(web3)
    return web3


def assemble(config: Config, keys: Keys) -> Parts:
    """Connects and checks everything. Raises HMChainError with the first thing that does not work."""
    consortium = Consortium.read(config.chain.consortium)
    state = NodeState.open(config.state, consortium)
    web3 = connect(config, consortium)
    store = open_store(config.blobs.store, config.blobs.timeout_seconds, config.limits.disk_mib * 2**20)
    store.used()
    limits = config.limits
    worker = Worker(
        WorkerOptions(
            config.training_file, limits.threads, limits.memory_mib, limits.worker_idle_seconds, config.roles.modules
        ),
    )
    try:
        from_file = config.data.source == "file"
        data = _file_facts(config, keys, worker) if from_file else NO_DATA  # else the node looks in its records
    except BaseException:
        worker.close()
        raise
    health = Health(config.health.max_block_age_seconds, blob_seconds=config.blobs.timeout_seconds)
    client = ChainClient(web3, keys.identity.account, consortium.contract, outbox=state)
    registry = Registry.open(web3, None, consortium) if config.data.source == "records" else None
    sets = TrainingSets(config.training_sets, keys)
    return Parts(config, keys, consortium, client, store, worker, data, state, health, sets, registry)


def _file_facts(config: Config, keys: Keys, worker: Worker) -> DataFacts:
    facts = worker.facts(keys.identity.salt_secret)
    name = config.training_file.name
    return facts.listed(TrainingSet(facts.root, facts.samples, name, facts.file.hex()))
