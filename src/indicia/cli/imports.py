"""`indicia indicators import`: a file of indicators becomes those of a definition, in batches."""

from __future__ import annotations

import hashlib
import json
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from indicia.cli.faults import Faults
from indicia.cli.session import Choice, Session, pass_session, store_options
from indicia.cli.show import as_json, complain, counted, say
from indicia.model import DetectionFunction

if TYPE_CHECKING:
    from indicia.road import LoadJob, LoadWatch
    from indicia.store import TenantStore

INPUT = 2
INTERRUPTED = 130
FORMS = {
    "csv": "CSV",
    "ndjson": "NDJSON",
    "list": "a plain list with a value a line",
    "text": "free text, of which every value counts",
}
FORMATS = tuple(FORMS)
"""Those of `indicia.feeds`, which takes too long to import for a help text; a test compares them."""


@dataclass(frozen=True)
class Options:
    """What was asked for."""

    file: str
    definition: int
    function: str | None
    format: str | None
    source: str | None
    force: bool
    strict: bool
    dry_run: bool

    @property
    def stream(self) -> bool:
        """Whether it can be read only once: standard input, a pipe."""
        return self.file == "-" or (Path(self.file).exists() and not Path(self.file).is_file())


@click.command("import")
@click.argument("file", metavar="FILE")
@click.option("--definition", metavar="ID", type=click.IntRange(1), required=True, help="Whose they become.")
@click.option(
    "--function",
    type=Choice(one.value for one in DetectionFunction),
    help="For all rows, whatever they say; SubdomainOf (for feeds) goes to domain names alone.  "
    "[default: the row's own, else Equals]",
)
@click.option("--format", type=click.Choice(FORMATS), help="[default: recognised by its first lines]")
@click.option("--source", metavar="TEXT", help="Where they come from; kept with rows that do not say it.")
@click.option("--force", is_flag=True, help="Take short patterns, and SubdomainOf of public suffixes.")
@click.option("--strict", is_flag=True, help="Import nothing where a row cannot be used.")
@click.option("--dry-run", is_flag=True, help="Say what would be imported and store nothing.")
@store_options
@pass_session
def command(session: Session, /, tenant: str | None, json_asked: bool, **given: Any) -> int:
    """Import a file of indicators into an alert definition; `-` is standard input.

    CSV with a header (type,value and, where wanted, function, source, valid_from, expires_at, enabled),
    NDJSON with the same keys, plain lists with a value a line, and any text, in which evil[.]example and
    hxxp:// are read as they are meant. Files may be compressed (.gz, .zst). Rows that cannot be used are
    told on stderr with file and number and do not stop the others.
    Of a file that breaks off, what came before is imported, and the exit code is 2.

    What the definition has already is not added again, so a second import of a file changes nothing. One
    that was interrupted goes on where it was when it is given again.
    """
    options = Options(**given)
    if options.strict and options.stream:
        raise click.UsageError("--strict reads the file twice; standard input can be read only once")
    with session.tenant(tenant) as own:
        return _Run(options, own, session.by, json_asked=json_asked).run()


