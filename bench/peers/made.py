"""Events and indicators from a seed: the same bytes on every machine, and how many events match."""

from __future__ import annotations

import base64
import hashlib
from array import array
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import zstandard

from indicia import feeds
from indicia.errors import InvalidValue
from indicia.feeds import FeedRow, make
from indicia.match import compiler
from indicia.match.index import TYPES
from indicia.model import AlertDefinition, Category, Indicator, IndicatorType, Severity

DEFINITION = AlertDefinition(
    "00000000-0000-4000-8000-00000000000b", "Bench", "Bench", Severity.LOW, Category.GENERAL
)
MILLION = 1_000_000
EVERY, DENSE = 10_000, 100
"""One event in so many matches."""


def text_of(name: str, count: int, width: int) -> str:
    """`count` times `width` characters of a-z and 2-7, the same for the same name."""
    size = (count * width * 5 + 7) // 8
    return base64.b32encode(hashlib.shake_128(name.encode()).digest(size)).decode().lower()


def pieces(name: str, count: int, width: int) -> list[str]:
    """The same, cut."""
    text = text_of(name, count, width)
    return [text[at : at + width] for at in range(0, count * width, width)]


def addresses(name: str, count: int, listed: bool) -> list[str]:
    """Of the reserved block, all of one width, so that none is part of another; listed ones end odd."""
    raw = hashlib.shake_128(name.encode()).digest(4 * count)
    odd = 101 if listed else 100
    return [
        f"{240 + (a & 15)}.{100 + b % 156}.{100 + c % 156}.{odd + 2 * (d % 78)}"
        for a, b, c, d in zip(raw[0::4], raw[1::4], raw[2::4], raw[3::4], strict=True)
    ]


def hashes(name: str, count: int) -> list[str]:
    """SHA-256."""
    text = hashlib.shake_128(name.encode()).digest(32 * count).hex()
    return [text[at : at + 64] for at in range(0, 64 * count, 64)]


def listed(count: int) -> tuple[list[str], list[str], list[str]]:
    """Addresses (some come twice), names, hashes: the first million of ten is the list of one million."""
    third = count // 3
    names = [f"{word[:10]}.{word[10:]}.example" for word in pieces("names", third, 14)]
    return addresses("addresses", third, listed=True), names, hashes("hashes", count - 2 * third)


EVENT = (
    '{"@timestamp":"2024-03-12T%02d:%02d:%02d.%03dZ","ecs":{"version":"8.11.0"},"event":{"kind":"event",'
    '"category":["network"],"dataset":"endpoint.events.network","sequence":%d},"host":{"name":"ws-%04d",'
    '"os":{"name":"Windows 11"}},"source":{"ip":"10.%d.%d.%d","port":%d},'
    '"destination":{"ip":"%s","port":443},"network":{"bytes":%d,"transport":"tcp"},"dns":{"question":{"name":"%s"}},"process":{"pid":%d,"executable":'
    '"C:\\\\Program Files\\\\Updates\\\\app-%s.exe","hash":{"sha256":"%s"}},"user":{"name":"u%05d"}}\n'
)
BATCH = 50_000


def events(size: int, every: int, planted: Sequence[Sequence[str]]) -> Iterator[tuple[str, int]]:
    """Blocks of events until there are `size` bytes, each with the number of its events that match."""
    made = number = 0
    while made < size:
        block, hits = [], 0
        ends = addresses(f"clean {number}", BATCH, listed=False)
        words, sums = pieces(f"words {number}", BATCH, 14), hashes(f"sums {number}", BATCH)
        dice = array("I", hashlib.shake_128(b"dice %d" % number).digest(4 * BATCH))
        for end, word, digest, die in zip(ends, words, sums, dice, strict=True):
            values = [end, f"{word[:10]}.{word[10:]}.example", digest]
            if number % every == every // 2:
                order = number // every
                column = order % len(planted)
                values[column if len(planted) > 1 else 1] = planted[column][
                    order * 7919 % len(planted[column])
                ]
                hits += 1
            second, ms = divmod(number, 1000)
            block.append(
                EVENT
                % (
                    second // 3600 % 24, second // 60 % 60, second % 60, ms, number, die % 3000, die & 255,
                    die >> 8 & 255, die >> 16 & 255, 49152 + (die & 16383), values[0], die >> 4, values[1],
                    die >> 16, word[:6], values[2], die % 99991,
                )
            )  # fmt: skip
            made += len(block[-1])
            number += 1
            if made >= size:
                break
        yield "".join(block), hits


