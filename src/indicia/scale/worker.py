"""What runs on a worker: batches of rows meet the index, detections and malformed rows come out.

The index is mapped once in a process and kept as long as the file at its path stays the same; a task looks
once, when it begins, so that one that was replaced is in force from the next task on, which in a stream is
the next batch. Nothing that stands in a row ends a task: what fails is halved until the row is known. Where
that was not the row but Indicia, the reason begins with `detections.OURS`, and jobs count such rows apart.
"""

from __future__ import annotations

import gc
import sys
import threading
import traceback
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from indicia.detect import Once
from indicia.errors import IndiciaError, InputError
from indicia.lookup import Index
from indicia.match.index import HEADER
from indicia.model import Detection
from indicia.scale import detections
from indicia.telemetry import Malformed
from indicia.telemetry.columns import arrow
from indicia.telemetry.extras import extra

LISTED = 500
"""Different malformed rows that a task tells; further ones are counted."""
SHOWN = 200
"""Characters of a malformed row that are told."""
VALUE = "value"
"""The one column of a table of JSON lines."""

_open: dict[str, tuple[bytes, Index]] = {}
_lock = threading.Lock()  # some engines run tasks as threads of one process


@dataclass(frozen=True, slots=True)
class Task:
    """How rows are read, and what they meet."""

    index: str
    """A path; of an index that was shipped its name among the session's files."""
    shipped: bool = False
    schema: str | None = None
    name: str = "table"
    """What rows are of whose source no column names."""
    source: str | None = None
    """The column that names each row's source; no part of the event."""
    lines: bool = False
    """Whether a row is a line of JSON in the column VALUE."""


def opened(task: Task) -> Index:
    """The task's index. Raises InputError or MalformedFile, which end the job: no row is at fault."""
    _settle()
    path = task.index
    if task.shipped:
        path = extra("pyspark", "spark", "an index that is sent to workers").SparkFiles.get(path)
    try:
        with Path(path).open("rb") as file:
            head = file.read(HEADER.size)  # with the checksum of all checksums
    except OSError as error:
        raise InputError(
            f"cannot be read on a worker: {error.strerror}; put it where every worker sees it, or send it",
            place=path,
        ) from None
    with _lock:
        before = _open.get(path)
        if before is None or before[0] != head:
            # The one before is not closed: another thread may walk it. It goes with its last user.
            before = _open[path] = head, Index.open(path)
        return before[1]


@cache
def _settle() -> None:
    """Spark has each worker look for cycles behind each task: not in all that was imported, which took as
    long as to match a million rows.
    """
    if "pyspark.worker" in sys.modules:
        gc.freeze()


def run(batches: Iterator[Any], task: Task) -> Iterator[Any]:
    """RecordBatches of detections for RecordBatches of events."""
    arrow()
    work = _Work(opened(task), task)
    for batch in batches:
        if rows := work.rows(batch):
            yield detections.batch(rows)
    if rows := work.unread.rows():
        yield detections.batch(rows)


class Unread:
    """What a task could not read: source, reason and beginning of rows, with how many there were."""

    def __init__(self, generation: int) -> None:
        self._generation = generation
        self._counts: Counter[tuple[str, str, str]] = Counter()
        self._unlisted: Counter[str] = Counter()

    def note(self, source: str, reason: str, text: str = "") -> None:
        """There was one."""
        key = source, reason[:SHOWN], text
        if key in self._counts or len(self._counts) < LISTED:
            self._counts[key] += 1
        else:
            self.more(source, 1)

    def more(self, source: str, count: int) -> None:
        """There were so many of which nothing else is told."""
        self._unlisted["" if len(self._unlisted) >= LISTED else source] += count

    def rows(self) -> list[dict[str, Any]]:
        """All of it, at the end of the task."""
        generation = self._generation
        rows = [
            detections.malformed_row(source, reason, text, count, generation)
            for (source, reason, text), count in self._counts.items()
        ]
        reason = "further rows that cannot be read"
        return rows + [
            detections.malformed_row(source, reason, "", count, generation)
            for source, count in self._unlisted.items()
            if count
        ]


class _Work:
    """One task: its index, what it found, what it could not read."""

    def __init__(self, index: Index, task: Task) -> None:
        self._index = index
        self._task = task
        self._once = Once()
        self.unread = Unread(index.generation)

    def rows(self, batch: Any) -> list[dict[str, Any]]:
        """What a batch gives."""
        found = [one for name, part in self._by_source(batch) for one in self._found(part, name)]
        return [detections.row(one, self._index.generation) for one in found if self._once.is_new(one)]

    def _by_source(self, batch: Any) -> Iterator[tuple[str, Any]]:
        if self._task.source is None:
            yield self._task.name, batch
            return
        compute = extra("pyarrow.compute", "arrow", "reading Arrow")
        column = batch.column(self._task.source)
        rest = batch.drop_columns([self._task.source])
        names = compute.unique(column).to_pylist()
        for name in names:
            if len(names) == 1:
                part = rest
            else:
                part = rest.filter(compute.is_null(column) if name is None else compute.equal(column, name))
            yield name or self._task.name, part

    def _found(self, batch: Any, name: str) -> list[Detection]:
        """The detections of rows of one source, one by one where they fail together."""
        heard: list[Malformed] = []
        try:
            found = list(self._scan(batch, name, heard))
        except IndiciaError:
            raise
        except Exception as error:  # whatever a row holds, or we did wrong, a job of hours goes on
            if batch.num_rows == 1:
                self._note(name, reason_of(error), batch, 0)
                return []
            half = batch.num_rows // 2
            return self._found(batch.slice(0, half), name) + self._found(batch.slice(half), name)
        for fault in heard:
            self._note(name, fault.reason, batch, fault.line)
        return found

    def _scan(self, batch: Any, name: str, heard: list[Malformed]) -> Iterator[Detection]:
        schema = self._task.schema
        if self._task.lines:
            return self._index.scan_lines(
                batch.column(VALUE), schema=schema, name=name, malformed=heard.append
            )
        return self._index.scan(batch, schema=schema, name=name, malformed=heard.append)

    def _note(self, source: str, reason: str, batch: Any, number: int) -> None:
        self.unread.note(source, reason, self._shown(batch.slice(number, 1)))

    def _shown(self, row: Any) -> str:
        """The beginning of a row, as far as it can be shown at all."""
        try:
            if self._task.lines:
                line = row.column(VALUE).cast(arrow().large_binary())[0].as_py() or b""
                return str(line[: 4 * SHOWN].decode("utf-8", "replace"))[:SHOWN]
            return repr(row.to_pylist()[0])[:SHOWN]
        except (arrow().ArrowException, UnicodeError):  # a row that cannot even be shown
            return ""


def reason_of(error: Exception) -> str:
    """Of what failed alone: what Arrow cannot read is the row's fault, all else our own."""
    what = f"{type(error).__name__}: {error}"
    if isinstance(error, arrow().ArrowException | UnicodeError):
        return what
    last = traceback.extract_tb(error.__traceback__)[-1]
    return f"{detections.OURS} {Path(last.filename).name}:{last.lineno}: {what}"
