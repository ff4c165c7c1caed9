"""Labelled samples in files of MedMNIST's layout: an .npz with {train,val,test}_{images,labels}.

A hospital's own file may have {train,val}_features instead, rows of numbers, and `features`, the name of each column.

A file counts as hostile until it is proved: first its md5 where one is published, then the zip directory, then each
array's header, and only then its bytes.
"""

from __future__ import annotations

import hashlib
import zipfile
from dataclasses import dataclass, replace
from io import BufferedReader, BytesIO
from math import prod
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from hmchain.errors import DataError, UsageError
from hmchain.files import write_secret
from hmchain.manifest import MAX_FEATURE_NAME, MAX_FEATURES, MAX_FINDINGS, Manifest, check_features

SIDE = 28  # pixels
MAX_CLASSES = 256  # of a set we do not know; a label is a byte in MedMNIST
MAX_BYTES = 1 << 30  # of a file, decompressed; the largest official one has 252 MB
SHARD_SPLITS = ("train", "val")  # what one hospital has
IMAGES, FEATURES = "images", "features"
NAMES = "features"  # the array of the features' names

Inputs = NDArray[np.uint8] | NDArray[np.float32]


def layout_of(job: Manifest) -> tuple[tuple[int, ...], np.dtype[Any]]:
    """Shape and type of one of a job's samples, as a split's inputs hold it."""
    if job.features:
        return (job.width,), np.dtype(np.float32)
    return (SIDE, SIDE) if job.channels == 1 else (SIDE, SIDE, job.channels), np.dtype(np.uint8)


@dataclass(frozen=True)
class Split:
    """inputs: images, uint8 (N, 28, 28) or (N, 28, 28, 3), or features, finite float32 (N, F); labels (N,) int64 in
    0..classes-1.

    A multi-label split has `findings` classes, any of which may apply to a sample; its label is the sum of their 2^c.
    """

    inputs: Inputs
    labels: NDArray[np.int64]
    findings: int = 0

    def __len__(self) -> int:
        return len(self.labels)

    def take(self, indices: NDArray[np.int64] | slice) -> Split:
        """The records at indices, in their order: a copy, of a slice a view."""
        return replace(self, inputs=self.inputs[indices], labels=self.labels[indices])

    @property
    def truth(self) -> NDArray[np.int64]:
        """The right answers: classes (N,), or whether each finding applies, 0 or 1 (N, findings)."""
        return each_finding(self.labels, self.findings) if self.findings else self.labels

    @property
    def channels(self) -> int:
        """Channels of the images, 1 or 3; 0 where the inputs are features."""
        return {2: 0, 3: 1}.get(self.inputs.ndim, 3)


def each_finding(labels: NDArray[np.int64], findings: int) -> NDArray[np.int64]:
    """A multi-label split's labels as columns of 0 and 1, (N, findings)."""
    return labels[:, None] >> np.arange(findings) & 1


@dataclass(frozen=True)
class Shard:
    """One hospital's data; train and holdout have no record in common. features: the columns' names, () for images.

    digest: the SHA-256 of the file that it was read from. sources: where it was made of records, which of them each
    sample to train on comes from, by their places in the order in which they were given.
    """

    train: Split
    holdout: Split
    features: tuple[str, ...] = ()
    digest: bytes = b""
    sources: tuple[tuple[int, ...], ...] = ()


def load_shard(path: Path) -> Shard:
    """One hospital's own file, in MedMNIST's layout: train to train on, val to judge by; test may be missing.

    Raises DataError, in one line, for a file that is missing, altered or not supported.
    """
    splits, digest = read_splits(path, SHARD_SPLITS, None, (IMAGES, FEATURES))
    names = () if channels_of(path, splits) else _read_names(path, splits)
    check_labels(path, splits, MAX_CLASSES)
    train, holdout = (splits[name] for name in SHARD_SPLITS)
    return Shard(train, holdout, names, digest)


