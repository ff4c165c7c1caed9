"""A round as its five phases: who was awaited, who came, and when each was over."""

from __future__ import annotations

from dataclasses import dataclass

from coordinator.dashboard.reading import View
from coordinator.dashboard.sheet import moment
from hmchain.history import JobRecord, RoundRecord
from hmchain.rounds import Phase, quorum_of


@dataclass(frozen=True)
class Step:
    """A phase. state is done, now, or ahead; ended is in RFC 3339, seconds by the chain's clock."""

    name: str
    told: str
    state: str
    ended: str | None
    seconds: int | None


PHASES = (Phase.REQUEST, Phase.PRE_PREPARE, Phase.PREPARE, Phase.COMMIT, Phase.REPLY)


def timeline(view: View, job: JobRecord, record: RoundRecord) -> list[Step]:
    """The five phases of a round, as far as it went."""
    clock = view.chronicle.clocks.get((job.number, record.number))
    told = dict(zip(PHASES, _told(job, record), strict=True))
    over = record.model is not None or record.failed is not None
    reached = max((phase for phase in PHASES if clock and phase in clock.ends), default=None)
    steps: list[Step] = []
    since = clock.opened if clock else None
    for phase in PHASES:
        ended = clock.ends.get(phase) if clock else None
        done = ended is not None and (over or _is_over(record, phase))
        current = (
            not over and not done and (reached is None or phase >= reached) and all(s.state != "now" for s in steps)
        )
        state = "done" if done else "now" if current else "ahead"
        start, end = view.times.get(since or -1), view.times.get(ended or -1)
        seconds = end - start if done and start is not None and end is not None else None
        steps.append(Step(phase.name.replace("_", "-"), told[phase], state, moment(end) if done else None, seconds))
        since = ended if done else since
    return steps


def _told(job: JobRecord, record: RoundRecord) -> list[str]:
    masters, quorum = len(record.masters), quorum_of(job.terms.masters)
    judged = record.judgement
    verdict = f"{len(judged.accepted)} of {len(record.updates)} accepted" if judged else "not judged yet"
    standard = f", standard {judged.standard / 100:.2f} %" if judged else ""
    return [
        f"{len(record.updates)} of {len(record.clients)} updates",
        f"{len(record.commitments)} of {masters} masters committed",
        f"{len(record.scores)} of {masters} masters revealed",
        f"{verdict}{standard}, {len(record.proposals)} proposed",
        f"{len(record.attested)} attested, {quorum} needed",
    ]


def _is_over(record: RoundRecord, phase: Phase) -> bool:
    """Whether a running round has left a phase, as far as events show."""
    after = {
        Phase.REQUEST: len(record.updates) == len(record.clients) or bool(record.commitments),
        Phase.PRE_PREPARE: len(record.commitments) == len(record.masters) or bool(record.scores),
        Phase.PREPARE: record.judgement is not None,
        Phase.COMMIT: bool(record.proposals),
        Phase.REPLY: record.model is not None,
    }
    return after[phase]
