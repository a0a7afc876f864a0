"""How long the portal's pages take over a large store, and what the first load weighs.

    .venv/bin/python bench/portal.py --home FOLDER      makes the store where it is not there (some minutes)

1,000,000 indicators under 40 definitions, 100,000 alerts of 30 days with 300,000 detections, on machines and
of values that are few or many as they are in life (Zipf). Every page of the route table that answers GET is
asked for as a person who is signed in would; server time is the application's own, without the network.
"""

from __future__ import annotations

import argparse
import os
import platform
import random
import re
import sqlite3
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from indicia import identity, model
from indicia.detect import detect
from indicia.match.reference import ReferenceMatcher
from indicia.model import (
    AlertDefinition,
    Detection,
    Event,
    Facts,
    Indicator,
    Observable,
    Quotas,
    Role,
)
from indicia.store import Store, TenantStore
from indicia.web.portal import PAGES

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))
from service import Local, local
from visiting import Visiting, add_person

INDICATORS = 1_000_000
ALERTS = 100_000
DETECTIONS = 3
"""Of each alert."""
DEFINITIONS = 40
MACHINES = 3000
DAYS = 30
TENANT = "bench"
BATCH = 2000
GOAL = 50.0
"""Milliseconds of the p95 of every page."""
FIRST_LOAD = 100_000
_HOUR = 3600 * 1_000_000
FURTHER = (
    "/portal/?period=24h",
    "/portal/?period=30d",
    "/portal/definitions?q=campaign+1&sort=severity",
    "/portal/indicators?type=Url",
    "/portal/indicators?type=Md5",
    "/portal/indicators?function=Contains",
    "/portal/indicators?definition=7",
    "/portal/indicators?definition=7&type=Md5",
    "/portal/indicators?enabled=no",
    "/portal/indicators?expiry=Expired",
    "/portal/indicators?expiry=Soon&type=Md5",
    "/portal/indicators?value=http://h1",
    "/portal/indicators?value=http://h1&type=Md5",
    "/portal/indicators?value=h17.c3.example&exact=on",
    "/portal/indicators?by=nobody",
    "/portal/indicators?since=2020-01-01&until=2020-02-01",
)
"""Questions to lists, those that find little and those that no index answers, too."""


def fill(store: Store, indicators: int, alerts: int) -> None:
    """A tenant with definitions, indicators, and alerts that were opened over the last DAYS."""
    tenant = store.tenant(store.add_tenant(TENANT).uid)
    owners = tenant.add_definitions(list(_definitions()), "bench")
    share = indicators // len(owners)
    for number, owner in enumerate(owners):
        begun = time.monotonic()
        for _ in tenant.import_indicators(owner.id, _indicators(owner, number, share), "bench", key="bench"):
            pass
        print(
            f"definition {number + 1}: {share:,} indicators in {time.monotonic() - begun:.1f} s", flush=True
        )
    begun = time.monotonic()
    _record(tenant, owners, share, alerts)
    print(f"{alerts:,} alerts in {time.monotonic() - begun:.1f} s", flush=True)


def _definitions() -> Iterator[AlertDefinition]:
    for number in range(DEFINITIONS):
        severity = list(model.Severity)[number % 4]
        name = f"Campaign {number:02}"
        yield AlertDefinition("", name, f"{name}: seen", severity, model.Category.TROJAN)


def _indicators(owner: AlertDefinition, number: int, share: int) -> Iterator[Indicator]:
    now = datetime.now(UTC).replace(microsecond=0)
    for row in range(share):
        kind, value = _value(number, row)
        expires = now + timedelta(hours=row % 2000 - 500) if row % 3 == 0 else None
        yield Indicator(
            kind, value, value, model.DetectionFunction.EQUALS, owner, expires_at=expires,
            enabled=row % 50 != 0, source=f"feed-{row % 7}",
        )  # fmt: skip


def _value(number: int, row: int) -> tuple[model.IndicatorType, str]:
    if row % 4 == 0:
        text = ".".join(str(part) for part in (10 + number, row >> 16 & 255, row >> 8 & 255, row & 255))
        return model.IndicatorType.IP_ADDRESS, text
    if row % 4 == 1:
        return model.IndicatorType.SHA256, identity.digest([str(number), str(row)])
    if row % 4 == 2:
        return model.IndicatorType.URL, f"http://h{row}.c{number}.example/a/{row % 97}.exe"
    return model.IndicatorType.DOMAIN_NAME, f"h{row}.c{number}.example"


