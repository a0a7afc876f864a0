"""What the settings pages ask of the store: the audit log by filters, one application, how much there is."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from indicia.allow import AllowEntry, AllowKind, AllowList
from indicia.errors import InvalidValue, NotFound
from indicia.messages import Output
from indicia.model import Actor, AuditAction, Through
from indicia.store import Limit, Mark, TenantStore, Wanted, What, allow, retention, tables, trail
from indicia.store.scope import Scope
from stored import add, detection, opened

pytestmark = pytest.mark.full

START = datetime(2026, 1, 1, tzinfo=UTC)
HOUR = timedelta(hours=1)
COLUMNS = ("id", "at", "by", "through", "request_id", "action", "set_name", "key", "count", "before", "after")


@pytest.fixture
def tenant(tmp_path: Path, database: str) -> Iterator[TenantStore]:
    with opened(tmp_path / "indicia.db") as found:
        yield found


@pytest.fixture
def filed(tmp_path: Path) -> Iterator[TenantStore]:
    """As `tenant`, in a file, for what SQLite plans."""
    with opened(tmp_path / "indicia.db") as found:
        yield found


def log(tenant: TenantStore, count: int) -> None:
    """Entries an hour apart, by ann and bob in turn, every tenth of them a deletion."""
    with tenant._writing() as scope:
        ids = scope.reserve_ids(tables.audit, count)
        made = []
        for place, number in enumerate(ids):
            at = int((START + place * HOUR).timestamp()) * 1_000_000
            action = "Delete" if place % 10 == 0 else "Change"
            who = ("ann", "bob")[place % 2]
            made.append((number, at, who, "Api", None, action, "Outputs", str(place), 1, None, None))
        scope.insert_many(tables.audit, COLUMNS, made)


def keys(tenant: TenantStore, wanted: Wanted, limit: int = 7) -> list[int]:
    """The keys of all entries, page by page."""
    found: list[int] = []
    after: Mark | None = None
    while True:
        looked = tenant.trail.page(wanted, after=after, limit=limit)
        assert len(looked.found) <= limit
        found += [int(one.key or "") for one in looked.found]
        if looked.mark is None:
            assert found == [int(one.key or "") for one in tenant.trail.each(wanted)]
            return found
        after = looked.mark


@pytest.mark.parametrize("step", [3, 10, 20_000])
def test_pages_hold_what_is_wanted_the_newest_first(
    tenant: TenantStore, monkeypatch: pytest.MonkeyPatch, step: int
) -> None:
    monkeypatch.setattr(trail, "LOOKED_AT", step)
    log(tenant, 50)
    whole = list(range(49, -1, -1))
    assert keys(tenant, Wanted()) == whole
    assert keys(tenant, Wanted(by="ann")) == [key for key in whole if key % 2 == 0]
    assert keys(tenant, Wanted(action=AuditAction.DELETE)) == [40, 30, 20, 10, 0]
    assert keys(tenant, Wanted(by="bob", action=AuditAction.DELETE)) == []
    assert keys(tenant, Wanted(key="7", set_name="Outputs", through=Through.API)) == [7]
    assert keys(tenant, Wanted(set_name="Alerts")) == []
    between = Wanted(since=START + 10 * HOUR, until=START + 20 * HOUR)
    assert keys(tenant, between) == list(range(19, 9, -1))
    assert keys(tenant, Wanted(by="ann", since=between.since, until=between.until)) == [18, 16, 14, 12, 10]


def test_entries_of_one_moment_are_all_there(tenant: TenantStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trail, "LOOKED_AT", 4)
    log(tenant, 30)
    with tenant._writing() as scope:
        scope.update(tables.audit, at=int(START.timestamp()) * 1_000_000)
    assert keys(tenant, Wanted(), 4) == list(range(29, -1, -1))
    assert keys(tenant, Wanted(by="ann"), 4) == list(range(28, -1, -2))


def test_a_page_says_how_far_it_has_looked(tenant: TenantStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trail, "LOOKED_AT", 20)
    log(tenant, 50)
    looked = tenant.trail.page(Wanted(by="nobody"))
    assert (looked.found, looked.until) == ([], START + 30 * HOUR)
    assert looked.mark is not None
    assert tenant.trail.page(Wanted(by="nobody", key="x"), after=Mark(0, 0)).mark is None


@pytest.mark.parametrize(
    ("wanted", "after"),
    [
        (Wanted(), None),
        (Wanted(by="x"), None),
        (Wanted(since=START, until=START), Mark(1, 1)),
        (Wanted(key="x", set_name="y"), Mark(1, 1)),
    ],
)
def test_the_index_of_times_serves_every_page(
    filed: TenantStore, monkeypatch: pytest.MonkeyPatch, wanted: Wanted, after: Mark | None
) -> None:
    plans: list[str] = []
    row, rows_ = Scope.row, Scope.rows

    def explained(scope: Scope, statement: Any) -> None:
        text = str(statement.compile(compile_kwargs={"literal_binds": True}))
        found = scope._connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {text}").all()
        plans.extend(str(one[3]) for one in found)

    def one(scope: Scope, statement: Any) -> Any:
        explained(scope, statement)
        return row(scope, statement)

    def several(scope: Scope, statement: Any) -> Any:
        explained(scope, statement)
        return rows_(scope, statement)

    monkeypatch.setattr(Scope, "row", one)
    monkeypatch.setattr(Scope, "rows", several)
    filed.trail.page(wanted, after=after)
    assert plans
    assert all("ix_audit_tenant_id_at_id" in plan for plan in plans), plans


def test_retention_ends_at_the_first_entry_that_is_young(filed: TenantStore) -> None:
    with filed._reading() as scope:
        _, at = retention._AGED[What.AUDIT]
        query = scope.select(tables.audit, tables.audit.c.id).where(at + 0 >= 1).order_by(tables.audit.c.id)
        text = str(query.limit(1).compile(compile_kwargs={"literal_binds": True}))
        plan = str(scope._connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {text}").all())
    assert "TEMP B-TREE" not in plan, plan


# Applications


def test_an_application_gets_another_name_and_other_roles(tenant: TenantStore) -> None:
    own = tenant.acting(Actor("ann"))
    made = own.add_application("feeds", ["Ti.Read"])
    own.add_secret(made.client_id, "h", "abc")
    found = own.access.change(made.client_id.upper(), name="Feeds", roles=("Ti.ReadWrite", "Admin"))
    assert (found.name, found.roles, len(found.secrets)) == ("Feeds", ("Ti.ReadWrite", "Admin"), 1)
    assert own.access.application(made.client_id) == found == own.applications()[0]
    entry = own.trail.page(Wanted()).found[0]
    assert (entry.by, entry.action, entry.set_name, entry.key) == (
        "ann",
        AuditAction.CHANGE,
        "Applications",
        made.client_id,
    )
    assert json.loads(entry.before or "") == {"Name": "feeds", "Roles": "Ti.Read"}
    assert json.loads(entry.after or "") == {"Name": "Feeds", "Roles": "Ti.ReadWrite Admin"}
    own.access.change(made.client_id, roles=found.roles)
    assert own.trail.page(Wanted()).found[0] == entry, "what changes nothing is no change"


@pytest.mark.parametrize("name", ["", "  ", "x" * 101, "a\nb", "a\u202eb", "a\0"])
def test_a_name_that_cannot_be_one_is_refused(tenant: TenantStore, name: str) -> None:
    made = tenant.add_application("feeds", [])
    with pytest.raises(InvalidValue):
        tenant.add_application(name, [])
    with pytest.raises(InvalidValue):
        tenant.access.change(made.client_id, name=name)
    assert [one.name for one in tenant.applications()] == ["feeds"]


def test_what_was_revoked_is_not_changed(tenant: TenantStore) -> None:
    made = tenant.add_application("feeds", [])
    tenant.revoke_application(made.client_id)
    with pytest.raises(InvalidValue, match="revoked"):
        tenant.access.change(made.client_id, roles=["Admin"])
    with pytest.raises(NotFound):
        tenant.access.change("nobody", roles=[])


@pytest.mark.parametrize("text", ["x" * 501, "a\0b", "\ud800"])
def test_a_description_that_cannot_be_kept_is_refused(tenant: TenantStore, text: str) -> None:
    made = tenant.add_application("feeds", [])
    with pytest.raises(InvalidValue):
        tenant.add_secret(made.client_id, "h", "abc", text)


# How much there is


def test_extents_and_what_would_go(tenant: TenantStore, monkeypatch: pytest.MonkeyPatch) -> None:
    owner = add(tenant, 1)
    (found,) = tenant.indicators(definition_id=owner.id)
    tenant.record([detection(found, tenant.uid, number) for number in range(3)])
    extents = tenant.retention.extents()
    assert (extents[What.DETECTIONS].count, extents[What.ALERTS].count) == (3, 1)
    assert (extents[What.RECEIPTS].count, extents[What.RECEIPTS].oldest) == (0, None)
    held = len(tenant.audit_log())
    assert extents[What.AUDIT] == retention.Extent(held, True, tenant.audit_log()[0].at)
    monkeypatch.setattr(retention, "COUNTED", held - 1)
    assert tenant.retention.extents()[What.AUDIT].count == held - 1
    assert not tenant.retention.extents()[What.AUDIT].exact
    log(tenant, 2000)
    assert not any(tenant.retention.due().values())
    assert tenant.retention.due({What.AUDIT: Limit(730, 1000)})[What.AUDIT] == held + 1000
    assert not any(tenant.retention.due().values()), "what is only asked holds nowhere"
    with pytest.raises(InvalidValue):
        tenant.retention.due({What.AUDIT: Limit(0)})


def test_entries_of_a_list_are_searched_in_steps(
    tenant: TenantStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(allow, "LOOKED_AT", 10)
    entries = [AllowEntry(AllowKind.HOSTNAME, f"host-{number}.example") for number in range(35)]
    lists = tenant.allow_lists
    lists.put(AllowList("one"), entries, "x")
    lists.put(AllowList("two"), [AllowEntry(AllowKind.REGEX, "A%_b")], "x")

    def values(name: str, text: str) -> list[str]:
        found: list[str] = []
        after: int | None = 0
        while after is not None:
            hits = lists.search(name, text, after=after, limit=3)
            found += [one.value for one in hits.found]
            after = hits.after
        return found

    assert values("one", "") == [one.value for one in entries]
    assert values("one", "HOST-3") == ["host-3.example", *(f"host-{n}.example" for n in range(30, 35))]
    assert values("one", "4.example") == ["host-4.example", *(f"host-{n}4.example" for n in (1, 2, 3))]
    assert values("one", "%") == values("one", "_") == []
    assert values("two", "a%_B") == ["A%_b"]
    with pytest.raises(NotFound):
        lists.search("three", "")


def test_a_backlog_is_counted_as_far_as_is_asked(tenant: TenantStore) -> None:
    output = tenant.outbox.add(Output("one", "file", "x", sealed="x"), "x")
    tenant.outbox.add(Output("two", "file", "x", sealed="x"), "x")
    owner = add(tenant, 1)
    (found,) = tenant.indicators(definition_id=owner.id)
    for number in range(5):
        tenant.record([detection(found, tenant.uid, number, machine=f"m{number}")])
    assert [one.waiting for one in tenant.outbox.backlogs()] == [5, 5]
    assert [one.waiting for one in tenant.outbox.backlogs(3)] == [3, 3]
    assert [one.waiting for one in tenant.outbox.backlogs(9)] == [5, 5]
    assert tenant.outbox.backlogs(3)[0].output_id == output.id
