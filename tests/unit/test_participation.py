"""A member's part in one job: what it enters, what it leaves to others, what it waits for, and for how long."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from hmchain.blobs import BlobRef, DirectoryStore
from hmchain.envelope import new_identity
from hmchain.errors import ContractError
from hmchain.exchange import model_header
from hmchain.history import History, JobRecord, RoundRecord, Update
from hmchain.identity import MemberIdentity
from hmchain.judgement import Judgement
from hmchain.keyring import seal_key
from hmchain.manifest import Manifest
from hmchain.rounds import COORDINATOR, Phase, RoundState
from hmchain.weights import digest, encode
from trainers.config import Roles
from trainers.data_facts import NO_DATA, DataFacts
from trainers.hospital import Hospital
from trainers.keystore import Keys
from trainers.networks import initial_weights
from trainers.opening import OpenJob, Site
from trainers.participation import Participation
from trainers.turns import INTERVAL_SECONDS
from trainers.worker import RemoteLearner

MANIFEST = Manifest(dataset="x", channels=1, classes=("a", "b"), seed=1, rounds=20)
TERMS = MANIFEST.terms()
NONE: frozenset[int] = frozenset()
MASTERS = (7, 3, 9, 5)
MEMBER, OTHER = 3, 8  # one of the masters, and nobody in the round
NOW = 1_735_689_600
DEADLINE = NOW + 900
BLOB = BlobRef.of(b"")


class Chain:
    """Notes what is sent to it; `refusing` the calls that the contract would refuse."""

    def __init__(self) -> None:
        self.sent: list[tuple[Any, ...]] = []
        self.refusing: set[str] = set()
        self.chain_id, self.address = 1, "0xc"

    def transact(self, call: str, *arguments: Any) -> None:
        self.sent.append((call, *arguments))

    def call(self, call: str, *_: Any) -> None:
        if call in self.refusing:
            raise ContractError("WrongPhase")


class Acts:
    """A Hospital that notes what it is asked to do."""

    def __init__(self, member: int) -> None:
        self.number, self.did = member, list[str]()
        self.missing, self.forgotten = list[int](), list[int]()
        self.can = True

    def act(self, state: RoundState) -> bool:
        self.did.append(state.phase.name)
        return self.can and state.phase != Phase.FAILED

    def propose(self, _: RoundState) -> bool:
        self.did.append("propose")
        return True

    def look_ahead(self, _: int) -> list[int]:
        self.did.append("look ahead")
        return self.missing

    def forget(self, round: int) -> None:
        self.forgotten.append(round)


class Case:
    """A member's part in job 1, which is open; its round is the state's, and nothing was submitted in it yet."""

    def __init__(self, member: int = MEMBER, **roles: Any) -> None:
        self.chain, self.acts = Chain(), Acts(member)
        self.job = JobRecord(1, 1, "0xc", MANIFEST.digest(), b"", TERMS, BLOB, BLOB)
        self.job.enrolled = {*MASTERS, 1, 2, OTHER}
        self.history = History(jobs={1: self.job}, active=set(self.job.enrolled))
        self.job.rounds = {n: RoundRecord(n, b"", (1, 2), MASTERS) for n in range(1, 21)}
        feed = SimpleNamespace(history=self.history, head=None)
        site = SimpleNamespace(member=member, client=self.chain, feed=feed, roles=Roles(**roles), training_seconds=60.0)
        self.part = Participation(cast(Site, site), 1)
        self.part.opened = cast(OpenJob, object())
        self.part._hospital = cast(Hospital, self.acts)

    def step(self, state: RoundState, now: int = NOW, coordinator: bool = False) -> bool:
        return self.part.step(state, now, coordinator)

    def judged(self, accepted: frozenset[int], round: int = 1) -> None:
        record = self.job.rounds[round]
        record.updates = {0: Update(1, 8, BLOB)}
        record.judgement = Judgement(round, accepted, 0, (300, 0), 300)


def at(phase: Phase, number: int = 1) -> RoundState:
    """A round in whose present phase nobody has done anything."""
    everyone = frozenset(range(len(MASTERS)))
    return RoundState(
        number, 0, phase, DEADLINE, (1, 2), MASTERS, frozenset({0, 1}), NONE, everyone, everyone, NONE, NONE
    )


# ---------------------------------------------------------------- entering the draws


@pytest.mark.parametrize("phase", [Phase.ENROLMENT, Phase.WAITING, Phase.REQUEST, Phase.PRE_PREPARE])
def test_it_enrols_while_the_draws_are_open(phase: Phase) -> None:
    case = Case()
    case.job.enrolled.remove(MEMBER)
    assert case.step(at(phase), DEADLINE)
    assert case.chain.sent == [("enrol", 1)]


@pytest.mark.parametrize("phase", [Phase.WAITING, Phase.PREPARE, Phase.COMMIT, Phase.REPLY, Phase.FAILED, Phase.CLOSED])
def test_it_does_not_ask_for_what_the_contract_would_refuse(phase: Phase) -> None:
    case = Case(OTHER)
    case.job.enrolled.remove(OTHER)
    case.judged(frozenset({0}))
    case.step(at(phase), DEADLINE + 1)
    assert ("enrol", 1) not in case.chain.sent


def test_who_is_silent_again_and_again_stays_out_longer_each_time() -> None:
    case, waited, number = Case(), list[int](), 1
    case.acts.can = False
    for _ in range(4):
        case.job.enrolled.add(MEMBER)
        case.step(at(Phase.REQUEST, number))
        case.job.enrolled.remove(MEMBER)
        case.chain.sent.clear()
        since = number = number + 1
        while not case.step(at(Phase.REQUEST, number)):
            number += 1
        assert case.chain.sent == [("enrol", 1)]
        waited.append(number - since)
    assert waited == [0, 1, 3, 7]


def test_a_job_that_waits_for_members_is_joined_by_who_was_to_stay_out() -> None:
    case = Case()
    case.acts.can = False
    for number in (1, 2):
        case.job.enrolled.add(MEMBER)
        case.step(at(Phase.REQUEST, number))
        case.job.enrolled.remove(MEMBER)
        case.step(at(Phase.REQUEST, number))
    case.chain.sent.clear()
    assert not case.step(at(Phase.REQUEST, 2))
    assert case.step(at(Phase.WAITING, 2))
    assert case.chain.sent == [("enrol", 1)]


# ---------------------------------------------------------------- opening a job


@pytest.fixture
def say(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> Callable[[], list[str]]:
    """The node's log so far: events, with the reason where there is one."""
    monkeypatch.setattr(logging.getLogger("hmchain.node"), "propagate", True)
    caplog.set_level(logging.INFO, "hmchain.node")

    def told() -> list[str]:
        facts = [(record.getMessage(), getattr(record, "facts", {})) for record in caplog.records]
        return [f"{event}: {about['reason']}" if "reason" in about else event for event, about in facts]

    return told


