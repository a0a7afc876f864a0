"""`indicia scan`: telemetry meets indicators, of the store or of a list that is given."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click

from indicia.cli.faults import Faults
from indicia.cli.session import Session, json_option, pass_session
from indicia.cli.show import as_json, counted, say

if TYPE_CHECKING:
    from indicia.match import Matcher
    from indicia.road import Scanned
    from indicia.store import TenantStore
    from indicia.telemetry import Source

RAISED = 1
INPUT = 2
INTERRUPTED = 130
GROUPS = ("Definition", "Indicator")


@dataclass(frozen=True)
class Options:
    """What was asked for."""

    paths: tuple[str, ...]
    tenant: str | None
    indicators: str | None
    schema: str | None
    output: str
    group_by: str | None
    dry_run: bool
    strict: bool


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
@click.option("--dry-run", is_flag=True, help="Keep nothing in the store.")
@click.option("--strict", is_flag=True, help="Exit with 2 where a line was malformed.")
@json_option
@pass_session
def command(session: Session, /, json_asked: bool, **given: object) -> int:
    """Look for indicators in telemetry: files, folders, globs, or `-` for standard input.

    Files may be compressed (.gz, .zst). With a store, detections and alerts are kept, each once, however
    often the same events are scanned. Malformed lines are told on stderr with file and number.

    Exit code: 0 nothing raised, 1 something raised, 2 wrong usage or input, or malformed lines with --strict.
    """
    options = Options(**given)  # type: ignore[arg-type]
    if options.group_by and not options.indicators:
        raise click.UsageError("--group-by goes with --indicators; stored definitions have their own")
    with _against(session, options) as (matcher, tenant):
        return _Run(options, matcher, tenant, json_asked=json_asked).run()


@contextmanager
def _against(session: Session, options: Options) -> Iterator[tuple[Matcher, TenantStore | None]]:
    """What the telemetry meets, and the store behind it."""
    from indicia.match import ReferenceMatcher

    if options.indicators:
        yield _own_list(options), None
        return
    with session.tenant(options.tenant) as tenant:
        if sys.stderr.isatty():
            say(f"Loading {tenant.counts().indicators:,} indicators …")
        yield ReferenceMatcher(tenant.matchable()), tenant


def _own_list(options: Options) -> Matcher:
    from indicia import feeds
    from indicia.errors import InputError
    from indicia.feeds.make import OwnList
    from indicia.match import ReferenceMatcher
    from indicia.model import GroupBy

    path = str(options.indicators)
    if path == "-" and "-" in options.paths:
        raise click.UsageError("indicators and telemetry cannot both come from standard input")
    group_by = GroupBy(options.group_by.capitalize()) if options.group_by else None
    own = OwnList("Indicators" if path == "-" else Path(path).name, group_by=group_by)
    matcher = ReferenceMatcher(own.indicators(feeds.read(path)))
    faults = Faults("rows that cannot be used")
    for fault in own.faults:
        faults(path, *fault)
    faults.close()
    notes = Faults("warnings")
    for line, note in own.warnings:
        notes(path, line, f"warning: {note}")
    notes.close()
    if own.faults and options.strict:
        raise InputError(f"{counted(len(own.faults), 'row')} cannot be used", place=path)
    if not len(matcher):
        raise InputError("holds no indicator that can be used", place=path)
    return matcher


class _Run:
    """One scan with what it shows."""

    def __init__(
        self, options: Options, matcher: Matcher, tenant: TenantStore | None, *, json_asked: bool
    ) -> None:
        from indicia.road import Scanned

        self._options = options
        self._matcher = matcher
        self._tenant = tenant
        self._json = json_asked
        self._done = Scanned()
        self._malformed = Faults("malformed lines")
        self._unreadable = Faults("files that cannot be read")
        self._start = time.monotonic()

    def run(self) -> int:
        """Scan, show, and the exit code."""
        from indicia import telemetry

        sources = telemetry.sources(self._options.paths)
        interrupted = False
        try:
            self._scan(sources)
        except KeyboardInterrupt:
            interrupted = True
        self._malformed.close()
        self._unreadable.close()
        self._show()
        sys.stdout.flush()
        say(self._summary(len(sources), interrupted=interrupted))
        return INTERRUPTED if interrupted else self._code()

    def _scan(self, sources: Sequence[Source]) -> None:
        from indicia import road
        from indicia.cli import outputs
        from indicia.cli.progress import bar

        tenant = self._tenant
        job = road.ScanJob(
            sources,
            self._matcher,
            self._options.schema,
            tenant.uid if tenant else "",
            None if self._options.dry_run else tenant,
        )
        sizes = [source.size for source in sources]
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
