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
        by_shape: dict[tuple[int, ...], list[Record]] = defaultdict(list)
        for record in records:
            by_shape[tuple(record.value["shape"])].append(record)
        if not by_shape:
            return None
        most = max(sorted(by_shape), key=lambda shape: len(by_shape[shape]))
        left_out = sum(map(len, by_shape.values())) - len(by_shape[most])
        if left_out:  # images of another shape are no reason to train on none
            warn("images of another shape left out", shape=most, images=len(by_shape[most]), left_out=left_out)
        train, held = ([each for each in by_shape[most] if each.value["split"] == split] for split in ("train", "val"))
        return Shard(split_of(train), split_of(held)) if train and held else None


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
