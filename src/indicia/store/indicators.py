"""Indicators of one tenant. Every function works inside the transaction of its scope."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import lru_cache
from typing import Any

from sqlalchemy import ColumnElement, Select, true

from indicia.errors import InvalidValue, NotFound
from indicia.model import AlertDefinition, DetectionFunction, Indicator, IndicatorType, Quotas
from indicia.store import counting, definitions, notes, purges, rows
from indicia.store.scope import Scope
from indicia.store.tables import indicators
from indicia.values import HASH_LENGTH, PATTERNS, indicator_value, without_case

Changes = Mapping[str, object] | Callable[[Indicator], Mapping[str, object]]
_CHANGEABLE = frozenset(
    {
        "type",
        "value",
        "canonical",
        "function",
        "enabled",
        "valid_from",
        "expires_at",
        "source",
        "definition_id",
    }
)
_TOGETHER = frozenset({"type", "value", "canonical", "function"})


def page(scope: Scope, after: int, limit: int, definition_id: int | None) -> list[Indicator]:
    """Up to `limit` indicators with an id beyond `after`, in the order of ids; of one definition or all."""
    table = indicators
    query = scope.select(table).where(table.c.id > after, *purges.bounds(scope))
    query = query.order_by(table.c.id).limit(limit)
    if definition_id is not None:
        query = query.where(table.c.definition_id == definition_id)
    return nouns(scope, scope.rows(query))


def nouns(scope: Scope, found: Sequence[Sequence[Any]]) -> list[Indicator]:
    """Rows, whose third column names it, with the definitions that they belong to."""
    owners = definitions.by_id(scope, {row[2] for row in found})
    return [rows.indicator(row, owners[row[2]]) for row in found]


def one(scope: Scope, indicator_id: int) -> Indicator:
    """NotFound where this tenant has none of that id."""
    found = scope.lookup(indicators, "id", indicator_id)
    if not found:
        raise NotFound(f"there is no IndicatorsOfCompromise({indicator_id})")
    return nouns(scope, found)[0]


def add(scope: Scope, new: Sequence[Indicator], by: str, quotas: Quotas) -> list[Indicator]:
    """All or none; ids and stamps are made here. NotFound names a definition that is not the tenant's."""
    patterns = sum(found.function in rows.PATTERNS for found in new)
    counting.room_for(scope, quotas, indicators=len(new), patterns=patterns)
    owners = definitions.by_id(scope, {found.definition.id for found in new})
    for index, found in enumerate(new):
        if found.definition.id not in owners:
            raise NotFound(f"there is no AlertDefinitions({found.definition.id})", target=f"[{index}]")
    created_at = rows.now()
    keyed = [(found, rows.canonical_key(found.canonical)) for found in new]
    ids = insert(scope, keyed, (found.definition.id for found in new), rows.micros(created_at), by)
    counting.move(scope, indicators=len(new), patterns=patterns)
    return [
        replace(
            found,
            id=number,
            definition=owners[found.definition.id],
            created_at=created_at,
            created_by=by,
            last_modified_at=None,
            last_modified_by=None,
        )
        for number, found in zip(ids, new, strict=True)
    ]


def insert(
    scope: Scope, new: Sequence[tuple[Indicator, int]], owners: Iterable[int], created_at: int, by: str
) -> range:
    """Write rows, each with its `canonical_key` and under its owner, and nothing else (no counters)."""
    ids = scope.reserve_ids(indicators, len(new))
    make = rows.indicator_tuple
    made = (
        make(found, number, owner, key, created_at, by)
        for number, (found, key), owner in zip(ids, new, owners, strict=False)
    )
    scope.insert_many(indicators, rows.INDICATOR_COLUMNS, made)
    return ids


def change(scope: Scope, indicator_id: int, changes: Changes, by: str, quotas: Quotas) -> Indicator:
    """Set attributes of one indicator; a function is asked for them with the indicator as it stands.

    Who changes type, value or function must give the canonical form that follows.
    """
    before = one(scope, indicator_id)
    wanted = changes(before) if callable(changes) else changes
    for name in wanted:
        if name not in _CHANGEABLE:
            raise InvalidValue(f"{name} cannot be changed", target=name)
    if "definition_id" in wanted:
        owner = definitions.one(scope, int(str(wanted["definition_id"])))
        purges.must_not_await(scope, indicator_id, owner.id)
    if wanted.keys() & _TOGETHER and "canonical" not in wanted:
        raise TypeError("type, value and function are changed together with the canonical form")
    values = rows.column_values(wanted)
    if "canonical" in wanted:
        values["canonical_key"] = rows.canonical_key(str(wanted["canonical"]))
    step = _pattern(str(wanted.get("function", before.function))) - _pattern(before.function)
    counting.room_for(scope, quotas, patterns=step)
    counting.move(scope, patterns=step)
    _write(scope, indicator_id, values, by)
    return one(scope, indicator_id)


def move(scope: Scope, indicator_id: int, definition_id: int, by: str) -> Indicator:
    """Put one indicator under another definition of the same tenant."""
    one(scope, indicator_id)
    definitions.one(scope, definition_id)
    purges.must_not_await(scope, indicator_id, definition_id)
    _write(scope, indicator_id, {"definition_id": definition_id}, by)
    return one(scope, indicator_id)


