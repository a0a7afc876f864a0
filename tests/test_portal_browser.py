"""The portal in Chromium: components, the frame, signing in, without JavaScript too, and axe-core on all."""

from __future__ import annotations

from pathlib import Path

import pytest

from browser import SCHEMES, WIDTHS, Portal
from indicia.web.portal.pages import NAVIGATION
from indicia.web.portal.rendering import Renderer

pytestmark = pytest.mark.full
COMPONENTS = Path(__file__).parent / "components.html"
EACH = [(scheme, width) for scheme in SCHEMES for width in WIDTHS]


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
