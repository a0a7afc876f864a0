"""DataFrames in, DataFrames out: what a job calls on the driver. Everything here is lazy, as Spark is."""

from __future__ import annotations

import atexit
import importlib
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any
from weakref import WeakKeyDictionary

from indicia.errors import InputError, InvalidValue
from indicia.lookup import Index
from indicia.match.index import HEADER
from indicia.scale.detections import DDL
from indicia.scale.worker import VALUE, Task, run
from indicia.telemetry import schemas
from indicia.telemetry.extras import extra

_SHIPPED = "indicia-shipped:"
_sent: WeakKeyDictionary[Any, set[str]] = WeakKeyDictionary()
"""What each session was sent."""


def _sql() -> Any:
    return extra("pyspark.sql", "spark", "Spark")


def session(
    *, remote: str | None = None, master: str | None = None, settings: Mapping[str, str] | None = None
) -> Any:
    """A session: of the Connect server `remote` (`sc://host:15002`), of `master`, or of the environment.

    Raises MissingExtra.
    """
    # Names of columns are part of what an event is; without it Spark takes `Host` and `host` for one.
    builder = _sql().SparkSession.builder.appName("indicia").config("spark.sql.caseSensitive", "true")
    for name, value in (settings or {}).items():
        builder = builder.config(name, value)
    if remote:
        return builder.remote(remote).getOrCreate()
    return (builder.master(master) if master else builder).getOrCreate()


def register(spark: Any) -> str:
    """Make the data source for topics of Kafka known to a session; gives its name, for `format`.

    Its options and columns are those of Spark's own connector, as `topics` says. The machine that plans
    (with Connect the server's) and each worker need Indicia with its extras `arrow` and `kafka`. Raises
    MissingExtra where PySpark is absent.
    """
    _sql()
    source = importlib.import_module("indicia.scale.datasource")
    spark.dataSource.register(source.Messages)
    return str(source.NAME)


def ship(spark: Any, index: str | os.PathLike[str]) -> str:
    """Send an index file to the workers of a session; what comes back goes to `detect` instead of a path.

    Its name there says which content it is, so that a session may send one after another. Raises InputError
    or MalformedFile for what is no index.
    """
    Index.open(index).close()
    with Path(index).open("rb") as file:
        mark = file.read(HEADER.size)[-8:].hex()
    name = f"indicia-{mark}.idx"
    sent = _sent.setdefault(spark, set())
    if name not in sent:
        # Without Connect workers ask for it later than now, so the copy stays as long as this process.
        copy = Path(_folder()) / name
        if not copy.exists():
            shutil.copyfile(index, copy)
        spark.addArtifacts(str(copy), file=True)
        sent.add(name)
    return f"{_SHIPPED}{name}"


@cache
def _folder() -> str:
    made = tempfile.TemporaryDirectory(prefix="indicia-")
    atexit.register(made.cleanup)
    return made.name


def detect(
    frame: Any,
    index: str | os.PathLike[str],
    *,
    schema: str | None = None,
    name: str = "table",
    source: str | None = None,
) -> Any:
    """A DataFrame of detections and malformed rows (`kind` says which; columns: `DDL`), batch or streaming.

    `frame`: columns of events as `Index.scan` takes those of a table, or one column `value`, text or binary,
    with a JSON object in each row. `index`: a path that every worker sees, or what `ship` gave. `schema` as
    for `Index.scan`. Where an event names no machine the source does: `source` is the column that holds
    each row's (a path, a URL), `name` is that of rows without.

    A detection comes once from each task that met it; `once` leaves one of each id. Raises InputError for a
    schema or column that is not there.
    """
    _sql()
    kinds = {field.name: field.dataType.typeName() for field in frame.schema.fields}
    if source is not None and kinds.pop(source, None) != "string":
        raise InvalidValue(f"there is no column {source!r} of texts that names sources")
    if not kinds:
        raise InvalidValue("there is no column of events")
    lines = list(kinds) == [VALUE] and kinds[VALUE] in ("string", "binary", "varchar", "char")
    task = task_of(index, schema, name=name, source=source, lines=lines)

    def meet(batches: Iterator[Any]) -> Iterator[Any]:
        return run(batches, task)

    return frame.mapInArrow(meet, DDL)


def task_of(index: str | os.PathLike[str], schema: str | None, **how: Any) -> Task:
    """What workers are told. Raises InputError for a schema that is not there."""
    if schema is not None and schema not in schemas():
        raise InputError(f"there is no schema {schema!r}; known: {', '.join(sorted(schemas()))}")
    place = os.fspath(index)
    shipped = place.startswith(_SHIPPED)
    # Workers stand in folders of their own.
    place = place.removeprefix(_SHIPPED) if shipped else str(Path(place).absolute())
    return Task(place, shipped, schema, **how)


def once(found: Any) -> Any:
    """Each detection once, the first that raises else any; `count` says how many there were.

    For batches: a shuffle of detections, not of events. Malformed rows that are alike become one as well.
    """
    functions = extra("pyspark.sql.functions", "spark", "Spark")
    names = [name for name in found.columns if name != "count"]
    keys = [functions.col(name) for name in ("kind", "id", "source", "reason", "event_text")]
    # Malformed rows have no id: what they are is told by the rest.
    keys[2:] = [
        functions.when(functions.col("id").isNull(), key).alias(f"_{n}") for n, key in enumerate(keys[2:])
    ]
    best = functions.max_by(functions.struct(*names), functions.coalesce("raises", functions.lit(False)))
    grouped = found.groupBy(*keys).agg(best.alias("best"), functions.sum("count").alias("rows"))
    columns = [
        functions.col("rows").alias("count") if name == "count" else functions.col(f"best.{name}").alias(name)
        for name in found.columns
    ]
    return grouped.select(*columns)
