"""What every write notes in its own transaction, so that live indexes need to read only what changed.

A row of `changes` says of which generation it is, and one of four things: an indicator was changed or deleted
(`indicator`); alert definitions are others now (`definitions`); the indicators of one definition, or of
all, are gone up to an id (`clear`); rows up to that generation were dropped (`dropped`).
"""

from __future__ import annotations

from collections.abc import Collection

from indicia.store import counting
from indicia.store.scope import Scope
from indicia.store.tables import changes, indicators

CHANGED, DEFINITIONS, CLEAR, DROPPED = "indicator", "definitions", "clear", "dropped"


def indicator_changed(scope: Scope, indicator_id: int) -> None:
    """An indicator was changed or deleted."""
    _note(scope, CHANGED, indicator_id)


def indicators_changed(scope: Scope, ids: Collection[int]) -> None:
    """Indicators were changed or deleted, all in one generation."""
    if ids:
        counting.touch(scope)
        generation = counting.generation(scope)
        columns = ("generation", "kind", "target_id", "indicators_to")
        scope.insert_many(changes, columns, ((generation, CHANGED, number, 0) for number in ids))


def definitions_changed(scope: Scope) -> None:
    """Alert definitions were added, changed or deleted."""
    _note(scope, DEFINITIONS)


def cleared(scope: Scope, definition_id: int | None) -> None:
    """All indicators of a definition, or of the tenant, are gone."""
    _note(scope, CLEAR, definition_id or 0, highest(scope))


def _note(scope: Scope, kind: str, target_id: int = 0, indicators_to: int = 0) -> None:
    # First, so that the row is of a generation that only who sees this transaction has reached.
    counting.touch(scope)
    generation = counting.generation(scope)
    scope.insert(changes, generation=generation, kind=kind, target_id=target_id, indicators_to=indicators_to)


def highest(scope: Scope) -> int:
    """The highest id that an indicator ever had (`Scope.last_id`)."""
    return scope.last_id(indicators)
