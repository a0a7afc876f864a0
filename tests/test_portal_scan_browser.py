"""The overview and the scan of a log in Chromium: the journey, and that a refresh disturbs nobody."""

from __future__ import annotations

from pathlib import Path

import pytest

from browser import SCHEMES, WIDTHS, Portal
from indicia.model import Severity
from stored import add
from test_scans import LOG

PATH = "/portal/scan"
pytestmark = pytest.mark.full


def test_the_scan_journey(portal: Portal, tmp_path: Path) -> None:
    add(portal.tenant, 3, severity=Severity.HIGH)
    log = tmp_path / "dns.log"
    log.write_bytes(LOG)
    page = portal.visit("/portal/")
    page.get_by_role("link", name="Scan", exact=True).first.click()
    page.get_by_label("File", exact=True).set_input_files(log)
    page.get_by_role("button", name="Scan", exact=True).click()
    page.get_by_role("heading", name="Scan of dns.log").wait_for()
    page.get_by_role("button", name="Record as alerts").wait_for(timeout=60_000)
    assert page.get_by_role("table", name="Alerts").is_visible()
    page.get_by_role("button", name="Record as alerts").click()
    page.get_by_text("Recorded:").wait_for(timeout=60_000)
    assert portal.tenant.counts().alerts == len(portal.tenant.alerts()) > 0
    here = page.url.removeprefix(portal.process.url)
    page.goto(f"{portal.process.url}/portal/")
    page.get_by_role("heading", name="Top machines").wait_for()
    assert page.locator(".tile .figure").first.inner_text() == str(portal.tenant.counts().alerts)
    for path in (here, PATH, "/portal/"):
        for scheme in SCHEMES:
            for width in WIDTHS.values():
                shown = portal.visit(path, width=width, scheme=scheme)
                portal.accessible(shown)
                shown.close()


def test_a_refresh_leaves_what_is_in_use(portal: Portal) -> None:
    add(portal.tenant, 1)
    page = portal.visit("/portal/")
    asked: list[str] = []
    page.on("response", lambda response: asked.append(response.url))

    def refreshed() -> int:
        """Have it refreshed now; how often the part was put in."""
        with page.expect_response("**/portal/?period=7d"):
            page.evaluate("htmx.ajax('GET', '/portal/?period=7d', {target: '#figures', swap: 'outerHTML'})")
        page.wait_for_timeout(200)
        return page.locator("#figures[data-old]").count()

    def mark() -> None:
        page.evaluate("document.querySelector('#figures').dataset.old = '1'")

    mark()
    assert refreshed() == 0, "it was replaced"
    mark()
    page.get_by_text("As a table").first.click()
    assert refreshed() == 1, "somebody reads the table"
    page.get_by_text("As a table").first.click()
    page.evaluate("document.activeElement.blur()")
    assert refreshed() == 0
