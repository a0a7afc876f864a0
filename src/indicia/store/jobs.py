"""Work on files that people bring, as rows: what was asked, how far it is, who works on it until when.

Whoever works on a job holds a lease: a word of its own, and a time by the clock of the database. It renews
the time while it lives. When the time is over without a last word, anybody takes the job anew, under another
word; every write names the word, so that of who comes late nothing is kept.

None of this waits for the lock of all writers (`Database.beside`): a job is in nothing that is counted or
matched, nobody reads its ids or times in their order, and each write is of one row, found by its lease. What
must be exact among those of a tenant, how many it has, is found and changed under a key of that tenant.
Where a store is shared by hosts, the files of a job are here, too, as pieces; else they are in the home.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any
from zlib import crc32

from sqlalchemy import ColumnElement, Row, and_, not_, or_

from indicia.store import rows
from indicia.store.parts import Part
from indicia.store.scope import Scope
from indicia.store.tables import job_pieces, jobs

UPLOAD = "upload"
"""The file that was brought, among the names of a job's pieces; others are results."""


class Phase(StrEnum):
    """Where a job is."""

    COMING = "Coming"
    """Its file is on the way; nobody is told of it yet."""
    WAITING = "Waiting"
    """For somebody who takes it."""
    RUNNING = "Running"
    DONE = "Done"
    CANCELLED = "Cancelled"
    FAILED = "Failed"

    @property
    def is_over(self) -> bool:
        """Whether nothing more comes of it."""
        return self not in UNFINISHED


UNFINISHED = (Phase.COMING, Phase.WAITING, Phase.RUNNING)
_LEASED = (Phase.COMING, Phase.RUNNING)
_LONGEST = 600_000_000
"""Microseconds for which nobody takes a lease."""
_SHOWN = tuple(phase for phase in Phase if phase is not Phase.COMING)


@dataclass(frozen=True, slots=True)
class KeptJob:
    """A job as it is kept."""

    number: int
    key: str
    """Its id, as its pages have it."""
    phase: Phase
    asked: str
    """JSON."""
    state: str
    """JSON."""
    lease: str
    """Of who works on it, or did last; empty before anybody has."""
    attempts: int
    """How often it was taken since it was begun."""
    cancelled: bool
    """Whether somebody has had enough."""


@dataclass(frozen=True, slots=True)
class NewJob:
    """A job whose file is on the way."""

    key: str
    lease: str
    """Of who brings it."""
    host: str
    name: str
    """Of the file."""
    by: str
    made_at: datetime


@dataclass(frozen=True, slots=True)
class Piece:
    """A part of a file."""

    name: str
    position: int
    """Of its first byte."""
    content: bytes


