"""Indicators, alert definitions and alerts as Arrow tables, and as Parquet files where a folder is named.

    python examples/tables.py details.json [FOLDER]

A table goes on into pandas (`table.to_pandas()`), Polars (`polars.from_arrow`), DuckDB or any reader of
Parquet. Memory holds one batch of Python objects and the table's columns. It needs
`pip install 'indicia[client,arrow]'`.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from dataclasses import fields
from datetime import datetime
from itertools import islice
from pathlib import Path
from typing import Any, get_type_hints

try:
    import pyarrow as pa
    from pyarrow import parquet
except ModuleNotFoundError:
    sys.exit("this example needs pyarrow: pip install 'indicia[client,arrow]'")

from indicia.client import Alert, AlertDefinition, Client, Indicator
from indicia.errors import IndiciaError

BATCH = 10_000
_ARROW = {int: pa.int64(), bool: pa.bool_(), datetime: pa.timestamp("us", tz="UTC")}


def columns(kind: type) -> Any:
    """The Arrow schema of an entity: its attributes, those that are texts or names of enums as strings."""
    hints = get_type_hints(kind)
    names = [item.name for item in fields(kind) if item.name != "definition"]
    return pa.schema([(name, _arrow(hints[name])) for name in names])


def _arrow(hint: Any) -> Any:
    """The Arrow type of an attribute; of `datetime | None` that of datetime."""
    kind = getattr(hint, "__args__", (hint,))[0]
    return _ARROW.get(kind, pa.string())


def table(kind: type, found: Iterable[Any]) -> Any:
    """Entities as one table, made batch by batch."""
    schema = columns(kind)
    batches = (
        pa.RecordBatch.from_pydict(
            {name: [getattr(one, name) for one in batch] for name in schema.names}, schema=schema
        )
        for batch in _batches(found)
    )
    return pa.Table.from_batches(batches, schema=schema)


def _batches(found: Iterable[Any]) -> Iterator[list[Any]]:
    rest = iter(found)
    while batch := list(islice(rest, BATCH)):
        yield batch


def main(details_file: str, folder: str | None) -> None:
    """Every table: how many rows, and its file."""
    with Client.from_file(details_file) as client:
        for name, kind, found in (
            ("definitions", AlertDefinition, client.definitions()),
            ("indicators", Indicator, client.indicators(expand=True)),
            ("alerts", Alert, client.alerts()),
        ):
            made = table(kind, found)
            print(f"{name}: {made.num_rows} rows, {made.num_columns} columns")
            if folder is not None:
                parquet.write_table(made, Path(folder) / f"{name}.parquet")


if __name__ == "__main__":
    if len(sys.argv) not in (2, 3):
        sys.exit("usage: python tables.py DETAILS.json [FOLDER]")
    try:
        main(sys.argv[1], sys.argv[2] if len(sys.argv) == 3 else None)
    except (IndiciaError, OSError) as error:
        sys.exit(f"{type(error).__name__}: {error}")
