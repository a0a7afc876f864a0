"""A stream as lines: all of them, or only those that a sieve names.

Memory is bounded by LIMIT. UTF-16 with its byte order mark is read as well, and a byte order mark of UTF-8 is
dropped. Where the stream breaks off, what came before counts.
"""

from __future__ import annotations

import codecs
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from io import BufferedIOBase
from typing import Any, Protocol

LIMIT = 64 * 1024 * 1024
"""Bytes of one line, document or CSV row; a longer one is malformed."""
HEAD = 1 << 20
"""Bytes by which a form is known."""
SHORT = 16
"""Bytes that lines have at the least, on average, unless somebody is up to something."""
_CHUNK = 1 << 20
_BLOCK = 1 << 22
"""Bytes that a sieve is given at once."""

Report = Callable[[int, str], None]
"""Hears of line and reason; WHOLE instead of a line where the stream as a whole is meant."""
WHOLE = -1
"""Not 0: so the first element of a JSON array is numbered."""
Numbered = tuple[int, bytes]
Further = Callable[[bytearray, int, int], list[int] | None]
"""Of a block: starts of lines that are to be parsed whatever the sieve says; None: all of them."""
_LINE_FEED = 10


class Sieve(Protocol):
    """Says what may hold a hit; everything else need not be parsed (`match.engine.Sieve`)."""

    def spans(
        self, data: bytes | bytearray, start: int, end: int, *, all_odd: bool = False
    ) -> list[tuple[int, int]]:
        """Start and end of each line of a block that is to be parsed, in order."""
        ...

    def feeds(self, data: bytearray, start: int, end: int) -> int:
        """Line feeds of a block, counted faster than `bytearray.count` does."""
        ...

    def holds(self, data: bytes, *, all_odd: bool = False) -> bool:
        """Whether a piece that is parsed as one may hold a hit."""
        ...

    def rows(
        self, data: bytes, offsets: Any, width: int, first: int, count: int, *, all_odd: bool = False
    ) -> list[int]:
        """Which of `count` values are to be parsed, counted from `first`; offsets as Arrow keeps them."""
        ...


@dataclass(frozen=True, slots=True)
class Selection:
    """Not everything is parsed: what is, and who hears how many lines or documents were passed over."""

    sieve: Sieve
    passed: Callable[[int], None]


