"""Every strategy against a slow one in plain Python numbers; the order of updates changes no byte."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from fractions import Fraction
from itertools import combinations
from math import floor, sqrt
from random import Random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from hmchain.aggregate import Updates, fedavg
from hmchain.errors import DataError, Reason, WeightsError
from hmchain.exchange import model_header
from hmchain.manifest import Manifest
from hmchain.recipe import AGGREGATIONS
from hmchain.robust import PRODUCT_WIDTH, _squared_distances
from hmchain.server import DEFAULT_RATES, FIRST_MOMENT, SECOND_MOMENT, first_moments
from hmchain.strategies import RULES, aggregate
from hmchain.weights import RANGE, Weights, check_values, decode, encode, of_network, specification

GRID = 2**24
WEIGHT = st.floats(-RANGE, RANGE, width=32)
SHAPE = (2, 3)
JOB = Manifest("stripes", 1, ("a", "b"), seed=0, proximal=0.1)
STATEFUL = sorted(DEFAULT_RATES)


@st.composite
def updates(draw: st.DrawFn) -> list[tuple[Weights, int]]:
    arrays = draw(st.lists(hnp.arrays(np.float32, SHAPE, elements=WEIGHT), min_size=1, max_size=7))
    return [({"n": np.array(3 + i), "w": array}, draw(st.integers(1, 1000))) for i, array in enumerate(arrays)]


def job(aggregation: str) -> Manifest:
    return replace(JOB, aggregation=aggregation)


def base_of(aggregation: str, values: np.ndarray) -> Weights:
    weights = {"n": np.array(0), "w": values}
    return weights | first_moments({"w": values}, JOB, aggregation)


def columns(parts: Updates) -> list[list[int]]:
    """Of each coordinate every update's value in units of the grid."""
    return [[round(Fraction(float(w["w"].flat[i])) * GRID) for w, _ in parts] for i in range(parts[0][0]["w"].size)]


def mean(values: Sequence[int]) -> float:
    return float(np.float32(round(Fraction(sum(values), len(values))) / GRID))


def median(parts: Updates, job: Manifest) -> list[float]:
    middle = (len(parts) - 1) // 2
    return [mean(sorted(column)[middle : len(parts) - middle]) for column in columns(parts)]


def trimmed(parts: Updates, job: Manifest) -> list[float]:
    cut = floor(job.trim * len(parts))
    return [mean(sorted(column)[cut : len(parts) - cut]) for column in columns(parts)]