@dataclass(frozen=True, slots=True)
class Jobs(Part):
    """A tenant's jobs of a kind (`scans`, `imports`). Each call is one transaction."""

    @property
    def shared(self) -> bool:
        """Whether other hosts may work on them."""
        return self.database.shared

    def add(self, kind: str, new: NewJob, seconds: float, *, unfinished: int, most: int) -> list[str] | None:
        """Begin to bring one; None where so many are unfinished already.

        Of those that have ended the oldest go beyond `most`, and so does what nobody brings any more: their
        keys.
        """
        with self._alone(kind) as scope:
            now = scope.clock()
            of_kind = jobs.c.kind == kind
            if _unfinished(scope, kind) >= unfinished:
                return None
            gone = _gone(scope, of_kind, _half(now))
            gone += _gone(scope, of_kind, jobs.c.key.in_(_beyond(scope, kind, most - 1)))
            values = {"host": new.host, "name": new.name, "made_by": new.by, "lease": new.lease}
            until = {"lease_until": now + round(seconds * 1e6), "made_at": rows.micros(new.made_at)}
            scope.insert(jobs, kind=kind, key=new.key, phase=Phase.COMING, **values, **until)
            return gone

    def begin_again(
        self, kind: str, key: str, asked: str, state: str, at: datetime, unfinished: int
    ) -> bool | None:
        """Have one that has ended wait anew, without its results; whether it had ended.

        None where so many are unfinished.
        """
        with self._alone(kind) as scope:
            if _unfinished(scope, kind) >= unfinished:
                return None
            mine = (jobs.c.kind == kind, jobs.c.key == key)
            over = jobs.c.phase.not_in(UNFINISHED)
            fresh = {"phase": Phase.WAITING, "asked": asked, "state": state, "made_at": rows.micros(at)}
            if not scope.update(jobs, *mine, over, **fresh, lease="", attempts=0, cancelled=False):
                return False
            _drop_results(scope, _number(scope, mine))
            return True

    def put(
        self,
        kind: str,
        key: str,
        lease: str,
        seconds: float,
        values: Mapping[str, str] | None = None,
        pieces: Sequence[Piece] = (),
    ) -> bool:
        """Hold the lease for so long from now on; False where it is another's by now, and nothing is written.

        `values` are a new `phase` (the lease ends with any but COMING and RUNNING), `asked`, `state`.
        """
        with self._beside() as scope:
            mine = (jobs.c.kind == kind, jobs.c.key == key, jobs.c.lease == lease, _in(_LEASED))
            values = values or {}
            ends = values.get("phase", Phase.RUNNING) not in _LEASED
            until = 0 if ends else scope.clock() + round(seconds * 1e6)
            # First, so that who deletes or takes it meanwhile is waited for, or waits.
            if not scope.update(jobs, *mine, lease_until=until, **values):
                return False
            if pieces:
                number = _number(scope, (jobs.c.kind == kind, jobs.c.key == key))
                for one in pieces:
                    part = {"name": one.name, "position": one.position, "content": one.content}
                    scope.insert(job_pieces, job_id=number, **part)
            return True

    def stands(self, kind: str, key: str, lease: str) -> bool | None:
        """Whether who holds the lease is to end, because somebody cancelled it; None where it is lost."""
        with self._reading() as scope:
            mine = (jobs.c.kind == kind, jobs.c.key == key, jobs.c.lease == lease, _in(_LEASED))
            row = scope.row(scope.select(jobs, jobs.c.cancelled).where(*mine))
            return None if row is None else bool(row.cancelled)

    def take(self, kind: str, lease: str, host: str, seconds: float) -> KeptJob | None:
        """The one that waits longest, or whose lease is over, under a lease of ours; without its results."""
        with self._beside() as scope:
            now = scope.clock()
            some = scope.select(jobs).where(jobs.c.kind == kind, takeable(now))
            some = some.order_by(jobs.c.made_at, jobs.c.id).limit(1)
            # Those that others take at this moment are passed over, so nobody waits and none is taken twice.
            row = scope.row(some.with_for_update(skip_locked=True))
            if row is None:
                return None
            values = {"lease": lease, "host": host, "lease_until": now + round(seconds * 1e6)}
            values |= {"phase": Phase.RUNNING, "attempts": row.attempts + 1}
            scope.update(jobs, jobs.c.id == row.id, **values)
            _drop_results(scope, row.id)
            return _kept(row, **values)

    def give_back(self, kind: str, key: str, lease: str, *, counted: bool) -> bool:
        """Have it wait, for whoever takes it; False where the lease was another's.

        Not `counted`: as if it had not been taken.
        """
        with self._beside() as scope:
            mine = (jobs.c.kind == kind, jobs.c.key == key, jobs.c.lease == lease)
            attempts = jobs.c.attempts - (0 if counted else 1)
            back = {"phase": Phase.WAITING, "lease_until": 0, "attempts": attempts}
            return bool(scope.update(jobs, *mine, jobs.c.phase == Phase.RUNNING, **back))

    def cancel(self, kind: str, key: str, state: str) -> None:
        """End one that waits, with this state; who works on one is told."""
        with self._beside() as scope:
            mine = (jobs.c.kind == kind, jobs.c.key == key)
            ended = {"phase": Phase.CANCELLED, "state": state}
            if not scope.update(jobs, *mine, jobs.c.phase == Phase.WAITING, **ended):
                scope.update(jobs, *mine, jobs.c.phase == Phase.RUNNING, cancelled=True)

    def delete(self, kind: str, key: str) -> None:
        """Forget one with all of its pieces; who works on it has lost its lease."""
        with self._beside() as scope:
            scope.delete(jobs, jobs.c.kind == kind, jobs.c.key == key)

    def every(self, kind: str) -> list[KeptJob]:
        """All of them whose file is there, the newest first."""
        with self._reading() as scope:
            some = scope.select(jobs).where(jobs.c.kind == kind, _in(_SHOWN))
            return [_kept(row) for row in scope.rows(some.order_by(jobs.c.made_at.desc(), jobs.c.id.desc()))]

    def find(self, kind: str, key: str) -> KeptJob | None:
        """One of those."""
        with self._reading() as scope:
            some = scope.select(jobs).where(jobs.c.kind == kind, jobs.c.key == key, _in(_SHOWN))
            row = scope.row(some)
            return None if row is None else _kept(row)

    def leases(self, kind: str) -> dict[str, str]:
        """The keys of all, of those on the way, too, and the leases under which they are worked on."""
        with self._reading() as scope:
            some = scope.select(jobs, jobs.c.key, jobs.c.lease, jobs.c.phase).where(jobs.c.kind == kind)
            return {row.key: row.lease if row.phase in _LEASED else "" for row in scope.rows(some)}

    def read(self, number: int, name: str, begin: int) -> bytes:
        """What is there of a file in pieces from a byte on, at least one unless there is none."""
        with self._reading() as scope:
            of_file = (job_pieces.c.job_id == number, job_pieces.c.name == name)
            some = scope.select(job_pieces, job_pieces.c.position, job_pieces.c.content)
            some = some.where(*of_file, job_pieces.c.position <= begin)
            row = scope.row(some.order_by(job_pieces.c.position.desc()).limit(1))
            return b"" if row is None else bytes(row.content)[begin - row.position :]

    def drop_upload(self, number: int) -> None:
        """Delete the file that was brought, where it is here."""
        with self._beside() as scope:
            scope.delete(job_pieces, job_pieces.c.job_id == number, job_pieces.c.name == UPLOAD)

    def holds(self, number: int, name: str) -> bool:
        """Whether there is anything of a file."""
        with self._reading() as scope:
            of_file = (job_pieces.c.job_id == number, job_pieces.c.name == name)
            return scope.count_up_to(job_pieces, 1, *of_file) > 0

    def tidy(self, kind: str, before: datetime) -> list[str]:
        """Delete those that have ended and are older, and what nobody brings any more; their keys."""
        with self._beside() as scope:
            # Also what an earlier version noted, which has no phase.
            old = and_(jobs.c.phase.not_in(UNFINISHED), jobs.c.made_at < rows.micros(before))
            return _gone(scope, jobs.c.kind == kind, or_(old, _half(scope.clock())))

    @contextmanager
    def _beside(self) -> Iterator[Scope]:
        with self.database.beside() as connection:
            yield Scope.walled(connection, self.tenant.id)

    @contextmanager
    def _alone(self, kind: str) -> Iterator[Scope]:
        """Alone among those who begin one of this kind for the tenant."""
        with self.database.beside(crc32(f"{kind} {self.tenant.uid}".encode())) as connection:
            yield Scope.walled(connection, self.tenant.id)


