"""One event in every form that is read, for tests that hold the forms together; and an index to meet them."""

from __future__ import annotations

import bz2
import gzip
import io
import json
import lzma
import zipfile
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import pyarrow as pa
import zstandard
from pyarrow import ipc
from pyarrow import parquet as pq

from indicia import telemetry, values
from indicia.detect import detect
from indicia.match import compiler
from indicia.match.engine import IndexMatcher, Sieve
from indicia.match.index import Index
from indicia.model import (
    AlertDefinition,
    Category,
    Detection,
    DetectionFunction,
    Indicator,
    IndicatorType,
    Severity,
)
from indicia.telemetry import Malformed, Selection, Source

OWNER = AlertDefinition(
    uid="5e1f9f0e-0000-4000-8000-00000000000f",
    name="Formats",
    title="Formats",
    severity=Severity.LOW,
    category=Category.GENERAL,
)
DOMAIN = "drop.example"
ADDRESS = "198.51.100.44"
FILE = "pay.dll"
SHA256 = "c8" * 32
ROWS = [
    {"time": f"2024-03-12T09:00:{n:02d}Z", "client": f"192.0.2.{n}", "name": f"h{n}.site.example.net"}
    for n in range(60)
]
ROWS[7]["name"] = DOMAIN
ROWS[41]["name"] = f"x.{DOMAIN}"
ROWS[59]["client"] = ADDRESS
COMPRESSIONS: dict[str, Callable[[bytes], bytes]] = {
    "gz": gzip.compress,
    "zst": zstandard.compress,
    "bz2": bz2.compress,
    "xz": lzma.compress,
}


def indicators() -> list[Indicator]:
    """What is looked for."""
    rows = [
        (IndicatorType.DOMAIN_NAME, DetectionFunction.SUBDOMAIN_OF, DOMAIN),
        (IndicatorType.IP_ADDRESS, DetectionFunction.EQUALS, ADDRESS),
        (IndicatorType.FILE_NAME, DetectionFunction.EQUALS, FILE),
        (IndicatorType.SHA256, DetectionFunction.EQUALS, SHA256),
    ]
    return [
        Indicator(kind, value, values.indicator_value(kind, function, value), function, OWNER, number)
        for number, (kind, function, value) in enumerate(rows, 1)
    ]


def index_file(folder: Path) -> Path:
    """An index of them."""
    path = folder / "formats.idx"
    compiler.write(indicators(), path)
    return path


def scan(
    sources: Iterable[Source], index: Index, *, whole: bool = False
) -> tuple[list[Detection], list[Malformed]]:
    """Detections and what was malformed; `whole`: without a sieve."""
    faults: list[Malformed] = []
    selection = None if whole else Selection(Sieve(index), lambda _count: None)
    matcher = IndexMatcher(index)
    found = [
        detection
        for source in sources
        for event in telemetry.events(source, malformed=faults.append, selection=selection)
        for detection in detect(event, matcher)
    ]
    return found, faults


def table() -> pa.Table:
    """The rows as columns."""
    return pa.Table.from_pylist(ROWS)


def files() -> Iterator[tuple[str, bytes]]:
    """The same rows in every form that has fields, and compressed in every way."""
    lines = b"".join(json.dumps(row).encode() + b"\n" for row in ROWS)
    yield "lines.json", lines
    yield "array.json", json.dumps(ROWS, indent=1).encode()
    names = list(ROWS[0])
    for name, cut in (("rows.csv", ","), ("rows.tsv", "\t")):
        yield name, "\n".join(cut.join(row) for row in (names, *(r.values() for r in ROWS))).encode()
    yield "rows.parquet", parquet_file(table())
    yield "rows.arrow", arrow_file(table())
    out = io.BytesIO()
    with ipc.new_stream(out, table().schema) as writer:
        writer.write_table(table(), max_chunksize=20)
    yield "rows.arrows", out.getvalue()
    for ending, compress in COMPRESSIONS.items():
        yield f"lines.json.{ending}", compress(lines)
        yield f"rows.parquet.{ending}", compress(parquet_file(table()))
    yield "utf16.json", lines.decode().encode("utf-16")
    yield "all.zip", zipped({"a/lines.json": lines, "rows.arrow": arrow_file(table())})


def parquet_file(rows: pa.Table) -> bytes:
    """A Parquet file, 25 rows a group."""
    out = io.BytesIO()
    pq.write_table(rows, out, row_group_size=25)
    return out.getvalue()


def arrow_file(rows: pa.Table) -> bytes:
    """A file of Arrow's IPC, 20 rows a batch."""
    out = io.BytesIO()
    with ipc.new_file(out, rows.schema) as writer:
        writer.write_table(rows, max_chunksize=20)
    return out.getvalue()


def zipped(members: dict[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> bytes:
    """An archive."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", method) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return out.getvalue()
