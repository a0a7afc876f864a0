"""The ways to scan: ours, and those that a user would pick instead.

Each is made once, which loads its list, and is then called with a file; it gives how many events match. Peers
are imported where they are used: they belong to the dependency group `bench` alone.
"""

from __future__ import annotations

import gc
import os
import subprocess
import sys
import tempfile
from array import array
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from indicia import road, telemetry
from indicia.match import engine
from indicia.match.index import Index
from indicia.match.kernel import kernel
from peers.made import FIELDS, listed

CORES = os.cpu_count() or 1

Way = Callable[[Path], int]


def whole_scan(compiled: Path) -> Way:
    """`indicia scan` as a process, from its start to its exit."""
    command = [str(Path(sys.executable).with_name("indicia")), "scan", "--index", str(compiled)]

    def way(path: Path) -> int:
        with tempfile.TemporaryFile("w+b") as out:
            done = subprocess.run(
                [*command, "--output", "ndjson", str(path)], stdout=out, stderr=subprocess.PIPE, check=False
            )
            if done.returncode not in (0, 1):
                raise RuntimeError(done.stderr.decode())
            out.seek(0)
            return sum(1 for _ in out)

    return way


def inside(compiled: Path) -> Way:
    """The same without the start of a process: what `indicia scan` calls."""
    opened = Index.open(compiled)

    def way(path: Path) -> int:
        done = road.Scanned()
        made = engine.of_index(opened)
        road.scan(road.ScanJob(telemetry.sources([str(path)]), made, workers=CORES), road.ScanWatch(), done)
        return done.raising

    return way


