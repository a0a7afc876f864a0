"""One alert: what it says, its evidence and why it matched, what stands around it, what people make of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
from markupsafe import Markup
from starlette.responses import Response

from indicia import marking
from indicia.errors import IndiciaError, InvalidValue, NotFound, PreconditionFailed
from indicia.explain import Step, explain, places_of
from indicia.marking import Found
from indicia.model import (
    EVENT_LIMIT,
    Alert,
    AlertStatus,
    Classification,
    Detection,
    Evidence,
    Indicator,
    SuppressAlert,
)
from indicia.odata import format as odata
from indicia.odata.entities import ALERT
from indicia.store import Hours
from indicia.store.queue import HOURLY
from indicia.telemetry import again, schemas
from indicia.web.portal.alerts import choices, stamp, unchanged, wanted_changes
from indicia.web.portal.asked import PATH, numbers
from indicia.web.portal.pages import Page, Role
from indicia.web.portal.rendering import shown
from indicia.web.portal.visit import Visit

DETECTIONS = 10
"""Detections of a page."""
PIECES = 20
"""Pieces of evidence of one detection that are listed."""
TOLD = 30
"""Comments, and changes, the newest ones, that are shown."""
BARS = 72
_HIDDEN = 40
"""Characters of HTML that one character takes at most."""
EVENT_HTML = 120_000
"""Characters of HTML that the event of a detection takes."""
ENDS = {"1": "for a day", "7": "for 7 days", "30": "for 30 days", "90": "for 90 days", "365": "for a year"}
_DEFAULT_END = "30"
_WORK = ("status", "classification", "determination", "assigned")
_HOUR = timedelta(hours=1)
NOT_KEPT = "The event was not kept with this detection, so the match cannot be worked out again."
CUT = f"Of the event {EVENT_LIMIT:,} characters are kept, so the match cannot be worked out again."
_WHERE = {
    Found.FIELD: "",
    Found.LINE: "marked wherever it stands in the line; a line does not show which field was read from where",
    Found.CUT: f"beyond the first {EVENT_LIMIT:,} characters, which are what is kept of an event",
    Found.NOWHERE: "not in the text as it is kept: it was put together, or unpacked, from what stands there",
}


def alert(visit: Visit) -> Response:
    """GET /portal/alerts/{id}"""
    return _page(visit, _alert(visit))


def _alert(visit: Visit) -> Alert:
    return visit.tenant.alert(int(visit.at("id")))


def _url(number: int) -> str:
    return f"{PATH}/{number}"


# The page


@dataclass(frozen=True, slots=True)
class Proof:
    """One detection of the alert, looked at closely."""

    detection: Detection
    evidence: Sequence[tuple[Evidence, str]]
    """Each piece, and what is to be said of its mark."""
    more: int
    """Pieces that are not listed."""
    event: Markup | None
    """With the marks; None where it was not kept."""
    cut: bool
    steps: Sequence[Step]
    hit: bool
    fault: str
    """Why there is no explanation."""
    indicator: Indicator | None
    """As it is now; None: it is gone."""
    same: bool
    """Whether it is what it was."""
    lists: Sequence[str]
    """Allow-lists that know its value now."""


@dataclass(frozen=True, slots=True)
class Bar:
    """A column of the chart."""

    x: float
    height: float
    start: datetime
    count: int


@dataclass(frozen=True, slots=True)
class Chart:
    """Detections over time."""

    bars: Sequence[Bar]
    width: float
    most: int
    hours: int
    """Of one bar."""
    says: str


def _page(
    visit: Visit, found: Alert, status: int = 200, *, fault: IndiciaError | None = None, form: str = ""
) -> Response:
    queue = visit.tenant.queue
    before = next(iter(numbers([visit.query("before")])), None)
    listed = queue.detections(found, before, DETECTIONS + 1)
    chosen = next(iter(numbers([visit.query("detection")])), None)
    first = queue.detection(found, chosen) if chosen is not None else next(iter(listed), None)
    comments = visit.tenant.comments(found.number)
    history = visit.tenant.history(found.number)
    return visit.page(
        "alert.html",
        status,
        alert=found,
        stamp=stamp(found),
        hours=(counted := queue.hours(found)),
        chart=chart(counted),
        detections=listed[:DETECTIONS],
        older=listed[DETECTIONS - 1].number if len(listed) > DETECTIONS else None,
        before=before,
        proof=None if first is None else _proof(visit, first),
        related=queue.related(found),
        silencing=queue.silencing(found),
        comments=comments[-TOLD:],
        earlier_comments=max(0, len(comments) - TOLD),
        history=history[: -TOLD - 1 : -1],
        earlier_changes=max(0, len(history) - TOLD),
        raw=_raw(visit, found),
        members=[one.name for one in visit.tenant.members.all()[:200]] if visit.may(Role.ANALYST) else [],
        ends=list(ENDS.items()),
        said_end=visit.form.one("ends", _DEFAULT_END),
        form=form,
        fault="" if fault is None else fault.message,
        target="" if fault is None else fault.target or "",
        wanted=_wanted(visit, found, form),
        text=visit.form.one("text") if form == "comment" else "",
        reason=visit.form.one("reason") if form == "false-positive" else "",
        **choices(visit),
    )


def _wanted(visit: Visit, found: Alert, form: str) -> dict[str, str]:
    """What the form of the work on an alert has in its fields."""
    if form == "triage":
        return {name: visit.form.one(name) for name in _WORK}
    now = (found.status, found.classification, found.determination, found.assigned_to or "")
    return dict(zip(_WORK, map(str, now), strict=True))


def _raw(visit: Visit, found: Alert) -> str:
    form = odata.Format(f"{visit.settings.portal_url}/v1.0")
    return msgspec.json.format(msgspec.json.encode(odata.entity(ALERT, found, form)), indent=2).decode()


def _proof(visit: Visit, detection: Detection) -> Proof:
    text = visit.tenant.queue.event(detection)
    listed = detection.evidence[:PIECES]
    marked = None if text is None else marking.mark(text, listed)
    where = [""] * len(listed) if marked is None else [_WHERE[found] for found in marked.found]
    now, same = _indicator(visit, detection.indicator)
    steps, hit, fault = _explained(visit, detection, now if now is not None and same else None, text)
    known = visit.tenant.allow_lists.allowance().known_in(detection)
    return Proof(
        detection,
        list(zip(listed, where, strict=True)),
        len(detection.evidence) - len(listed),
        None if marked is None else event_html(marked),
        marked is not None and marked.cut,
        steps,
        hit,
        fault,
        now,
        same,
        [str(one) for one in known[:PIECES]],
    )


def event_html(marked: marking.Marking) -> Markup:
    """The text with its marks, no longer than EVENT_HTML: what cannot be seen takes much room when shown."""
    parts: list[Markup] = []
    left, room = sum(len(one.text) for one in marked.segments), EVENT_HTML
    for segment in marked.segments:
        part = shown(segment.text, EVENT_LIMIT)
        part = Markup("<mark>{}</mark>").format(part) if segment.marked else part
        if len(part) > room:
            fits = segment.text[: room // _HIDDEN]
            more = Markup('<span class="cut">… {:,} more characters</span>').format(left - len(fits))
            return Markup("").join((*parts, shown(fits, EVENT_LIMIT), more))
        room, left = room - len(part), left - len(segment.text)
        parts.append(part)
    return Markup("").join(parts)


def _indicator(visit: Visit, was: Indicator) -> tuple[Indicator | None, bool]:
    """The indicator of a detection as it is now, and whether it still says the same."""
    try:
        now = visit.tenant.indicator(was.id)
    except NotFound:
        return None, False
    content = [(one.definition.uid, one.type, one.function, one.canonical) for one in (now, was)]
    return now, content[0] == content[1]


def _explained(
    visit: Visit, detection: Detection, now: Indicator | None, text: str | None
) -> tuple[Sequence[Step], bool, str]:
    """The steps of the match of the kept event and the indicator: as it is now, else as it was."""
    if text is None:
        return (), False, NOT_KEPT
    if len(text) > EVENT_LIMIT:
        return (), False, CUT
    try:
        event, record = again(text, detection.source, detection.schema)
        places = places_of(record, schemas()[event.schema])
        found = explain(event, now or detection.indicator, tenant=visit.tenant.uid, places=places)
    except IndiciaError as fault:
        return (), False, f"The match cannot be worked out again: {fault.message}."
    return found.steps, found.hit, ""


def chart(hours: Hours) -> Chart | None:
    """Columns of one hour, or of several where the detections lie far apart."""
    if not hours.counts:
        return None
    first, last = min(hours.counts), max(hours.counts)
    span = int((last - first) / _HOUR) + 1
    each = -(-span // BARS)
    sums: dict[int, int] = {}
    for hour, count in hours.counts.items():
        place = int((hour - first) / _HOUR) // each
        sums[place] = sums.get(place, 0) + count
    most, bars = max(sums.values()), -(-span // each)
    width = 100 / max(bars, 24)
    columns = [
        Bar(round(place * width, 3), max(2.0, 40 * count / most), first + place * each * _HOUR, count)
        for place, count in sorted(sums.items())
    ]
    many = f"the last {HOURLY:,} recorded" if hours.counted >= HOURLY else f"{hours.counted:,}"
    unit = "an hour" if each == 1 else f"{each:,} hours"
    says = (
        f"{many} detections in columns of {unit}, from {first:%Y-%m-%d %H:%M} to "
        f"{last + _HOUR:%Y-%m-%d %H:%M} UTC; at most {most:,} in one"
    )
    return Chart(columns, round(width * 0.8, 3), most, each, says)


# What people do


def triage(visit: Visit) -> Response:
    """POST /portal/alerts/{id}/triage: status, classification, determination, assignment."""
    found = _alert(visit)
    seen = visit.form.one("stamp")
    try:
        changes = dict(wanted_changes(visit))
        if not visit.form.one("assigned").strip():
            changes["assigned_to"] = None

        def checked(before: Alert) -> dict[str, object]:
            unchanged(seen, before)
            return changes

        visit.tenant.change_alert(found.number, checked, visit.person.name)
    except (InvalidValue, PreconditionFailed) as fault:
        return _again(visit, fault, "triage")
    return visit.go(_url(found.number), f"Alert {found.number} is saved.")


def false_positive(visit: Visit) -> Response:
    """POST /portal/alerts/{id}/false-positive: resolved as one, and its like kept in silence if so asked."""
    found, form = _alert(visit), visit.form
    by = {name: form.has(f"by_{name}") for name in ("definition", "machine", "value")}
    seen = form.one("stamp")
    try:
        if not any(by.values()):
            changes = {"status": AlertStatus.RESOLVED, "classification": Classification.FALSE_POSITIVE}

            def checked(before: Alert) -> dict[str, Any]:
                unchanged(seen, before)
                return changes

            visit.tenant.change_alert(found.number, checked, visit.person.name)
            return visit.go(_url(found.number), "Resolved as a false positive; nothing is suppressed.")
        given = SuppressAlert(
            _end(form.one("ends", _DEFAULT_END)),
            form.one("reason").strip(),
            **{f"by_{name}": value for name, value in by.items()},
        )
        made = visit.tenant.suppress_alert(
            found.number, given, visit.person.name, lambda before: unchanged(seen, before)
        )
    except (InvalidValue, PreconditionFailed) as fault:
        return _again(visit, fault, "false-positive")
    count = "1 suppression" if len(made) == 1 else f"{len(made)} suppressions"
    until = made[0].ends_at.strftime("%Y-%m-%d %H:%M")
    return visit.go(
        _url(found.number), f"Resolved as a false positive, with {count} in force until {until} UTC."
    )


def _end(days: str) -> datetime:
    if days not in ENDS:
        raise InvalidValue(f"is one of {', '.join(ENDS)} days", target="EndsAt")
    return datetime.now(UTC) + timedelta(days=int(days))


def comment(visit: Visit) -> Response:
    """POST /portal/alerts/{id}/comments"""
    found = _alert(visit)
    try:
        text = visit.form.one("text").replace("\r\n", "\n")
        visit.tenant.add_comment(found.number, text, visit.person.name)
    except InvalidValue as fault:
        return _again(visit, fault, "comment")
    return visit.go(f"{_url(found.number)}#comments", "Your comment is added.")


def end_suppression(visit: Visit) -> Response:
    """POST /portal/alerts/{id}/suppressions/{number}: what it silenced opens alerts again."""
    found = _alert(visit)
    visit.tenant.delete_suppression(int(visit.at("number")))
    return visit.go(_url(found.number), "The suppression is deleted; its like opens alerts again.")


def _again(visit: Visit, fault: IndiciaError, form: str) -> Response:
    """The page with what was wrong, as the alert stands now; what somebody wrote stays in the form."""
    return _page(visit, _alert(visit), fault.status, fault=fault, form=form)


PAGES: tuple[Page, ...] = (
    Page("GET", f"{PATH}/{{id:int}}", alert, Role.READER),
    Page("POST", f"{PATH}/{{id:int}}/triage", triage, Role.ANALYST),
    Page("POST", f"{PATH}/{{id:int}}/false-positive", false_positive, Role.ANALYST),
    Page("POST", f"{PATH}/{{id:int}}/comments", comment, Role.ANALYST),
    Page("POST", f"{PATH}/{{id:int}}/suppressions/{{number:int}}", end_suppression, Role.ANALYST),
)
