"""How a scan uses a machine: sources are cut into pieces, processes take them, results come back in order.

    plan:   source ─► pieces (telemetry.slices)                 one process reads one piece at a time
    worker: piece ─► lines that the sieve names ─► events ─► detect ─► Batch, Batch, …
    parent: batches in the order of the pieces, whatever the number of workers

A worker holds one batch at a time, and the parent at most AHEAD batches of pieces whose turn has not come, so
memory does not grow with the input. With one worker, or little to read, everything happens in this process.
"""

from __future__ import annotations

import gc
import multiprocessing
import os
import signal
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import datetime
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import NamedTuple

from indicia import telemetry
from indicia.detect import detect
from indicia.errors import IndiciaError, InputError, MissingExtra
from indicia.match import Matcher
from indicia.model import Detection, Event
from indicia.telemetry import Change, Malformed, Selection, Source

SMALL = 48 * 1024 * 1024
"""Bytes below which a scan stays in one process: starting others would take longer."""
AHEAD = 64
"""Batches of later pieces that wait in the parent."""
EVENTS = 20_000
"""Events after which a batch is sent, whatever it holds."""
DETECTIONS = 500
YOUNG = 50_000
"""Objects that a worker makes before its collector looks for cycles: there are hardly any."""
LISTED = 500
"""Malformed lines of a batch that are told; further ones are counted."""


Engine = Callable[[], tuple[Matcher, telemetry.Sieve | None]]
"""Makes matcher and sieve, in each process anew; without a sieve everything is parsed."""
Moved = Callable[[int, int], None]
"""Hears at once, in no order, of bytes of the disk that were read and events that were passed since last."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What every piece is scanned with."""

    engine: Engine
    schema: str | None = None
    tenant: str = ""
    keep: Callable[[Event], bool] | None = None
    """Which events count of those that met an indicator, as a Span says; None: all."""


@dataclass(frozen=True, slots=True)
class Span:
    """The events of a span of event time, for `Plan.keep`; None: unbounded."""

    since: datetime | None = None
    until: datetime | None = None

    def __call__(self, event: Event) -> bool:
        """Whether it counts: since <= time < until. What has no usable time is never hidden."""
        time = event.facts.time
        if time is None:
            return True
        return (self.since is None or time >= self.since) and (self.until is None or time < self.until)


@dataclass(slots=True)
class Batch:
    """What came of a part of one piece."""

    piece: int
    last: bool = False
    """Nothing of this piece follows."""
    events: int = 0
    """Parsed, and lines passed over."""
    lines: int = 0
    """Of a piece that is followed by others of its file: how many lines it had (its last batch says)."""
    malformed: list[Malformed] = field(default_factory=list)
    unlisted: int = 0
    """Malformed lines beyond LISTED."""
    damaged: bool = False
    """Whether something malformed was the stream itself."""
    detections: list[Detection] = field(default_factory=list)
    outside: int = 0
    """Events that met an indicator and that `Plan.keep` left out."""
    timeless: int = 0
    """Events that met an indicator and have no usable time; counted where the plan has a `keep`."""
    fault: InputError | MissingExtra | None = None
    """Why the piece cannot be read (any further)."""
    change: Change | None = None
    """Of the file, since the scan began (the last batch of a piece says)."""


def _nobody(_read: int, _events: int) -> None:
    """Hears how far it is."""


def scan(
    pieces: Sequence[Source],
    plan: Plan,
    workers: int,
    *,
    done: Mapping[int, int] | None = None,
    moved: Moved = _nobody,
) -> Generator[Batch, None, None]:
    """Batches of all pieces, in their order; the numbers of lines are those of the file.

    `done` names pieces that are left out, by number, with the lines that each has. Raises what a worker
    raised beyond InputError and MissingExtra; a worker that dies is a RuntimeError.
    """
    done = done or {}
    left = [number for number in range(len(pieces)) if number not in done]
    total = sum(pieces[number].size or 0 for number in left)
    found: Iterator[Batch]
    if workers <= 1 or len(left) <= 1 or total < SMALL:
        reader = _Reader(pieces, plan, moved)
        found = (batch for number in left for batch in reader.batches(number))
    else:
        found = _spread(pieces, plan, left, min(workers, len(left)), moved)
    yield from _numbered(pieces, found, done)


