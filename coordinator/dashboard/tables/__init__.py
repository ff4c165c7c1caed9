"""Every table of the dashboard, by name: for pages, JSON and CSV alike."""

from collections.abc import Callable, Mapping

from coordinator.dashboard.reading import View
from coordinator.dashboard.tables import access, chain, members, training
from coordinator.dashboard.tables.sheet import Column as Column
from coordinator.dashboard.tables.sheet import Kind as Kind
from coordinator.dashboard.tables.sheet import Sheet as Sheet

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
