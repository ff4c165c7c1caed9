"""Recordings of the brain's activity: EDF, EDF+, BDF and BrainVision, one record for one recording."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from hmchain.record import Record
from trainers.importers.base import Context, Rejection
from trainers.importers.eeg.brainvision import HEADER_TITLE, read_brainvision
from trainers.importers.eeg.edf import read_edf
from trainers.importers.eeg.edf_layout import BDF, EDF
from trainers.importers.eeg.recording import MAX_FILE_BYTES
from trainers.importers.reading.bounded import Unreadable, read_whole

NAME = "eeg"


def recognises(head: bytes, path: Path) -> bool:
    """Whether head is that of a recording; of BrainVision's three files, the header."""
    return head.startswith((EDF, BDF)) or path.suffix.lower() in (".edf", ".bdf", ".vhdr") or _is_brainvision(head)


def read(path: Path, context: Context) -> Iterator[Record | Rejection]:
    """The recording's record, or why there is none."""
    try:
        with path.open("rb") as file:
            head = file.read(256)
        if path.suffix.lower() == ".vhdr" or _is_brainvision(head):
            yield read_brainvision(path, context).record()
        else:
            yield read_edf(read_whole(path, MAX_FILE_BYTES), context).record()
    except Unreadable as fault:
        yield Rejection("file", str(fault))
    except OSError as fault:
        yield Rejection("file", f"cannot be read: {fault.strerror}")


def _is_brainvision(head: bytes) -> bool:
    return HEADER_TITLE.match(head[:256].decode("latin-1").removeprefix("ï»¿")) is not None
