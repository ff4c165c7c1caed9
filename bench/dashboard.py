"""The dashboard with 100 members and 500 rounds: events indexed a second, server time of every page, first paint.

python -m bench.dashboard [--members 100] [--rounds 500]
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from statistics import median

import requests
from playwright.sync_api import sync_playwright

from bench.emitter import Emitter, history, node
from coordinator.dashboard.indexer import Indexer
from coordinator.dashboard.source import live
from coordinator.dashboard.store import open_database
from tools import browser
from tools.board import dashboard

PAGES = (
    "/",
    "/rounds",
    "/rounds/1/250",
    "/models",
    "/members",
    "/records",
    "/chain",
    "/data",
    "/tables/events",
    "/tables/scores?q=hospital+7",
    "/api/events.json",
    "/api/scores.csv",
)
PAINT = "performance.getEntriesByName('first-contentful-paint')[0]?.startTime ?? null"
TIMES = 7  # that a page is asked for; the median counts
SETTLED_SECONDS = 300


def main() -> int:
    """Prints the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--members", type=int, default=100)
    parser.add_argument("--rounds", type=int, default=500)
    options = parser.parse_args()
    with node() as url, tempfile.TemporaryDirectory() as folder:
        emitter = Emitter(url)
        count = emitter.emit(history(options.members, options.rounds))
        print(f"{options.members} members, {options.rounds} rounds: {count:,} events on {emitter.web3.client_version}")
        database = f"sqlite:///{folder}/index.sqlite"
        _index(url, emitter.address, database, count)
        with dashboard("--chain", url, "--contract", emitter.address, "--db", database) as served:
            _pages(served)
            _paint(served)
    return 0


def _index(url: str, contract: str, database: str, count: int) -> None:
    engine = open_database(database)
    started = time.perf_counter()
    Indexer(live(url, contract), engine).catch_up()
    seconds = time.perf_counter() - started
    engine.dispose()
    print(f"indexed in {seconds:.2f} s: {count / seconds:,.0f} events/s into SQLite (2,000 asked for)")


def _pages(url: str) -> None:
    deadline = time.monotonic() + SETTLED_SECONDS
    while "being looked up" in requests.get(f"{url}/chain", timeout=30).text and time.monotonic() < deadline:
        time.sleep(0.5)
    print(f"server time: the first time after a change of the index, and the median of {TIMES}")
    for page in PAGES:
        seconds = []
        for _ in range(TIMES):
            started = time.perf_counter()
            answer = requests.get(url + page, timeout=30)
            seconds.append(time.perf_counter() - started)
            answer.raise_for_status()
        first, usual, size = 1000 * seconds[0], 1000 * median(seconds), len(answer.content) / 1024
        print(f"  {first:6.0f} ms  {usual:6.0f} ms  {size:7.0f} KiB  {page}")


def _paint(url: str) -> None:
    path = browser.find()
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=path, args=browser.ARGUMENTS)
        found = []
        for _ in range(TIMES):
            page = chromium.new_page()
            page.goto(url)
            while (paint := page.evaluate(PAINT)) is None:
                page.wait_for_timeout(20)
            found.append(paint)
            page.close()
        chromium.close()
    print(f"first contentful paint of the overview: {median(found):.0f} ms, median of {TIMES} (1,000 asked for)")


if __name__ == "__main__":
    sys.exit(main())
