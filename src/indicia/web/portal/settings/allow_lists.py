"""Allow-lists: made of pasted text or a file, looked at before they silence anything, searched, deleted."""

from __future__ import annotations

from typing import NamedTuple
from urllib.parse import urlencode

from starlette.responses import Response

from indicia import values
from indicia.allow import PREVIEW_DAYS, AllowAction, AllowKind, AllowList, Known, Preview
from indicia.errors import InputError, InvalidValue
from indicia.feeds import warning_lists
from indicia.feeds.warning_lists import WarningList
from indicia.model import DetectionFunction, IndicatorType
from indicia.telemetry.sources import Source
from indicia.web.portal.kept import Figures
from indicia.web.portal.pages import Page, Role
from indicia.web.portal.settings import slices
from indicia.web.portal.settings.given import Given
from indicia.web.portal.visit import Visit

LISTS = "/portal/settings/allow-lists"
FAULTS = 50
"""Entries that cannot be used which the page names; the rest is counted."""
NAMED = 25
"""Entries that a preview names."""
DAYS = 30
SOON = 2
"""Seconds until a page asks again for the preview that is not worked out yet."""
VALUE_LIMIT = 4096
KINDS: tuple[tuple[str, str], ...] = (
    (str(AllowKind.STRING), "String: exactly this value"),
    (str(AllowKind.HOSTNAME), "Hostname: this name and every name below it"),
    (str(AllowKind.CIDR), "Cidr: addresses within this network"),
    (str(AllowKind.SUBSTRING), "Substring: what holds this text"),
    (str(AllowKind.REGEX), "Regex: what holds something that fulfils this expression"),
)


class Checked(NamedTuple):
    """A value that was asked about, and the entries that know it, the deciding one first."""

    value: str
    type: IndicatorType
    known: tuple[Known, ...]


class Previewing(NamedTuple):
    """A preview that was asked for."""

    here: str
    """Its page."""
    days: int
    action: AllowAction
    figures: Figures[Preview] | None
    """None: it is being worked out."""
    seen: int
    """Indicators and detections that were looked at so far."""
    every: int = SOON


class Brought(NamedTuple):
    """What an import made, and what it could not use."""

    lists: list[AllowList]
    faults: list[str]
    unused: int
    """How many entries could not be used."""


def the_list(visit: Visit, fault: InputError | None = None, brought: Brought | None = None) -> Response:
    """GET /portal/settings/allow-lists: all lists; with `?check=` also which ones know a value."""
    checked, wrong = None, ""
    try:
        checked = _check(visit)
    except InvalidValue as error:
        wrong = error.message
    found = slices.behind(visit.tenant.allow_lists.all(), lambda one: one.id, visit.query("after"))
    return visit.page(
        "allow-lists.html",
        fault.status if fault else 400 if wrong else 200,
        lists=found.rows,
        next=f"{LISTS}?after={found.mark}" if found.mark else None,
        first=LISTS if visit.query("after") else None,
        kinds=KINDS,
        types=[str(one) for one in IndicatorType],
        checked=checked,
        check=visit.query("check"),
        check_fault=wrong,
        given=Given(visit.form),
        fault=fault,
        brought=brought,
    )


def _check(visit: Visit) -> Checked | None:
    """Which lists in force know the value of `?check=`; InvalidValue."""
    text = visit.query("check").strip()
    if not text:
        return None
    if len(text) > VALUE_LIMIT:
        raise InvalidValue(f"has at most {VALUE_LIMIT:,} characters")
    kind = values.guess_type(text)
    if kind is None:
        raise InvalidValue("looks like no indicator")
    canonical = values.indicator_value(kind, DetectionFunction.EQUALS, text)
    return Checked(canonical, kind, visit.tenant.allow_lists.allowance().known(kind, canonical))


def create(visit: Visit) -> Response:
    """POST /portal/settings/allow-lists: lists of pasted text or of a file; new ones are disabled."""
    try:
        brought = _import(visit, visit.form.one("name").strip() or None)
    except InputError as fault:
        return the_list(visit, fault)
    if not brought.unused and len(brought.lists) == 1:
        return visit.go(_path(brought.lists[0]), _told(brought.lists[0]))
    return the_list(visit, brought=brought)


