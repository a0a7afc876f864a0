"""The scan beside what a user would pick instead: the same bytes, the same indicators, turns taken, a table.

    .venv/bin/python bench/match.py [--size 256MB] [--repeat 3] [--folder DIR] [--data ../shared/data]
        [--rows equals,ten,dense,patterns,parquet,build,memory,alone,real]

The data are made from a seed: ECS-like events, one a line, of which one in 10,000 (or in 100) holds one of
the indicators, in one of three fields. Indicators are addresses, names and SHA-256 in equal parts. Each way
runs in a process of its own that has its list loaded before the clock starts; only `indicia scan` is measured
as a whole process, from its start to its exit, with the index built already. The ways take turns, `--repeat`
times after one that is not counted; the table has medians. A way that finds another number of events than
were planted ends the bench with 1.

Slow ways read the first part of the same file, and their rate is taken for that of the whole (of grep and rg
the time that the list alone takes is counted once); the table says how much they read. `--folder` keeps what
was made for the next run. Rows: `equals` 1,000,000 indicators; `alone` the same without peers; `ten`
10,000,000; `dense` one match in 100; `patterns` of three functions; `parquet` 20 columns; `build`
making and opening an index; `memory` what all processes hold; `real` public indicators and telemetry, of
--data. Peers that are not installed are left out, and named: `make bench` installs them.
"""

from __future__ import annotations

import argparse
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from importlib.util import find_spec
from pathlib import Path

from indicia.match import compiler
from indicia.match.index import Index
from peers import made, ways
from peers.made import DEFINITION, DENSE, EVERY, MILLION, Log
from peers.turns import Entry, Wrong, compare

ROOT = Path(__file__).resolve().parent.parent
UNITS = {"MB": 10**6, "GB": 10**9}
SLOW, SLOWEST = 200_000_000, 100_000_000
"""Bytes that slow ways read."""
LOADED = 2_000_000_000
"""Bytes that the bare kernel has in memory at the most."""


def main() -> int:
    """Print one table a row."""
    arguments = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    arguments.add_argument("--size", type=size, default=size("256MB"), help="of the events: 256MB, 8GB")
    arguments.add_argument("--repeat", type=int, default=3)
    arguments.add_argument("--rows", default="equals,ten,dense,patterns,parquet,build,memory,real")
    arguments.add_argument("--folder", type=Path, help="where the data are kept  [default: temporary]")
    arguments.add_argument("--data", type=Path, default=ROOT.parent / "shared" / "data")
    given = arguments.parse_args()
    print(f"{cpu()}, {ways.CORES} cores, Python {sys.version.split()[0]}")
    try:
        with tempfile.TemporaryDirectory(prefix="indicia-bench-") as scratch:
            given.folder = given.folder or Path(scratch)
            given.folder.mkdir(parents=True, exist_ok=True)
            for row in given.rows.split(","):
                ROWS[row](given)
    except Wrong as error:
        print(f"WRONG: {error}")
        return 1
    return 0


def size(text: str) -> int:
    """`256MB` in bytes."""
    found = re.fullmatch(r"(\d+)(MB|GB)", text)
    if found is None:
        raise argparse.ArgumentTypeError("a number and MB or GB, as 256MB")
    return int(found[1]) * UNITS[found[2]]


def cpu() -> str:
    """Its name, where the system tells."""
    try:
        text = Path("/proc/cpuinfo").read_text()
    except OSError:
        return "unknown processor"
    return text.partition("model name")[2].partition(":")[2].partition("\n")[0].strip() or "unknown processor"


def there(*entries: tuple[str | None, Entry]) -> list[Entry]:
    """Those whose package is installed; the others are told."""
    for need, entry in entries:
        if need is not None and find_spec(need) is None:
            print(f"left out: {entry.name} ({need} is not installed: pip install --group bench)")
    return [entry for need, entry in entries if need is None or find_spec(need) is not None]


