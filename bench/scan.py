"""The reference scan in events per second over real telemetry with the real indicators, set by set.

    .venv/bin/python bench/scan.py [--data ../shared/data] [--indicators NAME] [--megabytes 8] [--repeat 3]

The indicators are taken as a feed is imported: 3.3 million, each domain as SubdomainOf. Baseline `plain`:
`json.loads` of each line and nothing else (of TSV and CSV: splitting the line). `read` is our reading with
all observables; `scan` is reading and detection. All three over the same bytes, decompressed before; CPU
seconds of one process, best of the repeats.
"""

from __future__ import annotations

import argparse
import json
import resource
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import zstandard

from indicia import feeds, telemetry
from indicia.detect import detect
from indicia.errors import InvalidValue
from indicia.feeds import FeedRow, make
from indicia.match.reference import ReferenceMatcher
from indicia.model import AlertDefinition, Category, Event, GroupBy, Indicator, Severity

ROOT = Path(__file__).resolve().parent.parent
FEED = AlertDefinition(
    "00000000-0000-4000-8000-000000000001",
    "Feed",
    "A feed",
    Severity.LOW,
    Category.GENERAL,
    group_by=GroupBy.INDICATOR,
)

SETS = {
    "Windows, NXLog (Sysmon, Security)": "security-datasets/atomic/windows/lateral_movement",
    "Windows, NXLog (PowerShell)": "security-datasets/atomic/windows/discovery",
    "Windows, winlogbeat 6": "security-datasets/atomic/windows/credential_access/host/empire_mimikatz_opth",
    "Azure and Syslog (Log4Shell)": "security-datasets/compound/Log4Shell",
    "Zeek JSON": "zed-sample-data/zeek-json",
    "Zeek TSV": "zed-sample-data/zeek-default",
    "Suricata EVE": "suricata-sample-data",
    "CloudTrail, S3": "security-datasets/atomic/aws",
    "Entra ID, Office, Defender": "security-datasets/compound/GoldenSAMLADFSMailAccess",
}


@dataclass(frozen=True)
class Figures:
    """CPU seconds of one set."""

    name: str
    events: int
    size: int
    plain: float
    read: float
    scan: float


def main() -> int:
    """Print one row a set and the sum."""
    arguments = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    arguments.add_argument("--data", type=Path, default=ROOT.parent / "shared" / "data")
    arguments.add_argument("--indicators", default="all.csv.zst", help="a file of DATA/indicators")
    arguments.add_argument("--megabytes", type=float, default=8.0, help="of each set at the most")
    arguments.add_argument("--repeat", type=int, default=3)
    given = arguments.parse_args()
    if not given.data.is_dir():
        print(f"{given.data} is absent: nothing to measure")
        return 0
    start = time.process_time()
    matcher = ReferenceMatcher(as_feed(given.data / "indicators" / given.indicators))
    took = time.process_time() - start
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"{len(matcher):,} indicators of {given.indicators}, loaded in {took:.0f} s; {memory:,.0f} MiB\n")
    print("| set | events | MB | plain events/s | read events/s | scan events/s | scan MB/s | scan / plain |")
    print("|---|---:|---:|---:|---:|---:|---:|---:|")
    rows = [measure(name, given, part, matcher) for name, part in SETS.items()]
    whole = [row for row in rows if row.events]
    total = Figures(
        "all of these",
        *(sum(getattr(row, key) for row in whole) for key in list(Figures.__annotations__)[1:]),
    )
    for row in [*whole, total]:
        show(row)
    return 0


def as_feed(path: Path) -> Iterator[Indicator]:
    """The rows that can be used, as a feed is imported."""
    for row in feeds.read(str(path)):
        if isinstance(row, FeedRow):
            with suppress(InvalidValue):
                yield make.indicator(row, FEED, make.Choice(subdomains=True))[0]


def show(row: Figures) -> None:
    """One line of the table."""
    rates = " | ".join(f"{row.events / seconds:,.0f}" for seconds in (row.plain, row.read, row.scan))
    size = row.size / 1e6
    ends = f"{size / row.scan:.1f} | {row.scan / row.plain:.1f}"
    print(f"| {row.name} | {row.events:,} | {size:.1f} | {rates} | {ends} |")


def measure(name: str, given: argparse.Namespace, part: str, matcher: ReferenceMatcher) -> Figures:
    """Best CPU seconds of each way over the same bytes."""
    with tempfile.TemporaryDirectory() as scratch:
        files = list(load(given.data / "telemetry", part, int(given.megabytes * 1e6), Path(scratch)))
        return compared(name, files, matcher, given.repeat)


def compared(name: str, files: list[tuple[Path, bytes]], matcher: ReferenceMatcher, repeat: int) -> Figures:
    """The three ways."""
    events = 0

    def plain() -> None:
        for path, data in files:
            parse_plainly(path.name, data)

    def read() -> None:
        nonlocal events
        events = sum(1 for _ in all_events(files))

    def scan() -> None:
        for event in all_events(files):
            detect(event, matcher)

    best = [min(seconds(way) for _ in range(repeat)) for way in (plain, read, scan)]
    return Figures(name, events, sum(len(data) for _, data in files), *best)


def seconds(way: Callable[[], None]) -> float:
    """CPU seconds of one go."""
    start = time.process_time()
    way()
    return time.process_time() - start


def load(folder: Path, part: str, limit: int, scratch: Path) -> Iterator[tuple[Path, bytes]]:
    """Files whose path begins with the part, decompressed into the scratch folder, until the limit."""
    for path in sorted(folder.rglob("*.zst")):
        name = path.relative_to(folder).as_posix().removesuffix(".zst")
        if name.startswith(part) and limit > 0:
            data = zstandard.ZstdDecompressor().stream_reader(path.read_bytes()).read()
            if len(data) > limit and data.startswith(b"{"):
                data = data[: data.rfind(b"\n", 0, limit) + 1]
            limit -= len(data)
            copy = scratch / name
            copy.parent.mkdir(parents=True, exist_ok=True)
            copy.write_bytes(data)
            if data:
                yield copy, data


def parse_plainly(name: str, data: bytes) -> None:
    """The baseline: what any program has to do, and nothing else."""
    if data.lstrip().startswith(b"["):
        json.loads(data)
    elif data.startswith(b"{"):
        for line in data.splitlines():
            if line:
                json.loads(line)
    else:
        for text in data.decode("utf-8", "replace").splitlines():
            text.split("," if name.endswith(".csv") else "\t")


def all_events(files: list[tuple[Path, bytes]]) -> Iterator[Event]:
    """Our events of the files."""
    for source in telemetry.sources([str(path) for path, _ in files]):
        yield from telemetry.events(source, malformed=lambda _: None)


if __name__ == "__main__":
    sys.exit(main())
