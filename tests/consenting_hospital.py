"""A hospital with records but without a chain: what persons consent to is written into a trail as the chain would."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from hashlib import sha256
from pathlib import Path
from weakref import finalize

import numpy as np

from hmchain import scopes
from hmchain.blobs import DirectoryStore
from hmchain.consortium import Consortium
from hmchain.identity import MemberIdentity
from hmchain.permits import Purpose, Role
from hmchain.record import Record
from hmchain.trail import Trail
from trainers.importers.base import Context
from trainers.keystore import Keys
from trainers.records.importing import ImportReport, import_records
from trainers.records.storing import Reading, Storing
from trainers.records.vault import Vault
from trainers.services.consented import ConsentedData, TrainingService

SNOMED, LOINC = "http://snomed.info/sct", "http://loinc.org"
DIABETES = f"{SNOMED}|44054006"
HBA1C, GLUCOSE = f"{LOINC}|4548-4|%", f"{LOINC}|2339-0|mg/L"
CONSORTIUM = Consortium(1, "0x" + "11" * 20, "0x" + "22" * 32, 0)


class ConsentingHospital:
    """One hospital: its vault, its blobs, and the trail in which its persons consent."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self.keys = Keys(MemberIdentity.create())
        self.vault = Vault.open(folder / "records", self.keys, CONSORTIUM)
        finalize(self, self.vault.close)
        self.vault.pseudonym_key = bytes(range(32))  # so that chance does not choose who is held out, or nobody
        self.store = DirectoryStore(folder / "blobs")
        self.storing = Storing(self.vault, self.store)
        self.context = Context(self.vault.pseudonym_key)
        self.trail = Trail()

    def imports(self, *paths: Path, subject: str = "") -> ImportReport:
        """Through the importers, and registered. subject: of files that name nobody."""
        context = Context(self.vault.pseudonym_key, subject=subject)
        report = import_records(paths, "auto", context, self.storing, lambda file: None)
        self._register()
        return report

    def take(self, *records: Record) -> None:
        """Records as they are, registered."""
        for record in records:
            self.storing.take(record)
        self.storing.finish()
        self._register()

    def consent(self, numbers: Iterable[str], *purposes: Purpose, label: str = "all") -> None:
        """These persons, by their numbers at the hospital, consent to these purposes and no others."""
        for number in numbers:
            account, salt = f"account of {number}", sha256(number.encode()).digest()
            self.vault.link(self.context.pseudonym(number), account)
            self.vault.learn(account, salt)
            self.trail.persons[account] = 1, Role.PATIENT
            self.trail.consents[account, scopes.scope_of(salt, label)] = frozenset(purposes), 1
            self.trail.revision += 1

    def number_too(self, other: str, number: str) -> None:
        """The person with this number has another one here as well, as from another system."""
        account = self.vault.account_of(self.context.pseudonym(number))
        self.vault.link(self.context.pseudonym(other), account)

    def data(self, service: TrainingService) -> ConsentedData:
        """What a node would train on."""
        return ConsentedData(self.vault, Reading(self.vault, self.store), self.folder / "data.npz", service)

    def _register(self) -> None:
        for batch in self.vault.pending():
            self.vault.registered(batch, 1 + sum(b.number is not None for b in self.vault.batches()))


def write_laboratory(path: Path, rows: Sequence[tuple[str, str, float, str, str]]) -> Path:
    """A laboratory's CSV: number of the person, LOINC, value, unit, time."""
    lines = ["patient_id,loinc,value,unit,collected", *(",".join(map(str, row)) for row in rows)]
    path.write_text("\n".join(lines) + "\n")
    return path


def write_conditions(path: Path, numbers: Iterable[str], status: str = "confirmed") -> Path:
    """A FHIR export of these persons' diabetes."""
    system = "http://terminology.hl7.org/CodeSystem/condition-ver-status"
    conditions = (
        {
            "resourceType": "Condition",
            "subject": {"reference": f"Patient/{number}"},
            "verificationStatus": {"coding": [{"system": system, "code": status}]},
            "code": {"coding": [{"system": SNOMED, "code": "44054006"}]},
        }
        for number in numbers
    )
    path.write_text("".join(json.dumps(condition) + "\n" for condition in conditions))
    return path


def write_cohort(folder: Path, count: int, seed: int) -> tuple[list[Path], list[str]]:
    """Files of so many persons, every other one with diabetes, that show in HbA1c and glucose. And their numbers."""
    stream, numbers = np.random.default_rng(seed), [f"{seed}-{n}" for n in range(count)]
    results = []
    for index, number in enumerate(numbers):
        ill = index % 2
        a1c, glucose = stream.normal(5.5 + 1.5 * ill, 0.6), stream.normal(95 + 40 * ill, 20)
        results += [
            (number, "4548-4", round(a1c, 1), "%", "2024-03-01"),
            (number, "2339-0", round(glucose), "mg/dL", ""),
        ]
    laboratory = write_laboratory(folder / "laboratory.csv", results)
    return [laboratory, write_conditions(folder / "conditions.ndjson", numbers[1::2])], numbers


def edf(values: np.ndarray, rate: int = 128, unit: str = "uV", label: str = "EEG Cz", low: str = "-1000") -> bytes:
    """An EDF file of channels (C, N), N a multiple of rate; values in 1/32 of a unit."""
    channels, count = values.shape
    head = "0".ljust(8) + "X X X X".ljust(80) + "Startdate X X X X".ljust(80) + "01.01.8500.00.00"
    head += str(256 * (channels + 1)).ljust(8) + " " * 44 + str(count // rate).ljust(8) + "1".ljust(8)
    head += str(channels).ljust(4)
    fields = ((label, 16), ("", 80), (unit, 8), (low, 8), ("1000", 8), ("-32000", 8), ("32000", 8), ("", 80))
    for text, width in (*fields, (str(rate), 8), ("", 32)):
        head += text.ljust(width) * channels
    seconds = values.reshape(channels, -1, rate).transpose(1, 0, 2)
    return head.encode("latin-1") + np.ascontiguousarray(seconds, "<i2").tobytes()


def write_recordings(folder: Path, count: int, seed: int) -> tuple[list[Path], Path, list[str]]:
    """A recording of four seconds of each of so many persons, every other one with a condition that shows in its alpha
    waves. And the conditions, and the persons' numbers, in the order of their recordings.
    """
    stream, numbers = np.random.default_rng(seed), [f"{seed}-{n}" for n in range(count)]
    wave = np.sin(2 * np.pi * 10 * np.arange(512) / 128)
    paths = [folder / f"{number}.edf" for number in numbers]
    for index, path in enumerate(paths):
        strength = stream.normal(1500 if index % 2 else 400, 100)  # in 1/32 uV
        path.write_bytes(edf((stream.normal(0, 300, (1, 512)) + strength * wave).round()))
    return paths, write_conditions(folder / "conditions.ndjson", numbers[1::2]), numbers
