"""All the parties of a whole-consortium run in one process: on a chain, or on the plain model of the protocol."""

from __future__ import annotations

import hashlib
import hmac
import secrets
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path

from coordinator.attacks import Attacker, malicious_members
from coordinator.deploy import Founder, connect, create_job, found_consortium, fund, open_job, publish_initial
from coordinator.folder import BLOBS, LedgerFile, RunFile, write_key
from coordinator.options import EMBEDDED, RunOptions
from coordinator.report import GasTable, digest_text
from hmchain.blobs import IPFS_PREFIX, open_store
from hmchain.chain import ChainClient
from hmchain.contract import Receipt
from hmchain.embedded import EmbeddedChain
from hmchain.envelope import new_identity
from hmchain.exchange import DirectExchange, Exchange, SealedExchange, model_header
from hmchain.identity import MemberIdentity
from hmchain.keyring import MAX_BYTES as MAX_KEYRING
from hmchain.keyring import open_key
from hmchain.ledger import Batch, ContractLedger, JobFeed, Ledger, SoleFeed
from hmchain.manifest import Manifest
from hmchain.plain import PlainJob
from hmchain.stopwatch import Stopwatch
from hmchain.weights import Weights, digest_of, specification
from trainers.dataset_root import dataset_root
from trainers.datasets import Dataset
from trainers.hospital import BaseModel, Hospital, base_model
from trainers.learner import LocalLearner, pad_of
from trainers.networks import Compute, initial_model
from trainers.splits import Shard
from trainers.team import Team, TeamLearner


@dataclass
class Federation:
    """The parties of one job, and what else a run needs."""

    manifest: Manifest
    hospitals: dict[int, Hospital]
    coordinator: Ledger
    exchange: Exchange
    base: BaseModel
    watch: Stopwatch
    gas: GasTable
    together: Callable[[], AbstractContextManager[None]]  # messages sent in it are waited for at its end
    wait_until: Callable[[int], None]  # until the chain's clock has passed a time
    save: Callable[[], None]
    file_report: Callable[[bytes], None]
    team: Team


@dataclass(frozen=True)
class Setup:
    """What a federation is built from, with and without a chain."""

    options: RunOptions
    dataset: Dataset
    manifest: Manifest
    shards: list[Shard]
    initial: Weights
    watch: Stopwatch
    team: Team

    @classmethod
    def of(cls, options: RunOptions, dataset: Dataset, shards: list[Shard], watch: Stopwatch) -> Setup:
        """The set-up of a run; shards are the hospitals' data in order of member number. Raises UsageError."""
        manifest = options.manifest(dataset)
        return cls(
            options,
            dataset,
            manifest,
            shards,
            initial_model(manifest, {manifest.architecture}),
            watch,
            Team(options.workers),
        )

    def identities(self) -> list[MemberIdentity]:
        """Fresh keys for every member. Salts follow from the seed, so that the same seed draws the same members."""
        seed = self.options.seed.to_bytes(8, "big")
        return [
            MemberIdentity.create(hmac.digest(seed, f"hmchain/simulated-salt/{n}".encode(), hashlib.sha256))
            for n in range(1, self.options.members + 1)
        ]

    def hospitals(
        self,
        identities: Sequence[MemberIdentity],
        ledger_of: Callable[[int], Ledger],
        exchange: Exchange,
    ) -> dict[int, Hospital]:
        """The members by number. They share an exchange, and a scratch network to compute on."""
        pad = pad_of(self.manifest, {self.manifest.architecture})
        compute, malicious, hospitals = Compute(), malicious_members(self.options), {}
        for number, (identity, shard) in enumerate(zip(identities, self.shards, strict=True), start=1):
            ledger = ledger_of(number)
            base = base_model(self.manifest, exchange, self.initial, ledger.records)
            honest = LocalLearner(self.manifest, shard, pad, compute)
            member = Attacker(honest, self.options.attack) if number in malicious else honest
            learner = TeamLearner(member, self.team)
            hospitals[number] = Hospital(number, learner, identity, self.manifest, ledger, exchange, base, self.watch)
        return hospitals


