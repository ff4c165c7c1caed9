"""Importing: every record of every file, each counted once; what is none is explained, and stops nothing."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

from hmchain.blobs import DirectoryStore
from hmchain.consortium import Consortium
from hmchain.errors import StorageError, UsageError
from hmchain.identity import MemberIdentity
from trainers.importers.base import Context
from trainers.importers.images import TYPE
from trainers.keystore import Keys
from trainers.records import importing as module
from trainers.records.holdings import Wanted
from trainers.records.importing import FileReport, ImportReport, import_records
from trainers.records.storing import Reading, Storing
from trainers.records.vault import Vault
from trainers.services.imaging import split_of
from trainers.splits import SIDE

from .full_disk import files_of_at_most

CONTEXT = Context(b"\1" * 32)
GOOD = {"resourceType": "Observation", "status": "final", "code": {"text": "x"}, "subject": {"reference": "Patient/7"}}


@pytest.fixture
def vault(tmp_path: Path) -> Iterator[Vault]:
    consortium = Consortium(1337, "0x" + "00" * 20, "0x" + "11" * 32, 1)
    with closing(Vault.open(tmp_path / "records", Keys(MemberIdentity.create()), consortium)) as opened:
        yield opened


@pytest.fixture
def store(tmp_path: Path) -> DirectoryStore:
    return DirectoryStore(tmp_path / "blobs")


@pytest.fixture
def files(tmp_path: Path) -> Path:
    """Three files that hold something, and three that do not."""
    folder = tmp_path / "files"
    folder.mkdir()
    resources = [GOOD | {"valueInteger": number} for number in range(3)]
    write(folder / "a.ndjson", "\n".join(json.dumps(resource) for resource in resources))
    write(folder / "b.ndjson", "\n".join([json.dumps(resources[0]), "no json", json.dumps(GOOD | {"valueInteger": 9})]))
    write(folder / "c.unknown", "nothing that anybody knows")
    write(folder / "d.json", '{"resourceType": "Observation", ')
    write(folder / "README.md", "about these files")
    return folder


def write(path: Path, text: str) -> None:
    path.write_text(text)


def run(vault: Vault, store: DirectoryStore, *paths: Path, source: str = "auto") -> tuple[ImportReport, list[str]]:
    told: list[FileReport] = []
    report = import_records(paths, source, CONTEXT, Storing(vault, store), told.append)
    assert told == report.files, "each file is told of once, when it ends"
    return report, [file.path.name for file in report.files]


def counts(report: ImportReport) -> tuple[int, int, int]:
    return report.total("imported"), report.total("duplicate"), report.total("rejected")


def test_what_can_be_read_is_imported_and_the_rest_is_explained(
    vault: Vault, store: DirectoryStore, files: Path
) -> None:
    report, names = run(vault, store, files)
    assert counts(report) == (4, 1, 3)
    assert names == ["README.md", "a.ndjson", "b.ndjson", "c.unknown", "d.json"]
    by_name = {file.path.name: file for file in report.files}
    assert by_name["README.md"].skipped == "not a record file"
    assert (by_name["b.ndjson"].imported, by_name["b.ndjson"].duplicate) == (1, 1)
    assert [position for position, _ in by_name["b.ndjson"].reasons] == ["line 2"]
    assert [position for position, _ in by_name["c.unknown"].reasons] == ["file"]
    assert vault.count() == 4


def test_an_import_that_is_repeated_finds_everything_there(vault: Vault, store: DirectoryStore, files: Path) -> None:
    run(vault, store, files)
    used = store.used()
    report, _ = run(vault, store, files)
    assert counts(report) == (0, 5, 3)
    assert (vault.count(), store.used()) == (4, used), "and stores nothing"


def test_a_report_is_json(vault: Vault, store: DirectoryStore, files: Path) -> None:
    report, _ = run(vault, store, files / "b.ndjson")
    (told,) = json.loads(json.dumps([file.to_json() for file in report.files]))
    assert (told["file"], told["imported"], told["duplicate"]) == (str(files / "b.ndjson"), 2, 0)
    assert told["reasons"][0]["position"] == "line 2"


def test_no_file_that_is_not_there_ends_the_import(vault: Vault, store: DirectoryStore, files: Path) -> None:
    report, names = run(vault, store, files / "nowhere.json", files / "a.ndjson")
    assert (counts(report), names) == ((3, 0, 1), ["nowhere.json", "a.ndjson"])


def test_an_unknown_source_is_said_before_anything_is_stored(vault: Vault, store: DirectoryStore, files: Path) -> None:
    with pytest.raises(UsageError):
        run(vault, store, files, source="fax")
    assert (vault.count(), store.used()) == (0, 0)


def test_rejections_beyond_measure_are_counted_and_not_kept(
    vault: Vault, store: DirectoryStore, files: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "EXPLAINED", 5)
    write(files / "bad.ndjson", "\n".join([json.dumps(GOOD | {"valueInteger": 1}), *["no json"] * 20]))
    report, _ = run(vault, store, files / "bad.ndjson", files / "c.unknown")
    assert report.total("rejected") == 21
    assert sum(len(file.reasons) for file in report.files) == 5


def test_a_full_disk_ends_it_and_the_same_import_goes_on(vault: Vault, store: DirectoryStore, files: Path) -> None:
    with files_of_at_most(500), pytest.raises(StorageError):
        run(vault, store, files)
    assert vault.count() == 0
    assert counts(run(vault, store, files)[0]) == (4, 1, 3)


def test_images_become_a_record_each_and_the_same_arrays_again(
    vault: Vault, store: DirectoryStore, tmp_path: Path
) -> None:
    rng = np.random.default_rng(0)
    arrays = {
        f"{split}_{what}": value
        for split, count in (("train", 4), ("val", 2))
        for what, value in (
            ("images", rng.integers(0, 256, (count, SIDE, SIDE), np.uint8)),
            ("labels", rng.integers(0, 3, (count, 1))),
            ("subjects", np.array(["7", "", "8", "7"][:count])),
        )
    }
    np.savez(tmp_path / "images.npz", **arrays)
    report, _ = run(vault, store, tmp_path / "images.npz")
    assert counts(report) == (6, 0, 0)
    reading = Reading(vault, store)
    records = [reading.open(holding) for holding in vault.holdings(Wanted(type=TYPE))]
    train = split_of(record for record in records if record.value["split"] == "train")
    assert np.array_equal(train.inputs, arrays["train_images"])
    assert np.array_equal(train.labels, arrays["train_labels"].ravel())
    assert [record.subject for record in records[:4]] == [CONTEXT.pseudonym(n) for n in ("7", "", "8", "7")]
    assert vault.count(Wanted(subject=CONTEXT.pseudonym("7"))) == 3


@pytest.mark.parametrize(
    "subjects", [np.array([1, 2, 3]), np.array(["one"]), np.array(["a", "b", object()])], ids=list(map(str, range(3)))
)
def test_images_of_which_it_is_not_said_whose_they_are_are_refused(
    subjects: object, vault: Vault, store: DirectoryStore, tmp_path: Path
) -> None:
    """Rather than taken for nobody's, which anyone may be granted."""
    images, labels = np.zeros((3, SIDE, SIDE), np.uint8), np.zeros((3, 1), np.int64)
    np.savez(
        tmp_path / "images.npz",
        train_images=images,
        train_labels=labels,
        val_images=images,
        val_labels=labels,
        train_subjects=subjects,
    )
    report, _ = run(vault, store, tmp_path / "images.npz")
    assert counts(report) == (0, 0, 1)
    assert "subjects" in report.files[0].reasons[0][1]


def test_images_of_several_findings_are_refused(vault: Vault, store: DirectoryStore, tmp_path: Path) -> None:
    """A record has one class; the service that trains on records would take the findings of an image for one."""
    images, findings = np.zeros((3, SIDE, SIDE), np.uint8), np.tri(3, dtype=np.uint8)
    np.savez(
        tmp_path / "images.npz", train_images=images, train_labels=findings, val_images=images, val_labels=findings
    )
    report, _ = run(vault, store, tmp_path / "images.npz")
    assert counts(report) == (0, 0, 1)
    ((_, reason),) = report.files[0].reasons
    assert reason == "it has 3 columns of labels: an image's record has one class"
