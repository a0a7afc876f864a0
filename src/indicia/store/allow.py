"""Allow-lists of a tenant: kept, compiled when they change, and asked by every batch of detections.

A number of the tenant (`counters.allow_revision`) moves with each change, in its transaction. A process keeps
what it compiled last with that number; a batch that finds another one gives its transaction back, the lists
are compiled outside of it, and it begins anew. A tenant that never had a list pays one look at one row.
"""

from __future__ import annotations

import json
import threading
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any, NamedTuple, TypeVar
from weakref import WeakKeyDictionary

from sqlalchemy import func

from indicia.allow import AllowAction, Allowance, AllowEntry, AllowKind, AllowList, Effect, Preview
from indicia.errors import InvalidValue, NotFound, QuotaExceeded
from indicia.model import NAME_LIMIT, REASON_LIMIT, AuditAction, Detection, IndicatorType, Silenced
from indicia.store import alerts, audit, counting, indicators, rows
from indicia.store.engine import Database
from indicia.store.parts import Part
from indicia.store.scope import Scope
from indicia.store.tables import allow_entries, allow_lists, counters, detections

SET = "AllowLists"
MOST_LISTS = 1000
MOST_ENTRIES = 2_000_000
"""Entries of all lists of a tenant; each process keeps those of the enabled ones in memory."""
MOST_PATTERNS = 500
"""Regular expressions of all lists: they are tried one by one."""
LOOKED_AT = 50_000
"""Entries that one search looks at."""
_TRIES = 3
_PAGE = 2000
LOOKED = 100
"""Indicators and detections between two words on how far a preview is."""
_TEXTS = {
    "name": ("Name", NAME_LIMIT),
    "owner": ("Owner", REASON_LIMIT),
    "comment": ("Comment", REASON_LIMIT),
}
_CHANGED = ("name", "owner", "comment", "enabled", "action", "types")
_ENTRY = ("id", "list_id", "kind", "value", "type")
ENTRIES = "AllowEntries"
"""What the audit log calls entries that somebody adds or takes away by themselves."""
T = TypeVar("T")
Changes = Mapping[str, object] | Callable[[AllowList], Mapping[str, object]]
Check = Callable[[AllowList], None]


class Hits(NamedTuple):
    """A page of entries, and the id behind which to go on; None at the end."""

    found: list[AllowEntry]
    after: int | None


class _Kept(NamedTuple):
    """What was compiled last, and of which revision that is."""

    revision: int
    allowance: Allowance


_NOTHING = Allowance()
_COMPILED: WeakKeyDictionary[Database, dict[int, _Kept]] = WeakKeyDictionary()
_COMPILING = threading.Lock()


