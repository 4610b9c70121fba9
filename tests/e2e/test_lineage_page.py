"""The lineage page in a real browser: what is drawn, found, opened and kept current."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright
from tests.lineage.conftest import create
from tests.lineage.samples import run_event
from tests.lineage.service import served
from tests.lineage.story import tell

from dataspine.core.database import Database
from dataspine.lineage import LineageStore

pytestmark = pytest.mark.integration

ROUTE = "job:spine://shop:route.payments"
TABLE = "dataset:postgres://billing.internal:5432:pay.public.payments"
SINK = "dataset:spine://shop/payments/ledger:public.payments"


@pytest.fixture(scope="module")
def browser(chromium: Path) -> Iterator[Browser]:
    with sync_playwright() as playwright:
        made = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        yield made
        made.close()


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    context = browser.new_context(viewport={"width": 1400, "height": 900}, locale="en-GB")
    made = context.new_page()
    faults: list[str] = []
    made.on("pageerror", lambda error: faults.append(str(error)))
    made.on("console", lambda m: faults.append(m.text) if m.type == "error" else None)
    yield made
    context.close()
    assert faults == []


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    made = create(tmp_path / "spine.db")
    yield made
    made.close()


def test_an_empty_workspace_says_what_to_do_and_then_fills(page: Page, database: Database) -> None:
    with served(database) as url:
        page.goto(f"{url}/lineage")
        expect(page.get_by_test_id("empty")).to_contain_text("spine demo")
        LineageStore(database).ingest(run_event(outputs=("fresh",)))
        expect(page.get_by_test_id("node-dataset:n:fresh")).to_be_visible(timeout=10_000)
        expect(page.get_by_test_id("empty")).to_be_hidden()


def test_a_click_shows_runs_and_the_decision(page: Page, database: Database) -> None:
    tell(database)
    with served(database) as url:
        page.goto(f"{url}/lineage")
        page.get_by_test_id(f"node-{ROUTE}").click()
        expect(page.get_by_test_id("panel-title")).to_have_text("route.payments")
        expect(page.get_by_test_id("run")).to_have_count(4)
        page.get_by_test_id("run").first.click()
        decision = page.get_by_test_id("decision")
        expect(decision).to_contain_text("Denied by policy")
        expect(decision).to_contain_text("residency.region_denied")
        expect(decision).to_contain_text("1.4.0+sha256.9f2c")
        page.get_by_test_id("run").nth(1).click()
        expect(page.get_by_test_id("decision")).to_contain_text("Allowed by policy")
        page.get_by_test_id("run").nth(2).click()
        expect(page.get_by_test_id("events").locator("li")).to_have_count(2)
        page.keyboard.press("Escape")
        expect(page.get_by_test_id("panel")).to_be_hidden()


def test_masks_and_labels_are_drawn(page: Page, database: Database) -> None:
    tell(database)
    with served(database) as url:
        page.goto(f"{url}/lineage")
        expect(page.get_by_test_id("edge-masked")).to_have_count(2)
        expect(page.get_by_test_id(f"node-{TABLE}")).to_contain_text("PCI")
        expect(page.get_by_test_id(f"node-{SINK}")).not_to_contain_text("PCI")
        page.get_by_test_id(f"node-{SINK}").click()
        row = page.get_by_test_id("columns").locator("tr", has_text="card_number")
        expect(row).to_contain_text("Masked")


def test_search_draws_around_what_was_found(page: Page, database: Database) -> None:
    tell(database)
    with served(database) as url:
        page.goto(f"{url}/lineage")
        expect(page.get_by_test_id("live")).to_contain_text("13 nodes")
        page.keyboard.press("/")
        page.keyboard.type("billing.payments")
        expect(page.get_by_test_id("result").first).to_contain_text("billing.payments")
        page.keyboard.press("Enter")
        expect(page.get_by_test_id("trail")).to_contain_text("public.payments")
        expect(page.get_by_test_id("live")).to_contain_text("4 nodes")
        page.reload()
        expect(page.get_by_test_id("panel-title")).to_have_text("pay.public.payments")
        page.get_by_test_id("show-all").click()
        expect(page.get_by_test_id("live")).to_contain_text("13 nodes")


def test_the_graph_is_walked_by_keys(page: Page, database: Database) -> None:
    tell(database)
    with served(database) as url:
        page.goto(f"{url}/lineage")
        page.get_by_test_id(f"node-{TABLE}").focus()
        page.keyboard.press("ArrowRight")
        expect(page.get_by_test_id(f"node-{ROUTE}")).to_be_focused()
        page.keyboard.press("ArrowRight")
        expect(page.get_by_test_id(f"node-{SINK}")).to_be_focused()
        page.keyboard.press("ArrowLeft")
        page.keyboard.press("Enter")
        expect(page.get_by_test_id("panel-title")).to_have_text("route.payments")
        expect(page.get_by_test_id("panel")).to_be_focused()
        page.get_by_test_id("close").click()
        expect(page.get_by_test_id(f"node-{ROUTE}")).to_be_focused()


def test_the_view_is_dragged_and_zoomed(page: Page, database: Database) -> None:
    tell(database)
    with served(database) as url:
        page.goto(f"{url}/lineage")
        node = page.get_by_test_id(f"node-{ROUTE}")
        before = node.bounding_box()
        page.mouse.move(500, 560)
        page.mouse.down()
        page.mouse.move(560, 600, steps=4)
        page.mouse.up()
        dragged = node.bounding_box()
        assert before is not None
        assert dragged is not None
        assert round(dragged["x"] - before["x"]) == 60
        page.get_by_test_id("zoom-in").click()
        zoomed = node.bounding_box()
        assert zoomed is not None
        assert zoomed["width"] > dragged["width"]
        page.get_by_test_id("fit").click()
        fitted = node.bounding_box()
        assert fitted is not None
        assert round(fitted["x"]) == round(before["x"])


def test_names_from_events_are_text(page: Page, database: Database) -> None:
    LineageStore(database).ingest(run_event(job="<img src=x onerror=alert(1)>"))
    with served(database) as url:
        page.goto(f"{url}/lineage")
        node = page.get_by_test_id("node-job:n:<img src=x onerror=alert(1)>")
        node.click()
        expect(page.get_by_test_id("panel-title")).to_have_text("<img src=x onerror=alert(1)>")
