"""The live index: whatever is written is what is matched, soon, in every process, and without a pause."""

from __future__ import annotations

import random
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from indicia.errors import StoreError
from indicia.live import compiled, following
from indicia.live.following import Following, Followings
from indicia.match.kernel import BUILT
from indicia.match.reference import ReferenceMatcher
from indicia.model import DetectionFunction, Indicator, IndicatorType, Observable, Role
from indicia.store import Store, TenantStore, purges
from stored import add, indicator, opened, url

BELOW = DetectionFunction.SUBDOMAIN_OF
CONTAINS = DetectionFunction.CONTAINS


def seen(value: str) -> Observable:
    return Observable(IndicatorType.DOMAIN_NAME, value, value, "query", Role.OBSERVED)


PLACES = [seen(f"{below}host-{number}.example") for number in range(12) for below in ("", "a.")]
"""Of every indicator that the tests write, what meets it."""


def in_order(found: list[Indicator]) -> list[Indicator]:
    return sorted(found, key=lambda one: one.id)


def same(live: Following, tenant: TenantStore) -> None:
    """The live index meets what the reference meets over the store as it is."""
    matcher, sieve = live.view.engine()
    reference = ReferenceMatcher(tenant.matchable())
    for place in PLACES:
        wanted = in_order(reference.meet(place))
        assert in_order(matcher.meet(place)) == wanted, place.value
        if sieve is not None and wanted:
            line = f'{{"query":"{place.value}"}}'.encode()
            assert sieve.spans(line) == [(0, len(line))], place.value


@contextmanager
def small(monkeypatch: pytest.MonkeyPatch, indicators: int) -> Iterator[None]:
    """A base file is made of few indicators already."""
    with monkeypatch.context() as patch:
        patch.setattr(following, "SMALL", indicators)
        yield


def followed(tenant: TenantStore, folder: Path) -> Following:
    return Following(tenant, folder, lambda: compiled.make(tenant, folder))


Step = Callable[[TenantStore, random.Random], None]


def _some(tenant: TenantStore, dice: random.Random) -> Indicator | None:
    found = tenant.indicators()
    return dice.choice(found) if found else None


def _owner(tenant: TenantStore, dice: random.Random) -> int:
    found = tenant.definitions()
    return dice.choice(found).id if found else add(tenant).id


def _add(tenant: TenantStore, dice: random.Random) -> None:
    owner = tenant.definition(_owner(tenant, dice))
    new = [
        indicator(
            owner, dice.randrange(12), function=dice.choice([BELOW, CONTAINS, DetectionFunction.EQUALS]),
            enabled=dice.random() < 0.8,
        )
        for _ in range(dice.choice([1, 1, 2, 30]))
    ]  # fmt: skip
    tenant.add_indicators(new, by="x")


def _import(tenant: TenantStore, dice: random.Random) -> None:
    owner = tenant.definition(_owner(tenant, dice))
    new = [indicator(owner, dice.randrange(12)) for _ in range(20)]
    for _ in tenant.import_indicators(owner.id, new, "x", key=str(dice.random()), batch=7):
        pass


def _change(tenant: TenantStore, dice: random.Random) -> None:
    found = _some(tenant, dice)
    if found is not None:
        other = indicator(found.definition, dice.randrange(12))
        changes: list[dict[str, object]] = [
            {"enabled": not found.enabled},
            {
                "type": other.type,
                "function": other.function,
                "value": other.value,
                "canonical": other.canonical,
            },
            {"definition_id": _owner(tenant, dice)},
            {"source": "another"},
        ]
        tenant.change_indicator(found.id, dice.choice(changes), "x")


def _delete(tenant: TenantStore, dice: random.Random) -> None:
    found = _some(tenant, dice)
    if found is not None:
        tenant.delete_indicator(found.id)


def _change_definition(tenant: TenantStore, dice: random.Random) -> None:
    owner = tenant.definition(_owner(tenant, dice))
    changes: list[dict[str, object]] = [{"enabled": not owner.enabled}, {"title": f"Title {dice.random()}"}]
    tenant.change_definition(owner.id, dice.choice(changes), "x")


def _add_definition(tenant: TenantStore, _dice: random.Random) -> None:
    add(tenant, 3)


def _clear(tenant: TenantStore, dice: random.Random) -> None:
    tenant.delete_indicators(_owner(tenant, dice))


def _delete_all(tenant: TenantStore, _dice: random.Random) -> None:
    tenant.delete_indicators()


