"""What processes of several hosts share by their store: turns, marks, and the URL of them all."""

from __future__ import annotations

import json
import logging
import os
import re
import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from pathlib import Path

import pytest
from sqlalchemy import delete

import postgres
from indicia.auth import attempts
from indicia.auth.assertions import CLOCK_SKEW, LONGEST_SECONDS
from indicia.auth.attempts import FAILURES, Attempts
from indicia.auth.memory import mark_of
from indicia.auth.shared import Kept
from indicia.auth.tokens import Credential, Grant
from indicia.errors import InputError, StoreError, TooManyRequests
from indicia.live.courier import Courier
from indicia.settings import Settings
from indicia.store import Store, marks, rows, tables
from indicia.store import postgres as server_of
from indicia.web import app, problems, serve
from indicia.web.crew import Crew, InStore
from indicia.web.gate import issuer_of
from indicia.web.logs import SPARSE_SECONDS, Sparse
from service import Client, Local, Reply, add_access, local, wait_until
from stored import add, url
from test_scans import dns
from visiting import Visiting, text_of, visiting

pytestmark = pytest.mark.full


@pytest.fixture
def path(database: str, tmp_path: Path) -> Path:
    return tmp_path / "indicia.db"


@pytest.fixture
def pair(path: Path) -> Iterator[tuple[Store, Store]]:
    """One store as two processes open it."""
    with Store.open(url(path)) as one, Store.open(url(path)) as other:
        yield one, other


# Turns


def test_a_turn_is_one_processs_until_it_is_given_back(pair: tuple[Store, Store]) -> None:
    one, other = (store.turn("outputs") for store in pair)
    with closing(one), closing(other):
        assert not one.holds()
        assert one.take()
        assert one.take()
        assert one.holds()
        assert not other.take()
        assert not other.holds()
        with closing(pair[1].turn("tidying")) as another:
            assert another.take(), "turns of two kinds have nothing to do with each other"
        told = f"{socket.gethostname()}:{os.getpid()}" if pair[0].shared else ""
        assert pair[1].turn_of("outputs") == told
        one.close()
        assert not pair[1].turn_of("outputs")
        assert other.take()
        assert not one.take()


def ended(name: str) -> None:
    """As a restart of the server, or a fault of the network, ends the connections of turns."""
    with postgres.server().connect(name) as raw:
        raw.execute(
            "SELECT pg_terminate_backend(pid, 5000) FROM pg_locks JOIN pg_stat_activity USING (pid) "
            "WHERE locktype = 'advisory' AND objsubid = 2"
        )


def turns(name: str) -> int:
    """How many are held."""
    with postgres.server().connect(name) as raw:
        asked = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND objsubid = 2 AND granted"
        row = raw.execute(asked).fetchone()
        assert row is not None
        return int(str(row[0]))


def test_who_lost_the_connection_lost_the_turn(tmp_path: Path) -> None:
    """On a server alone. What was read before is not sent any more."""
    name = postgres.server().make()
    address = postgres.server().url(name)
    try:
        with Store.open(address) as one, Store.open(address) as other:
            with closing(one.turn("outputs")) as mine, closing(other.turn("outputs")) as theirs:
                assert mine.take()
                assert not theirs.take()
                ended(name)
                assert theirs.take()
                assert not mine.holds()
                assert not mine.take()
                ended(name)
                assert not theirs.holds()
                assert not theirs.holds(), "what was lost is not had again without taking it"
                assert mine.take()
            stopped = threading.Event()
            run = Courier(one, tmp_path).run
            thread = threading.Thread(target=run, args=(stopped,), daemon=True)
            thread.start()
            wait_until(10, lambda: turns(name) == 1)
            with closing(other.turn("outputs")) as theirs:
                assert not theirs.take()
                ended(name)
                wait_until(10, theirs.take)
            stopped.set()
            thread.join(10)
            assert not thread.is_alive()
    finally:
        postgres.server().drop(name)


def test_a_server_that_is_away_gives_no_turn() -> None:
    with closing(Store(_away(), None).turn("outputs")) as turn:  # type: ignore[arg-type]
        with pytest.raises(StoreError, match="cannot be reached"):
            turn.take()
        assert not turn.holds()


