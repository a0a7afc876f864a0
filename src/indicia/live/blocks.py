"""One block of lines meets the indicators of a view: what is detected there, and which lines are no events.

    outcome = meet(block, view.engine(), Task(source="events", tenant=uid))

Every line is looked at: what may hold a hit, and what may be no JSON object, is parsed, of the rest it is
made sure that it is JSON, many lines at once. A block is taken in sections of few lines that are parsed, so
that memory and the time until there is an outcome stay bounded whatever stands in it. Nothing here knows a
store: whoever has a view can do it.
"""

from __future__ import annotations

import codecs
import re
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Protocol

import msgspec

from indicia import telemetry
from indicia.detect import detect
from indicia.errors import InputError, MissingExtra
from indicia.match import Matcher
from indicia.model import Detection
from indicia.telemetry import Malformed, Selection, Source
from indicia.telemetry.lines import Sieve
from indicia.telemetry.records import Form, Part

BATCH = 2000
"""Detections after which an outcome is given for a part of a block."""
LINES = 65_536
"""Lines of one section at the most."""
PARSED = 4096
"""Lines of one section that hold something."""
CHECKED = 256 * 1024
"""Bytes of lines that are checked at once, about."""
LONGEST = 256 * 1024
"""Bytes of a last line whose time is read."""
REASONS = 20
"""Malformed lines of which the reason is told."""
HOPELESS = 100_000
"""Malformed lines after which nothing more is looked at where most lines are so."""
FEW = 16 * 1024
"""Bytes in which something is odd that are looked at line by line."""
_LINE_FEED = 10
_UTF16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
_OBJECT = re.compile(rb'\{\s*"(?:Records|records|value|Events)"')
_ENVELOPE = re.compile(rb"\s*" + _OBJECT.pattern)
_FILLED = re.compile(rb"\S")
_BLANK = b" \t\r\x0b\x0c"
_KINDS = bytes(code if code in b"\n{" else ord("x") for code in range(256))
_decoder = msgspec.json.Decoder(msgspec.Raw)
_check, _check_lines = _decoder.decode, _decoder.decode_lines


class Counting(Sieve, Protocol):
    """A sieve over bytes."""

    def feeds(self, data: bytes | bytearray, start: int, end: int) -> int:
        """Line feeds of data[start:end]."""
        ...


Engine = tuple[Matcher, Counting | None]


@dataclass(frozen=True, slots=True)
class Task:
    """How a block is to be read."""

    source: str
    """What the events are of; stands in where they name no machine."""
    tenant: str
    """Its uid."""
    form: Form = Form.JSON
    """JSON or LINES."""
    numbers: int = 1000
    """Malformed lines of which the number is told."""


@dataclass(slots=True)
class Outcome:
    """What came of a block, or of its beginning. Lines are counted from 1."""

    done: int = 0
    """Bytes that were looked at; the rest is to be given again."""
    feeds: int = 0
    """Line feeds among them."""
    accepted: int = 0
    """Events."""
    malformed: int = 0
    lines: list[int] = field(default_factory=list)
    """Of malformed lines, the first ones."""
    reasons: list[tuple[int, str]] = field(default_factory=list)
    """Line and reason, the first REASONS."""
    detections: list[Detection] = field(default_factory=list)
    time: datetime | None = None
    """Of the last event, where the block was looked at to its end."""
    parsed: int = 0
    """Lines that were parsed."""


def hopeless(malformed: int, accepted: int) -> bool:
    """Whether what came is no stream of events at all."""
    return malformed > HOPELESS and malformed > accepted


def meet(block: bytes, engine: Engine, task: Task) -> Outcome:
    """Look at a block, or at its beginning where much is found, or where it is hopeless."""
    outcome = Outcome()
    if task.form is Form.JSON and block.startswith(_UTF16):
        _parse(block, (engine[0], None), task, outcome, 0)
        outcome.done, outcome.feeds = len(block), block.count(b"\n")
        return _with_time(outcome, block, task)
    sieve = engine[1]
    for section in _sections(block, 0, len(block), sieve):
        if sieve is None:
            _parse(block[section.begin : section.end], engine, task, outcome, outcome.feeds)
        else:
            _parse_some(block, section, (engine[0], sieve), task, outcome)
        outcome.done = section.end
        outcome.feeds += section.feeds
        much = len(outcome.detections) >= BATCH or outcome.parsed >= LINES
        if much or hopeless(outcome.malformed, outcome.accepted):
            break
    return _with_time(outcome, block, task)


