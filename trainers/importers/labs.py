"""Results of a laboratory as a table: CSV with a LOINC code in each row, separated by comma, semicolon or tab.

Columns are found by their names, in any order; those that are not known are left out, since they may name people. A row
is one line: one with a line break inside of a field is rejected, so that a quotation mark that nobody closed cannot
swallow the rows after it. Text is UTF-8; in another encoding, lines that need it are rejected and not guessed at.

Source: RFC 4180; names of columns as laboratory systems and LOINC's own tools export them.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import BinaryIO

from hmchain.errors import DataError
from hmchain.record import Code, Record
from trainers.importers.base import Context, Rejection
from trainers.importers.measures import times
from trainers.importers.measures.observations import LOINC, Observation, reported, written

NAME = "labs"
MAX_LINE_BYTES = 64 << 10
BOM = b"\xef\xbb\xbf"

# what a row has: names of its column, the best first, in lower case and without punctuation
_COLUMNS = {
    "loinc": ("loinc", "loinccode", "loincnum", "loincnumber"),
    "value": ("value", "resultvalue", "result", "numericvalue", "resultnumeric", "testresult"),
    "unit": ("unit", "units", "resultunit", "resultunits", "valueunit", "uom", "ucum"),
    "patient": ("patientid", "patient", "subject", "subjectid", "personid", "mrn", "pid", "patientnumber"),
    "time": (
        *(
            "specimendatetime",
            "collectiondatetime",
            "collecteddatetime",
            "specimencollected",
            "collectiontime",
            "collected",
        ),
        *(
            "effectivedatetime",
            "observationdatetime",
            "specimendate",
            "collectiondate",
            "datetime",
            "timestamp",
            "date",
        ),
    ),
    "name": ("testname", "test", "loincname", "longcommonname", "component", "analyte", "name", "description"),
    "status": ("status", "resultstatus"),
    "flag": ("flag", "abnormalflag", "abnormal", "interpretation"),
    "range": ("referencerange", "refrange", "range", "normalrange"),
}
_SIGNED = r"[<>=\s]*[+-]?"
_THOUSANDS = re.compile(_SIGNED + r"[0-9]{1,3}(?:\.[0-9]{3})+")
_GROUPED = re.compile(_THOUSANDS.pattern + r",[0-9]+")
_DECIMAL = re.compile(_SIGNED + r"[0-9]+,[0-9]+")
_COMMA = re.compile(_SIGNED + r"[0-9]+(?:,[0-9]+)+(?:\.[0-9]+)?")


@dataclass(frozen=True)
class _Layout:
    """commas: whether numbers of the table have them before their decimals."""

    delimiter: str
    width: int
    columns: Mapping[str, int]
    commas: bool = False

    def row(self, line: str) -> dict[str, str]:
        """What a line says, by our names of the columns. Raises ValueError."""
        try:
            fields = next(csv.reader([line], delimiter=self.delimiter, strict=True))
        except (csv.Error, StopIteration) as fault:
            raise ValueError("it is no row of CSV: a quotation mark is not closed, or has more after it") from fault
        if len(fields) != self.width:
            raise ValueError(f"it has {len(fields)} fields where the first line has {self.width}")
        return {name: fields[index].strip() for name, index in self.columns.items()}


def recognises(head: bytes, path: Path) -> bool:
    """Whether the first line names a column for LOINC codes and one for results."""
    try:
        return bool(_layout(head.removeprefix(BOM).lstrip().partition(b"\n")[0].decode()))
    except ValueError:
        return False


def read(path: Path, context: Context) -> Iterator[Record | Rejection]:
    """A record for each row; positions are "line 14", counted from 1 with the line of names."""
    try:
        with path.open("rb") as file:
            yield from _rows(file, context)
    except OSError as fault:
        yield Rejection("file", f"cannot be read: {fault.strerror}")


def _rows(file: BinaryIO, context: Context) -> Iterator[Record | Rejection]:
    layout: _Layout | None = None
    for number, line in _lines(file):
        try:
            text = _decoded(line)
            if not text.strip():
                continue
            if layout is None:
                layout = _layout(text)
                layout = replace(layout, commas=layout.delimiter == ";" and _has_commas(file, layout))
                continue
            record = _record(layout.row(text), layout, context)
            record.encode()
            yield record
        except (ValueError, DataError) as fault:
            yield Rejection(f"line {number}" if layout else "file", str(fault))
            if layout is None:
                return
    if layout is None:
        yield Rejection("file", "it is empty")


def _has_commas(file: BinaryIO, layout: _Layout) -> bool:
    """Whether a result below this place in the file is written with a decimal comma. The file stays at this place."""
    start = file.tell()
    try:
        for _, line in _lines(file):
            with suppress(ValueError):
                value = layout.row(_decoded(line))["value"]
                if _DECIMAL.fullmatch(value) or _GROUPED.fullmatch(value):
                    return True
        return False
    finally:
        file.seek(start)


def _lines(file: BinaryIO) -> Iterator[tuple[int, bytes]]:
    """Each line with its number; of one that is too long so much of its start that it is too long still."""
    number = 0
    while line := file.readline(MAX_LINE_BYTES + 1):
        number += 1
        yield number, line.removeprefix(BOM) if number == 1 else line
        while len(line) > MAX_LINE_BYTES and not line.endswith(b"\n"):
            line = file.readline(MAX_LINE_BYTES + 1)


def _decoded(line: bytes) -> str:
    if len(line) > MAX_LINE_BYTES:
        raise ValueError(f"it is longer than {MAX_LINE_BYTES:,} bytes")
    if b"\0" in line or line.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise ValueError("it is not text in UTF-8 (perhaps UTF-16)")
    try:
        return line.decode().rstrip("\r\n")
    except UnicodeDecodeError:
        raise ValueError("it is not text in UTF-8 (perhaps Latin-1)") from None


def _layout(line: str) -> _Layout:
    """The layout that a first line of names gives. Raises ValueError for a table that is not ours."""
    found = []
    for delimiter in ",;\t":
        try:
            names = [
                "".join(filter(str.isalnum, name)).casefold() for name in next(csv.reader([line], delimiter=delimiter))
            ]
        except (csv.Error, StopIteration):
            continue
        columns = {ours: next((n for n in theirs if n in names), "") for ours, theirs in _COLUMNS.items()}
        if columns["loinc"] and columns["value"]:
            if any(names.count(name) > 1 for name in columns.values() if name):
                raise ValueError("two columns of one name")
            found.append(
                _Layout(delimiter, len(names), {ours: names.index(name) for ours, name in columns.items() if name})
            )
    if not found:
        raise ValueError("its first line names no column for LOINC codes, or none for results")
    return found[0]


def _record(row: Mapping[str, str], layout: _Layout, context: Context) -> Record:
    subject = context.pseudonym(row["patient"]) if "patient" in row else context.default_subject
    if "patient" in row and not subject:
        raise ValueError("it names no patient")
    if not row["value"]:
        raise ValueError("it has no value")
    when, unit = row.get("time", ""), row.get("unit", "")
    result = _number(row["value"], layout)
    value = reported(result, unit)
    detail = {
        "status": row.get("status", ""),
        "interpretation": row.get("flag", ""),
        "referenceRange": row.get("range", ""),
        "written": written(value, result.lstrip("<>= "), unit) if "quantity" in value else {},
    }
    time = times.parse(when, context.zone) if when else ""
    code = Code(LOINC, row["loinc"], row.get("name", ""))
    return Observation(subject, time, (code,)).record(value, "labs-csv", detail)


def _number(text: str, layout: _Layout) -> str:
    """A result with a decimal point; semicolons leave the comma to numbers. Raises ValueError where that is unsure."""
    if layout.commas and _GROUPED.fullmatch(text):
        return text.replace(".", "").replace(",", ".")
    if layout.commas and _THOUSANDS.fullmatch(text):
        raise ValueError("a number with a point in a table of decimal commas: thousands or decimals")
    if not _COMMA.fullmatch(text):
        return text
    if layout.delimiter != ";" or text.count(",") > 1 or "." in text:
        raise ValueError("a number with a comma, which means one thing here and another there")
    return text.replace(",", ".")
