"""Which records each update of this hospital was trained on, and under which consents: chain, lists and vault together.

The chain says which update came in which round, and what its hospital had committed to then; the list of that
commitment, which records it is made of; the vault, whose these are; and the chain's history of consents, which of them
decided just before the update, and which decides now.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

from hmchain.chain import ChainClient
from hmchain.consortium import Consortium
from hmchain.contract import Event
from hmchain.errors import DataError, UsageError
from hmchain.history import History
from hmchain.ledger import JobFeed
from hmchain.permits import Purpose
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
    """A record that an update was trained on. then: the consent that decided just before the update; now: since."""

    submission: Submission
    place: Place
    holding: Holding | None
    then: Ground | None
    now: Ground | None

    @property
    def state(self) -> str:
        """What has become of it."""
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
    """All that is known of our updates. consents: the events of the Records contract, where there is one."""

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
        """The records of each update, those of a file excepted; where `wanted` is given only these."""
        if self.vault is None:
            return
        past, present = _Grounds(self.vault), _Grounds(self.vault)
        present.trail.apply(self.consents)
        rest = deque(self.consents)
        for submission in self.submissions:
            while rest and rest[0].block < submission.block:
                past.trail.apply([rest.popleft()])
            listed = self.listed(submission)
            if listed is None or not listed.purpose:
                continue
            purpose = purpose_named(listed.purpose)
            for place in dict.fromkeys(place for row in listed.rows for place in row):
                if wanted is None or place in wanted:
                    holding = self._holding(self.vault, place)
                    then, now = (known.of(holding, purpose) for known in (past, present))
                    yield Trained(submission, place, holding, then, now)

    def _find(self, root: bytes) -> TrainingSet | str:
        """A list, or why there is none."""
        if root not in self._lists:
            try:
                self._lists[root] = self.sets.find(root)
            except (DataError, UsageError) as fault:
                self._lists[root] = str(fault)
        return self._lists[root]

    def _holding(self, vault: Vault, place: Place) -> Holding | None:
        entry, position = place
        if entry not in self._entries:
            self._entries[entry] = {holding.position: holding for holding in vault.in_entry(entry)}
        return self._entries[entry].get(position)


class _Grounds:
    """What the consents of a trail say of records, looked up once each as long as the trail stays the same."""

    def __init__(self, vault: Vault) -> None:
        self.trail = Trail()
        self._vault = vault
        self._revision = 0
        self._known: dict[tuple[int, Purpose], Ground | None] = {}

    def of(self, holding: Holding | None, purpose: Purpose) -> Ground | None:
        """The consent that decides over a record; None where whose it is is not known."""
        if holding is None:
            return None
        if self._revision != self.trail.revision:
            self._revision = self.trail.revision
            self._known.clear()
        key = holding.id, purpose
        if key not in self._known:
            self._known[key] = ground(self.trail, self._vault, purpose, holding)
        return self._known[key]


@contextmanager
def open_provenance(config: Config, keys: Keys) -> Iterator[Provenance]:
    """Of all updates of this hospital on its consortium's chain. Raises HMChainError."""
    consortium = Consortium.read(config.chain.consortium)
    web3 = connect(config, consortium)
    client = ChainClient(web3, None, consortium.contract)
    feed = JobFeed(client, consortium.block, wary=True)
    history = feed.poll()
    assert feed.head is not None  # it was polled
    head, member = feed.head.number, history.member_of(keys.identity.account.address)
    if member is None:
        raise UsageError(f"account {keys.identity.account.address} is no member of this consortium")
    ours = list(submissions(client.events(consortium.block, head), history, member))
    sets = TrainingSets(config.training_sets, keys)
    if not consortium.records:
        yield Provenance(ours, sets)
        return
    registry = Registry.open(web3, None, consortium)
    vault = Vault.open(config.records.folder, keys, consortium)
    try:
        yield Provenance(ours, sets, vault, list(registry.client.events(consortium.block, head)))
    finally:
        vault.close()
