"""What the service costs while nothing comes, and whether its memory stays flat under a steady load.

    .venv/bin/python bench/steady.py [--minutes 30] [--rate 1000] [--indicators 200000] [--warm 75000]

A service of two workers on loopback with an output that is delivered to a webhook here. First nothing comes:
the processor time of all its processes is a share of one core. Then come as many events that all meet an
indicator as fill what each process remembers of texts (65,536 at the most), whatever comes later: memory
grows until then. Then batches of 500 events come at a rate,
one event in 200 meets an indicator, one alert for each of 300 machines and each day of event time; every
minute an indicator is written and the API is read. Each minute's memory is the sum of all processes'
proportional set sizes (PSS), so that what they share counts once; anonymous memory is told apart from mapped
files. At the end the slope of a straight line through the last two thirds.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import requests

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))

from indicia.auth import roles
from indicia.auth.sealing import Seal
from indicia.live import targets
from indicia.messages import Output
from indicia.model import DetectionFunction, Indicator, IndicatorType
from indicia.outputs.given import Given
from indicia.store import Store, TenantStore
from live import seconds_of
from receivers import web
from service import DEFINITION, Process, add_access, family, running
from stored import definition

BATCH = 500
SHARE = 200
MACHINES = 300
START = datetime(2024, 3, 12, tzinfo=UTC)


def main() -> int:
    """Print the figures."""
    arguments = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    arguments.add_argument("--minutes", type=float, default=2)
    arguments.add_argument("--rate", type=int, default=1000)
    arguments.add_argument("--indicators", type=int, default=200_000)
    arguments.add_argument("--idle", type=float, default=30)
    arguments.add_argument("--warm", type=int, default=0)
    given = arguments.parse_args()
    with tempfile.TemporaryDirectory(prefix="indicia-bench-") as folder, web() as hook:
        home = Path(folder)
        with Store.open(f"sqlite:///{home / 'indicia.db'}") as store:
            access = add_access(store, "bench", (*roles.DEFAULT, roles.ADMIN))
            tenant = store.tenant(access.tenant_id)
            fill(tenant, given.indicators)
            told(tenant, home, hook.url)
        with running(home, workers=2) as service, service.session(access) as session:
            session.get(f"{service.url}/v1.0/Index", timeout=300)
            time.sleep(5)
            begun, used = time.monotonic(), seconds_of(service.process.pid)
            time.sleep(given.idle)
            used = seconds_of(service.process.pid) - used
            print(f"idle: {used / (time.monotonic() - begun):.2%} of one core", flush=True)
            for number in range(0, given.warm, BATCH):
                body = b"".join(_line(-SHARE * one, START) for one in range(number + 1, number + BATCH + 1))
                session.post(f"{service.url}/v1.0/Events", data=body, timeout=60).raise_for_status()
            load(service, session, given.minutes, given.rate)
            print(f"messages delivered: {len(hook.requests):,}, twice: {len(hook.ids) - len(set(hook.ids))}")
    return 0


def fill(tenant: TenantStore, count: int) -> None:
    """A definition with so many names."""
    (owner,) = tenant.add_definitions([definition()], "bench")
    made = (
        Indicator(IndicatorType.DOMAIN_NAME, name, name, DetectionFunction.EQUALS, owner)
        for name in (f"h{number:x}.listed.example" for number in range(count))
    )
    for _ in tenant.import_indicators(owner.id, made, "bench", key="bench"):
        pass


def told(tenant: TenantStore, home: Path, url: str) -> None:
    """An output that is told of alerts that open."""
    given = Given(url, {"allow": "127.0.0.1"}, targets.secret_for(url))
    new = targets.sealed(Seal(home), tenant.uid, Output("hook", "", ""), given)
    tenant.outbox.add(new, "bench")


def batch(number: int) -> bytes:
    """Events that no other batch has, of a day that moves on by an hour for each 100 batches."""
    day = START + timedelta(minutes=number * 0.6)
    return b"".join(_line(number * BATCH + one, day) for one in range(BATCH))


def _line(number: int, at: datetime) -> bytes:
    name = f"h{number // SHARE % 5000:x}.listed.example" if number % SHARE == 0 else "good.other.example"
    event = {
        "@timestamp": at.isoformat(),
        "event": {"id": str(number)},
        "host": {"name": f"pc-{number // SHARE % MACHINES}"},
        "dns": {"question": {"name": name}},
        "message": "x" * 150,
    }
    return json.dumps(event).encode() + b"\n"


def load(service: Process, session: requests.Session, minutes: float, rate: int) -> None:
    """Send at the rate, and say each minute what there is."""
    begun, used, samples = time.monotonic(), seconds_of(service.process.pid), []
    print("minute  PSS MiB  anonymous MiB  events  detections", flush=True)
    detections = 0
    for number, due in _paced(begun, minutes * 60, BATCH / rate):
        answer = session.post(f"{service.url}/v1.0/Events", data=batch(number), timeout=60)
        answer.raise_for_status()
        detections += answer.json()["newDetections"]
        if due:
            touch(service, session, number)
            whole, anonymous = memory(service.process.pid)
            samples.append((time.monotonic() - begun, anonymous))
            events = (number + 1) * BATCH
            print(
                f"{len(samples):6}  {whole:7.1f}  {anonymous:13.1f}  {events:,}  {detections:,}", flush=True
            )
    share = (seconds_of(service.process.pid) - used) / (time.monotonic() - begun)
    print(f"under load: {share:.2f} cores")
    slope(samples)


def _paced(begun: float, seconds: float, step: float) -> Iterator[tuple[int, bool]]:
    """Numbers of batches when they are due, and whether a minute is over."""
    number, minute = 0, 1
    while (now := time.monotonic() - begun) < seconds:
        time.sleep(max(0.0, number * step - now))
        over = now >= minute * 60
        minute += over
        yield number, over
        number += 1


def touch(service: Process, session: requests.Session, number: int) -> None:
    """What people do meanwhile: write an indicator, look at alerts."""
    made = session.post(f"{service.url}/v1.0/AlertDefinitions", json=DEFINITION, timeout=60)
    body = {
        "Type": "DomainName",
        "Value": f"w{number}.written.example",
        "DetectionFunction": "Equals",
        "AlertDefinition@odata.bind": f"AlertDefinitions({made.json()['Id']})",
    }
    session.post(f"{service.url}/v1.0/IndicatorsOfCompromise", json=body, timeout=60).raise_for_status()
    for path in ("Alerts?$orderby=Id desc&$top=50", "Detections?$top=50", "IndicatorsOfCompromise?$top=100"):
        session.get(f"{service.url}/v1.0/{path}", timeout=60).raise_for_status()


def memory(pid: int) -> tuple[float, float]:
    """MiB of a process and those below it: proportional, and of that what is no file."""
    whole = anonymous = 0
    for one in family(pid):
        for line in Path(f"/proc/{one}/smaps_rollup").read_text().splitlines():
            name, _, rest = line.partition(":")
            if name == "Pss":
                whole += int(rest.split()[0])
            elif name == "Pss_Anon":
                anonymous += int(rest.split()[0])
    return whole / 1024, anonymous / 1024


def slope(samples: list[tuple[float, float]]) -> None:
    """Say how anonymous memory moves over the last two thirds."""
    late = samples[len(samples) // 3 :]
    if len(late) < 3:
        return
    times, sizes = zip(*late, strict=True)
    found = statistics.linear_regression(times, sizes).slope
    least, most = min(sizes), max(sizes)
    print(f"last two thirds: {least:.1f} to {most:.1f} MiB anonymous, {found * 3600:+.2f} MiB an hour")


if __name__ == "__main__":
    sys.exit(main())
