"""The one place that adds the tenant to every query.

A Scope is one tenant within one transaction. No other module of the store builds a statement over a table
of `tables.OF_TENANTS` (but `directory`, which asks whose an application is); a test reads the sources and
proves it, another watches the SQL. The raw connection stays inside.

It leaves out what is deleted and not removed yet (`purges`), too: nothing of that while there is none.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from typing import Any, NamedTuple, Self

from sqlalchemy import (
    ARRAY,
    Alias,
    BigInteger,
    BindParameter,
    Boolean,
    Column,
    ColumnElement,
    Connection,
    Dialect,
    Row,
    Select,
    String,
    Table,
    Text,
    TypeDecorator,
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
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.functions import FunctionElement
from sqlalchemy.sql.operators import OperatorType
from sqlalchemy.sql.selectable import FromClause, NamedFromClause
from sqlalchemy.types import TypeEngine

from indicia.store import tables

WALLED = "indicia_walled"
"""What of a connection's `info` says that row-level security holds for its user."""


CHANNEL = "indicia"
"""Of PostgreSQL's notifications: something that is matched has changed."""


class Scope:
    """All rows of one tenant, and no others, within one transaction; with `deleted` those, too."""

    def __init__(self, connection: Connection, tenant_id: int, *, deleted: bool = False) -> None:
        self._connection = connection
        self._tenant_id = tenant_id
        self._deleted = deleted
        self._purges: Sequence[_Purge] | None = None

    @classmethod
    def walled(cls, connection: Connection, tenant_id: int) -> Self:
        """A scope in a transaction that is the tenant's alone.

        Where the service's user of PostgreSQL does not own the tables, the database itself then hides what
        is others', and refuses to write it (migration 0019).
        """
        if connection.info.get(WALLED):
            asked = "SELECT set_config('indicia.tenant', %s, true)"
            connection.exec_driver_sql(asked, (str(tenant_id),))
        return cls(connection, tenant_id)

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
        self, table: Table, columns: tuple[str, ...], column: str, value: int | bool, *, above: bool = False
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
        # Closed also where somebody stops in between: a server keeps what is left of a result.
        with self._connection.execute(statement, execution_options={"yield_per": size}) as result:
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
            dialect = self._connection.dialect
            if dialect.name == "postgresql" and not self._connection.info.get(WALLED):
                mine = ((self._tenant_id, *row) for row in parameters)
                copy_rows(self._connection, table, ("tenant_id", *columns), mine)
            else:
                if dialect.name == "postgresql":  # COPY stops at the wall, and INSERT wants types as they are
                    parameters = _typed(table, columns, parameters)
                sql = _insert_sql(table, columns, self._tenant_id, dialect)
                self._connection.exec_driver_sql(sql, parameters)

    def update_many(
        self, table: Table, columns: tuple[str, ...], key: Column[Any], rows: Sequence[tuple[object, ...]]
    ) -> None:
        """Rows by their keys: tuples of what the columns become, and last the key; of no table that hides."""
        if table in _PURGED:
            raise TypeError(f"rows of {table.name} may be hidden")
        if rows:
            dialect = self._connection.dialect
            given = _typed(table, (*columns, key.name), rows) if dialect.name == "postgresql" else list(rows)
            sql = _update_sql(table, columns, key.name, self._tenant_id, dialect)
            self._connection.exec_driver_sql(sql, given)

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
        if self._connection.dialect.name != "postgresql" or not count:
            last = self.last_id(table)
        else:
            # Nobody else takes numbers meanwhile: all of them come from whoever holds the lock.
            taken = self._ask(_TAKE.format(table=table.name), count)
            last = int(taken[0][0]) - count
        return range(last + 1, last + 1 + count)

    def last_id(self, table: Table) -> int:
        """To a writer the greatest id ever used, to a reader none that its snapshot lacks.

        On SQLite it is of any tenant. A sequence of PostgreSQL runs ahead of what a reader sees, so there it
        is the greatest that the tenant has; what is newer is greater than either.
        """
        if self._connection.dialect.name != "postgresql":
            found = self._ask("SELECT seq FROM sqlite_sequence WHERE name = ?", table.name)
        else:
            found = self._ask(_LAST.format(table=table.name), self._tenant_id)
        return int(found[0][0] or 0) if found else 0

    def clock(self) -> int:
        """See `clock`."""
        return clock(self._connection)

    def tell(self) -> None:
        """Have everybody who follows the store know, with the commit, that what is matched has changed."""
        if self._connection.dialect.name == "postgresql":
            self._ask("SELECT pg_notify(%s, '')", CHANNEL)

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
            found = self.tuples(tables.purges, _Purge._fields, "definition_id", -1, above=True)
            self._purges = [_Purge(*row) for row in found]
        return self._purges


class _Purge(NamedTuple):
    """A row of `purges`."""

    definition_id: int
    indicators_to: int
    definitions_to: int


