"""Until when detections of a definition, on a machine, of a value are kept in silence.

A suppression names one, two or all three of them; a detection is silenced where all that is named is its
own. It is recorded all the same, once, and counted with the most specific suppression that meets it.
Every function works inside the transaction of its scope.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import datetime
from itertools import product
from typing import Any

from indicia import identity
from indicia.errors import InvalidValue, NotFound, QuotaExceeded
from indicia.model import (
    MACHINE_LIMIT,
    REASON_LIMIT,
    VALUE_LIMIT,
    Alert,
    Detection,
    DetectionFunction,
    Silenced,
    SuppressAlert,
    Suppression,
)
from indicia.store import definitions, rows
from indicia.store.scope import Scope
from indicia.store.tables import detections, suppressions
from indicia.values import address, guess_type, indicator_value

MOST = 2000
"""Suppressions in force that a tenant may have: each batch of detections reads them."""
VALUES = 100
"""Values of one alert that are suppressed at once."""
Key = tuple[str | None, str | None, str | None]
"""Definition's uid, machine, value; None: any."""
_READ = ("ends_at", "id", "definition_uid", "machine", "value")
Changes = Mapping[str, object] | Callable[[Suppression], Mapping[str, object]]


def one(scope: Scope, number: int) -> Suppression:
    """NotFound where this tenant has none of that id."""
    row = scope.row(scope.select(suppressions).where(suppressions.c.id == number))
    if row is None:
        raise NotFound(f"there is no Suppressions({number})")
    return nouns(scope, [row])[0]


def page(scope: Scope, after: int, limit: int) -> list[Suppression]:
    """Up to `limit` suppressions with an id beyond `after`, in the order of ids; ended ones too."""
    query = scope.select(suppressions).where(suppressions.c.id > after).order_by(suppressions.c.id)
    return nouns(scope, scope.rows(query.limit(limit)))


def add(scope: Scope, new: Sequence[Suppression], by: str) -> list[Suppression]:
    """All or none, with id and stamps made here. InvalidValue, QuotaExceeded."""
    now = rows.now()
    in_force = scope.count(suppressions, suppressions.c.ends_at > rows.micros(now))
    if in_force + len(new) > MOST:
        raise QuotaExceeded(
            f"the tenant has {in_force} of {MOST} suppressions in force; {len(new)} more do not fit: "
            "delete some, or name fewer things by each"
        )
    return [_insert(scope, _checked(scope, given, now), by, now) for given in new]


def of_alert(scope: Scope, alert: Alert, given: SuppressAlert) -> list[Suppression]:
    """What is to be added so that an alert's like is suppressed; InvalidValue beyond VALUES values."""
    owner = alert.definition
    made = Suppression(
        given.reason,
        given.ends_at,
        definition_uid=owner.uid if given.by_definition else None,
        definition_id=owner.id if given.by_definition else None,
        machine=alert.machine if given.by_machine else None,
        alert_id=alert.id,
    )
    if not given.by_value:
        return [made]
    query = scope.select(detections, detections.c.indicator_canonical).where(
        detections.c.alert_id == alert.id, detections.c.raises.is_(True)
    )
    values = sorted({row[0] for row in scope.rows(query.distinct().limit(VALUES + 1))})
    if len(values) > VALUES:
        raise InvalidValue(
            f"the alert has more than {VALUES} values; suppress by definition and machine", target="ByValue"
        )
    return [replace(made, value=value) for value in values]


def change(scope: Scope, number: int, changes: Changes) -> tuple[Suppression, Suppression]:
    """Set end or reason of one; as it was and as it is. A function is asked for them as it stands."""
    before = one(scope, number)
    wanted = changes(before) if callable(changes) else changes
    for name in wanted:
        if name not in ("ends_at", "reason"):
            raise InvalidValue(f"{name} cannot be changed; make another suppression", target=name)
    after = replace(before, **wanted)  # type: ignore[arg-type]
    if after.ends_at != before.ends_at:
        _must_be_ahead(after.ends_at, rows.now())
    _must_fit("Reason", after.reason, REASON_LIMIT)
    if after != before:
        values = {"ends_at": rows.micros(after.ends_at), "reason": after.reason}
        scope.update(suppressions, suppressions.c.id == number, **values)
    return before, after


def delete(scope: Scope, number: int, check: Callable[[Suppression], None] | None = None) -> Suppression:
    """End one and forget it; what it suppressed stays silent. `check` may raise to leave it so."""
    before = one(scope, number)
    if check is not None:
        check(before)
    scope.delete(suppressions, suppressions.c.id == number)
    return before


