"""How many alerts were opened and how many detections recorded in each hour, by severity.

Kept by every recording in its own transaction, at most four rows an hour, so that a month is added up from a
few thousand rows whatever it held. Hours are those of the clock (UTC) in which it was recorded. What
retention deletes later stays counted: it happened.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Integer, func, literal_column

from indicia.model import Alert, Detection, Severity
from indicia.store import rows
from indicia.store.scope import Scope
from indicia.store.tables import tallies

_MICROSECONDS = 3600 * 1_000_000
_KEPT = 24 * 400
"""Hours of which is kept what was recorded."""


@dataclass(frozen=True, slots=True)
class Tally:
    """What was recorded in a span of hours, of one severity."""

    begin: datetime
    severity: Severity
    alerts: int
    """Opened."""
    detections: int
    """That raised."""
    silent: int
    """That did not."""


def note(
    scope: Scope,
    opened: Iterable[Alert],
    fresh: Iterable[Detection],
    risen: Iterable[Detection],
    now: datetime,
) -> None:
    """Count what was recorded; `risen` was recorded as silent before, which stays counted."""
    found: dict[Severity, Counter[str]] = defaultdict(Counter)
    for alert in opened:
        found[alert.definition.severity]["alerts"] += 1
    for detection in fresh:
        found[detection.definition.severity]["detections" if detection.raises else "silent"] += 1
    for detection in risen:
        found[detection.definition.severity]["detections"] += detection.raises
    for severity, counts in found.items():
        _add(scope, hour_of(now), severity, counts)


def since(scope: Scope, begin: datetime, hours: int) -> list[Tally]:
    """What was recorded since the hour of a time, by spans of so many hours since 1970, oldest first."""
    # As a number, not bound: two that are bound are not seen to be one.
    span = (tallies.c.hour // literal_column(str(int(hours)), Integer())).label("span")
    sums = (func.sum(tallies.c[name]).label(name) for name in ("alerts", "detections", "silent"))
    query = scope.select(tallies, span, tallies.c.severity, *sums)
    query = query.where(tallies.c.hour >= hour_of(begin)).group_by(span, tallies.c.severity)
    return [
        Tally(
            rows.when(row.span * hours * _MICROSECONDS),
            Severity(row.severity),
            int(row.alerts),
            int(row.detections),
            int(row.silent),
        )
        for row in scope.rows(query.order_by(span))
    ]


def hour_of(time: datetime) -> int:
    """Hours since 1970 UTC."""
    return rows.micros(time) // _MICROSECONDS


def _add(scope: Scope, hour: int, severity: Severity, counts: Counter[str]) -> None:
    steps = {name: counts[name] for name in ("alerts", "detections", "silent")}
    if not any(steps.values()):
        return
    mine = (tallies.c.hour == hour, tallies.c.severity == str(severity))
    if not scope.update(tallies, *mine, **{name: tallies.c[name] + step for name, step in steps.items()}):
        scope.delete(tallies, tallies.c.hour < hour - _KEPT)
        scope.insert(tallies, hour=hour, severity=str(severity), **steps)
