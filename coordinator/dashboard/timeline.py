"""A round as its five phases: who was awaited, who came, and when each was over."""

from __future__ import annotations

from dataclasses import dataclass

from coordinator.dashboard.reading import View
from coordinator.dashboard.sheet import moment
from coordinator.dashboard.tables.training import PHASES, is_over, standard_of
from coordinator.progress import PAPER_NAMES
from hmchain.history import JobRecord, RoundRecord
from hmchain.rounds import Phase, quorum_of


@dataclass(frozen=True)
class Step:
    """A phase. state is done, now, ahead, failed or never; ended is in RFC 3339, seconds by the chain's clock."""

    name: str
    told: str
    state: str
    ended: str | None
    seconds: int | None


def timeline(view: View, job: JobRecord, record: RoundRecord, present: Phase | None) -> list[Step]:
    """The five phases of a round, as far as it went. present: the phase that the contract says it is in, if it says."""
    told = dict(zip(PHASES, _told(job, record), strict=True))
    ends = _ends(view, job, record)
    clock = view.chronicle.clocks.get((job.number, record.number))
    since = view.times.get(clock.opened) if clock else None
    steps: list[Step] = []
    for phase in PHASES:
        state = _state(record, phase, present)
        ended = ends.get(phase) if state in ("done", "failed") else None
        seconds = ended - since if ended is not None and since is not None else None
        steps.append(Step(PAPER_NAMES[phase], told[phase], state, moment(ended), seconds))
        since = ended
    return steps


def _state(record: RoundRecord, phase: Phase, present: Phase | None) -> str:
    if record.model is not None:
        return "done"
    if record.failed is not None:
        return "done" if phase < record.failed else "failed" if phase == record.failed else "never"
    if present in PHASES:
        return "done" if phase < present else "now" if phase == present else "ahead"
    reached = next(each for each in PHASES if not is_over(record, each))
    return "done" if phase < reached else "now" if phase == reached else "ahead"


def _ends(view: View, job: JobRecord, record: RoundRecord) -> dict[Phase, int]:
    """When phases ended, in seconds since 1970, as far as known: by the last message awaited, or by their deadline
    (contracts/lib/RoundClock.sol).
    """
    clock = view.chronicle.clocks.get((job.number, record.number))
    if clock is None:
        return {}
    ends = {phase: view.times[block] for phase, block in clock.ends.items() if block in view.times}
    if len(record.updates) < len(record.clients):
        ends[Phase.REQUEST] = clock.deadline
    if len(record.commitments) < len(record.masters) and Phase.REQUEST in ends:
        ends[Phase.PRE_PREPARE] = ends[Phase.REQUEST] + job.terms.score_seconds
    if len(record.scores) < len(record.commitments) and Phase.PRE_PREPARE in ends:
        ends[Phase.PREPARE] = ends[Phase.PRE_PREPARE] + job.terms.reveal_seconds
    if record.failed is not None and clock.over in view.times:
        ends[record.failed] = view.times[clock.over]
    return ends


def _told(job: JobRecord, record: RoundRecord) -> list[str]:
    masters, quorum = len(record.masters), quorum_of(job.terms.masters)
    judged = record.judgement
    verdict = f"{len(judged.accepted)} of {len(record.updates)} accepted" if judged else "not judged yet"
    value = standard_of(record)
    standard = f", standard {value:.2f} %" if value is not None else ""
    return [
        f"{len(record.updates)} of {len(record.clients)} updates",
        f"{len(record.commitments)} of {masters} masters committed",
        f"{len(record.scores)} of {masters} masters revealed",
        f"{verdict}{standard}, {len(record.proposals)} proposed",
        f"{len(record.attested)} attested, {quorum} needed",
    ]
