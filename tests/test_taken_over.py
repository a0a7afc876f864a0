"""Hosts of one database that are killed at a scan or an import: another one ends it, and nothing is twice."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from indicia.live import runner
from indicia.live.imports import REPORT, Imports
from indicia.live.imports import Asked as AskedImport
from indicia.live.jobs import Job, Jobs
from indicia.live.scans import Scans
from indicia.model import Quotas
from indicia.store import Phase, Store
from service import wait_until
from stored import add, drop, on, raw, url
from test_jobs import gone, host, processes
from test_scans import dns

pytestmark = pytest.mark.slow
LIMIT = 1 << 26
LINES, ROWS = 120_000, 300_000


@pytest.fixture
def path(tmp_path: Path) -> Iterator[Path]:
    """Of a database that both hosts have."""
    with on("postgresql"):
        yield tmp_path / "indicia.db"
    drop(tmp_path)


@contextmanager
def home(path: Path, name: str) -> Iterator[Path]:
    """A host that has jobs worked on meanwhile."""
    found = path.parent / name
    found.mkdir()
    with Store.open(url(path)) as store, runner.running(store, url(path), found):
        yield found


def killed(path: Path, jobs: Jobs[Any], one: Job[Any, Any], when: Callable[[Any], bool]) -> None:
    """Have a host begin it, and kill that host."""
    process = host(path, path.parent / "one", "runner.KINDS")
    try:
        wait_until(60, lambda: when(jobs.one(one.id).state))
    finally:
        process.kill()
        process.wait(10)
    wait_until(10, lambda: all(map(gone, processes(one.id))))
    assert jobs.one(one.id).state.phase is Phase.RUNNING, "too quick for this test"
    with raw(path) as execute:
        execute("UPDATE jobs SET lease_until = 1")


def ended(jobs: Jobs[Any], one: Job[Any, Any]) -> Any:
    wait_until(120, lambda: jobs.one(one.id).state.phase.is_over)
    found = jobs.one(one.id)
    assert (found.state.phase, found.state.fault) == (Phase.DONE, "")
    return found


def test_a_scan_that_was_killed_with_its_host_finds_the_same(path: Path) -> None:
    log = b"".join(dns(f"host-{number % 100}.example", number) for number in range(LINES))
    with Store.open(url(path)) as store:
        tenant = store.tenant(store.add_tenant("contoso").uid)
        add(tenant, 10)
        scans = Scans(path.parent / "two", tenant)
        one = scans.begin("dns.log", io.BytesIO(log), "x", LIMIT, record=True)
        killed(path, scans, one, lambda state: state.listed > 0)
        half = scans.one(one.id).state.listed
        assert 0 < half < LINES // 10
        with home(path, "two"):
            done = ended(scans, one)
            undisturbed = ended(scans, scans.begin("dns.log", io.BytesIO(log), "x", LIMIT, record=False))
        found, _ = done.found(0, LINES)
        assert found == undisturbed.found(0, LINES)[0]
        assert len(found) == len({one.id for one in found}) == LINES // 10 == tenant.counts().detections
        assert sum(alert.detection_count for alert in tenant.alerts()) == LINES // 10
        assert done.kept.attempts == 2


def test_an_import_that_was_killed_with_its_host_goes_on(path: Path) -> None:
    rows = "".join(f"DomainName,name-{number}.example\n" for number in range(ROWS))
    content = f"type,value\n{rows}Sha1,none\n".encode()
    with Store.open(url(path)) as store:
        tenant = store.tenant(store.add_tenant("contoso").uid)
        owner = add(tenant)
        imports = Imports(path.parent / "two", tenant)
        now = datetime.now(UTC)
        asked = AskedImport("a.csv", 0, "x", now, owner.id, owner.title, "", "", "", False, Quotas())
        one = imports.begin(asked, io.BytesIO(content), LIMIT)
        killed(path, imports, one, lambda state: state.added > 0)
        half = tenant.counts().indicators
        assert 0 < half < ROWS
        with home(path, "two"):
            state = ended(imports, one).state
        assert tenant.counts().indicators == ROWS
        assert (state.added, state.faults) == (ROWS, 1)
        assert state.skipped >= half, "it went on where it was"
        report = b"".join(imports.one(one.id).read(REPORT))
        assert report.count(b"\n") == 2
        wait_until(10, lambda: not imports.contents.has(one.kept, "upload"))