@dataclass(frozen=True)
class Log:
    """A file of events, and how many of them match."""

    path: Path
    planted: int
    size: int

    def part(self, size: int) -> Log:
        """Its first lines, in a file beside it; itself where it is no larger."""
        if size >= self.size:
            return self
        path = self.path.with_suffix(f".first-{size}")
        if not path.exists():
            with self.path.open("rb") as file:
                data = file.read(size)
            path.write_bytes(data[: data.rfind(b"\n") + 1])
        lines = path.read_bytes().count(b"\n")
        every = int(self.path.suffix[1:])
        return Log(path, (lines + every - 1 - every // 2) // every, path.stat().st_size)


def log(folder: Path, name: str, size: int, every: int, planted: Sequence[Sequence[str]]) -> Log:
    """Made, or as an earlier run made it."""
    path = folder / f"{name}-{size}.{every}"
    count = path.with_suffix(f".{every}-planted")
    if not count.exists():
        hits = 0
        with path.open("w", encoding="ascii") as file:
            for block, found in events(size, every, planted):
                file.write(block)
                hits += found
        count.write_text(str(hits))
    return Log(path, int(count.read_text()), path.stat().st_size)


# Parquet

FIELDS = ("destination.ip", "dns.question.name", "process.hash.sha256")
"""Where the indicators stand."""


def parquet(folder: Path, size: int) -> Log:
    """The events of a log of that size as a file of 20 columns, 12 of them texts."""
    path = folder / f"columns-{size}.parquet"
    log_ = log(folder, "equals", size, EVERY, listed(MILLION))
    if not path.exists():
        import pyarrow
        from pyarrow import parquet as files

        with log_.path.open("rb") as file, files.ParquetWriter(path, pyarrow.schema(_SCHEMA)) as writer:
            while lines := file.readlines(1 << 26):
                rows = [_flat(msgspec.json.decode(line)) for line in lines]
                arrays = [
                    pyarrow.array(column, kind)
                    for column, (_, kind) in zip(zip(*rows, strict=True), _SCHEMA, strict=True)
                ]
                writer.write_table(pyarrow.table(arrays, schema=pyarrow.schema(_SCHEMA)))
    return Log(path, log_.planted, path.stat().st_size)


def _flat(event: dict[str, Any]) -> tuple[object, ...]:
    net, process, host = event["network"], event["process"], event["host"]
    return (
        event["@timestamp"], event["event"]["kind"], event["event"]["category"][0], event["event"]["dataset"],
        host["name"], host["os"]["name"], event["source"]["ip"], event["destination"]["ip"],
        event["dns"]["question"]["name"], process["executable"], process["hash"]["sha256"],
        event["user"]["name"],
        event["event"]["sequence"], event["source"]["port"], event["destination"]["port"], net["bytes"],
        process["pid"], net["bytes"] * 2, net["bytes"] // 700, event["event"]["sequence"] % 3 == 0,
    )  # fmt: skip


TEXTS = (
    "@timestamp", "event.kind", "event.category", "event.dataset", "host.name", "host.os.name", "source.ip",
    "destination.ip", "dns.question.name", "process.executable", "process.hash.sha256", "user.name",
)  # fmt: skip
_NUMBERS = (
    "event.sequence", "source.port", "destination.port", "network.bytes", "process.pid", "destination.bytes",
    "network.packets",
)  # fmt: skip
_SCHEMA = [
    *((name, "string") for name in TEXTS), *((name, "int64") for name in _NUMBERS), ("event.success", "bool"),
]  # fmt: skip


# Indexes


def columns(parts: Sequence[tuple[IndicatorType, int, list[str]]]) -> compiler.Columns:
    """Rows of (type, number of the function, texts) as columns."""
    made = compiler.Columns.empty()
    for kind, function, texts in parts:
        made.types.extend(bytes([TYPES.index(kind)]) * len(texts))
        made.functions.extend(bytes([function]) * len(texts))
        made.texts.extend(texts)
    count = len(made.texts)
    made.definitions.frombytes(bytes(4 * count))
    made.ids.extend(range(1, count + 1))
    made.sources.frombytes(bytes(4 * count))
    return made


def of_equals(count: int) -> compiler.Columns:
    """The list as columns."""
    kinds = (IndicatorType.IP_ADDRESS, IndicatorType.DOMAIN_NAME, IndicatorType.SHA256)
    return columns([(kind, 0, texts) for kind, texts in zip(kinds, listed(count), strict=True)])


def index(folder: Path, count: int) -> Path:
    """The compiled list."""
    path = folder / f"equals-{count}.idx"
    if not path.exists():
        compiler.write_columns(of_equals(count), [DEFINITION], [], path)
    return path


def patterns(function: str, count: int) -> list[str]:
    """What names begin with, end with, or hold."""
    words = pieces(function, count, 12)
    return [f"{word[:9]}-{word[9:]}.example" for word in words] if function == "EndWith" else words


FUNCTIONS = {"StartWith": 1, "EndWith": 2, "Contains": 3}


def pattern_index(folder: Path, function: str, count: int) -> Path:
    """The compiled patterns."""
    path = folder / f"{function}-{count}.idx"
    if not path.exists():
        made = columns([(IndicatorType.DOMAIN_NAME, FUNCTIONS[function], patterns(function, count))])
        compiler.write_columns(made, [DEFINITION], [], path)
    return path


def with_patterns(function: str, count: int) -> list[str]:
    """Names that meet the patterns."""
    shapes = {"StartWith": "{}-cdn.example", "EndWith": "www.{}", "Contains": "a1{}0b.example"}
    return [shapes[function].format(pattern) for pattern in patterns(function, count)]


# The public data


def real_index(path: Path, compiled: Path) -> None:
    """The rows that can be used, as a feed is imported: each domain with the names below it."""

    def rows() -> Iterator[Indicator]:
        for row in feeds.read(str(path)):
            if isinstance(row, FeedRow):
                with suppress(InvalidValue):
                    yield make.indicator(row, DEFINITION, make.Choice(subdomains=True))[0]

    compiler.write(rows(), compiled)


def unpacked(telemetry: Path, folder: Path, parts: tuple[str, ...], size: int) -> dict[str, int]:
    """The files below the parts, decompressed, again under other names until there are `size` bytes."""
    sources = [
        path
        for path in sorted(telemetry.rglob("*.zst"))
        if path.relative_to(telemetry).as_posix().startswith(parts)
    ]
    sizes: dict[str, int] = {}
    turn = 0
    while sum(sizes.values()) < size:
        for source in sources:
            plain = source.relative_to(telemetry).with_suffix("")
            copy = plain.with_name(f"{turn}-{plain.name}") if turn else plain
            target = folder / copy
            if not target.exists():
                target.parent.mkdir(parents=True, exist_ok=True)
                with source.open("rb") as packed, target.open("wb") as file:
                    zstandard.ZstdDecompressor().copy_stream(packed, file)
            sizes[copy.as_posix()] = target.stat().st_size
            if sum(sizes.values()) >= size:
                break
        turn += 1
    return sizes
