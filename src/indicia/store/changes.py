"""What is matched and what changed of it since, for indexes that follow the store.

`notes` writes them and says what they are. New indicators need none: their ids are higher than all before.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from sqlalchemy import true

from indicia.model import AlertDefinition, Indicator
from indicia.store import counting, definitions
from indicia.store import indicators as rows_of
from indicia.store.notes import CHANGED, CLEAR, DROPPED, highest
from indicia.store.scope import Scope
from indicia.store.tables import changes, indicators


@dataclass(frozen=True, slots=True)
class Position:
    """Where in the history of a tenant somebody stands."""

    generation: int
    indicators_to: int
    """The highest id of an indicator that there was; of any tenant."""


@dataclass(frozen=True, slots=True)
class Standing:
    """Everything that is matched, from one snapshot; to be read while the snapshot is open."""

    position: Position
    definitions: dict[int, AlertDefinition]
    """Disabled ones too."""
    indicators: Iterator[Indicator]
    """Enabled ones, of disabled definitions too."""


@dataclass(frozen=True, slots=True)
class News:
    """What changed since a position, from one snapshot."""

    position: Position
    """Where whoever takes all of this in stands then."""
    touched: frozenset[int]
    """Ids of indicators that were changed or deleted: what was known of them holds no more."""
    clears: tuple[tuple[int, int], ...]
    """Definition (0: all), and the id up to which its indicators are gone."""
    definitions: dict[int, AlertDefinition]
    """All of them, as they now stand; disabled ones too."""
    indicators: tuple[Indicator, ...]
    """Enabled ones that are new, or were changed, as they now stand."""


def standing(scope: Scope) -> Standing:
    """Everything that is matched."""
    owners = definitions.every(scope)
    position = Position(counting.generation(scope), highest(scope))
    return Standing(position, owners, rows_of.matchable_of(scope, owners))


def news(scope: Scope, since: Position, most: int) -> News | None:
    """What changed since; None where that is dropped, or more than `most` indicators: read all anew."""
    now = Position(counting.generation(scope), highest(scope))
    columns = (changes.c.generation, changes.c.kind, changes.c.target_id, changes.c.indicators_to)
    query = scope.select(changes, *columns).where(
        (changes.c.generation > since.generation) | (changes.c.kind == DROPPED)
    )
    found = scope.rows(query.order_by(changes.c.id))
    if any(row.kind == DROPPED and row.generation > since.generation for row in found):
        return None
    touched = frozenset(row.target_id for row in found if row.kind == CHANGED)
    if len(touched) > most or _more_than(scope, most, since):
        return None
    owners = definitions.every(scope)
    table = indicators.c
    fresh = list(rows_of.matchable_of(scope, owners, table.id > since.indicators_to))
    old = sorted(number for number in touched if number <= since.indicators_to)
    fresh += rows_of.matchable_in(scope, owners, old)
    return News(
        now,
        touched,
        tuple((row.target_id, row.indicators_to) for row in found if row.kind == CLEAR),
        owners,
        tuple(fresh),
    )


def drop(scope: Scope, generation: int) -> None:
    """Forget what changed up to a generation; who stands before it reads everything anew."""
    older = changes.c.generation <= generation
    if scope.count(changes, older, changes.c.kind != DROPPED):
        scope.delete(changes, older | (changes.c.kind == DROPPED))
        scope.insert(changes, generation=generation, kind=DROPPED, target_id=0, indicators_to=0)


def _more_than(scope: Scope, most: int, since: Position) -> bool:
    table = indicators.c
    query = scope.select(indicators, table.id).where(table.id > since.indicators_to, table.enabled == true())
    return scope.row(query.order_by(table.id).offset(most)) is not None
