"""The store's file: imports that stop anywhere, writers side by side, and advice when it cannot be used."""

from __future__ import annotations

import resource
import sqlite3
import stat
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from indicia.errors import NotFound, QuotaExceeded, StoreError
from indicia.model import AlertDefinition, Indicator, Quotas
from indicia.store import Counts, Store, TenantStore, migrate
from stored import CONTAINS, add, everything, indicator, opened, sound, url

pytestmark = pytest.mark.full

TESTS = Path(__file__).parent


@pytest.fixture
def path(tmp_path: Path, database: str) -> Path:
    """Where the store of a test lies."""
    return tmp_path / "indicia.db"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Where a store of SQLite lies, for what is about its file."""
    return tmp_path / "indicia.db"


@pytest.fixture
def tenant(path: Path) -> Iterator[TenantStore]:
    """A tenant of a new store, which is sound after the test."""
    with opened(path) as found:
        yield found
    sound(path)


# Imports

ROWS = [0, 1, 2, 1, 3, 4, 5, 6, 0, 7, 8, 9]
"""Numbers of indicators; two come twice."""


class Stopped(Exception):
    """The reader was interrupted."""


def reader(owner: AlertDefinition, start: int = 0, stop_at: int | None = None) -> Iterator[Indicator]:
    """The file's rows from `start` on; it fails before the row `stop_at`."""
    for place, number in enumerate(ROWS):
        if place == stop_at:
            raise Stopped
        if place >= start:
            yield indicator(owner, number)


def run(tenant: TenantStore, owner: AlertDefinition, new: Iterable[Indicator], start: int = 0) -> None:
    """One import to its end."""
    for _ in tenant.import_indicators(owner.id, new, "x", key="file", start=start, batch=5):
        pass


@pytest.mark.full
@pytest.mark.parametrize("stop_at", range(len(ROWS)))
def test_an_import_goes_on_wherever_it_stopped(tenant: TenantStore, stop_at: int) -> None:
    owner = add(tenant)
    with pytest.raises(Stopped):
        run(tenant, owner, reader(owner, stop_at=stop_at))
    half = tenant.import_state(owner.id, "file")
    assert half is not None
    assert not half.finished
    assert half.position == stop_at - stop_at % 5, "whole batches are stored"
    assert tenant.counts().indicators == half.added == len(set(ROWS[: half.position]))
    run(tenant, owner, reader(owner, half.position), half.position)
    whole = tenant.import_state(owner.id, "file")
    assert whole is not None
    assert (whole.finished, whole.position, whole.added, whole.known) == (True, 12, 10, 2)
    assert sorted(one.canonical for one in tenant.indicators()) == [f"host-{n}.example" for n in range(10)]


def test_a_second_import_adds_nothing(tenant: TenantStore) -> None:
    owner = add(tenant)
    run(tenant, owner, reader(owner))
    before = tenant.indicators()
    run(tenant, owner, reader(owner))
    assert tenant.indicators() == before
    state = tenant.import_state(owner.id, "file")
    assert state is not None
    assert (state.finished, state.added, state.known) == (True, 0, 12)


def test_a_wrong_checkpoint_costs_time_only(tenant: TenantStore) -> None:
    owner = add(tenant)
    with pytest.raises(Stopped):
        run(tenant, owner, reader(owner, stop_at=11))
    run(tenant, owner, reader(owner))
    assert tenant.counts().indicators == 10


def test_the_same_value_may_stand_under_another_definition_and_function(tenant: TenantStore) -> None:
    one, two = add(tenant, 3), add(tenant)
    new = [indicator(two, 0), indicator(two, 0, function=CONTAINS), indicator(two, 0)]
    run(tenant, two, new)
    assert tenant.counts() == Counts(2, 5, 1)
    assert len(tenant.indicators(definition_id=one.id)) == 3


def test_an_import_beyond_the_quota_keeps_the_batches_before(path: Path) -> None:
    with opened(path, Quotas(indicators=7)) as tenant:
        owner = add(tenant)
        with pytest.raises(QuotaExceeded, match="4 of 7 indicators; 4 more do not fit"):
            run(tenant, owner, reader(owner))
        assert tenant.counts().indicators == 4
        state = tenant.import_state(owner.id, "file")
        assert state is not None
        assert state.position == 5
    with opened(path) as tenant:
        run(tenant, owner, reader(owner, 5), 5)
        assert tenant.counts().indicators == 10
    sound(path)


def test_an_import_ends_where_its_definition_does(tenant: TenantStore) -> None:
    owner = add(tenant)
    batches = tenant.import_indicators(owner.id, reader(owner), "x", key="file", batch=5)
    next(batches)
    tenant.delete_definition(owner.id)
    with pytest.raises(NotFound):
        next(batches)
    assert tenant.counts() == Counts()
    with pytest.raises(NotFound):
        run(tenant, owner, [])


