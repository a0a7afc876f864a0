"""`indicia spark`: ready jobs for Spark; `indicia alerts ingest` makes alerts of what they write."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from indicia.cli.ingest import BATCH, check
from indicia.cli.session import Command, Session, json_option, pass_session, tenant_option
from indicia.cli.show import complain, counted, result, say

if TYPE_CHECKING:
    from indicia.model import Detection
    from indicia.scale import Input, Output, Topics
    from indicia.scale.jobs import Hears

ENGINES = ("pyspark", "py4j", "grpc")
"""Packages whose errors are the engine's word on what it was given."""

_KAFKA_ONCE = 'because the return value of "scala.Option.get()" is null'

Made = Callable[[Command], Command]


@click.group()
def group() -> None:
    """Jobs for Spark 4: what lies in a lake, or comes into it, meets a compiled index.

    They need the extra `spark`, and workers that have Indicia with its extra `arrow`.
    """


def _options(*options: Made[Command]) -> Made[Command]:
    """Several, in the order of the help."""

    def made(command: Command) -> Command:
        for option in reversed(options):
            command = option(command)
        return command

    return made


_index_options = _options(
    click.option("--index", metavar="FILE", required=True, help="The index, at a path that workers see."),
    click.option("--ship", is_flag=True, help="Send the index to the workers; the path is this machine's."),
)
_form_options = _options(
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
        help="What rows are of where their event names no machine.  [default: the file, or topic, of each]",
    ),
)
_kafka_options = _options(
    click.option(
        "--kafka", metavar="HOST:PORT", help="A broker, or several with commas, whose topics are read."
    ),
    click.option("--topic", "topics", metavar="NAME", multiple=True, help="May be given several times."),
    click.option(
        "--connector",
        type=click.Choice(["spark", "indicia"]),
        help="What reads topics.  [default: Spark's own where the session has it, else Indicia's]",
    ),
    click.option(
        "--option",
        "options",
        metavar="KEY=VALUE",
        multiple=True,
        help="Of the connector: startingOffsets=latest.",
    ),
    click.option(
        "--options",
        "options_file",
        metavar="FILE",
        help="A file with a KEY=VALUE a line: for passwords, which everybody can read in arguments.",
    ),
)
_output_form = click.option(
    "--output-form",
    type=click.Choice(["parquet", "ndjson"]),
    default="parquet",
    show_default=True,
    help="Of the detections.",
)
_engine_options = _options(
    click.option("--remote", metavar="URL", help="A Connect server: sc://host:15002."),
    click.option("--master", metavar="URL", help="A cluster without Connect: spark://host:7077, local[4]."),
    click.option("--conf", metavar="KEY=VALUE", multiple=True, help="A setting of the session."),
)


@group.command()
@_index_options
@click.option(
    "--input",
    "inputs",
    metavar="PATH",
    multiple=True,
    help="File, folder or glob, as Spark takes it; may be given several times.",
)
@_kafka_options
@_form_options
@click.option("--output", metavar="FOLDER", required=True, help="Where detections are written.")
@_output_form
@_engine_options
@click.option("--replace", is_flag=True, help="Let the output replace what is there.")
@json_option
def retro(json_asked: bool, replace: bool, **given: Any) -> None:
    """Look through what lies there, or in topics.

    Each detection is written once, with rows that cannot be read beside.

    Exit code: 0 done, whatever was found; 2 it could not be done.
    """
    from indicia import scale

    asked = _lying(given)
    with _started(given) as (spark, index):
        output = scale.Output(given["output"], given["output_form"], replace)
        found = scale.retro(spark, index, asked, output)
    text = (
        f"{counted(found.raising, 'detection')} that raise, {found.silent:,} silent ones, "
        f"{counted(found.malformed, 'malformed row')}, in {given['output']}."
    )
    if found.faults:
        rows = counted(found.faults, "malformed row")
        complain(f"failed at {rows}, whatever they hold; please report the reason that each gives")
    result(asdict(found), json_asked=json_asked, text=lambda: say(text))


@group.command()
@_index_options
@click.option("--input", "path", metavar="PATH", help="A folder into which files come.")
@_kafka_options
@_form_options
@click.option("--output", metavar="FOLDER", help="Where detections are written.")
@click.option("--ingest", is_flag=True, help="Make alerts of each batch at once, instead of --output.")
@_output_form
@tenant_option
@_engine_options
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
@pass_session
def stream(session: Session, /, checkpoint: str, every: float | None, **given: Any) -> None:
    """Look at files as they come into a folder, or at messages of Kafka, each once, also over restarts.

    An index that is replaced at its path is in force from the next batch on.
    """
    from indicia import scale

    source, output = _coming(given), _going(session, given)
    with _started(given) as (spark, index):
        _run(lambda: scale.stream(spark, index, source, output, checkpoint, seconds=every))


