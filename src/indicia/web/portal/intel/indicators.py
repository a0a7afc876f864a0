"""Indicators: the list with its filters, also as a file, one of them, the forms that make and change one."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from starlette.responses import Response

from indicia import allow
from indicia.errors import Detail, InputError, InvalidValue
from indicia.feeds import make
from indicia.feeds.rows import EXPORTED, exported
from indicia.model import VALUE_LIMIT, DetectionFunction, Indicator, IndicatorType
from indicia.odata import bodies
from indicia.odata.entities import INDICATOR
from indicia.store import Chosen, Expiry, Found, Place, TenantStore
from indicia.values import guess_type, refang
from indicia.web.portal.forms import Form
from indicia.web.portal.intel import choices, fields, filters
from indicia.web.portal.intel.fields import NO_FAULTS, OWNER, Faults
from indicia.web.portal.pages import Page, Role
from indicia.web.portal.settings import exports
from indicia.web.portal.settings.audit import Line, differences
from indicia.web.portal.visit import Visit

INDICATORS = "/portal/indicators"
AT_ONCE = 50
ELSEWHERE = 20
"""Indicators of the same value that the page of one shows."""
_EXPORTED_AT_ONCE = 1000
_TOGETHER = ("Value", "Type", "DetectionFunction")
"""Fields that are right or wrong together."""


def the_list(visit: Visit) -> Response:
    """GET /portal/indicators"""
    fault: InputError | None = None
    asked = filters.Asked({}, Chosen())
    listed = Found([], None)
    try:
        asked = filters.read(visit.query)
        listed = visit.tenant.catalogue.indicators(
            asked.chosen, after=filters.place(visit.query("after")), limit=AT_ONCE
        )
    except InputError as error:
        fault = error
    after = json.dumps(listed.after) if listed.after else ""
    return visit.page(
        "indicators.html",
        200 if fault is None else fault.status,
        listed=listed,
        given={name: visit.query(name) for name in filters.NAMES},
        fault=fault,
        asked=asked,
        total=visit.tenant.counts().indicators,
        next=asked.url(INDICATORS, after=after) if after else None,
        first=asked.url(INDICATORS) if visit.query("after") else None,
        export=asked.url(f"{INDICATORS}/export"),
        definition=_owner(visit.tenant, asked.chosen.definition_id),
        **_words(),
        **choices.definitions(visit.tenant),
    )


def _owner(tenant: TenantStore, number: int | None) -> object:
    return tenant.definitions_by_id([number]).get(number) if number is not None else None


def _words() -> dict[str, list[str]]:
    return {
        "types": [str(one) for one in IndicatorType],
        "functions": [str(one) for one in DetectionFunction],
        "expiries": [str(one) for one in Expiry],
    }


def export(visit: Visit) -> Response:
    """GET /portal/indicators/export: all that the filters give, as `indicia indicators import` reads it."""
    asked = filters.read(visit.query)
    rows = (exported(one) for one in _every(visit.tenant, asked.chosen))
    return exports.saved("indicators", visit.query("format", "csv"), EXPORTED, rows)


def _every(tenant: TenantStore, chosen: Chosen) -> Iterator[Indicator]:
    after: Place | None = None
    while True:
        page = tenant.catalogue.indicators(chosen, after=after, limit=_EXPORTED_AT_ONCE)
        yield from page.found
        after = page.after
        if after is None:
            return


# One


def show(visit: Visit) -> Response:
    """GET /portal/indicators/{id}"""
    found = visit.tenant.indicator(visit.at("id"))
    catalogue = visit.tenant.catalogue
    history = catalogue.history(INDICATOR.set_name, found.id)
    same = [one for one in catalogue.stored([found.canonical]) if one.id != found.id]
    return visit.page(
        "indicator.html",
        found=found,
        warnings=_warnings(visit.tenant, found),
        elsewhere=same[:ELSEWHERE],
        elsewhere_more=max(0, len(same) - ELSEWHERE),
        history=[Line(one, differences(one), "") for one in history],
    )


def _warnings(tenant: TenantStore, found: Indicator) -> tuple[str, ...]:
    """What its author should know, and which allow-list knows it."""
    return (*bodies.warnings(found), *allow.warnings(tenant.allow_lists.allowance())(found))


def new(visit: Visit) -> Response:
    """GET /portal/indicators/new, with `?definition=5` under that one"""
    return _form(visit, None, values={OWNER: visit.query("definition"), "Enabled": True})


def create(visit: Visit) -> Response:
    """POST /portal/indicators/new"""
    try:
        made = _made(visit)
    except InputError as error:
        return _form(visit, None, fields.faults_of(error))
    (stored,) = visit.tenant.add_indicators([made], visit.person.name)
    return visit.go(f"{INDICATORS}/{stored.id}", f"{stored.value[:100]} is looked for from now on.")


def _made(visit: Visit) -> Indicator:
    """The indicator of a form; InvalidValue with every fault."""
    faults: dict[str, str] = {}
    owner = None
    try:
        owner = choices.definition(visit.tenant, visit.form.one(OWNER))
    except InvalidValue as error:
        faults[OWNER] = error.message
    try:
        given = _read(visit.form, owner.id if owner else 1)
        if owner is not None:
            return bodies.indicator(given, owner)
    except InvalidValue as error:
        if not faults:
            raise
        faults |= fields.faults_of(error).of
    details = tuple(Detail("InvalidValue", words, name) for name, words in faults.items())
    raise InvalidValue(details[0].message, target=details[0].target, details=details)


def _read(form: Form, owner: int) -> bodies.Given:
    """An indicator whose type, where none is chosen, is what its value looks like. InvalidValue."""
    value = form.one("Value").strip()
    if form.one("Type") or not value:
        return fields.read(INDICATOR, form, owner=owner)
    kind = guess_type(refang(value[:VALUE_LIMIT]))
    if kind is None:
        raise InvalidValue("looks like no indicator; choose its type", target="Type")
    return fields.read(INDICATOR, form, owner=owner, also={"Type": str(kind), "Value": refang(value)})


def edit(visit: Visit) -> Response:
    """GET /portal/indicators/{id}/edit"""
    found = visit.tenant.indicator(visit.at("id"))
    values = {one.name: one.of(found) for one in INDICATOR.properties if not one.server_set}
    values |= {name: fields.local(values[name]) for name in ("ValidFrom", "ExpiresAt")}
    values[OWNER] = str(found.definition.id)
    return _form(visit, found, values={name: value for name, value in values.items() if value is not None})


def change(visit: Visit) -> Response:
    """POST /portal/indicators/{id}/edit"""
    found = visit.tenant.indicator(visit.at("id"))
    try:
        owner = choices.definition(visit.tenant, visit.form.one(OWNER, str(found.definition.id)))
        given = fields.read(INDICATOR, visit.form, partial=True, owner=owner.id)
        visit.tenant.change_indicator(
            found.id, lambda before: bodies.indicator_changes(given, before), visit.person.name
        )
    except InputError as error:
        return _form(visit, found, fields.faults_of(error))
    return visit.go(f"{INDICATORS}/{found.id}", "What you changed is stored.")


def check(visit: Visit) -> Response:
    """POST /portal/indicators/check?field=Value: what is wrong with a field so far, or to be known."""
    name = visit.query("field")
    name = name if name in INDICATOR.by_name else OWNER
    warnings: tuple[str, ...] = ()
    told = ""
    try:
        if name == OWNER:
            choices.definition(visit.tenant, visit.form.one(OWNER))
        elif name not in _TOGETHER or visit.form.one("Value").strip():
            made = bodies.indicator(_read(visit.form, 1), make.NOBODY)
            warnings = _warnings(visit.tenant, made) if name in _TOGETHER else ()
    except InvalidValue as error:
        faults = fields.faults_of(error)
        mine = _TOGETHER if name in _TOGETHER else (name,)
        told = next((faults(one) for one in mine if faults(one)), "")
    about = "Value" if name in _TOGETHER else name
    return visit.part("indicator-form.html", "told", about=about, told=told, warnings=warnings)


def enable(visit: Visit) -> Response:
    """POST /portal/indicators/{id}/enable"""
    on = visit.form.one("enabled") == "yes"
    found = visit.tenant.change_indicator(visit.at("id"), {"enabled": on}, visit.person.name)
    return visit.go(
        f"{INDICATORS}/{found.id}", "It is looked for." if on else "It is not looked for any more."
    )


def delete(visit: Visit) -> Response:
    """POST /portal/indicators/{id}/delete"""
    found = visit.tenant.indicator(visit.at("id"))
    visit.tenant.delete_indicator(found.id)
    return visit.go(f"/portal/definitions/{found.definition.id}", f"{found.value[:100]} is deleted.")


def _form(
    visit: Visit,
    found: Indicator | None,
    faults: Faults = NO_FAULTS,
    values: Mapping[str, Any] | None = None,
) -> Response:
    shown = values if values is not None else _sent(visit.form)
    if "Type" not in shown:
        shown = {**shown, "Type": "", "DetectionFunction": str(DetectionFunction.EQUALS)}
    return visit.page(
        "indicator-form.html",
        faults.status,
        found=found,
        faults=faults,
        values=shown,
        **_words(),
        **choices.definitions(visit.tenant, str(shown.get(OWNER, ""))),
    )


def _sent(form: Form) -> dict[str, Any]:
    names = [one.name for one in INDICATOR.properties if not one.server_set]
    return {name: form.one(name) for name in (*names, OWNER)} | {"Enabled": form.has("Enabled")}


PAGES: tuple[Page, ...] = (
    Page("GET", INDICATORS, the_list, Role.READER),
    Page("GET", f"{INDICATORS}/export", export, Role.READER),
    Page("GET", f"{INDICATORS}/new", new, Role.ANALYST),
    Page("POST", f"{INDICATORS}/new", create, Role.ANALYST),
    Page("POST", f"{INDICATORS}/check", check, Role.ANALYST),
    Page("GET", f"{INDICATORS}/{{id:int}}", show, Role.READER),
    Page("GET", f"{INDICATORS}/{{id:int}}/edit", edit, Role.ANALYST),
    Page("POST", f"{INDICATORS}/{{id:int}}/edit", change, Role.ANALYST),
    Page("POST", f"{INDICATORS}/{{id:int}}/enable", enable, Role.ANALYST),
    Page("POST", f"{INDICATORS}/{{id:int}}/delete", delete, Role.ANALYST),
)
