"""One run of `indicia scan`: what it tells while it goes, what it shows at the end, and its exit code."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING

import click

from indicia import road, scanning
from indicia.cli import nouns, outputs, progress
from indicia.cli.faults import Faults
from indicia.cli.show import as_json, counted, say
from indicia.model import Severity
from indicia.telemetry import Change

if TYPE_CHECKING:
    from indicia.cli.matching import Against
    from indicia.cli.saving import Kept
    from indicia.cli.scan import Options
    from indicia.errors import InputError, MissingExtra
    from indicia.scanning import Moved
    from indicia.telemetry import Malformed, Source

RAISED = 1
INPUT = 2
INTERRUPTED = 130


class Run:
    """One scan with what it shows."""

    def __init__(
        self,
        options: Options,
        sources: Sequence[Source],
        against: Against,
        kept: Kept,
        *,
        json_asked: bool,
    ) -> None:
        self._options = options
        self._sources = sources
        self._against = against
        self._kept = kept
        self._tenant = None if options.dry_run else against.tenant
        self._json = json_asked
        self._done = road.Scanned()
        self._malformed = Faults("malformed lines")
        self._unreadable = Faults("files that cannot be read")
        self._changed = Faults("files that were written to while they were read")
        self._start = time.monotonic()

    def run(self) -> int:
        """Scan, show, and the exit code."""
        interrupted = False
        try:
            self._scan()
        except KeyboardInterrupt:
            interrupted = True
        self._malformed.count = self._done.malformed
        for faults in (self._malformed, self._unreadable, self._changed):
            faults.close()
        self._show()
        sys.stdout.flush()
        say(self._summary(interrupted=interrupted))
        for line in self._notes(interrupted=interrupted):
            say(line)
        return INTERRUPTED if interrupted else self._code()

    def _scan(self) -> None:
        options, kept, own = self._options, self._kept, self._against.tenant
        lists = {} if own is None else {"over": own.allow_lists.allowance().over}
        job = road.ScanJob(
            self._sources,
            self._against.engine,
            options.schema,
            self._against.uid,
            self._tenant,
            options.workers or os.cpu_count() or 1,
            scanning.Span(kept.since, kept.until) if kept.since or kept.until else None,
            options.limit,
            kept.journal,
            kept.place,
            **lists,
        )
        header = kept.journal is None or not kept.journal.place
        with self._meter() as moved:
            watch = road.ScanWatch(
                detection=outputs.each_of(options.output, kept.file or sys.stdout, header=header),
                malformed=self._tell_malformed,
                unreadable=self._tell_unreadable,
                changed=self._tell_changed,
                progress=moved,
            )
            road.scan(job, watch, self._done)

    def _meter(self) -> AbstractContextManager[Moved]:
        # A bar and lines of results on one terminal would overwrite each other.
        to_stdout = self._options.output != "table" and self._kept.file is None
        if to_stdout and sys.stdout.isatty():
            return nullcontext(_no_progress)
        sizes = [source.size for source in self._sources]
        total = None if None in sizes else sum(size for size in sizes if size)
        return progress.meter("Scanning", total, lambda: self._done.raising + self._done.silent)

    def _tell_malformed(self, what: Malformed) -> None:
        self._malformed(what.source, what.line, what.reason)

    def _tell_unreadable(self, error: InputError | MissingExtra) -> None:
        self._unreadable(error.place or "", 0, error.message)

    def _tell_changed(self, source: Source, change: Change) -> None:
        size = source.mark[0] if source.mark is not None else 0
        grew = f"grew while it was read; the first {size:,} bytes are scanned, scan it again for the rest"
        other = "was rewritten, cut or replaced while it was read; scan it again"
        self._changed(source.name, 0, grew if change is Change.GREW else other)

    def _show(self) -> None:
        if self._options.output != "table":
            return
        found = list(self._done.alerts.values())
        if self._tenant is not None:
            # As they now stand, with what earlier scans and the service saw.
            stored = self._tenant.alerts_by_id(self._done.alert_ids)
            found = [stored.pop(alert.id, alert) for alert in found]
            found += stored.values()
        if self._json:
            click.echo(as_json([nouns.alert(alert) for alert in found]))
        elif found:
            outputs.alerts(found)

    def _summary(self, *, interrupted: bool) -> str:
        done = self._done
        seconds = time.monotonic() - self._start
        parts = [
            f"{counted(done.events, 'event')} in {done.sources:,} of {counted(len(self._sources), 'file')}",
            f"{counted(done.raising, 'detection')} in {counted(len(done.alert_ids), 'alert')}",
        ]
        parts += [
            counted(number, noun)
            for number, noun in ((done.silent, "silent detection"), (done.malformed, "malformed line"))
            if number
        ]
        if done.unreadable:
            parts.append(f"{counted(done.unreadable, 'file')} not read")
        if done.damaged:
            parts.append(f"{counted(done.damaged, 'file')} read in part only")
        if done.changed:
            parts.append(f"{counted(done.changed, 'file')} changed meanwhile")
        text = f"{'Interrupted after ' if interrupted else ''}{', '.join(parts)}, {seconds:.1f} s."
        return f"{text} {self._stored()}" if self._against.tenant is not None else text

    def _stored(self) -> str:
        done = self._done
        if self._options.dry_run:
            return "Dry run: nothing was stored."
        known = done.raising + done.silent - done.recorded
        alerts = len(done.alert_ids)
        text = f"Stored: {counted(done.recorded, 'new detection')} ({known:,} known already), "
        text += f"{counted(done.opened, 'new alert')} ({alerts - done.opened:,} known already"
        return f"{text}, {done.reopened:,} reopened)." if done.reopened else f"{text})."

    def _notes(self, *, interrupted: bool) -> list[str]:
        """What is told below the summary."""
        done, kept, options = self._done, self._kept, self._options
        lines = []
        if done.withheld:
            lines.append(
                f"Withheld: {counted(done.withheld, 'detection')} beyond {options.limit:,} of one indicator, "
                "neither shown nor stored."
            )
        if kept.since or kept.until:
            lines.append(
                f"By event time: {counted(done.outside, 'event')} with a hit left out; "
                f"{counted(done.timeless, 'event')} with a hit and without a usable time kept."
            )
        if options.save is not None and not interrupted:
            lines.append(f"Saved to {options.save}.")
        if interrupted and kept.journal is not None:
            lines.append("The same command with --resume goes on from here.")
        return lines

    def _code(self) -> int:
        done = self._done
        loose = self._options.strict and (done.malformed or done.grown)
        if done.unreadable or done.damaged or done.changed or loose:
            return INPUT
        return RAISED if any(self._fails(severity) for severity in done.severities) else 0

    def _fails(self, severity: Severity) -> bool:
        order = list(Severity)
        least = self._options.fail_on
        return least is None or order.index(severity) >= order.index(Severity(least.capitalize()))


def _no_progress(_read: int, _events: int) -> None:
    """Nothing to show it on."""
