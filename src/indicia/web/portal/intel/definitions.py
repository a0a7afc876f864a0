"""Alert definitions: the list, one with all that belongs to it, and the forms that make and change one."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import quote, urlencode

from starlette.responses import Response

from indicia.errors import InputError, InvalidValue
from indicia.model import WINDOW_SECONDS, AlertDefinition, Category, GroupBy, Severity
from indicia.odata import bodies, options
from indicia.odata.entities import ALERT_DEFINITION
from indicia.odata.tree import Query, Value
from indicia.store import Chosen
from indicia.store.catalogue import COUNTED, COUNTED_EACH
from indicia.web.portal.forms import Form
from indicia.web.portal.intel import fields, filters
from indicia.web.portal.intel.fields import NO_FAULTS, Faults
from indicia.web.portal.pages import Page, Role
from indicia.web.portal.settings.audit import Line, differences
from indicia.web.portal.visit import Visit

DEFINITIONS = "/portal/definitions"
AT_ONCE = 50
PERIOD = timedelta(days=30)
SHOWN = 10
"""Indicators and alerts that the page of a definition shows."""
ORDERS = {
    "title": ("Title", "Title"),
    "name": ("Name", "Name"),
    "severity": ("Severity", "Severity desc,Title"),
    "newest": ("Newest", "Id desc"),
}
"""What lists are sorted by: the word of the column, and the order in the query language."""
FILTERS = ("q", "severity", "category", "enabled", "sort")
_LONGEST = 200


def the_list(visit: Visit) -> Response:
    """GET /portal/definitions"""
    given = {name: visit.query(name).strip() for name in FILTERS}
    fault: InputError | None = None
    found: list[AlertDefinition] = []
    last: tuple[Value, ...] | None = None
    try:
        page = visit.tenant.select(ALERT_DEFINITION, _query(given, visit.query("after")))
        found, last = page.found, page.last
    except InputError as error:
        fault = error
    kept = {name: value for name, value in given.items() if value}
    return visit.page(
        "definitions.html",
        200 if fault is None else fault.status,
        found=found,
        figures=visit.tenant.catalogue.figures(
            [one.id for one in found], datetime.now(UTC) - PERIOD, COUNTED_EACH
        ),
        counted=COUNTED_EACH,
        total=visit.tenant.counts().definitions,
        given=given,
        kept=kept,
        fault=fault,
        orders=ORDERS,
        next=_url(kept, after=json.dumps(last)) if last else None,
        first=_url(kept) if visit.query("after") else None,
        query=urlencode({name: value for name, value in kept.items() if name != "sort"}),
        severities=[str(one) for one in Severity],
        categories=[str(one) for one in Category],
    )


def _url(given: Mapping[str, str], **more: str) -> str:
    pairs = urlencode({**given, **more})
    return f"{DEFINITIONS}?{pairs}" if pairs else DEFINITIONS


def _query(given: Mapping[str, str], after: str) -> Query:
    """The filters of the URL in the query language. InputError."""
    parts = []
    if text := given["q"].lower():
        if len(text) > _LONGEST:
            raise InvalidValue(f"has at most {_LONGEST} characters", target="q")
        quoted = text.replace("'", "''")
        parts.append(f"(contains(tolower(Name),'{quoted}') or contains(tolower(Title),'{quoted}'))")
    for name, members in (("severity", Severity), ("category", Category)):
        if given[name]:
            if given[name] not in list(members):
                raise InvalidValue(f"must be one of {', '.join(members)}", target=name)
            parts.append(f"{name.title()} eq '{given[name]}'")
    if given["enabled"]:
        if given["enabled"] not in ("yes", "no"):
            raise InvalidValue("must be yes or no", target="enabled")
        parts.append(f"Enabled eq {'true' if given['enabled'] == 'yes' else 'false'}")
    order = ORDERS.get(given["sort"] or "title")
    if order is None:
        raise InvalidValue(f"must be one of {', '.join(ORDERS)}", target="sort")
    asked = f"$filter={quote(' and '.join(parts))}&" if parts else ""
    text = f"{asked}$orderby={quote(order[1])}&$top={AT_ONCE}"
    query = options.parse(text, options.LIST_OPTIONS, ALERT_DEFINITION).query
    return replace(query, after=filters.place(after, len(query.order)))


# One


def show(visit: Visit) -> Response:
    """GET /portal/definitions/{id}"""
    found = visit.tenant.definition(visit.at("id"))
    catalogue = visit.tenant.catalogue
    figures = catalogue.figures([found.id], datetime.now(UTC) - PERIOD)[found.id]
    history = catalogue.history(ALERT_DEFINITION.set_name, found.id)
    return visit.page(
        "definition.html",
        found=found,
        figures=figures,
        counted=COUNTED,
        indicators=catalogue.indicators(Chosen(definition_id=found.id), limit=SHOWN).found,
        alerts=catalogue.alerts(found.id, SHOWN),
        history=[Line(one, differences(one), "") for one in history],
    )


def new(visit: Visit) -> Response:
    """GET /portal/definitions/new"""
    return _form(visit, None, values={"WindowSeconds": WINDOW_SECONDS})


def create(visit: Visit) -> Response:
    """POST /portal/definitions/new"""
    try:
        given = fields.read(ALERT_DEFINITION, visit.form)
    except InputError as error:
        return _form(visit, None, fields.faults_of(error))
    (made,) = visit.tenant.add_definitions([bodies.definition(given)], visit.person.name)
    return visit.go(f"{DEFINITIONS}/{made.id}", f"{made.title[:100]} is made. Give it indicators next.")


def edit(visit: Visit) -> Response:
    """GET /portal/definitions/{id}/edit"""
    found = visit.tenant.definition(visit.at("id"))
    values = {one.name: one.of(found) for one in ALERT_DEFINITION.properties if not one.server_set}
    return _form(visit, found, values={name: value for name, value in values.items() if value is not None})


def change(visit: Visit) -> Response:
    """POST /portal/definitions/{id}/edit"""
    found = visit.tenant.definition(visit.at("id"))
    try:
        given = fields.read(ALERT_DEFINITION, visit.form, partial=True)
    except InputError as error:
        return _form(visit, found, fields.faults_of(error))
    visit.tenant.change_definition(found.id, given.attributes, visit.person.name)
    return visit.go(f"{DEFINITIONS}/{found.id}", "What you changed is stored.")


def check(visit: Visit) -> Response:
    """POST /portal/definitions/check?field=Title: what is wrong with one field so far, for who is typing."""
    faults = fields.checked(lambda: fields.read(ALERT_DEFINITION, visit.form, partial=True))
    return visit.part(
        "definition-form.html", "told", about=_field(visit), told=faults(_field(visit)), warnings=()
    )


def _field(visit: Visit) -> str:
    """The field that is asked about."""
    name = visit.query("field")
    return name if name in ALERT_DEFINITION.by_name else ""


def enable(visit: Visit) -> Response:
    """POST /portal/definitions/{id}/enable: look for its indicators, or no more."""
    on = visit.form.one("enabled") == "yes"
    found = visit.tenant.change_definition(visit.at("id"), {"enabled": on}, visit.person.name)
    said = "Its indicators are looked for." if on else "Its indicators are not looked for any more."
    return visit.go(f"{DEFINITIONS}/{found.id}", said)


def delete(visit: Visit) -> Response:
    """POST /portal/definitions/{id}/delete: with its indicators; alerts and detections stay."""
    found = visit.tenant.definition(visit.at("id"))
    visit.tenant.delete_definition(found.id)
    return visit.go(DEFINITIONS, f"{found.title[:100]} is deleted with its indicators; its alerts stay.")


def _form(
    visit: Visit,
    found: AlertDefinition | None,
    faults: Faults = NO_FAULTS,
    values: Mapping[str, Any] | None = None,
) -> Response:
    shown = values if values is not None else _sent(visit.form)
    return visit.page(
        "definition-form.html",
        faults.status,
        found=found,
        faults=faults,
        values=shown,
        severities=[str(one) for one in Severity],
        categories=[str(one) for one in Category],
        groups=[str(one) for one in GroupBy],
        limits={one.name: one.limit for one in ALERT_DEFINITION.properties if one.limit},
    )


def _sent(form: Form) -> dict[str, Any]:
    """What was sent, as it was written, for the form that is shown again."""
    given = {one.name: form.one(one.name) for one in ALERT_DEFINITION.properties if not one.server_set}
    return given | {"Enabled": form.has("Enabled")}


PAGES: tuple[Page, ...] = (
    Page("GET", DEFINITIONS, the_list, Role.READER),
    Page("GET", f"{DEFINITIONS}/new", new, Role.ANALYST),
    Page("POST", f"{DEFINITIONS}/new", create, Role.ANALYST),
    Page("POST", f"{DEFINITIONS}/check", check, Role.ANALYST),
    Page("GET", f"{DEFINITIONS}/{{id:int}}", show, Role.READER),
    Page("GET", f"{DEFINITIONS}/{{id:int}}/edit", edit, Role.ANALYST),
    Page("POST", f"{DEFINITIONS}/{{id:int}}/edit", change, Role.ANALYST),
    Page("POST", f"{DEFINITIONS}/{{id:int}}/enable", enable, Role.ANALYST),
    Page("POST", f"{DEFINITIONS}/{{id:int}}/delete", delete, Role.ANALYST),
)
