"""The network to the database breaks in every way: nobody waits for long, nothing is half done, all goes on.

`reach.SILENCE` is 5 s for a service; in this process it is shorter. What takes its real time with several
hosts is `slow`.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing

import pytest

import postgres
from indicia.errors import OutcomeUnknown, StoreError
from indicia.model import AlertDefinition
from indicia.store import Store, TenantStore, reach
from indicia.store import postgres as engine
from network import WRITTEN, Network, to
from service import wait_until
from stored import add, indicator, opened

pytestmark = pytest.mark.full
SILENCE, GRACE, CONNECT = 0.6, 0.3, 2.0
BOUND = SILENCE + CONNECT + GRACE + 1.5
"""Until somebody who waits is told, on a machine that does much else."""


@pytest.fixture(scope="module")
def net() -> Iterator[Network]:
    """A network, and a server behind it."""
    with to(postgres.server()) as made:
        yield made


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """In a process that waits less."""
    monkeypatch.setattr(reach, "SILENCE", SILENCE)
    monkeypatch.setattr(reach, "GRACE", GRACE)


@pytest.fixture(scope="module")
def template() -> Iterator[str]:
    """A database with tables, for copies."""
    name = postgres.server().make()
    with Store.open(postgres.server().url(name)):
        pass
    yield name
    postgres.server().drop(name)


@pytest.fixture
def tenant(net: Network, quick: None, template: str) -> Iterator[TenantStore]:
    """One over the network, with a definition."""
    name = postgres.server().make(template)
    try:
        with opened(net.url(name, f"&connect_timeout={CONNECT:.0f}")) as found:
            add(found, 3)
            with found._database.reading(), found._database.reading():  # connections that are kept
                pass
            yield found
    finally:
        net.mend()
        postgres.server().drop(name)


def owner(tenant: TenantStore) -> AlertDefinition:
    """The definition."""
    return tenant.definitions()[0]


def taking(seconds: float, work: Callable[[], object]) -> float:
    """How long a failure took; it must be one, and within that time."""
    begun = time.monotonic()
    with pytest.raises(StoreError) as told:
        work()
    took = time.monotonic() - begun
    assert told.value.away, told.value
    assert told.value.retry_after == 5
    assert took < seconds, f"{took:.1f} s: {told.value}"
    return took


BREAKS: dict[str, Callable[[Network], None]] = {
    "packets are lost": Network.swallow,
    "nothing is handed on": lambda net: net.hold("up", "down"),
    "no answer is handed on": lambda net: net.hold("down"),
}


@pytest.mark.parametrize(
    "way", [way if way == "packets are lost" else pytest.param(way, marks=pytest.mark.slow) for way in BREAKS]
)
def test_nobody_waits_for_a_silent_server(net: Network, tenant: TenantStore, way: str) -> None:
    of = owner(tenant)
    BREAKS[way](net)
    with ThreadPoolExecutor(30) as threads:  # more than there are connections
        each = [threads.submit(taking, BOUND, tenant.counts) for _ in range(25)]
        each += [threads.submit(taking, BOUND, lambda: tenant.add_indicators([indicator(of, 9)], "x"))]
        for one in each:
            one.result()
    times = sorted(taking(BOUND, tenant.counts) for _ in range(10))
    assert times[5] < 0.1, "who comes when it is known is told at once"
    net.mend()
    wait_until(4, lambda: _answers(tenant))
    assert tenant.counts().indicators == 3
    tenant.add_indicators([indicator(of, 9)], "x")
    assert tenant.counts().indicators == 4


def _answers(tenant: TenantStore) -> bool:
    try:
        tenant.counts()
    except StoreError:
        return False
    return True


def test_who_refuses_is_asked_by_everybody(net: Network, tenant: TenantStore) -> None:
    net.refuse()
    assert max(taking(1, tenant.counts) for _ in range(5)) < 1
    net.mend()
    assert tenant.counts().indicators == 3
    net.reset()
    assert tenant.counts().indicators == 3  # the kernel has said that the kept ones are gone


def test_connections_that_a_box_has_forgotten_are_given_up(net: Network, tenant: TenantStore) -> None:
    net.forget()
    taking(BOUND, tenant.counts)
    assert tenant.counts().indicators == 3


def test_the_host_that_answers_is_asked_first(net: Network, tenant: TenantStore) -> None:
    name = tenant._database.name.rpartition("/")[2]
    with to(postgres.server()) as other:
        hosts = f"127.0.0.1:{net.port},127.0.0.1:{other.port}"
        net.swallow()
        url = f"postgresql://postgres@{hosts}/{name}?sslmode=disable&connect_timeout={CONNECT:.0f}"
        with Store.open(url) as store:  # costs the time of the first one
            begun = time.monotonic()
            with ExitStack() as many:
                for _ in range(8):
                    many.enter_context(store._database.reading())
            assert time.monotonic() < begun + 1.5
            other.swallow()
            net.mend()
            taking(2 * BOUND, store.tenants)
            wait_until(10, lambda: _answers(store.tenant(tenant.uid)))


def test_what_takes_long_is_waited_for(net: Network, tenant: TenantStore) -> None:
    net.delay = 0.05
    with tenant._database.reading() as connection:
        connection.exec_driver_sql(f"SELECT pg_sleep({4 * SILENCE})")
        assert connection.exec_driver_sql("SELECT 1").scalar() == 1


def test_what_takes_long_is_waited_for_where_nobody_else_may_connect(
    net: Network, tenant: TenantStore
) -> None:
    name = tenant._database.name.rpartition("/")[2]
    with tenant._database.reading() as connection, postgres.server().connect() as raw:
        raw.execute(f'ALTER DATABASE "{name}" ALLOW_CONNECTIONS false'.encode())
        try:
            connection.exec_driver_sql(f"SELECT pg_sleep({4 * SILENCE})")
        finally:
            raw.execute(f'ALTER DATABASE "{name}" ALLOW_CONNECTIONS true'.encode())
    assert tenant.counts().indicators == 3


def test_a_writer_waits_for_others_that_write(net: Network, tenant: TenantStore) -> None:
    of = owner(tenant)
    with (
        Store.open(net.url(tenant._database.name.rpartition("/")[2])) as other,
        ThreadPoolExecutor() as threads,
    ):
        with other._database.writing():
            waiting = threads.submit(tenant.add_indicators, [indicator(of, 8)], "x")
            time.sleep(3 * SILENCE)
            assert not waiting.done()
        waiting.result(10)


def test_a_commit_whose_answer_is_lost_is_done_or_not(net: Network, tenant: TenantStore) -> None:
    of, before = owner(tenant), tenant.generation()
    net.hold_after(*WRITTEN)
    with pytest.raises(OutcomeUnknown, match="whether it was done is not known") as told:
        tenant.add_indicators([indicator(of, 20 + number) for number in range(50)], "x")
    assert told.value.away
    net.mend()
    assert tenant.counts().indicators == 53
    assert tenant.generation() == before + 1
    net.hold_after(b"pg_advisory_xact_lock")  # before anything was written
    with pytest.raises(StoreError) as lost:
        tenant.add_indicators([indicator(of, 99)], "x")
    assert not isinstance(lost.value, OutcomeUnknown)
    net.mend()
    assert tenant.counts().indicators == 53


def test_a_listener_that_is_cut_off_hears_again(
    net: Network, tenant: TenantStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine, "_BEAT", 0.5)
    monkeypatch.setattr(engine, "_REST", 0.1)
    heard, over, of = threading.Event(), threading.Event(), owner(tenant)
    thread = threading.Thread(target=tenant._database.follow, args=(heard.set, over))
    thread.start()
    try:
        assert heard.wait(5)
        net.forget()  # by nothing that a kernel would notice
        time.sleep(0.5 + SILENCE + GRACE + 1)
        monkeypatch.setattr(engine, "_BEAT", 60)  # nothing but a message is heard from here on
        time.sleep(0.6)
        taking(BOUND, tenant.counts)  # by a connection that is forgotten, too
        heard.clear()
        tenant.add_indicators([indicator(of, 7)], "x")
        assert heard.wait(2)
    finally:
        over.set()
        thread.join()


@pytest.mark.slow
def test_a_turn_goes_on_to_one_with_a_network(net: Network, tenant: TenantStore) -> None:
    name = tenant._database.name.rpartition("/")[2]
    with Store.open(postgres.server().url(name)) as other:
        mine, theirs = tenant._database.turn("outputs", 2), other.turn("outputs", 2)
        with closing(mine), closing(theirs):
            assert mine.take()
            net.hold("up", "down")  # the server hears no end of the connection, however long it waits
            begun = time.monotonic()
            assert not mine.holds()
            assert time.monotonic() < begun + BOUND
            wait_until(6, theirs.take)
            net.mend()
            wait_until(4, lambda: _answers(tenant))
            assert not mine.take()
            time.sleep(1.5)
            assert theirs.holds()
            time.sleep(1.5)
            assert theirs.holds()  # who asks in time keeps it


def test_in_copy_neither_waits_for_the_other(net: Network, tenant: TenantStore) -> None:
    of = owner(tenant)
    net.hold_after(b"COPY ")
    taking(BOUND, lambda: tenant.add_indicators([indicator(of, 77)], "x"))


def test_the_write_lock_of_one_that_is_cut_off_is_given_back(
    net: Network, tenant: TenantStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine, "_LOCK", engine._LOCK.replace(engine._STALLED, "1s"))
    name, of = tenant._database.name.rpartition("/")[2], owner(tenant)
    net.hold_after(b"UPDATE ")
    with ThreadPoolExecutor() as threads, Store.open(postgres.server().url(name)) as other:
        lost = threads.submit(taking, BOUND, lambda: tenant.add_indicators([indicator(of, 77)], "x"))
        time.sleep(0.3)
        other.tenant(tenant.uid).add_indicators([indicator(of, 78)], "x")
        lost.result()
    net.mend()
    wait_until(4, lambda: _answers(tenant))
    assert tenant.counts().indicators == 4
