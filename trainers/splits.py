"""Images with one label each, in files of MedMNIST's layout: {train,val,test}_{images,labels} in an .npz.

A file is hostile until proved: md5 first where one is published, then the zip directory, then each array's header,
and only then its bytes.
"""

from __future__ import annotations

import hashlib
import zipfile
from dataclasses import dataclass
from io import BufferedReader, BytesIO
from math import prod
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from hmchain.errors import DataError
from hmchain.files import write_secret

SIDE = 28  # pixels
MAX_CLASSES = 256  # of a set we do not know; a label is a byte in MedMNIST
MAX_BYTES = 1 << 30  # of a file, decompressed; the largest official one has 252 MB
SHARD_SPLITS = ("train", "val")  # what one hospital has


@dataclass(frozen=True)
class Split:
    """images (N, 28, 28) or (N, 28, 28, 3) uint8, labels (N,) int64 in 0..classes-1."""

    images: NDArray[np.uint8]
    labels: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.labels)

    def take(self, indices: NDArray[np.int64]) -> Split:
        """A copy of the records at indices, in their order."""
        return Split(self.images[indices], self.labels[indices])


@dataclass(frozen=True)
class Shard:
    """One hospital's data: train and holdout have no record in common."""

    train: Split
    holdout: Split


def load_shard(path: Path) -> Shard:
    """One hospital's own file, in MedMNIST's layout: train to train on, val to judge by; test may be missing.

    Raises DataError, in one line, for a file that is missing, altered or not supported.
    """
    splits, _ = read_splits(path, SHARD_SPLITS, None)
    channels_of(path, splits)
    check_labels(path, splits, MAX_CLASSES)
    return Shard(*(splits[name] for name in SHARD_SPLITS))


def write_shard(path: Path, shard: Shard) -> None:
    """The file of one hospital, for load_shard. Raises StorageError."""
    named = dict(zip(SHARD_SPLITS, (shard.train, shard.holdout), strict=True))
    arrays = {f"{name}_images": split.images for name, split in named.items()}
    buffer = BytesIO()
    np.savez(buffer, **arrays, **{f"{name}_labels": split.labels[:, None] for name, split in named.items()})
    write_secret(path, buffer.getvalue())


def read_splits(path: Path, wanted: tuple[str, ...], md5: str | None) -> tuple[dict[str, Split], bytes]:
    """The wanted splits of a file, and the file's SHA-256."""
    try:
        with path.open("rb") as file:
            if md5 is not None:
                _check_md5(file, path, md5)
            digest = hashlib.file_digest(_rewound(file), "sha256").digest()
            _check_headers(_rewound(file), path, wanted)
            with np.load(_rewound(file), allow_pickle=False) as arrays:
                splits = {s: _split(arrays[f"{s}_images"], arrays[f"{s}_labels"], f"{path}, {s}") for s in wanted}
    except (DataError, MemoryError):
        raise
    except Exception as error:  # on bytes that are not theirs zipfile, its codecs and numpy raise a dozen types
        raise DataError(f"{path} cannot be read: {' '.join(str(error).split()) or type(error).__name__}") from error
    return splits, digest


def channels_of(path: Path, splits: dict[str, Split]) -> int:
    channels = {3 if split.images.ndim == 4 else 1 for split in splits.values()}
    if len(channels) != 1:
        raise DataError(f"{path} mixes grey and RGB images")
    return channels.pop()


def _rewound(file: BufferedReader) -> BufferedReader:
    file.seek(0)
    return file


def _check_md5(file: BufferedReader, path: Path, expected: str) -> None:
    found = hashlib.file_digest(file, "md5").hexdigest()
    if found != expected:
        raise DataError(f"{path} is not the published file: its md5 is {found}, not {expected}")


def _check_headers(file: BufferedReader, path: Path, wanted: tuple[str, ...]) -> None:
    """Every array's type and size, from the zip directory and a few decompressed bytes, before any is read."""
    with zipfile.ZipFile(file) as archive:
        names, total = archive.namelist(), sum(entry.file_size for entry in archive.infolist())
        if total > MAX_BYTES:
            raise DataError(f"{path} would unpack to {total} bytes; the limit is {MAX_BYTES}")
        for key in (f"{split}_{kind}" for split in wanted for kind in ("images", "labels")):
            if names.count(f"{key}.npy") != 1:
                raise DataError(f"{path} must hold the array {key} once")
            with archive.open(f"{key}.npy") as member:
                shape, dtype = _header(member)
                size = archive.getinfo(f"{key}.npy").file_size - member.tell()
            _check_array(f"{path}, {key}", shape, dtype, size)


def _header(member: IO[bytes]) -> tuple[tuple[int, ...], np.dtype[Any]]:
    """numpy's own description of an array; formats after 1.0 are for structured types, which no image has."""
    if np.lib.format.read_magic(member) != (1, 0):  # type: ignore[no-untyped-call]
        raise ValueError("an array in a format other than npy 1.0")
    shape, _, dtype = np.lib.format.read_array_header_1_0(member)  # type: ignore[no-untyped-call]
    return shape, dtype


def _check_array(where: str, shape: tuple[int, ...], dtype: np.dtype[Any], size: int) -> None:
    images = where.endswith("images")
    if (images and dtype != np.uint8) or dtype.kind not in "iu":
        raise DataError(f"{where} must be {'uint8' if images else 'integers'}, not {dtype}")
    if images and not (shape[1:3] == (SIDE, SIDE) and shape[3:] in ((), (1,), (3,))):
        raise DataError(f"{where} must be (N, {SIDE}, {SIDE}) or (N, {SIDE}, {SIDE}, 3), not {shape}")
    if not images and (not shape or shape[1:] not in ((), (1,))):
        raise DataError(f"{where} must be (N,) or (N, 1), one label an image, not {shape}")
    if shape[0] == 0:
        raise DataError(f"{where} is empty")
    if prod(shape) * dtype.itemsize != size:
        raise DataError(f"{where} holds {size} bytes where {shape} of {dtype} was declared")


def _split(images: NDArray[np.uint8], labels: NDArray[Any], where: str) -> Split:
    if len(images) != len(labels):
        raise DataError(f"{where} has {len(images)} images and {len(labels)} labels")
    grey = images[..., 0] if images.ndim == 4 and images.shape[3] == 1 else images
    return Split(np.ascontiguousarray(grey), labels.reshape(len(labels)).astype(np.int64))


def check_labels(path: Path, splits: dict[str, Split], classes: int) -> None:
    for name, split in splits.items():
        low, high = int(split.labels.min()), int(split.labels.max())
        if low < 0 or high >= classes:
            raise DataError(f"{path}, {name}_labels: {low if low < 0 else high} is not a class of 0 to {classes - 1}")
