"""What can be read of the sets: pages, entities, counts, references, properties, related entities.

One road for all sets: the segments of a path are followed through the table of entities (`_reach`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from operator import attrgetter
from typing import Any

from indicia.errors import NotFound
from indicia.odata import format as odata
from indicia.odata import options
from indicia.odata.entities import BY_SET
from indicia.odata.format import Noun
from indicia.odata.options import Expansion, Options
from indicia.odata.shapes import Entity, Navigation, Property
from indicia.store import Page, Within
from indicia.web.api import call as calls
from indicia.web.api.call import NO_CONTENT, Answer, Call

PLAIN = "text/plain; charset=utf-8"
NOT_MODIFIED = 304
_KEY = "(#)"


@dataclass(frozen=True, slots=True)
class Place:
    """Where a path leads: to one entity (None: a way to nothing), or to a collection within something."""

    entity: Entity
    noun: Noun | None = None
    within: Within | None = None


def collection(call: Call) -> Answer:
    """GET a set, or what a navigation property holds"""
    asked = _options(call, options.LIST_OPTIONS, call.path.shape)
    place = _reach(call, call.path.shape)
    found = call.tenant.select(place.entity, asked.query, place.within)
    count = call.tenant.count(place.entity, asked.filter, place.within) if asked.count else None
    more = _related(call, found.found, asked.expand) if asked.expand else ()
    content = odata.collection(
        place.entity,
        found.found,
        call.form,
        count=count,
        next_link=_next_link(call, asked, found),
        asked=asked,
        related=more,
    )
    return _page(call, content)


def references(call: Call) -> Answer:
    """GET the references to the entities of a collection"""
    shape = call.path.shape.removesuffix("/$ref")
    asked = _options(call, options.REFERENCE_OPTIONS, shape)
    place = _reach(call, shape)
    found = call.tenant.select(place.entity, asked.query, place.within)
    count = call.tenant.count(place.entity, asked.filter, place.within) if asked.count else None
    link = _next_link(call, asked, found)
    return _page(call, odata.references(place.entity, found.found, call.form, count=count, next_link=link))


def count(call: Call) -> Answer:
    """GET how many entities a collection has"""
    shape = call.path.shape.removesuffix("/$count")
    asked = _options(call, options.COUNT_OPTIONS, shape)
    place = _reach(call, shape)
    return _plain(str(call.tenant.count(place.entity, asked.filter, place.within)).encode())


def entity(call: Call) -> Answer:
    """GET one entity, by its key or by a way to it; 304 where If-None-Match has it already"""
    asked = _options(call, options.ENTITY_OPTIONS, call.path.shape)
    place = _reach(call, call.path.shape)
    if place.noun is None:
        return NO_CONTENT
    if asked.expand:  # an ETag says nothing of what is expanded, so there is none
        (more,) = _related(call, [place.noun], asked.expand)
        return calls.answer(
            call, odata.entity(place.entity, place.noun, call.form, asked=asked, related=more)
        )
    etag = odata.etag(place.entity, place.noun)
    if call.conditions.unchanged(etag):
        return Answer(NOT_MODIFIED, headers={"ETag": etag})
    content = odata.entity(place.entity, place.noun, call.form, asked=asked)
    return calls.answer(call, content, headers={"ETag": etag})


def reference(call: Call) -> Answer:
    """GET the reference to one entity"""
    options.parse(call.query, options.FORMAT_OPTIONS)
    place = _reach(call, call.path.shape.removesuffix("/$ref"))
    if place.noun is None:
        return NO_CONTENT
    return calls.answer(call, odata.reference(place.entity, place.noun, call.form))


def single(call: Call) -> Answer:
    """GET one property; null is 204"""
    options.parse(call.query, options.FORMAT_OPTIONS)
    place, described, value = _property(call, call.path.shape)
    if value is None:
        return NO_CONTENT
    where = f"{place.entity.set_name}({place.entity.key_of(place.noun)})/{described.name}"
    return calls.answer(call, odata.single(where, value, call.form))


def raw_value(call: Call) -> Answer:
    """GET one property as text; null is 204"""
    options.parse(call.query, options.FORMAT_OPTIONS)
    _, _, value = _property(call, call.path.shape.removesuffix("/$value"))
    return NO_CONTENT if value is None else _plain(odata.raw(value))


def _plain(text: bytes) -> Answer:
    return Answer(200, text, PLAIN)


def _page(call: Call, content: Mapping[str, Any]) -> Answer:
    size = call.wants.page
    applied = {} if size is None else {"Preference-Applied": f"odata.maxpagesize={size}"}
    return calls.answer(call, content, headers=applied)


def _options(call: Call, allowed: frozenset[str], shape: str) -> Options:
    """The options of the query string, pages no longer than the client would like; before the store."""
    asked = options.parse(call.query, allowed, _kind(shape), call.sets)
    size = call.wants.page
    return asked if size is None else replace(asked, page_limit=min(size, asked.page_limit))


def _property(call: Call, shape: str) -> tuple[Place, Property, Any]:
    way, _, name = shape.rpartition("/")
    place = _reach(call, way)
    described = place.entity.by_name[name]
    return place, described, None if place.noun is None else described.of(place.noun)


@lru_cache(maxsize=256)
def _kind(shape: str) -> Entity:
    """What is at the end of a shape of the route table."""
    first, *rest = (step.removesuffix(_KEY) for step in shape.split("/"))
    described = BY_SET[first]
    for step in rest:
        way = described.navigation(step)
        if way is None:
            raise TypeError(shape)
        described = BY_SET[way.target]
    return described


def _reach(call: Call, shape: str) -> Place:
    """Follow the segments of a shape with the keys of the call. Raises NotFound."""
    first, *rest = shape.split("/")
    keys = iter(call.path.keys)
    place = Place(BY_SET[first.removesuffix(_KEY)])
    if first.endswith(_KEY):
        place = Place(place.entity, _by_key(call, place.entity, next(keys)))
    for step in rest:
        way = place.entity.navigation(step.removesuffix(_KEY))
        if way is None or place.noun is None:
            raise NotFound(f"there is nothing at {calls.place(call.path)}")
        place = _follow(call, place.noun, way)
        if step.endswith(_KEY):
            place = Place(place.entity, _inside(call, place, next(keys)))
    return place


def _by_key(call: Call, described: Entity, key: int) -> Noun:
    found: list[Noun] = call.tenant.find(described, "id", [key])
    if not found:
        raise NotFound(f"there is no {described.set_name}({key})")
    return found[0]


def _follow(call: Call, noun: Noun, way: Navigation) -> Place:
    target, key = BY_SET[way.target], attrgetter(way.key_of)(noun)
    if way.many:
        return Place(target, within=Within(way.target_key, key))
    if way.attribute:
        return Place(target, attrgetter(way.attribute)(noun))
    found: list[Noun] = call.tenant.find(target, way.target_key, [key])
    return Place(target, found[0] if found else None)


def _inside(call: Call, place: Place, key: int) -> Noun:
    """The entity of that key, where it belongs to the collection."""
    found = _by_key(call, place.entity, key)
    within = place.within
    if within is None or _target_key(place.entity, within.column)(found) != within.value:
        raise NotFound(f"there is no {calls.place(call.path)}")
    return found


def _target_key(target: Entity, column: str) -> Any:
    """What reads of a noun what the store keeps in a column: of a property, or of what it belongs to."""
    for described in target.properties:
        if described.stored == column:
            return described.of
    return next(attrgetter(way.key_of) for way in target.navigations if way.key == column)


def _next_link(call: Call, asked: Options, page: Page[Any]) -> str | None:
    if page.last is None:
        return None
    query = options.next_query(asked, len(page.found), page.last)
    return f"{call.form.root}/{calls.place(call.path)}?{query}" if query else None


def _related(call: Call, nouns: Sequence[Noun], wanted: Sequence[Expansion]) -> list[dict[str, Any]]:
    """For each noun the members that hold its expanded entities."""
    found: list[dict[str, Any]] = [{} for _ in nouns]
    for item in wanted:
        parts = _many(call, nouns, item) if item.navigation.many else _one(call, nouns, item)
        for members, part in zip(found, parts, strict=True):
            members.update(part)
    return found


def _one(call: Call, nouns: Sequence[Noun], item: Expansion) -> Iterator[dict[str, Any]]:
    targets = _targets(call, nouns, item)
    there = [target for target in targets if target is not None]
    more = _related(call, there, item.options.expand)
    members = iter(odata.members(item.entity, there, call.form, item.options, more))
    for target in targets:
        yield {item.navigation.name: None if target is None else next(members)}


def _targets(call: Call, nouns: Sequence[Noun], item: Expansion) -> list[Noun | None]:
    """For each noun the one entity that a way leads to; None where it is gone."""
    way = item.navigation
    if way.attribute:
        return [attrgetter(way.attribute)(noun) for noun in nouns]
    key_of, key_there = attrgetter(way.key_of), _target_key(item.entity, way.target_key)
    found = call.tenant.find(item.entity, way.target_key, {key_of(noun) for noun in nouns})
    by_key = {key_there(noun): noun for noun in found}
    return [by_key.get(key_of(noun)) for noun in nouns]


def _many(call: Call, nouns: Sequence[Noun], item: Expansion) -> Iterator[dict[str, Any]]:
    way, asked = item.navigation, item.options
    places = [Within(way.target_key, attrgetter(way.key_of)(noun)) for noun in nouns]
    pages = call.tenant.select_each(item.entity, asked.query, places, counted=asked.count)
    for noun, (page, counted) in zip(nouns, pages, strict=True):
        more = _related(call, page.found, asked.expand)
        members: dict[str, Any] = {} if counted is None else {f"{way.name}@odata.count": counted}
        members[way.name] = odata.members(item.entity, page.found, call.form, asked, more)
        query = None if page.last is None else options.next_query(asked, len(page.found), page.last)
        if query:
            owner = _owner(way, noun)
            members[f"{way.name}@odata.nextLink"] = f"{call.form.root}/{owner}/{way.name}?{query}"
        yield members


def _owner(way: Navigation, noun: Noun) -> str:
    """The entity of a noun from which a way starts."""
    described = next(one for one in BY_SET.values() if isinstance(noun, one.noun) and way in one.navigations)
    return f"{described.set_name}({described.key_of(noun)})"
