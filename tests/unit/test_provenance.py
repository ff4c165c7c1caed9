"""Which records which update was trained on: what chain, lists and vault say together, and where they differ."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
from eth_utils import keccak

from hmchain import scopes
from hmchain.blobs import BlobRef
from hmchain.contract import Event
from hmchain.history import History, JobRecord, RoundRecord, Update
from hmchain.identity import MemberIdentity
from hmchain.judgement import Judgement
from hmchain.manifest import Manifest
from hmchain.permits import Purpose, Role, bits_of
from hmchain.record import Kind, Record
from tests.unit.small_hospital import SmallHospital
from trainers.keystore import Keys
from trainers.records import trained_cli
from trainers.records.holdings import Holding, Wanted
from trainers.records.provenance import Provenance, Submission, submissions
from trainers.training_sets import Place, TrainingSet, TrainingSets

UPDATE = bytes([9]) * 32
SALT = keccak(text="salt")
ACCOUNT = "0x52908400098527886E0F7030062857D2E4169EE7"


def event(name: str, block: int, **args: Any) -> Event:
    return Event(name, args, block, 0, "0x00")


def image(number: int, subject: str) -> Record:
    return Record(Kind.CLINICAL, "labelled-image", subject, "2024", (), {"number": number}, "images")


def place(holding: Holding) -> Place:
    assert holding.batch.number is not None
    return holding.batch.number, holding.position


@dataclass
class Asked:
    """A hospital with an image of a patient, one of another and one of nobody, all trained on in rounds 1 and 2."""

    hospital: SmallHospital
    sets: TrainingSets
    events: list[Event] = field(default_factory=list)
    rounds: list[Submission] = field(default_factory=list)

    @classmethod
    def make(cls, folder: Path) -> Asked:
        hospital = SmallHospital.make(folder)
        hospital.take([image(1, "patient"), image(2, "other"), image(3, "")])
        hospital.vault.link("patient", ACCOUNT)
        hospital.vault.learn(ACCOUNT, SALT)
        asked = cls(hospital, TrainingSets(folder / "sets", Keys(MemberIdentity.create())))
        listed = TrainingSet(
            bytes(32), 3, purpose="imaging", rows=tuple((place(h),) for h in hospital.vault.holdings())
        )
        asked.sets.keep(listed.root, listed.encode())
        for round, block in ((1, 20), (2, 30)):
            asked.sets.note(1, round, UPDATE, listed.root)
            asked.rounds.append(Submission(1, round, listed.root, 3, UPDATE, block, True, None))
        asked.events.append(event("PersonVouched", 10, member=1, person=ACCOUNT, role=int(Role.PATIENT)))
        return asked

    def says(self, block: int, label: str, *purposes: Purpose) -> None:
        """The patient consents to these purposes and no others."""
        scope = scopes.scope_of(SALT, label)
        nonce = 1 + sum(e.args.get("scope") == scope for e in self.events)
        consent = {"person": ACCOUNT, "scope": scope, "purposes": bits_of(purposes), "nonce": nonce}
        self.events.append(event("ConsentChanged", block, **consent))

    @property
    def known(self) -> Provenance:
        return Provenance(self.rounds, self.sets, self.hospital.vault, self.events)

    @property
    def holding(self) -> Holding:
        """The patient's image."""
        (found,) = [h for h in self.hospital.vault.holdings() if h.position == 0]
        return found

    def states(self) -> list[tuple[int, str, str]]:
        """Of the patient's image: rounds, the consent then, and what has become of it."""
        found = self.known.records({place(self.holding)})
        return [(s.round, str(each.then), each.state) for each in found for s in each.submissions]


@pytest.fixture
def asked(tmp_path: Path) -> Asked:
    return Asked.make(tmp_path)


# ---------------------------------------------------------------- the chain


