"""Medical image identification: the labelled images that are consented to, each with the split it was imported for."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from hmchain.errors import DataError
from hmchain.permits import Purpose
from hmchain.record import Record
from trainers.importers.images import TYPE
from trainers.logs import warn
from trainers.records.holdings import Wanted
from trainers.splits import SIDE, Shard, Split


class Imaging:
    """See TrainingService; images carry their labels themselves."""

    purpose = Purpose.IMAGING
    inputs = (Wanted(type=TYPE),)
    label = None

    def shard(self, records: Iterable[Record]) -> Shard | None:
        """See TrainingService."""
        by_shape: dict[tuple[int, ...], list[tuple[int, Record]]] = defaultdict(list)
        for index, record in enumerate(records):
            by_shape[tuple(record.value["shape"])].append((index, record))
        if not by_shape:
            return None
        most = max(sorted(by_shape), key=lambda shape: len(by_shape[shape]))
        left_out = sum(map(len, by_shape.values())) - len(by_shape[most])
        if left_out:  # images of another shape are no reason to train on none
            warn("images of another shape left out", shape=most, images=len(by_shape[most]), left_out=left_out)
        train, held = ({i: r for i, r in by_shape[most] if r.value["split"] == split} for split in ("train", "val"))
        if not (train and held):
            return None
        sources = tuple((index,) for index in train)
        return Shard(split_of(train.values()), split_of(held.values()), sources=sources)


def split_of(records: Iterable[Record]) -> Split:
    """Images and labels of records, in their order. Raises DataError where their shapes differ."""
    images: list[NDArray[np.uint8]] = []
    labels: list[int] = []
    for record in records:
        shape = tuple(record.value["shape"])
        if shape not in ((SIDE, SIDE), (SIDE, SIDE, 3)) or (images and images[0].shape != shape):
            raise DataError(f"images of the shape {shape} do not go with the others")
        images.append(np.frombuffer(record.attachment, np.uint8).reshape(shape))
        labels.append(int(record.value["label"]))
    return Split(np.stack(images), np.array(labels, np.int64))
