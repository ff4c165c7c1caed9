"""Which records each update of this hospital was trained on, and under which consents: chain, lists and vault together.

The chain says which update came in which round, and what its hospital had committed to then; the list of that
commitment, which records it is made of; the vault, whose these are; and the chain's history of consents, which of them
decided just before the update, and which decides now.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache

from hmchain.chain import ChainClient
from hmchain.consortium import Consortium
from hmchain.contract import Event
from hmchain.errors import DataError, UsageError
from hmchain.feed import Feed
from hmchain.history import History
from hmchain.registry import Registry
from hmchain.trail import Trail
from trainers.config import Config
from trainers.keystore import Keys
from trainers.parts import connect
from trainers.records.entitlement import Ground, ground
from trainers.records.holdings import Holding
from trainers.records.persons import purpose_named
from trainers.records.vault import Vault
from trainers.training_sets import Place, TrainingSet, TrainingSets

Person = tuple[str, bytes]
"""A person's account, and the salt of its consents."""
CONSENTS = frozenset({"ConsentChanged", "PersonVouched", "VouchWithdrawn"})  # events that decide what may be used


@dataclass(frozen=True)
class Submission:
    """One update of ours on chain. root, samples: what we had committed to then. update: the SHA-256 of its blob.

    counted: whether it was accepted, None where nobody judged it. model: what the round ended with, if it did.
    """

    job: int
    round: int
    root: bytes
    samples: int
    update: bytes
    block: int
    counted: bool | None
    model: bytes | None


def submissions(events: Iterable[Event], history: History, member: int) -> Iterator[Submission]:
    """A member's updates, in the order of the chain. events: HMChain's, from its first block on."""
    committed = bytes(32), 0
    for event in events:
        args = event.args
        if event.name == "DatasetCommitted" and args["member"] == member:
            committed = args["root"], args["sampleCount"]
        elif event.name == "UpdateSubmitted" and args["member"] == member:
            record = history.jobs[args["job"]].rounds[args["round"]]
            counted = member in [update.member for update in record.accepted()] if record.judgement else None
            blob = args["blob"]["sha256"]
            yield Submission(args["job"], args["round"], *committed, blob, event.block, counted, record.model)


@dataclass(frozen=True)
class Trained:
    """A record that updates of one job were trained on. then: the consent that decided just before each of them; now:
    the one that decides today.
    """

    submissions: tuple[Submission, ...]
    place: Place
    holding: Holding | None
    then: Ground | None = None
    now: Ground | None = None

    @property
    def state(self) -> str:
        """Whether the record may still be used, in words."""
        if self.holding is None:
            return "not in this vault"
        if self.holding.erased:
            return "erased since"
        if not self.holding.subject:
            return "the hospital's own"
        if self.then is None or self.now is None:
            return "the person's account is not known here any more"
        if not self.then.stands:
            return f"{_lack(self.then)} by then" + (f", stands now by {self.now}" if self.now.stands else "")
        if not self.now.stands:
            return f"{_lack(self.now)} since"
        return "stands" if self.now == self.then else f"stands by {self.now}"


def _lack(ground: Ground) -> str:
    """Why a record may not be used."""
    if not ground.number:
        return "not given"
    return "not vouched for" if ground.given else "withdrawn"