def _record(tenant: TenantStore, owners: list[AlertDefinition], share: int, alerts: int) -> None:
    """Alerts at random moments of the last DAYS, which the clock of the store would not give."""
    chance = random.Random(6)
    waiting: list[Detection] = []
    end = datetime.now(UTC)
    seen: set[tuple[int, int, int]] = set()
    while len(seen) < alerts:
        machine = min(MACHINES - 1, int(chance.paretovariate(0.7)))
        definition, day = min(DEFINITIONS - 1, int(chance.paretovariate(0.5)) - 1), chance.randrange(DAYS)
        if (machine, definition, day) in seen:
            machine = chance.randrange(MACHINES)
            if (machine, definition, day) in seen:
                continue
        seen.add((machine, definition, day))
        for _ in range(DETECTIONS):
            row = 3 + 4 * min(share // 4 - 1, int(chance.paretovariate(0.6)) - 1)
            waiting.append(_detection(tenant, owners[definition], definition, row, machine, end, day, chance))
        if len(waiting) >= BATCH:
            tenant.record(waiting)
            waiting = []
    tenant.record(waiting)


def _detection(
    tenant: TenantStore, owner: AlertDefinition, number: int, row: int, machine: int, end: datetime, day: int,
    chance: random.Random,
) -> Detection:  # fmt: skip
    kind, value = _value(number, row)
    found = Indicator(kind, value, value, model.DetectionFunction.EQUALS, owner)
    at = (end - timedelta(days=day)).replace(hour=0, minute=0) + timedelta(seconds=chance.randrange(86_399))
    seen = Observable(kind, value, value, "query", Role.OBSERVED)
    facts = Facts(f"{chance.getrandbits(128):032x}", at, None, f"pc-{machine:04}.corp.example", ())
    happened = Event("dns", f"/logs/dns-{day:02}.log", chance.randrange(1, 10**6), (seen,), lambda: facts)
    (made,) = detect(happened, ReferenceMatcher([found]), tenant.uid)
    return made


def spread(path: Path) -> None:
    """Put every alert and detection at the hour of its event, as if recorded then; some are closed."""
    with closing(sqlite3.connect(path)) as raw:
        raw.executescript(
            f"""
            UPDATE alerts SET created_at = first_seen, last_modified_at = last_seen;
            UPDATE alerts SET status = 'Resolved', resolved_at = last_seen + {_HOUR} WHERE id % 5 < 3;
            UPDATE alerts SET status = 'InProgress', assigned_to = 'ada' WHERE id % 5 = 3;
            UPDATE detections SET recorded_at = event_time;
            DELETE FROM tallies;
            INSERT INTO tallies (tenant_id, hour, severity, alerts, detections, silent)
            SELECT d.tenant_id, d.recorded_at / {_HOUR}, s.severity, count(DISTINCT d.alert_id), count(*), 0
            FROM detections d JOIN snapshots s ON s.id = d.snapshot_id GROUP BY 1, 2, 3;
            """
        )


@dataclass
class Measured:
    """What a page took, of the answers that count."""

    path: str
    times: list[float]
    work: list[float]
    """Seconds of processor, whatever else the machine does."""
    size: int


def at(share: float, times: list[float]) -> float:
    """Milliseconds below which a share of the answers stayed."""
    ordered = sorted(times)
    return 1000 * ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def measure(who: Visiting, path: str, runs: int) -> Measured | None:
    """Ask for a page so many times; None where it is not there."""
    end = time.monotonic() + 60
    # Until what is counted in the background is there; nobody waits for it, so it is not the page's time.
    while b"Being counted" in (first := who.get(path)).body and time.monotonic() < end:
        time.sleep(0.2)
    if first.status != 200:
        return None
    times, work = [], []
    for _ in range(runs):
        begun, worked = time.perf_counter(), time.process_time()
        answer = who.get(path)
        times.append(time.perf_counter() - begun)
        work.append(time.process_time() - worked)
        if answer.status != 200:
            raise SystemExit(f"{path}: {answer.status}")
    return Measured(path, times, work, len(first.body))


def filled(path: str, tenant: TenantStore, scan: str) -> str:
    """The path with something that is there in the place of its parameter."""
    if "{" not in path:
        return path
    (area,) = re.findall(r"/portal/([\w-]+)", path)[:1]
    known: dict[str, Callable[[], object]] = {
        "alerts": lambda: tenant.alerts()[0].number,
        "definitions": lambda: tenant.definitions()[0].id,
        "indicators": lambda: tenant.indicators(limit=1)[0].id,
        "scan": lambda: scan,
    }
    found = known[area]() if area in known else 1
    return re.sub(r"\{.*?\}", str(found), path, count=1)


def scanned(who: Visiting) -> str:
    """The id of a scan that has ended."""
    line = b'{"query": "h3.c0.example"}\n'
    sent = who.post("/portal/scan", files={"file": ("dns.log", line * 2000)})
    path = sent.headers["location"]
    while b'hx-trigger="every' in who.get(path).body:
        time.sleep(0.2)
    return path.rpartition("/")[2]


def first_load(who: Visiting) -> int:
    """Bytes of the overview with all that it refers to, as they go over the wire."""
    page = who.get("/portal/").body
    total = len(page)
    for path in sorted(set(re.findall(r'(?:src|href)="(/portal/static/[^"]+)"', page.decode()))):
        total += len(who.get(path, {"Accept-Encoding": "gzip"}).body)
    return total


def _signed_in(service: Local, tenant: TenantStore) -> Visiting:
    """A new administrator."""
    name = f"bench {time.time_ns()}"
    who = Visiting(service, name, add_person(service.store, tenant.uid, name))
    who.sign_in(name)
    who.get("/portal/account")  # whose forms hold the token
    return who


def report(home: Path, runs: int) -> bool:
    """Print what each page takes; whether all of it stays within the goals."""
    with local(home) as service:
        tenant = service.store.tenant(TENANT)
        who = _signed_in(service, tenant)
        scan = scanned(who)
        print(
            f"Python {platform.python_version()}, {platform.machine()}, {os.cpu_count()} cores; {runs} runs"
        )
        print(f"{'page':44} {'p50 ms':>8} {'p95 ms':>8} {'cpu p50':>8} {'cpu p95':>8} {'bytes':>9}")
        worst, unseen = 0.0, []
        wanted = [page.path for page in PAGES if page.method == "GET" and not page.path.endswith("/export")]
        for path in [*wanted, *FURTHER]:
            found = measure(who, filled(path, tenant, scan), runs)
            if found is None:
                unseen.append(path)
                continue
            worst = max(worst, at(0.95, found.times))
            taken = (at(share, times) for times in (found.times, found.work) for share in (0.5, 0.95))
            print(f"{path:44} {' '.join(f'{one:8.1f}' for one in taken)} {found.size:9,}", flush=True)
        load = first_load(who)
    for path in unseen:
        print(f"not measured, because it answers with another status than 200: {path}")
    print(f"slowest p95 {worst:.1f} ms of {GOAL:.0f}; first load {load:,} bytes of {FIRST_LOAD:,}")
    return worst < GOAL and load < FIRST_LOAD


def main() -> None:
    """Fill the store where it is not there, then measure; a missed goal ends with status 1."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--home", type=Path, required=True, help="folder of the store")
    options.add_argument("--indicators", type=int, default=INDICATORS)
    options.add_argument("--alerts", type=int, default=ALERTS)
    options.add_argument("--runs", type=int, default=40, help="answers of each page (default 40)")
    given = options.parse_args()
    given.home.mkdir(parents=True, exist_ok=True)
    path = given.home / "indicia.db"
    new = not path.exists()
    with Store.open(f"sqlite:///{path}", quotas=Quotas(alerts_per_hour=10**9)) as store:
        if new:
            fill(store, given.indicators, given.alerts)
    if new:
        spread(path)
    if not report(given.home, given.runs):
        raise SystemExit(1)


if __name__ == "__main__":
    main()
