"""Why an event meets an indicator, or does not: the steps of a match, each with what it saw.

Nothing is decided here that is not decided elsewhere: `match.reference.meets` says what meets, `in_force`
what holds at a time, `detect` what is detected and raises, `match.keys` by which pieces the kernel looks.
A test holds explanation and matcher together over random pairs. docs/explain.md tells of each reason.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum
from typing import Any

from indicia import telemetry
from indicia.allow import Allowance, Known
from indicia.detect import detect
from indicia.errors import InputError
from indicia.match import ReferenceMatcher, in_force, keys
from indicia.match.reference import meets
from indicia.model import (
    Detection,
    DetectionFunction,
    Event,
    Facts,
    Indicator,
    IndicatorType,
    Observable,
    Role,
    TimeNote,
)
from indicia.telemetry import Source, records
from indicia.telemetry.meanings import MEANINGS
from indicia.telemetry.paths import open_json
from indicia.telemetry.schema import Schema
from indicia.values import PATTERNS, canonical, without_case


class Reason(StrEnum):
    """What decided; exactly one for each pair of event and indicator."""

    HIT = "hit"
    HIT_SILENT = "hit-silent"
    HIT_ALLOWED = "hit-allowed"
    INDICATOR_DISABLED = "indicator-disabled"
    DEFINITION_DISABLED = "definition-disabled"
    NOT_IN_INDEX = "not-in-index"
    FIELD_NEVER = "field-never"
    TYPE_ABSENT = "type-absent"
    TEXT_ONLY = "text-only"
    NOT_EQUAL = "not-equal"
    NOT_BELOW = "not-below"
    NOT_IN_NETWORK = "not-in-network"
    NOT_AT_START = "not-at-start"
    NOT_AT_END = "not-at-end"
    NOT_INSIDE = "not-inside"
    NOT_YET_VALID = "not-yet-valid"
    EXPIRED = "expired"
    NO_INDICATOR = "no-indicator"
    """Of an event without any indicator in mind: none of all meets it."""


HITS = frozenset({Reason.HIT, Reason.HIT_SILENT, Reason.HIT_ALLOWED})
_FAILED = {
    DetectionFunction.EQUALS: Reason.NOT_EQUAL,
    DetectionFunction.SUBDOMAIN_OF: Reason.NOT_BELOW,
    DetectionFunction.START_WITH: Reason.NOT_AT_START,
    DetectionFunction.END_WITH: Reason.NOT_AT_END,
    DetectionFunction.CONTAINS: Reason.NOT_INSIDE,
}
_WORDS = {
    Reason.NOT_EQUAL: "none of them is the value",
    Reason.NOT_BELOW: "none of them is the name or lies below it",
    Reason.NOT_IN_NETWORK: "none of them lies in the network",
    Reason.NOT_AT_START: "none of them begins with it",
    Reason.NOT_AT_END: "none of them ends with it",
    Reason.NOT_INSIDE: "none of them holds it",
}
_TAGS = {
    keys.TEXT: "the token",
    keys.BELOW: "the name, alone or behind a dot,",
    keys.V6: "the address in any spelling, packed",
    keys.NET4: "the network of the address, packed",
    keys.NET6: "the network of the address, packed",
}
_PACKED = frozenset({keys.V6, keys.NET4, keys.NET6})
_OPENED = 2
_DEPTH = 100


@dataclass(frozen=True, slots=True)
class Place:
    """A text of an event, and what its field means by the mapping."""

    path: str
    meaning: str
    text: str


@dataclass(frozen=True, slots=True)
class Step:
    """One step; `reason` says why it failed, None that it passed."""

    name: str
    says: str
    reason: Reason | None = None
    seen: tuple[Observable, ...] = ()
    """Of the event, what the step looked at."""


@dataclass(frozen=True, slots=True)
class Explanation:
    """Of one event and one indicator."""

    indicator: Indicator
    reason: Reason
    """The first step's that failed; else HIT or HIT_SILENT."""
    steps: tuple[Step, ...]
    """All of them, those behind the decisive one too: they say what else is in the way."""
    detection: Detection | None
    """Of a hit, as `detect` makes it."""
    known: tuple[Known, ...] = ()
    """Of a hit that raises, the entries of allow-lists in force that know it, the one that decides first."""

    @property
    def hit(self) -> bool:
        """Whether there is a detection."""
        return self.reason in HITS