def test_an_update_is_of_the_set_that_was_committed_to_before_it() -> None:
    blobs = {n: BlobRef.of(bytes([n])) for n in range(4)}
    terms = Manifest(dataset="x", channels=1, classes=("a", "b"), seed=1).terms()
    job = JobRecord(1, 1, "0x1", b"", b"", terms, blobs[0], blobs[0])
    for number in (1, 2, 3):
        job.rounds[number] = RoundRecord(number, b"", (5, 6), ())
        job.rounds[number].updates = {0: Update(5, 8, blobs[number]), 1: Update(6, 8, blobs[0])}
    job.rounds[1].judgement = Judgement(1, frozenset({0, 1}), 0, (0, 0), 0)
    job.rounds[1].model = b"model"
    job.rounds[2].judgement = Judgement(2, frozenset({1}), 0, (0, 0), 0)

    def submitted(round: int, member: int, blob: BlobRef) -> Event:
        return event("UpdateSubmitted", 10 * round, job=1, round=round, member=member, blob={"sha256": blob.sha256})

    def committed(member: int, root: bytes, count: int) -> Event:
        return event("DatasetCommitted", 1, member=member, root=root, sampleCount=count)

    told = [
        committed(5, b"first", 8),
        committed(6, b"theirs", 7),
        submitted(1, 5, blobs[1]),
        submitted(1, 6, blobs[0]),
        committed(5, b"second", 9),
        submitted(2, 5, blobs[2]),
        submitted(3, 5, blobs[3]),
    ]
    assert list(submissions(told, History(jobs={1: job}), 5)) == [
        Submission(1, 1, b"first", 8, blobs[1].sha256, 10, True, b"model"),
        Submission(1, 2, b"second", 9, blobs[2].sha256, 20, False, None),
        Submission(1, 3, b"second", 9, blobs[3].sha256, 30, None, None),
    ]


# ---------------------------------------------------------------- consents, then and now


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ([(11, "all", True)], [(1, "consent 1 to all", "stands"), (2, "consent 1 to all", "stands")]),
        (
            [(11, "all", True), (40, "all", False)],
            [(1, "consent 1 to all", "withdrawn since"), (2, "consent 1 to all", "withdrawn since")],
        ),
        (
            [(11, "all", True), (25, "type:labelled-image", True), (40, "kind:clinical", False)],
            [
                (1, "consent 1 to all", "stands by consent 1 to type:labelled-image"),
                (2, "consent 1 to type:labelled-image", "stands"),
            ],
        ),
        (
            [(11, "all", True), (40, "all", False), (50, "all", True)],
            [(n, "consent 1 to all", "stands by consent 3 to all") for n in (1, 2)],
        ),
        (
            [(11, "all", True), (29, "all", False)],
            [(1, "consent 1 to all", "withdrawn since"), (2, "consent 2 to all", "withdrawn by then")],
        ),
        (
            [(11, "all", True), (29, "all", False), (50, "all", True)],
            [
                (1, "consent 1 to all", "stands by consent 3 to all"),
                (2, "consent 2 to all", "withdrawn by then, stands now by consent 3 to all"),
            ],
        ),
        ([(30, "all", True)], [(n, "no consent", "not given by then, stands now by consent 1 to all") for n in (1, 2)]),
    ],
    ids=[
        "it stands",
        "withdrawn",
        "a more specific one",
        "given again",
        "between look and update",
        "and given again",
        "in its block",
    ],
)
def test_the_consent_is_the_one_that_decided_just_before_the_update(
    asked: Asked, words: list[tuple[int, str, bool]], told: list[tuple[int, str, str]]
) -> None:
    for block, label, given in words:
        asked.says(block, label, *([Purpose.IMAGING] if given else [Purpose.EHR]))
    assert asked.states() == told


def test_who_is_no_longer_vouched_for_consents_no_more(asked: Asked) -> None:
    asked.says(11, "all", Purpose.IMAGING)
    asked.events.append(event("VouchWithdrawn", 40, person=ACCOUNT))
    assert {state for _, _, state in asked.states()} == {"not vouched for since"}


def test_records_of_nobody_and_of_whom_is_not_known_are_told_as_that(asked: Asked) -> None:
    states = [(each.place[1], each.state) for each in asked.known.records()]
    unknown = "the person's account is not known here any more"
    assert states == [(0, "not given by then"), (1, unknown), (2, "the hospital's own")]


