"""Ways take turns over the same bytes, each in a process of its own; the table has medians."""

from __future__ import annotations

import gc
import multiprocessing
import os
import statistics
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack, suppress
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
    whole: Log | None = None
    """Where `log` is a part of it, and much of the time is the list's: that is counted once."""


def serve(connection: Connection, make: Callable[[], Way], path: Path) -> None:
    """The life of a way's process: seconds and count for each turn, until the other end is closed."""
    way = make()
    getattr(way, "prepare", lambda _path: None)(path)
    gc.collect()
    gc.freeze()
    with suppress(EOFError, ConnectionError):
        connection.send((0.0, 0))
        while True:
            asked = Path(connection.recv())
            start = time.perf_counter()
            found = way(asked)
            connection.send((time.perf_counter() - start, found))


class Runner:
    """A way in its process."""

    def __init__(self, entry: Entry) -> None:
        self.entry = entry
        self.seconds: list[float] = []
        self._fixed: list[float] = []
        context = multiprocessing.get_context("spawn")
        self._connection, theirs = context.Pipe()
        self._process = context.Process(target=serve, args=(theirs, entry.make, entry.log.path))
        self._process.start()
        theirs.close()
        self._answer()

    def turn(self, *, counted: bool) -> None:
        """Once. Raises Wrong where it finds another number of events."""
        fixed = 0.0
        if self.entry.whole is not None:
            self._connection.send(os.devnull)
            fixed, _ = self._answer()
        self._connection.send(str(self.entry.log.path))
        took, found = self._answer()
        if found != self.entry.log.planted:
            raise Wrong(f"{self.entry.name}: {found} events match, {self.entry.log.planted} were planted")
        if counted:
            self.seconds.append(took)
            self._fixed.append(fixed)

    def _answer(self) -> tuple[float, int]:
        try:
            took, found = self._connection.recv()
        except EOFError:
            raise Wrong(f"{self.entry.name}: its process failed") from None
        return took, found

    def close(self) -> None:
        """It ends."""
        self._connection.close()
        self._process.join()

    @property
    def median(self) -> float:
        """Seconds."""
        return statistics.median(self.seconds)

    @property
    def rate(self) -> float:
        """MB/s; of the whole, where a part was read."""
        part, whole = self.entry.log, self.entry.whole
        if whole is None:
            return part.size / 1e6 / self.median
        fixed = statistics.median(self._fixed)
        return whole.size / 1e6 / (fixed + max(self.median - fixed, 0.0) * whole.size / part.size)


def compare(title: str, entries: Sequence[Entry], repeat: int) -> None:
    """Turns of all ways, and the table. The first turn warms caches and is not counted."""
    with ExitStack() as stack:
        runners = []
        for entry in entries:
            runners.append(Runner(entry))
            stack.callback(runners[-1].close)
        for number in range(repeat + 1):
            for runner in runners:
                runner.turn(counted=number > 0)
    first = runners[0]
    print(f"\n{title}: {first.entry.log.size / 1e6:,.0f} MB, {first.entry.log.planted:,} events match\n")
    print("| way | reads MB | median s | MB/s | first row / this, MB/s | goal |")
    print("|---|---:|---:|---:|---:|---|")
    for runner in runners:
        size = f"{runner.entry.log.size / 1e6:,.0f} | {runner.median:.2f} | {runner.rate:,.0f}"
        ratio = first.rate / runner.rate
        print(f"| {runner.entry.name} | {size} | {ratio:,.2f} | {runner.entry.goal} |", flush=True)
