"""Finds files, opens archives, and reads each file with the importer that recognises it.

Importers are loaded with the first file; most of them load their libraries only when they read one.
"""

from __future__ import annotations

import re
import stat
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from pathlib import Path, PurePosixPath
from typing import cast

from hmchain.errors import DataError, UsageError
from hmchain.record import Record
from trainers.importers.base import Context, Importer, Rejection
from trainers.importers.reading import archives

AUTO = "auto"
HEAD = 4096  # bytes that an importer may recognise a file by

# By NAME, and in the order they are asked: those that know a magic number or a root first, tables last.
IMPORTERS = {
    "images": "images",
    "dicom": "dicom.instances",
    "eeg": "eeg.formats",
    "apple-health": "wearables.apple_health",
    "fhir": "fhir.resources",
    "fitbit": "wearables.fitbit",
    "google-fit": "wearables.google_fit",
    "open-mhealth": "wearables.open_mhealth",
    "hl7v2": "hl7.messages",
    "vcf": "genomics.vcf",
    "fasta": "genomics.fasta",
    "labs": "labs",
}

# What lies beside records: hidden files, licences, notes
_BESIDE = re.compile(
    r"\.|__MACOSX$|(?:README|LICEN[CS]E|COPYING|COPYRIGHT|NOTICE|SOURCES)(?![a-z])|.*\.md$", re.IGNORECASE
)
_UTF_16 = (b"\xff\xfe", b"\xfe\xff")
# Parts of a BrainVision recording, which is read from its header
_HEADER, _PARTS = ".vhdr", (".eeg", ".vmrk")


@dataclass(frozen=True)
class Skipped:
    """A file that was passed over, and why; it is not an error."""

    reason: str


@dataclass(frozen=True)
class Found:
    """path: how a file is shown, an archive's members as if it were a folder. content: where it can be read now, until
    the next one is asked for; or why it is not.
    """

    path: Path
    content: Path | Rejection | Skipped


def import_files(
    paths: Iterable[Path], source: str, context: Context
) -> Iterator[tuple[Path, Record | Rejection | Skipped]]:
    """Every record of every file, with where it came from.

    source: the name of one importer, which is then asked about every file, or "auto". No file raises anything. Raises
    UsageError, at once, for an unknown source.
    """
    _check(source)
    return _import_all(paths, source, context)


def _import_all(
    paths: Iterable[Path], source: str, context: Context
) -> Iterator[tuple[Path, Record | Rejection | Skipped]]:
    for found in files_of(paths):
        if isinstance(found.content, Path):
            for item in _import(found.content, source, context):
                yield found.path, item
        else:
            yield found.path, found.content


def _import(path: Path, source: str, context: Context) -> Iterator[Record | Rejection]:
    count = rejected = 0
    try:
        importer = importer_for(path, source)
        if importer is None:
            wide = _head(path).startswith(_UTF_16)
            yield Rejection("file", "text in UTF-16, not UTF-8" if wide else "of no kind that any importer knows")
            return
        for item in importer.read(path, context):
            count, rejected = count + isinstance(item, Record), rejected + isinstance(item, Rejection)
            yield _encodable(item, f"record {count}") if isinstance(item, Record) else item
        if not count + rejected:
            yield Rejection("file", "nothing in it is a record")
    except Exception as fault:  # an importer's defect is no reason to leave other files unread
        yield Rejection("file", f"the importer failed: {type(fault).__name__}")


def _encodable(record: Record, position: str) -> Record | Rejection:
    try:
        record.encode()
    except DataError:
        return Rejection(position, "larger than a record may be, or not to be written as one")
    return record


def importer_for(path: Path, source: str = AUTO) -> Importer | None:
    """The importer of that name, or for "auto" the first one that recognises the file, or None.

    Raises UsageError for an unknown name, OSError for a file that cannot be read.
    """
    _check(source)
    if source != AUTO:
        return _load(source)
    head = _head(path)
    return next((importer for importer in map(_load, IMPORTERS) if importer.recognises(head, path)), None)