def _numbered(pieces: Sequence[Source], found: Iterable[Batch], done: Mapping[int, int]) -> Iterator[Batch]:
    """Lines counted from the beginning of the file instead of that of the piece."""
    lines, at, above = dict(done), 0, 0
    for batch in found:
        while at < batch.piece:
            above += lines.pop(at, 0)
            at += 1
            if pieces[at].start == 0:
                above = 0
        if batch.last:
            lines[at] = batch.lines
        if above:
            batch.detections = [replace(one, line=one.line + above) for one in batch.detections]
            batch.malformed = [
                replace(one, line=one.line + above) if one.line else one for one in batch.malformed
            ]
        yield batch


class _Reader:
    """Reads pieces with one matcher and one sieve."""

    def __init__(self, pieces: Sequence[Source], plan: Plan, moved: Moved) -> None:
        self._pieces = pieces
        self._plan = plan
        self._moved = moved
        self._matcher, self._sieve = plan.engine()
        self._batch = Batch(0)
        self._told = 0
        """Events of the batch of which `moved` has heard."""
        self._lines = 0

    def batches(self, number: int) -> Iterator[Batch]:
        """What comes of one piece."""
        piece = self._pieces[number]
        self._batch, self._told, self._lines = Batch(number), 0, 0
        try:
            for event in self._events(piece):
                self._batch.events += 1
                self._meet(event)
                if self._batch.events >= EVENTS or len(self._batch.detections) >= DETECTIONS:
                    yield self._end()
                    self._batch = Batch(number)
        except (InputError, MissingExtra) as error:
            self._batch.fault = error
        self._batch.change = piece.change()
        self._batch.lines = self._lines
        self._batch.last = True
        yield self._end()

    def _end(self) -> Batch:
        self._read(0)
        self._told = 0
        return self._batch

    def _events(self, piece: Source) -> Iterator[Event]:
        sieve = self._sieve
        return telemetry.events(
            piece,
            schema=self._plan.schema,
            malformed=self._malformed,
            progress=self._read,
            selection=Selection(sieve, self._pass_over) if sieve is not None else None,
            feeds=self._count_lines,
        )

    def _meet(self, event: Event) -> None:
        found = detect(event, self._matcher, self._plan.tenant)
        if not found:
            return
        if self._plan.keep is not None:
            # Asked of what met an indicator alone: the time of all others is never worked out.
            self._batch.timeless += event.facts.time is None
            if not self._plan.keep(event):
                self._batch.outside += 1
                return
        self._batch.detections += found

    def _malformed(self, what: Malformed) -> None:
        self._batch.damaged |= what.damage
        if len(self._batch.malformed) < LISTED:
            self._batch.malformed.append(what)
        else:
            self._batch.unlisted += 1

    def _pass_over(self, count: int) -> None:
        self._batch.events += count

    def _read(self, size: int) -> None:
        events, self._told = self._batch.events - self._told, self._batch.events
        if size or events:
            self._moved(size, events)

    def _count_lines(self, count: int) -> None:
        self._lines = count


# Several processes


class _Step(NamedTuple):
    """What a worker says between batches: what `moved` hears."""

    read: int
    events: int


def _spread(
    pieces: Sequence[Source], plan: Plan, left: Sequence[int], workers: int, moved: Moved
) -> Iterator[Batch]:
    # Forked, so that nothing is imported or opened anew; nothing here runs threads at that moment.
    context = multiprocessing.get_context("fork")
    team: list[_Worker] = []
    try:
        for _ in range(workers):
            team.append(_Worker(context.Process, pieces, plan, [one.connection for one in team]))
        yield from _in_order(team, left, moved)
    finally:
        for worker in team:
            worker.stop()


