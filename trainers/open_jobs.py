"""Which of a consortium's open jobs a hospital's node attends to."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from hmchain.history import History, JobRecord

JOBS_PER_MEMBER = 4  # open jobs of each creator that a node attends to


def attended(history: History, wanted: frozenset[int]) -> Iterator[tuple[int, JobRecord]]:
    """The jobs to attend to, by number: of each creator its oldest open ones, so that nobody can flood a hospital.

    wanted: the numbers of the jobs that the hospital chose; none means all. The limit is by creator, not by
    coordinator, because whoever creates a job may name anyone as its coordinator.
    """
    created: Counter[int] = Counter()
    for number, job in list(history.jobs.items()):  # others may create jobs while one of these is attended to
        if job.closed or (wanted and number not in wanted) or _never_starts(history, job):
            continue
        created[job.creator] += 1
        if created[job.creator] <= JOBS_PER_MEMBER:
            yield number, job


def _never_starts(history: History, job: JobRecord) -> bool:
    """Whether a job waits to be started by a coordinator that is suspended or removed."""
    member = None if job.rounds else history.member_of(job.coordinator)
    return member is not None and member not in history.active