def write_shard(path: Path, shard: Shard) -> None:
    """The file of one hospital, for load_shard. Raises StorageError."""
    named = dict(zip(SHARD_SPLITS, (shard.train, shard.holdout), strict=True))
    kind = FEATURES if shard.features else IMAGES
    arrays: dict[str, NDArray[Any]] = {f"{name}_{kind}": split.inputs for name, split in named.items()}
    if shard.features:
        arrays[NAMES] = np.array(shard.features)
    buffer = BytesIO()
    columns = {f"{name}_labels": split.truth.reshape(len(split), -1) for name, split in named.items()}
    np.savez(buffer, **arrays, **columns)
    write_secret(path, buffer.getvalue())


def read_splits(
    path: Path, wanted: tuple[str, ...], md5: str | None, kinds: tuple[str, ...] = (IMAGES,)
) -> tuple[dict[str, Split], bytes]:
    """The wanted splits of a file, of one of these kinds of inputs, and the file's SHA-256. Raises DataError."""
    try:
        with path.open("rb") as file:
            if md5 is not None:
                _check_md5(file, path, md5)
            digest = hashlib.file_digest(_rewound(file), "sha256").digest()
            kind = _check_headers(_rewound(file), path, wanted, kinds)
            with np.load(_rewound(file), allow_pickle=False) as arrays:
                splits = {s: _split(arrays[f"{s}_{kind}"], arrays[f"{s}_labels"], f"{path}, {s}") for s in wanted}
    except (DataError, MemoryError):
        raise
    except Exception as error:  # on bytes that are not theirs zipfile, its codecs and numpy raise a dozen types
        raise _unreadable(path, error) from error
    return splits, digest


def _unreadable(path: Path, error: Exception) -> DataError:
    return DataError(f"{path} cannot be read: {' '.join(str(error).split()) or type(error).__name__}")


def _read_names(path: Path, splits: dict[str, Split]) -> tuple[str, ...]:
    """The features' names, one a column."""
    try:
        with path.open("rb") as file, zipfile.ZipFile(file) as archive:
            _check_held(path, archive.namelist(), NAMES)
            with archive.open(f"{NAMES}.npy") as member:
                shape, dtype = _header(member)
            if dtype.kind != "U" or len(shape) != 1 or shape[0] > MAX_FEATURES or dtype.itemsize > 4 * MAX_FEATURE_NAME:
                raise DataError(f"{path}, {NAMES} must be up to {MAX_FEATURES} names, not {shape} of {dtype}")
            with np.load(_rewound(file), allow_pickle=False) as arrays:
                names = tuple(map(str, arrays[NAMES]))
        check_features(names)
    except (DataError, MemoryError):
        raise
    except UsageError as fault:
        raise DataError(f"{path}, {NAMES}: {fault}") from None
    except Exception as error:  # as above
        raise _unreadable(path, error) from error
    for name, split in splits.items():
        if split.inputs.shape[1] != len(names):
            raise DataError(f"{path}, {name}_{FEATURES} has {split.inputs.shape[1]} columns and {len(names)} names")
    return names


def channels_of(path: Path, splits: dict[str, Split]) -> int:
    """The channels that all splits of a file have. Raises DataError where they differ."""
    channels = {split.channels for split in splits.values()}
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


def _check_headers(file: BufferedReader, path: Path, wanted: tuple[str, ...], kinds: tuple[str, ...]) -> str:
    """Every array's type and size, from the zip directory and a few decompressed bytes, before any is read.

    Returns which of the kinds the file holds.
    """
    with zipfile.ZipFile(file) as archive:
        names, total = archive.namelist(), sum(entry.file_size for entry in archive.infolist())
        held = [kind for kind in kinds if f"{wanted[0]}_{kind}.npy" in names] or [kinds[0]]
        if len(held) > 1:
            raise DataError(f"{path} holds both {' and '.join(held)}")
        for key in (f"{split}_{kind}" for split in wanted for kind in (held[0], "labels")):
            _check_held(path, names, key)
            with archive.open(f"{key}.npy") as member:
                shape, dtype = _header(member)
                size = archive.getinfo(f"{key}.npy").file_size - member.tell()
            _check_array(f"{path}, {key}", shape, dtype, size)
        if total > MAX_BYTES:  # last: of larger images one learns that they are larger images
            raise DataError(f"{path} would unpack to {total} bytes; the limit is {MAX_BYTES}")
    return held[0]


def _check_held(path: Path, names: list[str], key: str) -> None:
    """Raises DataError unless a file holds an array once. numpy would prefer an entry that is named without ".npy"."""
    if names.count(f"{key}.npy") != 1 or key in names:
        raise DataError(f"{path} must hold the array {key} once")


