"""What happened, from the contract's events alone."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from hmchain.blobs import BlobRef
from hmchain.contract import Event
from hmchain.errors import Reason
from hmchain.history import History, bits_of, blob_of, blob_to_abi, positions_of, unroster, verdict_text
from hmchain.judgement import NOTHING_PASSES, Judgement
from hmchain.rounds import Phase
from hmchain.scores import pack

SMALL, LARGE = BlobRef.of(b"small"), BlobRef.of(bytes(300_000))
NAMED = {"sha256": LARGE.sha256, "cid": LARGE.cid.digest, "size": LARGE.size}
TERMS = {
    "rounds": 3,
    "fraction": 5000,
    "masters": 2,
    "termRounds": 4,
    "relative": True,
    "standard": 500,
    "requestSeconds": 1,
    "scoreSeconds": 2,
    "revealSeconds": 3,
    "replySeconds": 4,
}


def happened(*events: tuple[str, dict[str, Any]]) -> History:
    history = History()
    history.apply(
        Event(name, {"job": 1, "round": 1, **args}, n, 0, f"0x{n:064x}") for n, (name, args) in enumerate(events)
    )
    return history


FOUNDED = [
    (
        "MemberAdmitted",
        {"member": n, "operator": f"0x{n}", "encryptionKey": bytes([n]) * 32, "name": b"H\xff".ljust(32, b"\0")},
    )
    for n in (1, 2, 3, 4)
]
OPENED = [
    *FOUNDED,
    (
        "JobCreated",
        {
            "coordinator": "0xc",
            "member": 2,
            "manifest": b"m",
            "model": b"i",
            "terms": TERMS,
            "manifestBlob": NAMED,
            "modelBlob": NAMED,
        },
    ),
    ("RoundOpened", {"base": b"i", "masters": 7 << 240 | 2 << 16 | 1, "clients": [4 << 16 | 3], "deadline": 9}),
]
JUDGED = [
    *OPENED,
    ("UpdateSubmitted", {"member": 4, "samples": 10, "blob": NAMED}),
    ("UpdateSubmitted", {"member": 3, "samples": 20, "blob": NAMED}),
    ("ScoresCommitted", {"member": 1, "commitment": b"c"}),
    ("ScoresRevealed", {"member": 1, "scores": pack([300, 4, 299])}),
    ("UpdatesJudged", {"accepted": 0b01, "standard": 40, "medians": pack([300, 4, 299])}),
]


def test_members_and_their_keys() -> None:
    history = happened(*FOUNDED, ("RotationCompleted", {"member": 2, "operator": "0xnew", "encryptionKey": b"new"}))
    assert history.members == {1: "0x1", 2: "0xnew", 3: "0x3", 4: "0x4"}
    assert history.keys[2] == b"new"
    assert history.names[1] == "H\N{REPLACEMENT CHARACTER}", "a name is whatever its owner wrote"


def test_an_account_that_was_rotated_away_is_not_for_ever() -> None:
    rotated = ("RotationCompleted", {"member": 2, "operator": "0xnew", "encryptionKey": b"new"})
    assert happened(*FOUNDED, rotated).retired == {"0x2": 2}
    admitted = ("MemberAdmitted", {"member": 5, "operator": "0x2", "encryptionKey": b"5", "name": b"H"})
    history = happened(*FOUNDED, rotated, admitted)
    assert history.retired == {}
    assert history.member_of("0x2") == 5


def test_who_created_a_job_is_not_who_coordinates_it() -> None:
    job = happened(*OPENED).jobs[1]
    assert (job.creator, job.coordinator) == (2, "0xc")


def test_a_round_as_it_went() -> None:
    record = happened(*JUDGED).jobs[1].rounds[1]
    assert (record.clients, record.masters, record.base) == ((3, 4), (1, 2), b"i")
    assert {p: (u.member, u.samples) for p, u in record.updates.items()} == {0: (3, 20), 1: (4, 10)}
    assert record.updates[0].blob == LARGE
    assert record.scores == {1: (300, 4, 299)}
    assert record.judgement == Judgement(1, frozenset({0}), 40, (300, 4), 299)
    assert [update.member for update in record.accepted()] == [3]


def test_the_last_proposal_is_the_one_that_was_attested() -> None:
    other = {"sha256": SMALL.sha256, "cid": SMALL.cid.digest, "size": SMALL.size}
    record = (
        happened(
            *JUDGED,
            ("ModelProposed", {"proposer": "0xc", "proposed": 1 << 15, "model": b"bad", "blob": other}),
            ("ModelAttested", {"member": 2, "model": b"bad"}),
            ("ModelProposed", {"proposer": "0x1", "proposed": 1 << 15 | 1, "model": b"good", "blob": NAMED}),
            ("ModelAttested", {"member": 1, "model": b"good"}),
            ("RoundFinalized", {"model": b"good"}),
        )
        .jobs[1]
        .rounds[1]
    )
    assert (record.model, record.final_blob(), record.attested) == (b"good", LARGE, [1])
    assert record.final_blobs() == [LARGE], "another model's blob is none of it"


def test_a_set_of_positions_is_a_word_of_bits() -> None:
    assert [positions_of(bits) for bits in (0, 0b101, 1 << 55)] == [frozenset(), frozenset({0, 2}), frozenset({55})]
    assert bits_of(positions_of(0b1101)) == 0b1101


@pytest.mark.parametrize(
    ("name", "shown"), [(b"St. Mary", "St. Mary"), (b"\x1b[2JSt. Mary", r"'\x1b[2JSt. Mary'"), (b"a\nb", r"'a\nb'")]
)
def test_a_name_steers_no_terminal(name: bytes, shown: str) -> None:
    admitted = {"member": 1, "operator": "0x1", "encryptionKey": b"k", "name": name.ljust(32, b"\0")}
    assert happened(("MemberAdmitted", admitted)).names[1] == shown


def test_how_a_round_and_a_job_end() -> None:
    job = happened(*OPENED, ("RoundFailed", {"phase": 4}), ("JobClosed", {}), ("ReportFiled", {"report": b"r"})).jobs[1]
    assert job.rounds[1].failed is Phase.PRE_PREPARE
    assert (job.closed, job.report) == (True, b"r")
    assert job.rounds[1].accepted() == []
    assert [happened(*events).jobs[1].rounds[1].has_ended() for events in (OPENED, JUDGED)] == [False, False]
    finalized = [*PROPOSED, ("RoundFinalized", {"model": b"good"})]
    for ended in ([*OPENED, ("RoundFailed", {"phase": 4})], finalized):
        job = happened(*ended, ("RoundOpened", {**OPENED[-1][1], "round": 2})).jobs[1]
        assert (job.rounds[1].has_ended(), job.rounds[2].has_ended()) == (True, False)


PROPOSED = [*JUDGED, ("ModelProposed", {"proposer": "0xc", "proposed": 1 << 15, "model": b"good", "blob": NAMED})]


@pytest.mark.parametrize(
    ("lacking", "event"),
    [
        ("UpdateSubmitted", ("ModelAttested", {"member": 2, "model": b"good"})),
        ("ScoresCommitted", ("ModelAttested", {"member": 2, "model": b"good"})),
        ("ModelProposed", ("RoundFinalized", {"model": b"good"})),
        ("RoundFinalized", ("RoundOpened", {**OPENED[-1][1], "round": 2})),
        ("RoundOpened", ("RoundFailed", {"phase": 4})),
        ("no event", ("RoundFinalized", {"model": b"bad"})),
        ("no event", ("RoundOpened", {**OPENED[-1][1], "round": 2})),
        ("no event", ("RoundOpened", {**OPENED[-1][1], "round": 3})),
    ],
)
def test_an_event_that_does_not_follow_from_those_before_it_is_refused(
    lacking: str, event: tuple[str, dict[str, Any]]
) -> None:
    """The contract emits no such; nodes have been seen to leave events out."""
    with pytest.raises(LookupError):
        happened(*(told for told in PROPOSED if told[0] != lacking), event)


def test_events_that_say_nothing_of_history_are_passed_over() -> None:
    assert happened(("ConsortiumSealed", {}), ("__class__", {})).jobs == {}


@pytest.mark.parametrize("ref", [SMALL, LARGE])
def test_a_blob_survives_the_chain(ref: BlobRef) -> None:
    sha256, cid, size = blob_to_abi(ref)
    assert blob_of({"sha256": sha256, "cid": cid, "size": size}) == ref


def test_a_roster_ends_with_its_first_empty_place() -> None:
    word = sum(n << 16 * (n - 1) for n in range(1, 17))
    assert unroster([word, 17]) == tuple(range(1, 18))
    assert unroster([3, 5]) == (3,)
    assert unroster([]) == ()


def test_verdicts_in_words() -> None:
    verdict = Judgement(1, frozenset({0}), 5000, (256 + 6000, 256 + 100, int(Reason.TOO_LARGE), 99), 256)
    told = [verdict_text(verdict, position) for position in range(4)]
    assert told == [
        "scored 60.00 %",
        "scored 1.00 %, below the standard of 50.00 %",
        "the blob is larger than the job allows",
        "reason 99",
    ]
    of_a_base_without_a_score = replace(verdict, accepted=frozenset(), standard=NOTHING_PASSES)
    assert verdict_text(of_a_base_without_a_score, 0) == (
        "scored 60.00 %, but the base model has none, so that nothing passes"
    )
    assert verdict_text(replace(of_a_base_without_a_score, standard=10_000), 0).endswith("standard of 100.00 %")


def test_who_is_in_the_draws() -> None:
    def events(*names: str) -> list[tuple[str, dict[str, Any]]]:
        return [(f"Member{name[:-1]}", {"member": int(name[-1])}) for name in names]

    def enrolled(*names: str) -> set[int]:
        return happened(*OPENED, *events(*names)).jobs[1].enrolled

    assert enrolled() == set()
    assert enrolled("Enrolled1", "Enrolled3", "Enrolled2") == {1, 2, 3}
    assert enrolled("Enrolled1", "Enrolled3", "Withdrawn1") == {3}
    assert enrolled("Enrolled1", "Withdrawn1", "Enrolled1") == {1}, "enrolling again is the sign of life"
    assert enrolled("Withdrawn2") == set()


def test_who_is_active_and_committed_to_what() -> None:
    history = happened(
        *FOUNDED,
        ("MemberStatusChanged", {"member": 2, "status": 2}),
        ("MemberStatusChanged", {"member": 3, "status": 2}),
        ("MemberStatusChanged", {"member": 3, "status": 1}),
        ("DatasetCommitted", {"member": 1, "root": b"old", "sampleCount": 10}),
        ("DatasetCommitted", {"member": 1, "root": b"new", "sampleCount": 20}),
    )
    assert history.active == {1, 3, 4}
    assert (history.roots, history.samples) == ({1: b"new"}, {1: 20})


def test_which_member_an_account_acts_for() -> None:
    history = happened(*FOUNDED, ("RotationCompleted", {"member": 2, "operator": "0xnew", "encryptionKey": b"new"}))
    assert [history.member_of(operator) for operator in ("0x1", "0xnew", "0x2", "0xc")] == [1, 2, None, None]


def test_who_was_drawn_and_said_nothing() -> None:
    def silent(*events: tuple[str, dict[str, Any]]) -> dict[str, list[int]]:
        return happened(*OPENED, *events).jobs[1].rounds[1].silent()

    update = ("UpdateSubmitted", {"member": 4, "samples": 10, "blob": NAMED})
    other = ("UpdateSubmitted", {"member": 3, "samples": 10, "blob": NAMED})
    commitments = [("ScoresCommitted", {"member": member, "commitment": b"c"}) for member in (2, 1)]
    reveals = [("ScoresRevealed", {"member": member, "scores": pack([300, 4, 299])}) for member in (1, 2)]
    assert silent() == {"update": [3, 4]}, "without updates there was nothing to judge"
    assert silent(update) == {"update": [3], "commitment": [1, 2]}
    assert silent(update, commitments[0]) == {"update": [3], "commitment": [1], "reveal": [2]}
    assert silent(update, other, *commitments, reveals[0]) == {"reveal": [2]}
    assert silent(update, other, *commitments, *reveals) == {}


def test_why_a_round_failed_in_words() -> None:
    def failure(phase: Phase, *events: tuple[str, dict[str, Any]]) -> str:
        return happened(*OPENED, *events, ("RoundFailed", {"phase": phase})).jobs[1].rounds[1].failure()

    nothing_accepted = ("UpdatesJudged", {"accepted": 0, "standard": 40, "medians": pack([300, 4, 299])})
    assert failure(Phase.REQUEST) == "nobody submitted an update"
    assert failure(Phase.PRE_PREPARE) == failure(Phase.PREPARE) == "too few masters gave their scores"
    assert failure(Phase.COMMIT, nothing_accepted) == "no update reached the standard value"
    assert failure(Phase.COMMIT, *JUDGED[len(OPENED) :]) == failure(Phase.REPLY) == "no model found a quorum of masters"