def _away() -> object:
    from indicia.store.postgres import PostgreSQL  # noqa: PLC0415

    return PostgreSQL("postgresql://nobody@127.0.0.1:1/none", create=True, busy_seconds=1)


# Marks


def test_what_one_has_noted_the_other_knows(pair: tuple[Store, Store]) -> None:
    one, other = (Attempts(time.time, InStore(store.marks("attempts", 0))) for store in pair)
    for _ in range(FAILURES - 1):
        one.failed("app", "192.0.2.7")
    other.admit("app", "192.0.2.7")
    other.failed("app", "192.0.2.7")
    for each in (one, other):
        with pytest.raises(TooManyRequests):
            each.admit("app", "192.0.2.7")
        each.admit("app", "192.0.2.8")
    assert len(one) == 1
    one.succeeded("app", "192.0.2.7")
    other.admit("app", "192.0.2.7")
    assert len(other) == 0


def test_nothing_is_lost_where_many_count_at_once(pair: tuple[Store, Store]) -> None:
    both = [Attempts(time.time, InStore(store.marks("attempts", 0))) for store in pair]
    with ThreadPoolExecutor(8) as threads:
        list(threads.map(lambda number: both[number % 2].failed("app", "192.0.2.7"), range(40)))
    both[0].admit("app", "192.0.2.7", 41)
    with pytest.raises(TooManyRequests):
        both[0].admit("app", "192.0.2.7", 40)


def test_the_first_of_two_at_once_is_kept(pair: tuple[Store, Store]) -> None:
    mark, now = mark_of("an assertion"), round(time.time())
    both = [InStore(store.marks("assertions", 60)) for store in pair]

    def use(number: int) -> Kept | None:
        came = Kept(bytes([number]) * 16, now)
        return both[number % 2].change(mark, lambda kept: kept or came)

    with ThreadPoolExecutor(8) as threads:
        found = list(threads.map(use, range(16)))
    assert len({one and one.value for one in found}) == 1
    assert both[0].find(mark) == found[0]


def test_old_marks_go_with_the_next(pair: tuple[Store, Store], monkeypatch: pytest.MonkeyPatch) -> None:
    kept = InStore(pair[0].marks("assertions", LONGEST_SECONDS + 2 * CLOCK_SKEW))
    now = time.time()
    for number in range(5):
        kept.change(mark_of(str(number)), lambda _kept: Kept(b"a" * 16, now))
    monkeypatch.setattr(marks, "_OLD", 3)
    later = rows.when(round((now + LONGEST_SECONDS + 2 * CLOCK_SKEW + 1) * 1e6))
    monkeypatch.setattr(rows, "now", lambda: later)
    kept.change(mark_of("new"), lambda _kept: Kept(b"b" * 16, now + 7200))
    assert len(kept) == 3
    kept.change(mark_of("newer"), lambda _kept: Kept(b"b" * 16, now + 7200))
    assert len(kept) == 2


def test_a_mark_that_is_removed_while_it_is_changed_is_noted_all_the_same(
    path: Path, pair: tuple[Store, Store]
) -> None:
    kept, database = InStore(pair[0].marks("attempts", 0)), pair[1]._database
    if not database.shared:
        return  # there a writer waits for the other one
    mark, later = mark_of("app"), Kept(b"b" * 16, float(round(time.time()) + 60))
    kept.change(mark, lambda _kept: Kept(b"a" * 16, 1.0))
    again = threading.Thread(target=kept.change, args=(mark, lambda _kept: later))
    with database.beside(1) as connection:
        connection.execute(delete(tables.marks))
        again.start()
        time.sleep(0.3)
    again.join()
    assert kept.find(mark) == later


def test_a_crew_counts_where_all_can_see_it(pair: tuple[Store, Store]) -> None:
    crew = Crew()
    assert (crew.over(pair[0]) is crew) == (not pair[0].shared)
    one, other = (Crew().over(store) for store in pair)
    for _ in range(attempts.FAILURES):
        one.sign_ins.failed("kim", "192.0.2.7")
    other.attempts.admit("kim", "192.0.2.7")
    if pair[0].shared:
        with pytest.raises(TooManyRequests):
            other.sign_ins.admit("kim", "192.0.2.7")
    else:
        other.sign_ins.admit("kim", "192.0.2.7")  # two services of one file count apart


