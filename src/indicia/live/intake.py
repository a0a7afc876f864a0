"""Events that arrive in pieces meet a live index; what they meet is in the store before they are answered.

An `Intake` takes one stream of lines, a JSON object each, in pieces of any size. Memory: one block of lines.
A block is matched with one view (`live.blocks`); the next one may be met by a newer one.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import datetime

from indicia.errors import InputError, TooLarge
from indicia.live.blocks import BATCH, REASONS, Outcome, Task, hopeless, meet
from indicia.live.following import Following
from indicia.live.view import View
from indicia.model import Detection
from indicia.telemetry.records import Form

BLOCK = 4 * 1024 * 1024
"""Bytes of lines that are matched at once, about."""
LINE = 16 * 1024 * 1024
"""Bytes of the longest line."""
NUMBERS = 1000
"""Malformed lines of which the number is told."""

Meet = Callable[[bytes, View, Task], Outcome]
"""Looks at a block, here or in another process."""


def meet_here(block: bytes, view: View, task: Task) -> Outcome:
    """In this thread."""
    return meet(block, view.engine(), task)


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
        self,
        live: Following,
        source: str,
        form: Form = Form.JSON,
        *,
        numbers: int = NUMBERS,
        meet: Meet = meet_here,
    ) -> None:
        """`form` is JSON or LINES; so many numbers of malformed lines are told."""
        self._live = live
        self._meet = meet
        self._source = source
        self._form = form
        self._numbers = numbers
        self._pieces: list[bytes] = []
        """What has come and is not matched."""
        self._size = 0
        self._line = 0
        self._told = (0, 0, 0)
        self._time: datetime | None = None
        self._waiting: list[Detection] = []
        self.taken = Taken(generation=live.view.generation)

    @property
    def held(self) -> int:
        """Bytes that have come and are not matched."""
        return self._size

    def feed(self, data: bytes) -> None:
        """More bytes. Raises TooLarge for a line longer than LINE, InputError where nearly nothing of many
        lines is an event, StoreError.
        """
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
        self._tell()

    def end(self) -> Taken:
        """Nothing follows: what is left is matched and everything recorded. Raises StoreError."""
        block, self._pieces = b"".join(self._pieces), []
        if block:
            self._match(block)
        self._record()
        if block:
            self._tell()
        return self.taken

    def _tell(self) -> None:
        """What came of the source since last."""
        taken, told = self.taken, self._told
        now = (taken.accepted, taken.malformed, taken.detections)
        self._told = now
        new = (one - before for one, before in zip(now, told, strict=True))
        self._live.arrivals.came(self._source, self._time, *new)

    def _match(self, block: bytes) -> None:
        while block:
            view = self._live.view
            self.taken.generation = min(self.taken.generation, view.generation)
            outcome = self._meet(block, view, self._task())
            self._note(outcome)
            if hopeless(self.taken.malformed, self.taken.accepted):
                self._record()
                line, reason = self.taken.reasons[0]
                raise InputError(
                    f"most lines are no JSON objects, as line {line}: {reason}; what came after line"
                    f" {self._line} was not looked at",
                    target="body",
                )
            block = block[outcome.done :]

    def _task(self) -> Task:
        left = self._numbers - len(self.taken.lines)
        return Task(self._source, self._live.tenant.uid, self._form, left)

    def _note(self, outcome: Outcome) -> None:
        taken = self.taken
        taken.accepted += outcome.accepted
        taken.malformed += outcome.malformed
        taken.lines += [self._line + line for line in outcome.lines]
        room = REASONS - len(taken.reasons)
        taken.reasons += [(self._line + line, reason) for line, reason in outcome.reasons[:room]]
        taken.detections += len(outcome.detections)
        self._waiting += [replace(one, line=self._line + one.line) for one in outcome.detections]
        self._line += outcome.feeds
        self._time = outcome.time or self._time
        if len(self._waiting) >= BATCH:
            self._record()

    def _record(self) -> None:
        waiting, self._waiting = self._waiting, []
        if waiting:
            recorded = self._live.tenant.record(waiting)
            self.taken.recorded += recorded.new_detections
            self.taken.alerts += recorded.new_alerts
