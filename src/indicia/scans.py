"""One scan: what is asked for, who hears of it, what is counted, and the run that keeps all of it together.

A run takes batches of detections as they come. Each id counts once; what is told is recorded in the store and
noted in the journal, in this order, so that a scan may end at any moment, and another goes on with it.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from indicia import identity, journal, scanning, telemetry, triage
from indicia.detect import Once
from indicia.errors import InputError, MissingExtra
from indicia.journal import Found, Journal
from indicia.model import Alert, Detection, Event, Severity
from indicia.telemetry import Change, Malformed, Source

if TYPE_CHECKING:  # a scan without a store does not load one
    from indicia.store import TenantStore

BATCH = 2000
"""Detections of one transaction."""
EVERY = 1.0
"""Seconds between two lines of a journal, at the least."""


def _nobody(_what: object) -> None:
    """Hears it."""


def _as_it_is(detection: Detection) -> Detection:
    """There are no allow-lists."""
    return detection


def _no_step(_read: int, _events: int) -> None:
    """Hears how far it is."""


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
    over: Callable[[Detection], Detection] = _as_it_is
    """How allow-lists have a detection kept: it is told and counted so; the store sees to that itself."""


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


class Run:
    """One run of a scan, possibly the last of several."""

    def __init__(self, job: ScanJob, watch: ScanWatch, done: Scanned) -> None:
        self._job, self._watch, self._done = job, watch, done
        self._pieces: list[Source] = []
        self._once = Once()
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

    def begin(self) -> tuple[list[Source], dict[int, int]]:
        """The pieces of all sources; the numbers of those that earlier runs have done, with their lines."""
        self._cut()
        return self._pieces, self._go_on()

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
            self._once.note(one.id, one.raises or one.silenced)
            self._count(one)
            if one.raises and not one.withheld:
                done.earlier[one.alert_id] = one.severity
        before.found.clear()
        for name in (*_TALLY, *_STORED):
            setattr(done, name, before.tally.get(name, 0))
        self._tally = {name: getattr(done, name) for name in _TALLY}
        keys = ((number, journal.key_of(piece)) for number, piece in enumerate(self._pieces))
        return {number: before.pieces[key] for number, key in keys if key in before.pieces}

    def take(self, batch: scanning.Batch) -> None:
        """What comes of a piece next."""
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
            self.keep()

    def _detected(self, detection: Detection) -> None:
        """One detection; each id counts once."""
        if not self._once.is_new(detection):
            return
        shown = self._job.over(detection)
        owner, limit = detection.indicator.definition, self._job.limit
        indicator = "" if limit is None else _limited(detection)
        withheld = limit is not None and self._counts[indicator] >= limit
        found = Found(
            detection.id,
            detection.alert_id,
            owner.severity,
            shown.raises,
            withheld,
            indicator,
            shown.raises is not detection.raises,
        )
        self._count(found)
        if self._job.journal is not None:
            self._found.append(found)
        if withheld:
            return
        if shown.raises:
            before = self._done.alerts.get(shown.alert_id)
            self._done.alerts[shown.alert_id] = triage.merge(before, shown)
        # First, because who is told may be where an interrupt or a closed pipe arrives.
        if self._job.store is not None:
            self._waiting.append(detection)
        self._watch.detection(shown)
        if len(self._waiting) >= BATCH:
            self.record()

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

    def record(self) -> None:
        """Put into the store what waits for it."""
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

    def keep(self) -> None:
        """Put on the disk what was found, then note it."""
        self.record()
        self._last = time.monotonic()
        if self._job.journal is None or not (self._found or self._finished):
            return
        place = self._job.place()
        tally = self._tally | {name: getattr(self._done, name) for name in _STORED}
        self._job.journal.keep(journal.Line(self._finished, tuple(self._found), tally, place))
        self._finished, self._found = {}, []

    def end(self) -> None:
        """Every source is read, and all is kept."""
        if self._job.journal is not None:
            self._job.journal.end()


def _limited(detection: Detection) -> str:
    """By which a limit counts: an indicator of a definition, and whether it raises."""
    found = detection.indicator
    parts = (found.definition.uid, found.type, found.function, found.canonical, str(detection.raises))
    return identity.digest(parts)[:16]