FITTING = DataFacts(10, 1, 2, bytes(32))


def entering(folder: Path, data: DataFacts = FITTING, enveloped: bool = True, **roles: Any) -> Case:
    """The same before the job was opened, with its blobs in a folder."""
    case, key, own = Case(**roles), new_identity(), MemberIdentity.create()
    store, weights = DirectoryStore(folder), initial_weights(MANIFEST.architecture, 1, 2, MANIFEST.seed)
    initial = digest(encode(weights, model_header(MANIFEST.digest(), 0, bytes(32))))
    keyring = store.put(seal_key(key, {MEMBER if enveloped else OTHER: own.encryption.public}))
    job = replace(
        case.job, initial=initial, manifest_blob=store.put(MANIFEST.canonical()), keys=[(key.public, keyring)]
    )
    case.history.jobs[1] = case.job = job
    site = SimpleNamespace(
        **vars(case.part._site)
        | {
            "data": data,
            "data_stand": lambda: True,
            "keys": Keys(own, ()),
            "state": SimpleNamespace(ballots_of=lambda _: {}),
            "store": store,
            "worker": SimpleNamespace(initial=lambda _: weights),
        }
    )
    case.job.enrolled.remove(MEMBER)
    case.part = Participation(cast(Site, site), 1)
    return case


def test_a_job_that_fits_is_opened_and_its_draws_entered(tmp_path: Path, say: Callable[[], list[str]]) -> None:
    case = entering(tmp_path)
    assert case.step(at(Phase.ENROLMENT))
    assert case.chain.sent == [("enrol", 1)]
    assert say() == ["job opened"]
    assert case.part._learner is not None
    assert case.part._hospital is not None
    assert case.part._hospital.data_stand is case.part._site.data_stand
    assert case.part._learner.seconds == 60.0, "as long as the hospital allows"


