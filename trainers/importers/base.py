"""The interface of importers.

An importer is a module with NAME, `recognises(head, path)` and `read(path, context)`. It yields records, and a
Rejection for each thing that it cannot read, and goes on with the next one. Files are hostile: what an importer holds
in memory is bounded by these limits, whatever the file says of itself.
"""

from __future__ import annotations

import hmac
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, tzinfo
from pathlib import Path
from typing import Protocol

from hmchain.record import Record

MAX_TEXT_BYTES = 64 << 20  # of a text file that is read whole: a wearable's JSON, an EEG's markers
MAX_ITEM_BYTES = 16 << 20  # of one item in a file that is read item by item: an NDJSON line, a VCF row
MAX_DEPTH = 64  # of nested JSON or XML


@dataclass(frozen=True)
class Context:
    """What an importer cannot know from the file.

    key: 32 secret bytes of this hospital. subject: the person whom files that name nobody are about, or "".
    zone: for times that are written without one.
    """

    key: bytes = field(repr=False)
    subject: str = ""
    zone: tzinfo = UTC

    def pseudonym(self, identifier: str) -> str:
        """A person's pseudonym at this hospital: 32 hexadecimal digits, random to whoever lacks the key.

        identifier is the hospital's own number for that person, or a FHIR reference to it. "" stands for nobody.
        """
        bare = identifier.strip().removeprefix("urn:uuid:").removeprefix("Patient/").casefold()
        return hmac.digest(self.key, b"hmchain/subject/1" + bare.encode(), "sha256").hex()[:32] if bare else ""

    @property
    def default_subject(self) -> str:
        """The pseudonym of the person whom a file that names nobody is about."""
        return self.pseudonym(self.subject)


@dataclass(frozen=True)
class Rejection:
    """A part of a file that is no record, and why. position: "entry 2", "line 14", "OBX 3" or "file"; never content."""

    position: str
    reason: str


class Importer(Protocol):
    """A module that reads a family of files."""

    NAME: str

    def recognises(self, head: bytes, path: Path) -> bool:
        """Whether a file that starts with these bytes (at most 4,096) and has this name is one of its own."""

    def read(self, path: Path, context: Context) -> Iterator[Record | Rejection]:
        """Every record of the file, in its order. A fault of the whole file is one Rejection at position "file"."""
