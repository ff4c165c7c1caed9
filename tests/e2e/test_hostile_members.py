"""Members that cheat, fail or keep silent cost themselves their update, and nobody else the round."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.numpy

from coordinator.federation import Federation
from coordinator.folder import read_key
from coordinator.progress import Silent
from coordinator.run import conduct
from hmchain.blobs import BlobRef, BlobStore, open_store
from hmchain.envelope import Identity, new_identity, seal
from hmchain.errors import ContractError, Reason
from hmchain.exchange import Exchange, aggregate_of, update_header
from hmchain.history import RoundRecord
from hmchain.rounds import Phase, RoundState
from hmchain.scores import is_score, word_of_score
from hmchain.weights import Header, Weights, encode
from tests.e2e.conftest import vars_of
from tests.e2e.stripes import federation_of, options_for
from trainers.hospital import Hospital
from trainers.learner import LocalLearner
from trainers.splits import Split
from trainers.team import TeamLearner

CHAINS = pytest.mark.parametrize("chain", ["embedded", None], ids=["on a chain", "without"])


# ---------------------------------------------------------------- one round, an attack by each member


@dataclass(frozen=True)
class Scene:
    """What an attacker has in hand: good weights, their header, the exchange, the updates before its own."""

    weights: Weights
    header: Header
    exchange: Exchange
    record: RoundRecord

    def publish(self, weights: Weights | None = None, **header: Any) -> BlobRef:
        return self.exchange.publish(weights or self.weights, replace(self.header, **header))[1]

    def poisoned(self, value: float) -> BlobRef:
        weights = {name: array.copy() for name, array in self.weights.items()}
        weights["3.bias"].flat[0] = value
        return self.publish(weights)

    def with_tensor(self, name: str, change: Callable[[np.ndarray[Any, Any]], np.ndarray[Any, Any]]) -> BlobRef:
        return self.publish({**self.weights, name: change(self.weights[name])})


@dataclass(frozen=True)
class SealedScene(Scene):
    """And, where there are blobs, the store and the key."""

    store: BlobStore
    key: Identity

    def seal(self, plaintext: bytes) -> BlobRef:
        return self.store.put(seal(plaintext, [self.key.public]))


ANYWHERE: dict[str, tuple[Reason, Callable[[Scene], BlobRef]]] = {
    "NaN": (Reason.NOT_FINITE, lambda s: s.poisoned(np.nan)),
    "infinity": (Reason.NOT_FINITE, lambda s: s.poisoned(-np.inf)),
    "a billion": (Reason.OUT_OF_RANGE, lambda s: s.poisoned(1e9)),
    "another shape": (Reason.WRONG_TENSORS, lambda s: s.with_tensor("0.weight", lambda a: a.reshape(-1))),
    "another dtype": (Reason.WRONG_TENSORS, lambda s: s.with_tensor("0.weight", lambda a: a.astype(np.int64))),
    "a tensor more": (Reason.WRONG_TENSORS, lambda s: s.publish({**s.weights, "z": np.zeros(3, np.float32)})),
    "a tensor less": (
        Reason.WRONG_TENSORS,
        lambda s: s.publish({name: array for name, array in s.weights.items() if name != "0.bias"}),
    ),
    "another round": (Reason.WRONG_HEADER, lambda s: s.publish(round=2)),
    "another sender": (Reason.WRONG_HEADER, lambda s: s.publish(sender=s.header.sender + 1)),
    "another base": (Reason.WRONG_HEADER, lambda s: s.publish(base=b"\1" * 32)),
    "another job": (Reason.WRONG_HEADER, lambda s: s.publish(manifest=b"\1" * 32)),
    "a model": (Reason.WRONG_HEADER, lambda s: s.publish(kind="model")),
    "another's update": (Reason.WRONG_HEADER, lambda s: min(s.record.updates.items())[1].blob),
    "never stored": (Reason.UNAVAILABLE, lambda s: BlobRef.of(b"nothing")),
    "a giant": (Reason.TOO_LARGE, lambda s: replace(s.publish(), size=2**32 - 1)),
}
IN_BLOBS: dict[str, tuple[Reason, Callable[[SealedScene], BlobRef]]] = {
    "a pickle": (Reason.UNREADABLE, lambda s: s.seal(pickle.dumps(s.weights))),
    "nothing": (Reason.UNREADABLE, lambda s: s.seal(b"")),
    "random bytes": (Reason.UNREADABLE, lambda s: s.store.put(np.random.default_rng(0).bytes(9999))),
    "random bytes, sealed": (Reason.UNREADABLE, lambda s: s.seal(np.random.default_rng(0).bytes(9999))),
    "not sealed": (Reason.UNREADABLE, lambda s: s.store.put(encode(s.weights, s.header))),
    "another's key": (
        Reason.UNREADABLE,
        lambda s: s.store.put(seal(encode(s.weights, s.header), [new_identity().public])),
    ),
    "a byte more": (Reason.UNREADABLE, lambda s: s.seal(encode(s.weights, s.header) + b"\0")),
    "cut": (Reason.UNREADABLE, lambda s: s.seal(encode(s.weights, s.header)[:-4])),
    "a deep header": (Reason.UNREADABLE, lambda s: s.seal((10**5).to_bytes(8, "little") + b"[" * 10**5)),
    "double precision": (
        Reason.WRONG_TENSORS,
        lambda s: s.seal(
            safetensors.numpy.save(
                {name: np.asarray(array, np.float64) for name, array in list(s.weights.items())[:3]},
                s.header.metadata(),
            )
        ),
    ),
    "another digest": (Reason.WRONG_DIGEST, lambda s: replace(s.publish(), sha256=b"\1" * 32)),
    "really large": (Reason.TOO_LARGE, lambda s: s.seal(bytes(2_000_000))),
}


class Attacker(Hospital):
    """Submits what its attack made of good weights."""

    attack: Callable[[Any], BlobRef]
    scene: Callable[..., Scene]

    def submit(self, state: RoundState) -> bool:
        record = self.ledger.record(state.number)
        header = update_header(self.manifest.digest(), record, self.number)
        blob = self.attack(self.scene(self.base(record), header, self.exchange, record))
        self.ledger.submit_update(state, self.learner.samples, blob)
        return True


def play_attacks(folder: Path, data: Path, chain: str | None) -> tuple[dict[str, int], RoundRecord, dict[str, Any]]:
    """A round in which all members are clients: the first two in position are honest, the others attack.

    Returns the verdict's word on each attack, the round, and the run's summary.
    """
    attacks: dict[str, Any] = {**ANYWHERE, **(IN_BLOBS if chain else {})}
    members = len(ANYWHERE) + len(IN_BLOBS) + 2
    options = options_for(
        folder, data, chain=chain, members=members, fraction=1.0, rounds=1, batch_size=2, learning_rate=1e-4
    )
    setup, federation = federation_of(options)
    federation.together = nullcontext  # who attacks sees what was sent before
    clients = federation.coordinator.state().clients
    attackers = dict(zip(attacks, clients[2:], strict=False))
    scene: Callable[..., Scene] = Scene
    if chain:
        store, key = open_store(folder / "blobs"), read_key(folder)
        scene = lambda *known: SealedScene(*known, store, key)  # noqa: E731
    for name, member in attackers.items():
        attacker = Attacker(**vars_of(federation.hospitals[member]))
        attacker.attack, attacker.scene = attacks[name][1], scene
        federation.hospitals[member] = attacker
    summary = conduct(federation, options, setup.dataset, Silent())
    record = federation.coordinator.record(1)
    assert record.judgement is not None
    words = {name: record.judgement.medians[clients.index(member)] for name, member in attackers.items()}
    return words, record, summary


@pytest.fixture(scope="module")
def attacked(data: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str | None, Any]:
    """The same round on a chain and without."""
    folder = tmp_path_factory.mktemp("attacked")
    return {chain: play_attacks(folder / str(chain), data, chain) for chain in ("embedded", None)}


@pytest.mark.parametrize("attack", [*ANYWHERE, *IN_BLOBS])
def test_a_bad_update_is_refused_for_what_is_wrong_with_it(attack: str, attacked: dict[str | None, Any]) -> None:
    expected = {**ANYWHERE, **IN_BLOBS}[attack][0]
    assert Reason(attacked["embedded"][0][attack]) is expected


@pytest.mark.parametrize("attack", ANYWHERE)
def test_it_is_refused_for_the_same_reason_without_a_chain(attack: str, attacked: dict[str | None, Any]) -> None:
    assert attacked[None][0][attack] == attacked["embedded"][0][attack]


def test_the_good_updates_count_and_the_round_completes(attacked: dict[str | None, Any]) -> None:
    for chain, (_, record, summary) in attacked.items():
        accepted = {record.updates[position].member for position in record.judgement.accepted}
        assert set(record.clients[:2]) <= accepted, chain
        assert len(accepted) == (2 if chain else 2 + len(IN_BLOBS))
        assert summary["completed_rounds"] == 1


# ---------------------------------------------------------------- clients


def without(federation: Federation, member: int, kind: type[Hospital]) -> None:
    """Puts another kind of hospital in a member's place."""
    federation.hospitals[member] = kind(**vars_of(federation.hospitals[member]))


