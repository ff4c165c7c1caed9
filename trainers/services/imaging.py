"""Medical image identification: the labelled images that are consented to, each with the split it was imported for."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from hmchain.errors import DataError
from hmchain.permits import Purpose
from hmchain.record import Record
from trainers.importers.images import TYPE
from trainers.records.holdings import Wanted
from trainers.splits import SIDE, Shard, Split


class Imaging:
    """See TrainingService; images carry their labels themselves."""

    purpose = Purpose.IMAGING
    inputs = (Wanted(type=TYPE),)
    label = None

    def shard(self, records: Iterable[Record]) -> Shard | None:
        """See TrainingService."""
        by_split: dict[str, list[Record]] = {"train": [], "val": []}
        shape: object = None
        for record in records:
            shape = shape or record.value["shape"]
            if record.value["shape"] == shape:  # one image of another shape is no reason to train on none
                by_split[record.value["split"]].append(record)
        if not all(by_split.values()):
            return None
        return Shard(split_of(by_split["train"]), split_of(by_split["val"]))


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
