"""What a scan of compressed logs costs beside decompressing alone, with the same libraries in one run.

    python bench/compressed.py [MEBIBYTES]

Clean NDJSON from a seed, 1,000,000 indicators in an index that is open. The best of three runs each; EVTX is
measured where files of it, or folders of them, are named: python bench/compressed.py 256 FOLDER
"""

from __future__ import annotations

import argparse
import bz2
import gzip
import io
import lzma
import random
import sys
import tempfile
import time
import zipfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import evtx
import zstandard

from indicia import telemetry
from indicia.match import compiler
from indicia.match.engine import Sieve
from indicia.match.index import Index
from indicia.model import (
    AlertDefinition,
    Category,
    DetectionFunction,
    Indicator,
    IndicatorType,
    Severity,
)

SLICE = 1 << 16
INDICATORS = 1_000_000
TIMES = 3
OWNER = AlertDefinition("0", "Bench", "Bench", Severity.LOW, Category.GENERAL)


def main() -> int:
    """Make the data, measure, print the table."""
    arguments = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    arguments.add_argument("mebibytes", type=int, nargs="?", default=256)
    arguments.add_argument("evtx", type=Path, nargs="*", help="files of EVTX, or folders of them")
    asked = arguments.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        # One for all files, as a process of a scan has it.
        sieve = Sieve(built(folder / "bench.idx"))
        print(f"{'form':8} {'MB in':>8} {'MB out':>8} {'alone s':>8} {'scan s':>8} {'ratio':>6}")
        for form, path, alone in cases(folder, asked.mebibytes):
            show(form, [path], alone, sieve)
        for given in asked.evtx:
            paths = sorted(given.rglob("*.evtx")) if given.is_dir() else [given]
            show("evtx", paths, partial(all_records, paths), sieve)
    return 0


def show(form: str, paths: Sequence[Path], alone: Callable[[], int], sieve: Sieve) -> None:
    """One row."""
    sources = telemetry.sources([str(path) for path in paths])
    base, out = best(alone)
    ours, _ = best(lambda: sum(scanned(source, sieve) for source in sources))
    mb = sum(path.stat().st_size for path in paths) / 1e6
    print(f"{form:8} {mb:8.1f} {out / 1e6:8.1f} {base:8.3f} {ours:8.3f} {ours / base:6.2f}", flush=True)


def best(work: Callable[[], int]) -> tuple[float, int]:
    """Seconds of the quickest of some runs, and what it gave."""
    seconds, given = [], 0
    for _ in range(TIMES):
        start = time.perf_counter()
        given = work()
        seconds.append(time.perf_counter() - start)
    return min(seconds), given


def scanned(source: telemetry.Source, sieve: Sieve) -> int:
    """A scan of one file by one process; the data is clean, so that nothing is parsed."""
    passed = [0]

    def pass_over(count: int) -> None:
        passed[0] += count

    selection = telemetry.Selection(sieve, pass_over)
    hits = sum(1 for _ in telemetry.events(source, malformed=lambda _: None, selection=selection))
    if hits > 20 + passed[0] // 10:
        sys.exit(f"{source.name} is not clean: {hits} of {passed[0]}")
    return passed[0]