@pytest.mark.parametrize(
    ("data", "decline", "why"),
    [
        (NO_DATA, (), "there is no record here that is consented to"),
        (FITTING, ("client",), "we decline the role of client"),
        (FITTING, ("master", "client", "proposer"), "we decline the role of client and master"),
    ],
)
def test_who_cannot_or_will_not_train_and_judge_stays_out_of_the_draws(
    data: DataFacts, decline: tuple[str, ...], why: str, tmp_path: Path, say: Callable[[], list[str]]
) -> None:
    case = entering(tmp_path / "member", data, decline=decline)
    for _ in range(2):
        assert not case.step(at(Phase.ENROLMENT))
    assert not any(case.step(at(Phase.FAILED), NOW + seconds) for seconds in (0, 100))
    assert (say(), case.chain.sent) == ([f"job refused: {why}"], []), "once and for all"
    case = entering(tmp_path / "coordinator", data, decline=decline)
    assert not case.step(at(Phase.ENROLMENT), coordinator=True)
    assert case.part.opened is not None, "its coordinator needs the job's key, to propose"
    assert case.chain.sent == []


def test_without_an_envelope_there_is_one_look_at_each_keyring(tmp_path: Path, say: Callable[[], list[str]]) -> None:
    case, looks = entering(tmp_path, enveloped=False), list[BlobRef]()
    store = case.part._site.store
    counting = SimpleNamespace(get=lambda blob, limit: looks.append(blob) or store.get(blob, limit))
    case.part._site.store = counting  # type: ignore[misc]
    for _ in range(3):
        assert not case.step(at(Phase.ENROLMENT))
    assert len(looks) == 1
    assert say() == ["waiting for the coordinator to envelope the job's key to us"]
    case.job.keys.append(case.job.keys[0])
    case.step(at(Phase.ENROLMENT))
    assert len(looks) == 2


# ---------------------------------------------------------------- judging and proposing


def test_a_master_waits_for_an_update_until_a_third_of_the_phase_is_left(say: Callable[[], list[str]]) -> None:
    case, state = Case(), replace(at(Phase.PRE_PREPARE), deadline=NOW + TERMS.score_seconds)
    case.acts.missing = [1]
    last = NOW + TERMS.score_seconds - TERMS.score_seconds // 3
    for now in (NOW, last - 1):
        assert not case.step(state, now)
    assert case.acts.did == ["look ahead"] * 2
    assert say() == ["round 1: waiting for the updates of members [1]"]
    assert case.step(state, last)
    assert case.acts.did[2:] == ["PRE_PREPARE"]


def test_a_master_that_has_every_update_or_has_committed_waits_for_nothing() -> None:
    case = Case()
    assert case.step(at(Phase.PRE_PREPARE))
    assert case.acts.did == ["look ahead", "PRE_PREPARE"]
    case.acts.missing = [1]
    case.step(replace(at(Phase.PRE_PREPARE), uncommitted=frozenset({0, 2, 3})))
    assert case.acts.did[2:] == ["PRE_PREPARE"]


def test_masters_score_updates_as_they_come_in_and_once() -> None:
    case, state = Case(), at(Phase.REQUEST)
    case.acts.can = False
    updates = case.job.rounds[1].updates
    for _ in range(2):
        case.step(state)
    assert "look ahead" not in case.acts.did
    for position in (0, 1):
        updates[position] = Update(position + 1, 8, BLOB)
        for _ in range(2):
            case.step(state)
    assert case.acts.did.count("look ahead") == 2
    other = Case(OTHER)
    other.acts.can, other.job.rounds[1].updates = False, updates
    other.step(state)
    assert "look ahead" not in other.acts.did, "who is no master scores nothing"


def test_a_candidate_that_is_wrong_or_missing_is_not_looked_at_all_the_time() -> None:
    case, state = Case(), at(Phase.REPLY)
    case.acts.can = False
    begun = DEADLINE - TERMS.reply_seconds
    looks: list[int] = []
    for now in range(begun, begun + 9):
        before = len(case.acts.did)
        assert not case.step(state, now)
        looks += [now] * (len(case.acts.did) - before)
    assert looks == [begun, begun + INTERVAL_SECONDS, begun + 2 * INTERVAL_SECONDS]
    case.acts.can = True
    assert case.step(state, begun + 3 * INTERVAL_SECONDS)


@pytest.mark.parametrize(
    ("accepted", "decline", "proposes"),
    [(frozenset({0}), (), True), (NONE, (), False), (frozenset({0}), ("proposer",), False)],
)
def test_a_master_proposes_what_was_accepted_unless_it_declines(
    accepted: frozenset[int], decline: tuple[str, ...], proposes: bool
) -> None:
    case = Case(decline=decline)
    case.judged(accepted)
    assert case.step(replace(at(Phase.COMMIT), proposed=frozenset({COORDINATOR})), DEADLINE) == proposes
    assert case.acts.did == ["propose"] * proposes


