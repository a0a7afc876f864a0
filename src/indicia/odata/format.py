"""Entities as OData JSON, with as many annotations as were asked for (OData JSON 4.01, 3.1 and 4)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache
from hashlib import blake2b
from operator import attrgetter
from typing import TYPE_CHECKING, Any

import msgspec

from indicia.allow import AllowEntry, AllowList
from indicia.errors import Detail, IndiciaError, InvalidValue
from indicia.messages import Message, Output
from indicia.model import (
    Alert,
    AlertChange,
    AlertComment,
    AlertDefinition,
    AuditEntry,
    Detection,
    Indicator,
    Suppression,
)
from indicia.odata.entities import NAMESPACE
from indicia.odata.shapes import Entity, Record

if TYPE_CHECKING:
    from indicia.odata.options import Options

Noun = (
    AlertDefinition
    | Indicator
    | Alert
    | Detection
    | AlertComment
    | AlertChange
    | Suppression
    | AllowList
    | AllowEntry
    | Output
    | Message
    | AuditEntry
)
WARNINGS = "@indicia.warnings"
MADE = "@indicia.secret"
"""The annotation of a new output that tells the secret that was made for it, this once."""
STATUS = "@indicia.status"
ERROR = "@indicia.error"
"""Annotations of the results of a bulk upload that goes on after errors."""


class Level(StrEnum):
    """The media type parameter `odata.metadata`."""

    NONE = "none"
    MINIMAL = "minimal"
    FULL = "full"


@dataclass(frozen=True, slots=True)
class Format:
    """How an answer is written."""

    root: str
    """The service root as the client wrote it, without slash at its end: `https://host:8443/V1.0`."""
    level: Level = Level.MINIMAL

    @property
    def media_type(self) -> str:
        """The answer's Content-Type."""
        return f"application/json; odata.metadata={self.level.value}; charset=utf-8"


def level_of(accept: str) -> Level:
    """The level that an Accept header asks for; minimal unless said.

    `odata.metadata=none` and, as 4.01 spells it, `metadata=none`. Raises InvalidValue for other words.
    """
    for part in accept.lower().replace(",", ";").split(";"):
        name, _, value = part.strip().partition("=")
        if name in ("odata.metadata", "metadata"):
            try:
                return Level(value.strip().strip('"'))
            except ValueError:
                raise InvalidValue("odata.metadata must be none, minimal or full", target="Accept") from None
    return Level.MINIMAL


