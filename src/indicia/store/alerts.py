"""Detections and alerts of one tenant: recorded once however often they come, then read and worked on."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from itertools import count
from typing import Any

from sqlalchemy import Row, func

from indicia import triage
from indicia.errors import NotFound
from indicia.messages import Sent
from indicia.model import Alert, AlertDefinition, AlertStatus, Detection, Silenced
from indicia.store import casework, counting, messages, rows, storms, tallies
from indicia.store.nouns import Recorded
from indicia.store.scope import Scope
from indicia.store.suppressions import Silence
from indicia.store.tables import alert_values, alerts, detections, event_texts, snapshots

Over = Callable[[Detection], Detection]
_MOVED = (
    "first_seen",
    "last_seen",
    "detection_count",
    "indicators",
    "status",
    "resolved_at",
    "reopened_count",
    "allow_lists",
)
"""What further detections change of an alert: an update touches the indices of what it names."""


def as_it_is(detection: Detection) -> Detection:
    """There are no allow-lists."""
    return detection


def record(
    scope: Scope, tenant_uid: str, found: Iterable[Detection], limit: int, over: Over = as_it_is
) -> Recorded:
    """Store what is new of the detections and fold what raises into its alerts.

    A detection id counts once for ever. One that was stored silent and now raises (another copy of its
    event says more) is replaced by the raising one, so that the order of arrival does not matter. One that
    is suppressed, by an allow-list too (`over` says how such a list has it kept), or would open an alert
    beyond the hourly limit of its definition, is stored as silent with the reason, and stays so.
    """
    fresh, risen = _news(scope, found)
    now = rows.now()
    before: dict[str, Alert] = {}
    storms_of: dict[str, str] = {}
    if any(detection.raises for detection in (*fresh, *risen)):
        fresh, risen = messages.quiet(scope, fresh), messages.quiet(scope, risen)
        silence = Silence(scope, now)
        fresh = [over(detection) for detection in silence.over(fresh)]
        risen = [over(detection) for detection in silence.over(risen)]
        raising = [detection for detection in (*fresh, *risen) if detection.raises]
        before = by_id(scope, tenant_uid, (detection.alert_id for detection in raising))
        storms_of = storms.withheld(scope, tenant_uid, raising, before, limit, now)
        if storms_of:
            fresh, risen = _withhold(fresh, storms_of), _withhold(risen, storms_of)
            before |= by_id(scope, tenant_uid, storms_of.values())
    kept, moments = _Snapshots(scope, (*fresh, *risen)), _moments(scope, now)
    _insert_detections(scope, fresh, kept, moments)
    for detection in risen:
        values = rows.detection_values(detection)
        values |= {"snapshot_id": kept.number(detection), "recorded_at": next(moments)}
        scope.update(detections, detections.c.detection_id == detection.id, **values)
    outcome = _fold(scope, tenant_uid, _counting((*fresh, *risen), now), before, kept, now)
    told = dict(zip((Sent.OPENED, Sent.REOPENED, Sent.GROWN), outcome, strict=True))
    messages.recorded(scope, tenant_uid, told, [d for d in (*fresh, *risen) if d.raises], now)
    counting.move(scope, detections=len(fresh), alerts=len(outcome[0]))
    tallies.note(scope, outcome[0], fresh, risen, now)
    return Recorded(len(fresh), *outcome)


def page(
    scope: Scope,
    tenant_uid: str,
    after: int,
    limit: int,
    definition_uid: str | None,
    status: AlertStatus | None,
) -> list[Alert]:
    """Up to `limit` alerts with a number beyond `after`, in the order of numbers."""
    query = scope.select(alerts).where(alerts.c.id > after).order_by(alerts.c.id).limit(limit)
    if status is not None:
        query = query.where(alerts.c.status == str(status))
    if definition_uid is not None:
        of_it = scope.select(snapshots, snapshots.c.id).where(snapshots.c.uid == definition_uid)
        query = query.where(alerts.c.snapshot_id.in_(of_it))
    return nouns(scope, scope.rows(query), tenant_uid)


def by_id(scope: Scope, tenant_uid: str, ids: Iterable[str]) -> dict[str, Alert]:
    """Those of the alert ids that exist."""
    found = scope.rows_in(scope.select(alerts), alerts.c.alert_id, ids)
    return {alert.id: alert for alert in nouns(scope, found, tenant_uid)}


def one(scope: Scope, tenant_uid: str, number_or_id: int | str) -> Alert:
    """The alert of that number or id; NotFound where this tenant has none."""
    column = alerts.c.id if isinstance(number_or_id, int) else alerts.c.alert_id
    row = scope.row(scope.select(alerts).where(column == number_or_id))
    if row is None:
        raise NotFound(f"there is no alert {number_or_id}")
    return nouns(scope, [row], tenant_uid)[0]


def detections_page(
    scope: Scope, tenant_uid: str, alert_id: str | None, raises: bool | None, after: int, limit: int
) -> list[tuple[int, Detection]]:
    """Up to `limit` detections beyond row `after`, each with its row number, in that order."""
    query = scope.select(detections).where(detections.c.id > after).order_by(detections.c.id).limit(limit)
    if alert_id is not None:
        query = query.where(detections.c.alert_id == alert_id)
    if raises is not None:
        query = query.where(detections.c.raises == raises)
    return [(found.number, found) for found in detection_nouns(scope, scope.rows(query), tenant_uid)]


class _Snapshots:
    """Definitions as they were at the match: one row for each different content."""

    def __init__(self, scope: Scope, found: Iterable[Detection]) -> None:
        """All of these are looked up at once."""
        wanted = {one.indicator.definition: None for one in found}
        values = {definition: rows.snapshot_values(definition) for definition in wanted}
        query = scope.select(snapshots, snapshots.c.digest, snapshots.c.id)
        there = {
            row.digest: int(row.id)
            for row in scope.rows_in(query, snapshots.c.digest, (one["digest"] for one in values.values()))
        }
        self._numbers: dict[AlertDefinition, int] = {}
        for definition, one in values.items():
            digest = one["digest"]
            if digest not in there:
                there[digest] = scope.insert(snapshots, **one)
            self._numbers[definition] = there[digest]

    def number(self, detection: Detection) -> int:
        return self._numbers[detection.indicator.definition]


def _news(scope: Scope, found: Iterable[Detection]) -> tuple[list[Detection], list[Detection]]:
    """Detections never stored, and those stored silent that raise now; each id once."""
    best: dict[str, Detection] = {}
    for detection in found:
        before = best.get(detection.id)
        if before is None or (detection.raises and not before.raises):
            best[detection.id] = detection
    table = detections.c
    query = scope.select(detections, table.detection_id, table.raises, table.silenced)
    stored = {
        row.detection_id: bool(row.raises) or row.silenced is not None
        for row in scope.rows_in(query, table.detection_id, best)
    }
    fresh = [detection for detection in best.values() if detection.id not in stored]
    risen = [d for d in best.values() if d.raises and stored.get(d.id) is False]
    return fresh, risen


def _moments(scope: Scope, now: datetime) -> Iterator[int]:
    """When each detection is recorded: behind every other one, also when the clock was set back.

    Who pulls asks for what was recorded since the last one that he has; a microsecond apart, so that a page
    of any length goes on.
    """
    row = scope.row(scope.select(detections, func.max(detections.c.recorded_at)))
    last = -1 if row is None or row[0] is None else int(row[0])
    return count(max(rows.micros(now), last + 1))


def _insert_detections(
    scope: Scope, new: Sequence[Detection], kept: _Snapshots, moments: Iterator[int]
) -> None:
    made = [
        rows.detection_values(detection)
        | {"snapshot_id": kept.number(detection), "recorded_at": next(moments)}
        for detection in new
    ]
    if made:
        columns = tuple(column.name for column in detections.c if column.name in made[0])
        scope.insert_many(detections, columns, (tuple(map(values.get, columns)) for values in made))
    texts = [(one.id, one.event_text) for one in new if one.event_text]
    scope.insert_many(event_texts, ("detection_id", "text"), texts)


def _withhold(found: Sequence[Detection], storms_of: Mapping[str, str]) -> list[Detection]:
    """What would open one of these alerts as it is to be kept, the others as they are."""
    return [
        replace(detection, raises=False, silenced=Silenced.STORM, storm_id=storms_of[detection.alert_id])
        if detection.raises and detection.alert_id in storms_of
        else detection
        for detection in found
    ]


def _counting(found: Iterable[Detection], now: datetime) -> list[Detection]:
    """What counts in an alert: what raises in its own, what was withheld in that of its storm."""
    hour = storms.hour_of(now)
    return [
        triage.in_storm(detection, detection.storm_id, hour) if detection.storm_id else detection
        for detection in found
        if detection.raises or detection.storm_id
    ]


def _fold(
    scope: Scope,
    tenant_uid: str,
    raising: Sequence[Detection],
    before: Mapping[str, Alert],
    kept: _Snapshots,
    now: datetime,
) -> tuple[tuple[Alert, ...], tuple[Alert, ...], tuple[Alert, ...]]:
    """Merge detections into their alerts: those opened, reopened and grown, as they now stand."""
    parts: dict[str, list[Detection]] = {}
    for detection in raising:
        parts.setdefault(detection.alert_id, []).append(detection)
    after = {key: triage.merge_all(before.get(key), part) for key, part in parts.items()}
    new = [
        (_new(after[key], part[0]), kept.number(part[0])) for key, part in parts.items() if key not in before
    ]
    opened = _open(scope, tenant_uid, new, now)
    touched = _keep(scope, [after[key] for key in parts if key in before], now)
    _note_values(scope, parts, before, {alert.id: alert.number for alert in (*opened, *touched)})
    reopened = tuple(a for a in touched if a.reopened_count > before[a.id].reopened_count)
    casework.reopened(scope, ((before[a.id], a) for a in reopened), now)
    grown = tuple(a for a in touched if a.reopened_count == before[a.id].reopened_count)
    return tuple(opened), reopened, grown


def _note_values(
    scope: Scope,
    parts: Mapping[str, Sequence[Detection]],
    before: Mapping[str, Alert],
    numbers: Mapping[str, int],
) -> None:
    """Keep which values are an alert's; it names them all until they are too many."""
    new: set[tuple[int, int]] = set()
    unsure: set[int] = set()
    for key, part in parts.items():
        named = before[key].indicators if key in before else ()
        more = {one.indicator.canonical for one in part}.difference(named)
        new |= {(numbers[key], rows.canonical_key(value)) for value in more}
        if more and len(named) >= triage.INDICATORS_SHOWN:
            unsure.add(numbers[key])
    if unsure:
        query = scope.select(alert_values, alert_values.c.alert_number, alert_values.c.value_key)
        new -= {
            (row.alert_number, row.value_key)
            for row in scope.rows_in(query, alert_values.c.alert_number, unsure)
        }
    scope.insert_many(alert_values, ("alert_number", "value_key"), sorted(new))


