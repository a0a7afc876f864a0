"""Events that arrive in pieces meet a live index; what they meet is in the store before they are answered.

An `Intake` takes one stream of lines, a JSON object each, in pieces of any size. Memory: one block of lines.
Every line is looked at: what may hold a hit, and what may be no JSON object, is parsed, of the rest it is
made sure that it is JSON, many lines at once. A block is matched with one view; the next one may be met by a
newer one.
"""

from __future__ import annotations

import codecs
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from functools import partial

import msgspec

from indicia import telemetry
from indicia.detect import detect
from indicia.errors import TooLarge
from indicia.live.following import Following
from indicia.live.view import LayeredSieve
from indicia.match import Matcher
from indicia.model import Detection
from indicia.telemetry import Malformed, Selection, Source
from indicia.telemetry.records import Form, Part

BLOCK = 4 * 1024 * 1024
"""Bytes of lines that are matched at once, about."""
LINE = 16 * 1024 * 1024
"""Bytes of the longest line."""
BATCH = 2000
"""Detections of one transaction."""
REASONS = 20
"""Malformed lines of which the reason is told."""
NUMBERS = 1000
"""Malformed lines of which the number is told."""
FEW = 16 * 1024
"""Bytes in which something is odd that are looked at line by line."""
_LINE_FEED = 10
_UTF16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
_OBJECT = re.compile(rb'\{\s*"(?:Records|records|value|Events)"')
_ENVELOPE = re.compile(rb"\s*" + _OBJECT.pattern)
_decoder = msgspec.json.Decoder(msgspec.Raw)
_check, _check_lines = _decoder.decode, _decoder.decode_lines


@dataclass(slots=True)
class Taken:
    """What came of a stream so far."""

    accepted: int = 0
    """Events."""
    malformed: int = 0
    lines: list[int] = field(default_factory=list)
    """Of malformed lines, the first NUMBERS."""
    reasons: list[tuple[int, str]] = field(default_factory=list)
    """Line and reason, the first REASONS."""
    detections: int = 0
    """That were made of these events, silent ones too."""
    recorded: int = 0
    """Of them, those that the store did not have."""
    alerts: int = 0
    """That were opened."""
    generation: int = 0
    """Of the oldest view that was matched with."""


class Intake:
    """One stream of events. For one thread."""

    def __init__(
        self, live: Following, source: str, form: Form = Form.JSON, *, numbers: int = NUMBERS
    ) -> None:
        """`form` is JSON or LINES; so many numbers of malformed lines are told."""
        self._live = live
        self._source = source
        self._form = form
        self._numbers = numbers
        self._pieces: list[bytes] = []
        """What has come and is not matched."""
        self._size = 0
        self._line = 0
        self._told = (0, 0, 0)
        self._waiting: list[Detection] = []
        self.taken = Taken(generation=live.view.generation)

    def feed(self, data: bytes) -> None:
        """More bytes. Raises TooLarge for a line longer than LINE, StoreError."""
        self._pieces.append(data)
        self._size += len(data)
        if self._size < BLOCK:
            return
        cut = data.rfind(b"\n") + 1
        if not cut:
            if self._size > LINE:
                raise TooLarge(f"line {self._line + 1} or a later one is longer than {LINE} bytes")
            return
        self._pieces[-1] = data[:cut]
        block = b"".join(self._pieces)
        self._pieces, self._size = [data[cut:]], len(data) - cut
        self._match(block)
        self._tell(block)

    def end(self) -> Taken:
        """Nothing follows: what is left is matched and everything recorded. Raises StoreError."""
        block, self._pieces = b"".join(self._pieces), []
        if block:
            self._match(block)
        self._record()
        if block:
            self._tell(block)
        return self.taken

    def _tell(self, block: bytes) -> None:
        """What came of the source since last."""
        taken, told = self.taken, self._told
        now = (taken.accepted, taken.malformed, taken.detections)
        self._told = now
        new = (one - before for one, before in zip(now, told, strict=True))
        tail = partial(Source, self._source, part=Part(self._form))
        self._live.arrivals.came(self._source, block, lambda line: tail(held=line), *new)

    def _match(self, block: bytes) -> None:
        view = self._live.view
        matcher, sieve = view.engine()
        self.taken.generation = min(self.taken.generation, view.generation)
        if sieve is None or self._form is not Form.JSON or block.startswith(_UTF16):
            selection = Selection(sieve, self._pass_over) if sieve is not None else None
            self._look(block, matcher, selection, lambda line: line)
            self._line += block.count(b"\n")
            return
        checked = _Checked(sieve)
        spans = checked.spans(block, 0, len(block))
        feeds = checked.feeds(block, 0, len(block))
        self.taken.accepted += feeds + (not block.endswith(b"\n")) - checked.blank - len(spans)
        if spans:
            numbers = list(_numbers(checked, block, spans))
            named = b"".join(block[begin:end] + b"\n" for begin, end in spans)
            # A few lines are parsed whole sooner than they are sifted once more.
            selection = Selection(checked, self._pass_over) if len(named) > FEW else None
            self._look(named, matcher, selection, lambda line: numbers[line - 1])
        self._line += feeds

    def _look(
        self,
        lines: bytes,
        matcher: Matcher,
        selection: Selection | None,
        number: Callable[[int], int],
    ) -> None:
        """Parse lines and record what they meet; `number` says which line of the block one of them is."""

        def malformed(what: Malformed) -> None:
            self._malformed(self._line + number(max(what.line, 1)), what.reason)

        source = Source(self._source, part=Part(self._form), held=lines)
        for event in telemetry.events(source, malformed=malformed, selection=selection):
            self.taken.accepted += 1
            found = detect(event, matcher, self._live.tenant.uid)
            if found:
                line = self._line + number(event.line)
                self._waiting += [replace(one, line=line) for one in found]
                self.taken.detections += len(found)
                if len(self._waiting) >= BATCH:
                    self._record()

    def _pass_over(self, count: int) -> None:
        self.taken.accepted += count

    def _malformed(self, line: int, reason: str) -> None:
        taken = self.taken
        taken.malformed += 1
        if len(taken.lines) < self._numbers:
            taken.lines.append(line)
        if len(taken.reasons) < REASONS:
            taken.reasons.append((line, reason))

    def _record(self) -> None:
        waiting, self._waiting = self._waiting, []
        if waiting:
            recorded = self._live.tenant.record(waiting)
            self.taken.recorded += recorded.new_detections
            self.taken.alerts += recorded.new_alerts


