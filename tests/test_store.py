"""The store: migrations, what it keeps and counts, quotas, pages, deletion, detections that come again."""

from __future__ import annotations

import importlib
import io
import pkgutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.operations import Operations
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Connection, Table, inspect
from sqlalchemy.dialects import postgresql
from sqlalchemy.schema import CreateIndex, CreateTable

from indicia.errors import InvalidValue, NotFound, QuotaExceeded
from indicia.model import Alert, AlertStatus, Detection, Indicator, IndicatorType, Quotas, Severity
from indicia.store import Counts, Store, TenantStore, migrate, tables
from indicia.store.engine import Database, connect
from indicia.store.migrations import versions
from stored import CONTAINS, START, add, definition, detection, everything, indicator, opened, sound, url


@pytest.fixture
def path(tmp_path: Path, database: str) -> Path:
    """Where the store of a test lies."""
    return tmp_path / "indicia.db"


@pytest.fixture
def tenant(path: Path) -> Iterator[TenantStore]:
    """A tenant of a new store, which is sound after the test."""
    with opened(path) as found:
        yield found
    sound(path)


# Migrations


def shape(connection: Connection) -> dict[str, Any]:
    """Everything that the tables promise."""
    seen = inspect(connection)
    found: dict[str, Any] = {}
    for name in seen.get_table_names():
        if name == "alembic_version":
            continue
        found[name] = {
            "columns": [(c["name"], str(c["type"]), c["nullable"]) for c in seen.get_columns(name)],
            "key": seen.get_pk_constraint(name)["constrained_columns"],
            "references": sorted(map(repr, seen.get_foreign_keys(name))),
            "unique": sorted(map(repr, seen.get_unique_constraints(name))),
            "indexes": sorted(_index(found) for found in seen.get_indexes(name)),
            "numbered": _numbered(connection, name),
            "texts": _texts(connection, name),  # a column that differs is a second one here
        }
    return found


def _numbered(connection: Connection, table: str) -> bool:
    """Whether the database counts the rows, and gives no number twice."""
    if connection.dialect.name == "postgresql":
        sequences = "SELECT 1 FROM pg_sequences WHERE sequencename = %s"
        return connection.exec_driver_sql(sequences, (f"{table}_id_seq",)).first() is not None
    found = connection.exec_driver_sql("SELECT sql FROM sqlite_master WHERE name = ?", (table,)).scalar()
    return "AUTOINCREMENT" in str(found)


def _texts(connection: Connection, table: str) -> list[str | None]:
    """How texts are compared, where that is not the same everywhere."""
    if connection.dialect.name != "postgresql":
        return []
    asked = (
        "SELECT DISTINCT collation_name FROM information_schema.columns "
        "WHERE table_name = %s AND data_type IN ('text', 'character varying')"
    )
    return list(connection.exec_driver_sql(asked, (table,)).scalars())


def _index(found: Any) -> str:
    """An index, and of which rows, as a text."""
    rows_of = {name: str(option) for name, option in found.get("dialect_options", {}).items()}
    return repr({**found, "dialect_options": rows_of})


def _is_of(dialect: str) -> Callable[..., bool]:
    """Whether something of the tables is meant for that database; Alembic does not ask."""

    def asked(item: Any, _name: str, kind: str, reflected: bool, _other: Any) -> bool:
        only = None if reflected or kind != "index" else item._ddl_if
        return only is None or only.dialect == dialect

    return asked


def alembic(database: Database, step: Callable[[Config], None]) -> None:
    """A command of Alembic, as `migrate` runs it."""
    config = Config()
    config.set_main_option("script_location", "indicia:store/migrations")
    with database.schema_change() as connection:
        config.attributes["connection"] = connection
        step(config)


@pytest.mark.filterwarnings("ignore:.*expression-based index.*ix_indicators_head")
def test_migrations_go_up_down_and_up_to_the_tables(path: Path) -> None:
    Store.open(url(path)).close()
    database = connect(url(path), create=False)
    other = connect(url(path.with_name("wanted.db"), empty=True), create=True)
    with other.schema_change() as connection:
        tables.METADATA.create_all(connection)
        expected = shape(connection)
    other.close()

    def check() -> None:
        with database.reading() as connection:
            opts = {"compare_type": True, "include_object": _is_of(connection.dialect.name)}
            context = MigrationContext.configure(connection, opts=opts)
            assert compare_metadata(context, tables.METADATA) == []
            assert shape(connection) == expected

    check()
    alembic(database, lambda config: command.downgrade(config, "base"))
    with database.reading() as connection:
        assert shape(connection) == {}
    alembic(database, lambda config: command.upgrade(config, "head"))
    check()
    database.close()


