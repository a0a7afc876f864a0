"""How long the portal's pages take over a large store, and what the first load weighs.

    .venv/bin/python bench/portal.py [--home FOLDER]    makes the store where it is not there (some minutes)

1,000,000 indicators under 40 definitions, 100,000 alerts of 30 days with 300,000 detections, on machines and
of values that are few or many as they are in life (Zipf). Every page of the route table that answers GET is
asked for as a person who is signed in would, but for exports, which take as long as they are; server time is
the application's own, without the network. A page that cannot be measured ends the bench with status 1, as a
missed goal does. What pages show beside that (an allow-list of 5,000 names, an application, an output) is
made once; a home may be used again.
"""

from __future__ import annotations

import argparse
import os
import platform
import random
import re
import sqlite3
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

from indicia import identity, model
from indicia.allow import AllowEntry, AllowKind, AllowList
from indicia.auth import certificates
from indicia.detect import detect
from indicia.match.reference import ReferenceMatcher
from indicia.messages import Output
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
from indicia.store import AlertFilter, Sort, Store, TenantStore
from indicia.web.portal import PAGES

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))
from service import Local, Reply, local
from visiting import Visiting, add_person, text_of

INDICATORS = 1_000_000
ALERTS = 100_000
DETECTIONS = 3
"""Of each alert."""
DEFINITIONS = 40
ALLOWED = 5000
"""Entries of the allow-list."""
MACHINES = 3000
DAYS = 30
TENANT = "bench"
BATCH = 2000
GOAL = 50.0
"""Milliseconds of the p95 of every page."""
FIRST_LOAD = 100_000
PATIENCE = 5.0
"""Seconds after which a page that misses the goal anyway is asked for no more."""
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

    times: list[float]
    work: list[float]
    """Seconds of processor, whatever else the machine does."""
    size: int


def at(share: float, times: list[float]) -> float:
    """Milliseconds below which a share of the answers stayed."""
    ordered = sorted(times)
    return 1000 * ordered[min(len(ordered) - 1, int(share * len(ordered)))]


@dataclass(frozen=True)
class Asked:
    """A request that stands for a page of the route table."""

    path: str
    headers: Mapping[str, str] = field(default_factory=dict)
    status: int = 200


def measure(who: Visiting, asked: Asked, runs: int) -> Measured:
    """Ask for a page so many times, or for PATIENCE; LeftOut where it does not answer as it should."""
    first = _settled(who, asked)
    times: list[float] = []
    work: list[float] = []
    while len(times) < runs and sum(times) < PATIENCE:
        begun, worked = time.perf_counter(), time.process_time()
        answer = who.get(asked.path, asked.headers)
        times.append(time.perf_counter() - begun)
        work.append(time.process_time() - worked)
        if answer.status != asked.status:
            raise LeftOut(f"answers {answer.status}, not {asked.status}")
    return Measured(times, work, len(first.body))


class LeftOut(Exception):
    """A page cannot be measured."""


def _settled(who: Visiting, asked: Asked) -> Reply:
    """A page when what is counted in the background is there: nobody waits for it, so it is not its time."""
    end = time.monotonic() + 60
    while time.monotonic() < end:
        found = who.get(asked.path, asked.headers)
        if found.status != asked.status:
            raise LeftOut(f"answers {found.status}, not {asked.status}")
        if b"Load the page again" not in found.body:
            return found
        time.sleep(0.2)
    raise LeftOut("was still being counted after 60 s")


def wanted(who: Visiting, tenant: TenantStore, home: Path) -> Iterator[Asked]:
    """A request for every page of the route table, with what is there in the place of its parameters."""
    things = made(who, tenant, home)
    shown = ",".join(str(one.number) for one in tenant.queue.page(AlertFilter(), Sort.NEWEST, None, 50).found)
    client = things["/portal/settings/applications/"]
    special = {
        # As htmx asks, of a queue of which every alert was changed since, with more new ones than are told.
        "/portal/alerts/news": Asked(
            f"/portal/alerts/news?since=0&at=0&told=0&shown={shown}", {"HX-Request": "true"}
        ),
        # It does nothing but lead to the page of the application.
        "/portal/settings/threat-intel/choose": Asked(
            f"/portal/settings/threat-intel/choose?application={client}", status=303
        ),
    }
    for page in PAGES:
        if page.method == "GET" and not page.path.endswith("/export"):
            yield special.get(page.path) or Asked(_filled(page.path, things))
    yield from map(Asked, FURTHER)


def _filled(path: str, things: Mapping[str, str]) -> str:
    before, opened, rest = path.partition("{")
    if not opened:
        return path
    if before not in things:
        raise SystemExit(f"{path}: `made` has to say what is there below {before}")
    return before + things[before] + rest.partition("}")[2]