def _new(alert: Alert, first: Detection) -> Alert:
    return triage.as_storm(alert) if first.storm_id else alert


def _open(scope: Scope, tenant_uid: str, new: Sequence[tuple[Alert, int]], now: datetime) -> list[Alert]:
    """New ones, each with the number of its snapshot."""
    if not new:
        return []
    stamps = {"created_at": rows.micros(now), "last_modified_at": rows.micros(now)}
    numbers = scope.reserve_ids(alerts, len(new))
    made = [
        rows.alert_values(alert) | {"id": number, "snapshot_id": snapshot} | stamps
        for number, (alert, snapshot) in zip(numbers, new, strict=True)
    ]
    columns = tuple(column.name for column in alerts.c if column.name in made[0])
    scope.insert_many(alerts, columns, (tuple(map(values.get, columns)) for values in made))
    return [
        replace(alert, number=number, tenant=tenant_uid, created_at=now, last_modified_at=now)
        for number, (alert, _) in zip(numbers, new, strict=True)
    ]


def _keep(scope: Scope, changed: Sequence[Alert], now: datetime) -> list[Alert]:
    """Those that are there already."""
    at = rows.micros(now)
    values = [rows.alert_values(alert) | {"last_modified_at": at} for alert in changed]
    columns = (*_MOVED, "last_modified_at")
    moved = [(*map(one.get, columns), one["alert_id"]) for one in values]
    scope.update_many(alerts, columns, alerts.c.alert_id, moved)
    return [replace(alert, last_modified_at=now) for alert in changed]


def nouns(scope: Scope, found: Sequence[Row[Any]], tenant_uid: str = "") -> list[Alert]:
    """Rows of alerts with their definitions as they were."""
    owners = _owners(scope, (row.snapshot_id for row in found))
    return [rows.alert(row, owners[row.snapshot_id], tenant_uid) for row in found]


def detection_nouns(scope: Scope, found: Sequence[Row[Any]], tenant_uid: str = "") -> list[Detection]:
    """Rows of detections with their definitions as they were."""
    owners = _owners(scope, (row.snapshot_id for row in found))
    return [rows.detection(row, owners[row.snapshot_id], tenant_uid) for row in found]


def _owners(scope: Scope, numbers: Iterable[int]) -> dict[int, AlertDefinition]:
    found = scope.rows_in(scope.select(snapshots), snapshots.c.id, numbers)
    return {row.id: rows.snapshot(row) for row in found}