def revisions() -> list[Any]:
    """Every migration's module, oldest first."""
    names = sorted(module.name for module in pkgutil.iter_modules(versions.__path__))
    return [importlib.import_module(f"{versions.__name__}.{name}") for name in names]


def test_the_list_of_versions_is_that_of_the_migrations() -> None:
    found = revisions()
    assert tuple(module.revision for module in found) == migrate.VERSIONS
    assert [module.down_revision for module in found] == [None, *migrate.VERSIONS[:-1]]


@pytest.mark.parametrize("table", tables.METADATA.sorted_tables, ids=lambda table: str(table.name))
def test_postgresql_takes_the_tables(table: Table) -> None:
    dialect = postgresql.dialect()  # type: ignore[no-untyped-call]
    text = str(CreateTable(table).compile(dialect=dialect))
    assert "BIGSERIAL" in text or table in (tables.counters, tables.compatible)
    for index in table.indexes:
        assert " INDEX " in str(CreateIndex(index).compile(dialect=dialect))
    names = [index.name for index in table.indexes] + [rule.name for rule in table.constraints]
    assert all(len(str(name)) <= 63 for name in names), "PostgreSQL cuts longer names"


def test_postgresql_takes_the_migrations() -> None:
    text = io.StringIO()
    context = MigrationContext.configure(
        dialect_name="postgresql", opts={"as_sql": True, "output_buffer": text}
    )
    with Operations.context(context):
        for module in revisions():
            module.upgrade()
    assert text.getvalue().count("CREATE TABLE") == len(tables.METADATA.tables)
    assert "AUTOINCREMENT" not in text.getvalue()


def test_a_migration_that_fails_leaves_nothing(path: Path) -> None:
    database = connect(url(path, empty=True), create=True)

    def fail(config: Config) -> None:
        command.upgrade(config, "head")
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        alembic(database, fail)
    database.close()
    assert everything(path) == {}
    Store.open(url(path)).close()


# What is kept


def test_a_definition_reads_back_as_it_was_given(tenant: TenantStore) -> None:
    wanted = definition(
        internal_description="for us",
        ux_description="für alle ✓",
        recommended_action="isolate it",
        enabled=False,
        window_seconds=3600,
    )
    (made,) = tenant.add_definitions([wanted], by="someone")
    assert made.created_by == "someone"
    assert made.last_modified_at is None
    assert len(made.uid) == 36
    server_set = {"id": made.id, "uid": made.uid, "created_at": made.created_at, "created_by": "someone"}
    assert made == replace(wanted, **server_set)  # type: ignore[arg-type]
    assert tenant.definition(made.id) == made
    assert tenant.definitions() == [made]


def test_an_indicator_reads_back_as_it_was_given(tenant: TenantStore) -> None:
    owner = add(tenant)
    wanted = indicator(
        owner,
        type=IndicatorType.FILE_NAME,
        value="Ünïcode\0\t.EXE",
        canonical="ünïcode\0\t.exe",
        enabled=False,
        valid_from=START,
        expires_at=START + timedelta(microseconds=1),
        source="a report",
    )
    (made,) = tenant.add_indicators([wanted], by="someone")
    assert made == replace(wanted, id=made.id, created_at=made.created_at, created_by="someone")
    assert tenant.indicator(made.id) == made
    assert list(tenant.matchable()) == []


def test_ids_are_never_used_twice(tenant: TenantStore) -> None:
    first = add(tenant, 3)
    last = tenant.indicators()[-1].id
    tenant.delete_definitions()
    second = add(tenant, 1)
    assert second.id > first.id
    assert tenant.indicators()[0].id > last


