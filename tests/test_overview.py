"""What the dashboard is made of: what the store counts, and the sources that it hears of."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from alembic import command
from alembic.config import Config
from sqlalchemy import event

from indicia.model import (
    AlertStatus,
    DetectionFunction,
    IndicatorType,
    Quotas,
    Severity,
    Suppression,
)
from indicia.store import Arrived, Held, Store, TenantStore, sources, tables
from indicia.store.scope import Scope
from stored import add, definition, detection, engine_of, indicator, opened, url

LONG_AGO = datetime(2000, 1, 1, tzinfo=UTC)
NEW, WORKED_ON = AlertStatus.NEW, AlertStatus.IN_PROGRESS
HIGH, LOW = Severity.HIGH, Severity.LOW


def rise(tenant: TenantStore, *, severity: Severity = HIGH, machines: int = 1, values: int = 1) -> None:
    """Alerts of a new definition: one for each machine, of so many values."""
    owner = add(tenant, values, severity=severity, name=f"{severity} {machines}")
    found = tenant.indicators(definition_id=owner.id)
    tenant.record(
        [
            detection(one, tenant.uid, 1000 * at + number, machine=f"pc-{at}")
            for at in range(machines)
            for number, one in enumerate(found)
        ]
    )


def counted(tenant: TenantStore, hours: int = 1) -> dict[Severity, tuple[int, int, int]]:
    """What was recorded, in all spans together."""
    found: dict[Severity, tuple[int, int, int]] = {}
    for one in tenant.overview.recorded(LONG_AGO, hours):
        before = found.get(one.severity, (0, 0, 0))
        found[one.severity] = (
            before[0] + one.alerts,
            before[1] + one.detections,
            before[2] + one.silent,
        )
    return found


def test_what_is_recorded_is_counted_once_by_severity(tmp_path: Path, database: str) -> None:
    with opened(tmp_path / "i.db") as tenant:
        rise(tenant, machines=3, values=2)
        rise(tenant, severity=LOW)
        assert counted(tenant) == counted(tenant, 24) == {HIGH: (3, 6, 0), LOW: (1, 1, 0)}
        owned = tenant.indicators()[0]
        again = [detection(owned, tenant.uid, 0, machine="pc-0")]
        tenant.record(again)
        assert counted(tenant)[HIGH] == (3, 6, 0)
        quiet = detection(owned, tenant.uid, 77, raises=False)
        tenant.record([quiet])
        assert counted(tenant)[HIGH] == (3, 6, 1)
        tenant.record([detection(owned, tenant.uid, 77)])
        # Another copy of its event says more: now it raises, and opens an alert; that it was silent stays.
        assert counted(tenant)[HIGH] == (4, 7, 1)


def test_spans_begin_at_full_hours_and_days(tmp_path: Path, database: str) -> None:
    with opened(tmp_path / "i.db") as tenant:
        rise(tenant)
        (hour,) = tenant.overview.recorded(LONG_AGO)
        (day,) = tenant.overview.recorded(LONG_AGO, 24)
        now = datetime.now(UTC)
        assert now - timedelta(hours=1, minutes=1) < hour.begin <= now
        assert (hour.begin.minute, day.begin.hour, day.begin.minute) == (0, 0, 0)
        assert tenant.overview.recorded(now + timedelta(hours=1)) == []


def test_what_was_there_before_the_tallies_is_counted_by_the_migration(tmp_path: Path, database: str) -> None:
    path = tmp_path / "i.db"
    with opened(path) as tenant:
        rise(tenant, machines=3, values=2)
        rise(tenant, severity=LOW)
        owned = tenant.indicators()[0]
        tenant.record([detection(owned, tenant.uid, 77, raises=False)])
        before = tenant.overview.recorded(LONG_AGO)
        with tenant._database.schema_change() as connection:
            config = Config()
            config.set_main_option("script_location", "indicia:store/migrations")
            config.attributes["connection"] = connection
            command.downgrade(config, "-1")
    with opened(path) as tenant:
        assert tenant.overview.recorded(LONG_AGO) == before


def test_open_alerts_by_status_and_severity(tmp_path: Path, database: str) -> None:
    with opened(tmp_path / "i.db") as tenant:
        rise(tenant, machines=4)
        rise(tenant, severity=LOW, machines=2)
        first, second, *_ = tenant.alerts()
        tenant.change_alert(first.id, {"status": AlertStatus.RESOLVED}, "x")
        tenant.change_alert(second.id, {"status": WORKED_ON}, "x")
        assert tenant.overview.open() == {(NEW, HIGH): 2, (WORKED_ON, HIGH): 1, (NEW, LOW): 2}


def test_what_alerts_are_most_often_about(tmp_path: Path, database: str) -> None:
    with opened(tmp_path / "i.db") as tenant:
        rise(tenant, machines=3, values=2)
        rise(tenant, severity=LOW, machines=1)
        owner = tenant.definitions()[0]
        tenant.change_definition(owner.id, {"name": "Renamed"}, "x")
        owned = tenant.indicators()[0]
        tenant.record([detection(owned, tenant.uid, 9000, machine="pc-0")])
        top = tenant.overview.top(LONG_AGO, 2)
        # Alerts of a definition count together, however it was called, under its last name.
        assert [(one.name, count) for one, count in top.definitions] == [("Renamed", 4), ("Low 1", 1)]
        assert top.machines == [("pc-0", 3), ("pc-1", 1)]
        assert top.values == [("host-0.example", 5), ("host-1.example", 3)]
        nothing = tenant.overview.top(datetime.now(UTC) + timedelta(days=1), 2)
        assert (nothing.definitions, nothing.machines, nothing.values) == ([], [], [])


def test_indicators_by_type_and_function(tmp_path: Path, database: str) -> None:
    now = datetime.now(UTC)
    name, equals = IndicatorType.DOMAIN_NAME, DetectionFunction.EQUALS
    with opened(tmp_path / "i.db") as tenant:
        (owner,) = tenant.add_definitions([definition()], "x")
        times = (None, now - timedelta(days=1), now + timedelta(days=1), now + timedelta(days=8))
        ours = [indicator(owner, at, expires_at=time) for at, time in enumerate(times)]
        ours.append(indicator(owner, 8, enabled=False, expires_at=now))
        ours.append(indicator(owner, 9, function=DetectionFunction.CONTAINS))
        ours.append(indicator(owner, 10, type=IndicatorType.URL, canonical="http://x.example/"))
        tenant.add_indicators(ours, "x")
        assert tenant.overview.held(now) == [
            Held(name, DetectionFunction.CONTAINS, 1, 0, 0, 0),
            Held(name, equals, 4, 1, 1, 1),
            Held(IndicatorType.URL, equals, 1, 0, 0, 0),
        ]
        tenant.delete_indicators()
        assert tenant.overview.held(now) == []


def test_storms_and_suppressions_in_force(tmp_path: Path, database: str) -> None:
    now = datetime.now(UTC)
    with opened(tmp_path / "i.db", Quotas(alerts_per_hour=2)) as tenant:
        rise(tenant, machines=5)
        (storm,) = tenant.overview.storms(now, 5)
        assert (storm.storm, storm.definition.name) == (True, "High 5")
        assert tenant.overview.storms(now + timedelta(days=2), 5) == []
        tenant.change_alert(storm.id, {"status": AlertStatus.RESOLVED}, "x")
        assert tenant.overview.storms(now, 5) == []
        tenant.add_suppression(Suppression("", now + timedelta(hours=1), machine="x"), "x")
        assert tenant.overview.suppressions(now) == 1
        assert tenant.overview.suppressions(now + timedelta(hours=2)) == 0


def test_the_mark_moves_with_what_is_counted(tmp_path: Path, database: str) -> None:
    with opened(tmp_path / "i.db") as tenant:
        seen = [tenant.overview.state()]
        owner = add(tenant, 1)
        seen.append(tenant.overview.state())
        tenant.record([detection(tenant.indicators()[0], tenant.uid)])
        seen.append(tenant.overview.state())
        tenant.change_definition(owner.id, {"enabled": False}, "x")
        seen.append(tenant.overview.state())
        assert len(set(seen)) == 4


def arrived(name: str, at: datetime, event_at: datetime | None = None, events: int = 5) -> Arrived:
    return Arrived(name, events, 1, 2, at, event_at)


def test_what_came_of_a_source_is_added_up(tmp_path: Path, database: str) -> None:
    now = datetime(2026, 3, 1, 12, tzinfo=UTC)
    later = now + timedelta(minutes=1)
    with opened(tmp_path / "i.db") as tenant:
        tenant.overview.note_sources([arrived("dns", now, now - timedelta(minutes=10)), arrived("web", now)])
        tenant.overview.note_sources([arrived("dns", later, None, 7)])
        dns, web = tenant.overview.sources()
        assert dns == Arrived("dns", 12, 2, 4, later, None, now)
        assert (dns.lag, web.lag) == (None, None)
        tenant.overview.note_sources(
            [arrived("web", later, now), arrived("dns", later, later + timedelta(1))]
        )
        lags = {one.name: one.lag for one in tenant.overview.sources()}
        assert lags == {"web": timedelta(minutes=1), "dns": timedelta(0)}


@pytest.mark.parametrize("name", ["a\0b", "\ud800", "n" * 5000, "", "\x1b[31m\u202ered"])
def test_a_source_may_have_any_name(tmp_path: Path, name: str, database: str) -> None:
    with opened(tmp_path / "i.db") as tenant:
        tenant.overview.note_sources([arrived(name, datetime.now(UTC))] * 2)
        (found,) = tenant.overview.sources()
        assert found.events == 10
        assert 1 <= len(found.name) <= sources.NAME_LIMIT


def test_of_too_many_sources_those_that_are_silent_longest_go(tmp_path: Path, database: str) -> None:
    start = datetime(2026, 3, 1, tzinfo=UTC)
    with Store.open(url(tmp_path / "i.db")) as store:
        one, two = (store.tenant(store.add_tenant(name).uid) for name in ("one", "two"))
        one.overview.note_sources([arrived("theirs", start)])
        for part in range(3):
            times = (
                (number, start + timedelta(seconds=number)) for number in range(part * 100, part * 100 + 100)
            )
            two.overview.note_sources([arrived(f"s{number}", time) for number, time in times])
        names = [found.name for found in two.overview.sources()]
        assert names == [f"s{number}" for number in range(299, 99, -1)]
        assert [found.name for found in one.overview.sources()] == ["theirs"]


def plans(tenant: TenantStore, work: str) -> str:
    """How SQLite goes about what one of the figures asks."""
    seen: list[tuple[str, tuple[object, ...]]] = []
    engine = engine_of(tenant)

    def note(_c: object, _cursor: object, text: str, given: tuple[object, ...], *_more: object) -> None:
        seen.append((text, given))

    event.listen(engine, "before_cursor_execute", note)
    try:
        now = datetime.now(UTC)
        {
            "open": tenant.overview.open,
            "recorded": lambda: tenant.overview.recorded(now),
            "storms": lambda: tenant.overview.storms(now, 5),
            "suppressions": lambda: tenant.overview.suppressions(now),
            "sources": tenant.overview.sources,
        }[work]()
    finally:
        event.remove(engine, "before_cursor_execute", note)
    with tenant._database.reading() as connection:
        rows = [
            row
            for text, given in seen
            for row in connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {text}", given)
        ]
    return " ".join(str(row[3]) for row in rows)


@pytest.mark.parametrize("work", ["open", "recorded", "storms", "suppressions", "sources"])
def test_what_each_page_asks_reads_no_whole_table(tmp_path: Path, work: str) -> None:
    with opened(tmp_path / "i.db") as tenant:
        rise(tenant)
        plan = plans(tenant, work)
        assert "SEARCH" in plan
        assert "SCAN alerts" not in plan
        assert work != "open" or "USING COVERING INDEX ix_alerts_tenant_id_status_snapshot_id" in plan
        assert work != "storms" or "ix_alerts_storm" in plan


def test_old_hours_are_forgotten(tmp_path: Path, database: str) -> None:
    with opened(tmp_path / "i.db") as tenant:
        with tenant._writing() as scope:
            assert isinstance(scope, Scope)
            scope.insert(tables.tallies, hour=1, severity="Low", alerts=1, detections=1, silent=1)
        rise(tenant)
        assert counted(tenant) == {HIGH: (1, 1, 0)}