def test_an_erased_record_stays_known_by_its_name_and_its_person_does_not(asked: Asked) -> None:
    asked.says(11, "all", Purpose.IMAGING)
    before = asked.holding
    asked.hospital.vault.erase(before)
    found = [each for each in asked.known.records({place(before)}) if each.holding is not None]
    assert [(s.round, each.state, each.then) for each in found for s in each.submissions] == [
        (1, "erased since", None),
        (2, "erased since", None),
    ]
    assert {(each.holding.leaf, each.holding.subject) for each in found if each.holding} == {(before.leaf, "")}
    assert [asked.known.fault(submission) for submission in asked.rounds] == ["", ""], "lists stay as committed"
    assert not list(asked.hospital.vault.holdings(Wanted(subject="patient")))


def test_a_record_that_the_vault_does_not_have_is_told_as_that(asked: Asked, tmp_path: Path) -> None:
    other = SmallHospital.make(tmp_path / "restored")
    known = replace(asked.known, vault=other.vault, _entries={})
    assert {each.state for each in known.records()} == {"not in this vault"}


# ---------------------------------------------------------------- what is wrong


def test_what_is_missing_or_does_not_match_is_said_and_the_rest_is_told(asked: Asked) -> None:
    first = asked.rounds[0]
    asked.rounds += [
        replace(first, round=3),
        replace(first, round=4, root=bytes([1]) * 32),
        replace(first, round=5),
    ]
    asked.sets.note(1, 5, UPDATE, bytes([2]) * 32)
    told = [asked.known.fault(submission) for submission in asked.rounds]
    assert told == [
        "",
        "",
        "the node's note of this update is missing",
        f"its list {'01' * 32}.age is missing",
        f"the node noted for this update another set, {'02' * 32}",
    ]
    assert {s.round for each in asked.known.records() for s in each.submissions} == {1, 2, 3, 5}


# ---------------------------------------------------------------- what is printed


def printed(asked: Asked, wanted: set[Place] | None, capsys: pytest.CaptureFixture[str]) -> list[str]:
    known = asked.known
    faults = {submission: known.fault(submission) for submission in known.submissions}
    trained_cli._tell(known, faults, trained_cli._grouped(known.records(wanted)), wanted is not None)
    return capsys.readouterr().out.splitlines()


def test_rounds_of_one_set_are_one_line_and_those_of_a_record_another(
    asked: Asked, capsys: pytest.CaptureFixture[str]
) -> None:
    asked.says(11, "all", Purpose.IMAGING)
    asked.says(50, "all")
    first, second = asked.rounds
    root = first.root.hex()[:16]
    asked.rounds[1] = replace(second, counted=False)
    asked.rounds.append(replace(first, round=4, root=bytes([1]) * 32, samples=2))
    name = asked.holding.name
    assert printed(asked, {place(asked.holding)}, capsys) == [
        f"job 1, rounds 1 to 2 (not counted: 2): as committed, set {root}, 3 samples of 3 records for imaging",
        f"job 1, round 4: NOT PROVED (its list {'01' * 32}.age is missing), set {'01' * 8}, 2 samples",
        f"{name}  labelled-image         patient       job 1, rounds 1 to 2 (not counted: 2): consent 1 to all, "
        "withdrawn since",
    ]


def test_what_was_not_trained_on_is_said(asked: Asked, capsys: pytest.CaptureFixture[str]) -> None:
    assert printed(asked, {(7, 7)}, capsys)[-1] == "none of these records was trained on"
    asked.rounds = []
    assert printed(asked, None, capsys) == ["no such update of ours is on chain"]


@pytest.mark.parametrize(
    ("numbers", "text"), [([4], "4"), ([1, 2, 3, 7], "1 to 3, 7"), ([9, 1, 3, 8], "1, 3, 8 to 9"), ([], "")]
)
def test_rounds_in_a_row_are_one_span(numbers: list[int], text: str) -> None:
    assert trained_cli._spans(numbers) == text
