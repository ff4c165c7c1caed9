"""What a hospital's data look like, in numbers: enough to commit to them and to see which jobs they fit."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from trainers.training_sets import TrainingSet


@dataclass(frozen=True)
class DataFacts:
    """What a node must know of its data.

    samples: how many there are to train on. channels: of images; 0 where the samples are features. classes: the largest
    label + 1, or, of multi-label data, the number of findings. root: the salted Merkle root, 32 bytes. features: their
    names. file: the SHA-256 of the data file. listing: what the root commits to, as trainers.training_sets encodes it.
    """

    samples: int
    channels: int
    classes: int
    root: bytes
    features: tuple[str, ...] = ()
    multi_label: bool = False
    file: bytes = b""
    listing: bytes = field(default=b"", repr=False)

    def listed(self, contents: TrainingSet) -> DataFacts:
        """The same, with a root that also commits to what the data are made of."""
        return replace(self, root=contents.root, listing=contents.encode())


NO_DATA = DataFacts(0, 0, 0, bytes(32))
