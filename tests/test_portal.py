"""The whole route table of the portal, walked: who is led away, who is refused, what every answer carries."""

from __future__ import annotations

import re

import pytest

from indicia.store import Role
from indicia.telemetry import schemas
from indicia.web.app import preload
from indicia.web.portal import OPEN_PAGES, PAGES
from indicia.web.portal.door import HEADERS
from indicia.web.portal.pages import OpenPage, Page
from indicia.web.portal.rendering import FOLDER
from service import Local, Reply
from visiting import Visiting, text_of, visiting

HTMX = {"HX-Request": "true", "HX-Current-URL": "https://127.0.0.1:8443/portal/alerts?status=New"}
ANOTHERS = 1_000_000_007
"""A number that no tenant of these tests has used."""


def name(page: Page | OpenPage) -> str:
    """As failures call it."""
    return f"{page.method} {page.path}"


def filled(path: str) -> str:
    """The path of something that is not there, or another's."""
    return re.sub(r"\{\w+(:int)?\}", lambda found: str(ANOTHERS) if found[1] else "nobodys", path)


@pytest.fixture(scope="module")
def people(service: Local) -> dict[Role, Visiting]:
    """One of each role, in a tenant that has nothing."""
    tenant = service.store.add_tenant("walked").uid
    return {role: visiting(service, tenant, role) for role in sorted(Role, reverse=True)}


def ask(who: Visiting, page: Page | OpenPage, headers: dict[str, str] | None = None) -> Reply:
    """The page, with an empty form where it takes one."""
    if page.method == "GET":
        return who.get(filled(page.path), headers)
    return who.post(filled(page.path), {}, headers=headers)


def headed(reply: Reply) -> None:
    """It carries what every answer carries."""
    for header, value in HEADERS.items():
        if header != "Cache-Control":
            assert reply.headers[header.lower()] == value
    assert reply.headers["cache-control"] == "no-store"


def test_the_table_is_sound() -> None:
    every: list[Page | OpenPage] = [*PAGES, *OPEN_PAGES]
    rows = [(page.method, page.path) for page in every]
    assert len(rows) == len(set(rows))
    assert {method for method, _ in rows} == {"GET", "POST"}
    assert all(path.startswith("/portal/") for _, path in rows)


def test_settings_are_for_administrators() -> None:
    loose = [
        name(page)
        for page in PAGES
        if page.path.startswith("/portal/settings/") and page.role < Role.ADMINISTRATOR
    ]
    assert not loose


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_who_is_not_signed_in_is_led_there(service: Local, page: Page) -> None:
    reply = ask(Visiting(service), page)
    assert reply.status == 303
    assert re.match(r"/portal/sign-in(\?next=/portal/[^/].*)?\Z", reply.headers["location"])
    headed(reply)
    part = ask(Visiting(service), page, HTMX)
    assert part.status == 401
    assert part.headers["hx-redirect"] == "/portal/sign-in?next=/portal/alerts%3Fstatus%3DNew"
    headed(part)


@pytest.mark.parametrize("page", [page for page in PAGES if page.role > Role.READER], ids=name)
def test_a_smaller_role_is_refused(people: dict[Role, Visiting], page: Page) -> None:
    for role in Role:
        if role < page.role:
            reply = ask(people[role], page)
            assert reply.status == 403
            assert page.role.word in text_of(reply)
            headed(reply)
            assert ask(people[role], page, HTMX).status == 403


@pytest.mark.parametrize("page", [page for page in PAGES if page.method == "POST"], ids=name)
def test_a_form_without_its_token_is_refused(people: dict[Role, Visiting], page: Page) -> None:
    who, other = people[page.role], people[min(role for role in Role if role != page.role)]
    for token in ("", "0" * 64, other.csrf):
        forged = Visiting(who.local, cookies=dict(who.cookies), csrf=token)
        reply = ask(forged, page)
        assert reply.status == 403
        assert "out of date" in text_of(reply)
        headed(reply)
    for headers in ({"Sec-Fetch-Site": "cross-site"}, {"Origin": "https://evil.example"}, {"Origin": "null"}):
        reply = ask(who, page, headers)
        assert reply.status == 403
        assert "another site" in text_of(reply)


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_what_is_anothers_is_not_there(people: dict[Role, Visiting], page: Page) -> None:
    if "{" not in page.path:
        return
    reply = ask(people[Role.ADMINISTRATOR], page)
    assert reply.status == 404, text_of(reply)
    headed(reply)


