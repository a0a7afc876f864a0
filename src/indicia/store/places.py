"""Which host has the file of a scan or an import: what another host says of it, not that there is none.

The file, and what comes of it, is on the host that took it (`live.jobs`); this is but a note of where.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import ColumnElement

from indicia.store import rows
from indicia.store.parts import Part
from indicia.store.tables import jobs

MOST = 200
"""Notes that are given at once."""


@dataclass(frozen=True, slots=True)
class Placed:
    """Where a job is."""

    key: str
    """The id of the job."""
    host: str
    name: str
    """Of the file."""
    by: str
    made_at: datetime


@dataclass(frozen=True, slots=True)
class Places(Part):
    """Of a tenant's jobs of a kind (`scans`, `imports`). Each call is one transaction."""

    def note(self, kind: str, placed: Placed, kept: timedelta) -> None:
        """Note one, and forget those that are older than they are kept."""
        with self._writing() as scope:
            old = jobs.c.made_at < rows.micros(rows.now() - kept)
            scope.delete(jobs, jobs.c.kind == kind, old)
            scope.delete(jobs, jobs.c.kind == kind, jobs.c.key == placed.key)
            made_at = rows.micros(placed.made_at)
            values = {"key": placed.key, "host": placed.host, "name": placed.name, "made_by": placed.by}
            scope.insert(jobs, kind=kind, **values, made_at=made_at)

    def forget(self, kind: str, key: str) -> None:
        """It was deleted."""
        with self._writing() as scope:
            scope.delete(jobs, jobs.c.kind == kind, jobs.c.key == key)

    def find(self, kind: str, key: str, kept: timedelta) -> Placed | None:
        """Where one is; None where nobody knows of it."""
        return next(iter(self._those(kind, kept, jobs.c.key == key)), None)

    def every(self, kind: str, kept: timedelta) -> list[Placed]:
        """Those that are kept still, the newest first."""
        return self._those(kind, kept)

    def _those(self, kind: str, kept: timedelta, *more: ColumnElement[bool]) -> list[Placed]:
        with self._reading() as scope:
            young = jobs.c.made_at >= rows.micros(rows.now() - kept)
            query = scope.select(jobs).where(jobs.c.kind == kind, young, *more)
            query = query.order_by(jobs.c.made_at.desc())
            return [
                Placed(row.key, row.host, row.name, row.made_by, rows.when(row.made_at))
                for row in scope.rows(query.limit(MOST))
            ]
