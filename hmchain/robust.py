"""Aggregates that a few false updates cannot move far, exact like FedAvg: integers, and no order among equals.

Coordinate median and trimmed mean: Yin et al. 2018, definitions 1 and 2. Multi-Krum: Blanchard et al. 2017, section 4.
None of them weighs by samples, as in the papers: a false count must not buy weight.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from itertools import combinations
from math import floor

import numpy as np

from hmchain.aggregate import Updates, check, combine, fedavg
from hmchain.fixed import Array, divide, from_fixed, to_fixed
from hmchain.weights import Weights

SLICE = 2**18  # elements of every update that are sorted at a time: bounded memory for any network
_LOW_BITS = 20


def median(updates: Updates) -> Weights:
    """Of each coordinate the median; of an even number of updates the mean of the middle two. Raises as fedavg does."""
    count = len(updates)
    return combine(updates, lambda arrays: _middle(arrays, max(count - 1, 0) // 2))


def trimmed_mean(updates: Updates, trim: float) -> Weights:
    """Of each coordinate the mean without the floor(trim n) smallest and largest. Raises as fedavg does."""
    return combine(updates, lambda arrays: _middle(arrays, floor(trim * len(arrays))))


def multi_krum(updates: Updates, byzantine: float) -> Weights:
    """The mean of the n - f updates that lie closest to their n - f - 2 nearest. Raises as fedavg does.

    f = floor(byzantine n), at most (n - 3) / 2 as the paper's proof wants, and 0 where there are fewer than 3. Among
    updates equally close those with the smaller SHA-256 are taken, so that no order of arrival plays a part.
    """
    check(updates)
    count = len(updates)
    false = max(min(floor(byzantine * count), (count - 3) // 2), 0)
    squared = _squared_distances([weights for weights, _ in updates])
    near = max(count - false - 2, 1)
    scores = [sum(sorted(row)[:near]) for row in squared]
    closest = sorted(range(count), key=lambda i: (scores[i], _name(updates[i][0])))[: count - false]
    return fedavg([(updates[i][0], 1) for i in closest])


def _middle(arrays: Sequence[Array], cut: int) -> Array:
    """The mean of what is left of each coordinate without the `cut` smallest and largest."""
    mean = np.empty(arrays[0].size, np.int64)
    flat = [array.reshape(-1) for array in arrays]
    for start in range(0, mean.size, SLICE):
        columns = np.sort(np.stack([to_fixed(array[start : start + SLICE]) for array in flat]), axis=0)
        kept = columns[cut : len(columns) - cut]
        mean[start : start + SLICE] = divide(kept.sum(axis=0), len(kept))
    return from_fixed(mean.reshape(arrays[0].shape))


def _squared_distances(weights: Sequence[Weights]) -> list[list[int]]:
    """Of each update its squared Euclidean distances to all others, in units of 2^-48: whole numbers of any size."""
    squared: list[list[int]] = [[] for _ in weights]
    for i, j in combinations(range(len(weights)), 2):
        distance = sum(_sum_of_squares(difference) for difference in _differences(weights[i], weights[j]))
        squared[i].append(distance)
        squared[j].append(distance)
    return squared


def _differences(one: Weights, other: Weights) -> Iterator[Array]:
    for name, array in one.items():
        if array.dtype == np.float32:
            yield (to_fixed(array) - to_fixed(other[name])).reshape(-1)


def _sum_of_squares(values: Array) -> int:
    """Exact, of up to 2^22 values at a time below 2^41: (2^20 h + l)^2 in parts, none of whose sums leaves int64."""
    total = 0
    for start in range(0, len(values), SLICE):
        part = values[start : start + SLICE]
        high, low = part >> _LOW_BITS, part & ((1 << _LOW_BITS) - 1)
        total += (int(high @ high) << 2 * _LOW_BITS) + (int(high @ low) << _LOW_BITS + 1) + int(low @ low)
    return total


def _name(weights: Weights) -> bytes:
    return hashlib.sha256(b"".join(weights[name].tobytes() for name in sorted(weights))).digest()