STEPS: dict[str, Step] = {
    "add": _add,
    "import": _import,
    "change": _change,
    "delete": _delete,
    "change definition": _change_definition,
    "add definition": _add_definition,
    "delete definition": lambda tenant, dice: tenant.delete_definition(_owner(tenant, dice)),
    "clear": _clear,
    "delete all": _delete_all,
}
COMMON = ["add", "import", "change", "change", "delete", "change definition"]


@pytest.mark.full
@settings(
    max_examples=40, deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)  # fmt: skip
@given(
    names=st.lists(st.sampled_from([*STEPS, *COMMON, "look", "merge"]), min_size=3, max_size=30),
    seed=st.integers(0, 1 << 30),
    few=st.sampled_from([0, 2000]),
)
def test_any_writes_are_what_is_matched(
    tmp_path_factory: pytest.TempPathFactory,
    monkeypatch: pytest.MonkeyPatch,
    names: list[str],
    seed: int,
    few: int,
) -> None:
    folder, dice = tmp_path_factory.mktemp("live"), random.Random(seed)
    monkeypatch.setattr(purges, "FEW", dice.choice([1, 5, 2000]))
    with small(monkeypatch, few), opened(folder / "indicia.db") as tenant:
        add(tenant, 5)
        live = followed(tenant, folder / "indexes")
        late = followed(tenant, folder / "indexes")
        for name in names:
            if name == "look":
                live.refresh()
                same(live, tenant)
            elif name == "merge":
                compiled.make(tenant, folder / "indexes")
            else:
                STEPS[name](tenant, dice)
        for one in (live, late):
            one.refresh()
            one.settle()
            same(one, tenant)
            assert one.view.generation == tenant.generation()


def test_what_did_not_change_is_not_read_again(tmp_path: Path) -> None:
    with opened(tmp_path / "indicia.db") as tenant:
        add(tenant, 3)
        live = followed(tenant, tmp_path)
        before = live.view
        assert not live.refresh()
        assert live.view is before
        tenant.add_indicators([indicator(tenant.definitions()[0], 7)], "x")
        assert live.refresh()
        assert live.view.layers[0] is before.layers[0]
        assert [len(layer) for layer in live.view.layers] == [3, 1]


def test_small_layers_are_put_together(tmp_path: Path) -> None:
    with opened(tmp_path / "indicia.db") as tenant:
        owner = add(tenant, 3)
        live = followed(tenant, tmp_path)
        for number in range(60):
            tenant.add_indicators([indicator(owner, number)], "x")
            live.refresh()
        assert sum(len(layer) for layer in live.view.layers) == 63
        assert len(live.view.layers) <= 5
        same(live, tenant)


def test_a_definition_that_is_enabled_again_is_met_again(tmp_path: Path) -> None:
    with opened(tmp_path / "indicia.db") as tenant:
        owner = add(tenant, 3, enabled=False)
        live = followed(tenant, tmp_path)
        matcher, _ = live.view.engine()
        assert matcher.meet(seen("host-1.example")) == []
        tenant.change_definition(owner.id, {"enabled": True}, "x")
        live.refresh()
        matcher, _ = live.view.engine()
        (found,) = matcher.meet(seen("host-1.example"))
        assert found.definition.enabled


