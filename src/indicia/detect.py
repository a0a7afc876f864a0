"""The middle of the road: an event and a matcher in, detections out. No store, no HTTP, no clock.

The same function runs in a scan, behind the live door and on a worker of a distributed engine, which is
why the same event gives the same ids everywhere.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from indicia import identity, triage
from indicia.match import Matcher, in_force
from indicia.model import Detection, Event, Evidence, Facts, Indicator, Observable
from indicia.values import address

_Key = tuple[str, str, str, str]
_FOLDERS = re.compile(r"[/\\!]")
_COMPRESSED = (".gz", ".zst", ".bz2", ".xz")


def detect_all(events: Iterable[Event], matcher: Matcher, tenant: str = "") -> Iterator[Detection]:
    """Every detection of the events, each id once: the first that raises, else the first.

    A silent detection is given as soon as it is seen; when another copy of its event raises, the raising
    one follows. `tenant` is a uid, empty where there are none.
    """
    return once(detection for event in events for detection in detect(event, matcher, tenant))


def once(detections: Iterable[Detection]) -> Iterator[Detection]:
    """Each id once: the first that raises, else the first; memory as `Once`."""
    seen = Once()
    return (detection for detection in detections if seen.is_new(detection))


class Once:
    """Knows which detections there were: a few dozen bytes an id."""

    def __init__(self) -> None:
        self._raised: dict[bytes, bool] = {}

    def note(self, detection_id: str, raises: bool) -> None:
        """There was one."""
        self._raised[bytes.fromhex(detection_id)] = raises

    def is_new(self, detection: Detection) -> bool:
        """Whether it is the first of its id, or the first that raises; it is noted."""
        before = self._raised.get(bytes.fromhex(detection.id))
        if before is not None and (before or not detection.raises):
            return False
        self.note(detection.id, detection.raises)
        return True


def detect(event: Event, matcher: Matcher, tenant: str = "") -> list[Detection]:
    """One detection for each definition, type, function and canonical value that the event meets.

    Of indicators that are alike under one definition the one with the lowest id stands for all.
    """
    met: dict[_Key, tuple[Indicator, list[Observable]]] = {}
    for observable in event.observables:
        for indicator in matcher.meet(observable):
            if in_force(indicator, event.facts.time):
                _note(met, indicator, observable)
    return [_detection(event, indicator, places, tenant) for indicator, places in met.values()]


def _note(
    met: dict[_Key, tuple[Indicator, list[Observable]]], indicator: Indicator, observable: Observable
) -> None:
    key = indicator.definition.uid, indicator.type, indicator.function, indicator.canonical
    before = met.get(key)
    if before is None:
        met[key] = indicator, [observable]
        return
    first, places = before
    if observable not in places:
        places.append(observable)
    if indicator.id < first.id:
        met[key] = indicator, places


def _detection(event: Event, indicator: Indicator, places: list[Observable], tenant: str) -> Detection:
    facts, definition = event.facts, indicator.definition
    machine = facts.machine or _other_end(facts, places) or _named(event.source)
    window = triage.window_of(facts.time, definition.window_seconds)
    group = triage.group_of(indicator)
    found = identity.detection_id(
        tenant, definition.uid, indicator.type, indicator.function, indicator.canonical, facts.event_id
    )
    evidence = tuple(Evidence(o.path, o.role, o.side, o.text, o.raises) for o in places)
    return Detection(
        id=found,
        alert_id=identity.alert_id(tenant, definition.uid, machine, group, window),
        event_id=facts.event_id,
        raises=any(piece.raises for piece in evidence),
        source=event.source,
        line=event.line,
        event_time=facts.time,
        time_note=facts.time_note,
        machine=machine,
        indicator=indicator,
        evidence=evidence,
        schema=event.schema,
        tenant=tenant,
        window=window,
        marks=facts.marks,
        event_text=facts.text,
    )


def _other_end(facts: Facts, places: list[Observable]) -> str | None:
    """The endpoint that is not the indicator; the source where neither or both are, or the only one."""
    matched = {place.value for place in places}
    ends = [end for _, end in facts.endpoints]
    return next((end for end in ends if end not in matched), ends[0] if ends else None)


def _named(source: str) -> str:
    """A source as the name of a machine: less what a move or a compression changes."""
    name = _FOLDERS.split(source)[-1] or source
    for ending in _COMPRESSED:
        name = name.removesuffix(ending) or name
    return address(name) or identity.lower(name)
