"""What the tests of the store put into it, and how they look at it from outside.

A test says where its store lies by a path. On PostgreSQL (the fixture `database` of conftest.py) each path
is a database of the server of `postgres`, made from one with tables the first time that somebody asks.
"""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any

import psycopg
from sqlalchemy import Engine

import postgres
from indicia.detect import detect
from indicia.match.reference import ReferenceMatcher
from indicia.model import (
    AlertDefinition,
    Category,
    Detection,
    DetectionFunction,
    Event,
    Facts,
    Indicator,
    IndicatorType,
    Observable,
    Quotas,
    Role,
    Severity,
)
from indicia.odata.shapes import Entity
from indicia.odata.tree import Query
from indicia.store import Store, TenantStore, migrate, queries
from indicia.store.postgres import PostgreSQL
from indicia.store.sqlite import SQLite
from indicia.store.tables import METADATA

START = datetime(2024, 3, 12, tzinfo=UTC)
EQUALS = DetectionFunction.EQUALS
CONTAINS = DetectionFunction.CONTAINS


_names: dict[Path, str] = {}
"""Databases of PostgreSQL by their paths; what is no key is a file."""
_clean: list[str] = []
"""Those that were used and hold nothing any more: a third of a second less than a new one."""
_on_server = False


@contextmanager
def on(kind: str) -> Iterator[None]:
    """New paths are of `sqlite` or `postgresql` meanwhile."""
    global _on_server
    before, _on_server = _on_server, kind == "postgresql"
    try:
        yield
    finally:
        _on_server = before


def drop(folder: Path) -> None:
    """Take away the databases of PostgreSQL whose paths are below a folder."""
    for path in [path for path in _names if path.is_relative_to(folder)]:
        name = _names.pop(path)
        if _wiped(name):
            _clean.append(name)
        else:
            postgres.server().drop(name)


def url(path: Path, *, empty: bool = False) -> str:
    """Of the store of a path; with `empty` of one without tables, which are made when it is opened."""
    if path not in _names:
        if not _on_server:
            return f"sqlite:///{path}"
        server = postgres.server()
        _names[path] = server.make() if empty else _clean.pop() if _clean else server.make(_with_tables())
    return postgres.server().url(_names[path])


def copy(source: Path, to: Path) -> None:
    """The store of a path, which nobody has open, at another path too."""
    if source not in _names:
        shutil.copy(source, to)
        return
    _names[to] = postgres.server().make(_names[source])