class _Checked:
    """A sieve that names, too, what does not look like one JSON object."""

    def __init__(self, sieve: LayeredSieve) -> None:
        self._sieve = sieve
        self.feeds, self.holds, self.rows = sieve.feeds, sieve.holds, sieve.rows
        self.blank = 0
        """Lines that were passed over because nothing is in them."""

    def spans(
        self, data: bytes | bytearray, start: int, end: int, *, all_odd: bool = False
    ) -> list[tuple[int, int]]:
        """Start and end of each line that is to be parsed, in order."""
        named = self._sieve.spans(data, start, end, all_odd=all_odd)
        odd = list(self._odd(data, start, end, {begin for begin, _ in named}))
        return sorted([*named, *odd]) if odd else named

    def _odd(
        self, block: bytes | bytearray, begin: int, end: int, known: set[int]
    ) -> Iterator[tuple[int, int]]:
        """Start and end of lines between two borders of lines; not of those that are known."""
        if begin >= end or self._all_sound(block, begin, end):
            return
        middle = block.rfind(b"\n", begin, begin + (end - begin) // 2) + 1
        if end - begin > FEW and middle > begin:
            yield from self._odd(block, begin, middle, known)
            yield from self._odd(block, middle, end, known)
            return
        for at, stop in _lines(block, begin, end):
            if at not in known and self._is_odd(bytes(block[at:stop])):
                yield at, stop

    def _all_sound(self, block: bytes | bytearray, begin: int, end: int) -> bool:
        """Whether every line is one JSON object, and none an envelope; False where that is not known."""
        ending = b"\r\n" if block.endswith(b"\r\n", begin, end) else b"\n"
        if block.endswith(ending, begin, end):
            end -= len(ending)
        feeds = self.feeds(block, begin, end)
        # In a JSON text no } is followed by {, so none goes on in the next line.
        if not block.startswith(b"{", begin, end) or not block.endswith(b"}", begin, end):
            return False
        if block.count(b"}" + ending + b"{", begin, end) != feeds:
            return False
        for found in _OBJECT.finditer(block, begin, end):
            if found.start() == begin or block[found.start() - 1] == _LINE_FEED:
                return False
        try:
            with memoryview(block) as whole, whole[begin:end] as lines:
                return len(_check_lines(lines)) == feeds + 1
        except (msgspec.DecodeError, RecursionError):
            return False

    def _is_odd(self, line: bytes) -> bool:
        if not line.startswith(b"{"):
            if line and not line.isspace():
                return True
            self.blank += 1
            return False
        if _ENVELOPE.match(line):
            return True
        try:
            _check(line)
        except (msgspec.DecodeError, RecursionError):
            return True
        return False


def _numbers(sieve: _Checked, block: bytes, spans: list[tuple[int, int]]) -> Iterator[int]:
    """Of each line its number in the block, from 1."""
    last, number = 0, 1
    for begin, _ in spans:
        number += sieve.feeds(block, last, begin)
        last = begin
        yield number


def _lines(block: bytes | bytearray, at: int, end: int) -> Iterator[tuple[int, int]]:
    while at < end:
        stop = block.find(b"\n", at, end)
        stop = end if stop < 0 else stop
        yield at, stop
        at = stop + 1
