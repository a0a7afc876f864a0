"""The store on SQLite and on PostgreSQL side by side in one run: imports, detections, and single POSTs.

    .venv/bin/python bench/databases.py [--indicators 200000] [--detections 50000] [--posts 300]

Both keep what they have acknowledged: SQLite with `synchronous=FULL`, PostgreSQL (the wheel's, on this
machine, by its socket) with `fsync` and `synchronous_commit`. Each line is the best of `--repeat`; the two
take turns. *import* is `TenantStore.import_indicators` in batches of 50,000. *detections* are recorded and
folded into alerts, 1000 or 20 in a transaction, by 200 definitions on 5,000 machines. *POST* is one client of
`indicia serve` over TLS, one request after the other, milliseconds.
"""

from __future__ import annotations

import argparse
import gc
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import requests

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))

import postgres
from hosts import Host
from indicia.auth import certificates
from indicia.model import AlertDefinition, Detection, Quotas
from indicia.store import Store, TenantStore
from insert import indicators
from service import Access, add_access, free_port, indicator, wait_until
from stored import definition, detection
from stored import indicator as stored_indicator

DURABLE = {
    "fsync": "on",
    "synchronous_commit": "on",
    "full_page_writes": "on",
    "autovacuum": "on",
    "shared_buffers": "256MB",
}
KINDS = ("sqlite", "postgresql")
QUOTAS = Quotas(alerts_per_hour=10**9)
LARGE, SMALL = 1000, 20
"""Detections in a transaction."""


def main() -> int:
    """Print the table."""
    arguments = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    arguments.add_argument("--indicators", type=int, default=200_000)
    arguments.add_argument("--detections", type=int, default=50_000)
    arguments.add_argument("--posts", type=int, default=300)
    arguments.add_argument("--repeat", type=int, default=2)
    arguments.add_argument("--only", choices=KINDS)
    given = arguments.parse_args()
    kinds = (given.only,) if given.only else KINDS
    server = postgres.new(DURABLE) if "postgresql" in kinds else None
    found: dict[str, dict[str, float]] = {kind: {} for kind in kinds}
    try:
        for _ in range(given.repeat):
            for kind in kinds:
                with place(kind, server) as (url, folder):
                    for name, value in measured(url, folder, given).items():
                        best = min if "ms" in name else max
                        found[kind][name] = best(value, found[kind].get(name, value))
    finally:
        if server is not None:
            postgres.remove(server)
    show(found)
    return 0


@contextmanager
def place(kind: str, server: postgres.Server | None) -> Iterator[tuple[str, Path]]:
    """The URL of a new store, and a folder."""
    with tempfile.TemporaryDirectory(prefix="indicia-bench-") as folder:
        if server is None or kind == "sqlite":
            yield f"sqlite:///{folder}/indicia.db", Path(folder)
            return
        name = server.make()
        yield server.url(name), Path(folder)
        server.drop(name)


def show(found: dict[str, dict[str, float]]) -> None:
    """The table."""
    print(f"| | {' | '.join(found)} |\n|---|{'---:|' * len(found)}")
    for name in next(iter(found.values())):
        shape = "{:,.1f}" if "ms" in name else "{:,.0f}"
        print(f"| {name} | {' | '.join(shape.format(values[name]) for values in found.values())} |")


def measured(url: str, folder: Path, given: argparse.Namespace) -> dict[str, float]:
    """Each line of one database."""
    found: dict[str, float] = {}
    with Store.open(url, quotas=QUOTAS) as store:
        access = add_access(store, "bench")
        tenant = store.tenant(access.tenant_id)
        owners = tenant.add_definitions([definition(name=f"Definition {n}") for n in range(200)], "bench")
        found["import, indicators/s"] = imported(tenant, owners[0], given.indicators)
        made = list(detections(tenant, owners, given.detections + given.detections // 10))
        gc.freeze()
        for size, part in ((LARGE, made[: given.detections]), (SMALL, made[given.detections :])):
            found[f"detections/s, {size} in a transaction"] = recorded(tenant, part, size)
        gc.unfreeze()
    times = posts(url, folder, access, owners[0].id, given.posts)
    cuts = statistics.quantiles(times, n=100)
    return found | {"POST of an indicator, p50 ms": cuts[49] * 1000, "p99 ms": cuts[98] * 1000}


def imported(tenant: TenantStore, owner: AlertDefinition, count: int) -> float:
    """Indicators in a second."""
    made = indicators(count)
    begun = time.perf_counter()
    for _ in tenant.import_indicators(owner.id, made, "bench", key="bench"):
        pass
    seconds = time.perf_counter() - begun
    assert tenant.counts().indicators == count
    return count / seconds


def detections(tenant: TenantStore, owners: list[AlertDefinition], count: int) -> Iterator[Detection]:
    """Of ten thousand each thousand make an alert each, ten times."""
    # By one each: what `detect` makes is the same for all events but for these.
    each = [detection(stored_indicator(owner, n), tenant.uid) for n, owner in enumerate(owners)]
    for number in range(count):
        name, alert = f"{number:032x}", number // 10_000 * 1000 + number % 1000
        machine = f"host-{alert * 7919 % 5000}"
        yield replace(
            each[alert % len(each)], id=name, event_id=name, alert_id=f"{alert:032x}", machine=machine
        )


def recorded(tenant: TenantStore, made: list[Detection], size: int) -> float:
    """Detections in a second."""
    begun = time.perf_counter()
    new = sum(tenant.record(made[start : start + size]).new_detections for start in range(0, len(made), size))
    seconds = time.perf_counter() - begun
    assert new == len(made)
    return new / seconds


def posts(url: str, folder: Path, access: Access, owner: int, count: int) -> list[float]:
    """Seconds of each request."""
    host = Host(folder, free_port())
    (folder / "config.toml").write_text("" if url.startswith("sqlite") else f'database = "{url}"\n')
    (folder / "log").touch()
    certificates.ensure(folder, "127.0.0.1")
    host.start()
    try:
        wait_until(60, host.answers)
        with requests.Session() as session:
            session.trust_env, session.verify = False, str(folder / "tls" / "ca.pem")
            reply = session.post(f"{host.url}/{access.tenant_id}/oauth2/token", data=access.form, timeout=60)
            session.headers["Authorization"] = f"Bearer {reply.json()['access_token']}"
            return [timed(lambda n=n: post(session, host, owner, n)) for n in range(count)][10:]  # type: ignore[misc]
    finally:
        host.kill()


def post(session: requests.Session, host: Host, owner: int, number: int) -> None:
    """One indicator."""
    body = indicator(owner, Type="DomainName", Value=f"w{number}.example")
    reply = session.post(f"{host.url}/v1.0/IndicatorsOfCompromise", json=body, timeout=60)
    assert reply.status_code == 201, reply.text


def timed(work: Callable[[], None]) -> float:
    """Its seconds."""
    begun = time.perf_counter()
    work()
    return time.perf_counter() - begun


if __name__ == "__main__":
    sys.exit(main())
