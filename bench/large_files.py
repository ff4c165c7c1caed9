"""Files of any size in the formats that hospitals send most of, made up and valid: what bench.importers reads."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path

Pieces = Callable[[], Iterator[str]]


def write_all(folder: Path, megabytes: int) -> list[Path]:
    """One file of each format of so many MiB, or a little more."""
    paths = []
    for name, (head, pieces, tail) in FORMATS.items():
        path, left = folder / name, megabytes << 20
        with path.open("w", encoding="utf-8", newline="") as file:
            left -= file.write(head)
            for piece in pieces():
                left -= file.write(piece)
                if left <= 0:
                    break
            file.write(tail)
        paths.append(path)
    return paths


def _messages() -> Iterator[str]:
    for n in count():
        results = "".join(f"OBX|{i}|NM|718-7^^LN||{n % 900 / 10 + i}|g/dL|||||F\r" for i in range(8))
        yield f"MSH|^~\\&|L|A|E|B|20260101||ORU^R01|{n}|P|2.5.1\rPID|1||{n}^^^^MR\rOBR|1|||24317-0^^LN\r{results}"


def _rows() -> Iterator[str]:
    return (f"{n % 5000},718-7,{n / 1000},g/dL,2026-01-01T08:00:00Z\n" for n in count())


def _observation(n: int) -> str:
    return json.dumps(
        {
            "resourceType": "Observation",
            "status": "final",
            "code": {"coding": [{"system": "http://loinc.org", "code": "718-7"}]},
            "subject": {"reference": f"Patient/{n % 5000}"},
            "effectiveDateTime": "2026-01-01T08:00:00Z",
            "valueQuantity": {"value": n, "unit": "g/dL"},
        }
    )


def _lines() -> Iterator[str]:
    return (f"{_observation(n)}\n" for n in count())


def _entries() -> Iterator[str]:
    for n in count():
        yield (
            '<entry><resource><Observation><status value="final"/><code><coding><system value="http://loinc.org"/>'
            f'<code value="718-7"/></coding></code><subject><reference value="Patient/{n % 5000}"/></subject>'
            f'<valueQuantity><value value="{n}"/><unit value="g/dL"/></valueQuantity></Observation></resource></entry>'
        )


def _calls() -> Iterator[str]:
    return (f"1\t{n}\t.\tA\tC\t50\tPASS\t.\tGT\t0/1\t1/1\n" for n in count(1))


def _sequence() -> Iterator[str]:
    return (">c\n" + "ACGTACGTGC" * 6 + "\n" if n == 0 else "ACGTTCGTGC" * 6 + "\n" for n in count())


def _samples() -> Iterator[str]:
    for n in count():
        day = f"2026-01-{n % 28 + 1:02} {n % 24:02}:{n % 60:02}:00 +0100"
        kind = "HKQuantityTypeIdentifierHeartRate"
        yield f'<Record type="{kind}" unit="count/min" value="{n}" startDate="{day}" endDate="{day}"/>\n'


def _points() -> Iterator[str]:
    for n in count():
        time = f"{1_600_000_000 + n}000000000"
        point = {"dataTypeName": "com.google.heart_rate.bpm", "startTimeNanos": time, "endTimeNanos": time}
        yield ("," if n else "") + json.dumps({**point, "value": [{"fpVal": n}]})


_COLUMNS = "#CHROM\tPOS\tID\tREF\tALT\tQUAL\tFILTER\tINFO\tFORMAT\tA\tB\n"
# by file name: what comes first, what is repeated, what comes last
FORMATS: dict[str, tuple[str, Pieces, str]] = {
    "results.hl7": ("", _messages, ""),
    "laboratory.csv": ("patient,loinc,value,unit,time\n", _rows, ""),
    "export.ndjson": ("", _lines, ""),
    "bundle.xml": ('<Bundle xmlns="http://hl7.org/fhir"><type value="collection"/>', _entries, "</Bundle>"),
    "calls.vcf": (f"##fileformat=VCFv4.2\n##reference=GRCh38\n{_COLUMNS}", _calls, ""),
    "sequence.fa": ("", _sequence, ""),
    "export.xml": ("<HealthData>\n", _samples, "</HealthData>"),
    "heart.json": ('{"dataSourceId":"derived:com.google.heart_rate.bpm:x","point":[', _points, "]}"),
}