def built(path: Path) -> Index:
    """Names, addresses and hashes that the data does not hold."""
    chance = random.Random(1)
    rows = []
    for number in range(INDICATORS // 2):
        rows.append((IndicatorType.DOMAIN_NAME, f"c{number}.{chance.randrange(10**6)}.example"))
        rows.append((IndicatorType.MD5, chance.randbytes(16).hex()))
    compiler.write(
        (
            Indicator(kind, value, value, DetectionFunction.EQUALS, OWNER, number)
            for number, (kind, value) in enumerate(rows)
        ),
        path,
    )
    return Index.open(path)


def lines(size: int) -> bytes:
    """Events of DNS and processes, about `size` MiB."""
    chance, found, total = random.Random(2), list[str](), 0
    while total < 8 << 20:
        host, user = chance.randrange(2000), chance.choice("abcdefgh")
        found.append(
            f'{{"@timestamp":"2024-03-12T09:{chance.randrange(60):02d}:{chance.randrange(60):02d}.'
            f'{chance.randrange(1000):03d}Z","host":{{"name":"ws{host:04d}.corp.example"}},"user":{{"name":"{user}'
            f'{chance.randrange(500)}"}},"source":{{"ip":"10.{host % 200}.{chance.randrange(256)}.'
            f'{chance.randrange(256)}","port":{chance.randrange(65536)}}},"dns":{{"question":{{"name":"h'
            f'{chance.randrange(10**5)}.site{chance.randrange(3000)}.example.net"}}}},"event":{{"duration":'
            f'{chance.randrange(10**9)},"outcome":"{chance.choice(["success", "failure", "unknown"])}"}},'
            f'"hash":"{chance.randbytes(16).hex()}"}}\n'
        )
        total += len(found[-1])
    part = "".join(found).encode()
    return part * max(1, (size << 20) // len(part))


def cases(folder: Path, size: int) -> list[tuple[str, Path, Callable[[], int]]]:
    """Form, file and the plain way to decompress it."""
    data = lines(size)
    small = data[: len(data) // 8]
    made = {
        "plain": data,
        "gz": gzip.compress(data, 6),
        "zst": zstandard.ZstdCompressor(level=3).compress(data),
        "bz2": bz2.compress(small),
        "xz": lzma.compress(small, preset=1),
    }
    for name, content in made.items():
        (folder / f"x.{name}").write_bytes(content)
    with zipfile.ZipFile(folder / "x.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("x.json", data)
    path = {name: folder / f"x.{name}" for name in (*made, "zip")}
    return [
        ("none", path["plain"], lambda: plain(path["plain"])),
        ("gzip", path["gz"], lambda: inflated(path["gz"])),
        ("zstd", path["zst"], lambda: frames(path["zst"])),
        ("bzip2", path["bz2"], lambda: through(path["bz2"], bz2.BZ2Decompressor())),
        ("xz", path["xz"], lambda: through(path["xz"], lzma.LZMADecompressor())),
        ("zip", path["zip"], lambda: unzipped(path["zip"])),
    ]


def plain(path: Path) -> int:
    """Read alone."""
    with path.open("rb", buffering=0) as file:
        return sum(len(piece) for piece in iter(lambda: file.read(1 << 20), b""))


def inflated(path: Path) -> int:
    """zlib alone, in steps of a size that the cache likes: a third quicker than slice by slice."""
    member, total = zlib.decompressobj(31), 0
    with path.open("rb", buffering=0) as file:
        while piece := file.read(SLICE):
            while piece:
                total += len(member.decompress(piece, 1 << 17))
                piece = member.unconsumed_tail
    return total


def frames(path: Path) -> int:
    """zstandard alone."""
    total = 0
    with path.open("rb", buffering=0) as file:
        reader = zstandard.ZstdDecompressor().stream_reader(file, read_size=SLICE)
        while piece := reader.read1(1 << 17):
            total += len(piece)
    return total


def through(path: Path, member: bz2.BZ2Decompressor | lzma.LZMADecompressor) -> int:
    """bz2 or lzma alone; a member that has ended is made anew."""
    fresh = type(member)()
    total = 0
    with path.open("rb", buffering=0) as file:
        while piece := file.read(SLICE):
            total += len(fresh.decompress(piece))
    return total


def unzipped(path: Path) -> int:
    """zipfile alone."""
    with zipfile.ZipFile(path) as archive, archive.open("x.json") as member:
        return sum(len(piece) for piece in iter(lambda: member.read(1 << 20), b""))


def all_records(paths: Sequence[Path]) -> int:
    """Bytes of the JSON of all records in some files."""
    return sum(map(records, paths))


def records(path: Path) -> int:
    """The library iterating alone; damaged chunks are passed over."""
    found: Iterator[Any] = evtx.PyEvtxParser(io.BytesIO(path.read_bytes()), indent=False).records_json()
    size = 0
    while True:
        try:
            size += len(next(found)["data"])
        except StopIteration:
            return size
        except RuntimeError:
            continue


if __name__ == "__main__":
    sys.exit(main())