def test_nobody_proposes_before_the_updates_are_judged() -> None:
    case = Case(MASTERS[0])
    assert not case.step(replace(at(Phase.COMMIT), proposed=frozenset({COORDINATOR})), DEADLINE)
    assert case.acts.did == []


# ---------------------------------------------------------------- what anyone may do


@pytest.mark.parametrize(("member", "coordinator", "rank"), [(MEMBER, True, 0), (MEMBER, False, 2), (OTHER, False, 5)])
def test_a_failed_round_is_moved_on_in_turn(member: int, coordinator: bool, rank: int) -> None:
    case = Case(member)
    turn = next(now for now in range(NOW, NOW + 60) if case.step(at(Phase.FAILED), now, coordinator))
    assert turn == NOW + rank * INTERVAL_SECONDS
    assert case.chain.sent == [("advance", 1)]


def test_a_job_that_waits_is_moved_on_in_turn_each_time() -> None:
    """Once for the deadline, and again after it: not all at once, for having waited so long already."""
    case, enough = Case(), replace(at(Phase.WAITING), deadline=0)
    case.acts.can, case.history.active = False, {*case.job.enrolled, 4}
    assert not case.step(enough)
    assert case.step(enough, NOW + 5 * INTERVAL_SECONDS)
    case.chain.sent.clear()
    assert not any(case.step(at(Phase.WAITING), now) for now in (NOW + 60, DEADLINE, DEADLINE + 1))
    assert case.step(at(Phase.WAITING), DEADLINE + 1 + 5 * INTERVAL_SECONDS)
    assert case.chain.sent == [("advance", 1)]


def test_what_somebody_else_has_done_is_not_sent() -> None:
    case = Case()
    case.chain.refusing.add("advance")
    assert not any(case.step(at(Phase.FAILED), NOW + seconds) for seconds in range(60))
    assert case.chain.sent == []


@pytest.mark.parametrize("phase", [Phase.REQUEST, Phase.PRE_PREPARE])
def test_a_member_that_is_no_longer_active_is_struck(phase: Phase) -> None:
    case = Case(OTHER)
    case.acts.can = False
    case.history.active -= {1, 7}
    case.step(at(phase))
    assert case.step(at(phase), NOW + 5 * INTERVAL_SECONDS)
    assert case.chain.sent == [("strike", 1, 1)], "one at a time"


@pytest.mark.parametrize("phase", [Phase.PREPARE, Phase.COMMIT, Phase.REPLY])
def test_nobody_is_struck_while_a_draw_is_pending(phase: Phase) -> None:
    case = Case(OTHER)
    case.acts.can = False
    case.history.active -= {1}
    case.judged(frozenset({0}))
    for seconds in (0, 100):
        assert not case.step(at(phase), NOW + seconds)
    assert case.chain.sent == []


# ---------------------------------------------------------------- rounds that are over


def test_how_each_round_ended_is_told_once_and_after_a_start_only_of_the_last(say: Callable[[], list[str]]) -> None:
    case, over = Case(), {2: "round 2 over", 3: "round 3 over: no update reached the standard value"}
    case.acts.can = False
    case.judged(NONE, round=3)
    case.job.rounds[2].model, case.job.rounds[3].failed = b"\1" * 32, Phase.COMMIT
    for _ in range(2):
        case.step(at(Phase.REQUEST, 3))
    assert say() == [over[2]]
    for _ in range(2):
        case.step(at(Phase.REQUEST, 4))
    assert say() == [over[2], over[3]]
    assert case.acts.forgotten == [1, 2], "a chain that is set back may ask for the last one's scores again"
    case.part.close()
    assert case.acts.forgotten[-1] == case.job.terms.rounds


# ---------------------------------------------------------------- limits


@pytest.mark.parametrize(("left", "seconds"), [(900, 60.0), (59, 59.0), (-1, 0.0)])
def test_a_training_may_take_what_is_left_and_what_the_hospital_allows(left: int, seconds: float) -> None:
    case = Case()
    learner = case.part._learner = cast(RemoteLearner, SimpleNamespace(seconds=None))
    case.step(at(Phase.REQUEST), DEADLINE - left)
    assert learner.seconds == seconds
