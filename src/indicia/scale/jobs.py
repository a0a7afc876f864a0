"""Ready jobs: what lies in a lake met by an index, and what comes into a folder, written as detections."""

from __future__ import annotations

import logging
import os
import re
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Any

from indicia.errors import InvalidValue
from indicia.model import Detection
from indicia.scale import detections
from indicia.scale.files import follow, scan
from indicia.scale.frames import detect, once, register
from indicia.telemetry.extras import extra

FILES = "files"
FORMATS = ("parquet", "ndjson", "delta", FILES)
"""What is read: `ndjson` is one JSON object a line, compressed as Spark can read it; `files` are of any form
that a local scan reads, at paths that every worker sees, and opened by the workers themselves."""
OUTPUTS = ("parquet", "ndjson")
CONNECTORS = (SPARKS, OWN) = ("spark", "indicia")
"""Of Kafka: the one that Maven has for Spark, and the data source of `frames.register`."""
Hears = Callable[[Sequence[Detection], int], None]
_TIMES = "yyyy-MM-dd'T'HH:mm:ss.SSSSSSXXX"
_SOURCE = "_indicia_source"
_ABSENT = re.compile("(?i)(find|found).{1,30}kafka")
LOG = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Input:
    """What is read."""

    paths: Sequence[str]
    """Files, folders (with all below them) or globs, as Spark takes them; of `delta` tables."""
    form: str = "parquet"
    schema: str | None = None
    """Of all events; None: each is recognised."""
    name: str | None = None
    """What all rows are of; None: each of its file, of `delta` of its table."""
    at_once: int | None = None
    """Files that a batch of a stream takes at the most; None: all that are there."""


@dataclass(frozen=True, slots=True)
class Topics:
    """Topics of Kafka; a message is a JSON object."""

    servers: str
    """`host:9092,host2:9092`"""
    names: Sequence[str]
    schema: str | None = None
    name: str | None = None
    """What all events are of that name no machine; None: `kafka:TOPIC`."""
    options: Mapping[str, str] = field(default_factory=dict)
    """Further ones of the connector, such as `startingOffsets` and `kafka.security.protocol`."""
    connector: str | None = None
    """By which they are read, one of CONNECTORS; None: Spark's where the session has it, else our own."""


@dataclass(frozen=True, slots=True)
class Output:
    """Where detections go: `kind=detection` and `kind=malformed` below a folder."""

    path: str
    form: str = "parquet"
    replace: bool = False


@dataclass(frozen=True, slots=True)
class Retro:
    """What a job found. Detections count once, malformed rows each."""

    raising: int
    silent: int
    malformed: int
    faults: int = 0
    """Of the malformed ones, those that Indicia failed at, not the row (`detections.OURS`)."""


def retro(spark: Any, index: str | os.PathLike[str], given: Input | Topics, output: Output) -> Retro:
    """Look through what lies there, or is in topics, and write what was found, each detection once.

    Raises InputError for a form or schema that is not known; Spark's own errors for what it cannot read.
    """
    writer = (
        once(_found(spark, index, given))
        .write.partitionBy("kind")
        .mode("overwrite" if output.replace else "error")
    )
    _form(writer, output).save(output.path)
    return _counted(spark, output)


def stream(
    spark: Any,
    index: str | os.PathLike[str],
    given: Input | Topics,
    output: Output | Hears,
    checkpoint: str,
    *,
    seconds: float | None = None,
) -> Any:
    """Begin to look at what comes into a folder, or into topics; gives Spark's StreamingQuery.

    `checkpoint` is the folder by which it goes on after any end, without loss. `seconds` between batches;
    None: what is there now, in batches, then an end.

    Into an Output each row is written once, but a detection once a task: `indicia alerts ingest` keeps one of
    each id. A function instead hears of each batch in this process, what was found and how many rows could
    not be read, and hears of a batch again where the stream ended before it was noted: it must be one to whom
    ids that come again do nothing, as `TenantStore.record` is. Not by Connect.
    """
    frame, ours = _coming(spark, index, given, ends=seconds is None)
    writer = frame.writeStream.option("checkpointLocation", checkpoint).outputMode("append")
    if seconds is not None:
        writer = writer.trigger(processingTime=f"{seconds} seconds")
    elif not ours:
        writer = writer.trigger(availableNow=True)
    if isinstance(output, Output):
        query = _form(writer.partitionBy("kind"), output).start(output.path)
    else:
        query = writer.foreachBatch(_told(output)).start()
    if seconds is None and ours:
        threading.Thread(target=_ended, args=(query,), daemon=True).start()
    return query


