"""The one place that adds the tenant to every query.

A Scope is one tenant within one transaction. No other module of the store builds a statement over a table
of `tables.OF_TENANTS` (but `directory`, which asks whose an application is); a test reads the sources and
proves it, another watches the SQL. The raw connection stays inside.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from typing import Any

from sqlalchemy import ColumnElement, Connection, Row, Select, Table, delete, insert, select, update
from sqlalchemy.dialects import sqlite

from indicia.store import tables

type_row = Row[Any]
_CHUNK = 5000
"""Values of one IN list; databases bound the parameters of a statement (SQLite 32,766)."""


class Scope:
    """All rows of one tenant, and no others, within one transaction."""

    def __init__(self, connection: Connection, tenant_id: int) -> None:
        self._connection = connection
        self._tenant_id = tenant_id

    def select(self, table: Table, *columns: ColumnElement[Any]) -> Select[Any]:
        """A query of one table (all columns where none is named), to be narrowed and given to `rows`."""
        chosen = select(*columns).select_from(table) if columns else select(table)
        return chosen.where(_owned(table) == self._tenant_id)

    def rows(self, statement: Select[Any]) -> Sequence[Row[Any]]:
        """Every row of the query."""
        return self._connection.execute(statement).all()

    def row(self, statement: Select[Any]) -> Row[Any] | None:
        """The first row of the query, or None."""
        return self._connection.execute(statement).first()

    def rows_in(self, statement: Select[Any], column: ColumnElement[Any], values: Iterable[Any]) -> list[Row[Any]]:
        """The rows whose column holds one of the values, in lists that a database takes at once."""
        distinct = sorted(set(values))
        chunks = (distinct[start : start + _CHUNK] for start in range(0, len(distinct), _CHUNK))
        return [row for chunk in chunks for row in self.rows(statement.where(column.in_(chunk)))]

    def stream(self, statement: Select[Any], size: int = 10_000) -> Iterator[Sequence[Row[Any]]]:
        """The rows in lists of at most `size`, read as they are asked for."""
        result = self._connection.execution_options(yield_per=size).execute(statement)
        yield from result.partitions()

    def insert(self, table: Table, **values: object) -> int:
        """One row; its new id (or the tenant's, where that is the key)."""
        _owned(table)
        result = self._connection.execute(insert(table).values(tenant_id=self._tenant_id, **values))
        key = result.inserted_primary_key
        return int(key[0]) if key else 0

    def insert_many(self, table: Table, columns: tuple[str, ...], rows: Iterable[tuple[object, ...]]) -> None:
        """Rows as tuples in the order of the columns, by the driver's own fast path."""
        _owned(table)
        tenant = (self._tenant_id,)
        parameters = [tenant + row for row in rows]
        if parameters:
            self._connection.exec_driver_sql(_insert_sql(table, columns), parameters)

    def update(self, table: Table, *where: ColumnElement[bool], **values: object) -> int:
        """How many rows were changed."""
        statement = update(table).where(_owned(table) == self._tenant_id, *where).values(**values)
        return int(self._connection.execute(statement).rowcount)

    def delete(self, table: Table, *where: ColumnElement[bool]) -> int:
        """How many rows were deleted."""
        statement = delete(table).where(_owned(table) == self._tenant_id, *where)
        return int(self._connection.execute(statement).rowcount)

    def reserve_ids(self, table: Table, count: int) -> range:
        """Ids for `count` new rows, greater than any ever used; the transaction must hold the write lock."""
        found = self._connection.exec_driver_sql("SELECT seq FROM sqlite_sequence WHERE name = ?", (table.name,))
        last = found.scalar() or 0
        return range(last + 1, last + 1 + count)


def _owned(table: Table) -> ColumnElement[int]:
    if table not in tables.OF_TENANTS:
        raise TypeError(f"{table.name} is not a table of tenants")
    return table.c.tenant_id


@lru_cache(maxsize=32)
def _insert_sql(table: Table, columns: tuple[str, ...]) -> str:
    """INSERT of the tenant and the columns with positional parameters."""
    names = ("tenant_id", *columns)
    missing = [name for name in names if name not in table.c]
    if missing:
        raise TypeError(f"{table.name} has no column {missing}")
    statement = insert(table).compile(dialect=sqlite.dialect(), column_keys=list(names))
    assert statement.positiontup == list(names)
    return str(statement)
