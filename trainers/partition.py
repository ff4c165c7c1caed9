"""Divides a public data set among hospitals: each gets a shard to train on, and a hold-out that it never trains on.

A hospital's hold-out, on which it scores as a master, is its even share of the official val split plus HOLDOUT_FRACTION
of its own train shard. The test split belongs to nobody.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from hmchain.errors import UsageError
from trainers.datasets import Dataset
from trainers.splits import Shard

HOLDOUT_FRACTION = 0.1  # of a hospital's train shard, rounded down
SMALLEST_TRAIN = 2  # samples: what a batch norm needs
SMALLEST_HOLDOUT = 1  # samples
MAX_CONCENTRATION = 1e300  # the sum over all members must be a number as well


def split(dataset: Dataset, members: int, scheme: str, seed: int) -> list[Shard]:
    """The data of each of members hospitals, in order; the same for the same arguments on every machine.

    scheme is "iid", or "dirichlet:A" with a concentration A > 0: label skew after Hsu et al. 2019, where each class
    is divided in proportions drawn from Dir(A); small A gives hospitals of few classes. Shards that come out too
    small are topped up from the largest.

    Raises UsageError for an unknown scheme, or too few samples for so many members.
    """
    concentration = concentration_of(scheme)
    if members < 1 or seed < 0:
        raise UsageError(f"members must be at least 1 and the seed at least 0, not {members} and {seed}")
    stream = np.random.Generator(np.random.PCG64(seed))
    val_shares = np.array_split(stream.permutation(len(dataset.val)), members)
    needed = [SMALLEST_TRAIN + max(0, SMALLEST_HOLDOUT - len(share)) for share in val_shares]
    if sum(needed) > len(dataset.train):
        raise UsageError(
            f"{dataset.name} has {len(dataset.train)} training and {len(dataset.val)} validation images: too few for "
            f"{members} members, who need {SMALLEST_TRAIN} to train on and {SMALLEST_HOLDOUT} to hold out each"
        )
    if concentration is None:
        train_shares = np.array_split(stream.permutation(len(dataset.train)), members)
    else:
        train_shares = _label_skew(dataset.train.labels, members, concentration, stream)
    _top_up(train_shares, needed)
    return [_shard(dataset, mine, val) for mine, val in zip(train_shares, val_shares, strict=True)]


def concentration_of(scheme: str) -> float | None:
    """None for "iid", A for "dirichlet:A". Raises UsageError."""
    if scheme == "iid":
        return None
    kind, _, text = scheme.partition(":")
    try:
        concentration = float(text)
    except ValueError:
        concentration = 0.0
    if kind != "dirichlet" or not 0 < concentration <= MAX_CONCENTRATION:
        raise UsageError(f"unknown partition {scheme!r}; use iid, or dirichlet:A with a number A > 0")
    return concentration


def _label_skew(
    labels: NDArray[np.int64], members: int, concentration: float, stream: np.random.Generator
) -> list[NDArray[np.int64]]:
    """Indices per member: each class shuffled, then cut at the running sums of one Dirichlet draw."""
    pieces: list[list[NDArray[np.int64]]] = [[] for _ in range(members)]
    for label in np.unique(labels):
        indices = stream.permutation(np.flatnonzero(labels == label))
        shares = stream.dirichlet(np.full(members, concentration))
        cuts = (np.cumsum(shares)[:-1] * len(indices)).astype(int)
        for piece, part in zip(pieces, np.split(indices, cuts), strict=True):
            piece.append(part)
    # Shuffled, so that the part held out or given away is not the last class.
    return [stream.permutation(np.concatenate(piece)) for piece in pieces]


def _top_up(shares: list[NDArray[np.int64]], needed: list[int]) -> None:
    """Move samples, one from the largest share at a time, until every share has what its member needs."""
    for member, minimum in enumerate(needed):
        while len(shares[member]) < minimum:
            donor = max(range(len(shares)), key=lambda m: len(shares[m]) - needed[m])
            shares[member] = np.append(shares[member], shares[donor][-1])
            shares[donor] = shares[donor][:-1]


def _shard(dataset: Dataset, train: NDArray[np.int64], val: NDArray[np.int64]) -> Shard:
    wanted = max(int(HOLDOUT_FRACTION * len(train)), SMALLEST_HOLDOUT - len(val))
    held = min(wanted, len(train) - SMALLEST_TRAIN)
    own = dataset.train.take(train[:held])
    given = dataset.val.take(val)
    inputs, labels = (np.concatenate([getattr(part, name) for part in (given, own)]) for name in ("inputs", "labels"))
    holdout = replace(own, inputs=inputs, labels=labels)
    return Shard(dataset.train.take(train[held:]), holdout)
