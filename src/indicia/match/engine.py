"""The fast way to the reference's answers: the kernel finds candidates, the reference judges them.

    with Index.open("feed.idx") as index:
        matcher = IndexMatcher(index)          # a Matcher, for `detect`
        sieve = Sieve(index)                   # which lines of a block are worth parsing
        for start, end in sieve.spans(block): ...

Both use one walk of bytes (`_kernel.c`). A candidate only says where to look; `reference.meets` judges.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import lru_cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from indicia.errors import MalformedFile
from indicia.match import compiler
from indicia.match.index import ODD, Index
from indicia.match.kernel import BUILT, kernel
from indicia.match.reference import Matcher, ReferenceMatcher, meets
from indicia.model import Indicator, Observable

if TYPE_CHECKING:
    from typing_extensions import Buffer

Block = bytes | bytearray | memoryview
PAIRS = 65_536
"""Candidates that one call of the kernel can give."""
SCRATCH = 3 * 1024 * 1024
"""Bytes for lines that are decoded; a longer line with escapes that matter is a candidate unseen."""
REMEMBERED = 65_536
"""Values whose indicators are remembered: the same ones come again and again."""


class _Room:
    """What the kernel writes into; for one thread."""

    def __init__(self, pairs: int = PAIRS, scratch: int = SCRATCH) -> None:
        self.out = array("Q", bytes(16 * pairs))
        self.scratch = bytearray(scratch)


class IndexMatcher:
    """The indicators of an index, met one observable at a time. For one thread."""

    def __init__(self, index: Index) -> None:
        self._index = index
        self._room = _Room(scratch=64 * 1024)
        self._loose = tuple(index.loose)
        self._known = lru_cache(maxsize=REMEMBERED)(self._named)

    def meet(self, observable: Observable) -> list[Indicator]:
        """The indicators that the observable meets, whatever their time, in no order."""
        named = self._known(observable.value)
        if not named:
            return []
        try:
            return [one for one in named if meets(one, observable)]
        except ValueError:
            place = str(self._index.path)
            raise MalformedFile("a record is damaged; build it again", place=place) from None

    def _named(self, value: str) -> tuple[Indicator, ...]:
        """Those that the value may meet, of all types."""
        index, payloads = self._index, self._payloads(value)
        if not payloads:
            return self._loose
        offsets = {offset for payload in payloads for offset in index.records(payload)}
        return (*map(index.indicator, sorted(offsets)), *index.loose)

    def _payloads(self, value: str) -> set[int]:
        data = value.encode("utf-8", "surrogatepass")
        count, reached = kernel.scan(
            self._index.data,
            self._index.layout,
            data,
            0,
            len(data),
            self._room.out,
            self._room.scratch,
            False,
        )
        if reached < len(data):
            raise MemoryError("a value gives more candidates than there is room for")
        if not count:
            return set()
        payloads = set(self._room.out[1 : 2 * count : 2])
        payloads.discard(ODD)
        return payloads


class Sieve:
    """Says which lines of a block may hold a hit. For one thread; the GIL is released meanwhile."""

    def __init__(self, index: Index, *, every: bool = False) -> None:
        self._index = index
        self._every = every or bool(index.loose)
        self._room = _Room()

    def spans(
        self, data: bytes | bytearray, start: int = 0, end: int | None = None, *, all_odd: bool = False
    ) -> list[tuple[int, int]]:
        """Start and end (without line feed) of each line of data[start:end] that is to be parsed, in order.

        The block must begin at the beginning of a line. `all_odd`: name lines with bytes from 0x80 on too.
        """
        block = data
        end = len(block) if end is None else end
        if self._every:
            return _lines(block, start, end)
        spans: list[tuple[int, int]] = []
        at = start
        while at < end:
            positions, reached = self._scan(block, at, end, all_odd)
            if reached >= end:
                _add_spans(spans, block, positions, at, end)
                break
            # What did not fit is walked again from the beginning of its line; candidates behind it come then.
            line = block.rfind(b"\n", at, reached) + 1 or at
            if line > at:
                _add_spans(spans, block, [place for place in positions if place < line], at, end)
                at = line
            else:  # a line that is too much alone
                stop = block.find(b"\n", reached, end)
                stop = end if stop < 0 else stop
                spans.append((line, stop))
                at = stop + 1
        return spans

    def feeds(self, data: bytes | bytearray, start: int, end: int) -> int:
        """Line feeds of data[start:end]."""
        return kernel.count_lines(data, start, end)

    def holds(self, data: Block, *, all_odd: bool = False) -> bool:
        """Whether a piece that is parsed as one may hold a hit: a JSON document over many lines, a text."""
        if self._every:
            return True
        index, room = self._index, self._room
        found = kernel.scan(index.data, index.layout, data, 0, len(data), room.out, room.scratch, all_odd)
        return found[0] > 0

    def rows(
        self, data: Block, offsets: Buffer, width: int, first: int, count: int, *, all_odd: bool = False
    ) -> list[int]:
        """Which of `count` values behind one another, as Arrow keeps them, are to be parsed, in order.

        Value n lies between the offsets n and n + 1, each of `width` bytes (4 or 8); rows are counted from
        value `first` on. Raises ValueError where the offsets do not fit the data.
        """
        if self._every:
            return list(range(count))
        found, done = list[int](), 0
        while done < count:
            pairs, reached = kernel.scan_values(
                self._index.data,
                self._index.layout,
                data,
                offsets,
                width,
                first + done,
                count - done,
                self._room.out,
                self._room.scratch,
                all_odd,
            )
            found += sorted({done + row for row in self._room.out[0 : 2 * pairs : 2]})
            done += reached
        return found

    def _scan(self, data: Block, start: int, end: int, all_odd: bool) -> tuple[Sequence[int], int]:
        count, reached = kernel.scan(
            self._index.data,
            self._index.layout,
            data,
            start,
            end,
            self._room.out,
            self._room.scratch,
            all_odd,
        )
        return self._room.out[0 : 2 * count : 2], reached


def _add_spans(
    spans: list[tuple[int, int]], block: bytes | bytearray, positions: Sequence[int], start: int, end: int
) -> None:
    last = spans[-1][1] if spans else start - 1
    for position in sorted(positions):
        if position <= last:
            continue
        line = block.rfind(b"\n", start, position) + 1 or start
        last = block.find(b"\n", position, end)
        last = end if last < 0 else last
        spans.append((line, last))


def _lines(block: bytes | bytearray, start: int, end: int) -> list[tuple[int, int]]:
    spans = []
    while start < end:
        stop = block.find(b"\n", start, end)
        stop = end if stop < 0 else stop
        spans.append((start, stop))
        start = stop + 1
    return spans


Engine = Callable[[], tuple[Matcher, Sieve | None]]
"""Makes a matcher, and a sieve where not everything is to be parsed; called once in each process."""


def of_index(index: Index, *, parse_all: bool = False) -> Engine:
    """The fastest engine that this machine has: without the extension the reference, over all records."""
    if not BUILT:
        return of_reference(index.indicators())

    def engine() -> tuple[Matcher, Sieve | None]:
        return IndexMatcher(index), None if parse_all else Sieve(index)

    return engine


def of_indicators(indicators: Iterable[Indicator], *, parse_all: bool = False) -> Engine:
    """As `of_index`, over indicators that are in no index yet."""
    if not BUILT:
        return of_reference(indicators)
    with TemporaryDirectory(prefix="indicia-") as folder:
        path = Path(folder, "own.idx")
        compiler.write(indicators, path)
        # The mapping outlives the name.
        return of_index(Index.open(path), parse_all=parse_all)


def of_reference(indicators: Iterable[Indicator]) -> Engine:
    """The reference, for which everything is parsed."""
    matcher = ReferenceMatcher(indicators)
    return lambda: (matcher, None)


def candidates(index: Index, data: bytes) -> Iterator[tuple[int, Indicator | None]]:
    """What the kernel names: byte position and indicator; None for a spelling that only parsing can judge."""
    room = _Room()
    count, _ = kernel.scan(index.data, index.layout, data, 0, len(data), room.out, room.scratch, False)
    for place in range(count):
        position, payload = room.out[2 * place], room.out[2 * place + 1]
        if payload == ODD:
            yield position, None
        else:
            for offset in index.records(payload):
                yield position, index.indicator(offset)
