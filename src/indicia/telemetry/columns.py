"""Parquet and Arrow: rows of columns become objects, as JSON of the same rows would be.

Two steps: the buffers of columns that can hold a value are walked by the sieve as they lie in memory, the
values of a dictionary once; only rows that it names are made objects and judged. What a column holds:

- strings are texts; binary is text where it is UTF-8, else hexadecimal digits, as binary of a fixed size
  always is (a digest of 32 bytes is a Sha256);
- lists, structs and maps are lists and objects; a dictionary is its values; an extension what it is kept as;
- times are ISO 8601 in their fewest digits, with `Z` where the column has a zone; numbers, Booleans and
  durations are numbers, and like those of JSON never an indicator; decimals are texts of digits.

A row is known by its number in the file, from 0 on.
"""

from __future__ import annotations

from array import array
from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import msgspec

from indicia.telemetry.extras import extra
from indicia.telemetry.lines import Selection, Sieve

ROWS = 65_536
"""Rows that are walked at once, at the most."""
BYTES = 1 << 23
"""Bytes of them, on average."""
_TAKEN = 1024
"""Rows that become objects at once."""
_EPOCH = datetime(1970, 1, 1)  # noqa: DTZ001 - a column without zone has none
_DIGITS = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}
"""Units of a time in a second."""

_check = msgspec.json.Decoder(msgspec.Raw).decode

Row = tuple[int, dict[str, Any]]


def arrow() -> Any:
    """The package. Raises MissingExtra."""
    return extra("pyarrow", "arrow", "reading Parquet and Arrow")


def rows(
    batch: Any, first: int, selection: Selection | None, rest: Callable[[], Any] | None = None
) -> Iterator[Row]:
    """Rows of a RecordBatch with their numbers, those that the sieve names where there is a selection.

    `first` is the number of the first row. `rest` gives further columns of the same rows.
    """
    wanted: Sequence[int] = range(batch.num_rows)
    if selection is not None:
        wanted = sorted(_Walk(selection.sieve).batch(batch))
        selection.passed(batch.num_rows - len(wanted))
    if not wanted:
        return
    batch.validate(full=True)  # what damaged offsets name is not read
    parts = [batch, rest()] if rest is not None else [batch]
    for start in range(0, len(wanted), _TAKEN):
        numbers = wanted[start : start + _TAKEN]
        columns = [column for part in parts for column in _columns(part, numbers)]
        for place, number in enumerate(numbers):
            yield first + number, {name: values[place] for name, values in columns}


def of_table(table: Any, selection: Selection | None) -> Iterator[Row]:
    """The rows of a Table, a RecordBatch, or of whatever gives RecordBatches. Raises MissingExtra."""
    if isinstance(table, arrow().RecordBatch):
        table = [table]
    first = 0
    for batch in table.to_batches(max_chunksize=ROWS) if hasattr(table, "to_batches") else table:
        batch.validate()
        yield from rows(batch, first, selection)
        first += batch.num_rows


def lines(values: Any, selection: Selection | None) -> Iterator[tuple[int, bytes]]:
    """The texts of an array with their numbers, as the bytes that they are; with a selection those that its
    sieve names, and those that are no JSON object. Raises MissingExtra.
    """
    pa = arrow()
    held = values.cast(pa.large_binary())
    named: set[int] | None = None
    if selection is not None:
        _, offsets, data = held.buffers()
        found = selection.sieve.rows(data, offsets, 8, held.offset, len(held)) if data is not None else []
        named = set(found)
    for number, line in enumerate(held.to_pylist()):
        if line is not None and (named is None or number in named or not _is_object(line)):
            yield number, line


def _is_object(line: bytes) -> bool:
    try:
        _check(line)
        return line.lstrip()[:1] == b"{"
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return False


def holds_values(kind: Any) -> bool:
    """Whether a column of this type can hold an indicator's value."""
    types = arrow().types
    if isinstance(kind, arrow().BaseExtensionType):
        return holds_values(kind.storage_type)
    if types.is_dictionary(kind) or types.is_run_end_encoded(kind):
        return holds_values(kind.value_type)
    if types.is_nested(kind):
        return types.is_union(kind) or any(holds_values(kind.field(n).type) for n in range(kind.num_fields))
    return bool(_is_text(kind) or types.is_fixed_size_binary(kind))


