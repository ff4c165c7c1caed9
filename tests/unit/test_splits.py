"""One hospital's own file: what was written is read, and hostile bytes end in one line."""

from __future__ import annotations

import io
import pickle
import stat
import zipfile
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hmchain.errors import DataError, StorageError
from trainers.splits import (
    MAX_BYTES,
    MAX_CLASSES,
    SHARD_SPLITS,
    Shard,
    Split,
    each_finding,
    load_shard,
    read_splits,
    write_shard,
)


def split(count: int, shape: tuple[int, ...] = (28, 28), classes: int = 3) -> Split:
    stream = np.random.default_rng(count)
    return Split(stream.integers(0, 256, (count, *shape), dtype=np.uint8), np.arange(count) % classes)


def same(one: Split, other: Split) -> bool:
    return np.array_equal(one.inputs, other.inputs) and np.array_equal(one.labels, other.labels)


def save(folder: Path, **changes: np.ndarray) -> Path:
    arrays: dict[str, np.ndarray] = {}
    for name in SHARD_SPLITS:
        part = split(6)
        arrays |= {f"{name}_images": part.inputs, f"{name}_labels": part.labels[:, None].astype(np.uint8)}
    np.savez_compressed(folder / "data.npz", **{**arrays, **changes})
    return folder / "data.npz"


def refused(path: Path) -> str:
    with pytest.raises(DataError) as caught:
        load_shard(path)
    said = str(caught.value)
    assert "\n" not in said
    assert "data.npz" in said
    return said


# ---------------------------------------------------------------- round trip


@pytest.mark.parametrize("findings", [2, 14, 62])
def test_findings_are_read_as_columns_and_written_so(findings: int, tmp_path: Path) -> None:
    columns = np.random.default_rng(0).integers(0, 2, (6, findings), np.uint8)
    columns[0] = 1
    shard = load_shard(save(tmp_path, train_labels=columns, val_labels=columns))
    assert shard.train.findings == shard.holdout.findings == findings
    assert np.array_equal(each_finding(shard.train.labels, findings), columns)
    assert shard.train.labels[0] == 2**findings - 1
    write_shard(tmp_path / "again.npz", shard)
    again = load_shard(tmp_path / "again.npz")
    assert same(again.train, shard.train)
    assert again.holdout.findings == findings
    assert shard.train.take(np.array([3])).findings == findings


@pytest.mark.parametrize("shape", [(28, 28), (28, 28, 3)], ids=["grey", "RGB"])
@given(train=st.integers(1, 20), holdout=st.integers(1, 20), classes=st.integers(1, MAX_CLASSES))
@settings(max_examples=10, deadline=None)
def test_what_was_written_is_read(
    shape: tuple[int, ...], train: int, holdout: int, classes: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.getbasetemp() / "shard.npz"
    shard = Shard(split(train, shape, classes), split(holdout, shape, classes))
    write_shard(path, shard)
    found = load_shard(path)
    assert same(found.train, shard.train)
    assert same(found.holdout, shard.holdout)
    assert (found.train.inputs.dtype, found.train.labels.dtype) == (np.uint8, np.int64)


def test_patients_data_are_for_their_owner_alone(tmp_path: Path) -> None:
    write_shard(tmp_path / "data.npz", Shard(split(3), split(2)))
    assert stat.S_IMODE((tmp_path / "data.npz").stat().st_mode) == 0o600


def test_a_folder_that_is_not_there_is_a_storage_error(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="cannot write"):
        write_shard(tmp_path / "nowhere" / "data.npz", Shard(split(3), split(2)))


def test_a_hospital_needs_no_test_split_and_may_have_one(tmp_path: Path) -> None:
    shard = load_shard(save(tmp_path, test_images=np.zeros(3), extra=np.zeros(3)))
    assert (len(shard.train), len(shard.holdout)) == (6, 6)


def test_one_hot_labels_are_classes_and_no_findings(tmp_path: Path) -> None:
    columns = np.eye(6, dtype=np.uint8)
    assert "has one-hot labels" in refused(save(tmp_path, train_labels=columns, val_labels=columns))
    for several in (columns | columns[0], columns - columns[:, :1] * columns):
        assert load_shard(save(tmp_path, train_labels=several, val_labels=columns)).train.findings == 6


def test_grey_images_may_have_an_axis_for_it_and_labels_none(tmp_path: Path) -> None:
    images = split(6).inputs
    path = save(tmp_path, train_images=images[..., None], train_labels=np.array([0, 1, 2, 2, 1, 0], np.int32))
    shard = load_shard(path)
    assert np.array_equal(shard.train.inputs, images)
    assert shard.train.labels.tolist() == [0, 1, 2, 2, 1, 0]


# ---------------------------------------------------------------- what is refused


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        ({"train_images": np.zeros((6, 64, 64), np.uint8)}, "train_images must be (N, 28, 28)"),
        ({"val_images": np.zeros((6, 28, 28, 3), np.uint8)}, "mixes grey and RGB"),
        ({"train_images": np.zeros((6, 28, 28), np.float32)}, "train_images must be uint8, not float32"),
        ({"train_images": np.zeros((0, 28, 28), np.uint8), "train_labels": np.zeros(0, np.uint8)}, "is empty"),
        ({"val_images": np.zeros((0, 28, 28), np.uint8), "val_labels": np.zeros(0, np.uint8)}, "is empty"),
        ({"train_labels": np.zeros((6, 14), np.uint8)}, "labels of 14, 1 columns in its splits"),
        ({"train_labels": np.zeros((6, 63), np.uint8)}, "(N, L) with L up to 62, a column a finding, not (6, 63)"),
        ({"train_labels": np.zeros((6, 2, 2), np.uint8)}, "one label an image"),
        ({"train_labels": np.full((6, 14), 2, np.uint8)}, "14 columns, one a finding, and so must be 0 or 1"),
        ({"train_labels": np.full((6, 2), -1)}, "2 columns, one a finding, and so must be 0 or 1"),
        ({"train_labels": np.zeros((6, 1))}, "must be integers, not float64"),
        ({"train_labels": np.zeros((5, 1), np.uint8)}, "6 images and 5 labels"),
        ({"val_labels": np.full((6, 1), -1)}, "-1 is not a class of 0 to 255"),
        ({"val_labels": np.full((6, 1), 256)}, "256 is not a class of 0 to 255"),
        ({"train_labels": np.full((6, 1), 2**64 - 1, np.uint64)}, f"_labels: {2**64 - 1} is not a class of"),
        ({"train_images": np.array({"pickled": 1}, dtype=object)}, "must be uint8, not object"),
        ({"train_images": np.zeros((6, 28, 28), [("a", np.uint8)])}, "must be uint8"),
    ],
    ids=range(17),
)
def test_arrays_that_are_not_medmnists(changes: dict[str, np.ndarray], line: str, tmp_path: Path) -> None:
    assert line in refused(save(tmp_path, **changes))