def test_a_change_is_stamped_and_moves_the_counters(tenant: TenantStore) -> None:
    owner = add(tenant, 1)
    changed = tenant.change_definition(owner.id, {"severity": Severity.LOW, "enabled": False}, by="other")
    assert (changed.severity, changed.enabled, changed.last_modified_by) == (Severity.LOW, False, "other")
    assert changed.uid == owner.uid
    (before,) = tenant.indicators()

    def pattern(now: Indicator) -> dict[str, object]:
        assert now == before
        return {"function": CONTAINS, "value": "lantern", "canonical": "lantern", "expires_at": None}

    after = tenant.change_indicator(before.id, pattern, by="other")
    assert (after.canonical, after.function, after.last_modified_by) == ("lantern", CONTAINS, "other")
    assert tenant.counts() == Counts(1, 1, 1)


@pytest.mark.parametrize("name", ["id", "uid", "created_at", "created_by", "last_modified_by", "tenant_id"])
def test_what_the_store_sets_cannot_be_changed(tenant: TenantStore, name: str) -> None:
    owner = add(tenant, 1)
    with pytest.raises(InvalidValue, match=f"{name} cannot be changed"):
        tenant.change_definition(owner.id, {name: 7}, by="x")
    with pytest.raises(InvalidValue, match=f"{name} cannot be changed"):
        tenant.change_indicator(tenant.indicators()[0].id, {name: 7}, by="x")
    assert tenant.definition(owner.id) == owner


def test_a_change_that_refuses_leaves_all_as_it_was(tenant: TenantStore, path: Path) -> None:
    owner = add(tenant, 1)
    before = everything(path)

    def refuse(_now: Any) -> dict[str, object]:
        raise InvalidValue("no")

    with pytest.raises(InvalidValue):
        tenant.change_definition(owner.id, refuse, by="x")
    with pytest.raises(InvalidValue):
        tenant.change_indicator(tenant.indicators()[0].id, refuse, by="x")
    with pytest.raises(NotFound):
        tenant.change_indicator(tenant.indicators()[0].id, {"enabled": False, "definition_id": 99}, by="x")
    assert everything(path) == before


# All or none, quotas, pages, deletion


def test_a_bulk_upload_is_all_or_none(tenant: TenantStore, path: Path) -> None:
    owner = add(tenant, 2)
    before = everything(path)
    stranger = definition(id=owner.id + 1)
    new = [indicator(owner, 10), indicator(owner, 11), indicator(stranger, 12), indicator(owner, 13)]
    with pytest.raises(NotFound) as told:
        tenant.add_indicators(new, by="x")
    assert told.value.target == "[2]"
    assert everything(path) == before
    made = tenant.add_indicators([indicator(owner, number) for number in range(20, 5020)], by="x")
    assert [one.id for one in made] == list(range(made[0].id, made[0].id + 5000))
    assert tenant.indicators(after=made[0].id - 1, limit=5000) == made
    assert tenant.add_indicators([], by="x") == []


def test_quotas_are_told_with_their_figures(path: Path) -> None:
    with opened(path, Quotas(definitions=2, indicators=5, patterns=1)) as tenant:
        owner = add(tenant, 3)
        before = everything(path)
        for call, figures in (
            (lambda: tenant.add_definitions([definition()] * 2, by="x"), "1 of 2 alert definitions; 2 more"),
            (lambda: tenant.add_indicators([indicator(owner)] * 3, by="x"), "3 of 5 indicators; 3 more"),
            (
                lambda: tenant.add_indicators([indicator(owner, function=CONTAINS)] * 2, by="x"),
                "0 of 1 indicators with StartWith, EndWith or Contains; 2 more",
            ),
        ):
            with pytest.raises(QuotaExceeded, match=figures) as told:
                call()
            assert told.value.status == 507
        assert everything(path) == before
        tenant.add_indicators([indicator(owner, function=CONTAINS)], by="x")
        plain = tenant.indicators()[0]
        full = "1 of 1 indicators with StartWith, EndWith or Contains; 1 more"
        with pytest.raises(QuotaExceeded, match=full):
            tenant.change_indicator(plain.id, {"function": CONTAINS, "canonical": "aaaa"}, by="x")
        tenant.delete_indicator(tenant.indicators()[-1].id)
        tenant.change_indicator(plain.id, {"function": CONTAINS, "canonical": "aaaa"}, by="x")
        assert tenant.counts() == Counts(1, 3, 1)
    sound(path)


