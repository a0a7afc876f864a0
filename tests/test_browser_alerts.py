"""Alerts in a browser: triage by keyboard, without JavaScript, what is new while one looks; axe on each."""

from __future__ import annotations

import pytest
from playwright.sync_api import expect

from alerting import alert_of, armed, dns, met, several
from browser import WIDTHS, Portal
from indicia.model import AlertStatus, Classification, Severity

pytestmark = pytest.mark.full


def test_triage_by_keyboard(portal: Portal) -> None:
    """From the queue to resolved, its like suppressed, without a mouse."""
    tenant = portal.tenant
    first = alert_of(tenant, found := armed(tenant, severity=Severity.HIGH))
    second = alert_of(tenant, found, dns(machine="ws-2"))
    page = portal.visit("/portal/alerts")
    page.keyboard.press("?")
    expect(page.get_by_role("dialog", name="Keys")).to_be_visible()
    portal.accessible(page)
    page.keyboard.press("Escape")
    page.keyboard.press("j")
    expect(page.locator(f"#alert-{second.number}")).to_be_focused()
    page.keyboard.press("x")
    expect(page.get_by_text("1 ticked")).to_be_visible()
    page.keyboard.press("x")
    page.keyboard.press("j")
    page.keyboard.press("k")
    page.keyboard.press("j")
    expect(page.locator(f"#alert-{first.number}")).to_be_focused()
    page.keyboard.press("Enter")
    page.wait_for_url(f"**/portal/alerts/{first.number}")
    page.keyboard.press("e")
    expect(page.get_by_label("Status", exact=True)).to_be_focused()
    page.keyboard.press("Tab")
    page.locator("h1").focus()
    page.evaluate("document.activeElement.blur()")
    page.keyboard.press("f")
    reason = page.get_by_label("Reason")
    expect(reason).to_be_visible()
    reason.focus()
    page.keyboard.type("our own scanner")
    page.keyboard.press("Enter")
    expect(page.get_by_text("Resolved as a false positive, with 1 suppression in force")).to_be_visible()
    now = tenant.alert(first.id)
    assert (now.status, now.classification) == (AlertStatus.RESOLVED, Classification.FALSE_POSITIVE)
    (kept,) = tenant.suppressions()
    assert (kept.machine, kept.value, kept.reason) == ("ws-17", "evil.example", "our own scanner")
    assert not tenant.record(met(tenant, found, dns(time="2024-03-12T15:00:00Z"))).reopened


def test_many_by_keyboard(portal: Portal) -> None:
    several(portal.tenant, 3)
    page = portal.visit("/portal/alerts")
    page.keyboard.press("j")
    page.keyboard.press("x")
    page.keyboard.press("j")
    page.keyboard.press("x")
    page.keyboard.press("e")
    status = page.locator("#bulk-status")
    expect(status).to_be_focused()
    status.select_option("Resolved")
    page.get_by_role("button", name="Apply").press("Enter")
    expect(page.get_by_text("Alerts: 2 changed.")).to_be_visible()
    assert [one.status for one in portal.tenant.alerts()] == [
        AlertStatus.NEW,
        AlertStatus.RESOLVED,
        AlertStatus.RESOLVED,
    ]
    page.get_by_role("row").nth(1).focus()
    page.keyboard.press("j")
    page.keyboard.press("e")
    page.wait_for_url("**/portal/alerts/*#work")
    expect(page.get_by_label("Status", exact=True)).to_be_focused()


def test_what_is_new_keeps_ones_place(portal: Portal) -> None:
    tenant = portal.tenant
    alert = alert_of(tenant, found := armed(tenant))
    page = portal.tab()
    page.clock.install()
    page.goto(f"{portal.process.url}/portal/alerts")
    page.get_by_label(f"Alert {alert.number}", exact=True).check()
    for number in range(3):
        tenant.record(met(tenant, found, dns(machine=f"new-{number}")))
    tenant.change_alert(alert.id, {"status": AlertStatus.IN_PROGRESS}, "Bo")
    page.clock.run_for(16_000)
    told = page.get_by_text("3 new alerts")
    expect(told).to_be_visible()
    expect(page.locator(f"#status-{alert.number}")).to_have_text("In progress")
    expect(page.get_by_label(f"Alert {alert.number}", exact=True)).to_be_checked()
    assert page.locator("tr[data-row]").count() == 1
    portal.accessible(page)
    page.get_by_role("link", name="show").click()
    expect(page.locator("tr[data-row]")).to_have_count(4)


def test_without_javascript(portal: Portal) -> None:
    tenant = portal.tenant
    one, two = several(tenant, 2)
    bare = portal.browser.new_context(ignore_https_errors=True, java_script_enabled=False)
    try:
        page = bare.new_page()
        portal.sign_in(page)
        page.goto(f"{portal.process.url}/portal/alerts")
        page.get_by_label("Title or machine").fill("ws-0")
        page.get_by_role("button", name="Filter").click()
        assert page.locator("tr[data-row]").count() == 1
        page.get_by_label(f"Alert {one.number}", exact=True).check()
        page.locator("#bulk-status").select_option("InProgress")
        page.get_by_role("button", name="Apply").click()
        assert page.get_by_text("Alerts: 1 changed.").is_visible()
        assert "q=ws-0" in page.url
        page.goto(f"{portal.process.url}/portal/alerts/{two.number}")
        page.get_by_text("It is a false positive").click()
        page.get_by_role("button", name="Resolve as a false positive").click()
        assert page.get_by_text("1 suppression in force").is_visible()
        page.get_by_role("textbox", name="Comment").fill("seen")
        page.get_by_role("button", name="Add the comment").click()
        assert page.locator("#comments").get_by_text("seen").is_visible()
    finally:
        bare.close()
    assert [str(alert.status) for alert in tenant.alerts()] == ["InProgress", "Resolved"]


@pytest.mark.parametrize(("width", "scheme"), [("narrow", "light"), ("wide", "dark")])
def test_pages_with_what_does_not_fit_are_for_everybody(portal: Portal, width: str, scheme: str) -> None:
    tenant = portal.tenant
    hostile = "\u202e" * 30 + "x" * 300
    found = armed(tenant, title="A title without any place to break it " + "w" * 80)
    alert = alert_of(tenant, found, dns(machine=hostile), dns(machine=hostile, time="2024-03-12T11:00:00Z"))
    tenant.change_alert(alert.id, {"status": AlertStatus.IN_PROGRESS, "assigned_to": "w" * 150}, "Bo")
    tenant.add_comment(alert.id, "w" * 400, "Bo")
    for path in ("/portal/alerts", f"/portal/alerts/{alert.number}", "/portal/alerts?q=nothing"):
        page = portal.visit(path, width=WIDTHS[width], scheme=scheme)
        if "?" not in path and path != "/portal/alerts":
            page.get_by_text("It is a false positive").click()
            page.get_by_text("Show the JSON").click()
        portal.accessible(page)
        page.close()
