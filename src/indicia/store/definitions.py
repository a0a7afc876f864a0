"""Alert definitions of one tenant. Every function works inside the transaction of its scope."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from uuid import uuid4

from indicia.errors import InvalidValue, NotFound
from indicia.model import AlertDefinition, Quotas
from indicia.store import counting, notes, purges, rows
from indicia.store.scope import Scope
from indicia.store.tables import definitions, imports, indicators

Changes = Mapping[str, object] | Callable[[AlertDefinition], Mapping[str, object]]
_CHANGEABLE = frozenset(rows.DEFINITION_CONTENT) - {"uid"}


def page(scope: Scope, after: int, limit: int) -> list[AlertDefinition]:
    """Up to `limit` definitions with an id beyond `after`, in the order of ids."""
    table = definitions
    query = scope.select(table).where(table.c.id > after).order_by(table.c.id).limit(limit)
    return [rows.definition(row) for row in scope.rows(query)]


def one(scope: Scope, definition_id: int) -> AlertDefinition:
    """NotFound where this tenant has none of that id."""
    found = scope.lookup(definitions, "id", definition_id)
    if not found:
        raise NotFound(f"there is no AlertDefinitions({definition_id})")
    return rows.definition(found[0])


def by_id(scope: Scope, ids: Iterable[int]) -> dict[int, AlertDefinition]:
    """Those of the ids that exist."""
    wanted = set(ids)
    if len(wanted) == 1:
        found = scope.lookup(definitions, "id", wanted.pop())
    else:
        found = scope.rows_in(scope.select(definitions), definitions.c.id, wanted)
    return {row[0]: rows.definition(row) for row in found}


def every(scope: Scope) -> dict[int, AlertDefinition]:
    """All definitions by id."""
    return {row.id: rows.definition(row) for row in scope.rows(scope.select(definitions))}


def add(scope: Scope, new: Sequence[AlertDefinition], by: str, quotas: Quotas) -> list[AlertDefinition]:
    """All or none; uid, id and stamps are made here."""
    counting.room_for(scope, quotas, definitions=len(new))
    created_at = rows.now()
    ids = scope.reserve_ids(definitions, len(new))
    added = [
        replace(
            given,
            id=number,
            uid=str(uuid4()),
            created_at=created_at,
            created_by=by,
            last_modified_at=None,
            last_modified_by=None,
        )
        for number, given in zip(ids, new, strict=True)
    ]
    columns = ("id", *rows.DEFINITION_CONTENT, "created_at", "created_by")
    stamps = (rows.micros(created_at), by)
    scope.insert_many(
        definitions,
        columns,
        ((made.id, *rows.definition_values(made).values(), *stamps) for made in added),
    )
    counting.move(scope, definitions=len(added))
    notes.definitions_changed(scope)
    return added


def change(scope: Scope, definition_id: int, changes: Changes, by: str) -> AlertDefinition:
    """Set attributes of one definition; a function is asked for them with the definition as it stands."""
    before = one(scope, definition_id)
    wanted = changes(before) if callable(changes) else changes
    _only(wanted, _CHANGEABLE)
    notes.definitions_changed(scope)
    stamps = {"last_modified_at": rows.micros(rows.now()), "last_modified_by": by}
    scope.update(definitions, definitions.c.id == definition_id, **rows.column_values(wanted), **stamps)
    return one(scope, definition_id)


def delete(scope: Scope, definition_id: int, check: Callable[[AlertDefinition], None] | None = None) -> None:
    """One definition with its indicators; alerts and detections stay. `check` may raise to leave it so."""
    before = one(scope, definition_id)
    if check is not None:
        check(before)
    if purges.many(scope, definition_id):
        purges.hide(scope, definition_id, whole=True)
        return
    clear(scope, definition_id)
    scope.delete(definitions, definitions.c.id == definition_id)
    counting.move(scope, definitions=-1)
    notes.definitions_changed(scope)


def delete_all(scope: Scope) -> int:
    """Every definition with its indicators; how many definitions."""
    if purges.many(scope, None):
        return purges.hide(scope, whole=True)[1]
    clear(scope)
    deleted = scope.delete(definitions)
    counting.move(scope, definitions=-deleted)
    notes.definitions_changed(scope)
    return deleted


def clear(scope: Scope, definition_id: int | None = None) -> int:
    """Delete the indicators of one definition, or all; the checkpoints of their imports too. How many."""
    if purges.many(scope, definition_id):
        return purges.hide(scope, definition_id, whole=False)[0]
    owned = () if definition_id is None else (indicators.c.definition_id == definition_id,)
    patterns = scope.delete(indicators, indicators.c.function.in_(rows.PATTERNS), *owned)
    others = scope.delete(indicators, *owned)
    scope.delete(imports, *(() if definition_id is None else (imports.c.definition_id == definition_id,)))
    counting.move(scope, indicators=-patterns - others, patterns=-patterns)
    notes.cleared(scope, definition_id)
    return patterns + others


def _only(changes: Mapping[str, object], allowed: frozenset[str]) -> None:
    for name in changes:
        if name not in allowed:
            raise InvalidValue(f"{name} cannot be changed", target=name)
