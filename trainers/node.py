"""A hospital's node: it watches the chain and does whatever the chain expects of its member.

Every step begins with the chain as it is and does at most one thing, so a first start, a restart and a passing fault
are one path. Nothing is known to the node alone but what state.py keeps.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator
from threading import Event as Flag

from hmchain.contract import Receipt
from hmchain.errors import (
    BlobError,
    ChainError,
    ContractError,
    HMChainError,
    NonceClash,
    StorageError,
    TrainingError,
    UsageError,
)
from hmchain.history import History, JobRecord
from hmchain.ledger import JobFeed
from trainers.coordination import Coordination
from trainers.logs import defect, say, warn
from trainers.opening import Site
from trainers.participation import Participation
from trainers.parts import Parts
from trainers.records.answering import Answering
from trainers.records.record_keeping import RecordKeeping
from trainers.worker import NO_DATA, StillWorking

JOBS_PER_MEMBER = 4  # open ones of its making that are looked after, the oldest
LONGEST_UNOPENED = 300.0  # the same for a job that was never opened
LONGEST_PAUSE = 15.0  # seconds between tries while something fails; well below any deadline
STORE_CHECK_SECONDS = 30.0
IDLE_POLLS = 4  # between looks while no job is open: nothing is owed by anybody then, and looking takes a core's time


class RotatedAway(UsageError):
    """The account that this node acts for is no member's any more."""


class ForeignKey(UsageError):
    """The chain has an encryption key for this node's member that is not its own: somebody else's, who reads along."""