def explain(
    event: Event,
    indicator: Indicator,
    *,
    tenant: str = "",
    places: Sequence[Place] = (),
    compiled: bool = True,
    allowance: Allowance | None = None,
) -> Explanation:
    """Every step of the match of the two.

    `places` are the texts of the event (`places_of`), by which a miss is told more exactly. `compiled`:
    whether the index holds the indicator. `allowance`: the allow-lists in force, where there is a tenant.
    """
    met = tuple(one for one in event.observables if meets(indicator, one))
    steps = [
        _enabled(indicator),
        _indexed(indicator, compiled=compiled),
        _role(event, indicator, met, places),
        _function(event, indicator, met),
        _time(event, indicator),
    ]
    failed = next((step.reason for step in steps if step.reason is not None), None)
    if failed is not None:
        return Explanation(indicator, failed, tuple(steps), None)
    (detection,) = detect(event, ReferenceMatcher([indicator]), tenant)
    steps.append(_raises(detection, met))
    if not detection.raises:
        return Explanation(indicator, Reason.HIT_SILENT, tuple(steps), detection)
    known = allowance.known_in(detection) if allowance else ()
    if known:
        steps.append(_allowed(known))
    reason = Reason.HIT_ALLOWED if known and known[0].suppresses else Reason.HIT
    return Explanation(indicator, reason, tuple(steps), detection, known)


# The steps


def _enabled(indicator: Indicator) -> Step:
    if not indicator.enabled:
        return Step("enabled", "the indicator is disabled", Reason.INDICATOR_DISABLED)
    if not indicator.definition.enabled:
        name = indicator.definition.name
        return Step("enabled", f"the alert definition {name!r} is disabled", Reason.DEFINITION_DISABLED)
    return Step("enabled", "indicator and alert definition are enabled")


def _indexed(indicator: Indicator, *, compiled: bool) -> Step:
    if not compiled:
        return Step("index", "the index does not hold the indicator; build it again", Reason.NOT_IN_INDEX)
    return Step("index", f"{_form(indicator)}; {key_words(indicator)}")


def _form(indicator: Indicator) -> str:
    written, form = indicator.value, indicator.canonical
    same = "as it is written" if written == form else f"written {written!r}"
    return f"{indicator.type} {indicator.function} {form!r}, {same}"


def key_words(indicator: Indicator) -> str:
    """Where the kernel looks for the indicator: the piece that every spelling of a hit must hold."""
    hard = keys.Hard(0, indicator.type, indicator.function, indicator.canonical)
    if indicator.function in PATTERNS:
        piece = keys.piece(hard)
        return _loose() if piece is None else f"it is looked for by the piece {piece!r}"
    if indicator.type in {IndicatorType.URL, IndicatorType.FILE_NAME}:
        tokens = [*dict.fromkeys(keys.tokens(indicator.canonical))]
        return f"it is looked for by the rarest of the tokens {', '.join(tokens)}" if tokens else _loose()
    key = keys.choose([hard])[0]
    if key is None:
        return _loose()
    shown = key.data.hex() if key.tag in _PACKED else repr(key.data.decode())
    return f"it is looked for by {_TAGS[key.tag]} {shown}"


def _loose() -> str:
    return "it has no piece to be looked for, so every line is parsed"


def _role(event: Event, indicator: Indicator, met: tuple[Observable, ...], places: Sequence[Place]) -> Step:
    """Whether the event has values of the type, and whether the text stands where it means none."""
    seen = tuple(one for one in event.observables if one.type is indicator.type)
    if not met:
        held = [place for place in places if _holds(place.text, indicator)]
        for place in held:
            if place.meaning == "never":
                says = f"the text stands in {_named(place.path)}, which never means an indicator"
                return Step("role", says, Reason.FIELD_NEVER, seen)
        if not seen and held:
            where = f"{_named(held[0].path)} ({held[0].meaning})"
            says = f"the text stands in {where}, but not as a value of the type"
            return Step("role", says, Reason.TEXT_ONLY, seen)
        if not seen:
            says = f"the event holds nothing of type {indicator.type}"
            return Step("role", says, Reason.TYPE_ABSENT)
    count = "1 value" if len(seen) == 1 else f"{len(seen)} values"
    return Step("role", f"the event holds {count} of type {indicator.type}", seen=seen)


def _holds(text: str, indicator: Indicator) -> bool:
    wanted = {indicator.canonical, without_case(indicator.value)}
    lower = without_case(text)
    return any(one in lower for one in wanted)


def _named(path: str) -> str:
    return f"the field {path}" if path else "the line"


def _function(event: Event, indicator: Indicator, met: tuple[Observable, ...]) -> Step:
    if met:
        texts = ", ".join(dict.fromkeys(repr(one.value) for one in met))
        return Step("function", f"{indicator.function} holds for {texts}", seen=met)
    equals = indicator.function is DetectionFunction.EQUALS
    net = equals and indicator.type is IndicatorType.IP_ADDRESS and "/" in indicator.canonical
    reason = Reason.NOT_IN_NETWORK if net else _FAILED[indicator.function]
    says = f"{indicator.function} does not hold: {_WORDS[reason]}"
    if equals and indicator.type is IndicatorType.DOMAIN_NAME:
        wider = replace(indicator, function=DetectionFunction.SUBDOMAIN_OF)
        below = next((one.value for one in event.observables if meets(wider, one)), None)
        if below is not None:
            says += f"; SubdomainOf would meet {below!r}"
    return Step("function", says, reason)


