"""Deleting what is many: hidden by one row in one short transaction, removed afterwards in steps.

A row of `purges` names what is gone: the indicators of one definition, or of the tenant, up to an id that
was the highest then; and the definitions, where they go as well. `scope` leaves those rows out of every
query from that transaction on, so that nobody ever sees a part of them, even if the process is killed
between two steps. Ids are never used again, so nothing new falls under an old purge; what could, an
indicator that is moved under the definition meanwhile, has to wait (`must_not_await`).
"""

from __future__ import annotations

import time

from sqlalchemy import ColumnElement, ScalarSelect, func

from indicia.errors import StoreError
from indicia.store import counting, notes, rows
from indicia.store.scope import Scope
from indicia.store.tables import definitions, imports, indicators, purges

FEW = 2000
"""Indicators that are deleted at once."""
SLICE = 100
"""Rows that are removed between two looks at the clock: a millisecond or so."""
STEP_SECONDS = 0.01
"""How long a step goes on with slices, so that a writer waits no longer where the machine is slow."""


def many(scope: Scope, definition_id: int | None) -> bool:
    """Whether the indicators of a definition, or of the tenant, are too many to be deleted at once.

    They are, too, while others wait to be removed, because the deletion would reach those.
    """
    if scope.purging:
        return True
    query = scope.select(indicators, indicators.c.id).limit(FEW + 1)
    if definition_id is not None:
        query = query.where(indicators.c.definition_id == definition_id)
    return len(scope.rows(query)) > FEW


def hide(scope: Scope, definition_id: int | None = None, *, whole: bool) -> tuple[int, int]:
    """Hide the indicators of one definition or of all, with `whole` the definitions too; how many of each."""
    found, patterns = _count(scope, definition_id)
    gone = 0
    if whole:
        gone = counting.counts(scope).definitions if definition_id is None else 1
    last = definition_id or scope.last_id(definitions)
    scope.delete(imports, *(() if definition_id is None else (imports.c.definition_id == definition_id,)))
    scope.insert(
        purges,
        definition_id=definition_id or 0,
        indicators_to=scope.last_id(indicators),
        definitions_to=last if whole else 0,
    )
    counting.move(scope, definitions=-gone, indicators=-found, patterns=-patterns)
    notes.cleared(scope, definition_id)
    if whole:
        notes.definitions_changed(scope)
    return found, gone


def step(scope: Scope) -> None:
    """Remove some of what is hidden, for STEP_SECONDS or so; the scope is one that sees it."""
    end = time.monotonic() + STEP_SECONDS
    while _slice(scope) and time.monotonic() < end:
        pass


def _slice(scope: Scope) -> bool:
    """Remove a slice of what is hidden first; whether there was any."""
    purge = scope.row(scope.select(purges).order_by(purges.c.id))
    if purge is None:
        return False
    dead = scope.select(indicators, indicators.c.id).where(indicators.c.id <= purge.indicators_to)
    owners = scope.select(definitions, definitions.c.id).where(definitions.c.id <= purge.definitions_to)
    if purge.definition_id:
        dead = dead.where(indicators.c.definition_id == purge.definition_id)
        owners = owners.where(definitions.c.id == purge.definition_id)
    if scope.delete(indicators, indicators.c.id.in_(dead.order_by(indicators.c.id).limit(SLICE))):
        return True
    if scope.delete(definitions, definitions.c.id.in_(owners.limit(SLICE))):
        return True
    return scope.delete(purges, purges.c.id == purge.id) > 0


def bounds(scope: Scope) -> list[ColumnElement[bool]]:
    """Between which ids all indicators are that are left, so that no list passes over what is hidden outside.

    Asked of the index of each definition; nothing to ask where nothing is hidden.
    """
    if not scope.purging:
        return []
    number = indicators.c.id
    first = func.min(_of_definition(scope, func.min(number)))
    last = func.max(_of_definition(scope, func.max(number)))
    ends = [end for row in scope.rows(scope.select(definitions, first, last)) for end in row]
    if None in ends:
        return [number < 0]
    return [number >= ends[0], number <= ends[1]]


def _of_definition(scope: Scope, what: ColumnElement[int]) -> ScalarSelect[int]:
    """A function of the ids that are left of each definition's indicators."""
    hidden = scope.select(purges, func.max(purges.c.indicators_to)).where(
        purges.c.definition_id == definitions.c.id
    )
    last = func.coalesce(hidden.correlate(definitions).scalar_subquery(), 0)
    left = scope.select(indicators, what).where(
        indicators.c.definition_id == definitions.c.id, indicators.c.id > last
    )
    return left.correlate(definitions).scalar_subquery()


def must_not_await(scope: Scope, indicator_id: int, definition_id: int) -> None:
    """Raise StoreError where an indicator would come among those of a definition that are being removed."""
    if scope.purging:
        query = scope.select(purges).where(
            purges.c.definition_id == definition_id, purges.c.indicators_to >= indicator_id
        )
        if scope.row(query) is not None:
            raise StoreError(
                f"AlertDefinitions({definition_id}) is still being emptied of what was deleted; try again",
                retry_after=5,
            )


def _count(scope: Scope, definition_id: int | None) -> tuple[int, int]:
    """Indicators, and those of them that are patterns."""
    have = counting.counts(scope)
    if definition_id is None:
        return have.indicators, have.patterns
    mine = indicators.c.definition_id == definition_id
    # The first is counted in an index, the second in the rows, so it is not where there are none.
    patterns = have.patterns and scope.count(indicators, mine, indicators.c.function.in_(rows.PATTERNS))
    return scope.count(indicators, mine), patterns
