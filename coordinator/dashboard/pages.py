"""The pages: each is made from the view of the index, the live facts beside it, and a template."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from sqlalchemy.exc import SQLAlchemyError
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response

from coordinator.dashboard.api import description
from coordinator.dashboard.charts import Chart, Line, chart
from coordinator.dashboard.filed import FiledReport
from coordinator.dashboard.indexer import Indexer
from coordinator.dashboard.reading import Reading, View, tick_of
from coordinator.dashboard.sheet import moment
from coordinator.dashboard.tables import SHEETS, Sheet, sheet_of, training
from coordinator.dashboard.timeline import timeline
from coordinator.dashboard.verification import Verification
from hmchain.errors import StorageError
from hmchain.history import JobRecord

HERE = Path(__file__).parent
PAGE_ROWS = 50
EXCERPT_ROWS = 10  # of a table that shares its page with others
MOST_LINES = 12  # in a picture: more cannot be told apart

PAGES = (
    ("overview", "/", "Overview"),
    ("rounds", "/rounds", "Rounds"),
    ("models", "/models", "Models"),
    ("members", "/members", "Members"),
    ("records", "/records", "Records and access"),
    ("chain", "/chain", "Chain"),
    ("data", "/data", "Data"),
)


@dataclass(frozen=True)
class Excerpt:
    """A table on a page: its name, the rows that are shown of it, and how many there are."""

    name: str
    sheet: Sheet
    total: int


class Pages:
    """The pages over one index."""

    def __init__(
        self,
        reading: Reading,
        indexer: Indexer,
        report: FiledReport,
        verification: Verification | None,
        state: Callable[[], str],
    ) -> None:
        self._reading = reading
        self._indexer = indexer
        self._report = report
        self._verification = verification
        self._state = state
        loader = FileSystemLoader(HERE / "templates")
        self._templates = Environment(
            loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
        )
        self._templates.filters["moment"] = moment

    def overview(self, request: Request) -> Response:
        """A job: where it stands, and how good its model is so far."""

        def content(view: View) -> dict[str, Any]:
            job = self._job(request, view)
            latest = _last(job.rounds) if job else None
            stages = [training.stage(record) for record in job.rounds.values()] if job else []
            return {
                "job": job,
                "latest": latest,
                "state": training.stage(latest) if latest else None,
                "counts": {name: stages.count(name) for name in ("completed", "failed")},
                "present": self._indexer.presents.get(job.number) if job else None,
                "jobs": list(view.history.jobs),
                "drawable": len(job.enrolled & view.history.active) if job else 0,
                "active": len(view.history.active),
                "picture": self._quality(job),
                "rounds": self._excerpt(view, "rounds"),
                "members": len(view.history.members),
            }

        return self._page("overview.html", "Overview", content)

    def rounds(self, request: Request) -> Response:
        """Every round."""
        return self._page("rounds.html", "Rounds", lambda view: self._searched(request, view, "rounds"))

    def round(self, request: Request) -> Response:
        """One round: its phases, its clients and masters, and what every master scored."""

        def content(view: View) -> dict[str, Any]:
            job = view.history.jobs.get(_whole(request.path_params["job"], 0))
            record = job.rounds.get(_whole(request.path_params["round"], 0)) if job else None
            if job is None or record is None:
                raise HTTPException(404, "The chain knows no such round")
            present = self._indexer.presents.get(job.number)
            if present and present.round != record.number:
                present = None
            steps = timeline(view, job, record, present.phase if present else None)
            running = next((step.name for step in steps if step.state == "now"), None)
            return {
                "job": job,
                "record": record,
                "state": running or training.stage(record),
                "present": present,
                "phases": steps,
                "standard": training.standard_of(record),
                "gas": training.gas_of(view, job.number, record.number),
                "seconds": training.seconds_of(view, job.number, record.number),
                "roster": training.roster(view, record),
                "committee": training.committee(view, record),
                "matrix": training.matrix(view, record),
                "medians": [training.percent(w) for w in record.judgement.medians] if record.judgement else [],
                "base": training.percent(record.judgement.base) if record.judgement else None,
            }

        title = f"Round {request.path_params['round']} of job {request.path_params['job']}"
        return self._page("round.html", title, content, place="rounds")

    def models(self, request: Request) -> Response:
        """Every model, and how good it was."""

        def content(view: View) -> dict[str, Any]:
            job = self._job(request, view)
            return {
                "picture": self._quality(job),
                "measured": self._report.rows(job),
                "verification": self._verification.outcome if self._verification else None,
                **self._searched(request, view, "models"),
            }

        return self._page("models.html", "Models", content)

    def members(self, _: Request) -> Response:
        """Members, reputations and ballots."""

        def content(view: View) -> dict[str, Any]:
            return {
                "picture": _reputations(view),
                "members": self._excerpt(view, "members", PAGE_ROWS),
                "ballots": self._excerpt(view, "ballots"),
            }

        return self._page("members.html", "Members", content)

    def records(self, _: Request) -> Response:
        """Registered records, permissions, readings and emergencies."""
        names = "emergencies", "kinds", "readings", "grants", "consents", "delegations", "persons", "batches"

        def content(view: View) -> dict[str, Any]:
            waiting = sum(case.verdict is None for case in view.trail.emergencies.values())
            absent = view.cursor is None or not view.cursor.origin.records
            return {"excerpts": [self._excerpt(view, name) for name in names], "waiting": waiting, "absent": absent}

        return self._page("records.html", "Records and access", content)

    def chain(self, _: Request) -> Response:
        """The node, the chain's age, gas by call."""

        def content(view: View) -> dict[str, Any]:
            return {
                "node": self._indexer.node,
                "gas": self._excerpt(view, "gas", PAGE_ROWS),
                "events": self._excerpt(view, "events"),
            }

        return self._page("chain.html", "Chain", content)

    def data(self, _: Request) -> Response:
        """Every table, and how programs get it."""
        return self._page(
            "data.html", "Data", lambda view: {"tables": [(name, sheet_of(view, name)) for name in SHEETS]}
        )

    def api(self, _: Request) -> Response:
        """The API's description, for people to read."""
        return self._page("api.html", "API", lambda _: {"paths": description()["paths"]}, place="data")

    def table(self, request: Request) -> Response:
        """One table, a page of rows at a time, or the rows that hold a text."""
        name = request.path_params["name"]
        if name not in SHEETS:
            raise HTTPException(404, "There is no such table")
        return self._page("table.html", "Table", lambda view: self._searched(request, view, name), place="data")

    def verify(self, _: Request) -> Response:
        """Begins a verification, and shows the page that reports on it."""
        if self._verification is None:
            raise HTTPException(404, "Only a run's folder can be verified here")
        self._verification.start()
        return RedirectResponse("/models", 303)

    def missing(self, request: Request, fault: Exception) -> Response:
        """The page for what is not there."""
        text = fault.detail if isinstance(fault, HTTPException) else "There is no such page"
        text = "There is no such page" if text == "Not Found" else text
        try:
            return self._page("missing.html", "Not found", lambda _: {"text": text}, place="", status=404)
        except (SQLAlchemyError, StorageError) as gone:  # which no other handler is asked about
            return self.broken(request, gone)

    def broken(self, _: Request, fault: Exception) -> Response:
        """The page for a database that is gone, or damaged: what is known, and no internals."""
        gone = f"Its database does not answer ({type(fault).__name__}). This page tries again by itself."
        text = str(fault) if isinstance(fault, StorageError) else gone
        body = self._templates.get_template("broken.html").render(text=text)
        return HTMLResponse(body, 503)

    # ------------------------------------------------------------------ parts of pages

    def _page(
        self,
        template: str,
        title: str,
        content: Callable[[View], dict[str, Any]],
        place: str | None = None,
        status: int = 200,
    ) -> Response:
        state = self._state()  # before what is shown: what changes meanwhile is told again by the stream
        with self._reading.view() as view:
            head = view.head
            shared = {
                "title": title,
                "live_state": f"{tick_of(view.cursor)} {state}",
                "place": template.removesuffix(".html") if place is None else place,
                "pages": PAGES,
                "head": head,
                "cursor": view.cursor,
                "faults": [text for text in (self._indexer.fault, view.fault) if text],
            }
            return HTMLResponse(self._templates.get_template(template).render(**shared, **content(view)), status)

    def _excerpt(self, view: View, name: str, rows: int = EXCERPT_ROWS) -> Excerpt:
        sheet = sheet_of(view, name)
        return Excerpt(name, sheet.part(0, rows), len(sheet.rows))

    def _searched(self, request: Request, view: View, name: str) -> dict[str, Any]:
        """A table's rows that hold the text asked for, a page of them."""
        query = request.query_params.get("q", "").strip()[:100]
        sheet = sheet_of(view, name)
        found = sheet.matching(query) if query else sheet
        pages = max(1, -(-len(found.rows) // PAGE_ROWS))
        number = max(1, min(_number(request, "page", 1), pages))
        shown = found.part((number - 1) * PAGE_ROWS, PAGE_ROWS)
        return {
            "table": Excerpt(name, shown, len(found.rows)),
            "all_rows": len(sheet.rows),
            "query": query,
            "number": number,
            "last_page": pages,
        }

    def _job(self, request: Request, view: View) -> JobRecord | None:
        """The job asked for, else the one that matters most."""
        return view.history.jobs.get(_number(request, "job", view.job()))

    def _quality(self, job: JobRecord | None) -> Chart | None:
        """How good the model was by round: the masters' scores, and what the filed report measured."""
        measured = self._report.rows(job)
        lines = [
            Line("masters' score, %", training.base_scores(job) if job else []),
            Line("AUC on the test set, %", [(row.round, round(100 * row.auc, 2)) for row in measured]),
            Line("ACC on the test set, %", [(row.round, round(100 * row.accuracy, 2)) for row in measured]),
        ]
        return chart("The global model", lines, 0, 100)


def _number(request: Request, name: str, default: int) -> int:
    """The number that a query asks for by a name; the default where it names none."""
    return _whole(request.query_params.get(name, ""), default)


def _whole(asked: str, default: int) -> int:
    """A whole number that an address asks for; the default for anything else."""
    return int(asked) if asked.isdecimal() and asked.isascii() and len(asked) < 10 else default


def _last(records: dict[int, Any]) -> Any:
    return records[max(records)] if records else None


def _reputations(view: View) -> Chart | None:
    """Chart of the members whose reputation in the job moved furthest from where it began."""
    series = view.chronicle.reputations.get(view.job(), {})
    moved = sorted(series, key=lambda member: -abs(series[member][-1][1] - series[member][0][1]))
    lines = [Line(training.name_of(view.history, member), series[member]) for member in moved[:MOST_LINES]]
    return chart("Reputation", lines, 0, 256)