def delete(scope: Scope, indicator_id: int, check: Callable[[Indicator], None] | None = None) -> None:
    """One indicator; NotFound where this tenant has none of that id. `check` may raise to leave it so."""
    before = one(scope, indicator_id)
    if check is not None:
        check(before)
    scope.delete(indicators, indicators.c.id == indicator_id)
    notes.indicator_changed(scope, indicator_id)
    counting.move(scope, indicators=-1, patterns=-_pattern(before.function))


def matchable(scope: Scope) -> Iterator[Indicator]:
    """Enabled indicators of enabled definitions, without their stamps, in the order of ids."""
    owners = {number: owner for number, owner in definitions.every(scope).items() if owner.enabled}
    return matchable_of(scope, owners)


def matchable_of(
    scope: Scope, owners: Mapping[int, AlertDefinition], *where: ColumnElement[bool]
) -> Iterator[Indicator]:
    """As `matchable`, those of the given definitions by id.

    Built for speed: columns by place, and one object for each definition.
    """
    query = _matchables(scope).where(*where).order_by(indicators.c.id)
    for part in scope.stream(query):
        for row in part:
            owner = owners.get(row[1])
            if owner is not None:
                yield _matchable(row, owner)


def matchable_in(scope: Scope, owners: Mapping[int, AlertDefinition], ids: Iterable[int]) -> list[Indicator]:
    """As `matchable_of`, those of the ids that there are."""
    found = scope.rows_in(_matchables(scope), indicators.c.id, ids)
    return [_matchable(row, owners[row.definition_id]) for row in found if row.definition_id in owners]


def _matchables(scope: Scope) -> Select[Any]:
    table = indicators.c
    return scope.select(
        indicators,
        table.id,
        table.definition_id,
        table.type,
        table.value,
        table.canonical,
        table.function,
        table.valid_from,
        table.expires_at,
        table.source,
    ).where(table.enabled == true())


def _matchable(row: Any, owner: AlertDefinition) -> Indicator:
    number, _, type_, value, canonical, function, valid_from, expires_at, source = row
    return Indicator(
        rows.TYPES[type_],
        value,
        canonical,
        rows.FUNCTIONS[function],
        owner,
        number,
        True,
        rows.when_or_none(valid_from),
        rows.when_or_none(expires_at),
        source,
    )


def known(scope: Scope, definition_id: int, keys: Iterable[int]) -> set[tuple[str, str, str]]:
    """(type, function, canonical) of what the definition has under those of `rows.canonical_key`."""
    table = indicators.c
    query = scope.select(indicators, table.type, table.function, table.canonical).where(
        table.definition_id == definition_id
    )
    found = scope.rows_in(query, table.canonical_key, keys)
    return {(row.type, row.function, row.canonical) for row in found}


def by_canonical(scope: Scope, canonical: Iterable[str]) -> list[Indicator]:
    """Those with one of the canonical values, under any definition."""
    wanted = set(canonical)
    found = scope.rows_in(
        scope.select(indicators), indicators.c.canonical_key, {rows.canonical_key(text) for text in wanted}
    )
    return nouns(scope, [row for row in found if row.canonical in wanted])


def canonical_keys(wanted: Iterable[str]) -> frozenset[int] | None:
    """`rows.canonical_key` of all that the values can be in canonical form, whatever the type and function.

    None where that cannot be told for certain: beyond ASCII the form goes by tables of Unicode, and these
    may have been others when an indicator was stored.
    """
    forms: set[str] = set()
    for value in wanted:
        if not value.isascii():
            return None
        forms |= forms_of(value)
    return frozenset(map(rows.canonical_key, forms))


_FORMING = (
    *((kind, DetectionFunction.EQUALS) for kind in IndicatorType if kind not in HASH_LENGTH),
    *((IndicatorType.IP_ADDRESS, function) for function in PATTERNS),
    *((IndicatorType.DOMAIN_NAME, function) for function in PATTERNS),
    *((IndicatorType.URL, function) for function in PATTERNS),
)
"""What can give a value another form than its lower case; SubdomainOf gives that of Equals."""


@lru_cache(maxsize=1024)
def forms_of(value: str) -> frozenset[str]:
    """All that a value can be in canonical form, whatever the type and function."""
    found = {without_case(value.strip())}  # a hash, or a part of one
    for kind, function in _FORMING:
        with suppress(InvalidValue):
            found.add(indicator_value(kind, function, value, force=True))
    return frozenset(found)


def rewrite(scope: Scope, indicator: Indicator) -> None:
    """Write what can change of one while its type, function and canonical value stay, and its stamps."""
    names = ("value", "enabled", "valid_from", "expires_at", "source", "last_modified_at", "last_modified_by")
    values = rows.column_values({name: getattr(indicator, name) for name in names})
    scope.update(indicators, indicators.c.id == indicator.id, **values)
    notes.indicator_changed(scope, indicator.id)


def _pattern(function: str) -> int:
    return int(function in rows.PATTERNS)


def _write(scope: Scope, indicator_id: int, values: dict[str, object], by: str) -> None:
    notes.indicator_changed(scope, indicator_id)
    stamps = {"last_modified_at": rows.micros(rows.now()), "last_modified_by": by}
    scope.update(indicators, indicators.c.id == indicator_id, **values, **stamps)