def _told(one: AllowList) -> str:
    entries = f"{one.entry_count:,} {'entry' if one.entry_count == 1 else 'entries'}"
    return f"{one.name} has {entries}." + (
        "" if one.enabled else " It is disabled: look at the preview first."
    )


def _import(visit: Visit, name: str | None) -> Brought:
    """What the form holds, stored under a name or under those it says itself. InputError."""
    form = visit.form
    types = tuple(kind for kind in IndicatorType if str(kind) in form.many("types"))
    faults: list[str] = []
    count = 0

    def fault(line: int, words: str) -> None:
        nonlocal count
        count += 1
        if len(faults) < FAULTS:
            faults.append(f"line {line:,}: {words}" if line else words)

    ready = [warning_lists.ready(one, types, fault) for one in _read(visit, name)]
    if count and form.has("strict"):
        raise InputError(
            f"{count:,} of the entries cannot be used; nothing was stored. {faults[0]}", target="text"
        )
    if not any(entries for _, entries in ready):
        raise InputError(faults[0] if faults else "holds no entry", target="text")
    by = visit.person.name
    made = [visit.tenant.allow_lists.put(new, entries, by) for new, entries in ready]
    return Brought(made, faults, count)


def _read(visit: Visit, name: str | None) -> list[WarningList]:
    """The lists of the file, or else of the text; InputError, MalformedFile."""
    form = visit.form
    sent, text = form.file("file"), form.one("text")
    if (sent is None) == (not text.strip()):
        raise InvalidValue("paste entries or choose a file: one of the two", target="text")
    kind = form.one("kind")
    if kind and kind not in list(AllowKind):
        raise InvalidValue(f"must be one of {', '.join(AllowKind)}", target="kind")
    place = sent.name[:100] if sent else "text"
    try:
        if sent is not None:
            text = warning_lists.unpacked(Source(place, None, held=sent.content.read()))
        found = warning_lists.lists(text, place, name, AllowKind(kind) if kind else None)
    except InputError as fault:
        # The command line's words about options would mislead here.
        plain = fault.message.startswith("a plain list says")
        if plain and not name:
            raise InputError("a plain list needs a name", target="name") from None
        if plain:
            raise InputError("say what the lines of a plain list are", target="kind") from None
        raise InputError(str(fault), target="text") from None
    if not found:
        raise InvalidValue("holds no list of that name", target="name")
    return found


def _one(visit: Visit) -> AllowList:
    """By its number, because a name may hold what a path cannot; NotFound."""
    return visit.tenant.allow_lists.one(int(visit.at("id")))


def _path(one: AllowList) -> str:
    return f"{LISTS}/{one.id}"


def allow_list(visit: Visit) -> Response:
    """GET /portal/settings/allow-lists/{id}: what it is, and its entries by `?q=`."""
    return _show(visit, _one(visit))


def _show(
    visit: Visit,
    found: AllowList,
    *,
    fault: InputError | None = None,
    previewing: Previewing | None = None,
    brought: Brought | None = None,
) -> Response:
    text, after = visit.query("q"), visit.query("after", "0")
    if len(text) > VALUE_LIMIT:
        raise InvalidValue(f"has at most {VALUE_LIMIT:,} characters", target="q")
    if not (after.isascii() and after.isdecimal() and len(after) < 19):
        raise InvalidValue("is no place in the list; begin again without it", target="after")
    hits = visit.tenant.allow_lists.search(found.id, text, after=int(after), limit=slices.AT_ONCE)
    here, query = _path(found), {"q": text} if text else {}
    return visit.page(
        "allow-list.html",
        200 if fault is None else fault.status,
        one=found,
        home=here,
        entries=hits.found,
        q=text,
        next=None if hits.after is None else f"{here}?{urlencode({**query, 'after': hits.after})}",
        first=f"{here}?{urlencode(query)}" if after != "0" else None,
        days=DAYS,
        most_days=PREVIEW_DAYS,
        kinds=KINDS,
        actions=[str(one) for one in AllowAction],
        given=Given(visit.form),
        fault=fault,
        brought=brought,
        previewing=previewing,
    )