@pytest.mark.parametrize("key", [f"{name}_{kind}" for name in SHARD_SPLITS for kind in ("images", "labels")])
def test_an_array_is_missing(key: str, tmp_path: Path) -> None:
    with np.load(save(tmp_path)) as whole:
        rest = {name: whole[name] for name in whole.files if name != key}
    np.savez(tmp_path / "data.npz", **rest)
    assert f"must hold the array {key} once" in refused(tmp_path / "data.npz")


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    assert "cannot be read: [Errno 2] No such file" in refused(tmp_path / "data.npz")


def test_a_bomb_is_refused_by_its_header_alone(tmp_path: Path) -> None:
    path = save(tmp_path)
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"descr": "|u1", "fortran_order": False, "shape": (2**40, 28, 28)})
    with zipfile.ZipFile(path) as old:
        content = {name: old.read(name) for name in old.namelist()}
    with zipfile.ZipFile(path, "w") as new:
        for name, data in content.items():
            new.writestr(name, header.getvalue() if name == "train_images.npy" else data)
    assert "train_images holds 0 bytes where" in refused(path)


def test_an_array_that_is_there_twice_is_refused(tmp_path: Path) -> None:
    path = save(tmp_path)
    with zipfile.ZipFile(path, "a") as archive, pytest.warns(UserWarning, match="Duplicate name"):
        archive.writestr("train_images.npy", archive.read("val_images.npy"))
    assert "must hold the array train_images once" in refused(path)


def test_an_array_under_another_name_is_not_read_in_place_of_the_one_that_was_checked(tmp_path: Path) -> None:
    path, other = save(tmp_path), io.BytesIO()
    np.save(other, np.full((6, 28, 28), np.nan))
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("train_images", other.getvalue())  # which numpy takes for train_images
    assert "must hold the array train_images once" in refused(path)


def test_a_file_that_unpacks_to_too_much_is_refused_by_its_directory(tmp_path: Path) -> None:
    path = save(tmp_path, notes=np.zeros(1))
    data = bytearray(path.read_bytes())
    entry = data.rindex(b"PK\x01\x02")
    data[entry + 24 : entry + 28] = (MAX_BYTES + 1).to_bytes(4, "little")  # the uncompressed size
    path.write_bytes(data)
    assert "would unpack to" in refused(path)


