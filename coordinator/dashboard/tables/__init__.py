"""Every table of the dashboard, by name: for pages, JSON and CSV alike."""

from collections.abc import Callable, Mapping

from coordinator.dashboard.reading import View
from coordinator.dashboard.sheet import Column as Column
from coordinator.dashboard.sheet import Kind as Kind
from coordinator.dashboard.sheet import Sheet as Sheet
from coordinator.dashboard.tables import access, chain, members, training

SHEETS: Mapping[str, Callable[[View], Sheet]] = {
    "rounds": training.rounds,
    "updates": training.updates,
    "scores": training.scores,
    "models": training.models,
    "members": members.members,
    "reputations": members.reputations,
    "ballots": members.ballots,
    "kinds": access.kinds,
    "batches": access.batches,
    "persons": access.persons,
    "consents": access.consents,
    "grants": access.grants,
    "delegations": access.delegations,
    "readings": access.readings,
    "emergencies": access.emergencies,
    "gas": chain.gas,
    "events": chain.events,
}


def sheet_of(view: View, name: str) -> Sheet:
    """A table, made once for each state of the index."""
    if name not in view.sheets:
        view.sheets[name] = SHEETS[name](view)
    return view.sheets[name]
