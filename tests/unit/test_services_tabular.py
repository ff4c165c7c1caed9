"""Clinical research: which rows consented records give, whom they call ill, and who is held out."""

from __future__ import annotations

import csv
import logging
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import numpy as np
import pytest

from hmchain.blobs import BlobRef, DirectoryStore
from hmchain.errors import DaemonError
from hmchain.permits import Purpose
from hmchain.record import Code, Kind, Record
from tests.consenting_hospital import (
    CONSORTIUM,
    DIABETES,
    GLUCOSE,
    HBA1C,
    LOINC,
    ConsentingHospital,
    write_cohort,
    write_conditions,
    write_laboratory,
)
from tests.samples import RECORDS, needs_samples
from trainers.config import Data
from trainers.data_facts import NO_DATA, DataFacts
from trainers.parts import Parts
from trainers.records import record_keeping
from trainers.records.record_keeping import RecordKeeping, service_of
from trainers.services import consented
from trainers.services.consented import ConsentedData
from trainers.services.imaging import Imaging
from trainers.services.neuro import Neuroscience
from trainers.services.rows import HELD_OUT, Row, is_held_out, shard_of
from trainers.services.tabular import ClinicalResearch
from trainers.splits import Shard, load_shard

KEY = bytes(range(32))
RESEARCH = Purpose.CLINICAL_RESEARCH
CONDITION = Code.parse(DIABETES)
SERVICE = ClinicalResearch((HBA1C, GLUCOSE), CONDITION, KEY)


def observation(subject: str, code: str, value: str, unit: str, time: str = "2024-01-01", **more: str) -> Record:
    content = {"quantity": {"value": value, "unit": unit}, **more}
    return Record(Kind.CLINICAL, "observation", subject, time, (Code(LOINC, code),), content, "labs-csv")


def condition(subject: str, code: Code = CONDITION, status: str = "confirmed") -> Record:
    value = {"verificationStatus": {"coding": [{"code": status}]}}
    return Record(Kind.CLINICAL, "condition", subject, "", (code,), value, "fhir-r4")


def person(index: int) -> str:
    return f"{index:032x}"


def complete(count: int) -> list[Record]:
    """So many persons with both values."""
    values = [[observation(person(i), "4548-4", f"{i}.5", "%"), observation(person(i), "2339-0", "900", "mg/L")]
              for i in range(count)]  # fmt: skip
    return [record for pair in values for record in pair]


def table(shard: Shard | None) -> dict[tuple[float, ...], int]:
    """Labels by row, of both splits."""
    assert shard is not None
    both = (shard.train, shard.holdout)
    return {tuple(row): label for part in both for row, label in zip(part.inputs.tolist(), part.labels, strict=True)}


def logged(caplog: pytest.LogCaptureFixture) -> dict[str, object]:
    (record,) = [r for r in caplog.records if r.getMessage() == "rows made of consented records"]
    return record.facts  # type: ignore[attr-defined, no-any-return]


# ---------------------------------------------------------------- rows


def test_a_row_is_a_persons_values_and_class_1_is_who_has_the_condition() -> None:
    shard = SERVICE.shard([*complete(20), condition(person(3))])
    assert shard is not None
    assert shard.features == (HBA1C, GLUCOSE)
    assert shard.train.inputs.dtype == np.float32
    assert table(shard) == {(i + 0.5, 900.0): int(i == 3) for i in range(20)}
    assert min(len(shard.train), len(shard.holdout)) > 0


def test_the_latest_value_counts() -> None:
    later = [observation(person(0), "4548-4", "9", "%", time) for time in ("2024-01-01T08:00:00Z", "2023-12-31", "")]
    newest = observation(person(0), "4548-4", "7", "%", "2024-01-02")
    assert (7.0, 900.0) in table(SERVICE.shard([newest, *complete(20), *later]))


def test_what_a_row_to_train_on_is_made_of_is_told() -> None:
    """Its latest values and the diagnoses, and neither earlier values nor what says that somebody is not ill."""
    older, refuted = observation(person(0), "4548-4", "9", "%", "2000"), condition(person(0), status="refuted")
    records = [older, *complete(20), condition(person(0)), refuted, condition(person(0)), condition(person(2))]
    shard = SERVICE.shard(records)
    assert shard is not None
    made_of = dict(zip(shard.train.inputs[:, 0].tolist(), shard.sources, strict=True))
    ill = {0.5: (1, 2, 41, 43), 2.5: (5, 6, 44)}
    assert made_of == {value: ill.get(value, (int(2 * value), int(2 * value) + 1)) for value in made_of}
    assert ill.keys() <= made_of.keys()


