"""Data sets: what is accepted, where it is looked for, and what is refused with one line."""

from __future__ import annotations

import hashlib
import io
import pickle
import zipfile
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from medmnist.info import DEFAULT_ROOT, INFO

from hmchain.errors import DataError
from tests.samples import MEDMNIST, needs_medmnist
from trainers.datasets import SAMPLE, SAMPLE_FILE, SPLITS, load
from trainers.splits import MAX_BYTES, Split


def arrays(count: int = 6, classes: int = 3, shape: tuple[int, ...] = (28, 28)) -> dict[str, np.ndarray]:
    """The six arrays of a MedMNIST file, with random images and labels that go round."""
    stream = np.random.default_rng(0)
    made: dict[str, np.ndarray] = {}
    for split in SPLITS:
        made[f"{split}_images"] = stream.integers(0, 256, (count, *shape), dtype=np.uint8)
        made[f"{split}_labels"] = (np.arange(count, dtype=np.uint8) % classes)[:, None]
    return made


def save(folder: Path, name: str = "mine", **changes: np.ndarray) -> Path:
    np.savez_compressed(folder / f"{name}.npz", **{**arrays(), **changes})
    return folder / f"{name}.npz"


# What is accepted


def test_the_packaged_sample_needs_no_root_and_no_network():
    sample = load(SAMPLE, download=False)
    assert (sample.name, sample.channels, len(sample.classes)) == (SAMPLE, 1, 11)
    assert sample.classes[6] == "liver"
    assert sample.digest == hashlib.sha256(SAMPLE_FILE.read_bytes()).digest()
    for split in (sample.train, sample.val, sample.test):
        assert split.inputs.dtype == np.uint8
        assert split.labels.dtype == np.int64
        assert len(set(np.bincount(split.labels))) == 1, "every organ has as many images"
    assert SAMPLE_FILE.stat().st_size <= 4_200_000


@needs_medmnist
@pytest.mark.parametrize(("name", "sizes"), [("pneumoniamnist", (4708, 524, 624)), ("breastmnist", (546, 78, 156))])
def test_an_official_file_is_read_from_the_root(name: str, sizes: tuple[int, int, int]):
    dataset = load(name, MEDMNIST, download=False)
    assert (len(dataset.train), len(dataset.val), len(dataset.test)) == sizes
    assert dataset.classes == tuple(INFO[name]["label"].values())


@pytest.mark.parametrize(
    ("shape", "channels", "seen"), [((28, 28), 1, (28, 28)), ((28, 28, 1), 1, (28, 28)), ((28, 28, 3), 3, (28, 28, 3))]
)
def test_a_file_of_ones_own_in_medmnists_layout(tmp_path: Path, shape: tuple, channels: int, seen: tuple):
    path = save(tmp_path, **arrays(shape=shape))
    dataset = load("mine", tmp_path)
    assert (dataset.channels, dataset.classes) == (channels, ("0", "1", "2"))
    assert dataset.train.inputs.shape == (6, *seen)
    assert dataset.digest == hashlib.sha256(path.read_bytes()).digest()


def test_labels_may_be_a_column_or_a_row_of_any_integers(tmp_path: Path):
    save(tmp_path, train_labels=np.array([0, 1, 2, 2, 1, 0], dtype=np.int32), extra=np.zeros(3))
    assert load("mine", tmp_path).train.labels.tolist() == [0, 1, 2, 2, 1, 0]


def test_a_set_whose_labels_have_columns_is_multi_label(tmp_path: Path):
    save(tmp_path, **{f"{split}_labels": np.eye(6, 14, k=-1, dtype=np.uint8) for split in SPLITS})
    dataset = load("mine", tmp_path)
    assert dataset.multi_label
    assert dataset.classes == tuple(map(str, range(14)))
    assert dataset.test.labels.tolist() == [0, 1, 2, 4, 8, 16]
    save(tmp_path)
    assert not load("mine", tmp_path).multi_label


def test_a_split_need_not_hold_every_class(tmp_path: Path):
    save(tmp_path, test_labels=np.zeros((6, 1), np.uint8))
    assert len(load("mine", tmp_path).classes) == 3


def test_taking_records_copies_them():
    split = Split(np.zeros((3, 28, 28), np.uint8), np.arange(3))
    taken = split.take(np.array([2, 0]))
    taken.inputs[:] = 1
    assert taken.labels.tolist() == [2, 0]
    assert not split.inputs.any()


# What is refused: names


@pytest.mark.parametrize(
    ("name", "line"),
    [
        ("pneumonia", "did you mean pneumoniamnist"),
        ("PneumoniaMNIST", "did you mean pneumoniamnist"),
        ("zzz", "unknown data set .* of MedMNIST's there are organamnist-sample, pathmnist"),
        ("mine.npz", r"did you mean mine\?"),
        ("Mine-two", r"did you mean Mine-2, mine\?"),
        ("organmnist3d", "organmnist3d is three-dimensional"),
        ("mine-sample", "unknown data set"),
        ("../mine", "unknown data set"),
        ("", "unknown data set"),
        ("x" * 300, "cannot be looked for"),
    ],
)
def test_a_name_that_cannot_be_had(tmp_path: Path, name: str, line: str):
    save(tmp_path, "mine-sample")
    save(tmp_path, "Mine-2")
    (tmp_path / "folder").mkdir()
    save(tmp_path)
    with pytest.raises(DataError, match=line):
        load(name, tmp_path / "folder" if name == "../mine" else tmp_path, download=False)


