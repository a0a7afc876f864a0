"""Topics through Spark: its own connector beside Indicia's data source.

    .venv/bin/python bench/topics.py [--events 1000000] [--repeat 3]

One broker on loopback, a topic of four partitions that is filled before; one event in 1,000 meets an
indicator. Each connector has a session of `local[2]` in a process of its own, and takes the whole topic as
one batch: once before the clock starts, then in turns with the other. `read` counts the bytes of messages;
`detect` looks for 100,000 indicators, and must find what was planted. The table has medians; CPU seconds
count all processes of a way, its JVM as well, and not the broker's. Kafka and the connector are fetched once,
as for the tests.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from multiprocessing.connection import Connection
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))

import broker
from indicia import scale as spark_jobs
from indicia.match import compiler
from indicia.model import DetectionFunction, Indicator, IndicatorType
from kafka import PARTITIONS, SHARE, put
from peers.made import DEFINITION
from scale import SETTINGS, spent
from test_spark_connectors import KAFKA, connector

INDICATORS = 100_000
CONNECTORS = {"spark": "Spark's connector", "indicia": "Indicia's data source"}


def main() -> int:
    """Print the table."""
    arguments = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    arguments.add_argument("--events", type=int, default=1_000_000)
    arguments.add_argument("--repeat", type=int, default=3)
    given = arguments.parse_args()
    jars = connector(KAFKA)
    with tempfile.TemporaryDirectory(prefix="indicia-bench-") as folder, ExitStack() as stack:
        (place := Path(folder, "broker")).mkdir()
        made = stack.enter_context(broker.running(place))
        topic, index = made.topic(PARTITIONS), Path(folder, "feed.idx")
        compiler.write(indicators(), index)
        size = put(made, topic, given.events)
        options = {"kafka.bootstrap.servers": f"127.0.0.1:{made.port}", "subscribe": topic}
        wanted = {"read": size, "detect": len(range(0, given.events, SHARE))}
        asked = {name: begun(stack, name, jars, options, str(index)) for name in CONNECTORS}
        taken: dict[tuple[str, str], list[tuple[float, float]]] = {}
        for number in range(given.repeat + 1):
            for kind in wanted:
                for name, connection in asked.items():
                    connection.send(kind)
                    seconds, cpu, found = connection.recv()
                    if found != wanted[kind]:
                        raise SystemExit(f"WRONG: {kind}, {name}: {found}, not {wanted[kind]}")
                    print(f"{kind}, {name}: {seconds:.2f} s, {cpu:.2f} CPU s", file=sys.stderr, flush=True)
                    if number:
                        taken.setdefault((kind, name), []).append((seconds, cpu))
        for connection in asked.values():
            connection.send(None)
        told(taken, given.events, size)
    return 0


def indicators() -> list[Indicator]:
    """Of which events hold some, in turn."""
    names = [f"n{number}.bad.example" for number in range(INDICATORS)]
    return [
        Indicator(IndicatorType.DOMAIN_NAME, name, name, DetectionFunction.EQUALS, DEFINITION)
        for name in names
    ]


def begun(stack: ExitStack, name: str, jars: str, options: dict[str, str], index: str) -> Connection:
    """To the process of a connector."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=serve, args=(theirs, name, jars, options, index))
    process.start()
    stack.callback(process.join)
    return ours


def serve(connection: Connection, name: str, jars: str, options: dict[str, str], index: str) -> None:
    """Its life: seconds, CPU seconds and count for each turn, until None."""
    os.environ["PYSPARK_PYTHON"] = sys.executable
    settings = SETTINGS | ({"spark.jars": jars} if name == "spark" else {})
    spark = spark_jobs.session(master="local[2]", settings=settings)
    form = "kafka" if name == "spark" else spark_jobs.register(spark)
    frame = spark.read.format(form).options(**options).load()
    able: dict[str, Callable[[], int]] = {
        "read": lambda: frame.selectExpr("sum(length(value)) AS size").collect()[0]["size"],
        "detect": lambda: spark_jobs.detect(frame.select("value"), index).count(),
    }
    while (kind := connection.recv()) is not None:
        cpu, start = spent(), time.perf_counter()
        found = able[kind]()
        connection.send((time.perf_counter() - start, spent() - cpu, found))
    spark.stop()


def told(taken: dict[tuple[str, str], list[tuple[float, float]]], events: int, size: int) -> None:
    """The table."""
    print(f"{events:,} events of {size / events:.0f} bytes\n")
    print("| way | | seconds | events a second | CPU seconds of a million events |")
    print("|---|---|---:|---:|---:|")
    for (kind, name), turns in taken.items():
        seconds, cpu = (statistics.median(one) for one in zip(*turns, strict=True))
        rate, work = events / seconds, cpu / events * 1e6
        print(f"| {kind} | {CONNECTORS[name]} | {seconds:.2f} | {rate:,.0f} | {work:.2f} |")


if __name__ == "__main__":
    sys.exit(main())
