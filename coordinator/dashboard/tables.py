"""Every table of the dashboard, made from the history: for pages, JSON and CSV alike."""

from __future__ import annotations

import csv
import io
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from coordinator.dashboard.reading import View
from hmchain.history import History, RoundRecord, verdict_text
from hmchain.rounds import Phase
from hmchain.scores import basis_points, is_score

Row = tuple[Any, ...]


@dataclass(frozen=True)
class Sheet:
    """A table: its title, its columns and its rows. None is what the chain does not say."""

    title: str
    columns: tuple[str, ...]
    rows: list[Row]

    def records(self) -> list[dict[str, Any]]:
        """Its rows as JSON objects."""
        return [dict(zip(self.columns, row, strict=True)) for row in self.rows]

    def to_csv(self) -> str:
        """Its rows as CSV; a text that a spreadsheet would take for a formula is quoted with an apostrophe."""
        file = io.StringIO()
        writer = csv.writer(file)
        writer.writerow(self.columns)
        writer.writerows([_inert(cell) for cell in row] for row in self.rows)
        return file.getvalue()


def _inert(cell: Any) -> Any:
    return f"'{cell}" if isinstance(cell, str) and cell.startswith(("=", "+", "-", "@", "\t", "\r")) else cell


def stage(record: RoundRecord) -> str:
    """How far a round got, by what its events show."""
    if record.model is not None:
        return "completed"
    if record.failed is not None:
        return "failed"
    seen = ((record.proposals, Phase.REPLY), (record.judgement, Phase.COMMIT), (record.scores, Phase.PREPARE))
    return next((phase.name for what, phase in seen if what), _early(record).name)


def _early(record: RoundRecord) -> Phase:
    return Phase.PRE_PREPARE if record.commitments else Phase.REQUEST


def percent(word: int) -> float | None:
    """A score word in per cent; None for a reason that stands in a score's place."""
    return basis_points(word) / 100 if is_score(word) else None


def name_of(history: History, member: int) -> str:
    """A member's name, with its number where it has none."""
    return history.names.get(member) or f"member {member}"


def rounds(view: View) -> Sheet:
    """Every round of every job, latest first."""
    rows = [
        (job.number, r.number, stage(r), len(r.clients), len(r.updates), len(r.scores), *_judged(r), _hex(r.model))
        for job in view.history.jobs.values()
        for r in job.rounds.values()
    ]
    columns = ("job", "round", "state", "drawn", "updates", "reveals", "accepted", "base score %", "model")
    return Sheet("Rounds", columns, rows[::-1])


def _judged(record: RoundRecord) -> tuple[int | None, float | None]:
    judgement = record.judgement
    return (len(judgement.accepted), percent(judgement.base)) if judgement else (None, None)


def roster(view: View, record: RoundRecord) -> Sheet:
    """A round's clients: what each submitted, its median and the verdict with its reason."""
    rows: list[Row] = []
    for position, member in enumerate(record.clients):
        update, judgement = record.updates.get(position), record.judgement
        median = percent(judgement.medians[position]) if judgement else None
        verdict = verdict_text(judgement, position) if judgement and update else None
        rows.append((name_of(view.history, member), update.samples if update else None, median, verdict))
    return Sheet("Clients", ("client", "samples", "median %", "verdict"), rows)


def models(view: View) -> Sheet:
    """Every model that found a quorum, latest first."""
    rows = [
        (job.number, r.number, r.model.hex(), str(r.final_blob().cid), r.final_blob().size, len(r.attested))
        for job in view.history.jobs.values()
        for r in job.rounds.values()
        if r.model is not None
    ]
    return Sheet("Models", ("job", "round", "digest", "CID", "bytes", "attestations"), rows[::-1])


def members(view: View) -> Sheet:
    """Every member, with its keys and how often it trained and judged."""
    history, trained, judged = view.history, Counter[int](), Counter[int]()
    for job in history.jobs.values():
        for record in job.rounds.values():
            trained.update(update.member for update in record.updates.values())
            judged.update(record.scores)
    rows = [
        (m, name_of(history, m), _status(history, m), history.samples.get(m), trained[m], judged[m], operator, key)
        for m, operator in history.members.items()
        for key in (_hex(history.keys.get(m)),)
    ]
    columns = ("member", "name", "status", "samples", "updates", "terms as master", "operator", "encryption key")
    return Sheet("Members", columns, rows)


def events(view: View) -> Sheet:
    """Every event, latest first."""
    rows = [(e.block, e.index, e.name, e.args.get("job"), e.args.get("round"), e.transaction) for e in view.events]
    return Sheet("Events", ("block", "log", "event", "job", "round", "transaction"), rows[::-1])


def _status(history: History, member: int) -> str:
    return "active" if member in history.active else "not active"


def _hex(value: bytes | None) -> str | None:
    return value.hex() if value is not None else None


SHEETS: dict[str, Callable[[View], Sheet]] = {
    "rounds": rounds,
    "models": models,
    "members": members,
    "events": events,
}
