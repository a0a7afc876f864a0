"""What the tests of the store put into it, and how they look at it from outside."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

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
from indicia.store import Store, TenantStore, queries

START = datetime(2024, 3, 12, tzinfo=UTC)
EQUALS = DetectionFunction.EQUALS
CONTAINS = DetectionFunction.CONTAINS


def url(path: Path) -> str:
    """Of the store in a file."""
    return f"sqlite:///{path}"


@contextmanager
def opened(path: Path, quotas: Quotas | None = None) -> Iterator[TenantStore]:
    """The tenant `contoso` of the store in a file, made where it is not there."""
    with Store.open(url(path), quotas=quotas) as store:
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
    """Every row of every table (of one tenant), as sqlite3 itself reads them."""
    with closing(sqlite3.connect(path)) as raw:
        names = [name for (name,) in raw.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        found = {}
        for name in names:
            columns = [row[1] for row in raw.execute(f"PRAGMA table_info({name})")]
            if tenant_id is None:
                found[name] = raw.execute(f"SELECT * FROM {name} ORDER BY 1").fetchall()
            elif "tenant_id" in columns:
                wanted = f"SELECT * FROM {name} WHERE tenant_id = ? ORDER BY 1"
                found[name] = raw.execute(wanted, (tenant_id,)).fetchall()
        return found


def sound(path: Path) -> None:
    """The file is whole, no row is without its owner, and the counters say what is there."""
    with closing(sqlite3.connect(path)) as raw:
        assert raw.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        assert raw.execute("PRAGMA foreign_key_check").fetchall() == []
        for tenant, *counted in raw.execute(
            "SELECT tenant_id, definitions, indicators, alerts, detections, patterns FROM counters"
        ):
            tables = ("definitions", "indicators", "alerts", "detections")
            real = [
                _count(raw, f"SELECT count(*) FROM {name} WHERE tenant_id = ?", tenant) for name in tables
            ]
            patterns = "SELECT count(*) FROM indicators WHERE tenant_id = ? AND function <> 'Equals'"
            assert counted == [*real, _count(raw, patterns, tenant)]


def _count(raw: sqlite3.Connection, query: str, tenant: int) -> int:
    (count,) = raw.execute(query, (tenant,)).fetchone()
    return int(count)