class Flipper(Hospital):
    """Trains hard on wrong labels, in the last round."""

    def submit(self, state: RoundState) -> bool:
        assert isinstance(self.learner, TeamLearner)
        learner = self.learner.inner  # whatever the team has begun on the right labels is not asked for
        assert isinstance(learner, LocalLearner)
        train = learner.shard.train
        learner.shard = replace(learner.shard, train=Split(train.inputs, (train.labels + 1) % 3))
        self.learner = learner
        return super().submit(state)


def test_a_client_that_turns_labels_around_is_refused(data: Path, tmp_path: Path) -> None:
    options = options_for(
        tmp_path / "run",
        data,
        chain=None,
        members=6,
        fraction=0.5,
        rounds=6,
        epochs=5,
        batch_size=8,
        learning_rate=0.05,
    )
    _, federation = federation_of(options)
    state = play_until(federation, lambda state: state.number == 6)
    without(federation, state.clients[0], Flipper)
    play_until(federation, lambda state: state.phase == Phase.CLOSED)
    record = federation.coordinator.record(6)
    assert record.judgement is not None
    assert record.judgement.base > word_of_score(8_000), "the federation has learnt"
    assert 0 not in record.judgement.accepted
    assert is_score(record.judgement.medians[0])
    assert record.model is not None