def clock(connection: Connection) -> int:
    """Microseconds since 1970, by the one clock that all who share the database have."""
    if connection.dialect.name != "postgresql":
        return time.time_ns() // 1000
    cursor = connection.connection.cursor()
    cursor.execute("SELECT CAST(extract(epoch FROM clock_timestamp()) * 1000000 AS bigint)")
    return int(cursor.fetchall()[0][0])


def copy_rows(
    connection: Connection, table: Table, columns: tuple[str, ...], rows: Iterable[tuple[object, ...]]
) -> None:
    """Rows as tuples by PostgreSQL's COPY, of whichever tenant they say."""
    quote = connection.dialect.identifier_preparer.quote
    named = ", ".join(quote(name) for name in columns)
    cursor: Any = connection.connection.cursor()
    with cursor, cursor.copy(f"COPY {quote(table.name)} ({named}) FROM STDIN") as copy:
        for row in rows:
            copy.write_row(row)


def among(column: ColumnElement[Any], values: Iterable[Any]) -> ColumnElement[bool]:
    """Whether a column holds one of the values (numbers or texts).

    They go over as one parameter: thousands of them cost more than looking them up.
    """
    of_texts = isinstance(column.type, String)
    return _Among(column, bindparam(None, sorted(set(values)), type_=_Listed(of_texts=of_texts)))


class _Listed(TypeDecorator[list[Any]]):
    """Numbers or texts as one parameter: a JSON text on SQLite, an array on PostgreSQL."""

    impl = Text
    cache_ok = True

    def __init__(self, *, of_texts: bool) -> None:
        super().__init__()
        self.of_texts = of_texts

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        if dialect.name != "postgresql":
            return dialect.type_descriptor(Text())
        return dialect.type_descriptor(ARRAY(Text() if self.of_texts else BigInteger()))

    def process_bind_param(self, value: list[Any] | None, dialect: Dialect) -> Any:
        return value if dialect.name == "postgresql" else json.dumps(value, ensure_ascii=False)


class _Among(FunctionElement[bool]):
    """Whether the first is in the second, a list."""

    type = Boolean()
    inherit_cache = True

    def self_group(self, against: OperatorType | None = None) -> Self:
        """As it is: `… IN (…) = 1`, which SQLAlchemy makes of it for SQLite, asks no index."""
        return self


@compiles(_Among)
def _in_json(element: _Among, compiler: SQLCompiler, **options: Any) -> str:
    column, listed = (compiler.process(clause, **options) for clause in element.clauses)
    return f"{column} IN (SELECT value FROM json_each({listed}))"  # noqa: S608 - both are SQLAlchemy's


@compiles(_Among, "postgresql")
def _in_array(element: _Among, compiler: SQLCompiler, **options: Any) -> str:
    column, listed = (compiler.process(clause, **options) for clause in element.clauses)
    return f"{column} = ANY ({listed})"


_MANY_PURGES = 20
_TAKE = (
    "SELECT setval(seq, nextval(seq) + %s - 1) FROM (SELECT CAST('{table}_id_seq' AS regclass) AS seq) AS s"
)
_LAST = """
SELECT CASE WHEN current_setting('transaction_read_only') = 'on'
    THEN (SELECT max(id) FROM {table} WHERE tenant_id = %s)
    ELSE (SELECT CASE WHEN is_called THEN last_value ELSE 0 END FROM {table}_id_seq) END
"""
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


def _typed(
    table: Table, columns: tuple[str, ...], rows: Sequence[tuple[object, ...]]
) -> list[tuple[object, ...]]:
    """Rows whose flags may be numbers, as SQLite has them, with flags."""
    flags = [isinstance(table.c[name].type, Boolean) for name in columns]
    return [
        tuple(bool(value) if flag else value for value, flag in zip(row, flags, strict=True)) for row in rows
    ]


@lru_cache(maxsize=256)
def _update_sql(table: Table, columns: tuple[str, ...], key: str, tenant_id: int, dialect: Dialect) -> str:
    """UPDATE of the tenant, whose number stands in the text; the columns, then the key, by position."""
    values = {name: bindparam(f"new_{name}", type_=table.c[name].type) for name in columns}
    mine = (_owned(table) == literal_column(str(int(tenant_id))), table.c[key] == bindparam("key"))
    statement = update(table).where(*mine).ordered_values(*values.items()).compile(dialect=dialect)
    if statement.positiontup != [*(f"new_{name}" for name in columns), "key"]:
        raise TypeError(f"{columns} are not in the order of the statement of {table.name}")
    return str(statement)


@lru_cache(maxsize=256)
def _insert_sql(table: Table, columns: tuple[str, ...], tenant_id: int, dialect: Dialect) -> str:
    """INSERT of the tenant, whose number stands in the text, and the columns by position."""
    tenant: dict[str, Any] = {"tenant_id": literal_column(str(int(tenant_id)))}
    statement = insert(table).values(dict.fromkeys(columns) | tenant).compile(dialect=dialect)
    if statement.positiontup != list(columns):
        raise TypeError(f"{columns} are not in the order of the columns of {table.name}")
    return str(statement)
