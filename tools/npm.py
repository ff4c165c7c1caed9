"""Install what package-lock.json pins: the Solidity compiler's stand-in, anvil, forge and axe-core."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


class NpmFailed(Exception):
    """There is no npm, or it could not install; the text completes "… cannot be had and"."""


def install() -> None:
    """Make node_modules what package-lock.json says. Raises NpmFailed."""
    npm = shutil.which("npm")
    if npm is None or shutil.which("node") is None:
        raise NpmFailed("there is no Node.js")
    done = subprocess.run(
        [npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--fetch-retries=1", "--loglevel=error"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise NpmFailed("npm failed: " + (done.stderr.strip() or "no message").splitlines()[0])
