"""The store on PostgreSQL: what is said when the server is in the way, what it does otherwise than a file.

What both do alike is in the other tests of the store, which run on both.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

import postgres
import stored
from indicia.errors import InputError, StoreError
from indicia.live import compiled, following
from indicia.store import UPLOAD, NewJob, Phase, Piece, Store, TenantStore, inspection, migrate
from indicia.store import postgres as engine
from indicia.store.tables import METADATA, OF_TENANTS
from service import add_access, local
from stored import add, definition, detection, indicator, opened, url

pytestmark = pytest.mark.full

PASSWORD = "geheim: 100%/@"
ESCAPED = "geheim%3A%20100%25%2F%40"


@pytest.fixture
def path(tmp_path: Path) -> Iterator[Path]:
    """Where the store of a test lies."""
    with stored.on("postgresql"):
        yield tmp_path / "indicia.db"
    stored.drop(tmp_path)


@pytest.fixture
def tenant(path: Path) -> Iterator[TenantStore]:
    """A tenant of a new store."""
    with opened(path) as found:
        yield found


def advice(address: str, *, create: bool = True) -> StoreError:
    """What is said when the store is opened and read."""
    with pytest.raises(StoreError) as told, Store.open(address, create=create) as store:
        store.add_tenant("other")
    assert told.value.status == 503
    assert PASSWORD not in str(told.value)
    assert ESCAPED not in str(told.value)
    return told.value


# What is said


def test_a_server_that_is_not_there() -> None:
    told = advice(f"postgresql://indicia:{ESCAPED}@127.0.0.1:1/indicia?sslmode=disable")
    assert told.message.startswith("postgresql://indicia@127.0.0.1:1/indicia cannot be reached")
    assert told.retry_after == 5
    told = advice("postgresql:///indicia?host=/nowhere")
    assert "cannot be reached" in told.message


@pytest.mark.parametrize(
    ("address", "said"),
    [
        ("postgresql://ann@[::1/x", "cannot be read"),
        (f"postgresql://ann:{ESCAPED}@host/x?what=1", "cannot be read: libpq knows no parameter 'what'"),
        (f"postgresql://ann:{PASSWORD}@host/x", "cannot be read"),
        ("postgresql://ann:se@cret@host/x", "cannot be read"),
        ("postgresql://ann:se/cret@host/x", "cannot be read"),
        ("postgresql://ann:se@se?cret=b@host/x", "%-escape what is special"),
        (f"mysql://ann:{ESCAPED}@host/x", "'mysql:' is no store"),
        ("sqlite:///", "names no file"),
    ],
)
def test_an_address_that_is_none(address: str, said: str) -> None:
    told = advice(address).message
    assert said in told
    assert "cret" not in told


def test_who_may_not_enter_is_told_so() -> None:
    server = postgres.server()
    name = server.make()
    with server.connect(name) as raw:
        raw.execute(f"CREATE ROLE {postgres.LOCKED} LOGIN PASSWORD '{PASSWORD}' CONNECTION LIMIT 3".encode())
    try:
        told = advice(server.url(name, f"{postgres.LOCKED}:wrong"))
        assert "refuses who asks; check the user and the password" in told.message
        assert told.retry_after is None
        assert "refuses who asks" in advice(server.url(name, "stranger")).message
        address = server.url(name, f"{postgres.LOCKED}:{ESCAPED}")
        assert "may not do that: to make and migrate tables" in advice(address).message
        with server.connect(name) as raw:
            raw.execute(f"ALTER DATABASE {name} OWNER TO {postgres.LOCKED}".encode())
        with Store.open(address) as store:
            store.add_tenant("contoso")
        with server.connect(name) as raw:
            raw.execute(f"ALTER ROLE {postgres.LOCKED} CONNECTION LIMIT 0".encode())
        told = advice(address)
        assert "has no connection left" in told.message
        assert told.retry_after == 5
    finally:
        server.drop(name)
        with server.connect() as raw:
            raw.execute(f"DROP ROLE {postgres.LOCKED}".encode())


def test_a_database_that_is_not_there_or_not_ours(path: Path) -> None:
    server = postgres.server()
    assert "nowhere?host=" in advice(server.url("nowhere")).message
    assert "does not exist; make it with `createdb`" in advice(server.url("nowhere")).message
    assert "`indicia init` makes one" in advice(url(path, empty=True), create=False).message
    name = server.make()
    with server.connect(name) as raw:
        raw.execute("CREATE TABLE recipes (id integer)")
    assert "of another program" in advice(server.url(name)).message
    server.drop(name)
    with server.connect() as raw:
        raw.execute("CREATE DATABASE latin ENCODING 'LATIN1' LOCALE 'C' TEMPLATE template0")
    assert "keeps texts as LATIN1; make it with" in advice(server.url("latin")).message
    server.drop("latin")


def test_a_store_of_a_newer_version_is_left_alone(path: Path) -> None:
    address = url(path)
    with stored.raw(path) as execute:
        execute("UPDATE alembic_version SET version_num = '9999'")
        execute("UPDATE compatible SET since = '9998'")
    assert "made by a newer Indicia (its tables are 9999" in advice(address).message


def test_a_database_that_takes_no_writes(path: Path, tenant: TenantStore) -> None:
    add(tenant, 1)
    with stored.raw(path) as execute:
        (name,) = execute("SELECT current_database()")[0]
        execute(f"ALTER DATABASE {name} SET default_transaction_read_only = on")
    try:
        with opened(path) as other:
            assert other.counts().indicators == 1
            with pytest.raises(StoreError, match="takes no writes: it is a standby") as told:
                add(other)
        assert told.value.retry_after == 5
    finally:
        with postgres.server().connect() as raw:
            raw.execute(f"ALTER DATABASE {name} RESET default_transaction_read_only".encode())


def test_a_query_that_takes_too_long(tenant: TenantStore) -> None:
    with (
        pytest.raises(InputError, match=r"longer than 0.05 seconds"),
        tenant._database.querying(0.05) as connection,
    ):
        connection.exec_driver_sql("SELECT pg_sleep(10)")
    with tenant._database.querying(5) as connection:
        assert connection.exec_driver_sql("SELECT pg_sleep(0.1), 1").one()[1] == 1


def test_without_its_driver_the_package_is_named() -> None:
    script = (
        "import sys; sys.modules['psycopg'] = None\n"
        "from indicia.store import Store\n"
        "try: Store.open('postgresql://x/y')\n"
        "except Exception as error: print(type(error).__name__, error)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.startswith("StoreError"), done.stdout
    assert "pip install 'indicia[postgres]'" in done.stdout


# A server that goes away


def test_a_connection_that_is_cut_undoes_what_it_did(path: Path, tenant: TenantStore) -> None:
    def cut() -> None:
        with stored.raw(path) as execute:
            execute("SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory'")

    def write() -> None:
        with tenant._writing() as scope:
            scope.insert(METADATA.tables["receipts"], key="k", digest="d", answer="", created_at=1)
            cut()
            scope.insert(METADATA.tables["receipts"], key="l", digest="d", answer="", created_at=1)

    with pytest.raises(StoreError, match="is stopping or starting") as told:
        write()
    assert told.value.retry_after == 5
    assert tenant.receipt("k") is None
    add(tenant)


def test_who_stands_still_gives_the_lock_back(
    path: Path, tenant: TenantStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine, "_LOCK", engine._LOCK.replace(engine._STALLED, "100ms"))

    def stand() -> None:
        with tenant._writing() as scope:
            time.sleep(0.5)
            scope.count(METADATA.tables["receipts"])

    with pytest.raises(StoreError, match="stood still too long"):
        stand()
    monkeypatch.setattr(engine, "_STALLED", "100ms")

    def stand_beside() -> None:
        with tenant._database.beside(1) as connection:
            time.sleep(0.5)
            connection.exec_driver_sql("SELECT 1")

    with pytest.raises(StoreError, match="stood still too long"):
        stand_beside()
    monkeypatch.undo()
    with opened(path) as other:
        add(other)


# What differs from a file


def test_texts_come_back_as_they_were_in_the_order_of_code_points(tenant: TenantStore) -> None:
    texts = [
        "\0",
        "\0\0",
        "\0\1",
        "\0\2",
        "\1",
        "\1\0",
        "\1\1",
        "\1\2",
        "\2",
        "",
        "a\0b",
        "B",
        "a",
        "é",
        "ﬀ",
        "𝄞",
    ]
    add(tenant)
    made = tenant.add_definitions([definition(name=text) for text in texts], by="x")
    assert [one.name for one in tenant.definitions()[1:]] == texts
    with tenant._reading() as scope:
        table = METADATA.tables["definitions"]
        found = scope.rows(scope.select(table, table.c.name).where(table.c.id >= made[0].id).order_by("name"))
        assert [row.name for row in found] == sorted(texts)
        for text in texts:
            (one,) = scope.lookup(table, "name", text)
            assert one[0] == made[texts.index(text)].id


def test_an_event_may_hold_what_it_likes(tenant: TenantStore) -> None:
    """U+0000 anywhere, and a machine that no index of PostgreSQL's would take."""
    add(tenant, 1)
    name = "".join(chr(0x4E00 + number * 7919 % 20_000) for number in range(20_000))
    met = detection(tenant.indicators()[0], tenant.uid, machine=name)
    met = replace(met, source="a\0b", event_text="x\0y")
    (alert,) = tenant.record([met]).opened
    assert tenant.alert(alert.id).machine == name
    ((_, kept),) = tenant.detections()
    assert (kept.id, kept.source, kept.machine) == (met.id, "a\0b", name)
    assert not tenant.record([met]).new_detections


