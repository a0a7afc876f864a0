"""Work on alerts in the store: changes and their history, suppressions, storms, and the audit of it all."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import product
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from indicia import triage
from indicia.errors import InvalidValue, NotFound, QuotaExceeded
from indicia.model import (
    COMMENT_LIMIT,
    Actor,
    Alert,
    AlertStatus,
    AuditAction,
    Classification,
    Detection,
    Determination,
    GroupBy,
    Quotas,
    Silenced,
    SuppressAlert,
    Suppression,
    Through,
)
from indicia.odata.entities import AUDIT, DETECTION
from indicia.odata.tree import Query
from indicia.store import TenantStore, Within
from indicia.store import audit as audits
from indicia.store import storms as breaker
from indicia.store import suppressions as silences
from stored import START, add, definition, detection, indicator, opened, raw, sound

pytestmark = pytest.mark.full

AHEAD = datetime(2100, 1, 1, tzinfo=UTC)
RESOLVED = {"status": AlertStatus.RESOLVED}


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


def seen(
    tenant: TenantStore, event: int, value: int = 0, *, machine: str = "host-7", raises: bool = True
) -> Detection:
    """An event that holds one of the values."""
    return detection(tenant.indicators()[value], tenant.uid, event, machine=machine, raises=raises)


def alert(tenant: TenantStore) -> Alert:
    """The only alert."""
    (found,) = tenant.alerts()
    return found


# Changes


def test_what_is_changed_is_kept_with_who_and_when(tenant: TenantStore) -> None:
    tenant.record([seen(tenant, 0)])
    before = alert(tenant)
    wanted: dict[str, Any] = {
        "status": AlertStatus.RESOLVED,
        "classification": Classification.TRUE_POSITIVE,
        "determination": Determination.APT,
        "assigned_to": "ann",
    }
    after = tenant.change_alert(before.number, wanted, "bob")
    assert after == replace(
        before, **wanted, resolved_at=after.resolved_at, last_modified_at=after.last_modified_at
    )
    assert after.resolved_at == after.last_modified_at is not None
    assert alert(tenant) == after
    steps = [(step.by, step.property, step.before, step.after) for step in tenant.history(before.id)]
    assert steps == [
        ("bob", "Status", "New", "Resolved"),
        ("bob", "Classification", "Unknown", "TruePositive"),
        ("bob", "Determination", "NotAvailable", "Apt"),
        ("bob", "AssignedTo", None, "ann"),
    ]
    assert tenant.change_alert(before.id, wanted, "bob") == after, "nothing is changed twice"
    assert len(tenant.history(before.id)) == 4
    opened_again = tenant.change_alert(before.id, {"status": AlertStatus.IN_PROGRESS}, "bob")
    assert opened_again.resolved_at is None
    assert opened_again.reopened_count == 0, "a person is no detection"


def test_a_detection_reopens_and_what_was_judged_stays(tenant: TenantStore) -> None:
    tenant.record([seen(tenant, 0)])
    judged = {**RESOLVED, "classification": Classification.TRUE_POSITIVE, "assigned_to": "ann"}
    tenant.change_alert(alert(tenant).id, judged, "bob")
    tenant.record([seen(tenant, 0)])
    assert alert(tenant).status is AlertStatus.RESOLVED, "a replay is nothing new"
    recorded = tenant.record([seen(tenant, 1), seen(tenant, 2, 1)])
    (again,) = recorded.reopened
    assert again == alert(tenant)
    assert (again.status, again.resolved_at, again.reopened_count) == (AlertStatus.NEW, None, 1)
    assert (again.classification, again.assigned_to) == (Classification.TRUE_POSITIVE, "ann")
    last = tenant.history(again.id)[-1]
    assert (last.by, last.property, last.before, last.after) == ("Indicia", "Status", "Resolved", "New")


def test_what_cannot_be_changed(tenant: TenantStore) -> None:
    tenant.record([seen(tenant, 0)])
    one = alert(tenant)
    with pytest.raises(InvalidValue) as caught:
        tenant.change_alert(one.id, {"machine": "other"}, "x")
    assert caught.value.target == "machine"
    with pytest.raises(NotFound):
        tenant.change_alert(99, RESOLVED, "x")
    assert alert(tenant) == one


def test_comments_are_bounded(tenant: TenantStore) -> None:
    tenant.record([seen(tenant, 0)])
    made = [tenant.add_comment(alert(tenant).number, text, "ann") for text in ("first", "x" * COMMENT_LIMIT)]
    assert tenant.comments(alert(tenant).id) == made
    for text in ("", " \n", "x" * (COMMENT_LIMIT + 1), "a\0b", "\udcff"):
        with pytest.raises(InvalidValue):
            tenant.add_comment(alert(tenant).id, text, "ann")
    with pytest.raises(NotFound):
        tenant.add_comment("0" * 32, "text", "ann")


# Suppressions


@pytest.mark.parametrize("named", [shape for shape in product((True, False), repeat=3) if any(shape)])
def test_all_that_is_named_has_to_be_the_same(tenant: TenantStore, named: tuple[bool, ...]) -> None:
    owner, other = tenant.definitions()[0], add(tenant, 1, name="other")
    by_definition, by_machine, by_value = named
    tenant.add_suppression(
        Suppression(
            "test",
            AHEAD,
            definition_id=owner.id if by_definition else None,
            machine="HOST-7" if by_machine else None,
            value="host-0.example" if by_value else None,
        ),
        "ann",
    )
    found = [one for one in tenant.indicators() if one.definition.id == owner.id]
    strange = next(one for one in tenant.indicators() if one.definition.id == other.id)
    tried: list[tuple[Detection, bool]] = []
    for event, (same_owner, same_machine, same_value) in enumerate(product((True, False), repeat=3)):
        one = found[0 if same_value else 1]
        if not same_owner:
            one = strange if same_value else indicator(other, 5)
        machine = "host-7" if same_machine else "host-8"
        meets = all(
            is_so or not asked
            for asked, is_so in zip(named, (same_owner, same_machine, same_value), strict=True)
        )
        tried.append((detection(one, tenant.uid, event, machine=machine), meets))
    tenant.record([one for one, _ in tried])
    kept = {one.id: one for _, one in tenant.detections()}
    for made, meets in tried:
        assert kept[made.id].raises is not meets
        assert kept[made.id].silenced is (Silenced.SUPPRESSION if meets else None)
    (silent,) = tenant.suppressions()
    assert silent.suppressed_count == sum(meets for _, meets in tried)
    listed = tenant.select(DETECTION, Query(), Within("suppression_id", silent.id)).found
    assert {one.id for one in listed} == {one.id for one, meets in tried if meets}


def test_a_false_positive_stays_silent_however_often_it_comes(tenant: TenantStore) -> None:
    first = [seen(tenant, 0), seen(tenant, 1, 1)]
    tenant.record(first)
    made = tenant.suppress_alert(alert(tenant).number, SuppressAlert(AHEAD, "our scanner"), "ann")
    assert [one.value for one in made] == ["host-0.example", "host-1.example"]
    resolved = alert(tenant)
    assert (resolved.status, resolved.classification) == (AlertStatus.RESOLVED, Classification.FALSE_POSITIVE)
    more = [seen(tenant, 2), seen(tenant, 3, 1), seen(tenant, 40), seen(tenant, 4, raises=False)]
    recorded = tenant.record(more)
    assert (recorded.new_detections, recorded.new_alerts, recorded.reopened) == (4, 0, ())
    for replayed in (more, first, [*first, *more]):
        again = tenant.record(replayed)
        assert (again.new_detections, again.new_alerts, again.reopened, again.grown) == (0, 0, (), ())
    assert [one.suppressed_count for one in tenant.suppressions()] == [2, 1]
    assert alert(tenant) == resolved
    # Neither the end nor the deletion of it brings back what was silent.
    for one in made:
        tenant.delete_suppression(one.id)
    assert tenant.record([*first, *more]).grown == ()
    assert tenant.record([seen(tenant, 5)]).reopened != (), "what is new raises again"


def test_what_was_silent_for_itself_and_would_raise_is_suppressed(tenant: TenantStore) -> None:
    tenant.record([seen(tenant, 0, raises=False)])
    tenant.add_suppression(Suppression("", AHEAD, machine="host-7"), "ann")
    tenant.record([seen(tenant, 0)])
    ((_, kept),) = tenant.detections()
    assert (kept.raises, kept.silenced) == (False, Silenced.SUPPRESSION)
    assert tenant.alerts() == []
    tenant.record([seen(tenant, 0), seen(tenant, 0, raises=False)])
    assert tenant.suppressions()[0].suppressed_count == 1


def test_the_most_specific_suppression_counts(tenant: TenantStore) -> None:
    owner = tenant.definitions()[0]
    named: tuple[dict[str, Any], ...] = (
        {"machine": "host-7"},
        {"definition_id": owner.id},
        {"definition_id": owner.id, "value": "host-0.example"},
        {"definition_id": owner.id, "machine": "host-7"},
    )
    for changes in named:
        tenant.add_suppression(Suppression("", AHEAD, **changes), "ann")
    tenant.record([seen(tenant, 0), seen(tenant, 1, 1), seen(tenant, 2, 1, machine="host-8")])
    assert [one.suppressed_count for one in tenant.suppressions()] == [0, 1, 1, 1]


def test_an_end_ends(tenant: TenantStore, path: Path) -> None:
    made = tenant.add_suppression(Suppression("", AHEAD, machine="host-7"), "ann")
    changed = tenant.change_suppression(made.id, {"reason": "why", "ends_at": AHEAD + timedelta(days=1)}, "b")
    assert (changed.reason, changed.ends_at) == ("why", AHEAD + timedelta(days=1))
    with raw(path) as execute:
        execute("UPDATE suppressions SET ends_at = 1")
    assert tenant.record([seen(tenant, 0)]).new_alerts == 1
    assert tenant.change_suppression(made.id, {"reason": "over"}, "b").reason == "over"
    with pytest.raises(InvalidValue, match="must lie ahead"):
        tenant.change_suppression(made.id, {"ends_at": START}, "b")


@pytest.mark.parametrize(
    ("changes", "target"),
    [
        ({}, "AlertDefinitionId"),
        ({"definition_id": 99}, "AlertDefinitionId"),
        ({"machine": "x", "ends_at": START}, "EndsAt"),
        ({"machine": "x", "reason": "x" * 501}, "Reason"),
        ({"machine": "x\0"}, "Machine"),
        ({"value": "x" * 4097}, "Value"),
    ],
)
def test_a_suppression_that_is_none(tenant: TenantStore, changes: dict[str, Any], target: str) -> None:
    whole: dict[str, Any] = {"reason": "", "ends_at": AHEAD}
    with pytest.raises(InvalidValue) as caught:
        tenant.add_suppression(Suppression(**(whole | changes)), "ann")
    assert caught.value.target == target
    assert tenant.suppressions() == []


@pytest.mark.parametrize(
    ("machine", "value", "kept"),
    [
        ("HOST-7", "Evil.Example", ("host-7", "evil.example")),
        ("2001:DB8::0001", "2001:DB8::0001", ("2001:db8::1", "2001:db8::1")),
        ("pc", "HTTP://Evil.Example:80/A", ("pc", "http://evil.example/A")),
        ("pc", "D41D8CD98F00B204E9800998ECF8427E", ("pc", "d41d8cd98f00b204e9800998ecf8427e")),
        ("pc", "no value of any type \N{SNOWMAN}/", ("pc", "no value of any type \N{SNOWMAN}/")),
    ],
)
def test_what_is_named_is_spelt_as_alerts_spell_it(
    tenant: TenantStore, machine: str, value: str, kept: tuple[str, str]
) -> None:
    made = tenant.add_suppression(Suppression("", AHEAD, machine=machine, value=value), "ann")
    assert (made.machine, made.value) == kept
    assert tenant.suppressions() == [made]


def test_suppressions_have_limits(tenant: TenantStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(silences, "VALUES", 1)
    tenant.record([seen(tenant, 0), seen(tenant, 1, 1)])
    with pytest.raises(InvalidValue, match="more than 1 values"):
        tenant.suppress_alert(alert(tenant).id, SuppressAlert(AHEAD), "ann")
    assert alert(tenant).status is AlertStatus.NEW, "nothing is half done"
    (one,) = tenant.suppress_alert(alert(tenant).id, SuppressAlert(AHEAD, by_value=False), "ann")
    assert (one.value, one.machine, one.definition_uid) == (None, "host-7", tenant.definitions()[0].uid)
    monkeypatch.setattr(silences, "MOST", 1)
    with pytest.raises(QuotaExceeded, match="1 of 1 suppressions"):
        tenant.add_suppression(Suppression("", AHEAD, machine="x"), "ann")
    monkeypatch.setattr(silences, "MOST", 5)
    nothing = SuppressAlert(AHEAD, by_definition=False, by_machine=False, by_value=False)
    with pytest.raises(InvalidValue, match="everything would be silent"):
        tenant.suppress_alert(alert(tenant).id, nothing, "ann")


def test_a_definition_made_anew_is_not_suppressed(tenant: TenantStore) -> None:
    owner = tenant.definitions()[0]
    tenant.add_suppression(Suppression("", AHEAD, definition_id=owner.id), "ann")
    tenant.delete_definition(owner.id)
    add(tenant, 1)
    assert tenant.record([seen(tenant, 0)]).new_alerts == 1


# Storms


def test_a_storm_is_one_alert(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with opened(path, Quotas(alerts_per_hour=3)) as tenant:
        add(tenant, 2)
        add(tenant, 1, name="quiet")
        wild = [seen(tenant, event, machine=f"m{event}") for event in range(10)]
        quiet = [seen(tenant, event, 2, machine=f"q{event}") for event in range(2)]
        first = tenant.record([*wild[:2], *quiet])
        assert first.new_alerts == 4
        second = tenant.record(wild[2:6])
        (storm,) = [one for one in second.opened if one.storm]
        assert len(second.opened) == 2, "the third alert of the hour, and the storm"
        assert (storm.detection_count, storm.machine, storm.group) == (3, "*", "")
        third = tenant.record(wild[6:])
        assert third.new_detections == 4
        assert (third.opened, [one.detection_count for one in third.grown]) == ((), [7])
        assert tenant.record([*quiet, *wild]).new_detections == 0, "a replay changes nothing"
        kept = [one for _, one in tenant.detections() if one.storm_id]
        assert len(kept) == 7
        assert {(one.raises, one.silenced, one.storm_id) for one in kept} == {
            (False, Silenced.STORM, storm.id)
        }
        # What is open grows as ever, and other definitions raise as ever.
        assert tenant.record([seen(tenant, 11, machine="m0")]).grown[0].detection_count == 2
        assert tenant.record([seen(tenant, 12, 2, machine="q9")]).new_alerts == 1
        tenant.change_alert(storm.id, RESOLVED, "ann")
        assert [one.id for one in tenant.record([seen(tenant, 13, machine="m13")]).reopened] == [storm.id]
        monkeypatch.setattr(breaker, "hour_of", lambda _time: 10**6)
        assert [one.storm for one in tenant.record([seen(tenant, 14, machine="m14")]).opened] == [False]
    sound(path)


def test_one_batch_may_be_a_storm(path: Path) -> None:
    with opened(path, Quotas(alerts_per_hour=5)) as tenant:
        owner = add(tenant, 1, group_by=GroupBy.INDICATOR)
        found = [seen(tenant, event, machine=f"m{event % 50}") for event in range(100)]
        recorded = tenant.record(found)
        assert (recorded.new_detections, recorded.new_alerts) == (100, 6)
        (storm,) = [one for one in recorded.opened if one.storm]
        counted = sum(one.detection_count for one in recorded.opened)
        assert (storm.detection_count, counted) == (95, 100)
        assert storm.definition.id == owner.id
        assert (storm.group, storm.indicators) == ("", ("host-0.example",))
    sound(path)


# Merging


moments = st.none() | st.integers(0, 5).map(lambda hours: START + timedelta(hours=hours))


@given(
    st.lists(st.tuples(moments, st.integers(0, 15)), min_size=1, max_size=30),
    st.integers(0, 29),
    st.booleans(),
)
def test_many_at_once_are_as_one_after_the_other(
    parts: list[tuple[datetime | None, int]], cut: int, resolved: bool
) -> None:
    owner = definition(uid="u", id=1)
    found = [replace(detection(indicator(owner, number), "t", 0), event_time=time) for time, number in parts]
    before: Alert | None = None
    for one in found[:cut]:
        before = triage.merge(before, one)
    if before and resolved:
        before = replace(before, status=AlertStatus.RESOLVED, resolved_at=START)
    rest = found[cut:] or found[:1]
    expected = before
    for one in rest:
        expected = triage.merge(expected, one)
    assert triage.merge_all(before, rest) == expected


# The audit log


def told(tenant: TenantStore, since: int = 0) -> list[tuple[Any, ...]]:
    """What the log has to say."""
    return [(one.by, one.action, one.set_name, one.key, one.count) for one in tenant.audit_log(after=since)]


def last(tenant: TenantStore) -> int:
    """The number of the newest entry."""
    return max((one.id for one in tenant.audit_log()), default=0)


def test_every_change_is_told(tenant: TenantStore) -> None:
    mark = last(tenant)
    bob = tenant.acting(Actor("bob", Through.API, "request-1"))
    (owner,) = bob.add_definitions([definition()], "stamp")
    bob.change_definition(owner.id, {"title": "Another"}, "stamp")
    bob.change_definition(owner.id, {"title": "Another"}, "stamp")
    (one,) = bob.add_indicators([indicator(owner, 7)], "stamp")
    bob.change_indicator(one.id, {"enabled": False}, "stamp")
    bob.move_indicator(one.id, 1, "stamp")
    bob.delete_indicator(one.id)
    bob.record([seen(bob, 0)])
    bob.change_alert(1, RESOLVED, "stamp")
    bob.add_comment(1, "text", "stamp")
    bob.suppress_alert(1, SuppressAlert(AHEAD), "stamp")
    bob.change_suppression(1, {"reason": "x"}, "stamp")
    bob.delete_suppression(1)
    bob.delete_definition(owner.id)
    definitions, indicators = "AlertDefinitions", "IndicatorsOfCompromise"
    assert told(tenant, mark) == [
        ("bob", AuditAction.CREATE, definitions, str(owner.id), 1),
        ("bob", AuditAction.CHANGE, definitions, str(owner.id), 1),
        ("bob", AuditAction.CREATE, indicators, str(one.id), 1),
        ("bob", AuditAction.CHANGE, indicators, str(one.id), 1),
        ("bob", AuditAction.CHANGE, indicators, str(one.id), 1),
        ("bob", AuditAction.DELETE, indicators, str(one.id), 1),
        ("bob", AuditAction.CHANGE, "Alerts", "1", 1),
        ("bob", AuditAction.COMMENT, "Alerts", "1", 1),
        ("bob", AuditAction.CHANGE, "Alerts", "1", 1),
        ("bob", AuditAction.CREATE, "Suppressions", "1", 1),
        ("bob", AuditAction.CHANGE, "Suppressions", "1", 1),
        ("bob", AuditAction.DELETE, "Suppressions", "1", 1),
        ("bob", AuditAction.DELETE, definitions, str(owner.id), 1),
    ]
    entries = tenant.audit_log(after=mark)
    assert {(one.through, one.request_id) for one in entries} == {(Through.API, "request-1")}
    changed = entries[1]
    assert json.loads(changed.before or "") == {"Title": "Paper Lantern: command and control"}
    assert json.loads(changed.after or "") == {"Title": "Another"}
    moved = entries[4]
    assert json.loads(moved.after or "") == {"AlertDefinitionId": 1}


def test_many_at_once_are_one_entry(tenant: TenantStore) -> None:
    owner = add(tenant)
    mark = last(tenant)
    tenant.add_indicators([indicator(owner, number) for number in range(100)], "ann")
    for _ in tenant.import_indicators(
        owner.id, [indicator(owner, number) for number in range(50, 170)], "ann", key="k", batch=40
    ):
        pass
    assert tenant.delete_indicators(owner.id) == 170
    assert tenant.delete_indicators(owner.id) == 0
    tenant.delete_definitions()
    indicators = "IndicatorsOfCompromise"
    assert told(tenant, mark) == [
        ("ann", AuditAction.BULK_UPLOAD, indicators, None, 100),
        ("ann", AuditAction.IMPORT, indicators, None, 70),
        ("", AuditAction.DELETE_MANY, indicators, None, 170),
        ("", AuditAction.DELETE_MANY, "AlertDefinitions", None, 2),
    ]
    assert json.loads(tenant.audit_log(after=mark)[-1].before or "") == {"Indicators": 3}


def test_what_is_undone_is_not_told(tenant: TenantStore) -> None:
    mark = last(tenant)

    def refuse(_before: object) -> None:
        raise InvalidValue("no")

    for call in (
        lambda: tenant.delete_definition(1, refuse),
        lambda: tenant.delete_indicator(1, refuse),
        lambda: tenant.change_definition(1, {"uid": "x"}, "x"),
        lambda: tenant.add_suppression(Suppression("", START, machine="x"), "x"),
    ):
        with pytest.raises(InvalidValue):
            call()
    assert last(tenant) == mark


def test_no_secret_is_told_and_texts_are_cut(tenant: TenantStore) -> None:
    client = tenant.add_application("app", ["Ti.Read"]).client_id
    kept = tenant.add_secret(client, "the-hash", "the-hint", "for tests")
    tenant.revoke_secret(client, kept.id)
    tenant.revoke_application(client)
    assert [one.action for one in tenant.audit_log()][-4:] == [
        AuditAction.CREATE,
        AuditAction.CHANGE,
        AuditAction.REVOKE,
        AuditAction.REVOKE,
    ]
    assert {one.key for one in tenant.audit_log()[-4:]} == {client}
    whole = repr(tenant.audit_log())
    assert "the-hash" not in whole
    assert "the-hint" not in whole
    tenant.change_definition(1, {"internal_description": "x" * 300}, "ann")
    after = json.loads(tenant.audit_log()[-1].after or "")
    assert len(after["InternalDescription"]) == audits.TEXT
    assert tenant.count(AUDIT) == len(tenant.audit_log())
