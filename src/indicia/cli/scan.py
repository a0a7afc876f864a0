"""`indicia scan`: telemetry meets indicators, of the store or of a list that is given."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING

import click

from indicia.cli import matching
from indicia.cli.faults import Faults
from indicia.cli.matching import Asked
from indicia.cli.session import Session, json_option, pass_session
from indicia.cli.show import as_json, counted, say

if TYPE_CHECKING:
    from indicia.cli.matching import Against
    from indicia.road import Scanned
    from indicia.telemetry import Source

RAISED = 1
INPUT = 2
INTERRUPTED = 130
GROUPS = ("Definition", "Indicator")
SMALL = 16 * 1024 * 1024
"""Bytes of telemetry up to which every line is parsed."""


@dataclass(frozen=True)
class Options(Asked):
    """What was asked for."""

    paths: tuple[str, ...]
    schema: str | None
    output: str
    workers: int | None
    validate: bool
    dry_run: bool


@click.command()
@click.argument("paths", metavar="PATH...", nargs=-1, required=True)
@click.option(
    "--tenant", metavar="NAME", help="Whose indicators and alerts; not needed where there is one tenant."
)
@click.option(
    "--indicators",
    metavar="FILE",
    help="Look for the indicators of this file instead; no store is needed. CSV: type,value and, where "
    "wanted, function, definition, title, severity, category, expires_at, valid_from. A plain list will do.",
)
@click.option("--schema", metavar="S", help="Schema of all events.  [default: each is recognised]")
@click.option(
    "--output", type=click.Choice(["table", "ndjson", "csv"]), default="table", show_default=True,
    help="A table of alerts, or one line for each detection (csv: for each piece of evidence).",
)  # fmt: skip
@click.option(
    "--group-by",
    type=click.Choice(GROUPS, case_sensitive=False),
    help="With --indicators: what makes one alert, beside machine and day.  [default: Definition]",
)
@click.option(
    "--index",
    metavar="FILE",
    help="Look for the indicators of this compiled index (`indicia index build`); no store is needed.",
)
@click.option("--workers", type=click.IntRange(1, 256), help="Processes that read.  [default: one a core]")
@click.option(
    "--validate",
    is_flag=True,
    help="Parse every line, so that every malformed one is told. Else, beyond 16 MiB, only lines that may "
    "hold a hit are parsed.",
)
@click.option("--dry-run", is_flag=True, help="Keep nothing in the store.")
@click.option("--strict", is_flag=True, help="Exit with 2 where a line was malformed; parses every line.")
@json_option
@pass_session
def command(session: Session, /, json_asked: bool, **given: object) -> int:
    """Look for indicators in telemetry: files, folders, globs, or `-` for standard input.

    Files may be compressed (.gz, .zst). With a store, detections and alerts are kept, each once, however
    often the same events are scanned. Malformed lines are told on stderr with file and number.

    Exit code: 0 nothing raised, 1 something raised, 2 wrong usage or input, or malformed lines with --strict.
    """
    from indicia import telemetry

    options = Options(**given)  # type: ignore[arg-type]
    if options.group_by and not options.indicators:
        raise click.UsageError("--group-by goes with --indicators; stored definitions have their own")
    if options.index and options.indicators:
        raise click.UsageError("--index and --indicators are two ways to say the same; give one")
    if options.indicators == "-" and "-" in options.paths:
        raise click.UsageError("indicators and telemetry cannot both come from standard input")
    sources = telemetry.sources(options.paths)
    with matching.against(session, options, parse_all=_parse_all(options, sources)) as against:
        return _Run(options, sources, against, json_asked=json_asked).run()


def _parse_all(options: Options, sources: Sequence[Source]) -> bool:
    """Small inputs are parsed whole: it costs nothing, and every malformed line is told."""
    sizes = [source.size for source in sources]
    return options.validate or options.strict or (None not in sizes and sum(filter(None, sizes)) <= SMALL)


class _Run:
    """One scan with what it shows."""

    def __init__(
        self, options: Options, sources: Sequence[Source], against: Against, *, json_asked: bool
    ) -> None:
        from indicia.road import Scanned

        self._options = options
        self._sources = sources
        self._against = against
        self._tenant = against.tenant
        self._json = json_asked
        self._done = Scanned()
        self._malformed = Faults("malformed lines")
        self._unreadable = Faults("files that cannot be read")
        self._start = time.monotonic()

    def run(self) -> int:
        """Scan, show, and the exit code."""
        interrupted = False
        try:
            self._scan()
        except KeyboardInterrupt:
            interrupted = True
        self._malformed.close()
        self._unreadable.close()
        self._show()
        sys.stdout.flush()
        say(self._summary(len(self._sources), interrupted=interrupted))
        return INTERRUPTED if interrupted else self._code()

    def _scan(self) -> None:
        from indicia import road
        from indicia.cli import outputs
        from indicia.cli.progress import bar

        job = road.ScanJob(
            self._sources,
            self._against.engine,
            self._options.schema,
            self._against.uid,
            None if self._options.dry_run else self._tenant,
            self._options.workers or os.cpu_count() or 1,
        )
        sizes = [source.size for source in self._sources]
        total = None if None in sizes else sum(size for size in sizes if size)
        # A bar and lines of results on one terminal would overwrite each other.
        quiet = self._options.output != "table" and sys.stdout.isatty()
        with nullcontext(_no_progress) if quiet else bar("Scanning", total) as progress:
            watch = road.ScanWatch(
                detection=outputs.each_of(self._options.output),
                malformed=lambda what: self._malformed(what.source, what.line, what.reason),
                unreadable=lambda error: self._unreadable(error.place or "", 0, error.message),
                progress=progress,
            )
            road.scan(job, watch, self._done)

    def _show(self) -> None:
        from indicia.cli import nouns, outputs

        if self._options.output != "table":
            return
        found = list(self._done.alerts.values())
        if self._tenant is not None and not self._options.dry_run:
            # As they now stand, with what earlier scans and the service saw.
            stored = self._tenant.alerts_by_id(self._done.alerts)
            found = [stored.get(alert.id, alert) for alert in found]
        if self._json:
            click.echo(as_json([nouns.alert(alert) for alert in found]))
        elif found:
            outputs.alerts(found)

    def _summary(self, sources: int, *, interrupted: bool) -> str:
        done = self._done
        seconds = time.monotonic() - self._start
        parts = [
            f"{counted(done.events, 'event')} in {done.sources:,} of {counted(sources, 'file')}",
            f"{counted(done.raising, 'detection')} in {counted(len(done.alerts), 'alert')}",
        ]
        if done.silent:
            parts.append(counted(done.silent, "silent detection"))
        if done.malformed:
            parts.append(counted(done.malformed, "malformed line"))
        if done.unreadable:
            parts.append(f"{counted(done.unreadable, 'file')} not read")
        text = f"{'Interrupted after ' if interrupted else ''}{', '.join(parts)}, {seconds:.1f} s."
        return f"{text} {_kept(done, self._options)}" if self._tenant is not None else text

    def _code(self) -> int:
        if self._done.unreadable or (self._options.strict and self._done.malformed):
            return INPUT
        return RAISED if self._done.raising else 0


def _no_progress(_count: int) -> None:
    """Nothing to show it on."""


def _kept(done: Scanned, options: Options) -> str:
    if options.dry_run:
        return "Dry run: nothing was stored."
    known = done.raising + done.silent - done.recorded
    old = len(done.alerts) - done.opened
    text = f"Stored: {counted(done.recorded, 'new detection')} ({known:,} known already), "
    text += f"{counted(done.opened, 'new alert')} ({old:,} known already"
    return f"{text}, {done.reopened:,} reopened)." if done.reopened else f"{text})."
