"""What a report may say that neither chain nor data can prove; tests/e2e/test_tamper.py has whole reports with lies."""

from __future__ import annotations

import math
from typing import Any

import pytest

from coordinator.claims import are_malicious, are_seconds, is_metric, is_partition, same
from coordinator.run import TIMES

MEMBERS = (1, 2, 3, 7, 8)


@pytest.mark.parametrize(
    ("name", "value", "possible"),
    [
        ("auc", 0.0, True),
        ("accuracy", 1.0, True),
        ("balanced_accuracy", math.nextafter(1.0, 2.0), False),
        ("auc", -0.001, False),
        ("auc", math.nan, False),
        ("auc", 1, False),
        ("auc", True, False),
        ("auc", "0.5", False),
        ("auc", None, False),
        ("loss", -math.log(1e-12), True),
        ("loss", -0.01, True),  # of a loss of 0, as another processor rounds it
        ("loss", -0.02, False),
        ("loss", 28.1, False),
        ("loss", math.inf, False),
    ],
)
def test_a_metric_lies_where_it_can(name: str, value: Any, possible: bool) -> None:
    assert is_metric(name, value) is possible


@pytest.mark.parametrize(
    ("told", "attack", "possible"),
    [
        ([], "none", True),
        ([1], "noise", True),
        ([1, 3], "noise", True),
        ([1], "none", False),
        ([], "noise", False),
        ([7, 8], "noise", True),
        ([1, 2, 3, 7], "noise", True),
        ([1, 2, 3, 7, 8], "noise", False),  # all of them
        ([4], "noise", False),
        ([2, 1], "noise", False),
        ([1, 1], "noise", False),
        ([True], "noise", False),
        ([1.0], "noise", False),
        (["1"], "noise", False),
        ({}, "none", False),
        ("", "none", False),
    ],
)
def test_attackers_are_some_members_where_there_is_an_attack(told: Any, attack: str, possible: bool) -> None:
    assert are_malicious(told, attack, MEMBERS) is possible


@pytest.mark.parametrize(
    ("told", "possible"),
    [
        ({"total": 0.0}, True),
        (dict.fromkeys(("total", *TIMES), 1.5), True),
        ({}, False),
        (dict.fromkeys(TIMES, 1.5), False),  # without the whole
        ({"total": 1.5, "external_auc": 0.99}, False),
        ({"total": -0.1}, False),
        ({"total": 1.5, TIMES[0]: -0.1}, False),
        ({"total": math.inf}, False),
        ({"total": math.nan}, False),
        ({"total": 1}, False),
        ({"total": True}, False),
        ({"total": "1.5"}, False),
        (["total"], False),
        (1.5, False),
        (None, False),
    ],
)
def test_times_are_numbers_of_seconds_of_known_parts(told: Any, possible: bool) -> None:
    assert are_seconds(told) is possible


@pytest.mark.parametrize(
    ("told", "possible"),
    [("iid", True), ("dirichlet:0.5", True), ("dirichlet:0", False), ("by hospital", False), (None, False), (1, False)],
)
def test_a_partition_is_one_that_a_run_can_make(told: Any, possible: bool) -> None:
    assert is_partition(told) is possible


@pytest.mark.parametrize("value", [0, 2, 2.0, True, False, "2", None, [], [2], [[2.0]], {}, {"a": 2}, {"a": [2]}])
def test_two_values_are_the_same_only_if_of_one_type_at_every_depth(value: Any) -> None:
    assert same(value, value)
    others: list[Any] = [0, 2, 2.0, True, False, "2", None, [], [2], [2, 2], [[2.0]], [[2]], {}, {"a": 2}, {"a": 2.0}]
    others += [{"a": [2]}, {"a": [True]}, {"b": 2}, {"a": 2, "b": 2}]
    assert [other for other in others if same(other, value)] == [o for o in others if repr(o) == repr(value)]
