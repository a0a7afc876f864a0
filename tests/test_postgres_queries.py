"""What PostgreSQL is asked in words of its own means what it means elsewhere, and goes by an index."""

from __future__ import annotations

import importlib
import itertools
import math
import random
import re
import sys
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest

import stored
from explained import plans
from indicia.model import AlertStatus, DetectionFunction, IndicatorType, Severity
from indicia.odata import functions, parse
from indicia.odata.entities import ALERT_DEFINITION, INDICATOR
from indicia.odata.functions import Type
from indicia.odata.shapes import Entity
from indicia.odata.tree import Query
from indicia.store import AlertFilter, Chosen, Expiry, Sort, Store, TenantStore, rows, tables
from stored import add, url

pytestmark = pytest.mark.full

CHANCE = random.Random(7)
NOW = datetime.now(UTC)
INDICATORS, ALERTS, MACHINES = 10_000, 5_000, 500
NATIVE = frozenset({"contains", "startswith", "endswith", "length", "indexof", "concat"})
"""What a database has itself; test_odata_filter.py holds these to their meaning."""


@pytest.fixture(scope="module")
def tenant(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TenantStore]:
    """A tenant with many indicators and alerts, beside one that has as many."""
    with stored.on("postgresql"):
        path = tmp_path_factory.mktemp("plans") / "indicia.db"
        with Store.open(url(path)) as store:
            made = [store.tenant(store.add_tenant(name).uid) for name in ("others", "mine")]
            for one in made:
                fill(one)
            with stored.raw(path) as raw:
                raw("ANALYZE")
            yield made[1]


def fill(tenant: TenantStore) -> None:
    owners = [add(tenant, name=f"d{n}", title=f"Title {n}") for n in range(20)]
    now = rows.micros(NOW)
    with tenant._writing() as scope:
        ids = scope.reserve_ids(tables.indicators, INDICATORS)
        made = []
        for number in ids:
            value = f"host-{number}.example"
            kind = "Url" if number % 5 == 0 else "DomainName"
            ends = now + (number % 200 - 100) * 86_400_000_000 if number % 2 == 0 else None
            owner, key = owners[number % 20].id, rows.canonical_key(value)
            head = (number, owner, kind, value, value, key, "Equals", number % 100 > 0)
            made.append((*head, None, ends, None, now, "x"))
        scope.insert_many(tables.indicators, rows.INDICATOR_COLUMNS, made)
        kept = [scope.insert(tables.snapshots, **rows.snapshot_values(owner)) for owner in owners]
        columns = (
            *("alert_id", "snapshot_id", "machine", "group", "window", "first_seen", "last_seen"),
            *("detection_count", "indicators", "status", "reopened_count", "created_at"),
            *("last_modified_at", "assigned_to", "severity_rank"),
        )
        alerts = []
        for number in range(ALERTS):
            at = now - (ALERTS - number) * 60_000_000
            seen = None if number % 50 == 0 else at
            status = "New" if number % 4 == 0 else "Resolved"
            names = (f"{number:032x}", kept[number % 20], f"m-{number % MACHINES}", "machine", str(number))
            assigned = "Bo" if number % 100 == 0 else None
            alerts.append(
                (*names, seen, seen, number % 30, "[]", status, 0, at, at, assigned, number * 7 % 4)
            )
        scope.insert_many(tables.alerts, columns, alerts)


def selects(entity: Entity, where: str, order: str = "", **more: Any) -> Callable[[TenantStore], object]:
    """A query of the API."""
    within = parse.context(entity)
    query = Query(
        parse.predicate(where, within) if where else None,
        order=parse.order(order, within) if order else (),
        limit=50,
        **more,
    )
    return lambda tenant: tenant.select(entity, query)


def chosen(after: tuple[int | str, ...] | None = None, **what: Any) -> Callable[[TenantStore], object]:
    """A page of the catalogue."""
    return lambda tenant: tenant.catalogue.indicators(Chosen(**what), after=after)


def queued(
    sort: Sort, after: tuple[int | None, int] | None = None, **what: Any
) -> Callable[[TenantStore], object]:
    """A page of the queue."""
    return lambda tenant: tenant.queue.page(AlertFilter(**what), sort, after, 50)


