"""How a scan uses a machine: sources are cut into pieces, processes take them, results come back in order.

    plan:   source ─► pieces (telemetry.slices)                 one process reads one piece at a time
    worker: piece ─► lines that the sieve names ─► events ─► detect ─► Batch, Batch, …
    parent: batches in the order of the pieces, whatever the number of workers

A worker holds one batch at a time, and the parent at most AHEAD batches of pieces whose turn has not come, so
memory does not grow with the input. With one worker, or little to read, everything happens in this process.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess

from indicia import telemetry
from indicia.detect import detect
from indicia.errors import IndiciaError, InputError
from indicia.match import Matcher
from indicia.model import Detection, Event
from indicia.telemetry import Malformed, Selection, Source

SMALL = 48 * 1024 * 1024
"""Bytes below which a scan stays in one process: starting others would take longer."""
AHEAD = 64
"""Batches of later pieces that wait in the parent."""
EVENTS = 20_000
"""Events after which a batch is sent, whatever it holds."""
DETECTIONS = 500


Engine = Callable[[], tuple[Matcher, telemetry.Sieve | None]]
"""Makes matcher and sieve, in each process anew; without a sieve everything is parsed."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What every piece is scanned with."""

    engine: Engine
    schema: str | None = None
    tenant: str = ""
    keep: Callable[[Event], bool] | None = None
    """Which events count, as those of a time span; None: all."""


@dataclass(slots=True)
class Batch:
    """What came of a part of one piece."""

    piece: int
    last: bool = False
    """Nothing of this piece follows."""
    read: int = 0
    """Bytes of the disk."""
    events: int = 0
    """Parsed, and lines passed over."""
    lines: int = 0
    """Of a piece that is followed by others of its file: how many lines it had (its last batch says)."""
    malformed: list[Malformed] = field(default_factory=list)
    detections: list[Detection] = field(default_factory=list)
    fault: InputError | None = None
    """Why the piece cannot be read (any further)."""
    changed: bool = False
    """The file is not as it was when the scan began."""


def scan(pieces: Sequence[Source], plan: Plan, workers: int) -> Generator[Batch, None, None]:
    """Batches of all pieces, in their order; the numbers of lines are those of the file.

    Raises what a worker raised beyond InputError; a worker that dies is a RuntimeError.
    """
    total = sum(piece.size or 0 for piece in pieces)
    if workers <= 1 or len(pieces) == 1 or total < SMALL:
        found = _here(pieces, plan)
    else:
        found = _spread(pieces, plan, min(workers, len(pieces)))
    yield from _numbered(pieces, found)


def _numbered(pieces: Sequence[Source], found: Iterable[Batch]) -> Iterator[Batch]:
    """Lines counted from the beginning of the file instead of that of the piece."""
    before = 0
    for batch in found:
        piece = pieces[batch.piece]
        if piece.start == 0:
            above = 0
            if batch.last:
                before = batch.lines
        else:
            above = before
            if batch.last:
                before += batch.lines
        if above:
            batch.detections = [replace(one, line=one.line + above) for one in batch.detections]
            batch.malformed = [replace(one, line=one.line + above) for one in batch.malformed]
        yield batch


def _here(pieces: Sequence[Source], plan: Plan) -> Iterator[Batch]:
    matcher, sieve = plan.engine()
    for number, piece in enumerate(pieces):
        yield from _piece(number, piece, plan, matcher, sieve)


def _piece(
    number: int, piece: Source, plan: Plan, matcher: Matcher, sieve: telemetry.Sieve | None
) -> Iterator[Batch]:
    """The batches of one piece."""
    batch, lines = Batch(number), 0

    def pass_over(count: int) -> None:
        batch.events += count

    def read(count: int) -> None:
        batch.read += count

    def feeds(count: int) -> None:
        nonlocal lines
        lines = count

    selection = Selection(sieve, pass_over) if sieve is not None else None
    try:
        found = telemetry.events(
            piece,
            schema=plan.schema,
            malformed=lambda what: batch.malformed.append(what),
            progress=read,
            selection=selection,
            feeds=feeds,
        )
        for event in found:
            batch.events += 1
            if plan.keep is None or plan.keep(event):
                batch.detections += detect(event, matcher, plan.tenant)
            if batch.events >= EVENTS or len(batch.detections) >= DETECTIONS:
                yield batch
                batch = Batch(number)
    except InputError as error:
        batch.fault = error
    batch.changed = piece.has_changed()
    batch.lines = lines
    batch.last = True
    yield batch


# Several processes


def _spread(pieces: Sequence[Source], plan: Plan, workers: int) -> Iterator[Batch]:
    # Forked, so that nothing is imported or opened anew; nothing here runs threads at that moment.
    context = multiprocessing.get_context("fork")
    team = [_Worker(context.Process, pieces, plan) for _ in range(workers)]
    try:
        yield from _in_order(team, len(pieces))
    finally:
        for worker in team:
            worker.stop()


class _Worker:
    """One process and the piece that it has."""

    def __init__(self, process: Callable[..., BaseProcess], pieces: Sequence[Source], plan: Plan) -> None:
        self.connection, theirs = multiprocessing.Pipe()
        self.piece = -1
        self._process = process(target=_work, args=(theirs, pieces, plan), daemon=True)
        self._process.start()
        theirs.close()

    def give(self, piece: int) -> None:
        self.piece = piece
        self.connection.send(piece)

    def take(self) -> Batch:
        try:
            found = self.connection.recv()
        except (EOFError, ConnectionError):
            self._process.join(1)
            raise RuntimeError(f"a scanning process ended with {self._process.exitcode}") from None
        if isinstance(found, BaseException):
            raise found
        if not isinstance(found, Batch):
            raise TypeError(f"a scanning process sent {type(found).__name__}")
        return found

    def stop(self) -> None:
        # A worker keeps nothing that a sudden end could lose, and its pipe's end would not be heard: the
        # workers that were started later hold it open too.
        self.connection.close()
        self._process.terminate()
        self._process.join()


def _work(connection: Connection, pieces: Sequence[Source], plan: Plan) -> None:
    """The life of a worker: pieces by number, until the parent goes away."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent is interrupted, and ends us
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    with suppress(EOFError, ConnectionError):
        try:
            matcher, sieve = plan.engine()
            while True:
                number = connection.recv()
                for batch in _piece(number, pieces[number], plan, matcher, sieve):
                    connection.send(batch)
        except (EOFError, ConnectionError):
            raise
        except (IndiciaError, RuntimeError, ValueError, TypeError, MemoryError, OSError) as error:
            connection.send(error)
    os._exit(0)


def _in_order(team: Sequence[_Worker], count: int) -> Iterator[Batch]:
    """Batches by the order of their pieces; of later pieces a bounded number waits."""
    waiting: dict[int, deque[Batch]] = {}
    given = turn = held = 0
    for worker in team:
        if given < count:
            worker.give(given)
            given += 1
    while turn < count:
        while waiting.get(turn):
            batch = waiting[turn].popleft()
            held -= 1
            yield batch
            if batch.last:
                del waiting[turn]
                turn += 1
        if turn == count:
            return
        # Who works on the piece whose turn it is is always heard; the others while there is room.
        heard = [one for one in team if one.piece == turn or (one.piece > turn and held < AHEAD)]
        for ready in wait([one.connection for one in heard]):
            worker = next(one for one in heard if one.connection is ready)
            batch = worker.take()
            waiting.setdefault(batch.piece, deque()).append(batch)
            held += 1
            if batch.last:
                worker.piece = -1
                if given < count:
                    worker.give(given)
                    given += 1
