"""What a page is: a row of the route table."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

from starlette.responses import Response

from indicia.store import Role

if TYPE_CHECKING:
    from indicia.web.portal.visit import Guest, Visit

__all__ = ["Entry", "OpenPage", "Page", "Role"]


class Page(NamedTuple):
    """A page, or something that a page does, for people who are signed in."""

    method: str
    """GET (which answers HEAD, too) or POST."""
    path: str
    """As Starlette writes it: `/portal/alerts/{id:int}`."""
    handler: Callable[[Visit], Response]
    """Runs in a thread; an IndiciaError that it raises becomes an error page."""
    role: Role
    """Who has a lower one is refused."""
    large: bool = False
    """Whether files of its form may be as large as a batch of events."""


class OpenPage(NamedTuple):
    """A page for anybody: the way in."""

    method: str
    path: str
    handler: Callable[[Guest], Response]


class Entry(NamedTuple):
    """An entry of the navigation; it is shown to those who may open its page, once there is one."""

    label: str
    path: str
    icon: str
    """A name in the macro `icon` of `components.html`."""


NAVIGATION: tuple[tuple[str, tuple[Entry, ...]], ...] = (
    (
        "",
        (
            Entry("Overview", "/portal/", "overview"),
            Entry("Alerts", "/portal/alerts", "alert"),
            Entry("Definitions", "/portal/definitions", "definition"),
            Entry("Indicators", "/portal/indicators", "indicator"),
            Entry("Paste", "/portal/paste", "paste"),
            Entry("Upload", "/portal/upload", "upload"),
            Entry("Try", "/portal/try", "try"),
            Entry("Scan", "/portal/scan", "scan"),
        ),
    ),
    (
        "Settings",
        (
            Entry("Threat intel", "/portal/settings/threat-intel", "key"),
            Entry("Applications", "/portal/settings/applications", "application"),
            Entry("Members", "/portal/settings/members", "people"),
            Entry("Quotas", "/portal/settings/quotas", "gauge"),
            Entry("Allow-lists", "/portal/settings/allow-lists", "shield"),
            Entry("Outputs", "/portal/settings/outputs", "output"),
            Entry("Audit log", "/portal/settings/audit", "log"),
            Entry("Retention", "/portal/settings/retention", "clock"),
        ),
    ),
)
"""Sections and their entries, as the sidebar shows them."""
