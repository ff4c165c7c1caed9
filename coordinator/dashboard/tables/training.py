"""Rounds, updates, scores and models."""

from __future__ import annotations

from collections.abc import Container, Iterator

from coordinator.dashboard.reading import View
from coordinator.dashboard.sheet import Column, Kind, Row, Sheet, hexed, moment
from coordinator.progress import PAPER_NAMES
from hmchain.history import History, JobRecord, RoundRecord, verdict_text
from hmchain.rounds import Phase
from hmchain.scores import basis_points, is_score

INTEGER, NUMBER, HASH, TIME = Kind.INTEGER, Kind.NUMBER, Kind.HASH, Kind.TIME
PHASES = tuple(PAPER_NAMES)  # of a round, in their order
PLACE = (Column("job", INTEGER), Column("round", INTEGER))


def stage(record: RoundRecord) -> str:
    """How far a round has got, as far as events show: a phase ended by its deadline alone shows with the next event."""
    if record.model is not None:
        return "completed"
    if record.failed is not None:
        return "failed"
    return next(phase for phase in PHASES if not is_over(record, phase)).name


def is_over(record: RoundRecord, phase: Phase) -> bool:
    """Whether a round has left a phase, as far as events show."""
    judged = record.judgement is not None
    scored = judged or bool(record.scores)
    after = {
        Phase.REQUEST: len(record.updates) == len(record.clients) or bool(record.commitments) or scored,
        Phase.PRE_PREPARE: len(record.commitments) == len(record.masters) or scored,
        Phase.PREPARE: judged,
        Phase.COMMIT: bool(record.proposals),
        Phase.REPLY: record.model is not None,
    }
    return after[phase]


def percent(word: int) -> float | None:
    """A score word in per cent; None for a reason that stands in a score's place."""
    return basis_points(word) / 100 if is_score(word) else None


def standard_of(record: RoundRecord) -> float | None:
    """The standard value in per cent; None before the judgement, and where nothing can reach it, since the base model
    has no score itself.
    """
    judged = record.judgement
    return judged.standard / 100 if judged and judged.reachable else None


def name_of(history: History, member: int) -> str:
    """A member's name and number: names are what members chose, and two may choose the same."""
    return f"{history.names.get(member) or 'member'} ({member})"


def every_round(history: History) -> Iterator[tuple[JobRecord, RoundRecord]]:
    """All rounds, latest first."""
    for job in reversed(history.jobs.values()):
        for record in reversed(job.rounds.values()):
            yield job, record


def gas_of(view: View, job: int, round: int) -> int | None:
    """Gas of a round's transactions; None until all of them have been looked up."""
    clock = view.chronicle.clocks.get((job, round))
    costs = [view.costs.get(transaction) for transaction in clock.transactions] if clock else []
    known = [cost.gas for cost in costs if cost and cost.gas is not None]
    return sum(known) if known and len(known) == len(costs) else None


def seconds_of(view: View, job: int, round: int) -> int | None:
    """How long a round took, by the chain's clock; None while it runs."""
    clock = view.chronicle.clocks.get((job, round))
    if clock is None or clock.over is None:
        return None
    start, end = view.times.get(clock.opened), view.times.get(clock.over)
    return None if start is None or end is None else end - start


def rounds(view: View) -> Sheet:
    """Every round of every job, latest first."""
    rows = [_round(view, job.number, record) for job, record in every_round(view.history)]
    columns = (
        *PLACE,
        Column("state"),
        Column("opened", TIME),
        Column("seconds", INTEGER),
        Column("drawn", INTEGER),
        Column("updates", INTEGER),
        Column("accepted", INTEGER),
        Column("base score %", NUMBER),
        Column("standard %", NUMBER),
        Column("gas", INTEGER),
        Column("model", HASH),
    )
    return Sheet(
        "Rounds", "Every round, latest first. Its base score is the masters' median of the model before.", columns, rows
    )


def _round(view: View, job: int, record: RoundRecord) -> Row:
    clock, judgement = view.chronicle.clocks.get((job, record.number)), record.judgement
    return (
        job,
        record.number,
        stage(record),
        moment(view.times.get(clock.opened)) if clock else None,
        seconds_of(view, job, record.number),
        len(record.clients),
        len(record.updates),
        len(judgement.accepted) if judgement else None,
        percent(judgement.base) if judgement else None,
        standard_of(record),
        gas_of(view, job, record.number),
        hexed(record.model),
    )


