"""Scans of files that people bring: the results of `indicia scan`, within bounds, and each tenant's own."""

from __future__ import annotations

import fcntl
import gzip
import io
import json
import os
import time
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from indicia import road, telemetry
from indicia.errors import InputError, NotFound, TooLarge, TooManyRequests
from indicia.live import jobs, runner
from indicia.live.scans import FOUND, Scan, Scans
from indicia.match import engine
from indicia.model import Detection
from indicia.store import Phase, Store, TenantStore, rows
from stored import add, raw, url

pytestmark = pytest.mark.full

LIMIT = 64 * 1024 * 1024
HOSTILE = "\x1b[31m\u202e<script>alert(1)</script>"


def dns(query: str, number: int = 0, host: str = "192.0.2.1") -> bytes:
    """A line of Zeek's JSON."""
    event = {
        "_path": "dns", "ts": 1710233587 + number, "uid": f"C{number}", "id.orig_h": host, "id.orig_p": 5,
        "id.resp_h": "192.0.2.53", "id.resp_p": 53, "proto": "udp", "trans_id": number, "query": query,
    }  # fmt: skip
    return json.dumps(event).encode() + b"\n"


@dataclass
class Bench:
    """A store with two tenants, and the scans of the first one."""

    home: Path
    store: Store
    mine: TenantStore
    theirs: TenantStore

    @property
    def scans(self) -> Scans:
        return Scans(self.home, self.mine)

    def scan(self, content: bytes, name: str = "dns.log", *, record: bool = False) -> Scan:
        """A scan that has ended."""
        made = self.scans.begin(name, io.BytesIO(content), "alex", LIMIT, record=record)
        return self.ended(made)

    def ended(self, scan: Scan, seconds: float = 60) -> Scan:
        end = time.monotonic() + seconds
        while True:
            found = self.scans.one(scan.id)
            if found.state.phase.is_over:
                return found
            assert time.monotonic() < end, found.state
            time.sleep(0.05)

    def begun(self, content: bytes, seconds: float = 30) -> Scan:
        """A scan that runs."""
        made = self.scans.begin("x", io.BytesIO(content), "x", LIMIT, record=False)
        end = time.monotonic() + seconds
        while (now := self.scans.one(made.id)).state.phase is Phase.WAITING and time.monotonic() < end:
            time.sleep(0.02)
        return now


@contextmanager
def benched(home: Path) -> Iterator[Bench]:
    """With somebody who has its jobs worked on."""
    address = url(home / "indicia.db")
    with Store.open(address) as store:
        mine, theirs = (store.tenant(store.add_tenant(name).uid) for name in ("mine", "theirs"))
        for tenant in (mine, theirs):
            add(tenant, 3)
        with runner.running(store, address, home):
            yield Bench(home, store, mine, theirs)


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    with benched(tmp_path) as found:
        yield found


def by_the_road(tenant: TenantStore, path: Path) -> list[Detection]:
    """What `indicia scan` would tell."""
    found: list[Detection] = []
    job = road.ScanJob(
        telemetry.sources([str(path)]), engine.of_reference(tenant.matchable()), tenant=tenant.uid
    )
    road.scan(job, road.ScanWatch(detection=found.append), road.Scanned())
    return found


LOG = b"".join(
    [
        *(dns(f"host-{number % 5}.example", number, f"192.0.2.{number % 3 + 1}") for number in range(30)),
        b"no json\n",
        b'{"query": "host-0.example", "message": "beside"}\n',
    ]
)


def test_a_scan_finds_what_the_road_finds(bench: Bench, tmp_path: Path) -> None:
    plain = tmp_path / "dns.log"
    plain.write_bytes(LOG)
    wanted = by_the_road(bench.mine, plain)
    done = bench.scan(LOG)
    assert (done.state.phase, done.state.fault) == (Phase.DONE, "")
    found, end = done.found(0, 1000)
    assert [one.id for one in found] == [one.id for one in wanted]
    assert {one.alert_id for one in found if one.raises} == {one.id for one in done.state.alerts}
    assert end == sum(map(len, done.read(FOUND)))
    state = done.state
    assert (state.read, state.total, state.events) == (len(LOG), len(LOG), 31)
    assert (state.malformed, [fault.line for fault in state.faults]) == (1, [31])
    assert state.raising + state.silent == state.listed == len(wanted)
    assert sum(one.detections for one in state.alerts) == state.raising
    assert (found[0].source, found[0].machine) == ("dns.log", wanted[0].machine)
    assert bench.mine.counts().detections == 0, "it was not to be recorded"


