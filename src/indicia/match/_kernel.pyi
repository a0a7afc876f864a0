"""The C half of matching; `_kernel.c` says what each function does. Offsets and sizes in bytes."""

from typing import Final

from typing_extensions import Buffer

PATH: Final[str]
"""Which code path was built: sse2, neon or scalar."""
SLACK: Final[int]
"""Half of the pairs that `out` must hold at least."""

def scan(
    index: Buffer,
    layout: Buffer,
    data: Buffer,
    start: int,
    end: int,
    out: Buffer,
    scratch: Buffer,
    all_odd: bool,
    /,
) -> tuple[int, int]:
    """Candidates of data[start:end] as pairs (position, payload) in `out`: how many, and how far it came.

    Where it came less far than `end`, the line there is to be scanned again from its beginning.
    """

def scan_values(
    index: Buffer,
    layout: Buffer,
    data: Buffer,
    offsets: Buffer,
    width: int,
    first: int,
    count: int,
    out: Buffer,
    scratch: Buffer,
    all_odd: bool,
    /,
) -> tuple[int, int]:
    """As `scan` over values behind one another; a position is a row counted from `first`."""

def count_lines(data: Buffer, start: int, end: int, /) -> int:
    """Line feeds in data[start:end]."""

def hash_of(seed: int, tag: int, key: Buffer, /) -> int:
    """The hash of a key under a tag."""

def net_of(seed: int, address: Buffer, length: int, /) -> int:
    """The hash of a network of 4 or 16 bytes and its prefix length."""

def records(
    seed: int,
    types: Buffer,
    functions: Buffer,
    definitions: Buffer,
    ids: Buffer,
    sources: Buffer,
    texts: Buffer,
    tails: Buffer,
    tail_ends: Buffer,
    hashes: Buffer,
    offsets: Buffer,
    blob: Buffer,
    /,
) -> int:
    """Columns become records in `blob` (bytes used), their places, and the hashes of simple keys (else 0)."""

def grams(seed: int, bits: int, pieces: Buffer, hashes: Buffer, bitmap: Buffer, counts: Buffer, /) -> int:
    """The rarest gram of each piece: hashes and bits; a mask of the gram lengths used."""

def fill(pairs: Buffer, spare: Buffer, bloom: Buffer, slots: Buffer, groups: Buffer, /) -> int:
    """Sort pairs (hash, payload) and build filter and table; how many 32-bit words of `groups` were used."""
