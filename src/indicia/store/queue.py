"""The queue of alerts: what a person looks through, what stands around one alert, many changed at once.

A page is found by walking an index in the order that is asked for (`ix_alerts_…`), which holds the columns of
the usual filters. What names few alerts (a machine, a value, a definition) is looked up first: where it
names at most FEW, those alone are looked at, else the walk meets them soon enough.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any, NamedTuple

from sqlalchemy import ColumnElement, Select, and_, func, or_

from indicia.errors import NotFound, PreconditionFailed
from indicia.identity import lower
from indicia.model import Alert, AlertStatus, Detection, IndicatorType, Severity, Suppression
from indicia.odata.entities import ALERT
from indicia.store import alerts as recorded
from indicia.store import audit, casework, rows, suppressions
from indicia.store.dialect import Position, Unindexed
from indicia.store.parts import Part
from indicia.store.scope import Scope, among
from indicia.store.tables import alert_values, alerts, detections, event_texts, snapshots
from indicia.store.tables import suppressions as silences
from indicia.values import address, canonical

FEW = 2000
"""Alerts that are looked at one by one rather than met on a walk."""
NEAR = 5
"""Related alerts of a kind."""
HOURLY = 5000
"""Detections, the last ones recorded, that are counted by hours."""
_SNAPSHOTS = 20
"""Newest contents of a definition whose alerts are looked for as related ones."""
_HOUR = 3600 * 1_000_000
Sql = ColumnElement[bool]
Check = Callable[[Alert], None]


class Sort(StrEnum):
    """In which order, the greatest first; of two that are level the newer one."""

    NEWEST = "newest"
    SEVERITY = "severity"
    LAST_SEEN = "last-seen"
    COUNT = "count"


_KEYS: Mapping[Sort, ColumnElement[Any]] = {
    Sort.NEWEST: alerts.c.id,
    Sort.SEVERITY: alerts.c.severity_rank,
    Sort.LAST_SEEN: alerts.c.last_seen,
    Sort.COUNT: alerts.c.detection_count,
}
Place = tuple[int | None, int]
"""The sort key of an alert (None: never seen at a usable time) and its number."""


@dataclass(frozen=True, slots=True)
class AlertFilter:
    """Which alerts; what is left empty filters nothing."""

    status: tuple[AlertStatus, ...] = ()
    severity: tuple[Severity, ...] = ()
    definition: int | None = None
    """The id of the definition."""
    machine: str = ""
    value: str = ""
    """An indicator's, in any spelling."""
    assigned: str | None = None
    """To whom; empty: to nobody."""
    seen_from: datetime | None = None
    """Seen last at this time or later."""
    seen_to: datetime | None = None
    """Seen last before this time."""
    opened_from: datetime | None = None
    """Opened at this time or later, as the overview counts them."""
    opened_to: datetime | None = None
    text: str = ""
    """Stands in title or machine, in any letter case of A to Z."""


@dataclass(frozen=True, slots=True)
class Listed:
    """A page of the queue."""

    found: list[Alert]
    last: Place | None
    """Where the next page begins behind; None on the last one."""
    count: int
    """How many there are on all pages, as far as they were counted."""


@dataclass(frozen=True, slots=True)
class Related:
    """Alerts that share something with one, the newest first, NEAR of each kind at most."""

    machine: list[Alert]
    value: list[Alert]
    definition: list[Alert]


@dataclass(frozen=True, slots=True)
class Hours:
    """When the detections of an alert happened."""

    counts: dict[datetime, int]
    """Of each hour that has some, in order."""
    counted: int
    """How many detections that is of; the last HOURLY recorded ones at most."""
    untimed: int
    """How many of them have no usable time."""