def made(who: Visiting, tenant: TenantStore, home: Path) -> dict[str, str]:
    """Something for each parameter of a path, by what stands before it; made where no run before made it."""
    if not tenant.applications():
        who.post("/portal/settings/threat-intel", {"description": "bench", "days": "30"})
    mine = [one for one in tenant.allow_lists.all() if one.name == TENANT]
    allowed = mine[0] if mine else tenant.allow_lists.put(*_allowed(), TENANT)
    outputs = tenant.outbox.outputs() or [tenant.outbox.add(Output("bench", "file", "bench.ndjson"), "bench")]
    certificates.ensure(home, "127.0.0.1")
    client = tenant.applications()[0].client_id
    return {
        "/portal/alerts/": str(tenant.alerts()[0].number),
        "/portal/definitions/": str(tenant.definitions()[0].id),
        "/portal/indicators/": str(tenant.indicators(limit=1)[0].id),
        "/portal/scan/": ended(who, "/portal/scan", "dns.log", b'{"query": "h3.c0.example"}\n' * 2000),
        "/portal/upload/": uploaded(who, tenant),
        "/portal/settings/members/": tenant.members.all()[0].uid,
        "/portal/settings/applications/": client,
        "/portal/settings/threat-intel/": client,
        "/portal/settings/allow-lists/": str(allowed.id),
        "/portal/settings/outputs/": outputs[0].name,
    }


def _allowed() -> tuple[AllowList, list[AllowEntry]]:
    """A list, half of which knows what the alerts are about."""
    names = [f"h{3 + 4 * (row // 2)}.c0.example" if row % 2 else f"w{row}.example" for row in range(ALLOWED)]
    return AllowList(TENANT), [AllowEntry(AllowKind.HOSTNAME, name) for name in names]


def uploaded(who: Visiting, tenant: TenantStore) -> str:
    """The id of an upload that has ended; a row of it was refused, so that there is a report."""
    rows = b"".join(b"DomainName,u%d.c0.example\n" % row for row in range(1000))
    owner = str(tenant.definitions()[0].id)
    return ended(who, "/portal/upload", "feed.csv", b"type,value\n" + rows + b"Md5,none\n", owner)


def ended(who: Visiting, path: str, name: str, content: bytes, owner: str = "") -> str:
    """The id of a scan or an import, when it has ended."""
    sent = who.post(path, {"AlertDefinition": owner} if owner else {}, files={"file": (name, content)})
    if sent.status != 303:
        raise SystemExit(f"{path}: {sent.status} {text_of(sent)[-500:]}")
    place = sent.headers["location"]
    # While it runs, its page asks for itself again.
    while b'hx-get="' + place.encode() in who.get(place).body:
        time.sleep(0.2)
    return place.rpartition("/")[2]


def first_load(who: Visiting) -> int:
    """Bytes of the overview with all that it refers to, as they go over the wire."""
    page = who.get("/portal/").body
    total = len(page)
    for path in sorted(set(re.findall(r'(?:src|href)="(/portal/static/[^"]+)"', page.decode()))):
        total += len(who.get(path, {"Accept-Encoding": "gzip"}).body)
    return total


def _signed_in(service: Local, tenant: TenantStore) -> Visiting:
    """The administrator, whom the first run makes."""
    if not tenant.members.has_administrator():
        add_person(service.store, tenant.uid, TENANT)
    who = Visiting(service, TENANT)
    if who.sign_in(TENANT).status != 303:
        raise SystemExit("nobody of this home signs in as this bench does: name another --home")
    who.get("/portal/account")  # whose forms hold the token
    return who


def report(home: Path, runs: int) -> bool:
    """Print what each page takes; whether all were measured and stay within the goals."""
    print(f"Python {platform.python_version()}, {platform.machine()}, {os.cpu_count()} cores; {runs} runs")
    print(f"{'page':44} {'p50 ms':>8} {'p95 ms':>8} {'cpu p50':>8} {'cpu p95':>8} {'bytes':>9}")
    worst, left_out = 0.0, 0
    with local(home) as service:
        tenant = service.store.tenant(TENANT)
        who = _signed_in(service, tenant)
        for asked in wanted(who, tenant, home):
            try:
                found = measure(who, asked, runs)
            except LeftOut as why:
                left_out += 1
                print(f"{asked.path:44} LEFT OUT: {why}", flush=True)
                continue
            worst = max(worst, at(0.95, found.times))
            taken = (at(share, times) for times in (found.times, found.work) for share in (0.5, 0.95))
            cells = " ".join(f"{one:8.1f}" for one in taken)
            print(f"{asked.path[:44]:44} {cells} {found.size:9,}", flush=True)
        load = first_load(who)
    print(f"slowest p95 {worst:.1f} ms of {GOAL:.0f}; first load {load:,} bytes of {FIRST_LOAD:,}")
    if left_out:
        print(f"pages left out: {left_out}")
    return not left_out and worst < GOAL and load < FIRST_LOAD


def main() -> None:
    """Fill the store where it is not there, then measure; a missed goal or page ends with status 1."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--home", type=Path, help="keep the store here, and use it again")
    options.add_argument("--indicators", type=int, default=INDICATORS)
    options.add_argument("--alerts", type=int, default=ALERTS)
    options.add_argument("--runs", type=int, default=40, help="answers of each page (default 40)")
    given = options.parse_args()
    with tempfile.TemporaryDirectory(prefix="indicia-bench-") as scratch:
        home = given.home or Path(scratch)
        home.mkdir(parents=True, exist_ok=True)
        path, whole = home / "indicia.db", home / "filled"
        if path.exists() and not whole.exists():
            raise SystemExit(
                f"{home} holds a store that this bench did not fill to its end: name another --home"
            )
        if not path.exists():
            with Store.open(f"sqlite:///{path}", quotas=Quotas(alerts_per_hour=10**9)) as store:
                fill(store, given.indicators, given.alerts)
            spread(path)
            whole.touch()
        if not report(home, given.runs):
            raise SystemExit(1)


if __name__ == "__main__":
    main()
