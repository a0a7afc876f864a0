"""Files of indicators: uploaded, read in a process of their own, with how far it is and what was refused."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, NamedTuple

from starlette.responses import Response, StreamingResponse

from indicia.errors import IndiciaError, InputError, InvalidValue, NotFound
from indicia.feeds import FORMATS
from indicia.live.imports import REPORT, Asked, Imports
from indicia.model import SOURCE_LIMIT, DetectionFunction
from indicia.store import Phase
from indicia.web.portal.intel import choices
from indicia.web.portal.intel.fields import OWNER
from indicia.web.portal.pages import Page, Role
from indicia.web.portal.settings.given import Given
from indicia.web.portal.visit import Visit

UPLOAD = "/portal/upload"
FORMS = {
    "csv": "CSV with a header",
    "ndjson": "NDJSON",
    "list": "a value a line",
    "text": "free text",
}


class Share(NamedTuple):
    """How far an import is."""

    done: int
    total: int

    @property
    def percent(self) -> int:
        """Of the file."""
        return min(100, 100 * self.done // max(1, self.total))


def form(visit: Visit) -> Response:
    """GET /portal/upload"""
    return _page(visit)


def begin(visit: Visit) -> Response:
    """POST /portal/upload"""
    sent = visit.form.file("file")
    try:
        if sent is None:
            raise InvalidValue("choose a file", target="file")
        limit = visit.settings.max_body_bytes
        found = _imports(visit).begin(_asked(visit, sent.name), sent.content, limit)
    except IndiciaError as fault:
        return _page(visit, fault)
    return visit.go(f"{UPLOAD}/{found.id}")


def _asked(visit: Visit, name: str) -> Asked:
    """What the form asks for. InvalidValue."""
    form = visit.form
    owner = choices.definition(visit.tenant, form.one(OWNER))
    function, kind, source = form.one("function"), form.one("format"), form.one("source").strip()
    if function and function not in list(DetectionFunction):
        raise InvalidValue(f"must be one of {', '.join(DetectionFunction)}", target="function")
    if kind and kind not in FORMATS:
        raise InvalidValue(f"must be one of {', '.join(FORMATS)}", target="format")
    if len(source) > SOURCE_LIMIT:
        raise InvalidValue(f"has at most {SOURCE_LIMIT} characters", target="source")
    return Asked(
        name,
        0,
        visit.person.name,
        datetime.now(UTC),
        owner.id,
        owner.title,
        function,
        kind,
        source,
        form.has("subdomains"),
        visit.tenant.quotas,
    )


def show(visit: Visit) -> Response:
    """GET /portal/upload/{id}: how far it is; with htmx that part alone."""
    try:
        found = _imports(visit).one(visit.at("id"))
    except NotFound:
        if visit.partial:  # deleted meanwhile: its page would ask for ever
            return Response(headers={"HX-Redirect": UPLOAD})
        raise
    context: dict[str, Any] = {
        "found": found,
        "share": Share(found.state.read, found.asked.size),
        "phases": Phase,
        "forms": FORMS,
    }
    if visit.partial:
        return visit.part("import.html", "state", **context)
    return visit.page("import.html", **context)


def report(visit: Visit) -> Response:
    """GET /portal/upload/{id}/report: what was refused, and what is to be known, row by row, as CSV."""
    found = _imports(visit).one(visit.at("id"))
    if not found.contents.has(found.kept, REPORT):
        raise InputError("this import has no report yet")
    headers = {"Content-Disposition": 'attachment; filename="refused.csv"'}
    content = found.read(REPORT)
    return StreamingResponse(content, headers=headers, media_type="text/csv; charset=utf-8; header=present")


def cancel(visit: Visit) -> Response:
    """POST /portal/upload/{id}/cancel: what is stored stays."""
    found = _imports(visit).one(visit.at("id"))
    _imports(visit).cancel(found)
    return visit.go(f"{UPLOAD}/{found.id}", "It was told to end; what is stored stays.")


def again(visit: Visit) -> Response:
    """POST /portal/upload/{id}/again: go on where it was."""
    found = _imports(visit).one(visit.at("id"))
    _imports(visit).again(found, by=visit.person.name)
    return visit.go(f"{UPLOAD}/{found.id}")


def _imports(visit: Visit) -> Imports:
    return Imports(visit.settings.home, visit.tenant)


def _page(visit: Visit, fault: IndiciaError | None = None) -> Response:
    given = Given(visit.form)
    return visit.page(
        "upload.html",
        200 if fault is None else fault.status,
        fault=fault,
        given=given,
        earlier=_imports(visit).every(),
        kept=Imports.kept.days,
        forms=list(FORMS.items()),
        functions=[str(one) for one in DetectionFunction],
        largest=visit.settings.max_body_bytes // (1024 * 1024),
        **choices.definitions(visit.tenant, given.one(OWNER) or visit.query("definition")),
    )


PAGES: tuple[Page, ...] = (
    Page("GET", UPLOAD, form, Role.ANALYST),
    Page("POST", UPLOAD, begin, Role.ANALYST),
    Page("GET", f"{UPLOAD}/{{id}}", show, Role.ANALYST),
    Page("GET", f"{UPLOAD}/{{id}}/report", report, Role.ANALYST),
    Page("POST", f"{UPLOAD}/{{id}}/cancel", cancel, Role.ANALYST),
    Page("POST", f"{UPLOAD}/{{id}}/again", again, Role.ANALYST),
)
