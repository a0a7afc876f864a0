"""The portal in a real browser: the service as a process, Chromium, somebody who is signed in, axe-core.

    def test_a_page(portal: Portal) -> None:
        page = portal.visit("/portal/account")
        portal.accessible(page)

One service and one Chromium serve all tests of a process; each test has a tenant and a context of its own.
Without Chromium or the permission to run it these tests are skipped.
"""

from __future__ import annotations

import itertools
import shutil
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, BrowserContext, Page, sync_playwright

from indicia.store import Store, TenantStore
from service import Process, running
from visiting import PASSWORD, add_person

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
WIDTHS = {"wide": 1440, "narrow": 390}
SCHEMES = ("light", "dark")
STANDARDS = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]
"""What axe-core holds pages to."""
_NUMBERS = itertools.count(1)


@dataclass
class Portal:
    """Somebody who is signed in to a tenant, in a browser."""

    process: Process
    browser: Browser
    store: Store
    tenant: TenantStore
    name: str
    context: BrowserContext
    axe: Axe = field(default_factory=Axe)

    def visit(
        self, path: str, *, width: int = WIDTHS["wide"], scheme: str = "light", status: int = 200
    ) -> Page:
        """A page of the portal in a new tab."""
        page = self.tab(width=width, scheme=scheme)
        answer = page.goto(self.process.url + path)
        assert answer is not None
        assert answer.status == status, page.inner_text("body")
        return page

    def tab(self, *, width: int = WIDTHS["wide"], scheme: str = "light") -> Page:
        """A new tab; whatever the policy of a page forbids fails the test that does it."""
        page = self.context.new_page()
        page.set_viewport_size({"width": width, "height": 900})
        page.emulate_media(color_scheme="dark" if scheme == "dark" else "light")
        page.on("console", no_violation)
        return page

    def sign_in(self, page: Page, name: str | None = None, password: str = PASSWORD) -> None:
        """By the sign-in page."""
        page.goto(f"{self.process.url}/portal/sign-in")
        page.get_by_label("Name").fill(name or self.name)
        page.get_by_label("Password").fill(password)
        page.get_by_role("button", name="Sign in").click()
        page.wait_for_url("**/portal/**")

    def accessible(self, page: Page) -> None:
        """Axe-core finds nothing that keeps people out, and nothing is wider than the screen."""
        found = self.axe.run(page, options={"runOnly": STANDARDS}).response
        said = [
            f"{one['id']} ({one['impact']}): {one['help']}: "
            + "; ".join(node["html"][:160] for node in one["nodes"][:3])
            for one in found["violations"]
        ]
        assert not said, "\n".join(said)
        wide: Any = page.evaluate("document.documentElement.scrollWidth - innerWidth")
        assert wide <= 0, f"{page.url} is {wide} px wider than the screen"


def no_violation(message: Any) -> None:
    """A listener for the console of a page: what its policy forbids fails the test."""
    assert "Content Security Policy" not in message.text, message.text


@contextmanager
def chromium() -> Iterator[Browser]:
    """Debian's Chromium without a window."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=CHROMIUM, args=["--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu"]
        )
        try:
            yield browser
        finally:
            browser.close()


@contextmanager
def signed_in(process: Process, browser: Browser, store: Store, tenant: str, name: str) -> Iterator[Portal]:
    """A context whose person is signed in to a tenant."""
    context = browser.new_context(ignore_https_errors=True, locale="en-GB", timezone_id="UTC")
    context.set_default_timeout(10_000)
    try:
        portal = Portal(process, browser, store, store.tenant(tenant), name, context)
        page = portal.tab()
        portal.sign_in(page)
        page.close()
        yield portal
    finally:
        context.close()


# Of a module: while Playwright is there its loop runs in this thread, and nobody else's may.
@pytest.fixture(scope="module")
def _served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Process, Store, Browser]]:
    if CHROMIUM is None:
        pytest.skip("Chromium is absent: tests in a browser are skipped")
    home: Path = tmp_path_factory.mktemp("portal")
    with ExitStack() as stack:
        store = stack.enter_context(Store.open(f"sqlite:///{home / 'indicia.db'}"))
        process = stack.enter_context(running(home))
        yield process, store, stack.enter_context(chromium())


@pytest.fixture
def portal(_served: tuple[Process, Store, Browser]) -> Iterator[Portal]:
    """An administrator of a new tenant, signed in."""
    process, store, browser = _served
    name = f"alex {next(_NUMBERS)}"
    tenant = store.add_tenant(f"tenant of {name}").uid
    add_person(store, tenant, name)
    with signed_in(process, browser, store, tenant, name) as found:
        yield found
