"""The reference matcher: what the cases do not say. Its functions are in `cases/match/functions.yaml`."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from indicia.match import ReferenceMatcher, in_force
from indicia.model import (
    AlertDefinition,
    Category,
    DetectionFunction,
    Indicator,
    IndicatorType,
    Observable,
    Role,
    Severity,
)

NOON = datetime(2026, 3, 12, 12, tzinfo=UTC)
SECOND = timedelta(seconds=1)
IP, NAME, URL = IndicatorType.IP_ADDRESS, IndicatorType.DOMAIN_NAME, IndicatorType.URL
EQUALS, BELOW = DetectionFunction.EQUALS, DetectionFunction.SUBDOMAIN_OF


def definition(uid: str = "uid-1") -> AlertDefinition:
    return AlertDefinition(uid, uid, "A test", Severity.LOW, Category.GENERAL)


def indicator(
    kind: IndicatorType, canonical: str, function: DetectionFunction = EQUALS, number: int = 0
) -> Indicator:
    return Indicator(kind, canonical, canonical, function, definition(), number)


def observed(kind: IndicatorType, value: str) -> Observable:
    return Observable(kind, value, value, "field", Role.OBSERVED)


def numbers(matcher: ReferenceMatcher, kind: IndicatorType, value: str) -> list[int]:
    return sorted(found.id for found in matcher.meet(observed(kind, value)))


def test_one_without_indicators_meets_nothing() -> None:
    matcher = ReferenceMatcher([])
    assert len(matcher) == 0
    for kind, value in ((NAME, "a.example"), (IP, "192.0.2.1"), (URL, "http://a.example/")):
        assert matcher.meet(observed(kind, value)) == []


def test_one_value_under_several_definitions_comes_once_for_each() -> None:
    matcher = ReferenceMatcher([indicator(NAME, "a.example", number=n) for n in (1, 2, 3)])
    assert len(matcher) == 3
    assert numbers(matcher, NAME, "a.example") == [1, 2, 3]


def test_a_value_meets_indicators_of_its_own_type_alone() -> None:
    matcher = ReferenceMatcher(
        [
            indicator(NAME, "a.example", number=1),
            indicator(URL, "a.example/", number=2),
            indicator(IndicatorType.FILE_NAME, "a.example", number=3),
            indicator(IndicatorType.FILE_NAME, "a.ex", DetectionFunction.START_WITH, number=4),
        ]
    )
    assert numbers(matcher, NAME, "a.example") == [1]
    assert numbers(matcher, IndicatorType.FILE_NAME, "a.example") == [3, 4]
    assert numbers(matcher, URL, "http://a.example/") == [2]


def test_every_function_at_once() -> None:
    matcher = ReferenceMatcher(
        [
            indicator(NAME, "b.a.example", number=1),
            indicator(NAME, "a.example", BELOW, number=2),
            indicator(NAME, "example", BELOW, number=3),
            indicator(NAME, "b.a.", DetectionFunction.START_WITH, number=4),
            indicator(NAME, "ample", DetectionFunction.END_WITH, number=5),
            indicator(NAME, "a.ex", DetectionFunction.CONTAINS, number=6),
            indicator(NAME, "c.a.example", BELOW, number=7),
        ]
    )
    assert numbers(matcher, NAME, "b.a.example") == [1, 2, 3, 4, 5, 6]


def test_networks_within_networks_all_meet() -> None:
    nets = [
        "0.0.0.0/0",
        "192.0.0.0/8",
        "192.0.2.0/24",
        "192.0.2.0/25",
        "192.0.2.1/32",
        "::/0",
        "192.0.2.0/24",
    ]
    matcher = ReferenceMatcher(
        [*(indicator(IP, net, number=n) for n, net in enumerate(nets)), indicator(IP, "192.0.2.1", number=9)]
    )
    assert numbers(matcher, IP, "192.0.2.1") == [0, 1, 2, 3, 4, 6, 9]
    assert numbers(matcher, IP, "192.0.2.200") == [0, 1, 2, 6]
    assert numbers(matcher, IP, "2001:db8::1") == [5]


def test_a_url_meets_each_indicator_once() -> None:
    matcher = ReferenceMatcher(
        [
            indicator(URL, "http://a.example/x", number=1),
            indicator(URL, "a.example/x", number=2),
            indicator(URL, "a.example:80/x", number=3),
            indicator(URL, "example/x", DetectionFunction.CONTAINS, number=4),
            indicator(URL, "a.example/", DetectionFunction.START_WITH, number=5),
        ]
    )
    assert numbers(matcher, URL, "http://a.example/x") == [1, 2, 3, 4, 5]
    assert numbers(matcher, URL, "a.example/x") == [2, 4, 5]


@pytest.mark.parametrize(
    ("valid_from", "expires_at", "time", "wanted"),
    [
        (None, None, NOON, True),
        (NOON, None, NOON - SECOND, False),
        (NOON, None, NOON, True),
        (None, NOON, NOON - SECOND, True),
        (None, NOON, NOON, False),
        (NOON, NOON + SECOND, NOON, True),
        (NOON, NOON + SECOND, NOON + SECOND, False),
        (NOON, NOON + SECOND, None, True),
    ],
)
def test_in_force_is_judged_at_event_time(
    valid_from: datetime | None, expires_at: datetime | None, time: datetime | None, wanted: bool
) -> None:
    found = Indicator(NAME, "a", "a", EQUALS, definition(), valid_from=valid_from, expires_at=expires_at)
    assert in_force(found, time) is wanted
