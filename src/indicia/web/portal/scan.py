"""A log file that somebody drops: scanned by the road that `indicia scan` takes, in a process of its own."""

from __future__ import annotations

from starlette.responses import Response

from indicia.errors import Forbidden, IndiciaError, InvalidValue, NotFound
from indicia.live.scans import Scan, Scans, State
from indicia.web.portal.pages import Page, Role
from indicia.web.portal.visit import Visit

PATH = "/portal/scan"
SHOWN = 50
"""Alerts, and detections, of a page."""
_INT64 = 1 << 63


def overview(visit: Visit) -> Response:
    """GET /portal/scan"""
    return _overview(visit)


def begin(visit: Visit) -> Response:
    """POST /portal/scan: a file comes, and its scan begins."""
    record = visit.form.has("record")
    try:
        if record and not visit.may(Role.ANALYST):
            raise Forbidden("to record what is found needs the role Analyst; scan without it")
        sent = visit.form.file("file")
        if sent is None:
            raise InvalidValue("choose a file first", target="file")
        by, limit = visit.person.name, visit.settings.max_event_bytes
        made = _scans(visit).begin(sent.name, sent.content, by, limit, record=record)
    except IndiciaError as fault:
        if visit.partial:
            raise
        return _overview(visit, fault.status, fault.message, record=record)
    return _to(visit, made)


def one(visit: Visit) -> Response:
    """GET /portal/scan/{id}: how far it is, and what was found; with htmx how far it is alone."""
    try:
        scan = _one(visit)
    except NotFound:
        if visit.partial:  # deleted meanwhile: its page would ask for ever
            return Response(headers={"HX-Redirect": PATH})
        raise
    at = _place(visit.query("at"))
    found, end = scan.found(at, SHOWN)
    state = scan.state
    context = {
        "scan": scan,
        "state": state,
        "may_end": _may_end(visit, scan),
        "recorded": _recorded(state),
        "alerts": state.alerts[:SHOWN],
        "detections": found,
        "at": at,
        "next": f"{PATH}/{scan.id}?at={end}#detections" if len(found) == SHOWN else None,
        "here": f"{PATH}/{scan.id}" + (f"?at={at}" if at else ""),
        "share": 100 * state.read // state.total if state.total else 0,
        "indicators": visit.tenant.counts().indicators,
    }
    if not visit.partial:
        return visit.page("scan-one.html", 200, **context)
    response = visit.part("scan-one.html", "progress", **context)
    if state.phase.is_over:
        # What can be done with it now stands outside of this part.
        response.headers["HX-Refresh"] = "true"
    return response


def cancel(visit: Visit) -> Response:
    """POST /portal/scan/{id}/cancel"""
    scan = _theirs(visit)
    if not scan.state.phase.is_over:
        _scans(visit).cancel(scan)
    return visit.go(f"{PATH}/{scan.id}", "The scan was told to end; what it has found so far stays here.")


def record(visit: Visit) -> Response:
    """POST /portal/scan/{id}/record: once more, and what is found becomes alerts."""
    scan = _one(visit)
    _scans(visit).record(scan, visit.person.name)
    return visit.go(f"{PATH}/{scan.id}")


def delete(visit: Visit) -> Response:
    """POST /portal/scan/{id}/delete"""
    scan = _theirs(visit)
    _scans(visit).delete(scan)
    return visit.go(PATH, "The scan and its file are deleted.")


def _overview(visit: Visit, status: int = 200, fault: str = "", *, record: bool = False) -> Response:
    context = {
        "scans": _scans(visit).every(),
        "fault": fault,
        "record": record,
        "most": visit.settings.max_event_bytes,
        "indicators": visit.tenant.counts().indicators,
    }
    return visit.page("scan.html", status, **context)


def _scans(visit: Visit) -> Scans:
    return Scans(visit.settings.home, visit.tenant)


def _one(visit: Visit) -> Scan:
    return _scans(visit).one(visit.at("id"))


def _theirs(visit: Visit) -> Scan:
    """One that this person may end: a Reader's own, an Analyst's any. Forbidden."""
    scan = _one(visit)
    if not _may_end(visit, scan):
        raise Forbidden(f"{scan.asked.by} began this scan; to end what others began needs the role Analyst")
    return scan


def _may_end(visit: Visit, scan: Scan) -> bool:
    return scan.asked.by == visit.person.name or visit.may(Role.ANALYST)


def _recorded(state: State) -> str:
    parts = ((state.recorded, "new detection"), (state.opened, "new alert"))
    words = [f"{count:,} {noun}{'' if count == 1 else 's'}" for count, noun in parts]
    known = "What was known before did not count again."
    return f"Recorded: {', '.join(words)}, {state.reopened:,} reopened. {known}"


def _place(text: str) -> int:
    """Where the detections of a page begin in their file."""
    found = int(text) if text.isascii() and text.isdecimal() and len(text) < 19 else 0
    return found if found < _INT64 else 0


def _to(visit: Visit, scan: Scan) -> Response:
    path = f"{PATH}/{scan.id}"
    return Response(headers={"HX-Redirect": path}) if visit.partial else visit.go(path)


PAGES: tuple[Page, ...] = (
    Page("GET", PATH, overview, Role.READER),
    Page("POST", PATH, begin, Role.READER, large=True),
    Page("GET", f"{PATH}/{{id}}", one, Role.READER),
    Page("POST", f"{PATH}/{{id}}/cancel", cancel, Role.READER),
    Page("POST", f"{PATH}/{{id}}/record", record, Role.ANALYST),
    Page("POST", f"{PATH}/{{id}}/delete", delete, Role.READER),
)