def test_quotas_are_each_tenants_own(path: Path) -> None:
    with Store.open(url(path), quotas=Quotas(definitions=1)) as store:
        for name in ("a", "b"):
            add(store.tenant(store.add_tenant(name).uid))
        with pytest.raises(QuotaExceeded):
            add(store.tenant("a"))


def test_pages_follow_ids_and_lose_nothing_while_rows_go(tenant: TenantStore) -> None:
    first, second = add(tenant, 7), add(tenant, 5)
    seen: list[int] = []
    while page := tenant.indicators(after=seen[-1] if seen else 0, limit=5):
        seen += [one.id for one in page]
        tenant.delete_indicator(page[0].id)
        assert len(page) <= 5
    assert seen == sorted(set(seen))
    assert len(seen) == 12
    ours = tenant.indicators(definition_id=second.id)
    assert len(ours) == 5 - 1
    assert {one.definition for one in ours} == {second}
    assert [one.id for one in tenant.definitions(after=first.id)] == [second.id]
    assert tenant.definitions(after=second.id) == []


def test_deleting_a_definition_takes_its_indicators_and_leaves_its_alerts(tenant: TenantStore) -> None:
    owner, other = add(tenant, 3), add(tenant, 2)
    (made,) = tenant.record([detection(tenant.indicators()[0], tenant.uid)]).opened
    for _ in tenant.import_indicators(owner.id, [indicator(owner, 50)], "x", key="k"):
        pass
    tenant.delete_definition(owner.id)
    assert tenant.counts() == Counts(1, 2, 0, 1, 1)
    assert [one.definition.id for one in tenant.indicators()] == [other.id] * 2
    assert tenant.import_state(owner.id, "k") is None
    assert tenant.alert(made.id) == made
    assert tenant.alert(made.number).definition == owner
    assert [found.indicator.definition for _, found in tenant.detections(made.id)] == [owner]
    with pytest.raises(NotFound):
        tenant.delete_definition(owner.id)


def test_deleting_all_leaves_the_others_their_own(path: Path) -> None:
    with Store.open(url(path)) as store:
        for name in ("a", "b"):
            add(store.tenant(store.add_tenant(name).uid), 3)
        assert store.tenant("a").delete_indicators() == 3
        assert store.tenant("a").delete_definitions() == 1
        assert store.tenant("a").counts() == Counts()
        assert store.tenant("b").counts() == Counts(1, 3)
    sound(path)


def test_what_can_match_is_one_snapshot(tenant: TenantStore) -> None:
    owner, off = add(tenant, 3), add(tenant, 2)
    tenant.change_definition(off.id, {"enabled": False}, by="x")
    tenant.change_indicator(tenant.indicators()[0].id, {"enabled": False}, by="x")
    reading = tenant.matchable()
    first = next(reading)
    tenant.add_indicators([indicator(owner, 9)], by="x")
    rest = list(reading)
    assert [one.canonical for one in (first, *rest)] == ["host-1.example", "host-2.example"]
    assert first.definition is rest[0].definition
    assert len(list(tenant.matchable())) == 3


# Detections that come again, in any order


def known(tenant: TenantStore) -> tuple[list[Any], list[Alert]]:
    """What is stored, less numbers and stamps."""
    found = sorted((one.id, one.raises, one.alert_id) for _, one in tenant.detections())
    alerts = [replace(one, number=0, created_at=None, last_modified_at=None) for one in tenant.alerts()]
    return found, sorted(alerts, key=lambda one: one.id)


def test_a_replay_changes_nothing(tenant: TenantStore, path: Path) -> None:
    add(tenant, 2)
    found = [detection(one, tenant.uid, event) for one in tenant.indicators() for event in (0, 1, 30)]
    first = tenant.record(found)
    assert (first.new_detections, first.new_alerts, first.reopened, first.grown) == (6, 2, (), ())
    assert [one.detection_count for one in tenant.alerts()] == [4, 2]
    before = everything(path)
    again = tenant.record(reversed(found))
    assert (again.new_detections, again.opened, again.reopened, again.grown) == (0, (), (), ())
    assert everything(path) == before


