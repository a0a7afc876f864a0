"""Detections become alerts: one alert for one definition, machine, group and window of event time.

All of it is pure, and independent of the order in which detections arrive, so that live, replayed and
offline runs end in the same alerts. Only one thing depends on order: whether an alert had been resolved
when a detection fell into it. That reopens it, and is counted.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

from indicia.model import Alert, AlertStatus, Detection, GroupBy, Indicator

INDICATORS_SHOWN = 10
"""Values that an alert names; the smallest ones, so that the order of arrival does not matter."""
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
        )
    again = alert.status is AlertStatus.RESOLVED
    return replace(
        alert,
        first_seen=min((t for t in (alert.first_seen, detection.event_time) if t), default=None),
        last_seen=max((t for t in (alert.last_seen, detection.event_time) if t), default=None),
        detection_count=alert.detection_count + 1,
        indicators=tuple(sorted({*alert.indicators, value})[:INDICATORS_SHOWN]),
        status=AlertStatus.NEW if again else alert.status,
        reopened_count=alert.reopened_count + again,
    )