def test_what_is_found_is_told_page_by_page(bench: Bench) -> None:
    done = bench.scan(LOG)
    place, ids = 0, []
    while page := done.found(place, 4)[0]:
        ids += [one.id for one in page]
        place = done.found(place, 4)[1]
    assert ids == [one.id for one in done.found(0, 1000)[0]]
    with pytest.raises(InputError, match="no such place"):
        done.found(3, 1)
    assert done.found(10**9, 5) == ([], 10**9)


def test_what_is_found_can_be_recorded_at_once_or_later(bench: Bench) -> None:
    later = bench.scan(LOG)
    bench.scans.record(later, "sam")
    recorded = bench.ended(later)
    assert (recorded.asked.by, recorded.asked.record) == ("sam", True)
    assert recorded.state.recorded == later.state.listed == bench.mine.counts().detections
    assert recorded.state.opened == len(later.state.alerts)
    alerts = {alert.id: alert for alert in bench.mine.alerts()}
    assert {one.id: one.number for one in recorded.state.alerts} == {
        one.id: one.number for one in alerts.values()
    }
    at_once = bench.scan(LOG, record=True)
    assert at_once.state.recorded == at_once.state.opened == 0, "it was there already"
    assert {one.id for one in at_once.state.alerts} == set(alerts)


@pytest.mark.parametrize("form", ["gzip", "zip"])
def test_compressed_files_are_scanned_too(bench: Bench, form: str) -> None:
    packed = io.BytesIO()
    if form == "zip":
        with zipfile.ZipFile(packed, "w") as archive:
            archive.writestr("one/dns.log", LOG)
            archive.writestr("two.log", dns("host-1.example", 77))
    else:
        packed.write(gzip.compress(LOG))
    done = bench.scan(packed.getvalue(), f"logs.{form}")
    names = {one.source for one in done.found(0, 1000)[0]}
    assert names == ({"logs.zip!one/dns.log", "logs.zip!two.log"} if form == "zip" else {f"logs.{form}"})
    assert done.state.read == done.state.total


def test_a_scan_is_its_tenants_alone(bench: Bench) -> None:
    done = bench.scan(LOG)
    assert [scan.id for scan in bench.scans.every()] == [done.id]
    theirs_of = Scans(bench.home, bench.theirs)
    assert theirs_of.every() == []
    with pytest.raises(NotFound):
        theirs_of.one(done.id)
    ours = {one.id for one in done.found(0, 1000)[0]}
    other = Bench(bench.home, bench.store, bench.theirs, bench.mine).scan(LOG)
    theirs = {one.id for one in other.found(0, 1000)[0]}
    assert theirs
    assert not ours & theirs


@pytest.mark.parametrize("number", ["", "..", "../x", "0" * 15, "0" * 16, "G" * 16, "/etc"])
def test_there_is_no_such_scan(bench: Bench, number: str) -> None:
    with pytest.raises(NotFound):
        bench.scans.one(number)


def held(bench: Bench) -> list[io.BufferedWriter]:
    """Every place where a scan could run, taken."""
    folder = bench.home / Scans.kind
    folder.mkdir(parents=True, exist_ok=True)
    files = [(folder / f"place-{number}").open("ab") for number in range(2)]
    for file in files:
        fcntl.flock(file, fcntl.LOCK_EX)
    return files


def test_scans_wait_for_their_turn_and_can_be_cancelled(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Scans, "unfinished", 2)
    places = held(bench)
    waiting = [
        bench.scans.begin("dns.log", io.BytesIO(LOG), "x", LIMIT, record=False)
        for _ in range(Scans.unfinished)
    ]
    with pytest.raises(TooManyRequests):
        bench.scan(LOG)
    time.sleep(1)
    states = {one.state.phase for one in bench.scans.every()}
    assert states == {Phase.WAITING}
    for one in waiting[1:]:
        bench.scans.cancel(one)
    assert {bench.ended(one).state.phase for one in waiting[1:]} == {Phase.CANCELLED}
    for file in places:
        file.close()
    assert bench.ended(waiting[0]).state.phase is Phase.DONE


