"""Rows of the vault: what a hospital knows of its records without opening them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Self

from hmchain.blobs import BlobRef
from hmchain.cid import Cid, codec_for
from hmchain.record import Code, Kind, Record

SELECT = """
SELECT r.id, r.batch, r.position, r.leaf, r.commitment, r.digest, r.offset, r.length, b.kind, r.type, r.subject, r.time,
       r.source, r.erased, b.number, b.root, b.sha256, b.cid, b.size, b.count
FROM records r JOIN batches b ON b.id = r.batch
"""


@dataclass(frozen=True)
class Sealed:
    """A record as it is in its batch's blob. tag: its identity under the vault's key, which finds it again."""

    record: Record
    tag: bytes
    secret: str = field(repr=False)
    leaf: bytes
    commitment: bytes
    digest: bytes
    offset: int
    length: int


@dataclass(frozen=True)
class Batch:
    """Records of one kind in one blob, and the root over their leaves.

    number is its index on chain, None until it is registered.
    """

    id: int
    kind: Kind
    root: bytes
    blob: BlobRef
    count: int
    number: int | None

    @classmethod
    def of(cls, row: tuple[Any, ...]) -> Self:
        """A batch from a row of id, kind, root, sha256, cid, size, count, number."""
        id, kind, root, sha256, cid, size, count, number = row
        return cls(id, Kind(kind), root, BlobRef(sha256, Cid(codec_for(size), cid), size), count, number)


@dataclass(frozen=True)
class Holding:
    """A record that the hospital holds: what the vault knows of it without opening it."""

    id: int
    position: int
    leaf: bytes
    commitment: bytes
    digest: bytes
    offset: int
    length: int
    type: str
    subject: str
    time: str
    source: str
    erased: bool
    batch: Batch

    @property
    def kind(self) -> Kind:
        """The record's kind, which is its batch's."""
        return self.batch.kind

    def cut(self, blob: bytes) -> bytes:
        """The record's ciphertext, cut out of its batch's blob."""
        return blob[self.offset : self.offset + self.length]

    @property
    def name(self) -> str:
        """Its short name for people: the first 16 hexadecimal digits of its leaf."""
        return self.leaf.hex()[:16]

    @classmethod
    def of(cls, row: tuple[Any, ...]) -> Self:
        """A holding from a row of SELECT."""
        batch = Batch.of((row[1], row[8], *row[15:20], row[14]))
        place, known = row[2:8], row[9:13]
        return cls(row[0], *place, *known, bool(row[13]), batch)  # type: ignore[call-arg]


@dataclass(frozen=True)
class Wanted:
    """Which records to list; None and "" mean any, but subject "" means those about nobody. since and until compare
    with the record's time as text.
    """

    kind: Kind | None = None
    type: str = ""
    subject: str | None = None
    since: str = ""
    until: str = ""
    code: Code | None = None
    erased: bool | None = None

    def sql(self) -> tuple[str, list[str | int]]:
        """The SQL condition that selects these records, and the values for its parameters."""
        named = (
            ("b.kind = ?", self.kind.value if self.kind else ""),
            ("r.type = ?", self.type),
            ("r.time >= ?", self.since),
            ("r.time < ?", self.until),
        )
        parts: list[str] = [part for part, value in named if value]
        values: list[str | int] = [value for _, value in named if value]
        if self.subject is not None:
            parts.append("r.subject = ?")
            values.append(self.subject)
        if self.code is not None:
            parts.append("r.id IN (SELECT record FROM codes WHERE system = ? AND code = ?)")
            values += [self.code.system, self.code.code]
        if self.erased is not None:
            parts.append("r.erased = ?")
            values.append(int(self.erased))
        return " AND ".join(parts) or "1", values
