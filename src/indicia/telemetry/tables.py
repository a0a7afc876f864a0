"""Files of columns: Parquet by row groups, Arrow's IPC by record batches, as rows for `columns`.

Memory stays bounded: of Parquet some thousand rows are decoded at a time, of a file of Arrow's the pages are
the system's, as they lie on the disk. What comes out of an archive or a pipe goes through a file without a
name first, because both forms end with the table of what they hold. A part that is damaged is told, and the
others are read.
"""

from __future__ import annotations

import io
import mmap
import shutil
import tempfile
from collections.abc import Callable, Iterator
from typing import IO, Any

from indicia.telemetry import columns
from indicia.telemetry.columns import Row, arrow
from indicia.telemetry.extras import extra
from indicia.telemetry.lines import WHOLE, Report, Selection

PARQUET = b"PAR1\x15"
"""The magic, and the first byte of what must follow it."""
FILE = b"ARROW1\0\0"
STREAM = b"\xff\xff\xff\xff"
"""What begins each message of a stream; the length of the schema follows."""
Span = tuple[int, int]
"""The first row group or batch, and the one behind the last."""
_SMALL_VALUE = 4
"""Bytes that a text takes at the least where it is no number of a dictionary."""


def is_stream(head: bytes) -> bool:
    """Whether these bytes begin a stream of Arrow's IPC: a message that is a multiple of 8 long."""
    size = int.from_bytes(head[4:8], "little")
    return len(head) >= 12 and head.startswith(STREAM) and 0 < size < 1 << 26 and size % 8 == 0


def seekable(head: bytes, stream: io.BufferedIOBase) -> io.BufferedIOBase | IO[bytes]:
    """The stream, of which `head` was read, from its beginning and readable in any order."""
    if stream.seekable():
        stream.seek(0)
        return stream
    spool = tempfile.TemporaryFile()  # noqa: SIM115 - the caller closes it
    spool.write(head)
    shutil.copyfileobj(stream, spool, 1 << 20)
    spool.seek(0)
    return spool


# Parquet


def parquet_cuts(file: IO[bytes]) -> list[int]:
    """Bytes of each row group as it lies on the disk. Raises MissingExtra, ValueError or OSError."""
    found = _open(file).metadata
    return [_on_disk(found.row_group(number)) for number in range(found.num_row_groups)]


def _on_disk(group: Any) -> int:
    return sum(int(group.column(n).total_compressed_size) for n in range(group.num_columns))


def _open(file: Any, **options: Any) -> Any:
    parquet = extra("pyarrow.parquet", "arrow", "reading Parquet")
    return parquet.ParquetFile(file, pre_buffer=False, buffer_size=1 << 20, **options)


def parquet(
    file: io.BufferedIOBase | IO[bytes], report: Report, selection: Selection | None, span: Span | None
) -> Iterator[Row]:
    """The rows of a Parquet file, or of some of its row groups. Raises MissingExtra."""
    invalid = (arrow().ArrowException, OSError, ValueError)
    try:
        found = _open(file)
        found = _open(file, read_dictionary=_dictionaries(found))
    except invalid as error:
        report(WHOLE, f"damaged Parquet data: {_words(error)}")
        return
    sizes = [found.metadata.row_group(n).num_rows for n in range(found.metadata.num_row_groups)]
    start, stop = span or (0, len(sizes))
    for group in range(start, stop):
        try:
            yield from _row_group(found, group, sum(sizes[:group]), selection)
        except invalid as error:
            report(WHOLE, f"damaged Parquet data in row group {group}: {_words(error)}")


def _dictionaries(file: Any) -> list[str]:
    """Columns of texts whose data is surely numbers of a dictionary alone: there is no room for texts."""
    sizes: dict[str, tuple[int, int]] = {}
    for group in range(file.metadata.num_row_groups):
        for place in range(file.metadata.num_columns):
            column = file.metadata.row_group(group).column(place)
            if column.physical_type == "BYTE_ARRAY":
                size, count = sizes.get(column.path_in_schema, (0, 0))
                sizes[column.path_in_schema] = (
                    size + column.total_uncompressed_size,
                    count + column.num_values,
                )
    return [path for path, (size, count) in sizes.items() if size < _SMALL_VALUE * count]