def test_a_silent_detection_that_raises_later_opens_its_alert(tenant: TenantStore) -> None:
    add(tenant, 1)
    (owned,) = tenant.indicators()
    silent, loud = (detection(owned, tenant.uid, raises=raises) for raises in (False, True))
    assert tenant.record([silent]).opened == ()
    (alert,) = tenant.record([loud]).opened
    assert alert.detection_count == 1
    assert tenant.record([silent]).new_detections == 0
    assert [found.raises for _, found in tenant.detections()] == [True]
    assert tenant.detections(raises=False) == []


def test_a_resolved_alert_is_reopened_by_what_is_new_alone(tenant: TenantStore) -> None:
    add(tenant, 1)
    (owned,) = tenant.indicators()
    (alert,) = tenant.record([detection(owned, tenant.uid, 0)]).opened
    tenant.change_alert(alert.number, {"status": AlertStatus.RESOLVED}, "tests")
    assert tenant.record([detection(owned, tenant.uid, 0)]).reopened == ()
    assert tenant.alerts(status=AlertStatus.RESOLVED) != []
    (reopened,) = tenant.record([detection(owned, tenant.uid, event) for event in (1, 2)]).reopened
    assert (reopened.status, reopened.reopened_count, reopened.detection_count) == (AlertStatus.NEW, 1, 3)
    assert tenant.alert(alert.id) == reopened
    assert tenant.alerts(definition_uid=owned.definition.uid) == [reopened]
    assert tenant.alerts(definition_uid="another") == []


COPIES = [
    (owned, event, raises, "host-8" if event == 5 else "host-7")
    for owned in range(2)
    for event in (0, 5, 6, 30)
    for raises in (True, False)
]


@pytest.mark.full
@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.permutations(COPIES), st.lists(st.integers(0, len(COPIES)), max_size=5), st.data())
def test_the_order_of_arrival_does_not_matter(
    shuffles: Shuffles, order: list[tuple[int, int, bool, str]], cuts: list[int], data: st.DataObject
) -> None:
    """Whatever the order and the batches, with alerts resolved on the way and all of it seen again."""
    tenant, owned = shuffles.fresh()
    found = [detection(owned[i], tenant.uid, e, raises=r, machine=m) for i, e, r, m in order]
    edges = [0, *sorted(cuts), len(found)]
    for start, end in pairwise(edges):
        tenant.record(found[start:end])
    expected = shuffles.expected(tenant, owned)
    assert known(tenant) == expected
    again = data.draw(st.permutations(found))
    assert tenant.record(again).new_detections == 0
    assert known(tenant) == expected
    resolved = tenant.alerts()[0]
    tenant.change_alert(resolved.id, {"status": AlertStatus.RESOLVED}, "tests")
    tenant.record(again)
    assert tenant.alert(resolved.id).status is AlertStatus.RESOLVED
    late = [detection(owned[0], tenant.uid, event) for event in (1, 2)]
    for one in data.draw(st.permutations(late)):
        tenant.record([one])
    later = tenant.alerts_by_id([late[0].alert_id])[late[0].alert_id]
    assert later.reopened_count == (1 if resolved.id == later.id else 0)


class Shuffles:
    """One store with a tenant for each example; the same detections in one order say what is expected."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def fresh(self) -> tuple[TenantStore, list[Indicator]]:
        """A tenant with two indicators of one definition."""
        tenant = self._store.tenant(self._store.add_tenant(f"t{len(self._store.tenants())}").uid)
        add(tenant, 2)
        return tenant, tenant.indicators()

    def expected(self, tenant: TenantStore, owned: list[Indicator]) -> tuple[list[Any], list[Alert]]:
        """What another tenant has that got the same in one batch in one order."""
        other, _ = self.fresh()
        found: list[Detection] = [
            detection(owned[i], tenant.uid, e, raises=r, machine=m) for i, e, r, m in COPIES
        ]
        other.record(found)
        kept, alerts = known(other)
        return kept, [replace(alert, tenant=tenant.uid) for alert in alerts]


@pytest.fixture(scope="module")
def shuffles(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shuffles]:
    """One store for all examples."""
    path = tmp_path_factory.mktemp("shuffles") / "indicia.db"
    with Store.open(url(path)) as store:
        yield Shuffles(store)
    sound(path)
