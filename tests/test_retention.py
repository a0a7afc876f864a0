"""Retention: what is too old or too much goes, whole and told; what stays counts as before."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from indicia.errors import InvalidValue
from indicia.model import AuditAction, Quotas, SuppressAlert
from indicia.settings import Settings
from indicia.store import Limit, Receipt, Store, TenantStore, What
from indicia.store import retention as keeping
from indicia.web import serve
from stored import add, detection, everything, indicator, opened, path_of, raw, sound, url

pytestmark = pytest.mark.full

AHEAD = datetime(2100, 1, 1, tzinfo=UTC)
DAY = 86_400 * 1_000_000
NONE = dict.fromkeys(What, 0)


@pytest.fixture
def path(tmp_path: Path, database: str) -> Path:
    """Where the store of a test lies."""
    return tmp_path / "indicia.db"


@pytest.fixture
def tenant(path: Path) -> Iterator[TenantStore]:
    """A tenant with a definition of three indicators; the store is sound after the test."""
    with opened(path) as found:
        add(found, 3)
        yield found
    sound(path)


def age(path: Path, table: str, column: str, days: float, where: str = "1 = 1") -> None:
    """Rows that came so many days ago."""
    then = int(datetime.now(UTC).timestamp() * 1_000_000 - days * DAY)
    with raw(path) as execute:
        execute(f"UPDATE {table} SET {column} = ? WHERE {where}", then)


def run(tenant: TenantStore) -> dict[What, int]:
    """One pass, and what it deleted, which is what was due."""
    due = tenant.retention.due()
    counts = NONE
    for so_far in tenant.retention.run():
        counts = dict(so_far)
    assert counts == due
    assert tenant.retention.due() == NONE
    return counts


def see(tenant: TenantStore, event: int, value: int = 0, *, machine: str = "host-7") -> str:
    """Record an event; the id of its alert."""
    found = detection(tenant.indicators()[value], tenant.uid, event, machine=machine)
    tenant.record([found])
    return found.alert_id


def canaries(path: Path, text: str, *but: str) -> list[str]:
    """The tables in which a text stands, but some."""
    return [
        name
        for name, found in everything(path).items()
        if name not in but and any(text in str(cell) for row in found for cell in row)
    ]


def test_what_is_young_stays(tenant: TenantStore) -> None:
    see(tenant, 0)
    before = everything(path_of(tenant))
    assert run(tenant) == NONE
    assert everything(path_of(tenant)) == before


def test_an_alert_goes_whole_and_nothing_of_it_is_left(path: Path, tenant: TenantStore) -> None:
    tenant.change_definition(1, {"title": "canary title"}, "x")
    gone = see(tenant, 0, machine="canary-host")
    tenant.add_comment(gone, "canary comment", "canary ann")
    tenant.suppress_alert(gone, SuppressAlert(AHEAD, by_machine=False), "x")
    tenant.change_definition(1, {"title": "another title"}, "x")
    stays = see(tenant, 40, 1, machine="host-1")
    for table, columns in (("detections", ("recorded_at",)), ("alerts", ("last_modified_at", "last_seen"))):
        for column in columns:
            age(path, table, column, 401, "machine = 'canary-host'")
    counts = run(tenant)
    assert counts == NONE | {What.DETECTIONS: 1, What.ALERTS: 1}
    # The audit log keeps what people did for as long as its own limit says.
    assert canaries(path, "canary", "audit") == []
    assert canaries(path, gone) == []
    assert [alert.id for alert in tenant.alerts()] == [stays]
    assert len(tenant.detections()) == 1
    assert [found.alert_id for found in tenant.suppressions()] == [None]
    entries = [(one.action, one.set_name, one.count, one.before) for one in tenant.audit_log()][-2:]
    assert [(action, of, count) for action, of, count, _ in entries] == [
        (AuditAction.DELETE_MANY, "Detections", 1),
        (AuditAction.DELETE_MANY, "Alerts", 1),
    ]
    assert json.loads(entries[0][3] or "") == {"Days": 400, "Most": None}


def test_an_alert_stays_while_a_detection_is_left(path: Path, tenant: TenantStore) -> None:
    alert = see(tenant, 0)
    see(tenant, 1)
    age(path, "detections", "recorded_at", 401, "id = 1")
    age(path, "alerts", "last_modified_at", 401)
    assert run(tenant) == NONE | {What.DETECTIONS: 1}
    # It goes on counting, and what is within the retention counts once.
    assert tenant.alert(alert).detection_count == 2
    see(tenant, 1)
    assert tenant.alert(alert).detection_count == 2
    see(tenant, 2)
    assert tenant.alert(alert).detection_count == 3


def test_an_old_alert_that_somebody_works_on_stays(path: Path, tenant: TenantStore) -> None:
    alert = see(tenant, 0)
    age(path, "detections", "recorded_at", 401)
    assert run(tenant)[What.ALERTS] == 0
    assert tenant.alert(alert).detection_count == 1
    age(path, "alerts", "last_modified_at", 401)
    assert run(tenant)[What.ALERTS] == 1


def test_a_storm_stays_while_what_it_counts_does(path: Path) -> None:
    with opened(path, Quotas(alerts_per_hour=1)) as tenant:
        add(tenant, 1)
        for number in range(4):
            see(tenant, number, machine=f"host-{number}")
        assert sorted(alert.storm for alert in tenant.alerts()) == [False, True]
        for column in ("last_modified_at", "last_seen"):
            age(path, "alerts", column, 401)
        age(path, "detections", "recorded_at", 401, "id <> 4")
        assert run(tenant) == NONE | {What.DETECTIONS: 3, What.ALERTS: 1}
        assert [alert.storm for alert in tenant.alerts()] == [True]
        age(path, "detections", "recorded_at", 401)
        assert run(tenant) == NONE | {What.DETECTIONS: 1, What.ALERTS: 1}
        assert everything(path)["snapshots"] == []
    sound(path)


def test_the_audit_log_and_answers_age(path: Path, tenant: TenantStore) -> None:
    tenant.keep_receipt("k", Receipt("digest", "canary"))
    age(path, "audit", "at", 731, "id = 1")
    age(path, "receipts", "created_at", 1.1)
    assert run(tenant) == NONE | {What.AUDIT: 1, What.RECEIPTS: 1}
    last = tenant.audit_log()[-1]
    assert (last.set_name, last.count) == ("AuditLog", 1)
    assert canaries(path, "canary") == []


def test_by_number_the_oldest_go(path: Path, tenant: TenantStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keeping, "MOST_LEAST", 1)
    alerts = [see(tenant, number, machine=f"host-{number}") for number in range(6)]
    see(tenant, 6, machine="host-0")
    tenant.retention.change(What.DETECTIONS, Limit(400, 5), "ann")
    assert run(tenant) == NONE | {What.DETECTIONS: 2}
    tenant.retention.change(What.ALERTS, Limit(None, 4), "ann")
    due = tenant.retention.due()
    assert due[What.ALERTS] == 2
    *_, last = map(dict, tenant.retention.run())
    # With the two oldest alerts go the detections that were left of them.
    assert last == NONE | {What.ALERTS: 2, What.DETECTIONS: 1}
    assert [alert.id for alert in tenant.alerts()] == alerts[2:]
    assert {found.alert_id for _, found in tenant.detections()} == set(alerts[2:])


def test_limits_are_set_and_who_did_it_is_kept(tenant: TenantStore) -> None:
    assert tenant.retention.limits() == keeping.DEFAULTS
    tenant.retention.change(What.AUDIT, Limit(100, 5000), "ann")
    tenant.retention.change(What.AUDIT, Limit(100, 5000), "ann")
    assert tenant.retention.limits()[What.AUDIT] == Limit(100, 5000)
    (one,) = (one for one in tenant.audit_log() if one.set_name == "Retention")
    assert (one.key, one.by, one.before, one.after) == (
        "AuditLog",
        "ann",
        '{"Days": 730, "Most": null}',
        '{"Days": 100, "Most": 5000}',
    )
    for what, limit in (
        (What.ALERTS, Limit(0)),
        (What.ALERTS, Limit(10**6)),
        (What.ALERTS, Limit(None, 999)),
        (What.RECEIPTS, Limit(2)),
        (What.RECEIPTS, Limit(None)),
    ):
        with pytest.raises(InvalidValue):
            tenant.retention.change(what, limit, "ann")


def test_a_pass_that_is_broken_off_is_told_and_goes_on(
    path: Path, tenant: TenantStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keeping, "STEP_SECONDS", 0)
    owned = tenant.indicators()[0]
    tenant.record([detection(owned, tenant.uid, number) for number in range(500)])
    age(path, "detections", "recorded_at", 401)
    walk = tenant.retention.run()
    first = dict(next(walk))[What.DETECTIONS]
    walk.close()
    assert first > 0
    assert tenant.audit_log()[-1].count == first, "what is gone is told, wherever it ends"
    assert tenant.counts().detections == 500 - first
    run(tenant)
    told = [one.count for one in tenant.audit_log() if one.set_name == "Detections"]
    assert sum(told) == 500


@pytest.mark.full
@settings(deadline=None, max_examples=15)
@given(st.data())
def test_a_pass_takes_what_is_old_and_no_more(
    tmp_path_factory: pytest.TempPathFactory, kind: str, data: st.DataObject
) -> None:
    path = tmp_path_factory.mktemp("kept") / "indicia.db"
    ages = data.draw(st.lists(st.sampled_from([500, 401, 399, 1]), min_size=1, max_size=8))
    ages.sort(reverse=True)  # rows come one after the other
    machines = [f"host-{data.draw(st.integers(0, 2))}" for _ in ages]
    with opened(path) as tenant:
        add(tenant, 1)
        for number, machine in enumerate(machines):
            see(tenant, 24 * data.draw(st.integers(0, 1)) + number, machine=machine)
        before = {alert.id: alert for alert in tenant.alerts()}
        for number, days in enumerate(ages, 1):
            age(path, "detections", "recorded_at", days, f"id = {number}")
        for column in ("last_modified_at", "last_seen"):
            age(path, "alerts", column, 401)
        owners = [found.alert_id for _, found in tenant.detections()]
        kept = {owner for owner, days in zip(owners, ages, strict=True) if days < 400}
        run(tenant)
        assert {alert.id for alert in tenant.alerts()} == kept
        for alert in tenant.alerts():
            assert alert.detection_count == before[alert.id].detection_count
        assert len(tenant.detections()) == sum(days < 400 for days in ages)
    sound(path)


def test_nobody_waits_for_it(path: Path, tenant: TenantStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keeping, "STEP_SECONDS", 0)
    owned = tenant.indicators()[0]
    tenant.record([detection(owned, tenant.uid, number) for number in range(500)])
    age(path, "detections", "recorded_at", 401)
    steps = 0
    for _ in tenant.retention.run():
        steps += 1
        tenant.add_indicators([indicator(tenant.definition(1), 1000 + steps)], "x")
    assert steps > 1
    assert tenant.counts().detections == 0


def test_the_service_does_it(path: Path, tenant: TenantStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(serve, "RETENTION_FIRST", 0)
    see(tenant, 0)
    age(path, "detections", "recorded_at", 401)
    upload = path.parent / "scans" / tenant.uid / "0123456789abcdef" / "upload"
    upload.parent.mkdir(parents=True)
    upload.write_bytes(b"of a scan that was killed")
    os.utime(upload.parent, (1, 1))
    with Store.open(url(path)) as store, serve._purging(store, Settings(path.parent)):
        end = time.monotonic() + 10
        while (tenant.counts().detections or upload.exists()) and time.monotonic() < end:
            time.sleep(0.01)
    assert tenant.counts().detections == 0
    assert not upload.exists(), "files that people brought go, too, though nobody brings another one"
    assert tenant.audit_log()[-1].by == "Indicia"
