"""Lists of what was trained on: bound to the root on chain, on disk before the chain is told, silent about persons."""

from __future__ import annotations

import stat
import zlib
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

import pytest

from hmchain.envelope import new_identity, seal
from hmchain.errors import DataError, StorageError, UsageError
from hmchain.files import write_secret
from hmchain.identity import MemberIdentity
from trainers.keystore import Keys
from trainers.training_sets import TrainingSet, TrainingSets

OF_RECORDS = TrainingSet(bytes([7]) * 32, 2, purpose="imaging", rows=(((3, 0), (3, 14)), ((4, 1),)))
OF_FILE = TrainingSet(bytes([8]) * 32, 1_234, file="data.npz", sha256="ab" * 32)
UPDATE, OTHER = bytes([1]) * 32, bytes([2]) * 32


@pytest.fixture
def sets(tmp_path: Path) -> TrainingSets:
    return TrainingSets(tmp_path / "training-sets", Keys(MemberIdentity.create()))


def files(sets: TrainingSets) -> set[str]:
    return {path.name for path in sets.folder.iterdir()}


# ---------------------------------------------------------------- the root


def test_the_root_is_that_of_the_rows_and_of_what_they_are_made_of() -> None:
    contents = b'{"file":"","purpose":"imaging","rows":["3/0 3/14","4/1"],"samples":2,"sha256":""}'
    right = sha256(b"\x00" + contents).digest()
    assert OF_RECORDS.root == sha256(b"\x01" + OF_RECORDS.rows_root + right).digest()


@pytest.mark.parametrize(
    "change",
    [
        {"rows_root": bytes(32)},
        {"samples": 3},
        {"purpose": "neuroscience"},
        {"rows": OF_RECORDS.rows[::-1]},
        {"rows": OF_RECORDS.rows[:1]},
        {"rows": (((3, 0),), ((3, 14), (4, 1)))},
        {"file": "data.npz"},
        {"sha256": "ab" * 32},
    ],
)
def test_whatever_is_changed_in_a_list_is_another_root(change: dict[str, object]) -> None:
    assert replace(OF_RECORDS, **change).root != OF_RECORDS.root  # type: ignore[arg-type]


@pytest.mark.parametrize("listed", [OF_RECORDS, OF_FILE])
def test_a_list_is_read_as_it_was_written(listed: TrainingSet) -> None:
    assert TrainingSet.decode(listed.encode()) == listed


# ---------------------------------------------------------------- on disk


def test_a_set_is_kept_once_sealed_and_for_its_owner_alone(sets: TrainingSets) -> None:
    sets.keep(OF_RECORDS.root, OF_RECORDS.encode())
    (path,) = sets.folder.iterdir()
    before = path.read_bytes()
    sets.keep(OF_RECORDS.root, OF_RECORDS.encode())
    assert path.name == f"{OF_RECORDS.root.hex()}.age"
    assert path.read_bytes() == before, "sealed again it would be other bytes"
    assert before.startswith(b"age-encryption.org/v1")
    assert [stat.S_IMODE(place.stat().st_mode) for place in (path, sets.folder)] == [0o600, 0o700]
    assert sets.find(OF_RECORDS.root) == OF_RECORDS


def test_a_large_set_is_a_small_file(sets: TrainingSets) -> None:
    large = replace(OF_RECORDS, samples=50_000, rows=tuple(((n // 1_000, n % 1_000),) for n in range(50_000)))
    sets.keep(large.root, large.encode())
    (path,) = sets.folder.iterdir()
    assert path.stat().st_size < 200_000
    assert sets.find(large.root) == large


def test_after_a_rotation_earlier_lists_are_still_read(sets: TrainingSets) -> None:
    sets.keep(OF_FILE.root, OF_FILE.encode())
    earlier = sets._keys.identity.encryption
    assert TrainingSets(sets.folder, Keys(MemberIdentity.create(), (earlier,))).find(OF_FILE.root) == OF_FILE


def test_what_cannot_be_written_is_a_fault_of_the_disk(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    sets = TrainingSets(tmp_path / "file" / "training-sets", Keys(MemberIdentity.create()))
    with pytest.raises(StorageError):
        sets.keep(OF_FILE.root, OF_FILE.encode())
    with pytest.raises(StorageError):
        sets.note(1, 1, UPDATE, OF_FILE.root)


def test_a_hospitals_folder_that_is_gone_is_not_made_anew(tmp_path: Path) -> None:
    """Its disk comes back, and hides what was written in its place."""
    away = TrainingSets(tmp_path / "disk" / "training-sets", Keys(MemberIdentity.create()))
    with pytest.raises(StorageError, match=r"^cannot make .*training-sets: No such file or directory$"):
        away.keep(OF_FILE.root, OF_FILE.encode())
    assert not (tmp_path / "disk").exists()


def test_a_list_that_is_missing_damaged_foreign_or_another_one_is_said(sets: TrainingSets) -> None:
    root, own = OF_RECORDS.root, sets._keys.identity.encryption.public
    name = rf"its list {root.hex()}\.age"
    with pytest.raises(DataError, match=f"{name} is missing"):
        sets.find(root)
    sets.keep(root, OF_RECORDS.encode())
    (path,) = sets.folder.iterdir()
    listed = zlib.compress(OF_RECORDS.encode())
    wrong = {
        b"nonsense": "sealed to a key that is not here",
        seal(listed, [new_identity().public]): "sealed to a key that is not here",
        seal(listed[:-9], [own]): "cannot be read",
        seal(zlib.compress(b"{}"), [own]): "it is damaged",
        seal(zlib.compress(OF_RECORDS.encode().replace(b"set/1", b"set/9")), [own]): "not a hmchain-training-set/1",
        seal(zlib.compress(OF_FILE.encode()), [own]): f"is another one: its root is {OF_FILE.root.hex()}",
    }
    for content, told in wrong.items():
        write_secret(path, content)
        with pytest.raises(DataError, match=f"{name} .*{told}"):
            sets.find(root)
    path.chmod(0o644)
    with pytest.raises(UsageError, match="can be read by others"):
        sets.find(root)


# ---------------------------------------------------------------- updates


def test_each_update_is_noted_with_its_set_once(sets: TrainingSets) -> None:
    assert sets.noted(1) == {}
    sets.note(1, 1, UPDATE, OF_FILE.root)
    before = (sets.folder / "job-1.jsonl").stat().st_ino
    sets.note(1, 1, UPDATE, OF_FILE.root)
    assert (sets.folder / "job-1.jsonl").stat().st_ino == before, "it is written anew only where it says something new"
    sets.note(1, 1, OTHER, OF_RECORDS.root)  # trained again, as consents changed before the first was sent
    sets.note(2, 1, UPDATE, OF_RECORDS.root)
    assert sets.noted(1) == {(1, UPDATE): OF_FILE.root, (1, OTHER): OF_RECORDS.root}
    assert files(sets) == {"job-1.jsonl", "job-2.jsonl"}
    assert (sets.folder / "job-1.jsonl").read_bytes().count(b"\n") == 2


def test_notes_that_are_damaged_are_said(sets: TrainingSets) -> None:
    sets.note(1, 1, UPDATE, OF_FILE.root)
    for content in (b"{", b"[]", b'{"round": 1}', b'{"round": 1, "update": "x", "set": "00"}'):
        write_secret(sets.folder / "job-1.jsonl", content)
        with pytest.raises(DataError, match=r"job-1\.jsonl is damaged"):
            sets.noted(1)