def _with_time(outcome: Outcome, block: bytes, task: Task) -> Outcome:
    if outcome.done == len(block) and (line := last_line(block)):
        outcome.time = time_of(Source(task.source, part=Part(task.form), held=line))
    return outcome


def last_line(lines: bytes) -> bytes:
    """The last one that holds something; nothing where it is too long."""
    tail = lines[-LONGEST:].rstrip()
    start = tail.rfind(b"\n") + 1
    return tail[start:] if start or len(lines) <= LONGEST else b""


def time_of(source: Source) -> datetime | None:
    """The time of its last event."""
    found = None
    try:
        for event in telemetry.events(source, malformed=lambda _what: None):
            found = event.facts.time
    except (InputError, MissingExtra):
        return None
    return found


@dataclass(frozen=True, slots=True)
class _Section:
    """Some whole lines of a block."""

    begin: int
    end: int
    feeds: int
    spans: list[tuple[int, int]]
    """What the sieve names there."""


def _sections(block: bytes, begin: int, end: int, sieve: Counting | None) -> Iterator[_Section]:
    """All of them, in order."""
    most = PARSED if sieve is None else LINES
    waiting = [(begin, end)]
    while waiting:
        begin, end = waiting.pop()
        feeds = block.count(b"\n", begin, end) if sieve is None else sieve.feeds(block, begin, end)
        spans = [] if sieve is None or feeds > most else sieve.spans(block, begin, end)
        middle = _middle(block, begin, end)
        if (feeds > most or len(spans) > PARSED) and middle > begin:
            waiting += [(middle, end), (begin, middle)]
        elif begin < end:
            yield _Section(begin, end, feeds, spans)


def _middle(block: bytes | bytearray, begin: int, end: int) -> int:
    """The beginning of a line about half-way; `begin` where there is none."""
    half = begin + (end - begin) // 2
    middle = block.rfind(b"\n", begin, half) + 1
    if not middle:
        middle = block.find(b"\n", half, end) + 1
    return middle if begin < middle < end else begin


def _parse_some(
    block: bytes, section: _Section, engine: tuple[Matcher, Counting], task: Task, outcome: Outcome
) -> None:
    """Of a section the lines that the sieve names, and those that are odd."""
    sieve, spans = engine[1], section.spans
    count = section.feeds + (block[section.end - 1] != _LINE_FEED)
    bare = list[int]()
    if task.form is Form.JSON:
        wanted = task.numbers - len(outcome.lines)
        checked = _Checked(sieve, wanted, REASONS - len(outcome.reasons))
        spans = checked.spans_and_odd(block, section.begin, section.end, spans)
        count -= checked.blank + checked.bare
        outcome.malformed += checked.bare
        bare = [outcome.feeds + number for number in _numbers(sieve, block, section.begin, checked.starts)]
    outcome.accepted += count - len(spans)
    if spans:
        numbers = list(_numbers(sieve, block, section.begin, [begin for begin, _ in spans]))
        named = b"".join(block[begin:end] + b"\n" for begin, end in spans)
        # A few lines are parsed whole sooner than they are sifted once more.
        again = _Checked(sieve) if task.form is Form.JSON else sieve
        _parse(named, (engine[0], again if len(named) > FEW else None), task, outcome, outcome.feeds, numbers)
    if bare:
        outcome.lines = sorted(outcome.lines + bare)[: task.numbers]


def _parse(
    lines: bytes,
    engine: Engine,
    task: Task,
    outcome: Outcome,
    before: int,
    numbers: list[int] | None = None,
) -> None:
    """Parse lines and note what they meet. Their numbers are behind `before` as they come, or as given."""

    def place(line: int) -> int:
        return before + (line if numbers is None else numbers[line - 1])

    def malformed(what: Malformed) -> None:
        outcome.malformed += 1
        line = place(max(what.line, 1))
        if len(outcome.lines) < task.numbers:
            outcome.lines.append(line)
        if len(outcome.reasons) < REASONS:
            outcome.reasons.append((line, what.reason))

    def passed(count: int) -> None:
        outcome.accepted += count

    matcher, sieve = engine
    source = Source(task.source, part=Part(task.form), held=lines)
    selection = Selection(sieve, passed) if sieve is not None else None
    outcome.parsed += lines.count(b"\n")
    for event in telemetry.events(source, malformed=malformed, selection=selection):
        outcome.accepted += 1
        if found := detect(event, matcher, task.tenant):
            line = place(event.line)
            outcome.detections += [replace(one, line=line) for one in found]


