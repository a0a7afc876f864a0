"""`indicia spark`: ready jobs for Spark; `indicia alerts ingest` makes alerts of what they write."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any

import click

from indicia.cli.session import Command, json_option
from indicia.cli.show import complain, counted, result, say

if TYPE_CHECKING:
    from indicia.scale import Input, Output

ENGINES = ("pyspark", "py4j", "grpc")
"""Packages whose errors are the engine's word on what it was given."""

Made = Callable[[Command], Command]


@click.group()
def group() -> None:
    """Jobs for Spark 4: what lies in a lake, or comes into it, meets a compiled index.

    They need the extra `spark`, and workers that have Indicia with its extra `arrow`.
    """


def _job_options(command: Command) -> Command:
    options: tuple[Made[Command], ...] = (
        click.option("--index", metavar="FILE", required=True, help="The index, at a path that workers see."),
        click.option(
            "--ship", is_flag=True, help="Send the index to the workers; the path is this machine's."
        ),
        click.option(
            "--input",
            "inputs",
            metavar="PATH",
            multiple=True,
            required=True,
            help="File, folder or glob, as Spark takes it; may be given several times.",
        ),
        click.option(
            "--form",
            type=click.Choice(["parquet", "ndjson", "delta", "files"]),
            default="parquet",
            show_default=True,
            help="Of the input; delta needs Delta's connector in the session. files: of any form that a scan "
            "reads, opened by the workers themselves, which is fastest; at paths that every worker sees.",
        ),
        click.option("--schema", metavar="S", help="Schema of all events.  [default: each is recognised]"),
        click.option(
            "--name",
            metavar="NAME",
            help="What rows are of where their event names no machine.  [default: the file of each]",
        ),
        click.option("--output", metavar="FOLDER", required=True, help="Where detections are written."),
        click.option(
            "--output-form",
            type=click.Choice(["parquet", "ndjson"]),
            default="parquet",
            show_default=True,
            help="Of the detections.",
        ),
        click.option("--remote", metavar="URL", help="A Connect server: sc://host:15002."),
        click.option(
            "--master", metavar="URL", help="A cluster without Connect: spark://host:7077, local[4]."
        ),
        click.option("--conf", metavar="KEY=VALUE", multiple=True, help="A setting of the session."),
    )
    for option in reversed(options):
        command = option(command)
    return command


@group.command()
@_job_options
@click.option("--replace", is_flag=True, help="Let the output replace what is there.")
@json_option
def retro(json_asked: bool, replace: bool, **given: Any) -> None:
    """Look through what lies there; each detection is written once, with rows that cannot be read beside.

    Exit code: 0 done, whatever was found; 2 it could not be done.
    """
    from indicia import scale

    with _started(given) as (spark, index):
        found = scale.retro(spark, index, _input(given), _output(given, replace=replace))
    text = (
        f"{counted(found.raising, 'detection')} that raise, {found.silent:,} silent ones, "
        f"{counted(found.malformed, 'malformed row')}, in {given['output']}."
    )
    if found.faults:
        rows = counted(found.faults, "malformed row")
        complain(f"failed at {rows}, whatever they hold; please report the reason that each gives")
    result(asdict(found), json_asked=json_asked, text=lambda: say(text))


@group.command()
@_job_options
@click.option(
    "--checkpoint", metavar="FOLDER", required=True, help="By which the stream goes on after any end."
)
@click.option(
    "--every",
    metavar="SECONDS",
    type=click.FloatRange(0, min_open=True),
    help="Go on for ever, with so long between batches.  [default: take what is there, and end]",
)
@click.option(
    "--at-once",
    metavar="FILES",
    type=click.IntRange(1),
    help="Files that a batch takes at the most.  [default: all that are there]",
)
def stream(checkpoint: str, every: float | None, at_once: int | None, **given: Any) -> None:
    """Look at files as they come into a folder, each once, also over restarts.

    An index that is replaced at its path is in force from the next batch on.
    """
    from indicia import scale

    with _started(given) as (spark, index):
        asked = replace(_input(given), at_once=at_once)
        query = scale.stream(spark, index, asked, _output(given), checkpoint, seconds=every)
        query.awaitTermination()


def _input(given: dict[str, Any]) -> Input:
    from indicia.scale import Input

    return Input(given["inputs"], given["form"], given["schema"], given["name"])


def _output(given: dict[str, Any], *, replace: bool = False) -> Output:
    from indicia.scale import Output

    return Output(given["output"], given["output_form"], replace)


@contextmanager
def _started(given: dict[str, Any]) -> Iterator[tuple[Any, str]]:
    """A session, and the index as jobs name it. The engine's faults become InputError."""
    from indicia import scale

    settings = dict(_setting(one) for one in given["conf"])
    if given["remote"] and given["master"]:
        raise click.UsageError("--remote and --master are two ways to name the engine; give one")
    with _faults():
        spark = scale.session(remote=given["remote"], master=given["master"], settings=settings)
        try:
            yield spark, scale.ship(spark, given["index"]) if given["ship"] else given["index"]
        finally:
            spark.stop()


def _setting(given: str) -> tuple[str, str]:
    name, equals, value = given.partition("=")
    if not equals or not name:
        raise click.UsageError(f"--conf {given!r} is no KEY=VALUE")
    return name, value


@contextmanager
def _faults() -> Iterator[None]:
    from indicia.errors import InputError

    try:
        yield
    except Exception as error:
        if type(error).__module__.partition(".")[0] not in ENGINES:
            raise
        raise InputError(f"Spark says: {_words(str(error))}") from None


def _words(said: str) -> str:
    """What went wrong on a worker in our own words, else the first line that says something."""
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    ours = [line.partition(": ")[2] for line in lines if line.startswith("indicia.errors.")]
    return (ours or lines or ["nothing"])[0][:500]
