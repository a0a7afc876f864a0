"""For how long what is recorded is kept: how much there is, and what other limits would delete."""

from __future__ import annotations

from collections.abc import Mapping

from starlette.responses import Response

from indicia.errors import InvalidValue
from indicia.store import Limit, What
from indicia.store.retention import must_fit
from indicia.web.portal.pages import Page, Role
from indicia.web.portal.settings.given import Given
from indicia.web.portal.visit import Visit

RETENTION = "/portal/settings/retention"
CHANGEABLE = (What.DETECTIONS, What.ALERTS, What.AUDIT)
"""Answers under an Idempotency-Key are kept for a day, neither longer nor shorter."""
WORDS: Mapping[What, str] = {
    What.DETECTIONS: "Detections",
    What.ALERTS: "Alerts",
    What.AUDIT: "Audit log",
    What.RECEIPTS: "Answers that can be asked for again",
}


def retention(visit: Visit) -> Response:
    """GET /portal/settings/retention"""
    return _page(visit)


def _page(
    visit: Visit, faults: Mapping[str, str] | None = None, due: Mapping[What, int] | None = None
) -> Response:
    kept = visit.tenant.retention
    limits, given = kept.limits(), Given(visit.form)
    texts = {
        f"{measure}_{what}": given.one(f"{measure}_{what}", str(value or ""))
        for what, limit in limits.items()
        for measure, value in (("days", limit.days), ("most", limit.most))
    }
    return visit.page(
        "retention.html",
        400 if faults else 200,
        whats=[(what, WORDS[what], limits[what], one) for what, one in kept.extents().items()],
        changeable=CHANGEABLE,
        texts=texts,
        faults=faults or {},
        due=None if due is None else [(WORDS[what], count) for what, count in due.items()],
    )


def _read(visit: Visit) -> tuple[dict[What, Limit], dict[str, str]]:
    """The limits of the form, and what is wrong of which field."""
    limits: dict[What, Limit] = {}
    faults: dict[str, str] = {}
    for what in CHANGEABLE:
        numbers: dict[str, int | None] = {}
        for measure in ("days", "most"):
            text = visit.form.one(f"{measure}_{what}").strip().replace(",", "")
            if text and not (text.isascii() and text.isdecimal() and len(text) < 16):
                faults[f"{measure}_{what}"] = "must be a whole number, or empty for no limit"
            else:
                numbers[measure] = int(text) if text else None
        if len(numbers) == 2:
            limits[what] = Limit(numbers["days"], numbers["most"])
            try:
                must_fit(what, limits[what])
            except InvalidValue as fault:
                faults[f"{(fault.target or '').lower()}_{what}"] = fault.message
    return limits, faults


def preview(visit: Visit) -> Response:
    """POST /portal/settings/retention/preview: what the limits of the form would delete now."""
    limits, faults = _read(visit)
    return _page(visit, faults) if faults else _page(visit, due=visit.tenant.retention.due(limits))


def change(visit: Visit) -> Response:
    """POST /portal/settings/retention: hold the limits of the form, all of them or none."""
    limits, faults = _read(visit)
    if faults:
        return _page(visit, faults)
    visit.tenant.retention.change_all(limits, visit.person.name)
    return visit.go(RETENTION, "Saved. The service deletes what is older within the hour.")


PAGES: tuple[Page, ...] = (
    Page("GET", RETENTION, retention, Role.ADMINISTRATOR),
    Page("POST", RETENTION, change, Role.ADMINISTRATOR),
    Page("POST", f"{RETENTION}/preview", preview, Role.ADMINISTRATOR),
)
