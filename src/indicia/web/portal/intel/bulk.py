"""What is done to many indicators: to those that are ticked, or step by step to all that the filters give.

Each step is one request and one transaction. With JavaScript the page asks for the next one by itself,
without it there is a button; nothing is kept in between but what stands in the form, so that whoever goes
away leaves whole steps.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, NamedTuple

from starlette.responses import Response

from indicia.errors import InputError, InvalidValue
from indicia.store import Deed
from indicia.store import many as deeds
from indicia.web.portal.forms import Form
from indicia.web.portal.intel import choices, fields, filters
from indicia.web.portal.intel.indicators import INDICATORS
from indicia.web.portal.pages import Page, Role
from indicia.web.portal.visit import Visit

MANY = f"{INDICATORS}/many"
ACTIONS = {
    "enable": "Enable",
    "disable": "Disable",
    "expire": "Expire now",
    "until": "Let them expire at",
    "keep": "Let them never expire",
    "move": "Move to definition",
    "delete": "Delete",
}
_DONE = {
    "enable": "enabled",
    "disable": "disabled",
    "expire": "expired",
    "until": "given another expiry",
    "keep": "made to last",
    "move": "moved",
    "delete": "deleted",
}
_MOST_IDS = 1000


class Wanted(NamedTuple):
    """What is to be done, as the form says it and as the store takes it."""

    action: str
    deed: Deed
    fields: Mapping[str, str]
    """What the next form of it must say."""
    told: str
    """As a sentence says it."""


def begin(visit: Visit) -> Response:
    """POST /portal/indicators/many: at once to those that are ticked; else it is asked first."""
    form = visit.form
    asked = filters.read(form.one)
    wanted = _wanted(visit)
    whole = form.one("scope") == "all"
    ids = [] if whole else _ids(form)
    if not whole and not ids:
        raise InvalidValue("tick the indicators that are meant, or choose all of the list")
    if wanted.action == "delete" and not form.has("sure"):
        return _page(visit, wanted, asked, ids=ids, sure=False)
    if whole:
        return _page(visit, wanted, asked, sure=False)
    count = visit.tenant.many.do(ids, wanted.deed, visit.person.name)
    return visit.go(asked.url(INDICATORS), _said(count, wanted))


def step(visit: Visit) -> Response:
    """POST /portal/indicators/many/step: the next of all that the filters give."""
    asked, wanted = filters.read(visit.form.one), _wanted(visit)
    progress = visit.tenant.many.step(
        asked.chosen, wanted.deed, visit.person.name, filters.place(visit.form.one("after"))
    )
    done = _count(visit.form.one("done")) + progress.done
    if progress.after is not None:
        return _page(visit, wanted, asked, sure=True, done=done, after=json.dumps(progress.after))
    if visit.partial:
        return _page(visit, wanted, asked, sure=True, done=done)
    return visit.go(asked.url(INDICATORS), _said(done, wanted))


def _page(
    visit: Visit,
    wanted: Wanted,
    asked: filters.Asked,
    *,
    sure: bool,
    ids: list[int] | None = None,
    done: int = 0,
    after: str = "",
) -> Response:
    context: dict[str, Any] = {
        "wanted": wanted,
        "asked": asked,
        "ids": ids or [],
        "sure": sure,
        "done": done,
        "after": after,
        "back": asked.url(INDICATORS),
        "told": _said(done, wanted),
        "total": visit.tenant.counts().indicators,
        "first": sure and visit.form.one("done") == "",
    }
    if visit.partial and sure:
        return visit.part("many.html", "progress", **context)
    return visit.page("many.html", **context)


def _said(count: int, wanted: Wanted) -> str:
    were = "1 indicator is" if count == 1 else f"{count:,} indicators are"
    return f"{were} {_DONE[wanted.action]}."


def _wanted(visit: Visit) -> Wanted:
    """What the form asks for. InvalidValue."""
    form = visit.form
    action = form.one("action")
    if action not in ACTIONS:
        raise InvalidValue("choose what is to be done", target="action")
    kept = {"action": action}
    if action == "until":
        at = fields.time_of(form.one("at"), "at")
        if at is None:
            raise InvalidValue("write under “Expiry (UTC)” when they expire")
        return Wanted(
            action, deeds.expires(at), {**kept, "at": at.isoformat()}, f"expire at {at:%Y-%m-%d %H:%M}"
        )
    if action == "expire":
        now = fields.time_of(form.one("now"), "now") or datetime.now(UTC)
        return Wanted(action, deeds.expires(now), {**kept, "now": now.isoformat()}, "expire now")
    if action == "move":
        owner = choices.definition(visit.tenant, form.one("target"), "target")
        return Wanted(
            action, deeds.moves(owner.id), {**kept, "target": str(owner.id)}, f"go to {owner.title[:100]}"
        )
    plain = {
        "enable": (deeds.enables(yes=True), "be enabled"),
        "disable": (deeds.enables(yes=False), "be disabled"),
        "keep": (deeds.expires(None), "never expire"),
        "delete": (deeds.DELETES, "be deleted"),
    }
    deed, told = plain[action]
    return Wanted(action, deed, kept, told)


def _ids(form: Form) -> list[int]:
    texts = form.many("ids")
    if len(texts) > _MOST_IDS or not all(
        one.isascii() and one.isdecimal() and len(one) <= 18 for one in texts
    ):
        raise InputError("these are no indicators of the list; load it again", target="ids")
    return [int(one) for one in texts]


def _count(text: str) -> int:
    return int(text) if text.isascii() and text.isdecimal() and len(text) < 15 else 0


PAGES: tuple[Page, ...] = (
    Page("POST", MANY, begin, Role.ANALYST),
    Page("POST", f"{MANY}/step", step, Role.ANALYST),
)
