"""Labelled images in MedMNIST's layout (.npz): one record an image, so that each can be consented to by itself.

    train_images, train_labels, val_images, val_labels      as trainers.splits has them
    train_subjects, val_subjects                            text, one an image: the hospital's number of the person

Without subjects, images are about whom the import names (--subject), or about nobody.
"""

from __future__ import annotations

import zipfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from hmchain.errors import DataError
from hmchain.record import Kind, Record
from trainers.importers.base import Context, Rejection
from trainers.splits import MAX_CLASSES, SHARD_SPLITS, Split, check_labels, read_splits

NAME = "images"
TYPE = "labelled-image"
MAX_SUBJECTS_BYTES = 64 << 20


def recognises(head: bytes, path: Path) -> bool:
    """An .npz: a zip file by its first bytes, and by its name, as archives of records are zip files as well."""
    return head.startswith(b"PK\x03\x04") and path.suffix == ".npz"


def read(path: Path, context: Context) -> Iterator[Record | Rejection]:
    """See Importer.read."""
    try:
        splits, _ = read_splits(path, SHARD_SPLITS, None)
        check_labels(path, splits, MAX_CLASSES)
        if findings := splits["train"].findings:
            raise DataError(f"it has {findings} columns of labels: an image's record has one class")
        subjects = {name: _subjects(path, name, len(split)) for name, split in splits.items()}
    except DataError as fault:
        yield Rejection("file", str(fault).removeprefix(str(path)).lstrip(" ,:"))
        return
    for name, split in splits.items():
        yield from _records(name, split, subjects[name], context)


def _records(name: str, split: Split, subjects: NDArray[np.str_] | None, context: Context) -> Iterator[Record]:
    for index, (image, label) in enumerate(zip(split.inputs, split.labels.tolist(), strict=True)):
        known = context.default_subject if subjects is None else context.pseudonym(str(subjects[index]))
        yield Record(
            kind=Kind.CLINICAL,
            type=TYPE,
            subject=known,
            time="",
            codes=(),
            value={"label": label, "split": name, "shape": list(image.shape)},
            source="medmnist-npz",
            attachment=image.tobytes(),
        )


def _subjects(path: Path, name: str, count: int) -> NDArray[np.str_] | None:
    """The subjects of a split, if the file names any."""
    key = f"{name}_subjects"
    with zipfile.ZipFile(path) as archive:
        if f"{key}.npy" not in archive.namelist():
            return None
        if archive.getinfo(f"{key}.npy").file_size > MAX_SUBJECTS_BYTES:
            raise DataError(f"{key} is too large")
    try:
        with np.load(path, allow_pickle=False) as arrays:
            subjects = arrays[key]
    except Exception as fault:  # numpy raises many types on what is none of its own
        raise DataError(f"{key} cannot be read: {type(fault).__name__}") from fault
    if subjects.dtype.kind != "U" or subjects.shape != (count,):
        raise DataError(f"{key} must be {count} texts")
    return np.asarray(subjects)