def test_the_root_must_be_a_folder(tmp_path: Path):
    with pytest.raises(DataError, match="is not a folder"):
        load(SAMPLE, tmp_path / "nowhere")


@pytest.mark.skipif(
    DEFAULT_ROOT is not None and (Path(DEFAULT_ROOT) / "tissuemnist.npz").exists(),
    reason="medmnist's own folder holds tissuemnist.npz here",
)
def test_a_file_that_is_nowhere(tmp_path: Path):
    with pytest.raises(DataError, match=r"tissuemnist\.npz is not in .*; put it there"):
        load("tissuemnist", tmp_path, download=False)


# What is refused: bytes


def test_an_official_name_with_other_bytes_names_both_md5s(tmp_path: Path):
    path = save(tmp_path, "retinamnist")
    found = hashlib.md5(path.read_bytes()).hexdigest()
    with pytest.raises(DataError, match=f"retinamnist.npz .*{found}, not {INFO['retinamnist']['MD5']}"):
        load("retinamnist", tmp_path)


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        ({"train_images": np.zeros((6, 64, 64), np.uint8)}, "train_images must be .* not \\(6, 64, 64\\)"),
        ({"val_images": np.zeros((6, 28, 28, 4), np.uint8)}, "val_images must be"),
        ({"val_images": np.zeros((6, 28, 28, 3), np.uint8)}, "mixes grey and RGB"),
        ({"test_images": np.zeros((6, 28, 28), np.float32)}, "test_images must be uint8, not float32"),
        ({"test_images": np.zeros((0, 28, 28), np.uint8), "test_labels": np.zeros((0, 1), np.uint8)}, "is empty"),
        ({"train_labels": np.zeros((6, 14), np.uint8)}, "labels of 14, 1, 1 columns in its splits"),
        ({"train_labels": np.array(1, np.uint8)}, "one label an image"),
        ({"train_labels": np.zeros((6, 1))}, "must be integers, not float64"),
        ({"train_labels": np.zeros((5, 1), np.uint8)}, "6 images and 5 labels"),
        ({"train_labels": np.full((6, 1), -1)}, "-1 is not a class of 0 to 2"),
        ({"train_labels": np.full((6, 1), 2**40)}, "classes"),
        ({f"{split}_labels": np.zeros((6, 1), np.uint8) for split in SPLITS}, "has 1 classes"),
        ({"train_images": np.array({"pickled": 1}, dtype=object)}, "must be uint8, not object"),
    ],
)
def test_arrays_that_are_not_medmnists(tmp_path: Path, changes: dict[str, np.ndarray], line: str):
    save(tmp_path, **changes)
    with pytest.raises(DataError, match=line):
        load("mine", tmp_path)


def test_an_array_is_missing(tmp_path: Path):
    np.savez(tmp_path / "mine.npz", **{key: array for key, array in arrays().items() if key != "val_labels"})
    with pytest.raises(DataError, match="must hold the array val_labels once"):
        load("mine", tmp_path)


def test_a_bomb_is_refused_by_its_header_alone(tmp_path: Path):
    path = save(tmp_path)
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"descr": "|u1", "fortran_order": False, "shape": (2**40, 28, 28)})
    with zipfile.ZipFile(path) as old, zipfile.ZipFile(tmp_path / "bomb.npz", "w") as new:
        for name in old.namelist():
            new.writestr(name, header.getvalue() if name == "train_images.npy" else old.read(name))
    with pytest.raises(DataError, match=r"train_images holds 0 bytes where .* was declared"):
        load("bomb", tmp_path)


def test_a_file_that_unpacks_to_too_much_is_refused_by_its_directory(tmp_path: Path):
    declare(save(tmp_path, notes=np.zeros(1)), "notes.npy", MAX_BYTES + 1)
    with pytest.raises(DataError, match="would unpack to"):
        load("mine", tmp_path)


def test_of_larger_images_one_learns_that_they_are_and_not_that_they_are_many(tmp_path: Path):
    declare(save(tmp_path, train_images=np.zeros((6, 64, 64), np.uint8)), "train_images.npy", MAX_BYTES + 1)
    with pytest.raises(DataError, match=r"train_images must be \(N, 28, 28\)"):
        load("mine", tmp_path)


def declare(path: Path, member: str, size: int) -> None:
    """Writes another uncompressed size into the zip directory."""
    data = bytearray(path.read_bytes())
    entry = data.rindex(member.encode()) - 46  # the name ends an entry of the directory
    data[entry + 24 : entry + 28] = size.to_bytes(4, "little")
    path.write_bytes(data)


def test_truncated_flipped_and_foreign_bytes_are_refused(tmp_path: Path):
    whole = save(tmp_path).read_bytes()
    flips = [bytearray(whole) for _ in range(0, len(whole), 997)]
    for flip, place in zip(flips, range(0, len(whole), 997), strict=True):
        flip[place] ^= 0xFF
    for data in (b"", b"not a zip", pickle.dumps({"a": 1}), whole[:100], whole[:-50], whole[: len(whole) // 2]):
        (tmp_path / "mine.npz").write_bytes(data)
        with pytest.raises(DataError, match=r"mine\.npz") as caught:
            load("mine", tmp_path)
        assert "\n" not in str(caught.value)
    for data in flips:  # a flip in a field that nobody reads (a timestamp) is harmless; none may end in a traceback
        (tmp_path / "mine.npz").write_bytes(data)
        with suppress(DataError):
            load("mine", tmp_path)
