"""Byzantine-robust aggregation rules, which a few false updates cannot move far. Exact, as FedAvg is here.

Coordinate median and trimmed mean: Yin et al. 2018, definitions 1 and 2. Multi-Krum: Blanchard et al. 2017, section 4.
As in the papers, none of them weights updates by samples: a false count must not buy influence.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from math import floor

import numpy as np

from hmchain.aggregate import Updates, check, combine, fedavg
from hmchain.fixed import Array, divide, from_fixed, to_fixed
from hmchain.weights import Weights

PRODUCT_WIDTH = 2**14  # elements of each update that are multiplied at a time, which keeps the sums exact


def median(updates: Updates) -> Weights:
    """The coordinate-wise median; of an even number of updates the mean of the middle two. Raises as fedavg does."""
    count = len(updates)
    return combine(updates, lambda arrays: _middle(arrays, max(count - 1, 0) // 2))


def trimmed_mean(updates: Updates, trim: float) -> Weights:
    """The coordinate-wise mean without the floor(trim n) smallest and largest values. Raises as fedavg does."""
    return combine(updates, lambda arrays: _middle(arrays, floor(trim * len(arrays))))


def multi_krum(updates: Updates, byzantine: float) -> Weights:
    """The mean of the n - f updates that lie closest to their n - f - 2 nearest neighbours. Raises as fedavg does.

    f = floor(byzantine n), at most (n - 3) / 2 as the paper's proof requires, and 0 where there are fewer than 3. Ties
    go to the update whose tensors have the smaller SHA-256, so that the order of arrival plays no part.
    """
    check(updates)
    count = len(updates)
    faulty = max(min(floor(byzantine * count), (count - 3) // 2), 0)
    squared = _squared_distances([weights for weights, _ in updates])
    neighbours = max(count - faulty - 2, 1)
    scores = [sum(sorted(row)[1 : neighbours + 1]) for row in squared]  # an update's distance to itself, 0, comes first
    closest = sorted(range(count), key=lambda i: (scores[i], _digest(updates[i][0])))[: count - faulty]
    return fedavg([(updates[i][0], 1) for i in closest])


def _middle(arrays: Sequence[Array], cut: int) -> Array:
    """The coordinate-wise mean without the `cut` smallest and the `cut` largest values."""
    kept = np.sort([to_fixed(array) for array in arrays], axis=0)[cut : len(arrays) - cut]
    return from_fixed(divide(kept.sum(axis=0), len(kept)))


def _squared_distances(updates: Sequence[Weights]) -> Array:
    """Squared Euclidean distances between updates, (n, n), as Python integers in units of 2^-48."""
    products = np.zeros((len(updates), len(updates)), object)
    for name in (name for name, array in updates[0].items() if array.dtype == np.float32):
        for rows in _slices([weights[name] for weights in updates], PRODUCT_WIDTH):
            products += _products(rows)
    squares = np.diag(products)
    return np.asarray(squares[:, None] + squares[None, :] - 2 * products)


def _products(rows: Array) -> Array:
    """rows @ rows.T, exact for integers up to 2^39 in magnitude: (n, width) int64 to (n, n) Python integers.

    Each number is split into 2^20 h + l with |h|, |l| <= 2^19. Then no product exceeds 2^38 and no sum of PRODUCT_WIDTH
    products exceeds 2^52: float64 holds all of them exactly, and a matrix product may add them in any order.
    """
    high = (rows + (1 << 19)) >> 20
    parts = (high.astype(np.float64), 20), ((rows - (high << 20)).astype(np.float64), 0)
    total = np.zeros((len(rows), len(rows)), object)
    for one, shift in parts:
        for other, more in parts:
            total += (one @ other.T).astype(np.int64).astype(object) * 2 ** (shift + more)
    return total


def _slices(arrays: Sequence[Array], width: int) -> Iterator[Array]:
    """Arrays of one shape, flattened and on the fixed-point grid: int64 (n, up to width), a slice at a time."""
    flat = [array.reshape(-1) for array in arrays]
    for start in range(0, arrays[0].size, width):
        yield np.stack([to_fixed(array[start : start + width]) for array in flat])


def _digest(weights: Weights) -> bytes:
    return hashlib.sha256(b"".join(weights[name].tobytes() for name in sorted(weights))).digest()