def _row_group(file: Any, group: int, first: int, selection: Selection | None) -> Iterator[Row]:
    """The columns that can hold a value are read; the others only from the first row on that is named."""
    fields = list(file.schema_arrow)
    held = [field.name for field in fields if selection is None or columns.holds_values(field.type)]
    others = [field.name for field in fields if field.name not in held]
    count = _batch_rows(file.metadata.row_group(group))

    def read(names: list[str]) -> Iterator[Any]:
        return file.iter_batches(count, row_groups=[group], columns=names, use_threads=False)  # type: ignore[no-any-return]

    if selection is not None and not held:
        selection.passed(file.metadata.row_group(group).num_rows)
        return
    rest = _Rest(lambda: read(others)) if others else None
    for number, batch in enumerate(read(held)):
        picked = batch.select(held) if batch.num_columns > len(held) else batch
        yield from columns.rows(
            picked,
            first,
            selection,
            (lambda at=number: rest.batch(at, others)) if rest else None,  # type: ignore[misc]
        )
        first += batch.num_rows


class _Rest:
    """Batches of further columns, read up to the one that is asked for."""

    def __init__(self, read: Callable[[], Iterator[Any]]) -> None:
        self._read = read
        self._batches: Iterator[Any] | None = None
        self._next = 0

    def batch(self, number: int, names: list[str]) -> Any:
        """The batch of that number; they are asked for in their order."""
        if self._batches is None:
            self._batches = self._read()
        while True:
            found = next(self._batches)
            self._next += 1
            if self._next > number:
                return found.select(names) if found.num_columns > len(names) else found


def _batch_rows(group: Any) -> int:
    """Rows that make about BYTES bytes."""
    average = group.total_byte_size // max(group.num_rows, 1) + 1
    return int(max(64, min(columns.ROWS, columns.BYTES // average)))


# Arrow


def arrow_batches(file: IO[bytes]) -> int:
    """How many record batches a file of Arrow's IPC has. Raises MissingExtra, ValueError or OSError."""
    ipc = extra("pyarrow.ipc", "arrow", "reading Arrow")
    return int(ipc.open_file(file).num_record_batches)


def arrow_file(
    file: io.BufferedIOBase | IO[bytes], report: Report, selection: Selection | None, span: Span | None
) -> Iterator[Row]:
    """The rows of a file of Arrow's IPC (Feather), or of some of its batches. Raises MissingExtra."""
    ipc, invalid = (
        extra("pyarrow.ipc", "arrow", "reading Arrow"),
        (arrow().ArrowException, OSError, ValueError),
    )
    first = 0
    try:
        found = ipc.open_file(_mapped(file))
        start, stop = span or (0, found.num_record_batches)
        first = sum(found.get_batch(number).num_rows for number in range(start))
    except invalid as error:
        report(WHOLE, f"damaged Arrow data: {_words(error)}")
        return
    for number in range(start, stop):
        try:
            batch = found.get_batch(number)
            batch.validate()
            yield from columns.rows(batch, first, selection)
            first += batch.num_rows
        except invalid as error:
            report(WHOLE, f"damaged Arrow data in batch {number}: {_words(error)}")


def _mapped(file: io.BufferedIOBase | IO[bytes]) -> Any:
    """The file as memory that the system fills and empties; as it is where it is none of the system's."""
    try:
        return arrow().py_buffer(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
    except (OSError, ValueError):
        return file


def arrow_stream(
    head: bytes, stream: io.BufferedIOBase, report: Report, selection: Selection | None
) -> Iterator[Row]:
    """The rows of a stream of Arrow's IPC, of which `head` was read. Raises MissingExtra."""
    ipc, invalid = (
        extra("pyarrow.ipc", "arrow", "reading Arrow"),
        (arrow().ArrowException, OSError, ValueError),
    )
    first = 0
    try:
        for batch in ipc.open_stream(_Whole(head, stream)):
            batch.validate()
            yield from columns.rows(batch, first, selection)
            first += batch.num_rows
    except invalid as error:
        report(WHOLE, f"damaged Arrow data behind row {first}: {_words(error)}")


class _Whole(io.RawIOBase):
    """A stream and what was read of it already."""

    def __init__(self, head: bytes, stream: io.BufferedIOBase) -> None:
        self._head = memoryview(head)
        self._stream = stream

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        if not self._head:
            return self._stream.readinto(buffer)
        size = min(len(buffer), len(self._head))
        buffer[:size], self._head = self._head[:size], self._head[size:]
        return size


def _words(error: BaseException) -> str:
    return str(error).strip().partition("\n")[0] or type(error).__name__
