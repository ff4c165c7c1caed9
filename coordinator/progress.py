"""How a run reports its progress."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol

from rich.console import Console
from rich.markup import escape

from hmchain.history import RoundRecord, verdict_text
from hmchain.rounds import Phase
from trainers.scoring import Metrics


class Terminal(Console):
    """Where a command prints."""

    def on_broken_pipe(self) -> None:
        """Whoever read it has had enough; rich would end the process with 1, "not valid"."""
        raise BrokenPipeError


class Progress(Protocol):
    """Receives what happens in a run, as it happens."""

    def note(self, text: str) -> None:
        """Something happened outside the rounds."""

    def step(self, record: RoundRecord, phase: Phase, done: int, total: int) -> None:
        """One party of a phase has acted."""

    def round_over(self, record: RoundRecord, metrics: Metrics | None, gas: int, seconds: float) -> None:
        """A round ended; metrics is None if it failed."""


class Silent:
    """Reports nothing; for --json and tests."""

    def note(self, text: str) -> None:
        """Nothing."""

    def step(self, record: RoundRecord, phase: Phase, done: int, total: int) -> None:
        """Nothing."""

    def round_over(self, record: RoundRecord, metrics: Metrics | None, gas: int, seconds: float) -> None:
        """Nothing."""


PAPER_NAMES = {
    Phase.REQUEST: "REQUEST",
    Phase.PRE_PREPARE: "PRE-PREPARE",
    Phase.PREPARE: "PREPARE",
    Phase.COMMIT: "COMMIT",
    Phase.REPLY: "REPLY",
}


class ConsoleProgress:
    """For people: one paragraph a round, and on a terminal a status line that follows each phase."""

    def __init__(self, console: Console, rounds: int) -> None:
        self._console = console
        self._rounds = rounds
        self._status = console.status("") if console.is_terminal else None
        if self._status:
            self._status.start()

    def close(self) -> None:
        """Takes the status line away."""
        if self._status:
            self._status.stop()

    def note(self, text: str) -> None:
        """See Progress.note."""
        self._line(escape(text))

    def step(self, record: RoundRecord, phase: Phase, done: int, total: int) -> None:
        """See Progress.step."""
        if self._status:
            self._status.update(f"round {record.number}/{self._rounds}  {PAPER_NAMES[phase]}  {done} of {total}")

    def round_over(self, record: RoundRecord, metrics: Metrics | None, gas: int, seconds: float) -> None:
        """See Progress.round_over."""
        title = f"round {record.number}/{self._rounds}"
        for phase, text in self._phases(record):
            self._line(f"[bold]{title:14}[/bold]{phase:14}{text}")
            title = ""
        outcome = (
            f"AUC {metrics.auc:.4f}  ACC {metrics.accuracy:.4f}"
            if metrics
            else "[red]failed[/red]: the previous model stands"
        )
        used = f"  {gas:,} gas" if gas else ""
        self._line(f"{'':28}{outcome}{used}  {seconds:.1f} s")

    def _line(self, markup: str) -> None:
        self._console.print(markup, highlight=False, soft_wrap=True)

    def _phases(self, record: RoundRecord) -> list[tuple[str, str]]:
        lines = [("REQUEST", f"{len(record.updates)} updates from members {_list(record.clients)}")]
        if record.scores:
            lines.append(("PRE-PREPARE", f"masters {_list(record.masters)} committed to their scores"))
        if record.judgement:
            lines.append(("PREPARE", self._verdicts(record)))
        if record.proposals:
            lines.append(("COMMIT", f"model sha256:{record.proposals[-1].model.hex()[:16]}… proposed"))
            lines.append(("REPLY", f"attested by masters {_list(sorted(record.attested))}"))
        return lines

    def _verdicts(self, record: RoundRecord) -> str:
        verdict = record.judgement
        assert verdict is not None
        refused = [
            f"member {record.clients[p]} [yellow]refused[/yellow] ({verdict_text(verdict, p)})"
            for p in sorted(set(record.updates) - verdict.accepted)
        ]
        standard = f"standard {verdict.standard / 100:.2f} %"
        return "; ".join([f"{len(verdict.accepted)} accepted, {standard}", *refused])


def _list(members: Iterable[int]) -> str:
    return " ".join(map(str, members))
