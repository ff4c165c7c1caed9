"""Federated averaging, exact: the same bytes from the same updates, in any order, on any machine.

FedAvg (McMahan et al. 2017, algorithm 1) weighs each client's parameters with its number of samples. Floating point
sums depend on their order and on the machine, so the sum is taken over integers:

    q = rint(w * 2^24)                           a weight as fixed point; the product is exact, even in float32
    s = sum of n * q                             int64
    a = s / sum of n, rounded half to even       in integers
    w = float32(a * 2^-24)                       exact in float64, then rounded once

No sum overflows int64: |w| <= 2^15 makes |q| <= 2^39, and sum of n <= 2^23 makes |s| <= 2^62. Counters (int64: the
number of batches a BatchNorm layer has seen) are not averaged; the largest is taken.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from hmchain.errors import DataError, Reason, WeightsError
from hmchain.weights import RANGE, Weights, check_values, specification

__all__ = ["FRACTION_BITS", "MAX_SAMPLES", "RANGE", "fedavg"]

FRACTION_BITS = 24
MAX_SAMPLES = 2**23

_ONE = np.float32(2**FRACTION_BITS)
_Array = np.ndarray[Any, Any]


def fedavg(updates: Sequence[tuple[Weights, int]]) -> Weights:
    """The average of updates, each a client's weights and its number of samples; names in sorted order.

    Raises DataError where there is no update, a sample count is below 1 or their sum above MAX_SAMPLES; WeightsError
    where tensors differ between updates (WRONG_TENSORS), or a weight is NaN (NOT_FINITE) or beyond RANGE.
    """
    counts = [samples for _, samples in updates]
    total = sum(counts)
    if not counts or min(counts) < 1 or total > MAX_SAMPLES:
        raise DataError(f"sample counts {counts} cannot weigh an average: each from 1, together up to {MAX_SAMPLES}")
    like = specification(updates[0][0])
    if any(specification(weights) != like for weights, _ in updates[1:]):
        raise WeightsError("updates with different tensors cannot be averaged", Reason.WRONG_TENSORS)
    for weights, _ in updates:
        check_values(weights)
    averages: Weights = {}
    for name, spec in like.items():
        parts = [(weights[name], samples) for weights, samples in updates]
        average = _average(parts, total) if spec.dtype == "F32" else np.maximum.reduce([array for array, _ in parts])
        averages[name] = np.asarray(average)  # numpy turns an array without dimensions into a bare number
    return averages


def _average(parts: Sequence[tuple[_Array, int]], total: int) -> _Array:
    shape = parts[0][0].shape
    # One set of buffers for all updates: fresh megabytes for every step would take most of the time.
    sums, product = np.zeros(shape, np.int64), np.empty(shape, np.int64)
    scaled = np.empty(shape, np.float32)
    for array, samples in parts:
        np.multiply(array, _ONE, out=scaled)  # by a power of two: exact
        np.rint(scaled, out=scaled)
        np.copyto(product, scaled, casting="unsafe")  # whole numbers up to 2^39: exact
        product *= samples
        sums += product
    return (_divide(sums, total) / float(_ONE)).astype(np.float32)


def _divide(sums: _Array, total: int) -> _Array:
    """sums / total, rounded half to even, without leaving the integers."""
    quotient = sums // total  # np.divmod is ten times slower than this and a product
    twice = 2 * (sums - quotient * total)
    rounded: _Array = quotient + ((twice > total) | ((twice == total) & (quotient & 1 == 1)))
    return rounded
