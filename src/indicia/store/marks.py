"""A memory that the processes of all hosts share: what one has noted under a digest, all know at once.

What `auth.shared` is for the processes of one service: failed attempts, assertions and where they came from.
A row stands by itself, so no writer of anything else is waited for; of two that change the same one comes
after the other. What nobody will ask for any more is removed with whatever is written next.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from sqlalchemy import Connection, delete, func, insert, select, update

from indicia.store import rows, tables
from indicia.store.engine import Database

Value = tuple[bytes, float]
"""What is kept, and its rank: a time in seconds since 1970."""
_OLD = 100
"""Rows that one writer removes."""
_M = tables.marks


@dataclass(frozen=True, slots=True)
class Marks:
    """Values under marks (digests), of one kind. Each call is one transaction."""

    database: Database
    kind: str
    seconds: float
    """How long a value is kept beyond its rank."""

    def __len__(self) -> int:
        with self.database.reading() as connection:
            asked = select(func.count()).select_from(_M).where(_M.c.kind == self.kind)
            return int(connection.execute(asked).scalar_one())

    def find(self, mark: bytes) -> Value | None:
        """What is kept under a mark. StoreError."""
        with self.database.reading() as connection:
            return self._read(connection, mark)

    def change(self, mark: bytes, become: Callable[[Value | None], Value | None]) -> Value | None:
        """Put what `become` makes of the value in its place, nobody comes between; None forgets it.

        `become` is asked twice where that is something else. StoreError.
        """
        kept = self.find(mark)
        if become(kept) == kept:
            return kept
        with self.database.beside(int.from_bytes(mark[:4])) as connection:
            before = self._read(connection, mark)
            after = become(before)
            if after != before:
                self._write(connection, mark, before, after)
            return after

    def _read(self, connection: Connection, mark: bytes) -> Value | None:
        mine = (_M.c.kind == self.kind, _M.c.mark == mark.hex())
        row = connection.execute(select(_M.c.value, _M.c.rank).where(*mine)).first()
        return None if row is None else (bytes.fromhex(row.value), row.rank / 1e6)

    def _write(self, connection: Connection, mark: bytes, before: Value | None, after: Value | None) -> None:
        mine = (_M.c.kind == self.kind, _M.c.mark == mark.hex())
        if after is None:
            connection.execute(delete(_M).where(*mine))
            return
        value, rank = after
        values = {
            "value": value.hex(),
            "rank": round(rank * 1e6),
            "kept_until": round((rank + self.seconds) * 1e6),
        }
        # One that was old may have been removed meanwhile by who wrote another one.
        if before is not None and connection.execute(update(_M).where(*mine).values(values)).rowcount:
            return
        connection.execute(insert(_M).values(kind=self.kind, mark=mark.hex(), **values))
        # Those that another one removes at this moment are not waited for.
        past = select(_M.c.id).where(_M.c.kept_until < rows.micros(rows.now())).limit(_OLD)
        connection.execute(delete(_M).where(_M.c.id.in_(past.with_for_update(skip_locked=True))))
