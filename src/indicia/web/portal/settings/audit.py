"""The audit log: who changed what, the newest first, by filters that stand in the URL; and as a file."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from typing import NamedTuple, TypeVar
from urllib.parse import urlencode

from starlette.responses import Response

from indicia.errors import InputError, InvalidValue
from indicia.model import AuditAction, AuditEntry, Through
from indicia.store import Mark, Wanted
from indicia.web.portal.pages import Page, Role
from indicia.web.portal.settings import exports
from indicia.web.portal.visit import Visit

AUDIT = "/portal/settings/audit"
FILTERS = ("by", "set", "key", "action", "through", "since", "until")
COLUMNS = ("id", "at", "by", "through", "request_id", "action", "set", "key", "count", "before", "after")
SETS = (
    "AlertDefinitions",
    "IndicatorsOfCompromise",
    "Alerts",
    "Suppressions",
    "Applications",
    "AllowLists",
    "AllowEntries",
    "Outputs",
    "Retention",
    "Members",
    "Detections",
    "AuditLog",
)
"""Offered as what was changed; others can be written."""
Word = TypeVar("Word", Through, AuditAction)
_LIMIT = 200
_MOST = 1 << 63


class Difference(NamedTuple):
    """A property of what was changed; None where there was nothing, or is nothing now."""

    name: str
    before: object
    after: object


class Line(NamedTuple):
    """An entry as the page shows it."""

    entry: AuditEntry
    differences: Sequence[Difference]
    actor: str
    """The name of the application that `by` is the client id of; else empty."""


def differences(entry: AuditEntry) -> list[Difference]:
    """What was, beside what is, by property."""
    before, after = _content(entry.before), _content(entry.after)
    return [Difference(name, before.get(name), after.get(name)) for name in dict.fromkeys([*before, *after])]


def _content(text: str | None) -> dict[str, object]:
    try:
        found = json.loads(text) if text else {}
    except ValueError:  # a row that another program wrote
        found = text
    return found if isinstance(found, dict) else {"": found}


def asked(visit: Visit) -> Wanted:
    """The filters of the URL; InvalidValue with the one that is wrong."""
    text = {name: visit.query(name).strip() for name in FILTERS}
    for name, value in text.items():
        if len(value) > _LIMIT:
            raise InvalidValue(f"has at most {_LIMIT} characters", target=name)
    return Wanted(
        by=text["by"],
        through=_word(Through, text["through"], "through"),
        action=_word(AuditAction, text["action"], "action"),
        set_name=text["set"],
        key=text["key"],
        since=_time(text["since"], "since"),
        until=_time(text["until"], "until", timedelta(days=1)),
    )


def _word(kind: type[Word], text: str, target: str) -> Word | None:
    try:
        return kind(text) if text else None
    except ValueError:
        raise InvalidValue(f"must be one of {', '.join(kind)}", target=target) from None


def _time(text: str, target: str, whole_day: timedelta = timedelta()) -> datetime | None:
    """A date (its begin, or its end), or a time; UTC where it names no zone."""
    if not text:
        return None
    try:
        if len(text) == len("2026-01-31"):
            found = datetime.combine(date.fromisoformat(text), datetime.min.time(), UTC) + whole_day
        else:
            found = datetime.fromisoformat(text)
        return found if found.tzinfo else found.replace(tzinfo=UTC)
    except (ValueError, OverflowError):
        words = "must be a date as 2026-01-31, or a time as 2026-01-31T08:00:00Z"
        raise InvalidValue(words, target=target) from None


def _mark(text: str) -> Mark | None:
    """The place of a page; InvalidValue."""
    if not text:
        return None
    at, _, number = text.partition(".")
    digits = at.removeprefix("-"), number
    if not all(part.isascii() and part.isdecimal() and len(part) < 20 for part in digits):
        raise InvalidValue("is no place in the log; begin again without it", target="after")
    found = Mark(int(at), int(number))
    if not -_MOST <= found.at < _MOST or found.id >= _MOST:
        raise InvalidValue("is no place in the log; begin again without it", target="after")
    return found


def audit(visit: Visit) -> Response:
    """GET /portal/settings/audit"""
    fault: InputError | None = None
    wanted, looked, names = Wanted(), None, dict[str, str]()
    try:
        wanted = asked(visit)
        looked = visit.tenant.trail.page(wanted, after=_mark(visit.query("after")))
    except InvalidValue as error:
        fault = error
    if looked is not None:
        names = {one.client_id: one.name for one in visit.tenant.applications()}
    found = looked.found if looked else []
    given = {name: visit.query(name) for name in FILTERS}
    filters = {name: text for name, text in given.items() if text}
    mark = looked.mark if looked else None
    return visit.page(
        "audit.html",
        200 if fault is None else fault.status,
        lines=[Line(one, differences(one), names.get(one.by, "")) for one in found],
        looked_until=looked.until if looked else None,
        next=f"{AUDIT}?{urlencode({**filters, 'after': f'{mark.at}.{mark.id}'})}" if mark else None,
        first=f"{AUDIT}?{urlencode(filters)}" if visit.query("after") else None,
        given=given,
        query=urlencode(filters),
        fault=fault,
        sets=SETS,
        actions=[str(one) for one in AuditAction],
        doors=[str(one) for one in Through],
        people=sorted({one.name for one in visit.tenant.members.all()} | set(names)),
    )


def export(visit: Visit) -> Response:
    """GET /portal/settings/audit/export: all entries that the filters let through, as csv or ndjson."""
    rows = (_row(one) for one in visit.tenant.trail.each(asked(visit)))
    return exports.saved("audit-log", visit.query("format", "csv"), COLUMNS, rows)


def _row(one: AuditEntry) -> tuple[object, ...]:
    at = one.at.astimezone(UTC).isoformat().replace("+00:00", "Z")
    changed = one.action, one.set_name, one.key, one.count, one.before, one.after
    return (one.id, at, one.by, one.through, one.request_id, *changed)


PAGES: tuple[Page, ...] = (
    Page("GET", AUDIT, audit, Role.ADMINISTRATOR),
    Page("GET", f"{AUDIT}/export", export, Role.ADMINISTRATOR),
)