@dataclass(frozen=True, slots=True)
class Outcomes:
    """What became of alerts that were to be changed together: their numbers."""

    changed: list[int] = field(default_factory=list)
    same: list[int] = field(default_factory=list)
    """They were so already."""
    stale: list[int] = field(default_factory=list)
    """Somebody changed them meanwhile, so they were left alone."""
    gone: list[int] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Queue(Part):
    """The alerts of a tenant as a queue. Each call is one transaction."""

    def page(
        self,
        wanted: AlertFilter,
        sort: Sort = Sort.NEWEST,
        after: Place | None = None,
        limit: int = 50,
        counted: int = 0,
    ) -> Listed:
        """Up to `limit` alerts behind a place; all that the filter keeps are counted up to `counted`."""
        with self._reading() as scope:
            narrowed = _narrowed(scope, wanted)
            numbers = _walk(scope, narrowed, sort, after, limit + 1)
            found = _by_number(scope, numbers[:limit], self.tenant.uid)
            last = _place(found[-1], sort) if len(numbers) > limit else None
            count = len(_walk(scope, narrowed, Sort.NEWEST, None, counted)) if counted else 0
            return Listed(found, last, count)

    def newer(self, wanted: AlertFilter, number: int, most: int) -> int:
        """How many there are beyond a number, counted up to `most`."""
        with self._reading() as scope:
            narrowed = _narrowed(scope, wanted)
            new = narrowed._replace(conditions=[*narrowed.conditions, alerts.c.id > number])
            return len(_walk(scope, new, Sort.NEWEST, None, most))

    def newest(self) -> int:
        """The highest number of all; 0 where there is none."""
        with self._reading() as scope:
            row = scope.row(scope.select(alerts, func.max(alerts.c.id)))
            return 0 if row is None or row[0] is None else int(row[0])

    def several(self, numbers: Sequence[int]) -> list[Alert]:
        """Those of the numbers that there are, in their order."""
        with self._reading() as scope:
            return _by_number(scope, numbers, self.tenant.uid)

    def related(self, alert: Alert) -> Related:
        """What shares machine, value or definition with an alert."""
        with self._reading() as scope:
            others = alerts.c.id != alert.number
            near = _Narrowed([alerts.c.machine == alert.machine, others], nothing=alert.storm)
            machine = _walk(scope, near, Sort.NEWEST, None, NEAR)
            definition: set[int] = set()
            for snapshot in _snapshots(scope, alert.definition.uid):
                of_it = _Narrowed([alerts.c.snapshot_id == snapshot, others])
                definition |= set(_walk(scope, of_it, Sort.NEWEST, None, NEAR))
            parts = (machine, _alike(scope, alert), sorted(definition, reverse=True)[:NEAR])
            return Related(*(_by_number(scope, part, self.tenant.uid) for part in parts))

    def hours(self, alert: Alert) -> Hours:
        """How many detections happened in which hour."""
        with self._reading() as scope:
            query = _detections(scope, alert).with_only_columns(detections.c.event_time)
            times = [row[0] for row in scope.rows(query.order_by(detections.c.id.desc()).limit(HOURLY))]
        counts = Counter(time // _HOUR for time in times if time is not None)
        by_hour = {rows.when(hour * _HOUR): counts[hour] for hour in sorted(counts)}
        return Hours(by_hour, len(times), sum(time is None for time in times))

    def detections(self, alert: Alert, before: int | None = None, limit: int = 20) -> list[Detection]:
        """Up to `limit` detections that count in an alert, the last recorded first; those below a number."""
        with self._reading() as scope:
            query = _detections(scope, alert)
            query = query if before is None else query.where(detections.c.id < before)
            found = scope.rows(query.order_by(detections.c.id.desc()).limit(limit))
            return recorded.detection_nouns(scope, found, self.tenant.uid)

    def detection(self, alert: Alert, number: int) -> Detection:
        """One of the detections that count in an alert; NotFound."""
        with self._reading() as scope:
            row = scope.row(_detections(scope, alert).where(detections.c.id == number))
            if row is None:
                raise NotFound(f"alert {alert.number} has no detection {number}")
            return recorded.detection_nouns(scope, [row], self.tenant.uid)[0]

    def event(self, detection: Detection) -> str | None:
        """The event of a detection as it was written (`Facts.text`); None where it was not kept."""
        with self._reading() as scope:
            query = scope.select(event_texts, event_texts.c.text)
            row = scope.row(query.where(event_texts.c.detection_id == detection.id))
            return None if row is None else str(row[0])

    def silencing(self, alert: Alert) -> list[Suppression]:
        """The suppressions in force that meet detections like those of an alert, by its named values."""
        table = silences.c
        spelt = [alert.machine, *alert.indicators]
        with self._reading() as scope:
            query = scope.select(silences).where(
                table.ends_at > rows.micros(rows.now()),
                or_(table.definition_uid.is_(None), table.definition_uid == alert.definition.uid),
                or_(table.machine.is_(None), table.machine == spelt[0]),
                or_(table.value.is_(None), table.value.in_(spelt[1:])),
            )
            return suppressions.nouns(scope, scope.rows(query.order_by(table.ends_at, table.id).limit(FEW)))

    def change(self, numbers: Mapping[int, Check | None], changes: Mapping[str, object], by: str) -> Outcomes:
        """Set status, classification, determination or assigned_to of several alerts.

        A check is asked with the alert as it stands, and raises PreconditionFailed to have it left alone.
        """
        outcomes = Outcomes()
        with self._writing() as scope:
            for number, check in numbers.items():
                into = self._change_one(scope, number, check, changes, by)
                getattr(outcomes, into).append(number)
        return outcomes

    def _change_one(
        self, scope: Scope, number: int, check: Check | None, changes: Mapping[str, object], by: str
    ) -> str:
        try:
            before = recorded.one(scope, self.tenant.uid, number)
            if check is not None:
                check(before)
        except NotFound:
            return "gone"
        except PreconditionFailed:
            return "stale"
        after = casework.change(scope, before, changes, by)
        audit.changed(scope, self.actor, ALERT, before, after)
        return "same" if after == before else "changed"


def _by_number(scope: Scope, numbers: Sequence[int], tenant_uid: str) -> list[Alert]:
    found = scope.rows_in(scope.select(alerts), alerts.c.id, numbers)
    nouns = {alert.number: alert for alert in recorded.nouns(scope, found, tenant_uid)}
    return [nouns[number] for number in numbers if number in nouns]


def _place(alert: Alert, sort: Sort) -> Place:
    keys: Mapping[Sort, int | None] = {
        Sort.NEWEST: alert.number,
        Sort.SEVERITY: rows.SEVERITIES.index(alert.definition.severity),
        Sort.LAST_SEEN: rows.micros_or_none(alert.last_seen),
        Sort.COUNT: alert.detection_count,
    }
    return keys[sort], alert.number


def _walk(scope: Scope, wanted: _Narrowed, sort: Sort, after: Place | None, limit: int) -> list[int]:
    """Numbers of the alerts behind a place; those without a sort key come last, as null is the lowest."""
    if wanted.nothing:
        return []
    # The few that a filter names are sorted; else SQLite would walk all alerts in order to look for them.
    key, number = (Unindexed(one) if wanted.few else one for one in (_KEYS[sort], alerts.c.id))
    query = scope.select(alerts, alerts.c.id).where(*wanted.conditions)
    if sort is Sort.NEWEST:
        query = query if after is None else query.where(number < after[1])
        return _numbers(scope, query.order_by(number.desc()).limit(limit))
    query, found = query.order_by(key.desc(), number.desc()), []
    if after is None or after[0] is not None:
        behind: list[Sql] = [key.is_not(None)] if sort is Sort.LAST_SEEN else []
        if after is not None:
            # Not one condition with `or`: by `<=` alone the index is entered where the page begins.
            behind = [key <= after[0], or_(key < after[0], number < after[1])]
        found = _numbers(scope, query.where(*behind).limit(limit))
    if sort is Sort.LAST_SEEN and len(found) < limit:
        # By themselves, because databases do not agree where in an index they are.
        untimed: list[Sql] = [key.is_(None)]
        if after is not None and after[0] is None:
            untimed.append(number < after[1])
        found += _numbers(scope, query.where(*untimed).limit(limit - len(found)))
    return found


def _numbers(scope: Scope, query: Select[Any]) -> list[int]:
    return [row[0] for row in scope.rows(query)]


# Filters


class _Narrowed(NamedTuple):
    """A filter in SQL."""

    conditions: Sequence[Sql]
    few: bool = False
    """Whether one of the conditions names at most FEW alerts."""
    nothing: bool = False
    """Whether no alert can fulfil it."""


def _narrowed(scope: Scope, wanted: AlertFilter) -> _Narrowed:
    conditions, some = _cheap(wanted), False
    if opened := _opened(wanted):
        # Numbers grow with the time of opening, so that a walk need not pass over what is before or after.
        number = Unindexed(alerts.c.id)
        query = scope.select(alerts, func.min(number).label("low"), func.max(number).label("high"))
        row = scope.row(query.where(*opened))
        if row is None or row.low is None:
            return _Narrowed((), nothing=True)
        conditions += [*opened, alerts.c.id.between(row.low, row.high)]
    for pointed in _pointed(scope, wanted):
        few: set[int] = set()
        for lookup in pointed.lookups:
            if len(few) <= FEW:
                few |= set(_numbers(scope, lookup.limit(FEW + 1)))
        if not few:
            return _Narrowed((), nothing=True)
        some = some or len(few) <= FEW
        conditions.append(pointed.condition if len(few) > FEW else among(alerts.c.id, few))
    return _Narrowed(conditions, few=some)


def _cheap(wanted: AlertFilter) -> list[Sql]:
    """What the walk's own index answers."""
    conditions: list[Sql] = []
    if wanted.status:
        conditions.append(alerts.c.status.in_([str(one) for one in wanted.status]))
    if wanted.severity:
        ranks = [rows.SEVERITIES.index(one) for one in wanted.severity]
        conditions.append(alerts.c.severity_rank.in_(ranks))
    if wanted.seen_from is not None:
        conditions.append(alerts.c.last_seen >= rows.micros(wanted.seen_from))
    if wanted.seen_to is not None:
        conditions.append(alerts.c.last_seen < rows.micros(wanted.seen_to))
    return conditions


def _opened(wanted: AlertFilter) -> list[Sql]:
    conditions: list[Sql] = []
    if wanted.opened_from is not None:
        conditions.append(alerts.c.created_at >= rows.micros(wanted.opened_from))
    if wanted.opened_to is not None:
        conditions.append(alerts.c.created_at < rows.micros(wanted.opened_to))
    return conditions


class _Pointed(NamedTuple):
    """A filter that may name few alerts."""

    condition: Sql
    lookups: Sequence[Select[Any]]
    """What together gives the numbers of those that it names."""


def _pointed(scope: Scope, wanted: AlertFilter) -> Iterator[_Pointed]:
    if wanted.definition is not None:
        yield _plain(scope, _of_snapshots(scope, snapshots.c.definition_id == wanted.definition))
    if wanted.machine:
        machine = wanted.machine.strip()
        yield _plain(scope, alerts.c.machine == (address(machine) or lower(machine)))
    if wanted.value:
        yield _holding_value(scope, _keys(wanted.value))
    if wanted.assigned is not None:
        mine = alerts.c.assigned_to == wanted.assigned if wanted.assigned else alerts.c.assigned_to.is_(None)
        yield _plain(scope, mine)
    if wanted.text:
        yield _holding_text(scope, lower(wanted.text))


def _plain(scope: Scope, condition: Sql) -> _Pointed:
    return _Pointed(condition, [scope.select(alerts, alerts.c.id).where(condition)])


def _of_snapshots(scope: Scope, which: Sql) -> Sql:
    return alerts.c.snapshot_id.in_(scope.select(snapshots, snapshots.c.id).where(which))


def _keys(value: str) -> list[int]:
    """The keys of a value as each type that it can be of, and as it stands there."""
    bare = value.strip()
    forms = {bare, *(form for kind in IndicatorType if (form := canonical(kind, bare)))}
    return sorted(rows.canonical_key(form) for form in forms)


def _holding_value(scope: Scope, keys: Sequence[int]) -> _Pointed:
    """What one of the values is in."""
    held = scope.select(alert_values, alert_values.c.alert_number).where(alert_values.c.value_key.in_(keys))
    inner = held.where(alert_values.c.alert_number == alerts.c.id).correlate(alerts)
    return _Pointed(inner.exists(), [held])


def _holding_text(scope: Scope, part: str) -> _Pointed:
    """In whose machine or title a text stands; titles are those of the snapshots, which are few."""
    of_machine = Position(alerts.c.machine, part) > 0
    titled = scope.select(snapshots, snapshots.c.id)
    # Asked first: how many they are decides how their alerts are looked up.
    of_title = among(
        alerts.c.snapshot_id,
        _numbers(scope, titled.where(Position(func.lower(snapshots.c.title), part) > 0)),
    )
    lookups = [*_plain(scope, of_machine).lookups, *_plain(scope, of_title).lookups]
    return _Pointed(or_(of_machine, of_title), lookups)


# Around one alert


def _detections(scope: Scope, alert: Alert) -> Select[Any]:
    """What counts in an alert; of a storm, what it withheld."""
    if alert.storm:
        return scope.select(detections).where(detections.c.storm_id == alert.id)
    return scope.select(detections).where(
        and_(detections.c.alert_id == alert.id, detections.c.raises.is_(True))
    )


def _snapshots(scope: Scope, uid: str) -> list[int]:
    query = scope.select(snapshots, snapshots.c.id).where(snapshots.c.uid == uid)
    return _numbers(scope, query.order_by(snapshots.c.id.desc()).limit(_SNAPSHOTS))


def _alike(scope: Scope, alert: Alert) -> list[int]:
    """The newest alerts that one of the alert's named values is in."""
    number, found = alert_values.c.alert_number, set[int]()
    for value in alert.indicators:
        query = scope.select(alert_values, number).where(
            alert_values.c.value_key == rows.canonical_key(value), number != alert.number
        )
        found |= set(_numbers(scope, query.order_by(number.desc()).limit(NEAR)))
    return sorted(found, reverse=True)[:NEAR]
