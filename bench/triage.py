"""The queue of alerts at its size: every filter and order, what stands around an alert, what recording costs.

    .venv/bin/python bench/triage.py [--alerts 100000] [--home FOLDER]

Alerts are recorded as events bring them, of 200 definitions, on 5,000 machines, with 2,000 values, one of
which is in a fifth of all; a tenth is worked on, a hundredth High. Each line is one question, asked 30
times with other words; milliseconds of wall-clock time, p50 and p95. Goal: no p95 beyond 50 ms.
"""

from __future__ import annotations

import argparse
import random
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from datetime import timedelta
from functools import partial
from pathlib import Path
from statistics import median, quantiles

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))

from indicia.model import AlertDefinition, AlertStatus, Detection, Quotas, Severity
from indicia.store import AlertFilter, Sort, TenantStore
from indicia.store.queue import Place
from stored import START, definition, detection, indicator, opened

ASKED = 30
BATCH = 1000


def main() -> None:
    """Fill the queue where it is empty, then ask; the store of a --home stays."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--alerts", type=int, default=100_000)
    parser.add_argument("--home", type=Path, help="keep the store here, and use it again")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        home = given.home or Path(folder)
        with opened(home / "queue.db", Quotas(alerts_per_hour=10**9)) as tenant:
            if not tenant.counts().alerts:
                fill(tenant, given.alerts)
            print(f"{tenant.counts().alerts:,} alerts; milliseconds, p50 and p95 of {ASKED}")
            for name, ask in questions(tenant):
                took(name, ask)


def fill(tenant: TenantStore, count: int) -> None:
    """Record so many alerts, and work on a tenth of them."""
    chance = random.Random(7)
    severities = [Severity.LOW] * 60 + [Severity.MEDIUM] * 30 + [Severity.INFORMATIONAL] * 9 + [Severity.HIGH]
    new = [
        definition(name=f"Definition {n}", title=f"Title {n} lantern", severity=severities[n % 100])
        for n in range(200)
    ]
    owners = tenant.add_definitions(new, "bench")
    began = time.perf_counter()
    for start in range(0, count, BATCH):
        tenant.record([one(tenant, owners, n, chance) for n in range(start, start + BATCH)])
    print(f"recorded in {time.perf_counter() - began:.1f} s")
    numbers = range(1, count, 10)
    for start in range(0, len(numbers), BATCH):
        part = dict.fromkeys(numbers[start : start + BATCH])
        status = AlertStatus.RESOLVED if start % 2 else AlertStatus.IN_PROGRESS
        tenant.queue.change(part, {"status": status, "assigned_to": f"ann{start}@contoso.example"}, "bench")


def one(
    tenant: TenantStore, owners: Sequence[AlertDefinition], number: int, chance: random.Random
) -> Detection:
    """A detection that opens an alert of its own."""
    owner = owners[chance.randrange(len(owners))]
    value = 0 if chance.random() < 0.2 else chance.randrange(2000)
    machine = f"host-{chance.randrange(5000):04}.contoso.example"
    found = detection(indicator(owner, value), tenant.uid, number % 8000, machine=machine)
    return replace(found, alert_id=f"{number:032x}", id=f"{number:032x}")


def questions(tenant: TenantStore) -> Iterator[tuple[str, Callable[[int], object]]]:
    """What is asked, with a number that makes it another each time."""
    queue, week = tenant.queue, timedelta(days=7)
    filters: dict[str, Callable[[int], AlertFilter]] = {
        "all": lambda n: AlertFilter(),
        "new": lambda n: AlertFilter(status=(AlertStatus.NEW,)),
        "in progress, high": lambda n: AlertFilter((AlertStatus.IN_PROGRESS,), (Severity.HIGH,)),
        "resolved, informational": lambda n: AlertFilter((AlertStatus.RESOLVED,), (Severity.INFORMATIONAL,)),
        "definition": lambda n: AlertFilter(definition=1 + n),
        "machine": lambda n: AlertFilter(machine=f"HOST-{n:04}.contoso.example"),
        "value": lambda n: AlertFilter(value=f"host-{1 + n}.example"),
        "a value in a fifth": lambda n: AlertFilter(value="host-0.example"),
        "a value in none": lambda n: AlertFilter(value=f"none-{n}.example"),
        "assigned": lambda n: AlertFilter(assigned="ann0@contoso.example"),
        "to nobody": lambda n: AlertFilter(assigned=""),
        "a week": lambda n: AlertFilter(seen_from=START + n * week, seen_to=START + (n + 1) * week),
        "a week long ago": lambda n: AlertFilter(seen_to=START - week),
        "text of a machine": lambda n: AlertFilter(text=f"HOST-{n:04}"),
        "text of all titles": lambda n: AlertFilter(text="lantern"),
        "text of none": lambda n: AlertFilter(text=f"nothing {n}"),
        "text, new, value": lambda n: AlertFilter(
            (AlertStatus.NEW,), value="host-0.example", text=f"title {n}"
        ),
    }
    for name, made in filters.items():
        for sort in Sort:
            yield f"{name}, by {sort}", partial(page, tenant, made, sort)
        yield f"{name}, counted", partial(counted, tenant, made)
    deep = {sort: queue.page(AlertFilter(), sort, None, 20_000).last for sort in Sort}
    for sort in Sort:
        yield f"behind 20,000, by {sort}", partial(behind, tenant, sort, deep[sort])
    newest = queue.newest()
    yield "newer", lambda n: queue.newer(AlertFilter(status=(AlertStatus.NEW,)), newest - n, 100)
    alerts = tenant.queue.several(range(1, 40))
    yield "related", lambda n: queue.related(alerts[n])
    yield "hours", lambda n: queue.hours(alerts[n])
    yield "detections", lambda n: queue.detections(alerts[n])
    yield "silencing", lambda n: queue.silencing(alerts[n])


def page(tenant: TenantStore, made: Callable[[int], AlertFilter], sort: Sort, number: int) -> object:
    """The first page of a view."""
    return tenant.queue.page(made(number), sort)


def counted(tenant: TenantStore, made: Callable[[int], AlertFilter], number: int) -> object:
    """How many alerts a view has, up to 1,000."""
    return tenant.queue.page(made(number), Sort.NEWEST, None, 1, 1000)


def behind(tenant: TenantStore, sort: Sort, place: Place | None, _number: int) -> object:
    """A page far down."""
    return tenant.queue.page(AlertFilter(), sort, place)


def took(name: str, ask: Callable[[int], object]) -> None:
    """Ask, and print how long it took."""
    times = []
    for number in range(ASKED):
        began = time.perf_counter()
        ask(number)
        times.append((time.perf_counter() - began) * 1000)
    print(f"{name:40} {median(times):6.1f} {quantiles(times, n=20)[18]:6.1f}", flush=True)


if __name__ == "__main__":
    main()
