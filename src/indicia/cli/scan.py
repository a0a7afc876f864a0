"""`indicia scan`: telemetry meets indicators, of the store, of a list, or of an index."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click

from indicia.cli import matching
from indicia.cli.matching import Asked
from indicia.cli.session import Choice, Session, json_option, pass_session
from indicia.cli.times import Time, time_of

_PACKED = frozenset({".gz", ".zst", ".bz2", ".xz", ".zip"})
"""Names of files that others would take for compressed ones."""

if TYPE_CHECKING:
    from indicia.telemetry import Source

GROUPS = ("Definition", "Indicator")
SEVERITIES = ("Informational", "Low", "Medium", "High")
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
    since: Time | None
    until: Time | None
    limit: int | None
    fail_on: str | None
    save: Path | None
    overwrite: bool
    resume: bool


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
@click.option(
    "--index",
    metavar="FILE",
    help="Look for the indicators of this compiled index (`indicia index build`); no store is needed.",
)
@click.option("--schema", metavar="S", help="Schema of all events.  [default: each is recognised]")
@click.option(
    "--since",
    metavar="TIME",
    callback=time_of,
    help="Only events from this time on: 2026-01-31T12:00:00Z, a date, or 7d, 12h, 30m ago. Events without "
    "a usable time are kept and counted.",
)
@click.option("--until", metavar="TIME", callback=time_of, help="Only events before this time; likewise.")
@click.option(
    "--output",
    type=click.Choice(["table", "ndjson", "csv"]),
    help="A table of alerts, or one line for each detection (csv: for each piece of evidence).  "
    "[default: table; with --save by the file's name, else ndjson]",
)
@click.option(
    "--save",
    metavar="FILE",
    type=click.Path(path_type=Path),
    help="Write detections as ndjson or csv to this new file (mode 0600) instead of stdout.",
)
@click.option("--replace", "overwrite", is_flag=True, help="Let --save replace a file that exists.")
@click.option(
    "--resume",
    is_flag=True,
    help="Go on where the same scan was interrupted or killed; it needs a store or --save. What a store or "
    "the saved file has is not told again, and none is missing.",
)
@click.option(
    "--limit-per-indicator",
    "limit",
    metavar="N",
    type=click.IntRange(1),
    help="Of each indicator and run at most N detections that raise, and N silent ones. Further ones are "
    "withheld: counted and told at the end, neither shown nor stored.",
)
@click.option(
    "--fail-on",
    metavar="SEVERITY",
    type=Choice(SEVERITIES),
    help=f"Exit with 1 only where something of this severity or worse raised: {', '.join(SEVERITIES)}.  "
    "[default: anything]",
)
@click.option(
    "--group-by",
    type=Choice(GROUPS),
    help="With --indicators: what makes one alert, beside machine and day.  [default: Definition]",
)
@click.option("--workers", type=click.IntRange(1, 256), help="Processes that read.  [default: one a core]")
@click.option(
    "--validate",
    is_flag=True,
    help="Parse every line, so that every malformed one is told. Else, beyond 16 MiB, only lines that may "
    "hold a hit are parsed.",
)
@click.option("--dry-run", is_flag=True, help="Keep nothing in the store.")
@click.option(
    "--strict", is_flag=True, help="Exit with 2 where a line was malformed or a file grew; parses every line."
)
@json_option
@pass_session
def command(session: Session, /, json_asked: bool, **given: object) -> int:
    """Look for indicators in telemetry: files, folders, globs, or `-` for standard input.

    Files may be compressed. With a store, detections and alerts are kept, each once, however
    often the same events are scanned. Malformed lines are told on stderr with file and number. Of a file
    that grows meanwhile, what it held at the start is read, and that it grew is said.

    Exit code: 0 nothing raised, 1 something raised, 2 wrong usage or input, files that cannot be read,
    break off, are damaged in part or were rewritten meanwhile, or malformed lines with --strict.
    """
    from indicia.cli import saving
    from indicia.cli.scanned import Run

    options = Options(**given | {"output": _output(given)})  # type: ignore[arg-type]
    _check(options)
    sources = _sources(options)
    with (
        matching.against(session, options, parse_all=_parse_all(options, sources)) as against,
        saving.kept(session, options, against) as kept,
    ):
        return Run(options, sources, against, kept, json_asked=json_asked).run()


def _sources(options: Options) -> list[Source]:
    """What is read. InputError where what is saved would overwrite it."""
    from indicia import telemetry
    from indicia.errors import InputError

    found = telemetry.sources(options.paths)
    if options.save is None or not options.save.exists():
        return found
    for given in (*options.paths, options.indicators, options.index):
        if given is not None and Path(given).exists() and options.save.samefile(given):
            raise InputError("is read by this very scan; save to another file", place=str(options.save))
    # In a folder that is scanned it is what an earlier scan saved, and no log.
    return [one for one in found if one.path is None or not _same(one.path, options.save)]


def _same(one: Path, other: Path) -> bool:
    return one.exists() and one.samefile(other)


def _output(given: dict[str, object]) -> object:
    """As asked, or by the name of the file that is saved to."""
    save = given["save"]
    if given["output"] is not None or not isinstance(save, Path):
        return given["output"] or "table"
    return "csv" if save.suffix.lower() == ".csv" else "ndjson"


def _check(options: Options) -> None:
    """What the options say together. Raises UsageError."""
    bare = options.indicators or options.index
    since, until = options.since, options.until
    wrong = (
        (options.group_by and not options.indicators,
         "--group-by goes with --indicators; stored definitions have their own"),
        (options.index and options.indicators,
         "--index and --indicators are two ways to say the same; give one"),
        (options.indicators == "-" and "-" in options.paths,
         "indicators and telemetry cannot both come from standard input"),
        (options.save and options.output == "table", "--save writes ndjson or csv; name one with --output"),
        (options.save and str(options.save) == "-", "--save names a file; without it lines go to stdout"),
        (options.save and options.save.suffix.lower() in _PACKED,
         "--save writes plain text; name a file without .gz, .zst or the like, and compress it afterwards"),
        (options.overwrite and not options.save, "--replace goes with --save"),
        (options.overwrite and options.resume,
         "--resume goes on with the file, --replace begins it anew; give one"),
        (options.resume and "-" in options.paths,
         "standard input cannot be read again, so --resume needs files"),
        (options.resume and not options.save and (bare or options.dry_run),
         "--resume goes on with what was kept: give --save FILE, or scan with a store"),
        (options.resume and options.indicators == "-", "--resume needs the indicators in a file"),
        (since and until and since.moment >= until.moment, "--since must be before --until"),
    )  # fmt: skip
    for holds, message in wrong:
        if holds:
            raise click.UsageError(message)


def _parse_all(options: Options, sources: Sequence[Source]) -> bool:
    """Small inputs are parsed whole: it costs nothing, and every malformed line is told."""
    sizes = [source.size for source in sources]
    return options.validate or options.strict or (None not in sizes and sum(filter(None, sizes)) <= SMALL)
