"""The paste box: any text, then what was understood of it, then what of that is stored."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from typing import NamedTuple

from starlette.responses import Response

from indicia import allow, values
from indicia.errors import IndiciaError, InputError, InvalidValue
from indicia.feeds import make, pasted
from indicia.feeds.rows import FeedRow, function_of, type_of
from indicia.model import (
    SOURCE_LIMIT,
    VALUE_LIMIT,
    AlertDefinition,
    DetectionFunction,
    Indicator,
    IndicatorType,
)
from indicia.store import TenantStore, Upload
from indicia.web.portal.forms import Form
from indicia.web.portal.intel import choices
from indicia.web.portal.intel.fields import OWNER
from indicia.web.portal.pages import Page, Role
from indicia.web.portal.visit import Visit

PASTE = "/portal/paste"
FORMATS = {
    "csv": "a table",
    "ndjson": "NDJSON",
    "list": "a list with a value a line",
    "text": "free text, which was searched",
}
_NAMED = 3


class Offered(NamedTuple):
    """One indicator that was understood, as the page shows it."""

    number: int
    type: str
    value: str
    canonical: str
    function: str
    functions: Sequence[str]
    """Those that go with the type."""
    line: int
    excerpt: str
    warnings: Sequence[str]
    stored: Sequence[Indicator]
    """Of the same value, under any definition."""
    picked: bool
    fault: str = ""


def box(visit: Visit) -> Response:
    """GET /portal/paste"""
    return _page(visit)


def understand(visit: Visit) -> Response:
    """POST /portal/paste: what was understood; nothing is stored."""
    text = visit.form.one("text")
    try:
        if not text.strip():
            raise InvalidValue("paste a text first: a mail, a report, a table, a list", target="text")
        source = visit.form.one("source").strip()
        if len(source) > SOURCE_LIMIT:
            raise InvalidValue(f"has at most {SOURCE_LIMIT} characters", target="source")
        reading = pasted.read(text)
    except IndiciaError as error:
        return _page(visit, error)
    return _page(visit, reading=reading, rows=_offered(visit.tenant, reading.rows))


def _offered(tenant: TenantStore, rows: Sequence[pasted.Understood]) -> list[Offered]:
    known = allow.warnings(tenant.allow_lists.allowance())
    stored: dict[tuple[str, str], list[Indicator]] = {}
    for one in tenant.catalogue.stored(row.indicator.canonical for row in rows):
        stored.setdefault((one.type, one.canonical), []).append(one)
    return [_row(number, row, known(row.indicator), stored) for number, row in enumerate(rows)]


def _row(
    number: int,
    row: pasted.Understood,
    known: Sequence[str],
    stored: dict[tuple[str, str], list[Indicator]],
) -> Offered:
    found = row.indicator
    same = stored.get((found.type, found.canonical), [])
    return Offered(
        number,
        found.type,
        found.value,
        found.canonical,
        found.function,
        functions_of(found.type),
        row.line,
        row.excerpt,
        (*row.warnings, *known),
        same[:_NAMED],
        picked=not row.warnings and not known and not same,
    )


def functions_of(kind: IndicatorType) -> list[str]:
    """Detection functions that a type can have."""
    names = kind is IndicatorType.DOMAIN_NAME
    return [str(one) for one in DetectionFunction if names or one is not DetectionFunction.SUBDOMAIN_OF]


def store(visit: Visit) -> Response:
    """POST /portal/paste/store: what was ticked, all or nothing; what is there already stays as it is."""
    form = visit.form
    faults: dict[int, str] = {}
    try:
        owner = choices.definition(visit.tenant, form.one(OWNER))
        made = _picked(form, owner, faults)
        if not made and not faults:
            raise InvalidValue("tick what is to be stored", target="pick")
    except InputError as error:
        return _page(visit, error, rows=_sent(visit, faults))
    if faults:
        wrong = InvalidValue("nothing was stored: see what is wrong beside the rows", target="rows")
        return _page(visit, wrong, rows=_sent(visit, faults))
    new = [Upload(one, lambda _before: {}) for one in made]
    outcomes = visit.tenant.upload_indicators(new, visit.person.name, upsert=True, whole=True)
    created = sum(getattr(one, "created", False) for one in outcomes)
    kept = len(outcomes) - created
    said = (
        f"{created:,} {'indicator is' if created == 1 else 'indicators are'} stored under {owner.title[:80]}"
    )
    more = f"; {kept:,} {'was' if kept == 1 else 'were'} there already." if kept else "."
    return visit.go(f"/portal/definitions/{owner.id}", said + more)


def _picked(form: Form, owner: AlertDefinition, faults: dict[int, str]) -> list[Indicator]:
    """The indicators that were ticked; what is wrong with the others, by number."""
    made = []
    source = form.one("source").strip()[:SOURCE_LIMIT] or None
    for number in _numbers(form):
        try:
            row = FeedRow(
                0,
                type_of(form.one(f"type-{number}")),
                form.one(f"value-{number}")[: VALUE_LIMIT + 1],
                function_of(form.one(f"function-{number}")),
            )
            found, _ = make.indicator(row, owner, make.Choice(source=source))
            made.append(replace(found, definition=owner))
        except (InvalidValue, ValueError) as error:
            faults[number] = make.words(error)
    return made


def _numbers(form: Form) -> list[int]:
    known = {str(number): number for number in range(pasted.MOST)}
    return [known[one] for one in form.many("pick") if one in known]


def _sent(visit: Visit, faults: dict[int, str]) -> list[Offered]:
    """The rows of the form again, with what is wrong and what is known of them."""
    form, picked = visit.form, set(_numbers(visit.form))
    rows, known = [], _known(visit)
    for number in range(pasted.MOST):
        value = form.one(f"value-{number}")[: VALUE_LIMIT + 1]
        if not value or form.one(f"type-{number}") not in list(IndicatorType):
            continue
        kind = IndicatorType(form.one(f"type-{number}"))
        function = form.one(f"function-{number}")
        canonical = values.canonical(kind, value) or value
        rows.append(
            Offered(
                number,
                kind,
                value,
                canonical,
                function,
                functions_of(kind),
                0,
                "",
                known[number].warnings if number in known else (),
                known[number].stored if number in known else (),
                number in picked,
                faults.get(number, ""),
            )
        )
    return rows


def _known(visit: Visit) -> dict[int, Offered]:
    """What is known of the rows of the form that can be used, by their number."""
    form, read = visit.form, {}
    for number in range(pasted.MOST):
        kind, value = form.one(f"type-{number}"), form.one(f"value-{number}")[: VALUE_LIMIT + 1]
        if value and kind in list(IndicatorType):
            with suppress(InvalidValue):
                row = FeedRow(0, IndicatorType(kind), value)
                found, warnings = make.indicator(row, make.NOBODY, make.Choice(subdomains=True))
                read[number] = pasted.Understood(found, 0, "", warnings)
    return dict(zip(read, _offered(visit.tenant, list(read.values())), strict=True))


def _page(
    visit: Visit,
    fault: IndiciaError | None = None,
    *,
    reading: pasted.Reading | None = None,
    rows: Sequence[Offered] = (),
) -> Response:
    return visit.page(
        "paste.html",
        fault.status if fault else 200,
        fault=fault,
        reading=reading,
        rows=rows,
        formats=FORMATS,
        text="" if rows else visit.form.one("text"),
        source=visit.form.one("source")[:SOURCE_LIMIT],
        most=pasted.MOST,
        **choices.definitions(visit.tenant, visit.form.one(OWNER) or visit.query("definition")),
    )


PAGES: tuple[Page, ...] = (
    Page("GET", PASTE, box, Role.ANALYST),
    Page("POST", PASTE, understand, Role.ANALYST),
    Page("POST", f"{PASTE}/store", store, Role.ANALYST),
)
