"""A job's key between its creation and the day that the chain has it: on disk, and for its owner alone."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from hmchain.envelope import new_identity, seal
from hmchain.errors import StorageError, UsageError
from hmchain.files import write_secret
from trainers.coordination import keep_key, kept_key, key_file

KEY, OWN, EARLIER = new_identity(), new_identity(), new_identity()
MANIFEST, ANOTHER = b"\1" * 32, b"\2" * 32


def test_a_kept_key_is_found_again(tmp_path: Path) -> None:
    keep_key(tmp_path, MANIFEST, KEY, OWN.public)
    assert kept_key(tmp_path, MANIFEST, (OWN,)) == KEY


def test_after_a_rotation_it_is_found_with_the_earlier_key(tmp_path: Path) -> None:
    keep_key(tmp_path, MANIFEST, KEY, EARLIER.public)
    assert kept_key(tmp_path, MANIFEST, (OWN, EARLIER)) == KEY


def test_each_job_has_its_own(tmp_path: Path) -> None:
    other = new_identity()
    keep_key(tmp_path, MANIFEST, KEY, OWN.public)
    keep_key(tmp_path, ANOTHER, other, OWN.public)
    assert kept_key(tmp_path, MANIFEST, (OWN,)) == KEY
    assert kept_key(tmp_path, ANOTHER, (OWN,)) == other


def test_it_is_on_disk_sealed_and_for_its_owner_alone(tmp_path: Path) -> None:
    keep_key(tmp_path, MANIFEST, KEY, OWN.public)
    (path,) = tmp_path.iterdir()
    assert path == key_file(tmp_path, MANIFEST)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert KEY.secret.encode() not in path.read_bytes()


def test_where_there_is_none_for_us_there_is_none(tmp_path: Path) -> None:
    assert kept_key(tmp_path, MANIFEST, (OWN,)) is None
    keep_key(tmp_path, MANIFEST, KEY, new_identity().public)
    assert kept_key(tmp_path, MANIFEST, (OWN, EARLIER)) is None
    assert kept_key(tmp_path, MANIFEST, ()) is None


def test_a_damaged_file_holds_none(tmp_path: Path) -> None:
    keep_key(tmp_path, MANIFEST, KEY, OWN.public)
    path = key_file(tmp_path, MANIFEST)
    for data in (b"", b"no envelope", path.read_bytes()[:-1]):
        write_secret(path, data)
        assert kept_key(tmp_path, MANIFEST, (OWN,)) is None


def test_an_envelope_with_something_else_is_refused(tmp_path: Path) -> None:
    write_secret(key_file(tmp_path, MANIFEST), seal(b"hello", [OWN.public]))
    with pytest.raises(UsageError, match="not an age secret key"):
        kept_key(tmp_path, MANIFEST, (OWN,))


def test_a_file_that_others_can_read_is_refused(tmp_path: Path) -> None:
    keep_key(tmp_path, MANIFEST, KEY, OWN.public)
    key_file(tmp_path, MANIFEST).chmod(0o644)
    with pytest.raises(UsageError, match=r"the job's key .* can be read by others"):
        kept_key(tmp_path, MANIFEST, (OWN,))


def test_a_folder_that_is_not_there_keeps_nothing(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="cannot write"):
        keep_key(tmp_path / "nowhere", MANIFEST, KEY, OWN.public)
