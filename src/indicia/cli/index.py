"""`indicia index`: indicators compiled into one file, for `indicia scan --index` and for programs."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from indicia.cli import matching
from indicia.cli.matching import Asked
from indicia.cli.session import Choice, Session, json_option, pass_session, tenant_option
from indicia.cli.show import counted, details, result, say, stamp, table

if TYPE_CHECKING:
    from indicia.match.index import Index

GROUPS = ("Definition", "Indicator")
SHOWN = 20
"""Definitions and loose indicators that are listed; `--json` has all."""


@dataclass(frozen=True)
class Build(Asked):
    """What was asked for."""

    output: Path


@click.group()
def group() -> None:
    """Indexes: indicators compiled into one file that a scan opens at once, without a store."""


@group.command()
@tenant_option
@click.option(
    "--indicators",
    metavar="FILE",
    help="The indicators of this file, which brings its own definitions, as `indicia scan` takes it.  "
    "[default: those of the store]",
)
@click.option(
    "--group-by",
    type=Choice(GROUPS),
    help="With --indicators: what makes one alert, beside machine and day.  [default: Definition]",
)
@click.option("--strict", is_flag=True, help="Refuse a list with a row that cannot be used.")
@click.option(
    "--output",
    metavar="FILE",
    required=True,
    type=click.Path(path_type=Path),
    help="The index; one that is there already is replaced at once, and who reads it keeps the old one.",
)
@json_option
@pass_session
def build(session: Session, /, json_asked: bool, **given: Any) -> None:
    """Compile enabled indicators, with their definitions, into an index file.

    Its generation is that of the store, or of a list one more than that of the index it replaces.
    """
    from indicia.match.index import Index

    asked = Build(index=None, **given)
    if asked.group_by and not asked.indicators:
        raise click.UsageError("--group-by goes with --indicators; stored definitions have their own")
    if asked.tenant and asked.indicators:
        raise click.UsageError("--tenant goes with the store, --indicators needs none; give one")
    before = _before(asked.output)
    start = time.monotonic()
    _write(session, asked, before)
    seconds = time.monotonic() - start
    with Index.open(asked.output) as index:
        found = _about(index)
        text = (
            f"{asked.output}: {counted(len(index), 'indicator')} of "
            f"{counted(len(index.definitions), 'definition')}, generation {index.generation}, "
            f"{found['bytes']:,} bytes, {seconds:.1f} s."
        )
        result(found, json_asked=json_asked, text=lambda: say(text))
        _warn(index)


def _before(output: Path) -> int:
    """The generation of the index that is replaced, 0 where there is none. Raises InputError."""
    from indicia.errors import InputError
    from indicia.match.index import MAGIC, Index

    if output.exists() and not output.is_file():
        raise InputError("is no regular file; name another", place=str(output))
    try:
        if not output.exists() or output.stat().st_size == 0:
            return 0
        with output.open("rb") as file:
            begins = file.read(len(MAGIC))
    except OSError as error:
        raise InputError(f"cannot be read: {error.strerror}", place=str(output)) from None
    if begins != MAGIC:
        raise InputError("exists and is no index; name another file", place=str(output))
    try:
        with Index.open(output) as index:
            return index.generation
    except InputError as error:
        say(f"{error}: its generation is not known, and the new one begins at 1.")
        return 0


def _write(session: Session, asked: Build, before: int) -> None:
    from indicia.match import compiler

    if asked.indicators:
        compiler.write(matching.own_list(asked), asked.output, generation=before + 1)
        return
    with session.tenant(asked.tenant) as own:
        # Read before the indicators: a write meanwhile must not look as if it were in.
        generation = own.generation()
        compiler.write(own.matchable(), asked.output, tenant=own.uid, generation=generation)


@group.command()
@click.argument("file", metavar="FILE")
@json_option
def info(file: str, json_asked: bool) -> None:
    """Say what is in an index: version, generation, counts, definitions, and what takes its bytes."""
    from indicia.match.index import Index

    with Index.open(file) as index:
        found = _about(index)
        result(found, json_asked=json_asked, text=lambda: _show(found))


@group.command()
@click.argument("file", metavar="FILE")
@json_option
def verify(file: str, json_asked: bool) -> None:
    """Check every section of an index and read every indicator; a damaged one is exit code 2."""
    from indicia.match.index import Index

    start = time.monotonic()
    with Index.open(file) as index:
        index.verify()
        found = {"file": file, "whole": True, "indicators": len(index), "generation": index.generation}
        seconds = time.monotonic() - start
        text = f"{file} is whole: {counted(len(index), 'indicator')}, generation {index.generation}, "
        result(found, json_asked=json_asked, text=lambda: say(f"{text}{seconds:.1f} s."))


def _about(index: Index) -> dict[str, Any]:
    """An index as JSON has it; sizes in bytes."""
    from indicia.match.index import SECTIONS, VERSION

    count = len(index)
    sizes = {name: index.size(name) for name in SECTIONS}
    return {
        "file": str(index.path),
        "version": VERSION,
        "generation": index.generation,
        "created_at": index.created_at,
        "tenant": index.tenant or None,
        "indicators": count,
        "counts": index.counts,
        "definitions": [
            {"uid": one.uid, "id": one.id or None, "name": one.name, "severity": one.severity}
            for one in index.definitions
        ],
        "bytes": len(index.data),
        "bytes_per_indicator": _each(len(index.data), count),
        "sections": {
            name: {"bytes": size, "bytes_per_indicator": _each(size, count)} for name, size in sizes.items()
        },
        "loose": [{"type": one.type, "function": one.function, "value": one.value} for one in index.loose],
        "parses_every_line": bool(index.loose),
    }


def _each(size: int, count: int) -> float | None:
    return round(size / count, 2) if count else None


def _show(found: dict[str, Any]) -> None:
    details(
        (
            ("version", str(found["version"])),
            ("generation", str(found["generation"])),
            ("created at", stamp(found["created_at"])),
            ("tenant", found["tenant"]),
            ("indicators", found["indicators"]),
            ("definitions", len(found["definitions"])),
            ("bytes", found["bytes"]),
            ("bytes an indicator", found["bytes_per_indicator"]),
        )
    )
    counts = [
        (kind, function, count)
        for kind, functions in found["counts"].items()
        for function, count in functions.items()
    ]
    click.echo()
    table(("type", "function", "indicators"), counts)
    click.echo()
    sections = [(name, one["bytes"], one["bytes_per_indicator"]) for name, one in found["sections"].items()]
    table(("section", "bytes", "bytes an indicator"), sections)
    click.echo()
    owners = [(one["severity"], one["name"], one["uid"]) for one in found["definitions"][:SHOWN]]
    table(("severity", "definition", "uid"), owners)
    if len(found["definitions"]) > SHOWN:
        click.echo(f"and {len(found['definitions']) - SHOWN:,} more")
    if found["loose"]:
        click.echo()
        click.echo(_loose(len(found["loose"])))
        rows = [(one["type"], one["function"], one["value"]) for one in found["loose"][:SHOWN]]
        table(("type", "function", "value"), rows)


def _warn(index: Index) -> None:
    if index.loose:
        say(_loose(len(index.loose)))


def _loose(count: int) -> str:
    return (
        f"{counted(count, 'indicator')} can be written in too many ways to be looked for in bytes: every "
        "line of a scan is parsed, and every value compared with each of them."
    )
