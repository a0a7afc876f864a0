"""The portal: pages for people, below `/portal`.

Each area is a module with its own table of pages; PAGES is all of them, in order: the portal's route table.
`door` decides who may open a page, `visit` is what its handler is given, `rendering` makes HTML of a
template, `signing` and `sign_on` are the way in, `forms` and `tokens` are what is sent and what proves it.
docs/portal.md tells how to add a page.
"""

from __future__ import annotations

from indicia.auth.attempts import Attempts
from indicia.live.following import Followings
from indicia.settings import Settings
from indicia.store import Store
from indicia.web.grants import Grants
from indicia.web.portal import account, alert, alerts, dashboard, intel, members, scan, sign_on, signing
from indicia.web.portal import settings as settings_pages
from indicia.web.portal.door import Door
from indicia.web.portal.pages import Page
from indicia.web.portal.rendering import Renderer
from indicia.web.portal.tokens import Cookies
from indicia.web.portal.visit import Portal

PAGES: tuple[Page, ...] = (
    *dashboard.PAGES,
    *scan.PAGES,
    *signing.PAGES,
    *account.PAGES,
    *members.PAGES,
    *intel.PAGES,
    *settings_pages.PAGES,
    *alerts.PAGES,
    *alert.PAGES,
)
OPEN_PAGES = (*signing.OPEN_PAGES, *sign_on.OPEN_PAGES)


def door(settings: Settings, store: Store, attempts: Attempts, live: Followings, grants: Grants) -> Door:
    """The portal of a service; `attempts` are those of people. InputError for what `[[sign_on]]` says."""
    cookies = Cookies(secure=settings.portal_url.startswith("https:"))
    providers = sign_on.providers(settings)
    portal = Portal(store, settings, Renderer(), cookies, attempts, live, grants, providers)
    return Door(portal, PAGES, OPEN_PAGES)
