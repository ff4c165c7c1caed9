"""MedMNIST v2 as the trainers use it: three splits of 28x28 images with one label each, or several.

Where a set comes from:
    organamnist-sample     the package (trainers/sample)
    a 2D MedMNIST name     <root>/<name>.npz, else medmnist's own folder, else medmnist's download; md5 as published
    any other name         <root>/<name>.npz in MedMNIST's layout: {train,val,test}_{images,labels}

How a file is read is in splits.py. Ordinal regression (retinamnist) is multi-class, as in MedMNIST's own training and
evaluation. A set whose labels have several columns (chestmnist) is multi-label. 3D sets are refused.
"""

from __future__ import annotations

import re
import socket
import sys
from contextlib import redirect_stdout
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path

import medmnist
from medmnist.info import DEFAULT_ROOT, INFO

from hmchain.errors import DataError
from trainers.splits import MAX_CLASSES, Split, channels_of, check_labels, read_splits

SAMPLE = "organamnist-sample"
SAMPLE_FILE = Path(__file__).parent / "sample" / f"{SAMPLE}.npz"
SAMPLE_MD5 = "70f42ef025fad1220c02526290faeaec"  # printed by tools/make_sample.py

DOWNLOAD_TIMEOUT = 30.0  # seconds without a byte
SPLITS = ("train", "val", "test")


@dataclass(frozen=True)
class Dataset:
    """A data set. channels is 1 or 3, classes are the names by label, digest is the SHA-256 of the file."""

    name: str
    channels: int
    classes: tuple[str, ...]
    train: Split
    val: Split
    test: Split
    digest: bytes

    @property
    def multi_label(self) -> bool:
        """Whether several classes may apply to a sample."""
        return self.train.findings > 0


def load(name: str, root: Path | None = None, download: bool = True) -> Dataset:
    """The data set called name. root is a folder of .npz files; download allows medmnist to fetch its own sets.

    Raises DataError, in one line, for a name or kind that is not supported and a file that is missing or altered.
    """
    try:
        path, classes, md5 = _locate(name, root, download)
    except OSError as error:  # a folder that may not be entered, a name too long for the file system
        raise DataError(f"{name} cannot be looked for in {root}: {error.strerror}") from error
    return _read(path, name, classes, md5)


def _locate(name: str, root: Path | None, download: bool) -> tuple[Path, tuple[str, ...] | None, str | None]:
    """The file of a data set; its classes and md5 where they are published."""
    if root is not None and not root.is_dir():
        raise DataError(f"the data root {root} is not a folder")
    if name == SAMPLE:
        return SAMPLE_FILE, _class_names("organamnist"), SAMPLE_MD5
    if name in INFO:
        refuse_unsupported(name)
        return _find_official(name, root, download), _class_names(name), INFO[name]["MD5"]
    return _find_foreign(name, root), None, None


def is_published(name: str) -> bool:
    """Whether there is one file of that name, whose md5 everybody knows."""
    return name == SAMPLE or name in INFO


def refuse_unsupported(name: str) -> None:
    """Raises DataError for a set of MedMNIST's that the networks here cannot learn."""
    if name.endswith("3d"):
        raise DataError(f"{name} is three-dimensional; the networks here take 2D images")


def _class_names(name: str) -> tuple[str, ...]:
    names = INFO[name]["label"]
    return tuple(names[str(label)] for label in range(len(names)))


def _find_official(name: str, root: Path | None, download: bool) -> Path:
    folders = [Path(folder) for folder in (root, DEFAULT_ROOT) if folder is not None]
    for folder in folders:
        if (folder / f"{name}.npz").is_file():
            return folder / f"{name}.npz"
    if not download or DEFAULT_ROOT is None:
        looked = ", ".join(map(str, folders))
        lacks = f"is not in {looked}; put it there" if looked else "needs a data root: medmnist has no folder here"
        raise DataError(f"{name}.npz {lacks}")
    _download(name)
    return Path(DEFAULT_ROOT) / f"{name}.npz"


def _download(name: str) -> None:
    """medmnist's own download with its md5 check, given a time limit, and with its output on standard error."""
    patience = socket.getdefaulttimeout()
    socket.setdefaulttimeout(DOWNLOAD_TIMEOUT)
    try:
        with redirect_stdout(sys.stderr):
            getattr(medmnist, INFO[name]["python_class"])(split="test", download=True)
    except Exception as error:  # medmnist reports every failure as RuntimeError, torch and urllib add their own
        raise DataError(f"{name} could not be downloaded; put {INFO[name]['url']} into a data root") from error
    finally:
        socket.setdefaulttimeout(patience)


def _find_foreign(name: str, root: Path | None) -> Path:
    """A user's own file. The name becomes a file name, so it must have no separators; names in -sample are ours."""
    plain = re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.-]*", name) and not name.endswith("-sample")
    if plain and root is not None and (root / f"{name}.npz").is_file():
        return root / f"{name}.npz"
    where = f"and {name}.npz is not in {root}" if root is not None else "and no data root is given to look in"
    if not plain:
        where = "(a file of one's own is named with a to z, 0 to 9, _, . and -, and not ...-sample)"
    raise DataError(f"unknown data set {name!r} {where}{_suggestion(name, root)}")


def _suggestion(name: str, root: Path | None) -> str:
    """What may have been meant; where nothing is near, what there is without a file of one's own."""
    known = [SAMPLE, *(flag for flag in INFO if not flag.endswith("3d"))]
    own = [path.stem for path in root.glob("*.npz")] if root is not None else []
    names = {each.lower(): each for each in known + own}
    near = [names[each] for each in get_close_matches(name.lower(), names, n=3)]
    return f"; did you mean {', '.join(near)}?" if near else f"; of MedMNIST's there are {', '.join(known)}"


def _read(path: Path, name: str, classes: tuple[str, ...] | None, md5: str | None) -> Dataset:
    splits, digest = read_splits(path, SPLITS, md5)
    channels = channels_of(path, splits)
    classes = classes or _numbered_classes(path, splits)
    check_labels(path, splits, len(classes))
    return Dataset(name, channels, classes, **splits, digest=digest)


def _numbered_classes(path: Path, splits: dict[str, Split]) -> tuple[str, ...]:
    count = splits["train"].findings or max(int(split.labels.max()) for split in splits.values()) + 1
    if not 2 <= count <= MAX_CLASSES:
        raise DataError(f"{path} has {count} classes (largest label + 1), not 2 to {MAX_CLASSES}")
    return tuple(map(str, range(count)))