def _time(event: Event, indicator: Indicator) -> Step:
    time, note = event.facts.time, event.facts.time_note
    start, end = indicator.valid_from, indicator.expires_at
    if time is None:
        why = f" ({note})" if note is not None else ""
        return Step("time", f"the event has no usable time{why}, which never hides a match")
    span = f"valid from {_shown(start, 'ever')} until {_shown(end, 'ever')}, event at {_shown(time, '')}"
    if in_force(indicator, time):
        return Step("time", span)
    early = start is not None and time < start
    return Step("time", span, Reason.NOT_YET_VALID if early else Reason.EXPIRED)


def _shown(time: datetime | None, unbounded: str) -> str:
    return time.isoformat().replace("+00:00", "Z") if time is not None else unbounded


def _raises(detection: Detection, met: tuple[Observable, ...]) -> Step:
    raising = next((one for one in met if one.raises), None)
    if not detection.raises or raising is None:
        return Step(
            "raises", "only mentioned, where texts are full of look-alikes: kept in silence", seen=met
        )
    what = "observed" if raising.role is Role.OBSERVED else "mentioned where a mention counts"
    return Step("raises", f"{what} in {_named(raising.path)}", seen=met)


def _allowed(known: Sequence[Known]) -> Step:
    first, *others = known
    effect = "which suppresses: it opens no alert" if first.suppresses else "which only annotates"
    more = f"; known also to {', '.join(map(str, others))}" if others else ""
    return Step("allow", f"known to {first}, {effect}{more}")


# What is explained


def places_of(record: dict[str, Any] | bytes, schema: Schema) -> list[Place]:
    """The texts of a record with what their fields mean; JSON inside a string is opened."""
    if isinstance(record, bytes):
        return [Place("", schema.meaning("").name, record.decode("utf-8", "replace"))]
    return list(_texts(record, "", "", schema, 0, 0))


def _texts(value: Any, plain: str, shown: str, schema: Schema, opened: int, depth: int) -> Iterator[Place]:
    if depth > _DEPTH:
        return
    if isinstance(value, dict):
        for key, below in value.items():
            path = f"{plain}.{key}" if plain else key
            yield from _texts(below, path, f"{shown}.{key}" if shown else key, schema, opened, depth + 1)
    elif isinstance(value, list):
        for number, below in enumerate(value):
            yield from _texts(below, plain, f"{shown}[{number}]", schema, opened, depth + 1)
    elif isinstance(value, str):
        inner = open_json(value) if opened < _OPENED and schema.meaning(plain).name != "never" else None
        if inner is not None:
            yield from _texts(inner, plain, f"{shown}{{json}}", schema, opened + 1, depth + 1)
        else:
            yield Place(shown, schema.meaning(plain).name, value)


def event_of_value(text: str, time: datetime | None = None) -> Event:
    """A value as an event that has it in a field that means it, as each type that it can be of.

    `time` is the event's; None: it has none.
    """
    found: dict[tuple[IndicatorType, str], Observable] = {}
    for kind in IndicatorType:
        value = canonical(kind, text)
        if value is not None:
            found[kind, value] = Observable(kind, value, text, "", Role.OBSERVED)
    for part in MEANINGS["url"](text, "", None) if "/" in text else ():
        if part.role is Role.OBSERVED:
            found.setdefault((part.type, part.value), part)
    note = TimeNote.MISSING if time is None else None
    facts = Facts("", time, note, None, ())
    return Event("value", "value", 1, tuple(found.values()), lambda: facts)


def read_event(
    source: Source, schema: str | None = None, line: int | None = None
) -> tuple[Event, list[Place]]:
    """The event on a line of a source, or the first one, with its texts. InputError where there is none."""
    faults: list[str] = []

    def report(what: telemetry.Malformed) -> None:
        if line in {None, what.line}:
            faults.append(f"line {what.line}: {what.reason}" if what.line else what.reason)

    for number, event in enumerate(telemetry.events(source, schema=schema, malformed=report)):
        if line is None or event.line == line:
            return event, _places(source, event, number)
    why = f": {faults[0]}" if faults else ""
    which = f"on line {line}" if line else "in it"
    raise InputError(f"there is no event {which}{why}", place=source.name)


def _places(source: Source, event: Event, number: int) -> list[Place]:
    """The texts of the record of that number, which is that of the event."""
    with source.open() as stream:
        for place, record in enumerate(records.read(stream, lambda _line, _reason: None)):
            if place == number:
                return places_of(record.value, telemetry.schemas()[event.schema])
    return []