def krum(parts: Updates, job: Manifest) -> list[float]:
    rows = list(zip(*columns(parts), strict=True))
    false = max(min(floor(job.byzantine * len(parts)), (len(parts) - 3) // 2), 0)
    squared = {
        frozenset(p): sum((a - b) ** 2 for a, b in zip(rows[p[0]], rows[p[1]], strict=True))
        for p in combinations(range(len(rows)), 2)
    }
    scores = [
        sum(sorted(squared[frozenset((i, j))] for j in range(len(rows)) if j != i)[: max(len(rows) - false - 2, 1)])
        for i in range(len(rows))
    ]
    limit = sorted(scores)[len(rows) - false - 1]
    chosen = [row for row, score in zip(rows, scores, strict=True) if score <= limit]
    if len(chosen) != len(rows) - false:
        return []  # a tie: the digest decides, see test_equals_are_told_apart_by_their_digest
    return [mean(column) for column in zip(*chosen, strict=True)]


@given(updates())
@settings(max_examples=60, deadline=None)
@pytest.mark.parametrize(
    ("rule", "oracle"),
    [
        (job("median-exact/1"), median),
        (replace(job("trimmed-mean-exact/1"), trim=0.3), trimmed),  # of seven updates two at each end
        (job("multi-krum-exact/1"), krum),
        (replace(job("multi-krum-exact/1"), byzantine=0.45), krum),  # more than its proof allows for
    ],
    ids=["median", "trimmed mean", "Multi-Krum", "Multi-Krum at its limit"],
)
def test_a_robust_aggregate_is_the_exact_one(rule: Manifest, oracle, parts: list[tuple[Weights, int]]) -> None:
    expected = oracle(parts, rule)
    found = aggregate({}, parts, rule)
    assert found["n"] in [w["n"] for w, _ in parts]
    if expected:
        assert found["w"].reshape(-1).tolist() == expected


def stepped(aggregation: str, x: float, m: float, v: float, average: float) -> tuple[float, float, float]:
    """The oracle: one weight and its moments, in Python's own floats."""

    def kept(value: float, bits: int = 24) -> float:
        return float(np.float32(round(Fraction(max(min(value, RANGE), -RANGE) * 2.0**bits)) / 2.0**bits))

    change, rate = average - x, DEFAULT_RATES[aggregation]
    if aggregation == "fedavgm-exact/1":
        m = 0.9 * m + change
        return kept(x + rate * m), kept(m), 0.0
    m = 0.9 * m + (1 - 0.9) * change
    square = change * change
    if aggregation == "fedadam-exact/1":
        v = 0.99 * v + (1 - 0.99) * square
    else:
        sign = (v > square) - (v < square)
        v = v - (1 - 0.99) * square * sign
    v = max(v, 0.0)
    return kept(x + rate * m / (sqrt(v) + 0.001)), kept(m), kept(v, 60)


@pytest.mark.parametrize("aggregation", STATEFUL)
@given(base=hnp.arrays(np.float32, SHAPE, elements=WEIGHT), rounds=st.lists(updates(), min_size=1, max_size=3))
@settings(max_examples=60, deadline=None)
def test_a_server_steps_as_plain_floats_do(
    aggregation: str, base: np.ndarray, rounds: list[list[tuple[Weights, int]]]
) -> None:
    model = base_of(aggregation, base)
    expected = [(float(x), 0.0, float(np.float32(round(0.001**2 * 2.0**60) / 2.0**60))) for x in base.flat]
    for parts in rounds:
        averages = fedavg(parts)["w"].reshape(-1).tolist()
        model = aggregate(model, parts, job(aggregation))
        expected = [stepped(aggregation, *old, average) for old, average in zip(expected, averages, strict=True)]
    found = [model[name].reshape(-1).tolist() for name in ("w", FIRST_MOMENT + "w")]
    assert found == [[new[0] for new in expected], [new[1] for new in expected]]
    if SECOND_MOMENT + "w" in model:
        assert model[SECOND_MOMENT + "w"].reshape(-1).tolist() == [new[2] for new in expected]


@pytest.mark.parametrize("aggregation", AGGREGATIONS)
@given(parts=updates(), random=st.randoms(use_true_random=False))
@settings(max_examples=30, deadline=None)
def test_the_order_of_updates_changes_no_byte(
    aggregation: str, parts: list[tuple[Weights, int]], random: Random
) -> None:
    base, header = base_of(aggregation, np.zeros(SHAPE, np.float32)), model_header(JOB.digest(), 1, bytes(32))
    shuffled = parts[:]
    random.shuffle(shuffled)
    one, other = (encode(aggregate(base, p, job(aggregation)), header) for p in (parts, shuffled))
    assert one == other


@pytest.mark.parametrize("aggregation", AGGREGATIONS)
@given(parts=updates())
@settings(max_examples=30, deadline=None)
def test_what_a_round_ends_with_is_a_model_that_everyone_can_read(
    aggregation: str, parts: list[tuple[Weights, int]]
) -> None:
    base, header = base_of(aggregation, np.full(SHAPE, RANGE, np.float32)), model_header(JOB.digest(), 1, bytes(32))
    model = aggregate(base, parts, job(aggregation))
    assert specification(model) == specification(base), "moments and all"
    check_values(model)
    assert encode(decode(encode(model, header), header, specification(base)), header) == encode(model, header)
    assert of_network(specification(model)) == specification(parts[0][0]), "an update has no moments"


def test_every_aggregation_that_a_manifest_may_name_has_a_rule() -> None:
    assert tuple(RULES) == AGGREGATIONS


@pytest.mark.parametrize("aggregation", AGGREGATIONS)
def test_no_update_or_a_bad_one_is_refused(aggregation: str) -> None:
    base = base_of(aggregation, np.zeros(SHAPE, np.float32))
    with pytest.raises(DataError):
        aggregate(base, [], job(aggregation))
    good = {"n": np.array(1), "w": np.zeros(SHAPE, np.float32)}
    for other, reason in (
        ({"w": np.zeros(SHAPE, np.float32)}, Reason.WRONG_TENSORS),
        (good | {"w": np.full(SHAPE, np.nan, np.float32)}, Reason.NOT_FINITE),
        (good | {"w": np.full(SHAPE, 1e6, np.float32)}, Reason.OUT_OF_RANGE),
    ):
        with pytest.raises(WeightsError) as caught:
            aggregate(base, [(good, 1), (other, 1)], job(aggregation))
        assert caught.value.reason is reason


def of(*values: float) -> Updates:
    return [({"w": np.array([value], np.float32)}, 1 + 100 * (value > 50)) for value in values]


def test_a_few_false_updates_do_not_move_the_robust_ones() -> None:
    """Two of ten, that claim to have a hundred times as many samples."""
    parts = of(1, 1.25, 1.5, 1.75, 2, 1.5, 1.5, 1.5, 1000, 2000)
    for aggregation in ("median-exact/1", "multi-krum-exact/1"):
        assert 1 <= aggregate({}, parts, job(aggregation))["w"][0] <= 2
    assert 1 <= aggregate({}, parts, replace(job("trimmed-mean-exact/1"), trim=0.2))["w"][0] <= 2
    assert aggregate({}, parts, job("fedavg-exact/1"))["w"][0] > 1000


def test_equals_are_told_apart_by_their_digest() -> None:
    """Four at the corners of a square, of which Multi-Krum leaves one out... and always the same one."""
    corners = [({"w": np.array(at, np.float32)}, 1) for at in ((0, 0), (0, 1), (1, 0), (1, 1), (0.5, 0.5))]
    found = {
        aggregate({}, [corners[i] for i in order], job("multi-krum-exact/1"))["w"].tobytes() for order in permuted(5)
    }
    assert len(found) == 1


def permuted(count: int) -> list[list[int]]:
    random = Random(0)
    return [random.sample(range(count), count) for _ in range(20)]


def test_the_largest_distances_are_exact() -> None:
    """A full slice of squares of 2^78, which float64 would round: one grid step in one coordinate still decides."""
    ends = [np.full(PRODUCT_WIDTH, sign * RANGE, np.float32) for sign in (1, -1)]
    squared = _squared_distances([{"w": ends[0]}, {"w": ends[1]}, {"w": np.r_[ends[0][1:], np.float32(0)]}])
    across, step = (2 * RANGE * 2**24) ** 2, (RANGE * 2**24) ** 2
    assert squared[0, 1] == PRODUCT_WIDTH * int(across)
    assert squared[0, 2] == squared[2, 0] == int(step)
    assert squared[1, 2] == (PRODUCT_WIDTH - 1) * int(across) + int(step)
    assert (np.diag(squared) == 0).all()
    tiny = _squared_distances([{"w": ends[0]}, {"w": np.r_[ends[0][1:], np.nextafter(ends[0][0], np.float32(0))]}])
    assert tiny[0, 1] == (2**15) ** 2, "float32 just below 2^15 is 2^-9 less"


def test_large_tensors_are_cut_in_slices_that_nobody_sees(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = np.random.default_rng(0)
    parts = [({"w": stream.normal(size=(7, 11)).astype(np.float32)}, 1) for _ in range(5)]
    rules = [job(name) for name in ("fedavg-exact/1", "median-exact/1", "trimmed-mean-exact/1", "multi-krum-exact/1")]
    whole = [aggregate({}, parts, rule)["w"].tobytes() for rule in rules]
    monkeypatch.setattr("hmchain.aggregate.BLOCK", 10)
    monkeypatch.setattr("hmchain.robust.PRODUCT_WIDTH", 10)
    assert [aggregate({}, parts, rule)["w"].tobytes() for rule in rules] == whole


@pytest.mark.parametrize("aggregation", STATEFUL)
def test_buffers_are_averaged_and_no_more(aggregation: str) -> None:
    """Momentum would carry a variance below 0."""
    ones = np.ones(2, np.float32)
    base = {"v": ones, "w": ones} | first_moments({"w": ones}, JOB, aggregation)
    model = aggregate(base, [({"v": ones * 3, "w": ones * 3}, 1), ({"v": ones, "w": ones * 3}, 1)], job(aggregation))
    assert model["v"].tolist() == [2, 2]
    assert set(model) == set(base)


def test_momentum_without_memory_at_rate_1_is_fedavg() -> None:
    base = base_of("fedavgm-exact/1", np.zeros(SHAPE, np.float32))
    parts = [({"n": np.array(1), "w": np.full(SHAPE, value, np.float32)}, 1) for value in (1, 2)]
    plain = replace(job("fedavgm-exact/1"), server_momentum=0.0)
    assert aggregate(base, parts, plain)["w"].tobytes() == fedavg(parts)["w"].tobytes()