BY_ID = r"(ix_indicators_tenant_id_id|pk_indicators)"
BY_NUMBER = r"(ix_alerts_newest|ix_alerts_tenant_id_id|pk_alerts)"
KEY = "ix_indicators_tenant_id_canonical_key_definition_id"
AT = int(NOW.timestamp() * 1_000_000) - 100_000 * 1_000_000
PAGES: dict[str, tuple[Callable[[TenantStore], object], str, bool]] = {
    "first": (selects(INDICATOR, ""), BY_ID, False),
    "further": (selects(INDICATOR, "", after=(15_000,)), BY_ID, False),
    "downwards": (selects(INDICATOR, "", "Id desc"), BY_ID, False),
    "of a definition": (
        selects(INDICATOR, "AlertDefinition/Id eq 25"),
        "ix_indicators_tenant_id_definition_id_id",
        False,
    ),
    "a value": (selects(INDICATOR, "Value eq 'host-15000.example'"), KEY, True),
    "a value of a definition": (
        selects(ALERT_DEFINITION, "IndicatorsOfCompromise/any(i:i/Value eq 'host-15000.example')"),
        KEY,
        True,
    ),
    "all": (chosen(), BY_ID, False),
    "all further": (chosen((15_000,)), BY_ID, False),
    "a type": (chosen(type=IndicatorType.URL), "ix_indicators_tenant_id_type_function_id", False),
    "type and function": (
        chosen((15_000,), type=IndicatorType.URL, function=DetectionFunction.EQUALS),
        f"(ix_indicators_tenant_id_type_function_id|{BY_ID})",
        False,
    ),
    "disabled": (chosen(enabled=False), "ix_indicators_disabled", False),
    "disabled further": (chosen((15_000,), enabled=False), "ix_indicators_disabled", False),
    "expired": (chosen(expiry=Expiry.EXPIRED), "ix_indicators_expiring", False),
    "expiring further": (chosen((AT, 15_000), expiry=Expiry.SOON), "ix_indicators_expiring", False),
    "beginning": (chosen(value="host-150"), "ix_indicators_head", False),
    "beginning further": (chosen(("host-15000", 15_001), value="host-150"), "ix_indicators_head", False),
    "exactly": (chosen(value="host-15000.example", exact=True), KEY, True),
    "newest": (queued(Sort.NEWEST), BY_NUMBER, False),
    "newest further": (queued(Sort.NEWEST, (7_000, 7_000)), BY_NUMBER, False),
    "new ones": (queued(Sort.NEWEST, status=(AlertStatus.NEW,)), BY_NUMBER, False),
    "gravest": (queued(Sort.SEVERITY), "ix_alerts_gravest", False),
    "gravest further": (queued(Sort.SEVERITY, (2, 7_000)), "ix_alerts_gravest", False),
    "gravest of some": (
        queued(Sort.SEVERITY, severity=(Severity.HIGH,), status=(AlertStatus.NEW,)),
        "ix_alerts_gravest",
        False,
    ),
    "last seen": (queued(Sort.LAST_SEEN), "ix_alerts_last_seen", False),
    "last seen further": (queued(Sort.LAST_SEEN, (AT, 7_000)), "ix_alerts_last_seen", False),
    "never seen": (queued(Sort.LAST_SEEN, (None, 9_500)), "ix_alerts_last_seen", False),
    "largest": (queued(Sort.COUNT), "ix_alerts_largest", False),
    "machine": (queued(Sort.NEWEST, machine="m-3"), "ix_alerts_machine", True),
    "definition": (queued(Sort.SEVERITY, definition=25), "ix_alerts_tenant_id_snapshot_id", True),
    "assigned": (queued(Sort.NEWEST, assigned="Bo"), "ix_alerts_tenant_id_assigned_to", True),
    "opened": (
        queued(Sort.NEWEST, opened_from=NOW - timedelta(hours=3), opened_to=NOW - timedelta(hours=2)),
        "ix_alerts_tenant_id_created_at",
        False,
    ),
}
"""What is asked, the index that some step of it must go by, and whether the few that are found are sorted."""


@pytest.mark.parametrize("name", PAGES)
def test_every_page_goes_by_an_index(tenant: TenantStore, name: str) -> None:
    call, index, sorts = PAGES[name]
    found = plans(tenant, lambda: call(tenant))
    steps = "\n".join(plan for _, plan in found)
    assert re.search(rf"(using|Scan on) {index}", steps), steps
    for text, plan in found:
        assert not re.search(r"Seq Scan on (indicators|alerts)", plan), f"{text}\n{plan}"
        assert sorts or "Sort" not in plan, f"{text}\n{plan}"


def test_a_page_takes_no_more_than_is_told(tenant: TenantStore) -> None:
    """The same pages, counted: nobody may have lost the rows on the way to the index."""
    assert len(tenant.catalogue.indicators(Chosen(value="host-150")).found) > 10
    first = tenant.queue.page(AlertFilter(), Sort.LAST_SEEN, None, ALERTS)
    assert len(first.found) == ALERTS
    unseen = [one.last_seen is None for one in first.found]
    assert unseen == sorted(unseen)
    assert sum(unseen) == ALERTS / 50


# The functions of the query language

