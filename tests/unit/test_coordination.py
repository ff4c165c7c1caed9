"""What a job's coordinator does: it keeps the key until the chain has it, hands it out, begins, and proposes first."""

from __future__ import annotations

import stat
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from hmchain.blobs import BlobRef, DirectoryStore
from hmchain.cid import Cid
from hmchain.envelope import Identity, new_identity, seal
from hmchain.errors import BlobError, StorageError, UsageError
from hmchain.exchange import DirectExchange, aggregate_of, update_header
from hmchain.files import write_secret
from hmchain.history import History, JobRecord, RoundRecord, Update
from hmchain.identity import MemberIdentity
from hmchain.judgement import Judgement
from hmchain.keyring import open_key
from hmchain.manifest import Manifest
from hmchain.rounds import COORDINATOR, Phase, RoundState
from hmchain.weights import digest_of, specification
from trainers.coordination import Coordination, keep_key, kept_key, key_file
from trainers.keystore import Keys
from trainers.networks import initial_weights
from trainers.opening import OpenJob, Site

KEY, OWN, EARLIER = new_identity(), new_identity(), new_identity()
MANIFEST, ANOTHER = b"\1" * 32, b"\2" * 32


def test_a_kept_key_is_found_again(tmp_path: Path) -> None:
    keep_key(tmp_path, MANIFEST, KEY, OWN.public)
    assert kept_key(tmp_path, MANIFEST, (OWN,)) == KEY


def test_after_a_rotation_it_is_found_with_the_earlier_key(tmp_path: Path) -> None:
    keep_key(tmp_path, MANIFEST, KEY, EARLIER.public)
    assert kept_key(tmp_path, MANIFEST, (OWN, EARLIER)) == KEY


def test_each_job_has_its_own(tmp_path: Path) -> None:
    other = new_identity()
    keep_key(tmp_path, MANIFEST, KEY, OWN.public)
    keep_key(tmp_path, ANOTHER, other, OWN.public)
    assert kept_key(tmp_path, MANIFEST, (OWN,)) == KEY
    assert kept_key(tmp_path, ANOTHER, (OWN,)) == other


def test_it_is_on_disk_sealed_and_for_its_owner_alone(tmp_path: Path) -> None:
    keep_key(tmp_path, MANIFEST, KEY, OWN.public)
    (path,) = tmp_path.iterdir()
    assert path == key_file(tmp_path, MANIFEST)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert KEY.secret.encode() not in path.read_bytes()


def test_where_there_is_none_for_us_there_is_none(tmp_path: Path) -> None:
    assert kept_key(tmp_path, MANIFEST, (OWN,)) is None
    keep_key(tmp_path, MANIFEST, KEY, new_identity().public)
    assert kept_key(tmp_path, MANIFEST, (OWN, EARLIER)) is None
    assert kept_key(tmp_path, MANIFEST, ()) is None


def test_a_damaged_file_holds_none(tmp_path: Path) -> None:
    keep_key(tmp_path, MANIFEST, KEY, OWN.public)
    path = key_file(tmp_path, MANIFEST)
    for data in (b"", b"no envelope", path.read_bytes()[:-1]):
        write_secret(path, data)
        assert kept_key(tmp_path, MANIFEST, (OWN,)) is None


def test_an_envelope_with_something_else_is_refused(tmp_path: Path) -> None:
    write_secret(key_file(tmp_path, MANIFEST), seal(b"hello", [OWN.public]))
    with pytest.raises(UsageError, match="not an age secret key"):
        kept_key(tmp_path, MANIFEST, (OWN,))


def test_a_file_that_others_can_read_is_refused(tmp_path: Path) -> None:
    keep_key(tmp_path, MANIFEST, KEY, OWN.public)
    key_file(tmp_path, MANIFEST).chmod(0o644)
    with pytest.raises(UsageError, match=r"the job's key .* can be read by others"):
        kept_key(tmp_path, MANIFEST, (OWN,))


def test_a_folder_that_is_not_there_keeps_nothing(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="cannot write"):
        keep_key(tmp_path / "nowhere", MANIFEST, KEY, OWN.public)


# ---------------------------------------------------------------- handing it out, and beginning

NONE: frozenset[int] = frozenset()
NOW, WAIT = 1_735_689_600, 600


class Case:
    """A job of three masters at its coordinator, member 1, of a consortium of five."""

    def __init__(self, folder: Path, masters: int = 3) -> None:
        self.members = {number: new_identity() for number in range(1, 6)}
        own = MemberIdentity.create()
        self.members[1] = own.encryption
        terms = Manifest(dataset="x", channels=1, classes=("a", "b"), seed=1, masters=masters).terms()
        self.job = JobRecord(1, 1, "0xc", MANIFEST, b"", terms, BlobRef.of(b""), BlobRef.of(b""))
        self.history = History(jobs={1: self.job}, active=set(self.members))
        self.history.keys = {number: identity.public for number, identity in self.members.items()}
        self.store, self.sent = DirectoryStore(folder / "blobs"), list[tuple[Any, ...]]()
        keep_key(folder, MANIFEST, KEY, own.encryption.public)
        client = SimpleNamespace(transact=self._transact, send=lambda *call: partial(self._transact, *call))
        feed = SimpleNamespace(history=self.history, job=self.history.jobs.get, took=lambda _: None)
        site = SimpleNamespace(member=1, keys=Keys(own, ()), client=client, feed=feed, store=self.store)
        self.part = Coordination(cast(Site, site), 1, folder, WAIT)

    def _transact(self, call: str, job: int, *arguments: Any) -> None:
        self.sent.append((call, job))
        self.told = arguments
        if call == "publishKey":
            public, (sha256, cid, size) = arguments
            self.job.keys.append((public, BlobRef(sha256, Cid(0x55, cid), size)))

    def step(
        self,
        phase: Phase = Phase.ENROLMENT,
        now: int = NOW,
        opened: OpenJob | None = None,
        proposed: frozenset[int] = NONE,
    ) -> bool:
        state = RoundState(1, 0, phase, 0, (), (), NONE, NONE, NONE, NONE, NONE, proposed)
        return self.part.step(state, now, opened)

    def opened_by(self, number: int, identity: Identity | None = None) -> Identity:
        """The key in a member's envelope of the newest keyring."""
        return open_key(self.store.get(self.job.keys[-1][1], 10**6), number, identity or self.members[number])