def many(size: int) -> bytes:
    """Lines that hold nothing, and take their time."""
    line = dns("nowhere.example" + "x" * 200)
    return line * (size // len(line))


def test_a_scan_that_runs_can_be_cancelled(bench: Bench) -> None:
    begun = bench.begun(many(15 * 2**20))
    bench.scans.cancel(begun)
    assert bench.ended(begun, 20).state.phase is Phase.CANCELLED


def test_what_is_too_old_or_too_much_goes(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Scans, "most", 2)
    _, second, third = (bench.scan(LOG) for _ in range(3))
    assert {scan.id for scan in bench.scans.every()} == {second.id, third.id}
    long_ago = datetime.now(UTC) - Scans.kept - timedelta(minutes=1)
    with raw(bench.home / "indicia.db") as execute:
        execute("UPDATE jobs SET made_at = ? WHERE key = ?", rows.micros(long_ago), second.id)
    runner.tidy(bench.store, bench.home)
    assert [scan.id for scan in bench.scans.every()] == [third.id]
    folder = bench.scans.contents.folder
    assert [path.name for path in folder.iterdir()] == [third.id]
    bench.scans.delete(third)
    assert bench.scans.every() == []
    assert not list(folder.iterdir())


@pytest.mark.parametrize(
    ("content", "name", "error"),
    [(b"", "x", InputError), (b"x" * 2000, "x", TooLarge)],
    ids=["empty", "too large"],
)
def test_what_cannot_be_taken_leaves_nothing(
    bench: Bench, content: bytes, name: str, error: type[Exception]
) -> None:
    with pytest.raises(error):
        bench.scans.begin(name, io.BytesIO(content), "x", 1000, record=False)
    assert bench.scans.every() == []
    folder = bench.scans.contents.folder
    assert not folder.exists() or list(folder.iterdir()) == []


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ("dns.log", "dns.log"),
        ("C:\\logs\\dns.log", "dns.log"),
        ("../../etc/passwd", "passwd"),
        ("..", "upload"),
        ("", "upload"),
        ("a\x1b[31m\n!b", "a_[31m_b"),
        ("n" * 500, "n" * 200),
        ("\ud800", "?"),
    ],
)
def test_a_file_may_have_any_name(given: str, kept: str) -> None:
    assert jobs.named(given) == kept


ATTACKS = {
    "bomb": gzip.compress(b"\0" * (200 * 2**20), mtime=0),
    "field of 1 MB": json.dumps({"query": "host-1.example", "message": HOSTILE + "a" * 2**20}).encode(),
    "markup": json.dumps({"query": "host-1.example", "computer_name": HOSTILE * 50}).encode(),
    "no text": os.urandom(4096) + b"host-1.example" + os.urandom(4096),
    "deep": b"[" * 100_000,
    "a zip of nothing": b"PK\x05\x06" + bytes(18),
    "a zip that lies": b"PK\x03\x04" + os.urandom(200),
    "lone surrogates": b'{"query": "host-1.example", "message": "\\ud800"}',
}


def test_files_of_attackers_do_no_harm(bench: Bench) -> None:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in ATTACKS.items():
            archive.writestr(f"{HOSTILE}{name}", content)
    done = bench.scan(packed.getvalue(), f"{HOSTILE}.log")
    assert done.state.phase is Phase.DONE, done.state.fault
    found, _ = done.found(0, 1000)
    assert {one.source.rpartition(">")[2] for one in found} >= {"field of 1 MB", "markup", "lone surrogates"}
    for one in found:
        assert max(map(len, (one.machine, one.value, *(piece.matched for piece in one.evidence)))) <= 301
    assert len(done.kept.state) < 200_000
    assert "\x1b" not in done.asked.name


def test_half_a_file_is_told(bench: Bench) -> None:
    done = bench.scan(gzip.compress(LOG * 50)[:200], "dns.log.gz")
    assert done.state.phase is Phase.DONE
    assert done.state.damaged + done.state.unreadable == 1
    assert "damaged gzip data" in " ".join(fault.reason for fault in done.state.faults)