def plain_federation(setup: Setup) -> Federation:
    """On the plain Python model of the protocol: no EVM, no blobs, no encryption."""
    model = digest_of(setup.initial, model_header(setup.manifest.digest(), 0, bytes(32)))
    job = PlainJob(setup.manifest.terms(), setup.manifest.digest(), model)
    for number, shard in enumerate(setup.shards, start=1):
        job.join(number, len(shard.train))
    job.start()
    options = setup.options
    # A round's updates, the model that it starts from, and what its masters and the coordinator propose.
    exchange = DirectExchange(specification(setup.initial), options.clients + 1 + options.masters + 1)
    hospitals = setup.hospitals(setup.identities(), job.ledger, exchange)
    coordinator = job.ledger(0)
    return Federation(
        manifest=setup.manifest,
        hospitals=hospitals,
        coordinator=coordinator,
        exchange=exchange,
        base=base_model(setup.manifest, exchange, setup.initial, coordinator.records),
        watch=setup.watch,
        gas=GasTable(),
        together=nullcontext,
        wait_until=job.wait_until,
        save=lambda: None,
        file_report=lambda report: None,
        team=setup.team,
    )


def chain_federation(setup: Setup, folder: Path) -> Federation:
    """On a chain, embedded or by URL, with sealed blobs. Raises ChainError, BlobError, StorageError."""
    options, manifest, watch = setup.options, setup.manifest, setup.watch
    identities, deployer, key = setup.identities(), MemberIdentity.create(), new_identity()
    store = open_store(folder / BLOBS if options.blobs is None else options.blobs)
    with watch.measure("chain"):
        accounts = [deployer.account.address, *(identity.account.address for identity in identities)]
        embedded = EmbeddedChain(accounts) if options.chain == EMBEDDED else None
        web3 = embedded.web3 if embedded else connect(str(options.chain))
        if embedded is None:
            fund(web3, accounts)
        clients, deployment = found_consortium(web3, deployer.account, founders(setup, identities))
    with watch.measure("blobs"):
        blobs, model = publish_initial(store, manifest, setup.initial, key)
    with watch.measure("chain"):
        job = create_job(clients[1], clients[0].sender, manifest, blobs, model)
        members = [
            (client, identity.encryption.public) for client, identity in zip(clients[1:], identities, strict=True)
        ]
        keyring = open_job(clients[0], job, store, key, members)

    opened = open_key(store.get(keyring, MAX_KEYRING), 1, identities[0].encryption)
    exchange = SealedExchange(store, opened, specification(setup.initial), watch)
    feed, gas = (SoleFeed if embedded else JobFeed)(clients[0], deployment.block), GasTable()
    batch = Batch()
    ledgers = [ContractLedger(client, feed, job, n, watch, gas.add, batch) for n, client in enumerate(clients)]
    file = LedgerFile(folder, embedded) if embedded else None

    def save() -> None:
        if file:
            file.extend()

    def file_report(report: bytes) -> None:
        clients[0].transact("fileReport", job, report)
        save()

    write_key(folder, key)
    save()
    run_file(setup, clients[0], deployment, job).write(folder)  # last: a folder that has it has all
    hospitals = setup.hospitals(identities, lambda n: ledgers[n], exchange)
    wait = embedded.wait_until if embedded else sleep_until(clients[0])
    base = base_model(manifest, exchange, setup.initial, ledgers[0].records)
    return Federation(
        manifest, hospitals, ledgers[0], exchange, base, watch, gas, batch.together, wait, save, file_report, setup.team
    )


def founders(setup: Setup, identities: Sequence[MemberIdentity]) -> list[Founder]:
    """The members as they found the consortium, each committed to its own data under a salt that it keeps."""
    return [
        Founder(identity, f"Hospital {number}", dataset_root(shard.train, secrets.token_bytes(32)), len(shard.train))
        for number, (identity, shard) in enumerate(zip(identities, setup.shards, strict=True), start=1)
    ]


def run_file(setup: Setup, coordinator: ChainClient, deployment: Receipt, job: int) -> RunFile:
    """run.json of this federation."""
    options = setup.options
    return RunFile(
        chain=options.chain_shown,
        chain_id=coordinator.chain_id,
        contract=coordinator.address,
        deployment=deployment.transaction,
        job=job,
        blobs=location_of(options.blobs),
        dataset=setup.dataset.name,
        dataset_digest=digest_text(setup.dataset.digest),
    )


def location_of(blobs: str | None) -> str:
    """Where the blobs are, in a form that does not depend on the working directory."""
    if blobs is None:
        return BLOBS
    if blobs.startswith(IPFS_PREFIX):
        return blobs
    return str(Path(blobs).resolve())


def sleep_until(client: ChainClient) -> Callable[[int], None]:
    """Waits in real time, for a chain whose clock we do not set."""

    def wait(deadline: int) -> None:
        while client.block().time <= deadline:
            time.sleep(1)

    return wait