def test_the_key_is_handed_to_every_active_member_once(tmp_path: Path) -> None:
    case = Case(tmp_path)
    case.history.active.remove(4)
    assert case.step()
    assert [case.opened_by(number) for number in (1, 2, 3, 5)] == [KEY] * 4
    with pytest.raises(BlobError):
        case.opened_by(4)
    assert not any(case.step() for _ in range(3))
    assert case.sent == [("publishKey", 1)]


def test_who_joins_or_rotates_is_handed_it_as_well(tmp_path: Path) -> None:
    case = Case(tmp_path)
    case.step()
    assert not case.step()  # all have it
    key_file(tmp_path, MANIFEST).unlink()  # the chain has it, in the coordinator's own envelope
    case.members[6], case.members[2] = new_identity(), new_identity()
    case.history.active.add(6)
    case.history.keys |= {number: case.members[number].public for number in (2, 6)}
    assert case.step()
    assert (case.opened_by(2), case.opened_by(6), len(case.job.keys)) == (KEY, KEY, 2)


def test_a_keyring_that_is_gone_is_published_again(tmp_path: Path) -> None:
    case = Case(tmp_path)
    case.step()
    (tmp_path / "blobs" / str(case.job.keys[0][1].cid)).unlink()
    assert case.step()
    assert case.opened_by(2) == KEY


def test_a_key_that_nobody_has_any_more_can_be_given_to_nobody(tmp_path: Path) -> None:
    case = Case(tmp_path)
    key_file(tmp_path, MANIFEST).unlink()
    case.job.keys.append((KEY.public, case.store.put(b"[]")))
    with pytest.raises(BlobError, match=r"^the key of job 1 is lost: nobody can be given it$"):
        case.step()


def test_the_job_begins_at_once_when_all_are_there_and_after_a_while_with_enough(tmp_path: Path) -> None:
    case = Case(tmp_path)
    case.step()
    case.job.enrolled = {1, 2, 3}
    assert not case.step(now=NOW)
    assert not case.step(now=NOW + WAIT - 1)
    assert case.step(now=NOW + WAIT)
    case.job.enrolled |= {4, 5}
    assert case.step(now=NOW)
    assert case.sent[1:] == [("startJob", 1)] * 2
    case.job.enrolled = {1, 2}
    assert not case.step(now=NOW + 10 * WAIT), "fewer than masters"


def test_alone_nobody_begins(tmp_path: Path) -> None:
    """Who trains alone is judged by nobody."""
    case = Case(tmp_path, masters=1)
    case.step()
    case.job.enrolled = {2}
    for now in (NOW, NOW + 10 * WAIT):
        assert not case.step(now=now)
    case.job.enrolled = {2, 3}
    assert case.step(now=NOW + 10 * WAIT)


def test_a_job_begins_once(tmp_path: Path) -> None:
    case = Case(tmp_path)
    case.step()
    case.job.enrolled = set(case.members)
    assert not any(case.step(phase) for phase in Phase if phase != Phase.ENROLMENT)


def test_of_a_job_that_is_over_nobody_is_given_the_key(tmp_path: Path) -> None:
    case = Case(tmp_path)
    assert not case.step(Phase.CLOSED)
    assert case.sent == []


def test_it_proposes_the_aggregate_of_what_was_accepted_once(tmp_path: Path) -> None:
    case = Case(tmp_path)
    case.step()
    job = Manifest("rows", 0, ("a", "b"), 1, architecture="logistic", preprocessing="asinh", features=("x",))
    initial = initial_weights(job.architecture, 1, 2, job.seed)
    exchange = DirectExchange(specification(initial))
    record = case.job.rounds[1] = RoundRecord(1, bytes(32), (2,), (3,))
    _, blob = exchange.publish(initial, update_header(job.digest(), record, 2))
    record.updates[0] = Update(2, 8, blob)
    opened = OpenJob(job, initial, KEY, cast(Any, exchange))
    assert not case.step(Phase.COMMIT, opened=opened), "not judged yet"
    record.judgement = Judgement(1, frozenset({0}), 0, (300,), 300)
    assert not case.step(Phase.COMMIT), "not opened yet"
    assert not case.step(Phase.REPLY, opened=opened)
    assert case.step(Phase.COMMIT, opened=opened)
    assert case.sent[1:] == [("proposeModel", 1)]
    number, position, model, _ = case.told
    assert (number, position) == (1, COORDINATOR)
    assert model == digest_of(*aggregate_of(record, initial, job, exchange))
    assert not case.step(Phase.COMMIT, opened=opened, proposed=frozenset({COORDINATOR}))
