"""Records become events: recognised, their observables found, their facts left for when they matter."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any

from indicia.errors import InputError, InvalidValue, MissingExtra
from indicia.identity import clean, lower
from indicia.model import EVENT_LIMIT, Event, Facts, IndicatorType, Observable, Side, TimeNote
from indicia.telemetry import columns, families, texts
from indicia.telemetry.lines import WHOLE, Report, Selection, Sieve
from indicia.telemetry.paths import lookup, open_json, open_xml
from indicia.telemetry.records import Record, decode, read
from indicia.telemetry.records import of_lines as of_cut_lines
from indicia.telemetry.schema import GENERIC, LINE, Composed, FieldMeaning, Schema, schemas
from indicia.telemetry.sources import Source
from indicia.telemetry.times import parse
from indicia.values import address, canonical_host

EARLIEST = datetime(1990, 1, 1, tzinfo=UTC)
_AHEAD = timedelta(days=1)
_OPENED = 2
"""How many strings inside strings are opened."""
_DEPTH = 100
_OPENINGS = frozenset("{[ ")
_OPENED_BY_NAME = frozenset({"xml", "json"})
_BY_LINE = frozenset({"text", "command", "xml", "json"})
"""Meanings that look for mentions, none of which goes over the end of a line."""
_SHAPES = 4096
MARK = b"indicia-"
_MARK = re.compile(rb"indicia-[0-9a-f]{32}")
"""As `store.messages` makes them."""


@dataclass(frozen=True, slots=True)
class Malformed:
    """What could not be read, and why."""

    source: str
    line: int
    """0 where the stream as a whole is meant, or the first element of a JSON array."""
    reason: str
    damage: bool = False
    """Not one record: the stream breaks off, is damaged in part, or is of no known form."""


def events(
    source: Source,
    *,
    schema: str | None = None,
    malformed: Callable[[Malformed], None],
    progress: Callable[[int], None] | None = None,
    selection: Selection | None = None,
    feeds: Callable[[int], None] = lambda _count: None,
) -> Iterator[Event]:
    """Every event of a source. `schema` names one for all of them; else each is recognised by its look.

    `malformed` hears of every record that cannot be read, and with line 0 of a stream that is damaged or of
    no known form; `progress` of bytes read from the disk; `feeds` as in `records.read`. With a `selection`
    only what its sieve names becomes an event, with the observables that it names, and only that can be
    malformed. Raises InputError where the source cannot be opened, or the schema is not known; MissingExtra
    where its form needs a package more.
    """
    named = _named(schema)
    report = _reporting(source, malformed)
    try:
        with source.open(progress) as stream:
            found = read(stream, report, selection, source.part, feeds)
            yield from _events(found, source, named, selection, report)
    except MissingExtra as error:
        error.place = source.name
        raise


def again(text: str, source: str, schema: str) -> tuple[Event, dict[str, Any] | bytes]:
    """The event of a text that was kept of it (`Facts.text`), and its record.

    Raises InputError or InvalidValue where it cannot be read any more, as one that was cut cannot.
    """
    data = text.encode()
    value: Any = data
    try:
        value = decode(data) if text.lstrip().startswith("{") else data
    except ValueError as error:
        if schema != LINE:
            raise InputError(f"the event cannot be read again: {error}") from None
    record = Record(0, value if isinstance(value, dict) else data, raw=text)
    named = _named(schema) or schemas()[GENERIC]
    if isinstance(record.value, bytes) and (found := _understood(data, named)) is not None:
        record, named = Record(0, found.fields, data), schemas()[found.schema]
    made = event(record, Source(source), named)
    return made, record.value


def of_table(
    table: Any,
    source: Source,
    *,
    schema: str | None = None,
    malformed: Callable[[Malformed], None] = lambda _what: None,
    selection: Selection | None = None,
) -> Iterator[Event]:
    """Every row of a pyarrow Table (or RecordBatchReader) as an event; its line is the row's number from 0.

    As `events` otherwise; `source` only names it. Raises InputError where the schema is not known.
    """
    records = (Record(number, row) for number, row in columns.of_table(table, selection))
    yield from _events(records, source, _named(schema), selection, _reporting(source, malformed))


def of_lines(
    values: Any,
    source: Source,
    *,
    schema: str | None = None,
    malformed: Callable[[Malformed], None] = lambda _what: None,
    selection: Selection | None = None,
) -> Iterator[Event]:
    """Every text of a pyarrow array as a line of JSON; its line is its number from 0.

    As `of_table`, but whatever is no JSON object is told, also where no hit may be.
    """
    report = _reporting(source, malformed)
    records = of_cut_lines(columns.lines(values, selection), report)
    yield from _events(records, source, _named(schema), selection, report)


def _reporting(source: Source, malformed: Callable[[Malformed], None]) -> Report:
    return lambda line, reason: malformed(Malformed(source.name, max(line, 0), reason, damage=line == WHOLE))


def _events(
    records: Iterable[Record],
    source: Source,
    named: Schema | None,
    selection: Selection | None,
    report: Report,
) -> Iterator[Event]:
    recogniser, sieve = Recogniser(), selection.sieve if selection is not None else None
    for record in records:
        understood, schema = record, named
        if isinstance(record.value, bytes) and (text := _understood(record.value, named)) is not None:
            understood, schema = Record(record.line, text.fields, record.value), schemas()[text.schema]
        try:
            made = event(understood, source, schema or recogniser.schema(understood.value), sieve)
        except InvalidValue as error:  # of an event that was not looked at whole, nothing is said
            report(record.line, error.message)
        else:
            yield made


def _understood(line: bytes, named: Schema | None) -> texts.Text | None:
    """The fields of a line; where one schema is asked for, only those that are its own."""
    text = texts.understand(line)
    return text if text is None or named is None or named.name == text.schema else None


def _named(schema: str | None) -> Schema | None:
    if schema is None:
        return None
    if schema not in schemas():
        raise InputError(f"there is no schema {schema!r}; known: {', '.join(sorted(schemas()))}")
    return schemas()[schema]


class Recogniser:
    """Says of which schema a record is: the first, by priority, one of whose groups holds whole."""

    def __init__(self) -> None:
        self._all = [schema for schema in schemas().values() if schema.groups]
        self._generic = schemas()[GENERIC]
        self._line = schemas()[LINE]
        self._shapes: dict[tuple[str, ...], list[Schema]] = {}

    def schema(self, value: Mapping[str, Any] | bytes) -> Schema:
        """`line` for a line, `generic` where nobody knows the object."""
        if isinstance(value, bytes):
            return self._line
        shape = tuple(value)
        candidates = self._shapes.get(shape)
        if candidates is None:
            candidates = [schema for schema in self._all if _possible(schema, value)]
            if len(self._shapes) >= _SHAPES:
                self._shapes.clear()
            self._shapes[shape] = candidates
        for schema in candidates:
            for group in schema.groups:
                for condition in group:
                    if not condition.holds(value):
                        break
                else:
                    return schema
        return self._generic


def _possible(schema: Schema, value: Mapping[str, Any]) -> bool:
    """Whether its keys allow it; what stands below the keys is asked of each record."""
    heads = {piece for key in value for piece in (key, key.split(".", 1)[0])}
    return any(
        all(c.path in value or c.path.split(".", 1)[0] in heads for c in group) for group in schema.groups
    )


def event(record: Record, source: Source, schema: Schema, sieve: Sieve | None = None) -> Event:
    """The record as its schema understands it; with a sieve, only the observables that may meet something."""
    value, found = record.value, _Finder(schema, sieve)
    if isinstance(value, bytes):
        found.leaf(value.decode("utf-8", "replace"), "", "", 0)
    else:
        found.walk(value, "", "", 0, 0)
        for composed in schema.composed:
            found.compose(value, composed)
    return Event(
        schema=schema.name,
        source=source.name,
        line=record.line,
        observables=tuple(found.observables.values()),
        work_out=lambda: replace(facts(value, source, schema, record.text), text=_written(record)),
    )


def _sifted(value: str, by_line: bool, sieve: Sieve) -> str:
    """What of a text may hold a hit: nothing, or all of it, or some of its lines; most texts hold none."""
    data = value.encode("utf-8", "surrogatepass")
    if not by_line or "\n" not in value:
        return value if sieve.holds(data) else ""
    lines = sieve.spans(data, 0, len(data))
    # Each with its end: a line alone may be a value, or too short to be searched, where the text is neither.
    return b"".join(data[start:end] + b"\n" for start, end in lines).decode("utf-8", "surrogatepass")


class _Finder:
    """Walks a record; the same value at one path counts once, the first time it is seen."""

    def __init__(self, schema: Schema, sieve: Sieve | None) -> None:
        self._schema = schema
        self._sieve = sieve
        self.observables: dict[tuple[str, str, str], Observable] = {}

    def walk(self, value: Any, plain: str, shown: str, opened: int, depth: int) -> None:
        """`plain` is the path as mapping files write it, `shown` as evidence does."""
        if isinstance(value, str):
            if value and value != "-":
                self.leaf(value, plain, shown, opened, depth)
        elif depth > _DEPTH:
            raise InvalidValue(f"nested more than {_DEPTH} levels deep")
        elif isinstance(value, dict):
            above, over = f"{plain}." if plain else "", f"{shown}." if shown else ""
            self._members(value, above, over, opened, depth + 1)
        elif isinstance(value, list):
            for number, element in enumerate(value):
                self.walk(element, plain, f"{shown}[{number}]", opened, depth + 1)

    def _members(self, value: dict[str, Any], plain: str, shown: str, opened: int, depth: int) -> None:
        """Texts at once: most members are texts, and most of a scan's parsing is spent here."""
        for key, below in value.items():
            if isinstance(below, str):
                if below and below != "-":
                    self.leaf(below, f"{plain}{key}", f"{shown}{key}", opened, depth)
            elif isinstance(below, dict | list):
                self.walk(below, f"{plain}{key}", f"{shown}{key}", opened, depth)

    def leaf(self, value: str, plain: str, shown: str, opened: int, depth: int = 0) -> None:
        """One text: opened where it holds JSON or event XML, else what its field means."""
        meaning = self._schema.meaning(plain)
        if meaning.name == "never":
            return
        if (
            opened < _OPENED
            and (value[:1] in _OPENINGS or meaning.name in _OPENED_BY_NAME)
            and self._opened(value, meaning, plain, shown, opened, depth)
        ):
            return
        if self._sieve is not None:
            value = _sifted(value, meaning.name in _BY_LINE, self._sieve)
        if value:
            self._add(meaning, value, shown)

    def _opened(
        self, value: str, meaning: FieldMeaning, plain: str, shown: str, opened: int, depth: int
    ) -> bool:
        if value[:1] in _OPENINGS and (inner := open_json(value)) is not None:
            self.walk(inner, plain, f"{shown}{{json}}", opened + 1, depth + 1)
            return True
        if meaning.name in _OPENED_BY_NAME and (fields := open_xml(value)) is not None:
            self.walk(fields, plain, f"{shown}{{xml}}", opened + 1, depth + 1)
            return True
        return False

    def compose(self, value: Mapping[str, Any], composed: Composed) -> None:
        """A URL of two fields: where both are there, and the second begins with a slash."""
        pieces = list(composed.template)
        for place in range(1, len(pieces), 2):
            found = lookup(value, pieces[place])
            if not isinstance(found, str) or not found or (place > 1 and not found.startswith("/")):
                return
            pieces[place] = found
        self._add(composed.meaning, "".join(pieces), composed.path)

    def _add(self, meaning: FieldMeaning, value: str, shown: str) -> None:
        for observable in meaning.make(value, shown, meaning.side):
            self.observables.setdefault((observable.type, observable.value, shown), observable)


