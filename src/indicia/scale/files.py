"""Files that every worker sees, read by the workers themselves as a local scan reads them.

    one task lists and cuts them ─► pieces ─► as many tasks as are worth it
    task: piece ─► scanning.scan ─► detections and malformed rows

No row goes through the engine on its way to the matcher, which is what costs most in `detect`; and every form
that a scan knows is read. The engine spreads the work, tries again what failed, and writes what was found.
"""

from __future__ import annotations

import os
import pickle
import re
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

from indicia import scanning, telemetry
from indicia.detect import Once
from indicia.errors import IndiciaError, InputError
from indicia.lookup import Index
from indicia.scale import detections
from indicia.scale.frames import task_of
from indicia.scale.worker import Task, Unread, opened, reason_of
from indicia.telemetry import Change, Source
from indicia.telemetry.columns import arrow

SIZE = 128 * 1024 * 1024
"""Bytes of a piece and of a task, about: half a second of Parquet, beside which a task costs little."""
FEWEST, MOST = 16, 10_000
"""Tasks of a job, where there are as many pieces."""
_PIECES = "size bigint, piece binary"


def scan(
    spark: Any,
    index: str | os.PathLike[str],
    paths: Sequence[str],
    *,
    schema: str | None = None,
    size: int = SIZE,
) -> Any:
    """A DataFrame as `detect` gives it, of the files, folders and globs that a scan of `paths` would read.

    `index` as for `detect`; `paths` are seen by every worker alike. They are listed at once and read when the
    DataFrame is. `size`: bytes of a piece and of a task, about. What cannot be read is a malformed row.
    Raises InputError for a schema or a path that cannot be; the engine's error, which holds ours, for what is
    not there.
    """
    task = task_of(index, schema)

    def meet(batches: Iterator[Any]) -> Iterator[Any]:
        return read(batches, task)

    return _pieces(spark, paths, size).mapInArrow(meet, detections.DDL)


def follow(reader: Any, index: str | os.PathLike[str], path: str, *, schema: str | None = None) -> Any:
    """As `scan`, of the files that come into a folder: `reader` is `spark.readStream`.

    Each file is read as it is, so a later one may have other columns, or be of another form.
    """
    task = task_of(index, schema)

    def meet(batches: Iterator[Any]) -> Iterator[Any]:
        return read(batches, task)

    def cut(batches: Iterator[Any]) -> Iterator[Any]:
        for batch in batches:
            # Spark names a local file by its URL, and encodes nothing in it.
            paths = [re.sub("^file:/+", "/", one) for one in batch.column("path").to_pylist()]
            yield _cut(telemetry.sources(paths), SIZE)

    reader = reader.format("binaryFile").option("recursiveFileLookup", "true")
    # A stream wants its columns told; without `content` none is read.
    reader = reader.schema("path string, modificationTime timestamp, length bigint, content binary")
    return reader.load(path).select("path").mapInArrow(cut, _PIECES).mapInArrow(meet, detections.DDL)


def _cut(sources: Sequence[Source], size: int) -> Any:
    """The pieces of sources as a RecordBatch."""
    cut = [piece for source in sources for piece in telemetry.pieces(source, size)]
    rows = {"size": [piece.size or 0 for piece in cut], "piece": [pickle.dumps(piece) for piece in cut]}
    return arrow().RecordBatch.from_pydict(rows)


def _pieces(spark: Any, paths: Sequence[str], size: int) -> Any:
    """A DataFrame of the pieces of all that lies there, dealt out to tasks."""
    for path in paths:
        if "://" in path or path == "-":
            raise InputError("is no path that workers can open; Spark itself reads URLs", place=path)
    wanted = [str(Path(path).absolute()) for path in paths]

    def look(batches: Iterator[Any]) -> Iterator[Any]:
        for _ in batches:
            pass
        yield _cut(telemetry.sources(wanted), size)

    found = spark.range(1).coalesce(1).mapInArrow(look, _PIECES).collect()
    if not found:
        raise InputError("there is no file below it", place=", ".join(paths))
    total = sum(row["size"] for row in found)
    tasks = min(len(found), max(FEWEST, total // size), MOST)
    # Without a key rows are dealt out in turn, so the largest first makes tasks that are much alike.
    held = sorted(((row["size"], row["piece"]) for row in found), key=lambda row: -row[0])
    return spark.createDataFrame(held, _PIECES).coalesce(1).repartition(tasks)


def read(batches: Iterator[Any], task: Task) -> Iterator[Any]:
    """RecordBatches of detections for RecordBatches of pieces."""
    index = opened(task)
    once, unread = Once(), Unread(index.generation)
    for batch in batches:
        for held in batch.column("piece").to_pylist():
            # Our own, of a moment ago.
            for found in _scanned(pickle.loads(held), index, task, unread):  # noqa: S301
                new = [detections.row(one, index.generation) for one in found.detections if once.is_new(one)]
                if new:
                    yield detections.batch(new)
    if rows := unread.rows():
        yield detections.batch(rows)


def _scanned(piece: Source, index: Index, task: Task, unread: Unread) -> Iterator[scanning.Batch]:
    """What comes of a piece; what cannot be read of it is noted.

    Raises InputError where this worker does not see what the one that listed the files did.
    """
    if piece.path is not None and not piece.path.exists():
        raise InputError(
            "is not there (any more) on a worker; put files where every worker sees them", place=piece.name
        )
    try:
        with closing(scanning.scan([piece], index.plan(task.schema), 1)) as found:
            for batch in found:
                yield batch
                _note(batch, piece, unread)
    except (IndiciaError, OSError, MemoryError):  # tried again
        raise
    except Exception as error:  # whatever a file holds, or we did wrong, a job of hours goes on
        unread.note(piece.name, reason_of(error))


def _note(batch: scanning.Batch, piece: Source, unread: Unread) -> None:
    for one in batch.malformed:
        unread.note(one.source, one.reason)
    unread.more(piece.name, batch.unlisted)
    if batch.fault is not None:
        unread.note(piece.name, str(batch.fault))
    if batch.change is Change.OTHER:
        unread.note(piece.name, "was rewritten, cut or replaced while it was read")
