"""Indicators as people look for them: each filter against its plain meaning, its index; many changed."""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from explained import ON_A_FILE, plans
from indicia.errors import InvalidValue, NotFound, StoreError
from indicia.model import Actor, AuditAction, DetectionFunction, Indicator, IndicatorType
from indicia.odata.entities import ALERT_DEFINITION, INDICATOR
from indicia.store import Chosen, Deed, Expiry, Place, Position, Store, TenantStore, audit, catalogue, many
from stored import add, detection, indicator, url

pytestmark = pytest.mark.full

NOW = datetime.now(UTC)
KINDS = (IndicatorType.URL, IndicatorType.DOMAIN_NAME, IndicatorType.MD5)
FUNCTIONS = (DetectionFunction.EQUALS, DetectionFunction.START_WITH)


@pytest.fixture(scope="module")
def tenant(tmp_path_factory: pytest.TempPathFactory, kind: str) -> Iterator[TenantStore]:
    """A tenant with 300 indicators of everything, beside one that has the same."""
    with Store.open(url(tmp_path_factory.mktemp(kind) / "indicia.db")) as store:
        made = [store.tenant(store.add_tenant(name).uid) for name in ("others", "mine")]
        for one in made:
            fill(one)
        yield made[1]


def fill(tenant: TenantStore) -> None:
    chance = random.Random(3)
    owners = [add(tenant, name=f"d{n}") for n in range(3)]
    for batch in range(3):
        rows = []
        for _ in range(100):
            text = chance.choice(("a", "b", "aa", "http://a", "ü")) + f"{chance.randrange(40)}" * 12
            ends = NOW + timedelta(days=chance.choice((-3, 3, 300))) if chance.random() < 0.5 else None
            rows.append(
                indicator(
                    chance.choice(owners),
                    value=text.upper(),
                    canonical=text,
                    type=chance.choice(KINDS),
                    function=chance.choice(FUNCTIONS),
                    enabled=chance.random() < 0.8,
                    expires_at=ends,
                )
            )
        tenant.add_indicators(rows, f"maker {batch}")


def every(tenant: TenantStore, chosen: Chosen, limit: int = 7) -> list[Indicator]:
    """All of them, page by page."""
    found: list[Indicator] = []
    after: Place | None = None
    for _ in range(1000):
        page = tenant.catalogue.indicators(chosen, after=after, limit=limit)
        assert len(page.found) <= limit
        found += page.found
        after = page.after
        if after is None:
            return found
    raise AssertionError("it never ends")


def fulfils(one: Indicator, chosen: Chosen) -> bool:
    """The plain meaning."""
    value = chosen.value.lower()
    ends = one.expires_at
    expired = ends is not None and ends <= NOW
    soon = ends is not None and NOW < ends <= NOW + catalogue.SOON
    return (
        (chosen.type is None or one.type is chosen.type)
        and (chosen.function is None or one.function is chosen.function)
        and (chosen.definition_id is None or one.definition.id == chosen.definition_id)
        and (chosen.enabled is None or one.enabled is chosen.enabled)
        and (chosen.expiry is None or (expired if chosen.expiry is Expiry.EXPIRED else soon))
        and (not value or (one.canonical == value if chosen.exact else one.canonical.startswith(value)))
        and (not chosen.created_by or one.created_by == chosen.created_by)
    )


OPTIONS: dict[str, tuple[Any, ...]] = {
    "type": (None, *KINDS, IndicatorType.SHA1),
    "function": (None, *FUNCTIONS, DetectionFunction.CONTAINS),
    "definition_id": (None, 0, 1),
    "enabled": (None, True, False),
    "expiry": (None, *Expiry),
    "value": ("", "", "A1", "a", "http://a", "ü", "a" + "1" * 12, "B" + "33" * 12, "zz", "\x00"),
    "exact": (False, True),
    "created_by": ("", "", "maker 1", "nobody"),
}