def facts(
    value: Mapping[str, Any] | bytes, source: Source, schema: Schema, text: bytes | None = None
) -> Facts:
    """Identity, time and machine of a record; `text` is the line that it was read from, if any."""
    if isinstance(value, bytes):
        return Facts(families.line_id(value), None, TimeNote.MISSING, None, (), _marks(value))
    time, note = _time(value, schema)
    if text is not None:
        found = families.line_id(text)
    else:
        found = families.event_id(schema.family, value, schema.parts, schema.own, schema.without, source.stem)
    ends = _endpoints(value, schema)
    return Facts(
        found, time, note, _machine(value, schema), ends, _marks(repr(value).encode(errors="replace"))
    )


def _written(record: Record) -> str:
    """The text of a record, cut behind EVENT_LIMIT; what was no text of its own (a row) as JSON."""
    raw = record.value if isinstance(record.value, bytes) else record.text or record.raw
    if raw is None:
        raw = json.dumps(record.value, ensure_ascii=False, default=str)
    if isinstance(raw, bytes):
        raw = raw[: 4 * EVENT_LIMIT + 4].decode("utf-8", "replace")
    return clean(raw[: EVENT_LIMIT + 1].replace("\0", "\ufffd"))


def _marks(text: bytes) -> tuple[str, ...]:
    """However a message of an output came to be an event, its id stands in it as it was."""
    return tuple({one.decode() for one in _MARK.findall(text)}) if MARK in text else ()