def _is_text(kind: Any) -> bool:
    types = arrow().types
    return any(
        test(kind)
        for test in (
            types.is_string, types.is_large_string, types.is_binary, types.is_large_binary,
            types.is_string_view, types.is_binary_view,
        )
    )  # fmt: skip


# Which rows


class _Walk:
    """Finds the rows of columns that may hold a hit."""

    def __init__(self, sieve: Sieve) -> None:
        self._sieve = sieve
        self._pa = arrow()

    def batch(self, batch: Any) -> set[int]:
        """The rows of a batch."""
        found = set[int]()
        for column in batch.columns:
            if len(found) == batch.num_rows:
                break
            found |= self.rows(column)
        return found

    def rows(self, values: Any) -> set[int]:
        """The rows of an array."""
        kind, types = values.type, self._pa.types
        if isinstance(kind, self._pa.BaseExtensionType):
            return self.rows(values.storage)
        if types.is_run_end_encoded(kind):
            return self.rows(_decoded(values))
        if not holds_values(kind) or not len(values):
            return set()
        if types.is_dictionary(kind):
            return self._of_dictionary(values)
        if types.is_fixed_size_binary(kind):
            return self._of_fixed(values)
        if _is_text(kind):
            return self._of_texts(values)
        return self._of_nested(values)

    def _of_texts(self, values: Any) -> set[int]:
        kind, types = values.type, self._pa.types
        binary = types.is_binary(kind) or types.is_large_binary(kind) or types.is_binary_view(kind)
        if types.is_string_view(kind) or types.is_binary_view(kind):
            values = values.cast(self._pa.large_binary() if binary else self._pa.large_string())
        _, offsets, data = values.buffers()
        if data is None:
            return set()
        wide = types.is_large_string(values.type) or types.is_large_binary(values.type)
        # What is no UTF-8 is judged as hexadecimal digits, which the sieve has not seen.
        return set(
            self._sieve.rows(data, offsets, 8 if wide else 4, values.offset, len(values), all_odd=binary)
        )

    def _of_fixed(self, values: Any) -> set[int]:
        width, count = values.type.byte_width, len(values)
        if not width:
            return set()
        data = memoryview(values.buffers()[1])[values.offset * width : (values.offset + count) * width]
        offsets = array("q", range(0, 2 * width * count + 1, 2 * width))
        return set(self._sieve.rows(data.hex().encode(), offsets, 8, 0, count))

    def _of_dictionary(self, values: Any) -> set[int]:
        hits = self.rows(values.dictionary)
        if not hits:
            return set()
        compute = extra("pyarrow.compute", "arrow", "reading Arrow")
        wanted = self._pa.array(sorted(hits), values.indices.type)
        return set(compute.indices_nonzero(compute.is_in(values.indices, value_set=wanted)).to_pylist())

    def _of_nested(self, values: Any) -> set[int]:
        kind, types = values.type, self._pa.types
        values.validate(full=True)
        if types.is_struct(kind):
            return set[int]().union(*(self.rows(values.field(n)) for n in range(kind.num_fields)))
        if types.is_map(kind):
            return self._of_lists(values.offsets, values.items)
        if types.is_list(kind) or types.is_large_list(kind):
            return self._of_lists(values.offsets, values.values)
        if types.is_fixed_size_list(kind):
            inner = values.values.slice(values.offset * kind.list_size, len(values) * kind.list_size)
            return {row // kind.list_size for row in self.rows(inner)}
        return set(range(len(values)))  # unions and views of lists: rare, so all of it is judged

    def _of_lists(self, offsets: Any, inner: Any) -> set[int]:
        bounds = offsets.to_pylist()
        hits = self.rows(inner.slice(bounds[0], bounds[-1] - bounds[0]))
        return {bisect_right(bounds, bounds[0] + hit) - 1 for hit in hits}


# What they hold

_Plain = Callable[[Any], Any]


def _columns(batch: Any, numbers: Sequence[int]) -> Iterator[tuple[str, list[Any]]]:
    """Name and values of each column, at some rows."""
    for name, column in zip(batch.schema.names, map(_decoded, batch.columns), strict=True):
        taken = column if len(numbers) == batch.num_rows else _taken(column, numbers)
        target = _numbers(column.type)
        values = taken if target == column.type else taken.cast(target)
        plain = _plain(column.type)
        yield name, [None if value is None else plain(value) for value in values.to_pylist()]


def _decoded(column: Any) -> Any:
    """Runs of one value as that many values."""
    if not arrow().types.is_run_end_encoded(column.type):
        return column
    return extra("pyarrow.compute", "arrow", "reading Arrow").run_end_decode(column)


def _taken(column: Any, numbers: Sequence[int]) -> Any:
    pa = arrow()
    try:
        return column.take(pa.array(numbers, pa.int64()))
    except pa.ArrowNotImplementedError:  # views and the like
        return pa.concat_arrays([column.slice(number, 1) for number in numbers])


def _numbers(kind: Any) -> Any:
    """The type with times as the numbers that they are: Python's do not reach as far as Arrow's."""
    pa = arrow()
    types = pa.types
    if types.is_timestamp(kind) or types.is_time64(kind) or types.is_date64(kind) or types.is_duration(kind):
        return pa.int64()
    if types.is_date32(kind) or types.is_time32(kind):
        return pa.int32()
    if types.is_dictionary(kind):
        return kind if _numbers(kind.value_type) == kind.value_type else _numbers(kind.value_type)
    if types.is_struct(kind):
        return pa.struct(
            [kind.field(n).with_type(_numbers(kind.field(n).type)) for n in range(kind.num_fields)]
        )
    if types.is_map(kind):
        return pa.map_(_numbers(kind.key_type), _numbers(kind.item_type))
    if types.is_fixed_size_list(kind):
        return pa.list_(kind.value_field.with_type(_numbers(kind.value_type)), kind.list_size)
    if types.is_list(kind) or types.is_large_list(kind):
        made = pa.large_list if types.is_large_list(kind) else pa.list_
        return made(kind.value_field.with_type(_numbers(kind.value_type)))
    return kind


def _plain(kind: Any) -> _Plain:
    """What makes a value of the type, as pyarrow gives it, one of JSON."""
    types = arrow().types
    if isinstance(kind, arrow().BaseExtensionType):
        return _unknown
    if types.is_dictionary(kind):
        return _plain(kind.value_type)
    if types.is_struct(kind):
        below = {kind.field(n).name: _plain(kind.field(n).type) for n in range(kind.num_fields)}
        return lambda value: {name: _or_none(below[name], inner) for name, inner in value.items()}
    if types.is_map(kind):
        item = _plain(kind.item_type)
        return lambda value: {str(_unknown(key)): _or_none(item, inner) for key, inner in value}
    if types.is_nested(kind) and not types.is_union(kind):
        item = _plain(kind.value_type)
        return lambda value: [_or_none(item, inner) for inner in value]
    return _plain_time(kind)


def _plain_time(kind: Any) -> _Plain:
    types = arrow().types
    if types.is_timestamp(kind):
        unit, zone = _DIGITS[kind.unit], "Z" if kind.tz else ""
        return lambda value: _moment(value, unit) + zone
    if types.is_date(kind):
        seconds = 86_400_000 if types.is_date32(kind) else 1
        return lambda value: _moment(value * seconds, 1000).partition("T")[0]
    if types.is_time(kind):
        unit = _DIGITS[kind.unit]
        return lambda value: _moment(value, unit).partition("T")[2]
    return _bytes if types.is_fixed_size_binary(kind) else _unknown


def _or_none(plain: _Plain, value: Any) -> Any:
    return None if value is None else plain(value)


def _moment(value: int, unit: int) -> str:
    """A time in ISO 8601; the bare number where it lies beyond the year 9999."""
    seconds, rest = divmod(value, unit)
    try:
        text = (_EPOCH + timedelta(seconds=seconds)).isoformat()
    except OverflowError:
        return str(value)
    return f"{text}.{rest:0{len(str(unit)) - 1}d}".rstrip("0") if rest else text


def _bytes(value: bytes) -> str:
    return value.hex()


def _unknown(value: Any) -> Any:
    """A value by what Python makes of it."""
    if isinstance(value, str | int | float | list | dict):
        return value
    if isinstance(value, bytes):
        try:
            return value.decode()
        except UnicodeDecodeError:
            return value.hex()
    if isinstance(value, Decimal):
        return format(value, "f")
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat() if value.tzinfo else value.isoformat()
    return str(value)
