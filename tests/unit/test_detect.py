"""Finding records: every file is told what became of it, no file ends the import, no archive writes where it likes."""

from __future__ import annotations

import gzip
import io
import os
import stat
import struct
import subprocess
import tempfile
import zipfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from hmchain.errors import UsageError
from hmchain.record import Kind, Record
from tests.samples import RECORDS, needs_samples
from trainers.importers import detect
from trainers.importers.base import Context, Rejection
from trainers.importers.detect import IMPORTERS, Skipped, files_of, import_files, importer_for
from trainers.importers.reading import archives
from trainers.importers.wearables import fitbit

CONTEXT = Context(bytes(32), "p1")
STEPS = b'{"activities-steps": [{"dateTime": "2020-03-01", "value": "5"}, {"dateTime": "2020-03-02", "value": "6"}]}'
APPLE = (
    b'<HealthData><Record type="HKQuantityTypeIdentifierStepCount" unit="count" value="7" '
    b'startDate="2020-03-01 13:00:00 +0100" endDate="2020-03-01 13:05:00 +0100"/></HealthData>'
)


@pytest.fixture
def spare(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder in which this process makes its temporary ones."""
    folder = tmp_path / "spare"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    return folder


@pytest.fixture
def data(tmp_path: Path) -> Path:
    folder = tmp_path / "data"
    folder.mkdir()
    return folder


def results(*paths: Path, source: str = "auto") -> list[tuple[Path, Any]]:
    return list(import_files(paths, source, CONTEXT))


def outcome(path: Path) -> Any:
    ((_, item),) = results(path)
    return item


def archived(path: Path, members: dict[str, bytes], compression: int = zipfile.ZIP_DEFLATED) -> Path:
    with zipfile.ZipFile(path, "w", compression) as file:
        for name, content in members.items():
            file.writestr(name, content)
    return path


@needs_samples
def test_every_sample_goes_through_without_an_exception() -> None:
    by_file: dict[str, Counter[str]] = {}
    for path, item in import_files([RECORDS], "auto", CONTEXT):
        name = item.source if isinstance(item, Record) else type(item).__name__
        by_file.setdefault(path.relative_to(RECORDS).as_posix(), Counter())[name] += 1
    files = {path.relative_to(RECORDS).as_posix() for path in RECORDS.rglob("*") if path.is_file()}
    assert by_file.keys() == files
    wearables = {name.removeprefix("wearables/"): dict(n) for name, n in by_file.items() if name.startswith("wear")}
    assert wearables == {
        "LICENSE.applehealthdata": {"Skipped": 1},
        "LICENSE.openmhealth-shimmer": {"Skipped": 1},
        "apple_health_export6s3sample.xml": {"apple-health": 18},
        "fitbit-activities-heart-1d-1m-intraday.json": {"fitbit": 6},
        "fitbit-activities-steps-timeseries.json": {"fitbit": 3},
        "fitbit-sleep-date.json": {"fitbit": 10},
        "googlefit-merge-heart-rate.json": {"google-fit": 2},
        "omh/heart-rate_2.0_shouldPass_with-descriptive-statistic.json": {"open-mhealth": 1},
        "omh/sleep-episode_1.1_shouldPass_valid-sleep-episode.json": {"open-mhealth": 1},
        "omh/step-count_1.0_shouldPass_step-count-only.json": {"open-mhealth": 1},
    }
    beside = {name for name in files if Path(name).name.startswith(("LICENSE", "COPYRIGHT", "SOURCES"))}
    assert {name for name, counts in by_file.items() if counts["Skipped"]} == beside


@needs_samples
def test_every_sample_is_recognised_by_one_importer_only() -> None:
    for found in files_of([RECORDS]):
        if isinstance(found.content, Path):
            head = found.content.read_bytes()[: detect.HEAD]
            knowing = [name for name in IMPORTERS if importer(name).recognises(head, found.content)]
            assert len(knowing) == 1, found.path.name


def importer(name: str) -> Any:
    return importer_for(Path(), name)


@pytest.mark.parametrize("name", IMPORTERS)
def test_every_importer_is_there_under_its_name(name: str) -> None:
    assert name == importer(name).NAME


def test_an_unknown_source_is_refused_at_once_with_the_known_ones() -> None:
    with pytest.raises(UsageError, match=r"'x'; use auto, or one of .*dicom, eeg, apple-health, fhir, fitbit, google"):
        import_files([], "x", CONTEXT)
    with pytest.raises(UsageError, match="unknown source"):
        importer_for(Path(), "x")


def test_a_source_is_asked_about_files_that_it_would_not_recognise(data: Path) -> None:
    (data / "notes.txt").write_bytes(b"nothing")
    assert outcome(data / "notes.txt") == Rejection("file", "of no kind that any importer knows")
    ((_, item),) = results(data / "notes.txt", source="fitbit")
    assert item == Rejection("file", "it is not JSON")


def test_folders_are_walked_in_the_order_of_names(data: Path) -> None:
    for name in ("b/1.json", "a.json", "b/0/z.json", "c.json"):
        (data / name).parent.mkdir(parents=True, exist_ok=True)
        (data / name).write_bytes(STEPS)
    shown = [path.relative_to(data).as_posix() for path, _ in results(data)]
    assert list(dict.fromkeys(shown)) == ["a.json", "b/0/z.json", "b/1.json", "c.json"]
    assert len(shown) == 8


@pytest.mark.parametrize(
    "name", [".DS_Store", ".hidden/x.json", "README", "readme.txt", "LICENSE", "LICENCE.md", "COPYING.x", "SOURCES.md",
             "notes.md", "__MACOSX/x.json"]
)  # fmt: skip
def test_what_lies_beside_records_is_skipped(name: str, data: Path) -> None:
    (data / name).parent.mkdir(exist_ok=True)
    (data / name).write_bytes(STEPS)
    assert outcome(data) == Skipped("not a record file")


def test_a_hidden_file_is_skipped_also_where_it_is_named(data: Path) -> None:
    (data / ".x.json").write_bytes(STEPS)
    assert outcome(data / ".x.json") == Skipped("not a record file")


def test_names_that_only_start_alike_are_read(data: Path) -> None:
    (data / "licensed.json").write_bytes(STEPS)
    assert len(results(data)) == 2


def test_the_parts_of_a_brainvision_recording_are_no_files_of_their_own(data: Path) -> None:
    for suffix in (".vhdr", ".eeg", ".vmrk"):
        (data / f"night{suffix}").write_bytes(b"x")
    assert Counter(type(item) for _, item in results(data))[Skipped] == 2


def test_text_in_utf_16_is_called_that(data: Path) -> None:
    (data / "x.csv").write_bytes("loinc,value".encode("utf-16"))
    assert outcome(data / "x.csv") == Rejection("file", "text in UTF-16, not UTF-8")


def test_links_are_not_followed_unless_they_were_named(data: Path, tmp_path: Path) -> None:
    (data / "x.json").write_bytes(STEPS)
    (data / "loop").symlink_to(data)
    (data / "other.json").symlink_to(data / "x.json")
    assert Counter(type(item) for _, item in results(data)) == {Record: 2, Skipped: 2}
    (tmp_path / "named").symlink_to(data)
    assert len(results(tmp_path / "named")) == 4


def test_what_is_not_a_file_is_never_opened(data: Path) -> None:
    os.mkfifo(data / "pipe.json")  # opening it would wait forever
    assert outcome(data) == Skipped("not a file")
    assert outcome(Path("/dev/null")) == Skipped("not a file")


@pytest.mark.parametrize(("content", "reason"), [(b"", "empty"), (b"\0" * 99, "of no kind that any importer knows")])
def test_a_file_that_holds_nothing_known_is_rejected(content: bytes, reason: str, data: Path) -> None:
    (data / "x.json").write_bytes(content)
    assert outcome(data) == Rejection("file", reason)


@pytest.mark.parametrize(
    "content",
    [b'{"resourceType": "Bundle", "entry": []}', b"MSH|^~\\&|||||||ORU^R01|1|P|2.5\rPID|||1\r"],
    ids=["fhir", "hl7"],
)
def test_a_file_without_anything_to_record_is_told(content: bytes, data: Path) -> None:
    (data / "x").write_bytes(content)
    assert outcome(data / "x") == Rejection("file", "nothing in it is a record")


def test_a_missing_file_is_rejected_and_the_next_one_read(data: Path) -> None:
    (data / "x.json").write_bytes(STEPS)
    first, *records = results(data / "none", data / "x.json")
    assert first == (data / "none", Rejection("file", "cannot be read: No such file or directory"))
    assert len(records) == 2


def test_a_very_deep_folder_is_walked(data: Path) -> None:
    before = Path.cwd()
    try:
        os.chdir(data)
        for _ in range(1100):  # deeper than Python's limit on recursion
            Path("d").mkdir()
            os.chdir("d")
        os.chdir(before)
        assert all(isinstance(item, Rejection) for _, item in results(data))  # at the latest where a path is too long
    finally:
        os.chdir(before)
        subprocess.run(["rm", "-rf", data / "d"], check=True)  # pytest's own way of clearing up is recursive


def test_a_defect_of_an_importer_ends_one_file_only(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    original = fitbit.read

    def broken(path: Path, context: Context) -> Iterator[Any]:
        yield from original(path, context)
        if path.name == "a.json":
            raise KeyError("Anna")

    monkeypatch.setattr(fitbit, "read", broken)
    for name in ("a.json", "b.json"):
        (data / name).write_bytes(STEPS)
    items = [item for _, item in results(data)]
    assert items[2] == Rejection("file", "the importer failed: KeyError")
    assert sum(isinstance(item, Record) for item in items) == 4


@pytest.mark.parametrize("detail", [{"x": float("nan")}, {"x": b""}, {"x": "\ud800"}])
def test_a_record_that_cannot_be_written_is_rejected_and_the_next_one_read(
    detail: dict[str, Any], data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def made(path: Path, context: Context) -> Iterator[Record]:
        for given in ({}, detail, {}):
            yield Record(Kind.BEHAVIOUR, "x", "", "", (), {}, "x", given)

    monkeypatch.setattr(fitbit, "read", made)
    (data / "x.json").write_bytes(STEPS)
    first, fault, last = (item for _, item in results(data))
    assert fault == Rejection("record 2", "larger than a record may be, or not to be written as one")
    assert first == last


# ---- archives


def test_a_zip_is_a_folder_of_its_members(data: Path, spare: Path) -> None:
    members = {
        "apple_health_export/export.xml": APPLE,
        "apple_health_export/export_cda.xml": b"<ClinicalDocument/>",
        "apple_health_export/.hidden": b"x",
        "a/": b"",
        "a/LICENSE": b"x",
        "empty.json": b"",
    }
    archive = archived(data / "export.zip", members)
    assert {path.relative_to(archive).as_posix(): type(item) for path, item in results(archive)} == {
        "apple_health_export/export.xml": Record,
        "apple_health_export/export_cda.xml": Rejection,
        "apple_health_export/.hidden": Skipped,
        "a/LICENSE": Skipped,
        "empty.json": Rejection,
    }
    assert list(spare.iterdir()) == []


def test_members_are_unpacked_one_at_a_time_where_nobody_else_can_look(data: Path, spare: Path) -> None:
    archive = archived(data / "x.zip", {f"{n}.json": STEPS for n in range(3)})
    for found in files_of([archive]):
        assert isinstance(found.content, Path)
        assert found.content.read_bytes() == STEPS
        (folder,) = spare.iterdir()
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
        assert found.content.parent == folder
    assert list(spare.iterdir()) == []


def test_whoever_stops_in_the_middle_leaves_nothing_behind(data: Path, spare: Path) -> None:
    archive = archived(data / "x.zip", {f"{n}.json": STEPS for n in range(3)})
    items = import_files([archive], "auto", CONTEXT)
    next(items)
    assert list(spare.iterdir())
    items.close()  # type: ignore[attr-defined]
    assert list(spare.iterdir()) == []


@pytest.mark.parametrize(
    "name", ["../x.json", "a/../../x.json", "/x.json", "a//x.json", "..\\x.json", "C:\\x.json", "C:/x.json"]
)
def test_a_name_that_leads_out_is_refused_and_the_others_are_read(name: str, data: Path, spare: Path) -> None:
    archive = archived(data / "x.zip", {name: STEPS, "~good.json": STEPS})
    (path, fault), *records = results(archive)
    assert (path, fault) == (archive, Rejection("member 1", "a name that leads out of the archive"))
    assert [isinstance(item, Record) for _, item in records] == [True, True]


def test_a_members_name_decides_nothing_but_what_importers_look_at(data: Path, spare: Path) -> None:
    archive = archived(data / "x.zip", {"a/step-count_1.0 ünï\x1b[31m" + "x" * 150 + ".json": b'{"step_count": 1}'})
    (found,) = files_of([archive])
    assert isinstance(found.content, Path)
    assert found.content.name.isascii()
    assert found.content.suffix == ".json"
    assert "\x1b" not in str(found.path)


def test_a_schema_in_a_members_name_still_counts(data: Path, spare: Path) -> None:
    archive = archived(data / "x.zip", {"sleep-episode_1.0.json": b'{"total_sleep_time": {"value": 8, "unit": "h"}}'})
    assert outcome(archive).type == "sleep-episode"


def with_flag(archive: Path) -> Path:
    """Says of the first member that it is encrypted, in the header and in the directory."""
    content = bytearray(archive.read_bytes())
    for magic, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        content[content.index(magic) + offset] |= 1
    archive.write_bytes(content)
    return archive


def test_encrypted_members_are_refused(data: Path) -> None:
    archive = with_flag(archived(data / "x.zip", {"x.json": STEPS}))
    assert outcome(archive) == Rejection("member 1", "encrypted")


def test_a_link_in_an_archive_is_refused(data: Path) -> None:
    entry = zipfile.ZipInfo("x.json")
    entry.external_attr = (stat.S_IFLNK | 0o777) << 16
    with zipfile.ZipFile(data / "x.zip", "w") as file:
        file.writestr(entry, "/etc/passwd")
    assert outcome(data / "x.zip") == Rejection("member 1", "not a file")


@pytest.mark.parametrize("compression", [zipfile.ZIP_LZMA, zipfile.ZIP_BZIP2])
def test_compressions_that_take_memory_as_they_like_are_refused(compression: int, data: Path) -> None:
    archive = archived(data / "x.zip", {"x.json": STEPS}, compression)
    assert outcome(archive) == Rejection("member 1", "compressed in a way that is not read")


@pytest.mark.parametrize("name", ["inner.zip", "inner.json", "inner.gz"])
def test_an_archive_inside_of_an_archive_stays_closed(name: str, data: Path, spare: Path) -> None:
    inner = io.BytesIO()
    with zipfile.ZipFile(inner, "w") as file:
        file.writestr("x.json", STEPS)
    content = gzip.compress(STEPS) if name.endswith("gz") else inner.getvalue()
    assert outcome(archived(data / "x.zip", {name: content})) == Rejection("file", "an archive inside of an archive")
    (data / "x.json.gz").write_bytes(gzip.compress(content))
    assert outcome(data / "x.json.gz") == Rejection("file", "an archive inside of an archive")


def test_a_zip_bomb_is_refused_before_it_is_unpacked(data: Path, spare: Path) -> None:
    archive = archived(data / "x.zip", {"x.json": bytes(64 << 20)})
    assert archive.stat().st_size < 100_000
    assert outcome(archive) == Rejection("file", "it becomes larger than is allowed")


def test_many_members_that_share_their_bytes_are_a_bomb_as_well(data: Path) -> None:
    archive = archived(data / "x.zip", {"x.json": bytes(1 << 20)})
    content = archive.read_bytes()
    start, end = content.index(b"PK\x01\x02"), content.index(b"PK\x05\x06")
    entry = content[start:end]
    trailer = struct.pack("<4s4H2LH", b"PK\x05\x06", 0, 0, 200, 200, len(entry) * 200, start, 0)
    archive.write_bytes(content[:start] + entry * 200 + trailer)
    assert outcome(archive) == Rejection("file", "it becomes larger than is allowed")


def test_a_member_that_is_longer_than_it_says_is_refused(data: Path, spare: Path) -> None:
    archive = archived(data / "x.zip", {"x.json": bytes(1 << 20)})
    content = bytearray(archive.read_bytes())
    struct.pack_into("<L", content, content.index(b"PK\x01\x02") + 24, 10)
    archive.write_bytes(content)
    assert outcome(archive) == Rejection("file", "a damaged archive (BadZipFile)")


@pytest.mark.parametrize("zip64", [False, True])
def test_a_list_of_members_without_end_is_not_read(zip64: bool, data: Path) -> None:
    size = archives.MAX_DIRECTORY + 1
    end64 = struct.pack("<4sQ2H2L4Q", b"PK\x06\x06", 44, 45, 45, 0, 0, 1, 1, size, 0)
    locator = struct.pack("<4sLQL", b"PK\x06\x07", 0, size, 1)
    end = struct.pack("<4s4H2LH", b"PK\x05\x06", 0, 0, 1, 1, 0xFFFFFFFF if zip64 else size, 0, 0)
    with (data / "x.zip").open("wb") as file:
        file.write(b"PK\x03\x04")
        file.truncate(size)
        file.seek(size)
        file.write(end64 + locator + end if zip64 else end)
    assert outcome(data / "x.zip") == Rejection("file", "more members than are allowed")


@pytest.mark.parametrize("cut", range(4, 400, 31))
def test_a_damaged_zip_is_rejected(cut: int, data: Path, spare: Path) -> None:
    content = archived(data / "x.zip", {f"{n}.json": STEPS for n in range(3)}).read_bytes()
    (data / "x.zip").write_bytes(content[:cut])
    assert outcome(data / "x.zip") == Rejection("file", "a damaged archive (BadZipFile)")
    (data / "x.zip").write_bytes(content[:cut] + b"\xff" * 9 + content[cut + 9 :])
    assert all(isinstance(item, Record | Rejection) for _, item in results(data / "x.zip"))


def test_a_gzip_is_unpacked_where_its_importer_does_not_do_that(data: Path, spare: Path) -> None:
    (data / "export.xml.gz").write_bytes(gzip.compress(APPLE))
    ((path, record),) = results(data / "export.xml.gz")
    assert (path, record.type) == (data / "export.xml.gz/export.xml", "step-count")
    assert list(spare.iterdir()) == []
    (data / "x.vcf.gz").write_bytes(gzip.compress(b"##fileformat=VCFv4.2\n"))
    (found,) = files_of([data / "x.vcf.gz"])
    assert found.content == found.path


def test_a_zip_is_left_closed_where_its_importer_opens_it(data: Path, spare: Path) -> None:
    (found,) = files_of([archived(data / "images.npz", {"train_images.npy": b"x"})])
    assert found.content == found.path


def test_a_gzip_bomb_is_stopped(data: Path, spare: Path) -> None:
    (data / "x.json.gz").write_bytes(gzip.compress(bytes(64 << 20)))
    assert outcome(data / "x.json.gz") == Rejection("file", "it becomes larger than is allowed")
    assert list(spare.iterdir()) == []


@pytest.mark.parametrize("cut", [3, 12, 40, -1])
def test_a_damaged_gzip_is_rejected(cut: int, data: Path, spare: Path) -> None:
    (data / "x.json.gz").write_bytes(gzip.compress(STEPS)[:cut])
    assert outcome(data / "x.json.gz") == Rejection("file", "a damaged archive (EOFError)")


def test_a_full_disk_is_a_rejection(data: Path, spare: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*arguments: object) -> Any:
        raise OSError(28, "No space left on device")

    archive = archived(data / "x.zip", {"x.json": STEPS})
    monkeypatch.setattr(zipfile.ZipFile, "open", full)
    assert outcome(archive) == Rejection("file", "cannot be unpacked: No space left on device")
