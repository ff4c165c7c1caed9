"""A hospital's folder: made whole or not at all, and for its owner's eyes only."""

from __future__ import annotations

import os
import stat
import tomllib
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hmchain.card import NAME_BYTES, Card
from hmchain.errors import StorageError, UsageError
from hmchain.files import write_secret
from tests.unit.full_disk import files_of_at_most
from trainers import config, keystore
from trainers.config import FILE, load
from trainers.founding import CARD, KEYS, configuration, create
from trainers.keystore import ENCRYPTION, LIGHT, OPERATOR

NAMES = st.text(min_size=1).filter(lambda name: name.isprintable() and len(name.encode()) <= NAME_BYTES)


def modes(folder: Path) -> dict[str, int]:
    paths = [folder, *folder.rglob("*")]
    return {path.relative_to(folder.parent).as_posix(): stat.S_IMODE(path.stat().st_mode) for path in paths}


# ---------------------------------------------------------------- the folder


def test_a_folder_has_keys_a_configuration_and_a_card_that_fit_together(tmp_path: Path) -> None:
    folder = tmp_path / "hospital"
    card = create(folder, "Klinikum Süd", "password", work=LIGHT)
    settings = load(folder / FILE)
    keys = keystore.unlock(settings.keys.operator, settings.keys.encryption, "password")
    assert settings.name == card.name == "Klinikum Süd"
    assert card.operator == keys.identity.account.address == keystore.address_of(settings.keys.operator)
    assert card.encryption == keys.identity.encryption.public
    assert Card.read(folder / CARD) == card


def test_nobody_else_can_look_into_it_and_the_secrets_are_guarded_twice(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        create(tmp_path / "hospital", "H", "password", work=LIGHT)
    finally:
        os.umask(before)
    found = modes(tmp_path / "hospital")
    assert found == {
        "hospital": 0o700,
        f"hospital/{KEYS}": 0o700,
        f"hospital/{KEYS}/{OPERATOR}": 0o600,
        f"hospital/{KEYS}/{ENCRYPTION}": 0o600,
        f"hospital/{FILE}": 0o644,
        f"hospital/{CARD}": 0o644,
    }


def test_the_password_is_in_none_of_the_files(tmp_path: Path) -> None:
    create(tmp_path / "hospital", "H", "correct horse", work=LIGHT)
    files = [path for path in (tmp_path / "hospital").rglob("*") if path.is_file()]
    assert not [path for path in files if b"correct horse" in path.read_bytes()]


def test_the_password_file_is_named_from_anywhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write_secret(Path("password"), b"password\n")
    create(Path("hospital"), "H", "password", Path("password"), work=LIGHT)
    assert load(tmp_path / "hospital" / FILE).keys.password_file == tmp_path / "password"


def test_an_empty_folder_and_folders_above_that_are_not_there_will_do(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    create(tmp_path / "empty", "H", "password", work=LIGHT)
    create(tmp_path / "deep" / "down", "H", "password", work=LIGHT)
    assert (tmp_path / "deep" / "down" / FILE).exists()


# ---------------------------------------------------------------- whole or not at all


def test_a_folder_with_something_in_it_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "hospital").mkdir()
    (tmp_path / "hospital" / "notes").write_text("mine")
    (tmp_path / "file").write_text("mine")
    for name in ("hospital", "file"):
        with pytest.raises(UsageError, match=f"{name} exists and is not empty"):
            create(tmp_path / name, "H", "password", work=LIGHT)
    assert [path.name for path in (tmp_path / "hospital").iterdir()] == ["notes"]
    assert (tmp_path / "file").read_text() == "mine"


@pytest.mark.parametrize(
    ("name", "password", "why"),
    [("H", "", "the password is empty"), ("x" * 33, "p", "1 to 32 bytes"), ("", "p", "1 to")],
)
def test_where_something_is_wrong_nothing_is_made(name: str, password: str, why: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=why):
        create(tmp_path / "hospital", name, password, work=LIGHT)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("size", [0, 100, 1000], ids=["at once", "at the keys", "at the configuration"])
def test_a_disk_that_is_full_leaves_nothing_behind(size: int, tmp_path: Path) -> None:
    with files_of_at_most(size), pytest.raises(StorageError, match="cannot write"):
        create(tmp_path / "hospital", "H", "password", work=LIGHT)
    assert list(tmp_path.iterdir()) == []


def test_a_place_where_no_folder_can_be_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    with pytest.raises(StorageError, match=r"^cannot make .*: Not a directory$"):
        create(tmp_path / "file" / "hospital", "H", "password", work=LIGHT)
    with pytest.raises(StorageError, match=r"^cannot make .*: File name too long$"):
        create(tmp_path / ("x" * 250), "H", "password", work=LIGHT)


# ---------------------------------------------------------------- the configuration


@given(name=NAMES.filter(lambda name: "{" not in name))
@settings(deadline=None)
def test_any_name_of_a_card_is_a_name_in_the_configuration(name: str) -> None:
    assert tomllib.loads(configuration(name))["name"] == name


def test_changes_replace_lines_by_their_key() -> None:
    text = configuration("H", urls='["http://a:1"]', store='"ipfs:/x"', poll_seconds="0.5", start_after_seconds="60.0")
    before, after = tomllib.loads(configuration("H")), tomllib.loads(text)
    before["chain"] |= {"urls": ["http://a:1"], "poll_seconds": 0.5}
    before["blobs"]["store"] = "ipfs:/x"
    before["coordinator"]["start_after_seconds"] = 60.0
    assert after == before
    config.Config.model_validate(after)
