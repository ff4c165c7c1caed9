"""A hospital's node: it watches the chain and does whatever the chain expects of its member.

Every step begins from the chain's present state and does at most one thing, so that a first start, a restart and a
passing fault take the same path. The only state that is not on chain is what state.py keeps.
"""

from __future__ import annotations

import time
from threading import Event as Flag

from hmchain.contract import Receipt
from hmchain.errors import ChainBehind, ChainError, ContractError, HMChainError, NonceClash, UsageError
from hmchain.history import History
from hmchain.ledger import JobFeed
from trainers.coordination import Coordination
from trainers.data_facts import NO_DATA
from trainers.faults import FaultLog
from trainers.logs import say
from trainers.open_jobs import attended
from trainers.opening import Site
from trainers.participation import Participation
from trainers.parts import Parts
from trainers.records.answering import Answering
from trainers.records.record_keeping import RecordKeeping
from trainers.worker import StillWorking

LONGEST_PAUSE = 15.0  # seconds between tries while something fails; well below any deadline
LONGEST_BEHIND = 4.0  # the same while the chain's node is behind: the next block may make it catch up
LONGEST_UNOPENED = 300.0  # the same for a job that was never opened, in which nothing is owed yet
STORE_CHECK_SECONDS = 30.0  # between checks that the blob store works
IDLE_POLLS = 4  # poll intervals between looks while no job is open: nobody owes anything then, and looks cost CPU time


class RotatedAway(UsageError):
    """The account that this node acts for has been rotated away and is no longer a member's."""


