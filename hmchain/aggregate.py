"""Exact federated averaging: the same updates give the same bytes in any order, on any machine.

FedAvg (McMahan et al. 2017, algorithm 1) weights each client's parameters by its number of samples. Floating-point sums
depend on their order and on the machine, so the sum is taken over integers (hmchain/fixed.py):

    s = sum of n * q                             int64; n a client's samples, q its weight in fixed point
    a = s / sum of n, rounded half to even       in integers

No sum overflows int64: |q| <= 2^39, and sum of n <= 2^23 makes |s| <= 2^62. Counters (int64: the number of batches a
BatchNorm layer has seen) are not averaged; the largest is taken.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from hmchain.errors import DataError, Reason, WeightsError
from hmchain.fixed import FRACTION_BITS, Array, divide, from_fixed, to_fixed
from hmchain.weights import RANGE, Weights, check_values, specification

__all__ = ["FRACTION_BITS", "MAX_SAMPLES", "RANGE", "Updates", "combine", "fedavg"]

MAX_SAMPLES = 2**23
BLOCK = 2**16  # weights combined at a time: what is computed of them stays in a processor core's own cache

Updates = Sequence[tuple[Weights, int]]  # one (weights, number of samples) for each client


def fedavg(updates: Updates) -> Weights:
    """The average of updates, weighted by samples; names in sorted order.

    Raises DataError where there is no update, a sample count is below 1 or their sum above MAX_SAMPLES; WeightsError
    where tensors differ between updates (WRONG_TENSORS), or a weight is NaN (NOT_FINITE) or beyond RANGE.
    """
    counts = [samples for _, samples in updates]
    return combine(updates, lambda arrays: _average(arrays, counts))


def combine(updates: Updates, rule: Callable[[Sequence[Array]], Array]) -> Weights:
    """Combines each tensor across clients: float32 by `rule`, int64 counters by their maximum. Raises as fedavg does.

    rule takes a part of one tensor, a flat array for each client, and returns the combined array: each weight depends
    on the same weight of the clients alone.
    """
    check(updates)
    combined: Weights = {}
    for name, spec in specification(updates[0][0]).items():
        arrays = [weights[name] for weights, _ in updates]
        combined[name] = _in_blocks(rule if spec.dtype == "F32" else np.maximum.reduce, arrays)
    return combined


def _in_blocks(rule: Callable[[Sequence[Array]], Array], arrays: Sequence[Array]) -> Array:
    """rule, applied block by block."""
    flat = [array.reshape(-1) for array in arrays]
    combined = np.empty(flat[0].shape, flat[0].dtype)
    for start in range(0, combined.size, BLOCK):
        block = slice(start, start + BLOCK)
        combined[block] = rule([array[block] for array in flat])
    return combined.reshape(arrays[0].shape)


def check(updates: Updates) -> None:
    """Refuses updates that cannot be combined. Raises DataError, WeightsError as fedavg does."""
    counts = [samples for _, samples in updates]
    if not counts or min(counts) < 1 or sum(counts) > MAX_SAMPLES:
        raise DataError(f"sample counts {counts} cannot weight an average: each from 1, together up to {MAX_SAMPLES}")
    like = specification(updates[0][0])
    if any(specification(weights) != like for weights, _ in updates[1:]):
        raise WeightsError("updates with different tensors cannot be averaged", Reason.WRONG_TENSORS)
    for weights, _ in updates:
        check_values(weights)


def _average(arrays: Sequence[Array], counts: Sequence[int]) -> Array:
    shape = arrays[0].shape
    # One set of buffers serves all updates: allocating megabytes for every step would take most of the time.
    sums, product = np.zeros(shape, np.int64), np.empty(shape, np.int64)
    scaled = np.empty(shape, np.float32)
    for array, samples in zip(arrays, counts, strict=True):
        to_fixed(array, product, scaled)
        product *= samples
        sums += product
    return from_fixed(divide(sums, sum(counts)))