class SilentMember(Hospital):
    """Never says anything."""

    def act(self, state: RoundState) -> bool:
        return False


@CHAINS
@pytest.mark.parametrize("role", ["clients", "masters"])
def test_a_silent_member_holds_nobody_up(role: str, chain: str | None, data: Path, tmp_path: Path) -> None:
    options = options_for(tmp_path / "run", data, chain=chain, members=8, fraction=0.3, rounds=2)
    setup, federation = federation_of(options)
    state = federation.coordinator.state()
    silent = getattr(state, role)[1]
    without(federation, silent, SilentMember)
    summary = conduct(federation, options, setup.dataset, Silent())
    assert (summary["completed_rounds"], summary["failed_rounds"]) == (2, 0)
    second = federation.coordinator.record(2)
    assert silent not in second.clients + second.masters, "whoever is silent leaves the draws"


# ---------------------------------------------------------------- masters


class Babbler(Hospital):
    """A master whose scores are nonsense."""

    words = (0xFFFF, 0, 255)

    def _score(self, round: int) -> list[int]:
        count = len(self.ledger.record(round).clients) + 1
        return [self.words[i % 3] for i in range(count)]


@CHAINS
def test_one_master_of_four_that_babbles_changes_no_verdict(chain: str | None, data: Path, tmp_path: Path) -> None:
    verdicts = []
    for name, kind in (("honest", Hospital), ("babbling", Babbler)):
        options = options_for(tmp_path / name, data, chain=chain, members=8, rounds=1)
        _, federation = federation_of(options)
        state = federation.coordinator.state()
        without(federation, state.masters[2], kind)
        play_until(federation, lambda state: state.phase == Phase.COMMIT)
        record = federation.coordinator.record(1)
        assert record.judgement is not None
        verdicts.append(record.judgement.accepted)
        honest = [words for member, words in record.scores.items() if member != state.masters[2]]
        for position, median in enumerate(record.judgement.medians):
            told = [words[position] for words in honest]
            assert min(told) <= median <= max(told)
    assert verdicts[0] == verdicts[1] != frozenset()


# ---------------------------------------------------------------- the coordinator


