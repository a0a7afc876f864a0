"""The portal's settings in Chromium: the five steps by the page, an output, a list, axe-core."""

from __future__ import annotations

import itertools
import json
import os
import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest
import requests
from playwright.sync_api import Page

from browser import WIDTHS, Portal
from indicia.web import snippets
from receivers import web
from service import SHA1, wait_until
from stored import add

pytestmark = pytest.mark.full
ROOT = "/portal/settings"
EVENT = {"ts": 1700000000.0, "_path": "files", "fuid": "F1", "sha1": SHA1, "id.orig_h": "192.0.2.5"}


def value(page: Page, name: str) -> str:
    """What the page shows to be copied."""
    return page.locator(f"#value-{name}").inner_text()


def enable(portal: Portal, page: Page) -> str:
    """By the page of threat intel; the secret that it shows."""
    page.goto(f"{portal.process.url}{ROOT}/threat-intel")
    page.get_by_label("What the secret is for").fill("the journey")
    page.get_by_role("button", name="Enable").click()
    return page.get_by_role("region", name="Client secret", exact=True).inner_text()


def test_the_five_steps_with_the_values_copied_from_the_page(portal: Portal, tmp_path: Path) -> None:
    page = portal.tab()
    secret = enable(portal, page)
    portal.accessible(page)
    with page.expect_download() as given:
        page.get_by_role("button", name="Save details to file").click()
    saved = json.loads(given.value.path().read_text("utf-8"))
    names = ("tenant_id", "client_id", "authorization_url", "resource", "api_url", "ca_file")
    assert saved["client_secret"] == secret
    assert {name: value(page, name) for name in names} == {name: saved[name] for name in names}

    page.get_by_text("curl", exact=True).click()
    assert page.locator("#panel-curl").is_visible()
    page.get_by_text("Python", exact=True).click()
    snippet = tmp_path / "five_steps.py"
    snippet.write_text(page.locator("#panel-python code").inner_text(), "utf-8")
    environment = {name: text for name, text in os.environ.items() if "CA_BUNDLE" not in name}
    done = subprocess.run(
        [sys.executable, str(snippet)],
        env=environment | {snippets.SECRET: secret},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert SHA1 in done.stdout

    page.get_by_role("button", name="Generate tokens").click()
    token = page.get_by_role("region", name="Access token", exact=True).inner_text()
    with portal.process.session() as session:
        session.headers["Authorization"] = f"Bearer {token}"

        def alerted() -> bool:
            """An indicator meets new events within a second of its being written."""
            sent = session.post(f"{saved['api_url']}/Events", json=EVENT, timeout=30)
            assert sent.status_code == 200, sent.text
            return bool(portal.tenant.alerts())

        wait_until(30, alerted)
        found = session.get(f"{portal.process.url}/api/alerts?ago=PT10M", timeout=30).json()
    assert [(one["AlertTitle"], one["IocValue"]) for one in found] == [("The title", SHA1)]
    (alert,) = portal.tenant.alerts()
    page.goto(f"{portal.process.url}{ROOT}/audit?set=Applications")
    assert secret not in page.content()
    assert "Threat intelligence API" in page.inner_text("main")
    assert alert.definition.title == "The title"

    page.goto(f"{portal.process.url}{ROOT}/threat-intel")
    assert secret not in page.content()
    page.get_by_label("Revoke: secret").click()
    page.get_by_role("button", name="Revoke it").click()
    page.get_by_text(re.compile(r"Secret \d+ is refused")).wait_for()
    form = {"grant_type": "client_credentials", "client_id": saved["client_id"], "client_secret": secret}
    refused = requests.post(saved["authorization_url"], data=form, verify=saved["ca_file"], timeout=30)
    assert refused.status_code == 401


def test_a_webhook_is_added_and_tested(portal: Portal) -> None:
    page = portal.visit(f"{ROOT}/outputs")
    page.get_by_role("link", name="Webhook").click()
    with web() as receiver:
        page.locator("#field-name").fill("hook")
        page.locator("#field-target").fill("file:///etc/passwd")
        page.get_by_role("button", name="Add it").click()
        assert "the service's machine" in page.locator("#field-target-fault").inner_text()
        page.locator("#field-target").fill(receiver.url)
        page.get_by_label("Addresses allowed").fill("127.0.0.1")
        page.get_by_role("button", name="Add it").click()
        assert page.get_by_role("region", name="Secret", exact=True).inner_text().startswith("whsec_")
        portal.accessible(page)
        page.get_by_role("button", name="Send a test").click()
        page.get_by_text("hook took the message").wait_for()
        assert len(receiver.requests) == 1


def test_a_list_is_pasted_previewed_and_put_in_force(portal: Portal) -> None:
    add(portal.tenant, 3)
    page = portal.visit(f"{ROOT}/allow-lists")
    page.locator("#field-name").fill("ours")
    page.locator("#field-text").fill("host-1.example\nhost-2.example")
    page.get_by_label("Each line is").select_option("Hostname")
    page.get_by_role("button", name="Store it").click()
    page.get_by_label("As if it did this").select_option("Suppress")
    page.get_by_role("button", name="Preview").click()
    page.get_by_text("2 of 3 known: 0 annotated, 2 silent").wait_for()
    portal.accessible(page)
    page.get_by_role("button", name="Enable").click()
    page.get_by_text("ours is in force").wait_for()
    assert portal.tenant.allow_lists.one("ours").enabled


def test_settings_work_without_javascript(portal: Portal) -> None:
    state = portal.context.storage_state()
    plain = portal.browser.new_context(
        ignore_https_errors=True, java_script_enabled=False, storage_state=state
    )
    try:
        page = plain.new_page()
        secret = enable(portal, page)
        assert re.fullmatch(r"[\w-]{43}", secret)
        assert page.locator("#panel-python").is_visible()
        assert not page.locator("#panel-curl").is_visible()
        page.get_by_text("curl", exact=True).click()
        assert page.locator("#panel-curl").is_visible()
        page.goto(f"{portal.process.url}{ROOT}/retention")
        page.get_by_label("Detections: days").fill("30")
        page.get_by_role("button", name="Preview").click()
        assert "What would go now" in page.inner_text("main")
        page.get_by_role("button", name="Save").click()
        assert "Saved" in page.inner_text("#notices")
    finally:
        plain.close()


LOOKS = (("light", "wide"), ("dark", "narrow"))
"""In turn: `tests/components.html`, of which pages are made, is looked at in each."""


def looked_at(portal: Portal, names: Sequence[str]) -> None:
    """Axe-core finds nothing on these pages."""
    for name, (scheme, width) in zip(names, itertools.cycle(LOOKS), strict=False):
        page = portal.visit(f"{ROOT}/{name}", width=WIDTHS[width], scheme=scheme)
        portal.accessible(page)
        page.close()


def test_axe_finds_nothing_in_empty_settings(portal: Portal) -> None:
    looked_at(portal, ("outputs", "applications", "allow-lists", "threat-intel"))