def _ended(query: Any) -> None:
    """End a stream that takes what is there. Spark cannot bound the batches of a source in Python by the
    trigger availableNow, so ours says itself when it has no more.
    """
    with suppress(Exception):  # whoever awaits its end hears of what ended it
        query.processAllAvailable()
    query.stop()


def _told(hears: Hears) -> Callable[[Any, int], None]:
    def batch(frame: Any, _number: int) -> None:
        rows = once(frame).toArrow().to_pylist()
        found = [detections.of_row(row) for row in rows if row["kind"] == detections.DETECTION]
        hears(found, sum(row["count"] for row in rows if row["kind"] == detections.MALFORMED))

    return batch


def _coming(
    spark: Any, index: str | os.PathLike[str], given: Input | Topics, *, ends: bool
) -> tuple[Any, bool]:
    """What a stream finds, and whether our own data source reads it."""
    if isinstance(given, Topics):
        own = {"endingOffsets": "latest"} if ends else {}
        frame, ours = _messages(spark, spark.readStream, given, own | {"boundFirstBatch": "true"})
        return _met(frame, index, given), ours
    return _followed(spark, index, given), False


def _followed(spark: Any, index: str | os.PathLike[str], given: Input) -> Any:
    if len(given.paths) != 1:
        raise InvalidValue("a stream reads one folder; begin one for each, with a checkpoint of its own")
    reader = spark.readStream
    if given.at_once is not None:
        reader = reader.option("maxFilesPerTrigger", given.at_once)
    if given.form == FILES:
        _unnamed(given)
        return follow(reader, index, given.paths[0], schema=given.schema)
    ((frame, source),) = _frames(reader, given, spark.read)
    return _detected(frame, index, given, source)


def _messages(spark: Any, reader: Any, given: Topics, ours: Mapping[str, str]) -> tuple[Any, bool]:
    """Messages, and whether our own data source reads them, which takes the options `ours` besides."""
    if given.connector not in (None, *CONNECTORS):
        raise InvalidValue(f"there is no connector {given.connector!r}; known: {', '.join(CONNECTORS)}")
    # Otherwise a stream that begins looks at nothing that is there.
    options = {"startingOffsets": "earliest"} | dict(given.options)
    options |= {"kafka.bootstrap.servers": given.servers, "subscribe": ",".join(given.names)}
    if given.connector != OWN:
        try:
            frame = reader.format("kafka").options(**options).load()
            _ = frame.schema  # Connect looks no earlier
        except extra("pyspark.errors", "spark", "Spark").PySparkException as error:
            if given.connector == SPARKS or not _ABSENT.search(str(error)):
                raise
        else:
            LOG.info("topics are read by Spark's own connector")
            return frame, False
    LOG.info("topics are read by Indicia's data source, not by Spark's connector")
    # A setting that stands there twice, in another case, would be Spark's choice.
    options = {name.lower(): value for name, value in options.items()} | dict(ours)
    return reader.format(register(spark)).options(**options).load(), True


def _met(frame: Any, index: str | os.PathLike[str], given: Topics) -> Any:
    frame = frame.selectExpr("value", f"concat('kafka:', topic) AS {_SOURCE}")
    if given.name is not None:
        frame = frame.select("value")
    source = None if given.name is not None else _SOURCE
    return detect(frame, index, schema=given.schema, name=given.name or "kafka", source=source)