def _time(value: Mapping[str, Any], schema: Schema) -> tuple[datetime | None, TimeNote | None]:
    """The first field that can be read; an absurd one is no time."""
    note = TimeNote.MISSING
    for path in schema.time_fields:
        written = lookup(value, path)
        if written is None or written == "":
            continue
        moment = parse(written, schema.zone)
        if moment is None:
            note = TimeNote.UNREADABLE
        elif moment < EARLIEST or moment > datetime.now(UTC) + _AHEAD:
            note = TimeNote.ABSURD
        else:
            return moment, None
    return None, note


def _machine(value: Mapping[str, Any], schema: Schema) -> str | None:
    for path in schema.machine_fields:
        found = lookup(value, path)
        if isinstance(found, dict):
            found = found.get("#text")
        if isinstance(found, str) and found.strip() and found != "-":
            return address(found) or lower(found.strip())
    return None


def _endpoints(value: Mapping[str, Any], schema: Schema) -> tuple[tuple[Side, str], ...]:
    found = []
    for side, paths in ((Side.SOURCE, schema.source_fields), (Side.DESTINATION, schema.destination_fields)):
        for path in paths:
            there = lookup(value, path)
            first = there[0] if isinstance(there, list) and there else there
            end = canonical_host(first) if isinstance(first, str) else None
            if end and end[0] is IndicatorType.IP_ADDRESS:
                found.append((side, end[1]))
                break
    return tuple(found)
