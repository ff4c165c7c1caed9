"""Medical image identification: the training set of a federated job is exactly the images that are consented to.

A hospital's images are records. Before each round the node looks which of them their persons let it use for IMAGING;
those, and no others, are its data: it commits to their root, and trains on them. Consent withdrawn is another set, so
another root and another next round.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hmchain.errors import BlobError, DataError
from hmchain.permits import Purpose
from hmchain.record import Record
from hmchain.trail import Trail
from trainers.entitlement import consented
from trainers.holdings import Holding, Wanted
from trainers.importers.images import TYPE
from trainers.logs import warn
from trainers.splits import SIDE, Shard, Split, write_shard
from trainers.storing import Reading
from trainers.vault import Vault


@dataclass
class ConsentedImages:
    """The consented images of a hospital as a data file for its trainer. chosen: the digest of which they are."""

    vault: Vault
    reading: Reading
    file: Path
    chosen: bytes = b""
    _seen: tuple[Trail | None, int, int] = (None, -1, -1)

    def refresh(self, trail: Trail) -> bool:
        """Writes the file anew where other images are consented to than before. Whether it did. Raises HMChainError."""
        seen = trail, trail.revision, self.vault.revision()  # of the very trail: a chain that was set back has another
        if seen == self._seen:
            return False
        holdings = list(consented(trail, self.vault, Purpose.IMAGING, Wanted(type=TYPE)))
        chosen = sha256(b"".join(holding.leaf for holding in holdings)).digest()
        if chosen == self.chosen:
            self._seen = seen
            return False
        self.clear()
        self._write(holdings)
        self._seen, self.chosen = seen, chosen
        return True

    def clear(self) -> None:
        """Takes the file away: an image that nobody consents to any more is not left lying about."""
        self.file.unlink(missing_ok=True)
        self.chosen, self._seen = b"", (None, -1, -1)

    def _write(self, holdings: list[Holding]) -> None:
        """No file where there is nothing to train on, or nothing to judge by."""
        records = list(self._usable(holdings))
        by_split = {name: [r for r in records if r.value["split"] == name] for name in ("train", "val")}
        if all(by_split.values()):
            write_shard(self.file, Shard(split_of(by_split["train"]), split_of(by_split["val"])))

    def _usable(self, holdings: list[Holding]) -> Iterator[Record]:
        """Those that can be had, and have the shape of the first; one bad image is no reason to train on none."""
        shape: Any = None
        for holding in holdings:
            try:
                record = self.reading.open(holding)
            except (BlobError, DataError) as fault:
                warn("image left out", record=holding.name, reason=str(fault))
                continue
            shape = shape or record.value["shape"]
            if record.value["shape"] == shape:
                yield record
            else:
                warn("image left out", record=holding.name, reason="another shape than the first")


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
