"""For how long a tenant keeps detections, alerts, the audit log and answers: by age, and by number.

The oldest go first, in small transactions, so that nobody waits for it (`STEP_SECONDS` each, as `purges`).
With a detection nothing of it is left but what its alert counts; with an alert go its comments, its history,
and its number in suppressions; what definitions were at a match goes with the last that refers to it. Each
pass writes one entry of the audit log for each set, whose count grows with its steps in their transactions.
"""

from __future__ import annotations

import time
from collections.abc import Generator, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from sqlalchemy import ColumnElement, Table, func

from indicia.errors import InvalidValue
from indicia.model import Actor, AuditAction
from indicia.store import audit as audits
from indicia.store import counting, rows
from indicia.store.parts import Part
from indicia.store.purges import SLICE, STEP_SECONDS
from indicia.store.receipts import KEPT
from indicia.store.scope import Scope
from indicia.store.tables import alerts, audit, detections, receipts, retention, snapshots, suppressions

SET = "Retention"
DAYS_MOST = 36_500
MOST_LEAST = 1000
"""The smallest limit by number."""
COUNTED = 10_000
"""Rows that `extents` counts of what has no counter."""
_LOOKED_AT = 1000
"""Alerts that are looked at between two looks for a writer."""


class What(StrEnum):
    """What is kept for a time."""

    DETECTIONS = "Detections"
    ALERTS = "Alerts"
    AUDIT = "AuditLog"
    RECEIPTS = "Receipts"
    """Answers under an Idempotency-Key."""


@dataclass(frozen=True, slots=True)
class Limit:
    """How long, and how many; None: without end."""

    days: int | None = None
    most: int | None = None


@dataclass(frozen=True, slots=True)
class Extent:
    """How much there is of something."""

    count: int
    exact: bool
    """False: at least so many."""
    oldest: datetime | None
    """When the first of those that are left came."""


