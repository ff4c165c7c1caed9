"""How fast records come in: each importer by itself, then sealing, storing and writing down, then listing and checking.

python -m bench.importers SAMPLES [--seconds S] [--records N] [--megabytes M]

SAMPLES is a folder of files, each of which is read again and again by the importer that recognises it. With
--megabytes, one generated file of that size of each of the larger formats is read once.
"""

from __future__ import annotations

import argparse
import resource
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from bench.large_files import write_all
from hmchain.blobs import DirectoryStore
from hmchain.consortium import Consortium
from hmchain.record import Code, Kind, Record
from trainers import keystore
from trainers.importers import detect
from trainers.importers.base import Context
from trainers.records.storing import Reading, Storing
from trainers.records.vault import Vault

NOWHERE = Consortium(1337, "0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed", "0x" + "1a" * 32, 0)


@dataclass
class Speed:
    """What an importer read, and how long that took."""

    records: int = 0
    bytes: int = 0
    seconds: float = 0.0
    files: list[Path] = field(default_factory=list)

    def __str__(self) -> str:
        rate = self.bytes / self.seconds / 2**20
        return f"{self.records / self.seconds:12,.0f} records/s  {rate:8.1f} MiB/s  ({len(self.files)} files)"


def importers(samples: Path, seconds: float) -> dict[str, Speed]:
    """Reads every importer's samples for so many seconds."""
    context, speeds = Context(bytes(32)), defaultdict[str, Speed](Speed)
    for path in sorted(samples.rglob("*")):
        if path.is_file() and (importer := detect.importer_for(path)) is not None:
            speeds[importer.NAME].files.append(path)
    for name, speed in speeds.items():
        list(detect.import_files(speed.files, name, context))  # imports what it needs
        while speed.seconds < seconds:
            started = time.perf_counter()
            items = [item for _, item in detect.import_files(speed.files, name, context)]
            speed.seconds += time.perf_counter() - started
            speed.records += sum(isinstance(item, Record) for item in items)
            speed.bytes += sum(path.stat().st_size for path in speed.files)
    return speeds


def large_files(megabytes: int) -> Iterator[tuple[str, Speed]]:
    """Reads a generated file of so many MiB of each format, and says how fast that was."""
    context = Context(bytes(32), subject="p")
    with tempfile.TemporaryDirectory() as name:
        for path in write_all(Path(name), megabytes):
            started = time.perf_counter()
            items = [isinstance(item, Record) for _, item in detect.import_files([path], detect.AUTO, context)]
            seconds = time.perf_counter() - started
            assert all(items), f"{path.name} is not valid"
            yield path.name, Speed(len(items), path.stat().st_size, seconds, [path])


def observations(count: int) -> Iterator[Record]:
    """Records as laboratories give them, none like another."""
    code = (Code("http://loinc.org", "4548-4", "Hemoglobin A1c/Hemoglobin.total in Blood"),)
    for n in range(count):
        value = {"quantity": {"value": f"{4 + n / 1_000_000:.6f}", "unit": "%"}}
        day = f"2026-{1 + n % 12:02}-{1 + n % 28:02}"
        yield Record(Kind.CLINICAL, "observation", f"{n % 5_000:032x}", f"{day}T08:00:00Z", code, value, "bench")


def storing(count: int) -> None:
    """Puts away, lists and opens so many records."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "keys").mkdir()
        keystore.create(folder / "keys", "bench", keystore.LIGHT)
        keys = keystore.unlock(folder / "keys/operator.json", folder / "keys/encryption.json", "bench")
        vault, store = Vault.open(folder / "records", keys, NOWHERE), DirectoryStore(folder / "blobs")
        with timed(f"{count:,} records sealed, stored, written down", count):
            put = Storing(vault, store)
            for record in observations(count):
                put.take(record)
            put.finish()
        with timed("the same again, all found to be duplicates", count):
            put = Storing(vault, store)
            assert not any(put.take(record) for record in observations(count))
        with timed("listed", count):
            assert sum(1 for _ in vault.holdings()) == count
        opened = min(count, 10_000)
        reading = Reading(vault, store)
        with timed(f"{opened:,} opened and compared with their commitments", opened):
            for holding in vault.holdings(limit=opened):
                reading.open(holding)
        vault.close()


class timed:
    """Prints how long its block took, and the process's largest size so far."""

    def __init__(self, what: str, count: int) -> None:
        self.what, self.count = what, count

    def __enter__(self) -> None:
        self.started = time.perf_counter()

    def __exit__(self, *_: object) -> None:
        seconds = time.perf_counter() - self.started
        rate = self.count / seconds
        print(f"{self.what:58} {seconds:8.1f} s {rate:12,.0f} records/s  peak {peak_mebibytes():,.0f} MiB", flush=True)


def peak_mebibytes() -> float:
    """The largest size that this process ever had."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(prog="python -m bench.importers", description=__doc__)
    parser.add_argument("samples", type=Path)
    parser.add_argument("--seconds", type=float, default=2.0)
    parser.add_argument("--records", type=int, default=20_000)
    parser.add_argument("--megabytes", type=int, default=0)
    chosen = parser.parse_args()
    for name, speed in large_files(chosen.megabytes) if chosen.megabytes else ():
        print(f"{name:14} {speed}  {peak_mebibytes():,.0f} MiB at most", flush=True)
    for name, speed in importers(chosen.samples, chosen.seconds).items():
        print(f"{name:14} {speed}")
    storing(chosen.records)


if __name__ == "__main__":
    main()