@pytest.mark.parametrize("seed", range(24))
def test_filters_mean_what_they_say(
    tenant: TenantStore, kind: str, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(catalogue, "SLICE", 16)
    monkeypatch.setattr(catalogue, "SECONDS", 0.0 if seed % 2 else 1.0)
    chance = random.Random(seed)
    first = tenant.definitions()[0].id
    for _ in range(6 if kind == "sqlite" else 2):  # each page of a server is some round trips
        names = chance.sample(list(OPTIONS), chance.randrange(4))
        given = {name: chance.choice(OPTIONS[name]) for name in names}
        if given.get("definition_id") is not None:
            given["definition_id"] += first
        chosen = Chosen(**given)
        expected = {one.id for one in tenant.indicators() if fulfils(one, chosen)}
        found = every(tenant, chosen, chance.choice((1, 7, 50)))
        assert len(found) == len({one.id for one in found}), chosen
        assert {one.id for one in found} == expected, chosen
        assert [one.id for one in many_of(tenant, chosen)] == sorted(expected, reverse=True), chosen


def many_of(tenant: TenantStore, chosen: Chosen) -> list[Indicator]:
    """As a change of all of them passes them."""
    found: list[Indicator] = []
    after: Place | None = None
    while True:
        with tenant._reading() as scope:
            page = catalogue.sweep(scope, chosen, after, 11)
        found += page.found
        after = page.after
        if after is None:
            return found


def test_times_of_making_bound_what_is_looked_at(tenant: TenantStore) -> None:
    times = sorted({one.created_at for one in tenant.indicators() if one.created_at is not None})
    assert len(times) == 3
    for since, until, expected in (
        (times[1], None, 200),
        (None, times[1], 100),
        (times[1], times[2], 100),
        (times[2] + timedelta(seconds=1), None, 0),
        (None, times[0], 0),
    ):
        assert len(every(tenant, Chosen(since=since, until=until))) == expected


def steps(tenant: TenantStore, call: Callable[[], object]) -> list[str]:
    """How each query of indicators, alerts or the audit log goes about it."""
    tables = ("FROM indicators", "FROM alerts", "FROM audit")
    found = plans(tenant, call)
    return [plan for text, plan in found if any(table in text for table in tables)]


@ON_A_FILE
@pytest.mark.parametrize(
    ("chosen", "index"),
    [
        (Chosen(), "tenant_id_id"),
        (Chosen(type=IndicatorType.URL), "tenant_id_type_function_id"),
        (Chosen(function=DetectionFunction.EQUALS), "tenant_id_type_function_id"),
        (Chosen(type=IndicatorType.URL, function=DetectionFunction.EQUALS), "tenant_id_type_function_id"),
        (Chosen(definition_id=1), "tenant_id_definition_id_id"),
        (Chosen(definition_id=1, type=IndicatorType.URL), "tenant_id_definition_id_id"),
        (Chosen(enabled=False), "disabled"),
        (Chosen(enabled=False, created_by="x"), "disabled"),
        (Chosen(expiry=Expiry.EXPIRED), "expiring"),
        (Chosen(expiry=Expiry.SOON, type=IndicatorType.URL), "expiring"),
        (Chosen(value="http://a"), "head"),
        (Chosen(value="a" * 40, type=IndicatorType.URL), "head"),
        (Chosen(value="192.0.2.1", exact=True), "tenant_id_canonical_key_definition_id"),
        (Chosen(created_by="x"), "tenant_id_id"),
    ],
)
def test_every_page_goes_by_an_index(tenant: TenantStore, chosen: Chosen, index: str) -> None:
    after: Place = ("a", 10**6) if chosen.value and not chosen.exact else (10**6,)
    if chosen.expiry is not None:
        after = (10**15, 10**6)
    for place in (None, after):
        found = steps(tenant, lambda place=place: tenant.catalogue.indicators(chosen, after=place))  # type: ignore[misc]
        named = [plan for plan in found if "PRIMARY KEY" not in plan and "VIRTUAL TABLE" not in plan]
        assert named
        for plan in named:
            assert f"ix_indicators_{index} (" in plan, plan
            assert "SCAN" not in plan
            assert chosen.exact or "TEMP B-TREE" not in plan


@ON_A_FILE
def test_figures_and_histories_go_by_indices(tenant: TenantStore) -> None:
    for call in (
        lambda: tenant.catalogue.figures([1, 2], NOW),
        lambda: tenant.catalogue.history("AlertDefinitions", 1),
        lambda: tenant.catalogue.alerts(1),
    ):
        for plan in steps(tenant, call):
            assert not re.search(r"SCAN (indicators|alerts|audit)|TEMP B-TREE", plan), plan


def test_figures_are_counted_up_to_a_bound(tenant: TenantStore) -> None:
    first, second = tenant.definitions()[:2]
    found = tenant.indicators(definition_id=first.id)[0]
    tenant.record([detection(found, tenant.uid, n) for n in range(3)])
    figures = tenant.catalogue.figures([first.id, second.id, 10**6], NOW - timedelta(days=1), 5)
    assert (figures[first.id].indicators, figures[10**6].indicators) == (6, 0)
    assert figures[first.id].alerts == len(tenant.alerts()) > 0
    assert figures[second.id].alerts == 0
    assert tenant.catalogue.figures([first.id], NOW + timedelta(days=1))[first.id].alerts == 0
    assert [one.definition.id for one in tenant.catalogue.alerts(first.id)] == [first.id] * len(
        tenant.alerts()
    )


# Many at once


@pytest.fixture
def own(tmp_path: Path, database: str) -> Iterator[TenantStore]:
    with Store.open(url(tmp_path / f"{database}.db")) as store:
        yield store.tenant(store.add_tenant("contoso").uid).acting(Actor("kim"))


def test_a_few_have_entries_of_their_own(own: TenantStore) -> None:
    owner = add(own, 3)
    ids = [one.id for one in own.indicators()]
    before = Position(own.generation(), ids[-1])
    assert own.many.do([ids[0], ids[2], 10**9], many.enables(yes=False), "x") == 2
    assert own.many.do(ids, many.enables(yes=False), "x") == 1
    news = own.news(before, 100)
    assert news is not None
    assert news.touched == set(ids)
    assert {one.last_modified_by for one in own.indicators()} == {"x"}
    entry, upload = own.catalogue.history(INDICATOR.set_name, ids[0])
    assert (upload.action, upload.key, upload.count) == (AuditAction.BULK_UPLOAD, None, 3)
    assert (entry.by, entry.before, entry.after) == ("kim", '{"Enabled": true}', '{"Enabled": false}')
    assert own.catalogue.history(ALERT_DEFINITION.set_name, owner.id)[0].action is AuditAction.CREATE


def test_what_is_done_to_many_is_in_the_history_of_each(
    own: TenantStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(many, "NAMED", 3)
    monkeypatch.setattr(audit, "_STEP", 2)
    owner = add(own, 12)
    ids = [one.id for one in own.indicators()]
    chosen = [*ids[:3], ids[5], ids[7], *ids[9:]]
    for yes in (False, True, False, True, False):
        assert own.many.do(chosen, many.enables(yes=yes), "x") == len(chosen)
    for number in ids:
        counts = [(one.action, one.count) for one in own.catalogue.history(INDICATOR.set_name, number)]
        changes = [(AuditAction.CHANGE, len(chosen))] * 5 if number in chosen else []
        assert counts == [*changes, (AuditAction.BULK_UPLOAD, len(ids))]
    first, second = own.catalogue.history(INDICATOR.set_name, ids[0], limit=2)
    assert (first.after, second.after) == ('{"Enabled": false}', '{"Enabled": true}')
    assert own.catalogue.history(INDICATOR.set_name, owner.id + 10**6) == []


def test_many_are_one_entry_and_counters_follow(own: TenantStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(many, "NAMED", 3)
    monkeypatch.setattr(many, "STEP", 4)
    owner = add(own, 6)
    patterns = [indicator(owner, n, function=DetectionFunction.CONTAINS) for n in range(4)]
    own.add_indicators(patterns, "x")
    after: Place | None = None
    done = []
    while True:
        progress = own.many.step(Chosen(), many.DELETES, "x", after)
        done.append(progress.done)
        after = progress.after
        if after is None:
            break
    assert done == [4, 4, 2]
    assert (own.counts().indicators, own.counts().patterns) == (0, 0)
    told = [(one.action, one.count) for one in own.audit_log()[-4:]]
    assert told == [("DeleteMany", 4), ("DeleteMany", 4), ("Delete", 1), ("Delete", 1)]


def test_what_is_made_meanwhile_is_not_looked_at(own: TenantStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(many, "STEP", 2)
    add(own, 4)
    first = own.many.step(Chosen(), many.enables(yes=False), "x")
    add(own, 2)
    second = own.many.step(Chosen(), many.enables(yes=False), "x", first.after)
    assert (first.done, second.done) == (2, 2)
    assert [one.enabled for one in own.indicators()] == [False] * 4 + [True] * 2


def test_what_cannot_be_done_is_refused(own: TenantStore) -> None:
    owner = add(own, 1)
    ids = [own.indicators()[0].id]
    with pytest.raises(NotFound):
        own.many.do(ids, many.moves(10**6), "x")
    with pytest.raises(InvalidValue, match="value cannot be changed of many"):
        own.many.do(ids, Deed({"value": "x"}), "x")
    other = add(own, 2500, name="other")
    own.delete_indicators(other.id)
    with pytest.raises(StoreError, match="still being emptied"):
        own.many.do(ids, many.moves(other.id), "x")
    assert own.indicator(ids[0]).definition.id == owner.id


def test_what_is_deleted_and_not_removed_yet_is_in_no_list(own: TenantStore) -> None:
    gone = add(own, 2500)
    add(own, 3, name="other")
    own.delete_definition(gone.id)
    for chosen in (
        Chosen(),
        Chosen(type=IndicatorType.DOMAIN_NAME),
        Chosen(value="host-"),
        Chosen(created_by="tests"),
    ):
        assert len(every(own, chosen, 50)) == 3
    assert own.many.step(Chosen(), many.DELETES, "x").done == 3