def bare_kernel(compiled: Path) -> Way:
    """The kernel alone, a thread a core, over bytes that are in memory: candidates, nothing judged."""
    opened = Index.open(compiled)
    loaded: dict[Path, bytes] = {}

    def some(data: bytes, start: int, end: int) -> int:
        out, scratch, found = array("Q", bytes(1 << 20)), bytearray(1 << 20), 0
        while start < end:
            stop = data.rfind(b"\n", start, min(end, start + (1 << 22))) + 1
            count, reached = kernel.scan(opened.data, opened.layout, data, start, stop, out, scratch, False)
            found += len(set(out[0 : 2 * count : 2]))
            start = reached
        return found

    def way(path: Path) -> int:
        data = loaded[path]
        cuts = [data.rfind(b"\n", 0, len(data) * n // CORES) + 1 for n in range(CORES + 1)]
        with ThreadPoolExecutor(CORES) as pool:
            return sum(pool.map(some, [data] * CORES, cuts, cuts[1:]))

    way.prepare = lambda path: loaded.update({path: path.read_bytes()})  # type: ignore[attr-defined]
    return way


THREE = """{destination: 'STRUCT(ip VARCHAR)', dns: 'STRUCT(question STRUCT(name VARCHAR))',
    process: 'STRUCT(hash STRUCT(sha256 VARCHAR))'}"""
WHOLE = """{'@timestamp': 'VARCHAR', ecs: 'STRUCT("version" VARCHAR)',
    event: 'STRUCT(kind VARCHAR, category VARCHAR[], dataset VARCHAR, sequence BIGINT)',
    host: 'STRUCT(name VARCHAR, os STRUCT(name VARCHAR))', source: 'STRUCT(ip VARCHAR, port BIGINT)',
    destination: 'STRUCT(ip VARCHAR, port BIGINT)', network: 'STRUCT(bytes BIGINT, transport VARCHAR)',
    dns: 'STRUCT(question STRUCT(name VARCHAR))', user: 'STRUCT(name VARCHAR)',
    process: 'STRUCT(pid BIGINT, executable VARCHAR, hash STRUCT(sha256 VARCHAR))'}"""
ONE_OF = "{} IN (SELECT v FROM ips) OR {} IN (SELECT v FROM names) OR {} IN (SELECT v FROM sums)"


def duckdb_lists(count: int) -> Any:
    """A connection with the list in three tables."""
    import duckdb
    import pyarrow

    base = duckdb.connect(config={"threads": CORES})
    for name, values in zip(("ips", "names", "sums"), listed(count), strict=True):
        base.register("given", pyarrow.table({"v": values}))
        base.execute(f"CREATE TABLE {name} AS SELECT DISTINCT v FROM given")
        base.unregister("given")
    gc.collect()
    return base


def duckdb_json(count: int, *, whole: bool) -> Way:
    """DuckDB: read_json with exact types, semi-joins. `whole`: the events that match, else their number.

    To count, three fields are read and no others.
    """
    base = duckdb_lists(count)
    where = ONE_OF.format("destination.ip", "dns.question.name", "process.hash.sha256")
    wanted, types = ("*", WHOLE) if whole else ("count(*)", THREE)
    query = f"SELECT {wanted} FROM read_json(?, format='newline_delimited', columns={types}) WHERE {where}"

    def way(path: Path) -> int:
        rows = base.execute(query, [str(path)]).fetchall()
        return len(rows) if whole else int(rows[0][0])

    return way


def duckdb_parquet(count: int, fields: Sequence[str]) -> Way:
    """DuckDB: read_parquet and semi-joins; the events that match, by all columns. `fields` are searched."""
    base = duckdb_lists(count)
    base.execute("CREATE TABLE every AS SELECT v FROM ips UNION SELECT v FROM names UNION SELECT v FROM sums")
    where = " OR ".join(f'"{field}" IN (SELECT v FROM every)' for field in fields)
    if len(fields) == len(FIELDS):
        where = ONE_OF.format(*(f'"{field}"' for field in fields))
    query = f"SELECT * FROM read_parquet(?) WHERE {where}"
    return lambda path: len(base.execute(query, [str(path)]).fetchall())


def polars_is_in(count: int) -> Way:
    """Polars: a typed streaming scan with is_in."""
    import polars

    lists = [polars.Series(values).unique() for values in listed(count)]
    text = polars.String
    schema = {
        "destination": polars.Struct({"ip": text}),
        "dns": polars.Struct({"question": polars.Struct({"name": text})}),
        "process": polars.Struct({"hash": polars.Struct({"sha256": text})}),
    }

    def way(path: Path) -> int:
        field = polars.col
        found = (
            field("destination").struct.field("ip").is_in(lists[0].implode())
            | field("dns").struct.field("question").struct.field("name").is_in(lists[1].implode())
            | field("process").struct.field("hash").struct.field("sha256").is_in(lists[2].implode())
        )
        frame = polars.scan_ndjson(path, schema=schema).filter(found).select(polars.len())
        return int(frame.collect(engine="streaming").item())

    return way


def orjson_set(count: int) -> Way:
    """Python: orjson and a set, the three fields known."""
    import orjson

    wanted = {value for values in listed(count) for value in values}

    def way(path: Path) -> int:
        found = 0
        loads = orjson.loads
        with path.open("rb") as file:
            for line in file:
                event = loads(line)
                found += (
                    event["destination"]["ip"] in wanted
                    or event["dns"]["question"]["name"] in wanted
                    or event["process"]["hash"]["sha256"] in wanted
                )
        return found

    return way


def grep(command: Sequence[str], count: int) -> Way:
    """`rg -F -f` or `grep -F -f`, with the list in a file; to read it is a part of every use."""
    file = tempfile.NamedTemporaryFile("w", suffix=".txt")  # noqa: SIM115 - it lives as long as the way
    file.writelines(f"{value}\n" for values in listed(count) for value in values)
    file.flush()

    def way(path: Path) -> int:
        done = subprocess.run(
            [*command, "-c", "-F", "-f", file.name, str(path)], capture_output=True, check=False
        )
        return int(done.stdout or b"0")

    way.file = file  # type: ignore[attr-defined]
    return way


def aho_corasick(wanted: Callable[[], list[str]]) -> Way:
    """ahocorasick_rs over chunks of 4 MB; its automaton is built before."""
    import ahocorasick_rs

    automaton = ahocorasick_rs.BytesAhoCorasick([value.encode() for value in wanted()])

    def way(path: Path) -> int:
        found, rest = 0, b""
        with path.open("rb") as file:
            while chunk := file.read(1 << 22):
                cut = chunk.rfind(b"\n") + 1
                found += len(automaton.find_matches_as_indexes(rest + chunk[:cut]))
                rest = chunk[cut:]
        return found

    return way
