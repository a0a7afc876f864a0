"""Who changed what: one entry for each call that changed something, in the transaction of the change.

A call that changes thousands is one entry with their number, and with their ids, so that it is in the history
of each (`of_entity`); of an import, whose indicators come in many calls, there is the number alone. What an
entity said before and says after is kept as JSON under the names of the API, each text cut to TEXT
characters; of secrets, keys and tokens only that there was one. Every function works inside the transaction
of its scope.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from indicia.model import Actor, Alert, AlertComment, AuditAction, AuditEntry, Indicator, Through
from indicia.odata.entities import ALERT, INDICATOR
from indicia.odata.shapes import Entity
from indicia.store import rows
from indicia.store.scope import Scope
from indicia.store.tables import audit
from indicia.store.uploads import Uploaded

_COLUMNS = (
    "id",
    "at",
    "by",
    "through",
    "request_id",
    "action",
    "set_name",
    "key",
    "count",
    "before",
    "after",
)
TEXT = 256
"""Characters that are kept of a text."""
APPLICATIONS = "Applications"
"""What is no set of the API, and yet somebody changes it."""
OWNER = "AlertDefinitionId"
_STEP = 100
"""Entries about many that are looked through at a time."""
Content = Mapping[str, object]


def note(
    scope: Scope,
    actor: Actor,
    action: AuditAction,
    set_name: str,
    *,
    key: str | int | None = None,
    count: int = 1,
    before: Content | None = None,
    after: Content | None = None,
) -> int:
    """Keep one entry; its id."""
    made = (
        scope.reserve_ids(audit, 1).start,
        rows.micros(rows.now()),
        actor.name,
        str(actor.through),
        actor.request_id,
        str(action),
        set_name,
        None if key is None else str(key),
        count,
        _text(before),
        _text(after),
    )
    scope.insert_many(audit, _COLUMNS, [made])
    return made[0]


def of_many(
    scope: Scope, actor: Actor, action: AuditAction, set_name: str, ids: Sequence[int], after: Content
) -> None:
    """Keep one entry about some entities, which is in the history of each."""
    entry, numbers = note(scope, actor, action, set_name, count=len(ids), after=after), sorted(set(ids))
    bounds = {"first_id": numbers[0], "last_id": numbers[-1]}
    scope.update(audit, audit.c.id == entry, **bounds, ids=_runs(numbers))


def changed(scope: Scope, actor: Actor, described: Entity, before: Any, after: Any, **more: Any) -> None:
    """Keep what differs between two states of an entity; nothing where nothing does.

    `more`: further members, each a pair of before and after.
    """
    pairs = {
        item.name: (item.of(before), item.of(after)) for item in described.properties if not item.server_set
    }
    different = {name: pair for name, pair in (pairs | more).items() if pair[0] != pair[1]}
    if different:
        note(
            scope,
            actor,
            AuditAction.CHANGE,
            described.set_name,
            key=described.key_of(after),
            before={name: pair[0] for name, pair in different.items()},
            after={name: pair[1] for name, pair in different.items()},
        )


def created(scope: Scope, actor: Actor, described: Entity, made: Sequence[Any]) -> None:
    """Keep that one entity was made, with what it says, or how many were."""
    if len(made) == 1:
        said = content(described, made[0])
        key = described.key_of(made[0])
        note(scope, actor, AuditAction.CREATE, described.set_name, key=key, after=said)
    elif made:
        ids = [described.key_of(one) for one in made]
        said = {"FirstId": ids[0], "LastId": ids[-1]}
        of_many(scope, actor, AuditAction.BULK_UPLOAD, described.set_name, ids, said)


def uploaded(scope: Scope, actor: Actor, outcomes: Sequence[Uploaded]) -> None:
    """Keep how many indicators a bulk upload made and changed; nothing where neither."""
    made = sum(one.created for one in outcomes)
    altered = sum(one.changed for one in outcomes)
    ids = [one.indicator.id for one in outcomes if one.created or one.changed]
    if ids:
        said = {"Created": made, "Changed": altered}
        of_many(scope, actor, AuditAction.BULK_UPLOAD, INDICATOR.set_name, ids, said)


def importing(scope: Scope, actor: Actor, definition_id: int) -> int:
    """Keep that an import into a definition began; the id of the entry, of which `count` says how many."""
    return note(scope, actor, AuditAction.IMPORT, INDICATOR.set_name, count=0, after={OWNER: definition_id})


def indicator_changed(scope: Scope, actor: Actor, before: Indicator, after: Indicator) -> None:
    """As `changed`, with the definition that it belongs to."""
    changed(scope, actor, INDICATOR, before, after, **{OWNER: (before.definition.id, after.definition.id)})


def deleted(scope: Scope, actor: Actor, described: Entity, key: int, before: Content) -> None:
    """Keep that one entity was deleted, and what it said."""
    note(scope, actor, AuditAction.DELETE, described.set_name, key=key, before=before)


def emptied(scope: Scope, actor: Actor, described: Entity, number: int, said: Content) -> None:
    """Keep that many were deleted at once; nothing where none were."""
    if number:
        note(scope, actor, AuditAction.DELETE_MANY, described.set_name, count=number, before=said)


def commented(scope: Scope, actor: Actor, about: Alert, made: AlertComment) -> None:
    """Keep that something was written about an alert."""
    note(scope, actor, AuditAction.COMMENT, ALERT.set_name, key=about.number, after={"Text": made.text})


def of_client(
    scope: Scope, actor: Actor, action: AuditAction, client_id: str, after: Content | None = None
) -> None:
    """Keep what was done to an application."""
    note(scope, actor, action, APPLICATIONS, key=client_id.lower(), after=after)


def revoked(scope: Scope, actor: Actor, client_id: str, what: Content | None = None) -> None:
    """Keep that an application, or one of its credentials, is refused from now on."""
    note(scope, actor, AuditAction.REVOKE, APPLICATIONS, key=client_id.lower(), before=what)


def content(described: Entity, noun: Any) -> dict[str, object]:
    """What the author of an entity said."""
    return {item.name: item.of(noun) for item in described.properties if not item.server_set}


def count(scope: Scope, entry_id: int, number: int) -> None:
    """Say of an entry how many it is about by now: of an import, after each of its batches."""
    scope.update(audit, audit.c.id == entry_id, count=number)


def nouns(_scope: Scope, found: Sequence[Any]) -> list[AuditEntry]:
    """Rows of `audit`."""
    return [
        AuditEntry(
            id=row.id,
            at=rows.when(row.at),
            by=row.by,
            through=Through(row.through),
            request_id=row.request_id,
            action=AuditAction(row.action),
            set_name=row.set_name,
            key=row.key,
            count=row.count,
            before=row.before,
            after=row.after,
        )
        for row in found
    ]


def page(scope: Scope, after: int, limit: int) -> list[AuditEntry]:
    """Up to `limit` entries with an id beyond `after`, in the order of ids."""
    query = scope.select(audit).where(audit.c.id > after).order_by(audit.c.id).limit(limit)
    return nouns(scope, scope.rows(query))


def of_entity(scope: Scope, set_name: str, key: int, limit: int) -> list[AuditEntry]:
    """What was done to one entity, alone or with others at once, the newest first."""
    of_set = scope.select(audit).where(audit.c.set_name == set_name).order_by(audit.c.id.desc())
    found = list(scope.rows(of_set.where(audit.c.key == str(key)).limit(limit)))
    among_many = of_set.where(audit.c.first_id <= key, audit.c.last_id >= key).limit(_STEP)
    held, some = 0, scope.rows(among_many)
    while some:
        with_it = [row for row in some if _in_runs(key, row.ids)]
        found, held = found + with_it, held + len(with_it)
        full = held >= limit or len(some) < _STEP
        some = () if full else scope.rows(among_many.where(audit.c.id < some[-1].id))
    return nouns(scope, sorted(found, key=lambda row: -int(row.id))[:limit])


def _runs(ids: Sequence[int]) -> str:
    """Ascending numbers as `3-17 20`."""
    runs: list[list[int]] = []
    for number in ids:
        if runs and number == runs[-1][1] + 1:
            runs[-1][1] = number
        else:
            runs.append([number, number])
    return " ".join(str(first) if first == last else f"{first}-{last}" for first, last in runs)


def _in_runs(number: int, text: str) -> bool:
    for run in text.split(" "):
        first, _, last = run.partition("-")
        if number <= int(last or first):
            return number >= int(first)
    return False


def _text(said: Content | None) -> str | None:
    return None if said is None else json.dumps({name: _bounded(value) for name, value in said.items()})


def _bounded(value: object) -> object:
    if value is None or isinstance(value, bool | int):
        return value
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat().replace("+00:00", "Z")
    text = str(value)
    return text if len(text) <= TEXT else f"{text[: TEXT - 1]}…"