# One URL for all hosts


def test_hosts_of_one_url_take_each_others_tokens(path: Path) -> None:
    with Store.open(url(path)) as store:
        hosts = [
            issuer_of(Settings(home=path.parent, port=port, public_url="https://ti.example"), store)
            for port in (8443, 8444)
        ]
        plain = issuer_of(Settings(home=path.parent, port=8443), store)
        grant = Grant("tenant", "app", Credential("secret", 1), ("Admin",), "https://ti.example")
        token = hosts[0].issue(grant).token
        assert hosts[1].verify(token).grant == grant
        assert hosts[0].issuer("tenant", "2.0") == "https://ti.example/tenant/v2.0"
        grant = Grant("tenant", "app", Credential("secret", 1), ("Admin",), "https://graph.windows.net")
        assert hosts[0].verify(plain.issue(grant).token).grant == grant, "given before public_url was set"


def test_whose_headers_are_believed(tmp_path: Path) -> None:
    given = Settings(home=tmp_path, proxies="10.0.0.5, 10.1.0.0/16 ,::1")
    assert serve._proxies(given) == ["10.0.0.5", "10.1.0.0/16", "::1"]
    assert serve._proxies(Settings(home=tmp_path)) == []
    for wrong in ("*", "balancer", "10.0.0.5/8"):
        with pytest.raises(InputError, match="must be addresses"):
            serve._proxies(Settings(home=tmp_path, proxies=wrong))


# What is told while the server is away


def test_who_is_refused_is_told_that_the_server_is_away(tmp_path: Path) -> None:
    server = postgres.server()
    name = server.make()
    with local(tmp_path, database=server.url(name)) as service:
        api = service.client(add_access(service.store, "contoso"))
        app.preload(service.application)
        assert service.request("GET", "/ready").json()["status"] == "ready"
        server.drop(name)
        reply = api("GET", "AlertDefinitions")
        assert (reply.status, "cannot be used" in reply.error["message"]) == (503, True)
        ready = service.request("GET", "/ready")
        assert (ready.status, "retry-after" in ready.headers) == (503, True)
        assert "cannot be used" in ready.json()["status"], "it is not away, it is no more"
        assert service.request("GET", "/health").status == 200
        gone = StoreError("x", retry_after=5, away=True)
        assert "is away" in problems.told(gone)
        assert "busy" in problems.told(StoreError("x", retry_after=2))


def test_the_same_fault_is_told_now_and_then() -> None:
    now = [0.0]
    sparse = Sparse(lambda: now[0])

    def tell(words: str, level: int = logging.WARNING) -> str | None:
        record = logging.LogRecord("indicia.live", level, "", 0, "%s", (words,), None)
        return record.getMessage() if sparse.filter(record) else None

    assert tell("away") == "away"
    assert [tell("away"), tell("away"), tell("otherwise")] == [None, None, "otherwise"]
    assert [tell("away", logging.INFO)] * 2 == ["away"] * 2
    now[0] = SPARSE_SECONDS
    assert tell("away") == "away (2 times more since it was told)"
    assert tell("away") is None
    now[0] *= 2
    assert tell("away") == "away (1 times more since it was told)"


@pytest.fixture
def both(tmp_path: Path) -> Iterator[tuple[Local, Local]]:
    """The services of two homes on one database of a server."""
    server = postgres.server()
    name = server.make()
    homes = [tmp_path / "one", tmp_path / "other"]
    for home in homes:
        home.mkdir()
    try:
        with (
            local(homes[0], database=server.url(name)) as one,
            local(homes[1], database=server.url(name)) as two,
        ):
            yield one, two
    finally:
        server.drop(name)


# Files that people bring