def test_truncated_flipped_and_foreign_bytes_are_refused(tmp_path: Path) -> None:
    path = save(tmp_path)
    whole = path.read_bytes()
    for data in (b"", b"not a zip", pickle.dumps({"a": 1}), whole[:100], whole[:-50], whole[: len(whole) // 2]):
        path.write_bytes(data)
        refused(path)
    for place in range(0, len(whole), 499):  # a flip in a field that nobody reads is harmless
        flipped = bytearray(whole)
        flipped[place] ^= 0xFF
        path.write_bytes(flipped)
        with suppress(DataError):
            load_shard(path)


# ---------------------------------------------------------------- features


def rows(count: int, width: int = 3) -> Split:
    stream = np.random.default_rng(count)
    return Split(stream.normal(size=(count, width)).astype(np.float32), np.arange(count) % 2)


def save_rows(folder: Path, **changes: np.ndarray) -> Path:
    arrays: dict[str, np.ndarray] = {"features": np.array(["a", "b", "c"])}
    for name in SHARD_SPLITS:
        arrays |= {f"{name}_features": rows(6).inputs, f"{name}_labels": rows(6).labels}
    np.savez(folder / "data.npz", **{**arrays, **changes})
    return folder / "data.npz"


@pytest.mark.parametrize("width", [1, 3, 4096])
def test_rows_that_were_written_are_read_with_the_names_of_their_columns(width: int, tmp_path: Path) -> None:
    shard = Shard(rows(5, width), rows(4, width), tuple(f"http://loinc.org|{n}" for n in range(width)))
    write_shard(tmp_path / "data.npz", shard)
    found = load_shard(tmp_path / "data.npz")
    assert same(found.train, shard.train)
    assert same(found.holdout, shard.holdout)
    assert found.features == shard.features
    assert (found.train.inputs.dtype, found.train.channels) == (np.float32, 0)


def test_images_have_channels_and_no_features(tmp_path: Path) -> None:
    assert (split(1).channels, split(1, (28, 28, 3)).channels) == (1, 3)
    assert load_shard(save(tmp_path)).features == ()


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        ({"train_features": rows(6).inputs.astype(np.float64)}, "train_features must be float32, not float64"),
        ({"train_features": rows(6).inputs.astype(">f4")}, "train_features must be float32, not >f4"),
        ({"train_features": np.zeros((6, 3), np.uint8)}, "train_features must be float32, not uint8"),
        ({"val_features": np.zeros((6, 0), np.float32)}, "(N, F) with F from 1 to 4096, not (6, 0)"),
        ({"val_features": np.zeros((6, 4097), np.float32)}, "(N, F) with F from 1 to 4096, not (6, 4097)"),
        ({"val_features": np.zeros((6, 3, 1), np.float32)}, "(N, F) with F from 1 to 4096, not (6, 3, 1)"),
        ({"val_features": np.zeros(6, np.float32)}, "(N, F) with F from 1 to 4096, not (6,)"),
        ({"val_features": np.zeros((0, 3), np.float32), "val_labels": np.zeros(0, np.int64)}, "is empty"),
        ({"val_features": np.full((6, 3), np.nan, np.float32)}, "val_features holds NaN or infinity"),
        ({"val_features": np.full((6, 3), np.inf, np.float32)}, "val_features holds NaN or infinity"),
        ({"train_labels": np.zeros(5, np.int64)}, "has 6 rows and 5 labels"),
        ({"val_labels": np.full(6, -1)}, "-1 is not a class"),
        ({"val_features": rows(6, 2).inputs}, "val_features has 2 columns and 3 names"),
        ({"features": np.array(["a", "b"])}, "train_features has 3 columns and 2 names"),
        ({"features": np.array(["a", "b", "b"])}, "features: a sample has 1 to 4096 features of different names"),
        ({"features": np.array(["a", "b", ""])}, "features: a feature's name has 1 to 256 printable characters"),
        ({"features": np.array([1, 2, 3])}, "features must be up to 4096 names, not (3,) of int64"),
        ({"features": np.array([["a", "b", "c"]])}, "features must be up to 4096 names"),
        ({"features": np.array(["a" * 257, "b", "c"])}, "features must be up to 4096 names"),
        ({"features": np.array([{"pickled": 1}], dtype=object)}, "features must be up to 4096 names"),
        ({"train_images": split(6).inputs}, "holds both images and features"),
    ],
    ids=range(21),
)
def test_rows_that_cannot_be_are_refused(changes: dict[str, np.ndarray], line: str, tmp_path: Path) -> None:
    assert line in refused(save_rows(tmp_path, **changes))


@pytest.mark.parametrize("key", ["val_features", "train_labels", "features"])
def test_an_array_of_rows_is_missing(key: str, tmp_path: Path) -> None:
    with np.load(save_rows(tmp_path)) as whole:
        rest = {name: whole[name] for name in whole.files if name != key}
    np.savez(tmp_path / "data.npz", **rest)
    assert f"must hold the array {key} once" in refused(tmp_path / "data.npz")


def test_who_wants_images_is_given_no_rows(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="must hold the array train_images once"):
        read_splits(save_rows(tmp_path), SHARD_SPLITS, None)


def test_rows_that_are_cut_off_or_turned_over_are_refused_in_a_line(tmp_path: Path) -> None:
    path = save_rows(tmp_path)
    whole = path.read_bytes()
    for length in range(0, len(whole), 97):
        path.write_bytes(whole[:length])
        refused(path)
    for place in range(0, len(whole), 53):
        flipped = bytearray(whole)
        flipped[place] ^= 0xFF
        path.write_bytes(flipped)
        with suppress(DataError):
            load_shard(path)
