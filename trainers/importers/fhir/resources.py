"""FHIR R4: bundles and single resources as JSON or XML, and bulk exports as NDJSON; one record for each resource.

Bundles are read entry by entry: a faulty one is rejected at its place, and the others are taken. What a record says of
a resource is in records.py.

Source: HL7 FHIR R4 (4.0.1), FHIR Bulk Data Access 2.0.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from hmchain.record import Record
from trainers.importers.base import MAX_ITEM_BYTES, Context, Rejection
from trainers.importers.fhir import markup
from trainers.importers.fhir.persons import names_of
from trainers.importers.fhir.records import record_of
from trainers.importers.reading import jsonstream
from trainers.importers.reading.jsonstream import BOM, JsonError
from trainers.importers.reading.xmlstream import BLOCK

NAME = "fhir"
_LINES = (".ndjson", ".jsonl")
_TYPE = re.compile(rb'"resourceType"\s*:\s*"[A-Z]')
_TWO_LINES = re.compile(rb'\s*\{[^\n]*"resourceType"[^\n]*\}\s*\n\s*\{')
MAX_NAMES = 10_000  # words that are looked for in what a bundle says; one about so many persons is about none of them
_ENTRY = {"fullUrl", "id", "extension", "modifierExtension", "link", "resource", "search", "request", "response"}


def recognises(head: bytes, path: Path) -> bool:
    """Whether this is JSON that says what resource it is, NDJSON by its name, or XML of FHIR's namespace."""
    if markup.looks_like_fhir(head):
        return True
    text = head.removeprefix(BOM).lstrip()
    return text.startswith(b"{") and (bool(_TYPE.search(text)) or path.suffix.lower() in _LINES)


def read(path: Path, context: Context) -> Iterator[Record | Rejection]:
    """A record for each resource; positions are "entry 2", "line 14", "file", each from 1."""
    try:
        with path.open("rb") as file:
            head = file.read(4096)
            file.seek(0)
            if head.startswith((b"\xff\xfe", b"\xfe\xff")):
                yield Rejection("file", "it is UTF-16, and FHIR's JSON is UTF-8")
            elif markup.looks_like_fhir(head):
                yield from _xml(file, context)
            elif path.suffix.lower() in _LINES or _TWO_LINES.match(head.removeprefix(BOM)):
                yield from _lines(file, context)
            else:
                yield from _json(file, context)
    except OSError as fault:
        yield Rejection("file", f"cannot be read: {fault.strerror}")


def _lines(file: BinaryIO, context: Context) -> Iterator[Record | Rejection]:
    number = 0
    while line := file.readline(MAX_ITEM_BYTES + 1):
        number += 1
        if len(line) > MAX_ITEM_BYTES:
            while line and not line.endswith(b"\n"):
                line = file.readline(MAX_ITEM_BYTES)
            yield Rejection(f"line {number}", f"it is larger than {MAX_ITEM_BYTES >> 20} MiB")
        elif line.removeprefix(BOM).strip():
            yield _of_json(f"line {number}", line, context)


def _json(file: BinaryIO, context: Context) -> Iterator[Record | Rejection]:
    try:
        kind = jsonstream.member(file, "resourceType")
    except JsonError as fault:
        yield Rejection("file", str(fault))
        return
    file.seek(0)
    if kind == "Bundle":
        yield from _bundle(file, context)
    elif len(data := file.read(MAX_ITEM_BYTES + 1)) > MAX_ITEM_BYTES:
        yield Rejection("file", f"a resource that is larger than {MAX_ITEM_BYTES >> 20} MiB")
    else:
        yield _of_json("file", data, context)


def _bundle(file: BinaryIO, context: Context) -> Iterator[Record | Rejection]:
    bundle = _Bundle(context, _names(jsonstream.elements(file, "entry")))
    file.seek(0)
    try:
        for entry in jsonstream.elements(file, "entry"):
            yield from bundle.entry(entry)
    except JsonError as fault:
        yield Rejection(f"entry {bundle.number + 1}", f"{fault}; nothing is read from here on")


def _xml(file: BinaryIO, context: Context) -> Iterator[Record | Rejection]:
    bundle = _Bundle(context, _names(entry for enclosed, entry in _marked_up(file) if enclosed))
    file.seek(0)
    try:
        for enclosed, content in _marked_up(file):
            if enclosed:
                yield from bundle.entry(content)
            elif isinstance(content, ValueError):
                yield Rejection("file", str(content))
            else:
                yield record_of("file", content, context)
    except ValueError as fault:
        place = f"entry {bundle.number + 1}" if bundle.number else "file"
        yield Rejection(place, f"{fault}; nothing is read from here on")


def _marked_up(file: BinaryIO) -> Iterator[tuple[bool, Any]]:
    return markup.resources(iter(lambda: file.read(BLOCK), b""))


def _names(entries: Iterable[Any]) -> set[str]:
    """What the patients of a bundle are called. They are looked for first: a document, and what was searched for with
    whom it is about, has them behind what is said of them.
    """
    names: set[str] = set()
    with suppress(ValueError):  # told when the entries are read
        for entry in entries:
            resource = entry.get("resource") if isinstance(entry, dict) else None
            if isinstance(resource, dict) and resource.get("resourceType") == "Patient" and len(names) < MAX_NAMES:
                names |= names_of(resource)
    return names


@dataclass
class _Bundle:
    """A bundle so far. names: of its patients."""

    context: Context
    names: set[str]
    number: int = 0

    def entry(self, entry: Any) -> Iterator[Record | Rejection]:
        """The record of the next entry; a ValueError in its place is why it is not read."""
        self.number += 1
        position = f"entry {self.number}"
        try:
            resource = _resource(entry)
        except ValueError as fault:
            yield Rejection(position, str(fault))
            return
        if resource is not None:
            yield record_of(position, resource, self.context, entry.get("fullUrl"), self.names)


def _resource(entry: Any) -> dict[str, Any] | None:
    """The resource of an entry; None where an entry is only about a request, as to delete. Raises ValueError."""
    if isinstance(entry, ValueError):
        raise entry
    if not isinstance(entry, dict):
        raise ValueError("it is no object")
    if not set(entry) <= _ENTRY:
        raise ValueError(
            f"it has members that a bundle's entry has not{'' if 'resource' in entry else ', and no resource'}"
        )
    resource = entry.get("resource")
    if resource is None and not entry.keys() & {"request", "response"}:
        raise ValueError("it has no resource")
    if resource is not None and not isinstance(resource, dict):
        raise ValueError("its resource is no object")
    return resource


def _of_json(position: str, data: bytes, context: Context) -> Record | Rejection:
    try:
        return record_of(position, jsonstream.document(data), context)
    except JsonError as fault:
        return Rejection(position, str(fault))