@dataclass(frozen=True, slots=True)
class AllowLists(Part):
    """The allow-lists of a tenant, each named by its name or id. Each call is one transaction.

    `check` is asked inside the transaction with the list as it stands, and may raise to leave it so.
    """

    def all(self) -> list[AllowList]:
        """Every list, by name."""
        with self._reading() as scope:
            return nouns(scope, scope.rows(scope.select(allow_lists).order_by(allow_lists.c.name)))

    def one(self, name: str | int) -> AllowList:
        """One list; NotFound."""
        with self._reading() as scope:
            return _one(scope, name)

    def entries(self, name: str | int, *, after: int = 0, limit: int = 1000) -> list[AllowEntry]:
        """A page of the entries of a list, in the order of their ids; NotFound."""
        with self._reading() as scope:
            query = scope.select(allow_entries).where(
                allow_entries.c.list_id == _one(scope, name).id, allow_entries.c.id > after
            )
            return entry_nouns(scope, scope.rows(query.order_by(allow_entries.c.id).limit(limit)))

    def search(self, name: str | int, text: str, *, after: int = 0, limit: int = 50) -> Hits:
        """Entries of a list that hold a text, without letter case; NotFound.

        At most LOOKED_AT entries are looked at.
        """
        with self._reading() as scope:
            return _search(scope, _one(scope, name).id, text.lower(), after, limit)

    def add(self, new: AllowList, by: str) -> AllowList:
        """A list without entries, with id and stamps made here; InvalidValue, QuotaExceeded."""
        with self._writing() as scope:
            number = _insert(scope, new, by)
            said = {"Name": new.name, "Entries": 0}
            audit.note(scope, self._who(by), AuditAction.CREATE, SET, key=number, after=said)
            _touch(scope)
            return _one(scope, number)

    def add_entries(
        self, name: str | int, new: Iterable[AllowEntry], by: str, check: Check | None = None
    ) -> list[AllowEntry]:
        """Put entries into a list beside those it has; those that are new to it. NotFound, QuotaExceeded."""
        with self._writing() as scope:
            before = _checked(scope, name, check)
            fresh = _unknown(scope, before.id, new)
            if not fresh:
                return []
            _must_fit(scope, fresh)
            made = _insert_entries(scope, before.id, fresh)
            _recount(scope, before, before.entry_count + len(made), by)
            action, count = AuditAction.BULK_UPLOAD, len(made)
            key: int | None = None
            said: dict[str, object] = {"AllowListId": before.id}
            if count == 1:
                action, key = AuditAction.CREATE, made[0].id
                said |= {"Kind": made[0].kind, "Value": made[0].value}
            audit.note(scope, self._who(by), action, ENTRIES, key=key, count=count, after=said)
            _touch(scope)
            return made

    def delete_entry(self, number: int, by: str, check: Callable[[AllowEntry], None] | None = None) -> None:
        """Take one entry out of its list; NotFound."""
        with self._writing() as scope:
            row = scope.row(scope.select(allow_entries).where(allow_entries.c.id == number))
            if row is None:
                raise NotFound(f"there is no {ENTRIES}({number})")
            (entry,) = entry_nouns(scope, [row])
            if check is not None:
                check(entry)
            before = _one(scope, entry.list_id)
            scope.delete(allow_entries, allow_entries.c.id == number)
            _recount(scope, before, before.entry_count - 1, by)
            said = {"AllowListId": before.id, "Kind": entry.kind, "Value": entry.value}
            audit.note(scope, self._who(by), AuditAction.DELETE, ENTRIES, key=number, before=said)
            _touch(scope)

    def delete_entries(self, name: str | int, by: str) -> int:
        """Take all entries out of a list, which stays; how many. NotFound."""
        with self._writing() as scope:
            before = _one(scope, name)
            count = scope.delete(allow_entries, allow_entries.c.list_id == before.id)
            if count:
                _recount(scope, before, 0, by)
                said, action = {"AllowListId": before.id}, AuditAction.DELETE_MANY
                audit.note(scope, self._who(by), action, ENTRIES, count=count, before=said)
                _touch(scope)
            return count

    def put(
        self, new: AllowList, entries: Iterable[AllowEntry], by: str, check: Check | None = None
    ) -> AllowList:
        """A list with its entries, or the entries of the one that has its name in place of those it had.

        Of that one everything else stays, but the types it is about. With a check it must be there. NotFound,
        InvalidValue, QuotaExceeded.
        """
        distinct = list(dict.fromkeys(replace(entry, id=0, list_id=0) for entry in entries))
        with self._writing() as scope:
            row = scope.row(scope.select(allow_lists).where(allow_lists.c.name == new.name))
            before = None if row is None else nouns(scope, [row])[0]
            if check is not None:
                check(before or _one(scope, new.name))
            number = _insert(scope, new, by) if before is None else before.id
            gone = scope.delete(allow_entries, allow_entries.c.list_id == number)
            scope.update(allow_lists, allow_lists.c.id == number, entry_count=0)
            _must_fit(scope, distinct)
            _insert_entries(scope, number, distinct)
            stamp = {"last_modified_at": rows.micros(rows.now()), "last_modified_by": by} if before else {}
            types = json.dumps([str(kind) for kind in new.types])
            mine = allow_lists.c.id == number
            scope.update(allow_lists, mine, entry_count=len(distinct), types=types, **stamp)
            action = AuditAction.CREATE if before is None else AuditAction.IMPORT
            said = {"Name": new.name, "Entries": len(distinct)}
            was = None if before is None else {"Name": new.name, "Entries": gone}
            audit.note(scope, self._who(by), action, SET, key=number, before=was, after=said)
            _touch(scope)
            return _one(scope, new.name)

    def change(self, name: str | int, changes: Changes, by: str) -> AllowList:
        """Set name, owner, comment, enabled, action or types; NotFound, InvalidValue.

        `changes` may be a function, which is then asked inside the transaction with the list as it stands.
        """
        with self._writing() as scope:
            before = _one(scope, name)
            wanted = changes(before) if callable(changes) else changes
            for attribute in wanted:
                if attribute not in _CHANGED:
                    raise InvalidValue(f"{attribute} cannot be changed", target=attribute)
            after = replace(before, **wanted)  # type: ignore[arg-type]
            if after == before:
                return before
            _must_be_new(scope, before.id, after)
            stamps = {"last_modified_at": rows.micros(rows.now()), "last_modified_by": by}
            scope.update(allow_lists, allow_lists.c.id == before.id, **_values(after), **stamps)
            was, said = _values(before), _values(after)
            different = [key for key in said if said[key] != was[key]]
            audit.note(
                scope,
                self._who(by),
                AuditAction.CHANGE,
                SET,
                key=before.id,
                before={key.title(): was[key] for key in different},
                after={key.title(): said[key] for key in different},
            )
            _touch(scope)
            return _one(scope, after.name)

    def delete(self, name: str | int, check: Check | None = None) -> AllowList:
        """Forget a list with its entries; what it kept silent stays so. NotFound."""
        with self._writing() as scope:
            before = _checked(scope, name, check)
            scope.delete(allow_entries, allow_entries.c.list_id == before.id)
            scope.delete(allow_lists, allow_lists.c.id == before.id)
            said = {"Name": before.name, "Entries": before.entry_count}
            audit.note(scope, self.actor, AuditAction.DELETE, SET, key=before.id, before=said)
            _touch(scope)
            return before

    def allowance(self) -> Allowance:
        """The enabled lists, compiled."""
        with self._reading() as scope:
            revision = _revision(scope)
            kept = self._kept(revision)
            if kept is not None:
                return kept
            found = _compile(scope)
        with _COMPILING:
            _COMPILED.setdefault(self.database, {})[self.tenant.id] = _Kept(revision, found)
        return found

    def recording(self, call: Callable[[Scope, alerts.Over], T]) -> T:
        """What `call` gives, in a transaction that writes, told how lists have a detection kept."""
        for _ in range(_TRIES):
            with self._writing() as scope:
                kept = self._kept(_revision(scope))
                if kept is not None:
                    return _counting(scope, kept, call)
            self.allowance()
        with self._writing() as scope:
            return _counting(scope, _compile(scope), call)

    def revision(self) -> int:
        """Another number after each change of a list or its entries."""
        with self._reading() as scope:
            return _revision(scope)

    def preview(
        self,
        name: str | int,
        days: int,
        action: AllowAction | None = None,
        seen: Callable[[int], None] = lambda _count: None,
    ) -> Preview:
        """What the list does, or would do if it were enabled, with its action or another; NotFound.

        Every indicator in force is looked at, and every detection of the last so many days that raises; every
        LOOKED of them `seen` is told how many they are, and what it raises ends it.
        """
        with self._reading() as scope:
            mine = replace(_one(scope, name), enabled=True)
            mine = mine if action is None else replace(mine, action=action)
            allowance = _compile(scope, mine)
            of_indicators, of_detections = Effect(), Effect()
            for found in indicators.matchable(scope):
                known = allowance.known_of(found.type, found.function, found.canonical)
                of_indicators.note(known, mine.id)
                if of_indicators.seen % LOOKED == 0:
                    seen(of_indicators.seen)
            silent: set[str] = set()
            loud: set[str] = set()
            for one in _raising(scope, rows.now() - timedelta(days=days)):
                ends = of_detections.note(allowance.known_in(one), mine.id)
                (silent if ends else loud).add(one.alert_id)
                if of_detections.seen % LOOKED == 0:
                    seen(of_indicators.seen + of_detections.seen)
        return Preview(mine, of_indicators, of_detections, len(silent - loud), days)

    def _kept(self, revision: int) -> Allowance | None:
        if not revision:
            return _NOTHING
        kept = _COMPILED.get(self.database, {}).get(self.tenant.id)
        return kept.allowance if kept is not None and kept.revision == revision else None


