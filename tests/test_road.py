"""The road's two ways over a real store: files of indicators into it, telemetry to what it records."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from indicia import road, scans, telemetry
from indicia.errors import InputError, MalformedFile, MissingExtra, NotFound, QuotaExceeded
from indicia.feeds import FeedFault, digest, make
from indicia.match.engine import of_reference
from indicia.model import (
    AlertDefinition,
    AlertStatus,
    Category,
    Detection,
    DetectionFunction,
    Indicator,
    Quotas,
    Severity,
)
from indicia.road import Loaded, LoadJob, LoadWatch, ScanJob, Scanned, ScanWatch
from indicia.store import ImportState, Store, TenantStore
from indicia.store.tenant import BATCH

MORE = BATCH + BATCH // 2
"""Rows of two batches."""
AS_GIVEN = make.Choice()
NOBODY = LoadWatch()
NO_ONE = ScanWatch()


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store.open(f"sqlite:///{tmp_path}/indicia.db") as opened:
        opened.add_tenant("Example")
        yield opened


@pytest.fixture
def tenant(store: Store) -> TenantStore:
    return store.tenant("Example")


@pytest.fixture
def owner(tenant: TenantStore) -> AlertDefinition:
    new = AlertDefinition(
        uid="", name="Feed", title="A feed", severity=Severity.LOW, category=Category.GENERAL
    )
    return tenant.add_definitions([new], "test")[0]


# load


def listed(folder: Path, lines: Iterable[str], name: str = "list") -> Path:
    path = folder / name
    path.write_text("".join(f"{line}\n" for line in lines), "utf-8")
    return path


def hashes(count: int) -> Iterator[str]:
    """MD5 of numbers: as random as those of real lists."""
    return (hashlib.md5(str(number).encode(), usedforsecurity=False).hexdigest() for number in range(count))


def job_of(path: Path, owner: AlertDefinition, choice: make.Choice = AS_GIVEN) -> LoadJob:
    return LoadJob(str(path), owner, choice, "list", key=digest(str(path)), by="test")


def loaded(job: LoadJob, tenant: TenantStore, watch: LoadWatch = NOBODY) -> Loaded:
    done = Loaded()
    road.load(job, tenant, watch, done)
    return done


def test_a_file_becomes_indicators_and_its_faults_are_told(
    tmp_path: Path, tenant: TenantStore, owner: AlertDefinition
) -> None:
    path = listed(
        tmp_path,
        ["evil.example", "what is this", "192.0.2.1", "EVIL[.]example", "duckdns.org", f"{'0' * 32}  # zero"],
    )
    told: list[FeedFault] = []
    warned: list[FeedFault] = []
    states: list[ImportState] = []
    watch = LoadWatch(told.append, warned.append, stored=states.append)
    choice = make.Choice(DetectionFunction.SUBDOMAIN_OF, source="a feed")
    done = loaded(job_of(path, owner, choice), tenant, watch)
    assert done == Loaded(rows=6, faults=1, warnings=2, added=4, known=1, finished=True)
    assert told == [FeedFault(2, "'what is this' looks like no indicator")]
    assert [warning.line for warning in warned] == [3, 5]
    assert [(one.value, one.function, one.source, one.created_by) for one in tenant.indicators()] == [
        ("evil.example", "SubdomainOf", "a feed", "test"),
        ("192.0.2.1", "Equals", "a feed", "test"),
        ("duckdns.org", "Equals", "a feed", "test"),
        ("0" * 32, "Equals", "a feed", "test"),
    ]
    assert (states[-1].finished, states[-1].added, states[-1].known) == (True, 4, 1)
    assert tenant.counts().patterns == 0  # SubdomainOf is none


def test_a_second_load_adds_nothing_and_says_the_same_of_faults(
    tmp_path: Path, tenant: TenantStore, owner: AlertDefinition
) -> None:
    path = listed(tmp_path, ["evil.example", "what is this", "192.0.2.1"])
    first = loaded(job_of(path, owner), tenant)
    second = loaded(job_of(path, owner), tenant)
    assert (first.added, first.known, first.faults) == (2, 0, 1)
    assert second == replace(first, added=0, known=2)
    (gone, _) = tenant.indicators()
    tenant.delete_indicator(gone.id)
    third = loaded(job_of(path, owner), tenant)
    assert (third.added, third.known, tenant.counts().indicators) == (1, 1, 2)


def test_one_value_may_stand_under_two_definitions_and_with_two_functions(
    tmp_path: Path, tenant: TenantStore, owner: AlertDefinition
) -> None:
    other = tenant.add_definitions([owner], "test")[0]
    path = listed(tmp_path, ["evil.example"])
    subdomains = make.Choice(DetectionFunction.SUBDOMAIN_OF)
    jobs = [job_of(path, owner), job_of(path, other), replace(job_of(path, owner, subdomains), key="other")]
    assert [loaded(job, tenant).added for job in jobs] == [1, 1, 1]


@pytest.mark.full
def test_batches_are_on_disk_one_after_another(
    tmp_path: Path, store: Store, tenant: TenantStore, owner: AlertDefinition
) -> None:
    path = listed(tmp_path, hashes(MORE))
    seen: list[tuple[int, int]] = []

    def stored(state: ImportState) -> None:
        # Read by another connection: what is told is committed.
        seen.append((state.position, store.tenant("Example").counts().indicators))

    assert loaded(job_of(path, owner), tenant, LoadWatch(stored=stored)).added == MORE
    assert seen == [(BATCH, BATCH), (MORE, MORE), (MORE, MORE)]


@pytest.mark.full
def test_an_interrupted_load_goes_on_where_it_was(
    tmp_path: Path, tenant: TenantStore, owner: AlertDefinition
) -> None:
    lines = list(hashes(MORE))
    lines[10:10] = ["not a hash", lines[3]]
    lines[-5:-5] = ["not a hash either", lines[4]]
    job = job_of(listed(tmp_path, lines), owner)

    def interrupt(_state: ImportState) -> None:
        raise KeyboardInterrupt

    done = Loaded()
    with pytest.raises(KeyboardInterrupt):
        road.load(job, tenant, LoadWatch(stored=interrupt), done)
    assert not done.finished
    assert tenant.counts().indicators == BATCH - 1
    state = tenant.import_state(owner.id, job.key)
    assert state is not None
    assert (state.position, state.added, state.known) == (BATCH + 1, BATCH - 1, 1)
    told: list[FeedFault] = []
    again = loaded(job, tenant, LoadWatch(fault=told.append))
    assert again == Loaded(rows=MORE + 4, skipped=BATCH + 1, faults=2, added=MORE, known=2, finished=True)
    assert [fault.line for fault in told] == [MORE - 2]
    assert tenant.counts().indicators == MORE
    assert len({one.value for one in pages(tenant)}) == MORE


def pages(tenant: TenantStore) -> Iterator[Indicator]:
    after = 0
    while found := tenant.indicators(after=after, limit=10_000):
        yield from found
        after = found[-1].id


@pytest.mark.full
def test_without_a_key_a_load_begins_anew_and_adds_what_is_missing(
    tmp_path: Path, tenant: TenantStore, owner: AlertDefinition
) -> None:
    job = replace(job_of(listed(tmp_path, hashes(MORE)), owner), key="")

    def interrupt(_state: ImportState) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        road.load(job, tenant, LoadWatch(stored=interrupt), Loaded())
    again = loaded(job, tenant)
    assert (again.skipped, again.added, again.known) == (0, MORE - BATCH, BATCH)


@pytest.mark.full
def test_a_quota_keeps_the_batches_before(tmp_path: Path) -> None:
    with Store.open(f"sqlite:///{tmp_path}/q.db", quotas=Quotas(indicators=BATCH + 10)) as store:
        store.add_tenant("Example")
        tenant = store.tenant("Example")
        owner = tenant.add_definitions(
            [AlertDefinition("", "Feed", "A feed", Severity.LOW, Category.GENERAL)], "test"
        )[0]
        job = job_of(listed(tmp_path, hashes(MORE)), owner)
        done = Loaded()
        with pytest.raises(QuotaExceeded, match=f"has {BATCH} of {BATCH + 10} indicators") as refused:
            road.load(job, tenant, LoadWatch(), done)
        assert "Nothing was stored" not in refused.value.message
        assert (done.finished, done.added, tenant.counts().indicators) == (False, BATCH, BATCH)
        store.quotas = Quotas()
        assert loaded(job, store.tenant("Example")).added == MORE


def test_the_quota_of_patterns_does_not_count_subdomainof(
    tmp_path: Path, store: Store, owner: AlertDefinition
) -> None:
    store.quotas = Quotas(patterns=2)
    tenant = store.tenant("Example")
    path = listed(tmp_path, ["a.example", "b.example", "c.example"])
    with pytest.raises(QuotaExceeded, match="indicators with StartWith, EndWith or Contains"):
        loaded(job_of(path, owner, make.Choice(DetectionFunction.END_WITH)), tenant)
    assert tenant.counts().indicators == 0
    assert loaded(job_of(path, owner, make.Choice(DetectionFunction.SUBDOMAIN_OF)), tenant).added == 3


def test_what_cannot_be_loaded_is_refused_and_leaves_nothing(
    tmp_path: Path, tenant: TenantStore, owner: AlertDefinition
) -> None:
    path = listed(tmp_path, ["type,name", "Md5,x"])
    with pytest.raises(MalformedFile, match="no column `value`"):
        loaded(replace(job_of(path, owner), format="csv"), tenant)
    with pytest.raises(InputError, match="no such file"):
        loaded(LoadJob(str(tmp_path / "absent"), owner, make.Choice()), tenant)
    with pytest.raises(NotFound, match="999"):
        loaded(job_of(listed(tmp_path, ["evil.example"]), replace(owner, id=999)), tenant)
    assert tenant.counts().indicators == 0


def test_check_reads_as_load_does_and_stores_nothing(
    tmp_path: Path, tenant: TenantStore, owner: AlertDefinition
) -> None:
    path = listed(tmp_path, ["evil.example", "what is this", "192.0.2.1"])
    told: list[FeedFault] = []
    done = Loaded()
    road.check(job_of(path, owner), LoadWatch(fault=told.append), done)
    assert (done.rows, done.faults, [fault.line for fault in told]) == (3, 1, [2])
    assert tenant.counts().indicators == 0


# scan


def event(number: int, name: str = "evil.example") -> str:
    """A DNS query as Zeek writes it, one a minute from 2024-03-12T07:53:20Z on."""
    shown = {
        "_path": "dns",
        "ts": 1710230000 + 60 * number,
        "uid": f"C{number}",
        "id.orig_h": "192.0.2.114",
        "id.orig_p": 50000,
        "id.resp_h": "192.0.2.53",
        "id.resp_p": 53,
        "query": name,
        "trans_id": number,
    }
    return json.dumps(shown)


@pytest.fixture
def watched(tmp_path: Path, tenant: TenantStore, owner: AlertDefinition) -> TenantStore:
    """A tenant that looks for evil.example and all below."""
    choice = make.Choice(DetectionFunction.SUBDOMAIN_OF)
    loaded(job_of(listed(tmp_path, ["evil.example"]), owner, choice), tenant)
    return tenant


def scan_job(paths: Iterable[Path], tenant: TenantStore, *, stored: bool = True) -> ScanJob:
    return ScanJob(
        telemetry.sources([str(path) for path in paths]),
        of_reference(tenant.matchable()),
        tenant=tenant.uid,
        store=tenant if stored else None,
    )


def scanned(job: ScanJob, watch: ScanWatch = NO_ONE) -> Scanned:
    done = Scanned()
    road.scan(job, watch, done)
    return done


def test_a_scan_records_what_it_finds_once(tmp_path: Path, watched: TenantStore) -> None:
    lines = [event(1), event(2, "www.evil.example"), event(3, "good.example"), "{broken", event(1)]
    path = listed(tmp_path, lines, "dns.log")
    told: list[Detection] = []
    bad: list[telemetry.Malformed] = []
    read: list[int] = []
    watch = ScanWatch(told.append, bad.append, progress=lambda size, _events: read.append(size))
    done = scanned(scan_job([path], watched), watch)
    assert (done.sources, done.events, done.malformed, done.raising, done.silent) == (1, 4, 1, 2, 0)
    assert (done.recorded, done.opened, done.reopened) == (2, 1, 0)
    assert [what.line for what in bad] == [4]
    assert sum(read) == path.stat().st_size
    kept = [found for _, found in watched.detections()]
    assert [found.id for found in kept] == [found.id for found in told]
    (alert,) = watched.alerts()
    (own,) = done.alerts.values()
    assert (alert.id, alert.detection_count, alert.machine) == (own.id, 2, "192.0.2.114")
    assert (alert.first_seen, alert.last_seen) == (own.first_seen, own.last_seen)


def test_a_replay_changes_nothing(tmp_path: Path, watched: TenantStore) -> None:
    path = listed(tmp_path, map(event, range(5)), "dns.log")
    scanned(scan_job([path], watched))
    before = watched.alerts()
    moved = listed(tmp_path, reversed([event(number) for number in range(5)]), "moved.log")
    again = scanned(scan_job([path, moved], watched))
    assert (again.raising, again.recorded, again.opened, again.reopened) == (5, 0, 0, 0)
    assert watched.alerts() == before
    assert watched.counts().detections == 5


def test_a_detection_reopens_an_alert_that_was_resolved(tmp_path: Path, watched: TenantStore) -> None:
    scanned(scan_job([listed(tmp_path, [event(1)], "one.log")], watched))
    (alert,) = watched.alerts()
    watched.change_alert(alert.number, {"status": AlertStatus.RESOLVED}, "tests")
    assert scanned(scan_job([tmp_path / "one.log"], watched)).reopened == 0
    done = scanned(scan_job([listed(tmp_path, [event(2)], "two.log")], watched))
    assert (done.opened, done.reopened, done.recorded) == (0, 1, 1)


def test_a_scan_without_a_store_finds_the_same_and_keeps_nothing(
    tmp_path: Path, watched: TenantStore
) -> None:
    path = listed(tmp_path, map(event, range(5)), "dns.log")
    dry = scanned(scan_job([path], watched, stored=False))
    assert (dry.raising, dry.recorded, dry.opened, watched.counts().detections) == (5, 0, 0, 0)
    assert scanned(scan_job([path], watched)).alerts.keys() == dry.alerts.keys()


def test_a_source_that_cannot_be_read_is_told_and_left_out(tmp_path: Path, watched: TenantStore) -> None:
    names = ["a.log", "b.log", "c.log"]
    paths = [listed(tmp_path, [event(number)], name) for number, name in enumerate(names)]
    job = scan_job(paths, watched)
    paths[1].unlink()
    told: list[InputError | MissingExtra] = []
    done = scanned(job, ScanWatch(unreadable=told.append))
    assert (done.sources, done.unreadable, done.raising, done.recorded) == (2, 1, 2, 2)
    assert [(error.place, error.message) for error in told] == [
        (str(paths[1]), "cannot be read: No such file or directory")
    ]


def test_an_interrupted_scan_keeps_what_was_detected(tmp_path: Path, watched: TenantStore) -> None:
    path = listed(tmp_path, map(event, range(50)), "dns.log")
    told: list[str] = []

    def interrupt(found: Detection) -> None:
        told.append(found.id)
        if len(told) == 7:
            raise KeyboardInterrupt

    done = Scanned()
    with pytest.raises(KeyboardInterrupt):
        road.scan(scan_job([path], watched), ScanWatch(detection=interrupt), done)
    assert (done.raising, done.recorded) == (7, 7)
    assert [found.id for _, found in watched.detections()] == told
    assert scanned(scan_job([path], watched)).recorded == 43
    assert watched.alerts()[0].detection_count == 50


@pytest.mark.full
def test_a_scan_records_in_batches(tmp_path: Path, watched: TenantStore) -> None:
    count = scans.BATCH * 2 + 1
    path = listed(tmp_path, map(event, range(count)), "dns.log")
    seen: list[int] = []
    done = Scanned()

    def told(_found: Detection) -> None:
        if done.raising % scans.BATCH == 1:
            seen.append(watched.counts().detections)

    road.scan(scan_job([path], watched), ScanWatch(detection=told), done)
    assert seen == [0, scans.BATCH, scans.BATCH * 2]
    assert watched.counts().detections == done.recorded == count


def test_an_unknown_schema_is_refused_with_those_that_are_known(tmp_path: Path, watched: TenantStore) -> None:
    job = replace(scan_job([listed(tmp_path, [event(1)], "dns.log")], watched), schema="zeke")
    with pytest.raises(InputError, match=r"there is no schema 'zeke'; known: .*\bzeek\b"):
        scanned(job)
    assert scanned(replace(job, schema="zeek")).raising == 1
