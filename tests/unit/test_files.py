"""Files: written whole or not at all, and secrets that nobody else may read."""

from __future__ import annotations

import os
import stat
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hmchain.errors import HMChainError, StorageError, UsageError
from hmchain.files import MAX_BYTES, name_of, read_file, read_secret, write_secret, write_whole
from tests.unit.full_disk import files_of_at_most


@pytest.fixture
def umask() -> Iterator[None]:
    """The usual one, whatever the tests were started with."""
    before = os.umask(0o022)
    yield
    os.umask(before)


def mode_of(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def one_line(act: Callable[[], object], kind: type[HMChainError]) -> str:
    with pytest.raises(kind) as caught:
        act()
    assert "\n" not in str(caught.value)
    return str(caught.value)


# ---------------------------------------------------------------- writing


@given(data=st.binary(max_size=1000))
@settings(max_examples=25, deadline=None)
def test_what_was_written_is_read(tmp_path_factory: pytest.TempPathFactory, data: bytes) -> None:
    path = tmp_path_factory.getbasetemp() / "what_was_written"
    write_whole(path, data)
    assert path.read_bytes() == read_file(path, "the file") == data
    write_secret(path, data)
    assert read_secret(path, "the secret") == data


def test_a_file_is_alone_in_its_folder_afterwards(tmp_path: Path) -> None:
    write_whole(tmp_path / "file", b"old")
    write_whole(tmp_path / "file", b"new")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
    assert (tmp_path / "file").read_bytes() == b"new"


def test_what_is_no_ordinary_file_is_not_replaced_nor_a_link_to_it(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "link").symlink_to(tmp_path / "pipe")
    for place in (tmp_path / "pipe", tmp_path / "link"):
        assert "is no ordinary file" in one_line(lambda place=place: write_secret(place, b"data"), StorageError)
    assert (tmp_path / "pipe").is_fifo()
    assert (tmp_path / "link").is_symlink()


@pytest.mark.usefixtures("umask")
def test_a_secret_is_its_owners_alone_even_where_a_public_file_was(tmp_path: Path) -> None:
    write_whole(tmp_path / "file", b"public")
    assert mode_of(tmp_path / "file") == 0o644
    write_secret(tmp_path / "file", b"secret")
    assert mode_of(tmp_path / "file") == 0o600


def test_a_secret_is_never_readable_by_others_while_it_is_being_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, sync = tmp_path / "file", os.fsync
    seen: list[tuple[int, bool]] = []

    def watched(handle: int) -> None:
        if stat.S_ISREG(os.fstat(handle).st_mode):
            seen.append((os.fstat(handle).st_mode & 0o777, path.exists()))
        sync(handle)

    monkeypatch.setattr(os, "fsync", watched)
    write_secret(path, b"secret")
    assert seen == [(0o600, False)], "and it is on the disk before it takes the name"


def test_a_disk_that_is_full_leaves_the_old_content_and_nothing_else(tmp_path: Path) -> None:
    write_secret(tmp_path / "file", b"old")
    with files_of_at_most(100):
        said = one_line(lambda: write_secret(tmp_path / "file", bytes(1000)), StorageError)
    assert said == f"cannot write {tmp_path / 'file'}: File too large"
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
    assert (tmp_path / "file").read_bytes() == b"old"


def test_a_folder_that_is_not_there_or_is_none_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    assert "No such file" in one_line(lambda: write_whole(tmp_path / "no" / "file", b"x"), StorageError)
    assert "Not a directory" in one_line(lambda: write_whole(tmp_path / "file" / "file", b"x"), StorageError)


def test_a_folder_is_not_replaced_by_a_file(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    assert "it is a folder" in one_line(lambda: write_whole(tmp_path / "folder", b"x"), StorageError)
    assert [path.name for path in tmp_path.iterdir()] == ["folder"]


def test_readers_meet_the_old_content_or_the_new(tmp_path: Path) -> None:
    contents = {bytes([n]) * 100_000 for n in (1, 2)}
    write_whole(tmp_path / "file", min(contents))

    def write() -> None:
        for _ in range(10):
            for content in contents:
                write_whole(tmp_path / "file", content)

    writers = [threading.Thread(target=write) for _ in range(2)]
    for writer in writers:
        writer.start()
    while any(writer.is_alive() for writer in writers):
        assert read_file(tmp_path / "file", "the file") in contents
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


# ---------------------------------------------------------------- reading


@pytest.mark.parametrize("read", [read_file, read_secret])
def test_a_file_that_cannot_be_read_is_named(read: Callable[[Path, str], bytes], tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    for name, why in (("nowhere", "No such file or directory"), ("folder", "Is a directory")):
        said = one_line(lambda name=name: read(tmp_path / name, "the key"), UsageError)
        assert said == f"the key {tmp_path / name} cannot be read: {why}"


def test_a_giant_file_is_not_read(tmp_path: Path) -> None:
    with (tmp_path / "file").open("wb") as file:
        file.truncate(MAX_BYTES + 1)
    for path in (tmp_path / "file", Path("/dev/zero")):
        assert "too large to be one" in one_line(lambda path=path: read_file(path, "the key"), UsageError)


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o602, 0o610, 0o601, 0o644, 0o666, 0o777], ids=oct)
def test_a_secret_that_others_may_touch_is_refused_and_the_remedy_named(mode: int, tmp_path: Path) -> None:
    path = tmp_path / "key"
    path.write_bytes(b"secret")
    path.chmod(mode)
    said = one_line(lambda: read_secret(path, "the key"), UsageError)
    assert said == f"the key {path} can be read by others (mode {mode:04o}); do: chmod 600 {path}"


@pytest.mark.parametrize("mode", [0o600, 0o400, 0o700], ids=oct)
def test_a_secret_of_its_owner_alone_is_read(mode: int, tmp_path: Path) -> None:
    path = tmp_path / "key"
    path.write_bytes(b"secret")
    path.chmod(mode)
    assert read_secret(path, "the key") == b"secret"


# ---------------------------------------------------------------- folders


@pytest.mark.parametrize("path", ["", ".", "/"])
def test_a_folder_is_not_written_to_as_a_file(path: str) -> None:
    assert one_line(lambda: write_whole(Path(path), b""), StorageError).endswith(": it is a folder")


def test_a_folder_has_a_name_however_it_is_given(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "link").symlink_to(tmp_path)
    assert {name_of(Path(given)) for given in (".", "x/..", "link", tmp_path)} == {tmp_path.name}


@pytest.mark.skipif(sys.version_info >= (3, 13), reason="Python reports no loop of links any more")
def test_a_link_to_itself_has_no_name(tmp_path: Path) -> None:
    (tmp_path / "loop").symlink_to("loop")
    assert one_line(lambda: name_of(tmp_path / "loop"), UsageError).endswith("loop is a link that leads back to itself")