class _Worker:
    """One process and the piece that it has."""

    def __init__(
        self,
        process: Callable[..., BaseProcess],
        pieces: Sequence[Source],
        plan: Plan,
        others: Sequence[Connection],
    ) -> None:
        self.connection, theirs = multiprocessing.Pipe()
        self.piece = -1
        ours = [*others, self.connection]
        self._process = process(target=_work, args=(theirs, ours, pieces, plan), daemon=True)
        # An interrupt that came before the worker is ready to ignore it would end it with a traceback.
        before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        try:
            self._process.start()
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
        theirs.close()

    def give(self, piece: int) -> None:
        self.piece = piece
        self.connection.send(piece)

    def take(self) -> Batch | _Step:
        try:
            found = self.connection.recv()
        except (EOFError, ConnectionError):
            self._process.join(1)
            raise RuntimeError(f"a scanning process ended with {self._process.exitcode}") from None
        if isinstance(found, BaseException):
            raise found
        if not isinstance(found, Batch | _Step):
            raise TypeError(f"a scanning process sent {type(found).__name__}")
        return found

    def stop(self) -> None:
        # A worker keeps nothing that a sudden end could lose.
        self.connection.close()
        self._process.terminate()
        self._process.join()


def _work(connection: Connection, ours: Sequence[Connection], pieces: Sequence[Source], plan: Plan) -> None:
    """The life of a worker: pieces by number, until the parent goes away."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent is interrupted, and ends us
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
    for one in ours:
        # The parent's ends of the pipes: held open here they would hide that the parent was killed.
        one.close()
    # What was there before the fork stays, so the collector need not touch, and so copy, its pages; and what
    # an event makes is gone without it.
    gc.freeze()
    gc.set_threshold(YOUNG, 20, 20)
    with suppress(EOFError, ConnectionError):
        try:
            reader = _Reader(pieces, plan, lambda read, events: connection.send(_Step(read, events)))
            while True:
                for batch in reader.batches(connection.recv()):
                    connection.send(batch)
        except (EOFError, ConnectionError):
            raise
        except (IndiciaError, RuntimeError, ValueError, TypeError, MemoryError, OSError) as error:
            connection.send(error)
    os._exit(0)


def _in_order(team: Sequence[_Worker], left: Sequence[int], moved: Moved) -> Iterator[Batch]:
    """Batches by the order of their pieces; of later pieces a bounded number waits."""
    waiting: dict[int, deque[Batch]] = {}
    given, held = iter(left), 0
    for worker, number in zip(team, given, strict=False):
        worker.give(number)
    for turn in left:
        ended = False
        while not ended:
            while not waiting.get(turn):
                held += _hear(team, turn, held, given, waiting, moved)
            batch = waiting[turn].popleft()
            held -= 1
            ended = batch.last
            yield batch
        del waiting[turn]


def _hear(
    team: Sequence[_Worker],
    turn: int,
    held: int,
    given: Iterator[int],
    waiting: dict[int, deque[Batch]],
    moved: Moved,
) -> int:
    """What the workers have to say; how many batches that were."""
    # Who works on the piece whose turn it is is always heard; the others while there is room.
    heard = {one.connection: one for one in team if one.piece == turn or (one.piece > turn and held < AHEAD)}
    batches = 0
    for ready in wait(list(heard)):
        worker = next(one for connection, one in heard.items() if connection is ready)
        found = worker.take()
        if isinstance(found, _Step):
            moved(found.read, found.events)
            continue
        waiting.setdefault(found.piece, deque()).append(found)
        batches += 1
        if found.last:
            worker.piece = -1
            if (number := next(given, None)) is not None:
                worker.give(number)
    return batches
