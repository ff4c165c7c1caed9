"""Starts forge on tests/invariants: random members and persons against the contracts; libraries against naive loops."""

from __future__ import annotations

import platform
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tools import npm, solc

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = {
    ("linux", "x86_64"): "forge-linux-amd64/bin/forge",
    ("darwin", "arm64"): "forge-darwin-arm64/bin/forge",
    ("win32", "AMD64"): "forge-win32-amd64/bin/forge.exe",
}


def forge() -> str:
    """The forge that package-lock.json pins, installed if need be."""
    package = PACKAGES.get((sys.platform, platform.machine()))
    if package is None:
        found = shutil.which("forge")
        if found is None:
            pytest.skip(
                f"npm has no forge for {sys.platform} on {platform.machine()}; put one on the PATH to run these"
            )
        return found
    binary = ROOT / "node_modules" / "@foundry-rs" / package
    if not binary.exists():
        try:
            npm.install()
        except npm.NpmFailed as fault:
            pytest.fail(f"forge is not installed: {fault}", pytrace=False)
    assert binary.exists(), "npm ci left forge out"
    return str(binary)


def test_the_contracts_keep_their_invariants() -> None:
    command = [forge(), "test", "--root", str(ROOT), "--use", str(solc.use()), "--color", "never"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=900)
    if done.returncode:
        pytest.fail(f"forge test failed:\n{done.stdout[-8_000:]}{done.stderr[-2_000:]}", pytrace=False)
    # a run that found no tests must not count
    assert done.stdout.count("[PASS] invariant_") == 5, done.stdout
    assert done.stdout.count("[PASS] test") == 14, done.stdout
