"""A hospital's archive: its keys, its vault, the blob store and the chain's contracts, opened together."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from web3 import Web3

from hmchain.blobs import BlobStore, open_store
from hmchain.chain import ChainClient
from hmchain.consortium import Consortium
from hmchain.errors import ChainError, UsageError
from hmchain.history import History, blob_to_abi
from hmchain.identity import MemberIdentity
from hmchain.ledger import JobFeed
from hmchain.merkle import Tree
from hmchain.registry import Registry, require_records
from hmchain.trail import Entry, Trail
from trainers.config import Config
from trainers.importers.base import Context
from trainers.keystore import Keys
from trainers.parts import connect
from trainers.records.entitlement import Entitlement
from trainers.records.holdings import Batch, Holding, Wanted
from trainers.records.storing import Reading, Storing
from trainers.records.vault import Vault

AT_ONCE = 100  # registrations or erasures in one transaction


@dataclass(frozen=True)
class Archive:
    """Everything that one hospital's records need, opened and checked."""

    config: Config
    keys: Keys
    consortium: Consortium
    web3: Web3
    history: History
    registry: Registry
    vault: Vault
    store: BlobStore

    @property
    def identity(self) -> MemberIdentity:
        """The hospital's keys in use."""
        return self.keys.identity

    @property
    def member(self) -> int:
        """Our member number. Raises UsageError where we are no member."""
        member = self.history.member_of(self.identity.account.address)
        if member is None:
            raise UsageError(f"account {self.identity.account.address} is no member of this consortium")
        return member

    @property
    def rules(self) -> Entitlement:
        """The rules for what others may read."""
        pseudonym, lost = self.context().pseudonym, self.config.records.lost
        return Entitlement(self.member, self.vault, pseudonym, self.registry.is_active, lost)

    @property
    def storing(self) -> Storing:
        """Stores records."""
        return Storing(self.vault, self.store)

    @property
    def reading(self) -> Reading:
        """Opens our own records."""
        return Reading(self.vault, self.store)

    def context(self, subject: str = "", zone: str = "") -> Context:
        """The context of an import. Raises UsageError for an unknown time zone."""
        try:
            return Context(self.vault.pseudonym_key, subject, ZoneInfo(zone or self.config.records.zone))
        except (ZoneInfoNotFoundError, ValueError, OSError) as fault:
            raise UsageError(f"{zone or self.config.records.zone!r} is no time zone, such as Europe/Berlin") from fault

    def register(self) -> Iterator[tuple[Batch, int]]:
        """Registers the stored batches that are not on chain yet, AT_ONCE in a transaction, and yields each with its
        index.

        Raises ContractError, ChainError.
        """
        trail, pending = self.registry.trail(), self.vault.pending()
        for start in range(0, len(pending), AT_ONCE):
            group = pending[start : start + AT_ONCE]
            # One is on chain already where we died before noting that.
            numbers = {b: entry.index for b in group if (entry := trail.entry_of(b.root, self.member))}
            fresh = [batch for batch in group if batch not in numbers]
            if fresh:
                told = self.registry.register(*((b.kind, b.count, b.root, blob_to_abi(b.blob)) for b in fresh))
                numbers |= dict(zip(fresh, told, strict=True))
            for batch in group:
                self.vault.registered(batch, numbers[batch])
                yield batch, numbers[batch]

    def erase(self, *holdings: Holding) -> None:
        """Destroys records' keys and records that on chain, in one transaction: of at most AT_ONCE records.

        Called again after a crash, it completes the rest. Raises HMChainError.
        """
        entries = {holding: self._entry_of(holding) for holding in holdings}
        self.vault.erase(*holdings)
        erased = self.trail().erased
        told = [held for held, entry in entries.items() if held.leaf not in erased.get(entry.index, set())]
        batches = {held.batch for held in told}
        trees = {batch: Tree([held.leaf for held in self.vault.in_batch(batch)]) for batch in batches}
        calls = [
            ("eraseRecord", (entries[held].to_abi(), held.leaf, held.position, trees[held.batch].proof(held.position)))
            for held in told
        ]
        if calls:
            self.registry.transact_all(calls)

    def half_erased(self) -> Iterator[Holding]:
        """Records that are erased here and not on chain, as something ended `erase`, or on chain and not here, as the
        vault was restored from a backup.
        """
        trail = self.trail()
        for holding in self.vault.holdings(Wanted(erased=True)):
            if holding.leaf not in trail.erased.get(holding.batch.number or 0, set()):
                yield holding
        for index, leaves in trail.erased.items():
            if trail.entries[index - 1].holder == self.member:
                yield from (holding for holding in self.vault.having(leaves) if not holding.erased)

    def _entry_of(self, holding: Holding) -> Entry:
        """The entry that a record is in, which is ours. Raises UsageError, ChainError."""
        number, entries = holding.batch.number, self.trail().entries
        if number is None:
            raise UsageError(f"record {holding.name} is not registered yet: import again, which registers it")
        entry = entries[number - 1] if 0 < number <= len(entries) else None
        if entry is None or (entry.root, entry.holder) != (holding.batch.root, self.member):
            raise ChainError(f"entry {number} of this chain is not the one that record {holding.name} is in")
        return entry

    def trail(self) -> Trail:
        """All that has happened to records, up to date. Raises ChainError."""
        return self.registry.trail()


@contextmanager
def open_archive(config: Config, keys: Keys) -> Iterator[Archive]:
    """Connects, checks and opens everything. Raises HMChainError with the first thing that does not work."""
    consortium = Consortium.read(config.chain.consortium)
    require_records(consortium)
    web3 = connect(config, consortium)
    registry = Registry.open(web3, keys.identity.account, consortium)
    history = JobFeed(ChainClient(web3, None, consortium.contract), consortium.block, wary=True).poll()
    store = open_store(config.blobs.store, config.blobs.timeout_seconds, config.limits.disk_mib * 2**20, durable=True)
    vault = Vault.open(config.records.folder, keys, consortium)
    try:
        yield Archive(config, keys, consortium, web3, history, registry, vault, store)
    finally:
        vault.close()
