"""The dashboard in a real browser: over a finished run, and over a live chain on which a round takes its course."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, sync_playwright

from bench.emitter import Emitter, founding, history, node
from coordinator.evidence import gather
from coordinator.folder import RunFile
from hmchain.history import History
from hmchain.rounds import Phase
from hmchain.scores import basis_points
from tests.e2e.conftest import FinishedRun
from tests.e2e.stripes import federation_of, options_for
from tools import browser
from tools.board import dashboard
from trainers.hospital import propose_aggregate

PAGES = ("/", "/rounds", "/rounds/1/1", "/models", "/members", "/records", "/chain", "/data", "/tables/events", "/api")
LAPTOP, PHONE = {"width": 1280, "height": 800}, {"width": 360, "height": 740}
AXE = "axe.run(document, {runOnly: ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'wcag22aa', 'best-practice']})"
PATIENCE = 60_000  # milliseconds; what is waited for takes a second or two on a quiet machine


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    """A headless Chromium."""
    path = browser.install()  # which may start a Playwright of its own
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=path, args=browser.ARGUMENTS)
        yield started
        started.close()


@pytest.fixture(scope="module")
def board(finished: FinishedRun) -> Iterator[str]:
    """The dashboard of a finished run."""
    with dashboard("--run", finished.folder) as url:
        yield url


@pytest.fixture(scope="module")
def history_of(finished: FinishedRun) -> History:
    """The run as verification reads it."""
    return gather(finished.folder, RunFile.read(finished.folder)).history


@contextmanager
def tab(chromium: Browser, faults: tuple[str, ...] = (), **options: object) -> Iterator[Page]:
    """A page whose console must stay empty, but for the faults that the test causes, and that asks no other host."""
    context = chromium.new_context(**options)  # type: ignore[arg-type]
    context.set_default_timeout(PATIENCE)
    page = context.new_page()
    said: list[str] = []
    asked: list[str] = []
    page.on("console", lambda message: said.append(message.text))
    page.on("pageerror", lambda error: said.append(str(error)))
    page.on("request", lambda request: asked.append(request.url))
    yield page
    context.close()
    assert [text for text in said if not any(fault in text for fault in faults)] == []
    assert {url.split("/")[2].split(":")[0] for url in asked} <= {"127.0.0.1"}


def violations(page: Page) -> list[str]:
    """What axe-core finds wrong with a page."""
    page.evaluate(browser.axe())
    found = page.evaluate(AXE)["violations"]
    return [f"{rule['id']}: {[each['html'][:120] for each in rule['nodes'][:3]]}" for rule in found]


@pytest.mark.parametrize("path", PAGES)
def test_every_page_is_accessible_by_day_and_night_and_on_a_phone(chromium: Browser, board: str, path: str) -> None:
    for scheme, size in (("light", LAPTOP), ("dark", PHONE)):
        with tab(chromium, viewport=size, color_scheme=scheme) as page:
            page.goto(board + path)
            assert violations(page) == []
            wide = page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
            assert wide <= 0, "the page itself scrolls sideways"


def test_a_rounds_figures_are_the_chains(chromium: Browser, board: str, history_of: History) -> None:
    (job,) = history_of.jobs.values()
    with tab(chromium) as page:
        for record in job.rounds.values():
            page.goto(f"{board}/rounds/{job.number}/{record.number}")
            assert page.locator("#state").inner_text() == "completed"
            cells = page.locator("table.heat tbody td").all_inner_texts()
            words = [word for master in record.scores for word in record.scores[master]]
            assert cells == [f"{basis_points(word) / 100:.2f}" if word > 255 else "–" for word in words]
            assert record.judgement is not None
            verdicts = page.locator("table.heat tfoot .tag").all_inner_texts()
            accepted = [position in record.judgement.accepted for position in record.updates]
            assert verdicts == ["accepted" if is_accepted else "refused" for is_accepted in accepted]
            assert f"{record.judgement.standard / 100:.2f} %" in page.locator("main").inner_text()


def test_a_refusal_is_shown_with_its_reason(chromium: Browser, board: str, finished: FinishedRun) -> None:
    with tab(chromium) as page:
        page.goto(f"{board}/rounds/1/1")
        row = page.locator("tr", has_text=f"Hospital {finished.refused}").filter(has_text="refused").first
        assert "NaN or infinite" in row.inner_text()


def test_models_are_the_summarys_and_the_button_recomputes_them(
    chromium: Browser, board: str, finished: FinishedRun
) -> None:
    with tab(chromium) as page:
        page.goto(f"{board}/models")
        shown = page.locator("tbody code").first.get_attribute("title")
        assert f"sha256:{shown}" == finished.summary["model_digest"]
        assert f"AUC {finished.summary['test_auc']:.4f}" in page.locator("main").inner_text()
        page.get_by_role("button", name="Verify this run").click()
        page.locator(".verdict-valid").wait_for()
        assert "curves.png was not read" in page.locator("p.note").first.inner_text()
        assert finished.summary["model_digest"] in page.locator("#verification").inner_text()


def test_hashes_are_copied_whole_and_times_are_local(chromium: Browser, board: str) -> None:
    options = {"permissions": ["clipboard-read", "clipboard-write"], "timezone_id": "Asia/Tokyo", "locale": "en-GB"}
    with tab(chromium, **options) as page:
        page.goto(f"{board}/members")
        button = page.locator("button.copy").first
        button.click()
        page.get_by_text("copied").wait_for()
        assert page.evaluate("navigator.clipboard.readText()") == button.get_attribute("data-copy")
        time = page.locator("footer time")
        assert time.get_attribute("datetime", timeout=PATIENCE) != time.inner_text()
        assert time.inner_text().startswith("01/01/2025, 09:")  # nine hours after the ledger's first blocks


def test_all_is_reached_by_keyboard(chromium: Browser, board: str) -> None:
    with tab(chromium) as page:
        page.goto(board)
        page.keyboard.press("Tab")
        assert page.evaluate("document.activeElement.textContent") == "Skip to content"
        page.keyboard.press("Enter")
        assert page.evaluate("document.activeElement.id || location.hash") in ("main", "#main")
        page.goto(f"{board}/tables/events")
        page.get_by_label("Rows that hold").fill("scoresrevealed")
        page.keyboard.press("Enter")
        page.wait_for_url("**q=scoresrevealed")
        events = page.locator("tbody tr td:nth-child(4)").all_inner_texts()
        assert events
        assert set(events) == {"ScoresRevealed"}


def test_a_round_is_watched_from_request_to_reply(chromium: Browser, data: Path, tmp_path: Path) -> None:
    with node() as chain:
        setup, federation = federation_of(options_for(tmp_path / "run", data, chain=chain))
        ledger, hospitals = federation.coordinator, federation.hospitals
        with dashboard("--run", tmp_path / "run") as url, tab(chromium) as page:
            page.goto(f"{url}/rounds/1/1")

            def shows(phase: Phase, told: str) -> None:
                """The page, by itself, without being loaded again."""
                step = page.locator("[aria-current=step]", has_text=phase.name.replace("_", "-"))
                step.filter(has_text=told).wait_for()

            state = ledger.state()
            shows(Phase.REQUEST, f"0 of {len(state.clients)} updates")
            for sent, client in enumerate(state.clients, start=1):
                assert hospitals[client].act(ledger.state())
                if sent < len(state.clients):
                    shows(Phase.REQUEST, f"{sent} of {len(state.clients)} updates")
            shows(Phase.PRE_PREPARE, f"0 of {len(state.masters)} masters committed")
            for master in state.masters:
                assert hospitals[master].act(ledger.state())
            shows(Phase.PREPARE, f"0 of {len(state.masters)} masters revealed")
            for master in state.masters:
                assert hospitals[master].act(ledger.state())
            shows(Phase.COMMIT, "accepted")
            propose_aggregate(
                ledger.state(), ledger, federation.exchange, federation.manifest, federation.base, federation.watch
            )
            shows(Phase.REPLY, "0 attested, 3 needed")
            for master in state.masters[:3]:
                assert hospitals[master].act(ledger.state())
            page.locator("#state", has_text="completed").wait_for()
            page.goto(url)
            page.locator("#phase", has_text="REQUEST").wait_for()
            assert page.locator("[data-deadline]").inner_text().startswith("in ")
        setup.team.close()


def test_what_is_wrong_is_said_on_the_page_and_goes_away_with_its_cause(chromium: Browser, tmp_path: Path) -> None:
    state = tmp_path / "state.json"
    with node("--state", str(state)) as chain:
        emitter = Emitter(chain)
        emitter.emit(founding(2, name=b"<script>alert(1)</script>"))
        context = dashboard("--chain", chain, "--contract", emitter.address)
        url = context.__enter__()
    try:
        with tab(chromium) as page:
            page.goto(f"{url}/members")
            page.get_by_text("<script>alert(1)</script>").first.wait_for()
            page.get_by_text("The index stands still").wait_for()
            assert violations(page) == []
            with node("--state", str(state), port=int(chain.rpartition(":")[2])):
                page.get_by_text("The index stands still").wait_for(state="detached")
                emitter.emit([("MemberStatusChanged", {"member": 2, "status": 2})])
                page.get_by_text("not active").wait_for()
    finally:
        context.__exit__(None, None, None)


def test_a_dashboard_that_ended_is_said_on_the_page(chromium: Browser) -> None:
    with node() as chain:
        emitter = Emitter(chain)
        emitter.emit(history(4, 2, clients=2, masters=2))
        with tab(chromium, faults=("ERR_", "Failed to load")) as page:
            with dashboard("--chain", chain, "--contract", emitter.address) as url:
                page.goto(url)
                page.get_by_text("Rounds completed").wait_for()
            page.get_by_text("The dashboard does not answer").wait_for()
