"""Drives every function of a sanitized kernel with random and mutated inputs in buffers of exact size.

    python -m fuzz.attack SECONDS SEED SCALAR_BUILD      (started by `python -m fuzz`)

A round draws one of the functions. Beside what the sanitizers watch, each round asserts what must hold
whatever the input: positions lie in the data, the path without SIMD gives the same bytes, a small buffer for
candidates names the same lines as a large one.
"""

from __future__ import annotations

import ctypes
import mmap
import random
import sys
import time
from array import array
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from fuzz.build import load
from fuzz.plugin import PATH  # first: the build that the environment names
from indicia.match import compiler
from indicia.match.engine import Sieve, _Room
from indicia.match.index import Index
from indicia.match.kernel import kernel as built
from test_engine import GLUE, SETS, SPELLINGS, VALUE_TEXTS

kernel: Any = built
_libc = ctypes.CDLL(None)
_libc.malloc.restype = ctypes.c_void_p
_libc.malloc.argtypes = [ctypes.c_size_t]
_libc.free.argtypes = [ctypes.c_void_p]
_libc.mmap.restype = ctypes.c_void_p
_libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, *[ctypes.c_int] * 3, ctypes.c_long]
_libc.mprotect.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
_libc.munmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t]
SANITIZED = hasattr(_libc, "__asan_init")
PAIRS = 2 * kernel.SLACK
"""The fewest that `scan` takes."""
COUNTS = 1 << 24
"""Bytes of counts that `grams` wants."""


PIECES = (
    *(
        b"a",
        b"a.",
        b"0.",
        b":",
        b"1:",
        b"ab-",
        b"\xc3\xa9",
        b"\\u0065",
        b"%41",
        b"\\\\",
        b"&a",
        b"\n",
        b"\x0b",
    ),
    *(
        b"evil.example.",
        b"evil.example ",
        b"192.0.2.77-",
        b"2001:db8:5::",
        b"</x>&#1;",
        b"\xe2\x84\xaa",
        b"vil.exa",
    ),
)
"""What makes one token, or much of one kind, where it is repeated."""


class Exact:
    """Blocks that are watched, so that one byte too far is seen.

    Where a sanitizer is, it watches its allocator. Where none is, as on a machine that is only played
    (tests/test_wheels.py), a block ends where a page does, and the next one may not be touched.
    """

    def __init__(self) -> None:
        self._blocks: list[tuple[int, int]] = []

    def room(self, size: int) -> memoryview:
        place = self._malloc(size) if SANITIZED else self._guarded(size)
        return memoryview((ctypes.c_ubyte * size).from_address(place)).cast("B")

    def _malloc(self, size: int) -> int:
        place = int(_libc.malloc(size))
        self._blocks.append((place, size))
        return place

    def _guarded(self, size: int) -> int:
        before = (size + mmap.PAGESIZE - 1) // mmap.PAGESIZE * mmap.PAGESIZE
        flags = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS
        start = _libc.mmap(None, before + mmap.PAGESIZE, mmap.PROT_READ | mmap.PROT_WRITE, flags, -1, 0)
        assert _libc.mprotect(start + before, mmap.PAGESIZE, 0) == 0
        self._blocks.append((start, before + mmap.PAGESIZE))
        return int(start + before - size)

    def zeros(self, size: int) -> memoryview:
        made = self.room(size)
        made[:] = bytes(size)
        return made

    def of(self, data: bytes | bytearray | array[int]) -> memoryview:
        raw = bytes(data)
        made = self.room(len(raw))
        made[:] = raw
        return made

    def free(self) -> None:
        for place, size in self._blocks:
            if SANITIZED:
                _libc.free(place)
            else:
                _libc.munmap(place, size)
        self._blocks.clear()


@contextmanager
def exact() -> Iterator[Exact]:
    """Blocks for one round."""
    made = Exact()
    try:
        yield made
    finally:
        made.free()


# Inputs


