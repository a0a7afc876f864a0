"""A PostgreSQL server that goes away and comes back, under a store, a live index and a watch."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

import postgres
from indicia.errors import StoreError
from indicia.live import following
from indicia.live.watch import Watch
from indicia.store import Store
from service import wait_until
from stored import add, indicator, opened

pytestmark = pytest.mark.full


@pytest.fixture
def own_server() -> Iterator[postgres.Server]:
    """A server that a test may stop."""
    found = postgres.new({"synchronous_commit": "on"})
    yield found
    postgres.remove(found)


def test_a_restart_is_survived(own_server: postgres.Server) -> None:
    own_server.make(name="indicia")
    with opened(own_server.url("indicia")) as tenant:
        owner = add(tenant, 3)
        with tenant._database.reading(), tenant._database.reading():  # two connections that are kept
            pass
        own_server.stop("immediate")
        with pytest.raises(StoreError, match="cannot be reached") as told:
            tenant.counts()
        assert told.value.retry_after == 5
        with pytest.raises(StoreError, match="cannot be reached"):
            tenant.add_indicators([indicator(owner, 7)], "x")
        own_server.start()
        assert tenant.counts().indicators == 3
        own_server.stop()
        own_server.start()
        tenant.add_indicators([indicator(owner, 7)], "x")  # without a failure in between
        assert tenant.counts().indicators == 4


def test_the_log_says_when_it_is_over(
    own_server: postgres.Server, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    own_server.make(name="indicia")
    address = own_server.url("indicia")
    with opened(address) as tenant, Store.open(address) as store:
        live = following.Followings(store, address, tmp_path)
        try:
            live.of(store.tenant(tenant.uid))
            own_server.stop("immediate")
            wait_until(20, lambda: "is not in force yet" in caplog.text)
            assert "in force again" not in caplog.text
            own_server.start()
            wait_until(20, lambda: "what was written is in force again" in caplog.text)
        finally:
            live.close()


def test_a_watch_waits_for_a_server_that_is_away(
    own_server: postgres.Server, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    own_server.make(name="indicia")
    log, stopped = tmp_path / "app.log", threading.Event()
    log.touch()
    with opened(own_server.url("indicia")) as tenant:
        add(tenant, 1)
        value = tenant.indicators()[0].value
        live = following.Following(tenant, tmp_path / "indexes", lambda: False)
        one = Watch(live, [str(log)], tmp_path / "watch")
        thread = threading.Thread(target=one.run, args=(stopped,))
        thread.start()
        try:
            own_server.stop("immediate")
            log.write_text(f"2024-03-12T08:53:07Z proxy: 192.0.2.5 GET http://{value}/a.js 200\n")
            wait_until(20, lambda: "what was detected waits" in caplog.text)
            own_server.start()
            wait_until(20, lambda: "what was detected is in the store" in caplog.text)
            assert tenant.counts().detections == 1
            assert thread.is_alive()
        finally:
            stopped.set()
            thread.join()
