"""JSON bodies into nouns. Every fault is found, told with its place, and named in one answer.

Strict but for what the published pages themselves show in several ways: `SHA1` for `Sha1`, the texts
"true" and "false" for booleans, `Action` for `DetectionFunction`. Properties that the service sets, and
annotations, are accepted and ignored, because clients send back what they read.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

import msgspec

from indicia import values
from indicia.errors import Detail, InputError, InvalidValue, NotSupported, TooLarge
from indicia.model import (
    BULK_LIMIT,
    AlertDefinition,
    DetectionFunction,
    Indicator,
    IndicatorType,
)
from indicia.odata import literals, paths
from indicia.odata.entities import ALERT_DEFINITION, INDICATOR, SPELLINGS
from indicia.odata.shapes import Entity, Kind, Property

FAULT_LIMIT = 100
"""Faults that one answer lists."""
PART_LIMIT = 40 * BULK_LIMIT
"""Members and elements of a body: 5,000 entities have 75,000. Each costs memory whatever its size, so that
a body of brackets alone would need forty times its own."""
UPSERT = "upsert"
"""The parameter of BulkUpload by which indicators that are there are changed (extension)."""
LIST_LIMIT = 1000
"""Elements of one property that is a collection."""
_TEXT = re.compile(rb'"(?:[^"\\]++|\\.)*+"', re.DOTALL)
BIND = "AlertDefinition@odata.bind"
_BOM = b"\xef\xbb\xbf"


@dataclass
class Faults:
    """Everything that is wrong with one body."""

    found: list[Detail] = field(default_factory=list)

    def add(self, target: str, message: str) -> None:
        """One more fault at its place."""
        self.found.append(Detail("InvalidValue", message, target))

    @property
    def full(self) -> bool:
        """Whether more would not be listed."""
        return len(self.found) >= FAULT_LIMIT

    @property
    def error(self) -> InvalidValue | None:
        """The first fault, with all of them as details where there are several; None where there is none."""
        if not self.found:
            return None
        first = self.found[0]
        details = tuple(self.found[:FAULT_LIMIT]) if len(self.found) > 1 else ()
        return InvalidValue(first.message, target=first.target, details=details)

    def raise_any(self) -> None:
        """Raise what is wrong, if anything is."""
        error = self.error
        if error is not None:
            raise error


@dataclass(frozen=True, slots=True)
class Given:
    """One entity of a body: the attributes that it gives, and the definition that it names."""

    attributes: Mapping[str, Any]
    definition_id: int | None = None


def decode(body: bytes) -> Any:
    """Any JSON value in UTF-8. Raises InputError for anything else, and for absurd depth or numbers."""
    if _parts(body) > PART_LIMIT and _parts(_TEXT.sub(b"", body)) > PART_LIMIT:
        raise TooLarge(f"the body has more than {PART_LIMIT} members and elements; upload in smaller parts")
    try:
        return msgspec.json.decode(body.removeprefix(_BOM))
    except UnicodeDecodeError:
        raise InputError("the body is not UTF-8") from None
    except RecursionError:
        raise InputError("the body is nested too deeply") from None
    except (msgspec.MsgspecError, ValueError, OverflowError) as error:
        raise InputError(f"the body is not valid JSON: {error}") from None


def _parts(body: bytes) -> int:
    return body.count(b",") + body.count(b"[") + body.count(b"{")


def one(entity: Entity, body: Any, roots: frozenset[str], *, partial: bool) -> Given:
    """The body of a POST, or of a PATCH with `partial`. Raises InvalidValue with every fault."""
    faults = Faults()
    given = _read(entity, body, "", roots, faults, partial=partial)
    faults.raise_any()
    return given


@dataclass(frozen=True, slots=True)
class Bulk:
    """The body of BulkUpload before its entities are read."""

    rows: Sequence[Any]
    upsert: bool = False


def each(entity: Entity, rows: Sequence[Any], roots: frozenset[str]) -> list[Given | InvalidValue]:
    """The entities of BulkUpload one by one: each as it was given, or with everything that is wrong."""
    found: list[Given | InvalidValue] = []
    for index, row in enumerate(rows):
        faults = Faults()
        given = _read(entity, row, f"{entity.bulk}[{index}]", roots, faults, partial=False)
        found.append(faults.error or given)
    return found


def many(entity: Entity, rows: Sequence[Any], roots: frozenset[str]) -> list[Given]:
    """The entities of BulkUpload. Raises InvalidValue with the faults of all, as `iocs[17].Value`."""
    faults = Faults()
    given = []
    for index, row in enumerate(rows):
        given.append(_read(entity, row, f"{entity.bulk}[{index}]", roots, faults, partial=False))
        if faults.full:
            break
    faults.raise_any()
    return given


def bulk(entity: Entity, body: Any, action: str = "BulkUpload") -> Bulk:
    """The parameters of BulkUpload, or of another action that takes as many."""
    if not isinstance(body, dict):
        raise InputError(f'the body must be an object {{"{entity.bulk}": […]}}')
    known = {entity.bulk, UPSERT} if entity is INDICATOR else {entity.bulk}
    for name in body:
        if name not in known and "@" not in name:
            raise InvalidValue(
                f"{action} of {entity.set_name} has no parameter {name[:80]!r}, "
                f"only {', '.join(sorted(known))}",
                target=name[:80],
            )
    upsert = body.get(UPSERT, False)
    if not isinstance(upsert, bool):
        raise InvalidValue(f"must be true or false, not {_shown(upsert)}", target=UPSERT)
    rows = body.get(entity.bulk)
    if not isinstance(rows, list):
        raise InvalidValue(f"must be a list of {entity.name}", target=entity.bulk)
    if len(rows) > BULK_LIMIT:
        raise InvalidValue(
            f"holds {len(rows)} entities; one call takes at most {BULK_LIMIT}", target=entity.bulk
        )
    return Bulk(rows, upsert)


def _read(
    entity: Entity, body: Any, place: str, roots: frozenset[str], faults: Faults, *, partial: bool
) -> Given:
    """One entity; faults are collected, and what is faulty is left out of the answer."""
    if not isinstance(body, dict):
        faults.add(place or entity.name, f"must be an object with the properties of {entity.name}")
        return Given({})
    before = len(faults.found)
    attributes: dict[str, Any] = {}
    prefix = f"{place}." if place else ""
    for name, raw in body.items():
        described = entity.taken.get(name)
        if described is None:
            _other_member(entity, name, raw, prefix, faults)
        elif not described.server_set:
            _take(described, raw, f"{prefix}{name}", attributes, faults)
    definition_id = _definition_id(entity, body, prefix, roots, faults, partial=partial)
    if not partial:
        _complete(entity, body, attributes, prefix, faults)
    if len(faults.found) == before:
        _in_order(attributes, prefix, faults)
    return Given(attributes, definition_id)


def _take(described: Property, raw: Any, target: str, attributes: dict[str, Any], faults: Faults) -> None:
    if raw is None:
        if described.nullable:
            attributes[described.attribute] = None
        else:
            faults.add(target, "must not be null")
        return
    try:
        value = _PARSERS[described.kind](described, raw)
    except ValueError as error:
        faults.add(target, str(error))
        return
    if attributes.setdefault(described.attribute, value) != value:
        faults.add(target, f"contradicts {described.name}, which is another name of the same property")


def _other_member(entity: Entity, name: str, raw: Any, prefix: str, faults: Faults) -> None:
    """A member that is no property: an annotation, a navigation property, or a mistake."""
    about, at, term = name.partition("@")
    if at and (not about or about in entity.by_name or entity.navigation(about)):
        if term == "odata.type" and not about and not str(raw).endswith(entity.name):
            faults.add(f"{prefix}{name[:80]}", f"this is a set of {entity.name}")
        elif term == "odata.bind" and name != BIND:
            faults.add(f"{prefix}{name[:80]}", f"cannot be bound; indicators are bound by {BIND}")
        return
    if entity.navigation(name):
        raise NotSupported(
            f"related entities inside a body are not supported; bind with {BIND}", target=f"{prefix}{name}"
        )
    near = next((known for known in entity.taken if known.lower() == name.lower()), None)
    names = ", ".join(item.name for item in (*entity.properties, *entity.secret))
    hint = f"; did you mean {near}?" if near else f"; it has {names}"
    faults.add(f"{prefix}{name[:80]}", f"{entity.name} has no property {name[:80]!r}{hint}")


def _definition_id(
    entity: Entity,
    body: Mapping[str, Any],
    prefix: str,
    roots: frozenset[str],
    faults: Faults,
    *,
    partial: bool,
) -> int | None:
    if entity is not INDICATOR or (partial and BIND not in body):
        return None
    if BIND not in body:
        faults.add(
            f"{prefix}{BIND}", 'is missing: an indicator belongs to a definition, as "AlertDefinitions(1)"'
        )
        return None
    try:
        return paths.reference(body[BIND], ALERT_DEFINITION.set_name, roots, f"{prefix}{BIND}")
    except InvalidValue as error:
        faults.add(f"{prefix}{BIND}", error.message)
        return None


def _complete(
    entity: Entity, body: Mapping[str, Any], attributes: Mapping[str, Any], prefix: str, faults: Faults
) -> None:
    for needed in entity.required:
        named = needed.name in body or any(alias in body for alias in needed.aliases)
        if needed.attribute not in attributes and not named:
            faults.add(f"{prefix}{needed.name}", f"is missing; {entity.name} requires it")


def _in_order(attributes: Mapping[str, Any], prefix: str, faults: Faults) -> None:
    start, end = attributes.get("valid_from"), attributes.get("expires_at")
    if start is not None and end is not None and start >= end:
        faults.add(f"{prefix}ValidFrom", "must be earlier than ExpiresAt")


def _integer(described: Property, raw: Any) -> int:
    if type(raw) is not int:
        raise ValueError(f"must be an integer, not {_shown(raw)}")
    low, high = described.bounds or (-literals.INT64_MAX - 1, literals.INT64_MAX)
    if not low <= raw <= high:
        raise ValueError(f"must be from {low} to {high}")
    return raw


def _text(described: Property, raw: Any) -> str:
    if not isinstance(raw, str):
        raise ValueError(f"must be a text, not {_shown(raw)}")
    if described.limit is not None and len(raw) > described.limit:
        raise ValueError(f"has {len(raw)} characters; at most {described.limit} are allowed")
    if "\0" in raw:
        raise ValueError("must not contain the character U+0000")
    if not described.blank and not raw.strip():
        raise ValueError("must not be empty")
    return raw


def _boolean(described: Property, raw: Any) -> bool:
    if isinstance(raw, bool):
        return raw
    if isinstance(raw, str) and raw.lower() in ("true", "false"):
        return raw.lower() == "true"
    raise ValueError(f"must be true or false, not {_shown(raw)}")


def _time(described: Property, raw: Any) -> Any:
    if not isinstance(raw, str):
        raise ValueError(f"must be a time such as 2030-01-31T12:00:00Z, not {_shown(raw)}")
    return literals.time(raw)


def _member(described: Property, raw: Any) -> StrEnum:
    allowed = {str(item): item for item in described.enum or ()}
    found = allowed.get(SPELLINGS.get(raw, raw)) if isinstance(raw, str) else None
    if found is None:
        raise ValueError(f"must be one of {', '.join(allowed)}; not {_shown(raw)}")
    return found


def _texts(described: Property, raw: Any) -> tuple[str, ...]:
    one = _text if described.enum is None else _member
    return tuple(dict.fromkeys(one(described, item) for item in _items(raw)))


def _numbers(described: Property, raw: Any) -> tuple[int, ...]:
    return tuple(sorted({_integer(described, item) for item in _items(raw)}))


def _items(raw: Any) -> list[Any]:
    if not isinstance(raw, list):
        raise ValueError(f"must be a list, not {_shown(raw)}")
    if len(raw) > LIST_LIMIT:
        raise ValueError(f"has {len(raw)} elements; at most {LIST_LIMIT} are allowed")
    return raw


def _shown(raw: Any) -> str:
    """A value as an error shows it: short, and never a whole object."""
    if isinstance(raw, dict | list):
        return "an object" if isinstance(raw, dict) else "a list"
    text = msgspec.json.encode(raw).decode() if not isinstance(raw, int) else str(raw)
    return text if len(text) <= 80 else f"{text[:77]}…"


_PARSERS: Mapping[Kind, Callable[[Property, Any], Any]] = {
    Kind.INT64: _integer,
    Kind.STRING: _text,
    Kind.BOOLEAN: _boolean,
    Kind.TIME: _time,
    Kind.ENUM: _member,
    Kind.TEXTS: _texts,
    Kind.NUMBERS: _numbers,
}


def definition(given: Given) -> AlertDefinition:
    """A new definition; the store makes its uid."""
    return AlertDefinition(uid="", **given.attributes)


def definition_missing(definition_id: int) -> str:
    """What a bind to a definition that is not there is told."""
    return f"AlertDefinitions({definition_id}) does not exist"


def indicator(given: Given, owner: AlertDefinition, place: str = "") -> Indicator:
    """A new indicator. Raises InvalidValue where value, type and function do not go together."""
    attributes = given.attributes
    form = canonical(attributes["type"], attributes["function"], attributes["value"], place)
    return Indicator(canonical=form, definition=owner, **attributes)


def indicators(
    given: Sequence[Given], owners: Mapping[int, AlertDefinition], *, start: int = 0
) -> list[Indicator]:
    """Those of a bulk upload, the first at index `start`. Raises InvalidValue with every fault."""
    faults = Faults()
    made = []
    for index, item in enumerate(given, start):
        place = f"{INDICATOR.bulk}[{index}]"
        owner = owners.get(item.definition_id or 0)
        if owner is None:
            faults.add(f"{place}.{BIND}", definition_missing(item.definition_id or 0))
        else:
            try:
                made.append(indicator(item, owner, f"{place}."))
            except InvalidValue as error:
                faults.add(error.target or place, error.message)
        if faults.full:
            break
    faults.raise_any()
    return made


def each_indicator(
    given: Sequence[Given | InvalidValue], owners: Mapping[int, AlertDefinition]
) -> list[Indicator | InvalidValue]:
    """As `indicators`, with the fault of each in its place."""
    made: list[Indicator | InvalidValue] = []
    for index, item in enumerate(given):
        if isinstance(item, Given):
            try:
                made += indicators([item], owners, start=index)
            except InvalidValue as error:
                made.append(error)
        else:
            made.append(item)
    return made


def indicator_changes(given: Given, before: Indicator) -> dict[str, Any]:
    """What a PATCH changes, with the canonical form that follows. Raises InvalidValue."""
    changes = dict(given.attributes)
    if given.definition_id is not None:
        changes["definition_id"] = given.definition_id
    if changes.keys() & {"type", "value", "function"}:
        merged = {name: changes.get(name, getattr(before, name)) for name in ("type", "function", "value")}
        changes["canonical"] = canonical(merged["type"], merged["function"], merged["value"], "")
    faults = Faults()
    times = {name: changes.get(name, getattr(before, name)) for name in ("valid_from", "expires_at")}
    _in_order(times, "", faults)
    faults.raise_any()
    return changes


def canonical(kind: IndicatorType, function: DetectionFunction, value: str, place: str) -> str:
    """As `values.indicator_value`, its fault named with the place of the entity, as `iocs[17].Value`."""
    try:
        return values.indicator_value(kind, function, value)
    except InvalidValue as error:
        raise InvalidValue(error.message, target=f"{place}{error.target or 'Value'}") from None


def warnings(found: Indicator) -> tuple[str, ...]:
    """What its author should know although it is accepted."""
    return values.warnings(found.type, found.function, found.canonical)