class _Run:
    """One import with what it shows."""

    def __init__(self, options: Options, tenant: TenantStore, by: str, *, json_asked: bool) -> None:
        from indicia.cli.progress import Ticker
        from indicia.road import Loaded

        self._options = options
        self._tenant = tenant
        self._job = _job(options, tenant, by)
        self._json = json_asked
        self._done = Loaded()
        self._stored = 0
        self._tick = Ticker()
        self._start = time.monotonic()

    def run(self) -> int:
        """Import, show, and the exit code."""
        from indicia.errors import IndiciaError, InputError

        if self._options.strict:
            self._refuse_faults()
        self._tell_before()
        interrupted = False
        try:
            self._load()
        except KeyboardInterrupt:
            interrupted = True
        except IndiciaError:
            if self._stored:
                say(f"The first {self._stored:,} rows are stored. {self._how_to_go_on()}")
            raise
        if not interrupted and self._done.rows == self._done.faults:
            raise InputError("holds no indicator that can be used", place=self._options.file)
        self._show(interrupted=interrupted)
        if interrupted:
            return INTERRUPTED
        if self._done.broken:
            what = "would be" if self._options.dry_run else "is"
            complain(f"{self._options.file}: breaks off; what came before {what} stored. Get the whole file")
        return INPUT if self._done.broken else 0

    def _refuse_faults(self) -> None:
        from indicia import road
        from indicia.errors import InputError

        done = road.Loaded()
        faults = Faults("rows that cannot be used")
        watch = road.LoadWatch(fault=lambda fault: faults(self._options.file, *fault))
        road.check(self._job, watch, done)
        faults.close()
        if done.faults:
            raise InputError(
                f"{counted(done.faults, 'row')} cannot be used; nothing was imported",
                place=self._options.file,
            )

    def _tell_before(self) -> None:
        before = self._tenant.import_state(self._job.definition.id, self._job.key) if self._job.key else None
        if before is None or self._options.dry_run:
            return
        if before.finished:
            say("This file was imported before; only what is missing is added.")
        elif before.position:
            self._stored = before.position
            say(f"Going on after row {before.position:,}, where an earlier import of this file ended.")

    def _load(self) -> None:
        from indicia import road
        from indicia.cli.progress import bar

        place = self._options.file
        faults, warnings = Faults("rows that cannot be used"), Faults("warnings")
        size = None if self._options.stream else Path(place).stat().st_size
        try:
            with bar("Importing", size) as progress:

                def read(count: int) -> None:
                    progress(count)
                    self._tick(lambda: f"{self._done.rows:,} rows read, {self._done.added:,} added …")

                watch = road.LoadWatch(
                    fault=lambda fault: faults(place, *fault),
                    warning=lambda what: warnings(place, what.line, f"warning: {what.reason}"),
                    stored=lambda state: setattr(self, "_stored", state.position),
                    format=lambda name: say(f"{place} is read as {FORMS[name]}; --format says otherwise."),
                    progress=read,
                )
                self._road(watch)
        finally:
            faults.close()
            warnings.close()

    def _road(self, watch: LoadWatch) -> None:
        from indicia import road

        if self._options.dry_run:
            road.check(self._job, watch, self._done)
        else:
            road.load(self._job, self._tenant, watch, self._done)

    def _show(self, *, interrupted: bool) -> None:
        done, options = self._done, self._options
        if self._json:
            click.echo(
                as_json(
                    {
                        "file": options.file,
                        "definition_id": options.definition,
                        "dry_run": options.dry_run,
                        "finished": done.finished,
                        "rows": done.rows,
                        "skipped": done.skipped,
                        "added": done.added,
                        "known": done.known,
                        "faults": done.faults,
                        "warnings": done.warnings,
                    }
                )
            )
        if interrupted:
            say(f"Interrupted: the first {self._stored:,} rows are stored. {self._how_to_go_on()}")
        else:
            say(self._summary())

    def _summary(self) -> str:
        done = self._done
        owner = f"definition {self._job.definition.id} ({self._job.definition.name})"
        faults = f", {counted(done.faults, 'row')} cannot be used" if done.faults else ""
        seconds = time.monotonic() - self._start
        if self._options.dry_run:
            usable = done.rows - done.faults
            return (
                f"Dry run: {counted(usable, 'row')} can be used{faults}, {seconds:.1f} s. Nothing was stored."
            )
        return (
            f"{counted(done.added, 'indicator')} added to {owner}, {done.known:,} there already{faults}, "
            f"{seconds:.1f} s."
        )

    def _how_to_go_on(self) -> str:
        if self._options.stream:
            return "Give the same input again: what is stored is known and is not added twice."
        return "The same command goes on from there."


def _job(options: Options, tenant: TenantStore, by: str) -> LoadJob:
    from indicia import allow, feeds
    from indicia.feeds import make
    from indicia.road import LoadJob

    function = DetectionFunction(options.function) if options.function else None
    job = LoadJob(
        options.file,
        tenant.definition(options.definition),
        make.Choice(function, source=options.source, force=options.force),
        options.format,
        by=by,
        known=allow.warnings(tenant.allow_lists.allowance()),
    )
    if options.stream or options.dry_run:
        return job
    return replace(job, key=_key(options, feeds.digest(options.file)))


def _key(options: Options, digest: str) -> str:
    """By which the same import is known again: the file's content, and what was asked of it."""
    asked = [digest, options.function, options.format, options.source, options.force]
    return hashlib.sha256(json.dumps(asked).encode()).hexdigest()
