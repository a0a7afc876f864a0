"""What a person sees first: how much happens, what is open, what is in force, and who sends.

`recorded`, `open`, `storms`, `suppressions` and `sources` read few rows, or an index in its order, whatever
the tenant has. `top` and `held` read all alerts of a period and all indicators; they take a part of a second
at a hundred thousand and a million, so whoever shows them keeps them for a while.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import ColumnElement, and_, case, func

from indicia.model import (
    Alert,
    AlertDefinition,
    AlertStatus,
    DetectionFunction,
    IndicatorType,
    Severity,
)
from indicia.store import alerts as alert_rows
from indicia.store import rows, sources, tallies
from indicia.store.parts import Part
from indicia.store.scope import Scope
from indicia.store.sources import Arrived
from indicia.store.tables import alerts, counters, indicators, snapshots, suppressions
from indicia.store.tallies import Tally

SOON = timedelta(days=7)
"""What expires within it expires soon."""
_NONE: Mapping[str, int] = {}
_STORM_HOURS = timedelta(hours=24)
_NUMBER: ColumnElement[int] = func.count().label("number")
_OPEN = (AlertStatus.NEW, AlertStatus.IN_PROGRESS)


@dataclass(frozen=True, slots=True)
class Top:
    """What alerts of a period are most often about, each with the number of alerts, most first."""

    definitions: Sequence[tuple[AlertDefinition, int]]
    """As they were when they matched last."""
    machines: Sequence[tuple[str, int]]
    values: Sequence[tuple[str, int]]
    """Canonical values of indicators, of which an alert keeps at most ten."""


@dataclass(frozen=True, slots=True)
class Held:
    """How many indicators there are of a type and function."""

    type: IndicatorType
    function: DetectionFunction
    enabled: int
    """Themselves, of disabled definitions too."""
    disabled: int
    expired: int
    """Of the enabled ones."""
    expiring: int
    """Of the enabled ones, within SOON."""


@dataclass(frozen=True, slots=True)
class State:
    """While it is the same, `top` and `held` are, but for the passing of time."""

    generation: int
    alerts: int
    detections: int


@dataclass(frozen=True, slots=True)
class Overview(Part):
    """The figures of a tenant. Each call is one transaction."""

    def state(self) -> State:
        """By which it is known whether something changed."""
        with self._reading() as scope:
            row = scope.row(scope.select(counters))
            return State(0, 0, 0) if row is None else State(row.generation, row.alerts, row.detections)

    def recorded(self, begin: datetime, hours: int = 1) -> list[Tally]:
        """What was recorded since the hour of a time, by spans of so many hours (24: days of UTC).

        Oldest first; empty spans are left out.
        """
        with self._reading() as scope:
            return tallies.since(scope, begin, hours)

    def open(self) -> dict[tuple[AlertStatus, Severity], int]:
        """How many alerts are New and InProgress, by severity; what there is none of is left out."""
        with self._reading() as scope:
            query = scope.select(alerts, alerts.c.status, alerts.c.snapshot_id, _NUMBER)
            query = query.where(alerts.c.status.in_([str(one) for one in _OPEN]))
            found = scope.rows(query.group_by(alerts.c.status, alerts.c.snapshot_id))
            severities = _severities(scope, (row.snapshot_id for row in found))
            counts: Counter[tuple[AlertStatus, Severity]] = Counter()
            for row in found:
                counts[AlertStatus(row.status), severities[row.snapshot_id]] += row.number
            return dict(counts)

    def top(self, begin: datetime, most: int) -> Top:
        """What the alerts that were opened since a time are most often about, at most so many of each."""
        since = alerts.c.created_at >= rows.micros(begin)
        with self._reading() as scope:
            machines = scope.select(alerts, alerts.c.machine, _NUMBER).where(since)
            machines = machines.group_by(alerts.c.machine).order_by(_NUMBER.desc(), alerts.c.machine)
            return Top(
                _top_definitions(scope, since, most),
                [(row.machine, row.number) for row in scope.rows(machines.limit(most))],
                _top_values(scope, since, most),
            )

    def held(self, now: datetime) -> list[Held]:
        """Indicators by type and function."""
        table, at, soon = indicators.c, rows.micros(now), rows.micros(now + SOON)
        on = table.enabled.is_(True)
        columns = (
            _sum_of(on).label("on"),
            _sum_of(table.enabled.is_(False)).label("off"),
            _sum_of(and_(on, table.expires_at <= at)).label("expired"),
            _sum_of(and_(on, table.expires_at > at, table.expires_at <= soon)).label("expiring"),
        )
        with self._reading() as scope:
            query = scope.select(indicators, table.type, table.function, *columns)
            found = scope.rows(query.group_by(table.type, table.function))
        made = [
            Held(
                rows.TYPES[row.type], rows.FUNCTIONS[row.function], row.on, row.off, row.expired, row.expiring
            )
            for row in found
        ]
        return sorted(made, key=lambda one: (list(IndicatorType).index(one.type), one.function))

    def storms(self, now: datetime, most: int) -> list[Alert]:
        """Alerts of storms that were opened within a day and are not resolved, newest first."""
        with self._reading() as scope:
            query = scope.select(alerts).where(alerts.c.storm.is_(True))
            query = query.where(alerts.c.status != str(AlertStatus.RESOLVED))
            found = scope.rows(query.order_by(alerts.c.id.desc()).limit(most))
            new = [row for row in found if rows.when(row.created_at) > now - _STORM_HOURS]
            return alert_rows.nouns(scope, new, self.tenant.uid)

    def suppressions(self, now: datetime) -> int:
        """How many suppressions are in force."""
        with self._reading() as scope:
            return scope.count(suppressions, suppressions.c.ends_at > rows.micros(now))

    def sources(self) -> list[Arrived]:
        """What sends events, those that sent last first."""
        with self._reading() as scope:
            return sources.every(scope)

    def note_sources(self, found: Iterable[Arrived], behind: Mapping[str, int] = _NONE) -> None:
        """Add what came of some sources; `behind`: of some, how many messages wait where they are kept."""
        with self._writing() as scope:
            sources.note(scope, found)
            sources.note_behind(scope, behind)


def _sum_of(condition: ColumnElement[bool]) -> ColumnElement[int]:
    return func.sum(case((condition, 1), else_=0))


def _severities(scope: Scope, numbers: Iterable[int]) -> dict[int, Severity]:
    """Of snapshots."""
    query = scope.select(snapshots, snapshots.c.id, snapshots.c.severity)
    return {row.id: Severity(row.severity) for row in scope.rows_in(query, snapshots.c.id, numbers)}


def _top_definitions(
    scope: Scope, since: ColumnElement[bool], most: int
) -> list[tuple[AlertDefinition, int]]:
    query = scope.select(alerts, alerts.c.snapshot_id, _NUMBER).where(since)
    by_snapshot = {row.snapshot_id: row.number for row in scope.rows(query.group_by(alerts.c.snapshot_id))}
    uids = scope.select(snapshots, snapshots.c.id, snapshots.c.uid)
    counts: Counter[str] = Counter()
    newest: dict[str, int] = {}
    for row in scope.rows_in(uids, snapshots.c.id, by_snapshot):
        counts[row.uid] += by_snapshot[row.id]
        newest[row.uid] = max(newest.get(row.uid, 0), row.id)
    best = sorted(counts.items(), key=lambda one: (-one[1], one[0]))[:most]
    chosen = scope.select(snapshots)
    shown = {
        row.uid: rows.snapshot(row)
        for row in scope.rows_in(chosen, snapshots.c.id, (newest[uid] for uid, _ in best))
    }
    return [(shown[uid], count) for uid, count in best]


def _top_values(scope: Scope, since: ColumnElement[bool], most: int) -> list[tuple[str, int]]:
    # Grouped by the whole list first, because there are far fewer lists than alerts.
    query = scope.select(alerts, alerts.c.indicators, _NUMBER).where(since)
    counts: Counter[str] = Counter()
    for row in scope.rows(query.group_by(alerts.c.indicators)):
        for value in json.loads(row.indicators):
            counts[value] += row.number
    return sorted(counts.items(), key=lambda one: (-one[1], one[0]))[:most]
