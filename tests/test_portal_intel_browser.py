"""Definitions and indicators in Chromium: forms, paste, upload, many at once, try; axe-core on all."""

from __future__ import annotations

from pathlib import Path

import pytest
from playwright.sync_api import Page, Route, expect

from browser import WIDTHS, Portal
from stored import add

pytestmark = pytest.mark.full
PATHS = (
    "/portal/definitions",
    "/portal/definitions/new",
    "/portal/definitions/{definition}",
    "/portal/indicators",
    "/portal/indicators/new",
    "/portal/indicators/{indicator}",
    "/portal/indicators/{indicator}/edit",
    "/portal/indicators/{indicator}/reach",
    "/portal/paste",
    "/portal/upload",
    "/portal/try",
)
REPORT = (
    "The beacon is at hxxps://evil[.]example/gate.php and beacon[.]evil[.]example, not at www.contoso.com."
)


@pytest.mark.parametrize(("scheme", "width"), [("dark", "narrow")])
def test_empty_and_long_pages_are_for_everybody(portal: Portal, scheme: str, width: str) -> None:
    for stocked in (False, True):
        if stocked:
            add(portal.tenant, 60, name="A name that is long, and goes on for ever " * 2)
        page = portal.tab(width=WIDTHS[width], scheme=scheme)
        for path in PATHS:
            if "{" in path and not stocked:
                continue
            owner = portal.tenant.definitions()[0].id if stocked else 0
            found = portal.tenant.indicators()[0].id if stocked else 0
            page.goto(portal.process.url + path.format(definition=owner, indicator=found))
            portal.accessible(page)
        page.close()


def test_a_field_says_what_is_wrong_and_then_no_more(portal: Portal) -> None:
    page = portal.visit("/portal/definitions/new")
    page.get_by_label("Title").fill("Paper Lantern")
    page.get_by_label("Window, in seconds").fill("5")
    expect(page.locator("#told-WindowSeconds")).to_contain_text("Must be from")
    portal.accessible(page)
    page.get_by_label("Name", exact=True).fill("lantern")
    page.get_by_role("button", name="Make it").click()
    expect(page.locator("#field-WindowSeconds-fault")).to_contain_text("Must be from")
    portal.accessible(page)
    page.get_by_label("Window, in seconds").fill("3600")
    expect(page.locator("#field-WindowSeconds-fault")).to_have_count(0)
    page.get_by_role("button", name="Make it").click()
    expect(page.get_by_text("Give it indicators next")).to_be_visible()
    page.get_by_role("link", name="Add one").click()
    page.get_by_label("Value").fill("co.uk")
    page.get_by_label("Function").select_option("SubdomainOf")
    expect(page.locator("#told-Value")).to_contain_text("is a public suffix")
    page.get_by_label("Value").fill("lantern.example")
    expect(page.locator("#told-Value")).to_be_empty()
    page.get_by_role("button", name="Add it").click()
    expect(page.get_by_role("heading", name="lantern.example")).to_be_visible()
    expect(page.get_by_text("is looked for from now on")).to_be_visible()


@pytest.mark.parametrize("width", ["wide", "narrow"])
def test_a_report_is_pasted(portal: Portal, width: str) -> None:
    owner = add(portal.tenant)
    page = portal.visit(f"/portal/paste?definition={owner.id}", width=WIDTHS[width])
    page.get_by_label("Any text").fill(REPORT)
    page.get_by_role("button", name="Understand it").click()
    expect(page.get_by_text("Read as free text")).to_be_visible()
    portal.accessible(page)
    page.get_by_label("www.contoso.com", exact=True).uncheck()
    page.get_by_label("Function of beacon.evil.example").select_option("Equals")
    page.get_by_role("button", name="Store them").click()
    expect(page.get_by_text("2 indicators are stored")).to_be_visible()
    assert {one.value for one in portal.tenant.indicators()} == {
        "https://evil.example/gate.php",
        "beacon.evil.example",
    }


def test_a_file_is_uploaded(portal: Portal, tmp_path: Path) -> None:
    owner = add(portal.tenant)
    file = tmp_path / "feed.csv"
    rows = [f"DomainName,host-{number}.example" for number in range(3000)]
    file.write_text("\n".join(["type,value", *rows, "Md5,short"]))
    page = portal.visit("/portal/upload")
    page.get_by_label("File").set_input_files(file)
    page.get_by_label("Alert definition").select_option(str(owner.id))
    # The host is away when the page asks how far it is: the page asks again.
    page.route("**/portal/upload/*", _away_once, times=2)
    page.get_by_role("button", name="Import it").click()
    expect(page.get_by_text("3,000 indicators are added, 1 refused")).to_be_visible(timeout=60_000)
    portal.accessible(page)
    with page.expect_download() as download:
        page.get_by_role("link", name="Report as CSV").click()
    assert download.value.path().read_text().splitlines()[1].startswith("3002,refused,")
    page.goto(f"{portal.process.url}/portal/indicators?value=host-29")
    expect(page.get_by_role("row")).to_have_count(51)


def _away_once(route: Route) -> None:
    if route.request.headers.get("hx-request"):
        route.abort("connectionrefused")
    else:
        route.continue_()


def test_many_are_changed_step_by_step(portal: Portal) -> None:
    add(portal.tenant, 4500)
    page = portal.visit("/portal/indicators?type=DomainName")
    page.get_by_label("all that the filters give").check()
    page.get_by_label("Do", exact=True).select_option("disable")
    page.get_by_role("button", name="Go on").click()
    portal.accessible(page)
    page.get_by_role("button", name="Do it").click()
    expect(page.get_by_text("4,500 indicators are disabled")).to_be_visible(timeout=30_000)
    portal.accessible(page)
    page.get_by_role("link", name="Back to the list").click()
    _tick(page, 2)
    page.get_by_label("Do", exact=True).select_option("delete")
    page.get_by_role("button", name="Go on").click()
    page.get_by_role("button", name="Delete them").click()
    expect(page.get_by_text("2 indicators are deleted")).to_be_visible()
    assert portal.tenant.counts().indicators == 4498


def _tick(page: Page, count: int) -> None:
    for number in range(count):
        page.locator('input[name="ids"]').nth(number).check()


def test_what_no_index_knows_is_looked_for_on_its_own(portal: Portal) -> None:
    owner = add(portal.tenant, 1)
    (first,) = portal.tenant.indicators(definition_id=owner.id)
    add(portal.tenant, 40_000, name="many")
    portal.tenant.change_indicator(first.id, {"source": "x"}, "x")
    page = portal.visit("/portal/indicators?by=nobody")
    expect(page.get_by_text("No indicator fits these filters")).to_be_visible(timeout=30_000)
    portal.accessible(page)


def test_an_event_is_tried(portal: Portal) -> None:
    add(portal.tenant, 3)
    page = portal.visit("/portal/try", width=WIDTHS["narrow"])
    page.get_by_label("Event").fill('{"query": "host-1.example", "answers": ["192.0.2.7"]}')
    page.get_by_role("button", name="Try it").click()
    expect(page.get_by_text("meets it", exact=True)).to_be_visible(timeout=30_000)
    portal.accessible(page)
    page.get_by_label("Value").fill("host-2.example")
    page.get_by_role("button", name="Try it").click()
    expect(page.get_by_text("does not meet it")).to_be_visible()
    portal.accessible(page)