def test_an_import_looks_up_by_value_not_by_definition(file: Path) -> None:
    """Else each batch reads all that the definition has, and millions take hours."""
    seen: list[str] = []
    with opened(file) as tenant:
        owner = add(tenant)
        with tenant._database.bulk() as begin, begin() as connection:
            raw = connection.connection.driver_connection
            assert isinstance(raw, sqlite3.Connection)
            raw.set_trace_callback(seen.append)
        run(tenant, owner, reader(owner))
        raw.set_trace_callback(None)
        asked = next(text for text in seen if "json_each" in text)
        with tenant._database.reading() as connection:
            plan = [row[3] for row in connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {asked}")]
    assert any(
        "ix_indicators_tenant_id_canonical_key_definition_id (tenant_id=? AND" in step for step in plan
    )


# Writers side by side


def test_threads_write_at_once(path: Path) -> None:
    failures: list[BaseException] = []

    def work(tenant: TenantStore, worker: int) -> None:
        try:
            owner = add(tenant)
            for turn in range(4):
                start = worker * 1000 + turn * 50
                tenant.add_indicators([indicator(owner, start + n) for n in range(50)], by="x")
                assert len(tenant.indicators(definition_id=owner.id)) == (turn + 1) * 50
        except BaseException as error:
            failures.append(error)

    with opened(path) as tenant:
        threads = [threading.Thread(target=work, args=(tenant, worker)) for worker in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert not failures
        assert tenant.counts() == Counts(8, 1600)
    sound(path)


WORKER = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from stored import add, indicator, opened
with opened(sys.argv[2]) as tenant:
    owner = add(tenant)
    for turn in range(10):
        tenant.add_indicators([indicator(owner, turn * 20 + n) for n in range(20)], by="x")
    new = (indicator(owner, n) for n in range(400))
    for state in tenant.import_indicators(owner.id, new, "x", key="k", batch=50):
        pass
    assert (state.added, state.known) == (200, 200), state
"""


def start(script: str, *arguments: str) -> subprocess.Popen[str]:
    """A Python process."""
    command = [sys.executable, "-c", script, *arguments]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


@pytest.mark.full
def test_processes_write_at_once(path: Path) -> None:
    with opened(path) as tenant:
        workers = [start(WORKER, str(TESTS), url(path)) for _ in range(2)]
        for worker in workers:
            told, _ = worker.communicate()
            assert worker.returncode == 0, told
        assert tenant.counts() == Counts(2, 800)
    sound(path)


@pytest.mark.full
def test_processes_make_a_store_at_once(path: Path) -> None:
    script = "import sys; from indicia.store import Store; Store.open(sys.argv[1]).close()"
    workers = [start(script, url(path, empty=True)) for _ in range(4)]
    for worker in workers:
        told, _ = worker.communicate()
        assert worker.returncode == 0, told
    sound(path)


def test_a_writer_that_waits_too_long_is_told_to_come_again(path: Path) -> None:
    with opened(path) as tenant:
        owner = add(tenant, 1)
    with Store.open(url(path), busy_seconds=0.05) as store, opened(path) as other:
        tenant = store.tenant("contoso")
        with other._database.writing():
            with pytest.raises(StoreError, match="another process is writing") as told:
                tenant.add_indicators([indicator(owner, 5)], by="x")
            assert told.value.retry_after == 2
            assert tenant.counts().indicators == 1
        with store._database.writing(), pytest.raises(StoreError, match="longer write"):
            store.add_tenant("other")
        tenant.add_indicators([indicator(owner, 5)], by="x")
    sound(path)


def test_commits_are_on_disk_when_they_return(file: Path) -> None:
    with Store.open(url(file)) as store, store._database.reading() as connection:
        asked = {
            name: connection.exec_driver_sql(f"PRAGMA {name}").scalar()
            for name in ("journal_mode", "synchronous")
        }
        assert asked == {"journal_mode": "wal", "synchronous": 2}
        assert connection.exec_driver_sql("PRAGMA foreign_keys").scalar() == 1


@pytest.mark.full
def test_the_log_is_brought_home(file: Path) -> None:
    log = file.with_name(file.name + "-wal")
    with opened(file) as tenant:
        owner = add(tenant)
        new = (indicator(owner, number) for number in range(20_000))
        for _ in tenant.import_indicators(owner.id, new, "x", key="k", batch=5000):
            pass
        assert log.exists()
        alone = file.with_name("without-its-log.db")
        alone.write_bytes(file.read_bytes())
        assert len(everything(alone)["indicators"]) == 20_000
    assert not log.exists(), "the last one folds it into the file"


# What is said


def advice(path: Path, create: bool = True) -> str:
    """What is said when the store is opened and read."""

    def read() -> None:
        with Store.open(url(path), create=create) as store:
            for tenant in store.tenants():
                store.tenant(tenant.uid).indicators()

    with pytest.raises(StoreError) as told:
        read()
    assert told.value.status == 503
    return told.value.message


def test_a_new_store_is_for_its_owner_alone(file: Path) -> None:
    with opened(file) as tenant:
        add(tenant)
        for name in ("", "-wal", "-shm"):
            assert stat.S_IMODE(file.with_name(file.name + name).stat().st_mode) == 0o600


def test_what_is_not_there_is_told(file: Path) -> None:
    assert "`indicia init` makes one" in advice(file, create=False)
    assert not file.exists()
    assert "does not exist" in advice(file / "deeper")
    assert "is a folder" in advice(file.parent)
    with pytest.raises(StoreError, match="'mysql:' is no store") as told:
        Store.open("mysql://indicia:secret@localhost/indicia")
    assert "secret" not in str(told.value)


def test_a_store_of_a_newer_version_is_left_alone(file: Path) -> None:
    Store.open(url(file)).close()
    with closing(sqlite3.connect(file)) as raw:
        raw.execute("UPDATE alembic_version SET version_num = '9999'")
        raw.execute("UPDATE compatible SET since = '9998'")
        raw.commit()
    before = everything(file)
    assert "made by a newer Indicia (its tables are 9999" in advice(file)
    assert everything(file) == before


def test_a_store_of_a_newer_version_that_says_so_is_used_as_it_is(file: Path) -> None:
    """As by a roll-back, or by a host that is upgraded last."""
    Store.open(url(file)).close()
    with closing(sqlite3.connect(file)) as raw:
        raw.execute("UPDATE alembic_version SET version_num = '9999'")
        raw.commit()
    with opened(file) as tenant:
        add(tenant)
    with closing(sqlite3.connect(file)) as raw:
        assert raw.execute("SELECT version_num FROM alembic_version").fetchall() == [("9999",)]
        assert raw.execute("SELECT since FROM compatible").fetchall() == [(migrate.SINCE,)]


def test_a_database_of_another_program_is_left_alone(file: Path) -> None:
    with closing(sqlite3.connect(file)) as raw:
        raw.execute("CREATE TABLE recipes (id INTEGER)")
    before = file.read_bytes()
    assert "of another program; name another one" in advice(file)
    with closing(sqlite3.connect(file)) as raw:
        assert raw.execute("SELECT name FROM sqlite_master").fetchall() == [("recipes",)]
    assert len(file.read_bytes()) == len(before)


def test_a_file_that_is_no_database_is_told(file: Path) -> None:
    file.write_text("type,value\nDomainName,lantern.example\n" * 100)
    assert "is not an Indicia store" in advice(file)
    assert file.read_text().startswith("type,value")


def test_a_damaged_store_is_told(file: Path) -> None:
    with opened(file) as tenant:
        add(tenant, 2000)
    content = bytearray(file.read_bytes())
    content[8192:-4096] = b"\xa5" * (len(content) - 12288)
    file.write_bytes(content)
    assert "is damaged; restore a backup" in advice(file)


READ_ONLY = """
import os, sys
from indicia.errors import StoreError
from indicia.store import Store
import indicia.store.tenant
if os.geteuid() == 0:
    os.setuid(65534)
try:
    with Store.open("sqlite:///" + sys.argv[1]) as store:
        store.add_tenant("other")
except StoreError as error:
    print(error.message, end="")
"""


@pytest.mark.parametrize("mode", [0o444, 0o000])
def test_a_store_that_may_not_be_written_is_told(mode: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        path = Path(folder) / "indicia.db"
        Store.open(url(path)).close()
        path.chmod(mode)
        Path(folder).chmod(0o555)
        told, _ = start(READ_ONLY, str(path)).communicate()
        Path(folder).chmod(0o755)
    assert told.startswith(str(path)), told
    assert "check " in told


FULL = """
import resource, sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from stored import add, indicator, opened
from indicia.errors import StoreError
with opened(sys.argv[2]) as tenant:
    owner = add(tenant, 1)
    resource.setrlimit(resource.RLIMIT_FSIZE, (600_000, 600_000))
    try:
        tenant.add_indicators([indicator(owner, n) for n in range(20_000)], by="x")
    except StoreError as error:
        print(error.message)
    print(tenant.counts().indicators)
"""


@pytest.mark.full
@pytest.mark.skipif(not hasattr(resource, "RLIMIT_FSIZE"), reason="no limit of file sizes here")
def test_a_full_disk_changes_nothing(file: Path) -> None:
    told, _ = start(FULL, str(TESTS), url(file)).communicate()
    message, count = told.splitlines()
    assert "disk" in message
    assert count == "1"
    with opened(file) as tenant:
        assert tenant.counts() == Counts(1, 1)
    sound(file)