@pytest.mark.parametrize(
    "record",
    [
        observation(person(0), "4548-4", "42", "mmol/mol", "2025"),
        observation(person(0), "4548-4", "3", "%", "2025", comparator="<"),
        observation(person(0), "4548-4", "1" + "0" * 40, "%", "2025"),
        Record(Kind.CLINICAL, "observation", person(0), "2025", (Code(LOINC, "4548-4"),), {"text": "high"}, "labs-csv"),
    ],
    ids=["another unit", "a bound", "beyond float32", "words"],
)
def test_a_value_that_is_no_number_of_that_unit_is_refused_and_counted(
    record: Record, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, "hmchain.node"):
        assert (0.5, 900.0) in table(SERVICE.shard([*complete(20), record]))
    assert logged(caplog)["values_refused"] == 1


def test_who_lacks_a_feature_is_left_out_and_counted(caplog: pytest.LogCaptureFixture) -> None:
    records = [*complete(20), observation(person(99), "4548-4", "5", "%"), condition(person(98))]
    with caplog.at_level(logging.INFO, "hmchain.node"):
        assert len(table(SERVICE.shard(records))) == 20
    assert (logged(caplog)["persons"], logged(caplog)["left_out"]) == (20, 1)


def test_without_a_unit_in_its_name_a_feature_has_the_one_that_most_values_have() -> None:
    bare = ClinicalResearch((HBA1C.rpartition("|")[0],), CONDITION, KEY)
    few = [observation(person(50 + i), "4548-4", "42", "mmol/mol") for i in range(5)]
    shard = bare.shard([*complete(20), *few])
    assert set(table(shard)) == {(i + 0.5,) for i in range(20)}


@pytest.mark.parametrize("status", ["refuted", "entered-in-error"])
def test_a_condition_that_is_none_makes_nobody_ill(status: str) -> None:
    records = [
        *complete(20),
        condition(person(3), status=status),
        condition(person(4), Code("http://snomed.info/sct", "1")),
    ]
    assert sum(table(SERVICE.shard(records)).values()) == 0


def test_records_about_nobody_are_no_row() -> None:
    records = [*complete(20), observation("", "4548-4", "77", "%"), observation("", "2339-0", "77", "mg/L")]
    assert (77.0, 77.0) not in table(SERVICE.shard(records))


def test_nothing_to_train_on_or_to_judge_by_is_no_shard() -> None:
    assert SERVICE.shard([]) is None
    assert SERVICE.shard(complete(1)) is None


# ---------------------------------------------------------------- held out


def test_a_fifth_of_the_persons_is_held_out_and_stays_there() -> None:
    held = [is_held_out(person(i), KEY) for i in range(5_000)]
    assert sum(held) / 5_000 == pytest.approx(HELD_OUT, abs=0.02)
    assert held == [is_held_out(person(i), KEY) for i in range(5_000)]
    assert held != [is_held_out(person(i), bytes(32)) for i in range(5_000)], "the key decides"


def test_whoever_joins_or_leaves_moves_nobody_else() -> None:
    few, many = SERVICE.shard(complete(20)), SERVICE.shard(complete(40))
    assert few is not None
    assert many is not None
    assert {tuple(row) for row in few.holdout.inputs.tolist()} <= {tuple(row) for row in many.holdout.inputs.tolist()}
    assert {tuple(row) for row in few.train.inputs.tolist()} <= {tuple(row) for row in many.train.inputs.tolist()}


def test_several_rows_of_a_person_are_on_one_side() -> None:
    rows = [Row(person(i % 30), np.array([i], np.float32)) for i in range(90)]
    shard = shard_of(rows, frozenset(), ("x",), KEY)
    assert shard is not None
    sides = [{int(value) % 30 for value in part.inputs[:, 0]} for part in (shard.train, shard.holdout)]
    assert not sides[0] & sides[1]


# ---------------------------------------------------------------- consent


