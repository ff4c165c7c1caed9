"""FASTA (plain, gzip): one record for a sequence, known by the digest that GA4GH's refget gives it.

A sequence is about nobody, as references are, unless it is said whose it is (--subject). Its digest is that of its
letters in capitals, so soft masking and line lengths make no difference; its name is detail and no part of what it is.

Source: refget v2 and the GA4GH identifiers (sha512t24u): "SQ." and the base64url of the first 24 bytes of SHA-512.
"""

from __future__ import annotations

import re
from base64 import urlsafe_b64encode
from collections.abc import Iterator
from dataclasses import dataclass, field
from hashlib import sha256, sha512
from pathlib import Path

from hmchain.record import Code, Kind, Record
from trainers.importers.base import Context, Rejection
from trainers.importers.reading.bounded import GZIP, Unreadable, numbered_lines

NAME = "fasta"
REFGET = "https://ga4gh.github.io/refget"
MAX_SEQUENCE_BYTES = 250_000_000  # human chromosome 1 has 248,956,422 letters
MAX_SEQUENCES = 1_000_000

_LETTERS = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ"
_ALPHABETS = (("dna", b"ACGTRYSWKMBDHVN"), ("rna", b"ACGURYSWKMBDHVN"))  # IUPAC
_SUFFIXES = (".fa", ".fasta", ".fna", ".faa", ".ffn", ".frn")


def recognises(head: bytes, path: Path) -> bool:
    """Whether the name ends as FASTA's do, also before .gz, or head is a line of it."""
    name = path.name.lower()
    if name.endswith(_SUFFIXES) or (head.startswith(GZIP) and name.removesuffix(".gz").endswith(_SUFFIXES)):
        return True
    return re.match(rb">[!-~][^\r\n]*\r?\n[A-Za-z]+[\r\n]", head) is not None


def read(path: Path, context: Context) -> Iterator[Record | Rejection]:
    """Each sequence's record or rejection, at the line of its name or of its first fault."""
    names: set[bytes] = set()
    part = _Part(0, "", "text before the first name")
    try:
        for number, line in numbered_lines(path, MAX_SEQUENCE_BYTES):
            if line.startswith(b">"):
                yield from part.finished(context.default_subject)
                part = _started(number, line, names)
            elif letters := line.strip():
                part.add(number, letters.upper())
        yield from part.finished(context.default_subject)
        if not names and not part.line:
            yield Rejection("file", "no sequences")
    except Unreadable as fault:
        yield Rejection("file", str(fault))


@dataclass
class _Part:
    """A sequence so far. line 0: what stands before the first. fault: why it is none; line is then the fault's."""

    line: int
    name: str
    fault: str = ""
    letters: bytearray = field(default_factory=bytearray)

    def add(self, number: int, letters: bytes) -> None:
        if self.line == 0:
            self.line = number
        if self.fault:
            return
        if letters.translate(None, _LETTERS):
            self._fail(number, "a character that is no letter of a sequence")
        elif len(self.letters) + len(letters) > MAX_SEQUENCE_BYTES:
            self._fail(number, f"a sequence of more than {MAX_SEQUENCE_BYTES:,} letters")
        else:
            self.letters += letters

    def _fail(self, number: int, fault: str) -> None:
        self.line, self.fault = number, fault
        self.letters.clear()

    def finished(self, subject: str) -> Iterator[Record | Rejection]:
        if self.line and not self.fault and not self.letters:
            self.fault = "an empty sequence"
        if self.line and self.fault:
            yield Rejection(f"line {self.line}", self.fault)
        elif self.line:
            yield _record(self.name, bytes(self.letters), subject)


def _started(number: int, line: bytes, names: set[bytes]) -> _Part:
    """The sequence that a line of a name begins. Raises Unreadable for too many."""
    words = line[1:].split(None, 1)
    if not words or line[1:2].isspace():
        return _Part(number, "", "a sequence without a name")
    digest = sha256(words[0]).digest()[:16]  # names may be long, and there may be many
    if digest in names:
        return _Part(number, "", "a name for the second time")
    names.add(digest)
    if len(names) > MAX_SEQUENCES:
        raise Unreadable(f"more than {MAX_SEQUENCES:,} sequences")
    return _Part(number, words[0].decode("utf-8", "replace")[:255])


def refget(letters: bytes) -> str:
    """The GA4GH digest of a sequence in capitals."""
    return "SQ." + urlsafe_b64encode(sha512(letters).digest()[:24]).decode()


def _record(name: str, letters: bytes, subject: str) -> Record:
    digest = refget(letters)
    alphabet = next((name for name, known in _ALPHABETS if not letters.translate(None, known)), "protein")
    value = {"length": len(letters), "alphabet": alphabet, "refget": digest}
    detail = {"name": name}
    codes = (Code(REFGET, digest),)
    return Record(Kind.RESEARCH, "sequence", subject, "", codes, value, NAME, detail=detail, attachment=letters)