def test_a_file_that_one_host_took_is_every_host_s(both: tuple[Local, Local]) -> None:
    one, two = both
    tenant = one.store.tenant(one.store.add_tenant("contoso").uid)
    owner = add(tenant, 3)
    kim, lee = visiting(one, tenant.uid), visiting(two, tenant.uid)
    stranger = visiting(two, two.store.add_tenant("fabrikam").uid)

    def ended(path: str, which: Visiting) -> str:
        def over() -> bool:
            page = which.get(path).body
            return b'"every 1s"' not in page

        wait_until(30, over)
        return text_of(which.get(path))

    log = b"".join(dns(f"host-{number % 3}.example", number) for number in range(60))
    path = kim.post("/portal/scan", {}, files={"file": ("seen.log", log)}).headers["location"]
    assert lee.get(path).status == 200
    assert stranger.get(path).status == 404
    pages = [ended(path, which).rpartition("How far it is")[2] for which in (kim, lee)]
    assert pages[0][-5000:] == pages[1][-5000:]
    assert "seen.log Done" in text_of(lee.get("/portal/scan"))
    assert "host-2.example" in text_of(lee.get(path))
    (after,) = re.findall(rf'href="({path}\?at=\d+)#detections"', lee.get(path).body.decode())
    assert "host-2.example" in text_of(lee.get(after))
    assert lee.post(f"{path}/record").status == 303
    assert "Recorded: 60 new detections" in ended(path, kim)
    assert tenant.counts().detections == 60
    assert lee.post(f"{path}/delete").status == 303
    assert kim.get(path).status == 404
    fields = {"AlertDefinition": str(owner.id)}
    content = b"type,value\nDomainName,new.example\nSha1,none\n"
    path = lee.post("/portal/upload", fields, files={"file": ("seen.csv", content)}).headers["location"]
    assert "1 indicator is added, 1 refused" in ended(path, kim)
    assert b"3,refused," in kim.get(f"{path}/report").body
    assert kim.get(f"{path}/report").body == lee.get(f"{path}/report").body
    homes = (one.settings.home, two.settings.home)
    wait_until(10, lambda: not [path for home in homes for path in home.glob("*/*/*/*/*")])


def test_of_two_requests_with_one_key_on_two_hosts_one_counts(both: tuple[Local, Local]) -> None:
    one, two = both
    access = add_access(one.store, "contoso")
    own = one.store.tenant(access.tenant_id)
    add(own, 1)
    token = one.token(access)
    clients = [Client(host, token) for host in (one, two)]
    body = json.dumps(
        {
            "@timestamp": "2024-03-12T08:53:07Z",
            "host": {"name": "pc"},
            "event": {"id": "1"},
            "dns": {"question": {"name": own.indicators()[0].value}},
        }
    ).encode()

    def send(number: int) -> Reply:
        return clients[number % 2]("POST", "Events", body, {"Idempotency-Key": f"key-{number // 2}"})

    with ThreadPoolExecutor(4) as threads:
        replies = list(threads.map(send, range(12)))
    assert {reply.status for reply in replies} == {200}
    for first, second in zip(replies[::2], replies[1::2], strict=True):
        assert first.json() == second.json()
    assert own.counts().detections == 1
    # Of two at once the answer is that of the quicker one, which need not have found it new.
    assert sum(reply.json()["newDetections"] for reply in replies[::2]) <= 1


# Connections


@pytest.fixture
def address() -> Iterator[str]:
    """The URL of an empty database of a server."""
    server = postgres.server()
    name = server.make()
    yield server.url(name)
    server.drop(name)


def test_who_reads_leaves_a_connection_to_who_writes(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with Store.open(address) as store, ExitStack() as busy:
        for _ in range(server_of._MOST - 1):
            busy.enter_context(store._database.reading())
        monkeypatch.setattr(server_of, "_PATIENCE", 0.1)
        with pytest.raises(StoreError, match="too many requests"):
            store.tenants()
        store.add_tenant("contoso")


def test_a_limit_of_the_server_is_named(address: str) -> None:
    with (
        Store.open(f"{address}&options=-c%20statement_timeout%3D300") as store,
        pytest.raises(StoreError, match="see which `statement_timeout` its user has"),
        store._database.writing() as connection,
    ):
        connection.exec_driver_sql("SELECT pg_sleep(5)")
