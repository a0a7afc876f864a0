"""Sources that never end meet a live index: what is detected is in the store, then it is noted how far it is.

A source is a path (a file or a folder, `file:` may stand before it), `-` (standard input), or an address that
listens (`live.syslog`). For files the place is on the disk
(`FOLDER/<digest of the path>.json`) after what came before it is in the store, so a kill at any moment
repeats some events and loses none; repeated ones have the same ids, so the effect is that of an undisturbed
run.
"""

from __future__ import annotations

import json
import logging
import os
import queue
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from hashlib import blake2b
from pathlib import Path
from typing import Protocol

from indicia import telemetry
from indicia.detect import detect
from indicia.errors import InputError, StoreError
from indicia.live.blocks import last_line
from indicia.live.following import Following
from indicia.live.growing import CHUNK, Growing, Mark, is_rotated
from indicia.live.kafka import Kafka
from indicia.live.pieces import Piece
from indicia.live.syslog import Own, Syslog, listen
from indicia.model import Alert, Detection
from indicia.store import Recorded
from indicia.telemetry import Malformed, Selection

LOG = logging.getLogger("indicia.watch")
PAUSE = 0.1
"""Seconds between two looks at sources of which nothing came."""
EVERY = 1.0
"""Seconds between two notes of how far it is, and between two looks for new files of a folder."""
AGAIN = 1.0
"""Seconds between two tries to record while the store is away."""
BATCH = 2000
"""Detections of one transaction."""
_AHEAD = 4
"""Blocks of standard input that are read before they are looked at."""


class Watched(Protocol):
    """A source."""

    def pieces(self) -> Iterator[Piece]:
        """What has come since; a piece counts as kept when the next one is asked for."""
        ...

    def close(self) -> None:
        """Let go of it."""
        ...


@dataclass(slots=True)
class Seen:
    """What a watch has done so far."""

    events: int = 0
    malformed: int = 0
    detections: int = 0
    alerts: int = 0
    dead: int = 0
    """Messages that went to a dead-letter topic."""


def _there() -> None:
    """Whoever watches is not to end."""


def _none(_host: str) -> tuple[Path, Path]:
    raise InputError("needs certificate and key: syslog+tls://HOST:PORT?certificate=FILE&key=FILE")


