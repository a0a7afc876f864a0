"""Entities as OData JSON, with as many annotations as were asked for (OData JSON 4.01, 3.1 and 4)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import msgspec

from indicia.errors import Detail, IndiciaError, InvalidValue
from indicia.model import AlertDefinition, Indicator
from indicia.odata.entities import NAMESPACE, Entity

WARNINGS = "@indicia.warnings"


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
    noun: AlertDefinition | Indicator,
    form: Format,
    warnings: Sequence[str] = (),
) -> dict[str, Any]:
    """One entity as the whole of an answer."""
    content: dict[str, Any] = {}
    if form.level is not Level.NONE:
        content["@odata.context"] = f"{form.root}/$metadata#{described.set_name}/$entity"
    if warnings:
        content[WARNINGS] = list(warnings)
    content |= member(described, noun, form)
    return content


def collection(
    described: Entity,
    nouns: Iterable[AlertDefinition | Indicator],
    form: Format,
    *,
    count: int | None = None,
    next_link: str | None = None,
    warnings: Sequence[str] = (),
) -> dict[str, Any]:
    """A page of entities. Count and next link belong to every level."""
    content: dict[str, Any] = {}
    if form.level is not Level.NONE:
        content["@odata.context"] = f"{form.root}/$metadata#{described.set_name}"
    if count is not None:
        content["@odata.count"] = count
    if warnings:
        content[WARNINGS] = list(warnings)
    content["value"] = [member(described, noun, form) for noun in nouns]
    if next_link is not None:
        content["@odata.nextLink"] = next_link
    return content


def member(described: Entity, noun: AlertDefinition | Indicator, form: Format) -> dict[str, Any]:
    """The properties of one entity; at level full with its type, id and links before them."""
    plain = {item.name: getattr(noun, item.attribute) for item in described.properties}
    if form.level is not Level.FULL:
        return plain
    link = f"{form.root}/{described.set_name}({noun.id})"
    full: dict[str, Any] = {
        "@odata.type": f"#{NAMESPACE}.{described.name}",
        "@odata.id": link,
        "@odata.editLink": link,
    }
    for way in described.navigations:
        full[f"{way.name}@odata.navigationLink"] = f"{link}/{way.name}"
    return full | plain


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
