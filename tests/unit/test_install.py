"""What the Makefile installs with: uv where it heeds what pip is told on this machine, else pip."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tools.install import cache_beside, uv_settings

ROOT = Path(__file__).resolve().parent.parent.parent


def install(*arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("PIP_", "UV_"))}
    command = [sys.executable, "-m", "tools.install", *arguments]
    return subprocess.run(command, cwd=ROOT, env=kept | variables, capture_output=True, text=True, check=False)


@pytest.mark.parametrize(
    ("listing", "settings"),
    [
        ("", {}),
        (":env:.timeout='60'\nglobal.no-input='1'", {}),
        ("global.index-url='https://one/simple'", {"UV_DEFAULT_INDEX": "https://one/simple"}),
        ("global.cert='/a.pem'\n:env:.cert='/b.pem'\ninstall.cert='/c.pem'", {"SSL_CERT_FILE": "/b.pem"}),
        ("global.cert='/a.pem'\ninstall.cert='/c.pem'\ndownload.cert='/d.pem'", {"SSL_CERT_FILE": "/c.pem"}),
        ("global.find-links='\\nhttps://one/a\\nhttps://two/b'", {"UV_FIND_LINKS": "https://one/a,https://two/b"}),
        ("global.find-links='/is/not/there'", {}),
        ("global.index-url='a=b'", {"UV_DEFAULT_INDEX": "a=b"}),
        ("download.no-index='1'", {}),
    ],
)
def test_uv_is_told_what_pip_is_told(listing: str, settings: dict[str, str]):
    assert uv_settings(listing) == settings


@pytest.mark.parametrize("name", ["no-index", "extra-index-url", "proxy", "require-hashes", "trusted-host"])
def test_pip_does_it_where_uv_would_not_heed_a_setting(name: str):
    assert uv_settings(f"global.index-url='https://one/simple'\nglobal.{name}='x'") is None


def test_a_folder_of_wheels_that_is_there_is_passed_on(tmp_path: Path):
    assert uv_settings(f":env:.find-links='{tmp_path} /is/not/there'") == {"UV_FIND_LINKS": str(tmp_path)}


def test_a_cache_on_another_file_system_is_replaced_by_one_beside_the_environment(tmp_path: Path):
    assert cache_beside(tmp_path, tmp_path / "not" / "yet" / "there") == {}
    assert cache_beside(tmp_path, Path("/dev/not/there")) == {"UV_CACHE_DIR": str(tmp_path / "uv-cache")}


def test_what_cannot_be_installed_is_a_failure():
    assert install("there-is-no-package-of-this-name", PIP_NO_INDEX="1").returncode != 0


def test_pip_tries_where_uv_fails(tmp_path: Path):
    done = install("rlp", UV_CONFIG_FILE=str(tmp_path / "is-not-there"))
    assert (done.returncode, done.stderr.splitlines()[-1:]) == (0, ["uv could not install this; pip tries"])
