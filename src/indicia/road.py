"""The road on one page: what comes in, what it meets, what comes out.

    indicators                                        telemetry
    feeds.read ─► feeds.make                          telemetry.sources ─► telemetry.events
        │ rows        │ indicators                                             │ events
        ▼             ▼                                                        ▼
    load ───────► store ──── matchable ─► matcher ─────────────────────► detect.detect_all
                    ▲                                                          │ detections
                    └──────────────── store.record ◄── batches ◄───────────────┤
                       (triage: detections become alerts)                      ▼
                                                                    triage.merge ─► the scan's alerts

`load` brings a file of indicators into the store, `scan` takes telemetry to the matcher. Both tell a Watch
what happens while it happens, fill a tally as they go, and may be interrupted at any moment: what the tally
says is done is done, and doing it again changes nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field

from indicia import feeds, scanning, telemetry, triage
from indicia.detect import once
from indicia.errors import InputError, InvalidValue
from indicia.feeds import FeedFault, make
from indicia.model import Alert, AlertDefinition, Detection, Event, Indicator
from indicia.store import ImportState, TenantStore
from indicia.telemetry import Malformed, Source

BATCH = 2000
"""Detections of one transaction."""


def _nobody(_what: object) -> None:
    """Hears it."""


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


@dataclass(frozen=True, slots=True)
class ScanWatch:
    """Who hears what; by default nobody."""

    detection: Callable[[Detection], None] = _nobody
    malformed: Callable[[Malformed], None] = _nobody
    unreadable: Callable[[InputError], None] = _nobody
    progress: Callable[[int], None] = _nobody
    """Bytes read from the disk since the last call."""


@dataclass(slots=True)
class Scanned:
    """What a scan has done so far."""

    sources: int = 0
    """Read to their end."""
    events: int = 0
    malformed: int = 0
    unreadable: int = 0
    """Sources that could not be read at all."""
    raising: int = 0
    """Detections that raise, each id once."""
    silent: int = 0
    alerts: dict[str, Alert] = field(default_factory=dict)
    """Alerts by id, as this scan alone makes them."""
    recorded: int = 0
    """Detections that the store did not have."""
    opened: int = 0
    reopened: int = 0


def scan(job: ScanJob, watch: ScanWatch, done: Scanned) -> None:
    """Read every source, tell of every detection, keep them in the store where there is one.

    A source that cannot be read is told and left out. Raises InputError for an unknown schema, StoreError
    where the store fails; however it ends, what was detected before is recorded.
    """
    if job.schema is not None and job.schema not in telemetry.schemas():
        known = ", ".join(sorted(telemetry.schemas()))
        raise InputError(f"there is no schema {job.schema!r}; known: {known}")
    waiting: list[Detection] = []
    try:
        for detection in once(_detections(job, watch, done)):
            _count(detection, done)
            # First, because who is told may be where an interrupt or a closed pipe arrives.
            if job.store is not None:
                waiting.append(detection)
            watch.detection(detection)
            if len(waiting) >= BATCH:
                _record(job, waiting, done)
    finally:
        _record(job, waiting, done)


def _detections(job: ScanJob, watch: ScanWatch, done: Scanned) -> Iterator[Detection]:
    """What the pieces of all sources give, in their order; the rest of each batch is told."""
    pieces: list[Source] = []
    for source in job.sources:
        try:
            pieces += telemetry.pieces(source)
        except InputError as error:
            done.unreadable += 1
            watch.unreadable(error)
    plan = scanning.Plan(job.engine, job.schema, job.tenant, job.keep)
    fault: InputError | None = None
    with closing(scanning.scan(pieces, plan, job.workers)) as batches:
        for batch in batches:
            done.events += batch.events
            done.malformed += len(batch.malformed)
            watch.progress(batch.read)
            for what in batch.malformed:
                watch.malformed(what)
            yield from batch.detections
            fault = fault or batch.fault
            if batch.last and _is_end(pieces, batch.piece):
                _end(fault, batch, pieces[batch.piece], watch, done)
                fault = None


def _is_end(pieces: Sequence[Source], number: int) -> bool:
    """Whether the piece is the last one of its file."""
    return number + 1 == len(pieces) or pieces[number + 1].start == 0


def _end(
    fault: InputError | None, batch: scanning.Batch, source: Source, watch: ScanWatch, done: Scanned
) -> None:
    if fault is not None:
        done.unreadable += 1
        watch.unreadable(fault)
        return
    done.sources += 1
    if batch.changed:
        watch.malformed(Malformed(source.name, 0, "the file changed while it was read; scan it again"))


def _count(detection: Detection, done: Scanned) -> None:
    if not detection.raises:
        done.silent += 1
        return
    done.raising += 1
    done.alerts[detection.alert_id] = triage.merge(done.alerts.get(detection.alert_id), detection)


def _record(job: ScanJob, waiting: list[Detection], done: Scanned) -> None:
    # Emptied first: a batch that the store refuses must not be tried again on the way out.
    batch, waiting[:] = waiting[:], []
    if job.store is not None and batch:
        try:
            recorded = job.store.record(batch)
        except KeyboardInterrupt:
            # Not refused: what the interrupt undid is recorded on the way out.
            waiting[:] = batch
            raise
        done.recorded += recorded.new_detections
        done.opened += recorded.new_alerts
        done.reopened += len(recorded.reopened)


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
    for row in feeds.read(job.path, job.format, watch.progress):
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