def files_of(paths: Iterable[Path]) -> Iterator[Found]:
    """Every file below these paths, folders in the order of names, archives like folders.

    A path may itself be a symbolic link; below it none is followed. Only regular files are opened.
    """
    for top in paths:
        pending = [top]
        while pending:
            path = pending.pop()
            try:
                mode = (path.stat() if path is top else path.lstat()).st_mode
                if path is not top and _BESIDE.match(path.name):
                    yield Found(path, Skipped("not a record file"))
                elif stat.S_ISDIR(mode):
                    pending += sorted(path.iterdir(), reverse=True)
                else:
                    yield from _look(path, mode)
            except OSError as fault:
                yield Found(path, Rejection("file", f"cannot be read: {fault.strerror}"))
            except Exception as fault:  # a defect of whoever should have recognised it
                yield Found(path, Rejection("file", f"not looked at: {type(fault).__name__}"))


def _look(path: Path, mode: int) -> Iterator[Found]:
    if stat.S_ISLNK(mode):
        yield Found(path, Skipped("a symbolic link"))
    elif not stat.S_ISREG(mode):
        yield Found(path, Skipped("not a file"))
    elif _BESIDE.match(path.name):
        yield Found(path, Skipped("not a record file"))
    elif path.suffix in _PARTS and path.with_suffix(_HEADER).is_file():
        yield Found(path, Skipped("a part of the recording beside it"))
    else:
        yield from _open(path)


def _open(path: Path) -> Iterator[Found]:
    head = _head(path)
    if not head:
        yield Found(path, Rejection("file", "empty"))
    elif not head.startswith((*archives.ZIP, archives.GZIP)) or importer_for(path) is not None:
        yield Found(path, path)
    elif head.startswith(archives.GZIP):
        yield from _unpack(path, archives.gzip_member(path))
    else:
        yield from _unzip(path)


def _unzip(path: Path) -> Iterator[Found]:
    for count, member in enumerate(archives.zip_members(path), 1):
        if isinstance(member, Rejection):
            yield Found(path, member)
        elif member.refused:
            yield Found(path, Rejection(f"member {count}", member.refused))
        elif any(map(_BESIDE.match, member.name.split("/"))):
            yield Found(path / member.name, Skipped("not a record file"))
        elif _is_part(member):
            yield Found(path / member.name, Skipped("a part of the recording beside it"))
        else:
            yield from _unpack(path, member)


def _unpack(path: Path, member: archives.Member) -> Iterator[Found]:
    shown = path / member.name
    with member.unpacked() as content:
        if isinstance(content, Rejection):
            yield Found(shown, content)
            return
        head = _head(content)
        if content.suffix.lower() == _HEADER:
            _unpack_parts(member, content)
        if not head:
            yield Found(shown, Rejection("file", "empty"))
        elif head.startswith(archives.PACKED) and importer_for(content) is None:
            yield Found(shown, Rejection("file", "an archive inside of an archive"))
        else:
            yield Found(shown, content)


def _is_part(member: archives.Member) -> bool:
    name = PurePosixPath(member.name)
    return name.suffix in _PARTS and member.beside(name.stem + _HEADER, False) is not None


def _unpack_parts(member: archives.Member, header: Path) -> None:
    """Puts the files beside a BrainVision header that it names; where one cannot be had, its importer will say so."""
    from trainers.importers.eeg import brainvision

    stem = PurePosixPath(member.name).stem
    for name in brainvision.parts_of(header):
        part = member.beside(brainvision.named(name, stem), True)
        target = header.with_name(brainvision.named(name, header.stem))
        if part and not part.refused and isinstance(part.copy(target), Rejection):
            target.unlink(missing_ok=True)  # half a recording would be one


def _head(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(HEAD)


def _check(source: str) -> None:
    if source != AUTO and source not in IMPORTERS:
        raise UsageError(f"unknown source {source!r}; use {AUTO}, or one of {', '.join(IMPORTERS)}")


@cache
def _load(name: str) -> Importer:
    return cast(Importer, import_module(f"trainers.importers.{IMPORTERS[name]}"))