SAMPLES: dict[Type, list[Any]] = {
    Type.STRING: ["", "a", "\U0001f600", "aÉß İΑΣ", " a\u00a0", "abcdef"],
    Type.INT64: [0, 1, -1, 2, 3, 7, -7, 2**53 + 1, 2**63 - 1, -(2**63), 2**62, 10**18 + 7],
    Type.DOUBLE: [0.0, -0.5, 0.5, 2.5, -2.5, 0.1, 0.3, 1e300, 1e-300, 5e-324, -5e-324, 2.0**60],
    Type.TIME: [0, 1, -1, functions.FIRST_TIME, functions.LAST_TIME, 2**63 - 1, -(2**63), -123_456_789],
    Type.DATE: [0, functions.FIRST_DAY, functions.LAST_DAY, 19_000, -1],
    Type.TIME_OF_DAY: [0, functions.DAY - 1, 45_015_250_000],
    Type.DURATION: [0, 1, -1, functions.DAY, 1 - functions.DAY, 2**63 - 1, -(2**63), 2**53 + 1],
}
SAMPLES[Type.DOUBLE] += [sys.float_info.max, 0.49999999999999994, 4503599627370497.5, 2.0**53 + 2]
SAMPLES[Type.DOUBLE] += [
    CHANCE.choice((-1, 1)) * math.ldexp(CHANCE.random(), n) for n in range(-1070, 1024, 60)
]
for _kind in (Type.INT64, Type.DURATION):
    SAMPLES[_kind] += [CHANCE.randrange(-(2**63), 2**63) >> CHANCE.randrange(64) for _ in range(20)]
TYPES = {Type.STRING: "text", Type.DOUBLE: "double precision"}


@pytest.fixture(scope="module")
def server(tenant: TenantStore) -> Iterator[psycopg.Connection[Any]]:
    """The database, asked past the store."""
    with psycopg.connect(tenant._database.name, autocommit=True) as raw:
        yield raw


def results(server: psycopg.Connection[Any], key: str, kinds: list[Type], given: list[Any]) -> list[Any]:
    """What a function of the database gives for each tuple of arguments."""
    names = [f"x{place}" for place in range(len(kinds))]
    listed = ", ".join(f"%s::{TYPES.get(kind, 'bigint')}[]" for kind in kinds)
    text = (
        f"SELECT {key}({', '.join(names)}) FROM unnest({listed}) "
        f"WITH ORDINALITY AS t({', '.join(names)}, place) ORDER BY place"
    )
    columns = [list(column) for column in zip(*given, strict=True)]
    return [row[0] for row in server.execute(text.encode(), columns).fetchall()]


EVERY = tuple(one for one in (*functions.OPERATORS, *functions.FUNCTIONS) if one.name not in NATIVE)


@pytest.mark.parametrize("function", EVERY, ids=lambda one: str(one.key))
def test_a_function_gives_what_it_means(
    server: psycopg.Connection[Any], function: functions.Function
) -> None:
    kinds = list(function.arguments)
    given = list(itertools.product(*(SAMPLES[kind] for kind in kinds)))
    call = functions.null_safe(function)
    found = results(server, function.key, kinds, given)
    wrong = [
        (arguments, one, call(*arguments))
        for arguments, one in zip(given, found, strict=True)
        if one != call(*arguments) or isinstance(one, float) is not isinstance(call(*arguments), float)
    ]
    assert not wrong, wrong[:5]
    assert results(server, function.key, kinds, [(None,) * len(kinds)]) == [None]


def test_letters_are_those_of_unicode(server: psycopg.Connection[Any]) -> None:
    every = [chr(code) for code in range(1, sys.maxunicode + 1) if not 0xD800 <= code < 0xE000]
    letters = [one for one in every if one < "\U00020000"]  # beyond, nothing has a letter case, or is white
    assert not [one for one in every[len(letters) :] if one.isspace() or one.lower() != one.upper()]
    texts = ["".join(letters[start : start + 500]) for start in range(0, len(letters), 500)]
    for name, given in (("tolower", texts), ("toupper", texts), ("trim", letters)):
        (function,) = functions.BY_NAME[name]
        found = results(server, function.key, [Type.STRING], [(one,) for one in given])
        assert [one for one, got in zip(given, found, strict=True) if got != function.apply(one)] == []


def test_an_integer_is_compared_with_a_double_exactly(server: psycopg.Connection[Any]) -> None:
    whole = SAMPLES[Type.INT64]
    doubles = [*SAMPLES[Type.DOUBLE], *map(float, whole), 2.0**63, -(2.0**63), -(2.0**63) - 2048]
    given = list(itertools.product(whole, doubles))
    found = results(server, "odata_compared_int64_double", [Type.INT64, Type.DOUBLE], given)
    assert found == [(a > b) - (a < b) for a, b in given]


def test_the_migration_makes_them_all_and_takes_them_away(server: psycopg.Connection[Any]) -> None:
    module = importlib.import_module("indicia.store.migrations.versions.0016_functions")
    asked = "SELECT proname FROM pg_proc WHERE proname LIKE 'odata%%' ORDER BY 1"
    made = {row[0] for row in server.execute(asked)}
    assert made == {one.key for one in EVERY} | {"odata_compared_int64_double"}
    assert len(list(module.statements())) == len(made)
