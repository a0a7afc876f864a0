"""Many indicators changed, moved or deleted at once: those of some ids, or step by step all that are chosen.

A call is one transaction. Up to NAMED indicators each have an entry of the audit log, with what they said
before; of more there is one entry with their number and ids. A step takes the next of those that are
chosen, from the newest down, so that one that is repeated or given up in between does no harm, and others
can write between.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from indicia.errors import InvalidValue
from indicia.model import Actor, AuditAction, Indicator
from indicia.odata.entities import INDICATOR
from indicia.store import audit, catalogue, counting, definitions, notes, purges, rows
from indicia.store import indicators as indicator_rows
from indicia.store.catalogue import Chosen, Place
from indicia.store.parts import Part
from indicia.store.scope import Scope, among
from indicia.store.tables import indicators

NAMED = 100
"""Indicators of one call that each have an entry of their own in the audit log."""
STEP = 2000
"""Indicators of one step."""
_CHANGEABLE = {"enabled": "Enabled", "expires_at": "ExpiresAt", "definition_id": audit.OWNER}


@dataclass(frozen=True, slots=True)
class Deed:
    """What becomes of each: it is deleted, or changed."""

    changes: Mapping[str, object] = field(default_factory=dict)
    """`enabled`, `expires_at` or `definition_id`."""
    delete: bool = False


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a step came."""

    done: int
    """Indicators that this step changed or deleted."""
    after: Place | None
    """From where the next step goes on; None: all is done."""


@dataclass(frozen=True, slots=True)
class Many(Part):
    """What is done to many indicators of a tenant. Each call is one transaction."""

    def do(self, ids: Sequence[int], deed: Deed, by: str) -> int:
        """What is there of the ids is changed, moved or deleted; how many. NotFound, InvalidValue."""
        with self._writing() as scope:
            found = sorted(scope.rows_in(scope.select(indicators), indicators.c.id, ids))
            return _do(scope, self._who(by), indicator_rows.nouns(scope, found), deed, by)

    def step(self, chosen: Chosen, deed: Deed, by: str, after: Place | None = None) -> Progress:
        """The next of all that are chosen. What is made after the first step is not looked at."""
        with self._writing() as scope:
            found = catalogue.sweep(scope, chosen, after, STEP)
            done = _do(scope, self._who(by), found.found, deed, by)
            return Progress(done, found.after)


def _do(scope: Scope, who: Actor, found: Sequence[Indicator], deed: Deed, by: str) -> int:
    if deed.delete:
        return _delete(scope, who, found)
    for name in deed.changes:
        if name not in _CHANGEABLE:
            raise InvalidValue(f"{name} cannot be changed of many", target=name)
    target = deed.changes.get("definition_id")
    if target is not None:
        definitions.one(scope, int(str(target)))
    different = [one for one in found if _differs(one, deed.changes)]
    if not different:
        return 0
    ids = [one.id for one in different]
    if target is not None:
        purges.must_not_await(scope, min(ids), int(str(target)))
    stamps = {"last_modified_at": rows.micros(rows.now()), "last_modified_by": by}
    mine = among(indicators.c.id, ids)
    scope.update(indicators, mine, **rows.column_values(deed.changes), **stamps)
    notes.indicators_changed(scope, ids)
    _note_changes(scope, who, different, deed.changes)
    return len(ids)


def _differs(one: Indicator, changes: Mapping[str, object]) -> bool:
    return any(_now(one, name) != value for name, value in changes.items())


def _now(one: Indicator, name: str) -> object:
    return one.definition.id if name == "definition_id" else getattr(one, name)


def _note_changes(
    scope: Scope, who: Actor, different: Sequence[Indicator], changes: Mapping[str, object]
) -> None:
    action, after = AuditAction.CHANGE, {_CHANGEABLE[name]: value for name, value in changes.items()}
    if len(different) > NAMED:
        ids = [one.id for one in different]
        audit.of_many(scope, who, action, INDICATOR.set_name, ids, after)
        return
    for one in different:
        names = [name for name, value in changes.items() if _now(one, name) != value]
        audit.note(
            scope,
            who,
            action,
            INDICATOR.set_name,
            key=one.id,
            before={_CHANGEABLE[name]: _now(one, name) for name in names},
            after={_CHANGEABLE[name]: changes[name] for name in names},
        )


def _delete(scope: Scope, who: Actor, found: Sequence[Indicator]) -> int:
    if not found:
        return 0
    ids = [one.id for one in found]
    patterns = sum(one.function in rows.PATTERNS for one in found)
    scope.delete(indicators, among(indicators.c.id, ids))
    notes.indicators_changed(scope, ids)
    counting.move(scope, indicators=-len(ids), patterns=-patterns)
    if len(found) > NAMED:
        audit.emptied(scope, who, INDICATOR, len(found), {})
        return len(found)
    for one in found:
        said: dict[str, Any] = audit.content(INDICATOR, one) | {audit.OWNER: one.definition.id}
        audit.deleted(scope, who, INDICATOR, one.id, said)
    return len(found)


def expires(at: datetime | None) -> Deed:
    """They end at a time; None: never."""
    return Deed({"expires_at": at})


def enables(*, yes: bool) -> Deed:
    """They are looked for, or not."""
    return Deed({"enabled": yes})


def moves(definition_id: int) -> Deed:
    """They go under another definition."""
    return Deed({"definition_id": definition_id})


DELETES = Deed(delete=True)