@pytest.mark.full
@pytest.mark.skipif(not BUILT, reason="the C extension was not built")
def test_many_changes_become_a_new_base(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with small(monkeypatch, 10), opened(tmp_path / "indicia.db") as tenant:
        owner = add(tenant, 20)
        live = followed(tenant, tmp_path / "indexes")
        first = compiled.newest(tmp_path / "indexes", tenant.uid)
        assert first is not None
        tenant.add_indicators([indicator(owner, number) for number in range(30)], "x")
        live.refresh()
        live.settle()
        second = compiled.newest(tmp_path / "indexes", tenant.uid)
        assert second is not None
        assert second[0].generation > first[0].generation
        assert [len(layer) for layer in live.view.layers] == [50]
        same(live, tenant)


@pytest.mark.skipif(not BUILT, reason="the C extension was not built")
def test_who_comes_after_changes_were_dropped_reads_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with small(monkeypatch, 10), opened(tmp_path / "indicia.db") as tenant:
        owner = add(tenant, 20)
        late = followed(tenant, tmp_path / "indexes")
        for _ in range(3):
            tenant.delete_indicator(tenant.indicators()[0].id)
            tenant.change_definition(owner.id, {"title": "Other"}, "x")
            compiled.make(tenant, tmp_path / "indexes")
        with closing(sqlite3.connect(tmp_path / "indicia.db")) as raw:
            kinds = [kind for (kind,) in raw.execute("SELECT kind FROM changes ORDER BY id")]
        assert "dropped" in kinds
        assert len(kinds) <= 3
        late.refresh()
        same(late, tenant)


@pytest.mark.skipif(not BUILT, reason="the C extension was not built")
def test_a_damaged_base_is_made_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with small(monkeypatch, 10), opened(tmp_path / "indicia.db") as tenant:
        add(tenant, 20)
        followed(tenant, tmp_path / "indexes")
        found = compiled.newest(tmp_path / "indexes", tenant.uid)
        assert found is not None
        found[1].write_bytes(b"nothing")
        same(followed(tenant, tmp_path / "indexes"), tenant)


@pytest.mark.skipif(not BUILT, reason="the C extension was not built")
def test_a_base_that_cannot_be_written_is_the_stores_fault_and_made_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever sends events is told to come back, not that they are wrong."""
    folder = tmp_path / "indexes"
    folder.write_bytes(b"in the way")
    with small(monkeypatch, 10), opened(tmp_path / "indicia.db") as tenant:
        add(tenant, 20)
        with pytest.raises(StoreError, match="no index can be written"):
            followed(tenant, folder)
        with pytest.raises(StoreError, match=r"(?s)no index could be made: .*no index can be written"):
            compiled.make_apart(url(tmp_path / "indicia.db"), tenant, folder)
        folder.unlink()
        same(followed(tenant, folder), tenant)


WRITER = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from stored import add, opened
with opened(Path(sys.argv[2])) as tenant:
    add(tenant, 3)
"""


@pytest.mark.full
def test_what_another_process_writes_is_in_force_within_a_second(tmp_path: Path) -> None:
    path = tmp_path / "indicia.db"
    with Store.open(url(path)) as store:
        tenant = store.tenant(store.add_tenant("contoso").uid)
        live = Followings(store, url(path), tmp_path)
        try:
            one = live.of(tenant)
            subprocess.run([sys.executable, "-c", WRITER, str(Path(__file__).parent), str(path)], check=True)
            assert one.wait(tenant.generation(), 1.0)
            matcher, _ = one.view.engine()
            assert matcher.meet(seen("host-1.example"))
        finally:
            live.close()


@pytest.mark.full
@pytest.mark.skipif(not BUILT, reason="the C extension was not built")
def test_a_base_is_made_in_a_process_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "indicia.db"
    with small(monkeypatch, 10), opened(path) as tenant:
        add(tenant, 40)
        live = Following(
            tenant, tmp_path / "indexes", lambda: compiled.make_apart(url(path), tenant, tmp_path / "indexes")
        )
        assert compiled.newest(tmp_path / "indexes", tenant.uid) is not None
        same(live, tenant)


@pytest.mark.full
def test_matching_never_waits_for_writes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """While indicators come and go one value is always met, and one never."""
    with small(monkeypatch, 50), opened(tmp_path / "indicia.db") as tenant:
        owner = add(tenant, 60)
        live = followed(tenant, tmp_path / "indexes")
        wrong: list[str] = []
        stopped = threading.Event()

        def match() -> None:
            while not stopped.is_set():
                matcher, _ = live.view.engine()
                if not matcher.meet(seen("host-1.example")):
                    wrong.append("missed")
                if matcher.meet(seen("other.example")):
                    wrong.append("met")

        thread = threading.Thread(target=match)
        thread.start()
        for number in range(100, 150):
            (new,) = tenant.add_indicators([indicator(owner, number)], "x")
            live.refresh()
            tenant.delete_indicator(new.id)
            live.refresh()
        live.settle()
        stopped.set()
        thread.join()
        assert not wrong
        same(live, tenant)


def test_replaced_in_one_layer_and_again_in_the_next(tmp_path: Path) -> None:
    with opened(tmp_path / "indicia.db") as tenant:
        owner = add(tenant, 2)
        live = followed(tenant, tmp_path)
        first = tenant.indicators()[0]
        for number in (5, 6, 0, 7):
            other = replace(indicator(owner, number))
            names = ("type", "value", "canonical", "function")
            tenant.change_indicator(first.id, {name: getattr(other, name) for name in names}, "x")
            live.refresh()
            same(live, tenant)
