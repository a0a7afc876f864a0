"""What each step of docs/matching.md is worth: the four lines, the reference, the kernel without its tricks.

    .venv/bin/python bench/steps.py [--size 256MB] [--repeat 3] [--folder DIR]

One core, bytes in memory, nothing judged where the kernel is measured. The kernel is built three times: as it
is, with a ring of one (a key is looked at as soon as the next one comes), and without SIMD. They take turns;
the table has medians. `--folder` keeps what was made for the next run, and may be that of bench/match.py.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from array import array
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType

from indicia import telemetry
from indicia.detect import detect
from indicia.match.engine import Sieve
from indicia.match.index import Index
from indicia.match.reference import ReferenceMatcher
from indicia.telemetry import Source
from match import cpu, size
from peers import made
from peers.made import EVERY, MILLION

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))
from fuzz.build import build, load

BUILDS = {
    "as it is": ("-O3",),
    "a ring of one": ("-O3", "-DRING=1"),
    "without SIMD": ("-O3", "-DINDICIA_SCALAR"),
}
FEW_LINES = 20
SMALL = 20_000_000
"""Bytes that the reference reads."""


def main() -> int:
    """Print the tables."""
    arguments = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    arguments.add_argument("--size", type=size, default=size("256MB"))
    arguments.add_argument("--repeat", type=int, default=3)
    arguments.add_argument("--folder", type=Path, help="where the data are kept  [default: temporary]")
    given = arguments.parse_args()
    print(f"{cpu()}, Python {sys.version.split()[0]}\n")
    with tempfile.TemporaryDirectory(prefix="indicia-bench-") as scratch:
        folder = given.folder or Path(scratch)
        folder.mkdir(parents=True, exist_ok=True)
        log = made.log(folder, "equals", given.size, EVERY, made.listed(MILLION))
        data = log.path.read_bytes()
        simple(data, folder)
        kernels(data, log.planted, folder, Path(scratch), given.repeat)
    return 0


def simple(data: bytes, folder: Path) -> None:
    """The four lines, and the reference."""
    values = [value.encode() for values in made.listed(MILLION) for value in values]
    lines = data[: 1 << 20].split(b"\n")[:FEW_LINES]
    took = timed(lambda: sum(value in line for line in lines for value in values))
    print(f"the four lines: {FEW_LINES / took:,.0f} events/s, {size_of(lines) / took / 1e3:,.1f} kB/s")
    with Index.open(made.index(folder, MILLION)) as index:
        matcher = ReferenceMatcher(index.indicators())
    part = data[: data.rfind(b"\n", 0, SMALL) + 1]
    count = part.count(b"\n")

    def reference() -> None:
        for event in telemetry.events(Source("events", held=part), malformed=lambda _: None):
            detect(event, matcher)

    took = timed(reference)
    print(f"the reference: {count / took:,.0f} events/s, {len(part) / took / 1e6:,.1f} MB/s\n")


def kernels(data: bytes, planted: int, folder: Path, scratch: Path, repeat: int) -> None:
    """Three builds and two indexes."""
    indexes = [Index.open(made.index(folder, count)) for count in (MILLION, 10 * MILLION)]
    modules = {
        name: load(str(build(scratch, name.replace(" ", "-"), flags)), f"build{number}._kernel")
        for number, (name, flags) in enumerate(BUILDS.items())
    }
    takes: dict[tuple[str, int], list[float]] = {}
    for turn in range(repeat + 1):
        for name, module in modules.items():
            for index in indexes:
                took = timed(lambda module=module, index=index: walk(module, index, data))  # type: ignore[misc]
                if turn:
                    takes.setdefault((name, len(index)), []).append(took)
    print("| kernel alone, one core, MB/s | 1,000,000 | 10,000,000 |\n|---|---:|---:|")
    for name in BUILDS:
        rates = (len(data) / 1e6 / statistics.median(takes[name, len(index)]) for index in indexes)
        print(f"| {name} | {' | '.join(f'{rate:,.0f}' for rate in rates)} |")
    spans = len(Sieve(indexes[0]).spans(data))
    print(f"\n{data.count(bytes([10])):,} events, {planted} match, {spans - planted} are parsed in vain")


def walk(kernel: ModuleType, index: Index, data: bytes) -> int:
    """How many candidates there are."""
    out, scratch, found = array("Q", bytes(1 << 20)), bytearray(1 << 20), 0
    for start, stop in blocks(data):
        while start < stop:
            count, start = kernel.scan(index.data, index.layout, data, start, stop, out, scratch, False)
            found += count
    return found


def blocks(data: bytes) -> Iterator[tuple[int, int]]:
    """Whole lines, 4 MiB at a time."""
    start = 0
    while start < len(data):
        stop = data.rfind(b"\n", start, start + (1 << 22)) + 1
        yield start, stop
        start = stop


def size_of(lines: list[bytes]) -> int:
    return sum(len(line) + 1 for line in lines)


def timed(act: Callable[[], object]) -> float:
    """Seconds."""
    start = time.perf_counter()
    act()
    return time.perf_counter() - start


if __name__ == "__main__":
    sys.exit(main())
