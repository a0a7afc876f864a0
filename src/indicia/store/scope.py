"""The one place that adds the tenant to every query.

A Scope is one tenant within one transaction. No other module of the store builds a statement over a table
of `tables.OF_TENANTS` (but `directory`, which asks whose an application is); a test reads the sources and
proves it, another watches the SQL. The raw connection stays inside.

It leaves out what is deleted and not removed yet (`purges`), too: nothing of that while there is none.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

from sqlalchemy import (
    Alias,
    BindParameter,
    ColumnElement,
    Connection,
    Dialect,
    Row,
    Select,
    Table,
    bindparam,
    delete,
    func,
    insert,
    literal_column,
    not_,
    or_,
    select,
    update,
)
from sqlalchemy.sql.selectable import FromClause, NamedFromClause

from indicia.store import tables


class Scope:
    """All rows of one tenant, and no others, within one transaction; with `deleted` those, too."""

    def __init__(self, connection: Connection, tenant_id: int, *, deleted: bool = False) -> None:
        self._connection = connection
        self._tenant_id = tenant_id
        self._deleted = deleted
        self._purges: Sequence[_Purge] | None = None

    @property
    def tenant_id(self) -> int:
        """Whose rows they are."""
        return self._tenant_id

    @property
    def purging(self) -> bool:
        """Whether something of the tenant is deleted and not removed yet."""
        return bool(self._pending())

    def select(self, table: Table | NamedFromClause[Any], *columns: ColumnElement[Any]) -> Select[Any]:
        """A query of one table (all columns where none is named), to be narrowed and given to `rows`.

        Of an alias of a table it is a sub-query of another one.
        """
        chosen = select(*columns).select_from(table) if columns else _whole(table)
        return chosen.where(_owned(table) == self._tenant_id, *self._alive(table))

    def count(self, table: Table, *where: ColumnElement[bool]) -> int:
        """How many rows fulfil the conditions."""
        row = self.row(self.select(table, func.count()).where(*where))
        return 0 if row is None else int(row[0])

    def count_up_to(self, table: Table, most: int, *where: ColumnElement[bool]) -> int:
        """As `count`, but it ends at `most`."""
        some = self.select(table, table.c.id).where(*where).limit(most).subquery()
        return int(self._connection.execute(select(func.count()).select_from(some)).scalar_one())

    def rows(self, statement: Select[Any]) -> Sequence[Row[Any]]:
        """Every row of the query."""
        return self._connection.execute(statement).all()

    def row(self, statement: Select[Any]) -> Row[Any] | None:
        """The first row of the query, or None."""
        return self._connection.execute(statement).first()

    def lookup(self, table: Table, column: str, value: int | str) -> Sequence[Any]:
        """The rows whose column holds the value.

        Of indicators and definitions, which nearly every request asks, they are tuples: the driver is asked
        with a text made once, because SQLAlchemy's own work on a row or two is three times that of SQLite.
        """
        if table not in _PURGED or self._alive(table):
            return self.rows(self.select(table).where(table.c[column] == value))
        return self._ask(_lookup_sql(table, column, self._connection.dialect), self._tenant_id, value)

    def tuples(
        self, table: Table, columns: tuple[str, ...], column: str, value: int, *, above: bool = False
    ) -> Sequence[Any]:
        """Columns of the rows whose column holds the value, or with `above` a greater one."""
        sql = _tuples_sql(table, columns, column, above, self._connection.dialect)
        return self._ask(sql, self._tenant_id, value)

    def _ask(self, sql: str, *parameters: int | str) -> Sequence[Any]:
        cursor = self._connection.connection.cursor()
        cursor.execute(sql, parameters)
        return cursor.fetchall()

    def rows_in(
        self, statement: Select[Any], column: ColumnElement[Any], values: Iterable[Any]
    ) -> list[Row[Any]]:
        """The rows whose column holds one of the values (numbers or texts), in no order."""
        return list(self.rows(statement.where(among(column, values))))

    def stream(self, statement: Select[Any], size: int = 10_000) -> Iterator[Sequence[Any]]:
        """The rows in lists of at most `size`, read as they are asked for."""
        result = self._connection.execute(statement, execution_options={"yield_per": size})
        yield from result.partitions()

    def insert(self, table: Table, **values: object) -> int:
        """One row; its new id (or the tenant's, where that is the key)."""
        _owned(table)
        result = self._connection.execute(insert(table).values(tenant_id=self._tenant_id, **values))
        self._purges = None if table is tables.purges else self._purges
        key = result.inserted_primary_key
        return int(key[0]) if key else 0

    def insert_many(self, table: Table, columns: tuple[str, ...], rows: Iterable[tuple[object, ...]]) -> None:
        """Rows as tuples by the driver's own fast path; `columns` names them in the order of the table."""
        _owned(table)
        parameters = list(rows)
        if parameters:
            sql = _insert_sql(table, columns, self._tenant_id, self._connection.dialect)
            self._connection.exec_driver_sql(sql, parameters)

    def update(self, table: Table, *where: ColumnElement[bool], **values: object) -> int:
        """How many rows were changed."""
        if "tenant_id" in values:
            raise TypeError("a row stays with its tenant")
        mine = (_owned(table) == self._tenant_id, *self._alive(table), *where)
        statement = update(table).where(*mine).values(**values)
        return int(self._connection.execute(statement).rowcount)

    def delete(self, table: Table, *where: ColumnElement[bool]) -> int:
        """How many rows were deleted."""
        statement = delete(table).where(_owned(table) == self._tenant_id, *self._alive(table), *where)
        return int(self._connection.execute(statement).rowcount)

    def reserve_ids(self, table: Table, count: int) -> range:
        """Ids for `count` new rows, greater than any ever used; the transaction must hold the write lock."""
        ask = "SELECT seq FROM sqlite_sequence WHERE name = ?"
        last = self._connection.exec_driver_sql(ask, (table.name,)).scalar() or 0
        return range(last + 1, last + 1 + count)

    def _alive(self, table: Table | NamedFromClause[Any]) -> list[ColumnElement[bool]]:
        """What rows fulfil that are not deleted."""
        base = table.element if isinstance(table, Alias) else table
        if self._deleted or base not in _PURGED or not (pending := self._pending()):
            return []
        column, last = _PURGED[base]
        floor = max((getattr(purge, last) for purge in pending if not purge.definition_id), default=0)
        alive: list[ColumnElement[bool]] = [table.c.id > floor] if floor else []
        own = [purge for purge in pending if purge.definition_id and getattr(purge, last) > floor]
        if len(own) > _MANY_PURGES:
            return [*alive, not_(self._purged(table, column, last))]
        # Twice as fast as asking the table of each row, where a list passes over a million of them.
        return alive + [
            or_(table.c[column] != purge.definition_id, table.c.id > getattr(purge, last)) for purge in own
        ]

    def _purged(self, table: Table | NamedFromClause[Any], column: str, last: str) -> ColumnElement[bool]:
        """Whether a purge names the row."""
        purge = tables.purges.alias()
        gone = select(purge.c.id).where(
            purge.c.tenant_id == self._tenant_id,
            purge.c.definition_id == table.c[column],
            purge.c[last] >= table.c.id,
        )
        return gone.correlate_except(purge).exists()

    def _pending(self) -> Sequence[_Purge]:
        """What each purge of the tenant names."""
        if self._purges is None:
            self._purges = [_Purge(*row) for row in self._ask(_PENDING, self._tenant_id)]
        return self._purges


class _Purge(NamedTuple):
    """A row of `purges`."""

    definition_id: int
    indicators_to: int
    definitions_to: int


def among(column: ColumnElement[Any], values: Iterable[Any]) -> ColumnElement[bool]:
    """Whether a column holds one of the values (numbers or texts).

    They go over as one JSON text: thousands of parameters cost more than looking them up.
    """
    listed = func.json_each(json.dumps(sorted(set(values)), ensure_ascii=False)).table_valued("value")
    return column.in_(select(listed.c.value))


_MANY_PURGES = 20
_PENDING = "SELECT definition_id, indicators_to, definitions_to FROM purges WHERE purges.tenant_id = ?"
_PURGED: dict[FromClause, tuple[str, str]] = {
    tables.indicators: ("definition_id", "indicators_to"),
    tables.definitions: ("id", "definitions_to"),
}
"""The column that holds the definition, and that of a purge which holds the highest id that is gone."""


def _owned(table: Table | NamedFromClause[Any]) -> ColumnElement[int]:
    base = table.element if isinstance(table, Alias) else table
    if base not in tables.OF_TENANTS:
        raise TypeError(f"{table.name} is not a table of tenants")
    return table.c.tenant_id


@lru_cache(maxsize=256)
def _whole(table: Table | NamedFromClause[Any]) -> Select[Any]:
    """Every column; made once, because SQLAlchemy looks at each of them."""
    return select(table)


@lru_cache(maxsize=256)
def _lookup_sql(table: Table, column: str, dialect: Dialect) -> str:
    """SELECT of the rows of a tenant (first parameter) whose column holds a value (second)."""
    wanted = select(table).where(_owned(table) == bindparam("tenant"), table.c[column] == bindparam("value"))
    return str(wanted.compile(dialect=dialect))


@lru_cache(maxsize=256)
def _tuples_sql(table: Table, columns: tuple[str, ...], column: str, above: bool, dialect: Dialect) -> str:
    """SELECT of some columns of a tenant's rows (first parameter), as `_lookup_sql`."""
    key = table.c[column]
    value: BindParameter[int] = bindparam("value")
    wanted = select(*(table.c[name] for name in columns)).where(
        _owned(table) == bindparam("tenant"), key > value if above else key == value
    )
    return str(wanted.compile(dialect=dialect))


@lru_cache(maxsize=256)
def _insert_sql(table: Table, columns: tuple[str, ...], tenant_id: int, dialect: Dialect) -> str:
    """INSERT of the tenant, whose number stands in the text, and the columns by position."""
    tenant: dict[str, Any] = {"tenant_id": literal_column(str(int(tenant_id)))}
    statement = insert(table).values(dict.fromkeys(columns) | tenant).compile(dialect=dialect)
    if statement.positiontup != list(columns):
        raise TypeError(f"{columns} are not in the order of the columns of {table.name}")
    return str(statement)
