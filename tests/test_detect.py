"""Events and a matcher to detections: identity, evidence, machine, and independence of order."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from indicia import identity, triage
from indicia.detect import detect, detect_all
from indicia.match import ReferenceMatcher
from indicia.model import (
    Alert,
    AlertDefinition,
    Category,
    Detection,
    DetectionFunction,
    Event,
    Facts,
    GroupBy,
    Indicator,
    IndicatorType,
    Observable,
    Role,
    Severity,
    Side,
    TimeNote,
)

NOON = datetime(2026, 3, 12, 12, tzinfo=UTC)
DAY = timedelta(days=1)
IP, NAME = IndicatorType.IP_ADDRESS, IndicatorType.DOMAIN_NAME
EQUALS, BELOW = DetectionFunction.EQUALS, DetectionFunction.SUBDOMAIN_OF
OURS, THEIRS = "192.0.2.9", "198.51.100.7"
PLAIN = AlertDefinition("uid-1", "Plain", "Plain", Severity.LOW, Category.GENERAL)
GROUPED = replace(PLAIN, uid="uid-2", group_by=GroupBy.INDICATOR, window_seconds=3600)


def indicator(
    kind: IndicatorType,
    canonical: str,
    function: DetectionFunction = EQUALS,
    *,
    definition: AlertDefinition = PLAIN,
    number: int = 0,
    expires_at: datetime | None = None,
) -> Indicator:
    return Indicator(kind, canonical, canonical, function, definition, number, expires_at=expires_at)


def observed(kind: IndicatorType, value: str, path: str = "field", *, raises: bool = True) -> Observable:
    return Observable(kind, value, value, path, Role.OBSERVED if raises else Role.MENTIONED, None, raises)


def event(
    name: str,
    observables: Iterable[Observable],
    *,
    time: datetime | None = NOON,
    machine: str | None = "ws5",
    endpoints: tuple[tuple[Side, str], ...] = (),
    source: str = "events.json",
) -> Event:
    note = None if time else TimeNote.MISSING
    facts = Facts(identity.event_id("test", (name,)), time, note, machine, endpoints)
    return Event("test", source, 1, tuple(observables), lambda: facts)


def test_a_detection_has_the_ids_of_its_parts() -> None:
    found = detect(
        event("a", [observed(NAME, "x.evil.example")]),
        ReferenceMatcher([indicator(NAME, "evil.example", BELOW)]),
        "tenant",
    )
    assert len(found) == 1
    what = identity.event_id("test", ("a",))
    assert found[0].event_id == what
    assert found[0].id == identity.digest(
        ["de1", "tenant", "uid-1", "DomainName", "SubdomainOf", "evil.example", what]
    )
    assert found[0].alert_id == identity.digest(["al1", "tenant", "uid-1", "ws5", "", "86400/20524"])
    assert (found[0].tenant, found[0].window, found[0].machine) == ("tenant", "86400/20524", "ws5")


def test_an_event_that_meets_nothing_is_never_identified() -> None:
    def fail() -> Facts:
        raise AssertionError("facts were worked out for nothing")

    silent = Event("test", "s", 1, (observed(NAME, "good.example"),), fail)
    assert detect(silent, ReferenceMatcher([indicator(NAME, "evil.example")])) == []


def test_one_event_and_one_indicator_give_one_detection_with_all_its_evidence() -> None:
    places = [
        observed(NAME, "evil.example", "message", raises=False),
        observed(NAME, "a.evil.example", "query"),
        observed(NAME, "a.evil.example", "query"),
    ]
    found = detect(event("a", places), ReferenceMatcher([indicator(NAME, "evil.example", BELOW)]))
    assert [[(e.path, e.matched, e.raises) for e in item.evidence] for item in found] == [
        [("message", "evil.example", False), ("query", "a.evil.example", True)]
    ]
    assert found[0].raises


def test_mentions_alone_are_silent() -> None:
    found = detect(
        event("a", [observed(NAME, "evil.example", raises=False)]),
        ReferenceMatcher([indicator(NAME, "evil.example")]),
    )
    assert [item.raises for item in found] == [False]


def test_of_indicators_that_are_alike_the_lowest_number_stands_for_all() -> None:
    matcher = ReferenceMatcher([indicator(NAME, "evil.example", number=n) for n in (3, 1, 2)])
    found = detect(event("a", [observed(NAME, "evil.example")]), matcher)
    assert [item.indicator.id for item in found] == [1]


def test_other_functions_and_definitions_are_other_detections() -> None:
    matcher = ReferenceMatcher(
        [
            indicator(NAME, "evil.example"),
            indicator(NAME, "evil.example", BELOW),
            indicator(NAME, "evil.example", definition=GROUPED),
        ]
    )
    found = detect(event("a", [observed(NAME, "evil.example")]), matcher)
    assert len({item.id for item in found}) == 3
    assert {item.window for item in found} == {"86400/20524", "3600/492588"}


def test_of_alike_indicators_only_those_in_force_count() -> None:
    matcher = ReferenceMatcher(
        [
            indicator(NAME, "evil.example", number=1, expires_at=NOON),
            indicator(NAME, "evil.example", number=2, expires_at=NOON + DAY),
        ]
    )
    at_noon = detect(event("a", [observed(NAME, "evil.example")]), matcher)
    later = detect(event("b", [observed(NAME, "evil.example")], time=NOON + DAY), matcher)
    never = detect(event("c", [observed(NAME, "evil.example")], time=None), matcher)
    assert [item.indicator.id for item in at_noon] == [2]
    assert later == []
    assert [(item.indicator.id, item.window, item.time_note) for item in never] == [(1, "", TimeNote.MISSING)]


BOTH = ((Side.SOURCE, OURS), (Side.DESTINATION, THEIRS))


@pytest.mark.parametrize(
    ("machine", "endpoints", "matched", "source", "wanted"),
    [
        ("ws5", BOTH, [THEIRS], "f.log", "ws5"),
        (None, BOTH, [THEIRS], "f.log", OURS),
        (None, BOTH, [OURS], "f.log", THEIRS),
        (None, BOTH, [], "f.log", OURS),  # what matched is no end: a name, say
        (None, BOTH, [THEIRS, OURS], "f.log", OURS),
        (None, BOTH[1:], [], "f.log", THEIRS),
        (None, BOTH[1:], [THEIRS], "f.log", THEIRS),
        (None, (), [THEIRS], "FW1-Ä.log", "fw1-Ä.log"),
        (None, (), [THEIRS], "::FFFF:192.0.2.1", "192.0.2.1"),
        (None, (), [THEIRS], "/var/log/old/Edge.log.gz", "edge.log"),  # moved and compressed
        (None, (), [THEIRS], "logs.zip!day1/edge.log", "edge.log"),
        (None, (), [THEIRS], ".gz", ".gz"),
    ],
)
def test_machine(
    machine: str | None,
    endpoints: tuple[tuple[Side, str], ...],
    matched: Sequence[str],
    source: str,
    wanted: str,
) -> None:
    observables = [observed(IP, value) for value in matched] + [observed(NAME, "evil.example")]
    matcher = ReferenceMatcher([indicator(IP, "0.0.0.0/0")] if matched else [indicator(NAME, "evil.example")])
    found = detect(event("a", observables, machine=machine, endpoints=endpoints, source=source), matcher)
    assert [item.machine for item in found] == [wanted]


def test_each_id_comes_once_and_what_raises_follows_what_was_silent() -> None:
    quiet = event("a", [observed(NAME, "evil.example", raises=False)])
    loud = event("a", [observed(NAME, "evil.example")])
    matcher = ReferenceMatcher([indicator(NAME, "evil.example")])

    def given_as(events: list[Event]) -> list[bool]:
        return [item.raises for item in detect_all(events, matcher)]

    assert given_as([quiet, quiet, loud, loud, quiet]) == [False, True]
    assert given_as([loud, quiet, loud]) == [True]


# Whatever the order

INDICATORS = [
    indicator(IP, THEIRS),
    indicator(IP, "192.0.2.0/24", definition=GROUPED),
    indicator(NAME, "evil.example", BELOW),
    indicator(NAME, "a.evil.example", definition=GROUPED),
    indicator(NAME, "evil", DetectionFunction.CONTAINS, number=2),
]
OBSERVABLES = st.sampled_from(
    [
        observed(kind, value, raises=raises)
        for kind, value in (
            (IP, OURS),
            (IP, THEIRS),
            (NAME, "evil.example"),
            (NAME, "a.evil.example"),
            (NAME, "good.example"),
        )
        for raises in (True, False)
    ]
)


def made(parts: tuple[list[Observable], int | None, str | None]) -> Event:
    """An event that is named by all that it holds, as content makes identity."""
    observables, hour, machine = parts
    time = None if hour is None else NOON + timedelta(hours=hour)
    return event(repr(parts), observables, time=time, machine=machine, endpoints=BOTH)


EVENTS = st.lists(
    st.tuples(
        st.lists(OBSERVABLES, max_size=4),
        st.none() | st.integers(-30, 30),
        st.sampled_from([None, "ws5", "ws6"]),
    ).map(made),
    max_size=8,
)


def outcome(events: Iterable[Event]) -> tuple[set[str], dict[str, Alert]]:
    """The ids of the detections that raise and of those that never do, and the alerts."""
    final: dict[str, Detection] = {}
    alerts: dict[str, Alert] = {}
    for found in detect_all(events, ReferenceMatcher(INDICATORS)):
        assert found.id not in final or (found.raises and not final[found.id].raises)
        final[found.id] = found
        if found.raises:
            alerts[found.alert_id] = triage.merge(alerts.get(found.alert_id), found)
    return {f"{found.id} {found.raises}" for found in final.values()}, alerts


@given(EVENTS, st.data())
def test_shuffled_and_repeated_events_give_the_same_detections_and_alerts(
    events: list[Event], data: st.DataObject
) -> None:
    more = data.draw(st.lists(st.sampled_from(events), max_size=5)) if events else []
    shuffled = data.draw(st.permutations(events + more))
    assert outcome(shuffled) == outcome(events)


@given(EVENTS, st.permutations(INDICATORS))
def test_the_order_of_indicators_does_not_matter(events: list[Event], indicators: list[Indicator]) -> None:
    def ids(order: list[Indicator]) -> set[tuple[str, str, bool]]:
        found = detect_all(events, ReferenceMatcher(order))
        return {(item.id, item.alert_id, item.raises) for item in found}

    assert ids(indicators) == ids(INDICATORS)
