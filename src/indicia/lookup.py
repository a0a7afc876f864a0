"""A compiled index as a matcher for programs: no store, no service, no settings.

    from indicia import Index

    with Index.open("feed.idx") as index:
        for detection in index.scan("logs/"):          # a file, a folder, a glob
            ...
        index.scan(b'{"query": "evil.example"}')       # bytes of any form that a file may have
        index.scan(table)                              # a pyarrow.Table

docs/matching-api.md is the manual.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from typing import TYPE_CHECKING, Any, Self

from indicia import scanning, telemetry
from indicia.detect import detect_all, once
from indicia.errors import MalformedFile
from indicia.match import engine
from indicia.match.index import Index as Compiled
from indicia.model import AlertDefinition, Detection, Event
from indicia.telemetry import Malformed, Selection, Source

if TYPE_CHECKING:
    from types import TracebackType

Hears = Callable[[Malformed], None]
_Reads = Callable[..., Iterator[Event]]


def _passed(_what: object) -> None:
    """Nobody hears of it."""


class Index:
    """An index file that is open. Any number of processes share its pages; each scan is for one thread."""

    def __init__(self, compiled: Compiled) -> None:
        self._compiled = compiled
        self._engine = engine.of_index(compiled)

    @classmethod
    def open(cls, path: str | os.PathLike[str]) -> Self:
        """Open what `indicia index build` made.

        Raises InputError where it cannot be read, MalformedFile where it is no index or a damaged one.
        """
        return cls(Compiled.open(path))

    def scan(
        self,
        what: bytes | bytearray | memoryview | str | os.PathLike[str] | Any,
        *,
        schema: str | None = None,
        name: str | None = None,
        workers: int = 1,
        malformed: Hears | None = None,
    ) -> Iterator[Detection]:
        """Every detection in it, each id once, as they are found.

        `what`: bytes are the content of a file, in any form that is read, compressed or not; a str or path is
        a file, folder or glob; anything else a pyarrow Table, RecordBatch or RecordBatchReader. `schema` is
        one for all of its events; by default each is recognised. `name` is what detections call bytes or a
        table (and, where an event names no machine, the machine): `bytes`, `table` by default. `workers`
        processes read where a path holds much.

        `malformed` hears of all that cannot be read. Without it lines that cannot be read are passed over,
        and what breaks off or is of no known form raises MalformedFile, behind what came before it.
        Raises InputError for a path or schema that is not there, MissingExtra where a form needs a package.
        """
        if isinstance(what, str | os.PathLike):
            return self._sources(telemetry.sources([os.fspath(what)]), schema, workers, malformed)
        if isinstance(what, bytes | bytearray | memoryview):
            source = Source(name or "bytes", held=bytes(what))
            return self._sources([source], schema, 1, malformed)
        return self._rows(telemetry.of_table, what, Source(name or "table"), schema, malformed)

    def scan_lines(
        self,
        lines: Any,
        *,
        schema: str | None = None,
        name: str = "lines",
        malformed: Hears | None = None,
    ) -> Iterator[Detection]:
        """Every detection in a pyarrow Array of texts or binary, each a JSON object; its line is its number.

        As `scan` of a table, but `malformed` hears of all that is no JSON object, wherever a hit may be.
        """
        return self._rows(telemetry.of_lines, lines, Source(name), schema, malformed)

    def plan(self, schema: str | None = None) -> scanning.Plan:
        """What `scanning.scan` asks for, for programs that cut and spread files themselves."""
        return scanning.Plan(self._engine, schema, self._compiled.tenant)

    def _sources(
        self, sources: Sequence[Source], schema: str | None, workers: int, malformed: Hears | None
    ) -> Iterator[Detection]:
        pieces = [piece for source in sources for piece in telemetry.pieces(source)]
        with closing(scanning.scan(pieces, self.plan(schema), workers)) as batches:
            yield from once(_given(batches, malformed))

    def _rows(
        self, read: _Reads, rows: Any, source: Source, schema: str | None, malformed: Hears | None
    ) -> Iterator[Detection]:
        matcher, sieve = self._engine()
        selection = Selection(sieve, _passed) if sieve is not None else None
        found = read(rows, source, schema=schema, malformed=malformed or _passed, selection=selection)
        yield from detect_all(found, matcher, self._compiled.tenant)

    @property
    def definitions(self) -> Sequence[AlertDefinition]:
        """The alert definitions of its indicators."""
        return self._compiled.definitions

    @property
    def generation(self) -> int:
        """The number that its maker gave it: a later one is of later indicators."""
        return self._compiled.generation

    @property
    def tenant(self) -> str:
        """The uid that goes into ids; empty where it was made of a list."""
        return self._compiled.tenant

    def __len__(self) -> int:
        """How many indicators it has."""
        return len(self._compiled)

    def close(self) -> None:
        """Give the file back; scans that go on must have ended."""
        self._compiled.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _given(batches: Iterator[scanning.Batch], malformed: Hears | None) -> Iterator[Detection]:
    """The detections of batches; what went wrong is told, or raised behind them."""
    for batch in batches:
        yield from batch.detections
        if batch.fault is not None:
            raise batch.fault
        for fault in batch.malformed:
            if malformed is not None:
                malformed(fault)
            elif fault.damage:
                raise MalformedFile(fault.reason, place=fault.source)
