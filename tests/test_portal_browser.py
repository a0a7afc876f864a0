"""The portal in Chromium: components, the frame, signing in, without JavaScript too, and axe-core on all."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import pytest
from playwright.sync_api import expect

from browser import WIDTHS, Portal
from indicia.auth import secrets
from indicia.store import Role
from indicia.web.portal.pages import NAVIGATION
from indicia.web.portal.rendering import Renderer
from visiting import HOUR, PASSWORD, add_person

pytestmark = pytest.mark.full
COMPONENTS = Path(__file__).parent / "components.html"
EACH = [("light", "wide"), ("dark", "narrow")]


def components(portal: Portal) -> str:
    """The page of all components, as the portal would make it for whoever is signed in."""
    renderer = Renderer()
    (member,) = portal.tenant.members.all()
    known = {"csrf": "0", "theme": "", "path": "/portal/alerts", "said": "", "person": member}
    known |= {"tenant": portal.tenant.tenant, "tenants": (portal.tenant.tenant,), "navigation": NAVIGATION}
    return renderer._environment.from_string(COMPONENTS.read_text("utf-8")).render(known)


@pytest.mark.parametrize(("scheme", "width"), EACH)
def test_components(portal: Portal, scheme: str, width: str) -> None:
    page = portal.visit("/portal/account", width=WIDTHS[width], scheme=scheme)
    page.set_content(components(portal))
    portal.accessible(page)


@pytest.mark.parametrize(("scheme", "width"), EACH)
def test_ways_in(portal: Portal, scheme: str, width: str) -> None:
    guest = portal.browser.new_context(ignore_https_errors=True, color_scheme=_scheme(scheme))
    page = guest.new_page()
    page.set_viewport_size({"width": WIDTHS[width], "height": 900})
    for path in ("/portal/sign-in", link(portal), "/portal/link/nothing"):
        page.goto(portal.process.url + path)
        portal.accessible(page)
    guest.close()


def _scheme(name: str) -> Literal["light", "dark"]:
    return "dark" if name == "dark" else "light"


def link(portal: Portal, role: Role = Role.ANALYST) -> str:
    """The path of a one-time link."""
    token = secrets.make()
    portal.tenant.members.invite(secrets.digest(token), role, "", HOUR)
    return f"/portal/link/{token}"


@pytest.mark.parametrize("script", [True, False])
def test_from_a_link_to_a_page_and_out(portal: Portal, script: bool) -> None:
    context = portal.browser.new_context(ignore_https_errors=True, java_script_enabled=script)
    page = context.new_page()
    page.goto(portal.process.url + link(portal, Role.ADMINISTRATOR))
    name = f"{portal.name} {script}"
    page.get_by_label("Name", exact=True).first.fill(name)
    page.get_by_label("Password", exact=True).first.fill("short")
    page.get_by_label("The password again").fill("short")
    page.get_by_role("button", name="Begin").click()
    expect(page.get_by_text("12 characters or more;")).to_be_visible()
    page.get_by_label("Password", exact=True).first.fill(PASSWORD)
    page.get_by_label("The password again").fill(PASSWORD)
    page.get_by_role("button", name="Begin").click()
    page.wait_for_url("**/portal/**")
    page.goto(f"{portal.process.url}/portal/settings/members")
    expect(page.get_by_role("heading", name="Members")).to_be_visible()
    page.get_by_label("For whom").fill("Noor")
    page.get_by_role("button", name="Make a link").click()
    invited = page.locator(".code code").inner_text()
    assert invited.startswith(f"{portal.process.url}/portal/link/")
    page.locator("details.menu summary").click()
    page.get_by_role("button", name="Dark").click()
    assert page.evaluate("document.documentElement.dataset.theme") == "dark" if script else True
    page.locator("details.menu summary").click()
    page.get_by_role("button", name="Sign out").first.click()
    expect(page.get_by_text("You are signed out.")).to_be_visible()
    page.goto(f"{portal.process.url}/portal/account")
    expect(page.get_by_role("button", name="Sign in")).to_be_visible()
    context.close()


def test_everything_of_the_frame_by_keyboard(portal: Portal) -> None:
    page = portal.visit("/portal/account")
    page.keyboard.press("Tab")
    expect(page.get_by_text("Skip to the content")).to_be_focused()
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.id") == "main"
    page.locator("details.menu summary").focus()
    page.keyboard.press("Enter")
    expect(page.get_by_role("button", name="Sign out").first).to_be_visible()
    page.keyboard.press("Escape")
    expect(page.locator("details.menu summary")).to_be_focused()
    assert page.locator("details.menu[open]").count() == 0


def test_managing_a_member(portal: Portal) -> None:
    name = f"mate of {portal.name}"
    add_person(portal.store, portal.tenant.uid, name, Role.READER)
    page = portal.visit("/portal/settings/members")
    page.get_by_role("link", name=name).click()
    portal.accessible(page)
    page.get_by_label("Role").select_option("Administrator")
    page.get_by_role("button", name="Change the role").click()
    expect(page.get_by_text(f"{name} is Administrator now.")).to_be_visible()
    page.reload()
    assert page.get_by_text(f"{name} is Administrator now.").count() == 0, "it is said once"


def test_names_of_attackers_are_text(portal: Portal) -> None:
    name = f"<img src=x onerror=alert(1)> {portal.name}"
    add_person(portal.store, portal.tenant.uid, name, Role.READER)
    page = portal.visit("/portal/settings/members")
    expect(page.get_by_text(name, exact=True)).to_be_visible()
    assert page.locator("main img").count() == 0


def test_a_page_that_htmx_cannot_reach_says_so(portal: Portal) -> None:
    page = portal.visit("/portal/account")
    page.evaluate("htmx.ajax('GET', '/portal/nothing', '#main')")
    expect(page.locator("#notices")).to_contain_text("There is no such page")
    expect(page.get_by_role("heading", name="Account")).to_be_visible()
    portal.store.people.sign_out_everywhere(portal.tenant.members.all()[0].uid, portal.tenant.actor)
    page.evaluate("htmx.ajax('GET', '/portal/nothing', '#main')")
    page.wait_for_url("**/portal/sign-in?next=/portal/account")
