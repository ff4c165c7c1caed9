"""Prepare the Solidity compiler in .tools/solc, where py-solc-x and ape-solidity look for it.

    python -m tools.solc

The native compiler comes by py-solc-x where its download site is reached; elsewhere npm's solc, pinned by
package-lock.json, serves through tools/solc-wrapper.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import cast

import requests
import solcx
import yaml
from solcx.exceptions import DownloadError, SolcError, SolcInstallationError
from solcx.install import BINARY_DOWNLOAD_BASE
from solcx.wrapper import get_solc_version

from tools import npm

ROOT = Path(__file__).resolve().parent.parent
FOLDER = ROOT / ".tools" / "solc"
WRAPPER = ROOT / "tools" / "solc-wrapper"
TIMEOUT = (4, 15)  # seconds to connect, and between bytes: a closed network must not cost minutes


class CompilerMissing(Exception):
    """Neither the native compiler nor npm's can be had."""


def settings() -> dict[str, object]:
    """The `solidity:` section of ape-config.yaml, the one place where the compiler's settings stand."""
    config = yaml.safe_load((ROOT / "ape-config.yaml").read_text(encoding="utf8"))
    return cast(dict[str, object], config["solidity"])


def version() -> str:
    """The compiler's version, such as "0.8.37"."""
    return str(settings()["version"])


def use() -> Path:
    """Make sure that the compiler is there, point SOLCX_BINARY_PATH at it and return its path.

    A SOLCX_BINARY_PATH that the caller has set is left alone. Raises CompilerMissing.
    """
    folder = Path(os.environ.setdefault("SOLCX_BINARY_PATH", str(FOLDER)))
    binary = folder / f"solc-v{version()}"
    without_modules = binary.is_symlink() and not (ROOT / "node_modules" / "solc").is_dir()
    if without_modules or not binary.exists():
        folder.mkdir(parents=True, exist_ok=True)
        binary.unlink(missing_ok=True)
        if not _install_native():
            _install_wrapper(binary)
    return binary


def _install_native() -> bool:
    """Download the native compiler into SOLCX_BINARY_PATH; False where there is none for this machine or network."""
    try:
        # py-solc-x waits forever on a silent network, so ask first.
        requests.get(BINARY_DOWNLOAD_BASE.format("linux", "list.json"), timeout=TIMEOUT).raise_for_status()
        solcx.install_solc(version())
    except (requests.RequestException, SolcError, SolcInstallationError, DownloadError, OSError, ValueError):
        return False  # OSError: a binary for another processor, an unknown system, py-solc-x's own ConnectionError
    return True


def _install_wrapper(binary: Path) -> None:
    """Install npm's solc and link the wrapper in as if it were the native compiler."""
    try:
        npm.install()
    except npm.NpmFailed as error:
        raise CompilerMissing(f"no Solidity compiler: solc {version()} cannot be downloaded and {error}") from None
    binary.symlink_to(os.path.relpath(WRAPPER, binary.parent))


def main() -> int:
    """Prepare the compiler and say which one it is; one line and 1 when there is none."""
    try:
        binary = use()
    except CompilerMissing as error:
        print(error, file=sys.stderr)
        return 1
    kind = "npm's solc" if binary.is_symlink() else "native"
    print(f"solc {get_solc_version(binary)} ({kind})")
    return 0


if __name__ == "__main__":
    sys.exit(main())