def test_only_what_is_consented_to_is_used_and_consent_withdrawn_is_another_set(tmp_path: Path) -> None:
    ward = ConsentingHospital(tmp_path / "ward")
    files, numbers = write_cohort(tmp_path, 24, seed=1)
    ward.imports(*files)
    data = ward.data(SERVICE)
    cut_off = data.file.with_name(f".{data.file.name}.0123abcd")
    cut_off.write_bytes(b"what a node that was killed was writing")
    assert data.refresh(ward.trail), "nothing is consented to, which is news to whoever begins"
    assert not data.file.exists()
    assert not cut_off.exists()
    ward.consent(numbers, RESEARCH)
    assert data.refresh(ward.trail)
    before, rows = load_shard(data.file), data.rows
    assert len(before.train) + len(before.holdout) == 24
    holdings = {(h.batch.number, h.position): h for h in ward.vault.holdings()}
    for row, label in zip(rows, before.train.labels, strict=True):
        assert [holdings[place].type for place in row] == ["observation", "observation"] + ["condition"] * label
        assert len({holdings[place].subject for place in row}) == 1
    assert int(before.train.labels.sum() + before.holdout.labels.sum()) == 12
    assert not data.refresh(ward.trail)
    ward.consent(numbers[:1], Purpose.IMAGING)
    assert data.refresh(ward.trail)
    after = load_shard(data.file)
    assert len(after.train) + len(after.holdout) == 23
    assert len(data.rows) == len(after.train)
    data.clear()
    assert data.rows == ()


def test_who_withholds_the_condition_alone_is_left_out_and_not_called_healthy(tmp_path: Path) -> None:
    ward = ConsentingHospital(tmp_path / "ward")
    files, numbers = write_cohort(tmp_path, 24, seed=2)
    ward.imports(*files)
    ward.consent(numbers, RESEARCH)
    ward.consent(numbers[1:5:2], label="type:condition")  # two that are ill
    ward.consent(numbers[2:3], label="type:condition")  # one that is not
    data = ward.data(SERVICE)
    data.refresh(ward.trail)
    shard = load_shard(data.file)
    assert len(shard.train) + len(shard.holdout) == 22
    assert int(shard.train.labels.sum() + shard.holdout.labels.sum()) == 10


def test_a_person_with_a_number_in_each_system_is_one_person(tmp_path: Path) -> None:
    """The laboratory knows its values, the clinic its condition: it is ill, or withholds that, under both numbers."""
    ward = ConsentingHospital(tmp_path / "ward")
    (laboratory, _), numbers = write_cohort(tmp_path, 24, seed=1)
    ill = numbers[1::2]
    ward.imports(laboratory, write_conditions(tmp_path / "clinic.ndjson", [f"clinic-{number}" for number in ill]))
    ward.consent(numbers, RESEARCH)
    for number in ill:
        ward.number_too(f"clinic-{number}", number)
    data = ward.data(SERVICE)
    data.refresh(ward.trail)
    assert persons_in(data) == (24, 12)
    ward.consent(ill[:2], label="type:condition")
    data.refresh(ward.trail)
    assert persons_in(data) == (22, 10), "who withholds it is not called healthy"


def test_while_a_training_is_under_way_only_withdrawals_count(tmp_path: Path) -> None:
    """Two that consent and withdraw in turn, all the time, would let none come to its end."""
    ward = ConsentingHospital(tmp_path / "ward")
    files, numbers = write_cohort(tmp_path, 24, seed=1)
    ward.imports(*files)
    ward.consent(numbers[2:], RESEARCH)
    data = ward.data(SERVICE)
    data.refresh(ward.trail)
    ward.consent(numbers[:1], RESEARCH)
    assert not data.refresh(ward.trail, training=True)
    ward.consent(numbers[1:2], RESEARCH)
    ward.consent(numbers[2:3])
    assert data.refresh(ward.trail, training=True)
    assert persons_in(data) == (21, 11), "who withdraws is out at once"
    ward.consent(numbers[:1])
    assert not data.refresh(ward.trail, training=True), "who never was in it ends nothing"
    assert data.refresh(ward.trail)
    assert persons_in(data) == (22, 12)


