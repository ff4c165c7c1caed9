"""Install packages into the environment of the Python that runs this: with uv, which takes a quarter of pip's time.

    python -m tools.install -e '.[dev]'      # takes what `pip install` takes

pip does it where it is set up in a way that uv is not told of here (a proxy, a second index), and where uv fails.
"""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

CONSTRAINTS = Path(__file__).resolve().parent.parent / "constraints.txt"
# Modules are compiled when they are first imported: to compile all 14,000, most of them never used, takes pip a minute.
PIP = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet", "install", "--no-compile"]
PIP += ["--progress-bar", "off", "-c", str(CONSTRAINTS)]
UV = [sys.executable, "-m", "uv", "--quiet", "pip", "install", "--python", sys.executable, "-c", str(CONSTRAINTS)]

# pip's settings as uv's variables, and those that say nothing of what is installed from where.
AS_UV = {"cert": "SSL_CERT_FILE", "find-links": "UV_FIND_LINKS", "index-url": "UV_DEFAULT_INDEX"}
MOOT = {
    "cache-dir",
    "default-timeout",
    "disable-pip-version-check",
    "no-cache-dir",
    "no-color",
    "no-input",
    "progress-bar",
    "quiet",
    "require-virtualenv",
    "retries",
    "root-user-action",
    "timeout",
    "verbose",
}
PRECEDENCE = ("global", "install", ":env:")


def uv_settings(listing: str) -> dict[str, str] | None:
    """uv's variables for what `pip config list` prints; None where pip has a setting that uv would not heed."""
    settings: dict[str, dict[str, str]] = {section: {} for section in PRECEDENCE}
    for line in listing.splitlines():
        key, _, value = line.partition("=")
        section, _, name = key.rpartition(".")
        if section in settings and name not in MOOT:
            settings[section][name] = str(ast.literal_eval(value))
    merged = {name: value for section in PRECEDENCE for name, value in settings[section].items()}
    if "find-links" in merged:  # pip passes over a folder that is not there, at which uv ends
        found = [place for place in merged.pop("find-links").split() if "://" in place or Path(place).is_dir()]
        merged |= {"find-links": ",".join(found)} if found else {}
    if not merged.keys() <= AS_UV.keys():
        return None
    return {AS_UV[name]: value for name, value in merged.items()}


def cache_beside(environment: Path, usual: Path) -> dict[str, str]:
    """uv's variable for a cache in the environment, where the usual one is on another file system: uv links files out
    of its cache where it can, and would copy 5 GB here, to have them twice.
    """
    there = next(place for place in (usual, *usual.parents) if place.exists())
    if there.stat().st_dev == environment.stat().st_dev:
        return {}
    return {"UV_CACHE_DIR": str(environment / "uv-cache")}


def install(arguments: Sequence[str]) -> int:
    """Installs. Returns the exit status."""
    listing = subprocess.run([*PIP[:3], "config", "list"], capture_output=True, text=True, check=False)
    settings = uv_settings(listing.stdout) if not listing.returncode else None
    if settings is not None and not subprocess.run([*PIP, "uv"], check=False).returncode:
        if not _with_uv(arguments, settings):
            return 0
        print("uv could not install this; pip tries", file=sys.stderr)
    return subprocess.run([*PIP, *arguments], check=False).returncode


def _with_uv(arguments: Sequence[str], settings: Mapping[str, str]) -> int:
    usual = subprocess.run([*UV[:3], "cache", "dir"], capture_output=True, text=True, check=False).stdout.strip()
    cache = cache_beside(Path(sys.prefix), Path(usual)) if usual and "UV_CACHE_DIR" not in os.environ else {}
    # The user's own variables for uv come first.
    return subprocess.run([*UV, *arguments], env={**settings, **cache, **os.environ}, check=False).returncode


if __name__ == "__main__":
    sys.exit(install(sys.argv[1:]))
