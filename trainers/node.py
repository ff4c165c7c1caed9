"""A hospital's node: it watches the chain and does whatever the chain expects of its member.

Every step begins with the chain as it is and does at most one thing, so a first start, a restart and a passing fault
are one path. Nothing is known to the node alone but what state.py keeps.
"""

from __future__ import annotations

import logging
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from threading import Event as Flag

from web3 import Web3

from hmchain.blobs import BlobStore, open_store
from hmchain.chain import ChainClient
from hmchain.consortium import Consortium
from hmchain.contract import Receipt
from hmchain.endpoints import Endpoints
from hmchain.errors import BlobError, ChainError, ContractError, HMChainError, StorageError, UsageError
from hmchain.history import History
from hmchain.ledger import JobFeed
from trainers.config import Config
from trainers.coordination import Coordination
from trainers.health import Health
from trainers.keystore import Keys
from trainers.logs import say, warn
from trainers.participation import Participation, Site
from trainers.state import NodeState
from trainers.worker import DataFacts, Worker, WorkerOptions

LONGEST_PAUSE = 15.0  # seconds between tries while something fails; well below any deadline
STORE_CHECK_SECONDS = 30.0


class RotatedAway(UsageError):
    """The account that this node acts for is no member's any more."""


@dataclass(frozen=True)
class Parts:
    """What a node is made of. All of it was found to work: nothing here is written or sent before that."""

    config: Config
    keys: Keys
    consortium: Consortium
    client: ChainClient
    store: BlobStore
    worker: Worker
    data: DataFacts
    state: NodeState
    health: Health


def connect(config: Config, consortium: Consortium) -> Web3:
    """The chain, proved to be the consortium's. Raises ChainError, UsageError."""
    web3 = Web3(Endpoints(config.chain.urls, config.chain.timeout_seconds, consortium.chain_id))
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
        WorkerOptions(config.data.file, limits.threads, limits.memory_mib, limits.worker_idle_seconds),
    )
    try:
        data = worker.facts(keys.identity.salt_secret)
    except BaseException:
        worker.close()
        raise
    health = Health(config.health.max_block_age_seconds)
    client = ChainClient(web3, keys.identity.account, consortium.contract, outbox=state, on_receipt=_told(health))
    return Parts(config, keys, consortium, client, store, worker, data, state, health)