def _numbers(sieve: Counting, block: bytes, begin: int, starts: list[int]) -> Iterator[int]:
    """Of lines their numbers in a section, from 1."""
    number = 1
    for start in starts:
        number += sieve.feeds(block, begin, start)
        begin = start
        yield number


class _Checked:
    """A sieve that names, too, what does not look like one JSON object."""

    def __init__(self, sieve: Counting, wanted: int = 0, shown: int = 1 << 62) -> None:
        """Of bare lines, which hold no `{`, the first `shown` are named; then `wanted` starts are kept."""
        self._sieve = sieve
        self._wanted, self._shown = wanted, shown
        self.feeds, self.holds, self.rows = sieve.feeds, sieve.holds, sieve.rows
        self.blank = 0
        """Lines that were passed over because nothing is in them."""
        self.bare = 0
        """Lines that were passed over and can hold no object."""
        self.starts: list[int] = []
        """Of bare ones, the first."""

    def spans(
        self, data: bytes | bytearray, start: int, end: int, *, all_odd: bool = False
    ) -> list[tuple[int, int]]:
        """Start and end of each line that is to be parsed, in order."""
        named = self._sieve.spans(data, start, end, all_odd=all_odd)
        return self.spans_and_odd(data, start, end, named)

    def spans_and_odd(
        self, data: bytes | bytearray, start: int, end: int, named: list[tuple[int, int]]
    ) -> list[tuple[int, int]]:
        """The same, where the sieve was asked before."""
        odd = list(self._odd(data, start, end, {begin for begin, _ in named}))
        return sorted([*named, *odd]) if odd else named

    def _odd(
        self, block: bytes | bytearray, begin: int, end: int, known: set[int]
    ) -> Iterator[tuple[int, int]]:
        """Start and end of lines between two borders of lines; not of those that are known."""
        large = end - begin > CHECKED
        if begin >= end or (not large and self._all_sound(block, begin, end)):
            return
        middle = _middle(block, begin, end) if end - begin > FEW else begin
        if middle > begin:
            yield from self._odd(block, begin, middle, known)
            yield from self._odd(block, middle, end, known)
        elif large and self._all_sound(block, begin, end):
            return
        else:
            yield from self._look(bytes(block[begin:end]), begin, known)

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

    def _look(self, lines: bytes, begin: int, known: set[int]) -> Iterator[tuple[int, int]]:
        """The odd ones of lines that begin at a place of a block."""
        count = lines.count(b"\n") + (not lines.endswith(b"\n"))
        if not known and b"{" not in lines and not self._shown and len(self.starts) >= self._wanted:
            kinds = lines.translate(_KINDS, _BLANK)
            filled = kinds.count(b"x\n") + kinds.endswith(b"x")
            self.bare += filled
            self.blank += count - filled
            return
        for at, stop in _filled(lines):
            count -= 1
            if begin + at not in known and self._is_odd(lines[at:stop], begin + at):
                yield begin + at, begin + stop
        self.blank += count

    def _is_odd(self, line: bytes, start: int) -> bool:
        if b"{" not in line:
            if self._shown:
                self._shown -= 1
                return True
            self.bare += 1
            if len(self.starts) < self._wanted:
                self.starts.append(start)
            return False
        if not line.startswith(b"{") or _ENVELOPE.match(line):
            return True
        try:
            _check(line)
        except (msgspec.DecodeError, RecursionError):
            return True
        return False


def _filled(lines: bytes) -> Iterator[tuple[int, int]]:
    """Start and end of those that hold something."""
    at = 0
    while (found := _FILLED.search(lines, at)) is not None:
        start = max(lines.rfind(b"\n", at, found.start()) + 1, at)
        stop = lines.find(b"\n", found.end())
        stop = len(lines) if stop < 0 else stop
        yield start, stop
        at = stop + 1
