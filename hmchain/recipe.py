"""The optional part of a manifest: parameters of aggregation and local training, and which of them go together.

A manifest's text leaves out what has its default, so that manifests from before a parameter existed keep their digests.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, fields
from math import isfinite
from typing import Any

from hmchain.errors import UsageError

SCHEDULES = ("constant", "cosine")
AUGMENTATIONS = ("none", "shift", "flip", "shift-flip")
CUSTOM_MODULE = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*", re.ASCII)
_SERVER = ("server_rate", "server_momentum")
_ADAPTIVE = (*_SERVER, "server_decay", "server_floor")
PARAMETERS: dict[str, tuple[str, ...]] = {
    "fedavg-exact/1": (),
    "fedprox-exact/1": (),
    "fedavgm-exact/1": _SERVER,
    "fedadam-exact/1": _ADAPTIVE,
    "fedyogi-exact/1": _ADAPTIVE,
    "median-exact/1": (),
    "trimmed-mean-exact/1": ("trim",),
    "multi-krum-exact/1": ("byzantine",),
}
AGGREGATIONS = tuple(PARAMETERS)
_SUFFIX = "-exact/1"
STRATEGIES = tuple(name.removesuffix(_SUFFIX) for name in AGGREGATIONS)


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """The optional fields of a manifest; docs/strategies.md has the formulae.

    server_rate (0: the strategy's default), server_momentum, server_decay and server_floor are η, β1 (FedAvgM's β), β2
    and τ; trim is the share cut off at each end, byzantine the share of updates that Multi-Krum expects to be false.
    momentum, weight_decay and proximal (FedProx's μ) belong to local SGD; schedule sets its learning rate over the
    rounds. balanced weights the loss by the inverse frequency of each class. source is the SHA-256, in hex, of a custom
    network's source.
    """

    server_rate: float = 0.0
    server_momentum: float = 0.9
    server_decay: float = 0.99
    server_floor: float = 0.001
    trim: float = 0.1
    byzantine: float = 0.2
    proximal: float = 0.0
    momentum: float = 0.0
    weight_decay: float = 0.0
    schedule: str = SCHEDULES[0]
    augmentation: str = AUGMENTATIONS[0]
    balanced: bool = False
    source: str = ""


def chosen(recipe: Recipe) -> dict[str, Any]:
    """The fields that differ from their defaults, by name."""
    values = {field.name: getattr(recipe, field.name) for field in fields(Recipe)}
    return {name: value for name, value in values.items() if value != getattr(Recipe, name)}


LIMITS: dict[str, tuple[float, float]] = {  # lowest and highest value
    "server_rate": (0.0, 100.0),
    "server_momentum": (0.0, 0.9999),
    "server_decay": (0.0, 0.999999),
    "server_floor": (1e-6, 1.0),
    "trim": (0.0, 0.49),
    "byzantine": (0.0, 0.49),
    "proximal": (0.0, 1e3),
    "momentum": (0.0, 0.9999),
    "weight_decay": (0.0, 1.0),
}


def aggregation_of(strategy: str) -> str:
    """A strategy's name as the manifest has it ("fedavg" to "fedavg-exact/1"). Raises UsageError for an unknown one."""
    if strategy not in STRATEGIES:
        raise UsageError(f"unknown strategy {strategy!r}; known: {', '.join(STRATEGIES)}")
    return strategy + _SUFFIX


def strategy_of(aggregation: str) -> str:
    """The name of a strategy, from the manifest's word for it ("fedavg-exact/1" to "fedavg")."""
    return aggregation.removesuffix(_SUFFIX)


def check_recipe(recipe: Recipe, aggregation: str, architecture: str, images: bool) -> None:
    """Raises UsageError for values out of range, or that do not go with the rest of the manifest."""
    for name, (low, high) in LIMITS.items():
        value = getattr(recipe, name)
        if not (isfinite(value) and low <= value <= high):
            raise UsageError(f"{name} must lie between {low:g} and {high:g}, not {value}")
    if recipe.schedule not in SCHEDULES:
        raise UsageError(f"unknown schedule {recipe.schedule!r}; known: {', '.join(SCHEDULES)}")
    if recipe.augmentation not in AUGMENTATIONS:
        raise UsageError(f"unknown augmentation {recipe.augmentation!r}; known: {', '.join(AUGMENTATIONS)}")
    if recipe.augmentation != AUGMENTATIONS[0] and not images:
        raise UsageError(f"augmentation {recipe.augmentation!r} is for images, not for features")
    _check_strategy(recipe, aggregation)
    _check_source(recipe.source, architecture)


def _check_strategy(recipe: Recipe, aggregation: str) -> None:
    """Refuses parameters that the aggregation would ignore: whoever sets one expects something of it."""
    if aggregation not in PARAMETERS:
        raise UsageError(f"unknown aggregation {aggregation!r}; known: {', '.join(AGGREGATIONS)}")
    for name in {name for names in PARAMETERS.values() for name in names} - set(PARAMETERS[aggregation]):
        if name in chosen(recipe):
            raise UsageError(f"aggregation {aggregation!r} has no {name}")
    if aggregation == "fedprox-exact/1" and recipe.proximal == 0:
        raise UsageError("fedprox needs a proximal above 0: with 0 it is fedavg")


def _check_source(source: str, architecture: str) -> None:
    """A custom network comes with the digest of its source, and no other network does."""
    custom = ":" in architecture
    if custom and not (CUSTOM_MODULE.fullmatch(architecture) and re.fullmatch("[0-9a-f]{64}", source)):
        raise UsageError(f"a custom network is package.module:Class with its source's SHA-256, not {architecture!r}")
    if source and not custom:
        raise UsageError(f"architecture {architecture!r} is hmchain's own, and has no source to be given")