def test_a_reader_does_not_see_numbers_of_a_writer(path: Path, tenant: TenantStore) -> None:
    """Else a live index would believe that it has read what is not committed yet."""
    owner = add(tenant, 3)
    table = METADATA.tables["indicators"]
    with opened(path) as other, tenant._writing() as scope:
        assert scope.reserve_ids(table, 10) == range(4, 14)
        assert scope.last_id(table) == 13
        with other._reading() as reader:
            assert reader.last_id(table) == 3
    tenant.delete_indicators()
    assert tenant.add_indicators([indicator(owner, 9)], "x")[0].id == 14, "never twice"


def test_what_another_process_writes_is_told_at_once(
    path: Path, tenant: TenantStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(following, "POLL", 60.0)
    owner = add(tenant, 1)
    with Store.open(url(path)) as store:
        live = following.Followings(store, url(path), tmp_path)
        try:
            one = live.of(store.tenant(tenant.uid))
            time.sleep(1)  # it listens
            for number in range(2, 6):
                tenant.add_indicators([indicator(owner, number)], "x")
                assert one.wait(tenant.generation(), 1)
            with stored.raw(path) as execute:  # the listener's connection is cut, and comes again
                execute(
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query = 'LISTEN indicia'"
                )
            tenant.add_indicators([indicator(owner, 9)], "x")
            assert one.wait(tenant.generation(), 10)
        finally:
            live.close()


def test_quotas_hold_over_processes(path: Path, tenant: TenantStore) -> None:
    owner = add(tenant)
    script = """
import sys
sys.path.insert(0, sys.argv[1])
from stored import indicator, opened
from indicia.errors import QuotaExceeded
from indicia.model import Quotas
with opened(sys.argv[2], Quotas(indicators=100)) as tenant:
    owner = tenant.definitions()[0]
    for number in range(100):
        try:
            tenant.add_indicators([indicator(owner, number)], by="x")
        except QuotaExceeded:
            break
"""
    command = [sys.executable, "-c", script, str(Path(__file__).parent), url(path)]
    for process in [subprocess.Popen(command) for _ in range(2)]:
        assert process.wait(60) == 0
    assert tenant.counts().indicators == 100
    assert [one.id for one in tenant.indicators()] == list(range(1, 101))
    assert owner.id == 1


def test_no_argument_of_a_process_holds_the_address(path: Path, tenant: TenantStore, tmp_path: Path) -> None:
    add(tenant, 100)
    seen: set[str] = set()
    over = threading.Event()

    def look() -> None:
        while not over.is_set():
            for entry in Path("/proc").glob("[0-9]*/cmdline"):
                try:
                    said = entry.read_bytes().replace(b"\0", b" ").decode("utf-8", "replace")
                except OSError:
                    continue
                if "live.compiled" in said and str(tmp_path) in said:
                    seen.add(said)

    thread = threading.Thread(target=look)
    thread.start()
    try:
        assert compiled.make_apart(url(path), tenant, tmp_path / "indexes")
    finally:
        over.set()
        thread.join()
    assert len(seen) == 1
    assert "postgresql:" not in seen.pop()
    assert compiled.newest(tmp_path / "indexes", tenant.uid) is not None


# The second wall

WALLED = "walled"
"""A user that owns nothing, as a service may have it."""


@pytest.fixture
def walled(path: Path) -> Iterator[tuple[TenantStore, TenantStore]]:
    """Two tenants with the same things, the first as a user sees it that does not own the tables."""
    with Store.open(url(path)) as owner, stored.raw(path) as execute:
        execute(f"CREATE ROLE {WALLED} LOGIN")
        execute(f"GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO {WALLED}")
        execute(f"GRANT USAGE, SELECT, UPDATE ON ALL SEQUENCES IN SCHEMA public TO {WALLED}")
        names = [owner.add_tenant(name).uid for name in ("mine", "theirs")]
    try:
        with (
            Store.open(url(path).replace("postgres@", f"{WALLED}@")) as store,
            Store.open(url(path)) as owner,
        ):
            yield store.tenant(names[0]), owner.tenant(names[1])
    finally:
        with stored.raw(path) as execute:
            execute(f"DROP OWNED BY {WALLED}")
            execute(f"DROP ROLE {WALLED}")


def furnish(tenant: TenantStore) -> None:
    """Rows in many tables, by every way that rows come."""
    owner = add(tenant, 3)
    for _ in tenant.import_indicators(owner.id, [indicator(owner, 8)], "x", key="k"):
        pass
    met = detection(tenant.indicators()[0], tenant.uid)
    tenant.record([replace(met, event_text="{}")])
    tenant.add_application("app", ["role"])
    tenant.change_definition(owner.id, {"title": "other"}, "x")
    new = NewJob("0" * 16, "a lease", "host", "a.log", "x", datetime.now(UTC))
    assert tenant.jobs.add("scans", new, 60, unfinished=1, most=1) == []
    last = {"phase": Phase.WAITING, "asked": "{}", "state": "{}"}
    assert tenant.jobs.put("scans", new.key, "a lease", 60, last, [Piece(UPLOAD, 0, b"a")])
    assert tenant.jobs.take("scans", "another", "host", 60) is not None
    assert tenant.counts().indicators == 4


def test_every_table_of_tenants_has_the_wall(path: Path) -> None:
    url(path)
    with stored.raw(path) as execute:
        found = execute("SELECT tablename FROM pg_policies WHERE policyname = 'tenant'")
        active = execute("SELECT relname FROM pg_class WHERE relrowsecurity")
    assert {name for (name,) in found} == {table.name for table in OF_TENANTS}
    assert {name for (name,) in active} == {table.name for table in OF_TENANTS}


def test_a_statement_without_the_tenant_meets_the_wall(walled: tuple[TenantStore, TenantStore]) -> None:
    mine, theirs = walled
    furnish(theirs)
    furnish(mine)
    full = 0
    with mine._writing() as scope:
        run = scope._connection.exec_driver_sql
        for table in OF_TENANTS:
            seen = set(run(f"SELECT tenant_id FROM {table.name}").scalars())
            full += bool(seen)
            assert seen <= {mine.tenant.id}, table.name
            assert run(f"UPDATE {table.name} SET tenant_id = 1 WHERE tenant_id <> 1").rowcount == 0
        assert run("DELETE FROM detections").rowcount == 1
    assert full >= 10
    assert theirs.counts().detections == len(theirs.detections()) == 1
    for statement in (
        f"UPDATE definitions SET tenant_id = {theirs.tenant.id}",
        f"INSERT INTO purges (tenant_id, definition_id, indicators_to, definitions_to) "
        f"VALUES ({theirs.tenant.id}, 0, 100, 100)",
    ):
        with pytest.raises(StoreError, match="may not do that"), mine._writing() as scope:
            scope._connection.exec_driver_sql(statement)
    assert len(theirs.indicators()) == 4


def test_who_looks_is_told_of_the_wall(
    path: Path, walled: tuple[TenantStore, TenantStore], tmp_path: Path
) -> None:
    assert walled[0].counts().indicators == 0
    assert not inspection.inspect_server(url(path))[1].walled
    with stored.raw(path) as execute:
        execute(f"UPDATE alembic_version SET version_num = '{migrate.VERSIONS[-2]}'")
    address = url(path).replace("postgres@", f"{WALLED}@")
    environment = {"INDICIA_HOME": str(tmp_path), "INDICIA_DATABASE": address}
    command = [sys.executable, "-m", "indicia", "doctor"]
    said = subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout
    assert "row-level security holds; who owns them, by `indicia store migrate`, brings the tables" in said


def test_the_wall_ends_with_the_transaction(walled: tuple[TenantStore, TenantStore]) -> None:
    mine, theirs = walled
    client = theirs.add_application("app", ["role"]).client_id
    with mine._reading():
        pass
    with mine._database.reading() as connection:
        assert connection.exec_driver_sql("SELECT client_id FROM applications").scalars().all() == [client]


# The whole road


def test_the_doctor_looks_at_the_server_and_shows_no_password(path: Path, tmp_path: Path) -> None:
    address = url(path, empty=True).replace("postgres@", f"postgres:{ESCAPED}@")
    environment = {
        "PATH": "/usr/bin:/bin",
        "INDICIA_HOME": str(tmp_path / "home"),
        "INDICIA_DATABASE": address,
    }

    def run(*words: str) -> str:
        command = [sys.executable, "-m", "indicia", *words]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
        return done.stdout + done.stderr

    assert "no tables yet; `indicia init --save FILE` makes them" in run("doctor")
    assert not (tmp_path / "home").exists()
    run("init", "--save", str(tmp_path / "access.json"))
    said = run("doctor")
    assert f"PostgreSQL {postgres.server().version}, tables {migrate.HEAD}" in said
    assert "tenant default" in said
    assert re.search(r"^extras +ok +.*\bpostgres\b.* installed", said, re.M)
    assert "row-level security" not in said
    assert ESCAPED not in said
    assert PASSWORD not in said
    assert not (tmp_path / "home" / "indicia.db").exists()
    another = tmp_path / "another" / "home"  # of a further host: an init there would make one more tenant
    environment["INDICIA_HOME"] = str(another)
    assert f"{another} is not there; `indicia serve` makes it" in run("doctor")
    assert not another.exists()
    run("alerts", "list")
    assert another.stat().st_mode & 0o777 == 0o700


def test_events_in_alerts_out(path: Path, tmp_path: Path) -> None:
    event = {"@timestamp": "2024-03-12T08:53:07Z", "host": {"name": "pc-1"}, "event": {"id": "1"}}
    with local(tmp_path / "home", database=url(path)) as service:
        client = service.client(add_access(service.store, "fabrikam"))
        owner = client.add_definition()
        reply = client(
            "POST",
            "IndicatorsOfCompromise",
            {
                "Type": "DomainName",
                "Value": "evil.example",
                "DetectionFunction": "SubdomainOf",
                "Enabled": True,
                "AlertDefinition@odata.bind": f"AlertDefinitions({owner})",
            },
            {"Prefer": "return=representation, wait=5"},
        )
        assert reply.status == 201, reply.body
        lines = [event | {"dns": {"question": {"name": name}}} for name in ("a.evil.example", "b.example")]
        body = b"".join(json.dumps(line).encode() + b"\n" for line in lines)
        reply = client("POST", "Events", body, {"Content-Type": "application/x-ndjson"})
        assert reply.status == 200, reply.body
        (alert,) = client("GET", "Alerts").json()["value"]
        assert (alert["Machine"], alert["DetectionCount"]) == ("pc-1", 1)
        changed = client("PATCH", f"Alerts({alert['Id']})", {"Status": "Resolved"})
        assert changed.status in (200, 204), changed.body
        assert client("GET", f"Alerts({alert['Id']})").json()["Status"] == "Resolved"
