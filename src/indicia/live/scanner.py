"""The process of one scan of `live.scans`: by the same road as `indicia scan`, within bounds.

    python -m indicia.live.scanner STORE HOME TENANT FOLDER        it lives while standard input is open

RUNNING of them work at once in a home, the others wait. What is looked for is what is in force: the live
index that the service has made, brought up to date from the store.
"""

from __future__ import annotations

import fcntl
import heapq
import os
import resource
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from types import FrameType
from typing import BinaryIO

import msgspec

from indicia import road, telemetry
from indicia.errors import IndiciaError, InputError, MissingExtra
from indicia.live import compiled
from indicia.live.following import Following
from indicia.live.scans import Asked, Fault, Found, FoundAlert, Phase, Piece, State, asked_of, write
from indicia.live.view import View
from indicia.model import Actor, Alert, Detection, Quotas, Severity, Through
from indicia.scanning import Engine
from indicia.store import Store, TenantStore
from indicia.telemetry import Malformed, Source

RUNNING = 2
SECONDS = 3600
"""Of one scan, without its waiting."""
MEMORY = 2 * 1024**3
"""Bytes; the index, which is a file, aside."""
SMALL = 16 * 1024 * 1024
"""Bytes up to which every line is parsed, and so every malformed one told, as `indicia scan` does."""
PER_INDICATOR = 10_000
"""Detections of one indicator; further ones are withheld: counted, neither told nor recorded."""
LISTED = 20_000
"""Detections that are told one by one."""
ALERTS = 200
"""Alerts that are told one by one."""
FAULTS = 100
TEXT = 300
"""Characters of a text from the file that are kept."""
EVERY = 0.3
"""Seconds between two writings of the state."""
PAUSE = 0.2
NICENESS = 5
_ORDER = {severity: at for at, severity in enumerate(Severity)}


class Scanner:
    """One scan."""

    def __init__(self, folder: Path, asked: Asked, tenant: TenantStore, indexes: Path, url: str) -> None:
        self._folder = folder
        self._asked = asked
        self._tenant = tenant
        self._indexes = indexes
        self._url = url
        self._done = road.Scanned()
        self._state = State(total=asked.size)
        self._faults: list[Fault] = []
        self._listed = 0
        self._read = 0
        self._told = 0.0
        self._pause = EVERY
        self._late = False

    def run(self) -> None:
        """Scan, and say in the end how it ended; never raises."""
        self._put(phase=Phase.RUNNING, began_at=datetime.now(UTC))
        try:
            with (self._folder / "found.ndjson").open("wb") as file:
                self._scan(file)
            self._end(Phase.DONE)
        except KeyboardInterrupt:
            if self._late:
                self._end(
                    Phase.FAILED, f"it took longer than {SECONDS // 60} minutes; scan a part of the file"
                )
            else:
                self._end(Phase.CANCELLED)
        except IndiciaError as error:
            self._end(Phase.FAILED, error.message)
        except MemoryError:
            self._done.alerts.clear()
            self._end(Phase.FAILED, "it needed more memory than a scan may have; scan a part of the file")
        except OSError as error:
            self._end(Phase.FAILED, f"the disk of the service: {error.strerror or error}")
        except Exception as error:
            self._end(Phase.FAILED, f"an unforeseen error ({type(error).__name__}); please report it")

    def cancelled(self) -> None:
        """It was cancelled before it began."""
        self._end(Phase.CANCELLED)

    def too_late(self, _number: int, _frame: FrameType | None) -> None:
        """Its time is over."""
        self._late = True
        raise KeyboardInterrupt

    def stop_if_asked(self) -> None:
        """Raise KeyboardInterrupt where somebody has had enough, or the scan was deleted."""
        if (self._folder / "cancel").exists() or not self._folder.exists():
            raise KeyboardInterrupt

    def _scan(self, file: BinaryIO) -> None:
        asked, tenant = self._asked, self._tenant
        live = Following(tenant, self._indexes, lambda: compiled.make_apart(self._url, tenant, self._indexes))
        view = live.view
        sources = self._sources()
        self._put(generation=view.generation, total=sum(source.size or 0 for source in sources))
        job = road.ScanJob(
            sources,
            _engine(view, parse_all=sum(source.size or 0 for source in sources) <= SMALL),
            tenant=tenant.uid,
            store=tenant.acting(Actor(asked.by, Through.PORTAL)) if asked.record else None,
            limit=PER_INDICATOR,
            over=tenant.allow_lists.allowance().over,
        )
        watch = road.ScanWatch(
            detection=lambda detection: self._detected(detection, file),
            malformed=self._malformed,
            unreadable=self._unreadable,
            progress=self._moved,
        )
        road.scan(job, watch, self._done)
        file.flush()

    def _sources(self) -> list[Source]:
        """The file under the name that its sender gave it, an archive as its members."""
        path = str(self._folder / "upload")
        return [
            replace(source, name=source.name.replace(path, self._asked.name, 1))
            for source in telemetry.sources([path])
        ]

    def _detected(self, detection: Detection, file: BinaryIO) -> None:
        if self._listed < LISTED:
            file.write(msgspec.json.encode(_found(detection)) + b"\n")
            self._listed += 1
        self._tell(file)

    def _malformed(self, what: Malformed) -> None:
        if len(self._faults) < FAULTS:
            self._faults.append(Fault(_cut(what.source), what.line, _cut(what.reason)))

    def _unreadable(self, error: InputError | MissingExtra) -> None:
        if len(self._faults) < FAULTS:
            self._faults.append(Fault(_cut(error.place or self._asked.name), 0, _cut(error.message)))

    def _moved(self, read: int, _events: int) -> None:
        self._read += read
        self._tell(None)

    def _tell(self, file: BinaryIO | None) -> None:
        """Write how far it is, now and then."""
        now = time.monotonic()
        if now - self._told < self._pause:
            return
        self.stop_if_asked()
        if file is not None:
            file.flush()
        self._put()
        self._told = time.monotonic()
        # Alerts may be many, and then to sort them takes its time.
        self._pause = max(EVERY, 10 * (self._told - now))

    def _put(self, **changes: object) -> None:
        done = self._done
        counts = {name: getattr(done, name) for name in _COUNTS}
        self._state = replace(
            self._state,
            read=min(self._read, self._state.total),
            listed=self._listed,
            alert_count=len(done.alerts),
            alerts=_gravest(done.alerts),
            faults=list(self._faults),
            **counts,
            **changes,  # type: ignore[arg-type]
        )
        if self._folder.exists():
            write(self._folder / "state.json", self._state)

    def _end(self, phase: Phase, fault: str = "") -> None:
        signal.setitimer(signal.ITIMER_REAL, 0)
        if phase is Phase.DONE:
            self._read = self._state.total
        with suppress(OSError):  # it may be deleted by now
            self._put(fault=_cut(fault))
            stored = (
                self._tenant.alerts_by_id([one.id for one in self._state.alerts])
                if self._asked.record
                else {}
            )
            shown = [_as_stored(one, stored.get(one.id)) for one in self._state.alerts]
            self._state = replace(self._state, alerts=shown, phase=phase, ended_at=datetime.now(UTC))
            write(self._folder / "state.json", self._state)


