"""Find a Chromium for the dashboard's tests, and install one where there is none.

    python -m tools.browser

What is on the PATH serves. Otherwise Debian's package is installed where that may be done; elsewhere Playwright
downloads its own.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys

from tools import npm

AXE = npm.ROOT / "node_modules" / "axe-core" / "axe.min.js"
NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
ARGUMENTS = ["--no-sandbox", "--disable-dev-shm-usage"]  # root has no sandbox, containers have little shared memory


class BrowserMissing(Exception):
    """There is no Chromium and none can be had; the text says what to do."""


def find() -> str:
    """The path of a Chromium. Raises BrowserMissing."""
    found = os.environ.get("HMCHAIN_BROWSER") or next(filter(None, map(shutil.which, NAMES)), None) or _playwrights()
    if not found:
        raise BrowserMissing("no Chromium: put chromium or google-chrome on the PATH, or name one by HMCHAIN_BROWSER")
    return found


def axe() -> str:
    """The source of axe-core, which checks pages for accessibility. Raises NpmFailed."""
    if not AXE.exists():
        npm.install()
    return AXE.read_text(encoding="utf8")


def install() -> str:
    """The path of a Chromium, installed if need be. Raises BrowserMissing."""
    try:
        return find()
    except BrowserMissing:
        pass
    if sys.platform == "linux" and os.geteuid() == 0 and shutil.which("apt-get"):
        print("installing chromium", file=sys.stderr, flush=True)
        _try("apt-get", "update", "-qq")
        _try("apt-get", "install", "-qq", "--yes", "--no-install-recommends", "chromium")
    if not any(map(shutil.which, NAMES)):
        _try(sys.executable, "-m", "playwright", "install", "chromium")
    return find()


def _playwrights() -> str | None:
    """The Chromium that Playwright keeps for itself, if it has downloaded one."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        path = playwright.chromium.executable_path
    return path if os.path.exists(path) else None  # noqa: PTH110


def _try(*command: str) -> None:
    """Runs a command that may fail: what counts is whether there is a browser afterwards."""
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    subprocess.run(command, env=environment, stdout=subprocess.DEVNULL, check=False)


def main() -> int:
    """Provide one and say which it is; one line and 1 where it cannot be had."""
    try:
        path = install()
    except BrowserMissing as error:
        print(error, file=sys.stderr)
        return 1
    done = subprocess.run([path, "--version"], capture_output=True, text=True, check=False)
    print(done.stdout.strip() or path)
    return done.returncode


if __name__ == "__main__":
    sys.exit(main())