class Node:
    """One hospital's node over its parts."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._feed = JobFeed(parts.client, parts.consortium.block, wary=True)
        self._stop = Flag()
        self._site: Site | None = None
        self._jobs: dict[int, tuple[Participation, Coordination | None]] = {}
        self._generation = 0
        self._put_off: dict[int, tuple[float, int]] = {}  # jobs left alone: until when, after how many failures
        self._noted: dict[int | None, str] = {}
        self._waits = ""
        self._data = parts.data
        self._answering: Answering | None = None
        self._records: RecordKeeping | None = None
        self._store_checked = -STORE_CHECK_SECONDS
        parts.client.on_receipt = self._told

    def stop(self) -> None:
        """Ends `run` after the step in progress."""
        self._stop.set()

    def run(self) -> None:
        """Works until stopped. Nothing else ends it but RotatedAway, and ForeignKey."""
        poll, failures = self._parts.config.chain.poll_seconds, 0
        say("watching", member=self._parts.client.sender, contract=self._parts.consortium.contract)
        while not self._stop.is_set():
            try:
                pause = 0.0 if self.step() else poll * (1 if self._is_busy() else IDLE_POLLS)
                failures = 0
                self._noted.pop(None, None)
            except (RotatedAway, ForeignKey):
                raise
            except Exception as fault:  # nothing that others sent may end a hospital's node
                self._note(fault, None)
                pause = _pause(poll, failures, LONGEST_PAUSE)
                failures = 0 if isinstance(fault, ContractError) else failures + 1
            self._parts.worker.tidy()
            self._stop.wait(pause)
        say("stopped")

    def close(self) -> None:
        """Ends what runs beside `run`."""
        if self._answering is not None:
            self._answering.stop()
        if self._records is not None:
            self._records.close()

    def step(self) -> bool:
        """Looks at the chain and does one thing, if one is due. Raises HMChainError."""
        parts = self._parts
        settled = parts.client.settle()
        if settled is not None:
            self._feed.reached(settled)
            say("a transaction that was on its way is in a block")
        history = self._feed.poll()
        assert self._feed.head is not None
        if self._generation != self._feed.generation:  # another chain than was read before
            self._generation, self._site = self._feed.generation, None
            self._jobs.clear()
        parts.health.looked(self._feed.head)
        self._check_store()
        if parts.client.sender in history.retired:
            raise RotatedAway(f"account {parts.client.sender} was rotated away: start the node with the new keys")
        if self._site is None:
            self._site = self._join(history)
        if self._site is None:
            return False
        active = self._site.member in history.active
        site = self._site
        return active and (self._take_up_data(site) or self._commit(history, site) or self._work(history))

    def _is_busy(self) -> bool:
        """Whether there is a job that something may be due in at any time."""
        return any(_attended(self._feed.history, self._parts.config.roles.jobs))

    # ------------------------------------------------------------------ membership

    def _join(self, history: History) -> Site | None:
        """Our place among the members, once there is one. Raises ForeignKey."""
        parts = self._parts
        member = history.member_of(parts.client.sender)
        if member is None:
            self._wait("waiting to be admitted: hand member.json to a member, who proposes it")
            return None
        if not history.sealed:
            self._wait("waiting for the founder to seal the consortium: until then it can admit anyone")
            return None
        if history.keys[member] not in [identity.public for identity in parts.keys.identities]:
            raise ForeignKey(
                f"member {member} has a key on chain that is not ours, {history.keys[member].hex()}: somebody else can "
                "read what is sealed to it; hmchain members rotate puts our own in its place, or have it removed"
            )
        say("we are a member", member=member, name=history.names[member])
        return Site(
            member,
            parts.keys,
            parts.client,
            self._feed,
            parts.store,
            parts.worker,
            self._data,
            parts.state,
            parts.config.roles,
            parts.config.limits.training_seconds,
        )

    def _wait(self, what: str) -> None:
        if self._waits != what:
            say(what, account=self._parts.client.sender)
        self._waits = what

    def _commit(self, history: History, site: Site) -> bool:
        """Commits to the data set, where the chain has another one or none."""
        told = history.roots.get(site.member), history.samples.get(site.member)
        if told == (site.data.root, site.data.samples) or (told == (None, None) and site.data == NO_DATA):
            return False
        site.client.transact("commitDataset", site.data.root, site.data.samples)
        return True

    # ------------------------------------------------------------------ jobs

    def _work(self, history: History) -> bool:
        """Attends to each job in turn. What is wrong with one job is no matter for the others."""
        working = False
        for number, job in _attended(history, self._parts.config.roles.jobs):
            if time.monotonic() < self._put_off.get(number, (0.0, 0))[0]:
                continue
            try:
                acted = self._attend(number, job.coordinator)
            except StillWorking:
                working = True
                continue
            except (ContractError, NonceClash) as fault:
                self._note(fault, number)
                self._put_off.pop(number, None)
                continue
            except ChainError:
                raise
            except Exception as fault:  # nothing that others sent may end a hospital's node
                self._postpone(number, fault)
                continue
            self._put_off.pop(number, None)
            self._noted.pop(number, None)
            if acted:
                return True
        for number in [number for number in self._jobs if history.jobs[number].closed]:
            self._jobs.pop(number)[0].close()
        return working

    def _attend(self, number: int, coordinator: str) -> bool:
        head = self._feed.head
        assert head is not None
        participation, coordination = self._part_in(number, coordinator)
        state = participation.ledger.state()
        self._parts.health.at(number, state.number, state.phase)
        if coordination is not None and coordination.step(state, head.time, participation.opened):
            return True
        return participation.step(state, head.time, coordination is not None)

    def _part_in(self, job: int, coordinator: str) -> tuple[Participation, Coordination | None]:
        if job not in self._jobs:
            assert self._site is not None
            config, ours = self._parts.config, coordinator == self._site.client.sender
            coordinates = ours and "coordinator" not in config.roles.decline
            wait = config.coordinator.start_after_seconds
            coordination = Coordination(self._site, job, config.state.parent, wait) if coordinates else None
            self._jobs[job] = Participation(self._site, job), coordination
        return self._jobs[job]

    # ------------------------------------------------------------------ records

    def _take_up_data(self, site: Site) -> bool:
        """Where our data are records: other ones, when other ones are consented to. Requests are another thread's."""
        parts = self._parts
        if self._answering is None and parts.consortium.records and parts.config.records.release:
            self._answering = Answering(parts.config, parts.keys, parts.consortium, site.member)
            self._answering.start()
        if parts.registry is None:
            return False
        self._records = self._records or RecordKeeping(parts)
        data = self._records.look()
        if data is None:
            return False
        self._data, self._site = data, None  # what was begun with the data before is begun again
        self._jobs.clear()
        return True

    # ------------------------------------------------------------------ faults

    def _postpone(self, job: int, fault: Exception) -> None:
        """Leaves a job alone for a while: longer each time, longest while it is not opened, as nothing is owed yet."""
        opened = job in self._jobs and self._jobs[job][0].opened is not None
        failures = self._put_off.get(job, (0.0, 0))[1]
        pause = _pause(self._parts.config.chain.poll_seconds, failures, LONGEST_PAUSE if opened else LONGEST_UNOPENED)
        self._put_off[job] = time.monotonic() + pause, failures + 1
        self._note(fault, job)

    def _check_store(self) -> None:
        """Only looks: what needs no blobs goes on without."""
        if time.monotonic() - self._store_checked < STORE_CHECK_SECONDS:
            return
        self._store_checked = time.monotonic()
        try:
            self._parts.store.used()
            self._parts.health.stored(True)
        except HMChainError as fault:
            self._parts.health.stored(False)
            self._note(fault, None)

    def _note(self, fault: Exception, job: int | None) -> None:
        """Logs a fault, once while it stays the same."""
        chain = isinstance(fault, ChainError) and not isinstance(fault, ContractError)
        self._parts.health.failed(_kind(fault), chain)
        text, facts = f"{type(fault).__name__}: {fault}", {} if job is None else {"job": job}
        if self._noted.get(job) == text:
            return
        self._noted[job] = text
        if isinstance(fault, ContractError):
            say("somebody was faster", **facts, reason=str(fault))
        elif isinstance(fault, HMChainError):
            warn("will try again", **facts, reason=str(fault))
        else:
            defect(fault, **facts)

    def _told(self, call: str, receipt: Receipt) -> None:
        """Counts and logs a transaction, and has the chain read at least as far."""
        self._feed.took(receipt)
        self._parts.health.acted(call, receipt)
        event = receipt.events[0].args if receipt.events else {}
        facts = {name: event[name] for name in ("job", "round") if name in event}
        say(call, **facts, gas=receipt.gas, block=receipt.block)


def _attended(history: History, wanted: frozenset[int]) -> Iterator[tuple[int, JobRecord]]:
    """The open jobs that this hospital looks after: no member can make it look after any number of them.

    Whom a job names as coordinator does not count: whoever creates it may name anyone.
    """
    created: Counter[int] = Counter()
    for number, job in history.jobs.items():
        if job.closed or (wanted and number not in wanted) or _never_starts(history, job):
            continue
        created[job.creator] += 1
        if created[job.creator] <= JOBS_PER_MEMBER:
            yield number, job


def _never_starts(history: History, job: JobRecord) -> bool:
    """Whether it waits for a coordinator that is suspended or removed."""
    member = None if job.rounds else history.member_of(job.coordinator)
    return member is not None and member not in history.active


def _pause(poll: float, failures: int, longest: float) -> float:
    return float(min(poll * 2 ** min(failures, 16), longest))


def _kind(fault: Exception) -> str:
    kinds = {
        ContractError: "refused",
        ChainError: "chain",
        BlobError: "blobs",
        StorageError: "disk",
        TrainingError: "training",
    }
    return next((name for kind, name in kinds.items() if isinstance(fault, kind)), "defect")
