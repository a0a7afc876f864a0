"""`make screenshots`: a picture of each page of the portal, wide and narrow, light and dark.

    python -m screenshots [FOLDER] [WORD …]      pages whose path holds one of the words

Pages with parameters are taken with what PARAMETERS finds in a tenant made of `examples/`.
"""

from __future__ import annotations

import re
import sys
import tempfile
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

from playwright.sync_api import Error

from browser import SCHEMES, WIDTHS, Portal, chromium, signed_in
from furnished import furnish, scan, scans
from indicia.model import Actor
from indicia.store import Role, Store, TenantStore
from indicia.web.portal import PAGES
from service import running
from visiting import add_person

PARAMETERS: dict[str, Callable[[TenantStore], Any]] = {
    "/portal/alerts/{id:int}": lambda tenant: tenant.alerts()[0].number,
    "/portal/scan/{id}": lambda tenant: scans(tenant).every(tenant.uid)[0].id,
    "/portal/definitions/{id:int}": lambda tenant: tenant.definitions()[0].id,
    "/portal/indicators/{id:int}": lambda tenant: tenant.indicators()[0].id,
    "/portal/indicators/{id:int}/reach": lambda tenant: tenant.indicators()[0].id,
    "/portal/settings/applications/{client_id}": lambda tenant: tenant.applications()[0].client_id,
    "/portal/settings/allow-lists/{id:int}": lambda tenant: tenant.allow_lists.all()[0].id,
    "/portal/settings/outputs/{name}": lambda tenant: tenant.outbox.outputs()[0].name,
    "/portal/settings/members/{uid}": lambda tenant: tenant.members.all()[-1].uid,
}
"""What stands in the place of the one parameter of a path."""
FILES = ("/export", "/ca.pem")
"""Ends of paths that give files."""
MORE = ("/portal/nothing", "/portal/settings/outputs?kind=webhook")
"""Further ones worth a look."""
NAME = "Alex Lindqvist"


def paths(tenant: TenantStore) -> Iterator[str]:
    """Every page that can be looked at."""
    for page in PAGES:
        if page.path.endswith(FILES):
            continue
        if page.method == "GET" and "{" not in page.path:
            yield page.path
        elif page.path in PARAMETERS and page.method == "GET":
            yield re.sub(r"\{.*?\}", str(PARAMETERS[page.path](tenant)), page.path)
    yield from MORE


def take(portal: Portal, path: str, folder: Path) -> None:
    """Four pictures of a page; none of a file."""
    name = re.sub(r"[/?=]", "-", path.removeprefix("/portal").strip("/")) or "overview"
    for scheme in SCHEMES:
        for label, width in WIDTHS.items():
            page = portal.tab(width=width, scheme=scheme)
            try:
                page.goto(portal.process.url + path)
            except Error as error:
                if "Download is starting" not in str(error):
                    raise
                return
            page.screenshot(path=folder / f"{name}-{scheme}-{label}.png", full_page=True)
            page.close()


def main(folder: Path, words: list[str]) -> None:
    """Take them all."""
    folder.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as home, Store.open(f"sqlite:///{home}/indicia.db") as store:
        tenant = store.tenant(store.add_tenant("contoso").uid)
        furnish(tenant)
        scan(tenant)
        for name, role in ((NAME, Role.ADMINISTRATOR), ("Kim Abara", Role.ANALYST), ("Sam", Role.READER)):
            add_person(store, tenant.uid, name, role)
        tenant.acting(Actor(NAME)).members.invite("digest", Role.READER, "Robin", timedelta(days=7))
        with (
            running(Path(home)) as process,
            chromium() as browser,
            signed_in(process, browser, store, tenant.uid, NAME) as portal,
        ):
            for path in paths(tenant):
                if not words or any(word in path for word in words):
                    take(portal, path, folder)
                    print(path)


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else ".screenshots"), sys.argv[2:])
