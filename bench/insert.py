"""Bulk insert of a million indicators through the store's import beside plain `sqlite3`, in one run.

    .venv/bin/python bench/insert.py [--rows 1000000] [--repeat 2] [--batch 50000] [--folder DIR]

Each way begins with an empty store that the migrations made, so tables and indexes are the same, and
commits each batch with WAL and `synchronous=FULL`. *plain* is `executemany` of finished tuples with the
settings that sqlite3 has by itself; *tuned* is the same with the page cache and the log of our imports.
*store* is `TenantStore.import_indicators`: it also looks up what is there already, works out the digest of
each value, checks references and keeps counters and the checkpoint. The ways take turns; best of the repeats,
with the last write back from the log into the file.
"""

from __future__ import annotations

import argparse
import gc
import hashlib
import random
import sqlite3
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path

from indicia.model import AlertDefinition, Category, DetectionFunction, Indicator, IndicatorType, Severity
from indicia.store import Store, rows
from indicia.store.sqlite import BULK_CACHE_KIB, BULK_WAL_PAGES

COLUMNS = ("tenant_id", *rows.INDICATOR_COLUMNS)
INSERT = f"INSERT INTO indicators ({', '.join(COLUMNS)}) VALUES ({', '.join('?' * len(COLUMNS))})"
OWNER = AlertDefinition(uid="", name="Bench", title="Bench", severity=Severity.LOW, category=Category.GENERAL)


def main() -> int:
    """Print one row a way, and fail where a way stored another number of rows."""
    arguments = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    arguments.add_argument("--rows", type=int, default=1_000_000)
    arguments.add_argument("--repeat", type=int, default=2)
    arguments.add_argument("--batch", type=int, default=50_000)
    arguments.add_argument("--folder", type=Path, help="on the disk to be measured  [default: temporary]")
    given = arguments.parse_args()
    made = indicators(given.rows)
    finished = [
        (1, *rows.indicator_tuple(one, number, 1, rows.canonical_key(one.canonical), 0, "bench"))
        for number, one in enumerate(made, 1)
    ]
    ways: dict[str, Callable[[Path], None]] = {
        "plain": lambda path: plain(path, finished, given.batch, ()),
        "tuned": lambda path: plain(path, finished, given.batch, tuned()),
        "store": lambda path: imported(path, made, given.batch),
    }
    gc.freeze()  # the rows are the bench's: a collector that walks them would be measured too
    taken: dict[str, list[tuple[float, float]]] = {name: [] for name in ways}
    for _ in range(given.repeat):
        for name, way in ways.items():
            with tempfile.TemporaryDirectory(dir=given.folder) as folder:
                taken[name].append(measure(Path(folder) / "indicia.db", way, given.rows))
    show(taken, given.rows)
    return 0


def show(taken: dict[str, list[tuple[float, float]]], count: int) -> None:
    """The table."""
    best = {name: [min(column) for column in zip(*pairs, strict=True)] for name, pairs in taken.items()}
    print(f"{count:,} indicators, SQLite {sqlite3.sqlite_version}\n")
    print("| way | wall s | rows/s | store / way | CPU s | store / way |")
    print("|---|---:|---:|---:|---:|---:|")
    for name, (wall, cpu) in best.items():
        ratios = [mine / other for mine, other in zip(best["store"], (wall, cpu), strict=True)]
        print(
            f"| {name} | {wall:.1f} | {count / wall:,.0f} | {ratios[0]:.2f} | {cpu:.1f} | {ratios[1]:.2f} |"
        )


def measure(path: Path, way: Callable[[Path], None], expected: int) -> tuple[float, float]:
    """Wall and CPU seconds of one way over a new store."""
    with Store.open(f"sqlite:///{path}") as store:
        store.tenant(store.add_tenant("bench").uid).add_definitions([OWNER], "bench")
    start, begun = time.perf_counter(), time.process_time()
    way(path)
    seconds = time.perf_counter() - start, time.process_time() - begun
    with closing(sqlite3.connect(path)) as raw:
        (count,) = raw.execute("SELECT count(*) FROM indicators").fetchone()
    assert count == expected, f"{count} rows of {expected}"
    return seconds


def imported(path: Path, made: Sequence[Indicator], batch: int) -> None:
    """The store's way."""
    with Store.open(f"sqlite:///{path}") as store:
        tenant = store.tenant("bench")
        for _ in tenant.import_indicators(1, made, "bench", key="bench", batch=batch):
            pass
        assert tenant.counts().indicators == len(made)


def plain(path: Path, finished: Sequence[tuple[object, ...]], batch: int, pragmas: Sequence[str]) -> None:
    """The driver's way."""
    with closing(sqlite3.connect(path, isolation_level=None)) as raw:
        for pragma in ("PRAGMA journal_mode=WAL", "PRAGMA synchronous=FULL", *pragmas):
            raw.execute(pragma)
        for start in range(0, len(finished), batch):
            raw.execute("BEGIN IMMEDIATE")
            raw.executemany(INSERT, finished[start : start + batch])
            raw.execute("COMMIT")


def tuned() -> tuple[str, ...]:
    """The cache and the log of an import."""
    return f"PRAGMA cache_size=-{BULK_CACHE_KIB}", f"PRAGMA wal_autocheckpoint={BULK_WAL_PAGES}"


def indicators(count: int) -> list[Indicator]:
    """Hashes, names and addresses as lists of indicators mix them, none twice."""
    dice = random.Random(1)
    makers: tuple[tuple[IndicatorType, Callable[[int], str]], ...] = (
        (IndicatorType.SHA256, lambda number: hashlib.sha256(b"%d" % number).hexdigest()),
        (IndicatorType.MD5, lambda number: hashlib.md5(b"%d" % number).hexdigest()),
        (IndicatorType.DOMAIN_NAME, lambda number: f"{dice.getrandbits(40):x}-{number}.example"),
        (IndicatorType.IP_ADDRESS, lambda number: f"2001:db8:{number >> 16:x}:{number & 0xFFFF:x}::1"),
    )
    made = []
    for number in range(count):
        kind, make = makers[number % len(makers)]
        value = make(number)
        made.append(Indicator(kind, value, value, DetectionFunction.EQUALS, OWNER))
    return made


if __name__ == "__main__":
    sys.exit(main())
