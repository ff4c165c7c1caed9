"""Partitions: every record has one owner, every member can train and judge, and a seed says it all."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hmchain.errors import UsageError
from trainers.datasets import Dataset
from trainers.partition import HOLDOUT_FRACTION, SMALLEST_HOLDOUT, SMALLEST_TRAIN, Shard, split
from trainers.splits import Split


def dataset(train: int, val: int, classes: int = 3) -> Dataset:
    """Records that carry their own number: in the first four pixels, and 100,000 higher for val."""

    def numbered(count: int, start: int) -> Split:
        images = np.zeros((count, 28, 28), np.uint8)
        images[:, 0, :4] = (start + np.arange(count, dtype="<u4")).view(np.uint8).reshape(count, 4)
        return Split(images, np.arange(count) % classes)

    names = tuple(map(str, range(classes)))
    return Dataset("made", 1, names, numbered(train, 0), numbered(val, 100_000), numbered(1, 0), bytes(32))


def numbers(part: Split) -> list[int]:
    return part.inputs[:, 0, :4].copy().view("<u4").ravel().tolist()


def all_numbers(shards: list[Shard]) -> list[int]:
    return sorted(n for shard in shards for part in (shard.train, shard.holdout) for n in numbers(part))


@settings(max_examples=60, deadline=None)
@given(
    members=st.integers(1, 40),
    spare=st.integers(0, 200),
    val=st.integers(1, 60),
    scheme=st.sampled_from(["iid", "dirichlet:0.01", "dirichlet:0.5", "dirichlet:100"]),
    seed=st.integers(0, 2**32),
)
def test_every_record_has_one_owner_and_every_member_enough(members: int, spare: int, val: int, scheme: str, seed: int):
    train = SMALLEST_TRAIN * members + max(0, members - val) * SMALLEST_HOLDOUT + spare
    shards = split(dataset(train, val), members, scheme, seed)
    assert len(shards) == members
    assert all_numbers(shards) == [*range(train), *range(100_000, 100_000 + val)]
    assert min(len(shard.train) for shard in shards) >= SMALLEST_TRAIN
    assert min(len(shard.holdout) for shard in shards) >= SMALLEST_HOLDOUT


def test_iid_shards_are_even_and_hold_out_a_fraction_beside_their_share_of_val():
    shards = split(dataset(1000, 100), 10, "iid", seed=0)
    assert {len(shard.train) for shard in shards} == {100 - int(100 * HOLDOUT_FRACTION)}
    assert {len(shard.holdout) for shard in shards} == {10 + int(100 * HOLDOUT_FRACTION)}


def test_a_hold_out_is_never_trained_on():
    for shard in split(dataset(300, 5), 10, "iid", seed=3):
        assert not set(numbers(shard.train)) & set(numbers(shard.holdout))


def test_labels_stay_with_their_images():
    for shard in split(dataset(300, 30), 7, "dirichlet:0.3", seed=1):
        for part in (shard.train, shard.holdout):
            assert (np.array(numbers(part)) % 100_000 % 3 == part.labels).all()


@pytest.mark.parametrize("scheme", ["iid", "dirichlet:0.5"])
def test_the_seed_decides(scheme: str):
    first, again, other = (split(dataset(300, 30), 7, scheme, seed) for seed in (5, 5, 6))
    assert [numbers(shard.train) for shard in first] == [numbers(shard.train) for shard in again]
    assert [numbers(shard.train) for shard in first] != [numbers(shard.train) for shard in other]


def test_a_small_concentration_skews_labels_and_a_large_one_does_not():
    def share_of_commonest(scheme: str) -> float:
        shards = split(dataset(3000, 30), 10, scheme, seed=0)
        return float(np.mean([np.bincount(s.train.labels).max() / len(s.train) for s in shards]))

    assert share_of_commonest("dirichlet:0.05") > 0.6
    assert share_of_commonest("dirichlet:1000") < 0.4


def test_too_many_members_are_refused_with_the_numbers():
    with pytest.raises(UsageError, match="made has 19 training and 30 validation images: too few for 10 members"):
        split(dataset(19, 30), 10, "iid", seed=0)
    with pytest.raises(UsageError, match="too few for 10 members"):
        split(dataset(25, 4), 10, "dirichlet:1", seed=0)


@pytest.mark.parametrize(
    "scheme", ["", "IID", "dirichlet", "dirichlet:", "dirichlet:0", "dirichlet:-1", "dirichlet:nan", "x:1"]
)
def test_an_unknown_scheme_is_refused(scheme: str):
    with pytest.raises(UsageError, match="use iid, or dirichlet:A"):
        split(dataset(100, 10), 2, scheme, seed=0)


@pytest.mark.parametrize(("members", "seed"), [(0, 0), (-3, 0), (2, -1)])
def test_impossible_numbers_are_refused(members: int, seed: int):
    with pytest.raises(UsageError, match="at least"):
        split(dataset(100, 10), members, "iid", seed)
