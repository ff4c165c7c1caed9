"""Aggregates that a few false updates cannot move far, exact like FedAvg: integers, and no order among equals.

Coordinate median and trimmed mean: Yin et al. 2018, definitions 1 and 2. Multi-Krum: Blanchard et al. 2017, section 4.
None of them weighs by samples, as in the papers: a false count must not buy weight.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from math import floor

import numpy as np

from hmchain.aggregate import Updates, check, combine, fedavg
from hmchain.fixed import Array, divide, from_fixed, to_fixed
from hmchain.weights import Weights

SORTED = 2**18  # elements of every update that are sorted at a time: bounded memory for any network
MULTIPLIED = 2**14  # and multiplied: what keeps the sums exact


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
    scores = [sum(sorted(row)[1 : near + 1]) for row in squared]  # without the distance to itself, which is 0
    closest = sorted(range(count), key=lambda i: (scores[i], _name(updates[i][0])))[: count - false]
    return fedavg([(updates[i][0], 1) for i in closest])


def _middle(arrays: Sequence[Array], cut: int) -> Array:
    """The mean of what is left of each coordinate without the `cut` smallest and largest."""
    mean, start = np.empty(arrays[0].size, np.int64), 0
    for rows in _slices(arrays, SORTED):
        kept = np.sort(rows, axis=0)[cut : len(rows) - cut]
        mean[start : start + rows.shape[1]] = divide(kept.sum(axis=0), len(kept))
        start += rows.shape[1]
    return from_fixed(mean.reshape(arrays[0].shape))


def _squared_distances(updates: Sequence[Weights]) -> Array:
    """Squared Euclidean distances (n, n) between updates in units of 2^-48: Python's integers, of any size."""
    products = np.zeros((len(updates), len(updates)), object)
    for name in (name for name, array in updates[0].items() if array.dtype == np.float32):
        for rows in _slices([weights[name] for weights in updates], MULTIPLIED):
            products += _products(rows)
    squares = np.diag(products)
    return np.asarray(squares[:, None] + squares[None, :] - 2 * products)


def _products(rows: Array) -> Array:
    """rows @ rows.T of whole numbers up to 2^39, exact.

    As 2^20 h + l with |h|, |l| <= 2^19 no product is above 2^38 and no sum of MULTIPLIED of them above 2^52: in float64
    all are whole, and a matrix product may add them in any order.
    """
    high = (rows + (1 << 19)) >> 20
    parts = (high.astype(np.float64), 20), ((rows - (high << 20)).astype(np.float64), 0)
    total = np.zeros((len(rows), len(rows)), object)
    for one, shift in parts:
        for other, more in parts:
            total += (one @ other.T).astype(np.int64).astype(object) * 2 ** (shift + more)
    return total


def _slices(arrays: Sequence[Array], width: int) -> Iterator[Array]:
    """Arrays of one shape as rows (n, up to width) of whole numbers on the grid, a slice at a time."""
    flat = [array.reshape(-1) for array in arrays]
    for start in range(0, arrays[0].size, width):
        yield np.stack([to_fixed(array[start : start + width]) for array in flat])


def _name(weights: Weights) -> bytes:
    return hashlib.sha256(b"".join(weights[name].tobytes() for name in sorted(weights))).digest()