def with_match(given: argparse.Namespace, every: int) -> Log:
    """The events for Equals."""
    return made.log(given.folder, "equals", given.size, every, made.listed(MILLION))


def equals(given: argparse.Namespace) -> None:
    """1,000,000 indicators, every peer."""
    log, compiled = with_match(given, EVERY), made.index(given.folder, MILLION)
    rg = Path(sys.executable).with_name("rg")
    rows = [
        (None, Entry("`indicia scan`, whole process", partial(ways.whole_scan, compiled), log)),
        (None, Entry("the same, without start", partial(ways.inside, compiled), log)),
        (None, Entry("bare kernel, bytes in memory", partial(ways.bare_kernel, compiled), log, ">= 0.8")),
        (
            "duckdb",
            Entry(
                "DuckDB, exact fields, the events that match",
                partial(ways.duckdb_json, MILLION, whole=True),
                log,
                ">= 5",
            ),
        ),
        (
            "duckdb",
            Entry("DuckDB, three fields, only counted", partial(ways.duckdb_json, MILLION, whole=False), log),
        ),
        ("polars", Entry("Polars, typed", partial(ways.polars_is_in, MILLION), log, ">= 10")),
        (
            "orjson",
            Entry("Python, orjson and set", partial(ways.orjson_set, MILLION), log.part(SLOW), ">= 20"),
        ),
        (
            "ahocorasick_rs",
            Entry("ahocorasick_rs", partial(ways.aho_corasick, all_listed), log.part(SLOW)),
        ),
        (None, Entry("`grep -F -f`", partial(ways.grep, ["grep"], MILLION), log.part(SLOWEST), "", log)),
    ]
    if rg.exists():
        rows.append(
            (
                None,
                Entry("`rg -F -f`", partial(ways.grep, [str(rg)], MILLION), log.part(SLOWEST), ">= 100", log),
            )
        )
    compare("1,000,000 Equals, one event in 10,000 matches", there(*rows), given.repeat)


def alone(given: argparse.Namespace) -> None:
    """The scan beside the kernel that it is built around, for sizes at which the peers would take hours."""
    log, compiled = with_match(given, EVERY), made.index(given.folder, MILLION)
    rows = [
        Entry("`indicia scan`, whole process", partial(ways.whole_scan, compiled), log),
        Entry("the same, without start", partial(ways.inside, compiled), log),
        Entry(
            "bare kernel, bytes in memory", partial(ways.bare_kernel, compiled), log.part(LOADED), ">= 0.8"
        ),
    ]
    compare("1,000,000 Equals, no peers", rows, given.repeat)


def all_listed() -> list[str]:
    """The list of a million, flat."""
    return [value for values in made.listed(MILLION) for value in values]


def ten(given: argparse.Namespace) -> None:
    """10,000,000 indicators beside 1,000,000."""
    log = with_match(given, EVERY)
    rows = []
    for count, goal in ((MILLION, ""), (10 * MILLION, "<= 1.5")):
        compiled = made.index(given.folder, count)
        rows.append(Entry(f"`indicia scan`, {count:,}", partial(ways.whole_scan, compiled), log, goal))
    compiled = made.index(given.folder, 10 * MILLION)
    rows.append(Entry("bare kernel, 10,000,000", partial(ways.bare_kernel, compiled), log))
    compare("10,000,000 Equals", rows, given.repeat)


def dense(given: argparse.Namespace) -> None:
    """One match in 100 beside one in 10,000."""
    compiled = made.index(given.folder, MILLION)
    rows = [
        Entry("one event in 10,000", partial(ways.whole_scan, compiled), with_match(given, EVERY)),
        Entry("one event in 100", partial(ways.whole_scan, compiled), with_match(given, DENSE), "<= 2.5"),
    ]
    compare("1,000,000 Equals, one event in 100 matches", rows, given.repeat)


