"""Cut trainers/sample/organamnist-sample.npz from the official organamnist.npz, the same bytes each time.

    python tools/make_sample.py FOLDER      # the folder that holds organamnist.npz

The official file's md5 is checked first. The sample has the same number of images of each organ, drawn from the
official split of the same name, in the official order. Prints the md5 that trainers/datasets.py pins.
"""

from __future__ import annotations

import hashlib
import sys
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trainers.datasets import SAMPLE_FILE, SPLITS, load
from trainers.splits import Split

PER_CLASS = {"train": 400, "val": 80, "test": 100}  # images; with 11 organs about 4.1 MB
SEED = 2023


def cut(split: Split, per_class: int, stream: np.random.Generator) -> Split:
    """per_class records of every class of split, in split's order."""
    of_class = [np.flatnonzero(split.labels == label) for label in np.unique(split.labels)]
    chosen = [stream.choice(indices, per_class, replace=False) for indices in of_class]
    return split.take(np.sort(np.concatenate(chosen)))


def main(folder: Path) -> None:
    """Write the sample and print its md5."""
    source = load("organamnist", folder, download=False)
    stream = np.random.Generator(np.random.PCG64(SEED))
    arrays: dict[str, NDArray[Any]] = {}
    for name in SPLITS:
        sample = cut(getattr(source, name), PER_CLASS[name], stream)
        arrays[f"{name}_images"] = sample.inputs
        arrays[f"{name}_labels"] = sample.labels.astype(np.uint8)[:, None]
    SAMPLE_FILE.parent.mkdir(exist_ok=True)
    np.savez_compressed(SAMPLE_FILE, **arrays)  # numpy stamps every entry 1980-01-01, so no clock gets in
    data = SAMPLE_FILE.read_bytes()
    print(f"{SAMPLE_FILE}: {len(data)} bytes, md5 {hashlib.md5(data).hexdigest()}")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
