"""A whole store into another database: a move, a backup, and the way back.

Everything is read from one snapshot of the source, table by table in the order of their references and by
id, and written in batches, each of which is committed; so a copy that was broken off goes on behind the
last row that is there. In the end both sides are read again and compared, row by row by their digests. Until
then the target holds the table `copying`, and nobody opens it as a store (`migrate`).

A copy is another store from then on, unless it is made `as_is`: the generation of each tenant moves on, to
milliseconds since 1970 at least, so that no index that was compiled for the source, or for an older copy, is
taken for one of the copy; and sessions and links end, because some may have ended since. Jobs stay behind:
nobody would work on them, and what is told of them is kept for days; what they have stored is copied.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import blake2b
from typing import Any

from sqlalchemy import Connection, Row, Table, delete, func, insert, select, update

from indicia.errors import StoreError
from indicia.store import migrate
from indicia.store.engine import Database
from indicia.store.notes import DROPPED
from indicia.store.scope import copy_rows
from indicia.store.tables import METADATA, changes, compatible, counters, job_pieces, jobs, links, sessions

TURN = "copying"
BATCH = 10_000
"""Rows of one transaction."""
TABLES = tuple(table for table in METADATA.sorted_tables if table not in (compatible, jobs, job_pieces))
"""What is copied, each behind those that it refers to."""

Tell = Callable[[str, int, int], None]
"""Hears the table, how many of its rows are done, and how many it has."""


def nobody(_table: str, _done: int, _total: int) -> None:
    """Hears it."""


def nothing() -> None:
    """Is done at the end of a copy."""


@dataclass(frozen=True, slots=True)
class Content:
    """What a table holds."""

    rows: int
    digest: str
    """The sum of the digests of its rows, 32 hexadecimal digits; their order does not matter."""


def copy(
    source: Database,
    target: Database,
    tell: Tell,
    *,
    as_is: bool = False,
    ready: Callable[[], None] = nothing,
) -> dict[str, Content]:
    """Copy everything, or go on with a copy that was broken off; what each table of the source holds.

    `ready` is called when all is there, and the target is no store yet; what it raises breaks the copy off.
    StoreError where another copy into the target is under way, where the target holds a store, and where the
    source was written to since a copy was begun, so that the two differ in the end: the target then stays no
    store.
    """
    with closing(target.turn(TURN)) as turn:
        # Of two at once the second one would go on in what the first one has made a store of.
        if not turn.take():
            raise StoreError(f"another copy into {target.name} is under way; wait until it has ended")
        return _copied(source, target, tell, ready, as_is=as_is)


def _copied(
    source: Database, target: Database, tell: Tell, ready: Callable[[], None], *, as_is: bool
) -> dict[str, Content]:
    with source.reading() as read:
        _begin(target)
        with target.bulk() as begin:
            for table in TABLES:
                _copy(read, table, begin, tell)
        found = {table.name: _content(read, table, tell) for table in TABLES}
        with target.reading() as written:
            there = {table.name: _content(written, table, tell) for table in TABLES}
        if different := [name for name, content in found.items() if there[name] != content]:
            raise StoreError(
                f"{source.name} was written to since the copy was begun: {', '.join(different)} differ. "
                f"Stop what writes to it, empty {target.name}, and begin anew"
            )
        last = {table.name: source.last_id(read, table.name) for table in TABLES if "id" in table.c}
    ready()
    with target.schema_change() as connection:
        for name, number in last.items():
            target.skip_ids(connection, name, number)
        if not as_is:
            _live_on(connection)
        migrate.COPYING.drop(connection)
    return found


def _begin(target: Database) -> None:
    """Make the tables of an empty database, with the mark on them; StoreError for a store."""
    with target.schema_change() as connection:
        there = target.tables(connection)
        if not there:
            migrate.COPYING.create(connection)
        elif migrate.COPYING.name not in there:
            raise StoreError(
                f"{target.name} is not empty; name an empty database, or a file that is not there"
            )
    migrate.up_to_date(target, copying=True)


def _copy(read: Connection, table: Table, begin: Callable[[], Any], tell: Tell) -> None:
    key = table.c[_key(table)]
    with begin() as written:
        last, done = written.execute(select(func.coalesce(func.max(key), 0), func.count(key))).one()
    total = done + read.execute(select(func.count(key)).where(key > last)).scalar_one()
    tell(table.name, done, total)
    rest = select(table).where(key > last).order_by(key)
    names = tuple(table.c.keys())
    with read.execute(rest, execution_options={"yield_per": BATCH}) as rows:
        for batch in rows.partitions():
            with begin() as written:
                _insert(written, table, names, batch)
            done += len(batch)
            tell(table.name, done, total)


def _insert(connection: Connection, table: Table, names: tuple[str, ...], rows: Sequence[Row[Any]]) -> None:
    if connection.dialect.name == "postgresql":
        copy_rows(connection, table, names, map(tuple, rows))
    else:
        statement = str(insert(table).compile(dialect=connection.dialect))
        connection.exec_driver_sql(statement, [tuple(row) for row in rows])


def _content(connection: Connection, table: Table, tell: Tell) -> Content:
    count, total = 0, 0
    rows_in_all = connection.execute(select(func.count()).select_from(table)).scalar_one()
    with connection.execute(select(table), execution_options={"yield_per": BATCH}) as rows:
        for batch in rows.partitions():
            total += sum(map(_digest, batch))
            count += len(batch)
            tell(f"{table.name} compared", count, rows_in_all)
    return Content(count, f"{total % (1 << 128):032x}")


def _digest(row: Row[Any]) -> int:
    return int.from_bytes(blake2b(repr(tuple(row)).encode("utf-8", "surrogatepass"), digest_size=16).digest())


def _key(table: Table) -> str:
    (key,) = table.primary_key
    return key.name


def _live_on(connection: Connection) -> None:
    """Make another store of the copy."""
    for table in (sessions, links):
        connection.execute(delete(table))
    now = int(datetime.now(UTC).timestamp() * 1000)
    for tenant_id, generation in connection.execute(
        select(counters.c.tenant_id, counters.c.generation)
    ).all():
        fresh = {"generation": max(generation + 1, now)}
        connection.execute(update(counters).where(counters.c.tenant_id == tenant_id).values(**fresh))
        note = {"tenant_id": tenant_id, "kind": DROPPED, "target_id": 0, "indicators_to": 0}
        connection.execute(insert(changes).values(**note, **fresh))