UPDATE_COLUMNS = (
    Column("client"),
    Column("samples", INTEGER),
    Column("median %", NUMBER),
    Column("state"),
    Column("reason"),
    Column("bytes", INTEGER),
    Column("CID", HASH),
)


def roster(view: View, record: RoundRecord) -> Sheet:
    """A round's clients: what each submitted, its median and the verdict with its reason."""
    rows = [_client(view.history, record, position) for position in range(len(record.clients))]
    return Sheet("Clients", "Who was drawn to train, and what became of each update.", UPDATE_COLUMNS, rows)


def _client(history: History, record: RoundRecord, position: int) -> Row:
    name, update, judgement = name_of(history, record.clients[position]), record.updates.get(position), record.judgement
    if update is None:
        over = record.commitments or record.failed is not None
        return name, None, None, "silent" if over else "awaited", None, None, None
    blob = update.blob.size, str(update.blob.cid)
    if judgement is None:
        return name, update.samples, None, "submitted", None, *blob
    state = "accepted" if position in judgement.accepted else "refused"
    return name, update.samples, percent(judgement.medians[position]), state, verdict_text(judgement, position), *blob


def updates(view: View) -> Sheet:
    """Every client's update of every round."""
    rows = [
        (job.number, record.number, *_client(view.history, record, position))
        for job, record in every_round(view.history)
        for position in range(len(record.clients))
    ]
    return Sheet(
        "Updates", "Every drawn client of every round, and what became of its update.", PLACE + UPDATE_COLUMNS, rows
    )


def committee(view: View, record: RoundRecord) -> Sheet:
    """A round's masters: what each of them did of its three duties."""
    over = record.model is not None or record.failed is not None
    judged = record.judgement is not None
    duties = (  # who did it, and whether it can no longer be done
        (record.commitments, over or judged or bool(record.scores)),
        (record.scores, over or judged),
        (record.attested, over),
    )
    rows: list[Row] = [
        (name_of(view.history, master), *(_duty(master, done, past) for done, past in duties))
        for master in record.masters
    ]
    columns = Column("master"), Column("committed"), Column("revealed"), Column("attested")
    return Sheet("Masters", "Who was elected to judge, and what each of them did.", columns, rows)


def _duty(master: int, done: Container[int], past: bool) -> str:
    return "yes" if master in done else "no" if past else "awaited"


def matrix(view: View, record: RoundRecord) -> list[tuple[str, list[float | None]]]:
    """Masters × (clients, base model): scores in per cent; None for a reason in a score's place."""
    count = len(record.clients) + 1
    return [(name_of(view.history, m), [percent(w) for w in words[:count]]) for m, words in record.scores.items()]


def scores(view: View) -> Sheet:
    """Every score that a master revealed."""
    rows = [
        (job.number, record.number, master, name_of(view.history, client), score)
        for job, record in every_round(view.history)
        for master, words in matrix(view, record)
        for client, score in zip((*record.clients, 0), words, strict=True)
        if client
    ]
    columns = (*PLACE, Column("master"), Column("client"), Column("score %", NUMBER))
    return Sheet("Scores", "Every score that a master revealed; none where it gave a reason instead.", columns, rows)


def models(view: View) -> Sheet:
    """Every model that found a quorum, latest first."""
    rows = [
        (
            job.number,
            record.number,
            hexed(record.model),
            str(record.final_blob().cid),
            record.final_blob().size,
            len(record.attested),
            _score_after(job, record.number),
        )
        for job, record in every_round(view.history)
        if record.model is not None
    ]
    columns = (
        *PLACE,
        Column("digest", HASH),
        Column("CID", HASH),
        Column("bytes", INTEGER),
        Column("attestations", INTEGER),
        Column("masters' score %", NUMBER),
    )
    about = "Every model that found a quorum. The masters of the next round score it on data that they hold back."
    return Sheet("Models", about, columns, rows)


def _score_after(job: JobRecord, round: int) -> float | None:
    following = job.rounds.get(round + 1)
    return percent(following.judgement.base) if following and following.judgement else None


def base_scores(job: JobRecord) -> list[tuple[int, float]]:
    """By round whose model it was, 0 for the initial one: the next round's masters' median score, in per cent."""
    found = ((r.number - 1, percent(r.judgement.base)) for r in job.rounds.values() if r.judgement)
    return [(number, score) for number, score in found if score is not None]