@pytest.mark.parametrize("page", [page for page in PAGES if page.method == "GET"], ids=name)
def test_every_page_opens(people: dict[Role, Visiting], page: Page) -> None:
    if "{" in page.path:
        return
    reply = ask(people[page.role], page)
    assert reply.status in (200, 303), text_of(reply)
    headed(reply)
    if reply.status == 200 and "html" in reply.headers["content-type"]:
        sound(reply)


def sound(reply: Reply) -> None:
    """No script or style stands in the page, and nothing comes from elsewhere."""
    html = reply.body.decode()
    assert not re.search(r"\sstyle=|\son\w+=|<style|javascript:", html, re.IGNORECASE)
    assert all("src=" in tag for tag in re.findall(r"<script[^>]*>", html))
    assert not re.search(r'(src|href|action)="(https?:)?//', html)
    assert html.count("<h1") == 1
    assert len(re.findall(r'<form\b[^>]*method="post"', html)) == html.count('name="csrf"')


@pytest.mark.parametrize("page", OPEN_PAGES, ids=name)
def test_pages_for_anybody(service: Local, page: OpenPage) -> None:
    reply = ask(Visiting(service), page)
    assert reply.status == (403 if page.method == "POST" or "{token}" in page.path else reply.status)
    assert reply.status < 500
    headed(reply)


def test_a_method_that_a_page_has_not(people: dict[Role, Visiting], service: Local) -> None:
    reply = people[Role.READER].post("/portal/account")
    assert reply.status == 405
    headed(reply)
    assert service.request("DELETE", "/portal/account").status == 405
    assert service.request("HEAD", "/portal/sign-in").status == 200


def test_a_page_that_is_not_there(people: dict[Role, Visiting], service: Local) -> None:
    reply = people[Role.READER].get("/portal/nothing")
    assert reply.status == 404
    assert "There is no such page." in text_of(reply)
    part = people[Role.READER].get("/portal/nothing", HTMX)
    assert part.status == 404
    assert part.headers["hx-retarget"] == "#notices"
    assert b"<html" not in part.body
    assert Visiting(service).get("/portal/nothing").headers["location"].startswith("/portal/sign-in")


def test_the_first_pages_lead_in(service: Local) -> None:
    for path in ("/", "/portal"):
        reply = service.request("GET", path)
        assert (reply.status, reply.headers["location"]) == (303, "/portal/")


def test_static_files_are_kept_by_their_content(service: Local) -> None:
    page = service.request("GET", "/portal/sign-in").body.decode()
    found = re.findall(r'(?:src|href)="(/portal/static/[^"]+)"', page)
    assert {path.rpartition("/")[2] for path in found} == {
        "icon.svg",
        "portal.css",
        "htmx.min.js",
        "portal.js",
    }
    size = len(page.encode())
    for path in found:
        reply = service.request("GET", path, headers={"Accept-Encoding": "gzip"})
        assert reply.status == 200
        assert "immutable" in reply.headers["cache-control"]
        assert reply.headers["x-content-type-options"] == "nosniff"
        size += len(reply.body)
        digest = path.split("/")[3]
        assert service.request("GET", path.replace(digest, "0" * 16)).status == 404
    assert size < 100_000, "a first load is small"
    assert service.request("GET", "/portal/static/x/door.py").status == 404


@pytest.mark.full
def test_what_first_looks_would_wait_for_is_loaded_beside_the_start(service: Local) -> None:
    schemas.cache_clear()
    door = service.application.state.door
    door.portal.renderer._environment.cache.clear()
    preload(service.application)
    assert schemas.cache_info().currsize == 1
    compiled = {name for _, name in door.portal.renderer._environment.cache}
    assert compiled == {path.name for path in (FOLDER / "templates").iterdir()}
