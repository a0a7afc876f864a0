"""Imports of whole files: batches, each one transaction with the checkpoint that says how far it came."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import repeat

from indicia.model import Indicator, Quotas
from indicia.store import counting, definitions, indicators, rows
from indicia.store.nouns import ImportState
from indicia.store.scope import Scope
from indicia.store.tables import imports


def state(scope: Scope, definition_id: int, key: str) -> ImportState | None:
    """The checkpoint of an import of that key under that definition; None where there was none."""
    table = imports.c
    row = scope.row(scope.select(imports).where(table.definition_id == definition_id, table.key == key))
    return None if row is None else rows.import_state(row)


def begin(scope: Scope, definition_id: int, key: str, start: int) -> ImportState:
    """The checkpoint to go on from: the one there is where `start` is its position, else a fresh one."""
    definitions.one(scope, definition_id)
    before = state(scope, definition_id, key)
    if before is not None and not before.finished and before.position == start:
        return before
    scope.delete(imports, imports.c.definition_id == definition_id, imports.c.key == key)
    now = rows.now()
    stamps = {"started_at": rows.micros(now), "last_modified_at": rows.micros(now)}
    nothing = {"position": start, "added": 0, "known": 0, "finished": False}
    scope.insert(imports, key=key, definition_id=definition_id, **nothing, **stamps)
    return ImportState(key, definition_id, start, 0, 0, False, now, now)


def store_batch(
    scope: Scope,
    before: ImportState,
    batch: Sequence[Indicator],
    position: int,
    by: str,
    quotas: Quotas,
) -> ImportState:
    """Add what the definition does not have, move the counters and the checkpoint."""
    definitions.one(scope, before.definition_id)
    fresh = _fresh(scope, before.definition_id, batch)
    patterns = sum(found.function in rows.PATTERNS for found, _ in fresh)
    counting.room_for(scope, quotas, indicators=len(fresh), patterns=patterns)
    now = rows.now()
    indicators.insert(scope, fresh, repeat(before.definition_id), rows.micros(now), by)
    counting.move(scope, indicators=len(fresh), patterns=patterns)
    after = ImportState(
        before.key,
        before.definition_id,
        position,
        before.added + len(fresh),
        before.known + len(batch) - len(fresh),
        False,
        before.started_at,
        now,
    )
    _keep(scope, after)
    return after


def _fresh(scope: Scope, definition_id: int, batch: Sequence[Indicator]) -> list[tuple[Indicator, int]]:
    """What the definition does not have yet, each once, with its `canonical_key`."""
    keys = [rows.canonical_key(found.canonical) for found in batch]
    seen = indicators.known(scope, definition_id, keys)
    fresh: dict[tuple[str, str, str], tuple[Indicator, int]] = {}
    for found, key in zip(batch, keys, strict=True):
        identity = found.type, found.function, found.canonical
        if identity not in seen:
            fresh.setdefault(identity, (found, key))
    return list(fresh.values())


def finish(scope: Scope, before: ImportState) -> ImportState:
    """Say that the whole file is in."""
    now = rows.now()
    after = ImportState(
        before.key,
        before.definition_id,
        before.position,
        before.added,
        before.known,
        True,
        before.started_at,
        now,
    )
    _keep(scope, after)
    return after


def _keep(scope: Scope, state: ImportState) -> None:
    scope.update(
        imports,
        imports.c.definition_id == state.definition_id,
        imports.c.key == state.key,
        position=state.position,
        added=state.added,
        known=state.known,
        finished=state.finished,
        last_modified_at=rows.micros(state.last_modified_at),
    )