_COUNTS = (
    "events",
    "malformed",
    "raising",
    "silent",
    "withheld",
    "unreadable",
    "damaged",
    "recorded",
    "opened",
    "reopened",
)
"""Of what a scan counts those that its state has by the same name."""


def _engine(view: View, *, parse_all: bool) -> Engine:
    """The matcher of a view, and its sieve unless everything is to be parsed."""
    if parse_all:
        return lambda: (view.engine()[0], None)
    return view.engine


def _found(detection: Detection) -> Found:
    indicator = detection.indicator
    return Found(
        detection.id,
        detection.alert_id,
        indicator.definition.severity,
        indicator.definition.name,
        _cut(detection.machine),
        indicator.type,
        indicator.function,
        _cut(indicator.value),
        detection.raises,
        _cut(detection.source),
        detection.line,
        detection.event_time,
        [Piece(_cut(one.path), one.role, _cut(one.matched)) for one in detection.evidence[:10]],
        [_cut(one) for one in detection.allow_lists[:5]],
    )


def _gravest(alerts: dict[str, Alert]) -> list[FoundAlert]:
    chosen = heapq.nsmallest(
        ALERTS,
        alerts.values(),
        key=lambda one: (-_ORDER[one.definition.severity], -one.detection_count, one.id),
    )
    return [
        FoundAlert(
            one.id,
            one.definition.severity,
            one.definition.name,
            one.definition.title,
            _cut(one.machine),
            one.first_seen,
            one.last_seen,
            one.detection_count,
            [_cut(value) for value in one.indicators],
        )
        for one in chosen
    ]


def _as_stored(one: FoundAlert, stored: Alert | None) -> FoundAlert:
    return one if stored is None else replace(one, number=stored.number, status=stored.status)


def _cut(text: str) -> str:
    """Short enough to be kept, and what JSON can hold."""
    whole = text if len(text) <= TEXT else f"{text[:TEXT]}…"
    return whole.encode("utf-8", "replace").decode()


@contextmanager
def _turn(folder: Path, scanner: Scanner) -> Iterator[None]:
    """Wait for one of the places of those that run; KeyboardInterrupt where it is cancelled meanwhile."""
    while True:
        scanner.stop_if_asked()
        for number in range(RUNNING):
            with (folder / f"place-{number}").open("ab") as file:
                try:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except OSError:
                    continue
                yield
                return
        time.sleep(PAUSE)


def _end_with(parent: BinaryIO) -> None:
    """End this process when the service goes away."""
    parent.read()
    os._exit(1)


def _bound() -> None:
    with suppress(OSError, ValueError):
        os.nice(NICENESS)
        resource.setrlimit(resource.RLIMIT_DATA, (MEMORY, MEMORY))
        # For what no signal of Python's interrupts.
        resource.setrlimit(resource.RLIMIT_CPU, (SECONDS + 60, SECONDS + 60))


def main(arguments: list[str]) -> int:
    """Run a scan: store, home, tenant and folder are given."""
    url, home, tenant, folder = arguments
    threading.Thread(target=_end_with, args=(sys.stdin.buffer,), daemon=True).start()
    _bound()
    place = Path(folder)
    asked = asked_of(place)
    quotas = Quotas(alerts_per_hour=asked.alerts_per_hour)
    with Store.open(url, create=False, quotas=quotas) as store:
        scanner = Scanner(place, asked, store.tenant(tenant), Path(home, "indexes"), url)
        try:
            with _turn(place.parent.parent, scanner):
                signal.signal(signal.SIGALRM, scanner.too_late)
                signal.setitimer(signal.ITIMER_REAL, SECONDS)
                scanner.run()
        except KeyboardInterrupt:
            scanner.cancelled()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