def _run(start: Callable[[], Any]) -> None:
    """Until it ends."""
    try:
        start().awaitTermination()
    except Exception as error:
        # SPARK-55271: behind the batch that a kill left open, Kafka's connector of Spark 4.1 ends the stream
        # once. The batch is done by then.
        if _KAFKA_ONCE not in str(error):
            raise
        start().awaitTermination()


def _lying(given: dict[str, Any]) -> Input | Topics:
    """What a batch reads."""
    from indicia.scale import Input

    if bool(given["inputs"]) == (given["kafka"] is not None):
        raise click.UsageError("give --input, or --kafka and --topic")
    if given["kafka"] is not None:
        return _topics(given)
    return Input(given["inputs"], given["form"], given["schema"], given["name"])


def _coming(given: dict[str, Any]) -> Input | Topics:
    """What a stream reads."""
    from indicia.scale import Input

    if (given["path"] is None) == (given["kafka"] is None):
        raise click.UsageError("give --input, a folder, or --kafka and --topic")
    if given["kafka"] is not None:
        return _topics(given)
    return Input([given["path"]], given["form"], given["schema"], given["name"], given["at_once"])


def _topics(given: dict[str, Any]) -> Topics:
    from indicia.scale import Topics

    if not given["topics"]:
        raise click.UsageError("--kafka reads the topics that --topic names")
    options = _of_file(given["options_file"]) if given["options_file"] else {}
    options |= dict(_setting(one, "--option") for one in given["options"])
    return Topics(
        given["kafka"], given["topics"], given["schema"], given["name"], options, given["connector"]
    )


def _going(session: Session, given: dict[str, Any]) -> Output | Hears:
    """Where detections of a stream go."""
    from indicia.scale import Output

    if given["ingest"] == (given["output"] is not None):
        raise click.UsageError("give --output, a folder, or --ingest")
    if given["output"] is not None:
        return Output(given["output"], given["output_form"])
    if given["remote"]:
        raise click.UsageError("--ingest needs the store here: by --master or spark-submit, not --remote")
    with session.tenant(given["tenant"]) as own:
        uid = own.uid

    def hears(found: Sequence[Detection], malformed: int) -> None:
        for one in found:
            check(one, uid, given["index"])
        with session.tenant(uid) as own:
            for first in range(0, len(found), BATCH):
                own.record(found[first : first + BATCH])
        if malformed:
            complain(f"{counted(malformed, 'row')} of a batch cannot be read")

    return hears


@contextmanager
def _started(given: dict[str, Any]) -> Iterator[tuple[Any, str]]:
    """A session, and the index as jobs name it. The engine's faults become InputError."""
    from indicia import scale

    _tell()
    settings = dict(_setting(one, "--conf") for one in given["conf"])
    if given["remote"] and given["master"]:
        raise click.UsageError("--remote and --master are two ways to name the engine; give one")
    with _faults():
        spark = scale.session(remote=given["remote"], master=given["master"], settings=settings)
        try:
            yield spark, scale.ship(spark, given["index"]) if given["ship"] else given["index"]
        finally:
            spark.stop()


def _tell() -> None:
    """Let people see what jobs log."""
    log = logging.getLogger("indicia.scale")
    log.setLevel(logging.INFO)
    if not log.handlers:
        log.addHandler(_Said())


class _Said(logging.Handler):
    """To stderr, as it is at that moment."""

    def emit(self, record: logging.LogRecord) -> None:
        say(f"indicia: {record.getMessage()}")


def _setting(given: str, option: str) -> tuple[str, str]:
    name, equals, value = given.partition("=")
    if not equals or not name:
        raise click.UsageError(f"{option} {given!r} is no KEY=VALUE")
    return name, value


def _of_file(path: str) -> dict[str, str]:
    """Settings by line; blank lines and those that begin with # say nothing."""
    from indicia.errors import InputError

    try:
        lines = Path(path).read_text("utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"cannot be read: {error}", place=path) from None
    found = {}
    for number, line in enumerate(map(str.strip, lines), 1):
        if line and not line.startswith("#"):
            name, equals, value = line.partition("=")
            if not equals or not name.strip():
                # Not the line itself: it may be a password.
                raise InputError("is no KEY=VALUE", place=f"{path}:{number}")
            found[name.strip()] = value.strip()
    return found


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
