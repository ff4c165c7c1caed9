"""Weights as fixed-point integers: the grid on which sums are exact, and the one rounding rule.

    q = rint(w * 2^24)                           a weight as fixed point; the product is exact, even in float32
    w = float32(q * 2^-24)                       exact in float64, then rounded once

|w| <= 2^15 makes |q| <= 2^39, which leaves int64 room for sums of 2^23 of them.
"""

from __future__ import annotations

from typing import Any

import numpy as np

FRACTION_BITS = 24
Array = np.ndarray[Any, Any]

_ONE = np.float32(2**FRACTION_BITS)


def to_fixed(array: Array, out: Array | None = None, scratch: Array | None = None) -> Array:
    """A float32 array as int64 on the grid, of the same shape. Values must lie within weights.RANGE.

    out (int64, returned) and scratch (float32) are buffers of that shape; with both, nothing is allocated.
    """
    scaled = np.multiply(array, _ONE, out=scratch)  # by a power of two: exact
    whole = np.rint(scaled, out=scaled if scratch is not None else None)
    fixed = np.empty(array.shape, np.int64) if out is None else out
    np.copyto(fixed, whole, casting="unsafe")  # whole numbers up to 2^39: exact
    return fixed


def from_fixed(fixed: Array) -> Array:
    """An int64 array on the grid as float32, of the same shape."""
    values: Array = np.asarray(fixed / float(_ONE)).astype(np.float32)
    return values


def divide(sums: Array, count: int) -> Array:
    """sums / count, rounded half to even, computed in int64."""
    quotient = sums // count  # np.divmod would take ten times as long as this division and a product
    twice = 2 * (sums - quotient * count)
    rounded: Array = quotient + ((twice > count) | ((twice == count) & (quotient & 1 == 1)))
    return rounded