class Lines:
    """Lines with their numbers, without line ends, with a look at the beginning."""

    def __init__(self, stream: BufferedIOBase, report: Report) -> None:
        self._stream = stream
        self._report = report
        self._broken = False
        self.feeds = 0
        """Line feeds so far."""
        head = b""
        pieces = self._bytes()
        while len(head) < HEAD and (more := next(pieces, b"")):
            head += more
        self._utf16 = None
        if head.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
            self._utf16 = codecs.getincrementaldecoder("utf-16")("replace")
            head = self._utf16.decode(head).encode()
        self.head = head.removeprefix(codecs.BOM_UTF8)
        """The first HEAD bytes or so."""

    def raw(self) -> Iterator[bytes]:
        """Everything as it is: not text at all."""
        yield self.head
        yield from self._bytes()

    def _bytes(self) -> Iterator[bytes]:
        """As they come. Where the stream breaks off, what came before counts."""
        while not self._broken:
            try:
                chunk = self._stream.read1(_CHUNK)
            except OSError as error:
                self._break(error)
                return
            if not chunk:
                return
            yield chunk

    def _break(self, error: OSError) -> None:
        self._broken = True
        self._report(WHOLE, f"the stream ends here: {error}")

    def chunks(self) -> Iterator[bytes]:
        """Everything as UTF-8, in pieces as they come."""
        if self.head:
            yield self.head
        if self._utf16 is None:
            yield from self._bytes()
            return
        yield from self._decoded(self._utf16)

    def filled(self, blank: bytes = b" \t\r\x0b\x0c") -> Iterator[Numbered]:
        """Lines without CR; those that hold such bytes alone may be left out."""
        for number, line in self.whole(lambda _chunk: blank):
            yield number, without_cr(line)

    def whole(self, blank: Callable[[bytes], bytes | None] = lambda _chunk: None) -> Iterator[Numbered]:
        """Lines that may still end in CR; none that is longer than LIMIT, nor the piece before a break.

        `blank` says of a chunk: lines of such bytes alone may be left out; None: none may.
        """
        number, begun, size = 1, [b""], 0
        for chunk in self.chunks():
            first, feed, rest = chunk.partition(b"\n")
            was, size = size, size + len(first)
            if size <= LIMIT:
                begun.append(first)
            elif was <= LIMIT:
                self._report(number, f"longer than {LIMIT} bytes")
                begun = []
            if feed:
                if begun:
                    yield number, b"".join(begun)
                middle, _, last = rest.rpartition(b"\n")
                feeds = rest.count(b"\n")
                if feeds:
                    yield from _several(number + 1, middle, feeds, blank)
                self.feeds += 1 + feeds
                number, begun, size = number + 1 + feeds, [last], len(last)
        if size and begun and not self._broken:
            yield number, b"".join(begun)

    def named(
        self,
        selection: Selection,
        *,
        all_odd: bool = False,
        also: Further | None = None,
    ) -> Iterator[Numbered]:
        """Lines that the sieve names, as `whole` gives them; what it does not name is counted.

        `also` names further lines of each block.
        """
        sieve = selection.sieve
        for block, begin, end in self._blocks():
            number = self.feeds + 1
            feeds = sieve.feeds(block, begin, end)
            self.feeds += feeds
            further = also(block, begin, end) if also is not None else []
            if further is None:
                yield from _all(number, block, begin, end)
                continue
            spans = sieve.spans(block, begin, end, all_odd=all_odd)
            if further:
                spans = sorted({*spans, *((start, _stop(block, start, end)) for start in further)})
            last, count = begin, number
            for start, stop in spans:
                count += sieve.feeds(block, last, start)
                last = start
                yield count, bytes(block[start:stop])
            selection.passed(feeds + (block[end - 1] != _LINE_FEED) - len(spans))

    def _blocks(self) -> Iterator[tuple[bytearray, int, int]]:
        """Whole lines in one buffer that is filled anew: the buffer, and where they are."""
        room = bytearray(max(_BLOCK, len(self.head) + _CHUNK))
        room[: len(self.head)] = self.head
        have, over, size = len(self.head), False, len(self.head)
        while size:
            cut = room.rfind(b"\n", have - size, have) + 1
            if cut:
                begin = room.find(b"\n", 0, cut) + 1 if over else 0
                self.feeds += over
                over = False
                if begin < cut:
                    yield room, begin, cut
                room[: have - cut], have = room[cut:have], have - cut
            elif have > LIMIT:
                if not over:
                    self._report(self.feeds + 1, f"longer than {LIMIT} bytes")
                have, over = 0, True
            if have + _CHUNK > len(room):
                room.extend(bytes(len(room)))
            size = self._into(room, have)
            have += size
        if have and not over and not self._broken:
            yield room, 0, have

    def _into(self, room: bytearray, have: int) -> int:
        """Read on behind what there is; how many bytes, 0 at the end."""
        if self._utf16 is not None:
            more = next(self._decoded(self._utf16), b"")
            room[have : have + len(more)] = more
            return len(more)
        if self._broken:
            return 0
        try:
            with memoryview(room) as view, view[have:] as free:
                return self._stream.readinto1(free)
        except OSError as error:
            self._break(error)
            return 0

    def _decoded(self, utf16: codecs.IncrementalDecoder) -> Iterator[bytes]:
        for chunk in self._bytes():
            if more := utf16.decode(chunk).encode():
                yield more
        yield utf16.decode(b"", final=True).encode()


def without_cr(line: bytes) -> bytes:
    """The line without the CR of CRLF: one, for a CR before it is the line's own."""
    return line[:-1] if line.endswith(b"\r") else line


def _several(
    number: int, lines: bytes, count: int, blank: Callable[[bytes], bytes | None]
) -> Iterator[Numbered]:
    """So many lines with their numbers; where most are short, blank ones are passed over at once."""
    drop = blank(lines) if count * SHORT > len(lines) else None
    if drop is None:
        yield from enumerate(lines.split(b"\n"), number)
        return
    if not lines.strip(b"\n" + drop):
        return
    filled = re.compile(b"[^\n" + re.escape(drop) + b"]")
    at = 0
    while (found := filled.search(lines, at)) is not None:
        number += lines.count(b"\n", at, found.start())
        start = max(lines.rfind(b"\n", at, found.start()) + 1, at)
        stop = lines.find(b"\n", found.end())
        stop = len(lines) if stop < 0 else stop
        yield number, lines[start:stop]
        number, at = number + 1, stop + 1


def _stop(block: bytearray, start: int, end: int) -> int:
    found = block.find(b"\n", start, end)
    return end if found < 0 else found


def _all(number: int, block: bytearray, at: int, end: int) -> Iterator[Numbered]:
    while at < end:
        stop = _stop(block, at, end)
        yield number, bytes(block[at:stop])
        number, at = number + 1, stop + 1
