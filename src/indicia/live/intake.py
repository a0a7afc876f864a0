"""Events that arrive in pieces meet a live index; what they meet is in the store before they are answered.

An `Intake` takes one stream of lines, a JSON object each, in pieces of any size. Memory: one block of lines.
Every line is looked at: what may hold a hit, and what may be no JSON object, is parsed, of the rest it is
made sure that it is JSON. A block is matched with one view; the next one may be met by a newer one.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import msgspec

from indicia import telemetry
from indicia.detect import detect
from indicia.errors import TooLarge
from indicia.live.following import Following
from indicia.live.view import LayeredSieve
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
_ENVELOPE = re.compile(rb'\s*\{\s*"(?:Records|records|value|Events)"')
_check = msgspec.json.Decoder(msgspec.Raw).decode


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
        self._rest = bytearray()
        self._line = 0
        self._waiting: list[Detection] = []
        self.taken = Taken(generation=live.view.generation)

    def feed(self, data: bytes) -> None:
        """More bytes. Raises TooLarge for a line longer than LINE, StoreError."""
        self._rest += data
        if len(self._rest) < BLOCK:
            return
        cut = self._rest.rfind(b"\n") + 1
        if not cut:
            if len(self._rest) > LINE:
                raise TooLarge(f"line {self._line + 1} is longer than {LINE} bytes")
            return
        block = bytes(self._rest[:cut])
        del self._rest[:cut]
        self._match(block)

    def end(self) -> Taken:
        """Nothing follows: what is left is matched and everything recorded. Raises StoreError."""
        if self._rest:
            block = bytes(self._rest)
            self._rest.clear()
            self._match(block)
        self._record()
        return self.taken

    def _match(self, block: bytes) -> None:
        view = self._live.view
        matcher, sieve = view.engine()
        self.taken.generation = min(self.taken.generation, view.generation)
        checked = _Checked(sieve) if sieve is not None and self._form is Form.JSON else None
        found = checked or sieve
        selection = Selection(found, self._pass_over) if found is not None else None
        source = Source(self._source, part=Part(self._form), held=block)
        for event in telemetry.events(source, malformed=self._malformed, selection=selection):
            self.taken.accepted += 1
            detections = detect(event, matcher, self._live.tenant.uid)
            if detections:
                self._waiting += detections
                self.taken.detections += len(detections)
                if len(self._waiting) >= BATCH:
                    self._record()
        if checked is not None:
            self.taken.accepted -= checked.blank
        self._line += block.count(b"\n")

    def _pass_over(self, count: int) -> None:
        self.taken.accepted += count

    def _malformed(self, what: Malformed) -> None:
        taken, line = self.taken, self._line + what.line
        taken.malformed += 1
        if len(taken.lines) < self._numbers:
            taken.lines.append(line)
        if len(taken.reasons) < REASONS:
            taken.reasons.append((line, what.reason))

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

    def spans(self, data: Any, start: int, end: int, *, all_odd: bool = False) -> list[tuple[int, int]]:
        """Start and end of each line that is to be parsed, in order."""
        named = self._sieve.spans(data, start, end, all_odd=all_odd)
        known = {begin for begin, _ in named}
        block = bytes(memoryview(data)[start:end])
        odd = [
            (start + begin, start + stop)
            for begin, stop in _lines(block)
            if start + begin not in known and self._is_odd(block[begin:stop])
        ]
        return sorted([*named, *odd]) if odd else named

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


def _lines(block: bytes) -> Iterator[tuple[int, int]]:
    at, size = 0, len(block)
    while at < size:
        stop = block.find(b"\n", at)
        stop = size if stop < 0 else stop
        yield at, stop
        at = stop + 1