def test_consents_given_during_a_training_are_taken_up_when_it_is_done(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(record_keeping, "LOOK_SECONDS", 3_600.0)
    ward, worker = ConsentingHospital(tmp_path / "ward"), Trainer()
    files, numbers = write_cohort(tmp_path, 24, seed=1)
    ward.imports(*files)
    ward.consent(numbers[1:], RESEARCH)
    node = keeping(ward, worker, tmp_path)
    assert node.look() is not None
    worker.is_training = True
    ward.consent(numbers[:1], RESEARCH)
    assert node.look() is None
    worker.is_training = False
    assert node.look() is not None
    assert node.look() is None
    node.close()


def test_data_that_somebody_else_removed_are_made_again(tmp_path: Path) -> None:
    """As another node of the hospital does when it ends: until a consent changed, there was nothing to train on."""
    ward = consenting(tmp_path)
    data = ward.data(ClinicalResearch((HBA1C, GLUCOSE), Code.parse(DIABETES), ward.vault.pseudonym_key))
    assert data.refresh(ward.trail)
    data.file.unlink()
    assert data.refresh(ward.trail, training=True)
    assert persons_in(data) == (24, 12)
    assert not data.refresh(ward.trail)


def test_data_that_cannot_be_removed_are_used_no_more(tmp_path: Path) -> None:
    """As on a disk that was made read-only: it is no defect, and there are no data for now."""
    ward, file = consenting(tmp_path), tmp_path / "data.npz"
    node = keeping(ward, Trainer(), tmp_path)
    assert node.data() is not None
    file.unlink()
    file.mkdir()
    ward.consent(write_cohort(tmp_path, 24, seed=1)[1][:1])
    assert node.data() == NO_DATA
    assert node.data() is None, "as before"
    file.rmdir()
    facts = node.data()
    assert facts is not None
    assert facts.samples == 2, "the second time that there are data"
    node.close()


def keeping(ward: ConsentingHospital, worker: Trainer, folder: Path) -> RecordKeeping:
    """A node's, whose data are records for clinical research."""
    config = SimpleNamespace(
        records=SimpleNamespace(folder=ward.folder / "records"),
        training_file=folder / "data.npz",
        data=Data(service="clinical-research", features=(HBA1C, GLUCOSE), label=DIABETES),
    )
    parts = SimpleNamespace(
        config=config,
        keys=ward.keys,
        consortium=CONSORTIUM,
        store=ward.store,
        registry=SimpleNamespace(trail=lambda: ward.trail),
        worker=worker,
    )
    return RecordKeeping(cast(Parts, parts))


class Trainer:
    """Stands in for the worker: its facts are others each time."""

    is_training, asked = False, 0

    def facts(self, _: bytes) -> DataFacts:
        self.asked += 1
        return DataFacts(self.asked, 0, 2, bytes(32))

    def close(self) -> None:
        self.is_training = False


class Away(DirectoryStore):
    """A blob store whose daemon is down, or from which single blobs are gone."""

    down, looks = False, 0

    def get(self, ref: BlobRef, limit: int) -> bytes:
        self.looks += 1
        if self.down:
            raise DaemonError("down")
        return super().get(ref, limit)


def persons_in(data: ConsentedData) -> tuple[int, int]:
    """How many there are in the file, and how many of them are ill."""
    shard = load_shard(data.file)
    return len(shard.train) + len(shard.holdout), int(shard.train.labels.sum() + shard.holdout.labels.sum())


def consenting(folder: Path) -> ConsentingHospital:
    """Twenty-four persons, half of them ill, who all consent; in two blobs that may be away."""
    ward = ConsentingHospital(folder / "ward")
    files, numbers = write_cohort(folder, 24, seed=1)
    for file in files:
        ward.imports(file)
    ward.consent(numbers, RESEARCH)
    ward.store = Away(folder / "ward" / "blobs")
    return ward


def test_a_daemon_that_is_down_is_no_reason_to_forget_the_records(tmp_path: Path) -> None:
    ward = consenting(tmp_path)
    data = ward.data(SERVICE)
    ward.store.down = True
    with pytest.raises(DaemonError):
        data.refresh(ward.trail)
    assert not data.file.exists()
    ward.store.down = False
    assert data.refresh(ward.trail)
    assert persons_in(data) == (24, 12)


def test_whose_condition_cannot_be_read_is_left_out_until_it_can(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And is not called healthy meanwhile."""
    now = [1_000.0]
    monkeypatch.setattr(consented.time, "monotonic", lambda: now[0])
    ward = ConsentingHospital(tmp_path / "ward")
    (laboratory, _), numbers = write_cohort(tmp_path, 24, seed=1)
    ward.imports(laboratory)
    known = set((tmp_path / "ward" / "blobs").iterdir())
    ward.imports(write_conditions(tmp_path / "first.ndjson", numbers[1:5:2]))
    (blob,) = set((tmp_path / "ward" / "blobs").iterdir()) - known
    ward.imports(write_conditions(tmp_path / "others.ndjson", numbers[5::2]))
    ward.consent(numbers, RESEARCH)
    content = blob.read_bytes()
    blob.unlink()
    data = ward.data(SERVICE)
    assert data.refresh(ward.trail)
    assert persons_in(data) == (22, 10)
    blob.write_bytes(content)
    assert not data.refresh(ward.trail), "it is not asked for all the time"
    now[0] += consented.RETRY_SECONDS
    assert data.refresh(ward.trail)
    assert persons_in(data) == (24, 12)
    now[0] += consented.RETRY_SECONDS
    assert not data.refresh(ward.trail)


def test_a_blob_that_is_gone_is_looked_for_once_for_all_its_records(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [1_000.0]
    monkeypatch.setattr(consented.time, "monotonic", lambda: now[0])
    ward = consenting(tmp_path)
    blobs = sorted((tmp_path / "ward" / "blobs").iterdir())
    for blob in blobs:
        blob.unlink()
    data = ward.data(SERVICE)
    assert data.refresh(ward.trail)
    assert ward.store.looks == len(blobs) == 2
    for looks in (3, 4):
        now[0] += consented.RETRY_SECONDS
        assert not data.refresh(ward.trail)
        assert ward.store.looks == looks, "the node waits for one at a time"


def test_a_record_that_has_two_of_the_codes_counts_once(tmp_path: Path) -> None:
    ward = ConsentingHospital(tmp_path / "ward")
    both = observation(ward.context.pseudonym("p"), "4548-4", "5", "%")
    ward.take(Record(**{**vars(both), "codes": (Code(LOINC, "4548-4"), Code(LOINC, "2339-0"))}))
    ward.consent(["p"], RESEARCH)
    assert len(ward.data(SERVICE)._holdings(ward.trail)) == 1


@needs_samples
def test_a_real_laboratory_export_gives_the_latest_value_of_each_person(tmp_path: Path) -> None:
    path = RECORDS / "lis" / "synthea_labs_loinc.csv"
    with path.open() as file:
        rows = sorted(csv.DictReader(file), key=lambda row: row["specimen_datetime"])
    latest = {row["patient_id"]: float(row["value"]) for row in rows if row["loinc"] == "777-3"}
    ward = ConsentingHospital(tmp_path / "ward")
    ward.imports(path, write_conditions(tmp_path / "conditions.ndjson", list(latest)[:1]))
    ward.consent({row["patient_id"] for row in rows}, RESEARCH)
    service = ClinicalResearch((f"{LOINC}|777-3|10*9/L",), CONDITION, KEY)
    data = ward.data(service)
    records = [data.reading.open(holding) for holding in data._holdings(ward.trail)]
    keys = (bytes([n]) * 32 for n in range(100))  # few persons: with some keys all are on one side
    shard = next(filter(None, (replace(service, key=key).shard(records) for key in keys)))
    found = table(shard)
    assert sorted(row[0] for row in found) == pytest.approx(sorted(set(latest.values())), rel=1e-6)
    assert sum(found.values()) == 1


# ---------------------------------------------------------------- the configuration


def test_the_configuration_says_which_service_it_is() -> None:
    assert isinstance(service_of(Data(), KEY), Imaging)
    research = Data(service="clinical-research", features=(HBA1C, GLUCOSE), label=DIABETES)
    assert service_of(research, KEY) == SERVICE
    assert service_of(Data(service="neuroscience", label=DIABETES), KEY) == Neuroscience(CONDITION, KEY)


def test_units_of_laboratories_are_one_unit(tmp_path: Path) -> None:
    ward = ConsentingHospital(tmp_path / "ward")
    results = [(f"p{i}", "2339-0", 90 if i % 2 else 0.9, "mg/dL" if i % 2 else "g/L", "2024") for i in range(30)]
    ward.imports(write_laboratory(tmp_path / "l.csv", results))
    ward.consent([f"p{i}" for i in range(30)], RESEARCH)
    data = ward.data(ClinicalResearch((GLUCOSE,), CONDITION, KEY))
    data.refresh(ward.trail)
    shard = load_shard(data.file)
    assert len(shard.train) + len(shard.holdout) == 30
    assert set(shard.train.inputs.ravel().tolist()) == {900.0}