def _counting(scope: Scope, allowance: Allowance, call: Callable[[Scope, alerts.Over], T]) -> T:
    """Call, and count for each list what it kept silent."""
    silent: Counter[int] = Counter()

    def over(detection: Detection) -> Detection:
        kept = allowance.over(detection)
        if kept.allow_list_id is not None and kept.silenced is Silenced.ALLOW_LIST:
            silent[kept.allow_list_id] += 1
        return kept

    outcome = call(scope, over if allowance else alerts.as_it_is)
    for number, some in silent.items():
        scope.update(
            allow_lists,
            allow_lists.c.id == number,
            suppressed_count=allow_lists.c.suppressed_count + some,
            last_suppressed_at=rows.micros(rows.now()),
        )
    return outcome


def _search(scope: Scope, list_id: int, text: str, after: int, limit: int) -> Hits:
    mine = (allow_entries.c.list_id == list_id, allow_entries.c.id > after)
    in_order = scope.select(allow_entries, allow_entries.c.id).where(*mine).order_by(allow_entries.c.id)
    end = scope.row(in_order.offset(LOOKED_AT - 1).limit(1)) if text else None
    wanted = scope.select(allow_entries).where(*mine)
    if text:
        wanted = wanted.where(func.lower(allow_entries.c.value).contains(text, autoescape=True))
    if end is not None:
        wanted = wanted.where(allow_entries.c.id <= end[0])
    found = scope.rows(wanted.order_by(allow_entries.c.id).limit(limit + 1))
    if len(found) > limit:
        return Hits(entry_nouns(scope, found[:limit]), found[limit - 1].id)
    return Hits(entry_nouns(scope, found), None if end is None else int(end[0]))