def patterns(given: argparse.Namespace) -> None:
    """A million patterns of each function beside ahocorasick_rs, and ten thousand beside Equals."""
    for function in made.FUNCTIONS:
        planted = [made.with_patterns(function, 10_000)]
        log = made.log(given.folder, function, given.size, EVERY, planted)
        few, many = (made.pattern_index(given.folder, function, n) for n in (10_000, MILLION))
        short = log.part(SLOW)
        automaton = partial(ways.aho_corasick, partial(made.patterns, function, MILLION))
        rows = [
            (None, Entry(f"`indicia scan`, 1,000,000 {function}", partial(ways.whole_scan, many), log)),
            (None, Entry(f"`indicia scan`, 10,000 {function}", partial(ways.whole_scan, few), log)),
            ("ahocorasick_rs", Entry("ahocorasick_rs, 1,000,000, one thread", automaton, short, ">= 5")),
        ]
        compare(f"Patterns, {function}", there(*rows), given.repeat)


def parquet(given: argparse.Namespace) -> None:
    """Twenty columns, twelve of them texts, which we search all; DuckDB those it is told."""
    if find_spec("pyarrow") is None:
        print("left out: parquet (pyarrow is not installed: pip install --group bench)")
        return
    log, compiled = made.parquet(given.folder, given.size), made.index(given.folder, MILLION)
    whole, known = (partial(ways.duckdb_parquet, MILLION, fields) for fields in (made.TEXTS, made.FIELDS))
    rows = [
        (None, Entry("`indicia scan`, whole process", partial(ways.whole_scan, compiled), log)),
        (None, Entry("the same, without start", partial(ways.inside, compiled), log)),
        ("duckdb", Entry("DuckDB, the 12 columns of texts", whole, log, ">= 3")),
        ("duckdb", Entry("DuckDB, the three columns that are known", known, log)),
    ]
    compare("Parquet, 20 columns, one row in 10,000 matches", there(*rows), given.repeat)


def memory(given: argparse.Namespace) -> None:
    """The largest sum of what the processes of a scan hold, each shared page once."""
    print("\n| scan | input MB | index MB | peak MB of all processes | beyond the index MB | goal |")
    print("|---|---:|---:|---:|---:|---|")
    for count, every in ((MILLION, EVERY), (10 * MILLION, EVERY), (MILLION, DENSE)):
        log, compiled = with_match(given, every), made.index(given.folder, count)
        peak, size = peak_of(compiled, log.path), compiled.stat().st_size / 1e6
        name = f"{count:,} indicators, one match in {every:,}"
        print(f"| {name} | {log.size / 1e6:,.0f} | {size:,.0f} | {peak:,.0f} | {peak - size:,.0f} | <= 200 |")


def peak_of(compiled: Path, path: Path) -> float:
    """MB, looked at a hundred times a second."""
    command = [str(Path(sys.executable).with_name("indicia")), "scan", "--index", str(compiled), str(path)]
    peak = 0.0
    with subprocess.Popen(
        command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
    ) as process:
        while process.poll() is None:
            peak = max(peak, sum(map(held, family(process.pid))))
            time.sleep(0.01)
    if process.returncode not in (0, 1):
        raise Wrong(f"indicia scan ended with {process.returncode}")
    return peak


def family(pid: int) -> list[int]:
    """The process and those that it started."""
    try:
        below = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    except OSError:
        below = []
    return [pid, *(one for child in below for one in family(int(child)))]


def held(pid: int) -> float:
    """MB: of a page that several hold, its share."""
    try:
        found = re.search(r"^Pss:\s+(\d+) kB", Path(f"/proc/{pid}/smaps_rollup").read_text(), re.MULTILINE)
    except OSError:
        return 0.0
    return int(found[1]) / 1000 if found else 0.0


SETS = {
    "Windows (Sysmon, Security, PowerShell)": "security-datasets/atomic/windows",
    "Zeek, JSON": "zed-sample-data/zeek-json",
    "Zeek, TSV": "zed-sample-data/zeek-default",
    "Azure, Syslog, Zeek, Defender, Entra ID": "security-datasets/compound",
    "CloudTrail, S3": "security-datasets/atomic/aws",
    "Suricata EVE": "suricata-sample-data",
    "EVTX": "evtx-attack-samples",
}
REAL = 2_000_000_000