DEFAULTS: Mapping[What, Limit] = {
    What.DETECTIONS: Limit(400),
    What.ALERTS: Limit(400),
    What.AUDIT: Limit(730),
    What.RECEIPTS: Limit(KEPT // timedelta(days=1)),
}
_AGED: Mapping[What, tuple[Table, ColumnElement[int]]] = {
    What.DETECTIONS: (detections, detections.c.recorded_at),
    What.AUDIT: (audit, audit.c.at),
    What.RECEIPTS: (receipts, receipts.c.created_at),
}
"""What grows at its end: where it is, and when each row came."""


@dataclass(slots=True)
class _Pass:
    """One walk over what is too old or too much."""

    now: datetime
    limits: Mapping[What, Limit]
    counts: dict[What, int]
    entries: dict[What, int]
    """Of each set the entry of the audit log."""


@dataclass(frozen=True, slots=True)
class Retention(Part):
    """The limits of a tenant, and what they come to."""

    def limits(self) -> dict[What, Limit]:
        """Those that hold: the tenant's own, else the defaults."""
        with self._reading() as scope:
            return _limits(scope)

    def change(self, what: What, limit: Limit, by: str) -> None:
        """Hold another limit from the next pass on; InvalidValue beyond bounds."""
        self.change_all({what: limit}, by)

    def change_all(self, limits: Mapping[What, Limit], by: str) -> None:
        """As `change`, all of them or none."""
        for what, limit in limits.items():
            must_fit(what, limit)
        who = self._who(by)
        with self._writing() as scope:
            held = _limits(scope)
            for what, limit in limits.items():
                if limit != held[what]:
                    _hold(scope, who, what, held[what], limit)

    def extents(self) -> dict[What, Extent]:
        """How much of each there is; as quick for millions, of which no more than COUNTED are counted."""
        with self._reading() as scope:
            held = counting.counts(scope)
            known = {What.DETECTIONS: held.detections, What.ALERTS: held.alerts}
            return {what: _extent(scope, what, known.get(what)) for what in What}

    def due(self, others: Mapping[What, Limit] | None = None) -> dict[What, int]:
        """How many of each a pass would delete now, or with other limits than those that hold.

        InvalidValue for limits beyond bounds. It looks at all that is old, so it may take seconds.
        """
        for what, limit in (others or {}).items():
            must_fit(what, limit)
        with self._reading() as scope:
            now, limits = rows.now(), _limits(scope) | dict(others or {})
            found = {
                what: scope.count(_AGED[what][0], _bound(scope, what, limits[what], now)) for what in _AGED
            }
            gone = _bound(scope, What.DETECTIONS, limits[What.DETECTIONS], now)
            found[What.ALERTS] = _count_alerts(scope, limits[What.ALERTS], now, gone)
            return {what: found[what] for what in What}

    def run(self) -> Generator[dict[What, int], None, None]:
        """Delete what is due; yields after each small transaction what was deleted so far."""
        with self._reading() as scope:
            walk = _Pass(rows.now(), _limits(scope), dict.fromkeys(What, 0), {})
            bounds = {what: _bound(scope, what, walk.limits[what], walk.now) for what in _AGED}
        for what, bound in bounds.items():
            while self._step(what, bound, walk):
                yield walk.counts
        yield from self._alerts(walk)
        if walk.counts[What.DETECTIONS] + walk.counts[What.ALERTS]:
            yield from self._snapshots(walk)

    def _step(self, what: What, bound: ColumnElement[bool], walk: _Pass) -> int:
        """Delete some rows before a bound; how many, and 0 where none are left."""
        table, _ = _AGED[what]
        with self._reading() as scope:  # without the lock, and mostly there is nothing
            if scope.row(scope.select(table, table.c.id).where(bound).limit(1)) is None:
                return 0
        with self._tidying() as scope:
            end, deleted, more = time.monotonic() + STEP_SECONDS, 0, True
            while more and (not deleted or time.monotonic() < end):
                oldest = scope.select(table, table.c.id).where(bound).order_by(table.c.id).limit(SLICE)
                some = scope.delete(table, table.c.id.in_(oldest))
                deleted, more = deleted + some, some == SLICE
            if what is What.DETECTIONS:
                counting.move(scope, detections=-deleted)
            self._note(scope, what, deleted, walk)
        return deleted

    def _alerts(self, walk: _Pass) -> Iterator[dict[What, int]]:
        """Delete alerts that are too old and have no detection left, then those that are too many."""
        limit, after = walk.limits[What.ALERTS], 0
        while limit.days is not None:
            with self._reading() as scope:
                old = _old_alerts(scope, walk.now - timedelta(days=limit.days), after)
                bare = _bare(scope, [alert_id for _, alert_id in old])
            if not old:
                break
            after = old[-1][0]
            for ids in _slices(sorted(bare)):
                with self._tidying() as scope:
                    # Meanwhile a detection may have come.
                    self._delete_alerts(scope, sorted(_bare(scope, ids)), walk)
                yield walk.counts
        if limit.most is None:
            return
        with self._reading() as scope:
            bound = _beyond(scope, alerts, limit.most)
        while True:
            with self._tidying() as scope:
                query = scope.select(alerts, alerts.c.alert_id).where(bound).order_by(alerts.c.id)
                ids = [row[0] for row in scope.rows(query.limit(SLICE))]
                if not ids:
                    return
                whole = self._delete_detections_of(scope, ids, walk)
                self._delete_alerts(scope, whole, walk)
            yield walk.counts

    def _delete_detections_of(self, scope: Scope, ids: list[str], walk: _Pass) -> list[str]:
        """Delete detections of alerts for a while; the alerts that have none left."""
        end = time.monotonic() + STEP_SECONDS
        whole: list[str] = []
        for alert_id in ids:
            mine = (detections.c.alert_id == alert_id, detections.c.storm_id == alert_id)
            for condition in mine:
                while True:
                    some = scope.select(detections, detections.c.id).where(condition).limit(SLICE)
                    deleted = scope.delete(detections, detections.c.id.in_(some))
                    counting.move(scope, detections=-deleted)
                    self._note(scope, What.DETECTIONS, deleted, walk)
                    if time.monotonic() > end and deleted:
                        return whole
                    if deleted < SLICE:
                        break
            whole.append(alert_id)
        return whole

    def _delete_alerts(self, scope: Scope, ids: list[str], walk: _Pass) -> None:
        """Delete alerts with all that people made of them."""
        if not ids:
            return
        scope.update(suppressions, suppressions.c.alert_id.in_(ids), alert_id=None)
        deleted = scope.delete(alerts, alerts.c.alert_id.in_(ids))
        counting.move(scope, alerts=-deleted)
        self._note(scope, What.ALERTS, deleted, walk)

    def _snapshots(self, walk: _Pass) -> Iterator[dict[What, int]]:
        """Delete what definitions were where nothing refers to it any more."""
        after = 0
        while True:
            with self._reading() as scope:
                query = scope.select(snapshots, snapshots.c.id).where(snapshots.c.id > after)
                ids = [row[0] for row in scope.rows(query.order_by(snapshots.c.id).limit(SLICE))]
                free = _free(scope, ids)
            if not ids:
                return
            after = ids[-1]
            if free:
                with self._tidying() as scope:
                    scope.delete(snapshots, snapshots.c.id.in_(_free(scope, free)))
                yield walk.counts

    def _note(self, scope: Scope, what: What, deleted: int, walk: _Pass) -> None:
        """Say in the audit log how many are gone by now. Answers, which go every day, are not told."""
        walk.counts[what] += deleted
        if not deleted or what is What.RECEIPTS:
            return
        if what not in walk.entries:
            limit = walk.limits[what]
            said = {"Days": limit.days, "Most": limit.most}
            walk.entries[what] = audits.note(
                scope, self.actor, AuditAction.DELETE_MANY, str(what), count=0, before=said
            )
        audits.count(scope, walk.entries[what], walk.counts[what])

    @contextmanager
    def _tidying(self) -> Iterator[Scope]:
        with self.database.tidying() as connection:
            yield Scope.walled(connection, self.tenant.id)


def _extent(scope: Scope, what: What, known: int | None) -> Extent:
    table, at = (alerts, alerts.c.created_at) if what is What.ALERTS else _AGED[what]
    first = scope.row(scope.select(table, at).order_by(table.c.id).limit(1))
    oldest = None if first is None else rows.when(first[0])
    if known is not None:
        return Extent(known, True, oldest)
    beyond = scope.select(table, table.c.id).order_by(table.c.id).offset(COUNTED).limit(1)
    if scope.row(beyond) is not None:
        return Extent(COUNTED, False, oldest)
    return Extent(scope.count(table), True, oldest)


def _limits(scope: Scope) -> dict[What, Limit]:
    own = {What(row.kept): Limit(row.days, row.most) for row in scope.rows(scope.select(retention))}
    return {what: own.get(what, DEFAULTS[what]) for what in What}


def _hold(scope: Scope, who: Actor, what: What, before: Limit, limit: Limit) -> None:
    scope.delete(retention, retention.c.kept == str(what))
    scope.insert(retention, kept=str(what), days=limit.days, most=limit.most)
    was, said = ({"Days": one.days, "Most": one.most} for one in (before, limit))
    audits.note(scope, who, AuditAction.CHANGE, SET, key=str(what), before=was, after=said)


def must_fit(what: What, limit: Limit) -> None:
    """Raise InvalidValue for a limit beyond bounds."""
    if limit.days is not None and not 1 <= limit.days <= DAYS_MOST:
        raise InvalidValue(f"must be 1 to {DAYS_MOST} days", target="Days")
    if what is What.RECEIPTS and limit.days != DEFAULTS[what].days:
        raise InvalidValue("an answer is given again for a day, neither longer nor shorter", target="Days")
    if limit.most is not None and limit.most < MOST_LEAST:
        raise InvalidValue(f"must be {MOST_LEAST} or more", target="Most")


def _bound(scope: Scope, what: What, limit: Limit, now: datetime) -> ColumnElement[bool]:
    """Which rows are too old or too many: those before an id, because rows are added at the end."""
    table, at = _AGED[what]
    ends = []
    if limit.days is not None:
        # Not by an index of the time: in the order of ids the first one that is young ends the search.
        young = scope.select(table, table.c.id).where(at + 0 >= rows.micros(now - timedelta(days=limit.days)))
        first = scope.row(young.order_by(table.c.id).limit(1))
        ends.append(_last(scope, table) + 1 if first is None else int(first[0]))
    if limit.most is not None:
        ends.append(_first_of_last(scope, table, limit.most))
    return table.c.id < max(ends, default=0)


def _beyond(scope: Scope, table: Table, most: int) -> ColumnElement[bool]:
    return table.c.id < _first_of_last(scope, table, most)


def _first_of_last(scope: Scope, table: Table, most: int) -> int:
    """The id of the first one of the last so many; 0 where there are no more."""
    query = scope.select(table, table.c.id).order_by(table.c.id.desc()).limit(1).offset(most - 1)
    row = scope.row(query)
    return 0 if row is None else int(row[0])


def _last(scope: Scope, table: Table) -> int:
    row = scope.row(scope.select(table, func.max(table.c.id)))
    return 0 if row is None or row[0] is None else int(row[0])


def _old_alerts(scope: Scope, before: datetime, after: int) -> list[tuple[int, str]]:
    """Numbers and ids of alerts last seen and last changed before a time; those beyond a number."""
    time_ = rows.micros(before)
    query = scope.select(alerts, alerts.c.id, alerts.c.alert_id).where(
        alerts.c.id > after, alerts.c.last_modified_at < time_, func.coalesce(alerts.c.last_seen, 0) < time_
    )
    return [(row.id, row.alert_id) for row in scope.rows(query.order_by(alerts.c.id).limit(_LOOKED_AT))]


def _bare(scope: Scope, ids: list[str], left: ColumnElement[bool] | None = None) -> set[str]:
    """Those of the alerts that have no detection, or none of those that are `left`."""
    held: set[str] = set()
    for column in (detections.c.alert_id, detections.c.storm_id):
        query = scope.select(detections, column).distinct()
        query = query if left is None else query.where(left)
        held |= {row[0] for row in scope.rows_in(query, column, ids)}
    return set(ids) - held


def _free(scope: Scope, ids: list[int]) -> list[int]:
    """Those of the snapshots that nothing refers to."""
    held: set[int] = set()
    for table in (detections, alerts):
        query = scope.select(table, table.c.snapshot_id).distinct()
        held |= {row[0] for row in scope.rows_in(query, table.c.snapshot_id, ids)}
    return [number for number in ids if number not in held]


def _count_alerts(scope: Scope, limit: Limit, now: datetime, gone: ColumnElement[bool]) -> int:
    """How many alerts go once the detections are gone that a condition names."""
    numbers: set[int] = set()
    after = 0
    while limit.days is not None:
        old = _old_alerts(scope, now - timedelta(days=limit.days), after)
        if not old:
            break
        after = old[-1][0]
        bare = _bare(scope, [alert_id for _, alert_id in old], ~gone)
        numbers |= {number for number, alert_id in old if alert_id in bare}
    if limit.most is not None:
        return max(len(numbers), scope.count(alerts) - limit.most)
    return len(numbers)


def _slices(ids: list[str]) -> Iterator[list[str]]:
    for start in range(0, len(ids), SLICE):
        yield ids[start : start + SLICE]