class Silence:
    """The suppressions that are in force."""

    def __init__(self, scope: Scope, now: datetime) -> None:
        self._scope, self._now = scope, now
        in_force = scope.tuples(suppressions, _READ, "ends_at", rows.micros(now), above=True)
        # Of several that name the same the one counts that ends last.
        self._ids: dict[Key, int] = {
            (uid, machine, value): number for _, number, uid, machine, value in sorted(in_force, key=_last)
        }
        shapes = {tuple(part is not None for part in key) for key in self._ids}
        self._shapes = sorted(shapes, key=lambda shape: (-sum(shape), not shape[2], shape))

    def over(self, found: Sequence[Detection]) -> list[Detection]:
        """Those that raise and are suppressed as they are to be kept, the others as they are."""
        if not self._ids:
            return list(found)
        counts: Counter[int] = Counter()
        after = [self._one(detection, counts) if detection.raises else detection for detection in found]
        for number, count in counts.items():
            self._scope.update(
                suppressions,
                suppressions.c.id == number,
                suppressed_count=suppressions.c.suppressed_count + count,
                last_suppressed_at=rows.micros(self._now),
            )
        return after

    def _one(self, detection: Detection, counts: Counter[int]) -> Detection:
        number = self._meets(detection)
        if number is None:
            return detection
        counts[number] += 1
        return replace(detection, raises=False, silenced=Silenced.SUPPRESSION, suppression_id=number)

    def _meets(self, detection: Detection) -> int | None:
        """The most specific suppression; of two that name as many things, one that names the value."""
        found = detection.indicator
        spelt = dict.fromkeys((found.canonical, found.value))
        for shape, value in product(self._shapes, spelt):
            whole = (found.definition.uid, detection.machine, value)
            uid, machine, text = (part if named else None for part, named in zip(whole, shape, strict=True))
            number = self._ids.get((uid, machine, text))
            if number is not None:
                return number
        return None


def _last(row: Sequence[Any]) -> tuple[int, int]:
    ends_at, number, *_ = row
    return ends_at, number


def nouns(_scope: Scope, found: Sequence[Any]) -> list[Suppression]:
    """Rows of `suppressions`."""
    return [
        Suppression(
            reason=row.reason,
            ends_at=rows.when(row.ends_at),
            definition_uid=row.definition_uid,
            definition_id=row.definition_id,
            machine=row.machine,
            value=row.value,
            alert_id=row.alert_id,
            id=row.id,
            created_at=rows.when(row.created_at),
            created_by=row.created_by,
            suppressed_count=row.suppressed_count,
            last_suppressed_at=rows.when_or_none(row.last_suppressed_at),
        )
        for row in found
    ]


def _checked(scope: Scope, given: Suppression, now: datetime) -> Suppression:
    """As it is to be stored: the definition by its uid too, the machine as detections spell it."""
    _must_be_ahead(given.ends_at, now)
    for name, text, limit in (
        ("Reason", given.reason, REASON_LIMIT),
        ("Machine", given.machine or "", MACHINE_LIMIT),
        ("Value", given.value or "", VALUE_LIMIT),
    ):
        _must_fit(name, text, limit)
    uid = given.definition_uid
    if uid is None and given.definition_id is not None:
        try:
            uid = definitions.one(scope, given.definition_id).uid
        except NotFound as error:
            raise InvalidValue(f"{error.message}", target="AlertDefinitionId") from None
    if not (uid or given.machine or given.value):
        raise InvalidValue(
            "name a definition, a machine, a value, or several of them; else everything would be silent",
            target="AlertDefinitionId",
        )
    machine, value = given.machine, given.value
    return replace(
        given,
        definition_uid=uid,
        machine=None if machine is None else address(machine) or identity.lower(machine),
        # That of an alert is canonical already, and of a type that nobody has to guess.
        value=value if value is None or given.alert_id else _canonical(value),
    )


def _canonical(value: str) -> str:
    """A value as alerts spell it, where its type is plain; else as it is."""
    kind = guess_type(value)
    with suppress(InvalidValue):
        return value if kind is None else indicator_value(kind, DetectionFunction.EQUALS, value)
    return value


def _must_be_ahead(ends_at: datetime, now: datetime) -> None:
    if ends_at <= now:
        raise InvalidValue("must lie ahead", target="EndsAt")


def _must_fit(name: str, text: str, limit: int) -> None:
    if len(text) > limit or not rows.storable(text):
        raise InvalidValue(f"has at most {limit} characters of Unicode, not U+0000", target=name)


def _insert(scope: Scope, given: Suppression, by: str, now: datetime) -> Suppression:
    number = scope.insert(
        suppressions,
        definition_uid=given.definition_uid,
        definition_id=given.definition_id,
        machine=given.machine,
        value=given.value,
        reason=given.reason,
        ends_at=rows.micros(given.ends_at),
        alert_id=given.alert_id,
        created_at=rows.micros(now),
        created_by=by,
        suppressed_count=0,
    )
    return replace(given, id=number, created_at=now, created_by=by)