class ForeignKey(UsageError):
    """The encryption key on chain for this node's member is not ours: somebody else can read what is sealed to us."""


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
        self._faults = FaultLog(parts.health)
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
        """Works until stopped. Only RotatedAway and ForeignKey end it otherwise."""
        poll, failures = self._parts.config.chain.poll_seconds, 0
        say("watching", member=self._parts.client.sender, contract=self._parts.consortium.contract)
        while not self._stop.is_set():
            try:
                pause = 0.0 if self.step() else poll * (1 if self._is_busy() else IDLE_POLLS)
                failures = 0
                self._faults.forget()
            except (RotatedAway, ForeignKey):
                raise
            except Exception as fault:  # nothing that others sent may end a hospital's node
                self._faults.note(fault)
                pause = _pause(poll, failures, LONGEST_BEHIND if isinstance(fault, ChainBehind) else LONGEST_PAUSE)
                failures = 0 if isinstance(fault, ContractError) else failures + 1
            self._parts.worker.tidy()
            self._stop.wait(pause)
        say("stopped")

    def close(self) -> None:
        """Ends the answering thread and closes the records."""
        if self._answering is not None:
            self._answering.stop()
        if self._records is not None:
            self._records.close()

    def step(self) -> bool:
        """Looks at the chain and does one thing, if one is due. False where nothing was. Raises HMChainError."""
        parts = self._parts
        settled = parts.client.settle()
        if settled is not None:
            self._feed.reached(settled)
            say("a transaction that was on its way is in a block")
        history = self._feed.poll()
        assert self._feed.head is not None
        if self._generation != self._feed.generation:  # the chain was set back: forget what followed from the old one
            self._generation, self._site = self._feed.generation, None
            self._jobs.clear()
        parts.health.looked(self._feed.head)
        self._check_store()
        if parts.client.sender in history.retired:
            raise RotatedAway(f"account {parts.client.sender} was rotated away: start the node with the new keys")
        site = self._site = self._site or self._join(history)
        if site is None:
            return False
        if site.member not in history.active:
            self._wait("suspended or removed by the others' vote: there is nothing to do until we are reinstated")
            return False
        self._waits = ""
        return self._take_up_data(site) or self._commit(history, site) or self._work(history)

    def _is_busy(self) -> bool:
        """Whether there is an open job that this node attends to."""
        return any(attended(self._feed.history, self._parts.config.roles.jobs))

    # ------------------------------------------------------------------ membership

    def _join(self, history: History) -> Site | None:
        """What our parts in all jobs share; None until we are a member of a sealed consortium. Raises ForeignKey."""
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
            member=member,
            keys=parts.keys,
            client=parts.client,
            feed=self._feed,
            store=parts.store,
            worker=parts.worker,
            data=self._data,
            state=parts.state,
            sets=parts.sets,
            roles=parts.config.roles,
            training_seconds=parts.config.limits.training_seconds,
            data_stand=lambda: self._records is None or self._records.stand(),
        )

    def _wait(self, what: str) -> None:
        if self._waits != what:
            say(what, account=self._parts.client.sender)
        self._waits = what

    def _commit(self, history: History, site: Site) -> bool:
        """Commits to our data set on chain, unless that was done already; what it commits to is kept on disk first."""
        if site.data.listing:
            site.sets.keep(site.data.root, site.data.listing)
        told = history.roots.get(site.member), history.samples.get(site.member)
        if told == (site.data.root, site.data.samples) or (told == (None, None) and site.data == NO_DATA):
            return False
        site.client.transact("commitDataset", site.data.root, site.data.samples)
        return True

    # ------------------------------------------------------------------ jobs

    def _work(self, history: History) -> bool:
        """Attends to each job in turn. A fault in one job does not affect the others."""
        working = False
        for number, job in attended(history, self._parts.config.roles.jobs):
            if time.monotonic() < self._put_off.get(number, (0.0, 0))[0]:
                continue
            try:
                acted = self._attend(number, job.coordinator)
            except StillWorking:
                working = True
                continue
            except (ContractError, NonceClash) as fault:
                self._faults.note(fault, number)
                self._put_off.pop(number, None)
                continue
            except ChainError:
                raise
            except Exception as fault:  # nothing that others sent may end a hospital's node
                self._postpone(number, fault)
                continue
            self._put_off.pop(number, None)
            self._faults.forget(number)
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
        """Starts the thread that answers requests; where our data are records, takes up a change in consents."""
        parts = self._parts
        if self._answering is None and parts.consortium.records and parts.config.records.release:
            self._answering = Answering(parts.config, parts.keys, parts.consortium, site.member, parts.health)
            self._answering.start()
        if parts.registry is None:
            return False
        self._records = self._records or RecordKeeping(parts)
        data = self._records.look()
        if data is None:
            return False
        self._data, self._site = data, None  # jobs begin again with the new data
        self._jobs.clear()
        return True

    # ------------------------------------------------------------------ faults

    def _postpone(self, job: int, fault: Exception) -> None:
        """Leaves a job alone for a while, longer each time; longest where it is not opened, as nothing is owed yet."""
        opened = job in self._jobs and self._jobs[job][0].opened is not None
        failures = self._put_off.get(job, (0.0, 0))[1]
        pause = _pause(self._parts.config.chain.poll_seconds, failures, LONGEST_PAUSE if opened else LONGEST_UNOPENED)
        self._put_off[job] = time.monotonic() + pause, failures + 1
        self._faults.note(fault, job)

    def _check_store(self) -> None:
        """Reports to health whether the blob store works. What needs no blobs goes on without it."""
        if time.monotonic() - self._store_checked < STORE_CHECK_SECONDS:
            return
        self._store_checked = time.monotonic()
        try:
            self._parts.store.used()
            self._parts.health.stored(True)
        except HMChainError as fault:
            self._parts.health.stored(False)
            self._faults.note(fault)

    def _told(self, call: str, receipt: Receipt) -> None:
        """Counts and logs a transaction, and has the chain read at least as far."""
        self._feed.took(receipt)
        self._parts.health.acted(call, receipt)
        event = receipt.events[0].args if receipt.events else {}
        facts = {name: event[name] for name in ("job", "round") if name in event}
        say(call, **facts, gas=receipt.gas, block=receipt.block)


def _pause(poll: float, failures: int, longest: float) -> float:
    return float(min(poll * 2 ** min(failures, 16), longest))
