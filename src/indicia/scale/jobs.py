"""Ready jobs: what lies in a lake met by an index, and what comes into a folder, written as detections."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

from indicia.errors import InvalidValue
from indicia.scale import detections
from indicia.scale.files import follow, scan
from indicia.scale.frames import detect, once
from indicia.telemetry.extras import extra

FILES = "files"
FORMATS = ("parquet", "ndjson", "delta", FILES)
"""What is read: `ndjson` is one JSON object a line, compressed as Spark can read it; `files` are of any form
that a local scan reads, at paths that every worker sees, and opened by the workers themselves."""
OUTPUTS = ("parquet", "ndjson")
_TIMES = "yyyy-MM-dd'T'HH:mm:ss.SSSSSSXXX"
_SOURCE = "_indicia_source"


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


def retro(spark: Any, index: str | os.PathLike[str], given: Input, output: Output) -> Retro:
    """Look through what lies there, and write what was found, each detection once.

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
    given: Input,
    output: Output,
    checkpoint: str,
    *,
    seconds: float | None = None,
) -> Any:
    """Begin to look at what comes into folders; gives Spark's StreamingQuery.

    `checkpoint` is the folder by which it goes on after any end, without loss and without a row twice.
    `seconds` between batches; None: what is there now, in batches, then an end. A detection comes once a
    task: `indicia alerts ingest` keeps one of each id.
    """
    found = _coming(spark, index, given)
    writer = found.writeStream.partitionBy("kind").option("checkpointLocation", checkpoint)
    writer = _form(writer, output).outputMode("append")
    if seconds is None:
        return writer.trigger(availableNow=True).start(output.path)
    return writer.trigger(processingTime=f"{seconds} seconds").start(output.path)


def _coming(spark: Any, index: str | os.PathLike[str], given: Input) -> Any:
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


def _unnamed(given: Input) -> None:
    if given.name is not None:
        raise InvalidValue("files are named by their paths; there is no other name for their rows")


def _found(spark: Any, index: str | os.PathLike[str], given: Input) -> Any:
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