class Draw:
    """Random things of the kind that the kernel meets, from one seed."""

    def __init__(self, seed: int) -> None:
        self.chance = random.Random(seed)
        self._glue = [*GLUE.split(), "", " ", "\t", "\n", "\0", "\x0b", "\u212a", "\u200b", "\xad"]

    def one(self, *of: Any) -> Any:
        return self.chance.choice(of)

    def size(self, most: int) -> int:
        """Small ones above all."""
        return int(most ** self.chance.random()) - self.chance.randrange(2)

    def text(self, pieces: int) -> bytes:
        chance, made = self.chance, []
        for _ in range(pieces):
            if chance.random() < 0.5:
                made.append(chance.choice(SPELLINGS)(chance.choice(VALUE_TEXTS), chance.randrange(1000)))
            else:
                made.append(chance.choice(self._glue))
        return "".join(made).encode("utf-8", "replace")

    def long_run(self) -> bytes:
        """What makes one token, or much of one kind, longer than any buffer inside."""
        piece = self.chance.choice(PIECES)
        return piece * self.size(6000)

    def data(self) -> bytes:
        chance = self.chance
        made = bytearray()
        for _ in range(chance.randrange(1, 8)):
            kind = chance.random()
            if kind < 0.6:
                made += self.text(chance.randrange(12))
            elif kind < 0.75:
                made += chance.randbytes(self.size(300))
            elif kind < 0.9:
                made += self.long_run()
            made += chance.choice([b"", b"\n", b"\n", b" ", b"\r\n"])
        return self.mutated(bytes(made)) if chance.random() < 0.5 else bytes(made)

    def mutated(self, data: bytes) -> bytes:
        made, chance = bytearray(data), self.chance
        for _ in range(self.size(20)):
            place = chance.randrange(len(made) + 1)
            kind = chance.randrange(4)
            if kind == 0:
                del made[place : place + self.size(80)]
            elif kind == 1:
                made[place:place] = chance.choice(
                    [b"\\", b"%", b"&", b":", b".", b"\xff", b"\n", b"\\u00", b"\0"]
                )
            elif kind == 2 and place < len(made):
                made[place] ^= 1 << chance.randrange(8)
            else:
                made[place:place] = made[: self.size(200)]
        return bytes(made)


class Bench:
    """What the rounds share: indexes in memory, the seeded draw, the other build."""

    def __init__(self, folder: Path, seed: int, other: Any) -> None:
        self.draw = Draw(seed)
        self.other = other
        self.small, self.large = _Room(PAIRS), _Room(400_000)
        self.counts = Exact().zeros(COUNTS)
        self.indexes: list[Index] = []
        for name, indicators in SETS.items():
            compiler.write(indicators, folder / f"{name}.idx")
            self.indexes.append(Index.open(folder / f"{name}.idx"))

    def index(self) -> Index:
        return self.draw.chance.choice(self.indexes)


# Rounds


def scan(bench: Bench, blocks: Exact) -> None:
    draw, index = bench.draw, bench.index()
    data = draw.data()
    start = draw.one(0, draw.chance.randint(0, len(data)))
    end = draw.one(len(data), draw.chance.randint(start, len(data)))
    scratch, pairs, odd = (
        draw.one(0, draw.size(3 * len(data) + 3), 200_000),
        PAIRS + draw.size(9000),
        draw.one(False, True),
    )
    given, own = blocks.of(data), blocks.of(bytes(index.data))
    layout = blocks.of(index.layout)
    results = []
    for build in (kernel, bench.other):
        out = blocks.room(16 * pairs).cast("Q")
        found = build.scan(own, layout, given, start, end, out, blocks.room(scratch), odd)
        results.append((found, bytes(out[: 2 * found[0]])))
        count, reached = found
        assert count <= pairs
        assert start <= reached <= end
        assert all(start <= position < end for position in out[: 2 * count : 2])
    assert results[0] == results[1], "the path without SIMD gives something else"


