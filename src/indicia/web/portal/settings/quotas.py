"""What the tenant has, what it may have, and what one request may hold; from counters, whatever the size."""

from __future__ import annotations

from typing import NamedTuple

from starlette.responses import Response

from indicia.model import BULK_LIMIT
from indicia.store import allow, outbox
from indicia.web.portal.pages import Page, Role
from indicia.web.portal.visit import Visit


class Use(NamedTuple):
    """A quota, and how much of it is used."""

    what: str
    href: str
    used: int
    most: int
    setting: str = ""
    """What raises it, if anything does."""

    @property
    def percent(self) -> int:
        """Of the quota, rounded down; 100 beyond it."""
        return min(100, 100 * self.used // self.most) if self.most else 100

    @property
    def state(self) -> str:
        """A word for how near the end is."""
        if self.used >= self.most:
            return "full"
        return "nearly full" if self.percent >= 90 else ""


def quotas(visit: Visit) -> Response:
    """GET /portal/settings/quotas"""
    own = visit.tenant
    have, most, lists = own.counts(), own.quotas, own.allow_lists.all()
    uses = (
        Use(
            "Alert definitions",
            "/portal/definitions",
            have.definitions,
            most.definitions,
            "quota_definitions",
        ),
        Use("Indicators", "/portal/indicators", have.indicators, most.indicators, "quota_indicators"),
        Use(
            "Indicators with StartWith, EndWith or Contains",
            "/portal/indicators",
            have.patterns,
            most.patterns,
            "quota_patterns",
        ),
        Use("Allow-lists", "/portal/settings/allow-lists", len(lists), allow.MOST_LISTS),
        Use(
            "Entries of allow-lists",
            "/portal/settings/allow-lists",
            sum(one.entry_count for one in lists),
            allow.MOST_ENTRIES,
        ),
        Use("Outputs", "/portal/settings/outputs", len(own.outbox.outputs()), outbox.MOST),
    )
    return visit.page("quotas.html", uses=uses, have=have, bulk=BULK_LIMIT, settings=visit.settings)


PAGES: tuple[Page, ...] = (Page("GET", "/portal/settings/quotas", quotas, Role.ADMINISTRATOR),)