class Node:
    """One hospital's node over its parts."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._feed = JobFeed(parts.client, parts.consortium.block, wary=True)
        self._stop = Flag()
        self._site: Site | None = None
        self._jobs: dict[int, tuple[Participation, Coordination | None]] = {}
        self._store_checked = 0.0
        self._last_fault = ""

    def stop(self) -> None:
        """Ends `run` after the step in progress."""
        self._stop.set()

    def run(self) -> None:
        """Works until stopped. Nothing else ends it but an account that was rotated away: RotatedAway."""
        poll, failures = self._parts.config.chain.poll_seconds, 0
        say("watching", member=self._parts.client.sender, contract=self._parts.consortium.contract)
        while not self._stop.is_set():
            pause = poll
            try:
                if self.step():
                    pause = 0.0
                failures, self._last_fault = 0, ""
            except RotatedAway:
                raise
            except Exception as fault:  # nothing that others sent may end a hospital's node
                self._failed(fault)
                pause = min(poll * 2**failures, LONGEST_PAUSE)
                failures = 0 if isinstance(fault, ContractError) else failures + 1
            self._parts.worker.tidy()
            self._stop.wait(pause)
        say("stopped")

    def step(self) -> bool:
        """Looks at the chain and does one thing, if one is due. Raises HMChainError."""
        parts = self._parts
        if parts.client.settle():
            say("a transaction that was on its way is in a block")
        history = self._feed.poll()
        assert self._feed.head is not None
        parts.health.looked(self._feed.head)
        self._check_store()
        if self._site is None:
            self._site = self._join(history)
        if self._site is None:
            return False
        return self._belongs(history, self._site) and (self._commit(history, self._site) or self._work(history))

    # ------------------------------------------------------------------ membership

    def _join(self, history: History) -> Site | None:
        """Our place among the members, once there is one."""
        parts = self._parts
        member = history.member_of(parts.client.sender)
        if member is None:
            if self._last_fault != "waiting":
                say(
                    "waiting to be admitted: hand member.json to a member, who proposes it", account=parts.client.sender
                )
                self._last_fault = "waiting"
            return None
        say("we are a member", member=member, name=history.names[member])
        return Site(
            member,
            parts.keys,
            parts.client,
            self._feed,
            parts.store,
            parts.worker,
            parts.data,
            parts.state,
            parts.config.roles,
        )

    def _belongs(self, history: History, site: Site) -> bool:
        if history.members.get(site.member) != site.client.sender:
            raise RotatedAway(f"account {site.client.sender} was rotated away: start the node with the new keys")
        return site.member in history.active

    def _commit(self, history: History, site: Site) -> bool:
        """Commits to the data set, where the chain has another one or none."""
        told = history.roots.get(site.member), history.samples.get(site.member)
        if told == (site.data.root, site.data.samples):
            return False
        site.client.transact("commitDataset", site.data.root, site.data.samples)
        return True

    # ------------------------------------------------------------------ jobs

    def _work(self, history: History) -> bool:
        assert self._feed.head is not None
        assert self._site is not None
        now = self._feed.head.time
        wanted = self._site.roles.jobs
        for number, job in history.jobs.items():
            if job.closed or (wanted and number not in wanted):
                continue
            participation, coordination = self._part_in(number, job.coordinator)
            state = participation.ledger.state()
            self._parts.health.at(number, state.number, state.phase)
            if coordination is not None and coordination.step(state, now, participation.opened):
                return True
            if participation.step(state, now, coordination is not None):
                return True
        for number in [number for number in self._jobs if history.jobs[number].closed]:
            self._jobs.pop(number)[0].close()
        return False

    def _part_in(self, job: int, coordinator: str) -> tuple[Participation, Coordination | None]:
        if job not in self._jobs:
            assert self._site is not None
            config, ours = self._parts.config, coordinator == self._site.client.sender
            coordinates = ours and "coordinator" not in config.roles.decline
            wait = config.coordinator.start_after_seconds
            coordination = Coordination(self._site, job, config.state.parent, wait) if coordinates else None
            self._jobs[job] = Participation(self._site, job), coordination
        return self._jobs[job]

    # ------------------------------------------------------------------ faults

    def _check_store(self) -> None:
        if time.monotonic() - self._store_checked > STORE_CHECK_SECONDS:
            self._parts.health.stored(False)
            self._parts.store.used()
            self._parts.health.stored(True)
            self._store_checked = time.monotonic()

    def _failed(self, fault: Exception) -> None:
        """Logs a fault, once while it stays the same."""
        chain = isinstance(fault, ChainError) and not isinstance(fault, ContractError)
        self._parts.health.failed(_kind(fault), chain)
        text = f"{type(fault).__name__}: {fault}"
        if text != self._last_fault:
            self._last_fault = text
            if isinstance(fault, ContractError):
                say("somebody was faster", reason=str(fault))
            elif isinstance(fault, HMChainError):
                warn("will try again", reason=str(fault))
            else:  # a defect of ours: where, but never what the variables held
                where = [f"{Path(f.filename).name}:{f.lineno}" for f in traceback.extract_tb(fault.__traceback__)]
                say("defect", logging.ERROR, kind=type(fault).__name__, where=" ".join(where[-6:]))


def _kind(fault: Exception) -> str:
    kinds = {ContractError: "refused", ChainError: "chain", BlobError: "blobs", StorageError: "disk"}
    return next((name for kind, name in kinds.items() if isinstance(fault, kind)), "defect")


def _told(health: Health) -> Callable[[str, Receipt], None]:
    """Counts and logs every transaction."""

    def tell(call: str, receipt: Receipt) -> None:
        health.acted(call, receipt)
        facts = {
            name: event.args[name] for event in receipt.events[:1] for name in ("job", "round") if name in event.args
        }
        say(call, **facts, gas=receipt.gas, block=receipt.block)

    return tell
