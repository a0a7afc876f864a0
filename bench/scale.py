"""Spark beside the local engine: what it adds on each core, how it grows with cores, indicators and rows.

    .venv/bin/python bench/scale.py [--rows 40000000] [--repeat 3] [--folder DIR]

Parquet of a DNS log of eight columns, made from a seed; one row in 10,000 holds one of 100,000 indicators (or
of ten times as many). Every way must find what was planted, else the bench ends with 1. Local is
`Index.scan` in one process; Spark is `local[1]` and `local[2]`, each in a process of its own that looks at
the data once before the clock starts. `files` is `scale.scan`, where workers read the files themselves;
`rows` is `scale.detect`, where Spark reads them and hands rows over. The ways take turns; the table has
medians. CPU seconds count all processes of a way, its JVM as well.
"""

from __future__ import annotations

import argparse
import math
import multiprocessing
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import parquet as pq

from indicia import Index
from indicia.scale.files import SIZE
from peers import made

ROWS, FILES, EVERY = 40_000_000, 10, 10_000
GROUP = 250_000
FEW, MANY = 100_000, 1_000_000
GOAL = 1.5
DAY, BUSY = 86_400, 0.5
"""Seconds, and the share of them that cores are planned to work."""
MACHINE, JVM, WORKER = 8, 1.05, 0.1
"""Cores of a machine; GB of its executor, and of each Python worker."""
SETTINGS = {
    "spark.driver.bindAddress": "127.0.0.1",
    "spark.driver.host": "127.0.0.1",
    "spark.ui.enabled": "false",
    "spark.ui.showConsoleProgress": "false",
    "spark.log.level": "OFF",
}
Way = Callable[[str, str], int]
"""Looks through a folder by an index; how many detections that gives."""


def main() -> int:
    """Print the tables."""
    arguments = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    arguments.add_argument("--rows", type=int, default=ROWS)
    arguments.add_argument("--repeat", type=int, default=3)
    arguments.add_argument("--folder", type=Path, help="where the data are kept  [default: temporary]")
    given = arguments.parse_args()
    try:
        import pyspark
    except ModuleNotFoundError:
        print("left out: bench/scale.py (pyspark is not installed: pip install --group spark)")
        return 0
    print(f"{os.cpu_count()} cores, Python {sys.version.split()[0]}, Spark {pyspark.__version__}")
    with tempfile.TemporaryDirectory(prefix="indicia-bench-") as scratch, ExitStack() as stack:
        folder = given.folder or Path(scratch)
        folder.mkdir(parents=True, exist_ok=True)
        whole, tenth = data(folder, given.rows)
        few, many = (str(made.index(folder, count)) for count in (FEW, MANY))
        local, one, two = (stack.enter_context(Engine(name)) for name in ("local", "local[1]", "local[2]"))
        turns = [
            Turn("`Index.scan`, one process", local, "files", whole, few),
            Turn("Spark local[1], files", one, "files", whole, few),
            Turn("Spark local[2], files", two, "files", whole, few),
            Turn("`Index.scan`, ten times the indicators", local, "files", whole, many),
            Turn("Spark local[1], files, ten times the indicators", one, "files", whole, many),
            Turn("`Index.scan`, a tenth of the rows", local, "files", tenth, few),
            Turn("Spark local[1], files, a tenth of the rows", one, "files", tenth, few),
            Turn("Spark local[1], rows, a tenth of the rows", one, "rows", tenth, few),
            Turn("Spark local[2], rows, a tenth of the rows", two, "rows", tenth, few),
        ]
        for number in range(given.repeat + 1):
            for turn in turns:
                turn.take(counted=number > 0)
        return told(turns)


# What is looked through


class Lake(NamedTuple):
    """A folder of Parquet."""

    folder: Path
    rows: int
    planted: int


def data(folder: Path, rows: int) -> tuple[Lake, Lake]:
    """All of it, and its first tenth."""
    each = rows // FILES
    place = folder / f"lake-{rows}"
    for number in range(FILES):
        path = place / "rest" / f"{number:02}.parquet"
        if number < FILES // 10:
            path = place / "tenth" / path.name
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            part = path.with_suffix(".part")
            with pq.ParquetWriter(part, table(0, 1).schema) as writer:
                for first in range(number * each, (number + 1) * each, GROUP):
                    writer.write_table(table(first, min(GROUP, (number + 1) * each - first)))
            part.rename(path)
    tenth = FILES // 10 * each
    return Lake(place, FILES * each, planted(FILES * each)), Lake(place / "tenth", tenth, planted(tenth))


