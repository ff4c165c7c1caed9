"""Opens .zip and .gz, which phones and sequencers export: one member at a time, under a name and a size of our choice.

Nothing that an archive says of itself is trusted: its names never become paths, and its sizes are measured.
"""

from __future__ import annotations

import gzip
import os
import re
import stat
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import IO, cast

from trainers.importers.base import Rejection

MAX_UNPACKED = 16 << 30  # bytes of all members of one archive; an export of ten years has 3 GiB
MAX_RATIO = 200  # of unpacked to packed bytes; exports reach 40, a bomb 1,000
MAX_DIRECTORY = 8 << 20  # bytes of a zip's list of members: some 80,000, which take 100 MiB of memory
FREE = 16 << 20  # bytes whose ratio does not matter

ZIP = (b"PK\x03\x04", b"PK\x05\x06")
GZIP = b"\x1f\x8b"
PACKED = (*ZIP, GZIP, b"BZh", b"\xfd7zXZ\x00", b"7z\xbc\xaf\x27\x1c", b"Rar!\x1a\x07", b"\x28\xb5\x2f\xfd")

_CHUNK = 1 << 20  # bytes
_TAIL = 65_535 + 22 + 20 + 56  # bytes: a comment, and the three records that end a zip
_DIRECTORY_SIZES = ((b"PK\x05\x06", 12, 4), (b"PK\x06\x06", 40, 8))  # record, offset and length of that field
_IN_ZIP64 = 0xFFFFFFFF  # the size is in the other record
_DRIVE = re.compile(r"[A-Za-z]:")
_FAULTS = (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError, OSError, ValueError)


class Refused(ValueError):
    """What this module will not unpack, and why."""


@dataclass(frozen=True)
class Member:
    """A file inside of an archive. name: as it is shown. refused: why it stays closed, or "".

    beside: finds another file of its folder by name, and with True takes it, so that nobody is given it again.
    """

    name: str
    refused: str
    open: Callable[[], IO[bytes]]
    size: int  # bytes it may have at most
    beside: Callable[[str, bool], Member | None] = lambda name, take: None

    @contextmanager
    def unpacked(self) -> Iterator[Path | Rejection]:
        """The member unpacked into a file, in a folder that nobody else may enter and that is gone afterwards."""
        with TemporaryDirectory(prefix="hmchain-") as folder:
            yield self.copy(Path(folder) / _plain(self.name))

    def copy(self, target: Path) -> Path | Rejection:
        """The member copied to a file of this name, or why that cannot be done."""
        left = self.size
        try:
            with self.open() as source, target.open("xb") as file:
                while chunk := source.read(_CHUNK):
                    left -= len(chunk)
                    if left < 0:
                        raise Refused("it becomes larger than is allowed")
                    file.write(chunk)
        except _FAULTS as fault:
            return Rejection("file", _reason(fault))
        return target


def gzip_member(archive: Path) -> Member:
    """What a .gz holds. Raises OSError."""
    size = min(MAX_UNPACKED, FREE + MAX_RATIO * archive.stat().st_size)
    name = archive.stem if archive.suffix.lower() == ".gz" else archive.name
    return Member(name, "", lambda: cast(IO[bytes], gzip.GzipFile(archive)), size)


def zip_members(archive: Path) -> Iterator[Member | Rejection]:
    """Every file of a zip, sorted by name. What keeps the whole zip from being read is one Rejection."""
    try:
        _check_directory(archive)
        with zipfile.ZipFile(archive) as file:
            entries = sorted((e for e in file.infolist() if not e.is_dir()), key=lambda e: e.filename)
            total = sum(entry.file_size for entry in entries)
            if total > min(MAX_UNPACKED, FREE + MAX_RATIO * archive.stat().st_size):
                raise Refused("it becomes larger than is allowed")
            known = {entry.filename: entry for entry in entries}
            yield from (_member(file, entry, known) for entry in entries)
    except _FAULTS as fault:
        yield Rejection("file", _reason(fault))


def _member(file: zipfile.ZipFile, entry: zipfile.ZipInfo, known: dict[str, zipfile.ZipInfo]) -> Member:
    """known: what nobody has taken so far; each can be taken once, or headers that share a part would be a bomb."""
    folder = entry.filename[: entry.filename.rfind("/") + 1]

    def beside(name: str, take: bool) -> Member | None:
        other = known.pop(folder + name, None) if take else known.get(folder + name)
        return _member(file, other, known) if other else None

    name = "".join(c if c.isprintable() else "?" for c in entry.filename)
    return Member(name, _refused(entry), partial(file.open, entry), entry.file_size, beside)


def _check_directory(archive: Path) -> None:
    """zipfile reads the list of members whole, however long: so each length that it may find is looked at before."""
    with archive.open("rb") as file:
        end = file.seek(0, os.SEEK_END)
        file.seek(max(0, end - _TAIL))
        tail = file.read(_TAIL)
    for magic, offset, length in _DIRECTORY_SIZES:
        for match in re.finditer(magic, tail):
            at = match.start() + offset
            size = int.from_bytes(tail[at : at + length], "little")
            if size > MAX_DIRECTORY and size != _IN_ZIP64:
                raise Refused("more members than are allowed")


def _refused(entry: zipfile.ZipInfo) -> str:
    """Why an entry is not opened, or "". A backslash is a slash on Windows."""
    parts = entry.filename.replace("\\", "/").split("/")
    if ".." in parts or "" in parts or _DRIVE.match(parts[0]) or "\0" in entry.orig_filename:
        return "a name that leads out of the archive"
    if entry.flag_bits & 0x1:
        return "encrypted"
    if stat.S_IFMT(entry.external_attr >> 16) not in (0, stat.S_IFREG):
        return "not a file"
    if entry.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):  # LZMA takes memory as it likes
        return "compressed in a way that is not read"
    return ""


def _plain(name: str) -> str:
    """The last part of a name, in characters that are the same everywhere: importers look at its start and suffix."""
    plain = re.sub(r"[^\w.-]", "_", name.rpartition("/")[2], flags=re.ASCII).lstrip(".-")
    return (plain if len(plain) <= 100 else plain[:60] + plain[-40:]) or "member"


def _reason(fault: Exception) -> str:
    if isinstance(fault, Refused):
        return str(fault)
    if isinstance(fault, OSError) and fault.strerror:
        return f"cannot be unpacked: {fault.strerror}"
    return f"a damaged archive ({type(fault).__name__})"