@dataclass
class Watch:
    """Some sources and where they are matched; for one thread."""

    live: Following
    sources: Sequence[str]
    marks: Path
    opened: Callable[[Alert], None] = lambda _alert: None
    """Hears of every alert that is opened or reopened."""
    malformed: Callable[[Malformed], None] = lambda _what: None
    own: Own = _none
    """The home's certificate and key, for `syslog+tls:`."""
    must_be: Callable[[], object] = _there
    """Raises NotFound where the tenant was deleted: nothing would be matched any more."""
    seen: Seen = field(default_factory=Seen)
    _found: dict[str, Watched] = field(default_factory=dict)
    _folders: list[Path] = field(default_factory=list)
    _noted: dict[str, Mark | None] = field(default_factory=dict)
    _waiting: list[Detection] = field(default_factory=list)
    _stopped: threading.Event = field(default_factory=threading.Event)

    def run(self, stopped: threading.Event, idle: float | None = None) -> None:
        """Watch until stopped, or until nothing has come for `idle` seconds.

        Raises InputError for a source that there cannot be, StoreError where nothing can be recorded and
        waiting is no remedy, NotFound where the tenant is no more.
        """
        self._stopped = stopped
        self._begin()
        looked = noted = came = time.monotonic()
        try:
            while not stopped.is_set():
                if self._round(stopped):
                    came = time.monotonic()
                elif idle is not None and time.monotonic() - came >= idle:
                    break
                else:
                    stopped.wait(PAUSE)
                if time.monotonic() - noted >= EVERY:
                    noted = time.monotonic()
                    self._note()
                if time.monotonic() - looked >= EVERY:
                    looked = time.monotonic()
                    self._look()
            self._drain()
            self._note()
        finally:
            for one in self._found.values():
                one.close()
                self.seen.dead += one.dead if isinstance(one, Kafka) else 0

    def _drain(self) -> None:
        """Match what was received and cannot be asked for again."""
        for one in self._found.values():
            if isinstance(one, Syslog):
                one.close()
                for piece in one.pieces():
                    self._match(piece)

    def _begin(self) -> None:
        self.marks.mkdir(mode=0o700, parents=True, exist_ok=True)
        for given in self.sources:
            if given == "-":
                self._found[given] = _Stdin()
            elif given.startswith("syslog+"):
                self._found[given] = listen(given, self.own)
            elif given.startswith(("kafka://", "kafka+tls://")):
                self._found[given] = Kafka(given, self._record, self._refused)
            elif "://" in given and not given.startswith("file://"):
                raise InputError(
                    "is no source; there are paths, -, syslog+udp://, syslog+tcp://, syslog+tls://, kafka://"
                    " and kafka+tls://",
                    place=given,
                )
            else:
                self._add_path(Path(given.removeprefix("file://").removeprefix("file:")).absolute())
        self._look()

    def _add_path(self, path: Path) -> None:
        if path.is_dir():
            self._folders.append(path)
        elif path.parent.is_dir():
            self._follow(path)
        else:
            raise InputError("there is no such file or folder", place=str(path))

    def _look(self) -> None:
        with suppress(StoreError):  # away; next time
            self.must_be()
        for folder in self._folders:
            for place, folders, names in os.walk(folder):
                folders[:] = [name for name in folders if not name.startswith(".")]
                for name in sorted(names):
                    path = Path(place, name)
                    if not name.startswith(".") and path.is_file() and not is_rotated(path):
                        self._follow(path)

    def _follow(self, path: Path) -> None:
        name = str(path)
        if name not in self._found:
            self._noted[name] = mark = self._mark(name)
            self._found[name] = one = Growing(path, mark)
            if mark is None:
                # At once: what is rotated from now on is known as ours, whenever this is killed.
                one.begin()
                self._write(name, one.mark)

    def _round(self, stopped: threading.Event) -> bool:
        """What came of every source; whether anything did."""
        came = False
        for one in list(self._found.values()):
            for piece in one.pieces():
                came = True
                self._match(piece)
                if stopped.is_set():
                    # Asked for no more, so this piece is not noted; it comes again.
                    break
        self._record()
        return came

    def _match(self, piece: Piece) -> None:
        matcher, sieve = self.live.view.engine()
        before, made, bad = self.seen.events, 0, 0

        def malformed(what: Malformed) -> None:
            nonlocal bad
            if piece.refused is not None and what.line > 0:
                piece.refused(what.line, what.reason)
                return
            bad += 1
            self.malformed(Malformed(what.source, piece.line(what.line), what.reason))

        selection = Selection(sieve, self._pass_over) if sieve is not None else None
        for event in telemetry.events(piece.source, malformed=malformed, selection=selection):
            self.seen.events += 1
            found = detect(event, matcher, self.live.tenant.uid)
            if found:
                made += len(found)
                line = piece.line(event.line)
                self._waiting += [replace(one, line=line) for one in found]
                if len(self._waiting) >= BATCH:
                    self._record()
        self.seen.malformed += bad
        tail = last_line(piece.data)
        last = replace(piece, data=tail).source if tail else None
        self.live.arrivals.came(piece.name, last, self.seen.events - before, bad, made)

    def _refused(self, name: str, words: str | None) -> None:
        """A source says that something is no event; with words where nobody else is told."""
        self.seen.malformed += 1
        self.live.arrivals.came(name, None, 0, 1, 0)
        if words is not None:
            self.malformed(Malformed(name, 0, words))

    def _pass_over(self, count: int) -> None:
        self.seen.events += count

    def _record(self) -> None:
        if self._waiting:
            recorded = self._kept()
            # Not before: sources may ask once more before they say how far they are.
            self._waiting = []
            self.seen.detections += recorded.new_detections
            self.seen.alerts += recorded.new_alerts
            for alert in (*recorded.opened, *recorded.reopened):
                self.opened(alert)

    def _kept(self) -> Recorded:
        """What the store made of what was detected, when it takes it; while it is away sources wait."""
        told = False
        while True:
            try:
                recorded = self.live.tenant.record(self._waiting)
            except StoreError as error:
                if error.retry_after is None or self._stopped.is_set():
                    raise
                if not told:
                    LOG.warning("what was detected waits: %s", error)
                told = True
                self._stopped.wait(AGAIN)
            else:
                if told:
                    LOG.warning("what was detected is in the store")
                return recorded

    def _note(self) -> None:
        """Put on the disk how far files are; what came before is in the store."""
        self._record()
        for name, one in self._found.items():
            if isinstance(one, Growing) and one.mark != self._noted.get(name):
                self._noted[name] = one.mark
                self._write(name, one.mark)
            elif isinstance(one, Kafka):
                one.keep()
                self.live.arrivals.behind(one.name, one.lag.behind)

    def _place(self, name: str) -> Path:
        whole = f"{self.live.tenant.uid}\0{name}".encode("utf-8", "surrogateescape")
        return self.marks / f"{blake2b(whole, digest_size=16).hexdigest()}.json"

    def _write(self, name: str, mark: Mark | None) -> None:
        content = {"path": name, "mark": asdict(mark) if mark is not None else None}
        place = self._place(name)
        fresh = place.with_suffix(".new")
        with fresh.open("w", encoding="utf-8", errors="surrogateescape") as file:
            json.dump(content, file, ensure_ascii=True)
            file.flush()
            os.fsync(file.fileno())
        fresh.replace(place)

    def _mark(self, name: str) -> Mark | None:
        """Where an earlier run was; None where there was none, or its note cannot be read."""
        try:
            found = json.loads(self._place(name).read_text("utf-8"))["mark"]
            return Mark(**found) if found is not None else None
        except (OSError, ValueError, KeyError, TypeError):
            return None


class _Stdin:
    """`-` standard input, read in a thread: lines as they come. What was read is gone when this is killed."""

    def __init__(self) -> None:
        self._found: queue.Queue[bytes] = queue.Queue(_AHEAD)
        self._lines = 0
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        # Not by sys.stdin, whose lock this thread would hold when the interpreter ends: it aborts then.
        rest = bytearray()
        while data := os.read(0, CHUNK):
            rest += data
            cut = rest.rfind(b"\n") + 1 or (len(rest) if len(rest) >= CHUNK else 0)
            if cut:
                self._found.put(bytes(rest[:cut]))
                del rest[:cut]
        if rest:
            self._found.put(bytes(rest))

    def pieces(self) -> Iterator[Piece]:
        """What has come since."""
        while not self._found.empty():
            data = self._found.get()
            yield Piece("-", data, lines=self._lines)
            self._lines += data.count(b"\n")

    def close(self) -> None:
        """Nothing is held."""