def entity(
    described: Entity,
    noun: Noun,
    form: Format,
    warnings: Sequence[str] = (),
    *,
    asked: Options | None = None,
    related: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """One entity as the whole of an answer, with the members of related entities."""
    content: dict[str, Any] = {}
    if form.level is not Level.NONE:
        content["@odata.context"] = f"{form.root}/$metadata#{described.set_name}{_shape(asked)}/$entity"
    if warnings:
        content[WARNINGS] = list(warnings)
    content |= member(described, noun, form, asked)
    return {**content, **(related or {})}


def collection(
    described: Entity,
    nouns: Iterable[Noun],
    form: Format,
    *,
    count: int | None = None,
    next_link: str | None = None,
    warnings: Sequence[str] = (),
    asked: Options | None = None,
    related: Sequence[Mapping[str, Any]] = (),
) -> dict[str, Any]:
    """A page of entities. Count and next link belong to every level. `related`: none, or as many as nouns."""
    content: dict[str, Any] = {}
    if form.level is not Level.NONE:
        content["@odata.context"] = f"{form.root}/$metadata#{described.set_name}{_shape(asked)}"
    if count is not None:
        content["@odata.count"] = count
    if warnings:
        content[WARNINGS] = list(warnings)
    content["value"] = members(described, nouns, form, asked, related)
    if next_link is not None:
        content["@odata.nextLink"] = next_link
    return content


def results(
    described: Entity, outcomes: Sequence[tuple[Noun, int] | IndiciaError], form: Format, *, minimal: bool
) -> dict[str, Any]:
    """The answer of a bulk upload that goes on after errors: each entity with its status, or its error."""
    content: dict[str, Any] = {}
    if form.level is not Level.NONE:
        content["@odata.context"] = f"{form.root}/$metadata#{described.set_name}"
    content["value"] = [_result(described, outcome, form, minimal) for outcome in outcomes]
    return content


def _result(
    described: Entity, outcome: tuple[Noun, int] | IndiciaError, form: Format, minimal: bool
) -> dict[str, Any]:
    if isinstance(outcome, IndiciaError):
        return {STATUS: outcome.status, ERROR: error(outcome)["error"]}
    noun, status = outcome
    shown = {"Id": described.key_of(noun)} if minimal else member(described, noun, form)
    return {STATUS: status, **shown}


def members(
    described: Entity,
    nouns: Iterable[Noun],
    form: Format,
    asked: Options | None = None,
    related: Sequence[Mapping[str, Any]] = (),
) -> list[dict[str, Any]]:
    """Entities as the elements of a list."""
    plain = [member(described, noun, form, asked) for noun in nouns]
    if not related:
        return plain
    return [{**one, **more} for one, more in zip(plain, related, strict=True)]


def member(described: Entity, noun: Noun, form: Format, asked: Options | None = None) -> dict[str, Any]:
    """The properties of one entity that were asked for; at level full with its type, id and links before."""
    names, values_of = _chosen(described, None if asked is None else asked.select)
    plain = dict(zip(names, values_of(noun), strict=True))
    if form.level is not Level.FULL:
        return plain
    link = link_of(described, noun, form)
    full: dict[str, Any] = {
        "@odata.type": f"#{NAMESPACE}.{described.name}",
        "@odata.id": link,
        "@odata.etag": etag(described, noun),
        **({"@odata.editLink": link} if described.bulk or described.editable else {"@odata.readLink": link}),
    }
    for way in described.navigations:
        full[f"{way.name}@odata.navigationLink"] = f"{link}/{way.name}"
    return full | plain


@lru_cache(maxsize=256)
def _chosen(
    described: Entity, select: tuple[str, ...] | None
) -> tuple[tuple[str, ...], Callable[[Any], Any]]:
    """The names of the properties that are shown, and what reads their values of a noun."""
    chosen = [item for item in described.properties if select is None or item.name in select]
    attributes = [item.attribute for item in chosen]
    read = attrgetter(*attributes) if attributes else _nothing
    # Of one name attrgetter gives the value itself, of several a tuple.
    values_of = read if len(attributes) != 1 else lambda noun: (read(noun),)
    return tuple(item.name for item in chosen), values_of


def _nothing(_noun: object) -> tuple[()]:
    return ()


def etag(described: Entity, noun: Noun) -> str:
    """A weak ETag of everything that an entity says, and of what it belongs to."""
    owners = [attrgetter(way.key_of)(noun) for way in described.navigations if way.attribute]
    state = msgspec.json.encode((described.values_of(noun), owners))
    return f'W/"{blake2b(state, digest_size=8).hexdigest()}"'


def link_of(described: Entity, noun: Noun, form: Format) -> str:
    """The URL of one entity."""
    return f"{form.root}/{described.set_name}({described.key_of(noun)})"


def references(
    described: Entity,
    nouns: Iterable[Noun],
    form: Format,
    *,
    count: int | None = None,
    next_link: str | None = None,
) -> dict[str, Any]:
    """A page of references to entities (OData JSON 4.01, 14)."""
    content: dict[str, Any] = {}
    if form.level is not Level.NONE:
        content["@odata.context"] = f"{form.root}/$metadata#Collection($ref)"
    if count is not None:
        content["@odata.count"] = count
    content["value"] = [{"@odata.id": link_of(described, noun, form)} for noun in nouns]
    if next_link is not None:
        content["@odata.nextLink"] = next_link
    return content


def reference(described: Entity, noun: Noun, form: Format) -> dict[str, Any]:
    """A reference to one entity."""
    content = {} if form.level is Level.NONE else {"@odata.context": f"{form.root}/$metadata#$ref"}
    return content | {"@odata.id": link_of(described, noun, form)}


def record(described: Record, value: object, form: Format) -> dict[str, Any]:
    """A value of a complex type as the whole of an answer."""
    content = _context(form, f"{NAMESPACE}.{described.name}")
    return content | _members(described, value)


def records(described: Record, values: Iterable[object], form: Format) -> dict[str, Any]:
    """Some of them."""
    content = _context(form, f"Collection({NAMESPACE}.{described.name})")
    return content | {"value": [_members(described, value) for value in values]}


def primitive(kind: str, value: object, form: Format) -> dict[str, Any]:
    """A value of a primitive type, as `Edm.Int64`."""
    return _context(form, kind) | {"value": value}


def _context(form: Format, kind: str) -> dict[str, Any]:
    return {} if form.level is Level.NONE else {"@odata.context": f"{form.root}/$metadata#{kind}"}


def _members(described: Record, value: object) -> dict[str, Any]:
    held = {item.name: item.of(value) for item in described.properties}
    for item in described.properties:
        if item.record is not None:
            held[item.name] = [_members(item.record, one) for one in held[item.name]]
    return held


def single(place: str, value: object, form: Format) -> dict[str, Any]:
    """The value of one property at its place below the root, as `AlertDefinitions(1)/Title`."""
    content: dict[str, Any] = {}
    if form.level is not Level.NONE:
        content["@odata.context"] = f"{form.root}/$metadata#{place}"
    return content | {"value": value}


def raw(value: object) -> bytes:
    """A value as text (OData 4.01 Part 1, 11.2.7): of a text itself, of others as JSON without quotes."""
    if isinstance(value, str):
        return value.encode()
    text: bytes = msgspec.json.encode(value)
    return text.removeprefix(b'"').removesuffix(b'"')


def _shape(asked: Options | None) -> str:
    """What was selected and expanded, as a context URL says it (OData 4.01 Part 1, 10.7 to 10.10)."""
    if asked is None or (asked.select is None and not asked.expand):
        return ""
    names = list(asked.select or ())
    names += [f"{item.navigation.name}{_shape(item.options) or '()'}" for item in asked.expand]
    return f"({','.join(names)})"


def error(fault: IndiciaError, message: str | None = None) -> dict[str, Any]:
    """The body of a refusal (OData JSON 4.01, 21.1)."""
    content: dict[str, Any] = {"code": fault.code, "message": message or fault.message}
    if fault.target is not None:
        content["target"] = fault.target
    if fault.details:
        content["details"] = [_detail(item) for item in fault.details]
    return {"error": content}


def _detail(item: Detail) -> Mapping[str, str]:
    known = {"code": item.code, "message": item.message}
    return known if item.target is None else known | {"target": item.target}


def encode(content: Any) -> bytes:
    """JSON in UTF-8; times in UTC with Z, enums by their names."""
    return msgspec.json.encode(content)
