"""Spark's view of topics: a data source in Python for where its own connector is not."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from typing import Any

from indicia.scale.brokers import DDL, Course, batch, read
from indicia.scale.topics import Offsets, Piece, Wanted, flat

_spark: Any = importlib.import_module("pyspark.sql.datasource")
"""Without its types, which not every installation has: mypy ignores its classes. Names are Spark's (N802)."""
NAME = "indicia-kafka"


class Messages(_spark.DataSource):  # type: ignore[misc]
    """Messages of topics, in batches and as a stream; options as in `topics`."""

    @classmethod
    def name(cls) -> str:
        """Under which `format` knows it."""
        return NAME

    def schema(self) -> str:
        """The columns. Raises InvalidValue for options that cannot be."""
        Wanted.of(self.options)
        return DDL

    def reader(self, schema: Any) -> Any:
        """For a batch."""
        return _Batch(Wanted.of(self.options))

    def streamReader(self, schema: Any) -> Any:  # noqa: N802
        """For a stream."""
        return _Stream(Wanted.of(self.options))


class _Batch(_spark.DataSourceReader):  # type: ignore[misc]
    def __init__(self, wanted: Wanted) -> None:
        self._wanted = wanted

    def partitions(self) -> list[Any]:
        return [_spark.InputPartition(piece) for piece in batch(self._wanted)]

    def read(self, partition: Any) -> Iterator[Any]:
        # Where nothing is planned Spark asks all the same.
        return read(self._wanted, partition.value) if partition is not None else iter(())


class _Stream(_spark.DataSourceStreamReader):  # type: ignore[misc]
    """One that plans keeps a course; workers get one that knows no more than what is asked for."""

    def __init__(self, wanted: Wanted) -> None:
        self._wanted = wanted
        self._course = Course(wanted)

    def __reduce__(self) -> Any:
        return _Stream, (self._wanted,)

    def initialOffset(self) -> Offsets:  # noqa: N802
        return self._course.initial()

    def latestOffset(self) -> Offsets:  # noqa: N802
        return self._course.latest()

    def partitions(self, start: Offsets, end: Offsets) -> list[Any]:
        return [_spark.InputPartition(piece) for piece in self._course.pieces(flat(start), flat(end))]

    def read(self, partition: Any) -> Iterator[Any]:
        piece: Piece = partition.value
        return read(self._wanted, piece)
