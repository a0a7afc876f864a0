"""The audit log as people read it: the newest first, by who, what and when.

Only the time has an index of its own, because every change pays for each. Whatever else is asked is looked
for in steps of LOOKED_AT entries, so that a page takes the same time however long the log is: one that finds
little says how far it has looked, and from where to go on.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple

from sqlalchemy import ColumnElement, and_, or_

from indicia.model import AuditAction, AuditEntry, Through
from indicia.store import audit as audits
from indicia.store import rows
from indicia.store.parts import Part
from indicia.store.scope import Scope
from indicia.store.tables import audit

LOOKED_AT = 20_000
"""Entries that one page looks at."""
PAGE = 1000
"""Entries of one transaction of `each`."""


class Mark(NamedTuple):
    """A place in the log: the entry that was seen last."""

    at: int
    """Microseconds since 1970 (UTC)."""
    id: int


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which entries; what is empty or None asks for nothing."""

    by: str = ""
    through: Through | None = None
    action: AuditAction | None = None
    set_name: str = ""
    key: str = ""
    since: datetime | None = None
    until: datetime | None = None
    """Before this time."""

    def conditions(self) -> list[ColumnElement[bool]]:
        """What an entry fulfils, but for the time."""
        pairs = (
            (audit.c.by, self.by),
            (audit.c.through, self.through),
            (audit.c.action, self.action),
            (audit.c.set_name, self.set_name),
            (audit.c.key, self.key),
        )
        return [column == str(value) for column, value in pairs if value]

    def times(self) -> list[ColumnElement[bool]]:
        """What its time fulfils."""
        found: list[ColumnElement[bool]] = []
        if self.since is not None:
            found.append(audit.c.at >= rows.micros(self.since))
        if self.until is not None:
            found.append(audit.c.at < rows.micros(self.until))
        return found


@dataclass(frozen=True, slots=True)
class Looked:
    """A page, and how far was looked for it."""

    found: list[AuditEntry]
    mark: Mark | None
    """From where to go on; None at the end of the log."""
    until: datetime | None = None
    """How far back was looked, where that ended before the page was full."""


@dataclass(frozen=True, slots=True)
class Trail(Part):
    """The audit log of a tenant. Each call is one transaction."""

    def page(self, wanted: Wanted, *, after: Mark | None = None, limit: int = 50) -> Looked:
        """The next entries behind a mark, the newest first."""
        with self._reading() as scope:
            return _page(scope, wanted, after, limit)

    def each(self, wanted: Wanted) -> Iterator[AuditEntry]:
        """All of them, the newest first, in many transactions."""
        after: Mark | None = None
        while True:
            looked = self.page(wanted, after=after, limit=PAGE)
            yield from looked.found
            if looked.mark is None:
                return
            after = looked.mark


def _page(scope: Scope, wanted: Wanted, after: Mark | None, limit: int) -> Looked:
    newest_first = audit.c.at.desc(), audit.c.id.desc()
    within = wanted.times()
    if after is not None:
        # The first of the two is what the index is entered by.
        within += [audit.c.at <= after.at, or_(audit.c.at < after.at, audit.c.id < after.id)]
    conditions, end = wanted.conditions(), None
    if conditions:
        step = scope.select(audit, audit.c.at, audit.c.id).where(*within).order_by(*newest_first)
        row = scope.row(step.offset(LOOKED_AT - 1).limit(1))
        end = None if row is None else Mark(row.at, row.id)
    if end is not None:
        at_it = and_(audit.c.at == end.at, audit.c.id >= end.id)
        within += [audit.c.at >= end.at, or_(audit.c.at > end.at, at_it)]
    query = scope.select(audit).where(*within, *conditions).order_by(*newest_first)
    found = scope.rows(query.limit(limit + 1))
    shown = audits.nouns(scope, found[:limit])
    if len(found) > limit:
        last = found[limit - 1]
        return Looked(shown, Mark(last.at, last.id))
    return Looked(shown, end, None if end is None else rows.when(end.at))
