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

from contextlib import closing
from typing import TYPE_CHECKING

from indicia import loads, scanning, telemetry
from indicia.errors import InputError
from indicia.loads import Loaded, LoadJob, LoadWatch
from indicia.scans import Run, ScanJob, Scanned, ScanWatch

if TYPE_CHECKING:  # a scan without a store does not load one
    from indicia.store import TenantStore

__all__ = ["LoadJob", "LoadWatch", "Loaded", "ScanJob", "ScanWatch", "Scanned", "check", "load", "scan"]


def scan(job: ScanJob, watch: ScanWatch, done: Scanned) -> None:
    """Read every source, tell of every detection, keep them in the store where there is one.

    A source that cannot be read is told and left out. Raises InputError for an unknown schema, StoreError
    where the store fails; however it ends, what was detected before is recorded. With a journal of an
    earlier run what that run kept is neither read nor told again.
    """
    if job.schema is not None and job.schema not in telemetry.schemas():
        known = ", ".join(sorted(telemetry.schemas()))
        raise InputError(f"there is no schema {job.schema!r}; known: {known}")
    run = Run(job, watch, done)
    pieces, ready = run.begin()
    plan = scanning.Plan(job.engine, job.schema, job.tenant, job.keep)
    found = scanning.scan(pieces, plan, job.workers, done=ready, moved=watch.progress)
    try:
        with closing(found) as batches:
            for batch in batches:
                run.take(batch)
        run.keep()
    finally:
        # What was told and is not kept yet: after an interrupt, or a fault.
        run.record()
    run.end()


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
    indicators = loads.indicators(job, watch, done, start)
    batches = store.import_indicators(
        job.definition.id, indicators, job.by, key=job.key, start=start, position=lambda: done.rows
    )
    for state in batches:
        done.added, done.known = state.added, state.known
        watch.stored(state)
    done.finished = True


def check(job: LoadJob, watch: LoadWatch, done: Loaded) -> None:
    """Read the whole file as `load` does, and store nothing."""
    for _ in loads.indicators(job, watch, done, 0):
        pass
    done.finished = True
