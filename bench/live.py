"""From a write to an event that meets it, at a million indicators; and events by HTTP.

    .venv/bin/python bench/live.py [--indicators 1000000] [--writes 100] [--megabytes 64]

Two service processes on one store over loopback, with TLS as users have it. Measured: the import, making the
base, a write until it is in force (`Prefer: wait`), until the detection of an event that is sent right after
it is stored, and until the other process meets it; MB/s of one large batch. The indicators are made from
numbers; nothing is downloaded.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import requests

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))

from indicia.live import Followings
from indicia.model import DetectionFunction, Indicator, IndicatorType
from indicia.store import Store, TenantStore
from service import DEFINITION, Process, add_access, running

TIME = "2024-03-12T08:53:07Z"


def main() -> int:
    """Print the figures."""
    arguments = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    arguments.add_argument("--indicators", type=int, default=1_000_000)
    arguments.add_argument("--writes", type=int, default=100)
    arguments.add_argument("--megabytes", type=int, default=64)
    given = arguments.parse_args()
    with tempfile.TemporaryDirectory(prefix="indicia-bench-") as folder:
        home = Path(folder)
        database = f"sqlite:///{home / 'indicia.db'}"
        with Store.open(database) as store:
            access = add_access(store, "bench")
            tenant, count = store.tenant(access.tenant_id), given.indicators
            took(f"{count:,} indicators imported", lambda: fill(tenant, count))
            live = Followings(store, database, home)
            took("base made and opened", lambda: live.of(tenant))
            live.close()
        with running(home) as one, running(home) as two, one.session(access) as session:
            other = two.session(access)
            took("service opens the base", lambda: session.get(f"{one.url}/v1.0/Index", timeout=300))
            other.get(f"{two.url}/v1.0/Index", timeout=300)
            owner = session.post(f"{one.url}/v1.0/AlertDefinitions", json=DEFINITION, timeout=30).json()["Id"]
            writes(one, session, two, other, owner, given.writes)
            batches(one, session, given.megabytes)
            other.close()
    return 0


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
    one: Process, session: requests.Session, two: Process, other: requests.Session, owner: int, count: int
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
            f"{one.url}/v1.0/IndicatorsOfCompromise", json=body, headers={"Prefer": "wait=5"}, timeout=30
        )
        reply.raise_for_status()
        in_force.append(time.perf_counter() - begun)
        found: dict[str, Any] = session.post(f"{one.url}/v1.0/Events", data=line(name, 0), timeout=30).json()
        if found["newDetections"] != 1:
            sys.exit(f"WRONG: {found}")
        alerted.append(time.perf_counter() - begun)
        while other.post(f"{two.url}/v1.0/Events", data=line(name, 1), timeout=30).json()["detections"] != 1:
            pass
        elsewhere.append(time.perf_counter() - begun)
    for what, seconds in (
        ("POST of an indicator until it is in force", in_force),
        ("POST of an indicator until the detection of the next event is stored", alerted),
        ("the same, event sent to another process", elsewhere),
    ):
        cuts = statistics.quantiles(seconds, n=100)
        print(f"{what}: p50 {cuts[49] * 1000:.0f} ms, p99 {cuts[98] * 1000:.0f} ms", flush=True)


def batches(one: Process, session: requests.Session, megabytes: int) -> None:
    """MB/s of one large batch, one event in 10,000 meets, and requests of one event each."""
    step = 10_000
    part = b"".join(line(f"good{number}.other.example", number) for number in range(step - 1))
    parts = [part + line("a.h7.listed.example", n) for n in range(max(1, megabytes * 10**6 // len(part)))]
    body = b"".join(parts)
    begun = time.perf_counter()
    found = session.post(f"{one.url}/v1.0/Events", data=body, timeout=600).json()
    seconds = time.perf_counter() - begun
    if found["detections"] != len(parts):
        sys.exit(f"WRONG: {found}")
    rate, events = len(body) / seconds / 1e6, found["accepted"] / seconds
    print(f"one batch of {len(body) / 1e6:.0f} MB: {rate:.0f} MB/s, {events:,.0f} events/s")
    begun, count = time.perf_counter(), 300
    for number in range(count):
        session.post(f"{one.url}/v1.0/Events", data=line("good.other.example", number), timeout=30)
    print(f"requests of one event, one client: {count / (time.perf_counter() - begun):.0f}/s")


if __name__ == "__main__":
    sys.exit(main())