def planted(rows: int) -> int:
    """Of so many rows."""
    return (rows + EVERY - 1) // EVERY


def table(first: int, count: int) -> pa.Table:
    """Rows of a DNS log, of which each EVERYth asks for a name that is listed."""
    numbers = pa.array(range(first, first + count), pa.int64())
    mixed = pc.bit_wise_xor(pc.multiply(numbers, 0x9E3779B97F4A7C1), pc.shift_right(numbers, 7))
    wide = pc.bit_wise_and(pc.shift_right(mixed, 20), 0xFFFFFFF)

    def below(bits: int) -> Any:
        return pc.bit_wise_and(wide, (1 << bits) - 1)

    def texts(before: str, values: Any, after: str) -> Any:
        return pc.binary_join_element_wise(before, values.cast(pa.string()), after, "")

    names = texts("h", wide, ".site.example.net").to_pylist()
    listed = made.pieces("names", FEW // 3, 14)
    for number in range(-(-first // EVERY) * EVERY, first + count, EVERY):
        word = listed[number // EVERY % len(listed)]
        names[number - first] = f"{word[:10]}.{word[10:]}.example"
    return pa.table(
        {
            "time": pc.add(pc.multiply(numbers, 1000), 1_710_000_000_000_000).cast(pa.timestamp("us", "UTC")),
            "client": texts("10.11.", below(8), ".7"),
            "query": names,
            "answer": texts("192.0.2.", below(7), ""),
            "server": texts("ns", below(4), ".example.net"),
            "user": texts("user-", below(14), ""),
            "size": below(16),
            "ok": pc.equal(below(3), 0),
        }
    )


# Who looks


def ways(engine: str) -> dict[str, Way]:
    """What a process can do."""
    if engine == "local":
        return {"files": _local}
    from indicia import scale

    os.environ["PYSPARK_PYTHON"] = sys.executable
    spark = scale.session(master=engine, settings=SETTINGS)
    return {
        "files": lambda folder, index: scale.scan(spark, index, [folder]).count(),
        "rows": lambda folder, index: scale.detect(spark.read.parquet(folder), index).count(),
    }


def _local(folder: str, index: str) -> int:
    with Index.open(index) as opened:
        return sum(1 for _ in opened.scan(folder))


def _serve(connection: Connection, engine: str) -> None:
    """The life of an engine's process: seconds, CPU seconds and count for each turn, until None."""
    able = ways(engine)
    while (asked := connection.recv()) is not None:
        kind, folder, index = asked
        cpu, start = spent(), time.perf_counter()
        count = able[kind](folder, index)
        connection.send((time.perf_counter() - start, spent() - cpu, count))


def spent() -> float:
    """CPU seconds of this process and all below it so far."""
    children: dict[int, list[int]] = {}
    ticks: dict[int, int] = {}
    for process in Path("/proc").iterdir():
        try:
            words = (
                (process / "stat").read_text().rpartition(")")[2].split() if process.name.isdigit() else []
            )
        except OSError:
            continue
        if words:
            children.setdefault(int(words[1]), []).append(int(process.name))
            ticks[int(process.name)] = sum(map(int, words[11:15]))

    def below(process: int) -> Iterator[int]:
        yield ticks[process]
        for child in children.get(process, []):
            yield from below(child)

    return sum(below(os.getpid())) / os.sysconf("SC_CLK_TCK")


class Engine:
    """In a process of its own."""

    def __init__(self, name: str) -> None:
        context = multiprocessing.get_context("spawn")
        self._connection, theirs = context.Pipe()
        self._process = context.Process(target=_serve, args=(theirs, name))

    def __enter__(self) -> Engine:
        self._process.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._connection.send(None)
        self._process.join()

    def ask(self, kind: str, folder: Path, index: str) -> tuple[float, float, int]:
        """Seconds, CPU seconds, detections."""
        self._connection.send((kind, str(folder), index))
        found: tuple[float, float, int] = self._connection.recv()
        return found


@dataclass
class Turn:
    """One way over one lake, again and again."""

    name: str
    engine: Engine
    kind: str
    lake: Lake
    index: str
    seconds: list[float] = field(default_factory=list)
    cpu: list[float] = field(default_factory=list)

    def take(self, *, counted: bool) -> None:
        """Once."""
        seconds, cpu, found = self.engine.ask(self.kind, self.lake.folder, self.index)
        if found != self.lake.planted:
            raise SystemExit(f"WRONG: {self.name}: {found} detections, {self.lake.planted} were planted")
        print(f"{self.name}: {seconds:.2f} s, {cpu:.2f} CPU s", file=sys.stderr, flush=True)
        if counted:
            self.seconds.append(seconds)
            self.cpu.append(cpu)

    @property
    def median(self) -> float:
        """Seconds."""
        return statistics.median(self.seconds)

    @property
    def work(self) -> float:
        """CPU seconds of a million rows."""
        return statistics.median(self.cpu) / self.lake.rows * 1e6


def told(turns: list[Turn]) -> int:
    """The tables; 1 where a goal is missed."""
    lake = turns[0].lake
    size = sum(one.stat().st_size for one in lake.folder.rglob("*.parquet"))
    print(f"\n{lake.rows:,} rows, {size / 1e6:,.0f} MB of Parquet, {lake.planted:,} match\n")
    print("| way | rows | seconds | million rows a second | CPU seconds of a million rows |")
    print("|---|---:|---:|---:|---:|")
    for turn in turns:
        rate = turn.lake.rows / turn.median / 1e6
        print(f"| {turn.name} | {turn.lake.rows:,} | {turn.median:.2f} | {rate:.2f} | {turn.work:.3f} |")
    local, one, two, local_many, one_many, local_tenth, one_tenth, rows_one, rows_two = turns
    overhead = one.median / local.median
    further = (one.median - one_tenth.median) / (local.median - local_tenth.median)
    ratios = [
        ("Spark local[1], files: seconds of the local engine's", overhead, f"<= {GOAL}"),
        ("the same of each further row, without what a job costs at all", further, ""),
        ("the same, CPU seconds", one.work / local.work, ""),
        ("Spark local[1], rows: seconds of the local engine's", rows_one.median / local_tenth.median, ""),
        ("files, from one core to two: times as fast", one.median / two.median, ""),
        ("rows, from one core to two: times as fast", rows_one.median / rows_two.median, ""),
        ("ten times the indicators, local: seconds", local_many.median / local.median, ""),
        ("ten times the indicators, Spark local[1]: seconds", one_many.median / one.median, ""),
        ("ten times the rows, local: seconds", local.median / local_tenth.median, ""),
        ("ten times the rows, Spark local[1]: seconds", one.median / one_tenth.median, ""),
    ]
    print("\n| | times | goal |\n|---|---:|---|")
    for name, ratio, goal in ratios:
        print(f"| {name} | {ratio:.2f} | {goal} |")
    needs(size / lake.rows, one.median / lake.rows, rows_one.median / rows_one.lake.rows)
    return int(overhead > GOAL)


def needs(size: float, of_files: float, of_rows: float) -> None:
    """What lakes need, from bytes of a row and seconds of a row on one core, files and rows."""
    print("\n| a day | rows | cores, files | cores, rows | pieces | memory | detections |")
    print("|---|---:|---:|---:|---:|---:|---:|")
    for terabytes in (1, 10, 100):
        rows = terabytes * 1e12 / size
        files, handed = (max(1, math.ceil(rows * one / DAY / BUSY)) for one in (of_files, of_rows))
        memory = files * WORKER + math.ceil(files / MACHINE) * JVM
        pieces, found = terabytes * 1e12 / SIZE, rows / EVERY / 1e6
        print(
            f"| {terabytes} TB | {rows / 1e9:,.0f} billion | {files} | {handed} | {pieces:,.0f} "
            f"| {memory:,.1f} GB | {found:,.1f} million |"
        )


if __name__ == "__main__":
    sys.exit(main())
