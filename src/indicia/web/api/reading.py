"""What can be read of the two sets: pages, entities, counts, references, properties, related entities."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from indicia.errors import NotFound
from indicia.model import AlertDefinition, Indicator
from indicia.odata import format as odata
from indicia.odata import options
from indicia.odata.entities import ALERT_DEFINITION, INDICATOR, Entity, Property
from indicia.odata.options import Expansion, Options
from indicia.store import Page
from indicia.web.api import call as calls
from indicia.web.api.call import NO_CONTENT, Answer, Call

PLAIN = "text/plain; charset=utf-8"


def definitions(call: Call) -> Answer:
    """GET AlertDefinitions"""
    asked = options.parse(call.query, options.LIST_OPTIONS, ALERT_DEFINITION)
    found = call.tenant.select_definitions(asked.query)
    count = call.tenant.count_definitions(asked.filter) if asked.count else None
    return _page(call, ALERT_DEFINITION, asked, found, count)


def indicators(call: Call) -> Answer:
    """GET IndicatorsOfCompromise, of all or of the definition that the path names"""
    asked = options.parse(call.query, options.LIST_OPTIONS, INDICATOR)
    owner = _owner_id(call)
    found = call.tenant.select_indicators(asked.query, owner)
    count = call.tenant.count_indicators(asked.filter, owner) if asked.count else None
    return _page(call, INDICATOR, asked, found, count)


def definition_references(call: Call) -> Answer:
    """GET AlertDefinitions/$ref"""
    asked = options.parse(call.query, options.REFERENCE_OPTIONS, ALERT_DEFINITION)
    found = call.tenant.select_definitions(asked.query)
    count = call.tenant.count_definitions(asked.filter) if asked.count else None
    link = _next_link(call, asked, found)
    content = odata.references(ALERT_DEFINITION, found.found, call.form, count=count, next_link=link)
    return calls.answer(call, content)


def indicator_references(call: Call) -> Answer:
    """GET IndicatorsOfCompromise/$ref, of all or of the definition that the path names"""
    asked = options.parse(call.query, options.REFERENCE_OPTIONS, INDICATOR)
    owner = _owner_id(call)
    found = call.tenant.select_indicators(asked.query, owner)
    count = call.tenant.count_indicators(asked.filter, owner) if asked.count else None
    link = _next_link(call, asked, found)
    return calls.answer(
        call, odata.references(INDICATOR, found.found, call.form, count=count, next_link=link)
    )


def definition_count(call: Call) -> Answer:
    """GET AlertDefinitions/$count"""
    asked = options.parse(call.query, options.COUNT_OPTIONS, ALERT_DEFINITION)
    return _plain(str(call.tenant.count_definitions(asked.filter)).encode())


def indicator_count(call: Call) -> Answer:
    """GET IndicatorsOfCompromise/$count, of all or of the definition that the path names"""
    asked = options.parse(call.query, options.COUNT_OPTIONS, INDICATOR)
    return _plain(str(call.tenant.count_indicators(asked.filter, _owner_id(call))).encode())


def entity(call: Call) -> Answer:
    """GET one entity, by its key or by the way from an indicator to its definition"""
    described = _kind(call.path.shape)
    asked = options.parse(call.query, options.ENTITY_OPTIONS, described)
    noun = _noun(call, call.path.shape)
    (more,) = _related(call, [noun], asked.expand)
    content = odata.entity(described, noun, call.form, asked=asked, related=more)
    return calls.answer(call, content)


def reference(call: Call) -> Answer:
    """GET the reference to one entity"""
    options.parse(call.query, options.FORMAT_OPTIONS)
    shape = call.path.shape.removesuffix("/$ref")
    return calls.answer(call, odata.reference(_kind(shape), _noun(call, shape), call.form))


def single(call: Call) -> Answer:
    """GET one property; null is 204"""
    options.parse(call.query, options.FORMAT_OPTIONS)
    described, noun, item = _property(call, call.path.shape)
    value = getattr(noun, item.attribute)
    if value is None:
        return NO_CONTENT
    place = f"{described.set_name}({noun.id})/{item.name}"
    return calls.answer(call, odata.single(place, value, call.form))


def raw_value(call: Call) -> Answer:
    """GET one property as text; null is 204"""
    options.parse(call.query, options.FORMAT_OPTIONS)
    _, noun, item = _property(call, call.path.shape.removesuffix("/$value"))
    value = getattr(noun, item.attribute)
    return NO_CONTENT if value is None else _plain(odata.raw(value))


def _plain(text: bytes) -> Answer:
    return Answer(200, text, PLAIN)


def _property(call: Call, shape: str) -> tuple[Entity, AlertDefinition | Indicator, Property]:
    place, _, name = shape.rpartition("/")
    described = _kind(place)
    return described, _noun(call, place), described.by_name[name]


def _kind(shape: str) -> Entity:
    """What a shape that leads to one entity leads to."""
    last = shape.rpartition("/")[2]
    return INDICATOR if last.startswith(INDICATOR.set_name) else ALERT_DEFINITION


def _noun(call: Call, shape: str) -> AlertDefinition | Indicator:
    """The entity that a shape and the keys of the call lead to. Raises NotFound."""
    first, *rest = shape.split("/")
    if first.startswith(INDICATOR.set_name):
        found = call.tenant.indicator(call.key)
        return found.definition if rest else found
    if not rest:
        return call.tenant.definition(call.key)
    number = call.path.keys[1]
    found = call.tenant.indicator(number)
    if found.definition.id != call.key:
        raise NotFound(f"AlertDefinitions({call.key}) has no IndicatorsOfCompromise({number})")
    return found


def _owner_id(call: Call) -> int | None:
    """The definition whose indicators a path names; None for those of all. Raises NotFound."""
    if not call.path.keys:
        return None
    if call.path.shape.startswith(ALERT_DEFINITION.set_name):
        return call.tenant.definition(call.key).id
    return call.tenant.indicator(call.key).definition.id


def _page(
    call: Call,
    described: Entity,
    asked: Options,
    page: Page[AlertDefinition] | Page[Indicator],
    count: int | None,
) -> Answer:
    more = _related(call, page.found, asked.expand) if asked.expand else ()
    link = _next_link(call, asked, page)
    content = odata.collection(
        described, page.found, call.form, count=count, next_link=link, asked=asked, related=more
    )
    return calls.answer(call, content)


def _next_link(call: Call, asked: Options, page: Page[AlertDefinition] | Page[Indicator]) -> str | None:
    if page.last is None:
        return None
    query = options.next_query(asked, len(page.found), page.last)
    return f"{call.form.root}/{calls.place(call.path)}?{query}" if query else None


def _related(
    call: Call, nouns: Sequence[AlertDefinition | Indicator], wanted: Sequence[Expansion]
) -> list[dict[str, Any]]:
    """For each noun the members that hold its expanded entities."""
    found: list[dict[str, Any]] = [{} for _ in nouns]
    for item in wanted:
        parts = _many(call, nouns, item) if item.navigation.many else _one(call, nouns, item)
        for members, part in zip(found, parts, strict=True):
            members.update(part)
    return found


def _one(
    call: Call, nouns: Sequence[AlertDefinition | Indicator], item: Expansion
) -> Iterator[dict[str, Any]]:
    targets = [getattr(noun, item.navigation.attribute or "") for noun in nouns]
    more = _related(call, targets, item.options.expand)
    for member in odata.members(item.entity, targets, call.form, item.options, more):
        yield {item.navigation.name: member}


def _many(
    call: Call, nouns: Sequence[AlertDefinition | Indicator], item: Expansion
) -> Iterator[dict[str, Any]]:
    name, asked = item.navigation.name, item.options
    pages = call.tenant.select_indicators_of((noun.id for noun in nouns), asked.query, counted=asked.count)
    for noun in nouns:
        page, count = pages[noun.id]
        more = _related(call, page.found, asked.expand)
        members: dict[str, Any] = {} if count is None else {f"{name}@odata.count": count}
        members[name] = odata.members(item.entity, page.found, call.form, asked, more)
        query = None if page.last is None else options.next_query(asked, len(page.found), page.last)
        if query:
            place = f"{ALERT_DEFINITION.set_name}({noun.id})/{name}"
            members[f"{name}@odata.nextLink"] = f"{call.form.root}/{place}?{query}"
        yield members