def takeable(now: int) -> ColumnElement[bool]:
    """Which jobs wait for somebody, or have nobody any more, at a time of the database."""
    return or_(jobs.c.phase == Phase.WAITING, and_(jobs.c.phase == Phase.RUNNING, _is_over(now)))


def _in(phases: Sequence[Phase]) -> ColumnElement[bool]:
    return jobs.c.phase.in_(phases)


def _half(now: int) -> ColumnElement[bool]:
    """Which were on the way when whoever brought them went away."""
    return and_(jobs.c.phase == Phase.COMING, _is_over(now))


def _is_over(now: int) -> ColumnElement[bool]:
    """Which leases are over; one that nobody can hold for so long is of a clock that has been put back."""
    return or_(jobs.c.lease_until < now, jobs.c.lease_until > now + _LONGEST)


def _unfinished(scope: Scope, kind: str) -> int:
    half = _half(scope.clock())
    return scope.count(jobs, jobs.c.kind == kind, _in(UNFINISHED), not_(half))


def _gone(scope: Scope, *which: ColumnElement[bool]) -> list[str]:
    """Delete some; their keys."""
    some = scope.rows(scope.select(jobs, jobs.c.id, jobs.c.key).where(*which).with_for_update())
    scope.delete(jobs, jobs.c.id.in_([row.id for row in some]))
    return [row.key for row in some]


def _beyond(scope: Scope, kind: str, most: int) -> list[str]:
    """The keys of the oldest that have ended, so many as there are beyond `most`."""
    mine = (jobs.c.kind == kind, _in(tuple(Phase)))
    excess = max(0, scope.count(jobs, *mine) - most)
    ended = scope.select(jobs, jobs.c.key).where(*mine, jobs.c.phase.not_in(UNFINISHED))
    return [row.key for row in scope.rows(ended.order_by(jobs.c.made_at, jobs.c.id).limit(excess))]


def _number(scope: Scope, mine: Sequence[ColumnElement[bool]]) -> int:
    row = scope.row(scope.select(jobs, jobs.c.id).where(*mine))
    return 0 if row is None else int(row.id)


def _drop_results(scope: Scope, number: int) -> None:
    scope.delete(job_pieces, job_pieces.c.job_id == number, job_pieces.c.name != UPLOAD)


def _kept(row: Row[Any], **changed: Any) -> KeptJob:
    found = {**row._mapping, **changed}
    names = ("key", "asked", "state", "lease", "attempts")
    same = {name: found[name] for name in names}
    return KeptJob(row.id, phase=Phase(found["phase"]), cancelled=bool(row.cancelled), **same)
