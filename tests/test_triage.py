"""Detections to alerts: windows of event time, groups, reopening."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from functools import reduce

import pytest
from hypothesis import given
from hypothesis import strategies as st

from indicia import triage
from indicia.model import (
    Alert,
    AlertDefinition,
    AlertStatus,
    Category,
    Detection,
    DetectionFunction,
    GroupBy,
    Indicator,
    IndicatorType,
    Severity,
)

NOON = datetime(2026, 3, 12, 12, tzinfo=UTC)
PLAIN = AlertDefinition("uid-1", "Plain", "Plain", Severity.LOW, Category.GENERAL)


def detection(
    value: str = "evil.example", time: datetime | None = NOON, definition: AlertDefinition = PLAIN
) -> Detection:
    kind, function = IndicatorType.DOMAIN_NAME, DetectionFunction.EQUALS
    met = Indicator(kind, value, value, function, definition)
    window = "86400/20524"
    return Detection("d", "a", "e", True, "s", 1, time, None, "ws5", met, (), "test", "tenant", window)


def merged(alert: Alert | None, *detections: Detection) -> Alert:
    found = reduce(triage.merge, detections, alert)
    assert found is not None
    return found


@pytest.mark.parametrize(
    ("time", "seconds", "wanted"),
    [
        (datetime(2019, 10, 31, 14, 48, 42, tzinfo=UTC), 86_400, "86400/18200"),
        (datetime(2019, 10, 31, 23, 59, 59, 999_999, tzinfo=UTC), 86_400, "86400/18200"),
        (datetime(2019, 11, 1, tzinfo=UTC), 86_400, "86400/18201"),
        (datetime(2019, 11, 1, 1, tzinfo=timezone(timedelta(hours=2))), 86_400, "86400/18200"),
        (datetime(2019, 10, 31, 14, 48, 42, tzinfo=UTC), 3_600, "3600/436814"),
        (datetime(2020, 4, 30, 0, 6, 39, tzinfo=UTC), 86_400, "86400/18382"),
        (datetime(1969, 12, 31, 23, 59, 59, tzinfo=UTC), 86_400, "86400/-1"),
        (None, 86_400, ""),
    ],
)
def test_window(time: datetime | None, seconds: int, wanted: str) -> None:
    assert triage.window_of(time, seconds) == wanted


@given(st.datetimes(timezones=st.just(UTC)), st.integers(60, 10_000_000))
def test_a_window_holds_its_time(time: datetime, seconds: int) -> None:
    length, number = (int(part) for part in triage.window_of(time, seconds).split("/"))
    since = (time - datetime(1970, 1, 1, tzinfo=UTC)).total_seconds()
    assert length == seconds
    assert number * length <= since + 1e-3
    assert since - 1e-3 < (number + 1) * length


def test_group() -> None:
    met = detection().indicator
    assert triage.group_of(met) == ""
    grouped = replace(met, definition=replace(PLAIN, group_by=GroupBy.INDICATOR))
    assert triage.group_of(grouped) == "DomainName\tEquals\tevil.example"


def test_a_new_alert_is_its_detection() -> None:
    alert = merged(None, detection())
    assert (alert.id, alert.machine, alert.group, alert.window, alert.tenant) == (
        "a",
        "ws5",
        "",
        "86400/20524",
        "tenant",
    )
    assert (alert.first_seen, alert.last_seen, alert.detection_count) == (NOON, NOON, 1)
    assert (alert.status, alert.reopened_count) == (AlertStatus.NEW, 0)
    assert alert.indicators == ("evil.example",)


def test_the_definition_stays_as_it_was_at_the_first_detection() -> None:
    renamed = replace(PLAIN, title="Renamed")
    alert = merged(None, detection(), detection("b.example", definition=renamed))
    assert alert.definition.title == "Plain"


@pytest.mark.parametrize(
    ("before", "after", "reopened"),
    [
        (AlertStatus.NEW, AlertStatus.NEW, 0),
        (AlertStatus.IN_PROGRESS, AlertStatus.IN_PROGRESS, 0),
        (AlertStatus.RESOLVED, AlertStatus.NEW, 1),
    ],
)
def test_a_detection_reopens_what_was_resolved(
    before: AlertStatus, after: AlertStatus, reopened: int
) -> None:
    alert = merged(replace(merged(None, detection()), status=before), detection())
    assert (alert.status, alert.reopened_count, alert.detection_count) == (after, reopened, 2)


def test_each_reopening_is_counted() -> None:
    alert = merged(None, detection())
    for _ in range(3):
        alert = merged(replace(alert, status=AlertStatus.RESOLVED), detection())
    assert alert.reopened_count == 3


def test_times_of_an_alert_pass_over_what_has_none() -> None:
    alert = merged(None, detection(time=None))
    assert (alert.first_seen, alert.last_seen) == (None, None)
    alert = merged(alert, detection(), detection(time=None))
    assert (alert.first_seen, alert.last_seen) == (NOON, NOON)


DETECTIONS = st.lists(
    st.builds(
        detection,
        st.sampled_from([f"{letter}.example" for letter in "abcdefghijklmnop"]),
        st.none() | st.integers(-1000, 1000).map(lambda minutes: NOON + timedelta(minutes=minutes)),
    ),
    min_size=1,
)


@given(DETECTIONS, st.data())
def test_an_alert_is_the_same_whatever_the_order(detections: list[Detection], data: st.DataObject) -> None:
    alert = merged(None, *data.draw(st.permutations(detections)))
    assert alert == merged(None, *detections)
    times = [item.event_time for item in detections if item.event_time]
    assert (alert.first_seen, alert.last_seen) == (min(times, default=None), max(times, default=None))
    assert alert.detection_count == len(detections)
    shown = sorted({item.indicator.canonical for item in detections})[: triage.INDICATORS_SHOWN]
    assert list(alert.indicators) == shown
