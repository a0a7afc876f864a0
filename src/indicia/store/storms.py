"""The breaker: a definition that opens more alerts within an hour than its limit is a storm, and one alert.

The hours are those of the clock (UTC), in which alerts are opened, not those of events. What goes beyond is
recorded as a silent detection with its reason, and counted by the storm's alert, of which there is one for
a definition and an hour. Alerts that are open already grow as ever. Every function works inside the
transaction of its scope.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime

from indicia import identity
from indicia.model import Alert, Detection
from indicia.store import rows
from indicia.store.scope import Scope
from indicia.store.tables import openings

_HOUR = 3600 * 1_000_000
_KEPT = 48
"""Hours of which is kept how many alerts were opened."""


def withheld(
    scope: Scope,
    tenant_uid: str,
    raising: Iterable[Detection],
    before: Mapping[str, Alert],
    limit: int,
    now: datetime,
) -> dict[str, str]:
    """Ids of alerts that are not to be opened, each with that of its storm's alert; the others are counted.

    `before`: the alerts of the detections that are there.
    """
    new: dict[str, dict[str, None]] = {}
    for detection in raising:
        if detection.alert_id not in before:
            new.setdefault(detection.definition.uid, {})[detection.alert_id] = None
    if not new:
        return {}
    hour = hour_of(now)
    known = _opened(scope, hour)
    beyond: dict[str, str] = {}
    for uid, ids in new.items():
        room = max(0, limit - known.get(uid, 0))
        storm = identity.storm_id(tenant_uid, uid, hour)
        beyond |= dict.fromkeys(list(ids)[room:], storm)
        _count(scope, hour, uid, min(room, len(ids)), there=uid in known)
    return beyond


def hour_of(time: datetime) -> int:
    """Hours since 1970 UTC."""
    return rows.micros(time) // _HOUR


def _opened(scope: Scope, hour: int) -> dict[str, int]:
    return dict(scope.tuples(openings, ("definition_uid", "opened"), "hour", hour))


def _count(scope: Scope, hour: int, uid: str, more: int, *, there: bool) -> None:
    if not more:
        return
    if there:
        mine = (openings.c.hour == hour, openings.c.definition_uid == uid)
        scope.update(openings, *mine, opened=openings.c.opened + more)
        return
    scope.delete(openings, openings.c.hour < hour - _KEPT)
    scope.insert(openings, definition_uid=uid, hour=hour, opened=more)
