"""The canonical record: one form for whatever a hospital's systems, a laboratory or a wearable wrote.

Every importer produces it, and every reader can decode it, whichever hospital it comes from.

    bytes of a record = header || 0x0a || attachment        header: canonical JSON (sorted keys, no blanks, UTF-8)

Two records of the same fact have one identity, and only one of them is kept. The identity covers kind, type, subject,
time, codes, value and attachment, not the source and what else it said. Quantities are decimal text in UCUM units,
never floats: a float can be written in several ways.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from hashlib import sha256
from typing import Any

from hmchain import jsontext
from hmchain.errors import DataError

MAX_HEADER_BYTES = 16 << 20
MAX_RECORD_BYTES = 256 << 20


class Kind(StrEnum):
    """The paper's three kinds of data (its section on data extraction)."""

    CLINICAL = "clinical"
    RESEARCH = "research"
    BEHAVIOUR = "behaviour"


@dataclass(frozen=True, order=True)
class Code:
    """A code of a terminology. system is a URI ("http://loinc.org"); display is for people, comparisons ignore it."""

    system: str
    code: str
    display: str = field(default="", compare=False)

    @classmethod
    def parse(cls, text: str) -> Code:
        """Reads "system|code", as people write it. Raises ValueError."""
        system, _, code = text.partition("|")
        if not system or not code or "|" in code:
            raise ValueError(f"{text!r:.80} is not SYSTEM|CODE, such as http://loinc.org|8867-4")
        return cls(system, code)


@dataclass(frozen=True)
class Record:
    """One fact, document, image, recording or sequence about at most one subject.

    type: what it is within its kind, one lower-case word or two ("observation", "imaging", "step-count").
    subject: a pseudonym (see trainers.importers.base), or "" where the source names nobody.
    time: RFC 3339 in UTC ("2016-12-14T13:55:57Z"), a date where the source has no more, or "".
    value: JSON of str, int, bool, None, lists and dicts; quantities as {"value": "4.06", "unit": "10*12/L"}.
    source: the standard it was read from ("fhir-r4"). detail: what else the source said; floats may occur.
    attachment: bytes that are not JSON: an image, a recording, a sequence.
    """

    kind: Kind
    type: str
    subject: str
    time: str
    codes: tuple[Code, ...]
    value: Mapping[str, Any]
    source: str
    detail: Mapping[str, Any] = field(default_factory=dict)
    attachment: bytes = field(default=b"", repr=False)

    def identity(self) -> bytes:
        """32 bytes that all records of the same fact share. Not salted, so it must never leave the hospital."""
        fact = {
            "kind": self.kind.value,
            "type": self.type,
            "subject": self.subject,
            "time": self.time,
            "codes": sorted([c.system, c.code] for c in set(self.codes)),
            "value": self.value,
            "attachment": sha256(self.attachment).hexdigest() if self.attachment else "",
        }
        return sha256(b"hmchain/record/1" + canonical(fact)).digest()

    def encode(self) -> bytes:
        """The bytes that are sealed, stored and committed to.

        Raises DataError for what cannot be written as JSON, is too large, or has more brackets than readers accept.
        """
        header = canonical(
            {
                "kind": self.kind.value,
                "type": self.type,
                "subject": self.subject,
                "time": self.time,
                "codes": [[c.system, c.code, c.display] for c in self.codes],
                "value": self.value,
                "source": self.source,
                "detail": self.detail,
            }
        )
        if len(header) > MAX_HEADER_BYTES or len(header) + 1 + len(self.attachment) > MAX_RECORD_BYTES:
            raise DataError(f"a record of {len(header) + len(self.attachment):,} bytes is larger than is allowed")
        if header.count(b"[") + header.count(b"{") > jsontext.MAX_BRACKETS:
            raise DataError(f"a record of more than {jsontext.MAX_BRACKETS:,} brackets could not be read again")
        return header + b"\n" + self.attachment

    @classmethod
    def decode(cls, data: bytes) -> Record:
        """Reads what encode wrote. Raises DataError for any other bytes: a record has exactly one encoding."""
        header, newline, attachment = data.partition(b"\n")
        if not newline or len(header) > MAX_HEADER_BYTES:
            raise DataError("not a record: no header")
        try:
            content = jsontext.parse(header)
            codes = tuple(Code(*map(jsontext.text, code)) for code in content["codes"])
            texts = {name: jsontext.text(content[name]) for name in ("type", "subject", "time", "source")}
            kind, value, detail = Kind(content["kind"]), _mapping(content["value"]), _mapping(content["detail"])
            record = cls(kind=kind, codes=codes, value=value, detail=detail, attachment=attachment, **texts)
        except (ValueError, TypeError, KeyError) as fault:
            raise DataError("not a record: its header is not what a record's is") from fault
        if record.encode() != data:
            raise DataError("not a record: not in canonical form")
        return record


def canonical(content: Any) -> bytes:
    """Canonical JSON: sorted keys, no blanks, UTF-8. Raises DataError for what JSON cannot express (NaN, bytes)."""
    try:
        text = json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
        return text.encode()
    except (ValueError, TypeError, RecursionError) as fault:
        raise DataError(f"cannot be written as JSON: {fault}") from fault


def _mapping(value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise TypeError("not an object")
    return value
