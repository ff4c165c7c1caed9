"""The pictures of docs/dashboard.md: pages of the dashboard over a finished run.

make run && .venv/bin/python -m tools.screenshots runs/latest
"""

from __future__ import annotations

import sys
from pathlib import Path

from PIL import Image
from playwright.sync_api import sync_playwright

from tools import browser
from tools.board import dashboard

FOLDER = Path(__file__).resolve().parent.parent / "docs" / "images"
PAGES = {"overview": "/", "round": "/rounds/1/10"}
COLOURS = 256  # as many as the pages need: a picture of 40 KB instead of 100


def main() -> int:
    """Takes them."""
    path = browser.install()  # which may start a Playwright of its own
    with dashboard("--run", sys.argv[1]) as url, sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=path, args=browser.ARGUMENTS)
        page = chromium.new_page(viewport={"width": 1100, "height": 820}, color_scheme="light")
        page.goto(f"{url}/chain")
        page.get_by_text("The others are being looked up").wait_for(state="detached")
        for name, place in PAGES.items():
            page.goto(url + place)
            page.wait_for_timeout(500)  # for the times in this zone
            page.screenshot(path=FOLDER / f"dashboard-{name}.png")
            _shrink(FOLDER / f"dashboard-{name}.png")
        chromium.close()
    return 0


def _shrink(path: Path) -> None:
    with Image.open(path) as picture:
        few = picture.convert("RGB").quantize(COLOURS)
    few.save(path, optimize=True)


if __name__ == "__main__":
    sys.exit(main())