@dataclass
class Provenance:
    """All that is known of our updates, in the order of the chain. consents: CONSENTS of the Records contract."""

    submissions: Sequence[Submission]
    sets: TrainingSets
    vault: Vault | None = None
    consents: Sequence[Event] = ()
    _lists: dict[bytes, TrainingSet | str] = field(default_factory=dict)
    _notes: dict[int, dict[tuple[int, bytes], bytes]] = field(default_factory=dict)
    _entries: dict[int, dict[int, Holding]] = field(default_factory=dict)

    def listed(self, submission: Submission) -> TrainingSet | None:
        """What an update was trained on; None where its list is not what the chain has, or not there."""
        found = self._find(submission.root)
        return found if isinstance(found, TrainingSet) else None

    def fault(self, submission: Submission) -> str:
        """Where list, note and chain do not agree, "" where they do."""
        found = self._find(submission.root)
        if isinstance(found, str):
            return found
        try:
            if submission.job not in self._notes:
                self._notes[submission.job] = self.sets.noted(submission.job)
        except (DataError, UsageError) as fault:
            return str(fault)
        noted = self._notes[submission.job].get((submission.round, submission.update))
        if noted is None:
            return "the node's note of this update is missing"
        return "" if noted == submission.root else f"the node noted for this update another set, {noted.hex()}"

    def records(self, wanted: Collection[Place] | None = None) -> Iterator[Trained]:
        """The records of the updates, those of a file excepted; where `wanted` is given only these.

        Once for all updates of a job that are of the same set, and between which no consent changed.
        """
        if self.vault is None:
            return
        past, present, person_of = Trail(), Trail(), cache(self._person)
        present.apply(self.consents)
        for said, together in self._runs():
            past.apply(self.consents[past.revision : said])
            listed = self.listed(together[0])
            if listed is None or not listed.purpose:
                continue
            purpose = purpose_named(listed.purpose)
            for place in dict.fromkeys(place for row in listed.rows for place in row):
                if wanted is None or place in wanted:
                    holding = self._holding(self.vault, place)
                    person = person_of(holding.subject) if holding else None
                    if holding is None or person is None:
                        yield Trained(together, place, holding)
                        continue
                    then, now = (ground(trail, *person, purpose, holding) for trail in (past, present))
                    yield Trained(together, place, holding, then, now)

    def _runs(self) -> Iterator[tuple[int, tuple[Submission, ...]]]:
        """Updates of one job, of the same set, and before which as many consents were given or withdrawn: how many."""
        blocks = [event.block for event in self.consents]
        runs: dict[tuple[int, int, bytes], list[Submission]] = {}
        for each in self.submissions:
            runs.setdefault((bisect_left(blocks, each.block), each.job, each.root), []).append(each)
        return ((said, tuple(together)) for (said, _, _), together in runs.items())

    def _find(self, root: bytes) -> TrainingSet | str:
        """A list, or why there is none."""
        if root not in self._lists:
            try:
                self._lists[root] = self.sets.find(root)
            except (DataError, UsageError) as fault:
                self._lists[root] = str(fault)
        return self._lists[root]

    def _person(self, subject: str) -> Person | None:
        """Account and salt; None where one of them is not known here."""
        assert self.vault is not None
        account = self.vault.account_of(subject)
        salt = self.vault.salt(account)
        return None if salt is None else (account, salt)

    def _holding(self, vault: Vault, place: Place) -> Holding | None:
        entry, position = place
        if entry not in self._entries:
            self._entries[entry] = {holding.position: holding for holding in vault.in_entry(entry)}
        return self._entries[entry].get(position)


@dataclass
class _Log(History):
    """The history, and the events that it was built up from."""

    events: list[Event] = field(default_factory=list)

    def apply(self, events: Iterable[Event]) -> None:
        """See History.apply."""
        read = list(events)
        super().apply(read)
        self.events += read


@contextmanager
def open_provenance(config: Config, keys: Keys) -> Iterator[Provenance]:
    """The provenance of all updates of this hospital on its consortium's chain. Raises HMChainError."""
    consortium = Consortium.read(config.chain.consortium)
    web3 = connect(config, consortium)
    client = ChainClient(web3, None, consortium.contract)
    feed = Feed(client, consortium.block, _Log, wary=True)
    history = feed.poll()
    assert feed.head is not None  # it was polled
    head, member = feed.head.number, history.member_of(keys.identity.account.address)
    if member is None:
        raise UsageError(f"account {keys.identity.account.address} is no member of this consortium")
    ours = list(submissions(history.events, history, member))
    sets = TrainingSets(config.training_sets, keys)
    if not consortium.records:
        yield Provenance(ours, sets)
        return
    registry = Registry.open(web3, None, consortium)
    vault = Vault.open(config.records.folder, keys, consortium)
    try:
        events = registry.client.events(consortium.block, head)
        yield Provenance(ours, sets, vault, [event for event in events if event.name in CONSENTS])
    finally:
        vault.close()
