"""Which open jobs a node attends to, whoever creates how many of them."""

from __future__ import annotations

from hmchain.blobs import BlobRef
from hmchain.history import History, JobRecord, RoundRecord
from hmchain.manifest import Manifest
from trainers.open_jobs import JOBS_PER_MEMBER, attended

TERMS = Manifest(dataset="x", channels=1, classes=("a", "b"), seed=1).terms()
ALL: frozenset[int] = frozenset()


def created(*jobs: tuple[int, str]) -> History:
    """Jobs, numbered from 1, by who created each of them and whom it names as coordinator."""
    blob = BlobRef.of(b"")
    records = (JobRecord(number, *job, b"", b"", TERMS, blob, blob) for number, job in enumerate(jobs, 1))
    return History(jobs={record.number: record for record in records})


def numbers(history: History, wanted: frozenset[int] = ALL) -> list[int]:
    return [number for number, _ in attended(history, wanted)]


def test_of_one_members_open_jobs_the_oldest_are_looked_after() -> None:
    history = created(*[(1, "0x1")] * (JOBS_PER_MEMBER + 2))
    assert numbers(history) == [1, 2, 3, 4]
    history.jobs[2].closed = True
    assert numbers(history) == [1, 3, 4, 5]
    assert numbers(history, frozenset({5, 6})) == [5, 6], "which a hospital decides by itself"


def test_a_job_that_is_created_while_others_are_looked_after_waits_its_turn() -> None:
    history, later = created((1, "0x1")), created((1, "0x1"), (2, "0x2"))
    attending = attended(history, ALL)
    assert next(attending)[0] == 1
    history.jobs[2] = later.jobs[2]
    assert list(attending) == []
    assert numbers(history) == [1, 2]


def test_made_up_coordinators_make_nobody_look_after_more() -> None:
    assert numbers(created(*((1, f"0x{number}") for number in range(20)))) == [1, 2, 3, 4]


def test_jobs_in_anothers_name_do_not_count_as_its_own() -> None:
    junk, honest = [(1, "0x2")] * 6, [(2, "0x2"), (2, "0x2")]
    assert numbers(created(*junk, *honest)) == [1, 2, 3, 4, 7, 8]


def test_a_job_that_waits_for_a_barred_coordinator_is_no_open_one() -> None:
    history = created(*[(1, "0x2")] * JOBS_PER_MEMBER, (1, "0x1"), (1, "0x9"))
    history.members = {1: "0x1", 2: "0x2"}
    history.active = {1}
    assert numbers(history) == [5, 6], "the last one's coordinator is no member"
    history.jobs[1].rounds[1] = RoundRecord(1, b"", (), ())
    assert numbers(history) == [1, 5, 6], "a job that runs does without it"
