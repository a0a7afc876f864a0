"""The queue of alerts: filtered, sorted, kept fresh, worked on many at once, taken away as CSV."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from functools import partial
from hashlib import blake2b

from starlette.responses import Response, StreamingResponse

from indicia.errors import InvalidValue, PreconditionFailed
from indicia.feeds.csv import escape
from indicia.model import Alert, AlertStatus, Classification, Determination
from indicia.odata import bodies
from indicia.odata.entities import ALERT
from indicia.store import Outcomes
from indicia.web.portal import asked as asking
from indicia.web.portal.asked import ME, NOBODY, PATH, Asked
from indicia.web.portal.pages import Page, Role
from indicia.web.portal.visit import Visit, local

SIZE = 40
COUNTED = 1000
"""Alerts of a view are counted up to so many."""
NEW = 100
"""New ones, too."""
SECONDS = 15
"""Between two looks for what is new."""
EXPORTED = 10_000
CHANGED_AT_ONCE = 500
_PIECE = 500
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
COLUMNS: Mapping[str, Callable[[Alert], object]] = {
    "Id": lambda one: one.number,
    "AlertId": lambda one: one.id,
    "Title": lambda one: one.definition.title,
    "Severity": lambda one: one.definition.severity,
    "Category": lambda one: one.definition.category,
    "Status": lambda one: one.status,
    "Classification": lambda one: one.classification,
    "Determination": lambda one: one.determination,
    "AssignedTo": lambda one: one.assigned_to or "",
    "Machine": lambda one: one.machine,
    "Indicators": lambda one: " ".join(one.indicators),
    "DetectionCount": lambda one: one.detection_count,
    "FirstSeen": lambda one: _iso(one.first_seen),
    "LastSeen": lambda one: _iso(one.last_seen),
    "CreatedAt": lambda one: _iso(one.created_at),
    "ReopenedCount": lambda one: one.reopened_count,
    "Storm": lambda one: str(one.storm).lower(),
    "AllowLists": lambda one: " ".join(one.allow_lists),
}


def queue(visit: Visit) -> Response:
    """GET /portal/alerts"""
    asked = asking.read(visit.request.query_params, visit.person.name)
    found = visit.tenant.queue
    newest, now = found.newest(), datetime.now(UTC)
    listed = found.page(asked.wanted, asked.sort, asked.after, SIZE, counted=COUNTED + 1)
    context: dict[str, object] = {
        "asked": asked,
        "found": listed.found,
        "stamps": {alert.number: stamp(alert) for alert in listed.found},
        "says": _says(listed.count, len(listed.found), first=asked.after is None),
        "next": asked.url(after=asking.place(listed.last)) if listed.last else None,
        "empty": not newest,
        "news": _news_url(asked, newest, now, 0),
        "told": 0,
        "seconds": SECONDS,
        "back": asked.url() if asked.after is None else asked.url(after=asking.place(asked.after)),
        **choices(visit),
    }
    return visit.page("alerts.html", 200, **context)


def choices(visit: Visit) -> dict[str, object]:
    """What can be chosen for an alert."""
    return {
        "statuses": [str(one) for one in AlertStatus],
        "classifications": [str(one) for one in Classification],
        "determinations": [(str(one), _spoken(one)) for one in Determination],
        "me": visit.person.name,
    }


def _says(count: int, listed: int, *, first: bool) -> str:
    whole = f"more than {COUNTED:,} alerts" if count > COUNTED else f"{count:,} alert{'s' * (count != 1)}"
    if first and listed < count:
        return f"The first {listed:,} of {whole}"
    return whole if first else f"{listed:,} of {whole}"


def stamp(alert: Alert) -> str:
    """What people, and a reopening, have made of an alert; that it grows does not change it."""
    state = (
        alert.status,
        alert.classification,
        alert.determination,
        alert.assigned_to or "",
        str(alert.reopened_count),
        str(alert.resolved_at),
    )
    return blake2b("\n".join(state).encode(), digest_size=6).hexdigest()


def unchanged(seen: str, alert: Alert) -> None:
    """PreconditionFailed unless the alert stands as it was seen."""
    if stamp(alert) != seen:
        raise PreconditionFailed("somebody changed the alert since you opened it, or a detection reopened it")


# What is new


def news(visit: Visit) -> Response:
    """GET /portal/alerts/news: how many alerts of the view are new, and what changed of those shown."""
    asked = asking.read(visit.request.query_params, visit.person.name)
    if not visit.partial:
        return visit.go(asked.url())
    since, told, at = (_number(visit.query(name)) for name in ("since", "told", "at"))
    now = datetime.now(UTC)
    count = visit.tenant.queue.newer(asked.wanted, since, NEW + 1)
    shown = asking.numbers(visit.query("shown").split(","))[:SIZE]
    moved = [
        one
        for one in visit.tenant.queue.several(shown)
        if one.last_modified_at is not None and (one.last_modified_at - _EPOCH) // _MICROSECOND >= at
    ]
    if count == told and not moved:
        return Response(status_code=204)
    context = {
        "asked": asked,
        "moved": moved,
        "told": count,
        "most": NEW,
        "news": _news_url(asked, since, now, count),
        "seconds": SECONDS,
    }
    return visit.part("alerts.html", "news", **context)


def _number(text: str) -> int:
    found = asking.numbers([text])
    return found[0] if found else 0


def _news_url(asked: Asked, since: int, now: datetime, told: int) -> str:
    at = (now - _EPOCH) // _MICROSECOND
    return asked.url(f"{PATH}/news", since=str(since), at=str(at), told=str(told))


# Many at once


def triage(visit: Visit) -> Response:
    """POST /portal/alerts/triage: the ticked ones, each only if it stands as it was seen."""
    back = local(visit.form.one("back", PATH))
    ticked = [text.partition(".") for text in visit.form.many("alert")]
    chosen = {int(number): seen for number, _, seen in ticked if asking.numbers([number])}
    if not chosen:
        return visit.go(back, "No alert was ticked, so nothing was changed.")
    if len(chosen) > CHANGED_AT_ONCE:
        raise InvalidValue(f"at most {CHANGED_AT_ONCE} alerts are changed at once", target="alert")
    changes = wanted_changes(visit)
    if not changes:
        return visit.go(back, "Nothing was chosen for the ticked alerts, so nothing was changed.")
    checks = {number: partial(unchanged, seen) for number, seen in chosen.items()}
    return visit.go(back, told(visit.tenant.queue.change(checks, changes, visit.person.name)))


def wanted_changes(visit: Visit) -> Mapping[str, object]:
    """What a form wants changed, by the rules of the API; what is left empty stays."""
    given: dict[str, object] = {}
    for field, name in (
        ("status", "Status"),
        ("classification", "Classification"),
        ("determination", "Determination"),
    ):
        if visit.form.one(field):
            given[name] = visit.form.one(field)
    assigned = visit.form.one("assigned").strip()
    if assigned:
        given["AssignedTo"] = {ME: visit.person.name, NOBODY: None}.get(assigned, assigned)
    return bodies.one(ALERT, given, frozenset(), partial=True).attributes


def told(outcomes: Outcomes) -> str:
    """What became of alerts that were changed together, in a sentence."""
    stale = f" (number {', '.join(map(str, outcomes.stale[:10]))})"
    parts = (
        (outcomes.changed, "changed"),
        (outcomes.same, "as wanted already"),
        (outcomes.stale, f"left alone, because somebody was quicker{stale}: look at them again"),
        (outcomes.gone, "not there any more"),
    )
    return f"Alerts: {'; '.join(f'{len(which):,} {what}' for which, what in parts if which)}."


# CSV


def export(visit: Visit) -> Response:
    """GET /portal/alerts/export: the view as CSV, in its order, the first EXPORTED of it."""
    asked = asking.read(visit.request.query_params, visit.person.name)
    now = datetime.now(UTC).strftime("%Y-%m-%dT%H%MZ")
    headers = {"Content-Disposition": f'attachment; filename="alerts-{now}.csv"'}
    return StreamingResponse(_csv(visit, asked), media_type="text/csv; charset=utf-8", headers=headers)


def _csv(visit: Visit, asked: Asked) -> Iterator[str]:
    yield _row(COLUMNS)
    after, left = None, EXPORTED
    while left:
        listed = visit.tenant.queue.page(asked.wanted, asked.sort, after, min(_PIECE, left))
        yield "".join(_row(read(alert) for read in COLUMNS.values()) for alert in listed.found)
        left -= len(listed.found)
        after = listed.last
        if after is None:
            return


def _row(cells: Iterable[object]) -> str:
    out = io.StringIO()
    csv.writer(out, lineterminator="\r\n").writerow([escape(str(cell)) for cell in cells])
    return out.getvalue()


def _iso(time: datetime | None) -> str:
    return "" if time is None else time.isoformat().replace("+00:00", "Z")


def _spoken(word: str) -> str:
    """NotAvailable as people say it: Not available."""
    return re.sub(r"(?<=[a-z])[A-Z]", lambda found: f" {found[0].lower()}", word)


PAGES: tuple[Page, ...] = (
    Page("GET", PATH, queue, Role.READER),
    Page("GET", f"{PATH}/news", news, Role.READER),
    Page("GET", f"{PATH}/export", export, Role.READER),
    Page("POST", f"{PATH}/triage", triage, Role.ANALYST),
)