def _unnamed(given: Input) -> None:
    if given.name is not None:
        raise InvalidValue("files are named by their paths; there is no other name for their rows")


def _found(spark: Any, index: str | os.PathLike[str], given: Input | Topics) -> Any:
    if isinstance(given, Topics):
        return _met(_messages(spark, spark.read, given, {})[0], index, given)
    if given.form == FILES:
        _unnamed(given)
        return scan(spark, index, given.paths, schema=given.schema)
    frames = [_detected(frame, index, given, source) for frame, source in _frames(spark.read, given)]
    found = frames[0]
    for frame in frames[1:]:
        found = found.unionByName(frame)
    return found


def _detected(frame: Any, index: str | os.PathLike[str], given: Input, source: str) -> Any:
    named = given.name or source
    column = None if named else _SOURCE
    return detect(frame, index, schema=given.schema, name=named or "table", source=column)


def _frames(reader: Any, given: Input, for_schema: Any = None) -> list[tuple[Any, str]]:
    """What is read, each with the name of its rows where no column has it. Streams read one path each."""
    if given.form not in FORMATS:
        raise InvalidValue(f"there is no form {given.form!r}; known: {', '.join(FORMATS)}")
    if given.form == "delta":
        return [
            (reader.format("delta").load(path), PurePosixPath(path.rstrip("/")).name) for path in given.paths
        ]
    alone = for_schema is not None
    paths: Sequence[Any] = given.paths if alone else [list(given.paths)]
    return [(_with_source(_files(reader, given.form, path, for_schema), given.name), "") for path in paths]


def _files(reader: Any, form: str, path: Any, for_schema: Any) -> Any:
    # Without it Spark takes folders such as day=1 for columns, which no event has.
    reader = reader.option("recursiveFileLookup", "true")
    if form == "ndjson":
        return reader.format("text").option("lineSep", "\n").load(path)
    reader = reader.format("parquet").option("mergeSchema", "true")
    if for_schema is not None:
        reader = reader.schema(_files(for_schema, form, path, None).schema)
    return reader.load(path)


def _with_source(frame: Any, name: str | None) -> Any:
    """With the file of each row, as its path where it is one: ids may hang on a file's name."""
    if name:
        return frame
    functions = extra("pyspark.sql.functions", "spark", "Spark")
    url = functions.replace("_metadata.file_path", functions.lit("+"), functions.lit("%2B"))
    path = functions.regexp_replace(functions.url_decode(url), "^file:/+", "/")
    return frame.select("*", path.alias(_SOURCE))


def _form(writer: Any, output: Output) -> Any:
    if output.form not in OUTPUTS:
        raise InvalidValue(f"there is no form {output.form!r} of outputs; known: {', '.join(OUTPUTS)}")
    if output.form == "parquet":
        return writer.format("parquet")
    return writer.format("json").option("timestampFormat", _TIMES)


def _counted(spark: Any, output: Output) -> Retro:
    """What was written."""
    functions = extra("pyspark.sql.functions", "spark", "Spark")
    form = "json" if output.form == "ndjson" else output.form
    written = spark.read.schema(detections.DDL).format(form).load(output.path)
    ours = functions.coalesce(functions.col("reason").startswith(detections.OURS), functions.lit(False))
    rows = written.groupBy("kind", "raises", ours.alias("ours")).agg(
        functions.count(functions.lit(1)).alias("ids"), functions.sum("count").alias("rows")
    )
    raising = silent = malformed = faults = 0
    for row in rows.collect():
        if row["kind"] == detections.MALFORMED:
            malformed += row["rows"]
            faults += row["rows"] if row["ours"] else 0
        elif row["raises"]:
            raising += row["ids"]
        else:
            silent += row["ids"]
    return Retro(raising, silent, malformed, faults)
