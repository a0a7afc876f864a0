"""The road on one page: what comes in, what it meets, what comes out.

    indicators                                        telemetry
    feeds.read ─► feeds.make                          telemetry.sources ─► telemetry.events
        │ rows        │ indicators                                             │ events
        ▼             ▼                                                        ▼
    load ───────► store ──── matchable ─► matcher ─────────────────────► detect.detect
                    ▲                                                          │ detections
                    └──────────────── store.record ◄── batches ◄───────────────┤
                       (triage: detections become alerts)                      ▼
                                                                    triage.merge ─► the scan's alerts

`load` brings a file of indicators into the store, `scan` takes telemetry to the matcher. Both tell a Watch
what happens while it happens, fill a tally as they go, and may be interrupted at any moment: what the tally
says is done is done, and doing it again changes nothing.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from indicia import feeds, identity, journal, scanning, telemetry, triage
from indicia.errors import InputError, InvalidValue, MissingExtra
from indicia.feeds import FeedFault, make
from indicia.journal import Found, Journal
from indicia.model import Alert, AlertDefinition, Detection, Event, Indicator, Severity
from indicia.telemetry import Change, Malformed, Source

if TYPE_CHECKING:  # a scan without a store does not load one
    from indicia.store import ImportState, TenantStore

BATCH = 2000
"""Detections of one transaction."""
EVERY = 1.0
"""Seconds between two lines of a journal, at the least."""


def _nobody(_what: object) -> None:
    """Hears it."""


def _no_step(_read: int, _events: int) -> None:
    """Hears how far it is."""


# Telemetry


@dataclass(frozen=True, slots=True)
class ScanJob:
    """What is scanned, and for what."""

    sources: Sequence[Source]
    engine: scanning.Engine
    """Makes the matcher, and the sieve where not everything is to be parsed."""
    schema: str | None = None
    """One for all of the sources; None: each event is recognised."""
    tenant: str = ""
    """The uid that goes into ids; empty where there are no tenants."""
    store: TenantStore | None = None
    """Where detections and alerts are kept; None: nowhere."""
    workers: int = 1
    """Processes that read."""
    keep: Callable[[Event], bool] | None = None
    """Which events count; None: all."""
    limit: int | None = None
    """Detections of one indicator, silent ones apart from those that raise; further ones are withheld."""
    journal: Journal | None = None
    """Where is noted how far it came; one of an earlier run says where to go on."""
    place: Callable[[], int] = lambda: 0
    """Puts what `ScanWatch.detection` heard on the disk, and says how many bytes of its file that makes."""


@dataclass(frozen=True, slots=True)
class ScanWatch:
    """Who hears what; by default nobody."""

    detection: Callable[[Detection], None] = _nobody
    malformed: Callable[[Malformed], None] = _nobody
    """Of each batch the first ones (scanning.LISTED); all are counted."""
    unreadable: Callable[[InputError | MissingExtra], None] = _nobody
    changed: Callable[[Source, Change], None] = lambda _source, _change: None
    """A file that was written to while it was read."""
    progress: Callable[[int, int], None] = _no_step
    """Bytes read from the disk, and events, since the last call: at once, before anything comes of them."""


@dataclass(slots=True)
class Scanned:
    """What a scan has done so far, in all of its runs where it was interrupted."""

    sources: int = 0
    """Read to their end."""
    events: int = 0
    malformed: int = 0
    unreadable: int = 0
    """Sources that could not be read at all."""
    damaged: int = 0
    """Sources that break off or are damaged in part: what could be read of them was."""
    changed: int = 0
    """Sources that were rewritten, cut or replaced while they were read."""
    grown: int = 0
    """Sources of which only the part was read that was there when the scan began."""
    outside: int = 0
    """Events that met an indicator and that `ScanJob.keep` left out."""
    timeless: int = 0
    """Events that met an indicator, have no usable time, and were kept."""
    raising: int = 0
    """Detections that raise, each id once."""
    silent: int = 0
    withheld: int = 0
    """Detections beyond the limit of their indicator: neither told nor stored."""
    alerts: dict[str, Alert] = field(default_factory=dict)
    """Alerts by id, as this run alone makes them."""
    earlier: dict[str, Severity] = field(default_factory=dict)
    """Alerts of the runs before, by id."""
    recorded: int = 0
    """Detections that the store did not have."""
    opened: int = 0
    reopened: int = 0

    @property
    def alert_ids(self) -> set[str]:
        """The alerts of all runs."""
        return {*self.alerts, *self.earlier}

    @property
    def severities(self) -> set[Severity]:
        """Of all alerts."""
        return {*self.earlier.values(), *(alert.definition.severity for alert in self.alerts.values())}


_TALLY = ("sources", "events", "malformed", "damaged", "outside", "timeless")
"""What counts up to the last piece that is done. A file that changed is read anew by another run."""
_STORED = ("recorded", "opened", "reopened")
"""What counts up to the last commit."""


def scan(job: ScanJob, watch: ScanWatch, done: Scanned) -> None:
    """Read every source, tell of every detection, keep them in the store where there is one.

    A source that cannot be read is told and left out. Raises InputError for an unknown schema, StoreError
    where the store fails; however it ends, what was detected before is recorded. With a journal of an
    earlier run what that run kept is neither read nor told again.
    """
    if job.schema is not None and job.schema not in telemetry.schemas():
        known = ", ".join(sorted(telemetry.schemas()))
        raise InputError(f"there is no schema {job.schema!r}; known: {known}")
    _Scan(job, watch, done).run()


class _Scan:
    """One run."""

    def __init__(self, job: ScanJob, watch: ScanWatch, done: Scanned) -> None:
        self._job, self._watch, self._done = job, watch, done
        self._pieces: list[Source] = []
        self._seen: dict[bytes, bool] = {}
        """Of the id of each detection that there was, whether it raised; a few dozen bytes each."""
        self._counts: Counter[str] = Counter()
        """Of each indicator, how many detections were told."""
        self._waiting: list[Detection] = []
        """To be recorded."""
        self._found: list[Found] = []
        """To be noted."""
        self._finished: dict[journal.Key, int] = {}
        """Pieces to be noted, with their lines."""
        self._tally: dict[str, int] = {}
        """As it stood behind the last piece that is done."""
        self._last = time.monotonic()
        self._fault: InputError | MissingExtra | None = None
        """Of the file that is being read."""
        self._damaged = False
        """Whether that file is known not to be whole."""

    def run(self) -> None:
        self._cut()
        ready = self._go_on()
        plan = scanning.Plan(self._job.engine, self._job.schema, self._job.tenant, self._job.keep)
        found = scanning.scan(self._pieces, plan, self._job.workers, done=ready, moved=self._watch.progress)
        try:
            with closing(found) as batches:
                for batch in batches:
                    self._take(batch)
            self._keep()
        finally:
            # What was told and is not kept yet: after an interrupt, or a fault.
            self._record()
        if self._job.journal is not None:
            self._job.journal.end()

    def _cut(self) -> None:
        for source in self._job.sources:
            try:
                self._pieces += telemetry.pieces(source)
            except InputError as error:
                self._done.unreadable += 1
                self._watch.unreadable(error)

    def _go_on(self) -> dict[int, int]:
        """What earlier runs kept; the numbers of the pieces that are done, with their lines."""
        before, done = self._job.journal, self._done
        if before is None:
            return {}
        for one in before.found:
            self._seen[bytes.fromhex(one.id)] = one.raises
            self._count(one)
            if one.raises and not one.withheld:
                done.earlier[one.alert_id] = one.severity
        before.found.clear()
        for name in (*_TALLY, *_STORED):
            setattr(done, name, before.tally.get(name, 0))
        self._tally = {name: getattr(done, name) for name in _TALLY}
        keys = ((number, journal.key_of(piece)) for number, piece in enumerate(self._pieces))
        return {number: before.pieces[key] for number, key in keys if key in before.pieces}

    def _take(self, batch: scanning.Batch) -> None:
        done, watch = self._done, self._watch
        done.events += batch.events
        done.malformed += len(batch.malformed) + batch.unlisted
        done.outside += batch.outside
        done.timeless += batch.timeless
        if batch.damaged and not self._damaged:
            self._damaged = True
            done.damaged += 1
        for what in batch.malformed:
            watch.malformed(what)
        for detection in batch.detections:
            self._detected(detection)
        self._fault = self._fault or batch.fault
        if batch.last:
            self._end(batch)
        if self._job.journal is not None and time.monotonic() - self._last >= EVERY:
            self._keep()

    def _detected(self, detection: Detection) -> None:
        """One detection: each id counts once, the first that raises, else the first."""
        key = bytes.fromhex(detection.id)
        if self._seen.get(key, False) or (key in self._seen and not detection.raises):
            return
        self._seen[key] = detection.raises
        owner, limit = detection.indicator.definition, self._job.limit
        indicator = "" if limit is None else _limited(detection)
        withheld = limit is not None and self._counts[indicator] >= limit
        found = Found(detection.id, detection.alert_id, owner.severity, detection.raises, withheld, indicator)
        self._count(found)
        if self._job.journal is not None:
            self._found.append(found)
        if withheld:
            return
        if detection.raises:
            before = self._done.alerts.get(detection.alert_id)
            self._done.alerts[detection.alert_id] = triage.merge(before, detection)
        # First, because who is told may be where an interrupt or a closed pipe arrives.
        if self._job.store is not None:
            self._waiting.append(detection)
        self._watch.detection(detection)
        if len(self._waiting) >= BATCH:
            self._record()

    def _count(self, one: Found) -> None:
        if one.withheld:
            self._done.withheld += 1
            return
        self._counts[one.indicator] += 1
        if one.raises:
            self._done.raising += 1
        else:
            self._done.silent += 1

    def _end(self, batch: scanning.Batch) -> None:
        """A piece has ended, and with it perhaps its file."""
        source = self._pieces[batch.piece]
        if self._is_end(batch.piece):
            self._end_of_file(source, batch.change)
        # Behind a fault nothing of a file is done: another run tries it again.
        if self._fault is None and (key := journal.key_of(source)) is not None:
            self._finished[key] = batch.lines
            self._tally = {name: getattr(self._done, name) for name in _TALLY}
        if self._is_end(batch.piece):
            self._fault, self._damaged = None, False

    def _is_end(self, number: int) -> bool:
        """Whether the piece is the last one of its file."""
        return number + 1 == len(self._pieces) or self._pieces[number + 1].start == 0

    def _end_of_file(self, source: Source, change: Change | None) -> None:
        if self._fault is not None:
            self._done.unreadable += 1
            self._watch.unreadable(self._fault)
            return
        self._done.sources += not self._damaged
        if change is not None:
            self._done.grown += change is Change.GREW
            self._done.changed += change is Change.OTHER
            self._watch.changed(source, change)

    def _record(self) -> None:
        # Emptied first: a batch that the store refuses must not be tried again on the way out.
        batch, self._waiting = self._waiting, []
        if self._job.store is None or not batch:
            return
        try:
            recorded = self._job.store.record(batch)
        except KeyboardInterrupt:
            # Not refused: what the interrupt undid is recorded on the way out.
            self._waiting = batch
            raise
        self._done.recorded += recorded.new_detections
        self._done.opened += recorded.new_alerts
        self._done.reopened += len(recorded.reopened)

    def _keep(self) -> None:
        """Put on the disk what was found, then note it."""
        self._record()
        self._last = time.monotonic()
        if self._job.journal is None or not (self._found or self._finished):
            return
        place = self._job.place()
        tally = self._tally | {name: getattr(self._done, name) for name in _STORED}
        self._job.journal.keep(journal.Line(self._finished, tuple(self._found), tally, place))
        self._finished, self._found = {}, []


def _limited(detection: Detection) -> str:
    """By which a limit counts: an indicator of a definition, and whether it raises."""
    found = detection.indicator
    parts = (found.definition.uid, found.type, found.function, found.canonical, str(detection.raises))
    return identity.digest(parts)[:16]


# Indicators


@dataclass(frozen=True, slots=True)
class LoadJob:
    """A file of indicators, and whose they become."""

    path: str
    definition: AlertDefinition
    choice: make.Choice
    format: str | None = None
    key: str = ""
    """By which the same file is known again; with it an interrupted load goes on where it was."""
    by: str = ""


@dataclass(frozen=True, slots=True)
class LoadWatch:
    """Who hears what; by default nobody."""

    fault: Callable[[FeedFault], None] = _nobody
    warning: Callable[[FeedFault], None] = _nobody
    format: Callable[[str], None] = _nobody
    """Which format the file was found to have, where none was named."""
    stored: Callable[[ImportState], None] = _nobody
    """After each batch that is on disk."""
    progress: Callable[[int], None] = _nobody


@dataclass(slots=True)
class Loaded:
    """What a load has done so far."""

    rows: int = 0
    """Rows of the file, good and bad, those skipped too."""
    skipped: int = 0
    """Rows that an earlier, interrupted load had stored already."""
    faults: int = 0
    """Rows that cannot be used; of the skipped ones, too, though nobody hears of those again."""
    warnings: int = 0
    """Of the rows that were not skipped."""
    added: int = 0
    known: int = 0
    """Rows whose indicator the definition had already, or that the file repeats."""
    broken: bool = False
    """The file breaks off: what came before counts."""
    finished: bool = False


def load(job: LoadJob, store: TenantStore, watch: LoadWatch, done: Loaded) -> None:
    """Import a file into a definition, in batches; memory: one batch.

    Raises InputError for a file that cannot be read, QuotaExceeded (the batches before stay), NotFound for
    the definition, StoreError.
    """
    before = store.import_state(job.definition.id, job.key) if job.key else None
    start = 0
    if before is not None and not before.finished:
        # Every row that was read is added, known or at fault, so what is not the first two is the third.
        start = before.position
        done.faults = start - before.added - before.known
    indicators = _indicators(job, watch, done, start)
    batches = store.import_indicators(
        job.definition.id, indicators, job.by, key=job.key, start=start, position=lambda: done.rows
    )
    for state in batches:
        done.added, done.known = state.added, state.known
        watch.stored(state)
    done.finished = True


def check(job: LoadJob, watch: LoadWatch, done: Loaded) -> None:
    """Read the whole file as `load` does, and store nothing."""
    for _ in _indicators(job, watch, done, 0):
        pass
    done.finished = True


def _indicators(job: LoadJob, watch: LoadWatch, done: Loaded, start: int) -> Iterator[Indicator]:
    def breaks_off() -> None:
        done.broken = True

    found = feeds.read(job.path, job.format, watch.progress, broken=breaks_off, taken=watch.format)
    for row in found:
        done.rows += 1
        if done.rows <= start:
            done.skipped += 1
            continue
        if isinstance(row, FeedFault):
            _fault(row, watch, done)
            continue
        try:
            made, warnings = make.indicator(row, job.definition, job.choice)
        except InvalidValue as error:
            _fault(FeedFault(row.line, make.words(error)), watch, done)
            continue
        for warning in warnings:
            done.warnings += 1
            watch.warning(FeedFault(row.line, warning))
        yield made


def _fault(fault: FeedFault, watch: LoadWatch, done: Loaded) -> None:
    done.faults += 1
    watch.fault(fault)
