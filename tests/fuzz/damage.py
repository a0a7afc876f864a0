"""Opens, verifies, scans and meets damaged index files in a process with a sanitized kernel.

    python -m fuzz.damage FILES SEED SCALAR_BUILD      (started by `python -m fuzz`)

Bits are flipped, bytes overwritten, files cut and lengthened, sections exchanged, numbers of META replaced;
of half of the files the checksums are made right again, so that what lies behind them is reached. A file may
be refused (MalformedFile, InputError) at any step; anything else ends the process.
"""

from __future__ import annotations

import json
import sys
import time
from collections import Counter
from collections.abc import Callable
from hashlib import blake2b
from pathlib import Path
from tempfile import TemporaryDirectory

from fuzz.attack import Draw
from fuzz.plugin import PATH  # first: the build that the environment names
from indicia.errors import InputError, MalformedFile
from indicia.match import compiler
from indicia.match.engine import IndexMatcher, Sieve
from indicia.match.index import ENTRY, HEADER, SECTIONS, Index
from indicia.model import IndicatorType, Observable, Role
from indicia.values import canonical
from test_engine import SETS, VALUES

Places = dict[str, tuple[int, int]]
TABLE = HEADER.size
OBSERVABLES = [
    Observable(kind, value, value, "", Role.OBSERVED)
    for kind in IndicatorType
    for _, text in VALUES
    if (value := canonical(kind, text)) is not None
]
_ODD_NUMBERS: tuple[object, ...] = (
    0,
    1,
    -1,
    2**31,
    2**32 - 1,
    2**63,
    2**64 - 1,
    2**64,
    "7",
    None,
    1.5,
    [],
    True,
)


def places(data: bytes) -> Places:
    """Where the sections of an undamaged file lie."""
    table = data[TABLE : TABLE + ENTRY.size * len(SECTIONS)]
    return {name.rstrip(b"\0").decode(): (at, length) for name, at, length, _ in ENTRY.iter_unpack(table)}


def repaired(data: bytearray) -> bytes:
    """With checksums and size that hold, as far as the section table can be read."""
    end = TABLE + ENTRY.size * len(SECTIONS)
    if len(data) < end:
        return bytes(data)
    table = b""
    for name, at, length, _ in ENTRY.iter_unpack(bytes(data[TABLE:end])):
        digest = blake2b(data[at : at + length], digest_size=8).digest()
        table += ENTRY.pack(name, at, length, digest)
    magic, version, count, generation, _, nothing, _ = HEADER.unpack_from(data)
    head = HEADER.pack(magic, version, count, generation, len(data), nothing, b"")[:-8]
    data[:end] = head + blake2b(head + table, digest_size=8).digest() + table
    return bytes(data)


# Damages


def flip(draw: Draw, data: bytearray) -> None:
    for _ in range(1 + draw.size(60)):
        data[draw.chance.randrange(len(data))] ^= 1 << draw.chance.randrange(8)


def overwrite(draw: Draw, data: bytearray) -> None:
    """A stretch of one section."""
    at, length = places(bytes(data))[draw.chance.choice(SECTIONS)]
    if length:
        start = at + draw.chance.randrange(length)
        size = min(1 + draw.size(400), at + length - start)
        data[start : start + size] = draw.one(b"\0", b"\xff", b"\x80", draw.chance.randbytes(1)) * size


def cut(draw: Draw, data: bytearray) -> None:
    del data[draw.chance.randrange(len(data)) :]


def lengthen(draw: Draw, data: bytearray) -> None:
    data += draw.chance.randbytes(1 + draw.size(5000))


def exchange(draw: Draw, data: bytearray) -> None:
    """Two rows of the section table point at each other's bytes."""
    first, second = (TABLE + ENTRY.size * n + 8 for n in draw.chance.sample(range(len(SECTIONS)), 2))
    row = bytes(data[first : first + 24])
    data[first : first + 24] = data[second : second + 24]
    data[second : second + 24] = row


def misplace(draw: Draw, data: bytearray) -> None:
    """A row of the section table with another place or length."""
    at = TABLE + ENTRY.size * draw.chance.randrange(len(SECTIONS)) + draw.one(8, 16)
    number = draw.one(draw.size(len(data)), 2 ** draw.chance.randrange(64), 0, 2**64 - draw.size(900) - 2)
    data[at : at + 8] = number.to_bytes(8, "little")


def retell(draw: Draw, data: bytearray) -> None:
    """META says something else, as long as before."""
    at, length = places(bytes(data))["META"]
    meta = json.loads(data[at : at + length])
    target = draw.one(meta["kernel"], meta["kernel"], meta["kernel"], meta, meta["definitions"][0])
    key = draw.chance.choice(list(target))
    target[key] = draw.one(*_ODD_NUMBERS, draw.size(70_000), draw.chance.getrandbits(64))
    text = json.dumps(meta, separators=(",", ":")).encode()
    data[at : at + length] = text.ljust(length)[: max(length, 0)]


DAMAGES: tuple[Callable[[Draw, bytearray], None], ...] = (
    flip, overwrite, overwrite, overwrite, cut, lengthen, exchange, misplace, retell, retell,
)  # fmt: skip


# What is done with each file


def use(path: Path, text: bytes) -> str:
    """Everything that can be asked of an index; how far it came."""
    with Index.open(path) as index:
        step = "opened"
        try:
            index.verify()
            step = "verified"
        except MalformedFile:
            pass
        # In the allocator's memory, where the sanitizer sees its borders: a mapping ends with a page.
        index.data, mapped = bytes(index.data), index.data  # type: ignore[assignment]
        mapped.close()
        try:
            Sieve(index).spans(text)
            Sieve(index).holds(text, all_odd=True)
            step += ", scanned"
            matcher = IndexMatcher(index)
            for observable in OBSERVABLES:
                matcher.meet(observable)
            step += ", met"
        except MalformedFile:
            step += ", refused"
        finally:
            index.close = lambda: None  # type: ignore[method-assign] # closed above
    return step


def main(files: int, seed: int) -> None:
    """That many damaged files; a failure shows which."""
    draw, ends, began = Draw(seed), Counter[str](), time.monotonic()
    with TemporaryDirectory() as name:
        folder = Path(name)
        for kind, indicators in SETS.items():
            compiler.write(indicators, folder / kind)
        whole = [(folder / kind).read_bytes() for kind in sorted(SETS)]
        for number in range(files):
            draw.chance.seed(f"{seed}/{number}")
            data = bytearray(draw.chance.choice(whole))
            damage, right = draw.chance.choice(DAMAGES), draw.chance.random() < 0.5
            damage(draw, data)
            path = folder / "damaged"
            path.write_bytes(repaired(data) if right else data)
            text = b"\n".join(draw.text(9) for _ in range(4))
            try:
                ends[use(path, text)] += 1
            except InputError:
                ends["refused"] += 1
            except BaseException:
                sums = "right" if right else "as they came"
                print(f"seed {seed}, file {number}: {damage.__name__}, checksums {sums}", flush=True)
                raise
    shown = ", ".join(f"{count} {end}" for end, count in ends.most_common())
    print(
        f"seed {seed}, {PATH}: {files} damaged files in {time.monotonic() - began:.0f} s: {shown}", flush=True
    )


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))