def damaged(bench: Bench, blocks: Exact) -> None:
    """Layout and index that no compiler made."""
    draw, index = bench.draw, bench.index()
    layout, own = bytearray(index.layout), bytearray(index.data)
    for _ in range(draw.size(6)):
        number = draw.one(draw.size(70_000), 2 ** draw.chance.randrange(64), 2**64 - 1 - draw.size(70_000), 0)
        place = 8 * draw.chance.randrange(15)
        layout[place : place + 8] = number.to_bytes(8, "little")
    for _ in range(draw.size(2000)):
        own[draw.chance.randrange(len(own))] = draw.one(0, 255, draw.chance.randrange(256))
    if draw.chance.random() < 0.2:
        del own[draw.chance.randrange(len(own)) :]
    data, out = draw.data(), blocks.room(16 * PAIRS).cast("Q")
    given = [blocks.of(own), blocks.of(layout), blocks.of(data)]
    try:
        count, reached = kernel.scan(
            *given, 0, len(data), out, blocks.room(draw.size(9000)), draw.one(False, True)
        )
    except ValueError:
        return
    assert count <= PAIRS
    assert 0 <= reached <= len(data)


def values(bench: Bench, blocks: Exact) -> None:
    draw, index = bench.draw, bench.index()
    texts = [draw.text(draw.chance.randrange(5)) for _ in range(draw.size(60))]
    ends, kind = [0], draw.one("I", "Q")
    for text in texts:
        ends.append(ends[-1] + len(text))
    bad = draw.chance.random() < 0.3
    if bad:
        ends[draw.chance.randrange(len(ends))] = draw.one(draw.size(5000), 2**32 - 1, 0)
    offsets = blocks.of(array(kind, ends))
    first = draw.one(0, draw.size(len(texts) + 2))
    count = len(texts) - first if draw.chance.random() < 0.7 else draw.size(100)
    out = blocks.room(16 * PAIRS).cast("Q")
    given = [blocks.of(bytes(index.data)), blocks.of(index.layout), blocks.of(b"".join(texts)), offsets]
    width, odd = 4 if kind == "I" else 8, draw.one(False, True)
    try:
        found, done = kernel.scan_values(*given, width, first, count, out, blocks.room(9000), odd)
    except ValueError:
        return
    assert found <= PAIRS
    assert 0 <= done <= count
    rows = set(out[: 2 * found : 2])
    assert all(row < done for row in rows)
    if not bad:
        wanted = {row for row in range(done) if alone(bench, index, texts[first + row], odd)}
        assert rows == wanted, "rows are not what their values are alone"


def alone(bench: Bench, index: Index, text: bytes, odd: bool) -> bool:
    """Whether one value gives a candidate where it is scanned by itself."""
    room = bench.small
    return bool(kernel.scan(index.data, index.layout, text, 0, len(text), room.out, bytearray(9000), odd)[0])


def lines(bench: Bench, blocks: Exact) -> None:
    """A small room for candidates names the same lines as a large one, and counts its lines."""
    draw, index = bench.draw, bench.index()
    data = b"\n".join(draw.data() for _ in range(draw.size(12)))
    odd = draw.one(False, True)
    small, large = Sieve(index), Sieve(index)
    small._room, large._room = bench.small, bench.large
    wanted = large.spans(data, all_odd=odd)
    assert small.spans(data, all_odd=odd) == wanted, "lines are lost where candidates do not fit"
    start = draw.chance.randint(0, len(data))
    assert kernel.count_lines(blocks.of(data), start, len(data)) == data.count(b"\n", start)


