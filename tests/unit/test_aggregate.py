"""FedAvg in integers, against exact fractions."""

from fractions import Fraction
from random import Random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from hmchain.aggregate import FRACTION_BITS, MAX_SAMPLES, RANGE, fedavg
from hmchain.errors import DataError, Reason, WeightsError
from hmchain.weights import Weights, specification

WEIGHT = st.floats(-RANGE, RANGE, width=32)


def exact(values: list[float], counts: list[int]) -> np.float32:
    """The oracle: one weight, by the rules in words. Python rounds fractions half to even, as it should be."""
    grid = 2**FRACTION_BITS
    fixed = [round(Fraction(value) * grid) for value in values]
    mean = round(Fraction(sum(n * q for n, q in zip(counts, fixed, strict=True)), sum(counts)))
    return np.float32(mean / grid)


@st.composite
def updates(draw: st.DrawFn) -> list[tuple[Weights, int]]:
    shape = draw(hnp.array_shapes(min_dims=0, max_dims=2, max_side=4))
    arrays = draw(st.lists(hnp.arrays(np.float32, shape, elements=WEIGHT), min_size=1, max_size=5))
    counts = draw(st.lists(st.integers(1, MAX_SAMPLES // 5), min_size=len(arrays), max_size=len(arrays)))
    return [({"w": array}, n) for array, n in zip(arrays, counts, strict=True)]


@given(updates())
@settings(max_examples=300)
def test_the_average_is_the_exact_one(parts: list[tuple[Weights, int]]) -> None:
    average = fedavg(parts)["w"]
    assert average.dtype == np.float32
    assert average.shape == parts[0][0]["w"].shape
    for index in np.ndindex(average.shape):
        assert average[index] == exact([float(w["w"][index]) for w, _ in parts], [n for _, n in parts])


@given(updates(), st.randoms(use_true_random=False))
def test_the_order_of_updates_changes_no_byte(parts: list[tuple[Weights, int]], random: Random) -> None:
    shuffled = parts[:]
    random.shuffle(shuffled)
    assert fedavg(shuffled)["w"].tobytes() == fedavg(parts)["w"].tobytes()


@pytest.mark.parametrize(
    ("sums", "count", "mean"),
    [(1, 2, 0), (3, 2, 2), (5, 2, 2), (-1, 2, 0), (-3, 2, -2), (-5, 2, -2), (2, 3, 1), (-2, 3, -1), (1, 3, 0)],
)
def test_halves_are_rounded_to_even(sums: int, count: int, mean: int) -> None:
    unit = 2.0**-FRACTION_BITS
    parts = [({"w": np.array([sums * unit], np.float32)}, 1)]
    parts += [({"w": np.zeros(1, np.float32)}, count - 1)]
    assert fedavg(parts)["w"][0] == mean * unit


@pytest.mark.parametrize("sign", [1, -1])
def test_the_largest_weights_and_counts_do_not_overflow(sign: int) -> None:
    half = MAX_SAMPLES // 2
    parts = [({"w": np.full(3, sign * RANGE, np.float32)}, half), ({"w": np.full(3, sign * RANGE, np.float32)}, half)]
    assert fedavg(parts)["w"].tolist() == [sign * RANGE] * 3


def test_one_update_averages_to_itself_on_the_grid() -> None:
    weights = {"w": np.array([0.5, -1.25, 2.0**-24, 0.0], np.float32)}
    assert fedavg([(weights, 7)])["w"].tobytes() == weights["w"].tobytes()


def test_minus_zero_becomes_zero() -> None:
    assert not np.signbit(fedavg([({"w": np.array([-0.0], np.float32)}, 1)])["w"][0])


def test_of_counters_the_largest_is_taken() -> None:
    parts = [({"n": np.array(count)}, 1) for count in (3, 9, 4)]
    average = fedavg(parts)
    assert average["n"] == 9
    assert specification(average) == specification(parts[0][0])


def test_names_come_out_sorted_and_inputs_stay_as_they_were() -> None:
    weights = {"b": np.ones(2, np.float32), "a": np.ones((), np.int64)}
    average = fedavg([(weights, 1), (weights, 2)])
    average["b"][:] = 5
    assert list(average) == ["a", "b"]
    assert weights["b"].tolist() == [1, 1]


ONE: Weights = {"w": np.ones(2, np.float32)}


@pytest.mark.parametrize("counts", [[], [0], [-1], [1, 0], [MAX_SAMPLES + 1], [MAX_SAMPLES, 1]])
def test_sample_counts_that_cannot_weigh_are_refused(counts: list[int]) -> None:
    with pytest.raises(DataError):
        fedavg([(ONE, count) for count in counts])


@pytest.mark.parametrize(
    "other",
    [{}, {"v": np.ones(2, np.float32)}, {"w": np.ones(3, np.float32)}, {"w": np.ones(2, np.int64)}],
)
def test_updates_of_different_tensors_are_refused(other: Weights) -> None:
    with pytest.raises(WeightsError) as caught:
        fedavg([(ONE, 1), (other, 1)])
    assert caught.value.reason is Reason.WRONG_TENSORS


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (np.nan, Reason.NOT_FINITE),
        (np.inf, Reason.NOT_FINITE),
        (-np.inf, Reason.NOT_FINITE),
        (np.nextafter(np.float32(RANGE), np.float32(np.inf)), Reason.OUT_OF_RANGE),
        (-1e38, Reason.OUT_OF_RANGE),
    ],
)
def test_weights_that_would_overflow_are_refused(value: float, reason: Reason) -> None:
    with pytest.raises(WeightsError) as caught:
        fedavg([(ONE, 1), ({"w": np.array([1, value], np.float32)}, 1)])
    assert caught.value.reason is reason
