"""Aggregation strategies by name: from a round's base model and accepted updates to the next model.

Each gives the same bytes on every machine. docs/strategies.md has formulae and sources. FedProx differs from FedAvg in
local training only.
"""

from __future__ import annotations

from collections.abc import Callable

from hmchain import robust, server
from hmchain.aggregate import Updates, fedavg
from hmchain.manifest import Manifest
from hmchain.weights import Weights

Rule = Callable[[Weights, Updates, Manifest], Weights]


def _averaged(base: Weights, updates: Updates, job: Manifest) -> Weights:
    return fedavg(updates)


def _stepped(base: Weights, updates: Updates, job: Manifest) -> Weights:
    return server.step(base, fedavg(updates), job, job.aggregation)


RULES: dict[str, Rule] = {
    "fedavg-exact/1": _averaged,
    "fedprox-exact/1": _averaged,
    "fedavgm-exact/1": _stepped,
    "fedadam-exact/1": _stepped,
    "fedyogi-exact/1": _stepped,
    "median-exact/1": lambda base, updates, job: robust.median(updates),
    "trimmed-mean-exact/1": lambda base, updates, job: robust.trimmed_mean(updates, job.trim),
    "multi-krum-exact/1": lambda base, updates, job: robust.multi_krum(updates, job.byzantine),
}


def aggregate(base: Weights, updates: Updates, job: Manifest) -> Weights:
    """The global model that follows `base`, with the server's moments where the job's strategy has any.

    Raises DataError, WeightsError as hmchain.aggregate.fedavg does.
    """
    return RULES[job.aggregation](base, updates, job)
