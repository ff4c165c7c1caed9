"""Files that are written whole or not at all, and secrets that nobody else may read."""

from __future__ import annotations

import os
import secrets
import stat
import tomllib
from contextlib import suppress
from pathlib import Path
from typing import Any

from hmchain.errors import StorageError, UsageError

MAX_BYTES = 1 << 24  # of a small file: keys, cards, configurations


def write_whole(path: Path, data: bytes, mode: int = 0o644) -> None:
    """Replaces a file atomically: a reader, or a power cut, finds the old content or the new. Raises StorageError."""
    try:
        _check_place(path)
        partial = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
        try:
            with os.fdopen(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            partial.replace(path)
            sync_folder(path.parent)
        finally:
            with suppress(FileNotFoundError):
                partial.unlink()
    except OSError as fault:
        raise StorageError(f"cannot write {path}: {fault.strerror}") from fault


def _check_place(path: Path) -> None:
    """Refuses to put a file in the place of anything else: of /dev/null, root would take it away from all programs."""
    if not path.name or path.is_dir():
        raise StorageError(f"cannot write {path}: it is a folder")
    if path.exists() and not path.is_file():
        raise StorageError(f"cannot write {path}: it is no ordinary file")


def sync_folder(folder: Path) -> None:
    """Makes a rename durable: without this, a power cut may undo it. Raises OSError."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def write_secret(path: Path, data: bytes) -> None:
    """write_whole, readable by the owner only. Raises StorageError."""
    write_whole(path, data, 0o600)


def read_file(path: Path, what: str, limit: int = MAX_BYTES) -> bytes:
    """The content of a file that the user named; `what` names it in errors ("the password file"). Raises UsageError."""
    try:
        with path.open("rb") as file:
            data = file.read(limit + 1)
    except OSError as fault:
        raise UsageError(f"{what} {path} cannot be read: {fault.strerror}") from fault
    if len(data) > limit:
        raise UsageError(f"{what} {path} is too large to be one")
    return data


def read_toml(path: Path, what: str) -> dict[str, Any]:
    """The content of a TOML file that the user named, as read_file. Raises UsageError."""
    try:
        return tomllib.loads(read_file(path, what).decode())
    except (ValueError, RecursionError) as fault:  # ValueError also of a number with too many digits
        raise UsageError(f"{path} is not TOML: {fault}") from None


def read_secret(path: Path, what: str, limit: int = MAX_BYTES) -> bytes:
    """read_file, for secrets: also refuses a file that its group or others could read. Raises UsageError."""
    try:
        mode = path.stat().st_mode
    except OSError as fault:
        raise UsageError(f"{what} {path} cannot be read: {fault.strerror}") from fault
    if mode & 0o077 and not stat.S_ISDIR(mode):  # a folder is not what was meant, whoever can read it
        shown = f"mode {stat.S_IMODE(mode):04o}"
        raise UsageError(f"{what} {path} can be read by others ({shown}); do: chmod 600 {path}")
    return read_file(path, what, limit)


def name_of(folder: Path) -> str:
    """What a folder is called, also where it is given as "." or by a link. Raises UsageError."""
    try:
        return folder.resolve().name
    except RuntimeError as fault:  # of Python before 3.13
        raise UsageError(f"{folder} is a link that leads back to itself") from fault
