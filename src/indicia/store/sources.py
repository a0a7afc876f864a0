"""What sends events: of each source how much came, when last, and of when its last event was.

Whoever takes events in (`live.arrivals`) adds up what came and notes it every few seconds in a transaction of
its own, so that events which meet nothing still cost no write each. Every function works inside the
transaction of its scope.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from indicia.store import rows
from indicia.store.scope import Scope
from indicia.store.tables import sources

MOST = 200
"""Sources of a tenant that are kept, the newest ones: their names come from senders."""
NAME_LIMIT = 500


@dataclass(frozen=True, slots=True)
class Arrived:
    """What came of a source."""

    name: str
    """As its detections name it."""
    events: int
    malformed: int
    detections: int
    """That were made of its events, silent and repeated ones too."""
    last_at: datetime
    """When something came last."""
    event_at: datetime | None
    """The time that its last event bears; None where that has none."""
    first_at: datetime | None = None
    """When something came first, as far as is kept; None for what is not noted yet."""
    behind: int | None = None
    """Messages that waited where the source keeps them when that was asked last; None: nothing is known."""
    behind_at: datetime | None = None
    """When it was asked."""
    number: int = field(default=0, compare=False)
    """Which source it is, without saying whose."""

    @property
    def lag(self) -> timedelta | None:
        """How old its last event was when it came; None where that is not known."""
        return None if self.event_at is None else max(timedelta(0), self.last_at - self.event_at)


def note(scope: Scope, found: Iterable[Arrived]) -> None:
    """Add what came; of more than MOST sources those that are silent for the longest time are forgotten."""
    for one in found:
        _add(scope, one)
    oldest_first = scope.select(sources, sources.c.id).order_by(sources.c.last_at.desc(), sources.c.id.desc())
    beyond = [row.id for row in scope.rows(oldest_first.offset(MOST))]
    if beyond:
        scope.delete(sources, sources.c.id.in_(beyond))


def note_behind(scope: Scope, found: Mapping[str, int]) -> None:
    """Say of sources of which something came how many messages wait."""
    now = rows.micros(datetime.now(UTC))
    for name, behind in found.items():
        scope.update(sources, sources.c.name == _kept(name), behind=behind, behind_at=now)


def every(scope: Scope) -> list[Arrived]:
    """All sources, those that sent last first."""
    query = scope.select(sources).order_by(sources.c.last_at.desc(), sources.c.id)
    return [
        Arrived(
            row.name,
            row.events,
            row.malformed,
            row.detections,
            rows.when(row.last_at),
            rows.when_or_none(row.event_at),
            rows.when(row.first_at),
            row.behind,
            rows.when_or_none(row.behind_at),
            row.id,
        )
        for row in scope.rows(query)
    ]


def _add(scope: Scope, one: Arrived) -> None:
    name = _kept(one.name)
    last, event = rows.micros(one.last_at), rows.micros_or_none(one.event_at)
    counts = {"events": one.events, "malformed": one.malformed, "detections": one.detections}
    steps: dict[str, object] = {column: sources.c[column] + step for column, step in counts.items()}
    if not scope.update(sources, sources.c.name == name, **steps, last_at=last, event_at=event):
        scope.insert(sources, name=name, **counts, first_at=last, last_at=last, event_at=event)


def _kept(name: str) -> str:
    return "".join(letter for letter in name if rows.storable(letter))[:NAME_LIMIT] or "?"