def real(given: argparse.Namespace) -> None:
    """The public indicators against the public telemetry, decompressed and repeated until there are 2 GB."""
    if not given.data.is_dir():
        print(f"left out: real ({given.data} is absent)")
        return
    compiled = given.folder / "real.idx"
    if not compiled.exists():
        took = timed(partial(made.real_index, given.data / "indicators" / "all.csv.zst", compiled))
        print(f"\nreal indicators: read, made and compiled in {took:.0f} s")
    with Index.open(compiled) as opened:
        print(f"\n{len(opened):,} indicators, {compiled.stat().st_size / len(opened):.1f} bytes each\n")
    print("| telemetry | MB | events | detections | seconds | MB/s | events/s |")
    print("|---|---:|---:|---:|---:|---:|---:|")
    folder = given.folder / "real"
    sizes = made.unpacked(given.data / "telemetry", folder, tuple(SETS.values()), REAL)
    for name, part in (*SETS.items(), ("all of it", "")):
        size = sum(found for path, found in sizes.items() if path.startswith(part))
        takes = [scanned(compiled, folder / part) for _ in range(given.repeat)]
        seconds = statistics.median(take[0] for take in takes)
        events, detections = takes[0][1:]
        if any(take[1:] != takes[0][1:] for take in takes):
            raise Wrong(f"{name}: not the same in every turn")
        rates = f"{size / 1e6 / seconds:,.0f} | {events / seconds:,.0f}"
        print(
            f"| {name} | {size / 1e6:,.0f} | {events:,} | {detections:,} | {seconds:.1f} | {rates} |",
            flush=True,
        )


def scanned(compiled: Path, path: Path) -> tuple[float, int, int]:
    """Seconds of a whole `indicia scan`, the events and the detections that it tells of."""
    command = [str(Path(sys.executable).with_name("indicia")), "scan", "--index", str(compiled), str(path)]
    start = time.perf_counter()
    done = subprocess.run(command, capture_output=True, check=False, text=True)
    took = time.perf_counter() - start
    found = re.search(r"([\d,]+) events? in .* files?, ([\d,]+) detections? in", done.stderr)
    if found is None:
        raise Wrong(f"indicia scan {path}: {done.stderr[-500:]}")
    events, detections = (int(number.replace(",", "")) for number in found.groups())
    return took, events, detections


def build(given: argparse.Namespace) -> None:
    """Seconds from arrays to the file, bytes an indicator, milliseconds to open."""
    print("\n| indicators | build from arrays, s | goal | bytes an indicator | goal | open, ms | goal |")
    print("|---:|---:|---|---:|---|---:|---|")
    path = given.folder / "built.idx"
    for count, goal in ((MILLION, "<= 1"), (10 * MILLION, "<= 15")):
        write = partial(compiler.write_columns, made.of_equals(count), [DEFINITION], [], path)
        took = statistics.median(timed(write) for _ in range(3))
        opened = 1000 * statistics.median(timed(lambda: Index.open(path).close()) for _ in range(9))
        each = path.stat().st_size / count
        print(f"| {count:,} | {took:.2f} | {goal} | {each:.1f} | <= 40 | {opened:.1f} | <= 10 |", flush=True)
        path.unlink()


def timed(act: Callable[[], object]) -> float:
    """Seconds."""
    start = time.perf_counter()
    act()
    return time.perf_counter() - start


ROWS: dict[str, Callable[[argparse.Namespace], None]] = {
    "equals": equals,
    "alone": alone,
    "ten": ten,
    "dense": dense,
    "patterns": patterns,
    "parquet": parquet,
    "build": build,
    "memory": memory,
    "real": real,
}

if __name__ == "__main__":
    sys.exit(main())