def _header(member: IO[bytes]) -> tuple[tuple[int, ...], np.dtype[Any]]:
    """numpy's own description of an array; formats after 1.0 are for structured types, which no sample has."""
    if np.lib.format.read_magic(member) != (1, 0):  # type: ignore[no-untyped-call]
        raise ValueError("an array in a format other than npy 1.0")
    shape, _, dtype = np.lib.format.read_array_header_1_0(member)  # type: ignore[no-untyped-call]
    return shape, dtype


def _check_array(where: str, shape: tuple[int, ...], dtype: np.dtype[Any], size: int) -> None:
    if where.endswith(IMAGES):
        expected, typed = "uint8", dtype == np.uint8
        form, shaped = f"(N, {SIDE}, {SIDE}) or (N, {SIDE}, {SIDE}, 3)", _is_of_images(shape)
    elif where.endswith(FEATURES):
        expected, typed = "float32", dtype == np.float32
        form, shaped = f"(N, F) with F from 1 to {MAX_FEATURES}", len(shape) == 2 and 1 <= shape[1] <= MAX_FEATURES
    else:
        expected, typed = "integers", dtype.kind in "iu"
        form = f"(N,) or (N, 1), one label an image or row, or (N, L) with L up to {MAX_FINDINGS}, a column a finding"
        shaped = len(shape) == 1 or (len(shape) == 2 and 1 <= shape[1] <= MAX_FINDINGS)
    if not typed:
        raise DataError(f"{where} must be {expected}, not {dtype}")
    if not shaped:
        raise DataError(f"{where} must be {form}, not {shape}")
    if shape[0] == 0:
        raise DataError(f"{where} is empty")
    if prod(shape) * dtype.itemsize != size:
        raise DataError(f"{where} holds {size} bytes where {shape} of {dtype} was declared")


def _is_of_images(shape: tuple[int, ...]) -> bool:
    return shape[1:3] == (SIDE, SIDE) and shape[3:] in ((), (1,), (3,))


def _split(inputs: Inputs, labels: NDArray[Any], where: str) -> Split:
    if len(inputs) != len(labels):
        what = "rows" if inputs.ndim == 2 else IMAGES
        raise DataError(f"{where} has {len(inputs)} {what} and {len(labels)} labels")
    if inputs.ndim == 2 and not np.isfinite(inputs).all():
        raise DataError(f"{where}_{FEATURES} holds NaN or infinity")
    if labels.max() > np.iinfo(np.int64).max:  # of an unsigned type: as an int64 it would be another number
        raise DataError(f"{where}_labels: {labels.max()} is not a class of 0 to {MAX_CLASSES - 1}")
    grey = inputs[..., 0] if inputs.ndim == 4 and inputs.shape[3] == 1 else inputs
    findings = labels.shape[1] if labels[0].size > 1 else 0
    if findings and not 0 <= labels.min() <= labels.max() <= 1:
        raise DataError(f"{where}_labels has {findings} columns, one a finding, and so must be 0 or 1")
    words = labels.astype(np.int64) @ (1 << np.arange(findings)) if findings else labels.reshape(-1).astype(np.int64)
    return Split(np.ascontiguousarray(grey), words, findings)


def check_labels(path: Path, splits: dict[str, Split], classes: int) -> None:
    """Raises DataError where a label is not in 0..classes-1, splits have other findings, or findings are classes."""
    if len({split.findings for split in splits.values()}) > 1:
        columns = ", ".join(str(split.findings or 1) for split in splits.values())
        raise DataError(f"{path} has labels of {columns} columns in its splits; all must have the same")
    labels = np.concatenate([split.labels for split in splits.values()])
    if splits["train"].findings and np.all((labels > 0) & (labels & labels - 1 == 0)):
        raise DataError(f"{path} has one-hot labels; of samples of one class each, labels are one column of its number")
    for name, split in splits.items():
        low, high = int(split.labels.min()), int(split.labels.max())
        if not split.findings and (low < 0 or high >= classes):
            raise DataError(f"{path}, {name}_labels: {low if low < 0 else high} is not a class of 0 to {classes - 1}")