def _wiped(name: str) -> bool:
    """Whether a database is as one that is new; not worth it where it held much."""
    server = postgres.server()
    with server.connect(name) as raw:
        raw.execute(
            "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity "
            "WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )
        raw.execute("SET session_replication_role = replica")
        count = 0
        try:
            version = raw.execute("SELECT version_num FROM alembic_version").fetchall()
            for name, table in METADATA.tables.items():
                if name != "compatible":  # that says what the tables are
                    count += raw.execute(f"DELETE FROM {name}".encode()).rowcount
                if "id" in table.c:
                    raw.execute(f"ALTER SEQUENCE {name}_id_seq RESTART".encode())
        except psycopg.errors.UndefinedTable:
            return False
        return count < 5000 and version == [(migrate.HEAD,)]


def path_of(tenant: TenantStore) -> Path:
    """Where the store of a tenant lies."""
    database = tenant._database
    if isinstance(database, SQLite):
        return database.path
    return next(path for path, name in _names.items() if postgres.server().url(name) == database.name)


def engine_of(owner: Store | TenantStore) -> Engine:
    """What its statements run on, for who listens to them."""
    database = owner._database
    if isinstance(database, SQLite | PostgreSQL):
        return database._engine
    raise TypeError(type(database).__name__)


@cache
def _with_tables() -> str:
    name = postgres.server().make(name="with_tables")
    Store.open(postgres.server().url(name)).close()
    return name


@contextmanager
def raw(path: Path) -> Iterator[Callable[..., list[tuple[Any, ...]]]]:
    """Statements past the store, committed at the end; `?` stands for a parameter."""
    if path not in _names:
        with closing(sqlite3.connect(path)) as file, file:
            yield lambda statement, *given: file.execute(statement, given).fetchall()
        return
    with psycopg.connect(postgres.server().url(_names[path])) as server:

        def execute(statement: str, *given: object) -> list[tuple[Any, ...]]:
            cursor = server.execute(statement.replace("?", "%s").encode(), given)
            return cursor.fetchall() if cursor.description else []

        yield execute


@contextmanager
def opened(path: Path | str, quotas: Quotas | None = None) -> Iterator[TenantStore]:
    """The tenant `contoso` of the store of a path, or of a URL; made where it is not there."""
    with Store.open(path if isinstance(path, str) else url(path), quotas=quotas) as store:
        names = [tenant.name for tenant in store.tenants()]
        if "contoso" not in names:
            store.add_tenant("contoso")
        yield store.tenant("contoso")


def definition(**changes: Any) -> AlertDefinition:
    """One that no store has seen."""
    given: dict[str, Any] = {
        "uid": "",
        "name": "Paper Lantern",
        "title": "Paper Lantern: command and control",
        "severity": Severity.HIGH,
        "category": Category.COMMAND_AND_CONTROL,
    }
    return AlertDefinition(**(given | changes))


def indicator(owner: AlertDefinition, number: int = 0, **changes: Any) -> Indicator:
    """One that no store has seen; its value follows from the number."""
    value = f"host-{number}.example"
    given: dict[str, Any] = {
        "type": IndicatorType.DOMAIN_NAME,
        "value": value.upper(),
        "canonical": value,
        "function": EQUALS,
        "definition": owner,
    }
    return Indicator(**(given | changes))


def add(tenant: TenantStore, count: int = 0, **changes: Any) -> AlertDefinition:
    """A definition with so many indicators."""
    (owner,) = tenant.add_definitions([definition(**changes)], by="tests")
    tenant.add_indicators([indicator(owner, number) for number in range(count)], by="tests")
    return owner


def detection(
    owned: Indicator, tenant: str, event: int = 0, *, raises: bool = True, machine: str = "host-7"
) -> Detection:
    """What `detect` makes of an event that holds the indicator; the event's number gives its time."""
    time = START + timedelta(hours=event)
    seen = Observable(owned.type, owned.canonical, owned.value, "query", Role.OBSERVED, raises=raises)
    facts = Facts(f"{event:032x}", time, None, machine, ())
    happened = Event("dns", "dns.log", event + 1, (seen,), lambda: facts)
    (found,) = detect(happened, ReferenceMatcher([owned]), tenant)
    return found


def plan_of(tenant: TenantStore, entity: Entity, query: Query) -> str:
    """How SQLite goes about a query."""
    with tenant._reading() as scope:
        statement = queries.statement(scope, entity, query)
        text = str(statement.compile(compile_kwargs={"literal_binds": True}))
        return " ".join(map(str, scope._connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {text}").all()))


def everything(path: Path, tenant_id: int | None = None) -> dict[str, list[tuple[Any, ...]]]:
    """Every row of every table (of one tenant), as the database itself gives them."""
    with raw(path) as execute:
        found = {}
        for name, columns in _columns(execute, path in _names).items():
            if tenant_id is None:
                found[name] = execute(f"SELECT * FROM {name} ORDER BY 1")
            elif "tenant_id" in columns:
                found[name] = execute(f"SELECT * FROM {name} WHERE tenant_id = ? ORDER BY 1", tenant_id)
        return found


def _columns(execute: Callable[..., list[tuple[Any, ...]]], on_server: bool) -> dict[str, list[str]]:
    """The columns of every table."""
    if not on_server:
        names = execute("SELECT name FROM sqlite_master WHERE type = 'table'")
        return {name: [row[1] for row in execute(f"PRAGMA table_info({name})")] for (name,) in names}
    found: dict[str, list[str]] = {}
    for table, column in execute(
        "SELECT table_name, column_name FROM information_schema.columns WHERE table_schema = 'public'"
    ):
        found.setdefault(table, []).append(column)
    return found


def sound(path: Path) -> None:
    """The database is whole, no row is without its owner, and the counters say what is there."""
    with raw(path) as execute:
        if path not in _names:
            assert execute("PRAGMA integrity_check") == [("ok",)]
            assert execute("PRAGMA foreign_key_check") == []
        for tenant, *counted in execute(
            "SELECT tenant_id, definitions, indicators, alerts, detections, patterns FROM counters"
        ):
            tables = ("definitions", "indicators", "alerts", "detections")
            real = [
                execute(f"SELECT count(*) FROM {name} WHERE tenant_id = ?", tenant)[0][0] for name in tables
            ]
            patterns = (
                "SELECT count(*) FROM indicators "
                "WHERE tenant_id = ? AND function IN ('StartWith', 'EndWith', 'Contains')"
            )
            assert counted == [*real, execute(patterns, tenant)[0][0]]