def _revision(scope: Scope) -> int:
    found = scope.tuples(counters, ("allow_revision",), "allow_revision", 0, above=True)
    return int(found[0][0]) if found else 0


def _touch(scope: Scope) -> None:
    counting.move(scope, allow_revision=1)


def _compile(scope: Scope, also: AllowList | None = None) -> Allowance:
    """The enabled lists, and `also` as it is given."""
    made = Allowance()
    for owner in nouns(scope, scope.rows(scope.select(allow_lists).order_by(allow_lists.c.id))):
        chosen = also if also is not None and also.id == owner.id else owner
        if chosen.enabled:
            made.add(chosen, scope.tuples(allow_entries, ("kind", "value", "type"), "list_id", owner.id))
    return made


def _raising(scope: Scope, since: datetime) -> Iterator[Detection]:
    after = 0
    query = scope.select(detections).where(
        detections.c.raises.is_(True), detections.c.recorded_at >= rows.micros(since)
    )
    while True:
        some = scope.rows(query.where(detections.c.id > after).order_by(detections.c.id).limit(_PAGE))
        yield from alerts.detection_nouns(scope, some)
        if len(some) < _PAGE:
            return
        after = some[-1].id


def _one(scope: Scope, name: str | int) -> AllowList:
    by_id = isinstance(name, int)
    mine = allow_lists.c.id == name if by_id else allow_lists.c.name == name
    row = scope.row(scope.select(allow_lists).where(mine))
    if row is None:
        raise NotFound(f"there is no {SET}({name})" if by_id else f"there is no allow-list {name!r}")
    return nouns(scope, [row])[0]


def _checked(scope: Scope, name: str | int, check: Check | None) -> AllowList:
    found = _one(scope, name)
    if check is not None:
        check(found)
    return found


def _unknown(scope: Scope, list_id: int, new: Iterable[AllowEntry]) -> list[AllowEntry]:
    """Those that the list does not have, each once."""
    wanted = {(str(one.kind), one.value, one.type): one for one in new}
    columns = (allow_entries.c.kind, allow_entries.c.value, allow_entries.c.type)
    query = scope.select(allow_entries, *columns).where(allow_entries.c.list_id == list_id)
    for row in scope.rows_in(query, allow_entries.c.value, {one.value for one in wanted.values()}):
        wanted.pop(tuple(row), None)
    return list(wanted.values())