def play_until(federation: Federation, done: Callable[[RoundState], bool], propose: bool = True) -> RoundState:
    """Everyone does what is due, until it is done."""
    while not done(state := federation.coordinator.state()):
        if state.phase == Phase.COMMIT and propose and not state.proposed:
            weights, header = candidate(federation, federation.coordinator.record(state.number))
            federation.coordinator.propose_model(state, *federation.exchange.publish(weights, header))
        elif state.phase == Phase.FAILED:
            federation.coordinator.advance()
        elif not act_all(federation, state):
            federation.wait_until(state.deadline)
    return state


def candidate(federation: Federation, record: RoundRecord) -> tuple[Weights, Header]:
    """The aggregate that an honest coordinator proposes."""
    return aggregate_of(record, federation.base(record), federation.manifest, federation.exchange)


def act_all(federation: Federation, state: RoundState) -> int:
    """How many members had something to say; they look at the round anew, each for itself."""
    acted = 0
    for number in dict.fromkeys(state.clients + state.masters):
        now = federation.coordinator.state()
        if (now.number, now.phase) == (state.number, state.phase):
            acted += federation.hospitals[number].act(now)
    return acted


def proposals(federation: Federation) -> dict[str, tuple[bytes, BlobRef]]:
    """What a cheating coordinator may post."""
    record = federation.coordinator.record(1)
    weights, header = candidate(federation, record)
    digest, _ = federation.exchange.publish(weights, header)
    doubled, blob = federation.exchange.publish({name: 2 * array for name, array in weights.items()}, header)
    return {
        "another model": (doubled, blob),
        "the right digest, another blob": (digest, blob),
        "the right digest, no blob": (digest, BlobRef.of(b"nothing")),
        "an update's blob": (digest, min(record.updates.items())[1].blob),
    }


WRONG = ["another model", "the right digest, another blob", "the right digest, no blob", "an update's blob"]


@CHAINS
@pytest.mark.parametrize("what", WRONG)
def test_a_wrong_proposal_is_attested_by_nobody_and_a_masters_wins(
    what: str, chain: str | None, data: Path, tmp_path: Path
) -> None:
    options = options_for(tmp_path / "run", data, chain=chain, rounds=1)
    _, federation = federation_of(options)
    state = play_until(federation, lambda state: state.phase == Phase.COMMIT)
    federation.coordinator.propose_model(state, *proposals(federation)[what])
    state = federation.coordinator.state()
    assert state.phase == Phase.REPLY
    assert act_all(federation, state) == 0
    federation.wait_until(state.deadline)
    play_until(federation, lambda state: state.phase == Phase.CLOSED)
    record = federation.coordinator.record(1)
    assert len(record.proposals) == 2
    assert record.model == record.proposals[1].model is not None
    assert record.final_blob() == record.proposals[1].blob


@CHAINS
def test_where_nobody_proposes_the_round_fails_and_the_previous_model_stands(
    chain: str | None, data: Path, tmp_path: Path
) -> None:
    options = options_for(tmp_path / "run", data, chain=chain, rounds=2, members=8)
    _, federation = federation_of(options)
    play_until(federation, lambda state: state.phase == Phase.COMMIT)
    base = federation.coordinator.record(1).base
    play_until(federation, lambda state: state.number == 2, propose=False)
    record = federation.coordinator.record(1)
    assert (record.model, record.failed) == (None, Phase.COMMIT)
    assert federation.coordinator.record(2).base == base
    play_until(federation, lambda state: state.phase == Phase.CLOSED)
    assert federation.coordinator.record(2).model is not None


@CHAINS
def test_only_the_coordinator_proposes_in_the_first_half_of_its_time(
    chain: str | None, data: Path, tmp_path: Path
) -> None:
    options = options_for(tmp_path / "run", data, chain=chain, rounds=1)
    _, federation = federation_of(options)
    state = play_until(federation, lambda state: state.phase == Phase.COMMIT)
    master = federation.hospitals[state.masters[0]]
    assert not master.act(state)
    with pytest.raises(ContractError) as refusal:
        master.propose(state)
    assert refusal.value.name == "NotYourTurn"
    federation.wait_until(state.deadline - federation.manifest.reply_seconds // 2)
    master.propose(federation.coordinator.state())
    play_until(federation, lambda state: state.phase == Phase.CLOSED)
    assert federation.coordinator.record(1).model is not None
