"""Detections become alerts: one alert for one definition, machine, group and window of event time.

All of it is pure, and independent of the order in which detections arrive, so that live, replayed and
offline runs end in the same alerts. Only one thing depends on order: whether an alert had been resolved
when a detection fell into it. That reopens it, and is counted.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta

from indicia.model import Alert, AlertStatus, Detection, GroupBy, Indicator

INDICATORS_SHOWN = 10
"""Values that an alert names; the smallest ones, so that the order of arrival does not matter."""
NAMED = 10
"""Allow-lists that an alert names, each with its entry."""
ANY_MACHINE = "*"
"""What the alert of a storm has in the place of a machine."""
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_SECOND = timedelta(seconds=1)


def window_of(time: datetime | None, seconds: int) -> str:
    """The window of event time as ids have it: `86400/18382`; empty without a usable time."""
    return "" if time is None else f"{seconds}/{(time - _EPOCH) // _SECOND // seconds}"


def group_of(indicator: Indicator) -> str:
    """What else makes it one alert: nothing, or the indicator as type TAB function TAB canonical value."""
    if indicator.definition.group_by is GroupBy.DEFINITION:
        return ""
    return f"{indicator.type}\t{indicator.function}\t{indicator.canonical}"


def merge(alert: Alert | None, detection: Detection) -> Alert:
    """The alert with one more detection, which must be new to it and must raise.

    A new alert has the definition as it was at its first detection. One that was Resolved goes back to
    New, and `reopened_count` says how often that happened.
    """
    value = detection.indicator.canonical
    if alert is None:
        return Alert(
            id=detection.alert_id,
            definition=detection.indicator.definition,
            machine=detection.machine,
            group=group_of(detection.indicator),
            window=detection.window,
            first_seen=detection.event_time,
            last_seen=detection.event_time,
            detection_count=1,
            indicators=(value,),
            tenant=detection.tenant,
            allow_lists=_named(detection.allow_lists),
        )
    again = alert.status is AlertStatus.RESOLVED
    return replace(
        alert,
        first_seen=min((t for t in (alert.first_seen, detection.event_time) if t), default=None),
        last_seen=max((t for t in (alert.last_seen, detection.event_time) if t), default=None),
        detection_count=alert.detection_count + 1,
        indicators=tuple(sorted({*alert.indicators, value})[:INDICATORS_SHOWN]),
        status=AlertStatus.NEW if again else alert.status,
        resolved_at=None if again else alert.resolved_at,
        reopened_count=alert.reopened_count + again,
        allow_lists=_named((*alert.allow_lists, *detection.allow_lists)),
    )


def merge_all(alert: Alert | None, found: Sequence[Detection]) -> Alert:
    """As `merge` with one after the other, of which there is at least one; many cost little more than one."""
    merged, rest = merge(alert, found[0]), found[1:]
    if not rest:
        return merged
    times = [time for time in (merged.first_seen, merged.last_seen) if time]
    times += [detection.event_time for detection in rest if detection.event_time]
    values = {*merged.indicators, *(detection.indicator.canonical for detection in rest)}
    return replace(
        merged,
        first_seen=min(times, default=None),
        last_seen=max(times, default=None),
        detection_count=merged.detection_count + len(rest),
        indicators=tuple(sorted(values)[:INDICATORS_SHOWN]),
        allow_lists=_named((*merged.allow_lists, *(named for one in rest for named in one.allow_lists))),
    )


def _named(allow_lists: Iterable[str]) -> tuple[str, ...]:
    """The allow-lists that an alert names; the first ones, for the same reason."""
    return tuple(sorted(set(allow_lists))[:NAMED])


def in_storm(detection: Detection, storm_id: str, hour: int) -> Detection:
    """A detection as the alert of a storm counts it: of no machine, in the hour of the clock since 1970."""
    return replace(detection, alert_id=storm_id, machine=ANY_MACHINE, window=f"3600/{hour}")


def as_storm(alert: Alert) -> Alert:
    """An alert of such a detection as that of the storm."""
    return replace(alert, group="", storm=True)