def _recount(scope: Scope, owner: AllowList, count: int, by: str) -> None:
    stamps = {"last_modified_at": rows.micros(rows.now()), "last_modified_by": by}
    scope.update(allow_lists, allow_lists.c.id == owner.id, entry_count=count, **stamps)


def _insert(scope: Scope, new: AllowList, by: str) -> int:
    if scope.count(allow_lists) >= MOST_LISTS:
        raise QuotaExceeded(f"the tenant has {MOST_LISTS} allow-lists, which is the most; delete one")
    _must_be_new(scope, 0, new)
    stamps = {"created_at": rows.micros(rows.now()), "created_by": by}
    return scope.insert(allow_lists, **_values(new), **stamps, entry_count=0, suppressed_count=0)


def _must_be_new(scope: Scope, number: int, after: AllowList) -> None:
    """Raise InvalidValue unless its texts can be kept and no other list has its name."""
    for attribute, (name, limit) in _TEXTS.items():
        text = getattr(after, attribute)
        if len(text) > limit or not rows.storable(text):
            raise InvalidValue(f"has at most {limit} characters of Unicode, not U+0000", target=name)
    if not after.name.strip():
        raise InvalidValue("must not be empty", target="Name")
    if scope.count(allow_lists, allow_lists.c.name == after.name, allow_lists.c.id != number):
        raise InvalidValue(f"there is an allow-list {after.name!r} already", target="Name")


def _must_fit(scope: Scope, new: Sequence[AllowEntry]) -> None:
    """Raise QuotaExceeded unless so many more entries fit."""
    patterns = sum(entry.kind is AllowKind.REGEX for entry in new)
    have = sum(row.entry_count for row in scope.rows(scope.select(allow_lists, allow_lists.c.entry_count)))
    held = scope.count(allow_entries, allow_entries.c.kind == str(AllowKind.REGEX)) if patterns else 0
    for what, there, more, most in (
        ("entries of allow-lists", have, len(new), MOST_ENTRIES),
        ("regular expressions in allow-lists", held, patterns, MOST_PATTERNS),
    ):
        if there + more > most:
            raise QuotaExceeded(f"the tenant has {there} of {most} {what}; {more} more do not fit")


def _insert_entries(scope: Scope, list_id: int, new: Sequence[AllowEntry]) -> list[AllowEntry]:
    ids = scope.reserve_ids(allow_entries, len(new))
    made = [replace(entry, id=number, list_id=list_id) for number, entry in zip(ids, new, strict=True)]
    values = (
        (entry.id, list_id, str(entry.kind), entry.value, None if entry.type is None else str(entry.type))
        for entry in made
    )
    scope.insert_many(allow_entries, _ENTRY, values)
    return made


def _values(noun: AllowList) -> dict[str, Any]:
    return {
        "name": noun.name,
        "owner": noun.owner,
        "comment": noun.comment,
        "enabled": noun.enabled,
        "action": str(noun.action),
        "types": json.dumps([str(kind) for kind in noun.types]),
    }


def entry_nouns(_scope: Scope, found: Sequence[Any]) -> list[AllowEntry]:
    """Rows of `allow_entries`."""
    return [
        AllowEntry(
            AllowKind(row.kind),
            row.value,
            IndicatorType(row.type) if row.type else None,
            row.id,
            row.list_id,
        )
        for row in found
    ]


def nouns(_scope: Scope, found: Sequence[Any]) -> list[AllowList]:
    """Rows of `allow_lists`."""
    return [
        AllowList(
            name=row.name,
            owner=row.owner,
            comment=row.comment,
            enabled=bool(row.enabled),
            action=AllowAction(row.action),
            types=tuple(IndicatorType(kind) for kind in json.loads(row.types)),
            entry_count=row.entry_count,
            id=row.id,
            created_at=rows.when(row.created_at),
            created_by=row.created_by,
            last_modified_at=rows.when_or_none(row.last_modified_at),
            last_modified_by=row.last_modified_by,
            suppressed_count=row.suppressed_count,
            last_suppressed_at=rows.when_or_none(row.last_suppressed_at),
        )
        for row in found
    ]
