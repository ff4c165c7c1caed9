"""Server-side optimisers, which turn an average into the next model: the same bytes on every machine.

FedAvgM (Hsu et al. 2019, section 4.3), FedAdam and FedYogi (Reddi et al. 2021, algorithm 2) step from the round's base
model x along the change d to the exact average. Their moments are tensors of the model itself, under the digest that
masters attest: whoever has the base model and the accepted updates can take the step again.

    d = average - x
    FedAvgM   m' = b1 m + d                               x' = x + h m'
    FedAdam   m' = b1 m + (1 - b1) d    v' = b2 v + (1 - b2) d^2                  x' = x + h m' / (sqrt(v') + t)
    FedYogi   m' likewise               v' = v - (1 - b2) d^2 sign(v - d^2)       x' likewise

b1 is server_momentum, b2 server_decay, h the server's rate, t server_floor.

Why it is exact: every operation is element-wise, a numpy call of its own, and one of + - * / sqrt on float64, for which
IEEE 754 prescribes one correctly rounded result. Nothing is summed over elements, so order plays no part. Results are
clipped to RANGE, put on a grid (x and m on 2^-24, v on 2^-60), which leaves no subnormal number for a processor to
treat in its own way, and then rounded once to float32.
"""

from __future__ import annotations

import numpy as np

from hmchain.fixed import FRACTION_BITS, Array
from hmchain.recipe import Recipe
from hmchain.weights import RANGE, SERVER_PREFIX, Weights

SECOND_BITS = 60
FIRST_MOMENT, SECOND_MOMENT = f"{SERVER_PREFIX}first/", f"{SERVER_PREFIX}second/"


def step(base: Weights, average: Weights, recipe: Recipe, aggregation: str) -> Weights:
    """The next model with its moments. A tensor without moments in `base` (a buffer) is only averaged.

    base has moments, average has none; aggregation is the manifest's word, one of DEFAULT_RATES.
    """
    model = dict(average)
    for name in average:
        if FIRST_MOMENT + name in base:
            model |= _stepped(name, base, average[name], recipe, aggregation)
    return {name: model[name] for name in sorted(model)}


def _stepped(name: str, base: Weights, average: Array, recipe: Recipe, aggregation: str) -> Weights:
    x, first = base[name].astype(np.float64), base[FIRST_MOMENT + name].astype(np.float64)
    change, rate = average - x, rate_of(recipe, aggregation)
    if aggregation == "fedavgm-exact/1":
        first = recipe.server_momentum * first + change
        return {name: _on_grid(x + rate * first), FIRST_MOMENT + name: _on_grid(first)}
    first = recipe.server_momentum * first + (1 - recipe.server_momentum) * change
    second, square = base[SECOND_MOMENT + name].astype(np.float64), change * change
    if aggregation == "fedadam-exact/1":
        second = recipe.server_decay * second + (1 - recipe.server_decay) * square
    else:
        second = second - (1 - recipe.server_decay) * square * np.sign(second - square)
    second = np.maximum(second, 0)
    return {
        name: _on_grid(x + rate * first / (np.sqrt(second) + recipe.server_floor)),
        FIRST_MOMENT + name: _on_grid(first),
        SECOND_MOMENT + name: _on_grid(second, SECOND_BITS),
    }


def first_moments(parameters: Weights, recipe: Recipe, aggregation: str) -> Weights:
    """The moments before the first round: m = 0, and v = t^2 as in Reddi et al. None for a stateless aggregation."""
    if aggregation not in DEFAULT_RATES:
        return {}
    moments = {FIRST_MOMENT + name: np.zeros_like(array) for name, array in parameters.items()}
    if aggregation != "fedavgm-exact/1":
        floor = _on_grid(np.asarray(recipe.server_floor**2), SECOND_BITS)
        moments |= {SECOND_MOMENT + name: np.full_like(array, floor) for name, array in parameters.items()}
    return moments


DEFAULT_RATES = {"fedavgm-exact/1": 1.0, "fedadam-exact/1": 0.01, "fedyogi-exact/1": 0.01}


def rate_of(recipe: Recipe, aggregation: str) -> float:
    """The server's step size: the job's, or the strategy's default where the job names none (0)."""
    return recipe.server_rate or DEFAULT_RATES[aggregation]


def _on_grid(values: Array, bits: int = FRACTION_BITS) -> Array:
    """Clipped to RANGE, rounded to multiples of 2^-bits, as float32."""
    scale = float(2**bits)
    rounded: Array = np.asarray(np.rint(np.clip(values, -RANGE, RANGE) * scale) / scale).astype(np.float32)
    return rounded