def preview(visit: Visit) -> Response:
    """GET /portal/settings/allow-lists/{id}/preview: what it does, or would do, to all there is.

    With htmx that part alone, which asks for itself until it is worked out beside the requests.
    """
    found = _one(visit)
    days, action = visit.query("days", str(DAYS)).strip(), visit.query("action")
    if not (days.isascii() and days.isdecimal() and len(days) < 6 and 1 <= int(days) <= PREVIEW_DAYS):
        fault = InvalidValue(f"must be a whole number from 1 to {PREVIEW_DAYS:,}", target="days")
        return _show(visit, found, fault=fault)
    as_if = AllowAction(action) if action in list(AllowAction) else found.action
    made = _preview(visit, found, int(days), as_if)
    if visit.partial:
        return visit.part("allow-list.html", "previewed", previewing=made)
    return _show(visit, found, previewing=made)


def _preview(visit: Visit, found: AllowList, days: int, action: AllowAction) -> Previewing:
    """It is made anew after each change of a list; TooManyRequests."""
    lists, previews = visit.tenant.allow_lists, visit.portal.previews
    key = (visit.tenant.uid, found.id, lists.revision(), days, action)

    def make() -> Preview:
        return lists.preview(found.id, days, action, lambda seen: previews.note(key, seen)).short(NAMED)

    figures = previews.ask(key, visit.tenant.overview.state(), make)
    here = f"{_path(found)}/preview?{urlencode({'days': days, 'action': action})}"
    return Previewing(here, days, action, figures, previews.noted(key))


def change(visit: Visit) -> Response:
    """POST /portal/settings/allow-lists/{id}: its name, owner, comment, and what it does."""
    found, form = _one(visit), visit.form
    try:
        if form.one("action") not in list(AllowAction):
            raise InvalidValue(f"must be one of {', '.join(AllowAction)}", target="Action")
        changes = {
            "name": form.one("name").strip(),
            "owner": form.one("owner"),
            "comment": form.one("comment"),
            "action": AllowAction(form.one("action")),
        }
        visit.tenant.allow_lists.change(found.id, changes, visit.person.name)
    except InvalidValue as fault:
        return _show(visit, found, fault=fault)
    when = "" if found.enabled else ", once it is enabled"
    return visit.go(_path(found), f"Saved. It acts on what is detected from now on{when}.")


def enable(visit: Visit) -> Response:
    """POST /portal/settings/allow-lists/{id}/enable"""
    return _switch(visit, on=True)


def disable(visit: Visit) -> Response:
    """POST /portal/settings/allow-lists/{id}/disable"""
    return _switch(visit, on=False)


def _switch(visit: Visit, *, on: bool) -> Response:
    found = _one(visit)
    visit.tenant.allow_lists.change(found.id, {"enabled": on}, visit.person.name)
    said = (
        "in force, for what is detected from now on" if on else "out of force; what it kept silent stays so"
    )
    return visit.go(_path(found), f"{found.name} is {said}.")


def replace(visit: Visit) -> Response:
    """POST /portal/settings/allow-lists/{id}/entries: others in place of those it has."""
    found = _one(visit)
    try:
        brought = _import(visit, found.name)
    except InputError as fault:
        return _show(visit, found, fault=fault)
    if brought.unused:
        return _show(visit, _one(visit), brought=brought)
    return visit.go(_path(found), _told(brought.lists[0]))


def delete(visit: Visit) -> Response:
    """POST /portal/settings/allow-lists/{id}/delete: with its entries; what it kept silent stays so."""
    found = _one(visit)
    visit.tenant.allow_lists.delete(found.id)
    return visit.go(LISTS, f"{found.name} is gone.")


_ONE = f"{LISTS}/{{id:int}}"
PAGES: tuple[Page, ...] = (
    Page("GET", LISTS, the_list, Role.ADMINISTRATOR),
    Page("POST", LISTS, create, Role.ADMINISTRATOR),
    Page("GET", _ONE, allow_list, Role.ADMINISTRATOR),
    Page("POST", _ONE, change, Role.ADMINISTRATOR),
    Page("GET", f"{_ONE}/preview", preview, Role.ADMINISTRATOR),
    Page("POST", f"{_ONE}/enable", enable, Role.ADMINISTRATOR),
    Page("POST", f"{_ONE}/disable", disable, Role.ADMINISTRATOR),
    Page("POST", f"{_ONE}/entries", replace, Role.ADMINISTRATOR),
    Page("POST", f"{_ONE}/delete", delete, Role.ADMINISTRATOR),
)
