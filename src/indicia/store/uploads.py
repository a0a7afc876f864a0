"""Many at once, each with an outcome of its own: what fits is stored, and what is there may be changed.

Every function works inside the transaction of its scope, so a call is on disk whole or not at all; it is
its entities that may fail alone. Memory: one call.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from indicia.errors import IndiciaError, InputError, InvalidValue, NotFound, QuotaExceeded
from indicia.model import AlertDefinition, Indicator, Quotas
from indicia.store import counting, definitions, indicators, rows
from indicia.store.nouns import Counts
from indicia.store.scope import Scope

Key = tuple[int, str, str, str]
"""Definition, type, function and canonical value: what makes an indicator the same one."""


@dataclass(frozen=True, slots=True)
class Upload:
    """An indicator to be stored, and what becomes of one that is there already under the same key."""

    indicator: Indicator
    changes: Callable[[Indicator], Mapping[str, Any]]
    """As for `TenantStore.change_indicator`; may raise InvalidValue."""


@dataclass(frozen=True, slots=True)
class Uploaded:
    """An indicator as it now stands."""

    indicator: Indicator
    created: bool
    changed: bool = False


@dataclass(slots=True)
class _Entry:
    """One row of the outcome; several uploads of one key share it."""

    indicator: Indicator
    created: bool
    changed: bool = False


def store_definitions(
    scope: Scope, new: Sequence[AlertDefinition], by: str, quotas: Quotas
) -> list[AlertDefinition | IndiciaError]:
    """Those that fit, in their order; QuotaExceeded in the place of each other one."""
    have = counting.counts(scope)
    fitting = max(0, quotas.definitions - have.definitions)
    made = definitions.add(scope, new[:fitting], by, quotas)
    full = replace(have, definitions=have.definitions + len(made))
    return [*made, *(_refusal(full, quotas, definitions=1) for _ in new[len(made) :])]


def store_indicators(
    scope: Scope, new: Sequence[Upload], by: str, quotas: Quotas, *, upsert: bool, whole: bool
) -> list[Uploaded | IndiciaError]:
    """The outcome of each. With `whole` the first error is raised instead, its index as target (`[17]`)."""
    run = _Run(scope, new, quotas, rows.now(), by, upsert=upsert)
    outcomes: list[_Entry | IndiciaError] = []
    for index, item in enumerate(new):
        try:
            outcomes.append(run.take(item))
        except (InputError, NotFound, QuotaExceeded) as error:
            if whole:
                place = f"[{index}]" if error.target is None else f"[{index}].{error.target}"
                raise type(error)(error.message, target=place) from None
            outcomes.append(error)
    run.write()
    seen: set[int] = set()
    return [_outcome(outcome, seen) for outcome in outcomes]


def _outcome(outcome: _Entry | IndiciaError, seen: set[int]) -> Uploaded | IndiciaError:
    if isinstance(outcome, IndiciaError):
        return outcome
    first = outcome.indicator.id not in seen
    seen.add(outcome.indicator.id)
    made = outcome.created and first
    return Uploaded(outcome.indicator, made, outcome.changed and first and not made)


class _Run:
    """One call: what is there, what is to be written, and how much room is left."""

    def __init__(
        self, scope: Scope, new: Sequence[Upload], quotas: Quotas, now: datetime, by: str, *, upsert: bool
    ) -> None:
        self._scope, self._quotas, self._now, self._by = scope, quotas, now, by
        self._owners = definitions.by_id(scope, {item.indicator.definition.id for item in new})
        self._have = counting.counts(scope)
        self._upsert = upsert
        self._entries: list[_Entry] = []
        self._by_key = self._stored(new) if upsert else {}

    def take(self, item: Upload) -> _Entry:
        """The entry that an upload becomes or changes."""
        owner = self._owners.get(item.indicator.definition.id)
        if owner is None:
            raise NotFound(f"there is no AlertDefinitions({item.indicator.definition.id})")
        entry = self._by_key.get(_key(item.indicator))
        return self._changed(entry, item) if entry else self._new(replace(item.indicator, definition=owner))

    def write(self) -> None:
        """Write what is new and what has changed."""
        new = [entry for entry in self._entries if entry.created]
        keyed = [(entry.indicator, rows.canonical_key(entry.indicator.canonical)) for entry in new]
        owners = [entry.indicator.definition.id for entry in new]
        ids = indicators.insert(self._scope, keyed, owners, rows.micros(self._now), self._by)
        for number, entry in zip(ids, new, strict=True):
            entry.indicator = replace(entry.indicator, id=number, created_at=self._now, created_by=self._by)
        patterns = sum(entry.indicator.function in rows.PATTERNS for entry in new)
        counting.move(self._scope, indicators=len(new), patterns=patterns)
        for entry in self._entries:
            if entry.changed and not entry.created:
                entry.indicator = replace(
                    entry.indicator, last_modified_at=self._now, last_modified_by=self._by
                )
                indicators.rewrite(self._scope, entry.indicator)

    def _new(self, indicator: Indicator) -> _Entry:
        pattern = int(indicator.function in rows.PATTERNS)
        counting.check(self._have, self._quotas, indicators=1, patterns=pattern)
        self._have = replace(
            self._have, indicators=self._have.indicators + 1, patterns=self._have.patterns + pattern
        )
        entry = _Entry(indicator, created=True)
        self._entries.append(entry)
        if self._upsert:
            self._by_key[_key(indicator)] = entry
        return entry

    def _changed(self, entry: _Entry, item: Upload) -> _Entry:
        before = entry.indicator
        wanted = {name: value for name, value in item.changes(before).items() if name != "definition_id"}
        changes = {name: value for name, value in wanted.items() if getattr(before, name) != value}
        if changes:
            entry.indicator, entry.changed = replace(before, **changes), True
        return entry

    def _stored(self, new: Sequence[Upload]) -> dict[Key, _Entry]:
        """What is there under the keys; of several the oldest."""
        wanted = {_key(item.indicator) for item in new}
        found = indicators.by_canonical(self._scope, {key[3] for key in wanted})
        by_key: dict[Key, _Entry] = {}
        for indicator in sorted(found, key=lambda one: one.id):
            if _key(indicator) in wanted and _key(indicator) not in by_key:
                by_key[_key(indicator)] = entry = _Entry(indicator, created=False)
                self._entries.append(entry)
        return by_key


def _key(indicator: Indicator) -> Key:
    return indicator.definition.id, str(indicator.type), str(indicator.function), indicator.canonical


def _refusal(have: Counts, quotas: Quotas, **more: int) -> IndiciaError:
    try:
        counting.check(have, quotas, **more)
    except QuotaExceeded as error:
        return error
    return InvalidValue("was not stored, and would fit now; send it again")
