"""Ways take turns over the same bytes, each in a process of its own; the table has medians."""

from __future__ import annotations

import gc
import multiprocessing
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path

from peers.made import Log
from peers.ways import Way

class Wrong(Exception):
    """A way found another number of events: its speed says nothing."""


@dataclass(frozen=True)
class Entry:
    """One way of a row: how it is made, what it reads, and how much faster than it we want to be."""

    name: str
    make: Callable[[], Way]
    log: Log
    goal: str = ""


def serve(connection: Connection, make: Callable[[], Way], path: Path) -> None:
    """The life of a way's process: seconds and count for each turn."""
    way = make()
    getattr(way, "prepare", lambda _path: None)(path)
    gc.collect()
    gc.freeze()
    connection.send("ready")
    while connection.recv():
        start = time.perf_counter()
        found = way(path)
        connection.send((time.perf_counter() - start, found))


def compare(title: str, entries: Sequence[Entry], repeat: int) -> dict[str, float]:
    """Turns of all ways, the table, and the median MB/s of each."""
    context = multiprocessing.get_context("fork")
    ends, seconds = [], {entry.name: list[float]() for entry in entries}
    for entry in entries:
        ours, theirs = context.Pipe()
        process = context.Process(target=serve, args=(theirs, entry.make, entry.log.path), daemon=True)
        process.start()
        theirs.close()
        ours.recv()
        ends.append((entry, ours, process))
    for turn in range(repeat + 1):
        for entry, ours, _ in ends:
            ours.send(True)
            took, found = ours.recv()
            if found != entry.log.planted:
                raise Wrong(f"{entry.name}: {found} events match, {entry.log.planted} were planted")
            if turn:  # the first one warms caches
                seconds[entry.name].append(took)
    for _, ours, process in ends:
        ours.send(False)
        process.join()
    rates = {entry.name: entry.log.size / 1e6 / statistics.median(seconds[entry.name]) for entry in entries}
    first = entries[0]
    print(f"\n{title}: {first.log.size / 1e6:,.0f} MB, {first.log.planted:,} events match\n")
    print("| way | reads MB | median s | MB/s | first row / this | goal |")
    print("|---|---:|---:|---:|---:|---|")
    for entry in entries:
        median = statistics.median(seconds[entry.name])
        print(
            f"| {entry.name} | {entry.log.size / 1e6:,.0f} | {median:.2f} | {rates[entry.name]:,.0f} | "
            f"{rates[first.name] / rates[entry.name]:,.2f} | {entry.goal} |",
            flush=True,
        )
    return rates
