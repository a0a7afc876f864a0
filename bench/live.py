"""From a write to an event that meets it, at a million indicators; and events by HTTP.

    .venv/bin/python bench/live.py [--indicators 1000000] [--writes 100] [--megabytes 64] [--matchers 1]

A service of two workers on loopback, with TLS as users have it. Measured: the import, making the base, a
write until it is in force (`Prefer: wait`), until the detection of an event that is sent right after it is
stored, and until the other worker meets it; MB/s of one large batch, and of one at each worker at the same
time; and the seconds of all cores that the service needed for them. The indicators are made from numbers;
nothing is downloaded.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import requests

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))

from indicia.live.following import Followings
from indicia.model import DetectionFunction, Indicator, IndicatorType
from indicia.store import Store, TenantStore
from service import DEFINITION, Access, Process, add_access, family, running

TIME = "2024-03-12T08:53:07Z"


def main() -> int:
    """Print the figures."""
    arguments = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    arguments.add_argument("--indicators", type=int, default=1_000_000)
    arguments.add_argument("--writes", type=int, default=100)
    arguments.add_argument("--megabytes", type=int, default=64)
    arguments.add_argument("--matchers", type=int, default=1)
    given = arguments.parse_args()
    with tempfile.TemporaryDirectory(prefix="indicia-bench-") as folder:
        home = Path(folder)
        (home / "config.toml").write_text(f"matchers = {given.matchers}\n")
        database = f"sqlite:///{home / 'indicia.db'}"
        with Store.open(database) as store:
            access = add_access(store, "bench")
            tenant, count = store.tenant(access.tenant_id), given.indicators
            took(f"{count:,} indicators imported", lambda: fill(tenant, count))
            live = Followings(store, database, home)
            took("base made and opened", lambda: live.of(tenant))
            live.close()
        begun = time.perf_counter()
        with running(home, workers=2) as service:
            one, two = each(service, access)
            print(f"service started, base opened by both: {time.perf_counter() - begun:.2f} s", flush=True)
            url = f"{service.url}/v1.0/AlertDefinitions"
            owner = one.post(url, json=DEFINITION, timeout=30).json()["Id"]
            writes(service, one, two, owner, given.writes)
            batches(service, one, two, given.megabytes)
            one.close()
            two.close()
    return 0


def each(service: Process, access: Access) -> list[requests.Session]:
    """A connection to each of two workers."""
    found: dict[int, requests.Session] = {}
    while len(found) < 2:
        session = service.session(access)
        process = session.get(f"{service.url}/v1.0/Index", timeout=300).json()["process"]
        if found.setdefault(process, session) is not session:
            session.close()
    return list(found.values())


def took(what: str, work: Callable[[], object]) -> None:
    """Say how long something takes."""
    begun = time.perf_counter()
    work()
    print(f"{what}: {time.perf_counter() - begun:.2f} s", flush=True)


def fill(tenant: TenantStore, count: int) -> None:
    """A definition with so many names."""
    from stored import definition

    (owner,) = tenant.add_definitions([definition()], "bench")
    made = (
        Indicator(IndicatorType.DOMAIN_NAME, name, name, DetectionFunction.SUBDOMAIN_OF, owner)
        for name in (f"h{number:x}.listed.example" for number in range(count))
    )
    for _ in tenant.import_indicators(owner.id, made, "bench", key="bench"):
        pass


def line(name: str, number: int) -> bytes:
    """An event that holds a name."""
    event = {"@timestamp": TIME, "event": {"id": f"{name}-{number}"}, "host": {"name": "pc-1"}}
    return json.dumps(event | {"dns": {"question": {"name": name}}, "message": "x" * 150}).encode() + b"\n"


def writes(
    service: Process, session: requests.Session, other: requests.Session, owner: int, count: int
) -> None:
    """The three latencies, in milliseconds."""
    in_force, alerted, elsewhere = [], [], []
    for number in range(count):
        name = f"w{number}.written.example"
        body = {
            "Type": "DomainName",
            "Value": name,
            "DetectionFunction": "Equals",
            "Enabled": True,
            "AlertDefinition@odata.bind": f"AlertDefinitions({owner})",
        }
        begun = time.perf_counter()
        reply = session.post(
            f"{service.url}/v1.0/IndicatorsOfCompromise", json=body, headers={"Prefer": "wait=5"}, timeout=30
        )
        reply.raise_for_status()
        in_force.append(time.perf_counter() - begun)
        found: dict[str, Any] = session.post(
            f"{service.url}/v1.0/Events", data=line(name, 0), timeout=30
        ).json()
        if found["newDetections"] != 1:
            sys.exit(f"WRONG: {found}")
        alerted.append(time.perf_counter() - begun)
        url = f"{service.url}/v1.0/Events"
        while other.post(url, data=line(name, 1), timeout=30).json()["detections"] != 1:
            pass
        elsewhere.append(time.perf_counter() - begun)
    for what, seconds in (
        ("POST of an indicator until it is in force", in_force),
        ("POST of an indicator until the detection of the next event is stored", alerted),
        ("the same, event sent to the other worker", elsewhere),
    ):
        cuts = statistics.quantiles(seconds, n=100)
        print(f"{what}: p50 {cuts[49] * 1000:.0f} ms, p99 {cuts[98] * 1000:.0f} ms", flush=True)


def batches(service: Process, one: requests.Session, two: requests.Session, megabytes: int) -> None:
    """MB/s of large batches, one event in 10,000 meets, and requests of one event each."""
    step = 10_000
    part = b"".join(line(f"good{number}.other.example", number) for number in range(step - 1))
    parts = [part + line("a.h7.listed.example", n) for n in range(max(1, megabytes * 10**6 // len(part)))]
    body, url = b"".join(parts), f"{service.url}/v1.0/Events"

    def send(session: requests.Session) -> None:
        found = session.post(url, data=body, timeout=600).json()
        if found["detections"] != len(parts) or found["accepted"] != step * len(parts):
            raise SystemExit(f"WRONG: {found}")

    for what, sessions in (("one batch", [one]), ("one batch at each worker at once", [one, two])):
        begun, used = time.perf_counter(), seconds_of(service.process.pid)
        with ThreadPoolExecutor() as threads:
            list(threads.map(send, sessions))
        seconds, used = time.perf_counter() - begun, seconds_of(service.process.pid) - used
        size, events = len(body) * len(sessions) / 1e6, step * len(parts) * len(sessions)
        print(
            f"{what}, {size:.0f} MB: {size / seconds:.0f} MB/s, {events / seconds:,.0f} events/s; the service"
            f" computed for {used:.2f} s, {size / used:.0f} MB for each",
            flush=True,
        )
    begun, count = time.perf_counter(), 300
    for number in range(count):
        one.post(url, data=line("good.other.example", number), timeout=30)
    print(f"requests of one event, one client: {count / (time.perf_counter() - begun):.0f}/s")


def seconds_of(pid: int) -> float:
    """Processor time of a process and those below it that live."""
    ticks = 0
    for one in family(pid):
        found = Path(f"/proc/{one}/stat").read_text().rpartition(")")[2].split()
        ticks += int(found[11]) + int(found[12])
    return ticks / os.sysconf("SC_CLK_TCK")


if __name__ == "__main__":
    sys.exit(main())
