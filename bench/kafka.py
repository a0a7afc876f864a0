"""Events through Kafka: what one consumer takes in at a million indicators.

    .venv/bin/python bench/kafka.py [--indicators 1000000] [--events 2000000] [--seconds 300]

One broker on loopback, a topic of four partitions that is filled before, one `indicia watch` in this process;
one event in 1,000 meets an indicator. Measured: the consumer of librdkafka alone, and the watch, from its
first event to its last, with the processor seconds of its process. The events are made from numbers; Kafka
is fetched once, as for the tests.
"""

from __future__ import annotations

import argparse
import json
import resource
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))

import confluent_kafka

import broker as kafka
from broker import Broker
from indicia.live.following import Followings
from indicia.live.watch import Watch
from indicia.model import DetectionFunction, Indicator, IndicatorType
from indicia.store import Store, TenantStore
from service import add_access
from stored import definition

PARTITIONS = 4
SHARE = 1000
"""Of so many events one meets an indicator."""
TIME = "2024-03-12T08:53:07Z"


def main() -> int:
    """Print the figures."""
    arguments = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    arguments.add_argument("--indicators", type=int, default=1_000_000)
    arguments.add_argument("--events", type=int, default=2_000_000)
    arguments.add_argument("--seconds", type=float, default=300)
    given = arguments.parse_args()
    with tempfile.TemporaryDirectory(prefix="indicia-bench-") as folder:
        home, place = Path(folder), Path(folder, "broker")
        place.mkdir()
        with kafka.running(place) as made, Store.open(f"sqlite:///{home / 'indicia.db'}") as store:
            tenant = store.tenant(add_access(store, "bench").tenant_id)
            fill(tenant, given.indicators)
            topic = made.topic(PARTITIONS)
            size = put(made, topic, given.events)
            print(
                f"{given.events:,} events of {size / given.events:.0f} bytes, {given.indicators:,} indicators"
            )
            alone(made, topic, given.events, size)
            live = Followings(store, f"sqlite:///{home / 'indicia.db'}", home)
            try:
                live.of(tenant)
                through(live, tenant, made, topic, given, size)
            finally:
                live.close()
    return 0


def fill(tenant: TenantStore, count: int) -> None:
    """So many names, most of which no event holds."""
    (owner,) = tenant.add_definitions([definition()], "bench")
    made = (
        Indicator(IndicatorType.DOMAIN_NAME, name, name, DetectionFunction.EQUALS, owner)
        for name in (f"n{number}.bad.example" for number in range(count))
    )
    for _ in tenant.import_indicators(owner.id, made, "bench", key="bench"):
        pass


def lines(count: int) -> Iterator[bytes]:
    """Events as a resolver's log has them."""
    for number in range(count):
        name = (
            f"n{number // SHARE}.bad.example" if number % SHARE == 0 else f"host-{number % 9973}.example.com"
        )
        event = {
            "@timestamp": TIME,
            "event": {"id": str(number), "dataset": "dns"},
            "host": {"name": f"pc-{number % 200}"},
            "source": {"ip": f"192.0.2.{number % 250}", "port": 50_000 + number % 10_000},
            "destination": {"ip": "198.51.100.53", "port": 53},
            "dns": {"question": {"name": name, "type": "A"}, "response_code": "NOERROR"},
        }
        yield json.dumps(event, separators=(",", ":")).encode()


def put(made: Broker, topic: str, count: int) -> int:
    """Fill a topic; bytes of the events."""
    own = {"linger.ms": 20, "batch.num.messages": 10_000, "queue.buffering.max.messages": 500_000}
    producer, size = confluent_kafka.Producer(made.settings | own), 0
    for number, line in enumerate(lines(count)):
        size += len(line)
        while True:
            try:
                producer.produce(topic, line, partition=number % PARTITIONS)
                break
            except BufferError:
                producer.poll(0.1)
    producer.flush()
    return size


def told(what: str, events: int, size: int, seconds: float, more: str = "") -> None:
    """One line of figures."""
    print(f"{what}: {events / seconds:,.0f} events/s, {size / seconds / 1e6:.0f} MB/s{more}", flush=True)


def alone(made: Broker, topic: str, count: int, size: int) -> None:
    """The consumer, its messages let go of."""
    own = {"group.id": "alone", "auto.offset.reset": "earliest", "fetch.queue.backoff.ms": 20}
    consumer, seen, begun = confluent_kafka.Consumer(made.settings | own), 0, 0.0
    consumer.subscribe([topic])
    while seen < count:
        seen += len(consumer.consume(10_000, 0.1))
        begun = begun or (time.perf_counter() if seen else 0.0)
    told("librdkafka's consumer alone", count, size, time.perf_counter() - begun)
    consumer.close()


def through(
    live: Followings, tenant: TenantStore, made: Broker, topic: str, given: argparse.Namespace, size: int
) -> None:
    """The watch, from its first event to its last one."""
    watch = Watch(live.of(tenant), [f"{made.url}/{topic}?group=bench"], Path(made.folder, "watch"))
    stopped = threading.Event()
    thread = threading.Thread(target=watch.run, args=(stopped,))
    thread.start()
    end = time.perf_counter() + given.seconds
    while not watch.seen.events and time.perf_counter() < end:
        time.sleep(0.001)
    begun, used = time.perf_counter(), _used()
    while watch.seen.events < given.events and time.perf_counter() < end:
        time.sleep(0.01)
    seconds, cores = time.perf_counter() - begun, _used() - used
    stopped.set()
    thread.join()
    assert watch.seen.events == given.events, watch.seen
    assert made.committed(topic, "bench") == made.ends(topic)
    assert tenant.counts().detections == min(given.indicators, len(range(0, given.events, SHARE)))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    told("indicia watch", given.events, size, seconds, f"; {cores:.1f} s of processors, {peak:.0f} MiB peak")


def _used() -> float:
    found = resource.getrusage(resource.RUSAGE_SELF)
    return found.ru_utime + found.ru_stime


if __name__ == "__main__":
    sys.exit(main())
