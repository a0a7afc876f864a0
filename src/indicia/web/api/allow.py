"""Allow-lists and their entries: what is known to be harmless, and what comes of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from indicia import allow, values
from indicia.allow import AllowEntry, AllowList
from indicia.errors import InvalidValue, PreconditionFailed
from indicia.model import DetectionFunction, IndicatorType
from indicia.odata import bodies, options
from indicia.odata import format as odata
from indicia.odata.entities import ALLOW_ENTRY, ALLOW_LIST, CHECK_ALLOW_LISTS, PREVIEW_ALLOW_LIST
from indicia.odata.records import ALLOW_KNOWN, ALLOW_PREVIEW
from indicia.web.api import call as calls
from indicia.web.api.call import NO_CONTENT, Answer, Call


def create(call: Call) -> Answer:
    """POST AllowLists: without entries, and disabled unless it says otherwise"""
    options.none(call.query)
    given = bodies.one(ALLOW_LIST, bodies.decode(call.body), call.roots, partial=False)
    made = call.tenant.allow_lists.add(AllowList(**given.attributes), call.by)
    return calls.entity(call, ALLOW_LIST, made, created=True)


def change(call: Call) -> Answer:
    """PATCH AllowLists(1): Name, Owner, Comment, Enabled, Action, Types"""
    options.none(call.query)
    given = bodies.one(ALLOW_LIST, bodies.decode(call.body), call.roots, partial=True)
    check = calls.check(call, ALLOW_LIST)

    def changes(before: AllowList) -> Mapping[str, object]:
        check(before)
        return given.attributes

    return calls.entity(call, ALLOW_LIST, call.tenant.allow_lists.change(call.key, changes, call.by))


def delete(call: Call) -> Answer:
    """DELETE AllowLists(1), with its entries; what it kept in silence stays so"""
    options.none(call.query)
    call.tenant.allow_lists.delete(call.key, calls.check(call, ALLOW_LIST))
    return NO_CONTENT


def check(call: Call) -> Answer:
    """POST AllowLists/Actions.Check: which lists in force know a value, the one that decides first"""
    options.none(call.query)
    given = bodies.one(CHECK_ALLOW_LISTS, bodies.decode(call.body), call.roots, partial=False).attributes
    kind = given.get("type") or values.guess_type(given["value"].strip())
    if kind is None:
        raise InvalidValue("looks like no indicator; give its Type", target="Value")
    canonical = values.indicator_value(kind, DetectionFunction.EQUALS, given["value"])
    known = call.tenant.allow_lists.allowance().known(kind, canonical)
    return calls.answer(call, odata.records(ALLOW_KNOWN, known, call.form))


def preview(call: Call) -> Answer:
    """POST AllowLists(1)/Actions.Preview: what it does, or would do were it enabled"""
    options.none(call.query)
    body = bodies.decode(call.body) if call.body else {}
    given = bodies.one(PREVIEW_ALLOW_LIST, body, call.roots, partial=False).attributes
    found = call.tenant.allow_lists.preview(call.key, given.get("days", 30), given.get("action"))
    return calls.answer(call, odata.record(ALLOW_PREVIEW, found, call.form))


def add_entry(call: Call) -> Answer:
    """POST AllowLists(1)/Entries"""
    options.none(call.query)
    given = bodies.one(ALLOW_ENTRY, bodies.decode(call.body), call.roots, partial=False)
    owner = call.tenant.allow_lists.one(call.key)
    found = _entries(given, owner, "")
    if len(found) > 1:
        kinds = ", ".join(str(one.type) for one in found)
        raise InvalidValue(f"may be of several types; say which: {kinds}", target="Type")
    made = call.tenant.allow_lists.add_entries(call.key, found, call.by)
    if not made:
        raise InvalidValue(f"{owner.name} holds this entry already", target="Value")
    return calls.entity(call, ALLOW_ENTRY, made[0], created=True)


def add_entries(call: Call) -> Answer:
    """POST AllowLists(1)/Actions.AddEntries: those that it has already are passed over"""
    owner, found = _many(call, "AddEntries")
    call.tenant.allow_lists.add_entries(owner.id, found, call.by, calls.check(call, ALLOW_LIST))
    return calls.entity(call, ALLOW_LIST, call.tenant.allow_lists.one(owner.id))


def replace_entries(call: Call) -> Answer:
    """POST AllowLists(1)/Actions.ReplaceEntries: these in place of all that it has"""
    owner, found = _many(call, "ReplaceEntries")
    tag = calls.check(call, ALLOW_LIST)

    def check_(before: AllowList) -> None:
        tag(before)
        if (before.id, before.types) != (owner.id, owner.types):
            raise PreconditionFailed("somebody has changed Name or Types meanwhile; read the list again")

    made = call.tenant.allow_lists.put(owner, found, call.by, check_)
    return calls.entity(call, ALLOW_LIST, made)


def delete_entry(call: Call) -> Answer:
    """DELETE AllowEntries(1)"""
    options.none(call.query)
    call.tenant.allow_lists.delete_entry(call.key, call.by, calls.check(call, ALLOW_ENTRY))
    return NO_CONTENT


def delete_entries(call: Call) -> Answer:
    """DELETE AllowLists(1)/Entries: all of them. Any option would be a misunderstanding."""
    options.refuse_any(call.query)
    call.tenant.allow_lists.delete_entries(call.key, call.by)
    return NO_CONTENT


def _many(call: Call, action: str) -> tuple[AllowList, list[AllowEntry]]:
    """The list of a call, and the entries that its body gives; with every fault that they have."""
    options.none(call.query)
    rows = bodies.bulk(ALLOW_ENTRY, bodies.decode(call.body), action).rows
    given = bodies.many(ALLOW_ENTRY, rows, call.roots)
    owner, faults = call.tenant.allow_lists.one(call.key), bodies.Faults()
    found: list[AllowEntry] = []
    for index, one in enumerate(given):
        place = f"{ALLOW_ENTRY.bulk}[{index}]."
        try:
            found += _entries(one, owner, place)
        except InvalidValue as error:
            faults.add(error.target or place, error.message)
        if faults.full:
            break
    faults.raise_any()
    return owner, found


def _entries(given: bodies.Given, owner: AllowList, place: str) -> Sequence[AllowEntry]:
    """What one entry of a body becomes in a list; InvalidValue."""
    kind: IndicatorType | None = given.attributes.get("type")
    if kind is not None and owner.types and kind not in owner.types:
        types = ", ".join(owner.types)
        raise InvalidValue(f"{owner.name} is about {types} alone", target=f"{place}Type")
    types_ = owner.types if kind is None else (kind,)
    try:
        return allow.entries(given.attributes["kind"], given.attributes["value"], types_)
    except InvalidValue as error:
        raise InvalidValue(error.message, target=f"{place}{error.target or 'Value'}") from None
