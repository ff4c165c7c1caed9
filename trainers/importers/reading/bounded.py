"""Reads an untrusted file whole or line by line, in bounded memory."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Iterator
from os import SEEK_END
from pathlib import Path
from typing import BinaryIO

from trainers.importers.base import MAX_ITEM_BYTES

MAX_STREAM_BYTES = 8 << 30  # of a text file that is read line by line, after decompression
GZIP = b"\x1f\x8b"
BGZF_END = bytes.fromhex("1f8b08040000000000ff0600424302001b0003000000000000000000")  # SAM specification, 4.1.2


class Unreadable(ValueError):
    """A fault of the whole file. Its message quotes none of the file's content."""


def read_whole(path: Path, limit: int) -> bytes:
    """The file's bytes. Raises Unreadable for more than limit of them, and for what cannot be opened."""
    try:
        with path.open("rb") as file:
            data = file.read(limit + 1)
    except OSError as fault:
        raise Unreadable(f"cannot be read: {fault.strerror}") from fault
    if len(data) > limit:
        raise Unreadable(f"larger than {limit:,} bytes")
    return data


def numbered_lines(path: Path, longest: int = MAX_ITEM_BYTES) -> Iterator[tuple[int, bytes]]:
    """Every line with its number from 1 and with its line end; plain, or gzip (also BGZF) by its first bytes.

    A line longer than longest ends the stream, as does a file that expands to more than MAX_STREAM_BYTES or is cut off
    within its compressed data: all raise Unreadable.
    """
    try:
        with path.open("rb") as file:
            head = file.read(14)
            packed = head.startswith(GZIP)
            if packed and head.endswith(b"BC") and not _ends_as_bgzf(file):
                raise Unreadable("the compressed data are cut off")
            file.seek(0)
            yield from _lines(gzip.GzipFile(fileobj=file) if packed else file, longest)
    except (EOFError, zlib.error, gzip.BadGzipFile) as fault:
        raise Unreadable("the compressed data are damaged or cut off") from fault
    except OSError as fault:
        raise Unreadable(f"cannot be read: {fault.strerror}") from fault


def _lines(stream: BinaryIO | gzip.GzipFile, longest: int) -> Iterator[tuple[int, bytes]]:
    number, left = 0, MAX_STREAM_BYTES
    while line := stream.readline(longest + 1):
        number, left = number + 1, left - len(line)
        if len(line) > longest:
            raise Unreadable(f"line {number} is longer than {longest:,} bytes")
        if left < 0:
            raise Unreadable(f"longer than {MAX_STREAM_BYTES:,} bytes")
        yield number, line


def _ends_as_bgzf(file: BinaryIO) -> bool:
    """Whether the empty block is there that ends each BGZF file: cut off between blocks, it would be good gzip."""
    file.seek(max(0, file.seek(0, SEEK_END) - len(BGZF_END)))
    return file.read() == BGZF_END
