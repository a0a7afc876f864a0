"""`make screenshots`: a picture of each page of the portal, wide and narrow, light and dark.

    python -m screenshots FOLDER [WORD …]        pages whose path holds one of the words
    python -m screenshots --readme FOLDER        the three of README.md, small

Pages with parameters are taken with what PARAMETERS finds in a tenant made of `examples/`.
"""

from __future__ import annotations

import re
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

from browser import SCHEMES, WIDTHS, Portal, chromium, signed_in
from furnished import furnish, scan, scans, upload, uploads
from indicia.model import Actor
from indicia.store import Role, Store, TenantStore
from indicia.web.portal import PAGES
from palette import reduced
from service import running
from visiting import add_person


def _definition(tenant: TenantStore) -> int:
    return tenant.definitions()[0].id


def _indicator(tenant: TenantStore) -> int:
    return tenant.indicators()[0].id


def _application(tenant: TenantStore) -> str:
    return tenant.applications()[0].client_id


def _allow_list(tenant: TenantStore) -> int:
    return tenant.allow_lists.all()[0].id


PARAMETERS: dict[str, Callable[[TenantStore], Any]] = {
    "/portal/alerts/{id:int}": lambda tenant: tenant.alerts()[0].number,
    "/portal/scan/{id}": lambda tenant: scans(tenant).every()[0].id,
    "/portal/definitions/{id:int}": _definition,
    "/portal/definitions/{id:int}/edit": _definition,
    "/portal/indicators/{id:int}": _indicator,
    "/portal/indicators/{id:int}/edit": _indicator,
    "/portal/indicators/{id:int}/reach": _indicator,
    "/portal/upload/{id}": lambda tenant: uploads(tenant).every()[0].id,
    "/portal/settings/threat-intel/{client_id}": _application,
    "/portal/settings/applications/{client_id}": _application,
    "/portal/settings/allow-lists/{id:int}": _allow_list,
    "/portal/settings/allow-lists/{id:int}/preview": _allow_list,
    "/portal/settings/outputs/{name}": lambda tenant: tenant.outbox.outputs()[0].name,
    "/portal/settings/members/{uid}": lambda tenant: tenant.members.all()[-1].uid,
}
"""What stands in the place of the one parameter of a path."""
FILES = ("/export", "/report", "/ca.pem", "/alerts/news")
"""Ends of paths that give files, or a part of another page."""
MORE = ("/portal/nothing", "/portal/settings/outputs?kind=webhook", "/portal/settings/audit?by=nobody")
"""Further ones worth a look."""
NAME = "Alex Lindqvist"
README_TITLE = "Contact with a control server"
"""Of README.md's alert."""


def paths(tenant: TenantStore) -> Iterator[str]:
    """Every page that can be looked at; KeyError for one whose parameter nobody has given here."""
    for page in PAGES:
        if page.method != "GET" or page.path.endswith(FILES):
            continue
        if "{" not in page.path:
            yield page.path
        else:
            yield re.sub(r"\{.*?\}", str(PARAMETERS[page.path](tenant)), page.path)
    yield from MORE


def take(portal: Portal, path: str, folder: Path) -> None:
    """Four pictures of a page."""
    name = re.sub(r"[/?=]", "-", path.removeprefix("/portal").strip("/")) or "overview"
    for scheme in SCHEMES:
        for label, width in WIDTHS.items():
            page = portal.tab(width=width, scheme=scheme)
            page.goto(portal.process.url + path)
            page.screenshot(path=folder / f"{name}-{scheme}-{label}.png", full_page=True)
            page.close()


def take_for_readme(portal: Portal, folder: Path) -> None:
    """The first screen of the overview, of the queue, and of an alert that says what it means."""
    told = max(
        (one for one in portal.tenant.alerts() if one.definition.title.startswith(README_TITLE)),
        key=lambda one: one.detection_count,
    )
    for name, path in (
        ("overview", "/portal/"),
        ("alerts", "/portal/alerts"),
        ("alert", f"/portal/alerts/{told.number}"),
    ):
        page = portal.visit(path)
        (folder / f"{name}.png").write_bytes(reduced(page.screenshot(), portal.browser))
        page.close()


@contextmanager
def stocked() -> Iterator[Portal]:
    """Somebody who is signed in to a tenant with everything in it."""
    with tempfile.TemporaryDirectory() as home, Store.open(f"sqlite:///{home}/indicia.db") as store:
        tenant = store.tenant(store.add_tenant("contoso").uid)
        furnish(tenant)
        scan(tenant)
        upload(tenant)
        for name, role in ((NAME, Role.ADMINISTRATOR), ("Kim Abara", Role.ANALYST), ("Sam", Role.READER)):
            add_person(store, tenant.uid, name, role)
        tenant.acting(Actor(NAME)).members.invite("digest", Role.READER, "Robin", timedelta(days=7))
        with (
            running(Path(home)) as process,
            chromium() as browser,
            signed_in(process, browser, store, tenant.uid, NAME) as portal,
        ):
            yield portal


def main(words: list[str]) -> None:
    """Take them all, or those of README.md."""
    readme = words[:1] == ["--readme"]
    folder, *wanted = words[1:] if readme else words
    Path(folder).mkdir(exist_ok=True)
    with stocked() as portal:
        if readme:
            take_for_readme(portal, Path(folder))
            return
        for path in paths(portal.tenant):
            if not wanted or any(word in path for word in wanted):
                take(portal, path, Path(folder))
                print(path)


if __name__ == "__main__":
    main(sys.argv[1:])