def records(bench: Bench, blocks: Exact) -> None:
    draw, count = bench.draw, bench.draw.size(40)
    texts = [draw.text(2).replace(b"\n", b"") for _ in range(count)]
    hashes = [b"ab" * 16, b"cd" * 20, b"ef" * 32, b"g" * 32, b""]
    texts = [draw.one(text, *hashes) for text in texts]
    tails = [draw.chance.randbytes(draw.one(0, 0, draw.size(30))) for _ in range(count)]
    ends = [sum(map(len, tails[: n + 1])) for n in range(count)]
    if draw.chance.random() < 0.2 and ends:
        ends[draw.chance.randrange(count)] = draw.one(0, 2**32 - 1, draw.size(90))
    numbers = [draw.chance.getrandbits(draw.one(3, 32)) for _ in range(count)]
    kinds, functions = draw.one(7, 7, 9), draw.one(5, 5, 1, 7)
    size = 1 + sum(map(len, texts)) + sum(map(len, tails)) + 48 * count
    columns = [
        bytes(draw.chance.randrange(kinds) for _ in range(count)),
        bytes(draw.chance.randrange(functions) for _ in range(count)),
        array("I", numbers),
        array("q", [draw.chance.getrandbits(draw.one(5, 63)) for _ in range(count)]),
        array("I", numbers),
        b"\n".join(texts) + draw.one(b"\n", b"\n", b""),
        b"".join(tails),
        draw.one(array("I", ends), array("I", ends), b""),
    ]
    wrong = draw.chance.random() < 0.1
    rows = count + wrong
    try:
        used = kernel.records(
            draw.chance.getrandbits(64),
            *map(blocks.of, columns),
            blocks.room(8 * rows),
            blocks.room(4 * rows),
            blocks.room(draw.one(size, size, draw.size(size + 1))),
        )
    except ValueError:
        return
    assert used <= size


def building(bench: Bench, blocks: Exact) -> None:
    """Grams, the table, single keys."""
    draw = bench.draw
    seed, bits = draw.chance.getrandbits(64), draw.one(3, 10, 16, 33, -1)
    pieces = b"\n".join(draw.text(2) for _ in range(draw.size(30))) + draw.one(b"", b"\n")
    hashes = blocks.room(8 * draw.size(40))
    bitmap = blocks.zeros(draw.one(1 << max(bits - 3, 0) & 0xFFFFFF, draw.size(9000)))
    try:
        mask = kernel.grams(seed, bits, blocks.of(pieces), hashes, bitmap, bench.counts)
        assert mask in range(1 << 9)
    except ValueError:
        pass
    count = draw.size(300)
    drawn = [draw.chance.getrandbits(draw.one(2, 64)) for _ in range(2 * count)]
    rooms = [blocks.zeros(8 * draw.one(count + 16, draw.size(400))) for _ in range(2)]
    groups = blocks.zeros(4 * draw.one(count + count // 2 + 16, draw.size(300)))
    try:
        used = kernel.fill(
            blocks.of(array("Q", drawn)).cast("Q"), blocks.room(16 * count).cast("Q"), *rooms, groups
        )
        assert used <= len(groups) // 4
    except ValueError:
        pass
    key = draw.chance.randbytes(draw.size(100))
    kernel.hash_of(seed, draw.chance.randrange(8), blocks.of(key))
    with suppress(ValueError):
        kernel.net_of(
            seed,
            blocks.of(draw.chance.randbytes(draw.one(4, 16, draw.size(20)))),
            draw.chance.randrange(-2, 140),
        )


ROUNDS: Sequence[tuple[Callable[[Bench, Exact], None], int]] = (
    (scan, 30), (damaged, 20), (values, 15), (lines, 15), (records, 15), (building, 5),
)  # fmt: skip


def main(seconds: float, seed: int, scalar: str) -> None:
    """Rounds until the time is over; a failure shows the round's own seed."""
    began, done = time.monotonic(), Counter[str]()
    with TemporaryDirectory() as folder:
        bench = Bench(Path(folder), seed, load(scalar, "scalar._kernel"))
        functions = [function for function, weight in ROUNDS for _ in range(weight)]
        number = 0
        while time.monotonic() - began < seconds:
            bench.draw.chance.seed(f"{seed}/{number}")
            function = bench.draw.chance.choice(functions)
            with exact() as blocks:
                try:
                    function(bench, blocks)
                except BaseException:
                    print(f"seed {seed}, round {number}: {function.__name__}", flush=True)
                    raise
            done[function.__name__] += 1
            number += 1
    print(
        f"seed {seed}, {PATH}: {number} rounds in {time.monotonic() - began:.0f} s: {dict(done)}", flush=True
    )


if __name__ == "__main__":
    main(float(sys.argv[1]), int(sys.argv[2]), sys.argv[3])
