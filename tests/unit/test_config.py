"""hospital.toml: its defaults are the ones that its template shows, and what is wrong in it is named in one line."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel

from hmchain.errors import UsageError
from hmchain.record import Code
from trainers.config import Config, address_of, load, quantity_named
from trainers.founding import configuration


def write(folder: Path, text: str, name: str | None = "H") -> Path:
    path = folder / "hospital.toml"
    path.write_text((f'name = "{name}"\n' if name is not None else "") + text, encoding="utf8")
    return path


def refused(path: Path) -> str:
    with pytest.raises(UsageError) as caught:
        load(path)
    said = str(caught.value)
    assert "\n" not in said
    assert said.startswith(f"{path}: ")
    return said.removeprefix(f"{path}: ")


def keys_of(content: dict[str, Any], above: str = "") -> Iterator[str]:
    for key, value in content.items():
        yield from keys_of(value, f"{above}{key}.") if isinstance(value, dict) else [f"{above}{key}"]


def fields_of(section: type[BaseModel], above: str = "") -> Iterator[str]:
    for name, field in section.model_fields.items():
        kind = field.annotation
        inner = isinstance(kind, type) and issubclass(kind, BaseModel)
        yield from fields_of(kind, f"{above}{name}.") if inner else [f"{above}{name}"]


# ---------------------------------------------------------------- defaults


def test_a_name_is_enough(tmp_path: Path) -> None:
    config = load(write(tmp_path, ""))
    assert config.name == "H"
    assert config.chain.urls == ("http://127.0.0.1:8545",)
    assert config.blobs.store == "ipfs:/ip4/127.0.0.1/tcp/5001"
    assert (config.roles.decline, config.roles.jobs) == (frozenset(), frozenset())
    assert (config.keys.password_file, config.health.listen) == (None, None)
    assert (config.limits.memory_mib, config.limits.disk_mib) == (0, 0)


def test_the_template_shows_every_key_with_its_default(tmp_path: Path) -> None:
    path = tmp_path / "hospital.toml"
    path.write_text(configuration("H"), encoding="utf8")
    template = load(path)
    assert template == load(write(tmp_path, ""))
    off = {"keys.password_file", "health.listen"}
    assert set(keys_of(tomllib.loads(configuration("H")))) == set(fields_of(Config)) - off


def test_the_template_names_what_is_off_by_default_in_a_comment(tmp_path: Path) -> None:
    path = tmp_path / "hospital.toml"
    text = re.sub(r"(?m)^# (password_file|listen) =", r"\1 =", configuration("H"))
    path.write_text(text, encoding="utf8")
    config = load(path)
    assert config.keys.password_file == tmp_path / "password"
    assert config.health.listen == "127.0.0.1:9464"


def test_everything_can_be_said(tmp_path: Path) -> None:
    text = """
        [chain]
        urls = ["http://a:1", "https://b"]
        poll_seconds = 2
        [roles]
        decline = ["proposer", "coordinator", "proposer"]
        jobs = [3, 1]
        [limits]
        memory_mib = 4096
        [log]
        level = "debug"
        format = "json"
        [health]
        listen = "9464"
    """
    config = load(write(tmp_path, text))
    assert config.chain.urls == ("http://a:1", "https://b")
    assert config.chain.poll_seconds == 2.0
    assert config.roles.decline == {"proposer", "coordinator"}
    assert config.roles.jobs == {1, 3}
    assert (config.limits.memory_mib, config.log.level, config.log.format) == (4096, "debug", "json")


# ---------------------------------------------------------------- paths


def test_relative_paths_are_meant_from_the_files_own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "hospital"
    folder.mkdir()
    write(folder, '[keys]\npassword_file = "password"\n[blobs]\nstore = "blobs"\n[data]\nfile = "../data.npz"')
    monkeypatch.chdir(tmp_path)
    config = load(Path("hospital/hospital.toml"))
    assert config.state == folder / "state.json"
    assert config.keys.operator == folder / "keys" / "operator.json"
    assert config.keys.encryption == folder / "keys" / "encryption.json"
    assert config.keys.password_file == folder / "password"
    assert config.chain.consortium == folder / "consortium.json"
    assert config.data.file == folder / ".." / "data.npz"
    assert config.blobs.store == str(folder / "blobs")


def test_absolute_paths_and_daemons_stay_as_they_are(tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    config = load(write(tmp_path, f'state = "{elsewhere}"\n[blobs]\nstore = "{elsewhere}"'))
    assert (config.state, config.blobs.store) == (elsewhere, str(elsewhere))
    config = load(write(tmp_path, '[blobs]\nstore = "ipfs:/dns/kubo/tcp/5001"'))
    assert config.blobs.store == "ipfs:/dns/kubo/tcp/5001"


# ---------------------------------------------------------------- what is refused


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('stat = "x"', "unknown key stat; did you mean state?"),
        ("zzz = 1", "unknown key zzz"),
        ("[key]", "unknown key key; did you mean keys?"),
        ("[chain]\nurl = []", "unknown key chain.url; did you mean urls?"),
        ("[limits]\nmemory_mb = 1", "unknown key limits.memory_mb; did you mean memory_mib?"),
        ("[log]\nzzz = 1", "unknown key log.zzz"),
        ("[health.deeper]\nx = 1", "unknown key health.deeper"),
    ],
)
def test_an_unknown_key_is_named_and_the_nearest_one_suggested(text: str, said: str, tmp_path: Path) -> None:
    assert refused(write(tmp_path, text)) == said


def test_all_that_is_wrong_is_said_at_once(tmp_path: Path) -> None:
    said = refused(write(tmp_path, "[chain]\nurl = []\n[limits]\nthreads = 0", name=None))
    assert said == (
        "name is missing; unknown key chain.url; did you mean urls?; "
        "limits.threads: Input should be greater than or equal to 1"
    )


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ("state = 1", "state"),
        ("chain = 1", "chain"),
        ('[chain]\nurls = "http://127.0.0.1:8545"', "chain.urls"),
        ("[chain]\nurls = []", "chain.urls"),
        ("[chain]\nurls = [1]", "chain.urls.0"),
        ('[chain]\npoll_seconds = "soon"', "chain.poll_seconds"),
        ("[chain]\npoll_seconds = 0", "chain.poll_seconds"),
        ("[chain]\ntimeout_seconds = -1", "chain.timeout_seconds"),
        ("[chain]\ntimeout_seconds = inf", "chain.timeout_seconds"),
        ("[chain]\ntimeout_seconds = nan", "chain.timeout_seconds"),
        ("[blobs]\nstore = 5001", "blobs.store"),
        ('[blobs]\nstore = "/ip4/127.0.0.1/tcp/5001"', "blobs.store"),
        ("[blobs]\ntimeout_seconds = 86401", "blobs.timeout_seconds"),
        ('[roles]\ndecline = ["judge"]', "roles.decline"),
        ('[roles]\ndecline = "client"', "roles.decline"),
        ('[roles]\njobs = ["one"]', "roles.jobs"),
        ("[coordinator]\nstart_after_seconds = -1", "coordinator.start_after_seconds"),
        ("[limits]\nthreads = 0", "limits.threads"),
        ("[limits]\nthreads = 1.5", "limits.threads"),
        ("[limits]\nmemory_mib = -1", "limits.memory_mib"),
        ("[limits]\ndisk_mib = -1", "limits.disk_mib"),
        ("[limits]\nmemory_mib = 8796093022208", "limits.memory_mib"),
        ('[log]\nlevel = "loud"', "log.level"),
        ('[log]\nformat = "xml"', "log.format"),
        ('[health]\nlisten = "localhost:9464"', "health.listen"),
        ('[health]\nlisten = "127.0.0.1"', "health.listen"),
        ("[health]\nlisten = 9464", "health.listen"),
    ],
)
def test_a_value_of_the_wrong_kind_is_named_by_its_key(text: str, key: str, tmp_path: Path) -> None:
    assert refused(write(tmp_path, text)).startswith(key)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('[chain]\nurls = "http://127.0.0.1:8545"', "chain.urls: Input should be a list"),
        ("[roles]\njobs = 1", "roles.jobs: Input should be a list"),
        ("[chain]\nurls = []", "chain.urls: Input should not be empty"),
        ("[chain]\nconsortium = 5", "chain.consortium: Input should be a valid string"),
        ("chain = 1", "chain: Input should be a table"),
    ],
)
def test_kinds_of_values_are_called_as_toml_does(text: str, said: str, tmp_path: Path) -> None:
    assert refused(write(tmp_path, text)) == said


@pytest.mark.parametrize(
    "key", ["state", "[keys]\noperator", "[keys]\npassword_file", "[chain]\nconsortium", "[data]\nfile"]
)
@pytest.mark.parametrize("path", ["", ".", "/", "a\\u0000b"])
def test_a_file_has_a_name(key: str, path: str, tmp_path: Path) -> None:
    assert refused(write(tmp_path, f'{key} = "{path}"')).endswith(": names no file")


@pytest.mark.parametrize("key", ["[blobs]\nstore", "[records]\nfolder"])
def test_a_folder_is_one_that_there_can_be(key: str, tmp_path: Path) -> None:
    assert refused(write(tmp_path, f'{key} = "a\\u0000b"')).endswith(": names no folder")


@pytest.mark.parametrize("name", [None, ""])
def test_a_hospital_has_a_name(name: str | None, tmp_path: Path) -> None:
    assert refused(write(tmp_path, "", name=name)).startswith("name")


def test_what_is_no_toml_or_no_file_is_refused(tmp_path: Path) -> None:
    for data in (b"name = ", b"\xff", b"name = 'x'\nname = 'y'", b"a = " + b"[" * 10_000, b"a = " + b"9" * 5_000):
        (tmp_path / "hospital.toml").write_bytes(data)
        with pytest.raises(UsageError, match=r"hospital\.toml is not TOML: "):
            load(tmp_path / "hospital.toml")
    with pytest.raises(UsageError, match=r"the configuration .*nowhere cannot be read: No such file"):
        load(tmp_path / "nowhere")


def test_a_value_that_may_be_secret_is_not_repeated(tmp_path: Path) -> None:
    assert "hunter2" not in refused(write(tmp_path, '[keys]\npassword = "hunter2"\n[log]\nlevel = "hunter2"'))


def test_a_configuration_cannot_be_changed(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="frozen"):
        load(write(tmp_path, "")).name = "other"  # type: ignore[misc]


# ---------------------------------------------------------------- what a service trains on

LABEL = 'label = "http://snomed.info/sct|44054006"\n'
FEATURES = 'features = ["http://loinc.org|4548-4", "http://loinc.org|2339-0|mg/L"]\n'


def test_each_service_has_what_it_needs(tmp_path: Path) -> None:
    data = load(write(tmp_path, f'[data]\nservice = "clinical-research"\n{FEATURES}{LABEL}')).data
    assert data.features == ("http://loinc.org|4548-4", "http://loinc.org|2339-0|mg/L")
    assert [quantity_named(name)[1] for name in data.features] == ["", "mg/L"]
    assert quantity_named(data.features[1])[0] == Code("http://loinc.org", "2339-0")
    assert load(write(tmp_path, f'[data]\nservice = "neuroscience"\n{LABEL}')).data.label == LABEL[9:-2]
    assert load(write(tmp_path, "")).data.service == "imaging"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('service = "genomics"', "data.service: Input should be 'imaging', 'clinical-research' or 'neuroscience'"),
        ('service = "clinical-research"\n' + LABEL, "data: features is what clinical-research needs"),
        ('service = "clinical-research"\n' + FEATURES, "data: label is what clinical-research and neuroscience need"),
        ('service = "neuroscience"\n' + FEATURES + LABEL, "data: features is what clinical-research needs"),
        ('service = "neuroscience"', "data: label is what clinical-research and neuroscience need"),
        (FEATURES, "data: features is what clinical-research needs"),
        (LABEL, "data: label is what clinical-research and neuroscience need"),
        ('features = ["4548-4"]', "data.features: '4548-4' is not SYSTEM|CODE"),
        ('features = ["http://loinc.org|4548-5"]', "data.features: 'http://loinc.org|4548-5' is no LOINC code"),
        ('features = ["a|b|"]', "data.features: 'a|b|' has an empty unit"),
        ('features = ["a|b|c|d"]', "data.features: 'a|b|c|d' is not SYSTEM|CODE"),
        ('features = ["a|b", "a|b"]', "data.features: a sample has 1 to 4096 features of different names"),
        ('features = "a|b"', "data.features: Input should be a list"),
        ('label = "44054006"', "data.label: '44054006' is not SYSTEM|CODE"),
        ('label = "a|b|c"', "data.label: 'a|b|c' is not SYSTEM|CODE"),
    ],
)
def test_what_a_service_cannot_train_on_is_refused(text: str, said: str, tmp_path: Path) -> None:
    assert refused(write(tmp_path, f"[data]\n{text}")).startswith(said)


# ---------------------------------------------------------------- where to listen


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("9464", ("127.0.0.1", 9464)),
        (":9464", ("127.0.0.1", 9464)),
        ("0.0.0.0:0", ("0.0.0.0", 0)),
        ("192.0.2.7:65535", ("192.0.2.7", 65_535)),
        ("[::1]:9464", ("::1", 9464)),
        ("[::]:80", ("::", 80)),
    ],
)
def test_an_address_to_listen_on(text: str, expected: tuple[str, int]) -> None:
    assert address_of(text) == expected


@pytest.mark.parametrize(
    "text", ["", ":", "x", "127.0.0.1", "127.0.0.1:", "127.0.0.1:x", "localhost:80", "1.2.3:80", "[::1]", "65536", "-1"]
)
def test_what_is_no_address_to_listen_on(text: str) -> None:
    with pytest.raises(ValueError, match=r"is not HOST:PORT or PORT|does not appear to be an IPv4 or IPv6 address"):
        address_of(text)


@given(st.text(max_size=30))
def test_nothing_but_an_address_is_taken_for_one(text: str) -> None:
    try:
        host, port = address_of(text)
    except ValueError:
        return
    assert 0 <= port <= 65_535
    assert host
