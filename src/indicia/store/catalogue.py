"""Indicators as people look for them: what they are, whose, until when, and how their value begins.

A page costs the same however many there are. Each question has an order that an index gives (`_ways`).
What that index does not know is looked for in slices, for SECONDS: a page that found little says so, and
from where to go on. Ids grow with the time at which indicators are made, so times of making bound ids.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, fields, replace
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any, NamedTuple

from sqlalchemy import ColumnElement, String, Table, and_, or_

from indicia.errors import InvalidValue
from indicia.model import Alert, AuditEntry, DetectionFunction, Indicator, IndicatorType
from indicia.store import alerts as alert_rows
from indicia.store import audit as audits
from indicia.store import indicators as indicator_rows
from indicia.store import purges, rows
from indicia.store.parts import Part
from indicia.store.scope import Scope
from indicia.store.tables import (
    HEAD,
    alerts,
    canonical_head,
    detections,
    event_texts,
    indicators,
    snapshots,
)
from indicia.values import indicator_value, refang, without_case

SECONDS = 0.015
"""For how long a page looks for what no index knows."""
SLICE = 1000
"""Rows between two looks at the clock."""
COUNTED = 10_000
"""Beyond it nothing of one definition is counted: what is more is told as more."""
COUNTED_EACH = 1000
"""The same, of each of many."""
SOON = timedelta(days=30)
"""How far ahead an expiry is near."""
_SKEW = timedelta(hours=1)
"""How far clocks may have been turned back between two rows."""
_STORED = 5000
_LAST = "\U0010ffff"


class Expiry(StrEnum):
    """How an indicator stands to its end."""

    EXPIRED = "Expired"
    SOON = "Soon"


@dataclass(frozen=True, slots=True)
class Chosen:
    """Which indicators; what is None or empty asks for nothing."""

    type: IndicatorType | None = None
    function: DetectionFunction | None = None
    definition_id: int | None = None
    enabled: bool | None = None
    expiry: Expiry | None = None
    value: str = ""
    """How the value begins, in any spelling."""
    exact: bool = False
    """The value is `value`, in any spelling."""
    created_by: str = ""
    since: datetime | None = None
    """Made then or later."""
    until: datetime | None = None
    """Made before."""


Place = tuple[int | str, ...]
"""The sort keys of the row that was looked at last."""


@dataclass(frozen=True, slots=True)
class Found:
    """A page of indicators."""

    found: list[Indicator]
    after: Place | None
    """From where to go on; None at the end."""
    full: bool = True
    """False where looking ended before the page was full, although there may be more."""


@dataclass(frozen=True, slots=True)
class Figures:
    """Of a definition; each is one more than was counted to, where it is more."""

    indicators: int
    alerts: int
    """Opened since the time that was asked for."""


class KeptEvent(NamedTuple):
    """An event as it was kept with its detections (`Facts.text`)."""

    schema: str
    source: str
    machine: str
    """As the detection names it."""
    text: str


class _Way(NamedTuple):
    """An order of indicators, and what of them it passes."""

    keys: tuple[ColumnElement[Any], ...]
    """One or two, the last is the id; an index has them in this order."""
    descending: bool
    within: tuple[ColumnElement[bool], ...]
    """What the index knows."""
    rest: tuple[ColumnElement[bool], ...] = ()
    """What each row is asked."""
    low: int | str | None = None
    """The first of the keys is this or more, and less than `high`; None: no bound."""
    high: int | str | None = None


@dataclass(frozen=True, slots=True)
class Catalogue(Part):
    """What a tenant looks for, as lists. Each call is one transaction."""

    def indicators(self, chosen: Chosen, *, after: Place | None = None, limit: int = 50) -> Found:
        """A page: the newest first; by value or by expiry where that is asked for."""
        with self._reading() as scope:
            return page(scope, chosen, after, limit)

    def stored(self, canonical: Iterable[str]) -> list[Indicator]:
        """Those that have one of the canonical values, under any definition; the first 5,000."""
        wanted = set(canonical)
        with self._reading() as scope:
            keys = {rows.canonical_key(text) for text in wanted}
            query = scope.select(indicators).limit(_STORED)
            found = scope.rows_in(query, indicators.c.canonical_key, keys)
            return indicator_rows.nouns(scope, sorted(row for row in found if row.canonical in wanted))

    def figures(
        self, definition_ids: Iterable[int], since: datetime, most: int = COUNTED
    ) -> dict[int, Figures]:
        """How much definitions have, each counted up to `most`."""
        with self._reading() as scope:
            first = _first_id(scope, alerts, alerts.c.created_at, since)
            wanted = list(definition_ids)
            known = _snapshots(scope, wanted)
            return {
                number: Figures(
                    scope.count_up_to(indicators, most + 1, indicators.c.definition_id == number),
                    _alerts_since(scope, known.get(number, ()), first, most + 1),
                )
                for number in wanted
            }

    def alerts(self, definition_id: int, limit: int = 10) -> list[Alert]:
        """The newest alerts of a definition, whatever it said then."""
        with self._reading() as scope:
            found: list[Any] = []
            for snapshot in _snapshots(scope, [definition_id]).get(definition_id, ()):
                query = scope.select(alerts).where(alerts.c.snapshot_id == snapshot)
                found += scope.rows(query.order_by(alerts.c.id.desc()).limit(limit))
            found.sort(key=lambda row: -row.id)
            return alert_rows.nouns(scope, found[:limit])

    def kept_events(self, limit: int = 500) -> list[KeptEvent]:
        """The newest events that met some indicator and were kept, each once; other events are not kept."""
        with self._reading() as scope:
            columns = ("id", "detection_id", "event_id", "schema", "source", "machine")
            table = detections.c
            query = scope.select(detections, *(table[name] for name in columns))
            newest = scope.rows(query.order_by(table.id.desc()).limit(4 * limit))
            of_event = {row.event_id: row for row in reversed(newest)}
            wanted = {row.detection_id: row for row in of_event.values()}
            texts = scope.rows_in(scope.select(event_texts), event_texts.c.detection_id, wanted)
            found = [(wanted[row.detection_id], row.text) for row in texts]
            found.sort(key=lambda pair: -pair[0].id)
            return [KeptEvent(row.schema, row.source, row.machine, text) for row, text in found[:limit]]

    def history(self, set_name: str, key: int, *, limit: int = 50) -> list[AuditEntry]:
        """What was done to one entity, alone or with others at once, the newest first; no import."""
        with self._reading() as scope:
            return audits.of_entity(scope, set_name, key, limit)


def page(scope: Scope, chosen: Chosen, after: Place | None, limit: int) -> Found:
    """As `Catalogue.indicators`, inside a transaction."""
    merged = _merged(chosen)
    if merged:
        return _newest_of(scope, merged, after, limit)
    return _along(scope, _ways(scope, chosen), after, limit)


def sweep(scope: Scope, chosen: Chosen, after: Place | None, limit: int) -> Found:
    """As `page`, always in the order of ids, which no change of an indicator moves: the newest first."""
    known = Chosen(definition_id=chosen.definition_id)
    return _along(scope, [_by_id(scope, chosen, known)], after, limit)


def _along(scope: Scope, ways: Iterable[_Way], after: Place | None, limit: int) -> Found:
    """Along one way after another; their orders follow each other."""
    end = time.monotonic() + SECONDS
    found: list[Any] = []
    for way in ways:
        _must_fit(after, *(str if isinstance(key.type, String) else int for key in way.keys))
        place, whole = after, False
        while len(found) <= limit and not whole:
            some, place, whole = _slice(scope, way, place, limit + 1 - len(found))
            found += some
            if not whole and len(found) <= limit and time.monotonic() > end:
                return Found(indicator_rows.nouns(scope, found), place, full=False)
        if len(found) > limit:
            return Found(indicator_rows.nouns(scope, found[:limit]), _place(way, found[limit - 1]))
    return Found(indicator_rows.nouns(scope, found), None)


def _must_fit(after: Place | None, *kinds: type) -> None:
    """Raise InvalidValue for a place that is none of a list with keys of these types: of other filters."""
    if after is not None and tuple(map(type, after)) != kinds:
        raise InvalidValue("is no place in the list; begin again without it", target="after")


def _slice(
    scope: Scope, way: _Way, after: Place | None, limit: int
) -> tuple[Sequence[Any], Place | None, bool]:
    """Rows of the next slice, where it ends, and whether it was the last one."""
    within = (*way.within, *_from(way, after))
    order = [key.desc() if way.descending else key for key in way.keys]
    end: Place | None = None
    if way.rest:
        step = scope.select(indicators, *_labelled(way)).where(*within, *_to(way, None)).order_by(*order)
        row = scope.row(step.offset(SLICE - 1).limit(1))
        end = None if row is None else tuple(row)
    query = scope.select(indicators).add_columns(*_labelled(way)).where(*within, *_to(way, end), *way.rest)
    found = scope.rows(query.order_by(*order).limit(limit))
    return found, end, end is None


def _labelled(way: _Way) -> list[ColumnElement[Any]]:
    return [key.label(f"key_{number}") for number, key in enumerate(way.keys)]


def _place(way: _Way, row: Any) -> Place:
    return tuple(row[-len(way.keys) :])


def _from(way: _Way, after: Place | None) -> list[ColumnElement[bool]]:
    """Where to begin. One bound: of two, SQLite enters an index by the one that it likes."""
    first = way.keys[0]
    if after is not None and not _ahead(way, after):
        return [_beyond(way, after)]
    if way.descending:
        return [] if way.high is None else [first < way.high]
    return [] if way.low is None else [first >= way.low]


def _ahead(way: _Way, after: Place) -> bool:
    """Whether the way begins behind a place."""
    at: Any = after[0]
    if way.descending:
        return way.high is not None and at >= way.high
    return way.low is not None and at < way.low


def _to(way: _Way, end: Place | None) -> list[ColumnElement[bool]]:
    """Where to end."""
    first = way.keys[0]
    if end is not None:
        return [_up_to(way, end)]
    if way.descending:
        return [] if way.low is None else [first >= way.low]
    return [] if way.high is None else [first < way.high]


def _beyond(way: _Way, after: Place) -> ColumnElement[bool]:
    """What comes after a place; the first condition is what an index is entered by."""
    turned = [(key < at) if way.descending else (key > at) for key, at in zip(way.keys, after, strict=True)]
    if len(turned) == 1:
        return turned[0]
    first, at = way.keys[0], after[0]
    return and_(first <= at if way.descending else first >= at, or_(turned[0], turned[1]))


def _up_to(way: _Way, end: Place) -> ColumnElement[bool]:
    """What comes before a place, and what is there."""
    turned = [(key > at) if way.descending else (key < at) for key, at in zip(way.keys, end, strict=True)]
    last = or_(turned[-1], way.keys[-1] == end[-1])
    if len(turned) == 1:
        return way.keys[0] >= end[0] if way.descending else way.keys[0] <= end[0]
    first, at = way.keys[0], end[0]
    return and_(first >= at if way.descending else first <= at, or_(turned[0], last))


# Which way


def _ways(scope: Scope, chosen: Chosen) -> Iterable[_Way]:
    """By which index, and what is left to be asked of each row."""
    if chosen.value:
        others = _conditions(replace(chosen, value="", exact=False))
        return _by_value(chosen, others) if rows.storable(chosen.value) else []
    if chosen.expiry is not None:
        others = _conditions(replace(chosen, expiry=None))
        keys, now = (indicators.c.expires_at, indicators.c.id), rows.now()
        if chosen.expiry is Expiry.EXPIRED:
            return [_Way(keys, True, (keys[0].is_not(None),), others, high=rows.micros(now) + 1)]
        return [_Way(keys, False, (), others, rows.micros(now) + 1, rows.micros(now + SOON))]
    if chosen.definition_id is not None:
        return [_by_id(scope, chosen, Chosen(definition_id=chosen.definition_id))]
    if chosen.enabled is False:
        return [_by_id(scope, chosen, Chosen(enabled=False))]
    if chosen.type is not None and chosen.function is not None:
        return [_by_id(scope, chosen, Chosen(type=chosen.type, function=chosen.function))]
    return [_by_id(scope, chosen, Chosen())]


def _by_id(scope: Scope, chosen: Chosen, known: Chosen) -> _Way:
    """The newest first; an index knows what is `known` of all that is asked."""
    nothing = Chosen()
    names = [one.name for one in fields(Chosen)]
    done = {name: getattr(nothing, name) for name in names if getattr(known, name) != getattr(nothing, name)}
    low = high = None
    times = indicators.c.created_at
    if chosen.since is not None:
        low = _first_id(scope, indicators, times, chosen.since - _SKEW)
    if chosen.until is not None:
        high = _first_id(scope, indicators, times, chosen.until + _SKEW)
    within = (*_conditions(known), *purges.bounds(scope))
    return _Way((indicators.c.id,), True, within, _conditions(replace(chosen, **done)), low, high)


def _conditions(chosen: Chosen) -> tuple[ColumnElement[bool], ...]:
    """Everything that is asked, of a row."""
    table = indicators.c
    pairs = (
        (table.type, chosen.type and str(chosen.type)),
        (table.function, chosen.function and str(chosen.function)),
        (table.definition_id, chosen.definition_id),
        (table.created_by, chosen.created_by or None),
    )
    found: list[ColumnElement[bool]] = [column == value for column, value in pairs if value is not None]
    if chosen.enabled is not None:
        found.append(table.enabled.is_(chosen.enabled))
    if chosen.expiry is not None:
        found += _expiry(chosen.expiry)
    if chosen.value:
        found.append(_valued(chosen))
    if chosen.since is not None:
        found.append(table.created_at >= rows.micros(chosen.since))
    if chosen.until is not None:
        found.append(table.created_at < rows.micros(chosen.until))
    return tuple(found)


def _expiry(expiry: Expiry) -> tuple[ColumnElement[bool], ...]:
    now = rows.now()
    ends = indicators.c.expires_at
    if expiry is Expiry.EXPIRED:
        return (ends <= rows.micros(now),)
    return ends > rows.micros(now), ends <= rows.micros(now + SOON)


# By value


def _valued(chosen: Chosen) -> ColumnElement[bool]:
    if not rows.storable(chosen.value):
        return indicators.c.id < 0  # nothing that is stored
    if chosen.exact:
        forms = indicator_rows.forms_of(refang(chosen.value))
        keys = sorted(map(rows.canonical_key, forms))
        return and_(indicators.c.canonical_key.in_(keys), indicators.c.canonical.in_(sorted(forms)))
    return or_(*(_begins(part) for part in _beginnings(chosen.value)))


def _by_value(chosen: Chosen, others: tuple[ColumnElement[bool], ...]) -> list[_Way]:
    """Exactly the value, in the order of ids; or what begins so, in the order of their beginnings."""
    if chosen.exact:
        # Of few, so that no index of ids is walked instead.
        number = indicators.c.id + 0
        return [_Way((number,), True, (_valued(chosen),), others)]
    keys = (canonical_head, indicators.c.id)
    heads: dict[str, list[str]] = {}
    for part in _beginnings(chosen.value):
        heads.setdefault(part[:HEAD], []).append(part)
    ways = []
    for head, parts in sorted(heads.items()):
        longer = () if head in parts else (or_(*(_begins(part) for part in parts)),)
        ways.append(_Way(keys, False, (), (*longer, *others), head, _end(head)))
    return ways


_BEGINNINGS = (
    *((kind, DetectionFunction.EQUALS) for kind in (IndicatorType.IP_ADDRESS, IndicatorType.DOMAIN_NAME)),
    *((kind, DetectionFunction.START_WITH) for kind in (IndicatorType.IP_ADDRESS, IndicatorType.URL)),
)
"""What can give a beginning another form than its lower case."""


def _beginnings(value: str) -> list[str]:
    """How the canonical forms of what begins so can begin; none begins with another."""
    plain = refang(value.strip())
    found = {without_case(plain)}
    for kind, function in _BEGINNINGS:
        with suppress(InvalidValue):
            found.add(indicator_value(kind, function, plain, force=True))
    return [part for part in sorted(found) if not any(part.startswith(other) for other in found - {part})]


def _begins(part: str) -> ColumnElement[bool]:
    end = _end(part)
    above = indicators.c.canonical >= part
    return above if end is None else and_(above, indicators.c.canonical < end)


def _end(part: str) -> str | None:
    """The first text behind all that begin so; None where there is none."""
    stem = part.rstrip(_LAST)
    if not stem:
        return None
    number = ord(stem[-1]) + 1
    return stem[:-1] + chr(0xE000 if 0xD800 <= number < 0xE000 else number)


# By type and function alone


def _merged(chosen: Chosen) -> list[tuple[str, str]]:
    """Pairs of type and function, where one of the two and nothing else is asked for."""
    if (chosen.type is None) == (chosen.function is None):
        return []
    if chosen != Chosen(type=chosen.type, function=chosen.function):
        return []
    types = [chosen.type] if chosen.type is not None else list(IndicatorType)
    functions = [chosen.function] if chosen.function is not None else list(DetectionFunction)
    return [(str(kind), str(function)) for kind in types for function in functions]


def _newest_of(scope: Scope, pairs: Sequence[tuple[str, str]], after: Place | None, limit: int) -> Found:
    """The newest of all pairs, each of which an index has in the order of ids."""
    _must_fit(after, int)
    ids: list[int] = []
    number = indicators.c.id
    for kind, function in pairs:
        query = scope.select(indicators, number).where(
            indicators.c.type == kind, indicators.c.function == function, *purges.bounds(scope)
        )
        if after is not None:
            query = query.where(number < after[0])
        ids += [row.id for row in scope.rows(query.order_by(number.desc()).limit(limit + 1))]
    ids = sorted(ids, reverse=True)[: limit + 1]
    found = scope.rows_in(scope.select(indicators), number, ids[:limit])
    shown = indicator_rows.nouns(scope, sorted(found, key=lambda row: -int(row[0])))
    return Found(shown, (ids[limit - 1],) if len(ids) > limit else None)


# Counts


def _alerts_since(scope: Scope, of_snapshots: Iterable[int], first: int, most: int) -> int:
    found = 0
    for snapshot in of_snapshots:
        mine = alerts.c.snapshot_id == snapshot, alerts.c.id >= first
        found += scope.count_up_to(alerts, most - found, *mine)
    return found


def _snapshots(scope: Scope, definition_ids: Iterable[int]) -> dict[int, list[int]]:
    """What definitions said when something matched: the ids of their snapshots."""
    query = scope.select(snapshots, snapshots.c.id, snapshots.c.definition_id)
    found: dict[int, list[int]] = {}
    for row in scope.rows_in(query, snapshots.c.definition_id, definition_ids):
        found.setdefault(row.definition_id, []).append(row.id)
    return found


def _first_id(scope: Scope, table: Table, column: ColumnElement[int], moment: datetime) -> int:
    """The first id of a row that was made then or later, or one behind all; found by halving."""
    wanted, number = rows.micros(moment), table.c.id
    low, high = 0, scope.last_id(table) + 1
    while low < high:
        middle = (low + high) // 2
        row = scope.row(scope.select(table, number, column).where(number >= middle).order_by(number).limit(1))
        if row is None or row[-1] >= wanted:
            high = middle
        else:
            low = row[0] + 1
    return low
